"""The smallest honest Source and Target: what the two edges do, without a wire.

They are the reference for `ports`: unit tests of the cycle run against them, and the contract suite
holds the real edges against the same expectations.
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal

from metronome_salesforce.canon import content_hash
from metronome_salesforce.errors import ConfigError
from metronome_salesforce.linking import Accounts
from metronome_salesforce.mapping import (
    ACCOUNT,
    CUSTOMER_ID,
    LINK_SOURCE,
    LINKED_ACCOUNT_ID,
    ORPHANED_CUSTOMER,
    RELINKING,
    SYNC_HASH,
    ObjectMapping,
    Reach,
)
from metronome_salesforce.objects import ACCOUNT_SUMMARY, CUSTOMER, SYNC_RUN
from metronome_salesforce.ports import (
    Batch,
    CustomerInfo,
    Horizon,
    Notes,
    OrgState,
    PackageState,
    PastRun,
    Quota,
    Refusal,
    Summary,
)
from metronome_salesforce.rows import ActualRow, Operation, Row, RowError, RowResult, Value, Write
from metronome_salesforce.scope import Scope


@dataclass(slots=True)
class MemoryTarget:
    """An org as dictionaries of fields by external id; `rejects` names keys that it refuses."""

    records: dict[str, dict[str, dict[str, Value]]] = field(default_factory=dict)
    account_ids: set[str] = field(default_factory=set)
    merged: dict[str, str] = field(default_factory=dict)
    rejects: set[str] = field(default_factory=set)
    edited: set[str] = field(default_factory=set)
    written: list[Write] = field(default_factory=list)
    chunk_size: int = 3
    requests: int = 0
    quota: Quota | None = None
    api_calls: list[tuple[str, str, str, int]] = field(default_factory=list)
    storage_left_mb: int | None = None

    def open(self) -> OrgState:
        """What is left."""
        return OrgState(self.quota, self.storage_left_mb)

    def prepare(
        self,
        policy: str,
        _lacking: ConfigError | None,
        progress: Callable[[str, int, int], None],
        *,
        dry_run: bool = False,
        refusal: Refusal | None = None,  # noqa: ARG002 -- the protocol's
    ) -> PackageState:
        """Whatever the policy, an org of memory has the package."""
        progress(policy, 0, int(dry_run))
        return PackageState("1.0.0", installed=True, reason="Installed", message="It is there.")

    def past_runs(self, sync: str) -> Sequence[PastRun]:
        """The records of runs of that name."""
        found = [
            PastRun(
                f"id-{key}",
                key,
                trigger=str(record.get("Trigger__c") or ""),
                outcome=str(record["Outcome__c"] or ""),
                latest=record.get("Is_Latest__c") is True,
            )
            for key, record in self.records[SYNC_RUN.name].items()
            if record["Sync__c"] == sync
        ]
        return found[::-1]

    def check(self, mappings: Sequence[ObjectMapping], _state: OrgState | None = None) -> None:
        """An org of memory has every object."""
        for mapping in (*mappings, SYNC_RUN):
            self.records.setdefault(mapping.name, {})
        for id_ in self.account_ids:
            self.records["Account"].setdefault(id_, {})

    def horizon(self, lookback: date) -> Horizon:
        """The old drafts and the first usage day among the records."""
        drafts = [
            (str(record[CUSTOMER_ID]), start)
            for record in self.records.get("Invoice", {}).values()
            if record.get("Status__c") == "Draft"
            and (start := _day(record["Start__c"])) is not None
            and start < lookback
        ]
        days = [record["Start__c"] for record in self.records.get("Usage", {}).values()]
        return Horizon(drafts, _oldest(days))

    def read(self, mapping: ObjectMapping, scope: Scope) -> Iterator[list[ActualRow]]:
        """Yield the records in scope, two a page."""
        rows = [
            self._actual(mapping, key, record, content=scope.content)
            for key, record in self.records[mapping.name].items()
            if self._in_scope(mapping, record, scope) and (key in self.edited or not scope.edited)
        ]
        for start in range(0, len(rows), 2):
            yield rows[start : start + 2]

    def read_of_customers(
        self, mapping: ObjectMapping, customer_ids: Collection[str], *, content: bool = False
    ) -> Iterator[list[ActualRow]]:
        """Yield the records of these customers."""
        yield [
            self._actual(mapping, key, record, content=content)
            for key, record in self.records[mapping.name].items()
            if record.get(CUSTOMER_ID) in customer_ids
        ]

    def pending_links(self) -> list[str]:
        """The customers whose record names another Account than the one applied."""
        return [
            key
            for key, record in self.records["Customer"].items()
            if record.get(ACCOUNT) != record.get(LINKED_ACCOUNT_ID)
        ]

    def members(self, account_ids: Collection[str]) -> Iterator[list[ActualRow]]:
        """Yield the records of the customers on these Accounts."""
        yield [
            self._actual(CUSTOMER, key, record, content=True)
            for key, record in self.records["Customer"].items()
            if record.get(ACCOUNT) in account_ids
        ]

    def find_accounts(
        self, ids: Collection[str], external_ids: Collection[tuple[str, str]] = ()
    ) -> Accounts:
        """The Accounts that exist, or were merged; an external id is a field of the record."""
        by_external_id = {
            (name, value.lower()): tuple(
                id_ for id_, record in self.records["Account"].items() if record.get(name) == value
            )
            for name, value in external_ids
        }
        wanted = {*ids, *(id_ for found in by_external_id.values() for id_ in found)}
        wanted |= {self.merged[id_] for id_ in wanted if id_ in self.merged}
        names = {id_: None for id_ in self.records["Account"] if id_ in wanted}
        return Accounts(names, self.merged, by_external_id)

    def read_unplaced(self, mapping: ObjectMapping) -> Iterator[list[ActualRow]]:
        """Yield the records that hang on nothing."""
        yield [
            self._actual(mapping, key, record, content=False)
            for key, record in self.records[mapping.name].items()
            if record.get(ACCOUNT) is None and record.get(ORPHANED_CUSTOMER) is None
        ]

    def accounts(self, ids: Collection[str], *, linked: bool = True) -> Iterator[list[ActualRow]]:
        """Yield the Accounts asked for that exist, and those with a customer."""
        for id_, record in self.records["Account"].items():
            if id_ in ids or (linked and record.get(CUSTOMER_ID) is not None):
                content = {one.api: record.get(one.api) for one in ACCOUNT_SUMMARY.content}
                yield [ActualRow("Account", id_, id_, content_hash(content), content=content)]

    def write(self, mapping: ObjectMapping, writes: Sequence[Write]) -> list[RowResult]:
        """Merge the fields into the records."""
        assert len(writes) <= self.chunk_size
        self.requests += 1
        results = []
        for write in writes:
            if write.key in self.rejects:
                error = RowError("STRING_TOO_LONG", "too long", ("Name",))
                results.append(RowResult(write, error=error))
                continue
            self.written.append(write)
            records = self.records[mapping.name]
            created = write.key not in records
            if mapping is ACCOUNT_SUMMARY:
                records[write.key].update(write.fields)
            else:
                records.setdefault(write.key, {mapping.key.api: write.key}).update(write.fields)
            self.edited.discard(write.key)
            results.append(RowResult(write, created=created))
        return results

    def delete(self, mapping: ObjectMapping, writes: Sequence[Write]) -> list[RowResult]:
        """Drop the records."""
        self.requests += 1
        for write in writes:
            assert write.operation is Operation.DELETE
            self.written.append(write)
            del self.records[mapping.name][write.key]
        return [RowResult(write) for write in writes]

    def close(self) -> None:
        """Nothing to give back."""

    def _in_scope(self, mapping: ObjectMapping, record: Mapping[str, Value], scope: Scope) -> bool:
        if mapping.reach is Reach.USAGE:
            return (
                scope.usage_from is None
                or record.get("Window_Size__c") == "None"
                or str(record["Start__c"]) >= str(scope.usage_from)
            )
        if mapping.reach is Reach.INVOICES:
            invoice = self._invoice_of(mapping, record)
            return scope.includes_invoice(
                draft=invoice.get("Status__c") == "Draft",
                end=_day(invoice.get("End__c")),
                issued=_day(invoice.get("Issued_At__c")),
            )
        return True

    def _invoice_of(
        self, mapping: ObjectMapping, record: Mapping[str, Value]
    ) -> Mapping[str, Value]:
        if mapping.name == "Invoice":
            return record
        if "Invoice_Line_Item__c" in record:
            record = self.records["InvoiceLineItem"][str(record["Invoice_Line_Item__c"])]
        return self.records["Invoice"][str(record["Invoice__c"])]

    def _actual(
        self, mapping: ObjectMapping, key: str, record: Mapping[str, Value], *, content: bool
    ) -> ActualRow:
        owner = record.get(CUSTOMER_ID)
        draft = False
        if mapping.reach is Reach.INVOICES:
            invoice = self._invoice_of(mapping, record)
            draft = invoice.get("Status__c") == "Draft"
            if mapping.name != "Invoice":
                owner = invoice["Metronome_Invoice_ID__c"]
        return ActualRow(
            mapping.name,
            key,
            f"id-{key}",
            _text(record.get(SYNC_HASH)),
            customer_id=_text(record.get(CUSTOMER_ID)),
            owner=_text(owner),
            account=_text(record.get(ACCOUNT)),
            orphaned_customer=_text(record.get(ORPHANED_CUSTOMER)),
            linked=_text(record.get(LINKED_ACCOUNT_ID)),
            link_source=_text(record.get(LINK_SOURCE)),
            relinking=record.get(RELINKING) is True,
            edited=key in self.edited,
            draft=draft,
            content={one.api: record.get(one.api) for one in mapping.content} if content else None,
        )


@dataclass(slots=True)
class MemorySource:
    """A tenant as a list of batches."""

    infos: list[CustomerInfo]
    batches: list[Batch]
    notes: Notes = field(default_factory=Notes)
    requests: int = 0
    api_calls: list[tuple[str, str, str, int]] = field(default_factory=list)
    scopes: list[Scope] = field(default_factory=list)
    still_there: set[str] = field(default_factory=set)
    knows_all_customers: bool = True
    spend: dict[str, dict[str, Decimal]] = field(default_factory=dict)

    async def customers(self, _expected: Collection[str]) -> Sequence[CustomerInfo]:
        """The customers."""
        return self.infos

    async def find_customers(
        self, ids: Collection[str], aliases: Collection[str] = ()
    ) -> Sequence[CustomerInfo]:
        """The customers with these ids or aliases."""
        return [
            info
            for info in self.infos
            if info.id in ids or not set(aliases).isdisjoint(info.ingest_aliases)
        ]

    async def store_account_id(self, customer_id: str, account_id: str | None) -> None:
        """Set the Salesforce id of a customer."""
        self.infos = [
            replace(info, account_id=account_id) if info.id == customer_id else info
            for info in self.infos
        ]

    async def fetch(
        self, scope: Scope, objects_wanted: Collection[str], _linked: Collection[str]
    ) -> AsyncIterator[Batch]:
        """The batches, as they are: scope and objects are the test's own concern."""
        self.scopes.append(scope)
        for batch in self.batches:
            rows = [row for row in batch.rows if row.object in objects_wanted]
            yield replace(batch, rows=rows)

    async def confirm_gone(
        self, _name: str, rows: Sequence[tuple[str, str]], _scope: Scope
    ) -> set[str]:
        """Everything but what the test says is still there."""
        return {key for key, _ in rows} - self.still_there

    def account_summary(self, customer_ids: Collection[str]) -> Summary | None:
        """An empty summary: sums are the business of the real source."""
        return Summary() if customer_ids else None

    def current_spend(self, customer_id: str) -> Mapping[str, Decimal]:
        """What the test says that the customer spends."""
        return self.spend.get(customer_id, {})

    async def close(self) -> None:
        """Nothing to give back."""


def row(object_name: str, key: str, customer: str | None, **content: Value) -> Row:
    """A row whose owner is its customer."""
    return Row(object_name, key, customer, customer, content)


def _text(value: Value) -> str | None:
    return None if value is None else str(value)


def _day(value: Value) -> date | None:
    return None if value is None else date.fromisoformat(str(value)[:10])


def _oldest(values: list[Value]) -> date | None:
    days = [day for day in map(_day, values) if day is not None]
    return min(days, default=None)
