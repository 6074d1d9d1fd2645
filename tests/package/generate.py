"""The generated part of the package's source: objects, fields, permission sets, version.

`python -m tests.package.generate` (`make package`) writes it from the declarations in `objects`,
so that the org has exactly the fields that are written; a test fails while the two differ.
List views, layouts, reports and what else people see are written by hand beside it.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
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
from metronome_salesforce.mapping import (
    ACCOUNT,
    AutoNumber,
    Field,
    Formula,
    ObjectMapping,
    Role,
    RollUp,
)
from metronome_salesforce.objects import ACCOUNT_SUMMARY, CUSTOMER, PACKAGED
from metronome_salesforce.salesforce.package import (
    ADMIN_SET,
    INTEGRATION_SET,
    NAMESPACE,
    USER_SET,
    VERSION_FIELD,
    VERSION_RECORD,
    VERSION_TYPE,
)

SOURCE = Path(__file__).parents[2] / "operator/metronome_salesforce/package/metronome"
APP = "Metronome"
COMPACT_LAYOUT = "Summary"

_META = "-meta.xml"
_VISIBLE_LINES = "3"
_VERSION_LENGTH = "40"
_SCHEMA = "http://www.w3.org/2001/XMLSchema"
# What stands beside the name where somebody searches or picks a record.
_SEARCH_FIELDS = {
    "Customer": ("Account__c", "Current_Spend__c", "Currency__c", "Credit_Balance__c"),
    "Plan": ("Metronome_Plan_ID__c",),
    "CustomerPlan": ("Customer_Name__c", "Starting_On__c", "Ending_On__c"),
    "Invoice": ("Customer_Name__c", "Status__c", "Total__c", "Currency__c", "End__c"),
    "InvoiceLineItem": ("Invoice__c", "Quantity__c", "Total__c", "Credit_Type_Name__c"),
    "InvoiceSubLineItem": ("Invoice_Line_Item__c", "Quantity__c", "Subtotal__c"),
    "InvoiceAdjustment": ("Invoice__c", "Total__c", "Credit_Type__c"),
    "CreditGrant": (
        "Customer_Name__c", "Balance_Including_Pending__c", "Grant_Credit_Type__c",
        "Expiration_Date__c",
    ),
    "Usage": ("Customer_Name__c", "Billable_Metric_Name__c", "Start__c", "Value__c"),
    "SyncRun": ("Sync__c", "Outcome__c", "Started_At__c", "Rows_Rejected__c"),
}  # fmt: skip
_SEARCH_PLACES = (
    "customTabListAdditionalFields", "lookupDialogsAdditionalFields",
    "lookupPhoneDialogsAdditionalFields", "searchResultsAdditionalFields",
)  # fmt: skip

Nested = Sequence[tuple[str, "str | Nested"]]
"""XML elements in order: name and text, or name and children."""


def generated() -> dict[str, bytes]:
    """The generated files by their path below the package directory."""
    made: dict[str, bytes] = {}
    for mapping in (*PACKAGED, ACCOUNT_SUMMARY):
        folder = f"objects/{mapping.sobject}"
        if mapping is not ACCOUNT_SUMMARY:
            made[f"{folder}/{mapping.sobject}.object{_META}"] = custom_object(mapping)
        for field in _custom(mapping):
            made[f"{folder}/fields/{field.api}.field{_META}"] = _document(
                "CustomField", _field(mapping, field)
            )
    made |= _version_files()
    for name, content in (
        (INTEGRATION_SET, _integration_set()),
        (USER_SET, _user_set()),
        (ADMIN_SET, _admin_set()),
    ):
        made[f"permissionsets/{name}.permissionset{_META}"] = content
    return made


def is_generated(path: str) -> bool:
    """Whether a file of the source is one of these, or a left-over of one."""
    folder, _, rest = path.partition("/")
    if folder == "objects":
        return rest.count("/") == 1 or "/fields/" in rest
    return folder in {"permissionsets", "customMetadata"}


def main() -> None:
    """Write the files, and remove those of fields that are declared no more."""
    files = generated()
    for path in sorted(SOURCE.rglob("*")):
        name = path.relative_to(SOURCE).as_posix()
        if path.is_file() and is_generated(name) and name not in files:
            path.unlink()
    for name, content in files.items():
        target = SOURCE / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def custom_object(mapping: ObjectMapping) -> bytes:
    """The object's own file, without its fields."""
    name = mapping.field("Name")
    name_field = [("label", mapping.name_label), ("type", "Text")]
    if isinstance(name.kind, AutoNumber):
        name_field = [
            ("displayFormat", name.kind.display_format),
            ("label", mapping.name_label),
            ("type", "AutoNumber"),
        ]
    search = [(p, api) for p in _SEARCH_PLACES for api in _SEARCH_FIELDS.get(mapping.name, ())]
    # The integration alone makes records.
    search.insert(
        search.index((_SEARCH_PLACES[1], search[0][1])), ("excludedStandardButtons", "New")
    )
    elements: list[tuple[str, str | Nested]] = [
        ("compactLayoutAssignment", COMPACT_LAYOUT),
        ("deploymentStatus", "Deployed"),
        ("description", _description(mapping)),
        ("enableBulkApi", "true"),
        ("enableReports", "true"),
        ("enableSearch", "true"),
        ("enableSharing", "true"),
        ("enableStreamingApi", "true"),
        ("label", mapping.label),
        ("nameField", name_field),
        ("pluralLabel", mapping.plural),
        ("searchLayouts", search),
        ("sharingModel", mapping.sharing),
    ]
    return _document("CustomObject", elements)


