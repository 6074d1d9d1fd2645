"""Records of custom metadata types: deployed like code, read like rows.

(Custom Metadata Types Implementation Guide; Metadata API guide, CustomMetadata.) A record is known
by its developer name, so deploying it again updates it.
"""

# ruff: noqa: S608 -- names in SQL come from the schema; values are bound

from typing import Any
from xml.etree import ElementTree as ET

from metronome_salesforce.sandbox.salesforce.core import OrgState
from metronome_salesforce.sandbox.salesforce.drafts import Component, Draft, MetadataRecord
from metronome_salesforce.sandbox.salesforce.exceptions import RowRefusedError, SalesforceError
from metronome_salesforce.sandbox.salesforce.object_metadata import (
    MetadataError,
    check_developer_name,
    check_label,
    check_length,
)
from metronome_salesforce.sandbox.salesforce.packages import children, local_name, text_of
from metronome_salesforce.sandbox.salesforce.schema import NUMBER_TYPES, Field, SObject
from metronome_salesforce.sandbox.salesforce.values import check, deserialise

_INSTANCE = "{http://www.w3.org/2001/XMLSchema-instance}"
_LONGEST_NAME = 40
_NUMBERS = frozenset({"xsd:double", "xsd:int", "xsd:decimal", "xsd:long"})
# Field type -> the XML Schema types in which its value may come; text for all others.
_XSD_TYPES: dict[str, frozenset[str]] = {
    "Checkbox": frozenset({"xsd:boolean"}),
    "Date": frozenset({"xsd:date"}),
    "DateTime": frozenset({"xsd:dateTime"}),
    **dict.fromkeys(NUMBER_TYPES, _NUMBERS),
}
_TEXT = frozenset({"xsd:string", "xsd:picklist"})


def check_record(component: Component, draft: Draft) -> None:
    """Note a record whose values fit its type; raises MetadataError."""
    owner, _, name = component.name.partition(".")
    sobject = draft.schema.get(f"{owner}__mdt")
    if sobject is None:
        raise MetadataError(f"In field: fullName - no CustomObject named {owner}__mdt found")
    check_developer_name(name)
    if len(name) > _LONGEST_NAME:
        raise MetadataError(f"Field: fullName, value too large: {name} (max length=40)")
    label = text_of(component.root, "label")
    check_label(label)
    values = _values(component.root, sobject)
    for each in sobject.stored:
        if each.custom and each.required and values.get(each.name) is None:
            raise MetadataError(f"Required field is missing: {each.name}")
    draft.records.append(MetadataRecord(sobject.name, name, label, values))


def _values(element: ET.Element, sobject: SObject) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for each in children(element, "values"):
        name = text_of(each, "field")
        field = sobject.field(name)
        if field is None or not field.custom:
            raise MetadataError(f"In field: field - no CustomField named {sobject.name}.{name} "
                                "found")  # fmt: skip
        if field.name in values:
            raise MetadataError(f"Field: values, value:{name} appears more than once")
        value = next(one for one in each if local_name(one) == "value")
        values[field.name] = _value(field, value)
    return values


def _value(field: Field, element: ET.Element) -> Any:
    if element.get(f"{_INSTANCE}nil") == "true":
        return deserialise(field, None)
    kind, text = element.get(f"{_INSTANCE}type"), element.text or ""
    if kind is None:
        raise MetadataError("Must specify a type attribute value for the value element")
    if kind not in _XSD_TYPES.get(field.type, _TEXT):
        raise MetadataError(f"Invalid data type {kind} for field {field.name}")
    try:
        stored = check(field, deserialise(field, _json(field, text)))
    except (SalesforceError, RowRefusedError, ValueError) as error:
        if field.is_text and field.length:
            check_length(text, field.name, field.length)
        raise MetadataError(f"Invalid value for field {field.name}: {text}") from error
    return stored


def _json(field: Field, text: str) -> Any:
    """The value as JSON would bring it: XML Schema writes all of them as text."""
    if field.type == "Checkbox":
        return text.strip() in {"true", "1"}
    if field.type in NUMBER_TYPES:
        return float(text)
    return text


def store_record(state: OrgState, record: MetadataRecord) -> None:
    """Insert or update the row of a deployed record."""
    values = {"MasterLabel": record.label, "SystemModstamp": state.stamp(), **record.values}
    row = state.storage.one(
        f'SELECT "Id" FROM "{record.type}" WHERE "DeveloperName" = ?', (record.name,)
    )
    if row:
        state.storage.update(record.type, row[0], values)
        return
    sobject = state.schema.get(record.type)
    assert sobject is not None  # noqa: S101 -- the schema goes in before its records
    own = {
        "Id": state.ids.next(sobject.prefix), "DeveloperName": record.name, "Language": "en_US",
        "QualifiedApiName": record.name,
    }  # fmt: skip
    state.storage.insert(record.type, {**own, **values})


def delete_record(state: OrgState, name: str) -> None:
    """Delete the row of a record, by the component's full name `Type.Record`."""
    owner, _, record = name.partition(".")
    sobject = state.schema.get(f"{owner}__mdt")
    if sobject is not None:
        state.storage.run(f'DELETE FROM "{sobject.name}" WHERE "DeveloperName" = ?', (record,))
