"""Custom objects and fields from their metadata, with the platform's rules for each type.

Every refusal is a sentence of the platform; what is accepted becomes the org's schema (Metadata
API guide, CustomObject and CustomField).
"""

import re
from xml.etree import ElementTree as ET

from metronome_salesforce.sandbox.salesforce.formula_terms import FormulaError, Scope
from metronome_salesforce.sandbox.salesforce.formulas import check_formula
from metronome_salesforce.sandbox.salesforce.packages import children, flag, text_of
from metronome_salesforce.sandbox.salesforce.schema import (
    NUMBER_TYPES,
    Field,
    PicklistValue,
    Schema,
    SObject,
    Summary,
    ValidationRule,
)
from metronome_salesforce.sandbox.salesforce.standard import system_fields

_NAME = re.compile(r"[A-Za-z](?:_?[A-Za-z0-9])*__c\Z")
_FIELD_TYPES = frozenset({
    "Text", "TextArea", "LongTextArea", "Html", "Number", "Currency", "Percent", "Checkbox",
    "Date", "DateTime", "Picklist", "MultiselectPicklist", "Lookup", "MasterDetail", "AutoNumber",
    "Email", "Url", "Phone", "Summary",
})  # fmt: skip
_UNIQUE_TYPES = frozenset({"Text", "Number", "Email", "AutoNumber"})
_FORMULA_TYPES = frozenset({
    "Text", "Number", "Currency", "Percent", "Checkbox", "Date", "DateTime",
})  # fmt: skip
_SHARING = frozenset({
    "Private", "Read", "ReadWrite", "ReadWriteTransfer", "FullAccess", "ControlledByParent",
})  # fmt: skip
_LENGTHS = {"TextArea": 255, "Email": 80, "Url": 255, "Phone": 40, "Picklist": 255,
            "MultiselectPicklist": 4099, "AutoNumber": 30}  # fmt: skip
_LONGEST_LABEL = 40


class MetadataError(Exception):
    """A component the org refuses; the message is the platform's problem text."""


def check_name(name: str, label: str) -> None:
    """The rules for API names and labels of custom objects and fields."""
    if not name.endswith("__c"):
        raise MetadataError(
            f"Cannot modify or create standard component: {name}. Custom names must end with __c"
        )
    if not _NAME.match(name):
        raise MetadataError(
            "The API name can only contain underscores and alphanumeric characters. It must be "
            "unique, begin with a letter, not include spaces, not end with an underscore, and not "
            "contain two consecutive underscores."
        )
    if len(name) - len("__c") > 40:
        raise MetadataError(f"Field: fullName, value too large: {name} (max length=40)")
    if not label:
        raise MetadataError("Required field is missing: label")
    if len(label) > _LONGEST_LABEL:
        raise MetadataError(f"Label: data value too large: {label} (max length={_LONGEST_LABEL})")


def read_object(element: ET.Element, name: str, prefix: str, existing: SObject | None) -> SObject:
    """A custom object without its custom fields; raises MetadataError."""
    label = text_of(element, "label")
    check_name(name, label)
    plural = text_of(element, "pluralLabel")
    if not plural:
        raise MetadataError("Required field is missing: pluralLabel")
    sharing = text_of(element, "sharingModel")
    if not sharing:
        raise MetadataError("Required field is missing: sharingModel")
    if sharing not in _SHARING:
        raise MetadataError(f"'{sharing}' is not a valid value for the enum 'SharingModel'")
    if not text_of(element, "deploymentStatus"):
        raise MetadataError("Required field is missing: deploymentStatus")
    flags = {
        flag(element, each) for each in ("enableBulkApi", "enableSharing", "enableStreamingApi")
    }
    if len(flags) > 1:
        raise MetadataError(
            "Enable Sharing, Enable Bulk API Access and Enable Streaming API Access must be set "
            "to the same value"
        )
    fields = [*system_fields(owner=sharing != "ControlledByParent"), _name_field(element)]
    kept = {} if existing is None else dict(existing.fields)
    return SObject(
        name=existing.name if existing else name,
        label=label,
        plural=plural,
        prefix=prefix,
        custom=True,
        sharing=sharing,
        fields={**kept, **{each.name.lower(): each for each in fields}},
    )


