"""Cycles day by day: what the org holds and what was written, against the tenant's documents."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from metronome_salesforce.report import Outcome
from tests.expectation import (
    ADJUSTMENT,
    GRANT,
    INVOICE,
    LINE,
    SOBJECTS,
    SUB_LINE,
    USAGE,
    Expected,
    changes,
    child_keys,
    differences,
    with_history,
)
from tests.stage import Stage

DAY = timedelta(days=1)


def invoice_of(
    stage: Stage, status: str, *, customer: str | None = None, **wanted: Any
) -> dict[str, Any]:
    """An invoice of the tenant: of `status`, and with those values."""
    customers = [customer] if customer else [one["id"] for one in stage.tenant.customers()]
    return next(
        invoice
        for id_ in customers
        for invoice in stage.tenant.invoices(id_)
        if invoice["status"] == status
        and all(invoice.get(name) == value for name, value in wanted.items())
    )


async def pay_regenerated(stage: Stage) -> None:
    """Settle the invoice that was made for a period long past.

    A daily cycle does not look at it any more, so what its provider says of it would come with the
    next full resync only.
    """
    for id_ in (one["id"] for one in stage.tenant.customers()):
        for invoice in stage.tenant.invoices(id_):
            if "regenerated_from_invoice_id" in invoice:
                stage.tenant.mark_paid(invoice["id"])
    await stage.cycle(full=True)


async def test_the_first_cycle_fills_every_object_field_by_field(fresh: Stage) -> None:
    fresh.lookback = 34
    report = await fresh.cycle()

    assert (report.outcome, report.reason) == (Outcome.SUCCEEDED, "Succeeded"), report.message
    wanted = fresh.expected()
    assert differences(wanted, fresh.org) == []
    rows = {sobject: len(wanted[sobject]) for sobject in SOBJECTS if sobject != "Account"}
    assert all(rows.values()), rows
    assert {sobject: fresh.org.count(sobject) for sobject in rows} == rows
    assert fresh.written == Counter({(sobject, "insert"): count for sobject, count in rows.items()})
    assert fresh.synced_at() == {sobject: {fresh.now} for sobject in rows if sobject in STAMPED}


STAMPED = set(SOBJECTS) - {LINE, SUB_LINE, ADJUSTMENT, "Account"}


async def test_a_second_cycle_writes_nothing(stage: Stage) -> None:
    stage.now += timedelta(hours=2)
    report = await stage.cycle()

    assert report.outcome is Outcome.SUCCEEDED
    assert stage.written == Counter()
    assert {row.unchanged for row in report.rows.values()} != {0}


async def test_a_full_resync_of_an_equal_org_writes_nothing(stage: Stage) -> None:
    report = await stage.cycle(full=True)

    assert report.outcome is Outcome.SUCCEEDED
    assert stage.written == Counter()


async def test_a_day_writes_exactly_what_changed(month: Stage) -> None:
    before = month.expected()
    keys = child_keys(before, month.org)
    month.advance(DAY)

    report = await month.cycle()

    after = month.expected()
    assert report.outcome is Outcome.SUCCEEDED
    assert month.written == changes(before, after)
    assert month.written[USAGE, "insert"] > 0
    assert month.written[INVOICE, "update"] > 0
    assert differences(after, month.org) == []
    # What a line is called never changes, however its amounts move.
    new_keys = child_keys(after, month.org)
    assert all(new_keys[one] == keys[one] for one in keys.keys() & new_keys.keys())
    # Rows that were written say so, the others kept the time of the first cycle.
    assert all(moments <= {month.began, month.now} for moments in month.synced_at().values())
    assert month.synced_at()["Metronome_Plan__c"] == {month.began}


async def test_every_day_around_the_end_of_a_month(month: Stage) -> None:
    """Drafts become final under the same id, new drafts open, plans change: 30 March to 3 April."""
    await pay_regenerated(month)
    month.advance(timedelta(days=19))
    await month.cycle()
    drafts = {row["Metronome_Invoice_ID__c"] for row in month.drafts()}
    before = month.expected()
    kinds: Counter[tuple[str, str]] = Counter()

    for _ in range(5):
        month.advance(DAY)
        report = await month.cycle()
        after = month.expected()
        assert report.outcome is Outcome.SUCCEEDED
        assert month.written == changes(before, after), month.now
        assert differences(after, month.org) == [], month.now
        kinds += month.written
        before = after

    invoices = {row["Metronome_Invoice_ID__c"]: row for row in month.org.rows(INVOICE)}
    finalized = {id_ for id_ in drafts if invoices[id_]["Status__c"] == "Finalized"}
    assert len(finalized) >= 8
    assert kinds[INVOICE, "insert"] >= 8
    assert {row["Metronome_Invoice_ID__c"] for row in month.drafts()} - drafts


async def test_two_months_without_a_cycle_are_made_up_by_one_daily_cycle(month: Stage) -> None:
    await pay_regenerated(month)
    before = month.expected()
    month.advance(timedelta(days=60))

    report = await month.cycle()

    after = month.expected()
    assert report.outcome is Outcome.SUCCEEDED
    assert not report.full
    assert month.written == changes(before, after)
    assert differences(after, month.org) == []

    await month.cycle(full=True)
    assert month.written == Counter()


async def test_lines_that_vanish_from_a_draft_are_deleted(stage: Stage) -> None:
    """The split of a line gives two others; the merge makes them vanish again."""
    draft = invoice_of(stage, "DRAFT", type="USAGE", customer=stage.customer(1))
    whole = stage.expected()
    stage.tenant.split_draft_line(draft["id"])

    await stage.cycle()

    split = stage.expected()
    assert stage.written == changes(whole, split)
    assert stage.written[LINE, "insert"] > 0
    assert differences(split, stage.org) == []

    stage.tenant.split_draft_line(draft["id"])
    await stage.cycle()

    assert stage.written == changes(split, whole)
    assert stage.written[LINE, "delete"] > 0
    assert differences(stage.expected(), stage.org) == []


async def test_a_voided_grant_goes_and_what_it_paid_comes_back(stage: Stage) -> None:
    before = stage.expected()
    customer = stage.customer(0)
    grant = next(one for one in stage.tenant.credit_grants() if one["customer_id"] == customer)
    stage.tenant.void_grant(grant["id"])

    await stage.cycle()

    after = stage.expected()
    assert stage.written == changes(before, after)
    assert stage.written[GRANT, "delete"] == 1
    assert differences(after, stage.org) == []


async def test_a_voided_invoice_says_so_and_the_regenerated_one_comes(stage: Stage) -> None:
    """An old invoice, far outside of what a daily cycle looks at by its period."""
    before = stage.expected()
    old = invoice_of(stage, "FINALIZED", customer=stage.customer(2))
    stage.tenant.void_invoice(old["id"])
    made = stage.tenant.regenerate_invoice(old["id"])

    await stage.cycle()
    await stage.cycle(full=True)

    after = stage.expected()
    assert differences(after, stage.org) == []
    rows = {row["Metronome_Invoice_ID__c"]: row["Status__c"] for row in stage.org.rows(INVOICE)}
    assert (rows[old["id"]], rows[made]) == ("Void", "Finalized")
    assert changes(before, after)[INVOICE, "insert"] == 1


async def test_a_draft_that_vanishes_goes_with_its_lines(stage: Stage) -> None:
    before = stage.expected()
    draft = invoice_of(stage, "DRAFT", customer=stage.customer(0))
    stage.tenant.delete_draft_invoice(draft["id"])

    await stage.cycle()

    after = stage.expected()
    wanted = changes(before, after)
    assert wanted[INVOICE, "delete"] == 1
    assert differences(after, stage.org) == []
    assert stage.written[INVOICE, "delete"] == 1
    # Whether the lines go by themselves or with their invoice is the same to everybody.
    assert all(count == wanted[key] for key, count in stage.written.items() if key[1] == "update")


async def test_a_finalized_invoice_that_is_no_longer_listed_stays(stage: Stage) -> None:
    customer = stage.customer(3)
    kept = {one["id"] for one in stage.tenant.invoices(customer) if one["status"] == "FINALIZED"}
    before = stage.expected()
    for one in kept:
        # As Metronome's support can do it; no call of the API does.
        stage.tenant._accounts.setdefault(customer, stage.tenant._touch(customer)).deleted.add(one)
    stage.tenant._settled.clear()
    assert not {one["id"] for one in stage.tenant.invoices(customer)} & kept

    for full in (False, True):
        await stage.cycle(full=full)

        def history(_sobject: str, row: Expected) -> bool:
            return row.invoice in kept

        assert differences(with_history(stage.expected(), before, history), stage.org) == []
        assert not any(key[1] == "delete" for key in stage.written)


async def test_usage_that_is_corrected_to_nothing_goes(stage: Stage) -> None:
    before = stage.expected()
    row = stage.org.rows(USAGE)[-1]
    day = datetime.fromisoformat(row["Start__c"]).replace(tzinfo=UTC).date()
    stage.tenant.edit_usage(
        row["Metronome_Customer_ID__c"], row["Billable_Metric_ID__c"], day, None
    )

    await stage.cycle()

    after = stage.expected()
    assert stage.written == changes(before, after)
    assert stage.written[USAGE, "delete"] == 1
    assert differences(after, stage.org) == []


async def test_a_payment_reaches_a_finalized_invoice(stage: Stage) -> None:
    """What the billing provider says moves after an invoice is final."""
    recent = max(
        (
            one
            for one in stage.tenant.invoices(stage.customer(2))
            if one["status"] == "FINALIZED" and one.get("end_timestamp")
        ),
        key=lambda one: str(one["end_timestamp"]),
    )
    before = stage.expected()
    stage.tenant.mark_paid(recent["id"])

    await stage.cycle()

    after = stage.expected()
    assert stage.written == changes(before, after) == Counter({(INVOICE, "update"): 1})
    assert differences(after, stage.org) == []


async def test_a_new_name_reaches_every_row_that_shows_it(stage: Stage) -> None:
    """Rows outside of a daily cycle's reach show it after the next full resync."""
    stage.tenant.rename_customer(stage.customer(0), "Somebody else")
    before = stage.expected()

    await stage.cycle()
    assert stage.written[INVOICE, "update"] > 0
    await stage.cycle(full=True)

    assert differences(before, stage.org) == []


