"""The metrics, as a scrape shows them."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from metronome_salesforce.metrics import Metrics
from metronome_salesforce.relinking import LinkReport
from metronome_salesforce.report import Counts, CycleReport, Outcome, Trigger

ACME, OTHER = ("billing", "acme"), ("billing", "other")
IDENTITY = {"namespace": "billing", "name": "acme"}


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
        {
            "lastSuccessTime": "2026-03-05T06:00:00Z",
            "nextRunTime": "2026-03-06T06:00:00Z",
            "conditions": [
                {"type": "Ready", "status": "Unknown"},
                {"type": "Stalled", "status": "True"},
            ],
            "customers": {"total": 5, "linked": 3, "orphaned": 2, "archived": 1},
        },
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


def test_a_suspended_sync_has_no_next_run(metrics: Metrics) -> None:
    metrics.show(ACME, {"nextRunTime": "2026-03-06T06:00:00Z"})
    metrics.show(ACME, {})
    assert scraped(metrics, "next_run_timestamp_seconds") == {}


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
        metrics.show(key, {"customers": {"linked": 1}})
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
    metrics.show(ACME, {"customers": {"linked": 1}})
    names = {
        label
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
        for label in sample.labels
    }
    allowed = {"namespace", "name", "outcome", "trigger", "object", "operation", "system"}
    assert names <= allowed | {"family", "status", "state", "version", "le"}
