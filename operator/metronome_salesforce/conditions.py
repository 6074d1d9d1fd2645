"""The one place that turns what happened to a MetronomeSync into its status, conditions and Events.

    situation                     Ready     Stalled   Reconciling
    a cycle runs                  as it was as it was True  Running
    one is due and has to wait    as it was as it was True  WaitingForLease, Queued
    the operator stops in one     as it was as it was True  Interrupted
    Succeeded                     True      False     False
    PartiallyFailed               False     False     False   rows are data; the next cycle retries
    Failed, retry later           Unknown   False     True  Retrying
    Failed, a person must act     False     True      False
    Refused                       False     True      False
    Planned (dry run)             Unknown   False     False   nothing was written, so nobody knows
    ConfigError before a cycle    False     True      False
    no right to hold the Lease    False     True      False
    a report that is refused      Unknown   False     False   only how the cycle ended is known
    suspended                     as it was as it was False Suspended

Ready says whether Salesforce was equal to Metronome after the last cycle; being suspended does not
change that. All three conditions are always there. PackageInstalled is there once a cycle has
looked at the org, and WriteBack, which comes from link runs, where Account ids are stored in
Metronome. `lastTransitionTime` moves only when a condition's status does. A patch is a JSON merge
patch of `status`: None removes a field.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from metronome_salesforce.errors import ProductError
from metronome_salesforce.ports import PackageState
from metronome_salesforce.report import REJECTED_SHOWN, CycleReport, Outcome, Retry, Trigger

Json = dict[str, Any]
Status = Mapping[str, Any]

READY, RECONCILING, STALLED, WRITE_BACK = "Ready", "Reconciling", "Stalled", "WriteBack"
PACKAGE_INSTALLED = "PackageInstalled"
OF_CYCLES = frozenset({READY, RECONCILING, STALLED, PACKAGE_INSTALLED})
OF_LINKS = frozenset({WRITE_BACK})
_TRUE, _FALSE, _UNKNOWN = "True", "False", "Unknown"
_BEFORE_FIRST = frozenset({"Pending", "Running", "Suspended", Outcome.PLANNED.value})
"""Reasons of a Ready condition that tells nothing bad: no cycle has written yet."""
_KINDS = {"PackageInstalled": "Normal"}
"""Facts of a cycle that are good news; all others are warnings."""
_GOOD_PACKAGES = frozenset({"Installed", "VersionUnknown"})
_LONGEST_MESSAGE = 2048
_MINUTE, _HOUR = 60, 3600


@dataclass(frozen=True, slots=True)
class Moment:
    """When a status is written, and for which generation of the spec."""

    at: datetime
    generation: int


@dataclass(frozen=True, slots=True)
class Tokens:
    """The values of the two request annotations that a run answers, None where there is none."""

    requested_at: str | None = None
    full_resync: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """A change of state worth telling; `kind` is Normal or Warning."""

    kind: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition as it shall be; status is True, False or Unknown, as text."""

    type: str
    status: str
    reason: str
    message: str


def running(status: Status, moment: Moment, run_id: str, trigger: Trigger) -> Json:
    """A cycle has started."""
    why = f"Cycle {run_id} runs ({trigger.value})."
    wanted = [Condition(RECONCILING, _TRUE, "Running", why)]
    if not _has(status, READY):
        wanted.append(Condition(READY, _UNKNOWN, "Running", "The first cycle runs."))
    return {
        **_conditions(status, moment, wanted),
        "progress": {"stage": "starting", "done": 0, "total": None},
    }


def progressed(stage: str, done: int, total: int | None) -> Json:
    """The running cycle has got so far."""
    return {"progress": {"stage": stage, "done": done, "total": total}}


def waiting_for_lease(status: Status, moment: Moment, holder: str) -> Json:
    """A cycle is due, and another operator holds the Lease."""
    sentence = f"{holder} holds the Lease of this MetronomeSync; the cycle starts when it is free."
    return _held_up(status, moment, "WaitingForLease", sentence)


def queued(status: Status, moment: Moment) -> Json:
    """A cycle is due, and this operator runs as many as it may."""
    sentence = "The operator runs as many cycles as it may; this one starts when another ends."
    return _held_up(status, moment, "Queued", sentence)


def _held_up(status: Status, moment: Moment, reason: str, sentence: str) -> Json:
    return _conditions(status, moment, [Condition(RECONCILING, _TRUE, reason, sentence)])


