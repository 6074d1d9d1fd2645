"""The metrics, as a scrape shows them."""

import subprocess
import sys
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from metronome_salesforce.metrics import Metrics
from metronome_salesforce.relinking import LinkReport
from metronome_salesforce.report import Counts, CycleReport, Outcome, Trigger
from metronome_salesforce.spec import MetronomeSyncSpec

ACME, OTHER = ("billing", "acme"), ("billing", "other")
IDENTITY = {"namespace": "billing", "name": "acme"}
SPEND = {"linked": {"USD": "12.50"}, "orphaned": {"EUR": "3.00"}}


@pytest.fixture(name="metrics")
def _metrics() -> Metrics:
    return Metrics(CollectorRegistry())


def scraped(metrics: Metrics, metric: str, /, **labels: str) -> dict[tuple[str, ...], float]:
    """The values of one metric by the labels not asked for, which are sorted by their names."""
    found = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            if sample.name == f"metronome_salesforce_{metric}" and labels.items() <= (
                sample.labels.items()
            ):
                rest = tuple(v for k, v in sorted(sample.labels.items()) if k not in labels)
                found[rest] = sample.value
    return found


def report(**fields: Any) -> CycleReport:
    given: dict[str, Any] = {
        "id": "r",
        "trigger": Trigger.SCHEDULE,
        "started_at": "",
        "outcome": Outcome.SUCCEEDED,
        **fields,
    }
    return CycleReport(**given)


def body(status: dict[str, Any], **metadata: str) -> dict[str, Any]:
    """A MetronomeSync as the API shows it, as far as the metrics look at it."""
    return {"metadata": metadata, "status": status}


def spec(**more: Any) -> MetronomeSyncSpec:
    """A valid spec; daily at six, UTC."""
    return MetronomeSyncSpec.model_validate(
        {
            "schedule": "0 6 * * *",
            "metronome": {"apiKeySecretRef": {"name": "m"}},
            "salesforce": {
                "instanceUrl": "https://acme.my.salesforce.com",
                "credentialsSecretRef": {"name": "s"},
            },
            **more,
        }
    )


def test_runs_and_their_duration_are_counted(metrics: Metrics) -> None:
    metrics.ran(ACME, report(duration=12.0))
    metrics.ran(ACME, report(duration=100.0))
    metrics.ran(ACME, report(outcome=Outcome.FAILED, trigger=Trigger.RETRY))
    assert scraped(metrics, "runs_total", **IDENTITY) == {
        ("Succeeded", "Schedule"): 2,
        ("Failed", "Retry"): 1,
    }
    assert scraped(metrics, "run_duration_seconds_sum", **IDENTITY) == {(): 112.0}


def test_rows_are_counted_by_object_operation_and_outcome(metrics: Metrics) -> None:
    counts = Counts(created=5, updated=4, unchanged=3, deleted=2, rejected=1)
    refused = {"Invoice": {"update": 1}}
    metrics.ran(ACME, report(rows={"Invoice": counts}, rejected_operations=refused))
    metrics.ran(ACME, report(rows={"Invoice": counts}, outcome=Outcome.PLANNED))
    metrics.ran(ACME, report(rows={"Invoice": counts}, outcome=Outcome.REFUSED))
    found = scraped(metrics, "rows_total", **IDENTITY, object="Invoice")
    assert found == {
        ("create", "succeeded"): 5,
        ("update", "succeeded"): 4,
        ("none", "unchanged"): 3,
        ("delete", "succeeded"): 2,
        ("update", "rejected"): 1,
    }


def test_api_requests_and_quota_are_shown(metrics: Metrics) -> None:
    calls = [("metronome", "invoices", "200", 7), ("salesforce", "query", "503", 2)]
    metrics.ran(ACME, report(api_calls=calls, quota={"used": 900, "maximum": 1000}))
    assert scraped(metrics, "api_requests_total", **IDENTITY) == {
        ("invoices", "200", "metronome"): 7,
        ("query", "503", "salesforce"): 2,
    }
    assert scraped(metrics, "api_quota_used", **IDENTITY) == {(): 900}
    assert scraped(metrics, "api_quota_max", **IDENTITY) == {(): 1000}
    assert scraped(metrics, "api_quota_remaining", **IDENTITY) == {(): 100}


