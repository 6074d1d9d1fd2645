"""What a cycle needs from its two edges, as the cycle sees it: a Source and a Target.

The edges implement these without inheriting from them; `tests/memory.py` holds the smallest honest
implementations.
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Protocol

from metronome_salesforce.errors import ConfigError
from metronome_salesforce.linking import Accounts
from metronome_salesforce.mapping import ObjectMapping
from metronome_salesforce.rows import ActualRow, Row, RowResult, Write
from metronome_salesforce.scope import Scope


@dataclass(frozen=True, slots=True)
class Quota:
    """The org's daily API calls, as `Sforce-Limit-Info` tells them."""

    used: int
    maximum: int

    @property
    def remaining(self) -> int:
        """Calls left today; never negative, although the limit is a soft one."""
        return max(0, self.maximum - self.used)


@dataclass(frozen=True, slots=True)
class OrgState:
    """What the preflight found: quota, and the storage left in megabytes (None: not told)."""

    quota: Quota | None
    storage_left_mb: int | None = None
    storage_max_mb: int | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """What an org said of a package that it did not take; `digest` is that of what was sent."""

    digest: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class PackageState:
    """What an org has of the Metronome package.

    `installed` is None where nobody can tell; `version` None where the org does not say. `reason`
    and `message` are those of a condition, `changed` tells that this run installed or upgraded it,
    `lacking` that it is older than the operator, or not given to its user: whatever the user does
    not see is explained by that. `refusal` is of the operator's package, None where it was not sent
    or was taken.
    """

    version: str | None
    installed: bool | None
    reason: str
    message: str
    changed: bool = False
    lacking: bool = False
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class PastRun:
    """What an org remembers of one earlier run.

    `trigger` and `outcome` are as in its record; `latest` when it is marked as the newest one.
    """

    id: str
    run_id: str
    trigger: str
    outcome: str
    latest: bool


@dataclass(frozen=True, slots=True)
class Horizon:
    """How far back the org's own rows oblige a cycle to look.

    `old_drafts` are the (customer, first day) of drafts that began before the look-back,
    `oldest_usage` the first day with usage, None if there is none.
    """

    old_drafts: Sequence[tuple[str, date]] = ()
    oldest_usage: date | None = None


class Target(Protocol):
    """The org. Calls block; they are made from a worker thread, one at a time.

    Every method may raise ConfigError (a person must act) and RetriableError (try later).
    """

    @property
    def chunk_size(self) -> int:
        """How many rows one `write` or `delete` takes at most."""

    @property
    def requests(self) -> int:
        """API calls made so far."""

    @property
    def api_calls(self) -> list[tuple[str, str, str, int]]:
        """Calls so far as ("salesforce", endpoint family, status, count)."""

    @property
    def quota(self) -> Quota | None:
        """The daily quota by the newest answer."""

    def open(self) -> OrgState:
        """Sign in, and see what is left of quota and storage."""

    def prepare(
        self,
        policy: str,
        lacking: ConfigError | None,
        progress: Callable[[str, int, int], None],
        *,
        dry_run: bool = False,
        refusal: Refusal | None = None,
    ) -> PackageState:
        """Install or upgrade the package where `policy` (Never, IfMissing, Always) says so.

        `lacking` is why `check` has failed, None when it has not. A package that has met with
        `refusal` is not sent again.
        What keeps it from being installed is in the state, not raised.
        """

    def past_runs(self, sync: str) -> Sequence[PastRun]:
        """The records of the runs of a MetronomeSync ("namespace/name"), newest first."""

    def check(self, mappings: Sequence[ObjectMapping], state: OrgState | None = None) -> None:
        """See that every object and field of `mappings` is there and writable; sign in before.

        `state` is what `open` has told, which is asked for again without it.

        Raises ConfigError with reason `SalesforceAuthenticationFailed`, `PackageMissing`,
        `FieldNotAccessible` or `ObjectNotAccessible`, naming object, field and the permission set.
        """

    def horizon(self, lookback: date) -> Horizon:
        """Look up drafts that began before `lookback`, and the oldest usage day (small queries)."""

    def read(self, mapping: ObjectMapping, scope: Scope) -> Iterator[list[ActualRow]]:
        """Yield the rows of `mapping` in `scope`, a page at a time."""

    def read_of_customers(
        self, mapping: ObjectMapping, customer_ids: Collection[str], *, content: bool = False
    ) -> Iterator[list[ActualRow]]:
        """Yield every row, of any age, of these customers (Customer and placed objects only)."""

    def pending_links(self) -> list[str]:
        """The ids of customers whose record names another Account than the one applied."""

    def members(self, account_ids: Collection[str]) -> Iterator[list[ActualRow]]:
        """Yield the records, with content, of the customers that hang on these Accounts."""

    def find_accounts(
        self, ids: Collection[str], external_ids: Collection[tuple[str, str]] = ()
    ) -> Accounts:
        """Look Accounts up by id, merged ones included, and by (field, value) external ids."""

    def read_unplaced(self, mapping: ObjectMapping) -> Iterator[list[ActualRow]]:
        """Yield rows, of any age, that hang on nothing (placed objects only)."""

    def accounts(self, ids: Collection[str], *, linked: bool = True) -> Iterator[list[ActualRow]]:
        """Yield those Accounts of `ids` that exist; `linked`: and all with a Metronome customer.

        `object` is "Account", `key` and `id` the 18-character id, `content` the summary fields and
        `hash` their fingerprint. An Account may be yielded twice.
        """

    def write(self, mapping: ObjectMapping, writes: Sequence[Write]) -> list[RowResult]:
        """Upsert by external id (update by id for Accounts); one result per write, in order."""

    def delete(self, mapping: ObjectMapping, writes: Sequence[Write]) -> list[RowResult]:
        """Delete by record id; a record that is gone already counts as deleted."""

    def close(self) -> None:
        """Give the connections back; the session is not revoked."""


