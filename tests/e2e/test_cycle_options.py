"""What the spec's fields change: windows, objects, statuses, dates, pruning, dry run, guards."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from metronome_salesforce.planning import Plan
from metronome_salesforce.report import Outcome, Retry
from metronome_salesforce.sandbox.metronome import Tenant
from tests.expectation import (
    CUSTOMER,
    GRANT,
    INVOICE,
    LINE,
    SOBJECTS,
    USAGE,
    changes,
    differences,
)
from tests.stage import Stage

DAY = timedelta(days=1)
BALANCE = "Credit_Balance__c"


async def test_hourly_windows(fresh: Stage) -> None:
    fresh.lookback = 1
    fresh.spec = {"windowSize": "Hour"}
    wanted = {"window_size": "Hour"}

    await fresh.cycle()

    before = fresh.expected(**wanted)
    assert len(before[USAGE]) > 24 * 6
    assert differences(before, fresh.org) == []
    await fresh.cycle()
    assert fresh.written == Counter()

    fresh.advance(DAY)
    await fresh.cycle()
    after = fresh.expected(**wanted)
    assert differences(after, fresh.org) == []
    assert fresh.written == changes(before, after)


async def test_another_window_size_replaces_the_rows_of_the_former(fresh: Stage) -> None:
    """Those of archived customers too, who would have their usage twice."""
    fresh.lookback = 3
    gone = fresh.customer(3)
    fresh.tenant.archive_customer(gone)
    await fresh.cycle()
    assert any(row["Metronome_Customer_ID__c"] == gone for row in fresh.org.rows(USAGE))

    fresh.spec = {"windowSize": "Hour", "prune": {"maxDeletePercent": 100}}
    await fresh.cycle(full=True)
    assert differences(fresh.expected(window_size="Hour"), fresh.org) == []

    fresh.spec = {"prune": {"maxDeletePercent": 100}}
    await fresh.cycle(full=True)
    assert differences(fresh.expected(), fresh.org) == []
    await fresh.cycle()
    assert fresh.written == Counter()


async def test_a_chosen_few_objects(fresh: Stage) -> None:
    fresh.spec = {"objects": ["Customer", "Invoice", "InvoiceLineItem"]}

    report = await fresh.cycle()

    wanted = fresh.expected()
    for sobject in set(SOBJECTS) - {CUSTOMER, INVOICE, LINE}:
        assert fresh.org.count(sobject) == 0
    assert report.rows.keys() == {"Customer", "Invoice", "InvoiceLineItem"}
    found = [one for one in differences(wanted, fresh.org, at_most=9999) if "missing" not in one]
    # Credit grants were not read, so nothing is said of their balance.
    told = {one.split(" is ")[0].split()[-1] for one in found}
    assert told == {"Credit_Balance__c", "Currency__c"}

    fresh.spec = {}
    await fresh.cycle(full=True)
    assert differences(wanted, fresh.org) == []


@pytest.mark.parametrize(
    ("objects", "empty", "kept"),
    [
        (["Customer", "CreditGrant"], {"Current_Spend__c", "Last_Invoice_Total__c"}, BALANCE),
        (["Customer", "Invoice"], {BALANCE}, "Current_Spend__c"),
    ],
)
async def test_sums_of_what_is_not_synced_are_empty(
    stage: Stage, objects: list[str], empty: set[str], kept: str
) -> None:
    """And not what they were once: nobody could tell an old amount from a new one."""
    account = stage.account("Acme")
    stage.tenant.set_salesforce_account(stage.customer(0), account)
    await stage.cycle()
    wanted = stage.expected()
    stage.spec = {"objects": objects}

    await stage.cycle(full=True)

    for sobject, prefix in ((CUSTOMER, ""), ("Account", "Metronome_")):
        rows = stage.org.rows(sobject)
        assert {row[f"{prefix}{name}"] for row in rows for name in empty} == {None}
        assert any(row[f"{prefix}{kept}"] is not None for row in rows)
    stage.spec = {}
    await stage.cycle(full=True)
    assert differences(wanted, stage.org) == []


@pytest.mark.parametrize("first", [{}, {"invoices": {"statuses": ["Draft"]}}])
async def test_a_chosen_status(fresh: Stage, first: dict[str, Any]) -> None:
    """Set at once, and later: invoices of the other statuses go with all that is below them."""
    if first:
        fresh.spec = {**first, "prune": {"maxDeletePercent": 100}}
    else:
        await fresh.cycle()
        fresh.spec = {"invoices": {"statuses": ["Draft"]}, "prune": {"maxDeletePercent": 100}}

    report = await fresh.cycle(full=True)

    assert report.outcome is Outcome.SUCCEEDED
    wanted = fresh.expected(statuses={"DRAFT"})
    assert differences(wanted, fresh.org) == []
    await fresh.cycle()
    assert fresh.written == Counter()


async def test_invoices_since_a_day(fresh: Stage) -> None:
    """Drafts and what ended or was issued since then; older ones count in the sums alone."""
    fresh.spec = {"invoices": {"since": "2026-02-15"}}
    since = datetime(2026, 2, 15, tzinfo=UTC)

    await fresh.cycle()

    wanted = fresh.expected()
    rows = {row["Metronome_Invoice_ID__c"] for row in fresh.org.rows(INVOICE)}

    def recent(invoice: dict[str, Any]) -> bool:
        moments = [invoice.get(name) for name in ("end_timestamp", "issued_at")]
        return invoice["status"] == "DRAFT" or any(
            datetime.fromisoformat(one) >= since for one in moments if one
        )

    everything = [
        invoice
        for one in fresh.tenant.customers() + fresh.tenant.customers(archived=True)
        for invoice in fresh.tenant.invoices(one["id"])
    ]
    kept = {one["id"] for one in everything if recent(one)}
    assert rows == kept
    assert len(kept) < len(everything)
    narrowed = {
        sobject: {key: row for key, row in of.items() if row.invoice is None or row.invoice in kept}
        for sobject, of in wanted.items()
    }
    assert differences(narrowed, fresh.org) == []
    await fresh.cycle(full=True)
    assert fresh.written == Counter()


async def test_windows_without_usage_where_wished(fresh: Stage) -> None:
    fresh.spec = {"usage": {"skipZero": False}}

    await fresh.cycle()

    wanted = fresh.expected(skip_zero=False)
    assert len(wanted[USAGE]) > len(fresh.expected()[USAGE])
    assert differences(wanted, fresh.org) == []
    await fresh.cycle(full=True)
    assert fresh.written == Counter()


async def test_nothing_is_deleted_without_pruning(stage: Stage) -> None:
    stage.spec = {"prune": {"enabled": False}}
    grant = stage.tenant.credit_grants()[0]
    stage.tenant.void_grant(grant["id"])
    draft = stage.drafts()[0]
    stage.tenant.delete_draft_invoice(draft["Metronome_Invoice_ID__c"])

    report = await stage.cycle(full=True)

    assert report.outcome is Outcome.SUCCEEDED
    assert not any(key[1] in {"delete", "cascade"} for key in stage.written)
    assert draft["Id"] in {row["Id"] for row in stage.org.rows(INVOICE)}
    assert grant["id"] in {row["Metronome_Credit_Grant_ID__c"] for row in stage.org.rows(GRANT)}


async def test_a_dry_run_tells_what_would_change_and_writes_nothing(month: Stage) -> None:
    before = month.expected()
    month.advance(DAY)
    wanted = changes(before, month.expected())
    seen: list[tuple[str, str]] = []

    def look(plan: Plan) -> None:
        for name, operations in plan.counts().items():
            seen.extend((name, kind) for kind, count in operations.items() for _ in range(count))

    month.plan = look
    report = await month.cycle(dry_run=True)

    assert (report.outcome, report.reason) == (Outcome.PLANNED, "Planned")
    assert month.written == Counter()
    assert differences(before, month.org) == []
    assert report.rows["Usage"].created == wanted[USAGE, "insert"]
    assert report.rows["Usage"].updated == wanted[USAGE, "update"]
    assert report.rows["Invoice"].updated == wanted[INVOICE, "update"]
    assert len(seen) == wanted.total()


async def test_too_many_deletes_are_refused(stage: Stage) -> None:
    """Every draft gone at once looks like an accident; raising the limit once lets it through."""
    before = stage.expected()
    for draft in stage.drafts():
        stage.tenant.delete_draft_invoice(draft["Metronome_Invoice_ID__c"])

    report = await stage.cycle()

    assert (report.outcome, report.reason) == (Outcome.REFUSED, "TooManyDeletes")
    assert "maxDeletePercent" in report.message
    assert stage.written == Counter()
    stale = [one for one in differences(before, stage.org) if "missing" in one]
    assert stale == []

    report = await stage.cycle(spec={"prune": {"maxDeletePercent": 100}})
    assert report.outcome is Outcome.SUCCEEDED
    assert differences(stage.expected(), stage.org) == []


async def test_the_key_of_another_environment_is_refused(stage: Stage) -> None:
    """Not one customer is the same: neither theirs are mixed in nor ours given up."""
    other = Tenant.generate(customers=12, seed=7, now=stage.now, months=1)
    stage.metronome.tenant = other

    for full in (False, True):
        report = await stage.cycle(full=full)

        assert (report.outcome, report.reason) == (Outcome.REFUSED, "CustomersVanished")
        assert "environment" in report.message
        assert stage.written == Counter()


async def test_an_empty_tenant_is_refused(stage: Stage) -> None:
    for one in stage.tenant.customers() + stage.tenant.customers(archived=True):
        stage.tenant.delete_customer(one["id"])

    report = await stage.cycle(full=True)

    assert (report.outcome, report.reason) == (Outcome.REFUSED, "CustomersVanished")
    assert stage.written == Counter()


async def test_the_api_budget_is_kept(stage: Stage) -> None:
    stage.advance(DAY)
    stage.org.api_used = 79_999

    report = await stage.cycle()

    assert (report.outcome, report.reason) == (Outcome.FAILED, "ApiBudgetExhausted")
    assert report.retry is Retry.LATER
    assert stage.written == Counter()
    report = await stage.cycle(spec={"salesforce": {"apiBudgetPercent": 90}})
    assert report.outcome is Outcome.SUCCEEDED


async def test_a_shorter_look_back_leaves_older_usage_alone(month: Stage) -> None:
    """Usage before the look-back is neither read nor deleted, even when it was corrected."""
    month.spec = {"usage": {"lookback": "3d"}}
    before = month.expected()
    old = min(month.org.rows(USAGE), key=lambda row: str(row["Start__c"]))
    month.tenant.edit_usage(
        old["Metronome_Customer_ID__c"],
        old["Billable_Metric_ID__c"],
        date.fromisoformat(old["Start__c"]),
        None,
    )

    report = await month.cycle()

    assert report.outcome is Outcome.SUCCEEDED
    assert old["Id"] in {row["Id"] for row in month.org.rows(USAGE)}
    await month.cycle(full=True)
    assert old["Id"] not in {row["Id"] for row in month.org.rows(USAGE)}
    assert len(month.expected()[USAGE]) == len(before[USAGE]) - 1
    assert differences(month.expected(), month.org) == []
