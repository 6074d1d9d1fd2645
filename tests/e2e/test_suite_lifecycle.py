"""The life of a MetronomeSync on both Kubernetes APIs: created, asked, edited, suspended, deleted.

The operator is the real process, its cycles run against an emulated tenant and org over http and
https; what was written is counted by the org.
"""

import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from tests.e2e.suite import (
    FULL_RESYNC,
    KEYS,
    Company,
    Json,
    Space,
    company,
    condition,
    content,
    eventually,
    message,
    rows_written,
    second_org,
    undisturbed,
)

CUSTOMER = "Metronome_Orphan_Customer__c"


def written(acme: Company) -> Counter[str]:
    """Rows by operation since the org's counters were reset."""
    counts: Counter[str] = Counter()
    for (_, operation), count in rows_written(acme.org).items():
        counts[operation] += count
    return counts


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_creation_runs_a_cycle_at_once_and_fills_the_org(space: Space, acme: Company) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    space.start(acme)
    status = space.wait_for_run()

    rows, requests = rows_written(acme.org), sum(acme.metronome.requests.values())
    assert content(acme.org) == undisturbed(acme)
    assert all(acme.org.count(sobject) for sobject in KEYS), "each type has rows in this tenant"
    run = status["lastRun"]
    assert (run["trigger"], run["generation"], run["full"]) == ("Created", 1, True)
    created = {sobject: count for (sobject, what), count in rows.items() if what == "insert"}
    assert {sobject: created[sobject] for sobject in KEYS} == {
        sobject: acme.org.count(sobject) for sobject in KEYS
    }
    told = {name: counts["created"] for name, counts in run["rows"].items()}
    assert sum(told.values()) == sum(acme.org.count(sobject) for sobject in KEYS)
    assert run["apiRequests"]["metronome"] == requests
    assert before <= moment(run["startedAt"]) <= moment(run["finishedAt"])
    expect_complete(status, acme)


def expect_complete(status: Json, acme: Company) -> None:
    """Check what status tells after the first run, and of the next one."""
    run = status["lastRun"]
    assert status["lastSuccessTime"] == run["finishedAt"]
    assert status["lastFullResyncTime"] == run["startedAt"]
    active, archived = acme.tenant.customers(), acme.tenant.customers(archived=True)
    assert status["customers"]["total"] == len(active) + len(archived)
    assert status["customers"]["archived"] == len(archived)
    assert status["customers"]["linked"] == 1
    assert status["observedGeneration"] == 1
    assert "progress" not in status
    assert [(one["id"], one["outcome"]) for one in status["history"]] == [(run["id"], "Succeeded")]
    coming = moment(status["nextRunTime"])
    assert (coming.hour, coming.minute) == (6, 0)
    assert timedelta(0) < coming - moment(run["startedAt"]) <= timedelta(days=1)
    assert condition(status, "Ready") == ("True", "Succeeded")
    assert condition(status, "Stalled") == ("False", "Succeeded")
    assert condition(status, "Reconciling") == ("False", "Idle")
    assert message(status, "Ready") == "Salesforce equals Metronome."
    assert {one["observedGeneration"] for one in status["conditions"]} == {1}


def test_a_request_is_echoed_once_its_run_is_over(space: Space, acme: Company) -> None:
    """A script waits for its token; without a change in Metronome, that run writes nothing."""
    space.start(acme)
    space.wait_for_run()
    acme.org.statistics.reset()
    acme.slow_down(0.4)
    space.annotate("metronome-salesforce.dev/requested-at", "now, please")
    status = space.wait(lambda status: condition(status, "Reconciling") == ("True", "Running"))
    assert "lastHandledRequest" not in status
    assert "lastRun" in status, "the last run stays to be seen while the next one runs"
    assert condition(status, "Ready") == ("True", "Succeeded"), "so does what is true of the org"
    status = space.wait(lambda status: status.get("progress", {}).get("stage") == "fetch Invoice")
    assert status["progress"]["done"] <= status["progress"]["total"]

    status = space.wait(lambda status: status.get("lastHandledRequest") == "now, please")
    assert condition(status, "Reconciling") == ("False", "Idle")
    assert "progress" not in status
    assert status["lastRun"]["trigger"] == "Requested"
    assert status["history"][0]["id"] == status["lastRun"]["id"]
    assert not rows_written(acme.org)
    time.sleep(1)
    assert len(space.status()["history"]) == 2, "a token counts once"


