"""The emulated org as Python sees it: what tests, demo and the HTTP layer call.

State and rules live in the modules by topic; this is the door to them, and holds the lock.
"""

# ruff: noqa: S608 -- names in SQL come from the schema; values are bound

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from metronome_salesforce.sandbox.salesforce.access import Access, User
from metronome_salesforce.sandbox.salesforce.bulk_jobs import IngestJobs
from metronome_salesforce.sandbox.salesforce.bulk_query_jobs import QueryJobs
from metronome_salesforce.sandbox.salesforce.core import OrgState, Predicate, Statistics
from metronome_salesforce.sandbox.salesforce.deleting import delete_rows, merge_rows, undelete_row
from metronome_salesforce.sandbox.salesforce.deploy_results import DeployResult
from metronome_salesforce.sandbox.salesforce.deploying import Deployment
from metronome_salesforce.sandbox.salesforce.exceptions import RowRefusedError, SalesforceError
from metronome_salesforce.sandbox.salesforce.formula_terms import Scope
from metronome_salesforce.sandbox.salesforce.formulas import field_sql
from metronome_salesforce.sandbox.salesforce.ids import normalise
from metronome_salesforce.sandbox.salesforce.incoming import Result, read_record
from metronome_salesforce.sandbox.salesforce.querying import Queries
from metronome_salesforce.sandbox.salesforce.retrieving import Retrieval
from metronome_salesforce.sandbox.salesforce.schema import Field, SObject
from metronome_salesforce.sandbox.salesforce.sessions import ClientApp, JwtApp, Sessions
from metronome_salesforce.sandbox.salesforce.writing import Batch

ADMIN = "admin@sandbox.example"
INTEGRATION = "integration@sandbox.example"