def _name_field(element: ET.Element) -> Field:
    found = children(element, "nameField")
    if not found:
        raise MetadataError("Must specify a nameField of type Text or AutoNumber")
    kind, label = text_of(found[0], "type"), text_of(found[0], "label")
    if kind not in {"Text", "AutoNumber"}:
        raise MetadataError("Must specify a nameField of type Text or AutoNumber")
    if not label:
        raise MetadataError("Required field is missing: label")
    if kind == "AutoNumber":
        display = text_of(found[0], "displayFormat")
        if "{0" not in display:
            raise MetadataError(f"Invalid displayFormat for an auto number field: {display}")
        return Field(
            "Name", label, "AutoNumber", length=80, display_format=display, name_field=True,
            createable=False, updateable=False,
        )  # fmt: skip
    return Field("Name", label, "Text", length=80, required=False, name_field=True)


def read_field(element: ET.Element, owner: str) -> Field:
    """A custom field on its own; references are checked by `check_references`."""
    name, label, kind = (text_of(element, each) for each in ("fullName", "label", "type"))
    check_name(name, label)
    if not kind:
        raise MetadataError("Required field is missing: type")
    if kind not in _FIELD_TYPES:
        raise MetadataError(f"'{kind}' is not a valid value for the enum 'FieldType'")
    formula = text_of(element, "formula") or None
    if formula is not None and kind not in _FORMULA_TYPES:
        raise MetadataError(f"A formula field cannot be of type {kind}")
    required, unique, external = (
        flag(element, each) for each in ("required", "unique", "externalId")
    )
    _check_flags(kind, formula, required=required, unique=unique, external=external)
    precision, scale = _digits(element, kind, formula)
    master = kind == "MasterDetail"
    common = Field(
        name=name,
        label=label,
        type=kind,
        length=_length(element, kind, formula),
        precision=precision,
        scale=scale,
        required=required,
        unique=unique,
        external_id=external,
        case_sensitive=flag(element, "caseSensitive"),
        default=_default(element, kind),
        formula=formula,
        blank_as_zero=text_of(element, "formulaTreatBlanksAs") != "BlankAsBlank",
        picklist=_picklist(element) if "icklist" in kind else (),
        restricted=_restricted(element),
        display_format=text_of(element, "displayFormat") or None,
        summary=_summary(element) if kind == "Summary" else None,
        custom=True,
        createable=formula is None and kind not in {"Summary", "AutoNumber"},
        updateable=formula is None
        and kind not in {"Summary", "AutoNumber"}
        and (not master or flag(element, "reparentableMasterDetail")),
        permissionable=not required and not master,
        help=text_of(element, "inlineHelpText") or None,
    )
    if kind == "AutoNumber" and "{0" not in (common.display_format or ""):
        raise MetadataError("Required field is missing: displayFormat")
    return _with_reference(common, element, owner) if kind in {"Lookup", "MasterDetail"} else common


def _check_flags(
    kind: str, formula: str | None, *, required: bool, unique: bool, external: bool
) -> None:
    if (unique or external) and (kind not in _UNIQUE_TYPES or formula):
        setting = "externalId" if external else "unique"
        raise MetadataError(f"Can not specify '{setting}' for a CustomField of type {kind}")
    if required and (formula or kind in {"Checkbox", "Summary", "LongTextArea", "AutoNumber"}):
        raise MetadataError(f"Can not specify 'required' for a CustomField of type {kind}")


def _number(element: ET.Element, name: str) -> int:
    value = text_of(element, name)
    if not value.isdigit():
        raise MetadataError(f"Must specify '{name}' for a CustomField of this type")
    return int(value)