def interrupted(status: Status, moment: Moment) -> Json:
    """The operator stops in the middle of a cycle, which is started again when it is back."""
    sentence = "The operator was stopped; the cycle is run again when it is back."
    wanted = [Condition(RECONCILING, _TRUE, "Interrupted", sentence)]
    return {**_conditions(status, moment, wanted), "progress": None}


def finished(
    status: Status,
    moment: Moment,
    report: CycleReport,
    tokens: Tokens,
    *,
    history_limit: int,
    reach: str,
) -> Json:
    """A cycle has ended. Tokens are echoed only now, so that a script can wait for the end.

    `reach` is the digest of what the spec made the cycle look at (see `schedule`).
    """
    run = _run(report, moment.generation, moment.at)
    patch: Json = {
        **_conditions(status, moment, [*_verdict(report), *_package(report)]),
        "progress": None,
        "lastRun": replacing(status.get("lastRun"), run),
        "history": _history(status.get("history") or (), run)[:history_limit],
        "failedAttempts": _failed_attempts(status, report, moment.generation),
        "unsuccessfulRuns": _unsuccessful_runs(status, report),
    }
    if report.customers:
        patch["customers"] = dict(report.customers)
    if report.spend:
        patch["currentSpend"] = replacing(status.get("currentSpend"), report.spend)
    if report.package is not None:
        patch["package"] = _of_package(status, report.package, moment.generation)
    if report.outcome is Outcome.SUCCEEDED:
        patch["lastSuccessTime"] = run["finishedAt"]
    if report.outcome in (Outcome.SUCCEEDED, Outcome.PARTIALLY_FAILED):
        # By the start: what came into Metronome during the run is left to the next one.
        patch["lastReachTime"] = report.started_at
        patch["lastReachDigest"] = reach
        since = report.rejected_since
        patch["rejectedSince"] = replacing(status.get("rejectedSince"), since) if since else None
        if report.full:
            patch["lastFullResyncTime"] = report.started_at
    return patch | echoed(tokens)


def _of_package(status: Status, found: PackageState, generation: int) -> Json | None:
    """What the org has of the package, and what it said when the operator's was sent."""
    told: Json = {} if found.version is None else {"installedVersion": found.version}
    if found.refusal is not None:
        told["refused"] = {
            **asdict(found.refusal),
            "message": _cut(found.refusal.message),
            "generation": generation,
        }
    return replacing(status.get("package"), told) if told else None


def refusal(status: Status, generation: int) -> Json | None:
    """What the org said of the package under this generation of the spec, as a cycle is told."""
    known = (status.get("package") or {}).get("refused") or {}
    if known.get("generation") != generation:
        return None
    return {name: str(known.get(name) or "") for name in ("digest", "reason", "message")}


def essence(status: Status, moment: Moment, patch: Status, *, times: bool) -> Json:
    """What of a `finished` patch must be written, should the API server refuse the whole.

    Without it a run would count as one that never ended, and be repeated at once for ever. Without
    `times`, those that the run itself told are left out too: then it is not taken for reach.
    """
    run = patch["lastRun"]
    kept = ["id", "trigger", "generation", "outcome", "reason", "retry", "full"]
    more = ["failedAttempts", "unsuccessfulRuns", "lastHandledRequest", "lastHandledFullResync"]
    ended = timestamp(moment.at)
    if times:
        kept, ended = [*kept, "startedAt"], run["finishedAt"]
        more += ["lastSuccessTime", "lastReachTime", "lastReachDigest", "lastFullResyncTime"]
        more += ["rejectedSince"]
    sentence = (
        f"The API server refused the report of the last cycle, which ended as {run['outcome']};"
        " apply the CRDs of this operator's version. The operator's log has the whole refusal."
    )
    wanted = [
        Condition(READY, _UNKNOWN, "ReportRefused", sentence),
        Condition(STALLED, _FALSE, "ReportRefused", "The cycles go on."),
        Condition(RECONCILING, _FALSE, "ReportRefused", "No cycle runs."),
    ]
    last = {**{name: run[name] for name in kept}, "finishedAt": ended, "message": sentence}
    return {
        **_conditions(status, moment, wanted),
        "progress": None,
        "lastRun": replacing(status.get("lastRun"), last),
        **{name: patch[name] for name in more if name in patch},
    }


