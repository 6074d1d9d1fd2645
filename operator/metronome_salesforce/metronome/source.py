"""Metronome as a Source: reads what a cycle asks for and makes canonical rows of it.

Invoices can only be read customer by customer, all else comes for many customers at once. Drafts
are always read; the rest of a customer's invoices from the newest backwards, and no further than
the scope (and the newest finalized invoice, which the summary needs) demands.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Collection,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Literal

from metronome_salesforce import objects
from metronome_salesforce.errors import ConfigError
from metronome_salesforce.mapping import ObjectMapping, Record, to_row
from metronome_salesforce.metronome.client import MetronomeClient
from metronome_salesforce.metronome.keys import (
    adjustment_keys,
    line_keys,
    sub_line_keys,
    usage_key,
)
from metronome_salesforce.metronome.models import Customer, Invoice, MalformedItem, Usage
from metronome_salesforce.metronome.retrying import CustomerGone, PlanGone
from metronome_salesforce.metronome.summing import Tally, combined
from metronome_salesforce.ports import Batch, CustomerInfo, Notes, Summary
from metronome_salesforce.rows import Row
from metronome_salesforce.scope import Scope

logger = logging.getLogger(__name__)

INVOICE_OBJECTS = frozenset(
    {"Invoice", "InvoiceLineItem", "InvoiceSubLineItem", "InvoiceAdjustment"}
)
_WINDOWS: Mapping[str, Literal["DAY", "HOUR", "NONE"]] = {
    "Day": "DAY",
    "Hour": "HOUR",
    "None": "NONE",
}
_RECENT_PAGE = 10  # a look-back of a month holds few invoices; asking for 100 would read years
_WHOLE_PAGE = 100
_BATCH_ROWS = 500
_MISSED_AT_MOST = 500
_LOGGED_AT_MOST = 20
_CUSTOM_FIELD = "customFields."
_ALIASES_ONE_BY_ONE = 20


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """What of Metronome is wanted.

    `salesforce_id_field` is `salesforce_account_id` (the customer's own configuration) or
    `customFields.<key>`. `statuses` are invoice statuses as Metronome writes them. `now` is the
    moment of the cycle: usage is read up to the last complete UTC day before it.
    """

    now: datetime
    window_size: str = "Day"
    salesforce_id_field: str = "salesforce_account_id"
    statuses: frozenset[str] = frozenset({"DRAFT", "FINALIZED", "VOID"})
    skip_zero: bool = True
    concurrency: int = 4


@dataclass(slots=True)
class _Invoices:
    """What was read of one customer's invoices."""

    customer: Customer
    invoices: list[Invoice] = field(default_factory=list)
    complete: bool = True


class MetronomeSource:
    """Reads one tenant through `client`; implements `ports.Source`.

    `client` must report malformed items to `on_malformed` and duplicates to `on_duplicate` of this
    object, see `connect`.
    """

    def __init__(
        self, settings: SourceSettings, *, progress: Callable[[int, int], None] | None = None
    ) -> None:
        self._settings = settings
        self._progress = progress
        self._client: MetronomeClient | None = None
        self._customers: dict[str, Customer] = {}
        self._archived: set[str] = set()
        self._asleep: set[str] = set()
        self._tallies: dict[str, Tally] = {}
        self._malformed_customers: set[str] = set()
        self._malformed_lists: set[str] = set()
        self._calls: Counter[tuple[str, str]] = Counter()
        self.notes = Notes()

    @classmethod
    def connect(
        cls,
        settings: SourceSettings,
        make_client: Callable[["MetronomeSource"], MetronomeClient],
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> "MetronomeSource":
        """Build source and client, which report to each other."""
        source = cls(settings, progress=progress)
        source._client = make_client(source)
        return source

    @property
    def requests(self) -> int:
        """API calls made so far, retries included."""
        return self._calls.total()

    @property
    def api_calls(self) -> list[tuple[str, str, str, int]]:
        """The same by endpoint family and HTTP status."""
        return [("metronome", *call, count) for call, count in sorted(self._calls.items())]

    def on_request(self, family: str, status: str, _seconds: float) -> None:
        """Count one attempt."""
        self._calls[family, status] += 1

    def on_malformed(self, item: MalformedItem) -> None:
        """Remember what could not be read, so that nothing of it is taken for deleted."""
        self.notes.count(self.notes.malformed, item.endpoint)
        if self.notes.malformed[item.endpoint] <= _LOGGED_AT_MOST:
            logger.warning(
                "left out an item of %s that cannot be read: %s %s (item %s, customer %s)",
                *(item.endpoint, item.path, item.problem),
                *(item.item_id or "unknown", item.customer_id or "unknown"),
            )
        self._malformed_lists.add(item.endpoint)
        if item.customer_id is not None:
            self._malformed_customers.add(item.customer_id)

    def on_duplicate(self, endpoint: str) -> None:
        """Count an item that a list brought twice."""
        self.notes.count(self.notes.duplicates, endpoint)

    async def customers(self, expected: Collection[str]) -> Sequence[CustomerInfo]:
        """Read the active customers, then the archived ones, then who of `expected` was missed.

        A customer who leaves the list while it is read shifts the rest, so that one on the seam of
        two pages is in neither.
        """
        client = self._connected()
        async with aclosing(client.customers()) as active:
            async for customer in active:
                self._customers[customer.id] = customer
        async with aclosing(client.customers(archived=True)) as archived:
            async for customer in archived:
                # Archived between the two lists: the later answer is the truth.
                self._customers[customer.id] = customer
                self._archived.add(customer.id)
        missed = sorted(set(expected) - self._customers.keys())
        # Thousands are no seam but another environment; the guard of the plan says so.
        for chunk in _chunks(missed[:_MISSED_AT_MOST]):
            for archived_too in (False, True):
                again = client.customers(archived=archived_too, ids=chunk)
                async with aclosing(again) as found:
                    async for customer in found:
                        self._customers[customer.id] = customer
                        if archived_too:
                            self._archived.add(customer.id)
        self._tallies = {id_: Tally() for id_ in self._customers}
        return [
            self._info(customer, archived=id_ in self._archived)
            for id_, customer in self._customers.items()
        ]

    async def find_customers(
        self, ids: Collection[str], aliases: Collection[str] = ()
    ) -> Sequence[CustomerInfo]:
        """Look customers up by id, 100 a call, or ingest alias; archived ones included.

        Where many aliases are asked for, reading all customers takes fewer calls.
        """
        client = self._connected()
        found: dict[str, CustomerInfo] = {}

        async def take(customers: AsyncGenerator[Customer, None], *, archived: bool) -> None:
            async with aclosing(customers) as page:
                async for customer in page:
                    found[customer.id] = self._info(customer, archived=archived)

        if len(aliases) > _ALIASES_ONE_BY_ONE:
            for archived in (False, True):
                await take(client.customers(archived=archived), archived=archived)
            wanted, asked = set(aliases), set(ids)
            return [
                one
                for one in found.values()
                if one.id in asked or not wanted.isdisjoint(one.ingest_aliases)
            ]
        for archived in (False, True):
            # Who is archived is in the second list alone.
            missing = sorted(set(ids) - found.keys())
            for chunk in _chunks(missing):
                await take(client.customers(archived=archived, ids=chunk), archived=archived)
        for alias in sorted(aliases):
            for archived in (False, True):
                await take(
                    client.customers(archived=archived, ingest_alias=alias), archived=archived
                )
        return list(found.values())

    async def store_account_id(self, customer_id: str, account_id: str | None) -> None:
        """Store the Salesforce id with the customer in Metronome.

        Raises ConfigError `MetronomeReadOnly` when the API key may not write, and
        `WriteBackImpossible` when the id is kept in a custom field.
        """
        if self._settings.salesforce_id_field.startswith(_CUSTOM_FIELD):
            raise ConfigError(
                "WriteBackImpossible",
                "spec.linking.writeBack stores the Salesforce id in the customer's configuration,"
                " and spec.metronome.salesforceIdField names a custom field; set one of the two"
                " back.",
            )
        try:
            await self._connected().update_config(customer_id, salesforce_account_id=account_id)
        except CustomerGone:
            return  # the next cycle says so
        except ConfigError as error:
            if error.reason != "MetronomePermissionDenied":
                raise
            raise ConfigError(
                "MetronomeReadOnly",
                "Metronome's API key may not change customers, so the Account ids of"
                " spec.linking.writeBack cannot be stored there; give the key that right, or set"
                " writeBack to false. Links work all the same.",
            ) from None

    def _info(self, customer: Customer, *, archived: bool) -> CustomerInfo:
        return CustomerInfo(
            customer.id,
            archived,
            self._salesforce_id(customer),
            customer.name,
            tuple(customer.ingest_aliases),
        )

    @property
    def knows_all_customers(self) -> bool:
        """False if a customer was in a list and could not be read."""
        return "GET /v1/customers" not in self._malformed_lists

    async def fetch(
        self, scope: Scope, objects_wanted: Collection[str], linked: Collection[str]
    ) -> AsyncIterator[Batch]:
        """Yield plans, assignments, invoices, grants, usage and at last the customers.

        A daily cycle leaves out customers that were archived before its reach: nothing of them
        changes any more, and reading their invoices would cost a call each, every day. Those in
        `linked` are read nevertheless, because the sums of their Accounts need them.
        """
        if not scope.full:
            self._asleep = self._archived_before(scope.invoices_from).difference(linked)
        if "Plan" in objects_wanted:
            async for batch in self._plans(with_assignments="CustomerPlan" in objects_wanted):
                yield batch
        if INVOICE_OBJECTS.intersection(objects_wanted):
            async for batch in self._all_invoices(scope, objects_wanted):
                yield batch
        if "CreditGrant" in objects_wanted:
            async for batch in self._grants():
                yield batch
        if "Usage" in objects_wanted:
            async for batch in self._usage(scope):
                yield batch
        yield Batch(
            [
                self._row(
                    objects.CUSTOMER,
                    {
                        "customer": customer,
                        "archived": id_ in self._archived,
                        "summary": self._tallies[id_].summary(),
                    },
                    key=id_,
                    customer=customer,
                )
                for id_, customer in self._customers.items()
                if id_ not in self._asleep
            ],
            provisional=[
                ("Customer", id_) for id_, tally in self._tallies.items() if tally.incomplete
            ],
        )

    def account_summary(self, customer_ids: Collection[str]) -> Summary | None:
        """The summary of an Account with these customers; None if not all of it was read."""
        tallies = [self._tallies[id_] for id_ in customer_ids]
        if self._asleep.intersection(customer_ids) or any(one.incomplete for one in tallies):
            return None
        return combined(tallies).summary()

    def current_spend(self, customer_id: str) -> Mapping[str, Decimal]:
        """The spend of a customer that `fetch` has read, by unit; empty if not all was read."""
        tally = self._tallies[customer_id]
        return {} if tally.incomplete else tally.spend

    async def confirm_gone(
        self, name: str, rows: Sequence[tuple[str, str]], scope: Scope
    ) -> set[str]:
        """Which of these (key, customer) rows are certainly not in Metronome any more.

        Lists move while they are read: what leaves one shifts the rest, and an item on the seam of
        two pages is missed. So what is to be deleted is asked for once more, by its id; and what
        belongs to a customer who has left himself is history and stays.
        """
        if name not in {"CreditGrant", "Usage", "Invoice"}:
            return {key for key, _ in rows}  # parts of an invoice come with its one document
        customers = await self._active({customer for _, customer in rows})
        mine = [(key, customer) for key, customer in rows if customer in customers]
        match name:
            case "CreditGrant":
                found = await self._existing_grants([key for key, _ in mine])
            case "Usage":
                found = await self._existing_usage(sorted({one for _, one in mine}), scope)
            case _:
                found = await self._existing_invoices(mine)
        return {key for key, _ in mine} - found

    async def _active(self, ids: Collection[str]) -> set[str]:
        active: set[str] = set()
        for chunk in _chunks(sorted(ids)):
            async with aclosing(self._connected().customers(ids=chunk)) as customers:
                active.update([one.id async for one in customers])
        return active

    async def _existing_grants(self, ids: Sequence[str]) -> set[str]:
        found: set[str] = set()
        for chunk in _chunks(ids):
            async with aclosing(self._connected().credit_grants(ids=chunk)) as grants:
                found.update([one.id async for one in grants])
        return found

    async def _existing_usage(self, customer_ids: Sequence[str], scope: Scope) -> set[str]:
        found: set[str] = set()
        span = self._usage_span(scope)
        if span is None:
            return found
        size = self._settings.window_size
        for chunk in _chunks(customer_ids):
            usage = self._connected().usage(
                starting_on=span[0],
                ending_before=span[1],
                window_size=_WINDOWS[size],
                customer_ids=chunk,
            )
            async with aclosing(usage) as items:
                found.update([usage_key(one, size) async for one in items if self._counts(one)])
        return found

    async def _existing_invoices(self, rows: Sequence[tuple[str, str]]) -> set[str]:
        found: set[str] = set()
        for key, customer_id in rows:
            invoice = await self._connected().invoice(customer_id, key)
            if invoice is not None and invoice.status not in self._unwanted:
                found.add(key)
        return found

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.__aexit__(None, None, None)

    async def _plans(self, *, with_assignments: bool) -> AsyncIterator[Batch]:
        client = self._connected()
        plan_ids: list[str] = []
        rows: list[Row] = []
        async with aclosing(client.plans()) as plans:
            async for plan in plans:
                plan_ids.append(plan.id)
                rows.append(self._row(objects.PLAN, {"plan": plan}, key=plan.id))
        yield Batch(rows)
        if not with_assignments:
            return
        for plan_id in plan_ids:
            rows = []
            try:
                async with aclosing(client.plan_customers(plan_id)) as assignments:
                    async for assignment in assignments:
                        customer = self._awake(assignment.customer_details.id)
                        if customer is not None:
                            details = assignment.plan_details
                            rows.append(
                                self._row(
                                    objects.CUSTOMER_PLAN,
                                    {"customer_plan": details, "customer": customer},
                                    key=details.customer_plan_id,
                                    customer=customer,
                                )
                            )
            except PlanGone:
                pass  # deleted while we read; its rows are history and stay
            yield Batch(rows)

    async def _all_invoices(self, scope: Scope, wanted: Collection[str]) -> AsyncIterator[Batch]:
        """Read customer by customer, several at a time, and yield in the order they finish."""
        todo = [customer for id_, customer in self._customers.items() if id_ not in self._asleep]
        # One place: a customer's invoices may be large, and the plan is faster than the wire.
        finished: asyncio.Queue[_Invoices | Exception] = asyncio.Queue(1)
        waiting = iter(todo)

        async def work() -> None:
            try:
                for customer in waiting:
                    await finished.put(await self._invoices(customer, scope))
            except Exception as error:  # noqa: BLE001 -- raised again where the batches are read
                await finished.put(error)

        workers = [
            asyncio.create_task(work()) for _ in range(min(self._settings.concurrency, len(todo)))
        ]
        try:
            for done in range(1, len(todo) + 1):
                read = await finished.get()
                if isinstance(read, Exception):
                    raise read
                yield self._invoice_batch(read, scope, wanted)
                if self._progress is not None:
                    self._progress(done, len(todo))
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    def _archived_before(self, day: date | None) -> set[str]:
        if day is None:
            return set()
        archived = ((id_, self._customers[id_].archived_at) for id_ in self._archived)
        return {id_ for id_, moment in archived if moment is not None and _day(moment) < day}

    def _awake(self, customer_id: str) -> Customer | None:
        """The customer, if its rows are looked at in this cycle."""
        return None if customer_id in self._asleep else self._customers.get(customer_id)

    async def _invoices(self, customer: Customer, scope: Scope) -> _Invoices:
        client = self._connected()
        found: dict[str, Invoice] = {}
        result = _Invoices(customer)
        try:
            if scope.invoices_from is not None:
                async with aclosing(client.invoices(customer.id, status="DRAFT")) as drafts:
                    async for invoice in drafts:
                        found[invoice.id] = invoice
            limit = _WHOLE_PAGE if scope.invoices_from is None else _RECENT_PAGE
            seen = Tally()
            for draft in found.values():
                seen.add_invoice(draft)
            async with aclosing(client.invoices(customer.id, limit=limit)) as newest_first:
                async for invoice in newest_first:
                    if invoice.id not in found:
                        found[invoice.id] = invoice
                        seen.add_invoice(invoice)
                    if _is_before(invoice, scope.invoices_from) and seen.settles(_issued(invoice)):
                        break
        except CustomerGone:
            self.notes.customers_gone += 1
            result.complete = False
        result.complete = result.complete and customer.id not in self._malformed_customers
        result.invoices = list(found.values())
        return result

    def _invoice_batch(self, read: _Invoices, scope: Scope, wanted: Collection[str]) -> Batch:
        customer, tally = read.customer, self._tallies[read.customer.id]
        rows: list[Row] = []
        covered: list[tuple[str, str]] = []
        unwanted: list[tuple[str, str]] = []
        if not read.complete:
            tally.incomplete = True
        for invoice in read.invoices:
            tally.add_invoice(invoice)
            if not scope.includes_invoice(
                draft=invoice.status == "DRAFT",
                end=_day_or_none(invoice.end_timestamp),
                issued=_day_or_none(invoice.issued_at),
            ):
                continue
            if invoice.status in self._unwanted:
                unwanted.append(("Invoice", invoice.id))
                continue
            rows.extend(self._invoice_rows(customer, invoice, wanted))
            covered.extend((name, invoice.id) for name in INVOICE_OBJECTS - {"Invoice"})
        if read.complete:
            covered.append(("Invoice", customer.id))
        return Batch(rows, covered, unwanted)

    def _invoice_rows(
        self, customer: Customer, invoice: Invoice, wanted: Collection[str]
    ) -> list[Row]:
        record: dict[str, object] = {"invoice": invoice, "customer": customer}
        rows = [self._row(objects.INVOICE, record, key=invoice.id, customer=customer)]

        def child(mapping: ObjectMapping, facts: Record, key: str) -> Row:
            return self._row(mapping, facts, key=key, customer=customer, owner=invoice.id)

        line_items = zip(line_keys(invoice.id, invoice.line_items), invoice.line_items, strict=True)
        for position, (key, line) in enumerate(line_items):
            facts = {"line": line, "line_key": key, "position": position, **record}
            rows.append(child(objects.INVOICE_LINE_ITEM, facts, key))
            sub_line_items = zip(
                sub_line_keys(key, line.sub_line_items), line.sub_line_items, strict=True
            )
            for sub_position, (sub_key, sub_line) in enumerate(sub_line_items):
                sub_facts = {**facts, "sub_line": sub_line, "position": sub_position}
                rows.append(child(objects.INVOICE_SUB_LINE_ITEM, sub_facts, sub_key))
        adjustments = zip(
            adjustment_keys(invoice.id, invoice.invoice_adjustments),
            invoice.invoice_adjustments,
            strict=True,
        )
        for key, adjustment in adjustments:
            facts = {"adjustment": adjustment, **record}
            rows.append(child(objects.INVOICE_ADJUSTMENT, facts, key))
        return [row for row in rows if row.object in wanted]

    async def _grants(self) -> AsyncIterator[Batch]:
        rows: list[Row] = []
        async with aclosing(self._connected().credit_grants()) as grants:
            async for grant in grants:
                customer = self._awake(grant.customer_id)
                if customer is None:
                    continue
                self._tallies[customer.id].add_grant(grant, self._settings.now)
                rows.append(
                    self._row(
                        objects.CREDIT_GRANT,
                        {"grant": grant, "customer": customer},
                        key=grant.id,
                        customer=customer,
                    )
                )
                if len(rows) >= _BATCH_ROWS:
                    yield Batch(rows)
                    rows = []
        yield Batch(rows)
        yield self._covered_unless_malformed("CreditGrant", "POST /v1/credits/listGrants")

    async def _usage(self, scope: Scope) -> AsyncIterator[Batch]:
        span = self._usage_span(scope)
        if span is None:
            return
        since, until = span
        size = self._settings.window_size
        rows: list[Row] = []
        usage = self._connected().usage(
            starting_on=since, ending_before=until, window_size=_WINDOWS[size]
        )
        async with aclosing(usage) as items:
            async for item in items:
                customer = self._awake(item.customer_id)
                if customer is None or not self._counts(item):
                    continue
                rows.append(
                    self._row(
                        objects.USAGE,
                        {"usage": item, "customer": customer, "window_size": size},
                        key=usage_key(item, size),
                        customer=customer,
                    )
                )
                if len(rows) >= _BATCH_ROWS:
                    yield Batch(rows)
                    rows = []
        yield Batch(rows)
        yield self._covered_unless_malformed("Usage", "POST /v1/usage")

    def _covered_unless_malformed(self, name: str, endpoint: str) -> Batch:
        """One unreadable item may stand for any row, so then nothing of the list is deleted."""
        if endpoint in self._malformed_lists:
            for id_ in self._malformed_customers & self._tallies.keys():
                self._tallies[id_].incomplete |= name == "CreditGrant"
            return Batch()
        return Batch(covered=[(name, id_) for id_ in self._customers if id_ not in self._archived])

    @property
    def _unwanted(self) -> frozenset[str]:
        return frozenset({"DRAFT", "FINALIZED", "VOID"}) - self._settings.statuses

    def _counts(self, usage: Usage) -> bool:
        return bool(usage.value) or not self._settings.skip_zero

    def _usage_span(self, scope: Scope) -> tuple[datetime, datetime] | None:
        """The complete days since the scope's start; the current day is still counting."""
        if scope.usage_from is None:
            return None
        until = datetime.combine(self._settings.now.astimezone(UTC).date(), time(), UTC)
        since = datetime.combine(scope.usage_from, time(), UTC)
        return (since, until) if since < until else None

    def _salesforce_id(self, customer: Customer) -> str | None:
        field_name = self._settings.salesforce_id_field
        if field_name.startswith(_CUSTOM_FIELD):
            return customer.custom_fields.get(field_name.removeprefix(_CUSTOM_FIELD))
        return customer.customer_config.salesforce_account_id

    def _row(
        self,
        mapping: ObjectMapping,
        record: Record,
        *,
        key: str,
        customer: Customer | None = None,
        owner: str | None = None,
    ) -> Row:
        customer_id = None if customer is None else customer.id
        return to_row(
            mapping,
            record,
            key=key,
            customer_id=customer_id,
            owner=owner or customer_id,
            on_cut=self._on_cut,
        )

    def _on_cut(self, object_name: str, field_name: str) -> None:
        self.notes.count(self.notes.cut, f"{object_name}.{field_name}")

    def _connected(self) -> MetronomeClient:
        if self._client is None:
            raise RuntimeError("connect() has not been called")
        return self._client


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + _WHOLE_PAGE] for start in range(0, len(ids), _WHOLE_PAGE))


def _issued(invoice: Invoice) -> datetime:
    return invoice.issued_at or datetime.max.replace(tzinfo=UTC)


def _is_before(invoice: Invoice, day: date | None) -> bool:
    """Whether this invoice, and so every older one, is out of reach."""
    if day is None or invoice.issued_at is None:
        return False
    end = invoice.end_timestamp
    return _day(invoice.issued_at) < day and (end is None or _day(end) < day)


def _day(moment: datetime) -> date:
    return moment.astimezone(UTC).date()


def _day_or_none(moment: datetime | None) -> date | None:
    return None if moment is None else _day(moment)
