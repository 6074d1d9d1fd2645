"""Is a cycle due? Cron and time zone, missed times, requests, retries: a pure decision.

First match wins; every answer is a run now, a time to look again, or nothing while suspended:

    suspended                                       → Suspended
    never ran                                       → Run Created
    a full-resync token that no run has handled     → Run FullResync
    a requested-at token that no run has handled    → Run Requested
    the last run followed another generation        → Run SpecChanged
    a scheduled time has passed since the last run  → Run Schedule (once, however many passed)
    the last run failed and its wait is over        → Run Retry
    none of these                                   → WaitUntil the next of the last two

Nothing is remembered here. What a decision needs stands in the resource's status, which is written
when a run is over: a crash in a run leaves everything as it was before, and so repeats the run.
Tokens given while suspended are thus carried out on resuming. A change of the spec counts whatever
it changes, as a generation does not tell; so does resuming after it. Whether it changes what a run
looks at, a digest tells: then what was reached before counts for nothing, and the run is full.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from cronsim import CronSim

from metronome_salesforce.report import Outcome, Retry, Trigger
from metronome_salesforce.spec import GROUP, MetronomeSyncSpec

REQUESTED_AT: Final = f"{GROUP}/requested-at"
FULL_RESYNC: Final = f"{GROUP}/full-resync"

FIRST_RETRY: Final = timedelta(minutes=1)
LONGEST_BACK_OFF: Final = timedelta(hours=1)
LONGEST_WISH: Final = timedelta(days=1)
"""What the other side may ask us to wait at most; a schedule's next time comes first anyway."""
SHORTEST_DEADLINE: Final = timedelta(minutes=1)
"""Below this, a busy operator could be late for every scheduled time and never run."""
FIRST_RECHECK: Final = timedelta(minutes=5)
"""After the first failure that a person must mend. It may come late in a costly run, so the wait
doubles as others do; what the person changes (spec, Secret, request) is seen without it."""


@dataclass(frozen=True, slots=True)
class LastRun:
    """What matters of the newest run that is over.

    `generation` is that of the spec it followed (None: not known), `attempts` how many runs have
    failed alike one after the other, this one included.
    """

    started_at: datetime
    finished_at: datetime
    outcome: Outcome
    retry: Retry = Retry.NO
    retry_after: float | None = None
    attempts: int = 0
    full: bool = False
    generation: int | None = None