def test_a_restarted_operator_shows_what_the_status_says(metrics: Metrics) -> None:
    metrics.show(
        ACME,
        body(
            {
                "lastSuccessTime": "2026-03-05T06:00:00Z",
                "nextRunTime": "2026-03-06T06:00:00Z",
                "conditions": [
                    {"type": "Ready", "status": "Unknown"},
                    {"type": "Stalled", "status": "True"},
                ],
                "customers": {"total": 5, "linked": 3, "orphaned": 2, "archived": 1},
            }
        ),
        spec(),
    )
    assert scraped(metrics, "last_success_timestamp_seconds", **IDENTITY) == {(): 1772690400}
    assert scraped(metrics, "next_run_timestamp_seconds", **IDENTITY) == {(): 1772776800}
    assert scraped(metrics, "ready", **IDENTITY) == {(): -1}
    assert scraped(metrics, "stalled", **IDENTITY) == {(): 1}
    assert scraped(metrics, "customers", **IDENTITY) == {
        ("linked",): 3,
        ("orphaned",): 2,
        ("archived",): 1,
    }


def test_the_first_scheduled_time_after_a_success_or_the_creation_is_when_one_is_due(
    metrics: Metrics,
) -> None:
    weekdays = spec(schedule="30 5 * * MON-FRI")
    new = body({}, creationTimestamp="2026-03-05T10:00:00Z")  # a Thursday
    metrics.show(ACME, new, weekdays)
    due = scraped(metrics, "success_due_timestamp_seconds", **IDENTITY)
    assert due == {(): 1772775000}  # Friday, 05:30
    assert scraped(metrics, "created_timestamp_seconds", **IDENTITY) == {(): 1772704800}
    new["status"] = {"lastSuccessTime": "2026-03-06T05:31:00Z"}
    metrics.show(ACME, new, weekdays)
    due = scraped(metrics, "success_due_timestamp_seconds", **IDENTITY)
    assert due == {(): 1773034200}  # Monday, 05:30


def test_an_invalid_spec_is_neither_suspended_nor_dry(metrics: Metrics) -> None:
    metrics.show(ACME, body({"conditions": [{"type": "Stalled", "status": "True"}]}), None)
    assert scraped(metrics, "suspended", **IDENTITY) == {(): 0}
    assert scraped(metrics, "dry_run", **IDENTITY) == {(): 0}
    assert scraped(metrics, "stalled", **IDENTITY) == {(): 1}


def test_the_last_run_is_shown_as_the_status_has_it(metrics: Metrics) -> None:
    status = {
        "unsuccessfulRuns": 3,
        "lastRun": {
            "outcome": "PartiallyFailed",
            "startedAt": "2026-03-05T06:00:00Z",
            "finishedAt": "2026-03-05T06:02:05Z",
            "rows": {"Invoice": {"rejected": 2}, "Usage": {"rejected": 0}},
        },
    }
    metrics.show(ACME, body(status), spec())
    assert scraped(metrics, "unsuccessful_runs", **IDENTITY) == {(): 3}
    assert scraped(metrics, "last_run_duration_seconds", **IDENTITY) == {(): 125}
    assert scraped(metrics, "last_run_timestamp_seconds", **IDENTITY) == {(): 1772690525}
    outcomes = scraped(metrics, "last_run_outcome", **IDENTITY)
    assert outcomes == {
        **{(one,): 0 for one in ("Succeeded", "Failed", "Refused", "Planned")},
        ("PartiallyFailed",): 1,
    }
    rejected = scraped(metrics, "rejected_rows", **IDENTITY)
    assert rejected == {("Invoice",): 2, ("Usage",): 0}


def test_rows_go_on_to_be_rejected_until_a_run_writes_without(metrics: Metrics) -> None:
    def ended(outcome: str, **rows: int) -> dict[str, Any]:
        counts = {name: {"rejected": rejected} for name, rejected in rows.items()}
        return body({"lastRun": {"outcome": outcome, "rows": counts}})

    metrics.show(ACME, ended("PartiallyFailed", Invoice=2, Plan=1), spec())
    for left in (ended("Failed"), ended("Planned", Invoice=0), ended("Refused", Invoice=0)):
        metrics.show(ACME, left, spec())
        seen = scraped(metrics, "rejected_rows", **IDENTITY)
        assert seen == {("Invoice",): 2, ("Plan",): 1}
    # Plans are not synced any more.
    metrics.show(ACME, ended("Succeeded", Invoice=0), spec())
    assert scraped(metrics, "rejected_rows", **IDENTITY) == {("Invoice",): 0}


