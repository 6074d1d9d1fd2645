"""`sync -f --lease` beside an operator and beside others: who writes, who waits, and what is said.

The command is a process, as a person or a CI runs it; the cluster is the embedded API, or what the
suite runs on where the operator takes part.
"""

import asyncio
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from metronome_salesforce.errors import ConfigError, ProductError, RetriableError
from metronome_salesforce.execution.lease import SyncLease, Timing
from metronome_salesforce.heldlease import HeldLease, LeaseOptions, held
from metronome_salesforce.kube import Kube
from metronome_salesforce.sandbox.kubernetes import KubernetesSandbox, Match
from metronome_salesforce.spec import MetronomeSync
from tests.e2e.suite import (
    CRDS,
    REQUESTED_AT,
    Company,
    Json,
    Space,
    company,
    condition,
    content,
    eventually,
    merged,
    message,
    references,
    rows_written,
    run_cli,
    secret_manifest,
    secret_value,
    start_cli,
    sync_manifest,
    undisturbed,
)
from tests.e2e.suite_links import (
    account,
    delete_link,
    get_link,
    hang,
    link_manifest,
    orphans,
    wait_link,
)

SUCCEEDED, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
LEASE = "metronome-sync-acme"
SYNC = "MetronomeSync acme in namespace default"
QUICK = Timing(duration=1.0, renew_every=0.05, give_up=0.4, poll=0.05)


@dataclass(slots=True)
class Desk:
    """A person's desk: a company's manifests in a file, and a cluster that has them, too."""

    one: Company
    api: KubernetesSandbox
    kubeconfig: Path
    file: Path

    def command(self, *more: str) -> list[str]:
        """The arguments of a run that holds the Lease."""
        return [
            *("sync", "-f", str(self.file), "--lease", "--kubeconfig", str(self.kubeconfig)),
            *more,
        ]

    def run(self, *more: str) -> "subprocess.CompletedProcess[str]":
        """Run it to its end."""
        return run_cli(*self.command(*more))

    def lease(self) -> Json:
        """What the Lease says; empty when there is none."""
        try:
            spec: Json = self.api.get("leases", LEASE)["spec"]
        except KeyError:
            return {}
        return spec

    def holder(self) -> str | None:
        return self.lease().get("holderIdentity")

    def add_lease(self, holder: str, seconds: int) -> None:
        """A Lease that nobody renews."""
        spec = {"holderIdentity": holder, "leaseDurationSeconds": seconds, "leaseTransitions": 0}
        self.api.create("leases", {"metadata": {"name": LEASE}, "spec": spec})

    def steal(self) -> None:
        """Take the Lease over, as somebody with too many rights does."""
        taken = self.api.get("leases", LEASE)
        taken["spec"]["holderIdentity"] = "thief"

        async def write() -> None:
            kube = Kube(str(self.kubeconfig))
            try:
                await kube.replace_lease("default", taken, 5)
            finally:
                kube.close()

        asyncio.run(write())

    def is_untouched(self) -> bool:
        """Whether the company's services were not called at all."""
        return not self.one.metronome.requests and not self.one.session_tokens()


@pytest.fixture(name="desk")
def _desk(tmp_path: Path) -> Iterator[Desk]:
    with company() as one:
        sync = sync_manifest("acme", one.spec())
        file = tmp_path / "acme.yaml"
        file.write_text(yaml.safe_dump_all([sync, *references(one)]), "utf-8")
        api = KubernetesSandbox(crds=sorted(CRDS.glob("*.yaml")))
        api.create("metronomesyncs", sync)
        with api.serve() as served:
            kubeconfig = api.write_kubeconfig(tmp_path / "kubeconfig", served.url)
            yield Desk(one, api, kubeconfig, file)


def options(desk: Desk, **more: Any) -> LeaseOptions:
    return LeaseOptions(str(desk.kubeconfig), timing=QUICK, **more)


def sync_of(desk: Desk, **more: Any) -> MetronomeSync:
    """What the file holds, and what else is given laid over it."""
    document = next(yaml.safe_load_all(desk.file.read_text("utf-8")))
    return MetronomeSync.model_validate(merged(document, more))


# -- alone -----------------------------------------------------------------------------------------


def test_the_lease_is_held_for_the_run_and_free_afterwards(desk: Desk) -> None:
    with start_cli(*desk.command()) as process:
        eventually(lambda: desk.one.metronome.requests or desk.one.session_tokens())
        assert str(desk.holder()).startswith("sync-")
        assert f"-{process.pid}-" in str(desk.holder())
        out, said = process.communicate(timeout=30)

    assert (process.returncode, said) == (SUCCEEDED, "")
    assert out.startswith("Succeeded: ")
    assert desk.one.org.count("Metronome_Usage__c") > 0
    assert desk.lease()["leaseDurationSeconds"] == 30
    assert desk.holder() is None


