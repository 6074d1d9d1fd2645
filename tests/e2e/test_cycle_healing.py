"""Rows that somebody changed or deleted in the org, and rows that the org refuses."""

from collections import Counter
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from metronome_salesforce.objects import OBJECTS
from metronome_salesforce.planning import FieldChange
from metronome_salesforce.report import Outcome
from metronome_salesforce.sandbox.salesforce import INTEGRATION
from tests.expectation import (
    ADJUSTMENT,
    CUSTOMER,
    CUSTOMER_PLAN,
    GRANT,
    INVOICE,
    LINE,
    PLAN,
    SUB_LINE,
    USAGE,
    differences,
)
from tests.stage import Stage

DAY = timedelta(days=1)
EDITS: dict[str, dict[str, Any]] = {
    CUSTOMER: {"Current_Spend__c": 1.5},
    PLAN: {"Full_Name__c": "Mine"},
    CUSTOMER_PLAN: {"Ending_On__c": "2027-01-01"},
    INVOICE: {"Total__c": 12},
    LINE: {"Quantity__c": 7},
    SUB_LINE: {"Price__c": None},
    ADJUSTMENT: {"Total__c": -1},
    GRANT: {"Name": "Mine"},
    USAGE: {"Value__c": 0},
}


@pytest.mark.parametrize("who", ["clerk", "integration"])
async def test_a_full_resync_heals_edited_rows(stage: Stage, who: str) -> None:
    """Even when it was done with the integration user's credentials, fingerprint untouched."""
    user = INTEGRATION if who == "integration" else stage.clerk()
    for sobject, values in EDITS.items():
        row = stage.org.rows(sobject)[1]
        stage.org.update(sobject, row["Id"], values, username=user)

    report = await stage.cycle(full=True)

    assert report.outcome is Outcome.SUCCEEDED
    assert stage.written == Counter({(sobject, "update"): 1 for sobject in EDITS})
    assert differences(stage.expected(), stage.org) == []
    await stage.cycle(full=True)
    assert stage.written == Counter()


async def test_a_daily_cycle_heals_what_somebody_else_edited_within_its_reach(
    stage: Stage,
) -> None:
    draft = stage.drafts()[0]
    stage.org.update(INVOICE, draft["Id"], EDITS[INVOICE], username=stage.clerk())

    await stage.cycle()

    assert stage.written == Counter({(INVOICE, "update"): 1})
    assert differences(stage.expected(), stage.org) == []


async def test_edits_stay_where_that_was_wished(stage: Stage) -> None:
    """By daily cycles, by full resyncs, and in what a plan shows."""
    stage.spec = {"healEdits": False}
    for sobject, values in EDITS.items():
        row = stage.org.rows(sobject)[1]
        stage.org.update(sobject, row["Id"], values, username=stage.clerk())

    await stage.cycle()
    assert stage.written == Counter()
    await stage.cycle(full=True)
    assert stage.written == Counter()

    shown: list[FieldChange] = []
    stage.plan = lambda plan: shown.extend(plan.details(OBJECTS))
    await stage.cycle(full=True, dry_run=True)
    assert shown == []


@pytest.mark.parametrize(
    "sobjects",
    [(CUSTOMER, PLAN), (INVOICE, GRANT), (CUSTOMER_PLAN, LINE, SUB_LINE, ADJUSTMENT, USAGE)],
)
async def test_a_full_resync_brings_deleted_rows_back(stage: Stage, sobjects: list[str]) -> None:
    """With all that went with them: children that cascade, lookups that were cleared."""
    for sobject in sobjects:
        for row in stage.org.rows(sobject)[:3]:
            stage.org.delete(sobject, row["Id"])

    report = await stage.cycle(full=True)

    assert report.outcome is Outcome.SUCCEEDED
    assert differences(stage.expected(), stage.org) == []
    await stage.cycle(full=True)
    assert stage.written == Counter()


async def test_everything_deleted_comes_back(stage: Stage) -> None:
    for sobject in EDITS:
        for row in stage.org.rows(sobject):
            stage.org.delete(sobject, row["Id"])

    report = await stage.cycle(full=True)

    assert report.outcome is Outcome.SUCCEEDED
    assert differences(stage.expected(usage_from=stage.usage_from), stage.org) == []


async def test_rows_that_a_rule_of_the_org_refuses_are_told_and_tried_again(fresh: Stage) -> None:
    """A refused invoice takes its lines along; everything else is written."""
    customer = fresh.customer(0)
    fresh.org.add_validation_rule(
        INVOICE,
        "No_Invoices_Of_Theirs",
        lambda row: bool(row["Metronome_Customer_ID__c"] == customer),
        "Ask accounting first",
    )

    report = await fresh.cycle()

    assert (report.outcome, report.reason) == (Outcome.PARTIALLY_FAILED, "RowsRejected")
    invoices = fresh.tenant.invoices(customer)
    assert report.rows["Invoice"].rejected == len(invoices)
    assert report.rejected_codes["FIELD_CUSTOM_VALIDATION_EXCEPTION"] == len(invoices)
    first = next(one for one in report.rejected if one.object == "Invoice")
    assert first.message == "Ask accounting first"
    assert first.key in {one["id"] for one in invoices}
    wanted = fresh.expected()
    wanted = {
        sobject: {
            key: row for key, row in rows.items() if row.invoice is None or row.customer != customer
        }
        for sobject, rows in wanted.items()
    }
    assert differences(wanted, fresh.org) == []

    fresh.org.remove_validation_rule(INVOICE, "No_Invoices_Of_Theirs")
    report = await fresh.cycle()
    assert report.outcome is Outcome.SUCCEEDED
    assert differences(fresh.expected(), fresh.org) == []


