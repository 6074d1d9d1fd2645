"""The MetronomeSync that a command works on, with all it refers to, from files or a cluster."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from metronome_salesforce.errors import ProductError
from metronome_salesforce.hosts import HostRules, host_rules
from metronome_salesforce.inputs import SyncInputs, resolve
from metronome_salesforce.kube import Kube, KubeError
from metronome_salesforce.manifests import Bundle
from metronome_salesforce.references import read_inputs
from metronome_salesforce.spec import (
    CredentialsSecretRef,
    CustomerLink,
    MetronomeSync,
    parse_link,
    parse_sync,
)


@dataclass(frozen=True, slots=True)
class CommandSync:
    """A MetronomeSync with all that it refers to, and its CustomerLinks.

    `admin` is the same with the sign-in of somebody else, None when nobody else was named.
    """

    inputs: SyncInputs
    links: tuple[CustomerLink, ...] = ()
    admin: SyncInputs | None = None


class CommandError(Exception):
    """It cannot be done; the message says why, for the person at the terminal."""


def from_files(sync: MetronomeSync, bundle: Bundle, credentials: str | None = None) -> CommandSync:
    """Take everything from manifest files; raises CommandError.

    `credentials` names the Secret with the sign-in of somebody else.
    """
    try:
        admin = None if credentials is None else resolve(_signed_in_by(sync, credentials), bundle)
        return CommandSync(resolve(sync, bundle), _of_sync(sync, bundle.links), admin)
    except ProductError as error:
        raise CommandError(error.message) from None


def from_cluster(
    namespace: str,
    name: str,
    kubeconfig: str | None,
    environment: Mapping[str, str],
    credentials: str | None = None,
) -> CommandSync:
    """Read everything from a cluster, as the person of the kubeconfig; raises CommandError."""
    rules = host_rules(environment)
    try:
        return asyncio.run(_read(rules, (namespace, name), kubeconfig, credentials))
    except ProductError as error:
        raise CommandError(error.message) from None
    except KubeError as error:
        raise CommandError(
            f"cannot read MetronomeSync {name} in namespace {namespace}: {error}"
        ) from None


async def _read(
    rules: HostRules, place: tuple[str, str], kubeconfig: str | None, credentials: str | None
) -> CommandSync:
    namespace, name = place
    kube = Kube(kubeconfig)
    admin = None
    try:
        sync = parse_sync(await kube.get_sync(namespace, name))
        inputs, _ = await read_inputs(kube, rules, sync)
        if credentials is not None:
            admin, _ = await read_inputs(kube, rules, _signed_in_by(sync, credentials))
        links = [
            _parsed(document) async for page in kube.link_pages([namespace]) for document in page
        ]
    finally:
        kube.close()
    return CommandSync(inputs, _of_sync(sync, links), admin)


def _parsed(document: Mapping[str, Any]) -> CustomerLink:
    try:
        return parse_link(document)
    except ProductError as error:
        name = document["metadata"]["name"]
        raise CommandError(f"CustomerLink {name} cannot be used: {error.message}") from None


def _of_sync(sync: MetronomeSync, links: Iterable[CustomerLink]) -> tuple[CustomerLink, ...]:
    return tuple(
        link
        for link in links
        if link.metadata.namespace == sync.metadata.namespace
        and link.spec.sync_ref.name == sync.metadata.name
        and link.metadata.deletion_timestamp is None
    )


def _signed_in_by(sync: MetronomeSync, secret: str) -> MetronomeSync:
    """The same MetronomeSync with another Secret for the sign-in to Salesforce."""
    salesforce = sync.spec.salesforce.model_copy(
        update={"credentials_secret_ref": CredentialsSecretRef(name=secret)}
    )
    return sync.model_copy(update={"spec": sync.spec.model_copy(update={"salesforce": salesforce})})
