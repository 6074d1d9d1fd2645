"""Settle a customer: from usage and time to its invoices and the balances of its grants.

A settlement is a pure function of the customer, the usage and the moment, because every invoice
has a fixed id and a fixed moment at which it stops changing. What people do to invoices (void,
regenerate, split, delete) is remembered in the customer's `Account` and replayed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from metronome_salesforce.sandbox.metronome.charging import (
    Quantity,
    contract_lines,
    plan_adjustments,
    plan_lines,
    scheduled_line,
)
from metronome_salesforce.sandbox.metronome.metering import Metering
from metronome_salesforce.sandbox.metronome.values import (
    GRACE,
    ZERO,
    Adjustment,
    Assignment,
    Contract,
    Customer,
    Document,
    Entry,
    Grant,
    Invoice,
    Line,
    Scheduled,
    invoice_id,
    month_start,
    plain,
)

_SCHEDULED_DELAY = timedelta(minutes=30)
_DEDUCTION = "Automated invoice deduction"


@dataclass(slots=True)
class Account:
    """What was done to one customer's invoices, and those that can no longer change."""

    finalized: dict[str, Invoice] = field(default_factory=dict)
    regenerated: list[Invoice] = field(default_factory=list)
    voided: dict[str, datetime] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    split: set[str] = field(default_factory=set)
    paid: set[str] = field(default_factory=set)
    raw: list[Document] = field(default_factory=list)


@dataclass(slots=True)
class Ledger:
    """A grant's balance as its entries make it."""

    grant: Grant
    left: Decimal
    posted: list[Entry] = field(default_factory=list)
    pending: list[Entry] = field(default_factory=list)

    @property
    def excluding_pending(self) -> Decimal:
        """What is left when only posted entries count."""
        return plain(self.grant.amount - sum((one.amount for one in self.posted), ZERO))

    @property
    def including_pending(self) -> Decimal:
        """What is left when the current drafts are counted too."""
        return plain(self.left)


@dataclass(frozen=True, slots=True)
class Settlement:
    """A customer's invoices, by issue date, and its grants' ledgers by id."""

    invoices: tuple[Invoice, ...]
    ledgers: dict[str, Ledger]


@dataclass(frozen=True, slots=True)
class _Slot:
    """The place of one invoice in time."""

    id: str
    finalizes_at: datetime
    issued_at: datetime
    start: datetime | None = None
    end: datetime | None = None
    assignment: Assignment | None = None
    contract: Contract | None = None
    item: Scheduled | None = None


def settle(
    customer: Customer, account: Account | None, metering: Metering, now: datetime
) -> Settlement:
    """Return the customer's invoices and ledgers at `now`.

    Finalized invoices are added to the account, if there is one, so that they stay as they are
    whatever happens to usage and grants later.
    """
    run = _Run(customer, account, metering, now)
    return run.settle()


def regenerate(
    customer: Customer, account: Account, metering: Metering, now: datetime, void: Invoice
) -> Invoice:
    """Return a new invoice for a voided one's period, from today's usage and balances."""
    run = _Run(customer, account, metering, now)
    run.settle()
    slot = _Slot(
        id=invoice_id("regenerated", void.id),
        finalizes_at=now,
        issued_at=void.issued_at,
        start=void.start,
        end=void.end,
        assignment=void.assignment,
        contract=void.contract,
    )
    # A scheduled invoice has no usage to look at again: only its identity is new.
    made = void if void.start is None else run.compute(slot)
    invoice = replace(
        made,
        id=slot.id,
        status="FINALIZED",
        finalizes_at=now,
        regenerated_from=void.id,
    )
    account.regenerated.append(invoice)
    return invoice


