"""The chart's operator while the API server is restarted, killed, or silent, with work under way.

Cycles are in the middle, and links are applied all the time. What counts is what people see once
the server is back: the operator acts within half a minute, each cycle that was asked for has run
once, and the orgs are as if nothing had been.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from tests.controlplane.launch import ControlPlane
from tests.controlplane.pods import Pod
from tests.controlplane.relay import Relay
from tests.controlplane.release import NAMESPACE, Release
from tests.controlplane.test_helm import LOOPBACK, accounts_of
from tests.e2e.suite import (
    GROUP,
    LINKS,
    REQUESTED_AT,
    SYNC_RUN,
    VERSION,
    Cluster,
    Company,
    Json,
    Space,
    company,
    content,
    eventually,
    undisturbed,
)
from tests.e2e.suite_links import link_manifest, state

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

RECOVERED_SECONDS = 30
BUSY = ("busy-0", "busy-1")
LINKED = "linked"
ASKED = "asked"
"""The company that is asked for a cycle once the server is back."""
LINK_EVERY, MOST_LINKS = 1.0, 20
"""How often a link is applied while others wait for the server, in seconds, and how many."""
CUSTOMERS = 80
"""As many as links in all tests, and some."""
OUTAGE_SECONDS = 50
"""A Lease and more, and long enough for all that tries again to have become slow at it."""
FOUND_SECONDS = 100
"""A list finds within a minute what a frozen watch lost, but may first ask where nobody answers."""
SILENT_SECONDS = 85
"""After 70 s without a bookmark, kopf opens another watch."""
QUICK_SECONDS = 5
FROZEN_SECONDS = 12
"""Well within the 20 s in which a Lease has to be renewed."""
SLOW = "GET /v1/customers/*/invoices"


@dataclass(slots=True)
class Stage:
    """An operator in its cluster, companies with long cycles, and one of them is being linked."""

    plane: ControlPlane
    space: Space
    companies: dict[str, Company]
    linked: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Of each CustomerLink that was applied, the customer and the Account."""
    turn: threading.Lock = field(default_factory=threading.Lock)

    @property
    def busy(self) -> list[str]:
        """The MetronomeSyncs with long cycles."""
        return [name for name in self.companies if name != ASKED]

    def begin_cycles(self, token: str, seconds: float) -> None:
        """Ask the busy ones for a cycle that hangs for so long, and wait until they do."""
        for name in self.busy:
            self.companies[name].metronome.faults.add(SLOW, times=1, delay=seconds)
            self.space.annotate(REQUESTED_AT, token, name)
        for name in self.busy:
            self.space.wait(
                lambda status: status.get("progress", {}).get("stage", "").startswith("fetch"), name
            )

    def runs(self, name: str) -> list[Json]:
        """The runs of a MetronomeSync, oldest first."""
        history = self.space.status(name).get("history", [])
        return sorted(history, key=lambda run: str(run["startedAt"]))

    def link_next(self) -> None:
        """Apply a CustomerLink for the next customer, as soon as the server takes it."""
        with self.turn:
            self._link_next()

    def _link_next(self) -> None:
        one, number = self.companies[LINKED], len(self.linked)
        customer = one.tenant.customers()[number + 1]["id"]
        account = one.org.insert("Account", {"Name": f"Customer {number}"})
        body = link_manifest(f"link-{number}", customer, account, LINKED)
        deadline = time.monotonic() + 120
        while True:
            try:
                self.space.cluster.custom.create_namespaced_custom_object(
                    GROUP, VERSION, NAMESPACE, LINKS, body
                )
                break
            except (ApiException, HTTPError) as error:
                if getattr(error, "status", None) == 409:
                    break  # it was taken, and only the answer was lost
                assert time.monotonic() < deadline, "the API server is away for good"
                time.sleep(0.1)
        self.linked[body["metadata"]["name"]] = (customer, account)

    @contextmanager
    def linking(self) -> Iterator[None]:
        """Apply CustomerLinks all the time."""
        ended, failed = threading.Event(), list[BaseException]()

        def work() -> None:
            try:
                for _ in range(MOST_LINKS):
                    if ended.wait(LINK_EVERY):
                        return
                    self.link_next()
            except BaseException as error:  # noqa: BLE001 -- raised where it is seen
                failed.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
        assert not failed, failed

    def react(self, token: str, seconds: float) -> float:
        """Apply a link and ask for a cycle, both of which must be done in time; the seconds.

        So must all links that were applied before.
        """
        began = time.monotonic()
        self.link_next()
        self.space.annotate(REQUESTED_AT, token, ASKED)
        self.expect_linked(seconds)
        left = seconds - (time.monotonic() - began)
        self.space.wait(lambda status: status.get("lastHandledRequest") == token, ASKED, left)
        return time.monotonic() - began

    def notice(self, token: str, seconds: float) -> float:
        """Apply a link, which must be done in time, and ask for a cycle, which must begin."""
        began = time.monotonic()
        self.link_next()
        self.space.annotate(REQUESTED_AT, token, ASKED)
        self.expect_linked(seconds)

        def begun(status: Json) -> bool:
            return status.get("lastHandledRequest") == token or "progress" in status

        self.space.wait(begun, ASKED, seconds)
        took = time.monotonic() - began
        self.space.wait(lambda status: status.get("lastHandledRequest") == token, ASKED)
        return took

    def expect_linked(self, seconds: float) -> None:
        """Check that the links so far are Ready in time, and that rows hang where they say."""
        linked = dict(self.linked)
        left = set(linked)

        def all_ready() -> bool:
            left.difference_update([one for one in left if state(self.space, one)[0] == "True"])
            return not left

        eventually(all_ready, seconds, told=lambda: (left, self.space.operator.log_text()[-4000:]))
        for customer, account in linked.values():
            assert accounts_of(self.companies[LINKED], customer) <= {account}

    def expect_each_run_once(self) -> None:
        """Check that the orgs' records of runs are those of the statuses, each ended."""
        for name, one in self.companies.items():
            rows = one.org.rows(SYNC_RUN)
            assert sorted(row["Run_ID__c"] for row in rows) == sorted(
                run["id"] for run in self.runs(name)
            )
            assert "Running" not in {row["Outcome__c"] for row in rows}


