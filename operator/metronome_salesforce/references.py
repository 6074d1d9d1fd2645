"""What a MetronomeSync refers to, read from the cluster for one run and kept for none.

Read anew for each run, by name and in the resource's own namespace only: rotating a Secret needs no
restart, and whoever may write a MetronomeSync gets at no Secret of another namespace.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from metronome_salesforce.errors import ConfigError
from metronome_salesforce.hosts import HostRules
from metronome_salesforce.inputs import (
    SyncInputs,
    Texts,
    config_map_texts,
    resolve,
    secret_texts,
)
from metronome_salesforce.kube import Kube, KubeError
from metronome_salesforce.spec import MetronomeSync

REFERENCE_REASONS = frozenset(
    {
        "SecretNotFound",
        "SecretKeyMissing",
        "SecretKeyInvalid",
        "SecretForbidden",
        "ConfigMapNotFound",
        "ConfigMapKeyMissing",
        "ConfigMapForbidden",
    }
)
"""Why a run could not start for what it refers to; mended outside the resource itself."""


@dataclass(frozen=True, slots=True)
class _Found:
    """The Secrets and ConfigMaps of one namespace; `versions` names what was read."""

    secrets: dict[tuple[str, str], Texts] = field(default_factory=dict, repr=False)
    config_maps: dict[tuple[str, str], Texts] = field(default_factory=dict, repr=False)
    versions: list[str] = field(default_factory=list)


async def read_inputs(
    kube: Kube, rules: HostRules, sync: MetronomeSync
) -> tuple[SyncInputs, tuple[str, ...]]:
    """Check the hosts, then read what `sync` refers to; the versions tell when that changes.

    Raises ConfigError when a person must act, KubeError when the API server did not answer.
    """
    rules.check(sync.spec.metronome.base_url)
    rules.check(sync.spec.salesforce.instance_url)
    space, spec, found = sync.metadata.namespace, sync.spec, _Found()
    # One Secret may serve both.
    names = {spec.metronome.api_key_secret_ref.name, spec.salesforce.credentials_secret_ref.name}
    for name in sorted(names):
        if secret := await _read(kube, "secrets", space, name, found):
            found.secrets[space, name] = secret_texts(secret)
    if bundle := spec.salesforce.ca_bundle_config_map_ref:
        config_map = await _read(kube, "configmaps", space, bundle.name, found)
        if config_map:
            found.config_maps[space, bundle.name] = config_map_texts(config_map)
    return resolve(sync, found), tuple(found.versions)


async def _read(
    kube: Kube, plural: str, space: str, name: str, found: _Found
) -> Mapping[str, Any] | None:
    try:
        document = await kube.get_core(plural, space, name)
    except KubeError as error:
        if not error.forbidden:
            raise
        kind = "Secret" if plural == "secrets" else "ConfigMap"
        raise ConfigError(
            f"{kind}Forbidden",
            f"The operator may not read {kind} {name} in namespace {space}; give its"
            f" ServiceAccount the right to get {plural} there.",
        ) from None
    if document is not None:
        metadata = document["metadata"]
        found.versions.append(f"{metadata.get('uid')}/{metadata.get('resourceVersion')}")
    return document