def _digits(element: ET.Element, kind: str, formula: str | None) -> tuple[int, int]:
    if kind not in NUMBER_TYPES:
        return (18, 2) if kind == "Summary" else (0, 0)
    if formula and not text_of(element, "precision"):
        return 18, int(text_of(element, "scale") or 0)
    for name in ("precision", "scale"):
        if not text_of(element, name).isdigit():
            raise MetadataError(f"Must specify '{name}' for a CustomField of type {kind}")
    precision, scale = _number(element, "precision"), _number(element, "scale")
    if not 1 <= precision <= 18:
        raise MetadataError("Precision must be between 1 and 18")
    if scale > precision or scale > 17:
        raise MetadataError("Scale must be less than or equal to precision")
    return precision, scale


def _length(element: ET.Element, kind: str, formula: str | None) -> int:
    if formula:
        return 1300 if kind == "Text" else 0
    if kind in {"Text", "LongTextArea", "Html"}:
        if not text_of(element, "length").isdigit():
            raise MetadataError(f"Must specify 'length' for a CustomField of type {kind}")
        length = _number(element, "length")
        if kind == "Text" and not 1 <= length <= 255:
            raise MetadataError("Length must be between 1 and 255")
        if kind != "Text":
            if not 256 <= length <= 131_072:
                raise MetadataError("Length must be between 256 and 131072")
            if not text_of(element, "visibleLines").isdigit():
                raise MetadataError(f"Must specify 'visibleLines' for a CustomField of type {kind}")
        return length
    if kind in {"Lookup", "MasterDetail"}:
        return 18
    if kind == "MultiselectPicklist" and not text_of(element, "visibleLines").isdigit():
        raise MetadataError(f"Must specify 'visibleLines' for a CustomField of type {kind}")
    return _LENGTHS.get(kind, 0)


def _default(element: ET.Element, kind: str) -> str | bool | None:
    value = text_of(element, "defaultValue")
    if kind == "Checkbox":
        if text_of(element, "formula"):
            return None
        if value.lower() not in {"true", "false"}:
            raise MetadataError("Must specify 'defaultValue' for a CustomField of type Checkbox")
        return value.lower() == "true"
    return value or None


def _picklist(element: ET.Element) -> tuple[PicklistValue, ...]:
    value_set = children(element, "valueSet")
    definition = children(value_set[0], "valueSetDefinition") if value_set else []
    if not definition:
        raise MetadataError("Must specify a valueSet for a picklist field")
    values: list[PicklistValue] = []
    for each in children(definition[0], "value"):
        name = text_of(each, "fullName")
        if not name:
            raise MetadataError("Required field is missing: fullName")
        if any(one.value.lower() == name.lower() for one in values):
            raise MetadataError(f"Duplicate value in picklist: {name}")
        values.append(
            PicklistValue(
                name, text_of(each, "label", name), flag(each, "default"),
                flag(each, "isActive", default=True),
            )
        )  # fmt: skip
    return tuple(values)


def _restricted(element: ET.Element) -> bool:
    value_set = children(element, "valueSet")
    return bool(value_set) and flag(value_set[0], "restricted")


def _summary(element: ET.Element) -> Summary:
    operation = text_of(element, "summaryOperation")
    if operation not in {"count", "sum", "min", "max"}:
        raise MetadataError("Required field is missing: summaryOperation")
    child, _, key = text_of(element, "summaryForeignKey").partition(".")
    if not key:
        raise MetadataError("Required field is missing: summaryForeignKey")
    summarised = text_of(element, "summarizedField")
    if (operation == "count") == bool(summarised):
        raise MetadataError("summarizedField is required for sum, min and max, and only for them")
    filters = tuple(
        (text_of(each, "field").rpartition(".")[2], text_of(each, "operation"),
         text_of(each, "value"))
        for each in children(element, "summaryFilterItems")
    )  # fmt: skip
    return Summary(operation, child, key, summarised.rpartition(".")[2] or None, filters)