async def test_a_new_customer_with_plan_and_usage_comes(stage: Stage) -> None:
    before = stage.expected()
    plan = stage.tenant.plans()[0]["id"]
    stage.tenant.add_customer(name="Newcomer", ingest_aliases=["new"], plan_id=plan)
    stage.advance(DAY)

    await stage.cycle()

    after = stage.expected()
    assert stage.written == changes(before, after)
    assert differences(after, stage.org) == []


async def test_a_customer_archived_today_keeps_its_rows(stage: Stage) -> None:
    """Archiving voids every invoice; those out of a daily cycle's reach are void after a resync."""
    customer = stage.customer(0)
    stage.tenant.archive_customer(customer)
    usage = stage.org.count(USAGE)

    report = await stage.cycle()

    assert report.outcome is Outcome.SUCCEEDED
    assert report.customers["archived"] == 2
    assert not any(key[1] == "delete" and key[0] == INVOICE for key in stage.written)
    await stage.cycle(full=True)
    assert differences(stage.expected(), stage.org) == []
    assert stage.org.count(USAGE) == usage
    await stage.cycle()
    assert stage.written == Counter()


@pytest.mark.parametrize("full", [False, True])
async def test_a_customer_that_metronome_forgot_keeps_its_rows(stage: Stage, full: bool) -> None:
    customer = stage.customer(1)
    before = stage.expected()
    stage.tenant.delete_customer(customer)

    report = await stage.cycle(full=full)

    def history(_sobject: str, row: Expected) -> bool:
        return row.customer == customer

    assert differences(with_history(stage.expected(), before, history), stage.org) == []
    assert stage.written == Counter()
    assert [reason for reason, _ in report.events] == ["CustomersGone"]
    assert "1 customers" in report.events[0][1]
