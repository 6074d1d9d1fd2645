"""What syncing many customers costs: the operator's process, its cycles, and the two services.

`metronome-salesforce operator` serves one MetronomeSync of light customers (two metrics, few lines)
on the embedded Kubernetes API: the first cycle, a quiet one on request, one after a day, and a
quiet full resync. The API and the services run in processes of their own. Figures of a busy
machine vary; CPU time, calls, rows and the ratios between the cycles do not. Linux only.

What the figures rest on is checked (the outcomes, that quiet cycles write nothing, that all sides
count the same): the exit code is 1 if any of it is not so.
"""

import argparse
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from tests.benchmarks.cluster import GROUP, SYNC, Cluster, Watch
from tests.benchmarks.processes import BenchmarkError, CpuTime
from tests.benchmarks.staging import Stage, milliseconds, say, set_up

_CUSTOMER_ROWS = "Metronome_Orphan_Customer__c insert"
_IDLE_SECONDS = 10.0
_MEBI = 2**20

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Measured:
    """One cycle: seconds, bytes and counts; `run` is status.lastRun as the operator wrote it.

    `wall` is what a person waits: from the request until the result is in the status and the Lease
    is given back. `calls` are those that the emulators answered, `written` the org's own count of
    rows by object and operation. Latencies as in `Latencies.to_json`.
    """

    name: str
    wall: float
    cpu_child: float
    cpu_operator: float
    peak_child: int
    peak_operator: int
    calls: dict[str, int]
    written: dict[str, int]
    health: Json
    reaction: Json
    run: Json

    def count(self, *kinds: str) -> int:
        """Rows that the operator says it treated so: created, updated, unchanged, ..."""
        return sum(row.get(kind, 0) for row in self.run["rows"].values() for kind in kinds)


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark; 0 when all that its figures rest on is true, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--customers", type=int, default=10_000, help="default: 10000")
    parser.add_argument("--lookback", default="34d", help="spec.usage.lookback; default: 34d")
    parser.add_argument(
        "--deadline", type=int, default=3600, help="seconds for each cycle; default: 3600"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that every process is ended
    results: Json = {
        "customers": options.customers,
        "lookback": options.lookback,
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
        "idle": {},
        "cycles": [],
        "problems": [],
    }
    try:
        _bench(options, results)
    except BenchmarkError as error:
        results["problems"].append(str(error))
    finally:
        if options.json is not None:
            options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    for problem in results["problems"]:
        say(f"NOT SO: {problem}")
    return 1 if results["problems"] else 0


def _bench(options: argparse.Namespace, results: Json) -> None:
    """Run everything and fill `results` as it comes; raises BenchmarkError when it cannot go on."""
    say(f"{options.customers} light customers, usage of {options.lookback}, {os.cpu_count()} CPUs")
    with ExitStack() as stack:
        stage, spec = set_up(
            stack, options.customers, lookback=options.lookback, deadline=options.deadline
        )
        services, cluster, operator = stage.services, stage.cluster, stage.operator
        bench = _Bench(stage, options.deadline)
        results["idle"] = bench.idle()
        cycles: list[Measured] = []
        for name, ask in (
            ("first", lambda: cluster.add_sync(SYNC, spec)),
            ("quiet", lambda: _annotate(cluster, "requested-at", "quiet")),
            ("a day later", lambda: _annotate(cluster, "requested-at", "day")),
            ("quiet, full", lambda: _annotate(cluster, "full-resync", "full")),
        ):
            if name == "a day later":
                services["metronome"].ask(days=1)
            one = bench.cycle(name, ask)
            cycles.append(one)
            results["cycles"].append(asdict(one))
            results["problems"] += _problems(one, options.customers)
            say(f"  {name}: {one.run['outcome']} after {one.wall:.1f} s, {one.run['message']}")
            if one.run["outcome"] != "Succeeded":
                raise BenchmarkError(f"the operator's log ends so:\n{operator.last_lines()}")
        if errors := operator.errors():
            results["problems"].append(f"the operator logged errors, such as {errors[0]}")
        if code := operator.stop():
            results["problems"].append(f"the operator ended with code {code}")
    say("\n" + _table(cycles, results["idle"]))


def _annotate(cluster: Cluster, key: str, token: str) -> None:
    cluster.patch_sync(SYNC, {"metadata": {"annotations": {f"{GROUP}/{key}": token}}})


class _Bench:
    """What all measurements share."""

    def __init__(self, stage: Stage, deadline: int) -> None:
        self._stage = stage
        self._deadline = deadline

    def idle(self) -> Json:
        """What the operator takes while nothing runs but the probes: the floor of the figures."""
        before = self._stage.operator.cpu()
        with Watch(self._stage.operator, self._stage.cluster) as watch:
            time.sleep(_IDLE_SECONDS)
        used = self._stage.operator.cpu() - before
        return {
            "cpu_operator_per_second": round(used.own / _IDLE_SECONDS, 4),
            "peak_operator": self._stage.operator.peak(),
            "health": watch.health.to_json(),
            "reaction": watch.reaction.to_json(),
        }

    def cycle(self, name: str, ask: Callable[[], None]) -> Measured:
        """Ask for a cycle and measure until it is over."""
        self._stage.ask_all()  # from here on they count anew
        cpu, started = self._stage.operator.cpu(), time.perf_counter()
        with Watch(self._stage.operator, self._stage.cluster) as watch:
            ask()
            run = self._stage.run_to_end(name, started, self._deadline)
            wall = time.perf_counter() - started
            used: CpuTime = self._stage.operator.cpu() - cpu
        answers = self._stage.ask_all()
        return Measured(
            name=name,
            wall=round(wall, 3),
            cpu_child=round(used.children, 2),
            cpu_operator=round(used.own, 2),
            peak_child=watch.child_peak,
            peak_operator=self._stage.operator.peak(),
            calls={service: answer["calls"] for service, answer in answers.items()},
            written=answers["salesforce"]["written"],
            health=watch.health.to_json(),
            reaction=watch.reaction.to_json(),
            run=run,
        )


def _problems(one: Measured, customers: int) -> list[str]:
    """What is not as it has to be, in sentences."""
    written, told = sum(one.written.values()), one.count("created", "updated", "deleted")
    requests = one.run.get("apiRequests", {})
    found = [
        (one.run["outcome"] == "Succeeded", f"outcome {one.run['outcome']}: {one.run['message']}"),
        (one.count("rejected") == 0, f"{one.count('rejected')} rows were rejected"),
        (written == told, f"the org counted {written} rows, the operator {told}"),
        (one.health["failures"] == 0, f"/healthz failed: {one.health}"),
        (one.reaction["failures"] == 0, f"the operator did not react: {one.reaction}"),
        (one.peak_child > 0, "the cycle's process was never seen"),
    ]
    for system in ("metronome", "salesforce"):
        counted, said = one.calls[system], requests.get(system)
        found.append((counted == said, f"{system} answered {counted} calls, not {said}"))
    if one.name.startswith("quiet"):
        found.append((written == 0, f"{written} rows were written: {one.written}"))
        found.append((one.count("unchanged") > 0, "it looked at no row"))
    else:
        found.append((written > 0, "no row was written"))
    if one.name == "first":
        rows = one.written.get(_CUSTOMER_ROWS, 0)
        found.append((rows == customers, f"{rows} of {customers} customers were written"))
    full = one.name in {"first", "quiet, full"}
    found.append((one.run["full"] == full, f"full: {one.run['full']} and not {full}"))
    return [f"{one.name}: {sentence}" for is_so, sentence in found if not is_so]


def _table(cycles: Sequence[Measured], idle: Json) -> str:
    """The figures, a column for each cycle."""
    rows: list[tuple[str, Callable[[Measured], object]]] = [
        ("wall time, s", lambda one: f"{one.wall:.1f}"),
        ("CPU of the cycle's process, s", lambda one: f"{one.cpu_child:.1f}"),
        ("CPU of the operator's process, s", lambda one: f"{one.cpu_operator:.1f}"),
        ("peak memory of the cycle, MiB", lambda one: f"{one.peak_child / _MEBI:.0f}"),
        ("peak memory of the operator, MiB", lambda one: f"{one.peak_operator / _MEBI:.0f}"),
        ("calls to Metronome", lambda one: one.calls["metronome"]),
        ("calls to Salesforce", lambda one: one.calls["salesforce"]),
        ("calls to Kubernetes", lambda one: one.calls["kubernetes"]),
        ("rows written", lambda one: sum(one.written.values())),
        ("rows looked at, unchanged", lambda one: one.count("unchanged")),
        ("/healthz, worst (median) ms", lambda one: milliseconds(one.health)),
        ("reaction, worst (median) ms", lambda one: milliseconds(one.reaction)),
    ]
    table = tabulate(
        [[title, *(value(one) for one in cycles)] for title, value in rows],
        headers=["", *(one.name for one in cycles)],
        disable_numparse=True,
        colalign=("left", *("right" for _ in cycles)),
    )
    return f"""{table}

Memory is VmHWM of /proc: the most that was ever resident, shared libraries included; the
operator's since it was started. Reaction: from the edit of another, suspended MetronomeSync until
its status follows, through the operator's event loop; one a second. Calls are counted by the
services, rows by the org. Idle, the operator takes {idle["cpu_operator_per_second"]:.3f} s of CPU \
a second for the probes and itself,
{idle["peak_operator"] / _MEBI:.0f} MiB, and reacts within {milliseconds(idle["reaction"])} ms."""
