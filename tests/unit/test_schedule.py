"""When cycles run: creation, cron and zones, missed times, tokens, suspension, retries."""

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metronome_salesforce.report import Outcome, Retry, Trigger
from metronome_salesforce.schedule import (
    FULL_RESYNC,
    REQUESTED_AT,
    Decision,
    History,
    LastRun,
    Run,
    Suspended,
    WaitUntil,
    decide,
    history_of,
    next_time,
    reach_digest,
)
from metronome_salesforce.spec import MetronomeSyncSpec


def spec(**fields: Any) -> MetronomeSyncSpec:
    return MetronomeSyncSpec.model_validate(
        {
            "metronome": {"apiKeySecretRef": {"name": "metronome"}},
            "salesforce": {
                "instanceUrl": "https://acme.my.salesforce.com",
                "credentialsSecretRef": {"name": "salesforce"},
            },
            **fields,
        }
    )


def at(text: str) -> datetime:
    """`2026-02-03 06:00` or with seconds, in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def ran(start: str, **changes: Any) -> LastRun:
    """A successful run of one minute."""
    started = at(start)
    run = LastRun(started, started + timedelta(minutes=1), Outcome.SUCCEEDED, generation=1)
    return replace(run, **changes)


def after(run: LastRun | None, **changes: Any) -> History:
    """A history with that run last, and a full resync one day before it, both with `spec()`."""
    full = run.started_at - timedelta(days=1) if run else None
    reach = reach_digest(spec()) if run else None
    return replace(History(run, full, reach=reach), **changes)


def what(
    history: History,
    now: str,
    *,
    annotations: dict[str, str] | None = None,
    generation: int = 1,
    **fields: Any,
) -> Decision:
    return decide(spec(**fields), history, annotations or {}, at(now), generation=generation)


def test_created_runs_at_once_and_fully() -> None:
    assert what(after(None), "2026-02-03 17:00") == Run(Trigger.CREATED, full=True)


def test_created_suspended_runs_on_resuming() -> None:
    assert what(after(None), "2026-02-03 17:00", suspend=True) == Suspended()
    assert what(after(None), "2026-02-04 17:00", generation=2) == Run(Trigger.CREATED, full=True)


def test_waits_for_the_schedule() -> None:
    history = after(ran("2026-02-03 06:00"))

    assert what(history, "2026-02-03 17:00") == WaitUntil(at("2026-02-04 06:00"), Trigger.SCHEDULE)


def test_runs_on_time() -> None:
    history = after(ran("2026-02-03 06:00"))

    assert what(history, "2026-02-04 06:00") == Run(Trigger.SCHEDULE, full=False)


def test_run_a_moment_before_the_time_does_not_take_its_place() -> None:
    history = after(ran("2026-02-04 05:59"))

    assert what(history, "2026-02-04 06:01") == Run(Trigger.SCHEDULE, full=False)


def test_zone_decides_the_time() -> None:
    history = after(ran("2026-02-03 06:00"))

    assert what(history, "2026-02-03 17:00", timeZone="Asia/Tokyo") == WaitUntil(
        at("2026-02-03 21:00"), Trigger.SCHEDULE
    )


def test_missed_times_run_once() -> None:
    """Five days without operator: one run, then the next time of the schedule."""
    history = after(ran("2026-02-03 06:00"))
    late = what(history, "2026-02-08 09:30")

    assert late == Run(Trigger.SCHEDULE, full=False)
    assert what(after(ran("2026-02-08 09:30")), "2026-02-08 09:40") == WaitUntil(
        at("2026-02-09 06:00"), Trigger.SCHEDULE
    )


@pytest.mark.parametrize(
    ("now", "runs"),
    [("2026-02-08 06:30", True), ("2026-02-08 07:59", True), ("2026-02-08 08:01", False)],
)
def test_starting_deadline_is_counted_from_the_newest_missed_time(now: str, runs: bool) -> None:
    decision = what(after(ran("2026-02-03 06:00")), now, startingDeadline="2h")

    assert decision == (
        Run(Trigger.SCHEDULE, full=False)
        if runs
        else WaitUntil(at("2026-02-09 06:00"), Trigger.SCHEDULE)
    )


def test_tiny_starting_deadline_does_not_stop_the_schedule() -> None:
    decision = what(after(ran("2026-02-03 06:00")), "2026-02-04 06:00:20", startingDeadline="1s")

    assert decision == Run(Trigger.SCHEDULE, full=False)


def test_clock_that_was_set_back_does_not_stop_the_schedule() -> None:
    history = after(ran("2031-01-01 06:00"))

    assert what(history, "2026-02-03 17:00") == WaitUntil(at("2026-02-04 06:00"), Trigger.SCHEDULE)


# Daylight saving begins on 29 March 2026 at 02:00 and ends on 25 October at 03:00 in Berlin.
@pytest.mark.parametrize(
    ("schedule", "since", "times"),
    [
        # The hour from 02:00 to 03:00 does not exist: right after the gap, once.
        ("30 2 * * *", "2026-03-28 12:00", ["2026-03-29 01:00", "2026-03-30 00:30"]),
        # It exists twice: once, in its first pass.
        ("30 2 * * *", "2026-10-24 12:00", ["2026-10-25 00:30", "2026-10-26 01:30"]),
        # What runs every half an hour keeps doing so.
        (
            "*/30 * * * *",
            "2026-10-25 00:15",
            ["2026-10-25 00:30", "2026-10-25 01:00", "2026-10-25 01:30", "2026-10-25 02:00"],
        ),
        ("*/30 * * * *", "2026-03-29 00:45", ["2026-03-29 01:00", "2026-03-29 01:30"]),
        # Between the two passes, the time of the first has passed.
        ("30 2 * * *", "2026-10-25 01:10", ["2026-10-26 01:30"]),
    ],
)
def test_daylight_saving(schedule: str, since: str, times: list[str]) -> None:
    zoned = spec(schedule=schedule, timeZone="Europe/Berlin")
    moment, found = at(since), []
    for _ in times:
        moment = next_time(zoned, moment)
        found.append(moment)

    assert found == [at(time) for time in times]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
@pytest.mark.parametrize("clock", ["30 2 * * *", "0 0 * * *", "45 1 * * *"])
def test_daily_schedule_runs_once_a_day_all_year(zone: str, clock: str) -> None:
    """Counted by the calendar of the zone."""
    daily = spec(schedule=clock, timeZone=zone)
    moment = datetime(2026, 1, 1, tzinfo=ZoneInfo(zone)) - timedelta(seconds=1)
    days: Counter[str] = Counter()
    while (moment := next_time(daily, moment)) < datetime(2027, 1, 1, tzinfo=ZoneInfo(zone)):
        days[moment.astimezone(ZoneInfo(zone)).date().isoformat()] += 1

    assert len(days) == 365
    assert set(days.values()) == {1}


def test_next_time_is_the_same_from_any_zone() -> None:
    """Also in the second pass of an hour, where wall clocks repeat themselves."""
    nightly = spec(schedule="45 1 * * *", timeZone="America/New_York")
    moment = at("2026-11-01 06:10")  # 01:10 for the second time

    for zone in (UTC, ZoneInfo("America/New_York"), timezone(timedelta(hours=9))):
        assert next_time(nightly, moment.astimezone(zone)) == at("2026-11-02 06:45")


def test_request_runs_once() -> None:
    annotations = {REQUESTED_AT: "now-1"}
    history = after(ran("2026-02-03 06:00"))

    decision = what(history, "2026-02-03 17:00", annotations=annotations)
    assert decision == Run(Trigger.REQUESTED, full=False, request="now-1")

    handled = after(ran("2026-02-03 17:00"), handled_request="now-1")
    again = what(handled, "2026-02-03 17:05", annotations=annotations)
    assert again == WaitUntil(at("2026-02-04 06:00"), Trigger.SCHEDULE)


def test_request_for_a_full_resync_is_full() -> None:
    decision = what(
        after(ran("2026-02-03 06:00"), handled_full_resync="old"),
        "2026-02-03 17:00",
        annotations={FULL_RESYNC: "new"},
    )

    assert decision == Run(Trigger.FULL_RESYNC, full=True, full_resync="new")


def test_two_requests_are_served_by_one_run() -> None:
    decision = what(
        after(ran("2026-02-03 06:00")),
        "2026-02-03 17:00",
        annotations={FULL_RESYNC: "a", REQUESTED_AT: "b"},
    )

    assert decision == Run(Trigger.FULL_RESYNC, full=True, request="b", full_resync="a")


def test_first_run_serves_a_request() -> None:
    decision = what(after(None), "2026-02-03 17:00", annotations={REQUESTED_AT: "a"})

    assert decision == Run(Trigger.CREATED, full=True, request="a")


def test_empty_token_asks_for_nothing() -> None:
    history = after(ran("2026-02-03 06:00"))

    decision = what(history, "2026-02-03 17:00", annotations={REQUESTED_AT: "", FULL_RESYNC: ""})

    assert isinstance(decision, WaitUntil)


def test_request_while_suspended_waits_for_resuming() -> None:
    annotations = {REQUESTED_AT: "a"}
    history = after(ran("2026-02-03 06:00"))

    assert what(history, "2026-02-03 17:00", annotations=annotations, suspend=True) == Suspended()
    assert what(history, "2026-02-03 18:00", annotations=annotations, generation=2) == Run(
        Trigger.REQUESTED, full=False, request="a"
    )


def test_changed_spec_runs_at_once() -> None:
    history = after(ran("2026-02-03 06:00"))

    assert what(history, "2026-02-03 06:05", generation=2) == Run(Trigger.SPEC_CHANGED, full=False)


ORG = {"credentialsSecretRef": {"name": "salesforce"}}
KEY = {"apiKeySecretRef": {"name": "metronome"}}
OTHER_REACH: list[dict[str, Any]] = [
    {"salesforce": {"instanceUrl": "https://other.my.salesforce.com", **ORG}},
    {"metronome": {"baseUrl": "https://metronome.example.com", **KEY}},
    {"metronome": {"salesforceIdField": "customFields.sfdc", **KEY}},
    {"objects": ["Customer", "Usage"]},
    {"invoices": {"since": "2020-01-01"}},
    {"invoices": {"statuses": ["Draft", "Finalized"]}},
    {"windowSize": "Hour"},
    {"usage": {"lookback": "60d"}},
    {"usage": {"skipZero": False}},
]
SAME_REACH: list[dict[str, Any]] = [
    {"schedule": "0 7 * * *", "timeZone": "Europe/Berlin", "startingDeadline": "2h"},
    {"historyLimit": 3, "healEdits": False, "dryRun": True},
    {"prune": {"enabled": False, "maxDeletePercent": 50}, "fullResyncEvery": "8d"},
    {"execution": {"activeDeadline": "1h"}},
    {"metronome": {"apiKeySecretRef": {"name": "rotated"}, "maxConcurrentRequests": 9}},
    {
        "salesforce": {
            "instanceUrl": "https://acme.my.salesforce.com/",
            "credentialsSecretRef": {"name": "rotated"},
            "apiVersion": "64.0",
            "apiBudgetPercent": 50,
            "caBundleConfigMapRef": {"name": "ca"},
        }
    },
    # In another order, and spelled otherwise.
    {"invoices": {"statuses": ["Void", "Draft", "Finalized"]}, "usage": {"lookback": "33d24h"}},
]


@pytest.mark.parametrize("fields", OTHER_REACH)
def test_a_spec_that_reaches_elsewhere_is_reached_fully(fields: dict[str, Any]) -> None:
    """What earlier runs reached is another org, or has holes: at once, and until a run reached."""
    history = after(ran("2026-02-03 06:00"))

    assert what(history, "2026-02-03 06:05", generation=2, **fields) == Run(
        Trigger.SPEC_CHANGED, full=True
    )
    failed = replace(history, last_run=ran("2026-02-03 06:05", outcome=Outcome.FAILED))
    assert what(failed, "2026-02-04 06:00", **fields) == Run(Trigger.SCHEDULE, full=True)
    reached = replace(history, reach=reach_digest(spec(**fields)))
    assert what(reached, "2026-02-04 06:00", **fields) == Run(Trigger.SCHEDULE, full=False)


@pytest.mark.parametrize("fields", SAME_REACH)
def test_other_changes_of_the_spec_are_no_reason_to_look_at_everything(
    fields: dict[str, Any],
) -> None:
    history = after(ran("2026-02-03 06:00"))

    assert what(history, "2026-02-03 06:05", generation=2, **fields) == Run(
        Trigger.SPEC_CHANGED, full=False
    )


def test_a_reach_that_is_not_known_is_none() -> None:
    history = after(ran("2026-02-03 06:00"), reach=None)

    assert what(history, "2026-02-04 06:00") == Run(Trigger.SCHEDULE, full=True)


def test_unknown_generation_is_not_a_change() -> None:
    """Else a status that was written without it would run for ever."""
    history = after(ran("2026-02-03 06:00", generation=None))

    assert isinstance(what(history, "2026-02-03 06:05", generation=7), WaitUntil)


FAILED = {"outcome": Outcome.FAILED, "retry": Retry.LATER}


@pytest.mark.parametrize(
    ("attempts", "asked", "minutes"),
    [
        (1, None, 1),
        (2, None, 2),
        (3, None, 4),
        (6, None, 32),
        (7, None, 60),
        (1_000_000, None, 60),
        (1, 300.0, 5),
        (7, 10.0, 60),
        (1, 7200.0, 120),
        (1, 1e12, 24 * 60),
        (1, -5.0, 1),
    ],
)
def test_failed_run_backs_off(attempts: int, asked: float | None, minutes: int) -> None:
    """From the end of the failed run; yearly, so that the schedule does not come first."""
    run = ran("2026-02-03 06:00", **FAILED, attempts=attempts, retry_after=asked)
    due = run.finished_at + timedelta(minutes=minutes)
    yearly = spec(schedule="0 6 1 1 *")

    def decided(now: datetime) -> Decision:
        return decide(yearly, after(run), {}, now, generation=1)

    assert decided(due - timedelta(seconds=1)) == WaitUntil(due, Trigger.RETRY)
    retried = decided(due)
    assert isinstance(retried, Run)
    assert retried.trigger is Trigger.RETRY


def test_schedule_comes_before_a_later_retry() -> None:
    run = ran("2026-02-03 05:30", **FAILED, attempts=7)

    assert what(after(run), "2026-02-03 05:45") == WaitUntil(
        at("2026-02-03 06:00"), Trigger.SCHEDULE
    )
    assert what(after(run), "2026-02-03 06:00") == Run(Trigger.SCHEDULE, full=False)


@pytest.mark.parametrize(("attempts", "minutes"), [(1, 5), (2, 10), (4, 40), (5, 60), (99, 60)])
def test_run_that_a_person_must_mend_is_tried_less_and_less_often(
    attempts: int, minutes: int
) -> None:
    """It may have failed after hours of fetching, so a constant wait would cost too much."""
    run = ran("2026-02-03 06:00", **FAILED | {"retry": Retry.AFTER_CHANGE}, attempts=attempts)
    due = at("2026-02-03 06:01") + timedelta(minutes=minutes)

    assert what(after(run), "2026-02-03 06:02") == WaitUntil(due, Trigger.RETRY)
    assert what(after(run), f"{due:%Y-%m-%d %H:%M}") == Run(Trigger.RETRY, full=False)


def test_a_changed_spec_does_not_wait_for_the_retry() -> None:
    run = ran("2026-02-03 06:00", **FAILED | {"retry": Retry.AFTER_CHANGE}, attempts=9)
    decision = what(after(run), "2026-02-03 06:02", generation=2)

    assert decision == Run(Trigger.SPEC_CHANGED, full=False)


@pytest.mark.parametrize(
    "changes",
    [
        {"outcome": Outcome.FAILED, "retry": Retry.NO},
        {"outcome": Outcome.REFUSED, "retry": Retry.AFTER_CHANGE},
        {"outcome": Outcome.PARTIALLY_FAILED, "retry": Retry.LATER},
        {"outcome": Outcome.PLANNED},
    ],
)
def test_other_ends_wait_for_the_schedule(changes: dict[str, Any]) -> None:
    """A refused plan would be fetched whole again, and rejected rows are tried with the others."""
    history = after(ran("2026-02-03 06:00", **changes))

    assert what(history, "2026-02-03 17:00") == WaitUntil(at("2026-02-04 06:00"), Trigger.SCHEDULE)


def test_full_resync_comes_every_seventh_day() -> None:
    """Not every eighth, although each run starts a moment after its time."""
    last_full = at("2026-02-01 06:00:02")
    full_days = []
    for day in range(2, 17):
        history = after(ran(f"2026-02-{day - 1:02d} 06:00:02"), last_full_resync=last_full)
        now = f"2026-02-{day:02d} 06:00:02"
        decision = what(history, now)
        assert isinstance(decision, Run)
        if decision.full:
            full_days.append(day)
            last_full = at(now)

    assert full_days == [8, 15]


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.REFUSED])
def test_full_resync_that_failed_stays_owed(outcome: Outcome) -> None:
    history = after(ran("2026-02-03 17:00", outcome=outcome, full=True))

    assert what(history, "2026-02-04 06:00") == Run(Trigger.SCHEDULE, full=True)


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.PARTIALLY_FAILED, Outcome.PLANNED])
def test_full_resync_that_was_done_is_not_owed(outcome: Outcome) -> None:
    history = after(ran("2026-02-03 17:00", outcome=outcome, full=True))

    assert what(history, "2026-02-04 06:00") == Run(Trigger.SCHEDULE, full=False)


def test_dry_runs_are_full_until_one_wrote() -> None:
    history = History(ran("2026-02-03 06:00", outcome=Outcome.PLANNED, full=True))

    assert what(history, "2026-02-04 06:00") == Run(Trigger.SCHEDULE, full=True)


def test_history_is_read_from_a_status() -> None:
    status = {
        "observedGeneration": 5,
        "failedAttempts": 3,
        "lastHandledRequest": "a",
        "lastHandledFullResync": "b",
        "lastFullResyncTime": "2026-02-01T06:00:00Z",
        "lastReachDigest": "abc",
        "lastRun": {
            "outcome": "Failed",
            "startedAt": "2026-02-03T06:00:00Z",
            "finishedAt": "2026-02-03T06:01:00Z",
            "retry": "later",
            "retryAfterSeconds": 12.5,
            "full": True,
            "generation": 4,
        },
    }

    assert history_of(status) == History(
        LastRun(
            at("2026-02-03 06:00"),
            at("2026-02-03 06:01"),
            Outcome.FAILED,
            Retry.LATER,
            retry_after=12.5,
            attempts=3,
            full=True,
            generation=4,
        ),
        at("2026-02-01 06:00"),
        "a",
        "b",
        "abc",
    )


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"lastRun": None},
        {"lastRun": {"outcome": "Exploded", "finishedAt": "2026-02-03T06:01:00Z"}},
        {"lastRun": {"outcome": "Failed", "finishedAt": "yesterday"}},
        {"lastFullResyncTime": "never"},
    ],
)
def test_unreadable_status_counts_as_none(status: dict[str, Any]) -> None:
    assert history_of(status) == History()


def test_generation_of_an_older_status_is_the_observed_one() -> None:
    status = {
        "observedGeneration": 5,
        "lastRun": {"outcome": "Succeeded", "finishedAt": "2026-02-03T06:01:00Z"},
    }

    last = history_of(status).last_run

    assert last is not None
    assert last.generation == 5


# A resource through its life: whatever happens to it, some things hold.

STEPS = st.one_of(
    st.tuples(st.just("pass"), st.integers(1, 60 * 60 * 24 * 9)),
    st.tuples(st.just("sleep"), st.just(0)),
    st.tuples(st.just("suspend"), st.booleans()),
    st.tuples(st.just("request"), st.sampled_from(["a", "b", "c", ""])),
    st.tuples(st.just("full"), st.sampled_from(["x", "y"])),
    st.tuples(st.just("crash"), st.integers(1, 5000)),
)
OUTCOMES = st.sampled_from(
    [(outcome, retry) for outcome in Outcome for retry in Retry if retry is not Retry.LATER]
    + [(Outcome.FAILED, Retry.LATER)] * 3
)
SCHEDULES = st.sampled_from(["0 6 * * *", "30 2 * * *", "*/20 * * * *", "0 0 1 * *", "15 1 * * 0"])
ZONES = st.sampled_from(["Etc/UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])


@dataclass
class Life:
    """What the operator does with decisions, in fast motion."""

    schedule: str
    zone: str
    now: datetime
    suspend: bool = False
    generation: int = 1
    annotations: dict[str, str] = field(default_factory=dict)
    history: History = field(default_factory=History)
    runs: list[Run] = field(default_factory=list)

    @property
    def spec(self) -> MetronomeSyncSpec:
        return spec(schedule=self.schedule, timeZone=self.zone, suspend=self.suspend)

    def decide(self) -> Decision:
        return decide(
            self.spec, self.history, self.annotations, self.now, generation=self.generation
        )

    def finish(self, run: Run, seconds: int, outcome: Outcome, retry: Retry) -> None:
        self.runs.append(run)
        started, self.now = self.now, self.now + timedelta(seconds=seconds)
        last = self.history.last_run
        failures = (last.attempts if last else 0) + 1 if outcome is Outcome.FAILED else 0
        wrote = run.full and outcome in (Outcome.SUCCEEDED, Outcome.PARTIALLY_FAILED)
        self.history = History(
            LastRun(
                started,
                self.now,
                outcome,
                retry,
                attempts=failures,
                full=run.full,
                generation=self.generation,
            ),
            started if wrote else self.history.last_full_resync,
            run.request or self.history.handled_request,
            run.full_resync or self.history.handled_full_resync,
            reach_digest(self.spec) if wrote else self.history.reach,
        )


@settings(max_examples=150, deadline=None)
@given(
    schedule=SCHEDULES,
    zone=ZONES,
    start=st.integers(0, 365 * 24 * 60 * 60),
    steps=st.lists(st.tuples(STEPS, st.integers(0, 4000), OUTCOMES), max_size=25),
)
def test_life_of_a_resource(
    schedule: str,
    zone: str,
    start: int,
    steps: list[tuple[tuple[str, Any], int, tuple[Outcome, Retry]]],
) -> None:
    life = Life(schedule, zone, at("2026-01-01 00:00") + timedelta(seconds=start))
    tokens_given = 0
    for (step, value), seconds, (outcome, retry) in steps:
        decision = life.decide()
        match step:
            case "pass":
                life.now += timedelta(seconds=value)
            case "sleep" if isinstance(decision, WaitUntil):
                life.now = decision.at
                # Nothing happened in between: what was announced is what runs, and on time.
                run = life.decide()
                assert isinstance(run, Run)
                assert run.trigger is decision.trigger
            case "suspend":
                life.generation += value is not life.suspend
                life.suspend = value
            case "request" if life.annotations.get(REQUESTED_AT, "") != value:
                life.annotations[REQUESTED_AT] = value
                tokens_given += value != ""
            case "full" if life.annotations.get(FULL_RESYNC, "") != value:
                life.annotations[FULL_RESYNC] = value
                tokens_given += 1
            case "crash" if isinstance(decision, Run):
                # Nothing was written: the same is due again, or more.
                life.now += timedelta(seconds=value)
                assert isinstance(life.decide(), Run)
        decision = life.decide()
        assert isinstance(decision, Suspended) == life.suspend
        if isinstance(decision, WaitUntil):
            assert decision.at > life.now
        if isinstance(decision, Run):
            before = life.history
            life.finish(decision, seconds, outcome, retry)
            assert decision.request is None or decision.request != before.handled_request
            # However many times were missed, one run makes up for all that lie before it.
            following = life.decide()
            if isinstance(following, Run) and following.trigger is Trigger.SCHEDULE:
                assert seconds > 0
                assert next_time(life.spec, life.now - timedelta(seconds=seconds)) <= life.now
    served = [run.request for run in life.runs if run.request]
    served += [run.full_resync for run in life.runs if run.full_resync]
    assert len(served) <= tokens_given
