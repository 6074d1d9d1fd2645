"""A small kopf operator, in a process of its own, on the sandbox."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from metronome_salesforce.sandbox.kubernetes import KubernetesSandbox, Match
from tests.sandbox.kubernetes.conftest import WIDGETS_PATH, definition, widget

MERGE = {"Content-Type": "application/merge-patch+json"}
ONE = f"{WIDGETS_PATH}/one"
CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com"

OPERATOR = """
import kopf

@kopf.on.startup()
def configure(settings, **_):
    settings.networking.error_backoffs = [0.1] * 50
    settings.watching.reconnect_backoff = 0.1
    settings.watching.inactivity_timeout = 3

@kopf.on.create("widgets")
def created(patch, body, **_):
    patch.status["phase"] = "created"
    kopf.info(body, reason="Made", message="made it")

@kopf.on.update("widgets", field="spec")
def updated(patch, spec, **_):
    patch.status["phase"] = f"size {spec['size']}"

@kopf.on.delete("widgets")
def deleted(body, **_):
    kopf.info(body, reason="Gone", message="let go")

@kopf.timer("widgets", interval=0.2, when=lambda spec, **_: spec.get("color") == "blue")
def tick(patch, status, **_):
    patch.status["conditions"] = [{"type": "Ready", "status": "True"}]
"""


@pytest.fixture(name="operator")
def _operator(
    kubeconfig: Path, sandbox: KubernetesSandbox, tmp_path: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """The operator, running and watching; it must stop by itself at the end."""
    path = tmp_path / "operator.py"
    path.write_text(OPERATOR)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "KUBECONFIG": str(kubeconfig),
        "LOGNAME": "tests",
    }
    command = [sys.executable, "-m", "kopf", "run", "--all-namespaces", "--standalone", str(path)]
    log = tmp_path / "operator.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        try:
            until(lambda: sandbox.open_watches("widgets") == 1, "the operator watches")
            yield process
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()


def until(holds: Callable[[], object], what: str, seconds: float = 15.0) -> None:
    """Wait until `holds()`; fails with `what` after some seconds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not in time: {what}"
        time.sleep(0.02)


def phase(sandbox: KubernetesSandbox) -> Any:
    return sandbox.get("widgets", "one").get("status", {}).get("phase")


@pytest.mark.usefixtures("operator")
def test_kopf_creates_updates_and_deletes(http: httpx.Client, sandbox: KubernetesSandbox) -> None:
    http.post(WIDGETS_PATH, json=widget())
    until(lambda: phase(sandbox) == "created", "creation is handled")
    assert sandbox.get("widgets", "one")["metadata"]["finalizers"] != []

    http.patch(ONE, json={"spec": {"size": 5}}, headers=MERGE)
    until(lambda: phase(sandbox) == "size 5", "the update is handled")
    assert sandbox.get("widgets", "one")["metadata"]["generation"] == 2

    http.patch(ONE, json={"spec": {"color": "blue"}}, headers=MERGE)
    until(lambda: sandbox.get("widgets", "one")["status"].get("conditions"), "the timer has ticked")
    assert http.delete(ONE).json()["metadata"]["deletionTimestamp"] == "2026-03-01T12:00:00Z"
    until(lambda: sandbox.objects("widgets") == [], "the finalizer is taken off")
    until(lambda: len(sandbox.events_of("one")) == 2, "both events are there")
    assert [event["reason"] for event in sandbox.events_of("one")] == ["Made", "Gone"]


@pytest.mark.usefixtures("operator")
def test_kopf_outlives_a_bad_day(http: httpx.Client, sandbox: KubernetesSandbox) -> None:
    """Watches that close, expire or freeze, errors on writes: all is handled in the end."""
    sandbox.faults.add(Match("patch", "widgets"), status=500, times=2)
    sandbox.faults.add(Match("list", "widgets"), status=503, times=2)
    sandbox.faults.add(Match("watch", "widgets"), status=410, times=1)
    sandbox.faults.close_watches()
    http.post(WIDGETS_PATH, json=widget())
    until(lambda: phase(sandbox) == "created", "creation is handled")

    sandbox.faults.freeze_watches("widgets")
    http.patch(ONE, json={"spec": {"size": 5}}, headers=MERGE)
    watches = len(sandbox.requests.calls(Match("watch", "widgets")))
    until(
        lambda: len(sandbox.requests.calls(Match("watch", "widgets"))) > watches,
        "a silent watch is given up",
    )
    sandbox.faults.thaw_watches()
    until(lambda: phase(sandbox) == "size 5", "the update is handled")


@pytest.mark.usefixtures("operator")
def test_kopf_follows_a_definition_that_comes_back(
    http: httpx.Client, sandbox: KubernetesSandbox
) -> None:
    http.delete(CRD)
    until(lambda: sandbox.open_watches("widgets") == 0, "the watch has ended")
    sandbox.install_crd(definition())
    until(lambda: sandbox.open_watches("widgets") == 1, "the operator watches again")
    http.post(WIDGETS_PATH, json=widget())
    until(lambda: phase(sandbox) == "created", "creation is handled")
