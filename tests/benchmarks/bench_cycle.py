"""What a cycle costs: time, memory of child and parent, API calls of both services, rows written.

Three cycles of the real child process against light customers (two metrics, few lines): the first,
a quiet second, and one after a day. The services run in processes of their own. Figures of a busy
machine vary; CPU time, calls, rows and the ratios between the cycles do not.
"""

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from metronome_salesforce.execution.child import Progress, run_child
from metronome_salesforce.report import CycleReport

API_KEY = "metronome-sandbox-key"
ROOT = Path(__file__).resolve().parents[2]
_PAGE = 1024


class Service:
    """One emulated service; a context manager that ends its process."""

    def __init__(self, name: str, customers: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.servers", name, str(customers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.url: str = self._read()["url"]

    def ask(self, **command: float) -> dict[str, Any]:
        """Send a command and return the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@dataclass(frozen=True, slots=True)
class Measured:
    """One cycle: seconds of the wall clock and of the child's CPU, bytes, and its report."""

    name: str
    wall: float
    cpu: float
    child_peak: int
    parent_peak: int
    report: CycleReport
    written: dict[str, int]


class _Watch(threading.Thread):
    """Looks at the peak memory of the youngest child process while it runs (Linux only)."""

    def __init__(self) -> None:
        super().__init__(name="watch", daemon=True)
        self.peak = 0
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.1):
            for pid in _children():
                if b"cycle-worker" in _read_bytes(f"/proc/{pid}/cmdline"):
                    self.peak = max(self.peak, _peak(pid))

    def end(self) -> int:
        self._over.set()
        self.join()
        return self.peak


def _children() -> list[str]:
    found: list[str] = []
    for task in Path("/proc/self/task").glob("*/children"):
        found += _read_bytes(task).decode().split()
    return found


def _peak(pid: str | int) -> int:
    for line in _read_bytes(f"/proc/{pid}/status").splitlines():
        if line.startswith(b"VmHWM:"):
            return int(line.split()[1]) * _PAGE
    return 0


def _read_bytes(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:  # it has just ended
        return b""


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark; 0 when every cycle succeeded."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--customers", type=int, default=10_000)
    parser.add_argument("--lookback", default="34d", help="spec.usage.lookback")
    parser.add_argument("--deadline", type=float, default=3600, help="seconds for each cycle")
    options = parser.parse_args(arguments)
    os.environ["METRONOME_SALESFORCE_ALLOWED_HOSTS"] = "127.0.0.1"
    os.environ["METRONOME_SALESFORCE_ALLOW_HTTP"] = "true"
    return asyncio.run(_bench(options))


async def _bench(options: argparse.Namespace) -> int:
    _say(f"{options.customers} light customers, usage of {options.lookback}, {os.cpu_count()} CPUs")
    with (
        Service("metronome", options.customers) as metronome,
        Service("salesforce", options.customers) as salesforce,
    ):
        request = _request(metronome, salesforce, options)
        results = []
        for name in ("first", "quiet", "a day later"):
            if name == "a day later":
                metronome.ask(days=1)
            result = await _cycle(name, request, options.deadline, salesforce)
            request["lastSuccess"] = result.report.started_at
            results.append(result)
            _tell(result)
            if result.report.outcome != "Succeeded":
                return 1
    _say("")
    first, quiet, day = results
    _say(
        f"CPU of the child, against the first: quiet {quiet.cpu / first.cpu:.2f}, "
        f"a day later {day.cpu / first.cpu:.2f}"
    )
    return 0


def _request(
    metronome: Service, salesforce: Service, options: argparse.Namespace
) -> dict[str, Any]:
    spec = {
        "metronome": {"apiKeySecretRef": {"name": "metronome"}, "baseUrl": metronome.url},
        "salesforce": {
            "instanceUrl": salesforce.url,
            "credentialsSecretRef": {"name": "salesforce"},
        },
        "usage": {"lookback": options.lookback},
    }
    return {
        "sync": {
            "apiVersion": "metronome-salesforce.dev/v1alpha1",
            "kind": "MetronomeSync",
            "metadata": {"name": "benchmark", "namespace": "default"},
            "spec": spec,
        },
        "apiKey": API_KEY,
        "credentials": salesforce.ask()["credentials"],
        "caBundle": None,
        "runId": "benchmark",
        "trigger": "Requested",
        "full": False,
        "dryRun": False,
        "lastSuccess": None,
    }


async def _cycle(
    name: str, request: dict[str, Any], deadline: float, salesforce: Service
) -> Measured:
    watch = _Watch()
    watch.start()
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    report = await run_child(request, on_progress=_show, deadline=deadline)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(
        name, wall, cpu, watch.end(), _peak(os.getpid()), report, salesforce.ask()["written"]
    )


def _show(progress: Progress) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{progress.stage} {progress.done}/{progress.total or '?'}\x1b[K")


def _tell(one: Measured) -> None:
    kinds: Counter[str] = Counter()
    for name, count in one.written.items():
        kinds[name.split()[1]] += count
    calls = one.report.api_requests
    _say("")
    _say(f"{one.name}: {one.report.outcome}, {one.report.message}")
    _say(f"  wall {one.wall:.1f} s, CPU of the child {one.cpu:.1f} s")
    _say(
        f"  peak memory: child {one.child_peak / 2**20:.0f} MiB, "
        f"parent {one.parent_peak / 2**20:.0f} MiB"
    )
    _say(
        f"  API calls: Metronome {calls.get('metronome', 0)}, "
        f"Salesforce {calls.get('salesforce', 0)}"
    )
    _say(f"  rows written: {dict(kinds) or 0}")
    for name, count in sorted(one.written.items()):
        _say(f"    {name} {count}")
    looked = {name: counts.unchanged for name, counts in one.report.rows.items()}
    _say(f"  rows unchanged: {sum(looked.values())}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
