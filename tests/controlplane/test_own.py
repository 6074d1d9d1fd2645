"""What a control plane of our own can do, and a cluster that belongs to someone must not suffer."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.controlplane.build import ControlPlaneError
from tests.controlplane.launch import ControlPlane
from tests.kubectl import kubectl_path

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

ROOT = Path(__file__).resolve().parents[2]


def kubectl(plane: ControlPlane, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [kubectl_path(), f"--kubeconfig={plane.kubeconfig}", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture(name="plane", scope="module")
def _plane() -> Iterator[ControlPlane]:
    with ControlPlane(audit=True) as plane:
        yield plane


def test_killed_apiserver_refuses_and_a_restarted_one_remembers(plane: ControlPlane) -> None:
    kubectl(plane, "create", "configmap", "kept", "--from-literal=key=value")

    plane.kill_apiserver()
    while_dead = kubectl(plane, "get", "configmap", "kept")
    plane.restart_apiserver()
    afterwards = kubectl(plane, "get", "configmap", "kept", "-o", "json")

    assert while_dead.returncode == 1
    assert "refused" in while_dead.stderr
    assert json.loads(afterwards.stdout)["data"] == {"key": "value"}


def test_restart_of_a_living_apiserver_keeps_address_and_data(plane: ControlPlane) -> None:
    kubectl(plane, "create", "configmap", "lasting", "--from-literal=key=value")
    url = plane.url

    plane.restart_apiserver()

    assert plane.url == url
    assert kubectl(plane, "get", "configmap", "lasting").returncode == 0


def test_audit_log_tells_verb_user_and_refusal(plane: ControlPlane) -> None:
    kubectl(plane, "get", "secrets", "--as=system:serviceaccount:default:curious")

    events = [
        event
        for event in plane.audit_events()
        if event.get("impersonatedUser", {}).get("username")
        == ("system:serviceaccount:default:curious")
        and event.get("objectRef", {}).get("resource") == "secrets"
    ]

    assert {event["verb"] for event in events} == {"list"}
    assert {event["responseStatus"]["code"] for event in events} == {403}


def test_service_account_tokens_are_issued_and_accepted(plane: ControlPlane) -> None:
    kubectl(plane, "create", "serviceaccount", "robot")
    token = kubectl(plane, "create", "token", "robot").stdout.strip()

    who = kubectl(plane, f"--token={token}", "auth", "whoami", "-o", "json")

    assert who.returncode == 0, who.stderr
    username = json.loads(who.stdout)["status"]["userInfo"]["username"]
    assert username == "system:serviceaccount:default:robot"


def test_audit_without_asking_for_it_is_refused() -> None:
    with pytest.raises(ControlPlaneError, match="audit=True"):
        ControlPlane().audit_events()


def test_servers_end_when_the_test_run_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill -9 of a test run leaves neither etcd nor an API server behind."""
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    script = (
        "import time\n"
        "from tests.controlplane.launch import ControlPlane\n"
        "with ControlPlane() as plane:\n"
        "    print(plane._etcd.pid, plane._apiserver.pid, flush=True)\n"
        "    time.sleep(600)\n"
    )
    run = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE)
    assert run.stdout is not None
    with run.stdout:
        pids = [int(pid) for pid in run.stdout.readline().split()]
    assert len(pids) == 2

    run.kill()
    run.wait()

    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline, f"still running: {pids}"
        time.sleep(0.1)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # An orphan that nobody has waited for yet is dead all the same.
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"