@pytest.mark.parametrize(
    ("status", "reason", "state"),
    [
        ("True", "Installed", "installed"),
        ("True", "Newer", "newer"),
        ("True", "Outdated", "outdated"),
        ("True", "UpgradeNotAllowed", "outdated"),
        ("True", "VersionUnknown", "unknown"),
        ("False", "PackageMissing", "missing"),
        ("Unknown", "PermissionSetNotAssigned", "unknown"),
    ],
)
def test_the_package_is_in_one_state(
    metrics: Metrics, status: str, reason: str, state: str
) -> None:
    condition = {"type": "PackageInstalled", "status": status, "reason": reason}
    metrics.show(ACME, body({"conditions": [condition]}), spec())
    seen = scraped(metrics, "package", **IDENTITY)
    assert len(seen) == 5
    assert [key for key, value in seen.items() if value] == [(state,)]


def test_a_cycle_that_has_to_wait_is_shown(metrics: Metrics) -> None:
    for reason, waits in (("Queued", 1), ("WaitingForLease", 1), ("Running", 0)):
        condition = {"type": "Reconciling", "status": "True", "reason": reason}
        metrics.show(ACME, body({"conditions": [condition]}), spec())
        assert scraped(metrics, "waiting", **IDENTITY) == {(): waits}


def test_spend_is_shown_by_state_and_currency_and_forgotten_with_the_currency(
    metrics: Metrics,
) -> None:
    metrics.show(ACME, body({"currentSpend": SPEND}), spec())
    seen = scraped(metrics, "current_spend", **IDENTITY)
    assert seen == {("USD", "linked"): 12.5, ("EUR", "orphaned"): 3}
    metrics.show(ACME, body({"currentSpend": {"linked": {"USD": "1.00"}}}), spec())
    assert scraped(metrics, "current_spend", **IDENTITY) == {("USD", "linked"): 1}


def test_the_budget_is_a_ratio(metrics: Metrics) -> None:
    salesforce = {
        "instanceUrl": "https://acme.my.salesforce.com",
        "credentialsSecretRef": {"name": "s"},
        "apiBudgetPercent": 35,
    }
    metrics.show(ACME, body({}), spec(salesforce=salesforce))
    assert scraped(metrics, "api_budget_ratio", **IDENTITY) == {(): 0.35}


def test_counters_are_there_before_they_count(metrics: Metrics) -> None:
    """What a series begins with is no increase to Prometheus."""
    metrics.show(ACME, body({}), spec(objects=["Customer", "Plan"]))
    rows = scraped(metrics, "rows_total", **IDENTITY)
    usual = {("create", "succeeded"), ("update", "succeeded"), ("delete", "succeeded")}
    names = {"Customer", "Plan", "Account"}
    assert rows == {(name, *one): 0 for name in names for one in {*usual, ("none", "unchanged")}}
    runs = scraped(metrics, "runs_total", **IDENTITY, trigger="Schedule")
    assert set(runs.values()) == {0}
    assert len(runs) == 5
    assert scraped(metrics, "unexpected_errors_total", **IDENTITY) == {(): 0}
    assert scraped(metrics, "noticed_edits_total", **IDENTITY) == {(): 0}


def test_the_lag_behind_the_cluster_is_asked_for_at_each_scrape(metrics: Metrics) -> None:
    lags, ages = {"metronomesyncs": 1.0, "customerlinks": 0.0}, [10.0]
    metrics.show_health(lambda: lags, lambda: ages[-1])
    lags["metronomesyncs"] = 7.0
    ages.append(70.0)
    seen = scraped(metrics, "watch_lag_seconds")
    assert seen == {("metronomesyncs",): 7, ("customerlinks",): 0}
    assert scraped(metrics, "list_age_seconds") == {(): 70}


