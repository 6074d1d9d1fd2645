"""Many resources on a real API server: what the operator takes while idle, and how soon it reacts.

The chart is installed by Helm, and the operator runs as its Deployment says, with no other timings
or limits. There are 200 MetronomeSyncs in 20 namespaces, all active: each has had a true cycle in a
process of its own that ended Succeeded, and its next one is half a day away. Each has an org of its
own over https, into which the operator looks once a minute, and 10 CustomerLinks that are carried
out and Ready.

What is small: a company has 12 customers and few rows, which an idle operator never sees. What is
shared: one emulated Metronome and one certificate authority, as the public ones are, too. What does
not happen meanwhile: a Secret is read again 15 minutes after it was last used.
"""

import math
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from tests.benchmarks.processes import Service, cpu_of, peak_of, resident_of
from tests.controlplane.fleet import (
    LINKS_EACH,
    SYNCS,
    Check,
    Fleet,
    Json,
    Key,
    Watch,
    is_idle,
    is_linked,
    link_key,
)
from tests.controlplane.launch import ControlPlane
from tests.controlplane.pods import Pod
from tests.controlplane.release import NAMESPACE, Release
from tests.controlplane.test_helm import LOOPBACK
from tests.e2e.suite import LINKS, PLURAL, REQUESTED_AT, Cluster, condition

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

MOST_CPU = 0.05
"""Of one core, while idle."""
MOST_MEMORY = 300 * 1000**2
"""Bytes that are ever resident."""
LONGEST_REACTION = 2.0
"""Seconds, for 99 of 100 reactions."""
MOST_REQUESTS = 60.0
"""To the API server, a minute, while idle; reading ones only."""

_SETTLED = 1200.0
_CALM_SECONDS = 10.0
_IDLE_SECONDS = 125.0
"""At least two lists of all resources and four scrapes."""
_SCRAPE_EVERY = 30
"""monitoring.serviceMonitor.interval"""
_SHOWN = 26_000
"""Series of 200 MetronomeSyncs, about."""
_READING = {"get", "list", "watch"}
_LINKERS = 2
_LINKED_EACH = 38
_SYNC_ROUNDS = 20
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Stage:
    """All that runs, with the resources as they are after the first cycles."""

    plane: ControlPlane
    release: Release
    operator: Pod
    fleet: Fleet


@dataclass(slots=True)
class Reactions:
    """Seconds from just before a change is sent to the API until the watch shows the reaction."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def time(self, kind: str, watch: Watch, key: Key, began: float, check: Check) -> None:
        """Wait for a reaction and note how long it took."""
        took = watch.wait(key, check) - began
        with self._lock:
            self.seconds.setdefault(kind, []).append(took)

    def all(self) -> list[float]:
        """Of all kinds."""
        return [one for of_kind in self.seconds.values() for one in of_kind]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Everything is made, has had its first cycle and is linked; the operator has done all that."""
    folder = tmp_path_factory.mktemp("load")
    with ExitStack() as stack:
        companies = stack.enter_context(Service("companies", len(SYNCS)))
        plane = stack.enter_context(ControlPlane(audit=True))
        cluster = stack.enter_context(closing(Cluster("real", plane.kubeconfig, folder)))
        release = Release(cluster, 4, folder)
        release.install(LOOPBACK)
        cluster.wait_for_crds()
        operator = stack.enter_context(Pod(cluster, folder, NAMESPACE, release.pod()))
        watches = [stack.enter_context(Watch(cluster, plural)) for plural in (PLURAL, LINKS)]
        fleet = Fleet(cluster, companies.ask(), *watches)
        fleet.create()
        fleet.settle(_SETTLED)
        yield Stage(plane, release, operator, fleet)
        assert operator.stop() == 0, operator.log_text()[-4000:]