def test_a_run_that_fails_gives_the_lease_back(desk: Desk) -> None:
    sync, _, *others = yaml.safe_load_all(desk.file.read_text("utf-8"))
    wrong = secret_manifest("acme-metronome", {"apiKey": secret_value("wrong")})
    desk.file.write_text(yaml.safe_dump_all([sync, wrong, *others]), "utf-8")
    result = desk.run()

    assert result.returncode == FAILED
    assert result.stdout.startswith("Failed (MetronomePermissionDenied): ")
    assert desk.lease()["leaseTransitions"] == 0
    assert desk.holder() is None


def test_ctrl_c_gives_the_lease_back(desk: Desk) -> None:
    desk.one.slow_down(1)
    with start_cli(*desk.command()) as process:
        eventually(lambda: "invoices" in str(desk.one.metronome.requests))
        assert desk.holder()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=10)

    assert process.returncode == INTERRUPTED
    assert "Traceback" not in said
    assert desk.holder() is None


# -- beside another holder -------------------------------------------------------------------------


@contextmanager
def renewing(desk: Desk) -> Iterator[None]:
    """Somebody else holds the Lease and lives."""
    sync = desk.api.get("metronomesyncs", "acme")
    done = threading.Event()

    async def hold() -> None:
        kube = Kube(str(desk.kubeconfig))
        lease = SyncLease(kube, sync, "rival", Timing(1.0, 0.1, 0.8, 0.1))
        assert await lease.try_acquire() is None
        keeping = asyncio.create_task(lease.keep())
        await asyncio.to_thread(done.wait)
        assert not keeping.done()
        keeping.cancel()
        kube.close()

    failures: list[BaseException] = []

    def work() -> None:
        try:
            asyncio.run(hold())
        except BaseException as error:  # noqa: BLE001 -- told by the test
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        eventually(lambda: desk.holder() == "rival")
        yield
    finally:
        done.set()
        thread.join()
    assert failures == []


def test_a_lease_that_another_holds_is_waited_for_and_then_left(desk: Desk) -> None:
    """Twice as long as it would be valid if its holder had died; nothing is called, still."""
    with renewing(desk):
        result = desk.run("--lease-wait", "2", "--output", "json")
        assert desk.holder() == "rival"

    assert result.returncode == FAILED
    assert result.stderr.splitlines() == [
        f"rival holds the Lease of {SYNC}; waiting for up to 2 seconds"
    ]
    report = json.loads(result.stdout)
    told = [report[name] for name in ("outcome", "reason", "retry")]
    assert told == ["Failed", "LeaseHeld", "later"]
    assert report["message"].startswith(
        f"Nothing was written: rival holds the Lease of {SYNC}. An operator holds it while"
    )
    assert desk.is_untouched()


def test_ctrl_c_ends_the_wait(desk: Desk) -> None:
    desk.add_lease("rival", 600)
    with start_cli(*desk.command()) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == (
            f"rival holds the Lease of {SYNC}; waiting for up to 40 seconds\n"
        )
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=5)

    assert (process.returncode, said) == (INTERRUPTED, "")
    assert desk.holder() == "rival"
    assert desk.is_untouched()


def test_the_lease_of_a_killed_holder_is_taken_over(desk: Desk) -> None:
    """As soon as it is no longer valid, which here is after a second."""
    desk.add_lease("gone", 1)
    told: list[str] = []
    with held(sync_of(desk), options(desk), told.append):
        assert str(desk.holder()).startswith("sync-")
        assert desk.lease()["leaseTransitions"] == 1
    assert told == [f"gone holds the Lease of {SYNC}; waiting for up to 40 seconds"]
    assert desk.holder() is None


# -- lost ------------------------------------------------------------------------------------------


def test_a_lost_lease_ends_the_run_between_two_calls(desk: Desk) -> None:
    """What is missing then is written by the next run."""
    desk.one.salesforce.faults.add("* */composite/sobjects*", delay=0.9)
    with start_cli(*desk.command()) as process:
        eventually(lambda: rows_written(desk.one.org))
        desk.steal()
        out, said = process.communicate(timeout=20)

    assert (process.returncode, said) == (FAILED, "")
    assert out.startswith(
        f"Failed (LeaseLost): The run was stopped: the Lease {LEASE} was taken over by thief. What"
    )
    assert desk.holder() == "thief"
    assert desk.one.org.count("Metronome_Orphan_Customer__c") > 0
    assert desk.one.org.count("Metronome_Usage__c") == 0


