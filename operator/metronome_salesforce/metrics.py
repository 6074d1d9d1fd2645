"""Every metric of the operator, in a registry that is passed in.

Labels are the namespace and name of the MetronomeSync and closed sets of words; never an id or a
name of a customer, which would leak into monitoring and grow without end. The series of a
MetronomeSync go when it goes.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from metronome_salesforce.relinking import LinkReport
from metronome_salesforce.report import CycleReport, Outcome

CONTENT_TYPE = CONTENT_TYPE_LATEST

PREFIX = "metronome_salesforce"
_DISTRIBUTION = "metronome-salesforce-operator"
_SYNC = ("namespace", "name")
# From a small tenant's seconds to the default deadline of six hours.
_BUCKETS = (5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600)
_READY = {"True": 1, "False": 0, "Unknown": -1}
_LINK_STOPPED = "Stopped"
_CUSTOMER_STATES = ("linked", "orphaned", "archived")

# Else each counter brings along when it was first counted, as a gauge that ends in _created, and
# rows_created does not look like a time.
disable_created_metrics()  # type: ignore[no-untyped-call]

Key = tuple[str, str]
"""Namespace and name of a MetronomeSync."""


class Metrics:
    """The metrics of one operator; `key` is always that of the MetronomeSync.

    Without a registry it has one of its own; never the process-wide one, where two would clash.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry if registry is not None else CollectorRegistry()
        self.registry = registry
        self._per_sync: list[Counter | Gauge | Histogram] = []
        self._last_success = self._gauge(
            "last_success_timestamp_seconds",
            "When a cycle last ended with outcome Succeeded (Unix time; absent: never).",
        )
        self._next_run = self._gauge(
            "next_run_timestamp_seconds",
            "When the next cycle starts (Unix time; absent while suspended).",
        )
        self._running = self._gauge("running", "1 while a cycle runs, else 0.")
        self._ready = self._gauge(
            "ready", "The Ready condition: 1 for True, 0 for False, -1 for Unknown."
        )
        self._stalled = self._gauge("stalled", "1 while a person must act, else 0.")
        self._runs = self._counter(
            "runs", "Cycles that ended, by outcome and by why they ran.", "outcome", "trigger"
        )
        self._duration = Histogram(
            f"{PREFIX}_run_duration_seconds",
            "How long cycles took.",
            _SYNC,
            buckets=_BUCKETS,
            registry=registry,
        )
        self._per_sync.append(self._duration)
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
        self._quota_used = self._gauge(
            "api_quota_used", "API calls used in the org in the last 24 hours, by everybody."
        )
        self._quota_max = self._gauge("api_quota_max", "API calls that the org allows in 24 hours.")
        self._quota_left = self._gauge("api_quota_remaining", "API calls that the org has left.")
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
        build = Gauge(
            f"{PREFIX}_build_info",
            "1, with the operator's version.",
            ["version"],
            registry=registry,
        )
        build.labels(_version()).set(1)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        gauge = Gauge(f"{PREFIX}_{name}", text, (*_SYNC, *labels), registry=self.registry)
        self._per_sync.append(gauge)
        return gauge

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        counter = Counter(f"{PREFIX}_{name}", text, (*_SYNC, *labels), registry=self.registry)
        self._per_sync.append(counter)
        return counter

    def running(self, key: Key, *, now: bool) -> None:
        """Whether a cycle runs now."""
        self._running.labels(*key).set(int(now))

    def ran(self, key: Key, report: CycleReport) -> None:
        """Count a cycle that has ended."""
        self._runs.labels(*key, report.outcome.value, report.trigger.value).inc()
        self._duration.labels(*key).observe(report.duration)
        self.requested(key, report.api_calls)
        if report.quota is not None:
            used, maximum = report.quota["used"], report.quota["maximum"]
            self._quota_used.labels(*key).set(used)
            self._quota_max.labels(*key).set(maximum)
            self._quota_left.labels(*key).set(max(0, maximum - used))
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
                    self._rows.labels(*key, name, operation, outcome).inc(count)

    def requested(self, key: Key, calls: Iterable[tuple[str, str, str, int]]) -> None:
        """Count requests: (system, endpoint family, HTTP status, count)."""
        for system, family, status, count in calls:
            self._requests.labels(*key, system, family, status).inc(count)

    def linked(self, key: Key, report: LinkReport | None) -> None:
        """Count a link run that has ended; None: it was stopped."""
        outcome = _LINK_STOPPED if report is None else report.outcome.value
        self._link_runs.labels(*key, outcome).inc()
        for name, count in ({} if report is None else report.moved).items():
            self._link_rows.labels(*key, name).inc(count)

    def noticed(self, key: Key, edits: int) -> None:
        """Count changes that people made in Salesforce."""
        self._edits.labels(*key).inc(edits)

    def show_links(self, key: Key, states: Mapping[str, int], conflicts: int) -> None:
        """Show how many CustomerLinks there are by state, and how many are in conflict."""
        for state, count in states.items():
            self._links.labels(*key, state).set(count)
        self._conflicts.labels(*key).set(conflicts)

    def show(self, key: Key, status: Mapping[str, Any]) -> None:
        """Show what the resource's status says; so a restarted operator knows it at once."""
        for gauge, field in (
            (self._last_success, "lastSuccessTime"),
            (self._next_run, "nextRunTime"),
        ):
            moment = status.get(field)
            if moment is None:
                gauge.remove_by_labels(dict(zip(_SYNC, key, strict=True)))
            else:
                gauge.labels(*key).set(_unix(moment))
        for condition in status.get("conditions") or ():
            match condition["type"]:
                case "Ready":
                    self._ready.labels(*key).set(_READY.get(condition["status"], -1))
                case "Stalled":
                    self._stalled.labels(*key).set(int(condition["status"] == "True"))
        customers = status.get("customers") or {}
        for state in _CUSTOMER_STATES:
            if state in customers:
                self._customers.labels(*key, state).set(customers[state])

    def failed(self, key: Key) -> None:
        """Count an error of our own."""
        self._errors.labels(*key).inc()

    def forget(self, key: Key) -> None:
        """Remove every series of a MetronomeSync that is gone."""
        for metric in self._per_sync:
            metric.remove_by_labels(dict(zip(_SYNC, key, strict=True)))

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)


def _version() -> str:
    try:
        return version(_DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"


def _unix(moment: str) -> float:
    return datetime.fromisoformat(moment).astimezone(UTC).timestamp()
