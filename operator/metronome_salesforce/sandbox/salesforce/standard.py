"""The standard objects that every org has, as far as a sync touches them.

Everything custom comes by metadata deploy only, as in a real org (Object Reference, Standard
Objects).
"""

from typing import Any

from metronome_salesforce.sandbox.salesforce.ids import KEY_PREFIXES
from metronome_salesforce.sandbox.salesforce.schema import Field, PicklistValue, SObject


def _read_only(name: str, label: str, type_: str, **more: Any) -> Field:
    return Field(
        name=name, label=label, type=type_, createable=False, updateable=False, **more
    )  # fmt: skip


def system_fields(*, owner: bool) -> list[Field]:
    """The fields that the platform keeps on each record; none needs field-level security."""
    user: dict[str, Any] = {"length": 18, "reference_to": "User"}
    fields = [
        _read_only("Id", "Record ID", "Id", length=18),
        _read_only("IsDeleted", "Deleted", "Checkbox"),
        _read_only("CreatedDate", "Created Date", "DateTime"),
        _read_only("CreatedById", "Created By ID", "Lookup", relationship="CreatedBy", **user),
        _read_only("LastModifiedDate", "Last Modified Date", "DateTime"),
        _read_only(
            "LastModifiedById", "Last Modified By ID", "Lookup", relationship="LastModifiedBy",
            **user,
        ),
        _read_only("SystemModstamp", "System Modstamp", "DateTime"),
    ]  # fmt: skip
    if owner:
        fields.insert(
            1,
            Field(
                "OwnerId", "Owner ID", "Lookup", length=18, reference_to="User",
                relationship="Owner",
            ),
        )  # fmt: skip
    return fields


def metadata_fields() -> list[Field]:
    """The fields of each custom metadata type (Custom Metadata Types Implementation Guide)."""
    return [
        _read_only("Id", "Custom Metadata Record ID", "Id", length=18),
        _read_only("DeveloperName", "Custom Metadata Record Name", "Text", length=40),
        _read_only("MasterLabel", "Label", "Text", length=40, name_field=True),
        _read_only("Language", "Master Language", "Text", length=40),
        _read_only("NamespacePrefix", "Namespace Prefix", "Text", length=15),
        _read_only("Label", "Label", "Text", length=40, formula="MasterLabel"),
        _read_only("QualifiedApiName", "Qualified API Name", "Text", length=70),
        _read_only("SystemModstamp", "System Modstamp", "DateTime"),
    ]


def _text(name: str, label: str, length: int, **more: Any) -> Field:
    return Field(name, label, "Text", length=length, permissionable=True, **more)


def _picklist(name: str, label: str, *values: str) -> Field:
    return Field(
        name, label, "Picklist", length=255, permissionable=True,
        picklist=tuple(PicklistValue(each, each) for each in values),
    )  # fmt: skip


def _address(prefix: str) -> list[Field]:
    return [
        Field(f"{prefix}Street", f"{prefix} Street", "TextArea", length=255, permissionable=True),
        _text(f"{prefix}City", f"{prefix} City", 40),
        _text(f"{prefix}State", f"{prefix} State/Province", 80),
        _text(f"{prefix}PostalCode", f"{prefix} Zip/Postal Code", 20),
        _text(f"{prefix}Country", f"{prefix} Country", 80),
    ]


def _object(name: str, label: str, plural: str, fields: list[Field], **more: Any) -> SObject:
    return SObject(
        name=name,
        label=label,
        plural=plural,
        prefix=KEY_PREFIXES[name],
        fields={each.name.lower(): each for each in fields},
        **more,
    )


def _lookup(name: str, label: str, target: str, relationship: str, **more: Any) -> Field:
    return Field(
        name, label, "Lookup", length=18, reference_to=target, relationship=relationship, **more
    )  # fmt: skip


