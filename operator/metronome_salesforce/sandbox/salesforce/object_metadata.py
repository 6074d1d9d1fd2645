"""Custom objects from their metadata, with the platform's rules.

What is accepted becomes the org's schema (Metadata API guide, CustomObject). Most refusals are
sentences of the platform; the package's docstring tells which are not.
"""

import re
from xml.etree import ElementTree as ET

from metronome_salesforce.sandbox.salesforce.packages import children, flag, local_name, text_of
from metronome_salesforce.sandbox.salesforce.schema import Field, SObject, ValidationRule
from metronome_salesforce.sandbox.salesforce.standard import metadata_fields, system_fields

_NAME = re.compile(r"[A-Za-z](?:_?[A-Za-z0-9])*\Z")
_SHARING = frozenset({
    "Private", "Read", "ReadWrite", "ReadWriteTransfer", "FullAccess", "ControlledByParent",
})  # fmt: skip
_LONGEST_NAME = 40
LONGEST_LABEL = 40
_LONGEST_DESCRIPTION = 1000
# What a custom metadata type may say of itself; all else belongs to objects with records.
_TYPE_ELEMENTS = frozenset({
    "fullName", "label", "pluralLabel", "description", "visibility", "gender", "startsWith",
    "fields", "listViews", "validationRules", "compactLayouts",
})  # fmt: skip


class MetadataError(Exception):
    """A component the org refuses; the message is the platform's problem text."""


def check_name(name: str, label: str, ending: str = "__c", namespace: str = "") -> None:
    """The rules for API names and labels of custom objects, types and fields.

    `namespace` is that of the package that is being installed; nobody else may use one.
    """
    if namespace and name.startswith(f"{namespace}__"):
        name = name.removeprefix(f"{namespace}__")
    if not name.endswith(ending):
        raise MetadataError(
            f"Cannot modify or create standard component: {name}. Custom names must end with "
            f"{ending}"
        )
    check_developer_name(name.removesuffix(ending))
    if len(name) - len(ending) > _LONGEST_NAME:
        raise MetadataError(f"Field: fullName, value too large: {name} (max length=40)")
    check_label(label)


def check_developer_name(name: str) -> None:
    """The rule for API names without an ending: letters, digits, single underscores."""
    if not _NAME.match(name):
        raise MetadataError(
            "The API name can only contain underscores and alphanumeric characters. It must be "
            "unique, begin with a letter, not include spaces, not end with an underscore, and not "
            "contain two consecutive underscores."
        )


def check_label(label: str, element: str = "label", most: int = LONGEST_LABEL) -> None:
    """A label must be there, and short."""
    if not label:
        raise MetadataError(f"Required field is missing: {element}")
    check_length(label, "MasterLabel", most)


def check_length(value: str, name: str, most: int) -> None:
    """The platform's refusal of a text that is too long; `name` as it calls the field inside."""
    if len(value) > most:
        raise MetadataError(f"Value too long for field: {name} maximum length is:{most}")


def read_object(
    element: ET.Element, name: str, prefix: str, existing: SObject | None, namespace: str = ""
) -> SObject:
    """A custom object, or custom metadata type, without its custom fields."""
    metadata_type = name.endswith("__mdt")
    label = text_of(element, "label")
    check_name(name, label, "__mdt" if metadata_type else "__c", namespace)
    plural = text_of(element, "pluralLabel")
    check_label(plural, "pluralLabel")
    check_length(text_of(element, "description"), "Description", _LONGEST_DESCRIPTION)
    if metadata_type:
        sharing, fields = "Read", _type_fields(element)
    else:
        sharing, fields = _sharing(element), []
        fields = [*system_fields(owner=sharing != "ControlledByParent"), _name_field(element)]
    kept = {} if existing is None else dict(existing.fields)
    if sharing == "ControlledByParent":
        kept.pop("ownerid", None)
    return SObject(
        name=existing.name if existing else name,
        label=label,
        plural=plural,
        prefix=prefix,
        custom=True,
        sharing=sharing,
        fields={**kept, **{each.name.lower(): each for each in fields}},
        validation_rules=existing.validation_rules if existing else (),
        createable=not metadata_type,
        updateable=not metadata_type,
        deletable=not metadata_type,
    )


def _sharing(element: ET.Element) -> str:
    """The sharing model of an object whose settings agree with each other."""
    if text_of(element, "visibility") not in {"", "Public"}:
        raise MetadataError("Can not specify 'visibility' for a CustomObject of this type")
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
    return sharing


def _type_fields(element: ET.Element) -> list[Field]:
    for each in element:
        name = local_name(each)
        if name not in _TYPE_ELEMENTS:
            raise MetadataError(f"Can not specify '{name}' for a custom metadata type")
    return metadata_fields()


def _name_field(element: ET.Element) -> Field:
    found = children(element, "nameField")
    if not found:
        raise MetadataError("Must specify a nameField of type Text or AutoNumber")
    kind, label = text_of(found[0], "type"), text_of(found[0], "label")
    if kind not in {"Text", "AutoNumber"}:
        raise MetadataError("Must specify a nameField of type Text or AutoNumber")
    check_label(label)
    if kind == "AutoNumber":
        display = text_of(found[0], "displayFormat")
        if "{0" not in display:
            raise MetadataError(f"Invalid displayFormat for an auto number field: {display}")
        return Field(
            "Name", label, "AutoNumber", length=80, display_format=display, name_field=True,
            createable=False, updateable=False,
        )  # fmt: skip
    return Field("Name", label, "Text", length=80, required=False, name_field=True)


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
