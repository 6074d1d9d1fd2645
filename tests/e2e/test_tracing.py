"""Traces as a collector gets them: what is in them, what never is, and that they are in no way.

The collector is a real receiver of OTLP over HTTP on loopback.
"""

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from metronome_salesforce.sandbox.kubernetes import KubernetesSandbox
from tests.e2e.collector import CLIENT, Collector, Seen, Trace, collector
from tests.e2e.suite import (
    KEYS,
    SETTINGS,
    Cluster,
    Company,
    Json,
    Operator,
    Space,
    company,
    made_up,
    references,
    run_cli,
    secret_manifest,
    secret_value,
    sync_manifest,
)
from tests.e2e.suite_links import link_manifest, wait_link
from tests.e2e.test_cli_sync import written_to

CYCLE, LINKS = "sync cycle", "link customers"
OURS = "metronome_salesforce."


@contextmanager
def cluster_in(folder: Path) -> Iterator[Cluster]:
    """The embedded Kubernetes API with the CRDs."""
    sandbox = KubernetesSandbox()
    with sandbox.serve() as served:
        kubeconfig = sandbox.write_kubeconfig(folder / "kubeconfig", served.url)
        cluster = Cluster("embedded", kubeconfig, folder, sandbox.requests)
        try:
            cluster.install_crds()
            yield cluster
        finally:
            cluster.close()


def manifests(one: Company, folder: Path) -> str:
    """A file with a MetronomeSync and all that it refers to."""
    documents = [*references(one), sync_manifest("acme", one.spec())]
    return str(written_to(folder / "acme.yaml", *documents))


def ours(one: Seen) -> Json:
    """What a span tells in our own words."""
    return {
        name.removeprefix(OURS): value
        for name, value in one.attributes.items()
        if name.startswith(OURS)
    }


def is_within(inner: Seen, outer: Seen) -> bool:
    return outer.start <= inner.start <= inner.end <= outer.end


# -- an operator's traces --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Told:
    """What a collector was sent while an operator ran a few cycles and moved a customer."""

    receiver: Collector
    lines: list[Json]
    log: str
    content: set[str]
    token: str


@pytest.fixture(name="told", scope="module")
def _told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    folder = tmp_path_factory.mktemp("tracing")
    token, unreadable = secret_value("otlp-token"), secret_value("otlp-unreadable")
    with company() as acme, cluster_in(folder) as cluster, collector() as receiver:
        environment = receiver.environment(
            OTEL_EXPORTER_OTLP_HEADERS=f"Authorization=Bearer%20{token},{unreadable}",
            POD_NAME="pod-1",
        )
        operator = Operator(cluster, folder / "log", quick=True, environment=environment)
        with operator:
            with Space.new(cluster, operator) as space:
                _live_through(space, acme)
                content = content_of(acme)
            assert operator.stop() == 0
        log = operator.log_text()
    return Told(receiver, [json.loads(line) for line in log.splitlines()], log, content, token)


def _live_through(space: Space, acme: Company) -> None:
    _, second, _ = acme.tenant.customers()
    account = acme.org.insert("Account", {"Name": "Kestrel Freight Holding"})
    acme.metronome.faults.add("GET /v1/plans", status=500, times=1, body={"message": "Kestrel"})
    acme.salesforce.faults.add("GET /services/data/*/limits", status=503, times=1)
    space.start(acme)
    space.wait_for_run()
    space.request("quiet")
    space.apply(link_manifest("one", second["id"], account))
    wait_link(space, "one")
    space.apply(secret_manifest("acme-metronome", {"apiKey": secret_value("wrong-key")}))
    space.request("wrong-key")


def content_of(one: Company) -> set[str]:
    """Ids, names and keys of all that was synced, and the addresses of both services."""
    customers = one.tenant.customers()
    found = {customer["id"] for customer in customers} | {one["name"] for one in customers}
    found |= {alias for customer in customers for alias in customer["ingest_aliases"]}
    for sobject, key in KEYS.items():
        rows = one.org.rows(sobject)
        assert rows
        found |= {row[key] for row in rows} | {row["Id"] for row in rows}
    accounts = one.org.rows("Account")
    found |= {row["Id"] for row in accounts} | {row["Name"] for row in accounts}
    found |= {one.metronome_url, one.salesforce_url, "127.0.0.1", "localhost"}
    found |= {"SELECT", "/services/", "/v1/", "Kestrel", *one.session_tokens()}
    return found


