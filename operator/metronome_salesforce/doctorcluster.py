"""`doctor`'s look at the cluster: the API and its CRDs, the MetronomeSync, rights, Lease, last run.

Everything is read. Reviews of access are asked by POST and stored nowhere.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from metronome_salesforce.conditions import RECONCILING
from metronome_salesforce.doctor import Area, Check
from metronome_salesforce.errors import ProductError
from metronome_salesforce.execution.lease import lease_name
from metronome_salesforce.kube import Kube, KubeError
from metronome_salesforce.report import Outcome
from metronome_salesforce.spec import (
    GROUP,
    LINK_PLURAL,
    SYNC_PLURAL,
    VERSION,
    MetronomeSync,
    parse_sync,
)

Json = dict[str, Any]

API, DEFINITIONS, SYNC = "API server", "CRDs", "MetronomeSync"
RIGHTS, AT_WORK, LEASE = "rights", "at work", "Lease"
LAST_RUN = "last run"
_APPLY = "Apply the CRDs of this version: kubectl apply -f crds/"
_CHART_OR_APPLY = (
    "With Helm: helm upgrade with the chart of this version, and crds.enabled true. Only without "
    "Helm: kubectl apply -f crds/"
)
_LATE = timedelta(minutes=10)
_YOUNG = timedelta(minutes=2)
_FRESH_SLACK = timedelta(seconds=10)
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Place:
    """Which MetronomeSync, and whose rights are asked for: a ServiceAccount's, or our own."""

    namespace: str
    name: str
    account: tuple[str, str] | None = None


@dataclass(slots=True)
class Seen:
    """What was found in the cluster; `sync` is None where it cannot be used."""

    checks: list[Check] = field(default_factory=list)
    body: Json | None = None
    sync: MetronomeSync | None = None
    why_not: str = ""


async def look_for_sync(kube: Kube, place: Place) -> Seen:
    """The API server, the CRDs and the MetronomeSync."""
    area, seen = Area("Kubernetes", [API, DEFINITIONS, SYNC]), Seen()
    try:
        version = await kube.version()
        area.fine(API, f"{kube.server} answers, version {version}.")
        if await _tell_definitions(area, kube):
            seen.body = await kube.get_sync(place.namespace, place.name)
            seen.sync = parse_sync(seen.body)
            area.fine(SYNC, f"{place.name} in namespace {place.namespace} is valid.")
    except KubeError as error:
        _tell_refusal(area, area.next, error, place)
    except ProductError as error:
        area.broken(SYNC, error.message, "Correct these fields.")
    seen.checks, seen.why_not = area.checks(), f"{area.first_broken} comes first"
    return seen


def no_cluster(error: KubeError) -> Seen:
    """What is told when there is no access to a cluster at all."""
    area = Area("Kubernetes", [API, DEFINITIONS, SYNC])
    area.broken(
        API, f"{str(error).rstrip('.')}.", "Name a kubeconfig with --kubeconfig, or in KUBECONFIG."
    )
    return Seen(area.checks(), why_not=f"{area.first_broken} comes first")


def _tell_refusal(area: Area, name: str, error: KubeError, place: Place) -> None:
    if name == SYNC and error.not_found:
        area.broken(
            SYNC,
            f"There is no {place.name} in namespace {place.namespace}.",
            "Name the right one with --sync and --namespace: kubectl get msync -A",
        )
    elif error.forbidden or error.status == 401:  # noqa: PLR2004 -- an HTTP status
        area.broken(
            name, f"{error}.", "Sign in as somebody who may get metronomesyncs and read Secrets."
        )
    else:
        area.broken(
            name, f"{error}.", "Check the cluster that --kubeconfig names, and the network."
        )


# -- the CRDs --------------------------------------------------------------------------------------


