"""The values of an emulated tenant: what Metronome keeps, not what it sends.

Money is `Decimal`, moments are aware datetimes in UTC, and nothing here knows JSON. Documents are
built from these on request (`documents.py`), so a tenant of 10,000 customers stays small.
"""

import hashlib
import uuid
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

Document = dict[str, Any]
"""A JSON object as it goes over the wire, with every amount as `Decimal`."""

ZERO = Decimal(0)
GRACE = timedelta(hours=24)
"""Usage invoices finalize this long after their period ends (Metronome's default)."""

_INVOICES = uuid.UUID("9b1f8a52-6f0e-5d7c-8a55-2f4f6f1d0c11")


@dataclass(frozen=True, slots=True)
class CreditType:
    """A currency, or a unit that the company prices in."""

    id: str
    name: str
    is_currency: bool


@dataclass(frozen=True, slots=True)
class Metric:
    """A billable metric; usage values carry `decimals` places."""

    id: str
    name: str
    aggregation: str
    decimals: int
    typical: tuple[int, int]
    key: str | None = None
    group_keys: tuple[tuple[str, ...], ...] = ()
    archived_at: datetime | None = None

    @property
    def adds_up(self) -> bool:
        """Whether windows may be summed; LATEST, MAX and UNIQUE may not."""
        return self.aggregation in {"COUNT", "SUM"}


@dataclass(frozen=True, slots=True)
class Rate:
    """How much of one metric a customer uses: `base` times a factor that differs every day."""

    metric: Metric
    base: int
    offset: int
    first_day: int
    silence: str
    """What a window without events looks like: `zero`, `null` or `absent`."""


@dataclass(frozen=True, slots=True)
class Tier:
    """From this quantity on, each unit costs `price`."""

    start: Decimal
    price: Decimal


@dataclass(frozen=True, slots=True)
class Charge:
    """One priced thing of a plan. `quantities` is for fixed charges: one sub line each."""

    id: str
    name: str
    kind: str
    product_id: str
    product_name: str
    tiers: tuple[Tier, ...]
    metric_id: str | None = None
    quantities: tuple[Decimal, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A price list in one credit type, with an optional monthly minimum."""

    id: str
    name: str
    description: str
    credit_type: CreditType
    charges: tuple[Charge, ...]
    minimum: Decimal | None = None
    custom_fields: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Assignment:
    """A customer plan: this customer pays by that plan from `start` until before `end`."""

    id: str
    plan: Plan
    start: datetime
    end: datetime | None
    terms_days: int | None = None
    trial_end: datetime | None = None
    custom_fields: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ContractRate:
    """One usage product of a contract. `parts` are shares in tenths with their group values."""

    metric_id: str
    product_id: str
    product_name: str
    price: Decimal
    parts: tuple[tuple[int, tuple[tuple[str, str], ...]], ...] = ((10, ()),)


@dataclass(frozen=True, slots=True)
class Scheduled:
    """An invoice that a contract plans for a date, without a billing period."""

    name: str
    line_type: str
    amount: Decimal
    issue: datetime
    invoice_type: str = "SCHEDULED"


@dataclass(frozen=True, slots=True)
class Contract:
    """A contract with usage rates, an optional prepaid commit and scheduled invoices."""

    id: str
    credit_type: CreditType
    start: datetime
    rates: tuple[ContractRate, ...]
    scheduled: tuple[Scheduled, ...] = ()
    commit_id: str | None = None
    commit_amount: Decimal = ZERO
    custom_fields: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Grant:
    """A credit grant; the unit granted and the unit paid may differ."""

    id: str
    name: str
    amount: Decimal
    credit_type: CreditType
    paid: Decimal
    paid_type: CreditType
    effective_at: datetime
    expires_at: datetime
    priority: int
    kind: str | None = None
    reason: str | None = None
    custom_fields: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Customer:
    """A customer, and the rules by which its usage and invoices come about."""

    id: str
    index: int
    name: str
    ingest_aliases: tuple[str, ...]
    created_at: datetime
    updated_at: datetime
    rates: tuple[Rate, ...]
    assignments: tuple[Assignment, ...] = ()
    contract: Contract | None = None
    grants: tuple[Grant, ...] = ()
    custom_fields: dict[str, str] = field(default_factory=dict)
    salesforce_account_id: str | None = None
    archived_at: datetime | None = None
    provider: str | None = None
    traits: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class SubLine:
    """One charge of a plan invoice's line; tiered charges have `tiers` and no `price`."""

    name: str
    quantity: Decimal
    subtotal: Decimal
    charge_id: str
    price: Decimal | None = None
    tiers: tuple[tuple[Decimal, Decimal, Decimal, Decimal], ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """A line item. It has no id, as in the real API."""

    name: str
    type: str
    total: Decimal
    quantity: Decimal | None = None
    unit_price: Decimal | None = None
    product_id: str | None = None
    product_type: str | None = None
    starting_at: datetime | None = None
    ending_before: datetime | None = None
    commit_id: str | None = None
    groups: tuple[tuple[str, str], ...] = ()
    sub_lines: tuple[SubLine, ...] = ()


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A credit (negative) or a minimum's shortfall (positive) on a plan invoice."""

    name: str
    total: Decimal
    grant_id: str | None = None


@dataclass(frozen=True, slots=True)
class Invoice:
    """An invoice in one state; a new state is a new value with the same id."""

    id: str
    type: str
    status: str
    credit_type: CreditType
    lines: tuple[Line, ...]
    issued_at: datetime
    finalizes_at: datetime
    adjustments: tuple[Adjustment, ...] = ()
    start: datetime | None = None
    end: datetime | None = None
    assignment: Assignment | None = None
    contract: Contract | None = None
    draws: tuple[tuple[str, Decimal], ...] = ()
    """What was taken from which grant or commit."""
    regenerated_from: str | None = None
    style: int = 0

    @property
    def subtotal(self) -> Decimal:
        """The sum of the lines."""
        return plain(sum((line.total for line in self.lines), ZERO))

    @property
    def total(self) -> Decimal:
        """The sum of lines and adjustments."""
        return plain(self.subtotal + sum((one.total for one in self.adjustments), ZERO))


@dataclass(frozen=True, slots=True)
class Entry:
    """A change of a grant's balance. Deductions are positive, a reversal is negative."""

    amount: Decimal
    running_balance: Decimal
    reason: str
    effective_at: datetime
    grant_id: str
    invoice_id: str | None = None


def stable_id(*parts: object) -> str:
    """Return a UUID that depends on the parts only."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=16).digest()
    return str(uuid.UUID(bytes=digest, version=4))


def invoice_id(*parts: object) -> str:
    """Return a name-derived (version 5) UUID, the kind that Metronome's invoices carry."""
    return str(uuid.uuid5(_INVOICES, repr(parts)))


def midnight(day: date) -> datetime:
    """Return 00:00 UTC of a day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def month_start(moment: datetime, months: int = 0) -> datetime:
    """Return the first of the moment's month, moved by whole months."""
    month = moment.year * 12 + moment.month - 1 + months
    return datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)


def plain(number: Decimal) -> Decimal:
    """Return the number without trailing zeros and without an exponent."""
    if number == number.to_integral_value():
        return number.quantize(Decimal(1))
    return number.normalize()
