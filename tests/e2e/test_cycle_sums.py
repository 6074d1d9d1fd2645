"""Sums and totals that must not depend on how far a cycle looked."""

from collections import Counter
from datetime import timedelta
from typing import Any

from metronome_salesforce.report import Outcome
from tests.expectation import differences
from tests.stage import Stage

DAY = timedelta(days=1)


async def test_one_window_for_all_of_the_look_back(fresh: Stage) -> None:
    """One row a customer and metric: the total of the look-back, which moves on every day."""
    fresh.spec = {"windowSize": "None"}

    for _ in range(2):
        report = await fresh.cycle()
        assert report.outcome is Outcome.SUCCEEDED
        start = (fresh.now - timedelta(days=fresh.lookback)).date()
        wanted = fresh.expected(window_size="None", usage_from=start)
        assert differences(wanted, fresh.org) == []
        await fresh.cycle()
        assert fresh.written == Counter()
        await fresh.cycle(full=True)
        assert fresh.written == Counter()
        fresh.advance(DAY)


async def test_a_total_over_a_quarter_is_one_window(fresh: Stage) -> None:
    fresh.lookback = 80
    fresh.spec = {"windowSize": "None"}

    await fresh.cycle()

    assert differences(fresh.expected(window_size="None"), fresh.org) == []


def an_invoice(customer: str, number: int, **values: Any) -> dict[str, Any]:
    """An invoice document in dollars, unless `values` say otherwise."""
    return {
        "id": f"5f0d7c1e-2222-5c3a-9b1d-{number:012d}",
        "customer_id": customer,
        "type": "USAGE",
        "status": "FINALIZED",
        "credit_type": {"id": "2714e483-4ff1-48e4-9e25-ac732e8f24f2", "name": "USD (cents)"},
        "total": 100 * number,
        "line_items": [],
        "external_invoice": None,
        **values,
    }


async def test_the_last_invoice_is_the_same_for_a_daily_cycle_and_a_resync(stage: Stage) -> None:
    """A newer invoice in another currency, and one of an old period that was issued late."""
    euros = {"id": "d0000000-0000-4000-8000-0000000000e0", "name": "EUR"}
    mixed = stage.tenant.add_customer(name="Two currencies")
    stage.tenant.add_invoice(
        mixed, an_invoice(mixed, 1, status="DRAFT", issued_at="2026-04-02T00:00:00Z")
    )
    for number, unit, end in ((2, None, "2025-12-01"), (3, euros, "2026-01-01")):
        values: dict[str, Any] = {
            "start_timestamp": "2025-11-01T00:00:00Z",
            "end_timestamp": f"{end}T00:00:00Z",
            "issued_at": f"{end}T12:00:00Z",
        }
        if unit:
            values["credit_type"] = unit
        stage.tenant.add_invoice(mixed, an_invoice(mixed, number, **values))
    late = stage.tenant.add_customer(name="Billed anew")
    for number, end, issued in ((4, "2026-01-01", "2026-01-02"), (5, "2025-10-01", "2026-01-20")):
        stage.tenant.add_invoice(
            late,
            an_invoice(
                late,
                number,
                start_timestamp="2025-09-01T00:00:00Z",
                end_timestamp=f"{end}T00:00:00Z",
                issued_at=f"{issued}T00:00:00Z",
            ),
        )
    await stage.cycle(full=True)
    assert differences(stage.expected(), stage.org) == []

    await stage.cycle()

    assert stage.written == Counter()
