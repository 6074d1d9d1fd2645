"""Every metric of the operator: those of MetronomeSyncs are `series`, the rest is in a registry.

Labels are the namespace and name of the MetronomeSync and closed sets of words; never an id or a
name of a customer, which would leak into monitoring and grow without end. The series of a
MetronomeSync go when it goes.

Counters begin anew with each operator, gauges are read off the resources again. So whatever an
alert must not forget is a gauge, and counters that a dashboard adds up are there as 0 before they
count: what a series begins with is no increase to Prometheus.
"""

import resource
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from metronome_salesforce.objects import ACCOUNT_SUMMARY
from metronome_salesforce.ports import Quota
from metronome_salesforce.relinking import LinkReport
from metronome_salesforce.report import CycleReport, Outcome, Trigger
from metronome_salesforce.schedule import next_time
from metronome_salesforce.series import KEY_LABELS, Durations, Family, Key, Series
from metronome_salesforce.spec import MetronomeSyncSpec

CONTENT_TYPE = CONTENT_TYPE_LATEST

PREFIX = "metronome_salesforce"
_DISTRIBUTION = "metronome-salesforce-operator"
# From a small tenant's seconds to the default deadline of six hours.
_BUCKETS = (5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600)
_READY = {"True": 1, "False": 0, "Unknown": -1}
_LINK_STOPPED = "Stopped"
_LINK_OUTCOMES = (Outcome.SUCCEEDED, Outcome.PARTIALLY_FAILED, Outcome.FAILED)
_CUSTOMER_STATES = ("linked", "orphaned", "archived")
_PACKAGE_STATES = ("installed", "newer", "outdated", "missing", "unknown")
_WAITING = frozenset({"Queued", "WaitingForLease"})
# What becomes of most rows; the rest has series once there is some of it.
_USUAL = (
    *((operation, "succeeded") for operation in ("create", "update", "delete")),
    ("none", "unchanged"),
)

Json = Mapping[str, Any]