class _Run:
    """One settlement in progress: what is left of every grant and commit so far."""

    def __init__(
        self, customer: Customer, account: Account | None, metering: Metering, now: datetime
    ) -> None:
        self.customer = customer
        self.account = account or Account()
        self.metering = metering
        self.now = now
        self.rates = {rate.metric.id: rate for rate in customer.rates}
        self.ledgers = {one.id: Ledger(one, one.amount) for one in customer.grants}
        contract = customer.contract
        self.commit_left = contract.commit_amount if contract else ZERO
        self.done: dict[str, Invoice] = {}

    def settle(self) -> Settlement:
        archived = self.customer.archived_at
        voided = dict(self.account.voided)
        slots = list(_slots(self.customer, self.now))
        events: list[tuple[datetime, int, _Slot | Invoice | str]] = [
            (slot.finalizes_at, 0, slot) for slot in slots if slot.id not in self.account.deleted
        ]
        events += [(one.finalizes_at, 1, one) for one in self.account.regenerated]
        if archived is not None:
            for slot in slots:
                voided.setdefault(slot.id, archived)
            for one in self.account.regenerated:
                voided.setdefault(one.id, archived)
        # A draft that is voided never finalizes: it is void from the start and draws nothing.
        events += [(when, 2, key) for key, when in voided.items()]
        events.sort(key=lambda event: event[:2])
        for when, _, what in events:
            if isinstance(what, str):
                self._void(what, when)
            elif isinstance(what, Invoice):
                self._post(what)
            else:
                self._bill(what, voided.get(what.id))
        self._expire()
        invoices = sorted(self.done.values(), key=lambda one: (one.issued_at, one.id))
        return Settlement(tuple(invoices), self.ledgers)

    def compute(self, slot: _Slot) -> Invoice:
        """Return the slot's invoice from what is known now and left now."""
        if slot.contract is not None:
            return self._contract_invoice(slot, slot.contract)
        return self._plan_invoice(slot)

    def _bill(self, slot: _Slot, voided: datetime | None) -> None:
        if (frozen := self.account.finalized.get(slot.id)) is not None:
            self._post(frozen)
            return
        if voided is not None and voided < slot.finalizes_at:
            self.done[slot.id] = replace(self.compute(slot), status="VOID", draws=())
            return
        invoice = self.compute(slot)
        if slot.finalizes_at > self.now:
            self._draft(invoice)
            return
        self.account.finalized[invoice.id] = invoice
        self._post(invoice)

    def _post(self, invoice: Invoice) -> None:
        self.done[invoice.id] = invoice
        at = invoice.end or invoice.issued_at
        self._draw(invoice, at, pending=False)

    def _draft(self, invoice: Invoice) -> None:
        self.done[invoice.id] = invoice
        self._draw(invoice, invoice.end or invoice.issued_at, pending=True)

    def _draw(self, invoice: Invoice, at: datetime, *, pending: bool) -> None:
        for key, amount in invoice.draws:
            ledger = self.ledgers.get(key)
            if ledger is not None:
                _enter(ledger, amount, _DEDUCTION, at, invoice.id, pending=pending)
            elif self.customer.contract and key == self.customer.contract.commit_id:
                self.commit_left -= amount

    def _void(self, key: str, when: datetime) -> None:
        invoice = self.done.get(key)
        if invoice is None or invoice.status == "VOID":
            return
        self.done[key] = replace(invoice, status="VOID")
        for source, amount in invoice.draws:
            ledger = self.ledgers.get(source)
            if ledger is not None:
                _enter(ledger, -amount, "Invoice voided", when, key, pending=False)
            else:
                self.commit_left += amount

    def _expire(self) -> None:
        """Balances are as of the end of the billing period, so expiry before that is pending."""
        for ledger in self.ledgers.values():
            expires = ledger.grant.expires_at
            if ledger.left > 0 and expires <= balance_moment(self.now):
                past = expires <= self.now
                _enter(ledger, ledger.left, "Credits expired", expires, None, pending=not past)

    def _plan_invoice(self, slot: _Slot) -> Invoice:
        assignment = slot.assignment
        if assignment is None or slot.start is None or slot.end is None:
            raise ValueError("a plan invoice needs a customer plan and a period")
        plan = assignment.plan
        lines = self._maybe_split(slot, plan_lines(plan, self._used(slot)))
        subtotal = sum((line.total for line in lines), ZERO)
        usable = [
            (one.grant, one.left)
            for one in self.ledgers.values()
            if one.grant.credit_type == plan.credit_type
            and one.grant.effective_at < slot.end
            and one.grant.expires_at > slot.start
        ]
        usable.sort(key=lambda pair: pair[0].priority)
        adjustments, draws = plan_adjustments(
            plan, subtotal, usable, twins="twin adjustments" in self.customer.traits
        )
        return self._invoice(slot, "PLAN_ARREARS", lines, adjustments=adjustments, draws=draws)

    def _contract_invoice(self, slot: _Slot, contract: Contract) -> Invoice:
        if slot.item is not None:
            planned = scheduled_line(contract, slot.item)
            return self._invoice(slot, slot.item.invoice_type, (planned,))
        lines, draws = contract_lines(contract, self._used(slot), self.commit_left)
        return self._invoice(slot, "USAGE", self._maybe_split(slot, lines), draws=draws)

    def _invoice(
        self,
        slot: _Slot,
        kind: str,
        lines: tuple[Line, ...],
        *,
        adjustments: tuple[Adjustment, ...] = (),
        draws: tuple[tuple[str, Decimal], ...] = (),
    ) -> Invoice:
        source = slot.contract.credit_type if slot.contract else None
        if slot.assignment is not None:
            source = slot.assignment.plan.credit_type
        if source is None:
            raise ValueError("an invoice needs a contract or a customer plan")
        return Invoice(
            id=slot.id,
            type=kind,
            status="DRAFT" if slot.finalizes_at > self.now else "FINALIZED",
            credit_type=source,
            lines=lines,
            issued_at=slot.issued_at,
            finalizes_at=slot.finalizes_at,
            start=slot.start,
            end=slot.end,
            assignment=slot.assignment,
            contract=slot.contract,
            adjustments=adjustments,
            draws=draws,
            style=int(slot.id[-1], 16) % 3,
        )

    def _used(self, slot: _Slot) -> Quantity:
        if slot.start is None or slot.end is None:
            raise ValueError("only invoices with a period bill usage")
        period = (slot.start, slot.end)
        as_of = min(slot.finalizes_at, self.now)
        if self.customer.archived_at is not None:
            as_of = min(as_of, self.customer.archived_at)

        def used(metric_id: str) -> Decimal:
            rate = self.rates.get(metric_id)
            if rate is None:
                return ZERO
            return self.metering.billed(self.customer, rate, period, as_of)

        return used

    def _maybe_split(self, slot: _Slot, lines: tuple[Line, ...]) -> tuple[Line, ...]:
        if slot.id not in self.account.split or slot.start is None or slot.end is None:
            return lines
        whole = lines[0]
        middle = slot.start + (slot.end - slot.start) // 2
        half = plain((whole.total / 2).quantize(Decimal("0.0001")))
        quantity = whole.quantity or ZERO
        part = plain((quantity / 2).quantize(Decimal("0.0001")))
        first = replace(
            whole, total=half, quantity=part, starting_at=slot.start, ending_before=middle
        )
        second = replace(
            whole,
            total=plain(whole.total - half),
            quantity=plain(quantity - part),
            starting_at=middle,
            ending_before=slot.end,
            sub_lines=(),
        )
        return (first, second, *lines[1:])


