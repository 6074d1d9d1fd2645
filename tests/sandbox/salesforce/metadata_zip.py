"""Small metadata packages for the tests of the emulated org, written by hand."""

import io
import zipfile

NS = "http://soap.sforce.com/2006/04/metadata"


def field(name: str, kind: str, *, label: str = "", extra: str = "") -> str:
    """A `<fields>` element."""
    shown = label or name.removesuffix("__c").replace("_", " ")
    return (
        f"<fields><fullName>{name}</fullName><label>{shown}</label>"
        f"<type>{kind}</type>{extra}</fields>"
    )


def text(name: str, length: int = 255, extra: str = "") -> str:
    """A text field."""
    return field(name, "Text", extra=f"<length>{length}</length>{extra}")


def key(name: str) -> str:
    """A required, unique, case-sensitive external id."""
    return text(
        name,
        extra="<externalId>true</externalId><unique>true</unique>"
        "<caseSensitive>true</caseSensitive><required>true</required>",
    )


def number(name: str, precision: int = 18, scale: int = 2, kind: str = "Number") -> str:
    """A number, currency or percent field."""
    return field(name, kind, extra=f"<precision>{precision}</precision><scale>{scale}</scale>")


def formula(name: str, kind: str, expression: str, extra: str = "") -> str:
    """A formula field; the expression is escaped."""
    escaped = expression.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return field(name, kind, extra=f"<formula>{escaped}</formula>{extra}")


def lookup(name: str, target: str, relationship: str, constraint: str = "SetNull") -> str:
    """A lookup field."""
    return field(
        name,
        "Lookup",
        extra=f"<referenceTo>{target}</referenceTo>"
        f"<relationshipName>{relationship}</relationshipName>"
        f"<deleteConstraint>{constraint}</deleteConstraint>",
    )


def master(name: str, target: str, relationship: str, *, reparentable: bool = True) -> str:
    """A master-detail field."""
    return field(
        name,
        "MasterDetail",
        extra=f"<referenceTo>{target}</referenceTo>"
        f"<relationshipName>{relationship}</relationshipName>"
        "<relationshipOrder>0</relationshipOrder>"
        f"<reparentableMasterDetail>{str(reparentable).lower()}</reparentableMasterDetail>"
        "<writeRequiresMasterRead>false</writeRequiresMasterRead>",
    )


def picklist(name: str, *values: str, restricted: bool = False) -> str:
    """A picklist field."""
    listed = "".join(
        f"<value><fullName>{each}</fullName><default>false</default><label>{each}</label></value>"
        for each in values
    )
    return field(
        name,
        "Picklist",
        extra=f"<valueSet><restricted>{str(restricted).lower()}</restricted>"
        f"<valueSetDefinition><sorted>false</sorted>{listed}</valueSetDefinition></valueSet>",
    )


def custom_object(
    label: str, fields: str, *, sharing: str = "ReadWrite", name_field: str = "", extra: str = ""
) -> str:
    """A `.object` file of a custom object."""
    naming = name_field or "<nameField><label>Name</label><type>Text</type></nameField>"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><CustomObject xmlns="{NS}">'
        f"<deploymentStatus>Deployed</deploymentStatus>{fields}<label>{label}</label>{naming}"
        f"<pluralLabel>{label}s</pluralLabel><sharingModel>{sharing}</sharingModel>{extra}"
        "</CustomObject>"
    )


def standard_fields(fields: str) -> str:
    """A `.object` file that adds fields to a standard object."""
    return f'<CustomObject xmlns="{NS}">{fields}</CustomObject>'


