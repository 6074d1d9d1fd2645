"""What a person sees who applies, edits and deletes MetronomeSyncs."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from metronome_salesforce.sandbox.kubernetes import KubernetesSandbox
from tests.e2e.operator_harness import CRDS, SECRET, Bench, eventually, is_alive

REJECTED = {
    "outcome": "PartiallyFailed",
    "reason": "RowsRejected",
    "message": "Salesforce refused 2 rows: DUPLICATE_VALUE (2).",
}
REVOKED = {
    "outcome": "Failed",
    "retry": "afterChange",
    "reason": "AuthenticationFailed",
    "message": "Metronome refused the API key; put a valid one into the Secret.",
}


@pytest.fixture(name="bench")
def _bench(tmp_path: Path) -> Iterator[Bench]:
    """A cluster with the CRDs and the Secrets; no operator yet."""
    cluster = KubernetesSandbox(crds=CRDS)
    with cluster.serve() as served:
        bench = Bench(tmp_path, cluster, served)
        bench.add_secrets()
        yield bench


def test_creation_runs_a_cycle_at_once_and_shows_it(bench: Bench) -> None:
    with bench.operating():
        bench.add_sync()
        eventually(lambda: bench.condition("Ready") == ("True", "Succeeded"))
        # Told after the status is written; an operator that is stopped in between says nothing.
        eventually(lambda: bench.event_reasons() == ["Succeeded"])

    (run,) = bench.runs()
    status = bench.status()
    assert (run["trigger"], run["full"], run["dryRun"]) == ("Created", True, False)
    assert (bench.condition("Stalled")[0], bench.condition("Reconciling")[0]) == ("False", "False")
    assert status["lastRun"]["outcome"] == "Succeeded"
    assert status["lastRun"]["duration"] == "2s"
    assert (status["lastRun"]["rows"]["Customer"]) == {
        "created": 2,
        "updated": 0,
        "unchanged": 1,
        "deleted": 0,
        "rejected": 0,
    }
    assert status["customers"] == {"total": 3, "linked": 1, "orphaned": 2, "archived": 0}
    assert [run["runId"]] == [entry["id"] for entry in status["history"]]
    assert status["nextRunTime"].endswith("T06:00:00Z")
    assert status["observedGeneration"] == 1
    assert "progress" not in status


def test_the_child_gets_the_credentials_and_nobody_else(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with bench.operating():
        bench.add_sync()
        eventually(lambda: bench.ran(1))

    (run,) = bench.runs()
    assert run["apiKey"] == SECRET
    assert run["credentials"] == {"clientId": "consumer-id", "clientSecret": "consumer-s3cr3t"}
    visible = json.dumps([bench.status(), bench.cluster.objects("events")]) + caplog.text
    assert "s3cr3t" not in visible


def test_a_running_cycle_shows_its_progress(bench: Bench) -> None:
    bench.behave("acme", hold=True)
    with bench.operating():
        bench.add_sync()
        eventually(lambda: bench.status().get("progress", {}).get("stage") == "fetch")

        assert bench.status()["progress"] == {"stage": "fetch", "done": 3, "total": 10}
        assert bench.condition("Reconciling") == ("True", "Running")
        assert bench.condition("Ready")[0] == "Unknown"

        bench.behave("acme")
        eventually(lambda: bench.ran(1))


def test_a_suspended_sync_starts_when_it_is_resumed(bench: Bench) -> None:
    with bench.operating():
        bench.add_sync(suspend=True)
        eventually(lambda: bench.condition("Reconciling") == ("False", "Suspended"))

        assert bench.runs() == []
        assert "nextRunTime" not in bench.status()

        bench.patch("acme", {"spec": {"suspend": False}})
        eventually(lambda: bench.ran(1))

        bench.patch("acme", {"spec": {"suspend": True}})
        eventually(lambda: bench.condition("Reconciling") == ("False", "Suspended"))
    assert bench.condition("Ready") == ("True", "Succeeded"), "what was true of the org stays true"
    assert len(bench.runs()) == 1


def test_a_request_is_answered_with_its_token_once_the_run_is_over(bench: Bench) -> None:
    with bench.operating():
        bench.add_sync()
        eventually(lambda: bench.ran(1))
        bench.behave("acme", hold=True)
        bench.annotate("acme", "requested-at", "token-1")
        eventually(lambda: len(bench.runs()) == 2)

        assert "lastHandledRequest" not in bench.status()

        bench.behave("acme")
        eventually(lambda: bench.status().get("lastHandledRequest") == "token-1")
        eventually(lambda: bench.event_reasons() == ["Succeeded", "Requested"])
    assert bench.runs()[-1]["trigger"] == "Requested"


def test_a_full_resync_can_be_requested_while_a_cycle_runs(bench: Bench) -> None:
    bench.behave("acme", hold=True)
    with bench.operating():
        bench.add_sync()
        eventually(bench.runs)
        bench.annotate("acme", "full-resync", "all of it")
        bench.behave("acme")
        eventually(lambda: bench.status().get("lastHandledFullResync") == "all of it")
    assert [(run["trigger"], run["full"]) for run in bench.runs()] == [
        ("Created", True),
        ("FullResync", True),
    ]


def test_a_second_sync_runs_beside_a_slow_first(bench: Bench) -> None:
    bench.behave("slow", hold=True)
    with bench.operating():
        bench.add_sync("slow")
        eventually(lambda: bench.runs("slow"))
        bench.add_sync("quick")
        eventually(lambda: bench.ran(1, "quick"))

        assert "progress" in bench.status("slow")
        bench.behave("slow")
        eventually(lambda: bench.ran(1, "slow"))


def test_more_cycles_than_allowed_wait_for_each_other(bench: Bench) -> None:
    bench.behave("first", hold=True)
    with bench.operating(max_cycles=1):
        bench.add_sync("first")
        eventually(lambda: bench.runs("first"))
        bench.add_sync("second")
        eventually(lambda: bench.condition("Reconciling", "second") == ("True", "Queued"))
        bench.behave("first")
        eventually(lambda: bench.ran(1, "second"))


def test_a_secret_that_is_created_later_mends_it_by_itself(tmp_path: Path) -> None:
    cluster = KubernetesSandbox(crds=CRDS)
    with cluster.serve() as served:
        bench = Bench(tmp_path, cluster, served)
        with bench.operating():
            bench.add_sync()
            eventually(lambda: bench.condition("Stalled") == ("True", "SecretNotFound"))

            assert bench.condition("Ready") == ("False", "SecretNotFound")
            assert "Secret metronome" in bench.status()["lastRun"]["message"]

            bench.add_secrets()
            eventually(lambda: bench.condition("Ready") == ("True", "Succeeded"))
            eventually(lambda: bench.event_reasons() == ["SecretNotFound", "Recovered"])
        assert bench.condition("Stalled")[0] == "False"
        assert len(bench.runs()) == 1


def test_a_request_is_answered_although_the_secret_is_missing(tmp_path: Path) -> None:
    """A script that waits for its token learns that the run failed."""
    cluster = KubernetesSandbox(crds=CRDS)
    with cluster.serve() as served:
        bench = Bench(tmp_path, cluster, served)
        with bench.operating():
            bench.add_sync()
            eventually(lambda: bench.condition("Stalled")[0] == "True")
            bench.annotate("acme", "requested-at", "now")
            eventually(lambda: bench.status().get("lastHandledRequest") == "now")
        assert bench.condition("Ready") == ("False", "SecretNotFound")
        assert bench.event_reasons() == ["SecretNotFound"]


def test_a_rotated_secret_is_tried_at_once(bench: Bench) -> None:
    bench.behave("acme", report=REVOKED)
    with bench.operating():
        bench.add_sync()
        eventually(lambda: bench.condition("Stalled") == ("True", "AuthenticationFailed"))
        bench.behave("acme")
        bench.request(
            "PATCH",
            "/api/v1/namespaces/default/secrets/metronome",
            {"stringData": {"apiKey": "new-one"}},
            "application/merge-patch+json",
        )
        eventually(lambda: bench.condition("Ready") == ("True", "Succeeded"))
        eventually(lambda: bench.event_reasons() == ["AuthenticationFailed", "Recovered"])
    assert [(run["trigger"], run["apiKey"]) for run in bench.runs()] == [
        ("Created", SECRET),
        ("Retry", "new-one"),
    ]


REFUSAL = {"digest": "0123", "reason": "PackageRefused", "message": "The org refused it."}
REFUSED = {
    "outcome": "Failed", "reason": "PackageRefused", "message": "The org refused it.",
    "retry": "afterChange",
    "package": {
        "version": None, "installed": False, "reason": "PackageRefused",
        "message": "The org refused it.", "changed": False, "lacking": True, "refusal": REFUSAL,
    },
}  # fmt: skip


WRONG_KEY = {
    "outcome": "Failed", "reason": "MetronomePermissionDenied", "message": "No.",
    "retry": "afterChange",
}  # fmt: skip


def test_a_refused_package_is_remembered_until_a_person_acts(bench: Bench) -> None:
    """Tries by themselves are told of it; who asks, edits, or changes a Secret starts afresh."""
    ahead = timedelta()
    bench.behave("acme", report=REFUSED)
    with bench.operating(now=lambda: datetime.now(UTC) + ahead):
        bench.add_sync(schedule="0 6 29 2 *")
        eventually(lambda: bench.ran(1))
        assert bench.status()["package"] == {"refused": {**REFUSAL, "generation": 1}}
        ahead = timedelta(minutes=6)
        eventually(lambda: bench.ran(2))
        ahead = timedelta()  # else the tries to come are due at once
        bench.annotate("acme", "requested-at", "1")
        eventually(lambda: bench.ran(3))
        bench.patch("acme", {"spec": {"historyLimit": 5}})
        eventually(lambda: bench.ran(4))
        assert bench.status()["package"]["refused"]["generation"] == 2
        bench.request(
            "PATCH",
            "/api/v1/namespaces/default/secrets/metronome",
            {"stringData": {"apiKey": "new-one"}},
            "application/merge-patch+json",
        )
        eventually(lambda: bench.ran(5))
        # A cycle that was asked for and does not get as far as the package: the next one does.
        bench.behave("acme", report=WRONG_KEY)
        bench.annotate("acme", "requested-at", "2")
        eventually(lambda: bench.ran(6))
        ahead = timedelta(minutes=6)
        eventually(lambda: bench.ran(7))
    assert [(run["trigger"], run["refusal"]) for run in bench.runs()] == [
        ("Created", None),
        ("Retry", REFUSAL),
        ("Requested", None),
        ("SpecChanged", None),
        ("Retry", None),
        ("Requested", None),
        ("Retry", None),
    ]


def test_another_operator_does_not_know_whether_a_refused_package_was_mended(bench: Bench) -> None:
    """A Secret may have changed while none ran."""
    bench.behave("acme", report=REFUSED)
    with bench.operating():
        bench.add_sync(schedule="0 6 29 2 *")
        eventually(lambda: bench.ran(1))
    with bench.operating(now=lambda: datetime.now(UTC) + timedelta(minutes=6)):
        eventually(lambda: bench.ran(2))
        bench.annotate("acme", "requested-at", "1")
        eventually(lambda: bench.ran(3))
    assert [(run["trigger"], run["refusal"]) for run in bench.runs()] == [
        ("Created", None),
        ("Retry", None),
        ("Requested", None),
    ]


def test_a_change_of_the_spec_runs_a_cycle_with_it(bench: Bench) -> None:
    """One that changes what is looked at builds on nothing that was reached before."""
    rejected = REJECTED | {"rejected_since": {"usage": "2026-03-01"}}
    bench.behave("acme", report=rejected)
    with bench.operating():
        bench.add_sync()
        eventually(lambda: bench.ran(1))
        first = bench.status()
        bench.patch("acme", {"spec": {"historyLimit": 5}})
        eventually(lambda: bench.ran(2))
        bench.patch("acme", {"spec": {"windowSize": "Hour"}})
        eventually(lambda: bench.ran(3))
        bench.annotate("acme", "requested-at", "1")
        eventually(lambda: bench.ran(4))
    _, same, other, after = bench.runs()
    assert (same["trigger"], same["full"]) == ("SpecChanged", False)
    assert same["lastSuccess"] == first["lastReachTime"]
    assert same["rejectedSince"] == {"usage": "2026-03-01"}
    assert (other["trigger"], other["sync"]["spec"]["windowSize"]) == ("SpecChanged", "Hour")
    assert (other["full"], other["lastSuccess"], other["rejectedSince"]) == (True, None, None)
    assert (after["full"], after["lastSuccess"] is None) == (False, False)
    assert bench.status()["observedGeneration"] == 3


def test_deletion_stops_the_cycle_and_frees_the_lease(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Its log has an end, too."""
    caplog.set_level(logging.INFO)
    bench.behave("acme", hold=True)
    with bench.operating():
        bench.add_sync()
        pid = eventually(bench.runs)[0]["pid"]
        assert bench.lease()["holderIdentity"] == "operator-1"

        bench.delete("acme")

        eventually(lambda: not is_alive(pid))
        eventually(lambda: "holderIdentity" not in bench.lease())
        assert bench.cluster.objects("metronomesyncs") == []
        eventually(lambda: 'name="acme"' not in bench.probe("/metrics")[1])
    told = [line for line in caplog.messages if line.startswith("cycle ")]
    assert told == ["cycle starts (Created)", "cycle stopped: the MetronomeSync was deleted"]


