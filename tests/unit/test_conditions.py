"""What happened to a MetronomeSync → its status, conditions and Events."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from metronome_salesforce import conditions
from metronome_salesforce.conditions import Event, Moment, Tokens
from metronome_salesforce.errors import ConfigError
from metronome_salesforce.report import Counts, CycleReport, Outcome, Rejected, Retry, Trigger
from metronome_salesforce.schedule import Run, decide, history_of, reach_digest
from metronome_salesforce.spec import MetronomeSyncSpec

SIX = datetime(2026, 3, 5, 6, tzinfo=UTC)
NOW = Moment(SIX, 3)
LATER = Moment(SIX + timedelta(hours=1), 4)


def report(outcome: Outcome = Outcome.SUCCEEDED, **fields: Any) -> CycleReport:
    given: dict[str, Any] = {
        "id": "run-1",
        "trigger": Trigger.SCHEDULE,
        "started_at": "2026-03-05T06:00:00Z",
        "finished_at": "2026-03-05T06:01:12Z",
        "duration": 72.3,
        "outcome": outcome,
        "reason": outcome.value,
        "message": f"It {outcome.value}.",
        **fields,
    }
    return CycleReport(**given)


def after(
    status: dict[str, Any],
    ended: CycleReport,
    moment: Moment = NOW,
    tokens: Tokens = Tokens(),  # noqa: B008 -- a frozen value
    limit: int = 10,
    reach: str = "digest",
) -> dict[str, Any]:
    """The status once the run is written."""
    patch = conditions.finished(status, moment, ended, tokens, history_limit=limit, reach=reach)
    return conditions.merged(status, patch)


def three(status: dict[str, Any]) -> tuple[str, str, str]:
    """Ready, Stalled and Reconciling."""
    found = {one["type"]: one["status"] for one in status["conditions"]}
    return found["Ready"], found["Stalled"], found["Reconciling"]


def get(status: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(one for one in status["conditions"] if one["type"] == kind)


@pytest.mark.parametrize(
    ("outcome", "retry", "expected"),
    [
        (Outcome.SUCCEEDED, Retry.NO, ("True", "False", "False")),
        (Outcome.PARTIALLY_FAILED, Retry.NO, ("False", "False", "False")),
        (Outcome.FAILED, Retry.LATER, ("Unknown", "False", "False")),
        (Outcome.FAILED, Retry.AFTER_CHANGE, ("False", "True", "False")),
        (Outcome.REFUSED, Retry.AFTER_CHANGE, ("False", "True", "False")),
        (Outcome.PLANNED, Retry.NO, ("Unknown", "False", "False")),
    ],
)
def test_each_outcome_has_its_conditions(
    outcome: Outcome, retry: Retry, expected: tuple[str, str, str]
) -> None:
    status = after({}, report(outcome, retry=retry))
    assert three(status) == expected
    assert get(status, "Ready")["reason"] == outcome.value


def test_a_failure_that_is_tried_again_is_reconciling_once_its_time_is_known() -> None:
    status = after({}, report(Outcome.FAILED, retry=Retry.LATER))
    patch = conditions.waiting(status, NOW, SIX + timedelta(minutes=1), retrying=True)
    assert three(conditions.merged(status, patch)) == ("Unknown", "False", "True")
    assert patch["nextRunTime"] == "2026-03-05T06:01:00Z"


def test_what_a_person_must_mend_is_not_reconciling_although_it_is_tried() -> None:
    status = after({}, report(Outcome.FAILED, retry=Retry.AFTER_CHANGE))
    patch = conditions.waiting(status, NOW, SIX + timedelta(minutes=5), retrying=True)
    assert three(conditions.merged(status, patch)) == ("False", "True", "False")


def test_a_transition_time_moves_with_the_status_only() -> None:
    first = after({}, report())
    again = after(first, report(reason="Succeeded", message="Again."), LATER)
    broken = after(again, report(Outcome.PARTIALLY_FAILED), LATER)

    assert get(again, "Ready")["lastTransitionTime"] == "2026-03-05T06:00:00Z"
    assert get(again, "Ready")["message"] == "Again."
    assert get(again, "Ready")["observedGeneration"] == 4
    assert get(broken, "Ready")["lastTransitionTime"] == "2026-03-05T07:00:00Z"


def test_conditions_of_others_are_kept() -> None:
    other = {"type": "PackageInstalled", "status": "True", "reason": "Found", "message": ""}
    status = after({"conditions": [other]}, report())
    assert get(status, "PackageInstalled") == other


def test_a_running_cycle_leaves_ready_and_stalled_as_they_were() -> None:
    before = after({}, report(Outcome.REFUSED, retry=Retry.AFTER_CHANGE))
    patch = conditions.running(before, LATER, "run-2", Trigger.REQUESTED)
    assert three(conditions.merged(before, patch)) == ("False", "True", "True")


def test_suspending_keeps_what_is_known_of_the_org() -> None:
    before = after({"nextRunTime": "2026-03-06T06:00:00Z"}, report())
    status = conditions.merged(before, conditions.suspended(before, LATER))
    assert three(status) == ("True", "False", "False")
    assert "nextRunTime" not in status


def test_a_run_is_summed_up_for_people_and_scripts() -> None:
    rejected = [
        Rejected("Invoice", f"key-{n}", "Update", "CODE", "no", ("A__c",)) for n in range(12)
    ]
    ended = report(
        Outcome.PARTIALLY_FAILED,
        rows={"Plan": Counts(created=1, unchanged=2), "Invoice": Counts(updated=3, rejected=12)},
        api_requests={"metronome": 7, "salesforce": 8},
        rejected=rejected,
        customers={"total": 2, "linked": 1, "orphaned": 1, "archived": 0},
    )
    status = after({"lastSuccessTime": "2026-03-04T06:00:00Z", "failedAttempts": 2}, ended)

    run = status["lastRun"]
    assert run["duration"] == "1m12s"
    assert run["generation"] == 3
    assert len(run["rejected"]) == 10
    assert run["rejected"][0]["fields"] == ["A__c"]
    assert status["history"][0]["rows"] == {
        "created": 1,
        "updated": 3,
        "unchanged": 2,
        "deleted": 0,
        "rejected": 12,
    }
    assert status["customers"]["orphaned"] == 1
    assert status["failedAttempts"] == 0
    assert status["lastSuccessTime"] == "2026-03-04T06:00:00Z", "a partial success is none"


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.PARTIALLY_FAILED])
def test_a_run_that_came_to_its_end_is_what_the_next_one_goes_on_from(outcome: Outcome) -> None:
    """By its start; one row that is rejected for ever must not make every run a full one."""
    daily, full = after({}, report(outcome)), after({}, report(outcome, full=True))

    assert daily["lastReachTime"] == full["lastReachTime"] == "2026-03-05T06:00:00Z"
    assert full["lastFullResyncTime"] == "2026-03-05T06:00:00Z"
    assert "lastFullResyncTime" not in daily


def test_what_was_refused_is_looked_back_to_until_it_is_taken() -> None:
    """Also over a run that fails and cannot know."""
    since = {"invoices": "2025-11-30", "usage": "2026-01-02"}
    status = after({}, report(Outcome.PARTIALLY_FAILED, rejected_since=since))
    assert status["rejectedSince"] == since

    status = after(status, report(Outcome.FAILED))
    assert status["rejectedSince"] == since
    later = {"usage": "2026-01-05"}
    status = after(status, report(Outcome.PARTIALLY_FAILED, rejected_since=later))
    assert status["rejectedSince"] == later
    assert "rejectedSince" not in after(status, report())


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.REFUSED, Outcome.PLANNED])
def test_a_run_that_did_not_is_not(outcome: Outcome) -> None:
    before = after({}, report(full=True), reach="old")
    later = report(outcome, full=True, started_at="2026-03-06T06:00:00Z")
    status = after(before, later, reach="new")

    assert status["lastReachTime"] == "2026-03-05T06:00:00Z"
    assert status["lastReachDigest"] == "old"
    assert status["lastFullResyncTime"] == "2026-03-05T06:00:00Z"


def test_only_a_success_is_the_last_success_when_it_ended() -> None:
    assert after({}, report())["lastSuccessTime"] == "2026-03-05T06:01:12Z"
    assert "lastSuccessTime" not in after({}, report(Outcome.PARTIALLY_FAILED))


def test_rejected_rows_leave_the_next_run_a_daily_one() -> None:
    spec = MetronomeSyncSpec.model_validate(
        {
            "metronome": {"apiKeySecretRef": {"name": "metronome"}},
            "salesforce": {
                "instanceUrl": "https://acme.my.salesforce.com",
                "credentialsSecretRef": {"name": "salesforce"},
            },
        }
    )
    ended = report(Outcome.PARTIALLY_FAILED, full=True)
    status = after({}, ended, Moment(SIX, 1), reach=reach_digest(spec))
    next_day = SIX + timedelta(days=1)
    decision = decide(spec, history_of(status), {}, next_day, generation=1)

    assert decision == Run(Trigger.SCHEDULE, full=False)


def test_the_last_run_is_replaced_and_not_mixed_with_the_one_before() -> None:
    before = after(
        {},
        report(
            Outcome.FAILED,
            retry=Retry.LATER,
            retry_after=9.0,
            rows={"Plan": Counts(created=1)},
            notes={"cut": {"Plan.Name": 2}},
        ),
    )
    status = after(before, report(rows={"Invoice": Counts(updated=1)}))
    assert list(status["lastRun"]["rows"]) == ["Invoice"]
    assert status["lastRun"]["notes"] == {}
    assert "retryAfterSeconds" not in status["lastRun"]


def test_the_history_is_as_long_as_allowed_newest_first() -> None:
    status: dict[str, Any] = {}
    for n in range(5):
        status = after(status, report(id=f"run-{n}"), limit=3)
    assert [entry["id"] for entry in status["history"]] == ["run-4", "run-3", "run-2"]


def test_tries_that_fail_alike_share_a_line_of_the_history() -> None:
    missing = {"reason": "SecretNotFound", "retry": Retry.AFTER_CHANGE}
    status = after({}, report(id="good"))
    status = after(status, report(Outcome.FAILED, id="first", **missing))
    status = after(status, report(Outcome.FAILED, id="again", trigger=Trigger.RETRY, **missing))
    status = after(status, report(Outcome.FAILED, id="once more", trigger=Trigger.RETRY, **missing))
    assert [entry["id"] for entry in status["history"]] == ["once more", "good"]
    assert status["failedAttempts"] == 3


def test_tries_are_counted_for_one_failure_with_one_spec() -> None:
    """What is new, or was just edited, is tried again as soon as a first failure."""

    def failed(status: dict[str, Any], reason: str, generation: int) -> dict[str, Any]:
        return after(status, report(Outcome.FAILED, reason=reason), Moment(SIX, generation))

    status = failed({}, "MetronomeTimeout", 1)
    status = failed(status, "MetronomeTimeout", 1)
    assert status["failedAttempts"] == 2
    status = failed(status, "SalesforceTimeout", 1)
    assert status["failedAttempts"] == 1
    status = failed(status, "SalesforceTimeout", 1)
    assert status["failedAttempts"] == 2
    status = failed(status, "SalesforceTimeout", 2)
    assert status["failedAttempts"] == 1
    refused = after(failed(status, "SalesforceTimeout", 2), report(Outcome.REFUSED))
    assert refused["failedAttempts"] == 0


def test_runs_that_do_not_succeed_are_counted_whatever_their_reason() -> None:
    status: dict[str, Any] = {}
    for outcome, count in (
        (Outcome.SUCCEEDED, 0),
        (Outcome.FAILED, 1),
        (Outcome.REFUSED, 2),
        (Outcome.PLANNED, 2),  # a dry run says nothing of it
        (Outcome.PARTIALLY_FAILED, 3),
        (Outcome.SUCCEEDED, 0),
        (Outcome.PLANNED, 0),
    ):
        status = after(status, report(outcome))
        assert status["unsuccessfulRuns"] == count


def test_spend_is_kept_until_a_run_knows_better() -> None:
    spend = {"linked": {"USD": "1.00"}, "orphaned": {"EUR": "2.00"}}
    status = after({}, report(spend=spend))
    assert status["currentSpend"] == spend
    status = after(status, report(Outcome.FAILED))
    assert status["currentSpend"] == spend
    status = after(status, report(spend={"linked": {}, "orphaned": {"USD": "3.00"}}))
    assert status["currentSpend"] == {"linked": {}, "orphaned": {"USD": "3.00"}}


def test_tokens_are_echoed_with_the_end_of_the_run() -> None:
    patch = conditions.running({}, NOW, "run-1", Trigger.REQUESTED)
    assert not {"lastHandledRequest", "lastHandledFullResync"} & patch.keys()
    status = after({}, report(Outcome.FAILED), tokens=Tokens("a", "b"))
    assert (status["lastHandledRequest"], status["lastHandledFullResync"]) == ("a", "b")


def test_a_long_message_is_cut() -> None:
    status = after({}, report(Outcome.FAILED, message="x" * 9000))
    assert len(get(status, "Ready")["message"]) < 3000


def test_a_spec_that_cannot_be_used_stalls() -> None:
    error = ConfigError("InvalidSpec", "spec.timeZone: is not a known time zone.")
    patch = conditions.stalled({"nextRunTime": "x"}, NOW, error)
    status = conditions.merged({"nextRunTime": "x"}, patch)
    assert three(status) == ("False", "True", "False")
    assert get(status, "Stalled")["message"] == error.message
    assert "nextRunTime" not in status


def test_a_patch_that_changes_nothing_is_recognised() -> None:
    status = after({}, report())
    waiting = conditions.waiting(status, NOW, SIX, retrying=False)
    status = conditions.merged(status, waiting)
    assert (
        conditions.changes_nothing(status, conditions.waiting(status, LATER, SIX, retrying=False))
        is False
    ), "the generation is another"
    same = Moment(LATER.at, 3)
    again = conditions.waiting(status, same, SIX, retrying=False)
    assert conditions.changes_nothing(status, again)


def test_quiet_days_have_no_events() -> None:
    before = after({}, report())
    assert conditions.events(before, after(before, report(), LATER), report()) == []


def test_events_tell_of_changes() -> None:
    first = after({}, report())
    broken = after(first, report(Outcome.PARTIALLY_FAILED, reason="RowsRejected"))
    still = after(broken, report(Outcome.PARTIALLY_FAILED, reason="RowsRejected"))
    mended = after(still, report())

    assert [event.kind for event in conditions.events({}, first)] == ["Normal"]
    assert [event.reason for event in conditions.events(first, broken)] == ["RowsRejected"]
    assert conditions.events(broken, still) == []
    (recovered,) = conditions.events(still, mended)
    assert (recovered.kind, recovered.reason) == ("Normal", "Recovered")
    assert "RowsRejected" in recovered.message


def test_facts_of_a_cycle_become_events_once_each() -> None:
    fact = ("CustomersGone", "3 customers are gone.")
    ended = report(events=[fact, fact])
    status = after({}, report())
    assert conditions.events(status, status, ended) == [Event("Warning", *fact)]


def test_a_fact_that_the_run_before_told_is_not_told_again() -> None:
    gone = ("CustomersGone", "3 customers are gone.")
    more = ("CustomersGone", "4 customers are gone.")
    first = after({}, report(events=[gone]))
    second = after(first, report(events=[gone]))
    third = after(second, report(events=[more]))
    quiet = after(third, report())
    again = after(quiet, report(events=[more]))

    assert conditions.events(first, second, report(events=[gone])) == []
    assert conditions.events(second, third, report(events=[more])) == [Event("Warning", *more)]
    assert conditions.events(quiet, again, report(events=[more])) == [Event("Warning", *more)]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (12.4, "12s"), (59.6, "1m00s"), (185, "3m05s"), (3600, "1h00m"), (7384, "2h03m")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert conditions.duration_text(seconds) == text


def test_two_who_write_conditions_keep_those_of_the_other() -> None:
    """Each may have looked before the other one wrote."""
    moment = Moment(datetime(2026, 3, 10, 6, tzinfo=UTC), 1)
    before: dict[str, Any] = {}
    cycle = conditions.suspended(before, moment)
    links = conditions.write_back(before, moment, ("MetronomeReadOnly", "Read only."))
    status = conditions.merged(before, conditions.kept_apart(before, links, conditions.OF_LINKS))
    patch = conditions.kept_apart(status, cycle, conditions.OF_CYCLES)
    status = conditions.merged(status, patch)
    assert conditions.state_of(status, "WriteBack") == ("False", "MetronomeReadOnly")
    assert conditions.state_of(status, "Reconciling") == ("False", "Suspended")
    assert conditions.changes_nothing(
        status, conditions.kept_apart(status, links, conditions.OF_LINKS)
    )
    gone = conditions.without_write_back(status, moment)
    status = conditions.merged(status, conditions.kept_apart(status, gone, conditions.OF_LINKS))
    assert conditions.state_of(status, "WriteBack") == ("", "")
    assert conditions.state_of(status, "Ready")[0] == "Unknown"
    assert conditions.without_write_back(status, moment) == {}
