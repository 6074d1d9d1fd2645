"""The Sync Run records that cycles leave in the org."""

import asyncio
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from metronome_salesforce.report import Outcome, Trigger
from metronome_salesforce.sandbox.salesforce import INTEGRATION
from metronome_salesforce.stepping import CycleStoppedError
from tests.expectation import CUSTOMER, INVOICE
from tests.package.versions import own_set
from tests.stage import PERMISSION_SET, Stage

RUN = "Metronome_Sync_Run__c"
Json = dict[str, Any]


@pytest.fixture(name="stage")
def _stage() -> Iterator[Stage]:
    """A small tenant and an org with the package."""
    with Stage(customers=3, months=2) as stage:
        yield stage


def runs(stage: Stage) -> list[Json]:
    """The records, oldest first."""
    return sorted(stage.org.rows(RUN), key=lambda row: row["Started_At__c"])


async def later(stage: Stage, **more: Any) -> None:
    """A cycle an hour after the last one."""
    stage.now += timedelta(hours=1)
    await stage.cycle(**more)


async def test_a_cycle_leaves_a_record_with_what_the_org_counted(stage: Stage) -> None:
    report = await stage.cycle()

    [run] = runs(stage)
    written = stage.written
    assert run["Name"] == "RUN-000001"
    assert run["Run_ID__c"] == report.id
    assert run["Sync__c"] == "billing/production"
    assert run["Trigger__c"] == "Schedule"
    assert run["Outcome__c"] == "Succeeded"
    assert run["Is_Latest__c"] is True
    assert run["Started_At__c"] == "2026-03-10T06:00:00.000+0000"
    assert run["Finished_At__c"] >= run["Started_At__c"]
    assert run["Rows_Created__c"] == sum(n for (_, what), n in written.items() if what == "insert")
    assert run["Rows_Updated__c"] == sum(n for (_, what), n in written.items() if what == "update")
    assert (run["Rows_Deleted__c"], run["Rows_Unchanged__c"], run["Rows_Rejected__c"]) == (0, 0, 0)
    assert run["Metronome_Requests__c"] == sum(stage.metronome.requests.values())
    # All but the call that wrote this.
    assert run["Salesforce_Requests__c"] == stage.org.statistics.total_calls - 1
    lines = run["Summary__c"].splitlines()
    assert lines[0] == "Salesforce equals Metronome."
    count = stage.org.count(INVOICE)
    assert f"Invoice: {count} created, 0 updated, 0 deleted, 0 unchanged, 0 rejected" in lines


async def test_a_quiet_cycle_writes_its_record_and_nothing_else(stage: Stage) -> None:
    await stage.cycle()
    await later(stage)

    assert {sobject for sobject, _ in stage.org.statistics.rows} == {RUN}
    first, second = runs(stage)
    assert (first["Is_Latest__c"], second["Is_Latest__c"]) == (False, True)
    assert second["Rows_Created__c"] == 0
    assert second["Rows_Unchanged__c"] > 0


async def test_rejected_rows_are_named_with_their_reasons(stage: Stage) -> None:
    stage.org.add_validation_rule(
        INVOICE, "NoDrafts", lambda row: row["Status__c"] == "Draft", "Drafts are not wanted here"
    )
    await stage.cycle()

    [run] = runs(stage)
    drafts = [
        one["id"]
        for customer in stage.tenant.customers()
        for one in stage.tenant.invoices(customer["id"])
        if one["status"] == "DRAFT"
    ]
    assert run["Outcome__c"] == "PartiallyFailed"
    assert run["Rows_Rejected__c"] >= len(drafts) > 0
    assert f"Invoice {drafts[0]}, create: Drafts are not wanted here" in run["Summary__c"]


async def test_a_refused_plan_is_told_and_counts_no_row() -> None:
    """Every draft gone at once is more than may be deleted."""
    with Stage(months=2) as stage:
        await stage.cycle()
        for draft in stage.drafts():
            stage.tenant.delete_draft_invoice(draft["Metronome_Invoice_ID__c"])
        stage.now += timedelta(hours=1)
        report = await stage.cycle()

        run = runs(stage)[-1]
        assert report.outcome is Outcome.REFUSED
        assert (run["Outcome__c"], run["Rows_Deleted__c"]) == ("Refused", 0)
        assert run["Summary__c"].startswith(report.message)
        assert {sobject for sobject, _ in stage.org.statistics.rows} == {RUN}


