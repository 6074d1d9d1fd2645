"""Spend and balances: units are never mixed, roll-ups never counted twice."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from metronome_salesforce.metronome.models import CreditGrant, Invoice
from metronome_salesforce.metronome.summing import Tally, combined
from metronome_salesforce.ports import Summary

NOW = datetime(2026, 3, 10, tzinfo=UTC)
USD = {"id": "2714e483-4ff1-48e4-9e25-ac732e8f24f2", "name": "USD (cents)"}
EUR = {"id": "e", "name": "EUR"}


def invoice(status: str, total: str | None, credit_type: Any, **fields: Any) -> Invoice:
    return Invoice.model_validate(
        {
            "id": "i",
            "customer_id": "c",
            "type": "USAGE",
            "status": status,
            "credit_type": credit_type,
            "total": None if total is None else Decimal(total),
            "line_items": [],
            **fields,
        }
    )


def grant(including: str, credit_type: Any, effective: str, expires: str) -> CreditGrant:
    amount = {"amount": Decimal(1), "credit_type": credit_type}
    return CreditGrant.model_validate(
        {
            "id": "g",
            "customer_id": "c",
            "name": "x",
            "effective_at": effective,
            "expires_at": expires,
            "grant_amount": amount,
            "paid_amount": amount,
            "balance": {
                "including_pending": Decimal(including),
                "excluding_pending": Decimal(0),
                "effective_at": "2026-04-01T00:00:00Z",
            },
        }
    )


def test_the_unit_of_the_largest_spend_speaks() -> None:
    tally = Tally()
    tally.add_invoice(invoice("DRAFT", "123450", USD))
    tally.add_invoice(invoice("DRAFT", "50", USD))
    tally.add_invoice(invoice("DRAFT", "900", EUR))
    tally.add_invoice(invoice("DRAFT", "99999900", USD, type="USAGE_CONSOLIDATED"))
    tally.add_invoice(invoice("FINALIZED", "100", USD, end_timestamp="2026-02-01T00:00:00Z"))
    tally.add_invoice(invoice("FINALIZED", "200", USD, end_timestamp="2026-03-01T00:00:00Z"))
    tally.add_invoice(invoice("FINALIZED", "7", EUR, end_timestamp="2026-03-02T00:00:00Z"))
    tally.add_invoice(invoice("VOID", "777", USD, end_timestamp="2026-03-05T00:00:00Z"))
    tally.add_grant(grant("500", USD, "2026-01-01T00:00:00Z", "2026-12-01T00:00:00Z"), NOW)
    tally.add_grant(grant("900", USD, "2026-01-01T00:00:00Z", "2026-03-10T00:00:00Z"), NOW)
    tally.add_grant(grant("900", USD, "2026-03-11T00:00:00Z", "2026-12-01T00:00:00Z"), NOW)

    assert tally.summary() == Summary(
        unit="USD",
        current_spend=Decimal(1235),
        last_invoice_total=Decimal(2),
        last_invoice_end=datetime(2026, 3, 1, tzinfo=UTC),
        credit_balance=Decimal(5),
    )


def test_an_account_adds_its_customers_by_unit() -> None:
    first, second, third = Tally(), Tally(), Tally()
    first.add_invoice(invoice("DRAFT", "10000", USD))
    second.add_invoice(invoice("DRAFT", "20000", USD))
    third.add_invoice(invoice("DRAFT", "250", EUR))

    summary = combined([first, second, third]).summary()

    assert (summary.unit, summary.current_spend) == ("USD", Decimal(300))
    assert first.summary().current_spend == Decimal(100)


def test_half_of_the_data_gives_no_sum() -> None:
    tally = Tally(incomplete=True)
    tally.add_invoice(invoice("DRAFT", "10000", USD))

    assert tally.summary() == combined([tally, Tally()]).summary() == Summary()


def test_the_latest_issued_invoice_is_the_newest() -> None:
    """Not the one whose period ends last: lists come by issue date, so this can be read early."""
    tally = Tally()
    tally.add_invoice(
        invoice(
            "FINALIZED",
            "100",
            USD,
            issued_at="2026-03-05T00:00:00Z",
            end_timestamp="2026-01-01T00:00:00Z",
        )
    )
    assert not tally.settles(datetime(2026, 3, 5, tzinfo=UTC))
    assert tally.settles(datetime(2026, 3, 4, tzinfo=UTC))

    tally.add_invoice(
        invoice(
            "FINALIZED",
            "200",
            USD,
            issued_at="2026-03-02T00:00:00Z",
            end_timestamp="2026-03-01T00:00:00Z",
        )
    )
    assert tally.summary().last_invoice_total == 1

    tally.add_invoice(invoice("DRAFT", "1", EUR))
    assert not tally.settles(datetime(2026, 1, 1, tzinfo=UTC))


def test_nothing_known_and_null_totals() -> None:
    tally = Tally()
    assert tally.summary() == Summary()

    tally.add_invoice(invoice("DRAFT", None, USD))

    assert tally.summary().current_spend == 0
