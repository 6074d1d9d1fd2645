"""Spend and balances of a customer and of an Account, summed from what the rows are made from.

Amounts of different units are never added. The unit of the largest current spend speaks for the
customer; what is in other units stands in the related lists.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from metronome_salesforce.mapping import unit_name, whole
from metronome_salesforce.metronome.models import CreditGrant, CreditType, Invoice
from metronome_salesforce.ports import Summary

_ROLL_UP = "USAGE_CONSOLIDATED"
"""A parent's roll-up of its children's invoices: each of those is counted where it belongs."""


@dataclass(slots=True)
class Tally:
    """What has been seen of one customer, in whole units by unit name.

    `incomplete` is set when an invoice or grant could not be read: sums would then be wrong.
    """

    spend: dict[str, Decimal] = field(default_factory=dict)
    newest: dict[str, tuple[datetime, Decimal | None, datetime | None]] = field(
        default_factory=dict
    )
    balance: dict[str, Decimal] = field(default_factory=dict)
    incomplete: bool = False

    def add_invoice(self, invoice: Invoice) -> None:
        """Count a draft into the spend, or remember the newest finalized invoice of its unit."""
        unit = _unit(invoice.credit_type)
        total = whole(invoice.total, invoice.credit_type)
        if invoice.status == "DRAFT" and invoice.type != _ROLL_UP:
            self.spend[unit] = self.spend.get(unit, Decimal(0)) + (total or Decimal(0))
        elif invoice.status == "FINALIZED":
            moment = invoice.end_timestamp or invoice.issued_at
            if moment is not None and (unit not in self.newest or moment > self.newest[unit][0]):
                self.newest[unit] = (moment, total, invoice.end_timestamp)

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
        unit = self._speaking_unit()
        if unit is None:
            return Summary()
        newest = self.newest.get(unit)
        return Summary(
            unit=unit,
            current_spend=self.spend.get(unit),
            last_invoice_total=None if newest is None else newest[1],
            last_invoice_end=None if newest is None else newest[2],
            credit_balance=self.balance.get(unit),
        )

    def _speaking_unit(self) -> str | None:
        if self.spend:
            return _largest(self.spend)
        if self.newest:
            return max(sorted(self.newest), key=lambda unit: self.newest[unit][0])
        return _largest(self.balance) if self.balance else None


def combined(tallies: Sequence[Tally]) -> Tally:
    """The tally of an Account to which several customers belong."""
    total = Tally(incomplete=any(tally.incomplete for tally in tallies))
    for tally in tallies:
        _add(total.spend, tally.spend.items())
        _add(total.balance, tally.balance.items())
        for unit, newest in tally.newest.items():
            if unit not in total.newest or newest[0] > total.newest[unit][0]:
                total.newest[unit] = newest
    return total


def _add(sums: dict[str, Decimal], amounts: Iterable[tuple[str, Decimal]]) -> None:
    for unit, amount in amounts:
        sums[unit] = sums.get(unit, Decimal(0)) + amount


def _largest(sums: dict[str, Decimal]) -> str:
    return max(sorted(sums), key=lambda unit: sums[unit])


def _unit(credit_type: CreditType) -> str:
    return unit_name(credit_type) or ""
