"""Permission sets from their metadata, with the platform's dependency rules.

A permission on a required or master-detail field refuses the deploy: those fields are always
visible, so nothing may be said about them (Metadata API guide, PermissionSet).
"""

from xml.etree import ElementTree as ET

from metronome_salesforce.sandbox.salesforce.access import FieldGrant, ObjectGrant, PermissionSet
from metronome_salesforce.sandbox.salesforce.drafts import Component, Draft
from metronome_salesforce.sandbox.salesforce.object_metadata import MetadataError
from metronome_salesforce.sandbox.salesforce.packages import children, flag, text_of
from metronome_salesforce.sandbox.salesforce.schema import Schema


def check_permission_set(component: Component, draft: Draft) -> None:
    """Put one permission set into the draft; raises MetadataError."""
    key = component.name.lower()
    old = draft.state.permission_sets.get(key)
    record = old.id if old else draft.state.ids.next("0PS")
    draft.permission_sets[key] = read_permission_set(
        component.root, component.name, record, draft.schema
    )


def read_permission_set(
    element: ET.Element, name: str, record: str, schema: Schema
) -> PermissionSet:
    """A permission set whose references and dependencies hold; raises MetadataError."""
    label = text_of(element, "label")
    if not label:
        raise MetadataError("Required field is missing: label")
    objects = _object_grants(element, schema)
    fields = _field_grants(element, schema)
    system = frozenset(
        text_of(each, "name")
        for each in children(element, "userPermissions")
        if flag(each, "enabled")
    )
    return PermissionSet(record, name, label, objects, fields, system)


def _object_grants(element: ET.Element, schema: Schema) -> dict[str, ObjectGrant]:
    grants: dict[str, ObjectGrant] = {}
    names: dict[str, str] = {}
    for each in children(element, "objectPermissions"):
        name = text_of(each, "object")
        if schema.get(name) is None:
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
        sobject = schema.get(key)
        for master in sobject.masters if sobject else ():
            above = grants.get((master.reference_to or "").lower())
            if grant.read and (above is None or not above.read):
                raise MetadataError(
                    f"Permission Read {names[key]} depends on permission(s): "
                    f"Read {master.reference_to}"
                )
    return grants


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
