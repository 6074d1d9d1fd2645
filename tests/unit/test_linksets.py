"""All CustomerLinks by their MetronomeSync, on the embedded Kubernetes API."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from metronome_salesforce import linksets
from metronome_salesforce.execution.lease import Timing
from metronome_salesforce.hosts import HostRules
from metronome_salesforce.kube import Kube
from metronome_salesforce.linksets import LinkSets
from metronome_salesforce.metrics import Metrics
from metronome_salesforce.runtime import Runtime
from metronome_salesforce.sandbox.kubernetes import KubernetesSandbox

CRDS = sorted((Path(__file__).resolve().parents[2] / "crds").glob("*.yaml"))
KEY = ("default", "acme")
LINK: dict[str, Any] = {
    "apiVersion": "metronome-salesforce.dev/v1alpha1",
    "kind": "CustomerLink",
    "metadata": {"name": "europe"},
    "spec": {
        "syncRef": {"name": "acme"},
        "customer": {"id": "0b9a3c1e-7a55-4c0e-9d0a-3f6b1f1f0001"},
        "account": {"id": "001Hs0000000003IAA"},
    },
}
SYNC: dict[str, Any] = {
    "apiVersion": "metronome-salesforce.dev/v1alpha1",
    "kind": "MetronomeSync",
    "metadata": {"name": "acme"},
    "spec": {
        "metronome": {"apiKeySecretRef": {"name": "metronome"}},
        "salesforce": {
            "instanceUrl": "https://acme.my.salesforce.com",
            "credentialsSecretRef": {"name": "salesforce"},
        },
    },
}


class Desk:
    """A cluster, and the sets of an operator that knows what it is fed."""

    def __init__(self, cluster: KubernetesSandbox, kube: Kube) -> None:
        self.cluster = cluster
        self.metrics = Metrics()
        self.sets = LinkSets(
            Runtime(
                kube=kube,
                metrics=self.metrics,
                identity="me",
                rules=HostRules(),
                slots=asyncio.Semaphore(1),
                timing=Timing(),
            )
        )
        self.found: list[str] = []
        self.again = asyncio.Event()

    def find(self, body: dict[str, Any]) -> None:
        """Take a MetronomeSync that has links and was not known; the first time, fail."""
        self.found.append(body["metadata"]["name"])
        if len(self.found) == 1:
            raise ValueError("a bug")
        self.again.set()

    @contextmanager
    def keeping(self) -> Iterator["asyncio.Task[None]"]:
        """Look after the links that nobody serves."""
        task = asyncio.create_task(self.sets.keep_unserved(self.find))
        yield task
        task.cancel()


@pytest.fixture(name="desk")
async def _desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setattr(linksets, "_PATIENCE", 0.05)
    monkeypatch.setattr(linksets, "LONGEST_BACK_OFF", 1.0)
    cluster = KubernetesSandbox()
    for path in CRDS:
        cluster.install_crd(yaml.safe_load(path.read_text()))
    with cluster.serve() as served:
        kube = Kube(str(cluster.write_kubeconfig(tmp_path / "kubeconfig", served.url)))
        yield Desk(cluster, kube)
        kube.close()


async def test_a_bug_does_not_end_the_look_after_links_without_a_sync(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged and counted, and they are looked at again."""
    desk.cluster.create("metronomesyncs", SYNC)
    desk.sets.feed(desk.cluster.create("customerlinks", LINK))
    with desk.keeping() as keeping:
        async with asyncio.timeout(10):
            await desk.again.wait()
        assert not keeping.done()
    assert "unexpected error" in caplog.text
    assert b'name="acme"' in desk.metrics.render()


async def test_a_set_that_somebody_holds_goes_on_to_be_fed(desk: Desk) -> None:
    """A worker has it before it serves it: the one that had the name before has to end first."""
    held = desk.sets.of(KEY)
    with desk.keeping():
        held.wake()  # there is nothing in it
        await asyncio.sleep(0.3)
    desk.sets.feed(desk.cluster.create("customerlinks", LINK))
    assert list(held.entries) == ["europe"]


async def test_a_set_without_links_and_worker_is_forgotten(desk: Desk) -> None:
    desk.sets.of(KEY)
    gc.collect()
    assert desk.sets._sets.get(KEY) is None


async def test_a_list_that_was_asked_for_before_a_link_ended_does_not_bring_it_back(
    desk: Desk,
) -> None:
    links = desk.sets.of(KEY)
    body = desk.cluster.create("customerlinks", LINK)
    desk.sets.feed(body)
    known = desk.sets.uids
    desk.sets.remove(body["metadata"]["uid"])
    desk.sets.feed(body)
    desk.sets.listed({body["metadata"]["uid"]}, known)
    assert links.entries == {}