def test_a_cycle_that_ends_with_the_operator_says_so_in_the_log(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bench.behave("acme", hold=True)
    with bench.operating():
        bench.add_sync()
        eventually(bench.runs)
    told = [line for line in caplog.messages if line.startswith("cycle ")]
    assert told == ["cycle starts (Created)", "cycle stopped: the operator ends"]


def test_a_sync_that_is_created_again_starts_from_nothing(bench: Bench) -> None:
    bench.behave("acme", hold=True)
    with bench.operating():
        bench.add_sync()
        eventually(bench.runs)
        bench.delete("acme")
        bench.behave("acme")
        bench.add_sync()
        eventually(lambda: bench.ran(2))
    assert [run["trigger"] for run in bench.runs()] == ["Created", "Created"]


def test_rejected_rows_are_told_once_and_so_is_the_recovery(bench: Bench) -> None:
    bench.behave("acme", report=REJECTED)
    with bench.operating():
        bench.add_sync()
        eventually(lambda: bench.condition("Ready") == ("False", "RowsRejected"))
        bench.annotate("acme", "requested-at", "again")
        eventually(lambda: bench.ran(2))
        assert bench.condition("Stalled")[0] == "False"
        bench.behave("acme")
        bench.annotate("acme", "requested-at", "and again")
        eventually(lambda: bench.condition("Ready") == ("True", "Succeeded"))
        eventually(lambda: bench.event_reasons()[-1] == "Recovered")
    reasons = [reason for reason in bench.event_reasons() if reason != "Requested"]
    assert reasons == ["RowsRejected", "Recovered"]


def test_a_crashed_child_is_reported_and_tried_again(bench: Bench) -> None:
    bench.behave("acme", exit=3)
    with bench.operating():
        bench.add_sync()
        eventually(lambda: bench.condition("Ready") == ("Unknown", "CycleCrashed"))
        eventually(lambda: bench.condition("Reconciling") == ("True", "Retrying"))
    status = bench.status()
    assert "exit code 3" in status["lastRun"]["message"]
    assert status["failedAttempts"] == 1
    wait = datetime.fromisoformat(status["nextRunTime"]) - datetime.fromisoformat(
        status["lastRun"]["finishedAt"]
    )
    assert timedelta(minutes=1) == wait


def test_a_dry_run_leaves_ready_unknown(bench: Bench) -> None:
    planned = {"outcome": "Planned", "reason": "Planned", "message": "Nothing was written."}
    bench.behave("acme", report=planned)
    with bench.operating():
        bench.add_sync(dryRun=True)
        eventually(lambda: bench.condition("Ready") == ("Unknown", "Planned"))
    assert bench.runs()[0]["dryRun"] is True
    assert "lastSuccessTime" not in bench.status()


def test_the_schedule_starts_a_cycle(bench: Bench) -> None:
    """With a clock that is two seconds before six when the operator starts."""
    shift = datetime(2026, 3, 5, 5, 59, 58, tzinfo=UTC) - datetime.now(UTC)
    # The scripted child has no such clock.
    times = {"started_at": "2026-03-05T05:59:58Z", "finished_at": "2026-03-05T05:59:59Z"}
    bench.behave("acme", report=times)
    with bench.operating(now=lambda: datetime.now(UTC) + shift):
        bench.add_sync()
        eventually(lambda: bench.ran(1))
        assert bench.status()["nextRunTime"] == "2026-03-05T06:00:00Z"
        eventually(lambda: bench.ran(2))
    assert bench.runs()[-1]["trigger"] == "Schedule"


def test_what_only_the_operator_can_refuse_is_a_condition(bench: Bench) -> None:
    """The API server cannot know whether a time zone exists."""
    with bench.operating():
        bench.add_sync(timeZone="Mars/Olympus_Mons")
        eventually(lambda: bench.condition("Stalled") == ("True", "InvalidSpec"))
        ready = next(c for c in bench.status()["conditions"] if c["type"] == "Ready")
        assert ready["message"].startswith("spec.timeZone")

        bench.patch("acme", {"spec": {"timeZone": "Europe/Berlin"}})
        eventually(lambda: bench.condition("Ready") == ("True", "Succeeded"))
    assert bench.condition("Stalled")[0] == "False"


def test_a_host_that_is_not_allowed_gets_no_credentials(bench: Bench) -> None:
    with bench.operating():
        bench.add_sync(
            salesforce={
                "instanceUrl": "https://collector.example.com",
                "credentialsSecretRef": {"name": "salesforce"},
            }
        )
        eventually(lambda: bench.condition("Stalled") == ("True", "HostNotAllowed"))
    assert bench.runs() == []