def permission_set(objects: dict[str, str], fields: dict[str, str], extra: str = "") -> str:
    """A permission set: objects by letters of `crudva`, fields by `r` or `rw`."""
    parts = ["<label>Sync</label><hasActivationRequired>false</hasActivationRequired>"]
    for name, mode in fields.items():
        parts.append(
            f"<fieldPermissions><editable>{str('w' in mode).lower()}</editable>"
            f"<field>{name}</field><readable>true</readable></fieldPermissions>"
        )
    for name, letters in objects.items():
        has = {each: str(each in letters).lower() for each in "crudva"}
        parts.append(
            f"<objectPermissions><allowCreate>{has['c']}</allowCreate>"
            f"<allowDelete>{has['d']}</allowDelete><allowEdit>{has['u']}</allowEdit>"
            f"<allowRead>{has['r']}</allowRead><modifyAllRecords>{has['a']}</modifyAllRecords>"
            f"<object>{name}</object><viewAllRecords>{has['v']}</viewAllRecords>"
            "</objectPermissions>"
        )
    return f'<PermissionSet xmlns="{NS}">{"".join(parts)}{extra}</PermissionSet>'


def package_zip(files: dict[str, str], members: dict[str, list[str]], root: str = "") -> bytes:
    """A deploy zip of the files and a package.xml that names the members."""
    types = "".join(
        "<types>"
        + "".join(f"<members>{each}</members>" for each in names)
        + f"<name>{kind}</name></types>"
        for kind, names in members.items()
    )
    manifest = f'<Package xmlns="{NS}">{types}<version>66.0</version></Package>'
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"{root}package.xml", manifest)
        for name, content in files.items():
            archive.writestr(root + name, content)
    return buffer.getvalue()


ACCOUNT = standard_fields(
    text("Billing_ID__c", extra="<externalId>true</externalId><unique>true</unique>")
    + number("Spend__c")
)

CUSTOMER = custom_object(
    "Customer",
    key("Customer_ID__c")
    + lookup("Account__c", "Account", "Customers")
    + text("Linked_Account_ID__c", 18)
    + formula(
        "Link_Pending__c",
        "Checkbox",
        "IF(ISBLANK(Account__c), NOT(ISBLANK(Linked_Account_ID__c)), "
        "CASESAFEID(Account__c) <> Linked_Account_ID__c)",
    )
    + formula("Is_Linked__c", "Checkbox", "NOT(ISBLANK(Account__c))")
    + formula("Link__c", "Text", 'HYPERLINK("https://x.example/" & Customer_ID__c, "Open")'),
)

INVOICE = custom_object(
    "Invoice",
    key("Invoice_ID__c")
    + lookup("Customer__c", "T_Customer__c", "Invoices")
    + lookup("Account__c", "Account", "Invoices")
    + picklist("Status__c", "Draft", "Finalized", "Void")
    + picklist("Kind__c", "Usage", "Fixed", restricted=True)
    + field("Start__c", "Date")
    + field("End__c", "Date")
    + field("Issued_At__c", "DateTime")
    + number("Total__c")
    + number("Paid__c", 12, 2, "Currency")
    + number("Share__c", 5, 2, "Percent")
    + field("Closed__c", "Checkbox", extra="<defaultValue>false</defaultValue>")
    + field("Notes__c", "LongTextArea",
            extra="<length>32768</length><visibleLines>3</visibleLines>")
    + field("Contact__c", "Email")
    + field("Site__c", "Url")
    + field("Phone__c", "Phone")
    + text("Group_ID__c", extra="<externalId>true</externalId>")
    + text("Short__c", 10)
    + formula("Is_Draft__c", "Checkbox", 'ISPICKVAL(Status__c, "Draft")')
    + formula("Active__c", "Checkbox",
              "AND(Start__c <= TODAY(), OR(ISBLANK(End__c), End__c > TODAY()))")
    + formula("Open__c", "Number", "Total__c - Paid__c",
              "<precision>18</precision><scale>2</scale>")
    + formula("Rest__c", "Percent", "IF(Total__c > 0, Paid__c / Total__c, NULL)",
              "<precision>18</precision><scale>1</scale>")
    + formula("Days_Left__c", "Number", "End__c - TODAY()",
              "<precision>18</precision><scale>0</scale>")
    + field("Line_Count__c", "Summary",
            extra="<summaryForeignKey>T_Line__c.Invoice__c</summaryForeignKey>"
            "<summaryOperation>count</summaryOperation>")
    + field("Line_Total__c", "Summary",
            extra="<summarizedField>T_Line__c.Amount__c</summarizedField>"
            "<summaryForeignKey>T_Line__c.Invoice__c</summaryForeignKey>"
            "<summaryOperation>sum</summaryOperation>")
    + field("Largest__c", "Summary",
            extra="<summarizedField>T_Line__c.Amount__c</summarizedField>"
            "<summaryForeignKey>T_Line__c.Invoice__c</summaryForeignKey>"
            "<summaryOperation>max</summaryOperation>"),
    sharing="Read",
)  # fmt: skip