class Metrics:
    """The metrics of one operator; `key` is always that of the MetronomeSync.

    `families` are the metrics of MetronomeSyncs; what is the operator's own is in the registry.
    Without one it has one of its own; never the process-wide one, where two would clash.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry if registry is not None else CollectorRegistry()
        self.registry = registry
        self.families: list[Family] = []
        self._created = self._gauge(
            "created_timestamp_seconds", "When the MetronomeSync was created (Unix time)."
        )
        self._suspended = self._gauge("suspended", "1 while spec.suspend is true, else 0.")
        self._dry_run = self._gauge("dry_run", "1 while spec.dryRun is true, else 0.")
        self._last_success = self._gauge(
            "last_success_timestamp_seconds",
            "When a cycle last ended with outcome Succeeded (Unix time; absent: never).",
        )
        self._success_due = self._gauge(
            "success_due_timestamp_seconds",
            "The first scheduled time after the last success, or after the creation where there"
            " was none (Unix time).",
        )
        self._next_run = self._gauge(
            "next_run_timestamp_seconds",
            "When the next cycle starts (Unix time; absent while suspended).",
        )
        self._running = self._gauge("running", "1 while a cycle runs, else 0.")
        self._waiting = self._gauge(
            "waiting",
            "1 while a cycle is due and waits for its turn or for the Lease, else 0.",
        )
        self._ready = self._gauge(
            "ready", "The Ready condition: 1 for True, 0 for False, -1 for Unknown."
        )
        self._stalled = self._gauge("stalled", "1 while a person must act, else 0.")
        self._package = self._gauge(
            "package",
            "1 for what the last cycle saw of the Metronome package in the org, 0 for the other"
            " states: installed, newer, outdated, missing, unknown.",
            "state",
        )
        self._last_outcome = self._gauge(
            "last_run_outcome",
            "1 for how the last cycle ended, 0 for the other outcomes.",
            "outcome",
        )
        self._last_end = self._gauge(
            "last_run_timestamp_seconds", "When the last cycle ended (Unix time)."
        )
        self._last_duration = self._gauge(
            "last_run_duration_seconds", "How long the last cycle took."
        )
        self._unsuccessful = self._gauge(
            "unsuccessful_runs",
            "How many cycles in a row, up to the last one, ended otherwise than Succeeded; dry"
            " runs do not count.",
        )
        self._rejected = self._gauge(
            "rejected_rows",
            "Rows that Salesforce refused in the last cycle that wrote, by object type.",
            "object",
        )
        self._runs = self._counter(
            "runs", "Cycles that ended, by outcome and by why they ran.", "outcome", "trigger"
        )
        duration = f"{PREFIX}_run_duration_seconds"
        self._duration = Durations(duration, _BUCKETS)
        self.families.append(
            Family(duration, "histogram", "How long cycles took.", KEY_LABELS, self._duration)
        )
        self._rows = self._counter(
            "rows",
            "Rows by object type, what they needed and what became of them; dry runs and refused"
            " plans do not count.",
            "object",
            "operation",
            "outcome",
        )
        self._requests = self._counter(
            "api_requests",
            "Requests that cycles, link runs and looks for changes in Salesforce made, by system,"
            " family of endpoints and HTTP status.",
            "system",
            "family",
            "status",
        )
        self._customers = self._gauge(
            "customers", "Metronome's customers by link state, as last counted.", "state"
        )
        self._spend = self._gauge(
            "current_spend",
            "What customers spend now, by link state and currency: the sum of their draft invoices,"
            " as the last cycle found them. Units that are no currency are left out, and currencies"
            " beyond the ten that most customers spend in.",
            "state",
            "currency",
        )
        self._quota_used = self._gauge(
            "api_quota_used", "API calls used in the org in the last 24 hours, by everybody."
        )
        self._quota_max = self._gauge("api_quota_max", "API calls that the org allows in 24 hours.")
        self._quota_left = self._gauge("api_quota_remaining", "API calls that the org has left.")
        self._budget = self._gauge(
            "api_budget_ratio",
            "The share of the org's API calls beyond which nothing is written"
            " (spec.salesforce.apiBudgetPercent).",
        )
        self._link_runs = self._counter(
            "link_runs",
            "Runs that moved customers at once, by outcome; Stopped: the Lease was lost.",
            "outcome",
        )
        self._link_rows = self._counter(
            "link_rows", "Rows that such runs moved to another Account or record.", "object"
        )
        self._links = self._gauge(
            "links",
            "CustomerLinks by state: ready, conflict (an older one wins), failed (a person must"
            " act), waiting.",
            "state",
        )
        self._conflicts = self._gauge(
            "link_conflicts",
            "CustomerLinks that an older one, Metronome or a person contradicts.",
        )
        self._edits = self._counter(
            "noticed_edits",
            "Changes of an Orphaned Customer's Account that people made in Salesforce.",
        )
        self._errors = self._counter(
            "unexpected_errors", "Errors of the operator itself while serving a MetronomeSync."
        )
        self._watch_lag = Gauge(
            f"{PREFIX}_watch_lag_seconds",
            "How long the watch of a resource has been behind the list; beyond 120 s /healthz"
            " fails.",
            ["resource"],
            registry=registry,
        )
        self._list_age = Gauge(
            f"{PREFIX}_list_age_seconds",
            "How long ago the MetronomeSyncs were last listed, or the operator started.",
            registry=registry,
        )
        build = Gauge(
            f"{PREFIX}_build_info",
            "1, with the operator's version.",
            ["version"],
            registry=registry,
        )
        build.labels(_version()).set(1)
        registry.register(_Children())
        ProcessCollector(registry=registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Series:
        return self._family(f"{PREFIX}_{name}", "gauge", text, labels)

    def _counter(self, name: str, text: str, *labels: str) -> Series:
        return self._family(f"{PREFIX}_{name}_total", "counter", text, labels)

    def _family(self, name: str, kind: str, text: str, labels: tuple[str, ...]) -> Series:
        series = Series(name, labels)
        self.families.append(Family(name, kind, text, (*KEY_LABELS, *labels), series))
        return series

    def show_health(
        self, watch_lags: Callable[[], Mapping[str, float]], list_age: Callable[[], float]
    ) -> None:
        """Show, at each scrape anew, how far the operator is behind the cluster (seconds)."""

        def lag_of(plural: str) -> float:
            return watch_lags()[plural]

        for plural in watch_lags():
            self._watch_lag.labels(plural).set_function(partial(lag_of, plural))
        self._list_age.set_function(list_age)

    def running(self, key: Key, *, now: bool) -> None:
        """Whether a cycle runs now."""
        self._running.set(key, int(now))

    def ran(self, key: Key, report: CycleReport) -> None:
        """Count a cycle that has ended."""
        self._runs.add(key, 1, report.outcome.value, report.trigger.value)
        self._duration.observe(key, report.duration)
        self.requested(key, report.api_calls)
        if report.quota is not None:
            self.show_quota(key, Quota(report.quota["used"], report.quota["maximum"]))
        # Their rows tell what would be written, and nothing was.
        if report.outcome not in (Outcome.PLANNED, Outcome.REFUSED):
            self._count_rows(key, report)

    def _count_rows(self, key: Key, report: CycleReport) -> None:
        for name, counts in report.rows.items():
            for operation, outcome, count in (
                ("create", "succeeded", counts.created),
                ("update", "succeeded", counts.updated),
                ("delete", "succeeded", counts.deleted),
                ("none", "unchanged", counts.unchanged),
                *(
                    (refused, "rejected", number)
                    for refused, number in report.rejected_operations.get(name, {}).items()
                ),
            ):
                if count:
                    self._rows.add(key, count, name, operation, outcome)

    def requested(self, key: Key, calls: Iterable[tuple[str, str, str, int]]) -> None:
        """Count requests: (system, endpoint family, HTTP status, count)."""
        for system, family, status, count in calls:
            self._requests.add(key, count, system, family, status)

    def show_quota(self, key: Key, quota: Quota | None) -> None:
        """Show the org's daily API calls; None: not told."""
        if quota is not None:
            self._quota_used.set(key, quota.used)
            self._quota_max.set(key, quota.maximum)
            self._quota_left.set(key, quota.remaining)

    def linked(self, key: Key, report: LinkReport | None) -> None:
        """Count a link run that has ended; None: it was stopped."""
        outcome = _LINK_STOPPED if report is None else report.outcome.value
        self._link_runs.add(key, 1, outcome)
        for name, count in ({} if report is None else report.moved).items():
            self._link_rows.add(key, count, name)

    def noticed(self, key: Key, edits: int) -> None:
        """Count changes that people made in Salesforce."""
        self._edits.add(key, edits)

    def show_links(self, key: Key, states: Mapping[str, int], conflicts: int) -> None:
        """Show how many CustomerLinks there are by state, and how many are in conflict."""
        for state, count in states.items():
            self._links.set(key, count, state)
        self._conflicts.set(key, conflicts)

    def show(self, key: Key, body: Json, spec: MetronomeSyncSpec | None) -> None:
        """Show what the resource says; so a restarted operator knows it at once.

        `spec` is that of the body, None while it cannot be used.
        """
        status: Json = body.get("status") or {}
        self._suspended.set(key, spec is not None and spec.suspend)
        self._dry_run.set(key, spec is not None and spec.dry_run)
        if spec is not None:
            self._begin(key, spec)
            self._budget.set(key, spec.salesforce.api_budget_percent / 100)
        self._show_times(key, body["metadata"].get("creationTimestamp"), status, spec)
        self._show_conditions(key, status)
        self._show_last_run(key, status)
        customers = status.get("customers") or {}
        for state in _CUSTOMER_STATES:
            if state in customers:
                self._customers.set(key, customers[state], state)
        self._spend.replace(key, _amounts(status.get("currentSpend") or {}))

    def _begin(self, key: Key, spec: MetronomeSyncSpec) -> None:
        """Let counters be there before they count."""
        for ended in Outcome:
            self._runs.add(key, 0, ended.value, Trigger.SCHEDULE.value)
        for name in (*spec.objects, ACCOUNT_SUMMARY.name):
            for operation, outcome in _USUAL:
                self._rows.add(key, 0, name, operation, outcome)
        for outcome in (*_LINK_OUTCOMES, _LINK_STOPPED):
            self._link_runs.add(key, 0, outcome)
        self._edits.add(key, 0)
        self._errors.add(key, 0)

    def _show_times(
        self, key: Key, created: str | None, status: Json, spec: MetronomeSyncSpec | None
    ) -> None:
        success = status.get("lastSuccessTime")
        run = status.get("lastRun") or {}
        for gauge, text in (
            (self._created, created),
            (self._last_success, success),
            (self._next_run, status.get("nextRunTime")),
            (self._last_end, run.get("finishedAt")),
        ):
            gauge.replace(key, {} if text is None else {(): _time(text).timestamp()})
        since = success or created
        if spec is not None and since is not None:
            self._success_due.set(key, next_time(spec, _time(since)).timestamp())

    def _show_conditions(self, key: Key, status: Json) -> None:
        for condition in status.get("conditions") or ():
            match condition["type"]:
                case "Ready":
                    self._ready.set(key, _READY.get(condition["status"], -1))
                case "Stalled":
                    self._stalled.set(key, condition["status"] == "True")
                case "Reconciling":
                    self._waiting.set(key, condition["reason"] in _WAITING)
                case "PackageInstalled":
                    seen = _package_state(condition["status"], condition["reason"])
                    for state in _PACKAGE_STATES:
                        self._package.set(key, state == seen, state)

    def _show_last_run(self, key: Key, status: Json) -> None:
        self._unsuccessful.set(key, status.get("unsuccessfulRuns") or 0)
        run = status.get("lastRun")
        if not run:
            return
        for outcome in Outcome:
            self._last_outcome.set(key, run.get("outcome") == outcome.value, outcome.value)
        if "startedAt" in run and "finishedAt" in run:
            took = _time(run["finishedAt"]) - _time(run["startedAt"])
            self._last_duration.set(key, max(0.0, took.total_seconds()))
        # What a run that wrote nothing does not mend goes on to be refused.
        wrote = run.get("outcome") not in (Outcome.PLANNED, Outcome.REFUSED)
        if wrote and (rows := run.get("rows")):
            refused = {name: counts.get("rejected", 0) for name, counts in rows.items()}
            self._rejected.replace(key, {(name,): one for name, one in refused.items()})

    def failed(self, key: Key) -> None:
        """Count an error of our own."""
        self._errors.add(key, 1)

    def forget(self, key: Key) -> None:
        """Remove every series of a MetronomeSync that is gone."""
        for family in self.families:
            family.series.forget(key)

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        of_syncs = "".join(family.render() for family in self.families)
        return of_syncs.encode() + generate_latest(self.registry)


