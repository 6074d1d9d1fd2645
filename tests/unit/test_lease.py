"""The Lease: its rules by a clock of our own, and its calls on the embedded Kubernetes API."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from metronome_salesforce.execution.lease import (
    LABEL,
    LeaseLostError,
    SharedLease,
    SyncLease,
    Timing,
    is_free,
    lease_name,
    observed,
)
from metronome_salesforce.hosts import HostRules
from metronome_salesforce.kube import Kube
from metronome_salesforce.linkqueue import LinkSet
from metronome_salesforce.metrics import Metrics
from metronome_salesforce.reconciling import SyncWorker
from metronome_salesforce.runtime import Runtime
from metronome_salesforce.sandbox.kubernetes import KubernetesSandbox, Match

SYNC: dict[str, Any] = {
    "apiVersion": "metronome-salesforce.dev/v1alpha1",
    "kind": "MetronomeSync",
    "metadata": {"name": "acme", "namespace": "default", "uid": "uid-1"},
}
CRDS = sorted((Path(__file__).resolve().parents[2] / "crds").glob("*.yaml"))
NAME = "metronome-sync-acme"
QUICK = Timing(duration=1.0, renew_every=0.05, give_up=0.4, poll=0.05)
LEASES = Match(resource="leases", verb="update")


def lease(holder: str | None, renewed: str = "1", duration: int = 30) -> dict[str, Any]:
    spec = {"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": duration}
    return {"spec": spec}


def test_a_lease_expires_when_it_did_not_change_for_its_duration() -> None:
    seen = observed(lease("other"), None, 100.0)
    assert not is_free(seen, "me", 129.9)

    again = observed(lease("other"), seen, 129.9)
    assert is_free(again, "me", 130.0)


def test_a_renewal_starts_the_wait_anew_whatever_its_clock_says() -> None:
    seen = observed(lease("other", "2030-01-01T00:00:00.000000Z"), None, 100.0)
    renewed = observed(lease("other", "1999-01-01T00:00:00.000000Z"), seen, 120.0)
    assert not is_free(renewed, "me", 149.0)
    assert is_free(renewed, "me", 150.0)


@pytest.mark.parametrize("holder", [None, "", "me"])
def test_a_lease_of_nobody_or_of_our_predecessor_is_free(holder: str | None) -> None:
    assert is_free(observed(lease(holder), None, 100.0), "me", 100.0)


def test_names_are_short_enough_and_different() -> None:
    first, second = "a" * 253, "a" * 252 + "b"
    assert lease_name("acme") == NAME
    assert len(lease_name(first)) <= 253
    assert lease_name(first) != lease_name(second)


@pytest.fixture(name="cluster")
def _cluster() -> KubernetesSandbox:
    return KubernetesSandbox()


@pytest.fixture(name="kubeconfig")
def _kubeconfig(cluster: KubernetesSandbox, tmp_path: Path) -> Iterator[str]:
    with cluster.serve() as served:
        yield str(cluster.write_kubeconfig(tmp_path / "kubeconfig", served.url))


@pytest.fixture(name="kube")
async def _kube(kubeconfig: str) -> AsyncIterator[Kube]:
    kube = Kube(kubeconfig)
    yield kube
    kube.close()


async def test_a_new_lease_names_its_sync_and_holder(
    cluster: KubernetesSandbox, kube: Kube
) -> None:
    ours = SyncLease(kube, SYNC, "me", Timing())
    assert await ours.try_acquire() is None

    made = cluster.get("leases", NAME)
    assert made["spec"]["holderIdentity"] == "me"
    assert made["spec"]["leaseDurationSeconds"] == 30
    assert made["metadata"]["labels"][LABEL] == "acme"
    assert made["metadata"]["ownerReferences"][0]["uid"] == "uid-1"


async def test_only_one_of_two_gets_it_until_it_is_released(kube: Kube) -> None:
    first = SyncLease(kube, SYNC, "first", Timing())
    second = SyncLease(kube, SYNC, "second", Timing())
    assert await first.try_acquire() is None
    assert await second.try_acquire() == "first"

    await first.release()
    assert await second.try_acquire() is None


async def test_of_many_at_once_one_wins(kube: Kube) -> None:
    rivals = [SyncLease(kube, SYNC, f"rival-{n}", Timing()) for n in range(6)]
    answers = await asyncio.gather(*(rival.try_acquire() for rival in rivals))
    assert answers.count(None) == 1


async def test_a_dead_holder_is_followed_after_the_duration(kube: Kube) -> None:
    dead = SyncLease(kube, SYNC, "dead", QUICK)
    assert await dead.try_acquire() is None
    heir = SyncLease(kube, SYNC, "heir", QUICK)
    began = asyncio.get_running_loop().time()
    for _ in range(100):
        if await heir.try_acquire() is None:
            break
        await asyncio.sleep(0.05)
    assert 1.0 <= asyncio.get_running_loop().time() - began < 2.5


async def test_a_holder_that_renews_is_not_followed(kube: Kube) -> None:
    holder = SyncLease(kube, SYNC, "holder", QUICK)
    assert await holder.try_acquire() is None
    keeping = asyncio.create_task(holder.keep())
    rival = SyncLease(kube, SYNC, "rival", QUICK)
    for _ in range(15):
        assert await rival.try_acquire() == "holder"
        await asyncio.sleep(0.1)
    assert not keeping.done()
    keeping.cancel()


async def test_a_lease_that_was_taken_over_is_lost(cluster: KubernetesSandbox, kube: Kube) -> None:
    ours = SyncLease(kube, SYNC, "me", QUICK)
    assert await ours.try_acquire() is None
    taken = cluster.get("leases", NAME)
    taken["spec"]["holderIdentity"] = "thief"
    await kube.replace_lease("default", taken, 5)

    with pytest.raises(LeaseLostError, match="thief"):
        await asyncio.wait_for(ours.keep(), 2)
    await ours.release()
    assert cluster.get("leases", NAME)["spec"]["holderIdentity"] == "thief"


async def test_a_lease_that_cannot_be_renewed_is_given_up_in_time(
    cluster: KubernetesSandbox, kube: Kube
) -> None:
    ours = SyncLease(kube, SYNC, "me", QUICK)
    assert await ours.try_acquire() is None
    began = asyncio.get_running_loop().time()
    cluster.faults.add(LEASES, status=503)
    with pytest.raises(LeaseLostError, match="could not be renewed"):
        await asyncio.wait_for(ours.keep(), 3)
    assert asyncio.get_running_loop().time() - began < QUICK.duration


async def test_a_server_that_hangs_is_given_up_in_time_too(
    cluster: KubernetesSandbox, kube: Kube
) -> None:
    ours = SyncLease(kube, SYNC, "me", QUICK)
    assert await ours.try_acquire() is None
    began = asyncio.get_running_loop().time()
    cluster.faults.add(LEASES, delay=2.0)
    with pytest.raises(LeaseLostError):
        await asyncio.wait_for(ours.keep(), 3)
    assert asyncio.get_running_loop().time() - began < QUICK.duration


async def test_short_failures_and_lost_answers_are_survived(
    cluster: KubernetesSandbox, kube: Kube
) -> None:
    """A write that was carried out but not answered makes the next one a conflict."""
    ours = SyncLease(kube, SYNC, "me", QUICK)
    assert await ours.try_acquire() is None
    cluster.faults.add(LEASES, status=500, times=2)
    cluster.faults.add(LEASES, drop=True, after=True, times=1)
    keeping = asyncio.create_task(ours.keep())
    await asyncio.sleep(0.8)
    assert not keeping.done()
    keeping.cancel()
    assert cluster.get("leases", NAME)["spec"]["holderIdentity"] == "me"


async def test_a_lease_that_somebody_deleted_is_made_again(
    cluster: KubernetesSandbox, kube: Kube
) -> None:
    ours = SyncLease(kube, SYNC, "me", QUICK)
    assert await ours.try_acquire() is None
    path = f"/apis/coordination.k8s.io/v1/namespaces/default/leases/{NAME}"
    await kube._call("DELETE", path)
    keeping = asyncio.create_task(ours.keep())
    await asyncio.sleep(0.3)
    keeping.cancel()
    assert cluster.get("leases", NAME)["spec"]["holderIdentity"] == "me"


async def test_two_that_share_a_lease_give_it_back_together(
    cluster: KubernetesSandbox, kube: Kube
) -> None:
    """Renewed all the while; a rival gets it when the last one has gone."""
    shared = SharedLease(SyncLease(kube, SYNC, "me", QUICK))
    rival = SyncLease(kube, SYNC, "rival", QUICK)
    answers = list(await asyncio.gather(shared.try_acquire(), shared.try_acquire()))
    assert answers == [None, None]
    await shared.release()
    for _ in range(15):
        assert await rival.try_acquire() == "me"
        await asyncio.sleep(0.1)
    assert not shared.lost.done()
    await shared.release()
    assert "holderIdentity" not in cluster.get("leases", NAME)["spec"]
    assert await rival.try_acquire() is None
    assert await shared.try_acquire() == "rival"


async def test_a_shared_lease_is_lost_to_all(cluster: KubernetesSandbox, kube: Kube) -> None:
    """Nobody else joins, until those who used it have stopped."""
    shared = SharedLease(SyncLease(kube, SYNC, "me", QUICK))
    assert await shared.try_acquire() is None
    assert await shared.try_acquire() is None
    taken = cluster.get("leases", NAME)
    taken["spec"]["holderIdentity"] = "thief"
    await kube.replace_lease("default", taken, 5)
    await asyncio.wait({shared.lost}, timeout=2)
    with pytest.raises(LeaseLostError, match="thief"):
        await shared.lost
    assert await shared.try_acquire() is not None
    await shared.release()
    assert await shared.try_acquire() is not None
    await shared.release()
    assert cluster.get("leases", NAME)["spec"]["holderIdentity"] == "thief"
    assert await shared.try_acquire() == "thief"


async def test_a_lease_is_renewed_while_the_worker_prepares_its_cycle(
    cluster: KubernetesSandbox, kube: Kube
) -> None:
    """An API server that is slow to hand out a Secret must not let another operator in."""
    for path in CRDS:
        cluster.install_crd(yaml.safe_load(path.read_text()))
    spec = {
        "metronome": {"apiKeySecretRef": {"name": "metronome"}},
        "salesforce": {
            "instanceUrl": "https://acme.my.salesforce.com",
            "credentialsSecretRef": {"name": "salesforce"},
        },
    }
    body = cluster.create("metronomesyncs", {**SYNC, "metadata": {"name": "acme"}, "spec": spec})
    cluster.faults.add(Match(resource="secrets", verb="get"), delay=4.0, times=1)
    runtime = Runtime(
        kube=kube,
        metrics=Metrics(),
        identity="slow",
        rules=HostRules(),
        slots=asyncio.Semaphore(1),
        timing=QUICK,
    )
    links = LinkSet(("default", "acme"), lambda: None)
    serving = asyncio.create_task(SyncWorker(body, runtime, links).run())
    rival = SyncLease(kube, SYNC, "rival", QUICK)
    try:
        for _ in range(500):
            if cluster.objects("leases"):
                break
            await asyncio.sleep(0.02)
        for _ in range(12):
            assert await rival.try_acquire() == "slow"
            await asyncio.sleep(0.1)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
