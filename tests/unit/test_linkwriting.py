"""Writes to CustomerLinks, on the embedded Kubernetes API."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from metronome_salesforce import linkstatus
from metronome_salesforce.conditions import Moment
from metronome_salesforce.execution.lease import Timing
from metronome_salesforce.hosts import HostRules
from metronome_salesforce.kube import Kube
from metronome_salesforce.linkqueue import FINALIZER, Entry, LinkSet
from metronome_salesforce.linkstatus import SUSPENDED
from metronome_salesforce.linkwriting import LinkWriter
from metronome_salesforce.metrics import Metrics
from metronome_salesforce.runtime import Runtime
from metronome_salesforce.sandbox.kubernetes import KubernetesSandbox, Match

CRDS = sorted((Path(__file__).resolve().parents[2] / "crds").glob("*.yaml"))
LINK: dict[str, Any] = {
    "apiVersion": "metronome-salesforce.dev/v1alpha1",
    "kind": "CustomerLink",
    "metadata": {"name": "acme"},
    "spec": {
        "syncRef": {"name": "acme"},
        "customer": {"id": "0b9a3c1e-7a55-4c0e-9d0a-3f6b1f1f0001"},
        "account": {"id": "001Hs0000000003IAA"},
    },
}
PATH = "/apis/metronome-salesforce.dev/v1alpha1/namespaces/default/customerlinks/acme"
PATCHES = Match(verb="patch", resource="customerlinks")


class Desk:
    """A cluster with one link, and a writer that knows it as it was."""

    def __init__(self, cluster: KubernetesSandbox, kube: Kube) -> None:
        self.cluster = cluster
        self.kube = kube
        self.links = LinkSet(("default", "acme"), lambda: None)
        runtime = Runtime(
            kube=kube,
            metrics=Metrics(),
            identity="me",
            rules=HostRules(),
            slots=asyncio.Semaphore(1),
            timing=Timing(),
        )
        self.writer = LinkWriter(self.links, runtime)

    def known(self) -> Entry:
        """The link, made known to the writer."""
        self.links.offer(self.cluster.create("customerlinks", LINK), 0.0)
        return self.links.entries["acme"]

    def now(self) -> dict[str, Any]:
        """The link as the API has it."""
        return self.cluster.get("customerlinks", "acme")

    async def change(self, **metadata: Any) -> None:
        """Change the link's metadata, as somebody else does."""
        await self.kube._patch(PATH, {"metadata": metadata})

    async def delete(self) -> None:
        """Delete the link, as somebody else does."""
        await self.kube._call("DELETE", PATH)


@pytest.fixture(name="desk")
async def _desk(tmp_path: Path) -> AsyncIterator[Desk]:
    cluster = KubernetesSandbox()
    for path in CRDS:
        cluster.install_crd(yaml.safe_load(path.read_text()))
    with cluster.serve() as served:
        kube = Kube(str(cluster.write_kubeconfig(tmp_path / "kubeconfig", served.url)))
        yield Desk(cluster, kube)
        kube.close()


def suspended(status: dict[str, Any], moment: Moment) -> dict[str, Any]:
    return linkstatus.hindered(status, moment, SUSPENDED)


async def test_a_status_is_written_once(desk: Desk) -> None:
    entry = desk.known()
    assert await desk.writer.show(entry, suspended)
    assert await desk.writer.show(desk.links.entries["acme"], suspended)
    assert len(desk.cluster.requests.calls(PATCHES)) == 1
    (event,) = desk.cluster.events_of("acme")
    assert event["reason"] == "SyncSuspended"


async def test_a_status_goes_to_the_link_as_it_is_now(desk: Desk) -> None:
    """Somebody has labelled it since; the status that was read then is not taken for the newest."""
    entry = desk.known()
    await desk.change(labels={"team": "billing"})
    assert await desk.writer.show(entry, suspended)
    assert desk.now()["status"]["conditions"][0]["reason"] == "SyncSuspended"
    assert desk.now()["metadata"]["labels"] == {"team": "billing"}


async def test_another_link_of_the_name_is_left_alone(desk: Desk) -> None:
    entry = desk.known()
    await desk.delete()
    desk.cluster.create("customerlinks", LINK)
    assert await desk.writer.show(entry, suspended)
    assert not await desk.writer.hold(entry)
    assert "status" not in desk.now()
    assert "finalizers" not in desk.now()["metadata"]


async def test_finalizers_of_others_stay(desk: Desk) -> None:
    entry = desk.known()
    await desk.change(finalizers=["example.com/theirs"])
    assert await desk.writer.hold(entry)
    assert desk.now()["metadata"]["finalizers"] == ["example.com/theirs", FINALIZER]
    assert desk.links.entries["acme"].held

    await desk.delete()
    assert await desk.writer.let_go(desk.links.entries["acme"], linkstatus.RETAINED)
    assert desk.now()["metadata"]["finalizers"] == ["example.com/theirs"]


async def test_a_link_that_is_being_deleted_is_not_held(desk: Desk) -> None:
    entry = desk.known()
    await desk.change(finalizers=["example.com/theirs"])
    await desk.delete()
    assert not await desk.writer.hold(entry)
    assert desk.now()["metadata"]["finalizers"] == ["example.com/theirs"]


@pytest.mark.parametrize(("status", "over"), [(503, False), (422, True), (403, False)])
async def test_a_write_that_fails_is_to_be_tried_again(desk: Desk, status: int, over: bool) -> None:
    """Unless the API server says that it never will be accepted."""
    entry = desk.known()
    desk.cluster.faults.add(PATCHES, status=status)
    assert await desk.writer.show(entry, suspended) is over
    assert not await desk.writer.hold(entry)


@pytest.mark.parametrize("status", [500, 403, 422])
async def test_what_has_not_happened_is_not_told(desk: Desk, status: int) -> None:
    """The Event comes after the finalizer is off, and once, however often that was tried."""
    assert await desk.writer.hold(desk.known())
    await desk.delete()
    entry = desk.links.entries["acme"]
    fault = desk.cluster.faults.add(PATCHES, status=status)
    for _ in range(2):
        assert not await desk.writer.let_go(entry, linkstatus.RETAINED)
    assert fault.hits == 2
    assert desk.cluster.events_of("acme") == []
    late = desk.now()
    desk.cluster.faults.clear()
    assert await desk.writer.let_go(entry, linkstatus.RETAINED)
    assert [event["reason"] for event in desk.cluster.events_of("acme")] == ["Retained"]
    assert desk.links.entries == {}
    assert not desk.links.offer(late, 1.0), "a watch that is late"


async def test_whose_an_alias_is_stands_in_the_status(desk: Desk) -> None:
    entry = desk.known()
    fault = desk.cluster.faults.add(PATCHES, status=500)
    assert not await desk.writer.note_customer(entry, "id-1")
    desk.cluster.faults.remove(fault)
    assert await desk.writer.note_customer(entry, "id-1")
    assert desk.now()["status"]["customerId"] == "id-1"
    await desk.delete()
    assert not await desk.writer.note_customer(entry, "id-2"), "there is nowhere to write it"


async def test_a_link_that_is_gone_wants_nothing(desk: Desk) -> None:
    entry = desk.known()
    await desk.delete()
    assert await desk.writer.show(entry, suspended)
    assert await desk.writer.let_go(entry, None)
    assert not await desk.writer.hold(entry)