LINE = custom_object(
    "Line",
    key("Line_ID__c") + master("Invoice__c", "T_Invoice__c", "Lines") + number("Amount__c", 18, 6),
    sharing="ControlledByParent",
)

NOTE = custom_object(
    "Note",
    text("Body__c")
    + master("Invoice__c", "T_Invoice__c", "Notes", reparentable=False)
    + field("Code__c", "AutoNumber", extra="<displayFormat>C-{000}</displayFormat>"),
    sharing="ControlledByParent",
    name_field="<nameField><displayFormat>N-{0000}</displayFormat><label>Note Number</label>"
    "<type>AutoNumber</type></nameField>",
)

_FULL = "crudva"
_EDITABLE = (
    "Customer__c", "Account__c", "Status__c", "Kind__c", "Start__c", "End__c", "Issued_At__c",
    "Total__c", "Paid__c", "Share__c", "Closed__c", "Notes__c", "Contact__c", "Site__c",
    "Phone__c", "Group_ID__c", "Short__c",
)  # fmt: skip
_READABLE = (
    "Is_Draft__c", "Active__c", "Open__c", "Rest__c", "Days_Left__c", "Line_Count__c",
    "Line_Total__c", "Largest__c",
)  # fmt: skip

SYNC_OBJECTS = {
    "Account": "ruv",
    "T_Customer__c": _FULL,
    "T_Invoice__c": _FULL,
    "T_Line__c": _FULL,
    "T_Note__c": _FULL,
}
SYNC_FIELDS = {
    "Account.Billing_ID__c": "rw",
    "Account.Spend__c": "rw",
    "T_Customer__c.Account__c": "rw",
    "T_Customer__c.Linked_Account_ID__c": "rw",
    "T_Customer__c.Link_Pending__c": "r",
    "T_Customer__c.Is_Linked__c": "r",
    "T_Customer__c.Link__c": "r",
    "T_Line__c.Amount__c": "rw",
    "T_Note__c.Body__c": "rw",
    "T_Note__c.Code__c": "r",
    **{f"T_Invoice__c.{name}": "rw" for name in _EDITABLE},
    **{f"T_Invoice__c.{name}": "r" for name in _READABLE},
}

FILES = {
    "objects/Account.object": ACCOUNT,
    "objects/T_Customer__c.object": CUSTOMER,
    "objects/T_Invoice__c.object": INVOICE,
    "objects/T_Line__c.object": LINE,
    "objects/T_Note__c.object": NOTE,
    "permissionsets/Sync.permissionset": permission_set(SYNC_OBJECTS, SYNC_FIELDS),
}
MEMBERS = {
    "CustomObject": ["T_Customer__c", "T_Invoice__c", "T_Line__c", "T_Note__c"],
    "CustomField": ["Account.Billing_ID__c", "Account.Spend__c"],
    "PermissionSet": ["Sync"],
}


def standard_package(root: str = "") -> bytes:
    """The package most tests deploy."""
    return package_zip(FILES, MEMBERS, root)