def cycles(told: Told) -> list[Trace]:
    return told.receiver.traces(CYCLE)


def stages(trace: Trace) -> list[str]:
    return [one.name for one in trace.below(trace.only("run cycle"))]


def test_a_cycle_is_one_trace_from_the_operator_to_each_request(told: Told) -> None:
    """The operator's span, its child's below it, one for each stage, one for each request."""
    first = cycles(told)[0]
    root, child = first.root, first.only("run cycle")

    assert root.name == CYCLE
    assert [child] == first.below(root)
    assert is_within(child, root)
    assert stages(first)[:3] == ["preflight", "observe Customer", "customers"]
    assert {"fetch", "compare", "write Invoice", "write Usage"} <= set(stages(first))
    assert stages(first)[-1] == "report"
    below = first.below(child)
    assert all(one.end <= later.start for one, later in itertools.pairwise(below))
    calls = [one for one in first.spans if one.kind == CLIENT]
    assert {one.parent for one in calls} <= {one.id for one in below}
    assert 2 + len(below) + len(calls) == len(first.spans)
    fetch = first.below(first.only("fetch"))
    names = {"metronome plans", "metronome invoices", "metronome credits", "metronome usage"}
    assert names == {one.name for one in fetch}


def test_a_trace_tells_which_run_it_was_and_how_it_ended(told: Told) -> None:
    """By the words of log, status and metrics."""
    root = cycles(told)[0].root
    (ended,) = (
        line
        for line in told.lines
        if line["message"].startswith("cycle ended") and line["trace_id"] == root.trace
    )

    found = ours(root)
    assert found["run"] == ended["run"]
    assert found["sync"] == ended["sync"]
    assert (found["trigger"], found["full"], found["dry_run"]) == ("Created", True, False)
    assert (found["outcome"], found["reason"]) == ("Succeeded", "Succeeded")
    assert (found["customers.total"], found["rows.Customer.created"]) == (3, 3)
    assert root.error is None
    assert root.resource["service.name"] == "metronome-salesforce-operator"
    assert root.resource["service.version"] == "0.1.0"
    assert root.resource["k8s.pod.name"] == "pod-1"


def test_lines_of_a_run_lead_to_its_trace(told: Told) -> None:
    """Those of the child's process, too; lines of no run have no trace."""
    by_run = {ours(trace.root)["run"]: trace.root.trace for trace in cycles(told)}
    lines = [line for line in told.lines if "run" in line]

    assert {line["run"] for line in lines} == set(by_run)
    assert all(line["trace_id"] == by_run[line["run"]] for line in lines)
    assert any(line["logger"].endswith("retrying") for line in lines)


def test_requests_tell_kind_and_status_and_no_address(told: Told) -> None:
    """And nothing else at all."""
    calls = [one for one in told.receiver.spans() if one.kind == CLIENT]

    known = {"http.request.method", "http.response.status_code", "peer.service", "error.type"}
    assert known == {name for one in calls for name in one.attributes}
    systems = {one.name.split(" ")[0] for one in calls}
    assert systems == {one.attributes["peer.service"] for one in calls} == {
        "metronome", "salesforce",
    }  # fmt: skip
    assert {"salesforce oauth", "salesforce query", "salesforce collections"} <= {
        one.name for one in calls
    }


def test_failed_requests_and_their_repetition_are_seen(told: Told) -> None:
    first = cycles(told)[0]
    failed = [one for one in first.spans if one.kind == CLIENT and one.error is not None]

    assert {(one.name, one.error) for one in failed} == {
        ("metronome plans", "500"), ("salesforce limits", "503"),
    }  # fmt: skip
    assert {one.attributes["http.response.status_code"] for one in failed} == {500, 503}
    retries = [
        (one.name, told[f"{OURS}reason"], told[f"{OURS}attempt"])
        for one in first.spans
        for name, told in one.events
        if name == "retry"
    ]
    assert sorted(retries) == [
        ("fetch", "MetronomeUnavailable", 1), ("preflight", "SalesforceUnavailable", 1),
    ]  # fmt: skip


def test_a_quiet_cycle_has_no_stage_that_writes(told: Told) -> None:
    quiet = cycles(told)[1]

    assert ours(quiet.root)["trigger"] == "Requested"
    assert [name for name in stages(quiet) if name.startswith("write")] == []
    assert {"preflight", "fetch", "compare", "report"} <= set(stages(quiet))