async def test_a_refused_invoice_is_tried_again_however_old_it_is(fresh: Stage) -> None:
    """By the next daily cycle; and once it is in, cycles look back no further than before."""
    issued = [one["issued_at"] for one in fresh.finalized_invoices()]
    oldest = min(issued)[:10]
    fresh.org.add_validation_rule(
        INVOICE, "Not_That_Day", lambda row: str(row["Issued_At__c"])[:10] == oldest, "Not that day"
    )
    report = await fresh.cycle()
    assert report.rejected_since == {"invoices": oldest}
    assert oldest < f"{fresh.now - 50 * DAY:%F}", "further back than a daily cycle looks"

    fresh.advance(DAY)
    report = await fresh.cycle()
    assert report.rejected_since == {"invoices": oldest}, "refused again, and not forgotten"

    fresh.org.remove_validation_rule(INVOICE, "Not_That_Day")
    report = await fresh.cycle()
    assert (report.outcome, report.rejected_since) == (Outcome.SUCCEEDED, {})
    assert differences(fresh.expected(), fresh.org) == []
    wide = report.rows["Invoice"].unchanged
    report = await fresh.cycle()
    assert fresh.written == Counter()
    assert report.rows["Invoice"].unchanged < wide


async def test_refused_usage_is_tried_again_however_old_it_is(stage: Stage) -> None:
    """Here the cycle after an outage was the only one to look at the day."""
    day = f"{stage.now + 2 * DAY:%F}"
    stage.org.add_validation_rule(
        USAGE, "Not_That_Day", lambda row: str(row["Start__c"])[:10] == day, "Not that day"
    )
    stage.advance(60 * DAY)
    report = await stage.cycle()
    assert report.rejected_since == {"usage": day}

    stage.advance(DAY)
    stage.org.remove_validation_rule(USAGE, "Not_That_Day")
    report = await stage.cycle()

    assert (report.outcome, report.rejected_since) == (Outcome.SUCCEEDED, {})
    wanted = stage.expected()
    assert any(str(row.fields["Start__c"])[:10] == day for row in wanted[USAGE].values())
    assert [one for one in differences(wanted, stage.org) if USAGE in one] == []


async def test_a_full_resync_goes_back_to_refused_usage_too(fresh: Stage) -> None:
    """Here to a day before the look-back and before all usage that the org has."""
    day = f"{fresh.usage_from}"
    fresh.org.add_validation_rule(
        USAGE, "Not_That_Day", lambda row: str(row["Start__c"])[:10] == day, "Not that day"
    )
    await fresh.cycle()
    fresh.advance(3 * DAY)
    await fresh.cycle()
    assert fresh.rejected_since == {"usage": fresh.usage_from}

    fresh.org.remove_validation_rule(USAGE, "Not_That_Day")
    fresh.advance(DAY)
    report = await fresh.cycle(full=True)

    assert (report.outcome, report.rejected_since) == (Outcome.SUCCEEDED, {})
    assert differences(fresh.expected(), fresh.org) == []


async def test_a_full_org_is_told_before_or_by_each_row(fresh: Stage) -> None:
    fresh.org.storage_full = True

    report = await fresh.cycle()

    assert report.outcome in {Outcome.REFUSED, Outcome.PARTIALLY_FAILED, Outcome.FAILED}
    assert "storage" in report.message.lower() or "STORAGE_LIMIT_EXCEEDED" in report.message
    assert fresh.written == Counter()

    fresh.org.storage_full = False
    report = await fresh.cycle()
    assert report.outcome is Outcome.SUCCEEDED
    assert differences(fresh.expected(), fresh.org) == []


@pytest.mark.usefixtures("no_pauses")
async def test_locks_that_pass_are_waited_out(fresh: Stage) -> None:
    locks = fresh.salesforce.faults.row(LINE, every=9, times=40)

    report = await fresh.cycle()

    assert locks.hits > 20
    assert report.outcome is Outcome.SUCCEEDED
    assert differences(fresh.expected(), fresh.org) == []


async def test_a_number_too_large_for_its_field_is_one_refused_row(stage: Stage) -> None:
    metric = stage.tenant.billable_metrics()[0]["id"]
    stage.tenant.edit_usage(stage.customer(10), metric, (stage.now - DAY).date(), Decimal(10) ** 16)

    report = await stage.cycle()

    assert report.outcome is Outcome.PARTIALLY_FAILED
    assert report.rejected_codes == {"NUMBER_OUTSIDE_VALID_RANGE": 1}
    assert report.rejected[0].object == "Usage"