def echoed(tokens: Tokens) -> Json:
    """The requests that have been answered."""
    patch: Json = {}
    if tokens.requested_at is not None:
        patch["lastHandledRequest"] = tokens.requested_at
    if tokens.full_resync is not None:
        patch["lastHandledFullResync"] = tokens.full_resync
    return patch


def stalled(status: Status, moment: Moment, error: ProductError) -> Json:
    """No cycle can run until a person changes something."""
    wanted = [
        Condition(READY, _FALSE, error.reason, error.message),
        Condition(STALLED, _TRUE, error.reason, error.message),
        Condition(RECONCILING, _FALSE, error.reason, "No cycle can run."),
    ]
    return {**_conditions(status, moment, wanted), "progress": None, "nextRunTime": None}


def waiting(status: Status, moment: Moment, next_run: datetime, *, retrying: bool) -> Json:
    """Nothing to do until `next_run`; `retrying` when that is another try of a failed cycle."""
    when = timestamp(next_run)
    calm = Condition(RECONCILING, _FALSE, "Idle", f"The next cycle starts at {when}.")
    if retrying and not _is(status, STALLED, _TRUE):
        calm = Condition(RECONCILING, _TRUE, "Retrying", f"The cycle is tried again at {when}.")
    elif retrying:
        sentence = f"A person must act; the cycle is tried again at {when}."
        calm = Condition(RECONCILING, _FALSE, "Idle", sentence)
    # Progress that is left over is that of an operator that was killed.
    return {**_conditions(status, moment, [calm]), "nextRunTime": when, "progress": None}


def suspended(status: Status, moment: Moment) -> Json:
    """`spec.suspend` is true: no next run; what was true of the org stays true."""
    sentence = "spec.suspend is true: no cycle starts until it is false."
    wanted = [Condition(RECONCILING, _FALSE, "Suspended", sentence)]
    if not _has(status, READY):
        wanted.append(Condition(READY, _UNKNOWN, "Suspended", "No cycle has run yet."))
    return {**_conditions(status, moment, wanted), "nextRunTime": None, "progress": None}


def merged(document: Status, patch: Status) -> Json:
    """The status after a merge patch (RFC 7386), as the API server will answer it."""
    result = dict(document)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            old = result.get(key)
            result[key] = merged(old if isinstance(old, Mapping) else {}, value)
        else:
            result[key] = value
    return result


def changes_nothing(status: Status, patch: Status) -> bool:
    """Whether a patch would leave the status as it is; writing it would only wake every watch."""
    return merged(status, patch) == dict(status)


def events(before: Status, after: Status, report: CycleReport | None = None) -> list[Event]:
    """What is worth an Event: a change of Ready, and the cycle's own facts.

    A state that stays the same (daily success, the same rejection again) makes none, nor does a
    fact that the run before told in the same words.
    """
    found: list[Event] = []
    old, new = _get(before, READY), _get(after, READY)
    if new is not None and _state(old) != _state(new):
        reason, message = new["reason"], new["message"]
        if new["status"] == _TRUE:
            if old is not None and old["reason"] not in _BEFORE_FIRST:
                reason, message = "Recovered", f"{message} Before: {old['reason']}."
            found.append(Event("Normal", reason, message))
        elif reason == Outcome.PLANNED.value or reason not in _BEFORE_FIRST:
            kind = "Normal" if reason == Outcome.PLANNED.value else "Warning"
            found.append(Event(kind, reason, message))
    found.extend(_package_events(before, after))
    if report is not None:
        told = (before.get("lastRun") or {}).get("events") or ()
        found.extend(
            Event(_KINDS.get(fact["reason"], "Warning"), fact["reason"], fact["message"])
            for fact in _facts(report)
            if fact not in told
        )
    return found


def _package_events(before: Status, after: Status) -> list[Event]:
    """That a package is, or has become, another one than the operator's, where cycles go on."""
    old, new = _get(before, PACKAGE_INSTALLED), _get(after, PACKAGE_INSTALLED)
    if new is None or _state(old) == _state(new) or new["status"] != _TRUE:
        return []
    if new["reason"] in _GOOD_PACKAGES:
        return []
    return [Event("Warning", new["reason"], new["message"])]


def duration_text(seconds: float) -> str:
    """`12s`, `3m05s` or `1h02m`: how long something took, for people."""
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m{whole % _MINUTE:02d}s"
    return f"{whole // _HOUR}h{whole % _HOUR // _MINUTE:02d}m"


