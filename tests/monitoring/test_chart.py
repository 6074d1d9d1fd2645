"""What the chart makes of alerts and dashboard, and whether its monitors find the operator."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.render import CHART, NAMESPACE, RELEASE, documents, helm, only, template
from tests.helm import MAJORS
from tests.monitoring.files import DASHBOARDS, JOB, Json, alerts, anchor, headings
from tests.monitoring.tools import promtool

KINDS = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}


def rendered(*, major: int = 4, **monitoring: Any) -> list[Json]:
    """The manifests with these parts of `monitoring`, each enabled."""
    parts = {part: {"enabled": True, **more} for part, more in monitoring.items()}
    return documents(template({"monitoring": parts}, major=major))


def refusal(**monitoring: Any) -> str:
    """What Helm says of values that it refuses."""
    given = yaml.safe_dump({"monitoring": monitoring})
    where = ("--namespace", NAMESPACE, "--values", "-")
    done = helm(4, "template", RELEASE, CHART, *where, given=given)
    assert done.returncode != 0
    return done.stderr


def rules(manifests: list[Json]) -> dict[str, Json]:
    """The alerts of the PrometheusRule by name."""
    groups = only(manifests, "PrometheusRule")["spec"]["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def endpoint(monitor: Json, key: str) -> Json:
    """The one endpoint of a monitor, which must be scraped as the alerts expect it."""
    (found,) = monitor["spec"][key]
    assert found["honorLabels"] is True
    assert {"targetLabel": "job", "replacement": JOB} in found["relabelings"]
    return dict(found)


def test_there_is_nothing_unless_it_is_asked_for() -> None:
    manifests = documents(template())

    assert not KINDS & {one["kind"] for one in manifests}
    assert not [one for one in manifests if one["metadata"]["name"].endswith("-dashboards")]


@pytest.mark.parametrize("major", MAJORS)
def test_the_service_monitor_finds_the_service(major: int) -> None:
    manifests = rendered(
        major=major,
        serviceMonitor={
            "namespace": "prometheus",
            "labels": {"release": "stack"},
            "interval": "15s",
            "metricRelabelings": [{"action": "labeldrop", "regex": "family"}],
        },
    )
    monitor, service = only(manifests, "ServiceMonitor"), only(manifests, "Service")
    found = endpoint(monitor, "endpoints")

    assert monitor["spec"]["namespaceSelector"] == {"matchNames": [NAMESPACE]}
    wanted = monitor["spec"]["selector"]["matchLabels"]
    assert wanted
    assert wanted.items() <= service["metadata"]["labels"].items()
    assert found["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert (found["path"], found["interval"]) == ("/metrics", "15s")
    assert found["metricRelabelings"] == [{"action": "labeldrop", "regex": "family"}]
    assert monitor["metadata"]["namespace"] == "prometheus"
    assert monitor["metadata"]["labels"]["release"] == "stack"


@pytest.mark.parametrize("major", MAJORS)
def test_the_pod_monitor_finds_the_pod(major: int) -> None:
    extra = {"sourceLabels": ["__meta_kubernetes_pod_node_name"], "targetLabel": "node"}
    manifests = rendered(major=major, podMonitor={"relabelings": [extra]})
    monitor = only(manifests, "PodMonitor")
    pod = only(manifests, "Deployment")["spec"]["template"]
    found = endpoint(monitor, "podMetricsEndpoints")

    assert extra in found["relabelings"]
    wanted = monitor["spec"]["selector"]["matchLabels"]
    assert wanted
    assert wanted.items() <= pod["metadata"]["labels"].items()
    ports = {port["name"] for one in pod["spec"]["containers"] for port in one["ports"]}
    assert found["port"] in ports
    assert monitor["metadata"]["namespace"] == NAMESPACE


def test_the_operator_is_scraped_once() -> None:
    both = {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}

    assert "would have the operator scraped twice: enable one of them" in refusal(**both)


@pytest.mark.parametrize("major", MAJORS)
def test_the_alerts_are_those_of_the_files(major: int) -> None:
    """But that each release watches its own operator, of several in a cluster.

    And without links as long as nobody has said where the runbooks are.
    """
    found = rules(rendered(major=major, prometheusRule={}))
    job, own = f'job="{JOB}"', f'job="{JOB}", namespace="{NAMESPACE}"'

    wanted = {one["alert"]: {**one, "expr": one["expr"].replace(job, own)} for one in alerts()}
    for one in wanted.values():
        one["annotations"] = {key: one["annotations"][key] for key in ("summary", "description")}
    assert found == wanted
    assert own in found["MetronomeOperatorDown"]["expr"]


def test_alerts_are_left_out_labelled_and_led_elsewhere() -> None:
    found = rules(
        rendered(
            prometheusRule={
                "disabled": ["MetronomeLinksFailed", "MetronomePackageOutdated"],
                "alertLabels": {"team": "billing", "severity": "page"},
                "runbookUrl": "https://wiki.example.com/metronome",
            }
        )
    )

    assert set(found) == {one["alert"] for one in alerts()} - {
        "MetronomeLinksFailed",
        "MetronomePackageOutdated",
    }
    anchors = {one["alert"]: anchor(one) for one in alerts()}
    for name, rule in found.items():
        assert rule["labels"] == {"team": "billing", "severity": "page"}
        assert anchors[name] in headings()
        url = f"https://wiki.example.com/metronome#{anchors[name]}"
        assert rule["annotations"]["runbook_url"] == url


def test_an_alert_that_there_is_not_cannot_be_left_out() -> None:
    said = refusal(prometheusRule={"enabled": True, "disabled": ["MetronomeSyncNoSucces"]})

    assert "names no alert of this chart: MetronomeSyncNoSucces" in said


@pytest.mark.monitoring
def test_promtool_takes_the_rendered_alerts(tmp_path: Path) -> None:
    spec = only(rendered(prometheusRule={"alertLabels": {"team": "x"}}), "PrometheusRule")["spec"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(spec), "utf-8")
    done = promtool("check", "rules", tmp_path / "rules.yaml")

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"SUCCESS: {len(alerts())} rules found" in done.stdout


@pytest.mark.parametrize("major", MAJORS)
def test_the_dashboard_is_that_of_the_file(major: int) -> None:
    found = only(
        rendered(major=major, dashboard={"annotations": {"grafana_folder": "Billing"}}),
        "ConfigMap",
        "-dashboards",
    )

    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert found["metadata"]["annotations"] == {"grafana_folder": "Billing"}
    wanted = {path.name: json.loads(path.read_text("utf-8")) for path in DASHBOARDS}
    assert {name: json.loads(text) for name, text in found["data"].items()} == wanted
