"""Traces as a collector gets them: what is in them, what never is, and that they are in no way.

The collector is a real receiver of OTLP over HTTP on loopback.
"""

import itertools
import json
import subprocess
import sys
import time
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
    free_port,
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


# -- off -------------------------------------------------------------------------------------------

# Runs a command and lists what is loaded at its end, in this process and in its cycles' processes.
_LISTED = """
import sys
from metronome_salesforce import cli, handlers
code = cli.run(sys.argv[1:])
print("loaded:", *(name for name in sys.modules if name.startswith("opentelemetry")))
sys.exit(code)
"""


@pytest.mark.parametrize(
    "switch",
    [
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_SDK_DISABLED": "true"},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    ],
    ids=lambda one: next(iter(one)),
)
def test_off_means_that_nothing_is_loaded_and_nobody_called(
    switch: dict[str, str], tmp_path: Path
) -> None:
    with company() as one, collector() as receiver:
        done = subprocess.run(
            [sys.executable, "-c", _LISTED, "sync", "-f", manifests(one, tmp_path)],
            env={**SETTINGS, **receiver.environment(), **switch},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded:"
    assert receiver.headers == []


def test_a_cycle_s_process_loads_nothing_either() -> None:
    """Its imports are listed by Python itself."""
    with company() as one:
        sync = sync_manifest("acme", one.spec())
        sync["metadata"] |= {"namespace": "default", "uid": "u"}
        request = {
            "sync": sync, "runId": "r", "trigger": "Requested", "full": False, "dryRun": False,
            "lastSuccess": None, "apiKey": one.api_key, "credentials": one.credentials,
            "caBundle": one.ca_pem, "traceparent": None,
        }  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-X", "importtime", "-m", "metronome_salesforce", "cycle-worker"],
            env=SETTINGS,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        with process:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            imported = process.stderr.read()
            last = process.stdout.read().splitlines()[-1]

    assert json.loads(last)["report"]["outcome"] == "Succeeded"
    assert "metronome_salesforce.tracing" in imported
    assert "opentelemetry" not in imported


# -- collectors on bad days ------------------------------------------------------------------------


def lines_about_traces(log: str) -> list[str]:
    lines = [json.loads(line) for line in log.splitlines()]
    return [line["message"] for line in lines if line["message"].startswith("traces: ")]


@pytest.mark.parametrize("trouble", ["down", "refusing", "hanging"])
def test_a_collector_in_trouble_is_in_nobody_s_way(trouble: str, tmp_path: Path) -> None:
    """Cycles succeed, the operator ends in time, and its log says it in a line or two."""
    with company() as acme, cluster_in(tmp_path) as cluster, collector() as receiver:
        environment = receiver.environment()
        if trouble == "down":
            environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{free_port()}"
        elif trouble == "refusing":
            receiver.status = 503
        else:
            receiver.hanging.set()
        operator = Operator(cluster, tmp_path / "log", quick=True, environment=environment)
        with operator, Space.new(cluster, operator, wait=False) as space:
            space.start(acme)
            status = space.wait_for_run()
            space.request("again")
            started = time.monotonic()
            assert operator.stop() == 0
            took = time.monotonic() - started
        log = operator.log_text()

    assert status["lastRun"]["outcome"] == "Succeeded"
    assert took < 8
    said = lines_about_traces(log)
    # One for each of the two cycles' processes, and of the operator's own one or two.
    assert 1 <= len(said) <= 4, said
    assert "Traceback" not in log
    assert "opentelemetry" not in log


def test_a_run_of_the_command_waits_little_for_its_collector(tmp_path: Path) -> None:
    with company() as one, collector() as receiver:
        receiver.hanging.set()
        file = manifests(one, tmp_path)
        started = time.monotonic()
        run_cli("sync", "-f", file)
        without = time.monotonic() - started
        started = time.monotonic()
        done = run_cli("sync", "-f", file, environment=SETTINGS | receiver.environment())
        took = time.monotonic() - started

    assert done.returncode == 0
    assert took < without + 6
    (said,) = lines_about_traces(done.stderr)
    assert said == "traces: the collector did not take the last spans in 2 s; they are lost"


def test_a_token_that_is_refused_is_told_by_its_status(tmp_path: Path) -> None:
    with company() as one, collector() as receiver:
        receiver.status = 401
        file = manifests(one, tmp_path)
        done = run_cli("sync", "-f", file, environment=SETTINGS | receiver.environment())

    assert done.returncode == 0
    (said,) = lines_about_traces(done.stderr)
    assert "(HTTP 401), which are lost; everything else goes on. Check OTEL_EXPORTER" in said


def test_spans_that_are_too_many_are_counted(tmp_path: Path) -> None:
    """The queue holds what it holds, and a cycle does not wait for room."""
    with company() as one, collector() as receiver:
        environment = receiver.environment(
            OTEL_BSP_SCHEDULE_DELAY="60000",
            OTEL_BSP_MAX_QUEUE_SIZE="10",
            OTEL_BSP_MAX_EXPORT_BATCH_SIZE="10",
        )
        receiver.delay = 0.3
        file = manifests(one, tmp_path)
        done = run_cli("sync", "-f", file, environment=SETTINGS | environment)
        received = len(receiver.spans())

    assert done.returncode == 0
    (said,) = lines_about_traces(done.stderr)
    lost, of = (int(word) for word in said.split() if word.isdecimal())
    assert lost + received == of
    assert "raise OTEL_BSP_MAX_QUEUE_SIZE" in said


# -- settings that cannot work ---------------------------------------------------------------------

_WITHOUT_EXTRA = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
from metronome_salesforce.cli import run
sys.exit(run(sys.argv[1:]))
"""
URL = "http://user:s3cr3t@127.0.0.1:9"
WRONG = [
    (
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        "OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf, the only protocol that is spoken,",
    ),
    (
        {
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json",
        },
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL must be http/protobuf",
    ),
    (
        {"OTEL_TRACES_EXPORTER": "console"},
        "OTEL_TRACES_EXPORTER must be otlp, the only exporter that is known, or none.",
    ),
    (
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318/s3cr3t"},
        "OTEL_EXPORTER_OTLP_ENDPOINT must be a URL such as http://collector.example.com:4318.",
    ),
    (
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://[s3cr3t"},
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT must be a URL",
    ),
    ({"OTEL_TRACES_SAMPLER": "sometimes"}, "OTEL_TRACES_SAMPLER must be one of always_off, "),
    (
        {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "10%"},
        "OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1, such as 0.1.",
    ),
    (
        {"OTEL_EXPORTER_OTLP_CERTIFICATE": "/nowhere/ca.crt"},
        "OTEL_EXPORTER_OTLP_CERTIFICATE must name a file (PEM), and there is none.",
    ),
    (
        {"OTEL_BSP_MAX_QUEUE_SIZE": "-1"},
        "a variable of the environment that begins with OTEL_BSP_ or OTEL_SPAN_ has a value",
    ),
]


@pytest.mark.parametrize(("given", "said"), WRONG)
def test_wrong_settings_are_told_in_a_sentence(
    given: dict[str, str], said: str, tmp_path: Path
) -> None:
    """Before anything is done, and without the value."""
    spec = {
        "metronome": {"apiKeySecretRef": {"name": "x"}},
        "salesforce": {
            "instanceUrl": "https://acme.my.salesforce.com",
            "credentialsSecretRef": {"name": "x"},
        },
    }
    file = written_to(tmp_path / "acme.yaml", sync_manifest("acme", spec))
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": URL, **given}
    done = run_cli("sync", "-f", str(file), environment=SETTINGS | environment)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(said)
    assert len(done.stderr.splitlines()) == 1
    assert "s3cr3t" not in done.stderr


@pytest.mark.parametrize("command", ["operator", "sync"])
def test_without_the_extra_it_is_told_what_to_install(command: str, tmp_path: Path) -> None:
    sandbox = KubernetesSandbox()
    with company() as one, sandbox.serve() as served:
        kubeconfig = sandbox.write_kubeconfig(tmp_path / "kubeconfig", served.url)
        words = ["operator", "--port", "0"] if command == "operator" else ["sync", "-f"]
        if command == "sync":
            words.append(manifests(one, tmp_path))

        def run(**more: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, "-c", _WITHOUT_EXTRA, *words],
                env={**SETTINGS, "KUBECONFIG": str(kubeconfig), **more},
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )

        asked = run(OTEL_EXPORTER_OTLP_ENDPOINT=URL)
        done = run() if command == "sync" else None

    assert asked.returncode == 2
    assert "OTEL_EXPORTER_OTLP_ENDPOINT asks for traces, and OpenTelemetry is not" in asked.stderr
    assert "pip install 'metronome-salesforce-operator[otel]'" in asked.stderr
    assert len(asked.stderr.splitlines()) == 1
    # Without the variable it is not missed.
    assert done is None or done.returncode == 0