def _verdict(report: CycleReport) -> Sequence[Condition]:
    """Ready and Stalled after a cycle; Reconciling follows when the next time is known."""
    reason, message = report.reason, _cut(report.message)
    acting = report.outcome is Outcome.REFUSED or (
        report.outcome is Outcome.FAILED and report.retry is Retry.AFTER_CHANGE
    )
    match report.outcome:
        case Outcome.SUCCEEDED:
            ready = _TRUE
        case Outcome.PLANNED:
            ready = _UNKNOWN
        case Outcome.FAILED if not acting:
            ready = _UNKNOWN
        case _:
            ready = _FALSE
    why = reason if acting else report.outcome.value
    sentence = message if acting else "No person has to act."
    return [
        Condition(READY, ready, reason, message),
        Condition(STALLED, _TRUE if acting else _FALSE, why, sentence),
        Condition(RECONCILING, _FALSE, report.outcome.value, "No cycle runs."),
    ]


def _package(report: CycleReport) -> list[Condition]:
    """PackageInstalled, where the cycle got so far as to look."""
    state = report.package
    if state is None:
        return []
    value = {True: _TRUE, False: _FALSE, None: _UNKNOWN}[state.installed]
    return [Condition(PACKAGE_INSTALLED, value, state.reason, state.message)]


def _conditions(status: Status, moment: Moment, wanted: Sequence[Condition]) -> Json:
    """The whole list (a merge patch replaces lists), with the conditions of others kept."""
    defaults = [
        Condition(READY, _UNKNOWN, "Pending", "No cycle has run yet."),
        Condition(RECONCILING, _FALSE, "Pending", "No cycle has run yet."),
        Condition(STALLED, _FALSE, "Pending", "No cycle has run yet."),
    ]
    missing = [one for one in defaults if not _has(status, one.type)]
    return {
        "conditions": with_conditions(status, moment, [*missing, *wanted]),
        "observedGeneration": moment.generation,
    }


def with_conditions(
    status: Status, moment: Moment, wanted: Sequence[Condition], without: Collection[str] = ()
) -> list[Json]:
    """The conditions of `status` with those `wanted` set and the types in `without` gone."""
    now = timestamp(moment.at)
    by_type: dict[str, Json] = {
        old["type"]: dict(old) for old in status.get("conditions") or () if "type" in old
    }
    for kind in without:
        by_type.pop(kind, None)
    for condition in wanted:
        old = by_type.get(condition.type)
        same = old is not None and old.get("status") == condition.status
        by_type[condition.type] = {
            "type": condition.type,
            "status": condition.status,
            "reason": condition.reason,
            "message": _cut(condition.message),
            "lastTransitionTime": old["lastTransitionTime"] if old and same else now,
            "observedGeneration": moment.generation,
        }
    return list(by_type.values())


def write_back(status: Status, moment: Moment, problem: tuple[str, str] | None) -> Json:
    """Whether Account ids can be stored in Metronome; `problem` is reason and sentence."""
    state, reason, sentence = _TRUE, "Stored", "Account ids are stored in Metronome."
    if problem is not None:
        state, (reason, sentence) = _FALSE, problem
    wanted = [Condition(WRITE_BACK, state, reason, sentence)]
    return {"conditions": with_conditions(status, moment, wanted)}


def without_write_back(status: Status, moment: Moment) -> Json:
    """Account ids are not to be stored in Metronome."""
    if not _has(status, WRITE_BACK):
        return {}
    return {"conditions": with_conditions(status, moment, (), {WRITE_BACK})}


def kept_apart(status: Status, patch: Json, owned: frozenset[str]) -> Json:
    """`patch` with all conditions as in `status`, but for the types that are `owned`.

    Two who write conditions by turns may each have looked before the other one wrote.
    """
    if "conditions" not in patch:
        return patch
    by_type = {one["type"]: one for one in status.get("conditions") or () if "type" in one}
    wanted = {one["type"]: one for one in patch["conditions"] if one["type"] in owned}
    for kind in owned - wanted.keys():
        by_type.pop(kind, None)
    by_type |= wanted
    return {**patch, "conditions": list(by_type.values())}


