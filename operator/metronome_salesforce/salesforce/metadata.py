"""The custom objects, Account fields and permission sets as a Metadata API package.

Generated from OBJECTS, so that the org has exactly the fields that are written (Metadata API,
CustomObject, PermissionSet). The same version gives the same bytes.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

from metronome_salesforce.canon import (
    Checkbox,
    Date,
    DateTime,
    LongText,
    Lookup,
    MasterDetail,
    Number,
    Picklist,
    Text,
    ValueKind,
)
from metronome_salesforce.mapping import AutoNumber, Field, Formula, ObjectMapping, Role, RollUp
from metronome_salesforce.objects import ACCOUNT_SUMMARY, OBJECTS

_NAMESPACE = "http://soap.sforce.com/2006/04/metadata"
_INTEGRATION = "Metronome_Integration"
_USER = "Metronome_User"
# Zip entries carry a time; the earliest one that the format knows is as good as any.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_VISIBLE_LINES = "3"

Nested = Sequence[tuple[str, "str | Nested"]]
"""XML elements in order: name and text, or name and children."""


def package_zip(api_version: str) -> bytes:
    """The package as a zip for a Metadata API deploy with `singlePackage` true."""
    buffer = io.BytesIO()
    # Stored, not deflated: zlib's output differs from version to version.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path, content in sorted(package_files(api_version).items()):
            archive.writestr(zipfile.ZipInfo(path, _EPOCH), content)
    return buffer.getvalue()


def package_files(api_version: str) -> dict[str, bytes]:
    """The package's files by their path in the zip; `api_version` is of the form "66.0"."""
    files = {f"objects/{mapping.sobject}.object": custom_object(mapping) for mapping in OBJECTS}
    files[f"objects/{ACCOUNT_SUMMARY.sobject}.object"] = _document(
        "CustomObject", _fields(ACCOUNT_SUMMARY)
    )
    files[f"permissionsets/{_INTEGRATION}.permissionset"] = _integration_set()
    files[f"permissionsets/{_USER}.permissionset"] = _user_set()
    files["package.xml"] = _manifest(api_version)
    return files


def custom_object(mapping: ObjectMapping) -> bytes:
    """The `.object` file of one object type, its fields included."""
    name = mapping.field("Name")
    name_field = [("label", mapping.name_label), ("type", "Text")]
    if isinstance(name.kind, AutoNumber):
        name_field = [
            ("displayFormat", name.kind.display_format),
            ("label", mapping.name_label),
            ("type", "AutoNumber"),
        ]
    elements: list[tuple[str, str | Nested]] = [
        ("deploymentStatus", "Deployed"),
        ("description", f"{mapping.plural} as Metronome has them. Written by the integration."),
        ("enableBulkApi", "true"),
        ("enableReports", "true"),
        ("enableSearch", "true"),
        ("enableSharing", "true"),
        ("enableStreamingApi", "true"),
        *_fields(mapping),
        ("label", mapping.label),
        ("nameField", name_field),
        ("pluralLabel", mapping.plural),
        ("sharingModel", mapping.sharing),
    ]
    return _document("CustomObject", elements)


def _fields(mapping: ObjectMapping) -> list[tuple[str, str | Nested]]:
    fields = sorted(_custom(mapping), key=lambda field: field.api)
    return [("fields", _field(mapping, field)) for field in fields]


def _custom(mapping: ObjectMapping) -> list[Field]:
    return [field for field in mapping.fields if field.api.endswith("__c")]


def _field(mapping: ObjectMapping, field: Field) -> Nested:
    elements: dict[str, str | Nested] = {
        "label": field.label,
        "description": field.description,
        "inlineHelpText": field.description,
        **_kind(mapping, field),
    }
    if field.external_id:
        elements["externalId"] = "true"
    if field.unique:
        # Metronome's ids differ by case alone: "cus_A" and "cus_a" are two customers.
        elements |= {"unique": "true", "caseSensitive": "true"}
    if field.required and not isinstance(field.kind, MasterDetail):
        elements["required"] = "true"
    return [("fullName", field.api), *sorted(elements.items())]


def _kind(mapping: ObjectMapping, field: Field) -> Mapping[str, str | Nested]:
    match field.kind:
        case Formula(kind, expression, percent):
            shape = dict(_value_kind(mapping, kind))
            for stored_only in ("defaultValue", "length"):
                shape.pop(stored_only, None)
            if percent:
                shape["type"] = "Percent"
            return {**shape, "formula": expression, "formulaTreatBlanksAs": "BlankAsZero"}
        case RollUp(detail, foreign_key):
            return {
                "type": "Summary",
                "summaryOperation": "count",
                "summaryForeignKey": f"{detail}.{foreign_key}",
            }
        case AutoNumber(display_format):
            return {"type": "AutoNumber", "displayFormat": display_format}
        case kind:
            return _value_kind(mapping, kind)