def standard_objects() -> list[SObject]:
    """Account, Contact, User, Organization, Profile, PermissionSet, PermissionSetAssignment."""
    fixed: dict[str, Any] = {"createable": False, "updateable": False, "deletable": False}
    account = [
        *system_fields(owner=True),
        _lookup_read_only("MasterRecordId", "Master Record ID", "Account", "MasterRecord"),
        Field("Name", "Account Name", "Text", length=255, required=True, name_field=True),
        _picklist("Type", "Account Type", "Prospect", "Customer - Direct", "Other"),
        _lookup("ParentId", "Parent Account ID", "Account", "Parent", permissionable=True,
                children="ChildAccounts"),
        *_address("Billing"),
        *_address("Shipping"),
        Field("Phone", "Account Phone", "Phone", length=40, permissionable=True),
        Field("Fax", "Account Fax", "Phone", length=40, permissionable=True),
        _text("AccountNumber", "Account Number", 40),
        Field("Website", "Website", "Url", length=255, permissionable=True),
        _picklist("Industry", "Industry", "Banking", "Consulting", "Technology", "Other"),
        Field("AnnualRevenue", "Annual Revenue", "Currency", precision=18, permissionable=True),
        Field("NumberOfEmployees", "Employees", "Int", precision=8, permissionable=True),
        Field("Description", "Account Description", "LongTextArea", length=32000,
              permissionable=True),
        _text("Site", "Account Site", 80),
    ]  # fmt: skip
    contact = [
        *system_fields(owner=True),
        _lookup_read_only("MasterRecordId", "Master Record ID", "Contact", "MasterRecord"),
        _lookup("AccountId", "Account ID", "Account", "Account", permissionable=True,
                children="Contacts", delete_constraint="Cascade"),
        Field("LastName", "Last Name", "Text", length=80, required=True),
        _text("FirstName", "First Name", 40),
        Field("Name", "Full Name", "Text", length=121, name_field=True,
              formula='IF(ISBLANK(FirstName), LastName, FirstName & " " & LastName)'),
        Field("Email", "Email", "Email", length=80, permissionable=True),
        Field("Phone", "Business Phone", "Phone", length=40, permissionable=True),
        _text("Title", "Title", 128),
    ]  # fmt: skip
    user = [
        *system_fields(owner=False),
        Field("Username", "Username", "Text", length=80, required=True),
        Field("LastName", "Last Name", "Text", length=80, required=True),
        Field("FirstName", "First Name", "Text", length=40),
        Field("Name", "Full Name", "Text", length=121, name_field=True,
              formula='IF(ISBLANK(FirstName), LastName, FirstName & " " & LastName)'),
        Field("Email", "Email", "Email", length=128),
        Field("Alias", "Alias", "Text", length=8),
        Field("IsActive", "Active", "Checkbox", default=True),
        Field("UserType", "User Type", "Text", length=40),
        _lookup("ProfileId", "Profile ID", "Profile", "Profile"),
    ]  # fmt: skip
    organization = [
        *system_fields(owner=False),
        Field("Name", "Name", "Text", length=80, name_field=True),
        Field("InstanceName", "Instance Name", "Text", length=5),
        Field("IsSandbox", "Is Sandbox", "Checkbox"),
        Field("OrganizationType", "Edition", "Text", length=40),
        Field("TrialExpirationDate", "Trial Expiration Date", "DateTime"),
        Field("NamespacePrefix", "Namespace Prefix", "Text", length=15),
        Field("LanguageLocaleKey", "Language", "Text", length=40),
        Field("DefaultLocaleSidKey", "Locale", "Text", length=40),
    ]
    profile = [
        *system_fields(owner=False),
        Field("Name", "Name", "Text", length=255, name_field=True),
    ]
    permission_set = [
        *system_fields(owner=False),
        Field("Name", "Permission Set Name", "Text", length=80, required=True, name_field=True),
        Field("Label", "Permission Set Label", "Text", length=80, required=True),
        Field("Description", "Description", "Text", length=255),
        Field("IsCustom", "Is Custom", "Checkbox", default=True),
        Field("IsOwnedByProfile", "Is Owned By Profile", "Checkbox"),
        Field("NamespacePrefix", "Namespace Prefix", "Text", length=15),
    ]
    assignment = [
        *system_fields(owner=False),
        _lookup("PermissionSetId", "PermissionSet ID", "PermissionSet", "PermissionSet",
                required=True, children="Assignments"),
        _lookup("AssigneeId", "User ID", "User", "Assignee", required=True,
                children="PermissionSetAssignments"),
        Field("IsActive", "Is Active", "Checkbox", default=True),
    ]  # fmt: skip
    return [
        _object("Account", "Account", "Accounts", account),
        _object("Contact", "Contact", "Contacts", contact),
        _object("User", "User", "Users", user, **fixed),
        _object("Organization", "Organization", "Organizations", organization, **fixed),
        _object("Profile", "Profile", "Profiles", profile, **fixed),
        _object("PermissionSet", "Permission Set", "Permission Sets", permission_set, **fixed),
        _object(
            "PermissionSetAssignment", "Permission Set Assignment", "Permission Set Assignments",
            assignment, updateable=False,
        ),
    ]  # fmt: skip


def _lookup_read_only(name: str, label: str, target: str, relationship: str) -> Field:
    return _read_only(
        name, label, "Lookup", length=18, reference_to=target, relationship=relationship
    )
