"""The Metronome package in an org: which version it has, installing it, and who is given access.

A deploy shows new objects and fields to nobody: the integration user needs the permission set that
comes with it, and only then is the package there for it. The version is a record that the deploy
itself writes (custom metadata), so that it never says more than what was deployed.
"""

import re
from dataclasses import dataclass, replace
from http import HTTPStatus

from metronome_salesforce.errors import ConfigError
from metronome_salesforce.ports import PackageState
from metronome_salesforce.salesforce.deploying import DeployReport, Progress, deploy
from metronome_salesforce.salesforce.failures import PERMISSION_SET, RefusedError
from metronome_salesforce.salesforce.package import (
    INTEGRATION_SET,
    VERSION_FIELD,
    VERSION_RECORD,
    VERSION_TYPE,
    package_version,
    package_zip,
)
from metronome_salesforce.salesforce.reading import literal
from metronome_salesforce.salesforce.session import Session

NEVER, IF_MISSING, ALWAYS = "Never", "IfMissing", "Always"
DEPLOY_COMMAND = "metronome-salesforce package deploy"

_SHOWN = 3
_MODIFY = '"Modify Metadata Through Metadata API Functions"'
_ASSIGN = '"Assign Permission Sets"'
_TO_INSTALL = {
    "PermissionsModifyMetadata": _MODIFY,
    "PermissionsAssignPermissionSets": _ASSIGN,
}
_REFUSED = frozenset({
    "INSUFFICIENT_ACCESS", "INSUFFICIENT_ACCESS_OR_READONLY",
    "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY", "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
    "INVALID_TYPE_FOR_OPERATION", "INVALID_TYPE", "NOT_FOUND",
})  # fmt: skip
_UNKNOWN_TO_USER = frozenset({"INVALID_TYPE", "INVALID_FIELD", "NOT_FOUND"})


class NotAllowedError(ConfigError):
    """The user lacks a right that is needed to install or to assign."""


@dataclass(frozen=True, slots=True)
class Access:
    """Whether the org has the integration's permission set, and the user it."""

    set_id: str | None
    assigned: bool


def installed_version(session: Session) -> str | None:
    """The version of the org's package; None where the user sees none."""
    soql = (
        f"SELECT {VERSION_FIELD} FROM {VERSION_TYPE} "  # noqa: S608 -- SOQL of our own names
        f"WHERE DeveloperName = {literal(VERSION_RECORD)}"
    )
    try:
        records = session.query(soql)["records"]
    except RefusedError as refused:
        if refused.code not in _UNKNOWN_TO_USER:
            raise
        return None
    return str(records[0][VERSION_FIELD]) if records and records[0][VERSION_FIELD] else None


def is_older(version: str | None, other: str) -> bool:
    """Whether a version comes before another one; None, no version at all, before every other."""
    return version is None or _numbers(version) < _numbers(other)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


def prepare(
    session: Session, policy: str, *, progress: Progress = lambda _status, _done, _total: None
) -> PackageState:
    """Install or upgrade the package as `policy` says, and tell what the org has then.

    Never: only look. IfMissing: deploy to an org without it. Always: upgrade an older one as well.
    Never downgrades. What keeps it from being installed is in the state, as reason and sentence;
    raises ConfigError and RetriableError for what has nothing to do with the package.
    """
    if session.namespace:
        policy = NEVER  # such a package is no metadata of the org's own: it is never deployed
    version, fresh = installed_version(session), False
    if version is None:
        access = integration_access(session)
        try:
            if access.set_id is None:
                if session.namespace:
                    return _missing_managed()
                if policy == NEVER:
                    return _missing("")
                _install(session, progress)
                fresh = True
                access = integration_access(session)
            if not access.assigned:
                if policy == NEVER:
                    return _unknown()
                assign(session, INTEGRATION_SET, session.user_id or "")
        except NotAllowedError as error:
            return _missing(error.message) if access.set_id is None else _unassigned(error.message)
        except ConfigError as error:
            return PackageState(None, installed=False, reason=error.reason, message=error.message)
        version = installed_version(session)
    state = _upgraded(session, policy, version, progress)
    if not fresh:
        return state
    sentence = f"The Metronome package {version} was installed."
    return replace(state, message=sentence, changed=True)


