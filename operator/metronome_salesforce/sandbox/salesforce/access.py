"""Who sees and writes what: users, permission sets, and what they add up to.

A field nobody granted does not exist for the API, and a metadata deploy grants nothing to anyone:
the commonest failure of a fresh installation, so the sandbox keeps to it (Salesforce Help,
Field-Level Security).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from metronome_salesforce.sandbox.salesforce.schema import Field, SObject

SYSTEM_PERMISSIONS = frozenset({
    "ApiEnabled", "ModifyAllData", "ModifyMetadata", "AssignPermissionSets", "ViewSetup",
    "BulkApiHardDelete", "CustomizeApplication",
})  # fmt: skip
_SETUP_OBJECTS = frozenset({
    "user", "organization", "profile", "permissionset", "permissionsetassignment",
})  # fmt: skip


_SETS = frozenset({"permissionset", "permissionsetassignment"})


@dataclass(frozen=True, slots=True)
class ObjectGrant:
    """What a permission set allows on an object."""

    read: bool = False
    create: bool = False
    edit: bool = False
    delete: bool = False
    view_all: bool = False
    modify_all: bool = False


@dataclass(frozen=True, slots=True)
class FieldGrant:
    """What a permission set allows on a field."""

    readable: bool = False
    editable: bool = False


@dataclass(frozen=True, slots=True)
class PermissionSet:
    """A deployed permission set; keys of the grants are lower case, `object` or `object.field`.

    `metadata_types` are the custom metadata types that may be read, `applications` the apps that
    show, `tabs` the visibility (Visible, Available, None) of each tab that is named.
    """

    id: str
    name: str
    label: str
    objects: Mapping[str, ObjectGrant] = field(default_factory=dict)
    fields: Mapping[str, FieldGrant] = field(default_factory=dict)
    system: frozenset[str] = frozenset()
    metadata_types: frozenset[str] = frozenset()
    applications: frozenset[str] = frozenset()
    tabs: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class User:
    """A user of the org; `standard_access` stands for a profile with all standard objects."""

    id: str
    username: str
    name: str
    password: str
    security_token: str
    standard_access: bool
    system: set[str]
    active: bool = True
    approved_apps: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Access:
    """One user's view of one object: the fields that exist for the user, and what may be done."""

    sobject: SObject
    grant: ObjectGrant
    fields: Mapping[str, Field]
    editable: frozenset[str]
    relationships: Mapping[str, Field]
    stored: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    unique: tuple[str, ...] = ()

    def writable(self, each: Field, *, creating: bool) -> bool:
        """Whether the user may set the field in an insert or an update."""
        if each.calculated or each.name not in self.editable:
            return False
        return each.createable if creating else each.updateable


def system_permissions(user: User, sets: Iterable[PermissionSet]) -> set[str]:
    """The user's system permissions, from the profile and the assigned sets."""
    found = set(user.system)
    for each in sets:
        found |= each.system
    return found


def access_to(sobject: SObject, user: User, sets: list[PermissionSet]) -> Access:
    """What the user may do with the object, all assigned sets added up."""
    key = sobject.name.lower()
    grant = _object_grant(sobject, user, sets)
    visible: dict[str, Field] = {}
    editable: set[str] = set()
    for name, each in sobject.fields.items():
        readable, writable = _field_grant(f"{key}.{name}", each, user, sets)
        if readable:
            visible[name] = each
        if writable and readable:
            editable.add(each.name)
    relationships = {
        each.relationship.lower(): each for each in visible.values() if each.relationship
    }
    stored = sobject.stored
    return Access(
        sobject,
        grant,
        visible,
        frozenset(editable),
        relationships,
        stored=tuple(each.name for each in stored),
        required=tuple(each.name for each in stored if each.required or each in sobject.masters),
        unique=tuple(each.name for each in stored if each.unique),
    )


def _object_grant(sobject: SObject, user: User, sets: list[PermissionSet]) -> ObjectGrant:
    key = sobject.name.lower()
    permissions = system_permissions(user, sets)
    if key in _SETUP_OBJECTS:
        may_assign = key == "permissionsetassignment" and "AssignPermissionSets" in permissions
        # Who may not look into Setup sees no permission sets (Object Reference, PermissionSet).
        sees = key not in _SETS or not permissions.isdisjoint({"ViewSetup", "AssignPermissionSets"})
        return ObjectGrant(read=sees, view_all=sees, create=may_assign, delete=may_assign)
    if sobject.metadata_type:
        # Nobody writes these over the API, and an org restricts reading them by default.
        may = "CustomizeApplication" in permissions or any(key in e.metadata_types for e in sets)
        return ObjectGrant(read=may, view_all=may)
    if "ModifyAllData" in permissions or (user.standard_access and not sobject.custom):
        return ObjectGrant(*[True] * 6)
    grants = [each.objects[key] for each in sets if key in each.objects]
    return ObjectGrant(
        read=any(each.read for each in grants),
        create=any(each.create for each in grants),
        edit=any(each.edit for each in grants),
        delete=any(each.delete for each in grants),
        view_all=any(each.view_all for each in grants),
        modify_all=any(each.modify_all for each in grants),
    )


def _field_grant(key: str, each: Field, user: User, sets: list[PermissionSet]) -> tuple[bool, bool]:
    if not each.permissionable or (user.standard_access and not each.custom):
        return True, True
    grants = [one.fields[key] for one in sets if key in one.fields]
    readable = any(one.readable or one.editable for one in grants)
    return readable, any(one.editable for one in grants)


class AccessCache:
    """Accesses of all users, worked out once; cleared by deploys and assignments."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Access] = {}

    def clear(self) -> None:
        """Forget everything: the schema or an assignment changed."""
        self._known.clear()

    def find(self, user: User, name: str) -> Access | None:
        """The access worked out before."""
        return self._known.get((user.id, name.lower()))

    def keep(self, user: User, access: Access) -> None:
        """Remember an access."""
        self._known[user.id, access.sobject.name.lower()] = access