async def test_a_dry_run_leaves_no_record(stage: Stage) -> None:
    await stage.cycle(dry_run=True)

    assert runs(stage) == []


async def test_a_failed_cycle_is_told_if_it_got_so_far(stage: Stage) -> None:
    stage.metronome.faults.add("GET /v1/customers", status=403, times=99)
    report = await stage.cycle()

    [run] = runs(stage)
    assert report.outcome is Outcome.FAILED
    assert (run["Outcome__c"], run["Run_ID__c"]) == ("Failed", report.id)
    assert run["Summary__c"] == report.message


async def test_a_run_that_may_not_write_a_field_leaves_a_record(stage: Stage) -> None:
    """In Salesforce, too, the newest record tells that the sync stands still, and why."""
    await later(stage)
    field = "Metronome_Usage__c.Value__c"
    assert (deployed := stage.org.deploy(own_set(field))).success, deployed.problems
    stage.org.assign_permission_set(INTEGRATION, "Ours")
    stage.org.revoke_permission_set(INTEGRATION, PERMISSION_SET)
    await later(stage, dry_run=True)
    assert len(runs(stage)) == 1, "a dry run leaves none"
    await later(stage)

    _, failed = runs(stage)
    assert (failed["Outcome__c"], failed["Is_Latest__c"]) == ("Failed", True)
    assert f"cannot see {field}" in failed["Summary__c"]
    assert {sobject for sobject, _ in stage.org.statistics.rows} == {RUN}


async def test_old_records_go_and_those_of_other_syncs_stay(stage: Stage) -> None:
    other = {
        "Run_ID__c": "other",
        "Sync__c": "billing/staging",
        "Started_At__c": "2026-03-01T06:00:00Z",
    }
    stage.org.insert(RUN, other, username=stage.clerk())
    for _ in range(4):
        await later(stage, spec={"historyLimit": 2})

    ours = [run for run in runs(stage) if run["Sync__c"] == "billing/production"]
    assert [run["Started_At__c"][11:16] for run in ours] == ["09:00", "10:00"]
    assert [run["Is_Latest__c"] for run in ours] == [False, True]
    assert stage.org.count(RUN) == 3


async def test_tries_that_fail_alike_share_one_record(stage: Stage) -> None:
    """As they share a line in the status: else a night of tries would leave nothing else."""
    stage.org.add_validation_rule(
        INVOICE, "NoDrafts", lambda row: row["Status__c"] == "Draft", "Drafts are not wanted here"
    )
    await later(stage)
    stage.metronome.faults.add("GET /v1/customers", status=403, times=9999)
    await later(stage)
    for _ in range(3):
        await later(stage, trigger=Trigger.RETRY)
    ended = stage.now
    await later(stage)
    stage.metronome.faults.clear()
    await later(stage, trigger=Trigger.RETRY)

    assert [(run["Outcome__c"], run["Trigger__c"]) for run in runs(stage)] == [
        ("PartiallyFailed", "Schedule"),
        ("Failed", "Retry"),
        ("Failed", "Schedule"),
        ("PartiallyFailed", "Retry"),
    ]
    shared = runs(stage)[1]
    assert shared["Started_At__c"] == ended.strftime("%Y-%m-%dT%H:%M:%S.000+0000")
    assert [run["Is_Latest__c"] for run in runs(stage)] == [False, False, False, True]


