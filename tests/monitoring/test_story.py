"""A real Prometheus beside the demo: every query of the dashboard has something to show.

Numbers are compared with what the emulated org holds and has counted.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

import pytest

from metronome_salesforce.demo.stage import NAMESPACE, SYNC, Stage, set_up
from metronome_salesforce.demo.story import tell
from tests.monitoring.files import Panel, alerts, filled_in, panels, selectors
from tests.monitoring.server import Prometheus, prometheus

pytestmark = [pytest.mark.monitoring, pytest.mark.timeout(300)]

CUSTOMERS = 12
SPAN = "5m"
_SYNC_RUN = "Metronome_Sync_Run__c"


@dataclass(frozen=True, slots=True)
class Told:
    """The story when it has been told: what was scraped, and where it played."""

    prometheus: Prometheus
    stage: Stage


@pytest.fixture(name="told", scope="module")
def _told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    folder = tmp_path_factory.mktemp("story")
    with set_up(folder / "stage", CUSTOMERS, lag=timedelta(days=2)) as stage:
        address = stage.operator_url.removeprefix("http://")
        with prometheus(folder, address) as server:
            server.scrape()  # so that counters are seen at 0
            tell(stage)
            server.scrape()
            yield Told(server, stage)


@pytest.mark.parametrize("panel", panels(), ids=lambda one: one.title)
def test_panels_have_data(told: Told, panel: Panel) -> None:
    for query in panel.queries:
        found = told.prometheus.query(filled_in(query, SPAN))
        assert found, query
        assert all(value == value for _, value in found), f"{query} is no number"  # noqa: PLR0124 -- NaN


@pytest.mark.parametrize("alert", alerts(), ids=lambda one: one["alert"])
def test_alerts_are_silent_and_could_speak(told: Told, alert: dict[str, str]) -> None:
    """Silent because nothing is wrong: each series that they look at is there."""
    rule = told.prometheus.rules()[alert["alert"]]
    assert (rule["health"], rule["state"], rule["alerts"]) == ("ok", "inactive", [])
    assert told.prometheus.query(alert["expr"]) == []
    for one in selectors(alert["expr"]):
        assert told.prometheus.query(one.metric), one.metric


def test_series_are_of_the_sync_not_of_the_pod(told: Told) -> None:
    ((labels, value),) = told.prometheus.query("metronome_salesforce_ready")

    assert value == 1
    assert (labels["namespace"], labels["name"]) == (NAMESPACE, SYNC)
    assert not [name for name in labels if name.startswith("exported_")]


def test_rows_that_were_added_up_are_those_that_the_org_holds(told: Told) -> None:
    """From the first scrape on: what counters begin with would be missing."""
    query = (
        "sum by (object) (increase("
        'metronome_salesforce_rows_total{operation="create", outcome="succeeded"}[10m]))'
    )
    created = {labels["object"]: value for labels, value in told.prometheus.query(query)}
    org = told.stage.org
    for name, sobject in (("Usage", "Metronome_Usage__c"), ("Invoice", "Metronome_Invoice__c")):
        # Increase extrapolates to the whole span.
        assert created[name] == pytest.approx(org.count(sobject), rel=0.15)
    total = told.prometheus.value('sum(metronome_salesforce_rows_total{operation="create"})')
    kept = {sobject for sobject, _ in org.statistics.rows} | {
        "Metronome_Usage__c", "Metronome_Invoice__c", "Metronome_Invoice_Line_Item__c",
        "Metronome_Invoice_Sub_Line_Item__c", "Metronome_Invoice_Adjustment__c",
        "Metronome_Credit_Grant__c", "Metronome_Plan__c", "Metronome_Customer_Plan__c",
        "Metronome_Orphan_Customer__c",
    }  # fmt: skip
    assert total == sum(org.count(sobject) for sobject in kept - {_SYNC_RUN, "Account"})


def test_spend_is_the_sum_of_the_drafts_in_the_org(told: Told) -> None:
    wanted: Counter[tuple[str, str]] = Counter()
    for row in told.stage.org.rows("Metronome_Invoice__c"):
        if row["Status__c"] == "Draft" and re.fullmatch("[A-Z]{3}", row["Currency__c"]):
            state = "linked" if row["Account__c"] else "orphaned"
            wanted[state, row["Currency__c"]] += Decimal(str(row["Total__c"]))  # type: ignore[assignment]
    found = {
        (labels["state"], labels["currency"]): value
        for labels, value in told.prometheus.query("metronome_salesforce_current_spend")
    }

    assert len(wanted) > 1
    assert found == pytest.approx({key: float(value) for key, value in wanted.items()})


def test_customers_are_those_of_the_org(told: Told) -> None:
    rows = told.stage.org.rows("Metronome_Orphan_Customer__c")
    found = {
        labels["state"]: value
        for labels, value in told.prometheus.query("metronome_salesforce_customers")
    }

    linked = sum(1 for row in rows if row["Account__c"])
    assert (found["linked"], found["orphaned"]) == (linked, len(rows) - linked)


def test_the_quota_is_what_the_org_counts(told: Told) -> None:
    """Also between cycles: each look at the org tells it."""
    told.prometheus.scrape(5)
    used = told.prometheus.value("metronome_salesforce_api_quota_used")

    assert told.stage.org.api_used - 5 <= used <= told.stage.org.api_used