def test_events_tell_changes_only(space: Space, acme: Company) -> None:
    """The first success is an Event, the same again is none; failing and mending are one each."""
    space.start(acme)
    space.wait_for_run()
    first = ("Normal", "Succeeded", "Salesforce equals Metronome.")
    assert eventually(space.events) == [first]
    acme.tenant.advance(timedelta(days=1))
    run = space.request("again")["lastRun"]
    asked = ("Normal", "Requested", f"Cycle {run['id']} starts: a cycle was requested (again).")
    assert space.events() == [first, asked]

    acme.metronome.api_keys.clear()
    status = space.request("broken")
    assert status["customers"]["total"] > 0, "what was counted last stays to be seen"
    assert status["lastSuccessTime"] == run["finishedAt"]
    eventually(lambda: len(space.events()) == 4)
    kind, reason, sentence = space.events()[-1]
    assert (kind, reason) == ("Warning", condition(space.status(), "Ready")[1])
    assert sentence == message(space.status(), "Ready")

    acme.metronome.api_keys[acme.api_key] = "read"
    space.request("mended")
    eventually(lambda: len(space.events()) == 6)
    assert space.events()[-1][:2] == ("Normal", "Recovered")
    assert reason in space.events()[-1][2]


def test_a_day_writes_what_changed_and_a_full_resync_heals(space: Space, acme: Company) -> None:
    """The latter repairs what was done by hand, and writes those rows and no others."""
    space.start(acme)
    space.wait_for_run()
    before = content(acme.org)
    acme.tenant.advance(timedelta(days=1))
    acme.org.statistics.reset()
    space.request("a day later")

    after = content(acme.org)
    assert after == undisturbed(acme)
    changed = sum(before[one].get(key) != row for one in after for key, row in after[one].items())
    vanished = sum(len(before[one].keys() - after[one].keys()) for one in after)
    counts = written(acme)
    assert counts["insert"] + counts["update"] == changed > 0
    assert counts["delete"] == vanished

    edited = acme.org.rows("Metronome_Plan__c")[0]
    acme.org.update("Metronome_Plan__c", edited["Id"], {"Name": "Edited by hand"})
    gone = acme.org.rows("Metronome_Usage__c")[0]
    acme.org.delete("Metronome_Usage__c", gone["Id"])
    acme.org.statistics.reset()
    status = space.request("heal it", key=FULL_RESYNC)

    assert content(acme.org) == after
    assert rows_written(acme.org) == {
        ("Metronome_Plan__c", "update"): 1,
        ("Metronome_Usage__c", "insert"): 1,
    }
    run = status["lastRun"]
    assert (run["trigger"], run["full"]) == ("FullResync", True)
    assert status["lastFullResyncTime"] == run["startedAt"]
    assert [reason for _, reason, _ in space.events()] == ["Succeeded", "Requested", "FullResync"]


def test_suspended_it_waits_and_resumed_it_runs(space: Space, acme: Company) -> None:
    space.start(acme, suspend=True)
    status = space.wait(lambda status: condition(status, "Reconciling")[1] == "Suspended")
    assert condition(status, "Ready") == ("Unknown", "Suspended")
    assert "nextRunTime" not in status
    space.annotate("metronome-salesforce.dev/requested-at", "while it is suspended")
    time.sleep(1)
    assert acme.org.count(CUSTOMER) == 0
    assert acme.metronome.requests == {}

    space.patch({"suspend": False})
    status = space.wait_for_run()
    assert status["lastHandledRequest"] == "while it is suspended"
    space.patch({"suspend": True})
    status = space.wait(lambda status: condition(status, "Reconciling")[1] == "Suspended")
    assert condition(status, "Ready") == ("True", "Succeeded"), "what was true of the org stays so"
    assert "nextRunTime" not in status


def test_a_dry_run_plans_and_writes_nothing(space: Space, acme: Company) -> None:
    space.start(acme, dryRun=True)
    status = space.wait_for_run(outcome="Planned")
    assert not rows_written(acme.org), "nothing was written"
    assert condition(status, "Ready") == ("Unknown", "Planned")
    planned = {name: counts["created"] for name, counts in status["lastRun"]["rows"].items()}
    assert "lastSuccessTime" not in status

    space.patch({"dryRun": False})
    status = space.wait_for_run(2)
    assert status["lastRun"]["trigger"] == "SpecChanged"
    done = {name: counts["created"] for name, counts in status["lastRun"]["rows"].items()}
    assert planned == done
    assert sum(done.values()) == sum(acme.org.count(sobject) for sobject in KEYS)


