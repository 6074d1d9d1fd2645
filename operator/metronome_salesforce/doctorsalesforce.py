"""`doctor`'s look at the org: reachable, signed in, calls and storage left, package and rights.

Everything is read; what a cycle may write is told by what describe says of objects and fields.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing

from metronome_salesforce.doctor import Area, Check, Mark
from metronome_salesforce.doctormetronome import (
    CLOCK,
    HOST,
    REACHABLE,
    reached,
    tell_clock,
    tell_host,
)
from metronome_salesforce.errors import ProductError, RetriableError
from metronome_salesforce.execution.running import open_session
from metronome_salesforce.guards import Limits, ensure_budget
from metronome_salesforce.hosts import host_rules
from metronome_salesforce.inputs import SyncInputs
from metronome_salesforce.ports import OrgState
from metronome_salesforce.salesforce.access import org_state
from metronome_salesforce.salesforce.checking import (
    Finding,
    Kind,
    PackageCheck,
    grouped,
    look_at_package,
)
from metronome_salesforce.salesforce.failures import RetryPolicy
from metronome_salesforce.salesforce.installing import (
    ALWAYS,
    DEPLOY_COMMAND,
    NEVER,
    is_older,
    lacking_to_install,
)
from metronome_salesforce.salesforce.package import INTEGRATION_SET
from metronome_salesforce.salesforce.probing import Probe, probe
from metronome_salesforce.salesforce.session import Session
from metronome_salesforce.spec import MetronomeSync, SalesforceSpec

VERSION, SIGN_IN, CALLS, STORAGE, PACKAGE, INSTALL = (
    "API version", "sign-in", "API calls", "data storage", "package", "rights to install",
)  # fmt: skip
_KINDS: Mapping[str, tuple[Kind, ...]] = {
    "permission sets": ("permission set", "assignment"),
    "objects": ("object", "object access"),
    "fields": ("field",),
    "field access": ("field access",),
}
_SHOWN = 3
_PATIENCE = RetryPolicy(attempts=2)
"""A person waits: what fails twice is told."""


def salesforce_checks(
    sync: MetronomeSync,
    inputs: SyncInputs | None,
    environment: Mapping[str, str],
    *,
    ca_bundle: str | None,
    missing: tuple[str, str],
) -> list[Check]:
    """The checks of the org, which block.

    Without `inputs` nobody signs in. `missing` says what comes first: before any call where the CA
    bundle is not to be had, and before the sign-in.
    """
    spec, (no_bundle, no_inputs) = sync.spec.salesforce, missing
    names = [HOST, REACHABLE, CLOCK, VERSION, SIGN_IN, CALLS, STORAGE, PACKAGE, *_KINDS]
    if spec.package.install != NEVER and not spec.namespace_prefix:
        names.append(INSTALL)
    area = Area("Salesforce", names, no_bundle)
    if not tell_host(area, host_rules(environment), spec.instance_url) or no_bundle:
        return area.checks()
    try:
        answer = probe(spec.instance_url, ca_bundle)
    except ProductError as error:
        area.failed(REACHABLE, error)
        return area.checks()
    area.fine(REACHABLE, reached(spec.instance_url))
    tell_clock(area, answer.heard)
    _tell_version(area, answer, spec.api_version)
    if inputs is None:
        area.wait(SIGN_IN, no_inputs)
        return area.checks()
    try:
        with closing(open_session(inputs, environment=environment, policy=_PATIENCE)) as session:
            session.sign_in()
            area.fine(SIGN_IN, "The org opens a session.")
            if area.told[VERSION].mark is not Mark.BROKEN:  # all calls from here on have it
                _look_inside(area, session, spec)
    except ProductError as error:
        if SIGN_IN not in area.told:
            area.failed(SIGN_IN, error)
        else:
            area.failed(area.next, error)
    return area.checks()


def _tell_version(area: Area, answer: Probe, wanted: str) -> None:
    if answer.refused is not None:
        area.failed(VERSION, answer.refused)
    elif wanted in answer.versions:
        area.fine(
            VERSION, f"{wanted}; the org offers {answer.versions[0]} to {answer.versions[-1]}."
        )
    else:
        area.broken(
            VERSION,
            f"The org does not offer {wanted}, but {answer.versions[0]} to {answer.versions[-1]}.",
            "Set spec.salesforce.apiVersion to one of these.",
        )


def _look_inside(area: Area, session: Session, spec: SalesforceSpec) -> None:
    """The checks behind the sign-in; raises ProductError where the next one cannot be made."""
    state = org_state(session)
    _tell_calls(area, state, spec.api_budget_percent)
    _tell_storage(area, state)
    found = look_at_package(session)
    _tell_package(area, found)
    for name, kinds in _KINDS.items():
        _tell_findings(area, name, [one for one in found.findings if one.kind in kinds], found)
    if spec.package.install != NEVER and not session.namespace:
        _tell_rights(area, lacking_to_install(session), spec.package.install, found)


def _tell_calls(area: Area, state: OrgState, percent: int) -> None:
    if state.quota is None:
        area.unknown(CALLS, "The org does not tell how many API calls are left.")
        return
    used, most = state.quota.used, state.quota.maximum
    counts = f"{used:,} of {most:,} used in 24 hours; cycles stop at {most * percent // 100:,}"
    try:
        ensure_budget(state.quota, Limits(100, percent), calls=1)
    except RetriableError:
        area.broken(
            CALLS,
            f"{counts}.",
            "Wait, or see in Setup, Company Information, who uses them; or raise "
            "spec.salesforce.apiBudgetPercent.",
        )
        return
    area.fine(CALLS, f"{counts}.")


def _tell_storage(area: Area, state: OrgState) -> None:
    left, most = state.storage_left_mb, state.storage_max_mb
    if left is None:
        area.unknown(STORAGE, "The org does not tell how much storage is left.")
    elif left == 0:
        area.broken(STORAGE, f"None of {most:,} MB is left.", "Free or buy data storage.")
    else:
        area.fine(STORAGE, f"{left:,} of {most:,} MB are left.")


def _tell_package(area: Area, found: PackageCheck) -> None:
    of_version = [one for one in found.findings if one.kind == "package"]
    remedy = _remedy(of_version or found.findings, found)
    if found.version is None and found.suffices and not of_version:
        area.unknown(
            PACKAGE,
            "The org has what the operator needs; the integration user does not see of which "
            f"version it is. The operator brings {found.ours}.",
        )
    elif found.version is None:
        area.broken(
            PACKAGE,
            f"It is not there, or not to be seen; the operator brings {found.ours}.",
            remedy or f"Run {DEPLOY_COMMAND}.",
        )
    elif is_older(found.version, found.ours):
        area.broken(PACKAGE, f"{found.version}; the operator brings {found.ours}.", remedy)
    elif is_older(found.ours, found.version):
        area.fine(PACKAGE, f"{found.version}, newer than the operator's {found.ours}: it stays.")
    else:
        area.fine(PACKAGE, f"{found.version}, as the operator brings it.")


def _tell_findings(
    area: Area, name: str, findings: Sequence[Finding], all_of_it: PackageCheck
) -> None:
    if findings:
        listed = [f"{one.name} {one.problem}" for one in grouped(findings)[:_SHOWN]]
        rest = len(findings) - len(listed)
        more = [f"and {rest} more"] if rest else []
        area.broken(name, "; ".join([*listed, *more]) + ".", _remedy(findings, all_of_it))
    elif name == "permission sets" and not all_of_it.sets_visible:
        area.unknown(
            name, "The integration user may not look into Setup, and sees no permission sets."
        )
    elif name in {"fields", "field access"} and _has_hidden_objects(all_of_it.findings):
        area.unknown(name, "Those of the objects that are to be seen are in order.")
    elif name == "permission sets" and not all_of_it.assigned:
        area.fine(name, f"All are there; access comes by another than {INTEGRATION_SET}.")
    else:
        area.fine(name, _FINE[name])


_FINE: Mapping[str, str] = {
    "permission sets": f"All are there, and {INTEGRATION_SET} is assigned to the integration user.",
    "objects": "All are there, and may be read and written.",
    "fields": "All are there.",
    "field access": "All may be read, and written where the operator writes.",
}


def _has_hidden_objects(findings: Iterable[Finding]) -> bool:
    return any(
        one.kind == "object" or (one.kind == "object access" and "is closed" in one.problem)
        for one in findings
    )


def _remedy(findings: Sequence[Finding], found: PackageCheck) -> str:
    if not findings:
        return ""
    if found.namespaced:
        return (
            f"Install the newest version of the managed package, and assign {INTEGRATION_SET}; "
            "package check lists everything."
        )
    if any(one.remedy == "deploy" for one in findings):
        return f"Run {DEPLOY_COMMAND}; package check lists everything."
    return (
        f"Assign {INTEGRATION_SET} to the integration user; package check lists everything, with "
        "the command."
    )


def _tell_rights(area: Area, lacking: list[str] | None, policy: str, found: PackageCheck) -> None:
    current = found.version is not None and not is_older(found.version, found.ours)
    if lacking is None:
        area.unknown(INSTALL, "The org does not tell what the integration user may do.")
    elif not lacking:
        area.fine(INSTALL, "The integration user may deploy the package, and assign its sets.")
    elif found.version is None and found.suffices:
        area.fine(INSTALL, "Not needed: the org has what the operator needs.")
    elif found.version is not None and policy != ALWAYS:
        area.fine(INSTALL, f"Not needed: the org has the package, and {policy} upgrades nothing.")
    elif current:
        area.unknown(
            INSTALL,
            f"The integration user lacks {' and '.join(lacking)}. Nothing has to be installed now.",
            f"Upgrades then take an administrator, who runs {DEPLOY_COMMAND}.",
        )
    else:
        area.broken(
            INSTALL,
            f"The integration user lacks {' and '.join(lacking)}.",
            f"Give the user these, or let an administrator run {DEPLOY_COMMAND} and set "
            "spec.salesforce.package.install to Never.",
        )