@dataclass(frozen=True, slots=True)
class History:
    """What a resource's status tells of the past; times are aware.

    `reach` is the digest of the spec with which everything was reached last, see `reach_digest`.
    """

    last_run: LastRun | None = None
    last_full_resync: datetime | None = None
    handled_request: str | None = None
    handled_full_resync: str | None = None
    reach: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """Run now. The tokens are to be echoed in status when the run is over, however it ended.

    `request` belongs to `lastHandledRequest`, `full_resync` to `lastHandledFullResync`; a run that
    starts for another reason serves the tokens that wait.
    """

    trigger: Trigger
    full: bool
    request: str | None = None
    full_resync: str | None = None


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Nothing is due before `at` (UTC); `trigger` tells why it will be then: Schedule or Retry."""

    at: datetime
    trigger: Trigger


@dataclass(frozen=True, slots=True)
class Suspended:
    """Nothing runs until `spec.suspend` is false again."""


Decision = Run | WaitUntil | Suspended


def decide(
    spec: MetronomeSyncSpec,
    history: History,
    annotations: Mapping[str, str],
    now: datetime,
    *,
    generation: int,
) -> Decision:
    """Say what to do now, when no cycle of the resource is running.

    `generation` is `metadata.generation`, `now` an aware time.
    """
    if spec.suspend:
        return Suspended()
    last = history.last_run
    request = _unhandled(annotations.get(REQUESTED_AT), history.handled_request)
    full_resync = _unhandled(annotations.get(FULL_RESYNC), history.handled_full_resync)
    trigger: Trigger | None = None
    coming: list[WaitUntil] = []
    if last is None:
        trigger = Trigger.CREATED
    elif full_resync:
        trigger = Trigger.FULL_RESYNC
    elif request:
        trigger = Trigger.REQUESTED
    elif last.generation not in (None, generation):
        trigger = Trigger.SPEC_CHANGED
    else:
        coming = sorted(_coming(spec, last, now), key=lambda wait: wait.at)
        if coming[0].at > now:
            return coming[0]
        trigger = coming[0].trigger
    full = full_resync is not None or _owes_full(spec, history, now)
    return Run(trigger, full, request, full_resync)


def _unhandled(token: str | None, handled: str | None) -> str | None:
    return token if token and token != handled else None


def _coming(spec: MetronomeSyncSpec, last: LastRun, now: datetime) -> Iterable[WaitUntil]:
    """The next scheduled time, which may have passed, and that of a retry, if any."""
    # A clock that was set back must not put off the schedule until it has caught up.
    since = min(last.started_at, now)
    if spec.starting_deadline is not None:
        since = max(since, now - max(spec.starting_deadline, SHORTEST_DEADLINE))
    yield WaitUntil(next_time(spec, since), Trigger.SCHEDULE)
    if last.outcome is Outcome.FAILED and last.retry is not Retry.NO:
        yield WaitUntil(min(last.finished_at, now) + back_off(last), Trigger.RETRY)


def back_off(last: LastRun) -> timedelta:
    """How long to wait after a failed run: 1, 2, 4 minutes … 1 hour, or what the vendor asked.

    From 5 minutes on where a person must act.
    """
    first = FIRST_RECHECK if last.retry is Retry.AFTER_CHANGE else FIRST_RETRY
    doubled = first * (1 << min(max(last.attempts, 1) - 1, 10))
    wish = timedelta(seconds=min(max(last.retry_after or 0, 0), LONGEST_WISH.total_seconds()))
    return max(min(doubled, LONGEST_BACK_OFF), wish)


def next_time(spec: MetronomeSyncSpec, after: datetime) -> datetime:
    """The first scheduled time after `after`, in UTC.

    Daylight saving as in Debian's cron: times of day that are skipped come right after the gap,
    those that are repeated come once.
    """
    for time in CronSim(spec.schedule, after.astimezone(ZoneInfo(spec.time_zone))):
        # In an hour that is repeated, cronsim also yields times of its first pass.
        if time.astimezone(UTC) > after.astimezone(UTC):
            return time.astimezone(UTC)
    raise AssertionError("the models refuse schedules that never come")


def reach_digest(spec: MetronomeSyncSpec) -> str:
    """A digest of all that decides which rows belong into which org, and of nothing else.

    A run looks at recent rows only because an earlier one reached the others, which it did for this
    part of the spec. It holds no secret: keys and credentials are not in the spec.
    """
    parts = [
        [spec.metronome.base_url, spec.metronome.salesforce_id_field],
        spec.salesforce.instance_url,
        sorted(spec.objects),
        [str(spec.invoices.since), sorted(spec.invoices.statuses)],
        spec.window_size,
        [spec.usage.lookback.total_seconds(), spec.usage.skip_zero],
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _owes_full(spec: MetronomeSyncSpec, history: History, now: datetime) -> bool:
    """Whether a run that starts now must look at everything.

    So it must when no run ever did with this spec's reach, when the last one meant to and failed,
    and when the next scheduled run would come too late for `fullResyncEvery`.
    """
    last = history.last_run
    if last is None or history.last_full_resync is None or history.reach != reach_digest(spec):
        return True
    if last.full and last.outcome in (Outcome.FAILED, Outcome.REFUSED):
        return True
    return next_time(spec, now) - history.last_full_resync > spec.full_resync_every


def history_of(status: Mapping[str, Any]) -> History:
    """Read the history from a MetronomeSync's status, as the CRD describes it.

    Whatever is missing or malformed counts as unknown: a status may have been edited by hand.
    """
    return History(
        last_run=_last_run(status),
        last_full_resync=_time(status.get("lastFullResyncTime")),
        handled_request=status.get("lastHandledRequest"),
        handled_full_resync=status.get("lastHandledFullResync"),
        reach=status.get("lastReachDigest"),
    )


def _last_run(status: Mapping[str, Any]) -> LastRun | None:
    run = status.get("lastRun") or {}
    finished = _time(run.get("finishedAt"))
    if finished is None or run.get("outcome") not in set(Outcome):
        return None
    retry = run.get("retry")
    return LastRun(
        started_at=_time(run.get("startedAt")) or finished,
        finished_at=finished,
        outcome=Outcome(run["outcome"]),
        retry=Retry(retry) if retry in set(Retry) else Retry.NO,
        retry_after=run.get("retryAfterSeconds"),
        attempts=status.get("failedAttempts") or 0,
        full=bool(run.get("full")),
        generation=run.get("generation", status.get("observedGeneration")),
    )


def _time(text: object) -> datetime | None:
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