def _run(report: CycleReport, generation: int, at: datetime) -> Json:
    return {
        "id": report.id,
        "trigger": report.trigger.value,
        "generation": generation,
        "outcome": report.outcome.value,
        "reason": report.reason,
        "message": _cut(report.message),
        "retry": report.retry.value,
        "retryAfterSeconds": report.retry_after,
        "full": report.full,
        "startedAt": report.started_at,
        "finishedAt": report.finished_at or timestamp(at),
        "duration": duration_text(report.duration),
        "rows": {name: asdict(counts) for name, counts in report.rows.items()},
        "apiRequests": dict(report.api_requests),
        "rejected": [
            {**asdict(row), "fields": list(row.fields), "message": _cut(row.message)}
            for row in report.rejected[:REJECTED_SHOWN]
        ],
        "notes": report.notes,
        "events": _facts(report),
    }


def _facts(report: CycleReport) -> list[Json]:
    """The run's own facts, each once."""
    return [
        {"reason": reason, "message": _cut(message)}
        for reason, message in dict.fromkeys(report.events)
    ]


def _summary(run: Mapping[str, Any]) -> Json:
    """One line of the history: a run with its rows summed up."""
    names = ("id", "trigger", "outcome", "reason", "full", "startedAt", "finishedAt", "duration")
    totals: dict[str, int] = {}
    for counts in run["rows"].values():
        for what, count in counts.items():
            totals[what] = totals.get(what, 0) + count
    return {name: run[name] for name in names} | {"rows": totals}


def _history(history: Sequence[Json], run: Json) -> list[Json]:
    """The history with `run` in front; tries that fail alike, one after the other, share a line.

    A missing Secret is looked for again every few minutes, and must not push out all other runs.
    """
    older = list(history)
    newest = older[0] if older else {}
    if run["trigger"] == Trigger.RETRY.value and all(
        newest.get(name) == run[name] for name in ("outcome", "reason")
    ):
        older = older[1:]
    return [_summary(run), *older]


def replacing(old: Status | None, new: Json) -> Json:
    """A merge patch that makes a nested object exactly `new`: what it lacks is removed."""
    patch: Json = {}
    for key, value in new.items():
        before = (old or {}).get(key)
        if isinstance(value, Mapping):
            patch[key] = replacing(before if isinstance(before, Mapping) else None, dict(value))
        else:
            patch[key] = value
    return {key: None for key in (old or {}) if key not in new} | patch


def _failed_attempts(status: Status, report: CycleReport, generation: int) -> int:
    """How often this has failed in a row: for one reason, with one spec."""
    if report.outcome is not Outcome.FAILED:
        return 0
    last = status.get("lastRun") or {}
    same = (last.get("reason"), last.get("generation")) == (report.reason, generation)
    return 1 + (int(status.get("failedAttempts") or 0) if same else 0)


def _unsuccessful_runs(status: Status, report: CycleReport) -> int:
    """How many runs in a row did not succeed, for whatever reasons; a dry run does not count."""
    before = int(status.get("unsuccessfulRuns") or 0)
    match report.outcome:
        case Outcome.SUCCEEDED:
            return 0
        case Outcome.PLANNED:
            return before
        case _:
            return before + 1


def _get(status: Status, kind: str) -> Mapping[str, Any] | None:
    for condition in status.get("conditions") or ():
        if condition.get("type") == kind:
            return condition  # type: ignore[no-any-return]  # a JSON object
    return None


def state_of(status: Status, kind: str) -> tuple[str, str]:
    """Status and reason of a condition; empty texts when it is not there."""
    found = _get(status, kind) or {}
    return found.get("status", ""), found.get("reason", "")


def sentence_of(status: Status, kind: str) -> str:
    """The sentence of a condition, empty when it is not there."""
    return str((_get(status, kind) or {}).get("message", ""))


def _has(status: Status, kind: str) -> bool:
    return _get(status, kind) is not None


def _is(status: Status, kind: str, value: str) -> bool:
    found = _get(status, kind)
    return found is not None and found.get("status") == value


def _state(condition: Mapping[str, Any] | None) -> tuple[Any, Any] | None:
    return None if condition is None else (condition.get("status"), condition.get("reason"))


def _cut(message: str) -> str:
    return message if len(message) <= _LONGEST_MESSAGE else message[: _LONGEST_MESSAGE - 1] + "…"


def timestamp(moment: datetime) -> str:
    """The moment as a status holds it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
