"""The Metronome package in an org: which version it has, installing it, and who is given access.

A deploy shows new objects and fields to nobody: the integration user needs the permission set that
comes with it, and only then is the package there for it. The version is a record that the deploy
itself writes (custom metadata), so that it never says more than what was deployed.

What the integration user sees decides, not how it came to see it: an org may give access by a
permission set of its own. Whose sets are whose can be seen only by users who may look into Setup
(Object Reference, PermissionSet), so an integration user as bare as it should be cannot tell.
"""

import hashlib
import re
from dataclasses import dataclass, replace
from http import HTTPStatus

from metronome_salesforce.errors import ConfigError, RetriableError
from metronome_salesforce.ports import PackageState, Refusal
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

NEVER, ALWAYS = "Never", "Always"
DEPLOY_COMMAND = "metronome-salesforce package deploy"

_SHOWN = 3
_MODIFY = '"Modify Metadata Through Metadata API Functions"'
_CUSTOMIZE = '"Customize Application"'
_ASSIGN = '"Assign Permission Sets"'
_VIEW = '"View Setup and Configuration"'
_TO_DEPLOY, _TO_ASSIGN = f"{_MODIFY} and {_CUSTOMIZE}", f"{_ASSIGN} and {_VIEW}"
_TO_INSTALL = {
    "PermissionsModifyMetadata": _MODIFY,
    "PermissionsCustomizeApplication": _CUSTOMIZE,
    "PermissionsAssignPermissionSets": _ASSIGN,
    "PermissionsViewSetup": _VIEW,
}
_ADMINISTRATOR = f"let an administrator run {DEPLOY_COMMAND}"
_REFUSED = frozenset({
    "INSUFFICIENT_ACCESS", "INSUFFICIENT_ACCESS_OR_READONLY",
    "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY", "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
    "INVALID_TYPE_FOR_OPERATION", "INVALID_TYPE",
})  # fmt: skip
_UNKNOWN_TO_USER = frozenset({"INVALID_TYPE", "INVALID_FIELD"})
_UNTIL = (
    "The same package is sent again when a cycle is requested, or the spec or a Secret changes; "
    "another one that the operator brings is sent at once."
)
_OF_ACCESS = re.compile(r"insufficient|privilege", re.IGNORECASE)


class NotAllowedError(ConfigError):
    """The user lacks a right that is needed to install or to assign."""