def balance_moment(now: datetime) -> datetime:
    """Return the end of the current billing period, as of which Metronome gives balances."""
    return month_start(now, 1)


def _slots(customer: Customer, now: datetime) -> Iterator[_Slot]:
    """Yield a place for every invoice that exists at `now`, drafts included."""
    last = now if customer.archived_at is None else min(now, customer.archived_at)
    for assignment in customer.assignments:
        for start, end in _periods(assignment.start, assignment.end, last):
            key = invoice_id(assignment.id, start.isoformat())
            yield _Slot(key, end + GRACE, end + GRACE, start, end, assignment=assignment)
    contract = customer.contract
    if contract is None:
        return
    for start, end in _periods(contract.start, None, last):
        key = invoice_id(contract.id, start.isoformat())
        yield _Slot(key, end + GRACE, end + GRACE, start, end, contract=contract)
    if contract.start > last:
        return
    for number, item in enumerate(contract.scheduled):
        key = invoice_id(contract.id, "scheduled", number)
        final = item.issue + _SCHEDULED_DELAY
        yield _Slot(key, final, item.issue, contract=contract, item=item)


def _periods(
    start: datetime, end: datetime | None, last: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """Yield the calendar months, cut to [start, end), that have begun by `last`."""
    while start <= last and (end is None or start < end):
        following = month_start(start, 1)
        stop = following if end is None else min(following, end)
        yield start, stop
        start = stop


def _enter(
    ledger: Ledger,
    amount: Decimal,
    reason: str,
    at: datetime,
    invoice: str | None,
    *,
    pending: bool,
) -> None:
    ledger.left -= amount
    entries = ledger.pending if pending else ledger.posted
    entries.append(Entry(plain(amount), plain(ledger.left), reason, at, ledger.grant.id, invoice))
