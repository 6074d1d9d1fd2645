"""Customers that vanish from Metronome while a cycle reads it."""

import pytest

from metronome_salesforce.report import Outcome
from metronome_salesforce.sandbox.metronome import PageLimits
from tests.expectation import CUSTOMER, Expected, differences, with_history
from tests.stage import Stage


@pytest.mark.parametrize("moment", ["/invoices", "/v1/plans", "/v1/usage", "listGrants"])
@pytest.mark.parametrize("number", [1, 10])
async def test_a_customer_that_is_deleted_while_we_page(
    stage: Stage, moment: str, number: int
) -> None:
    """Its rows stay, and nobody else loses one, even where pages shift below our feet."""
    customer = stage.customer(number)
    before = stage.expected()
    calls: list[str] = []

    def vanish(_method: str, path: str) -> None:
        # Usage comes in several pages: after the first of them.
        if moment in path and len(calls) < 2:
            calls.append(path)
            if len(calls) == (2 if moment == "/v1/usage" else 1):
                stage.tenant.delete_customer(customer)
                calls.append("gone")

    stage.metronome.page_limits = PageLimits(usage=100)
    stage.metronome.on_request = vanish
    report = await stage.cycle()
    stage.metronome.on_request = None

    assert calls[-1] == "gone"
    assert report.outcome is Outcome.SUCCEEDED

    def history(_sobject: str, row: Expected) -> bool:
        return row.customer == customer

    wanted = with_history(stage.expected(), before, history)
    found = [one for one in differences(wanted, stage.org) if CUSTOMER not in one]
    assert found == []
    assert not any(key[1] in {"delete", "insert"} for key in stage.written)