class _Children(Collector):
    """What the processes of cycles have used: each is gone before anybody could ask it."""

    def collect(self) -> Iterator[Metric]:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        yield CounterMetricFamily(
            f"{PREFIX}_cycle_cpu_seconds",
            "CPU time that cycles have used; those that have ended.",
            value=used.ru_utime + used.ru_stime,
        )
        peak = Metric(
            f"{PREFIX}_cycle_peak_memory_bytes",
            "The most memory that one cycle has had since the operator started.",
            "gauge",
        )
        peak.add_sample(peak.name, {}, used.ru_maxrss * 1024)  # KiB, on Linux
        yield peak


def _package_state(status: str, reason: str) -> str:
    """The state that a PackageInstalled condition tells; an upgrade that failed leaves it old."""
    match status:
        case "True":
            known = {"Installed": "installed", "Newer": "newer", "VersionUnknown": "unknown"}
            return known.get(reason, "outdated")
        case "False":
            return "missing"
        case _:
            return "unknown"


def _amounts(spend: Mapping[str, Mapping[str, str]]) -> dict[tuple[str, ...], float]:
    return {
        (state, currency): float(amount)
        for state, amounts in spend.items()
        for currency, amount in amounts.items()
    }


def _version() -> str:
    try:
        return version(_DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"


def _time(moment: str) -> datetime:
    return datetime.fromisoformat(moment).astimezone(UTC)
