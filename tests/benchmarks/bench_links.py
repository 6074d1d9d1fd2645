"""What linking customers costs: one CustomerLink alone, then many that are applied in one go.

The operator's process serves one MetronomeSync on the embedded Kubernetes API. After a first cycle,
single links are applied to customers of at least 50 rows, one after the other; then, on a fresh
stage, a link for each of many customers: by parallel POSTs as fast as the API takes them, which is
faster than `kubectl apply -f FOLDER`, or by that itself (--kubectl). Time runs from the first of
them until the last link is Ready. The API and the services run in processes of their own and count
what they answer; where the rows hang is read off the org. Linux only.

The exit code is 1 if a limit is missed or a row, a record or a link is not as it has to be.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from tests.benchmarks.cluster import SYNC, LinkWatch, Watch, link_manifest
from tests.benchmarks.processes import BenchmarkError
from tests.benchmarks.staging import Stage, milliseconds, say, set_up, show
from tests.expectation import PLACED
from tests.kubectl import kubectl_path

_ALONE = 5
_ALONE_TENANT = 24
_ALONE_LOOKBACK = "34d"
_ALONE_ROWS = 50
_ALONE_SECONDS = 2.0
_MANY_SECONDS = 60.0
_CALLS = 60
_ROWS_A_CALL = 200
_SPARE = 15
"""A few customers of a tenant are odd: without usage, or archived."""
_ROWS_BUT_USAGE = 4
_METRICS = 2
_POSTING = 4
_CYCLE_SECONDS = 900
_PATIENCE = 180.0
_TOLD = 5

Json = dict[str, Any]
Links = Mapping[str, tuple[str, str]]
"""Customer and Account by the name of their link."""
Apply = Callable[[Stage, Links], None]


@dataclass(frozen=True, slots=True)
class Measured:
    """What a set of links took; seconds, and counts of who answered or stored.

    `applied` is until the last link was created, `wall` until the last was Ready. `moved` counts
    the rows that hang on the Accounts, `written` what the org wrote; `runs` are the link runs as
    (links, rows moved) of the operator's log. `kubernetes` has the operator's calls by verb and
    resource. Latencies as in `Latencies.to_json`.
    """

    links: int
    applied: float
    wall: float
    moved: int
    calls: dict[str, int]
    families: dict[str, dict[str, int]]
    written: dict[str, int]
    kubernetes: dict[str, int]
    kubernetes_failed: dict[str, int]
    most_status_patches: int
    runs: list[tuple[int, int]]
    cpu_operator: float
    health: Json
    reaction: Json

    @property
    def vendor_calls(self) -> int:
        """Calls to Salesforce and Metronome."""
        return self.calls["salesforce"] + self.calls["metronome"]

    @property
    def most_calls(self) -> int:
        """How many of these there may be."""
        return self.moved // _ROWS_A_CALL + _CALLS


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark; 0 when all limits are kept and all is as it has to be, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks links",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--links", type=int, default=1000, help="default: 1000")
    parser.add_argument("--rows", type=int, default=20, help="rows of a customer; default: 20")
    parser.add_argument("--kubectl", action="store_true", help="apply the many with kubectl")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that every process is ended
    results: Json = {
        "links": options.links,
        "rows": options.rows,
        "applied_by": "kubectl" if options.kubectl else f"{_POSTING} parallel POSTs",
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
        "alone": [],
        "problems": [],
    }
    try:
        _bench_alone(results)
        _bench_many(options, results)
    except BenchmarkError as error:
        results["problems"].append(str(error))
    finally:
        if options.json is not None:
            options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    for problem in results["problems"]:
        say(f"NOT SO: {problem}")
    return 1 if results["problems"] else 0


def _bench_alone(results: Json) -> None:
    """Apply a few links one by one, and fill `results`."""
    with ExitStack() as stack:
        stage = _after_a_cycle(stack, _ALONE_TENANT, _ALONE_LOOKBACK)
        chosen = _choose(stage, _ALONE, least=_ALONE_ROWS)
        for name, ends in chosen.items():
            one = _measure(stage, {name: ends}, _post, results["problems"])
            results["alone"].append(asdict(one))
            say(f"one link alone: {one.moved} rows, Ready after {one.wall:.2f} s")
            if one.wall > _ALONE_SECONDS:
                results["problems"].append(f"{name} was Ready after {one.wall:.1f} s only")
        results["problems"] += _ended(stage)


def _bench_many(options: argparse.Namespace, results: Json) -> None:
    """Apply many links in one go, and fill `results`."""
    days = max(1, round((options.rows - _ROWS_BUT_USAGE) / _METRICS))
    with ExitStack() as stack:
        stage = _after_a_cycle(stack, options.links + options.links // _SPARE + 12, f"{days}d")
        chosen = _choose(stage, options.links, least=options.rows // 2)
        apply = _apply_with_kubectl if options.kubectl else _post
        one = _measure(stage, chosen, apply, results["problems"])
        results["many"] = asdict(one)
        say("\n" + _table(one, results["applied_by"]))
        results["problems"] += [*_problems(one), *_ended(stage)]


def _after_a_cycle(stack: ExitStack, customers: int, lookback: str) -> Stage:
    """A stage of light customers whose first cycle is over."""
    stage, spec = set_up(stack, customers, lookback=lookback, deadline=_CYCLE_SECONDS)
    started = time.perf_counter()
    stage.cluster.add_sync(SYNC, spec)
    run = stage.run_to_end("first cycle", started, _CYCLE_SECONDS)
    after = f"{run['outcome']} after {time.perf_counter() - started:.0f} s"
    say(f"{customers} customers, usage of {lookback}: first cycle {after}")
    if run["outcome"] != "Succeeded":
        raise BenchmarkError(f"the operator's log ends so:\n{stage.operator.last_lines()}")
    return stage


def _choose(stage: Stage, count: int, *, least: int) -> Links:
    """So many orphans with an Account each, of those who have rows enough."""
    org = stage.services["salesforce"]
    customers = org.ask(customers=1)["customers"]
    having = [id_ for id_, one in customers.items() if one["rows"] >= least]
    if len(having) < count:
        raise BenchmarkError(f"only {len(having)} customers have {least} rows")
    accounts = org.ask(accounts=count)["accounts"]
    ends = zip(having, accounts, strict=False)
    return {f"link-{number:04}": pair for number, pair in enumerate(ends)}


def _measure(stage: Stage, links: Links, apply: Apply, problems: list[str]) -> Measured:
    """Apply links and measure until all are Ready; `problems` gets what is not as it has to be."""
    runs = len(stage.operator.link_runs())
    with (
        LinkWatch(stage.cluster) as seen,
        Watch(stage.operator, stage.cluster) as watch,
    ):
        stage.ask_all()  # from here on they count anew
        cpu, started = stage.operator.cpu(), time.perf_counter()
        apply(stage, links)
        applied = time.perf_counter() - started
        missing = seen.wait(set(links), _PATIENCE)
        used = stage.operator.cpu() - cpu
        wall = max([seen.ready[name] for name in links if name in seen.ready], default=started)
        if missing:
            wall = time.perf_counter()
        answers = stage.ask_all()
    problems += [
        f"{name} is not Ready: {seen.states.get(name)}" for name in sorted(missing)[:_TOLD]
    ]
    customers = stage.services["salesforce"].ask(customers=1)["customers"]
    wrong = [sentence for name in links if (sentence := _misplaced(customers, *links[name]))]
    problems += wrong[:_TOLD]
    return Measured(
        links=len(links),
        applied=round(applied, 3),
        wall=round(wall - started, 3),
        moved=sum(customers[customer]["on_account"] for customer, _ in links.values()),
        calls={name: answer["calls"] for name, answer in answers.items()},
        families={name: answers[name]["families"] for name in ("metronome", "salesforce")},
        written=answers["salesforce"]["written"],
        kubernetes=answers["kubernetes"]["verbs"],
        kubernetes_failed=answers["kubernetes"]["failed"],
        most_status_patches=answers["kubernetes"]["most_status_patches"],
        runs=[(one["links"], one["moved"]) for one in stage.operator.link_runs()[runs:]],
        cpu_operator=round(used.own, 2),
        health=watch.health.to_json(),
        reaction=watch.reaction.to_json(),
    )


def _misplaced(customers: Json, customer: str, account: str) -> str | None:
    """What is wrong with a linked customer, None if nothing is."""
    one = customers[customer]
    record = (one["account"], one["linked"], one["source"], one["pending"])
    if record != (account, account, "CustomerLink", False):
        return f"the record of customer {customer} says {record}, and not {account}"
    if (one["on_account"], one["on_record"]) != (one["rows"], 0):
        return (
            f"of {one['rows']} rows of customer {customer} {one['on_account']} hang on the Account,"
            f" {one['on_record']} on the record"
        )
    return None


def _problems(one: Measured) -> list[str]:
    """Which limits are missed by many links, in sentences."""
    written = sum(one.written.get(f"{sobject} update", 0) for sobject in PLACED)
    found = [
        (one.wall <= _MANY_SECONDS, f"all links are Ready after {one.wall:.0f} s only"),
        (
            one.vendor_calls <= one.most_calls,
            (
                f"{one.vendor_calls} calls to Salesforce and Metronome, where {one.most_calls} are"
                f" the most; link runs (links, rows): {one.runs}; {one.families}"
            ),
        ),
        (written == one.moved, f"the org wrote {written} rows to move {one.moved}"),
        (
            one.most_status_patches == 1,
            f"a link's status was patched {one.most_status_patches} times",
        ),
        (not one.kubernetes_failed, f"calls to Kubernetes failed: {one.kubernetes_failed}"),
        (one.health["failures"] == 0, f"/healthz failed: {one.health}"),
        (one.reaction["failures"] == 0, f"the operator did not react: {one.reaction}"),
    ]
    return [sentence for is_so, sentence in found if not is_so]


def _ended(stage: Stage) -> list[str]:
    """End the operator in order; what it complained of."""
    found = []
    if errors := stage.operator.errors():
        found.append(f"the operator logged errors, such as {errors[0]}")
    if code := stage.operator.stop():
        found.append(f"the operator ended with code {code}")
    return found


# -- applying ------------------------------------------------------------------------------------


def _post(stage: Stage, links: Links) -> None:
    """Create the links, a few at a time."""
    with ThreadPoolExecutor(_POSTING) as pool:
        jobs = [pool.submit(stage.cluster.add_link, name, *ends) for name, ends in links.items()]
        for number, job in enumerate(jobs, start=1):
            job.result()
            show(f"applied {number} of {len(links)}")
    show("")


def _apply_with_kubectl(stage: Stage, links: Links) -> None:
    """As people do, a file for each link in one folder."""
    with tempfile.TemporaryDirectory() as folder:
        for name, ends in links.items():
            Path(folder, f"{name}.json").write_text(json.dumps(link_manifest(name, *ends)))
        command = [str(kubectl_path()), "apply", "--validate=false", "-f", folder]
        done = subprocess.run(
            [*command, "--kubeconfig", str(stage.kubeconfig)],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise BenchmarkError(f"kubectl failed: {done.stderr[-1000:]}")


# -- telling -------------------------------------------------------------------------------------


def _table(one: Measured, applied_by: str) -> str:
    rows: list[tuple[str, object]] = [
        (f"links applied by {applied_by}", one.links),
        ("all were applied after, s", f"{one.applied:.1f}"),
        ("all were Ready after, s", f"{one.wall:.1f} (at most {_MANY_SECONDS:.0f})"),
        ("rows moved", one.moved),
        ("calls to Salesforce", one.calls["salesforce"]),
        ("calls to Metronome", one.calls["metronome"]),
        ("both", f"{one.vendor_calls} (at most {one.most_calls})"),
        ("link runs, as links/rows", ", ".join(f"{links}/{rows}" for links, rows in one.runs)),
        ("calls to Kubernetes", one.calls["kubernetes"]),
        *((f"  {kind}", count) for kind, count in sorted(one.kubernetes.items())),
        ("most status patches of a link", one.most_status_patches),
        ("CPU of the operator's process, s", f"{one.cpu_operator:.1f}"),
        ("/healthz, worst (median) ms", milliseconds(one.health)),
        ("reaction, worst (median) ms", milliseconds(one.reaction)),
    ]
    text = tabulate(rows, tablefmt="simple", disable_numparse=True, colalign=("left", "right"))
    return f"""{text}

Calls are counted by the services, rows by the org. Reaction: from the edit of another, suspended
MetronomeSync until its status follows, through the operator's event loop; one a second."""