@dataclass(frozen=True, slots=True)
class CustomerInfo:
    """What the cycle must know of a customer beside its rows.

    `account_id` is the text found where the tenant keeps the Salesforce id, unchecked.
    """

    id: str
    archived: bool
    account_id: str | None
    name: str | None = None
    ingest_aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Summary:
    """Spend and balances of one customer in one unit (all None when nothing is known)."""

    unit: str | None = None
    current_spend: Decimal | None = None
    last_invoice_total: Decimal | None = None
    last_invoice_end: datetime | None = None
    credit_balance: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """A piece of what Metronome says.

    `covered` names (object, owner) pairs that were read completely: only there a missing row is a
    deleted one. `unwanted` names (object, key) of records that exist and are not to be synced.
    `provisional` names (object, key) of rows that were made from half of the data: they are
    created where the org has none, and otherwise left as they are.
    """

    rows: Sequence[Row] = ()
    covered: Sequence[tuple[str, str]] = ()
    unwanted: Sequence[tuple[str, str]] = ()
    provisional: Sequence[tuple[str, str]] = ()


@dataclass(slots=True)
class Notes:
    """What a person should know although nothing failed: counts by object (and field)."""

    cut: dict[str, int] = field(default_factory=dict)
    malformed: dict[str, int] = field(default_factory=dict)
    duplicates: dict[str, int] = field(default_factory=dict)
    customers_gone: int = 0

    def count(self, where: dict[str, int], what: str) -> None:
        """Add one to `what` in one of the dictionaries."""
        where[what] = where.get(what, 0) + 1


class Source(Protocol):
    """Metronome. Raises ConfigError and RetriableError as `Target` does."""

    @property
    def requests(self) -> int:
        """API calls made so far."""

    @property
    def api_calls(self) -> list[tuple[str, str, str, int]]:
        """Calls so far as ("metronome", endpoint family, status, count)."""

    @property
    def notes(self) -> Notes:
        """What was cut, skipped or seen twice so far."""

    async def customers(self, expected: Collection[str]) -> Sequence[CustomerInfo]:
        """Read all customers, active and archived; must be called first.

        `expected` are ids that the org knows: one that no list holds is asked for by its id.
        """

    async def find_customers(
        self, ids: Collection[str], aliases: Collection[str] = ()
    ) -> Sequence[CustomerInfo]:
        """Look customers up by id or ingest alias, archived ones included."""

    async def store_account_id(self, customer_id: str, account_id: str | None) -> None:
        """Store the Salesforce id with the customer in Metronome.

        Raises ConfigError `MetronomeReadOnly` when the API key may not write.
        """

    @property
    def knows_all_customers(self) -> bool:
        """False if a customer was in a list and could not be read."""

    def fetch(
        self, scope: Scope, objects: Collection[str], linked: Collection[str]
    ) -> AsyncIterator[Batch]:
        """Yield the rows of `objects` in `scope`; customers come last, with their summaries.

        `linked` are the ids of customers whose summary an Account needs, however long archived.
        """

    def account_summary(self, customer_ids: Collection[str]) -> Summary | None:
        """The summary of an Account with these customers; None if not all of it was read."""

    def current_spend(self, customer_id: str) -> Mapping[str, Decimal]:
        """The spend of a customer that `fetch` has read, by unit; empty if not all was read."""

    async def confirm_gone(
        self, name: str, rows: Sequence[tuple[str, str]], scope: Scope
    ) -> set[str]:
        """Which of these (key, customer) rows of an object Metronome certainly has no more."""

    async def close(self) -> None:
        """Give the connections back."""