def test_a_changed_spec_runs_at_once(space: Space, acme: Company) -> None:
    space.start(acme, windowSize="Day", objects=["Customer", "Plan"])
    space.wait_for_run()
    assert acme.org.count("Metronome_Usage__c") == 0
    space.patch({"objects": ["Customer", "Usage"], "windowSize": "None"})
    status = space.wait_for_run(2)

    run = status["lastRun"]
    assert (run["trigger"], run["generation"], run["full"]) == ("SpecChanged", 2, True)
    assert status["observedGeneration"] == 2
    windows = {row["Window_Size__c"] for row in acme.org.rows("Metronome_Usage__c")}
    assert windows == {"None"}
    assert acme.org.count("Metronome_Plan__c") > 0, "rows of a type taken away stay"


def test_another_org_gets_everything(space: Space, acme: Company) -> None:
    """Rows of every age: what was reached in the first org says nothing of the second."""
    space.start(acme)
    space.wait_for_run()
    with second_org(acme) as (org, url):
        space.patch({"salesforce": {"instanceUrl": url}})
        status = space.wait_for_run(2)

        run = status["lastRun"]
        assert (run["trigger"], run["full"]) == ("SpecChanged", True)
        assert content(org) == undisturbed(acme)
        space.request("and then a daily one")
        assert space.status()["lastRun"]["full"] is False


def test_objects_and_statuses_that_are_added_come_whole(space: Space, acme: Company) -> None:
    """Invoices too that are older than what a daily cycle looks at."""
    few: Json = {"objects": ["Customer", "Plan"], "invoices": {"statuses": ["Draft"]}}
    space.start(acme, **few, usage={"lookback": "2d"})
    space.wait_for_run()
    space.patch({"objects": None, "invoices": None, "usage": None})
    status = space.wait_for_run(2)

    assert (status["lastRun"]["trigger"], status["lastRun"]["full"]) == ("SpecChanged", True)
    assert content(acme.org) == undisturbed(acme)


def test_a_window_size_is_changed_for_all_that_is_there(space: Space, acme: Company) -> None:
    """With a shorter look-back at once: no full resync finds rows of the former size later on."""
    space.start(acme, usage={"lookback": "9d"})
    space.wait_for_run()
    days = {row["Start__c"][:10] for row in acme.org.rows("Metronome_Usage__c")}
    allowed = {"prune": {"maxDeletePercent": 100}}
    space.patch({"usage": {"lookback": "1d"}, "windowSize": "Hour", **allowed})
    status = space.wait_for_run(2)
    assert status["lastRun"]["full"] is True
    space.patch({"prune": {"maxDeletePercent": 10}})
    space.wait_for_run(3)

    acme.org.statistics.reset()
    status = space.request("all of it", key=FULL_RESYNC)
    assert (status["lastRun"]["outcome"], status["lastRun"]["full"]) == ("Succeeded", True)
    assert not rows_written(acme.org)
    rows = acme.org.rows("Metronome_Usage__c")
    assert {row["Window_Size__c"] for row in rows} == {"Hour"}
    assert {row["Start__c"][:10] for row in rows} == days


def test_a_second_sync_runs_beside_a_slow_first(space: Space, acme: Company) -> None:
    with company() as slow:
        slow.slow_down(30)
        space.start(slow, "slow")
        space.wait(lambda status: status.get("progress", {}).get("stage") == "fetch", "slow")
        space.start(acme, "quick")
        started = time.monotonic()
        space.wait_for_run(name="quick")
        assert time.monotonic() - started < 20, "the second one has not waited for the first"
        assert condition(space.status("slow"), "Reconciling") == ("True", "Running")
        assert content(acme.org) == undisturbed(acme)
        assert slow.org.count(CUSTOMER) == 0
        space.kubectl("delete", "msync", "slow", "--timeout=20s")


@pytest.mark.parametrize(
    "cluster", [pytest.param("real", marks=pytest.mark.cluster)], indirect=True
)
def test_the_schedule_fires(space: Space, acme: Company) -> None:
    """Every minute; on one API only, as it is the clock that takes long."""
    space.start(acme, schedule="* * * * *")
    first = space.wait_for_run()
    due = moment(first["nextRunTime"])
    assert (due.second, due > moment(first["lastRun"]["startedAt"])) == (0, True)
    status = space.wait(lambda status: len(status["history"]) > 1, seconds=75)
    run = status["lastRun"]
    assert run["trigger"] == "Schedule"
    assert timedelta(0) <= moment(run["startedAt"]) - due < timedelta(seconds=5)
