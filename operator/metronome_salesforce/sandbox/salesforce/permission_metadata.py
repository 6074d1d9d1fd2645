"""Permission sets from their metadata, with the platform's dependency rules.

A permission on a required or master-detail field refuses the deploy: those fields are always
visible, so nothing may be said about them (Metadata API guide, PermissionSet).
"""

from xml.etree import ElementTree as ET

from metronome_salesforce.sandbox.salesforce.access import (
    SYSTEM_PERMISSIONS,
    FieldGrant,
    ObjectGrant,
    PermissionSet,
)
from metronome_salesforce.sandbox.salesforce.app_metadata import STANDARD_TABS
from metronome_salesforce.sandbox.salesforce.drafts import Component, Draft
from metronome_salesforce.sandbox.salesforce.object_metadata import (
    MetadataError,
    check_developer_name,
    check_label,
    check_length,
)
from metronome_salesforce.sandbox.salesforce.packages import children, flag, text_of
from metronome_salesforce.sandbox.salesforce.schema import Schema

_LONGEST_LABEL = 80
_LONGEST_DESCRIPTION = 255
# Element of a permission set -> the element that names the component, the component's type.
_REFERENCES = {
    "applicationVisibilities": ("application", "CustomApplication"),
    "classAccesses": ("apexClass", "ApexClass"),
    "customPermissions": ("name", "CustomPermission"),
    "flowAccesses": ("flow", "FlowDefinition"),
    "pageAccesses": ("apexPage", "ApexPage"),
    "recordTypeVisibilities": ("recordType", "RecordType"),
    "tabSettings": ("tab", "CustomTab"),
}
# The user permissions that a sync, its admins and its installer have to do with; all others are
# refused, as those are that an edition does not have.
USER_PERMISSIONS = SYSTEM_PERMISSIONS | {
    "AllowViewEditConvertedLeads", "ApiUserOnly", "AuthorApex", "CreateCustomizeDashboards",
    "CreateCustomizeReports", "CreateDashboardFolders", "CreateReportFolders", "DataExport",
    "DelegatedTwoFactor", "EditPublicDocuments", "EditReports", "EditTask", "EmailMass",
    "ExportReport", "ImportLeads", "LightningConsoleAllowedForUser", "LightningExperienceUser",
    "ListEmailSend", "ManageCustomPermissions", "ManageCustomReportTypes", "ManageDashboards",
    "ManageDashbdsInPubFolders", "ManageReports", "ManageReportsInPubFolders", "ManageUsers",
    "PasswordNeverExpires", "RunFlow", "RunReports", "ScheduleReports", "SubscribeDashboards",
    "SubscribeReports", "TransferAnyEntity", "UseAnyApiClient", "ViewAllData", "ViewAllUsers",
    "ViewDashboardsInPublicFolders", "ViewEventLogFiles", "ViewPublicDashboards",
    "ViewPublicReports", "ViewReportsInPublicFolders", "ViewRoles",
}  # fmt: skip
# A standard object that cannot be read without its parent (Salesforce Help, Object Permissions).
_NEEDED_PARENTS = {"contact": "Account"}


def check_permission_set(component: Component, draft: Draft) -> None:
    """Put one permission set into the draft; raises MetadataError."""
    element, key = component.root, component.name.lower()
    check_developer_name(component.name)
    check_label(text_of(element, "label"), most=_LONGEST_LABEL)
    check_length(text_of(element, "description"), "Description", _LONGEST_DESCRIPTION)
    for name in _REFERENCES:
        _references(element, name, draft)
    old = draft.state.permission_sets.get(key)
    draft.permission_sets[key] = PermissionSet(
        id=old.id if old else draft.state.ids.next("0PS"),
        name=component.name,
        label=text_of(element, "label"),
        objects=_object_grants(element, draft.schema),
        fields=_field_grants(element, draft.schema),
        system=_user_permissions(element),
        metadata_types=_metadata_types(element, draft.schema),
        applications=frozenset(
            text_of(each, "application")
            for each in children(element, "applicationVisibilities")
            if flag(each, "visible")
        ),
        tabs={
            text_of(each, "tab"): text_of(each, "visibility")
            for each in children(element, "tabSettings")
        },
    )


def _references(element: ET.Element, name: str, draft: Draft) -> None:
    """The elements of that name must each be about another component that exists."""
    inner, kind = _REFERENCES[name]
    found = children(element, name)
    for at, each in enumerate(found):
        target = text_of(each, inner)
        standard = target.startswith("standard__") or target in STANDARD_TABS
        if not standard and not draft.has(kind, target):
            raise MetadataError(f"In field: {inner} - no {kind} named {target} found")
        if target in {text_of(one, inner) for one in found[:at]}:
            raise MetadataError(f"Duplicate {name} specified: {target}")