def test_a_failed_cycle_says_why_in_one_word(told: Told) -> None:
    """The cycle, its process, the stage and the request."""
    last = cycles(told)[-1]
    failed = [one for one in last.spans if one.error is not None]

    reason = "MetronomePermissionDenied"
    assert [one.error for one in (last.root, last.only("run cycle"))] == [reason] * 2
    assert ours(last.root)["outcome"] == "Failed"
    assert {(one.name, one.error) for one in failed if one.parent} == {
        ("run cycle", reason), ("customers", reason), ("metronome customers", "403"),
    }  # fmt: skip
    assert all(one.attributes["error.type"] == one.error for one in failed)


def test_a_link_is_a_trace_too(told: Told) -> None:
    """The move of one customer, in the operator's own process."""
    moved = [one for one in told.receiver.traces(LINKS) if "rows.Invoice.moved" in ours(one.root)]

    (trace,) = moved
    found = ours(trace.root)
    assert (found["outcome"], found["customers.total"]) == ("Succeeded", 1)
    assert found["rows.Invoice.moved"] > 0
    names = [one.name for one in trace.below(trace.root)]
    assert {"observe Customer", "move Invoice", "compare", "write Invoice"} <= set(names)
    assert "salesforce collections" in {
        one.name for one in trace.below(trace.only("write Invoice"))
    }
    assert all(one.root.name in {CYCLE, LINKS} for one in told.receiver.traces(CYCLE))


def test_the_watch_over_an_org_makes_no_traces(told: Told) -> None:
    """A query each minute for each org would be all that anybody sees."""
    roots = {one.name for one in told.receiver.spans() if not one.parent}

    assert roots == {CYCLE, LINKS}


def test_nothing_of_customers_and_no_secret_is_sent(told: Told) -> None:
    sent = b"\n".join(told.receiver.bodies)

    assert len(told.content) > 100
    found = {text for text in (*told.content, *made_up) if text.encode() in sent}
    assert found == set()


def test_the_collector_s_token_is_in_each_request_and_in_no_line(told: Told) -> None:
    """A header that cannot be read is left out, and not quoted either."""
    given = {headers.get("authorization") for headers in told.receiver.headers}

    assert given == {f"Bearer {told.token}"}
    assert [text for text in made_up if text in told.log] == []


# -- the command line ------------------------------------------------------------------------------


def test_sync_from_files_makes_the_same_trace(tmp_path: Path) -> None:
    """Below the span of the script that runs it, if that has one."""
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with company() as one, collector() as receiver:
        file = manifests(one, tmp_path)
        plain = run_cli("sync", "-f", file, environment=SETTINGS | receiver.environment())
        inside = receiver.environment(TRACEPARENT=parent, OTEL_SERVICE_NAME="billing")
        traced = run_cli("sync", "-f", file, environment=SETTINGS | inside)
        first, second = receiver.traces(CYCLE)

    assert [done.returncode for done in (plain, traced)] == [0, 0], plain.stderr + traced.stderr
    assert (first.root.name, first.root.parent) == (CYCLE, "")
    assert first.root.resource["service.name"] == "metronome-salesforce-operator"
    assert {"preflight", "fetch", "compare", "write Invoice", "report"} <= set(stages(first))
    assert second.root.resource["service.name"] == "billing"
    assert [second.root.trace, second.root.parent] == parent.split("-")[1:3]


def test_a_plan_that_fails_is_a_trace(tmp_path: Path) -> None:
    with company() as one, collector() as receiver:
        one.metronome.faults.add("GET /v1/customers", status=403, body={"message": "no"})
        file = manifests(one, tmp_path)
        done = run_cli("plan", "-f", file, environment=SETTINGS | receiver.environment())
        (trace,) = receiver.traces(CYCLE)

    assert done.returncode == 1
    assert trace.root.error == "MetronomePermissionDenied"
    assert ours(trace.root)["dry_run"] is True


def test_cycles_that_are_not_sampled_are_not_told(tmp_path: Path) -> None:
    """And their log lines lead nowhere."""
    with company() as one, collector() as receiver:
        one.metronome.faults.add("GET /v1/plans", status=500, times=1)
        environment = receiver.environment(OTEL_TRACES_SAMPLER="always_off")
        done = run_cli("sync", "-f", manifests(one, tmp_path), environment=SETTINGS | environment)

    assert done.returncode == 0, done.stderr
    assert receiver.headers == []
    assert "attempt 1 of" in done.stderr
    assert "trace_id" not in done.stderr
