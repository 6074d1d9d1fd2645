"""`SalesforceTarget`: one org as a cycle sees it."""

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import date

from metronome_salesforce.errors import ConfigError
from metronome_salesforce.linking import Accounts
from metronome_salesforce.mapping import (
    ACCOUNT,
    LAST_SYNCED,
    LINK_SOURCE,
    LINKED_ACCOUNT_ID,
    ORPHANED_CUSTOMER,
    RELINKING,
    ObjectMapping,
)
from metronome_salesforce.objects import ACCOUNT_SUMMARY
from metronome_salesforce.ports import Horizon, OrgState, PackageState, PastRun, Quota, Refusal
from metronome_salesforce.rows import ActualRow, Operation, RowResult, Write
from metronome_salesforce.salesforce import access, finding, installing, reading, writing
from metronome_salesforce.salesforce.session import Session
from metronome_salesforce.scope import Scope

_MOVES = frozenset({
    ACCOUNT, ORPHANED_CUSTOMER, LINKED_ACCOUNT_ID, LINK_SOURCE, RELINKING, LAST_SYNCED,
})  # fmt: skip


class SalesforceTarget:
    """Implements `ports.Target` on a session, which it owns. One thread at a time."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def chunk_size(self) -> int:
        """How many rows one `write` or `delete` sends in one call."""
        return writing.CHUNK

    @property
    def requests(self) -> int:
        """HTTP requests made so far, logins and repeats included."""
        return sum(self._session.calls.values())

    @property
    def api_calls(self) -> list[tuple[str, str, str, int]]:
        """The same as ("salesforce", endpoint family, status, count)."""
        calls = sorted(self._session.calls.items())
        return [("salesforce", family, status, count) for (family, status), count in calls]

    @property
    def quota(self) -> Quota | None:
        """The daily quota by the newest answer."""
        return self._session.quota

    def open(self) -> OrgState:
        """See `access.org_state`."""
        return access.org_state(self._session)

    def prepare(
        self,
        policy: str,
        lacking: ConfigError | None,
        progress: Callable[[str, int, int], None],
        *,
        dry_run: bool = False,
        refusal: Refusal | None = None,
    ) -> PackageState:
        """See `installing.prepare`."""
        return installing.prepare(
            self._session,
            policy,
            lacking,
            dry_run=dry_run,
            progress=progress,
            refusal=refusal,
        )

    def past_runs(self, sync: str) -> list[PastRun]:
        """See `reading.past_runs`."""
        return reading.past_runs(self._session, sync)

    def check(self, mappings: Sequence[ObjectMapping], state: OrgState | None = None) -> None:
        """See `access.check_access`."""
        access.check_access(self._session, mappings, state)

    def horizon(self, lookback: date) -> Horizon:
        """See `reading.horizon`."""
        return reading.horizon(self._session, lookback)

    def read(self, mapping: ObjectMapping, scope: Scope) -> Iterator[list[ActualRow]]:
        """See `reading.read`."""
        return reading.read(self._session, mapping, scope)

    def read_of_customers(
        self, mapping: ObjectMapping, customer_ids: Collection[str], *, content: bool = False
    ) -> Iterator[list[ActualRow]]:
        """See `reading.read_of_customers`."""
        return reading.read_of_customers(self._session, mapping, customer_ids, content=content)

    def pending_links(self) -> list[str]:
        """See `reading.pending_links`."""
        return reading.pending_links(self._session)

    def members(self, account_ids: Collection[str]) -> Iterator[list[ActualRow]]:
        """See `reading.members`."""
        return reading.members(self._session, account_ids)

    def find_accounts(
        self, ids: Collection[str], external_ids: Collection[tuple[str, str]] = ()
    ) -> Accounts:
        """See `finding.find_accounts`."""
        return finding.find_accounts(self._session, ids, external_ids)

    def read_unplaced(self, mapping: ObjectMapping) -> Iterator[list[ActualRow]]:
        """See `reading.read_unplaced`."""
        return reading.read_unplaced(self._session, mapping)

    def accounts(self, ids: Collection[str], *, linked: bool = True) -> Iterator[list[ActualRow]]:
        """See `reading.accounts`."""
        return reading.accounts(self._session, ids, linked=linked)

    def write(self, mapping: ObjectMapping, writes: Sequence[Write]) -> list[RowResult]:
        """Upsert by external id; what only moves, and Accounts, are updated by record id.

        A row to be moved that was deleted meanwhile must not come into being again, as an empty
        one, and counts as moved.
        """
        if mapping.sobject == ACCOUNT_SUMMARY.sobject:
            return writing.update(self._session, mapping, writes)
        moves = [write for write in writes if _only_moves(write)]
        if not moves:
            return writing.upsert(self._session, mapping, writes)
        rest = [write for write in writes if not _only_moves(write)]
        results = writing.update(self._session, mapping, moves, gone=writing.DELETED)
        if not rest:
            return results
        found = {one.write.key: one for one in results}
        found |= {one.write.key: one for one in writing.upsert(self._session, mapping, rest)}
        return [found[write.key] for write in writes]

    def delete(self, mapping: ObjectMapping, writes: Sequence[Write]) -> list[RowResult]:
        """Delete by record id. Raises ValueError for Accounts: they are not ours."""
        if mapping.sobject == ACCOUNT_SUMMARY.sobject:
            raise ValueError("Accounts are never deleted")
        return writing.delete(self._session, writes)

    def close(self) -> None:
        """Give the connections back; the session is not revoked."""
        self._session.close()


def _only_moves(write: Write) -> bool:
    return (
        write.operation is Operation.UPDATE
        and write.id is not None
        and bool(write.fields)
        and set(write.fields) <= _MOVES
    )