async def _tell_definitions(area: Area, kube: Kube) -> bool:
    """Whether both are served, which is what everything else needs."""
    plurals = (SYNC_PLURAL, LINK_PLURAL)
    served = await kube.served_plurals()
    missing = [plural for plural in plurals if plural not in served]
    if missing:
        listed = " and ".join(f"{plural}.{GROUP}" for plural in missing)
        area.broken(
            DEFINITIONS, f"The cluster does not serve {listed} in {VERSION}.", _CHART_OR_APPLY
        )
        return SYNC_PLURAL in served
    try:
        theirs = [await kube.find_definition(plural) for plural in plurals]
    except KubeError as error:
        if not error.forbidden:
            raise
        area.unknown(
            DEFINITIONS,
            "Both are served. You may not list them, so their age cannot be told.",
            "Ask with the right to list customresourcedefinitions.",
        )
        return True
    lacking = [
        f"{plural} {path}"
        for plural, definition in zip(plurals, theirs, strict=True)
        for path in sorted(set(_paths(_schema(_ours(plural)))) - set(_paths(_schema(definition))))
    ]
    if lacking:
        rest = len(lacking) - _SHOWN
        more = f", and {rest} more" if rest > 0 else ""
        listed = ", ".join(lacking[:_SHOWN])
        area.broken(
            DEFINITIONS, f"They are older than this version: no {listed}{more}.", _newer(theirs)
        )
    else:
        area.fine(DEFINITIONS, "Both are served, with every field of this version.")
    return True


def _newer(theirs: Iterable[Json | None]) -> str:
    """How they are made newer: by whom they are owned, as what kubectl applies stays kubectl's."""
    for definition in theirs:
        metadata = (definition or {}).get("metadata") or {}
        if (metadata.get("labels") or {}).get("app.kubernetes.io/managed-by") == "Helm":
            notes = metadata.get("annotations") or {}
            name = notes.get("meta.helm.sh/release-name", "RELEASE")
            namespace = notes.get("meta.helm.sh/release-namespace", "NAMESPACE")
            return (
                "They are a Helm release's, so upgrade it with the chart of this version: helm "
                f"upgrade {name} CHART --namespace {namespace} --reset-then-reuse-values"
            )
    return _APPLY


def _ours(plural: str) -> Json:
    """The definition that comes with this version: inside the wheel, or beside its source."""
    inside = Path(str(files("metronome_salesforce"))) / "crds"
    folder = inside if inside.is_dir() else Path(__file__).parents[2] / "crds"
    document: Json = yaml.safe_load((folder / f"{plural}.yaml").read_text("utf-8"))
    return document


def _schema(definition: Mapping[str, Any] | None) -> Json:
    for version in ((definition or {}).get("spec") or {}).get("versions", ()):
        if version["name"] == VERSION:
            schema: Json = version.get("schema", {}).get("openAPIV3Schema", {})
            return schema
    return {}