class SalesforceOrg:
    """One org: rows, schema, users, sessions, limits; safe to call from any thread.

    `now` gives the org's time (aware UTC); `database` is a SQLite path, `:memory:` by default.
    """

    def __init__(self, *, now: Callable[[], datetime], database: str = ":memory:") -> None:
        self.state = OrgState(now, database)
        self.lock = self.state.lock
        self.sessions = Sessions(self.state)
        self.queries = Queries(self.state)
        self.ingest = IngestJobs(self.state)
        self.bulk_queries = QueryJobs(self.state, self.queries)
        self.deploys: dict[str, DeployResult] = {}
        self.retrievals: dict[str, Retrieval] = {}
        self.api_limit = 100_000
        self.api_used = 0
        self.client_credentials = self.add_client_app(
            "sandbox-client-id", "sandbox-client-secret", INTEGRATION
        )

    # --- people and apps ----------------------------------------------------------------

    @property
    def users(self) -> Mapping[str, User]:
        """The users by lower-case username."""
        return self.state.users

    @property
    def jwt_apps(self) -> dict[str, JwtApp]:
        """The apps of the JWT bearer flow, by client id."""
        return self.sessions.jwt_apps

    @property
    def statistics(self) -> Statistics:
        """Rows really written and calls answered."""
        return self.state.statistics

    @property
    def storage_full(self) -> bool:
        """Whether inserts are refused with STORAGE_LIMIT_EXCEEDED."""
        return self.state.storage_full

    @storage_full.setter
    def storage_full(self, full: bool) -> None:
        self.state.storage_full = full

    def add_user(self, username: str, *, name: str = "Sandbox User", admin: bool = False) -> User:
        """Create a user: with a profile of nothing, or with everything standard."""
        with self.lock, self.state.storage.transaction():
            like = self.state.user(ADMIN if admin else INTEGRATION)
            profile = self.state.storage.one(
                'SELECT "ProfileId" FROM "User" WHERE "Id" = ?', (like.id,)
            )
            system = set(like.system) if admin else {"ApiEnabled"}
            return self.state.add_user(
                username,
                name,
                standard_access=admin,
                system=system,
                profile=profile[0] if profile else "",
            )

    def add_client_app(self, client_id: str, client_secret: str, username: str | None) -> ClientApp:
        """Register an app for client credentials; `username` is its Run As user."""
        app = ClientApp(client_id, client_secret, username)
        self.sessions.client_apps[client_id] = app
        return app

    def add_jwt_app(self, client_id: str, public_key: str, usernames: set[str]) -> JwtApp:
        """Register an app for JWT bearer: PEM key or certificate, and pre-authorised users."""
        app = JwtApp(client_id, public_key, set(usernames))
        self.sessions.jwt_apps[client_id] = app
        return app

    def expire_sessions(self, username: str | None = None) -> None:
        """End all sessions, or one user's: the next call answers INVALID_SESSION_ID."""
        with self.lock:
            self.sessions.expire(username)

    def revoke_token(self, token: str) -> bool:
        """Revoke one token, and with it its family; false if it is unknown."""
        with self.lock:
            return self.sessions.revoke(token)

    def revoke_permission(self, username: str, permission: str) -> None:
        """Take a system permission such as ApiEnabled or ModifyMetadata from a user."""
        with self.lock:
            self.state.user(username).system.discard(permission)
            self.state.access_cache.clear()

    def grant_permission(self, username: str, permission: str) -> None:
        """Give a user a system permission."""
        with self.lock:
            self.state.user(username).system.add(permission)
            self.state.access_cache.clear()

    def assign_permission_set(self, username: str, set_name: str) -> str:
        """Assign a deployed permission set; the id of the assignment (the old one if there)."""
        with self.lock:
            found = self.state.permission_sets[set_name.lower()]
            user = self.state.user(username)
            row = self.state.storage.one(
                'SELECT "Id" FROM "PermissionSetAssignment" WHERE "AssigneeId" = ? '
                'AND "PermissionSetId" = ? AND "IsDeleted" = 0',
                (user.id, found.id),
            )
            if row:
                return str(row[0])
            return self.insert(
                "PermissionSetAssignment", {"AssigneeId": user.id, "PermissionSetId": found.id}
            )

    def revoke_permission_set(self, username: str, set_name: str) -> None:
        """Take an assigned permission set back; nothing if it was not assigned."""
        with self.lock:
            found = self.state.permission_sets[set_name.lower()]
            user = self.state.user(username)
            row = self.state.storage.one(
                'SELECT "Id" FROM "PermissionSetAssignment" WHERE "AssigneeId" = ? '
                'AND "PermissionSetId" = ? AND "IsDeleted" = 0',
                (user.id, found.id),
            )
            if row:
                self.delete("PermissionSetAssignment", row[0])

    # --- metadata -----------------------------------------------------------------------

    def deploy(
        self,
        content: bytes,
        *,
        username: str = ADMIN,
        check_only: bool = False,
        rollback_on_error: bool = True,
        polls: int = 0,
    ) -> DeployResult:
        """Deploy a metadata zip; `polls` is how often the status is asked before it is done.

        The work is done when the last of these has been asked, so until then it can be cancelled.
        Problems are in the result (`success`, `failures`, `problems`), not raised.
        """
        with self.lock:
            user = self.state.user(username)
            result = DeployResult(
                self.state.ids.next("0Af"), self.state.stamp(), user.id, user.name,
                check_only=check_only, rollback_on_error=rollback_on_error, polls_left=polls,
            )  # fmt: skip
            self.deploys[result.id] = result
            result.work = lambda: Deployment(self.state, user, result).run(content)
            if not polls:
                result.finish()
            return result

    def install_managed(self, content: bytes, namespace: str) -> DeployResult:
        """Install a managed package: metadata whose names have its namespace already.

        Only so do such names come into an org; a deploy that brings them is refused.
        """
        with self.lock:
            user = self.state.user(ADMIN)
            result = DeployResult(
                self.state.ids.next("0Af"), self.state.stamp(), user.id, user.name
            )
            Deployment(self.state, user, result, namespace).run(content)
            return result

    def add_validation_rule(
        self,
        sobject: str,
        name: str,
        predicate: Callable[[dict[str, Any]], bool],
        message: str,
        field: str | None = None,
    ) -> None:
        """Refuse rows for which `predicate(row)` is true, as a customer's own rule would.

        The row holds the stored values by API name, checkboxes as 0 and 1.
        """
        with self.lock:
            rules = self.state.predicates.setdefault(sobject.lower(), [])
            rules[:] = [each for each in rules if each.name != name]
            rules.append(Predicate(name, predicate, message, field))

    def remove_validation_rule(self, sobject: str, name: str) -> None:
        """Drop a rule added before."""
        with self.lock:
            rules = self.state.predicates.get(sobject.lower(), [])
            rules[:] = [each for each in rules if each.name != name]

    # --- rows ---------------------------------------------------------------------------

    def rows(self, sobject: str, *, deleted: bool = False) -> list[dict[str, Any]]:
        """All rows, oldest first, or the deleted ones: every field whatever anyone's access.

        Ids, text, dates and datetimes as the API prints them, numbers as float, checkboxes as
        bool, formulas and roll-ups evaluated.
        """
        with self.lock:
            known = self._sobject(sobject)
            scope = Scope(self.state.schema, known, "t0", self.state.moment())
            fields = list(known.fields.values())
            columns = ", ".join(field_sql(each, scope) for each in fields)
            rows = self.state.storage.all(
                f'SELECT {columns} FROM "{known.name}" t0 WHERE {_deleted(known)} = ? '
                "ORDER BY t0.rowid",
                (int(deleted),),
            )
            return [_as_dict(fields, row) for row in rows]

    def count(self, sobject: str) -> int:
        """The number of rows that are not deleted."""
        with self.lock:
            known = self._sobject(sobject)
            row = self.state.storage.one(
                f'SELECT count(*) FROM "{known.name}" t0 WHERE {_deleted(known)} = 0'
            )
            return int(row[0]) if row else 0

    def insert(self, sobject: str, values: dict[str, Any], *, username: str = ADMIN) -> str:
        """Create a row as that user; the id. Raises RowRefusedError or SalesforceError."""
        with self.lock:
            user, access = self._for(sobject, username)
            incoming = read_record(self.state, access, values, user)
            return _saved(Batch(self.state, user).insert([incoming]))

    def update(
        self, sobject: str, record: str, values: dict[str, Any], *, username: str = ADMIN
    ) -> None:
        """Change a row as that user. Raises RowRefusedError or SalesforceError."""
        with self.lock:
            user, access = self._for(sobject, username)
            incoming = read_record(self.state, access, {**values, "Id": record}, user)
            _saved(Batch(self.state, user).update([incoming]))

    def delete(self, sobject: str, record: str, *, username: str = ADMIN) -> None:
        """Delete a row as that user. Raises RowRefusedError or SalesforceError."""
        with self.lock:
            user, _ = self._for(sobject, username)
            _saved(delete_rows(self.state, user, [record]))

    def undelete(self, sobject: str, record: str, *, username: str = ADMIN) -> None:
        """Take a row out of the recycle bin. Raises RowRefusedError or SalesforceError."""
        with self.lock:
            self._for(sobject, username)
            undelete_row(self.state, record)

    def merge_accounts(self, master_id: str, loser_id: str, *, username: str = ADMIN) -> None:
        """Merge the loser into the master: children move, the loser is deleted."""
        with self.lock:
            user, access = self._for("Account", username)
            master, loser = normalise(master_id), normalise(loser_id)
            if master is None or loser is None or master == loser:
                raise RowRefusedError("MALFORMED_ID", f"malformed id {loser_id}", [])
            merge_rows(self.state, user, access.sobject, master, loser)

    def _sobject(self, name: str) -> SObject:
        known = self.state.schema.get(name)
        if known is None:
            raise SalesforceError("INVALID_TYPE", f"sObject type '{name}' is not supported.")
        return known

    def _for(self, sobject: str, username: str) -> tuple[User, Access]:
        user = self.state.user(username)
        access = self.state.access(sobject, user)
        if access is None:
            raise SalesforceError("INVALID_TYPE", f"sObject type '{sobject}' is not supported.")
        return user, access


def _deleted(sobject: SObject) -> str:
    """The SQL of a row's IsDeleted; records of custom metadata types have no recycle bin."""
    return "0" if sobject.metadata_type else 't0."IsDeleted"'


def _as_dict(fields: list[Field], row: tuple[Any, ...]) -> dict[str, Any]:
    """Field names and values of a fetched row, checkboxes as bool."""
    return {
        each.name: bool(value) if each.type == "Checkbox" else value
        for each, value in zip(fields, row, strict=True)
    }


def _saved(results: list[Result]) -> str:
    result = results[0]
    if result.errors:
        error = result.errors[0]
        raise RowRefusedError(error.code, error.message, error.fields, status=result.status)
    return result.id or ""