def test_an_idle_operator_takes_little_and_writes_nothing(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scraped and probed as in a cluster; its CPU time counts, not the machine's other work."""
    operator = stage.operator
    time.sleep(_CALM_SECONDS)
    since, began, before = datetime.now(UTC), time.monotonic(), cpu_of(operator.pid)
    scraped = be_a_cluster(stage, began)
    used, wall = cpu_of(operator.pid) - before, time.monotonic() - began
    until = datetime.now(UTC)
    requests = asked(stage, since, until)

    share = (used.own + used.children) / wall
    peak, resident = peak_of(operator.pid), resident_of(operator.pid)
    rate = requests.total() / wall * 60
    told = ", ".join(f"{count} {verb}" for verb, count in sorted(requests.items()))
    tell(
        capsys,
        f"idle with {len(SYNCS)} MetronomeSyncs and {len(SYNCS) * LINKS_EACH} CustomerLinks:"
        f" {share:.1%} of a core over {wall:.0f} s, memory {resident / _MIB:.0f} MiB, at most"
        f" {peak / _MIB:.0f} MiB, {scraped} series, {rate:.1f} API requests a minute ({told})",
    )
    assert used.children == 0, "a cycle has run"
    assert share < MOST_CPU
    assert max(peak, resident) < MOST_MEMORY
    assert {verb.split()[0] for verb in requests} <= _READING
    assert rate < MOST_REQUESTS
    assert scraped > _SHOWN * 0.9


def test_it_reacts_within_two_seconds(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """People and a GitOps tool change links and MetronomeSyncs, three at a time.

    A link that is created or changed has reacted when it is Ready=True for its newest spec, with
    all rows moved; one that is deleted, when it is gone, with all rows moved back. A MetronomeSync
    that is suspended has reacted when its conditions say so; one that is resumed, or asked for a
    cycle, when they say that a cycle runs.
    """
    reactions = Reactions()
    with ThreadPoolExecutor(_LINKERS + 1) as pool:
        parts = [SYNCS[at * _LINKED_EACH :][:_LINKED_EACH] for at in range(_LINKERS)]
        done = [pool.submit(change_links, stage.fleet, part, reactions) for part in parts]
        rest = SYNCS[_LINKERS * _LINKED_EACH :][:_SYNC_ROUNDS]
        done.append(pool.submit(change_syncs, stage.fleet, rest, reactions))
        for one in done:
            one.result()

    for kind, seconds in (*reactions.seconds.items(), ("all", reactions.all())):
        tell(
            capsys,
            f"reaction, {kind}: {len(seconds)}, p50 {statistics.median(seconds):.2f} s,"
            f" p99 {percentile(seconds, 99):.2f} s, max {max(seconds):.2f} s",
        )
    assert len(reactions.all()) >= 200
    assert percentile(reactions.all(), 99) < LONGEST_REACTION


# -- idle ------------------------------------------------------------------------------------------


def be_a_cluster(stage: Stage, began: float) -> int:
    """Probe as the Deployment says and scrape as Prometheus does; the series of the last scrape."""
    (container,) = stage.release.pod()["containers"]
    asked_every = {"/metrics": _SCRAPE_EVERY}
    for probe in (container["livenessProbe"], container["readinessProbe"]):
        asked_every[probe["httpGet"]["path"]] = probe["periodSeconds"]
    series = 0
    for second in range(int(_IDLE_SECONDS)):
        for path, every in asked_every.items():
            if second % every == 0:
                status, text = stage.operator.probe(path)
                assert status == 200, (path, text)
                if path == "/metrics":
                    series = sum(not line.startswith("#") for line in text.splitlines())
        time.sleep(max(0.0, began + second + 1 - time.monotonic()))
    return series


def asked(stage: Stage, since: datetime, until: datetime) -> Counter[str]:
    """What the operator asked of the API server between two times, by verb and resource."""
    user = f"system:serviceaccount:{NAMESPACE}:{stage.release.pod()['serviceAccountName']}"
    found: Counter[str] = Counter()
    for event in stage.plane.audit_events():
        at = datetime.fromisoformat(event["requestReceivedTimestamp"])
        if event["user"]["username"] == user and since <= at <= until:
            found[f"{event['verb']} {resource_of(event.get('objectRef') or {})}"] += 1
    return found


def resource_of(reference: Json) -> str:
    """A resource and its subresource, as roles name them."""
    names = (reference.get("resource", ""), reference.get("subresource", ""))
    return "/".join(name for name in names if name)


# -- reactions -------------------------------------------------------------------------------------


def change_links(fleet: Fleet, keys: Sequence[Key], reactions: Reactions) -> None:
    """Move a customer of each MetronomeSync to another Account; of each second, unlink and link."""
    for place, key in enumerate(keys):
        moved, remade = link_key(key, 0), link_key(key, 1)
        began = time.perf_counter()
        spec = {"account": {"id": fleet.account(0, other=True)}}
        generation = fleet.patch(LINKS, moved, {"spec": spec})["metadata"]["generation"]
        reactions.time("link changed", fleet.links, moved, began, is_linked_as(generation))
        if place % 2:
            continue
        began = time.perf_counter()
        fleet.delete_link(key, 1)
        reactions.time("link deleted", fleet.links, remade, began, lambda body: not body)
        began = time.perf_counter()
        fleet.create_link(key, 1)
        reactions.time("link created", fleet.links, remade, began, is_linked)


def change_syncs(fleet: Fleet, keys: Sequence[Key], reactions: Reactions) -> None:
    """Suspend, resume and ask for a cycle; the ends of cycles are waited for, and not measured."""
    for key in keys:
        for kind, patch, state in (
            ("sync suspended", {"spec": {"suspend": True}}, ("False", "Suspended")),
            ("sync resumed", {"spec": {"suspend": False}}, ("True", "Running")),
            (
                "cycle asked for",
                {"metadata": {"annotations": {REQUESTED_AT: "now"}}},
                ("True", "Running"),
            ),
        ):
            began = time.perf_counter()
            generation = fleet.patch(PLURAL, key, patch)["metadata"]["generation"]
            reactions.time(kind, fleet.syncs, key, began, says(generation, state))
            if state == ("True", "Running"):
                fleet.syncs.wait(key, is_idle)


def is_linked_as(generation: int) -> Check:
    """Whether a link has been carried out as this change of its spec says."""
    return lambda body: body["metadata"]["generation"] == generation and is_linked(body)


def says(generation: int, state: tuple[str, str]) -> Check:
    """Whether a MetronomeSync says of this change of its spec whether it is at work, and why."""

    def check(body: Json) -> bool:
        status = body.get("status") or {}
        told = (status.get("observedGeneration"), condition(status, "Reconciling"))
        return told == (generation, state)

    return check


# -- telling ---------------------------------------------------------------------------------------


def percentile(seconds: Sequence[float], percent: int) -> float:
    """The least that so many of them do not exceed."""
    return sorted(seconds)[math.ceil(len(seconds) * percent / 100) - 1]


def tell(capsys: pytest.CaptureFixture[str], line: str) -> None:
    """A figure, for whoever watches the tests run."""
    with capsys.disabled():
        sys.stdout.write(f"\n{line}")
