"""The state of one org, shared by all parts of the emulator and guarded by one lock."""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from metronome_salesforce.sandbox.salesforce.access import (
    SYSTEM_PERMISSIONS,
    Access,
    AccessCache,
    PermissionSet,
    User,
    access_to,
    system_permissions,
)
from metronome_salesforce.sandbox.salesforce.components import StoredComponent
from metronome_salesforce.sandbox.salesforce.exceptions import RowError
from metronome_salesforce.sandbox.salesforce.ids import KEY_PREFIXES, IdSource, normalise
from metronome_salesforce.sandbox.salesforce.schema import Schema, SObject
from metronome_salesforce.sandbox.salesforce.standard import standard_objects
from metronome_salesforce.sandbox.salesforce.storage import Storage, stamp

RowFault = Callable[[str, str, dict[str, Any]], RowError | None]


@dataclass(slots=True)
class Statistics:
    """What really happened: committed rows by (sObject, operation), calls by (family, status).

    Operations: insert, update, delete, cascade (rows deleted, or lookups cleared, because of
    another row). `bulk_rows` is the part of `rows` that bulk jobs wrote; `jobs` counts bulk jobs
    by operation as they are closed, queries as they are created.
    """

    rows: Counter[tuple[str, str]] = field(default_factory=Counter)
    calls: Counter[tuple[str, int]] = field(default_factory=Counter)
    bulk_rows: Counter[tuple[str, str]] = field(default_factory=Counter)
    jobs: Counter[str] = field(default_factory=Counter)

    @property
    def total_rows(self) -> int:
        """All rows written."""
        return sum(self.rows.values())

    @property
    def total_calls(self) -> int:
        """All API calls."""
        return sum(self.calls.values())

    def reset(self) -> None:
        """Begin again at zero."""
        for each in (self.rows, self.calls, self.bulk_rows, self.jobs):
            each.clear()


@dataclass(frozen=True, slots=True)
class Predicate:
    """A validation rule given as a function: true refuses the row."""

    name: str
    test: Callable[[dict[str, Any]], bool]
    message: str
    field: str | None = None


class OrgState:
    """Rows, schema, users and counters of one org."""

    def __init__(self, now: Callable[[], datetime], database: str) -> None:
        self.lock = threading.RLock()
        self.now = now
        self.storage = Storage(database)
        self.ids = IdSource()
        self.schema = Schema(standard_objects())
        self.statistics = Statistics()
        self.access_cache = AccessCache()
        self.users: dict[str, User] = {}
        self.permission_sets: dict[str, PermissionSet] = {}
        self.predicates: dict[str, list[Predicate]] = {}
        self.components: dict[tuple[str, str], StoredComponent] = {}
        self.counters: Counter[tuple[str, str]] = Counter()
        self.deletions: dict[str, list[tuple[str, str, str | None]]] = {}
        self.row_fault: RowFault | None = None
        self.storage_full = False
        self.organization_id = ""
        for each in self.schema.objects.values():
            self.storage.migrate(None, each)
        self._seed()

    def moment(self) -> datetime:
        """The org's time in UTC."""
        return self.now().astimezone(UTC)

    def stamp(self) -> str:
        """The org's time as stored."""
        return stamp(self.now().astimezone(UTC))

    # --- users and access ---------------------------------------------------------------

    def user(self, username: str) -> User:
        """The user of that name; raises KeyError."""
        return self.users[username.lower()]

    def user_by_id(self, record: str) -> User | None:
        """The user with that id."""
        return next((each for each in self.users.values() if each.id == record), None)

    def assigned(self, user: User) -> list[PermissionSet]:
        """The permission sets assigned to the user."""
        rows = self.storage.all(
            'SELECT "PermissionSetId" FROM "PermissionSetAssignment" '
            'WHERE "AssigneeId" = ? AND "IsDeleted" = 0',
            (user.id,),
        )
        wanted = {row[0] for row in rows}
        return [each for each in self.permission_sets.values() if each.id in wanted]

    def access(self, name: str, user: User) -> Access | None:
        """The user's view of an object, or None if there is no such object for the user."""
        found = self.access_cache.find(user, name)
        if found is None:
            sobject = self.schema.get(name)
            if sobject is None:
                return None
            found = access_to(sobject, user, self.assigned(user))
            self.access_cache.keep(user, found)
        return found if found.grant.read else None

    def may(self, user: User, permission: str) -> bool:
        """Whether the user has a system permission."""
        return permission in system_permissions(user, self.assigned(user))

    # --- rows ---------------------------------------------------------------------------

    def find_object(self, record: str) -> tuple[SObject, str] | None:
        """The object whose key prefix an id has, and the 18-character id."""
        full = normalise(record)
        if full is None:
            return None
        sobject = self.schema.by_prefix(full[:3])
        return None if sobject is None else (sobject, full)

    def insert_raw(self, table: str, record: str, values: dict[str, Any], by: str) -> None:
        """Store a row of the org's own making, system fields added."""
        moment = self.stamp()
        self.storage.insert(table, {
            "Id": record, "IsDeleted": 0, "CreatedDate": moment, "CreatedById": by,
            "LastModifiedDate": moment, "LastModifiedById": by, "SystemModstamp": moment,
            **values,
        })  # fmt: skip

    def add_user(
        self,
        username: str,
        name: str,
        *,
        standard_access: bool,
        system: set[str],
        profile: str,
    ) -> User:
        """Create a user with password `sandbox-password` and token `TOKEN`."""
        record = self.ids.next(KEY_PREFIXES["User"])
        first, _, last = name.rpartition(" ")
        self.insert_raw(
            "User",
            record,
            {
                "Username": username, "FirstName": first or None, "LastName": last,
                "Email": username, "Alias": username[:8], "IsActive": 1, "UserType": "Standard",
                "ProfileId": profile,
            },
            record,
        )  # fmt: skip
        user = User(
            record, username, name, "sandbox-password", "TOKEN",
            standard_access=standard_access, system=set(system),
        )  # fmt: skip
        self.users[username.lower()] = user
        return user

    def _seed(self) -> None:
        with self.storage.transaction():
            self.organization_id = self.ids.next(KEY_PREFIXES["Organization"])
            profiles = {}
            for name in ("System Administrator", "Minimum Access - API Only Integrations"):
                profiles[name] = self.ids.next(KEY_PREFIXES["Profile"])
            admin = self.add_user(
                "admin@sandbox.example",
                "Sandbox Admin",
                standard_access=True,
                system=set(SYSTEM_PERMISSIONS),
                profile=profiles["System Administrator"],
            )
            self.add_user(
                "integration@sandbox.example",
                "Metronome Integration",
                standard_access=False,
                system={"ApiEnabled"},
                profile=profiles["Minimum Access - API Only Integrations"],
            )
            for name, record in profiles.items():
                self.insert_raw("Profile", record, {"Name": name}, admin.id)
            self.insert_raw(
                "Organization",
                self.organization_id,
                {
                    "Name": "Sandbox", "InstanceName": "SBX1", "IsSandbox": 0,
                    "OrganizationType": "Developer Edition", "LanguageLocaleKey": "en_US",
                    "DefaultLocaleSidKey": "en_US",
                },
                admin.id,
            )  # fmt: skip