def test_it_is_renewed_while_the_run_s_own_thread_computes(desk: Desk) -> None:
    """Here that thread asks again and again, and has no event loop at all."""
    told: list[str] = []
    with held(sync_of(desk), options(desk), told.append) as lease:
        before = desk.lease()["renewTime"]
        eventually(lambda: desk.lease()["renewTime"] != before, 5)
        assert lease.lost is None
        assert desk.holder()
    assert desk.holder() is None
    assert told == []


def test_who_asks_late_is_told_as_well_that_it_is_lost() -> None:
    lease = HeldLease()
    told: list[str] = []
    lease.when_lost(lambda: told.append("before"))
    lease.lose(RetriableError("LeaseLost", "It was taken."))
    lease.when_lost(lambda: told.append("after"))
    assert told == ["before", "after"]


_STUBBORN = """
import sys, time
from pathlib import Path
from metronome_salesforce.execution.lease import Timing
from metronome_salesforce.heldlease import LeaseOptions, held
from metronome_salesforce.manifests import load
sync = load([sys.argv[1]]).syncs[0]
options = LeaseOptions(sys.argv[2], timing=Timing(1.0, 0.05, 0.4, 0.05))
with held(sync, options, lambda text: print(text, file=sys.stderr)):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_run_that_does_not_end_is_cut_off_before_another_may_write(desk: Desk) -> None:
    """The API server is away, and so is the answer that the run waits for."""
    arguments = [sys.executable, "-c", _STUBBORN, str(desk.file), str(desk.kubeconfig)]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            desk.api.faults.add(Match(resource="leases"), status=503)
            _, said = process.communicate(timeout=5)
        finally:
            process.kill()
    assert process.returncode == FAILED
    assert said.startswith(f"LeaseLost: the Lease {LEASE} could not be renewed for ")


# -- what goes wrong before ------------------------------------------------------------------------


def refusal(desk: Desk, sync: MetronomeSync, lease: LeaseOptions | None = None) -> ProductError:
    """Why the Lease cannot be held."""
    lines: list[str] = []
    with (
        pytest.raises(ProductError) as caught,
        held(sync, lease or options(desk, patience=0), lines.append),
    ):
        pass
    assert lines == []
    return caught.value


def test_a_sync_that_is_not_in_the_cluster_is_said_to_be_missing(desk: Desk) -> None:
    error = refusal(desk, sync_of(desk, metadata={"namespace": "billing"}))

    assert (type(error), error.reason) == (ConfigError, "SyncNotFound")
    assert error.message.startswith(
        "There is no MetronomeSync acme in namespace billing in the cluster, and so no Lease to"
    )
    assert "The API server said: HTTP 404: " in error.message
    assert desk.lease() == {}


@pytest.mark.parametrize(
    "match",
    [
        Match(resource="metronomesyncs", verb="get"),
        Match(resource="leases", verb="get"),
        Match(resource="leases", verb="create"),
    ],
)
def test_rights_that_are_missing_are_named(desk: Desk, match: Match) -> None:
    """At once: no wait would help."""
    desk.api.faults.add(match, status=403)
    error = refusal(desk, sync_of(desk), options(desk))

    assert (type(error), error.reason) == (ConfigError, "LeaseForbidden")
    assert "the right to get metronomesyncs and to get, create and update leases" in error.message
    assert "HTTP 403" in error.message


def test_another_org_is_not_guarded(desk: Desk) -> None:
    """As when kubectl talks to another cluster than one thinks."""
    error = refusal(desk, sync_of(desk, spec={"salesforce": {"instanceUrl": "https://127.0.0.1"}}))

    assert (type(error), error.reason) == (ConfigError, "LeaseOfAnotherOrg")
    assert f"writes to {desk.one.salesforce_url}, and in the file to https://" in error.message
    assert desk.lease() == {}


def test_a_cluster_without_answer_is_said_to_be_unavailable(desk: Desk) -> None:
    nowhere = desk.kubeconfig.with_name("nowhere")
    error = refusal(desk, sync_of(desk), LeaseOptions(str(nowhere)))
    assert (type(error), error.reason) == (RetriableError, "ClusterUnavailable")
    assert "no access to a Kubernetes API" in error.message

    desk.api.write_kubeconfig(nowhere, "http://127.0.0.1:9")
    error = refusal(desk, sync_of(desk), LeaseOptions(str(nowhere)))
    assert (type(error), error.reason) == (RetriableError, "ClusterUnavailable")
    assert "no usable answer from the Kubernetes API" in error.message

    desk.api.faults.add(Match(resource="leases"), status=503, times=1)
    assert refusal(desk, sync_of(desk)).reason == "ClusterUnavailable"
    assert desk.lease() == {}


def test_an_api_server_that_comes_back_is_waited_for(desk: Desk) -> None:
    """Also when it has created the Lease and the answer was lost."""
    desk.api.faults.add(Match(resource="leases", verb="get"), status=503, times=2)
    desk.api.faults.add(Match(resource="leases", verb="create"), drop=True, after=True, times=1)
    told: list[str] = []
    with held(sync_of(desk), options(desk, patience=5), told.append):
        assert desk.holder()
    assert len(told) == 1
    assert told[0].startswith("HTTP 503: ")
    assert desk.holder() is None


def test_a_failure_is_reported_like_any_other(desk: Desk) -> None:
    desk.api.faults.add(Match(resource="leases"), status=403)
    result = desk.run()

    assert (result.returncode, result.stderr) == (FAILED, "")
    assert result.stdout.startswith("Failed (LeaseForbidden): To hold the Lease of ")
    assert desk.is_untouched()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ("--lease", "--dry-run"),
            "--dry-run writes nothing and needs no Lease; leave out --lease",
        ),
        (("--kubeconfig", "a"), "--kubeconfig and --lease-wait are for --lease"),
    ],
)
def test_wrong_usage_gives_code_2(arguments: tuple[str, ...], told: str) -> None:
    result = run_cli("sync", "-f", "a", *arguments)

    assert (result.returncode, result.stdout) == (USAGE, "")
    assert told in result.stderr


def test_a_dry_run_by_spec_takes_no_lease(desk: Desk) -> None:
    sync, *others = yaml.safe_load_all(desk.file.read_text("utf-8"))
    sync["spec"]["dryRun"] = True
    desk.file.write_text(yaml.safe_dump_all([sync, *others]), "utf-8")
    result = desk.run()

    assert result.returncode == SUCCEEDED
    assert result.stderr == "spec.dryRun is true: nothing is written, and no Lease is taken\n"
    assert result.stdout.startswith("Planned: ")
    assert desk.lease() == {}


# -- beside the operator ---------------------------------------------------------------------------


def hold_back(one: Company) -> None:
    """Let no run get on until the faults are cleared; a dozen seconds are no failure yet."""
    one.metronome.faults.add("GET /v1/customers", status=429, headers={"Retry-After": "2"})


def test_the_operator_and_a_run_beside_it_take_turns(
    space: Space, acme: Company, tmp_path: Path
) -> None:
    """Neither a cycle nor a CustomerLink of the operator's moves anything until the run is over."""
    sync = merged(sync_manifest("acme", acme.spec()), {"metadata": {"namespace": space.namespace}})
    secrets = [
        merged(one, {"metadata": sync["metadata"] | one["metadata"]}) for one in references(acme)
    ]
    file = tmp_path / "acme.yaml"
    file.write_text(yaml.safe_dump_all([sync, *secrets]), "utf-8")
    command = ("sync", "-f", str(file), "--lease", "--kubeconfig", str(space.cluster.kubeconfig))

    def holder() -> str:
        return space.kubectl(
            "get", "lease", LEASE, "--ignore-not-found", "-o", "jsonpath={.spec.holderIdentity}"
        )

    hold_back(acme)
    space.start(acme)
    eventually(lambda: holder() == space.operator.identity)
    with start_cli(*command) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        assert said.startswith(f"{space.operator.identity} holds the Lease of ")
        acme.metronome.faults.clear()
        process.communicate(timeout=30)
    assert process.returncode == SUCCEEDED
    space.wait_for_run()
    assert content(acme.org) == undisturbed(acme)

    customer, target = orphans(acme)[0], account(acme, "Acme Europe")
    hold_back(acme)
    with start_cli(*command) as process:
        eventually(lambda: holder().startswith("sync-"))
        space.apply(link_manifest("europe", customer, target))
        space.annotate(REQUESTED_AT, "now")
        status = space.wait(
            lambda status: condition(status, "Reconciling") == ("True", "WaitingForLease")
        )
        assert message(status, "Reconciling").startswith("sync-")
        assert get_link(space, "europe")
        assert hang(acme, customer) == {(None, True)}
        assert len(space.status()["history"]) == 1
        assert process.poll() is None
        acme.metronome.faults.clear()
        process.communicate(timeout=30)
    assert process.returncode == SUCCEEDED
    wait_link(space, "europe")
    assert hang(acme, customer) == {(target, False)}
    status = space.wait(lambda status: status.get("lastHandledRequest") == "now")
    assert status["lastRun"]["outcome"] == "Succeeded"
    assert not holder().startswith("sync-")
    delete_link(space, "europe")