def _value_kind(mapping: ObjectMapping, kind: ValueKind) -> Mapping[str, str | Nested]:
    match kind:
        case Text(length):
            return {"type": "Text", "length": str(length)}
        case LongText(length):
            return {"type": "LongTextArea", "length": str(length), "visibleLines": _VISIBLE_LINES}
        case Number(precision, scale):
            return {"type": "Number", "precision": str(precision), "scale": str(scale)}
        case Checkbox():
            return {"type": "Checkbox", "defaultValue": "false"}
        case Date():
            return {"type": "Date"}
        case DateTime():
            return {"type": "DateTime"}
        case Picklist(values):
            return {"type": "Picklist", "valueSet": _value_set(values)}
        case Lookup(target, relationship):
            return {
                "type": "Lookup",
                "referenceTo": target,
                "relationshipName": relationship,
                "relationshipLabel": mapping.plural,
                "deleteConstraint": "SetNull",
                "required": "false",
            }
        case MasterDetail(target, relationship):
            return {
                "type": "MasterDetail",
                "referenceTo": target,
                "relationshipName": relationship,
                "relationshipLabel": mapping.plural,
                "relationshipOrder": "0",
                # Else the master is not updateable, and an upsert that names it is refused for
                # rows that exist.
                "reparentableMasterDetail": "true",
                "writeRequiresMasterRead": "false",
            }


def _value_set(values: Sequence[tuple[str, str]]) -> Nested:
    # Not restricted: a status that Metronome adds must not stop the load.
    entries = [
        ("value", [("fullName", value), ("default", "false"), ("label", label)])
        for value, label in values
    ]
    return [
        ("restricted", "false"),
        ("valueSetDefinition", [("sorted", "false"), *entries]),
    ]


def _integration_set() -> bytes:
    return _permission_set(
        "Metronome Integration",
        "For the integration user: writes the Metronome objects and the Metronome fields of "
        "Accounts. Needs no licence of its own.",
        [
            *((mapping, "read create edit delete viewAll modifyAll") for mapping in OBJECTS),
            (ACCOUNT_SUMMARY, "read edit viewAll"),
        ],
        editable=True,
    )


def _user_set() -> bytes:
    return _permission_set(
        "Metronome User",
        "For people: reads the Metronome objects and the Metronome fields of Accounts.",
        [(mapping, "read") for mapping in (*OBJECTS, ACCOUNT_SUMMARY)],
        editable=False,
    )


def _permission_set(
    label: str, description: str, rights: Sequence[tuple[ObjectMapping, str]], *, editable: bool
) -> bytes:
    rights = sorted(rights, key=lambda right: right[0].sobject)
    fields = [
        ("fieldPermissions", _field_permission(mapping, field, editable=editable))
        for mapping, _ in rights
        for field in sorted(_custom(mapping), key=lambda field: field.api)
        if not _always_visible(field)
    ]
    objects = [("objectPermissions", _object_permission(mapping, r)) for mapping, r in rights]
    return _document(
        "PermissionSet",
        [
            ("description", description),
            *fields,
            ("hasActivationRequired", "false"),
            ("label", label),
            *objects,
        ],
    )


def _always_visible(field: Field) -> bool:
    # The platform refuses a permission set that names such a field: everybody has them.
    return field.required or isinstance(field.kind, MasterDetail)


def _field_permission(mapping: ObjectMapping, field: Field, *, editable: bool) -> Nested:
    writable = editable and field.role is not Role.PLATFORM
    return [
        ("editable", _boolean(writable)),
        ("field", f"{mapping.sobject}.{field.api}"),
        ("readable", "true"),
    ]


def _object_permission(mapping: ObjectMapping, rights: str) -> Nested:
    given = rights.split()
    return [
        ("allowCreate", _boolean("create" in given)),
        ("allowDelete", _boolean("delete" in given)),
        ("allowEdit", _boolean("edit" in given)),
        ("allowRead", _boolean("read" in given)),
        ("modifyAllRecords", _boolean("modifyAll" in given)),
        ("object", mapping.sobject),
        ("viewAllRecords", _boolean("viewAll" in given)),
    ]


def _manifest(api_version: str) -> bytes:
    account_fields = [f"{ACCOUNT_SUMMARY.sobject}.{f.api}" for f in _custom(ACCOUNT_SUMMARY)]
    types = {
        "CustomField": account_fields,
        "CustomObject": [mapping.sobject for mapping in OBJECTS],
        "PermissionSet": [_INTEGRATION, _USER],
    }
    elements: list[tuple[str, str | Nested]] = [
        ("types", [*(("members", member) for member in sorted(members)), ("name", name)])
        for name, members in types.items()
    ]
    return _document("Package", [*elements, ("version", api_version)])


def _document(root: str, elements: Nested) -> bytes:
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<{root} xmlns="{_NAMESPACE}">',
        *_lines(elements, "    "),
        f"</{root}>",
        "",
    ]
    return "\n".join(lines).encode()


def _lines(elements: Nested, indent: str) -> list[str]:
    lines: list[str] = []
    for name, value in elements:
        if isinstance(value, str):
            lines.append(f"{indent}<{name}>{escape(value)}</{name}>")
        else:
            lines += [f"{indent}<{name}>", *_lines(value, indent + "    "), f"{indent}</{name}>"]
    return lines


def _boolean(value: bool) -> str:
    return "true" if value else "false"
