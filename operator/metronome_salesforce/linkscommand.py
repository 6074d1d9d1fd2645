"""`links`: the org of one MetronomeSync, from files or a cluster, read and shown; nothing written.

But for manifests in a folder, when asked. Salesforce alone is called, not Metronome.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metronome_salesforce.errors import ProductError
from metronome_salesforce.execution.running import open_session
from metronome_salesforce.hosts import HostRules, host_rules
from metronome_salesforce.inputs import SyncInputs, resolve
from metronome_salesforce.kube import Kube, KubeError
from metronome_salesforce.linkmanifests import LEFT_ALONE, Manifest, write_manifests
from metronome_salesforce.linktable import as_json, link_table, table_json, table_text
from metronome_salesforce.manifests import Bundle
from metronome_salesforce.references import read_inputs
from metronome_salesforce.spec import CustomerLink, MetronomeSync, parse_link, parse_sync


@dataclass(frozen=True, slots=True)
class LinksOptions:
    """What was asked for; `folder` is where manifests go, None for none."""

    min_score: int
    orphans: bool
    folder: Path | None
    as_json: bool


@dataclass(frozen=True, slots=True)
class LinkedSync:
    """A MetronomeSync with all that it refers to, and its CustomerLinks."""

    inputs: SyncInputs
    links: tuple[CustomerLink, ...]


class LinksError(Exception):
    """It cannot be done; the message says why, for the person at the terminal."""


def from_files(sync: MetronomeSync, bundle: Bundle) -> LinkedSync:
    """Take everything from manifest files; raises LinksError."""
    try:
        return LinkedSync(resolve(sync, bundle), _of_sync(sync, bundle.links))
    except ProductError as error:
        raise LinksError(error.message) from None


def from_cluster(
    namespace: str, name: str, kubeconfig: str | None, environment: Mapping[str, str]
) -> LinkedSync:
    """Read everything from a cluster, as the person of the kubeconfig; raises LinksError."""
    try:
        return asyncio.run(_read(host_rules(environment), namespace, name, kubeconfig))
    except ProductError as error:
        raise LinksError(error.message) from None
    except KubeError as error:
        raise LinksError(
            f"cannot read MetronomeSync {name} in namespace {namespace}: {error}"
        ) from None


async def _read(rules: HostRules, namespace: str, name: str, kubeconfig: str | None) -> LinkedSync:
    kube = Kube(kubeconfig)
    try:
        sync = parse_sync(await kube.get_sync(namespace, name))
        inputs, _ = await read_inputs(kube, rules, sync)
        links = [_parsed(document) for document in await kube.list_links([namespace])]
    finally:
        kube.close()
    return LinkedSync(inputs, _of_sync(sync, links))


def _parsed(document: Mapping[str, Any]) -> CustomerLink:
    try:
        return parse_link(document)
    except ProductError as error:
        name = document["metadata"]["name"]
        raise LinksError(f"CustomerLink {name} cannot be used: {error.message}") from None


def _of_sync(sync: MetronomeSync, links: Iterable[CustomerLink]) -> tuple[CustomerLink, ...]:
    return tuple(
        link
        for link in links
        if link.metadata.namespace == sync.metadata.namespace
        and link.spec.sync_ref.name == sync.metadata.name
        and link.metadata.deletion_timestamp is None
    )


def show(linked: LinkedSync, options: LinksOptions, environment: Mapping[str, str]) -> str:
    """What is to be printed; writes manifests before, if asked to. Raises LinksError."""
    sync = linked.inputs.sync
    try:
        session = open_session(linked.inputs, environment=environment)
        try:
            table = link_table(session, linked.links, options.min_score)
        finally:
            session.close()
    except ProductError as error:
        raise LinksError(error.message) from None
    manifests: list[Manifest] | None = None
    if options.folder is not None:
        try:
            manifests = write_manifests(options.folder, sync, table.lines)
        except OSError as error:
            raise LinksError(f"cannot write to {options.folder}: {error.strerror}") from None
    if not options.as_json:
        return "\n".join([*table_text(table, orphans=options.orphans), *_told(manifests)])
    document = {
        "sync": {"namespace": sync.metadata.namespace, "name": sync.metadata.name},
        **table_json(table, orphans=options.orphans),
    }
    if manifests is not None:
        document["manifests"] = [{"path": str(m.path), "state": m.state} for m in manifests]
    return as_json(document)


def _told(manifests: Sequence[Manifest] | None) -> Iterator[str]:
    if manifests is None:
        return
    yield ""
    for manifest in manifests:
        yield f"{manifest.state}: {manifest.path}"
    if not manifests:
        yield "no manifest is written: no suggestion is beyond doubt"
    elif any(manifest.state == LEFT_ALONE for manifest in manifests):
        yield ("What is left alone was edited, or is not ours: delete it, and it is written anew.")
