"""Spend and balances of a customer and of an Account, summed from what the rows are made from.

Amounts of different units are never added. The unit of the largest current spend speaks for the
customer; what is in other units stands in the related lists.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from metronome_salesforce.mapping import unit_name, whole
from metronome_salesforce.metronome.models import CreditGrant, CreditType, Invoice
from metronome_salesforce.ports import Summary

_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_ROLL_UP = "USAGE_CONSOLIDATED"
"""A parent's roll-up of its children's invoices: each of those is counted where it belongs."""


@dataclass(frozen=True, slots=True)
class Finalized:
    """A finalized invoice, as far as the summary shows it; the latest issued one is the newest."""

    issued: datetime
    end: datetime | None
    id: str
    total: Decimal | None

    @property
    def rank(self) -> tuple[datetime, datetime, str]:
        """The order of newness; without ties, so that every reading finds the same invoice."""
        return self.issued, self.end or _LONG_AGO, self.id


@dataclass(slots=True)
class Tally:
    """What has been seen of one customer, in whole units by unit name.

    `incomplete` is set when an invoice or grant could not be read: sums would then be wrong.
    """

    spend: dict[str, Decimal] = field(default_factory=dict)
    newest: dict[str, Finalized] = field(default_factory=dict)
    balance: dict[str, Decimal] = field(default_factory=dict)
    incomplete: bool = False

    def add_invoice(self, invoice: Invoice) -> None:
        """Count a draft into the spend, or remember the newest finalized invoice of its unit."""
        unit = _unit(invoice.credit_type)
        total = whole(invoice.total, invoice.credit_type)
        if invoice.status == "DRAFT" and invoice.type != _ROLL_UP:
            self.spend[unit] = self.spend.get(unit, Decimal(0)) + (total or Decimal(0))
        elif invoice.status == "FINALIZED":
            issued = invoice.issued_at or invoice.end_timestamp
            if issued is not None:
                self.offer(unit, Finalized(issued, invoice.end_timestamp, invoice.id, total))

    def offer(self, unit: str, one: Finalized) -> None:
        """Remember a finalized invoice if it is the newest of its unit."""
        known = self.newest.get(unit)
        if known is None or one.rank > known.rank:
            self.newest[unit] = one

    def settles(self, issued: datetime) -> bool:
        """Whether invoices issued at that time or before cannot change the summary any more.

        True for a tally that has seen every draft and, by issue date, everything newer.
        """
        unit = self.speaking_unit()
        newest = None if unit is None else self.newest.get(unit)
        return newest is not None and newest.issued > issued

    def add_grant(self, grant: CreditGrant, now: datetime) -> None:
        """Count what is left of a grant that is in effect at `now`, pending deductions included."""
        started = grant.effective_at is None or grant.effective_at <= now
        if started and (grant.expires_at is None or grant.expires_at > now):
            credit_type = grant.grant_amount.credit_type
            left = whole(grant.balance.including_pending, credit_type) or Decimal(0)
            unit = _unit(credit_type)
            self.balance[unit] = self.balance.get(unit, Decimal(0)) + left

    def summary(self) -> Summary:
        """The sums in the one unit that speaks for the customer; empty when incomplete."""
        if self.incomplete:
            return Summary()
        unit = self.speaking_unit()
        if unit is None:
            return Summary()
        newest = self.newest.get(unit)
        return Summary(
            unit=unit,
            current_spend=self.spend.get(unit),
            last_invoice_total=None if newest is None else newest.total,
            last_invoice_end=None if newest is None else newest.end,
            credit_balance=self.balance.get(unit),
        )

    def speaking_unit(self) -> str | None:
        """The unit of the largest spend, else of the newest invoice, else of the largest credit."""
        if self.spend:
            return _largest(self.spend)
        if self.newest:
            return max(self.newest, key=lambda unit: self.newest[unit].rank)
        return _largest(self.balance) if self.balance else None


def combined(tallies: Sequence[Tally]) -> Tally:
    """The tally of an Account to which several customers belong."""
    total = Tally(incomplete=any(tally.incomplete for tally in tallies))
    for tally in tallies:
        _add(total.spend, tally.spend.items())
        _add(total.balance, tally.balance.items())
        # Of a customer's units only the speaking one is known for certain in a daily cycle.
        unit = tally.speaking_unit()
        if unit is not None and unit in tally.newest:
            total.offer(unit, tally.newest[unit])
    return total


def _add(sums: dict[str, Decimal], amounts: Iterable[tuple[str, Decimal]]) -> None:
    for unit, amount in amounts:
        sums[unit] = sums.get(unit, Decimal(0)) + amount


def _largest(sums: dict[str, Decimal]) -> str:
    return max(sorted(sums), key=lambda unit: sums[unit])


def _unit(credit_type: CreditType) -> str:
    return unit_name(credit_type) or ""