def _paths(schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Every field, and every value of an enumeration: `spec.objects[]=Usage`."""
    for name, one in (schema.get("properties") or {}).items():
        here = f"{path}.{name}" if path else name
        yield here
        yield from _paths(one, here)
    for value in schema.get("enum") or ():
        yield f"{path}={value}"
    for key, mark in (("items", "[]"), ("additionalProperties", ".*")):
        inner = schema.get(key)
        if isinstance(inner, Mapping):
            yield from _paths(inner, f"{path}{mark}")


# -- what the operator may do, and does -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Right:
    """One verb that the operator uses on one resource, `plural/subresource` or `plural`."""

    group: str
    resource: str
    verb: str
    name: str = ""

    def __str__(self) -> str:
        named = f" {self.name}" if self.name else ""
        return f"{self.verb} {self.resource}{named}"

    def attributes(self, namespace: str = "") -> dict[str, str]:
        """As a review of access asks for it, by default for the whole cluster."""
        plural, _, subresource = self.resource.partition("/")
        asked = {
            "namespace": namespace, "group": self.group, "resource": plural, "verb": self.verb,
            "subresource": subresource, "name": self.name,
        }  # fmt: skip
        return {key: value for key, value in asked.items() if value or key == "group"}


def rights_for(sync: MetronomeSync) -> list[Right]:
    """What the operator uses to serve this MetronomeSync, as examples/operator.yaml grants it."""
    spec = sync.spec
    secrets = {spec.metronome.api_key_secret_ref.name, spec.salesforce.credentials_secret_ref.name}
    bundle = spec.salesforce.ca_bundle_config_map_ref
    leases = "coordination.k8s.io"
    return [
        *(Right(GROUP, SYNC_PLURAL, verb) for verb in ("get", "list", "watch")),
        *(Right(GROUP, LINK_PLURAL, verb) for verb in ("get", "list", "watch", "patch")),
        *(Right(GROUP, f"{plural}/status", "patch") for plural in (SYNC_PLURAL, LINK_PLURAL)),
        *(Right("", "secrets", "get", name) for name in sorted(secrets)),
        *([] if bundle is None else [Right("", "configmaps", "get", bundle.name)]),
        Right("", "events", "create"),
        *(Right(leases, "leases", verb) for verb in ("get", "create", "update")),
    ]


def rights_in_cluster() -> list[Right]:
    """What it uses besides if it serves the whole cluster; kopf follows the kinds with these."""
    group = "apiextensions.k8s.io"
    return [Right(group, "customresourcedefinitions", verb) for verb in ("list", "watch")]


async def look_at_operator(kube: Kube, place: Place, seen: Seen) -> list[Check]:
    """Its rights, whether one is at work, and the Lease."""
    area = Area("operator", [RIGHTS, AT_WORK, LEASE], seen.why_not)
    if seen.sync is None or seen.body is None:
        return area.checks()
    await _tell_rights(area, kube, place, seen.sync)
    _tell_work(area, seen.body, seen.sync)
    await _tell_lease(area, kube, place)
    return area.checks()


async def _tell_rights(area: Area, kube: Kube, place: Place, sync: MetronomeSync) -> None:
    asked = [(one, one.attributes(place.namespace)) for one in rights_for(sync)]
    try:
        asker = await kube.own_username()
        # Who may list everywhere is one who serves everywhere: an operator of single namespaces has
        # the right in these only.
        if await kube.may(Right(GROUP, SYNC_PLURAL, "list").attributes(), place.account):
            asked += [(one, one.attributes()) for one in rights_in_cluster()]
        answers = await asyncio.gather(*(kube.may(words, place.account) for _, words in asked))
    except KubeError as error:
        area.unknown(
            RIGHTS,
            f"They cannot be asked for: {error}.",
            "Ask with the right to create subjectaccessreviews, or as the operator's "
            "ServiceAccount.",
        )
        return
    refused = [one for one, allowed in zip(asked, answers, strict=True) if not allowed]
    lacking = " and ".join(
        f"{', '.join(str(one) for one in group)} in {where}"
        for group, where in (
            (
                [one for one, words in refused if "namespace" in words],
                f"namespace {place.namespace}",
            ),
            ([one for one, words in refused if "namespace" not in words], "the whole cluster"),
        )
        if group
    )
    account = place.account
    who = f"system:serviceaccount:{':'.join(account)}" if account else asker or "You"
    if account is None and not asker.startswith("system:serviceaccount:"):
        may = f"may not {lacking}" if lacking else f"may do all {len(asked)} things"
        area.unknown(
            RIGHTS,
            f"{who}, who asks, {may}; what the operator may do was not asked.",
            "Name its ServiceAccount: --as-service-account NAMESPACE/NAME",
        )
    elif lacking:
        area.broken(
            RIGHTS,
            f"{who} may not {lacking}.",
            "With the chart: rbac.secretNames and rbac.configMapNames must have the names, and "
            "watchNamespaces the namespace. Else give its Role these rights, as "
            "examples/operator.yaml does.",
        )
    else:
        area.fine(RIGHTS, f"{who} may do all {len(asked)} things that it needs.")


def _tell_work(area: Area, body: Json, sync: MetronomeSync) -> None:
    status, now = body.get("status") or {}, datetime.now(UTC)
    log = f"Start an operator that watches namespace {sync.metadata.namespace}, and see its log."
    if not status.get("conditions"):
        created = sync.metadata.creation_timestamp or now
        if now - created < _YOUNG:
            area.unknown(AT_WORK, "No operator has looked at it yet.", "Look again in a minute.")
        else:
            area.broken(AT_WORK, "No operator has ever looked at it.", log)
        return
    due = _time(status.get("nextRunTime"))
    runs = any(
        one["type"] == RECONCILING and one["status"] == "True" for one in status["conditions"]
    )
    if not sync.spec.suspend and not runs and due is not None and now - due > _LATE:
        area.broken(AT_WORK, f"A cycle was due {_ago(now - due)} ago, and none runs.", log)
    elif status.get("observedGeneration", 0) < sync.metadata.generation:
        area.unknown(
            AT_WORK,
            "The last change of the spec has not been taken up yet.",
            "Look again in a minute, or when the cycle that runs is over; see the operator's log.",
        )
    elif sync.spec.suspend:
        area.unknown(AT_WORK, "It is suspended: no cycles run.", "Set spec.suspend to false.")
    else:
        following = f"; the next cycle is due {status['nextRunTime']}" if due else ""
        area.fine(AT_WORK, f"An operator has taken up the newest spec{following}.")


async def _tell_lease(area: Area, kube: Kube, place: Place) -> None:
    try:
        lease = await kube.get_lease(place.namespace, lease_name(place.name), 10.0)
    except KubeError as error:
        area.unknown(LEASE, f"It cannot be read: {error}.", "Ask with the right to get leases.")
        return
    spec = (lease or {}).get("spec") or {}
    holder, renewed = spec.get("holderIdentity"), _time(spec.get("renewTime"))
    if not holder:
        area.fine(LEASE, "Nobody holds it: no cycle runs and no customer is moved just now.")
        return
    age = datetime.now(UTC) - renewed if renewed else None
    limit = timedelta(seconds=spec.get("leaseDurationSeconds") or 0) + _FRESH_SLACK
    if age is None or age > limit:
        since = f", last renewed {_ago(age)} ago" if age else ", never renewed"
        area.broken(
            LEASE,
            f"{holder} holds it{since}: it ended in the middle of its work.",
            "An operator that runs takes it over within half a minute: start one.",
        )
        return
    area.fine(LEASE, f"{holder} holds it, renewed {_ago(age)} ago.")


# -- the last run ----------------------------------------------------------------------------------


def look_at_last_run(seen: Seen) -> list[Check]:
    """How the newest run ended, and when."""
    area = Area("cycles", [LAST_RUN], seen.why_not)
    if seen.body is None:
        return area.checks()
    status, now = seen.body.get("status") or {}, datetime.now(UTC)
    run = status.get("lastRun")
    if not run:
        area.unknown(LAST_RUN, "No cycle has run yet.", "Wait, or ask for one by annotation.")
        return area.checks()
    ended, success = _time(run.get("finishedAt")), _time(status.get("lastSuccessTime"))
    when = f"{_ago(now - ended)} ago" if ended else "at an unknown time"
    how = f"{run.get('outcome')} {when}"
    match run.get("outcome"):
        case Outcome.SUCCEEDED:
            area.fine(LAST_RUN, f"{how}.")
        case Outcome.PLANNED:
            area.unknown(LAST_RUN, f"{how}: a dry run.", "Set spec.dryRun to false to write.")
        case _:
            last = (
                f"the last success was {_ago(now - success)} ago" if success else "no success yet"
            )
            reason = run.get("reason", "")
            area.broken(
                LAST_RUN,
                f"{how} ({reason}): {run.get('message', '')} ({last})",
                f"See {reason} in the README, Troubleshooting.",
            )
    return area.checks()


def _time(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None


def _ago(age: timedelta) -> str:
    seconds = max(0, round(age.total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
