"""`doctor`: every precondition of one MetronomeSync, from files or a cluster, looked at in order.

Nothing is written anywhere. What is read of Secrets goes to the vendors that they are for.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from metronome_salesforce.doctor import Area, Check
from metronome_salesforce.doctorcluster import (
    Place,
    Seen,
    look_at_last_run,
    look_at_operator,
    look_for_sync,
    no_cluster,
)
from metronome_salesforce.doctormetronome import metronome_checks
from metronome_salesforce.doctorsalesforce import salesforce_checks
from metronome_salesforce.errors import ProductError
from metronome_salesforce.hosts import host_rules
from metronome_salesforce.inputs import (
    Name,
    SyncInputs,
    Texts,
    api_key_of,
    ca_bundle_of,
    config_map_texts,
    credentials_of,
    secret_texts,
)
from metronome_salesforce.kube import Kube, KubeError
from metronome_salesforce.manifests import Bundle
from metronome_salesforce.spec import MetronomeSync

SETTINGS, KEY, SIGN_IN, AUTHORITIES = (
    "settings", "Metronome's Secret", "Salesforce's Secret", "CA ConfigMap",
)  # fmt: skip
_MAY_NOT_READ = "Ask as somebody who may get it, or as the operator's ServiceAccount."


@dataclass(frozen=True, slots=True)
class _Referred:
    """What a MetronomeSync refers to, as far as it could be read; `unread` says why not."""

    secrets: dict[Name, Texts] = field(default_factory=dict, repr=False)
    config_maps: dict[Name, Texts] = field(default_factory=dict, repr=False)
    unread: dict[tuple[str, str], KubeError] = field(default_factory=dict)


@dataclass(slots=True)
class _Inputs:
    """What the vendors are called with; each None where it is not to be had, for `area`'s reason.

    `authorities` is None as well where no ConfigMap is named; then `why_no_authorities` is empty.
    """

    api_key: str | None = field(default=None, repr=False)
    credentials: dict[str, str] | None = field(default=None, repr=False)
    authorities: str | None = field(default=None, repr=False)
    why_no_authorities: str = ""


def doctor_files(
    sync: MetronomeSync, bundle: Bundle, environment: Mapping[str, str]
) -> list[Check]:
    """The checks of a MetronomeSync from files: what it refers to, and both vendors."""
    referred = _Referred(dict(bundle.secrets), dict(bundle.config_maps))
    return asyncio.run(_vendors(sync, referred, environment))


def doctor_cluster(
    place: Place, kubeconfig: str | None, environment: Mapping[str, str]
) -> list[Check]:
    """The checks of a MetronomeSync in a cluster, as the person of the kubeconfig."""
    return asyncio.run(_in_cluster(place, kubeconfig, environment))


async def _in_cluster(
    place: Place, kubeconfig: str | None, environment: Mapping[str, str]
) -> list[Check]:
    try:
        kube = Kube(kubeconfig)
    except KubeError as error:
        return _without_sync(no_cluster(error), environment)
    try:
        seen = await look_for_sync(kube, place)
        if seen.sync is None:
            return _without_sync(seen, environment)
        referred = await _read_all(kube, seen.sync)
        operator = await look_at_operator(kube, place, seen)
    finally:
        kube.close()
    vendors = await _vendors(seen.sync, referred, environment)
    return [*seen.checks, *operator, *vendors, *look_at_last_run(seen)]


def _without_sync(seen: Seen, environment: Mapping[str, str]) -> list[Check]:
    """What is told where there is no MetronomeSync to be looked at."""
    area = Area("references", [SETTINGS], "")
    _tell_settings(area, environment)
    rest = [
        Area(name, ["all of it"], seen.why_not) for name in ("operator", "Metronome", "Salesforce")
    ]
    waiting = [check for one in rest for check in one.checks()]
    return [*seen.checks, *area.checks(), *waiting, *look_at_last_run(seen)]


async def _read_all(kube: Kube, sync: MetronomeSync) -> _Referred:
    space, spec, found = sync.metadata.namespace, sync.spec, _Referred()
    names = {spec.metronome.api_key_secret_ref.name, spec.salesforce.credentials_secret_ref.name}
    wanted = [("secrets", name) for name in sorted(names)]
    if spec.salesforce.ca_bundle_config_map_ref is not None:
        wanted.append(("configmaps", spec.salesforce.ca_bundle_config_map_ref.name))
    for plural, name in wanted:
        try:
            document = await kube.get_core(plural, space, name)
        except KubeError as error:
            found.unread[plural, name] = error
            continue
        if document is not None and plural == "secrets":
            found.secrets[space, name] = secret_texts(document)
        elif document is not None:
            found.config_maps[space, name] = config_map_texts(document)
    return found


async def _vendors(
    sync: MetronomeSync, referred: _Referred, environment: Mapping[str, str]
) -> list[Check]:
    """References, Metronome and Salesforce."""
    names = [SETTINGS, KEY, SIGN_IN]
    if sync.spec.salesforce.ca_bundle_config_map_ref is not None:
        names.append(AUTHORITIES)
    area, inputs = Area("references", names), _Inputs()
    usable = _tell_settings(area, environment)
    _tell_references(area, sync, referred, inputs)
    if not usable:
        because = f"references: {SETTINGS} comes first"
        rest = [Area(name, ["all of it"], because) for name in ("Metronome", "Salesforce")]
        return [*area.checks(), *(check for one in rest for check in one.checks())]
    metronome = await metronome_checks(
        sync, host_rules(environment), inputs.api_key, f"references: {KEY} comes first"
    )
    complete = (
        None
        if inputs.credentials is None
        # The key to Metronome is not for the org.
        else SyncInputs(sync, "", inputs.credentials, inputs.authorities)
    )
    salesforce = await asyncio.to_thread(
        salesforce_checks,
        sync,
        complete,
        environment,
        ca_bundle=inputs.authorities,
        missing=(inputs.why_no_authorities, f"references: {SIGN_IN} comes first"),
    )
    return [*area.checks(), *metronome, *salesforce]


def _tell_settings(area: Area, environment: Mapping[str, str]) -> bool:
    try:
        rules = host_rules(environment)
    except ProductError as error:
        area.failed(SETTINGS, error)
        return False
    more = f", and {', '.join(rules.extra_hosts)}" if rules.extra_hosts else ""
    plain = "; plain http is allowed, which is for sandboxes only" if rules.allow_http else ""
    defaults = "The default hosts" if rules.default_hosts else "Not the default hosts"
    area.fine(SETTINGS, f"{defaults}{more} may be called{plain}.")
    return True


def _tell_references(area: Area, sync: MetronomeSync, referred: _Referred, inputs: _Inputs) -> None:
    spec = sync.spec
    key, sign_in = spec.metronome.api_key_secret_ref, spec.salesforce.credentials_secret_ref
    if not _tell_unread(area, KEY, referred, ("secrets", key.name)):
        try:
            inputs.api_key = api_key_of(sync, referred)
            area.fine(KEY, f"{key.name} has the key {key.key}.")
        except ProductError as error:
            area.failed(KEY, error)
    if not _tell_unread(area, SIGN_IN, referred, ("secrets", sign_in.name)):
        try:
            inputs.credentials = credentials_of(sync, referred)
            area.fine(SIGN_IN, f"{sign_in.name} has {', '.join(inputs.credentials)}.")
        except ProductError as error:
            area.failed(SIGN_IN, error)
    bundle = spec.salesforce.ca_bundle_config_map_ref
    if bundle is None:
        return
    inputs.why_no_authorities = f"references: {AUTHORITIES} comes first"
    if not _tell_unread(area, AUTHORITIES, referred, ("configmaps", bundle.name)):
        try:
            inputs.authorities = ca_bundle_of(sync, referred)
            inputs.why_no_authorities = ""
            area.fine(AUTHORITIES, f"{bundle.name} has the key {bundle.key}.")
        except ProductError as error:
            area.failed(AUTHORITIES, error)


def _tell_unread(area: Area, name: str, referred: _Referred, what: tuple[str, str]) -> bool:
    """Tell of what could not be read; False where it could, or is not there."""
    error = referred.unread.get(what)
    if error is None:
        return False
    if error.forbidden:
        area.unknown(name, f"You may not get {what[0]} {what[1]}.", _MAY_NOT_READ)
    else:
        area.broken(name, f"{error}.", "Check the cluster that --kubeconfig names.")
    return True
