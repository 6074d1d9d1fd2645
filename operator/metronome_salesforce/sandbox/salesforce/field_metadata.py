"""Custom fields from their metadata, with the platform's rules for each type.

What refers to other components is looked at later, by `field_references` (Metadata API guide,
CustomField).
"""

from dataclasses import replace
from xml.etree import ElementTree as ET

from metronome_salesforce.sandbox.salesforce.object_metadata import (
    MetadataError,
    check_developer_name,
    check_length,
    check_name,
)
from metronome_salesforce.sandbox.salesforce.packages import children, flag, text_of
from metronome_salesforce.sandbox.salesforce.schema import (
    NUMBER_TYPES,
    Field,
    PicklistValue,
    Summary,
)

_FIELD_TYPES = frozenset({
    "Text", "TextArea", "LongTextArea", "Html", "Number", "Currency", "Percent", "Checkbox",
    "Date", "DateTime", "Picklist", "MultiselectPicklist", "Lookup", "MasterDetail", "AutoNumber",
    "Email", "Url", "Phone", "Summary",
})  # fmt: skip
# Custom Metadata Types Limitations: no formulas, no rich text, no relations to records.
_METADATA_TYPES = frozenset({
    "Text", "TextArea", "LongTextArea", "Number", "Percent", "Checkbox", "Date", "DateTime",
    "Picklist", "Email", "Url", "Phone",
})  # fmt: skip
_UNIQUE_TYPES = frozenset({"Text", "Number", "Email", "AutoNumber"})
_FORMULA_TYPES = frozenset({
    "Text", "Number", "Currency", "Percent", "Checkbox", "Date", "DateTime",
})  # fmt: skip
_LENGTHS = {"TextArea": 255, "Email": 80, "Url": 255, "Phone": 40, "Picklist": 255,
            "MultiselectPicklist": 4099, "AutoNumber": 30}  # fmt: skip
_LONGEST_DESCRIPTION = 1000
_LONGEST_HELP = 510
_LONGEST_VALUE = 255
_LONGEST_NAME = 40


def read_field(element: ET.Element, owner: str, namespace: str = "") -> Field:
    """A custom field on its own; references are checked by `check_references`.

    `owner` is the API name of the object. Raises MetadataError.
    """
    name, label, kind = (text_of(element, each) for each in ("fullName", "label", "type"))
    check_name(name, label, namespace=namespace)
    check_length(text_of(element, "description"), "Description", _LONGEST_DESCRIPTION)
    check_length(text_of(element, "inlineHelpText"), "InlineHelpText", _LONGEST_HELP)
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
    _check_owner(element, owner, kind, formula)
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
        permissionable=not required and not master and not owner.endswith("__mdt"),
        help=text_of(element, "inlineHelpText") or None,
    )
    if kind == "AutoNumber" and "{0" not in (common.display_format or ""):
        raise MetadataError("Required field is missing: displayFormat")
    return _with_reference(common, element) if kind in {"Lookup", "MasterDetail"} else common


def _check_flags(
    kind: str, formula: str | None, *, required: bool, unique: bool, external: bool
) -> None:
    setting = "externalId" if external else "unique"
    if (unique or external) and formula:
        raise MetadataError(f"Can not specify {setting} for CustomFields that have a formula")
    if (unique or external) and kind not in _UNIQUE_TYPES:
        raise MetadataError(f"Can not specify '{setting}' for a CustomField of type {kind}")
    if required and (formula or kind in {"Checkbox", "Summary", "LongTextArea", "AutoNumber"}):
        raise MetadataError(f"Can not specify 'required' for a CustomField of type {kind}")


def _check_owner(element: ET.Element, owner: str, kind: str, formula: str | None) -> None:
    """What fields of custom metadata types, and of standard objects, may be."""
    if not owner.endswith("__mdt"):
        if text_of(element, "fieldManageability"):
            raise MetadataError(
                "Can not specify 'fieldManageability' for a CustomField of this object"
            )
        if kind == "MasterDetail" and not owner.endswith("__c"):
            raise MetadataError(f"A standard object cannot be on the detail side: {owner}")
        return
    if kind not in _METADATA_TYPES or formula or flag(element, "externalId"):
        raise MetadataError("Invalid data type.")
    if kind == "Picklist" and not _restricted(element):
        raise MetadataError("Non-strict picklists are not supported on this object.")


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
    if not children(definition[0], "value"):
        raise MetadataError("Must specify a valueSet for a picklist field")
    for each in children(definition[0], "value"):
        name = text_of(each, "fullName")
        if not name:
            raise MetadataError("Required field is missing: fullName")
        check_length(name, "PicklistValue", _LONGEST_VALUE)
        if any(one.value.lower() == name.lower() for one in values):
            raise MetadataError(f"Duplicate value in picklist: {name}")
        values.append(
            PicklistValue(
                name, text_of(each, "label", name), flag(each, "default"),
                flag(each, "isActive", default=True),
            )
        )  # fmt: skip
    if sum(each.default for each in values) > 1:
        raise MetadataError("Only one picklist value can be the default value")
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


def _with_reference(known: Field, element: ET.Element) -> Field:
    target, relationship = text_of(element, "referenceTo"), text_of(element, "relationshipName")
    if not target:
        raise MetadataError("Required field is missing: referenceTo")
    if not relationship and known.type == "MasterDetail":
        raise MetadataError("Required field is missing: relationshipName")
    if relationship:
        check_developer_name(relationship)
        if len(relationship) > _LONGEST_NAME:
            raise MetadataError(
                f"Field: relationshipName, value too large: {relationship} (max length=40)"
            )
    constraint = text_of(element, "deleteConstraint") or "SetNull"
    if constraint not in {"SetNull", "Restrict", "Cascade"}:
        raise MetadataError(f"'{constraint}' is not a valid value for the enum 'DeleteConstraint'")
    if constraint == "Cascade" and known.type == "Lookup":
        raise MetadataError("If you want to cascade delete, please contact salesforce.com")
    if known.required and constraint == "SetNull" and known.type == "Lookup":
        raise MetadataError(
            "The lookup field is required: deleteConstraint must be Restrict, not SetNull"
        )
    if known.type == "MasterDetail" and known.required:
        raise MetadataError("Can not specify 'required' for a CustomField of type MasterDetail")
    order = text_of(element, "relationshipOrder")
    return replace(
        known,
        reference_to=target,
        relationship=known.name[:-1] + "r",
        children=f"{relationship}__r" if relationship else None,
        delete_constraint="Cascade" if known.type == "MasterDetail" else constraint,
        reparentable=flag(element, "reparentableMasterDetail"),
        relationship_order=int(order) if order.isdigit() else None,
    )