def _with_reference(known: Field, element: ET.Element, owner: str) -> Field:
    target, relationship = text_of(element, "referenceTo"), text_of(element, "relationshipName")
    if not target:
        raise MetadataError("Required field is missing: referenceTo")
    if not relationship and known.type == "MasterDetail":
        raise MetadataError("Required field is missing: relationshipName")
    constraint = text_of(element, "deleteConstraint") or "SetNull"
    if constraint not in {"SetNull", "Restrict", "Cascade"}:
        raise MetadataError(f"'{constraint}' is not a valid value for the enum 'DeleteConstraint'")
    if constraint == "Cascade" and known.type == "Lookup":
        raise MetadataError("Cascade delete is not enabled for lookup fields in this organization")
    if known.required and constraint == "SetNull" and known.type == "Lookup":
        raise MetadataError(
            "The lookup field is required: deleteConstraint must be Restrict, not SetNull"
        )
    if known.type == "MasterDetail" and known.required:
        raise MetadataError("Can not specify 'required' for a CustomField of type MasterDetail")
    order = text_of(element, "relationshipOrder")
    del owner
    values = {name: getattr(known, name) for name in known.__dataclass_fields__}
    values |= {
        "reference_to": target,
        "relationship": known.name[:-1] + "r",
        "children": f"{relationship}__r" if relationship else None,
        "delete_constraint": "Cascade" if known.type == "MasterDetail" else constraint,
        "reparentable": flag(element, "reparentableMasterDetail"),
        "relationship_order": int(order) if order.isdigit() else None,
    }
    return Field(**values)


def read_rule(element: ET.Element) -> ValidationRule:
    """A validation rule; raises MetadataError."""
    formula = text_of(element, "errorConditionFormula")
    message = text_of(element, "errorMessage")
    if not formula or not message:
        raise MetadataError("Required field is missing: errorConditionFormula or errorMessage")
    return ValidationRule(
        text_of(element, "fullName"),
        formula,
        message,
        text_of(element, "errorDisplayField") or None,
        flag(element, "active"),
    )


def check_references(field: Field, owner: SObject, schema: Schema, scope: Scope) -> None:
    """Lookup targets, relationship names, roll-ups and formulas, once all objects are known."""
    if field.reference_to is not None:
        _check_lookup(field, owner, schema)
    if field.summary is not None:
        _check_summary(field, owner, schema)
    if field.formula is not None:
        try:
            check_formula(field, scope)
        except FormulaError as error:
            raise MetadataError(str(error)) from error


def _check_lookup(field: Field, owner: SObject, schema: Schema) -> None:
    target = schema.get(field.reference_to or "")
    if target is None:
        raise MetadataError(f"referenceTo value of '{field.reference_to}' does not resolve to a "
                            "valid sObject type")  # fmt: skip
    for each in schema.children(target.name):
        same = each.child.name == owner.name and each.field.name == field.name
        if field.children and not same and (each.name or "").lower() == field.children.lower():
            raise MetadataError(
                f"There is already a Child Relationship named {field.children[:-3]} on "
                f"{target.label}."
            )
    if field.type != "MasterDetail":
        return
    if owner.sharing != "ControlledByParent":
        raise MetadataError(
            "Cannot set sharingModel to "
            f"{owner.sharing} on a CustomObject with a MasterDetail relationship field"
        )
    if len(owner.masters) > 2:
        raise MetadataError("Too many master-detail relationships: 2 are allowed")


def _check_summary(field: Field, owner: SObject, schema: Schema) -> None:
    summary = field.summary
    assert summary is not None  # noqa: S101 -- the caller has looked
    child = schema.get(summary.child)
    key = child.field(summary.foreign_key) if child else None
    if child is None or key is None or key.type != "MasterDetail" or key.reference_to != owner.name:
        raise MetadataError(
            f"Could not resolve summaryForeignKey: {summary.child}.{summary.foreign_key}"
        )
    names = [summary.field] if summary.field else []
    for name in [*names, *(each[0] for each in summary.filters)]:
        if child.field(name) is None:
            raise MetadataError(f"In field: field - no such column '{name}' on entity "
                                f"'{child.name}'")  # fmt: skip
    summed = child.field(summary.field) if summary.field else None
    if summary.operation == "sum" and summed and summed.type not in NUMBER_TYPES:
        raise MetadataError(f"Invalid type for the summarized field: {summed.type}")