def _upgraded(
    session: Session, policy: str, version: str | None, progress: Progress
) -> PackageState:
    ours = package_version()
    if is_older(version, ours):
        had = version or "without a version"
        if session.namespace:
            return PackageState(
                version,
                installed=True,
                lacking=True,
                reason="Outdated",
                message=f"The org has the Metronome package {had}, and this operator works with "
                f"{ours}; install a newer version of the managed package.",
            )
        if policy != ALWAYS:
            return PackageState(
                version,
                installed=True,
                lacking=True,
                reason="Outdated",
                message=f"The org has the Metronome package {had}, and this operator brings "
                f"{ours}; set spec.salesforce.package.install to Always, or run {DEPLOY_COMMAND}.",
            )
        try:
            _install(session, progress)
        except ConfigError as error:
            reason = "UpgradeNotAllowed" if isinstance(error, NotAllowedError) else error.reason
            return PackageState(
                version, installed=True, lacking=True, reason=reason, message=error.message
            )
        return PackageState(
            installed_version(session),
            installed=True,
            reason="Installed",
            message=f"The Metronome package was upgraded from {had} to {ours}.",
            changed=True,
        )
    if version != ours:
        return PackageState(
            version,
            installed=True,
            reason="Newer",
            message=f"The org has the Metronome package {version}, newer than the {ours} of this "
            "operator; it is left alone.",
        )
    return PackageState(
        version,
        installed=True,
        reason="Installed",
        message=f"The org has the Metronome package {version}.",
    )


def _missing(why: str) -> PackageState:
    sentence = (
        "The org has no Metronome package that the integration user can see; let an administrator "
        f"run {DEPLOY_COMMAND}"
    )
    return PackageState(
        None,
        installed=False,
        reason="PackageMissing",
        message=f"{sentence}. {why}"
        if why
        else f"{sentence}, or set spec.salesforce.package.install to IfMissing.",
    )


def _missing_managed() -> PackageState:
    return PackageState(
        None,
        installed=False,
        reason="PackageMissing",
        message="The org has no Metronome package under spec.salesforce.namespacePrefix; install "
        "the managed package with that namespace, or leave the prefix empty for a package that is "
        "deployed as metadata.",
    )


def _unassigned(why: str) -> PackageState:
    return PackageState(
        None, installed=None, lacking=True, reason="PermissionSetNotAssigned", message=why
    )


def _unknown() -> PackageState:
    return PackageState(
        None,
        installed=None,
        lacking=True,
        reason="PermissionSetNotAssigned",
        message=f'The permission set "{PERMISSION_SET}" is not assigned to the integration user; '
        "assign it.",
    )


def _install(session: Session, progress: Progress) -> DeployReport:
    report = install(session, progress=progress)
    if report.succeeded:
        return report
    shown = [f"{one.type} {one.name}: {one.text}" for one in report.problems[:_SHOWN]]
    rest = len(report.problems) - len(shown)
    listed = "; ".join(shown or [report.message or report.status])
    raise ConfigError(
        "PackageRefused",
        f"The org refused the Metronome package, and nothing of it was kept: {listed}"
        + (f"; and {rest} more" if rest > 0 else "")
        + f". {DEPLOY_COMMAND} --dry-run shows all of it.",
    )


def install(
    session: Session,
    *,
    check_only: bool = False,
    progress: Progress = lambda _status, _done, _total: None,
) -> DeployReport:
    """Deploy the package that comes with this operator.

    Raises NotAllowedError when the user may not, ConfigError and RetriableError.
    """
    try:
        return deploy(
            session, package_zip(session.api_version), check_only=check_only, progress=progress
        )
    except RefusedError as refused:
        if refused.status != HTTPStatus.FORBIDDEN and refused.code not in _REFUSED:
            raise
        raise NotAllowedError(
            "PackageNotAllowed",
            f"The user may not install it: it lacks {_MODIFY}. Nothing was written.",
        ) from None


