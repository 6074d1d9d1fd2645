"""The alerts and the dashboard as the chart has them, and the queries in them taken apart."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from metronome_salesforce.metrics import Metrics

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "metronome-salesforce-operator"
ALERTS = sorted((CHART / "files" / "alerts").glob("*.yaml"))
DASHBOARDS = sorted((CHART / "files" / "dashboards").glob("*.json"))
RULE_TESTS = sorted((Path(__file__).parent / "alerts").glob("*.test.yaml"))
README = ROOT / "README.md"
BASE = "https://docs.example.com/metronome-salesforce-operator/README.md#"
JOB = "metronome-salesforce-operator"

# Of the target, and so of every series that Prometheus scrapes.
_TARGET = frozenset({"job", "instance", "namespace"})
_WORDS = frozenset({
    "absent", "and", "by", "histogram_quantile", "increase", "max", "max_over_time", "on", "or",
    "rate", "sum", "time", "unless",
})  # fmt: skip

Json = dict[str, Any]


def alerts() -> list[Json]:
    """Every alert, in the order of the files."""
    return [
        rule
        for path in ALERTS
        for group in yaml.safe_load(path.read_text("utf-8"))["groups"]
        for rule in group["rules"]
    ]


def anchor(alert: Json) -> str:
    """The part of an alert's runbook link that names a section."""
    url: str = alert["annotations"]["runbook_url"]
    return url.removeprefix(BASE)


def headings() -> set[str]:
    """The anchors of the README's sections."""
    text = re.sub(r"^```.*?^```$", "", README.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in titles}


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel of a dashboard that shows something."""

    title: str
    description: str
    queries: tuple[str, ...]
    row: str


def dashboard() -> Json:
    """The one dashboard."""
    (path,) = DASHBOARDS
    found: Json = json.loads(path.read_text("utf-8"))
    return found


def panels() -> list[Panel]:
    """Its panels, in their order."""
    found, row = [], ""
    for one in dashboard()["panels"]:
        if one["type"] == "row":
            row = one["title"]
        else:
            queries = tuple(target["expr"] for target in one["targets"])
            found.append(Panel(one["title"], one["description"], queries, row))
    return found


def filled_in(query: str, span: str) -> str:
    """A query with what Grafana would put in for all namespaces and syncs."""
    query = query.replace("$namespace", ".*").replace("$sync", ".*")
    return query.replace("$__rate_interval", span)


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric in a query, with the labels that are asked of it there."""

    metric: str
    labels: frozenset[str]


def selectors(query: str) -> Iterator[Selector]:
    """The metrics that a query names."""
    bare = re.sub(r'"[^"]*"', '""', query)
    grouping = re.compile(r"\b(by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)")
    for name, matchers in re.findall(
        r"\b([a-zA-Z_]\w*)\b(?!\s*\()(\{[^}]*\})?", re.sub(r"\[\w+\]", "", grouping.sub("", bare))
    ):
        if name not in _WORDS and not name.startswith("__"):
            labels = frozenset(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
            yield Selector(name, labels)


def groupings(query: str) -> set[str]:
    """The labels by which a query groups or matches."""
    lists = re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", query)
    return {label.strip() for one in lists for label in one.split(",")}


def vocabulary() -> dict[str, frozenset[str]]:
    """Every series that there can be, by name, with its labels."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    known: dict[str, frozenset[str]] = {"up": _TARGET}
    for one in metrics.families:
        endings = ("_bucket", "_sum", "_count") if one.kind == "histogram" else ("",)
        for ending in endings:
            more = {"le"} if ending == "_bucket" else set()
            known[f"{one.name}{ending}"] = _TARGET | frozenset(one.labels) | more
    for collector in list(metrics.registry._collector_to_names):
        if isinstance(collector, MetricWrapperBase):
            known[collector._name] = _TARGET | frozenset(collector._labelnames)
        else:
            for family in collector.collect():
                for sample in family.samples:
                    known[sample.name] = _TARGET | frozenset(sample.labels)
    return known
