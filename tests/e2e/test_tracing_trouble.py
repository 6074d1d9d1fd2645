"""Tracing that is off, that cannot work, and collectors on bad days: in nobody's way.

See `test_tracing` for what is sent on good ones.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from metronome_salesforce.sandbox.kubernetes import KubernetesSandbox
from tests.e2e.collector import collector
from tests.e2e.suite import (
    SETTINGS,
    Operator,
    Space,
    company,
    free_port,
    run_cli,
    sync_manifest,
)
from tests.e2e.test_cli_sync import written_to
from tests.e2e.test_tracing import cluster_in, manifests

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
    """Nor what else it has no use for. Its imports are listed by Python itself."""
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
    assert "kubernetes" not in imported, "which is for the operator, and takes 6 MiB"


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
        "one of OpenTelemetry's variables of the environment (OTEL_…) has a value that it does",
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
    for command in (["sync"], ["plan", "--output", "json"]):
        done = run_cli(*command, "-f", str(file), environment=SETTINGS | environment)

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