async def test_tries_that_were_killed_count_as_failed_alike(stage: Stage) -> None:
    """Records that nobody closed, of one run after the other."""
    await later(stage)
    killed = stage.now
    for number in range(3):
        killed += timedelta(minutes=1)
        fields = {
            "Run_ID__c": f"killed-{number}",
            "Sync__c": "billing/production",
            "Trigger__c": "Retry" if number else "Schedule",
            "Outcome__c": "Running",
            "Started_At__c": killed.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        stage.org.insert(RUN, fields, username=stage.clerk())
    stage.metronome.faults.add("GET /v1/customers", status=403, times=9999)
    await later(stage, trigger=Trigger.RETRY)

    assert [run["Outcome__c"] for run in runs(stage)] == ["Succeeded", "Failed"]


async def stopped(stage: Stage) -> None:
    """A cycle that is stopped in its middle."""
    stop = threading.Event()

    def stopping() -> dict[str, Any]:
        stop.set()
        return {}

    stage.relinked = stopping
    with pytest.raises(CycleStoppedError):
        await stage.cycle(stop=stop)
    stage.relinked = None


async def test_a_run_that_is_stopped_says_so_itself(stage: Stage) -> None:
    """No other run may come that could: the sync may be suspended, or gone."""
    await stopped(stage)

    [left] = runs(stage)
    assert (left["Outcome__c"], left["Is_Latest__c"]) == ("Failed", True)
    assert left["Finished_At__c"]
    assert left["Summary__c"].startswith("The run was stopped before its end")
    await later(stage)
    assert [(run["Outcome__c"], run["Is_Latest__c"]) for run in runs(stage)] == [
        ("Failed", False),
        ("Succeeded", True),
    ]


async def test_a_run_that_is_cancelled_says_so_once_its_call_has_ended(stage: Stage) -> None:
    """As the operator stops it: a session serves one call at a time."""
    loop, opened = asyncio.get_running_loop(), False

    def heard(request: Any) -> None:
        nonlocal opened
        if opened and request.path.endswith("/query"):
            stage.salesforce.faults.add("GET */query*", delay=0.5, times=1)
            loop.call_soon_threadsafe(cycle.cancel)
        opened = opened or "composite/sobjects" in request.path

    stage.salesforce.on_request = heard
    cycle = asyncio.ensure_future(stage.cycle())
    with pytest.raises(asyncio.CancelledError):
        await cycle

    [left] = runs(stage)
    assert left["Outcome__c"] == "Failed"
    assert left["Summary__c"].startswith("The run was stopped before its end")


async def test_a_record_that_nobody_closed_is_closed_by_the_next_run(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a run that was killed; here the org does not take the end."""
    stage.org.add_validation_rule(
        RUN, "NoEnd", lambda row: row["Outcome__c"] == "Failed", "Not now"
    )
    await stopped(stage)
    assert "is not written" in caplog.text
    [left] = runs(stage)
    assert (left["Outcome__c"], left["Finished_At__c"]) == ("Running", None)
    await later(stage)

    first, second = runs(stage)
    assert (first["Outcome__c"], first["Is_Latest__c"]) == ("Unknown", False)
    assert first["Finished_At__c"] is None
    assert first["Summary__c"].startswith("The end of this run was not recorded")
    assert (second["Outcome__c"], second["Is_Latest__c"]) == ("Succeeded", True)


async def test_a_long_name_is_found_again(stage: Stage) -> None:
    """Namespace and name may have more characters than the field."""
    stage.name = "a" * 253
    for _ in range(3):
        await later(stage, spec={"historyLimit": 1})

    [run] = runs(stage)
    assert (len(run["Sync__c"]), run["Is_Latest__c"]) == (255, True)


async def test_a_record_that_somebody_deletes_meanwhile_is_written_whole(stage: Stage) -> None:
    def deleting() -> dict[str, Any]:
        for run in runs(stage):
            stage.org.delete(RUN, run["Id"])
        return {}

    stage.relinked = deleting
    report = await stage.cycle()

    [run] = runs(stage)
    assert (run["Run_ID__c"], run["Sync__c"]) == (report.id, "billing/production")
    assert run["Started_At__c"]


async def test_a_record_that_is_refused_does_not_hold_the_rows_back(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.org.add_validation_rule(RUN, "NoRuns", lambda _row: True, "No runs here")
    report = await stage.cycle()

    assert report.outcome is Outcome.SUCCEEDED
    assert stage.org.count(CUSTOMER) > 0
    assert runs(stage) == []
    refused = "FIELD_CUSTOM_VALIDATION_EXCEPTION"
    assert f"Sync Run record {report.id} is not written ({refused})" in caplog.text