def test_what_cycles_have_used_is_added_up(metrics: Metrics) -> None:
    before = scraped(metrics, "cycle_cpu_seconds_total")[()]
    work = "sum(range(3_000_000)); held = bytearray(64 * 1024 * 1024)"
    subprocess.run([sys.executable, "-c", work], check=True)
    assert scraped(metrics, "cycle_cpu_seconds_total")[()] > before
    assert scraped(metrics, "cycle_peak_memory_bytes")[()] > 64 * 1024 * 1024


def test_a_suspended_sync_has_no_next_run(metrics: Metrics) -> None:
    metrics.show(ACME, body({"nextRunTime": "2026-03-06T06:00:00Z"}), spec())
    metrics.show(ACME, body({}), spec(suspend=True))
    assert scraped(metrics, "next_run_timestamp_seconds") == {}
    assert scraped(metrics, "suspended", **IDENTITY) == {(): 1}
    assert scraped(metrics, "dry_run", **IDENTITY) == {(): 0}


def test_running_is_shown(metrics: Metrics) -> None:
    metrics.running(ACME, now=True)
    assert scraped(metrics, "running", **IDENTITY) == {(): 1}
    metrics.running(ACME, now=False)
    assert scraped(metrics, "running", **IDENTITY) == {(): 0}


def test_links_are_counted(metrics: Metrics) -> None:
    metrics.linked(ACME, LinkReport(moved={"Usage": 7, "Invoice": 1}))
    metrics.linked(ACME, LinkReport(outcome=Outcome.FAILED))
    metrics.linked(ACME, None)
    metrics.noticed(ACME, 2)
    metrics.show_links(ACME, {"ready": 3, "conflict": 1}, 2)
    metrics.requested(ACME, [("salesforce", "query", "200", 9)])
    assert scraped(metrics, "link_runs_total", **IDENTITY) == {
        ("Succeeded",): 1,
        ("Failed",): 1,
        ("Stopped",): 1,
    }
    assert scraped(metrics, "link_rows_total", **IDENTITY) == {("Usage",): 7, ("Invoice",): 1}
    assert scraped(metrics, "noticed_edits_total", **IDENTITY) == {(): 2}
    assert scraped(metrics, "links", **IDENTITY) == {("ready",): 3, ("conflict",): 1}
    assert scraped(metrics, "link_conflicts", **IDENTITY) == {(): 2}
    assert sum(scraped(metrics, "api_requests_total", **IDENTITY).values()) == 9


def test_everything_of_a_deleted_sync_goes_and_nothing_else(metrics: Metrics) -> None:
    for key in (ACME, OTHER):
        metrics.ran(
            key,
            report(
                rows={"Plan": Counts(created=1)},
                api_calls=[("metronome", "plans", "200", 1)],
                quota={"used": 1, "maximum": 2},
            ),
        )
        metrics.running(key, now=True)
        metrics.failed(key)
        metrics.show(key, body({"customers": {"linked": 1}, "currentSpend": SPEND}), spec())
    metrics.forget(ACME)
    text = metrics.render().decode()
    assert 'name="acme"' not in text
    assert 'name="other"' in text


def test_no_metric_tells_when_its_counting_began(metrics: Metrics) -> None:
    """`rows_created` and the like would be read as a number of rows; they are times."""
    metrics.ran(ACME, report(rows={"Plan": Counts(created=1)}))
    families = text_string_to_metric_families(metrics.render().decode())
    names = {sample.name for family in families for sample in family.samples}
    assert [name for name in names if name.endswith("_created")] == []
    assert "metronome_salesforce_rows_total" in names


def test_the_version_is_shown(metrics: Metrics) -> None:
    assert list(scraped(metrics, "build_info").values()) == [1]


def test_no_label_can_hold_an_id(metrics: Metrics) -> None:
    """The label names are a closed list; a new one has to be thought about."""
    metrics.ran(ACME, report(rows={"Plan": Counts(created=1)}, api_calls=[("a", "b", "c", 1)]))
    metrics.show(ACME, body({"customers": {"linked": 1}, "currentSpend": SPEND}), spec())
    metrics.show_health(lambda: {"metronomesyncs": 0.0}, lambda: 0.0)
    names = {
        label
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
        for label in sample.labels
    }
    allowed = {"namespace", "name", "outcome", "trigger", "object", "operation", "system"}
    assert names <= allowed | {
        *("family", "status", "state", "version", "le", "currency", "resource")
    }