@contextmanager
def staged(folder: Path, reach: Callable[[ControlPlane], str | None]) -> Iterator[Stage]:
    """All of it at rest; `reach` tells at which address the operator finds the API server."""
    with (
        ControlPlane() as plane,
        closing(Cluster("real", plane.kubeconfig, folder)) as cluster,
        ExitStack() as stack,
    ):
        release = Release(cluster, 4, folder)
        release.install(LOOPBACK)
        cluster.wait_for_crds()
        companies = {name: stack.enter_context(company()) for name in (*BUSY, ASKED)}
        companies[LINKED] = stack.enter_context(company(customers=CUSTOMERS))
        home = folder / "pod"
        home.mkdir()
        pod = stack.enter_context(Pod(cluster, home, NAMESPACE, release.pod(), reach(plane)))
        stage = Stage(plane, Space(cluster, NAMESPACE, pod), companies)
        for name, one in companies.items():
            stage.space.start(one, name, historyLimit=50)
        for name in companies:
            stage.space.wait_for_run(name=name)
        yield stage
        assert pod.stop() == 0, pod.log_text()[-4000:]


@pytest.fixture(name="note")
def _note(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Show a figure to whoever runs the tests."""

    def note(line: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f" {line} ")

    return note


@pytest.fixture(name="stage", scope="module")
def _stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("outages"), lambda _: None) as stage:
        yield stage


def restart(plane: ControlPlane) -> None:
    plane.restart_apiserver()


def kill(plane: ControlPlane) -> None:
    """And start it at once, as a kubelet does."""
    plane.kill_apiserver()
    plane.restart_apiserver()


@pytest.mark.parametrize("disturb", [restart, kill])
def test_a_short_outage_costs_no_cycle(
    stage: Stage, disturb: Callable[[ControlPlane], None], note: Callable[[str], None]
) -> None:
    """The Lease is renewed in time, and the cycles go on: nobody outside the logs sees a thing."""
    token = disturb.__name__
    before = {name: len(stage.runs(name)) for name in stage.companies}
    with stage.linking():
        stage.begin_cycles(token, 8)
        disturb(stage.plane)
        note(f"seconds to recover: {stage.react(token, RECOVERED_SECONDS):.1f}")
    stage.expect_linked(RECOVERED_SECONDS)

    expect_one_run_each(stage, before, token)
    assert stage.space.operator.probe("/healthz") == (200, "ok\n")


def expect_one_run_each(stage: Stage, before: dict[str, int], token: str) -> None:
    """Check that each cycle that was asked for has run once, with success, and did its work."""
    for name, one in stage.companies.items():
        stage.space.wait(lambda status: status.get("lastHandledRequest") == token, name)
        new = stage.runs(name)[before[name] :]
        assert [(run["trigger"], run["outcome"]) for run in new] == [("Requested", "Succeeded")]
        if name != LINKED:
            assert content(one.org) == undisturbed(one)
    stage.expect_each_run_once()


def test_a_long_outage_stops_cycles_and_runs_them_again(
    stage: Stage, note: Callable[[str], None]
) -> None:
    """Longer than a Lease, which cannot be renewed: another operator might have taken it."""
    before = {name: len(stage.runs(name)) for name in stage.companies}
    token = "long"
    with stage.linking():
        stage.begin_cycles(token, 60)
        stage.plane.kill_apiserver()
        time.sleep(OUTAGE_SECONDS)
        assert stage.space.operator.probe("/healthz")[0] == 200, "a restart would not help"
        stage.plane.restart_apiserver()
        note(f"seconds to recover: {stage.react(token, RECOVERED_SECONDS):.1f}")
    stage.expect_linked(RECOVERED_SECONDS)

    for name, one in stage.companies.items():
        lost = [("Requested", "Failed"), ("Retry", "Succeeded")] if name != ASKED else []
        stage.space.wait(
            lambda status: status["lastRun"]["outcome"] == "Succeeded" and "progress" not in status,
            name,
            90,
        )
        new = stage.runs(name)[before[name] :]
        ended = [(run["trigger"], run["outcome"]) for run in new]
        assert ended == (lost or [("Requested", "Succeeded")])
        if name != LINKED:
            assert content(one.org) == undisturbed(one)
    stage.expect_each_run_once()


@pytest.fixture(name="relayed", scope="module")
def _relayed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, Relay]]:
    """The operator reaches the API server through a relay, and people reach it as always."""
    with ExitStack() as stack:
        relays = []

        def reach(plane: ControlPlane) -> str:
            relays.append(stack.enter_context(Relay(plane.url)))
            return relays[0].url

        stage = stack.enter_context(staged(tmp_path_factory.mktemp("frozen"), reach))
        yield stage, relays[0]
        relays[0].thaw()  # else the API server waits for these connections when it ends


def test_a_moment_without_traffic_costs_no_cycle(relayed: tuple[Stage, Relay]) -> None:
    """Nothing comes through for a while, then all that was held up does."""
    stage, relay = relayed
    before = {name: len(stage.runs(name)) for name in stage.companies}
    stage.begin_cycles("moment", 8)
    assert relay.freeze(new=True)
    time.sleep(FROZEN_SECONDS)
    relay.thaw()
    stage.react("moment", RECOVERED_SECONDS)

    expect_one_run_each(stage, before, "moment")


def test_frozen_connections_are_given_up(
    relayed: tuple[Stage, Relay], note: Callable[[str], None]
) -> None:
    """As by a firewall that forgot them: no byte comes any more, and nobody closes anything.

    New ones work. The Leases of the cycles are kept; what the watch does not tell is found by the
    list; and a new watch is opened as soon as bookmarks are overdue, without a restart.
    """
    stage, relay = relayed
    before = {name: len(stage.runs(name)) for name in stage.companies}
    stage.begin_cycles("frozen", 8)
    frozen = time.monotonic()
    assert relay.freeze(new=False)
    note(f"seconds to find: {stage.react('frozen', FOUND_SECONDS):.1f}")
    expect_one_run_each(stage, before, "frozen")

    # By then a watch that got no bookmark is given up, and so many quick answers are no luck.
    time.sleep(max(0.0, frozen + SILENT_SECONDS - time.monotonic()))
    took = [stage.notice(f"anew-{number}", QUICK_SECONDS) for number in range(3)]
    note(f"seconds to notice afterwards: {max(took):.1f}")
    assert stage.space.operator.probe("/healthz") == (200, "ok\n")
