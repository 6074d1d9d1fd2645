"""The chart's operator with work under way: what may befall its API server is the tests' to do.

Cycles are in the middle, and links are applied all the time. What counts is what people see
afterwards: the operator acts in time, each cycle that was asked for has run once, and the orgs are
as if nothing had been.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from tests.controlplane.launch import ControlPlane
from tests.controlplane.pods import Pod
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

BUSY = ("busy-0", "busy-1")
LINKED = "linked"
ASKED = "asked"
"""The company that is asked for a cycle once the server is back."""
LINK_EVERY, MOST_LINKS = 1.0, 20
"""How often a link is applied while others wait for the server, in seconds, and how many."""
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
def staged(
    folder: Path, reach: Callable[[ControlPlane], str | None], links: int
) -> Iterator[Stage]:
    """All of it at rest; `reach` tells at which address the operator finds the API server.

    `links` are the customers that can be linked.
    """
    with (
        ControlPlane() as plane,
        closing(Cluster("real", plane.kubeconfig, folder)) as cluster,
        ExitStack() as stack,
    ):
        release = Release(cluster, 4, folder)
        release.install(LOOPBACK)
        cluster.wait_for_crds()
        companies = {name: stack.enter_context(company()) for name in (*BUSY, ASKED)}
        companies[LINKED] = stack.enter_context(company(customers=links + 1))
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


def expect_one_run_each(stage: Stage, before: dict[str, int], token: str) -> None:
    """Check that each cycle that was asked for has run once, with success, and did its work."""
    for name, one in stage.companies.items():
        stage.space.wait(lambda status: status.get("lastHandledRequest") == token, name)
        new = stage.runs(name)[before[name] :]
        assert [(run["trigger"], run["outcome"]) for run in new] == [("Requested", "Succeeded")]
        if name != LINKED:
            assert content(one.org) == undisturbed(one)
    stage.expect_each_run_once()