def integration_access(session: Session) -> Access:
    """Whether the integration's permission set is there, and assigned to the session's user."""
    set_id = permission_set_id(session, INTEGRATION_SET)
    if set_id is None:
        return Access(None, assigned=False)
    return Access(set_id, assigned=is_assigned(session, set_id, session.user_id or ""))


def permission_set_id(session: Session, name: str) -> str | None:
    """The id of a permission set of the package; None where the org has none of that name."""
    soql = f"SELECT Id FROM PermissionSet WHERE Name = {literal(name)}"  # noqa: S608 -- our own name
    records = session.query(soql)["records"]
    return str(records[0]["Id"]) if records else None


def is_assigned(session: Session, set_id: str, user_id: str) -> bool:
    """Whether a user has a permission set."""
    soql = (
        f"SELECT Id FROM PermissionSetAssignment WHERE PermissionSetId = {literal(set_id)} "  # noqa: S608 -- ids are quoted
        f"AND AssigneeId = {literal(user_id)}"
    )
    return bool(session.query(soql)["records"])


def lacking_to_install(session: Session) -> list[str] | None:
    """The permissions that the session's user lacks to install and assign; None: not told.

    Told by UserPermissionAccess, which any user of the API may query (Object Reference).
    """
    soql = f"SELECT {', '.join(_TO_INSTALL)} FROM UserPermissionAccess"  # noqa: S608 -- our own names
    try:
        records = session.query(soql)["records"]
    except RefusedError as refused:
        if refused.code not in _UNKNOWN_TO_USER:
            raise
        return None
    if not records:
        return None
    return [told for name, told in _TO_INSTALL.items() if records[0].get(name) is not True]


def user_id_of(session: Session, username: str) -> str:
    """The id of an active user; raises ConfigError `UserNotFound`."""
    soql = f"SELECT Id FROM User WHERE Username = {literal(username)} AND IsActive = true"  # noqa: S608 -- quoted
    records = session.query(soql)["records"]
    if not records:
        raise ConfigError(
            "UserNotFound",
            f"the org has no active user with the username {username}; a username looks like an "
            "e-mail address and may differ from it",
        )
    return str(records[0]["Id"])


def username_of(session: Session) -> str:
    """The username of the session's own user; empty when the user may not see itself."""
    soql = f"SELECT Username FROM User WHERE Id = {literal(session.user_id or '')}"  # noqa: S608 -- quoted
    records = session.query(soql)["records"]
    return str(records[0]["Username"]) if records else ""


def assign(session: Session, name: str, user_id: str) -> bool:
    """Assign a permission set of the package to a user; False if the user had it already.

    Raises ConfigError `PackageMissing` for an org without it, NotAllowedError where the session's
    user may not assign.
    """
    set_id = permission_set_id(session, name)
    if set_id is None:
        raise ConfigError(
            "PackageMissing",
            f"the org has no permission set {name}; deploy the Metronome package: {DEPLOY_COMMAND}",
        )
    if is_assigned(session, set_id, user_id):
        return False
    body = {"AssigneeId": user_id, "PermissionSetId": set_id}
    try:
        session.call("sobjects/PermissionSetAssignment", method="POST", body=body)
    except RefusedError as refused:
        if refused.code == "DUPLICATE_VALUE":  # somebody else was faster
            return False
        if refused.status != HTTPStatus.FORBIDDEN and refused.code not in _REFUSED:
            raise
        raise NotAllowedError(
            "PermissionSetNotAssigned",
            f"The permission set {name} is not assigned, and the user may not do that: it lacks "
            f"{_ASSIGN}. Let an administrator assign it, or run {DEPLOY_COMMAND} as one.",
        ) from None
    return True
