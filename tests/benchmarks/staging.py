"""What every benchmark plays on: services and operator as processes, one MetronomeSync, its cycles.

The emulated Metronome, Salesforce and Kubernetes API have processes of their own, so that they take
nothing from the operator but a share of the CPUs, and count what they answer.
"""

import json
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from metronome_salesforce.sandbox.metronome.models import API_KEY
from tests.benchmarks.cluster import SYNC, Cluster
from tests.benchmarks.processes import BenchmarkError, Operator, Service
from tests.benchmarks.servers import PROBED

_LOOK_EVERY = 0.1
_CONCLUDE_SECONDS = 60.0

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stage:
    """The services by name (metronome, salesforce, kubernetes), the cluster and the operator.

    `kubeconfig` is a file for other clients of the Kubernetes API.
    """

    services: dict[str, Service]
    cluster: Cluster
    operator: Operator
    kubeconfig: Path

    def ask_all(self) -> dict[str, Json]:
        """What the services counted since they were asked last, by name."""
        return {name: service.ask() for name, service in self.services.items()}

    def run_to_end(self, name: str, started: float, deadline: float) -> Json:
        """Wait for the end of the cycle that was asked for just now; its status.lastRun.

        Over means that the Lease is given back, too. `started` is of perf_counter, `deadline`
        seconds. Raises BenchmarkError when it is not over a minute after the deadline.
        """
        known = self.last_run(name).get("id")
        limit = deadline + _CONCLUDE_SECONDS
        while (run := self.last_run(name)).get("id") == known or not self.cluster.lease_is_free():
            if time.perf_counter() - started > limit:
                raise BenchmarkError(f"the cycle ({name}) is not over after {limit:.0f} seconds")
            time.sleep(_LOOK_EVERY)
        show("")
        return run

    def last_run(self, name: str) -> Json:
        """status.lastRun of the MetronomeSync, empty before the first; shows progress as `name`."""
        if self.operator.pid:
            status = self.cluster.sync(SYNC).get("status") or {}
        if progress := status.get("progress"):
            done, total = progress.get("done", 0), progress.get("total", "?")
            show(f"{name}: {progress['stage']} {done}/{total}")
        run: Json = status.get("lastRun") or {}
        return run


def set_up(stack: ExitStack, customers: int, *, lookback: str, deadline: int) -> tuple[Stage, Json]:
    """Start it all, to be ended by `stack`; and the spec of the MetronomeSync to be created.

    Its Secrets are there, and the suspended MetronomeSync that is there to be probed.
    """
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    services = {
        name: stack.enter_context(Service(name, customers))
        for name in ("metronome", "salesforce", "kubernetes")
    }
    kubeconfig = folder / "kubeconfig"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(json.dumps(services["kubernetes"].ask()["kubeconfig"]))
    cluster = Cluster(services["kubernetes"].url)
    operator = stack.enter_context(Operator(folder, kubeconfig))
    cluster.add_secret("metronome", {"apiKey": API_KEY})
    cluster.add_secret("salesforce", services["salesforce"].ask()["credentials"])
    # Half a day from now, so that no cycle starts but those that are asked for; and daily, because
    # the operator makes each cycle a full one when the next would be too late for that.
    hour = (datetime.now(UTC).hour + 12) % 24
    spec = {
        "schedule": f"0 {hour} * * *",
        "metronome": {
            "apiKeySecretRef": {"name": "metronome"},
            "baseUrl": services["metronome"].url,
        },
        "salesforce": {
            "instanceUrl": services["salesforce"].url,
            "credentialsSecretRef": {"name": "salesforce"},
        },
        "usage": {"lookback": lookback},
        "execution": {"activeDeadline": f"{deadline}s"},
    }
    cluster.add_sync(PROBED, {**spec, "suspend": True})
    return Stage(services, cluster, operator, kubeconfig), spec


def milliseconds(latency: Json) -> str:
    """Worst and median of `Latencies.to_json`."""
    return f"{latency['worst'] * 1000:.0f} ({latency['median'] * 1000:.0f})"


def show(text: str) -> None:
    """Progress, for people only."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{text}\x1b[K")
        sys.stderr.flush()


def say(line: str) -> None:
    """A line of the result."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