class PackageRefusedError(ConfigError):
    """The org does not take the package, or somebody there stopped it."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason, refusal.message)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Access:
    """Whether the org has the integration's permission set, and the user it.

    `visible` is False for a user who may not look at permission sets; nothing is known then.
    """

    set_id: str | None
    assigned: bool
    visible: bool = True


def _silent(_status: str, _done: int, _total: int) -> None:
    """Progress that nobody wants to hear of."""


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


# -- what a cycle does -----------------------------------------------------------------------------


def prepare(
    session: Session,
    policy: str,
    lacking: ConfigError | None,
    *,
    dry_run: bool = False,
    progress: Progress = _silent,
    refusal: Refusal | None = None,
) -> PackageState:
    """Install or upgrade the package as `policy` says, and tell what the org has then.

    `lacking` is what keeps the user from working with the org as it is. Never: only look.
    IfMissing: deploy to an org without the package, and assign its permission set, if something is
    lacking. Always: upgrade an older one as well. Never downgrades; a dry run and an org whose
    package has a namespace are only looked at. What the org has refused, as `refusal` tells, is not
    sent again: its answer is repeated. What keeps it from being installed is in the state,
    as reason and sentence; raises ConfigError and RetriableError for what has nothing to do with
    the package.
    """
    looks_only = policy == NEVER or dry_run or bool(session.namespace)
    version, done = installed_version(session), ""
    if lacking is not None or version is None:
        access = integration_access(session)
        if lacking is None and not access.assigned:
            return _of_unknown_version(session, access)
        if lacking is not None and _is_unprovided(access, version):
            if looks_only or not access.visible:
                return _absent(session, policy, lacking, access, dry_run=dry_run)
            try:
                done = _provide(session, access, progress, refusal)
            except ConfigError as error:
                return _not_provided(error, lacking, access)
            version = installed_version(session)
    may_upgrade = policy == ALWAYS and not looks_only
    try:
        state = _compared(session, version, progress, refusal, may_upgrade=may_upgrade)
    except RetriableError as error:
        if lacking is not None:
            raise
        # The org has all that is needed now: an upgrade can wait, and the cycle need not.
        state = PackageState(
            version, installed=True, reason=error.reason, message=error.message, lacking=True
        )
    if not done:
        return state
    if state.changed or state.lacking:
        done = f"{done} {state.message}"
    return replace(state, message=done, changed=True)


def _is_unprovided(access: Access, version: str | None) -> bool:
    """Whether the org has no package, or the user was not given it."""
    return not access.assigned if access.visible else version is None


def _provide(session: Session, access: Access, progress: Progress, refusal: Refusal | None) -> str:
    """Deploy the package to an org without it, and assign its permission set; what was done."""
    done = f'The permission set "{PERMISSION_SET}" was assigned to the integration user.'
    if access.set_id is None:
        _install(session, progress, refusal)
        done = f"The Metronome package {package_version()} was installed."
    assign(session, INTEGRATION_SET, session.user_id or "")
    return done


def _not_provided(error: ConfigError, lacking: ConfigError, access: Access) -> PackageState:
    """Why the package could not be installed, or not be given to the user."""
    if not _is_missing(lacking):
        return replace(_partial(lacking, error.message), refusal=_refusal_in(error))
    missing = access.set_id is None and error.reason != "PermissionSetNotAssigned"
    return PackageState(
        None,
        installed=False if missing else None,
        reason="PackageMissing" if isinstance(error, NotAllowedError) and missing else error.reason,
        message=error.message,
        lacking=True,
        refusal=_refusal_in(error),
    )


def _refusal_in(error: ConfigError) -> Refusal | None:
    return error.refusal if isinstance(error, PackageRefusedError) else None


def _is_missing(lacking: ConfigError) -> bool:
    """Whether the user sees an object too few, and not only less of one than it needs."""
    return lacking.reason == "PackageMissing"


def _partial(lacking: ConfigError, remedy: str) -> PackageState:
    """All objects are to be seen, so that nobody can say that the package is missing."""
    return PackageState(
        None,
        installed=None,
        reason=lacking.reason,
        message=f"{lacking.message}. {remedy}",
        lacking=True,
    )


def _compared(
    session: Session,
    version: str | None,
    progress: Progress,
    refusal: Refusal | None,
    *,
    may_upgrade: bool,
) -> PackageState:
    """The state of an org that has the package, in some version, and gives it to the user."""
    ours = package_version()
    if not is_older(version, ours):
        newer = version != ours
        sentence = f"The org has the Metronome package {version}"
        if newer:
            sentence += f", newer than the {ours} of this operator; it is left alone"
        reason = "Newer" if newer else "Installed"
        return PackageState(version, installed=True, reason=reason, message=f"{sentence}.")
    had = version or "without a version"
    if not may_upgrade:
        if session.namespace:
            remedy = "install a newer version of the managed package"
        else:
            remedy = (
                "set spec.salesforce.package.install to Always, or run "
                f"{DEPLOY_COMMAND} as somebody who may"
            )
        return PackageState(
            version,
            installed=True,
            reason="Outdated",
            message=f"The org has the Metronome package {had}, and this operator brings {ours}; "
            f"{remedy}.",
            lacking=True,
        )
    try:
        _install(session, progress, refusal)
    except ConfigError as error:
        reason = "UpgradeNotAllowed" if isinstance(error, NotAllowedError) else error.reason
        return PackageState(
            version,
            installed=True,
            reason=reason,
            message=error.message,
            lacking=True,
            refusal=_refusal_in(error),
        )
    return PackageState(
        installed_version(session),
        installed=True,
        reason="Installed",
        message=f"The Metronome package was upgraded from {had} to {ours}.",
        changed=True,
    )


def _of_unknown_version(session: Session, access: Access) -> PackageState:
    remedy = f'assign it the permission set "{PERMISSION_SET}" to have that told'
    if not session.namespace:
        # It may have the set, of a package from before versions, where it sees no sets at all.
        remedy = remedy if access.visible else f"to have that told, {_ADMINISTRATOR}"
        remedy += ", and the package upgraded"
    return PackageState(
        None,
        installed=True,
        reason="VersionUnknown",
        message="The org has what the operator needs, and the integration user does not see of "
        f"which version it is; {remedy}.",
    )


def _absent(
    session: Session, policy: str, lacking: ConfigError, access: Access, *, dry_run: bool
) -> PackageState:
    """The user lacks something, and nothing is done about it now."""
    if not _is_missing(lacking):
        return _partial(lacking, _remedy(session, policy, access, dry_run=dry_run))
    if access.set_id is not None:
        return PackageState(
            None,
            installed=None,
            reason="PermissionSetNotAssigned",
            message=_unassigned(),
            lacking=True,
        )
    if session.namespace:
        sentence = (
            "The org has no Metronome package under spec.salesforce.namespacePrefix that the "
            "integration user can see; install the managed package with that namespace and assign "
            "its permission set, or leave the prefix empty for a package that is deployed as "
            "metadata."
        )
    elif policy == NEVER:
        sentence = (
            "The org has no Metronome package that the integration user can see; "
            f"{_ADMINISTRATOR}, or set spec.salesforce.package.install to IfMissing."
        )
    elif not access.visible:
        sentence = f"{lacking.message}. {_helpless()}"
    else:
        sentence = (
            "The org has no Metronome package yet. A dry run installs nothing; the next cycle "
            f"does, if the integration user may, or {_ADMINISTRATOR}."
        )
    return PackageState(
        None, installed=False, reason="PackageMissing", message=sentence, lacking=True
    )


def _remedy(session: Session, policy: str, access: Access, *, dry_run: bool) -> str:
    """What mends access that is there in part, beside what is said of the part itself."""
    if session.namespace:
        return (
            "A package with a namespace is not deployed: install its newest version from its own "
            "page in the org."
        )
    if not access.visible:
        return _helpless()
    if dry_run and policy != NEVER:
        return f"A dry run changes nothing; the next cycle does, as {policy} says."
    if access.set_id is not None:
        return _unassigned()
    return f"To have it all, {_ADMINISTRATOR}."


def _helpless() -> str:
    return (
        "The integration user can do neither: that takes the permissions "
        f"{_TO_DEPLOY}, and {_TO_ASSIGN}; {_ADMINISTRATOR}. Nothing was written."
    )


def _unassigned() -> str:
    return (
        f'The permission set "{PERMISSION_SET}" is not assigned to the integration user; assign '
        f"it, or {_ADMINISTRATOR}."
    )


# -- the steps -------------------------------------------------------------------------------------


def _install(session: Session, progress: Progress, refusal: Refusal | None) -> None:
    """Deploy the package, unless the org has said of this very one that it does not take it.

    Nothing of what was refused changes by itself, and a deploy holds up all others of the org.
    """
    digest = hashlib.sha256(package_zip(session.api_version)).hexdigest()[:16]
    if refusal is not None and refusal.digest == digest:
        raise PackageRefusedError(refusal)
    report = install(session, progress=progress)
    if report.succeeded:
        return
    reason, sentence = "PackageRefused", _refused_sentence(report)
    if report.canceled:
        reason = "PackageDeployCanceled"
        sentence = (
            f"Somebody cancelled the deploy {report.id} of the Metronome package in the org, and "
            "nothing of it was kept."
        )
    raise PackageRefusedError(Refusal(digest, reason, f"{sentence} {_UNTIL}"))


def _refused_sentence(report: DeployReport) -> str:
    shown = [f"{one.type} {one.name}: {one.text}" for one in report.problems[:_SHOWN]]
    rest = len(report.problems) - len(shown)
    listed = "; ".join(shown or [report.message or report.status])
    return (
        f"The org refused the Metronome package, and nothing of it was kept: {listed}"
        + (f"; and {rest} more" if rest > 0 else "")
        + f". {DEPLOY_COMMAND} --dry-run shows all of it. {access_hint(report)}".rstrip()
    )


def install(
    session: Session, *, check_only: bool = False, progress: Progress = _silent
) -> DeployReport:
    """Deploy the package that comes with this operator.

    Raises NotAllowedError when the user may not, ConfigError and RetriableError.
    """
    # Told by the org itself, before it has worked for nothing: what it says of a component is for
    # people, and may be about another right. Of the two, this one has no substitute.
    if _CUSTOMIZE in (lacking_to_install(session) or ()):
        raise _not_allowed()
    try:
        report = deploy(
            session, package_zip(session.api_version), check_only=check_only, progress=progress
        )
    except RefusedError as refused:
        if refused.status != HTTPStatus.FORBIDDEN and refused.code not in _REFUSED:
            raise
        raise _not_allowed() from None
    return report


def access_hint(report: DeployReport) -> str:
    """What else to think of where a deploy failed and the org speaks of access; mostly empty."""
    if report.succeeded or not any(_OF_ACCESS.search(one.text) for one in report.problems):
        return ""
    return f"A deploy takes the permissions {_TO_DEPLOY}, and an org may ask for more."


def _not_allowed() -> NotAllowedError:
    return NotAllowedError(
        "PackageNotAllowed",
        f"Who signed in may not install the Metronome package: that takes the permissions "
        f"{_TO_DEPLOY}; {_ADMINISTRATOR}. Nothing was written.",
    )


def integration_access(session: Session) -> Access:
    """Whether the integration's permission set is there, and assigned to the session's user."""
    try:
        set_id = permission_set_id(session, INTEGRATION_SET)
        if set_id is None:
            return Access(None, assigned=False)
        return Access(set_id, assigned=is_assigned(session, set_id, session.user_id or ""))
    except RefusedError as refused:
        if refused.code not in _UNKNOWN_TO_USER:
            raise
        return Access(None, assigned=False, visible=False)


def permission_set_id(session: Session, name: str) -> str | None:
    """The id of a permission set of the package; None where the org has none of that name.

    Raises RefusedError with code INVALID_TYPE where the user may not look at permission sets.
    """
    soql = f"SELECT Id FROM PermissionSet WHERE Name = {literal(name)}"  # noqa: S608 -- our own name
    records = session.query(soql)["records"]
    return str(records[0]["Id"]) if records else None


def is_assigned(session: Session, set_id: str, user_id: str) -> bool:
    """Whether a user has a permission set; raises as `permission_set_id`."""
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
    try:
        set_id = permission_set_id(session, name)
        if set_id is None:
            raise ConfigError(
                "PackageMissing",
                f"the org has no permission set {name}; deploy the Metronome package: "
                f"{DEPLOY_COMMAND}",
            )
        if is_assigned(session, set_id, user_id):
            return False
        body = {"AssigneeId": user_id, "PermissionSetId": set_id}
        session.call("sobjects/PermissionSetAssignment", method="POST", body=body)
    except RefusedError as refused:
        if refused.code == "DUPLICATE_VALUE":  # somebody else was faster
            return False
        if refused.status != HTTPStatus.FORBIDDEN and refused.code not in _REFUSED:
            raise
        raise NotAllowedError(
            "PermissionSetNotAssigned",
            f"The permission set {name} is not assigned, and who signed in may not do that: it "
            f"takes the permissions {_TO_ASSIGN}; {_ADMINISTRATOR}.",
        ) from None
    return True
