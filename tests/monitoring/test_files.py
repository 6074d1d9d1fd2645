"""What can be said of alerts and dashboard without Prometheus: that they name what exists."""

import re

import pytest
import yaml

from tests.monitoring.files import (
    BASE,
    JOB,
    README,
    ROOT,
    RULE_TESTS,
    Json,
    Panel,
    alerts,
    anchor,
    dashboard,
    groupings,
    headings,
    panels,
    selectors,
    vocabulary,
)

QUERIES = [
    *((one["alert"], one["expr"]) for one in alerts()),
    *((one.title, query) for one in panels() for query in one.queries),
]


@pytest.mark.parametrize(("name", "query"), QUERIES)
def test_queries_name_series_and_labels_that_there_are(name: str, query: str) -> None:
    """A query on a metric that does not exist is silent for ever."""
    known = vocabulary()
    found = list(selectors(query))

    assert found, name
    for one in found:
        assert one.metric in known, one.metric
        assert one.labels <= known[one.metric], one
    named = frozenset[str]().union(*(known[one.metric] for one in found))
    assert groupings(query) <= named


def test_metrics_that_are_taken_apart_are_all_of_them() -> None:
    """The test above is worth what its reading of queries is worth."""
    found = list(
        selectors(
            'sum by (x) (rate(a_total{b=~"c d", e!="f"}[5m])) / on (y) max_over_time(g[1h])'
            ' unless time() - h{i!~"j"} > 5 * 60 and absent(k)'
        )
    )

    assert [one.metric for one in found] == ["a_total", "g", "h", "k"]
    assert [sorted(one.labels) for one in found] == [["b", "e"], [], ["i"], []]
    assert groupings("sum by (x, y) (a) unless on (z) b") == {"x", "y", "z"}


@pytest.mark.parametrize("alert", alerts(), ids=lambda one: one["alert"])
def test_alerts_say_what_it_is_and_what_to_do(alert: Json) -> None:
    annotations = alert["annotations"]
    wanted = {"summary", "description", "runbook_url"}
    assert set(annotations) == wanted
    assert alert["labels"]["severity"] in {"critical", "warning"}
    # Receivers put it into a subject, and group by it.
    assert "{{" not in annotations["summary"]
    of_operator = alert["alert"] in {"MetronomeOperatorDown", "MetronomeWatchStalled"}
    labels = set(re.findall(r"\$labels\.(\w+)", annotations["description"]))
    assert of_operator or {"namespace", "name"} <= labels
    assert labels <= groupings(alert["expr"])
    assert annotations["runbook_url"].startswith(BASE)


@pytest.mark.parametrize("alert", alerts(), ids=lambda one: one["alert"])
def test_alerts_about_a_sync_are_silent_while_it_is_suspended(alert: Json) -> None:
    """And whatever a counter or a range remembers ends with the series of the sync itself."""
    names = {one.metric for one in selectors(alert["expr"])}
    if any("namespace" in vocabulary()[name] and "name" in vocabulary()[name] for name in names):
        assert "metronome_salesforce_suspended" in names


def test_alert_names_are_told_apart() -> None:
    names = [one["alert"] for one in alerts()]
    assert len(names) == len(set(names)) >= 8
    assert all(re.fullmatch(r"Metronome[A-Z]\w+", name) for name in names)


def test_the_operator_is_found_by_the_job_that_the_chart_gives_it() -> None:
    chart = ROOT / "charts" / "metronome-salesforce-operator" / "templates" / "monitoring"
    assert f"replacement: {JOB}\n" in (chart / "_scraping.tpl").read_text("utf-8")
    jobs = {job for one in alerts() for job in re.findall(r'job="([^"]*)"', one["expr"])}
    assert jobs == {JOB}


def test_each_alert_has_a_rule_test_that_sees_it_and_one_that_does_not() -> None:
    """Promtool runs them in `make test-monitoring`; none may be missing there."""
    seen: dict[str, set[bool]] = {}
    for path in RULE_TESTS:
        document = yaml.safe_load(path.read_text("utf-8"))
        for test in document["tests"]:
            for check in test["alert_rule_test"]:
                seen.setdefault(check["alertname"], set()).add(bool(check.get("exp_alerts")))

    assert seen == {one["alert"]: {True, False} for one in alerts()}


# -- dashboard -----------------------------------------------------------------------------------


def test_panels_are_told_apart_and_explained() -> None:
    found = panels()
    titles = [one.title for one in found]
    assert len(titles) == len(set(titles))
    assert all(one.description.endswith(".") for one in found)
    document = dashboard()
    ids = [one["id"] for one in document["panels"]]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("panel", panels(), ids=lambda one: one.title)
def test_panels_follow_the_variables(panel: Panel) -> None:
    """All but those of the operator itself, which serves all MetronomeSyncs."""
    known = vocabulary()
    for query in panel.queries:
        for one in selectors(query):
            if "name" in known[one.metric]:
                assert {"namespace", "name"} <= one.labels, query


def test_panels_do_not_cover_each_other() -> None:
    """And none stands out of the 24 columns that Grafana has."""
    taken: set[tuple[int, int]] = set()
    for one in dashboard()["panels"]:
        grid = one["gridPos"]
        cells = {
            (grid["x"] + right, grid["y"] + down)
            for right in range(grid["w"])
            for down in range(grid["h"])
        }
        assert grid["x"] + grid["w"] <= 24
        assert not taken & cells, one["title"]
        taken |= cells


def test_variables_choose_the_source_namespace_and_sync() -> None:
    variables = {one["name"]: one for one in dashboard()["templating"]["list"]}
    assert list(variables) == ["datasource", "namespace", "sync"]
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == (
        "datasource",
        "prometheus",
    )
    known = vocabulary()
    for name, label in (("namespace", "namespace"), ("sync", "name")):
        found = re.fullmatch(
            r"label_values\((\w+)(\{.*\})?, (\w+)\)", variables[name]["query"]["query"]
        )
        assert found is not None
        assert found[1] in known
        assert found[3] == label
    sources = re.findall(r'"uid": "(\$[^"]*)"', yaml.dump(dashboard(), default_style='"'))
    assert set(sources) == {"${datasource}"}


def test_the_dashboard_shows_what_the_alerts_are_about() -> None:
    shown = {
        one.metric for panel in panels() for query in panel.queries for one in selectors(query)
    }
    gates = {"suspended", "dry_run", "created_timestamp_seconds", "success_due_timestamp_seconds"}
    asked = {one.metric for alert in alerts() for one in selectors(alert["expr"])}
    left = {f"metronome_salesforce_{name}" for name in gates} | {"up"}
    # Told by others: the Ready condition and the outcome.
    assert asked - left - shown == {"metronome_salesforce_stalled"}


# -- README --------------------------------------------------------------------------------------


@pytest.mark.parametrize("alert", alerts(), ids=lambda one: one["alert"])
def test_runbooks_are_sections_of_the_readme(alert: Json) -> None:
    assert anchor(alert) == alert["alert"].lower()
    assert anchor(alert) in headings()


def test_the_readme_has_no_runbook_of_an_alert_that_is_gone() -> None:
    titles = re.findall(r"^#### (Metronome[A-Z]\w+)$", README.read_text("utf-8"), re.MULTILINE)
    assert sorted(titles) == sorted(one["alert"] for one in alerts())