def _description(mapping: ObjectMapping) -> str:
    if mapping.name == "SyncRun":
        return "Runs of the integration: when, why, how they ended. Written by the integration."
    return f"{mapping.plural} as Metronome has them. Written by the integration."


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


def _version_files() -> dict[str, bytes]:
    """The installed version: a record that the very deploy writes, so it cannot be wrong."""
    name = VERSION_TYPE.removesuffix("__mdt")
    record: Nested = [
        ("label", "Current"),
        ("protected", "false"),
        ("values", [("field", VERSION_FIELD), ("value", version("metronome-salesforce-operator"))]),
    ]
    content = _document("CustomMetadata", record).replace(
        f'xmlns="{NAMESPACE}"'.encode(),
        f'xmlns="{NAMESPACE}" xmlns:xsi="{_SCHEMA}-instance" xmlns:xsd="{_SCHEMA}"'.encode(),
    )
    return {
        f"objects/{VERSION_TYPE}/{VERSION_TYPE}.object{_META}": _document(
            "CustomObject",
            [
                ("description", "Which version of the Metronome package this org has."),
                ("label", "Metronome Package"),
                ("pluralLabel", "Metronome Packages"),
                ("visibility", "Public"),
            ],
        ),
        f"objects/{VERSION_TYPE}/fields/{VERSION_FIELD}.field{_META}": _document(
            "CustomField",
            [
                ("fullName", VERSION_FIELD),
                ("description", "Version of the package. Written by each deploy."),
                ("fieldManageability", "DeveloperControlled"),
                ("inlineHelpText", "Version of the package. Written by each deploy."),
                ("label", "Version"),
                ("length", _VERSION_LENGTH),
                ("required", "false"),
                ("type", "Text"),
                ("unique", "false"),
            ],
        ),
        f"customMetadata/{name}.{VERSION_RECORD}.md{_META}": content.replace(
            b"<value>", b'<value xsi:type="xsd:string">'
        ),
    }


def _integration_set() -> bytes:
    rights = [(mapping, "read create edit delete viewAll modifyAll") for mapping in PACKAGED]
    return _permission_set(
        "Metronome Integration",
        "For the integration user: writes the Metronome objects and the Metronome fields of "
        "Accounts. Needs no licence of its own.",
        [*rights, (ACCOUNT_SUMMARY, "read edit viewAll")],
        editable=lambda _, field: field.role is not Role.PLATFORM,
        more=[("customMetadataTypeAccesses", [("enabled", "true"), ("name", VERSION_TYPE)])],
    )


def _user_set() -> bytes:
    return _permission_set(
        "Metronome User",
        "For people: reads the Metronome objects and the Metronome fields of Accounts.",
        [(mapping, "read") for mapping in (*PACKAGED, ACCOUNT_SUMMARY)],
        editable=lambda *_: False,
        more=_app(),
    )


def _admin_set() -> bytes:
    rights = [(mapping, "read edit delete viewAll modifyAll") for mapping in PACKAGED]
    return _permission_set(
        "Metronome Admin",
        "For those who link customers: sees every record, sets the Account of Orphaned Customers, "
        "deletes records.",
        [*rights, (ACCOUNT_SUMMARY, "read")],
        editable=lambda mapping, field: mapping is CUSTOMER and field.api == ACCOUNT,
        more=_app(),
    )


def _app() -> Nested:
    """What people see: the app and every tab of the package."""
    tabs = sorted(path.name.partition(".")[0] for path in (SOURCE / "tabs").glob(f"*{_META}"))
    return [
        ("applicationVisibilities", [("application", APP), ("visible", "true")]),
        *(("tabSettings", [("tab", tab), ("visibility", "Visible")]) for tab in tabs),
    ]


def _permission_set(
    label: str,
    description: str,
    rights: Sequence[tuple[ObjectMapping, str]],
    *,
    editable: Callable[[ObjectMapping, Field], bool],
    more: Nested,
) -> bytes:
    rights = sorted(rights, key=lambda right: right[0].sobject)
    fields = [
        ("fieldPermissions", _field_permission(mapping, field, editable=editable(mapping, field)))
        for mapping, _ in rights
        for field in sorted(_custom(mapping), key=lambda field: field.api)
        if not _always_visible(field)
    ]
    objects = [("objectPermissions", _object_permission(mapping, r)) for mapping, r in rights]
    elements: list[tuple[str, str | Nested]] = [
        ("description", description),
        *fields,
        ("hasActivationRequired", "false"),
        ("label", label),
        *objects,
        *more,
    ]
    return _document("PermissionSet", sorted(elements, key=lambda element: element[0]))


def _always_visible(field: Field) -> bool:
    # The platform refuses a permission set that names such a field: everybody has them.
    return field.required or isinstance(field.kind, MasterDetail)


def _field_permission(mapping: ObjectMapping, field: Field, *, editable: bool) -> Nested:
    return [
        ("editable", _boolean(editable)),
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


def _document(root: str, elements: Nested) -> bytes:
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<{root} xmlns="{NAMESPACE}">',
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


if __name__ == "__main__":
    main()