def _user_permissions(element: ET.Element) -> frozenset[str]:
    seen: set[str] = set()
    for each in children(element, "userPermissions"):
        name = text_of(each, "name")
        if name not in USER_PERMISSIONS:
            raise MetadataError(f"Unknown user permission: {name}")
        if name in seen:
            raise MetadataError(f"Duplicate userPermissions specified: {name}")
        seen.add(name)
    return frozenset(
        text_of(each, "name")
        for each in children(element, "userPermissions")
        if flag(each, "enabled")
    )


def _metadata_types(element: ET.Element, schema: Schema) -> frozenset[str]:
    found: dict[str, bool] = {}
    for each in children(element, "customMetadataTypeAccesses"):
        name = text_of(each, "name")
        sobject = schema.get(name)
        if sobject is None or not sobject.metadata_type:
            raise MetadataError(
                f"In field: customMetadataType - no CustomObject named {name} found"
            )
        if name.lower() in found:
            raise MetadataError(f"Duplicate customMetadataTypeAccesses specified: {name}")
        found[name.lower()] = flag(each, "enabled")
    return frozenset(name for name, enabled in found.items() if enabled)


def _object_grants(element: ET.Element, schema: Schema) -> dict[str, ObjectGrant]:
    grants: dict[str, ObjectGrant] = {}
    names: dict[str, str] = {}
    for each in children(element, "objectPermissions"):
        name = text_of(each, "object")
        found = schema.get(name)
        if found is None or found.metadata_type:
            raise MetadataError(f"In field: field - no CustomObject named {name} found")
        if name.lower() in grants:
            raise MetadataError(f"Duplicate objectPermissions specified: {name}")
        names[name.lower()] = name
        grants[name.lower()] = ObjectGrant(
            read=flag(each, "allowRead"),
            create=flag(each, "allowCreate"),
            edit=flag(each, "allowEdit"),
            delete=flag(each, "allowDelete"),
            view_all=flag(each, "viewAllRecords"),
            modify_all=flag(each, "modifyAllRecords"),
        )
    for key, grant in grants.items():
        _check_dependencies(names[key], grant)
        for parent in _parents(key, schema):
            above = grants.get(parent.lower())
            if grant.read and (above is None or not above.read):
                raise MetadataError(
                    f"Permission Read {names[key]} depends on permission(s): Read {parent}"
                )
    return grants


def _parents(key: str, schema: Schema) -> list[str]:
    """The objects that must be readable where this one is."""
    sobject = schema.get(key)
    masters = [each.reference_to or "" for each in sobject.masters] if sobject else []
    return [*masters, *([_NEEDED_PARENTS[key]] if key in _NEEDED_PARENTS else [])]


def _check_dependencies(name: str, grant: ObjectGrant) -> None:
    needs = (
        ("Create", grant.create, (("Read", grant.read),)),
        ("Edit", grant.edit, (("Read", grant.read),)),
        ("Delete", grant.delete, (("Read", grant.read), ("Edit", grant.edit))),
        ("View All", grant.view_all, (("Read", grant.read),)),
        (
            "Modify All",
            grant.modify_all,
            (
                ("Read", grant.read), ("Edit", grant.edit), ("Delete", grant.delete),
                ("View All", grant.view_all),
            ),
        ),
    )  # fmt: skip
    for permission, granted, wanted in needs:
        missing = [word for word, has in wanted if granted and not has]
        if missing:
            listed = ", ".join(f"{word} {name}" for word in missing)
            raise MetadataError(f"Permission {permission} {name} depends on permission(s): "
                                f"{listed}")  # fmt: skip


def _field_grants(element: ET.Element, schema: Schema) -> dict[str, FieldGrant]:
    grants: dict[str, FieldGrant] = {}
    for each in children(element, "fieldPermissions"):
        path = text_of(each, "field")
        owner, _, name = path.partition(".")
        sobject = schema.get(owner)
        found = sobject.field(name) if sobject else None
        if found is None:
            raise MetadataError(f"In field: field - no CustomField named {path} found")
        if not found.permissionable:
            raise MetadataError(f"You cannot deploy to a required field: {path}")
        if path.lower() in grants:
            raise MetadataError(f"Duplicate fieldPermissions specified: {path}")
        editable = flag(each, "editable")
        if editable and (found.calculated or found.type == "AutoNumber"):
            raise MetadataError(
                f"Field {path} is not editable: read-only fields cannot be granted edit access"
            )
        readable = flag(each, "readable")
        if editable and not readable:
            raise MetadataError(f"Field {path}: edit access depends on read access to the field")
        grants[path.lower()] = FieldGrant(readable, editable)
    return grants
