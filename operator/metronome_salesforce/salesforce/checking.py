"""What an org lacks of the Metronome package, one finding a thing, each with what mends it.

An object or field that the user has no right to does not exist for the API. So whether it is
missing from the org or only closed to the user is told by the permission set: who has it as it came
with the package and does not see a field, sees that the org has none. Users who may not look into
Setup see no permission sets; then that cannot be told apart.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from metronome_salesforce.mapping import ObjectMapping
from metronome_salesforce.objects import ACCOUNT_SUMMARY, PACKAGED
from metronome_salesforce.salesforce import access
from metronome_salesforce.salesforce.installing import (
    Access,
    installed_version,
    integration_access,
    is_older,
    permission_set_id,
    username_of,
)
from metronome_salesforce.salesforce.package import (
    ADMIN_SET,
    INTEGRATION_SET,
    USER_SET,
    package_version,
)
from metronome_salesforce.salesforce.session import Session

Kind = Literal[
    "package", "object", "field", "object access", "field access", "permission set", "assignment"
]
Remedy = Literal["deploy", "assign"]
_NEEDED: frozenset[Kind] = frozenset({"object", "field", "object access", "field access"})


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be, and whether a deploy or an assignment mends it."""

    kind: Kind
    name: str
    problem: str
    remedy: Remedy


@dataclass(frozen=True, slots=True)
class PackageCheck:
    """What was found; `version` is None where the user sees none, `ours` the operator's.

    `username` is that of the integration user. `sets_visible` tells whether it sees permission
    sets, `assigned` whether it sees that it has the integration's, `namespaced` whether the package
    is a managed one.
    """

    version: str | None
    ours: str
    username: str
    findings: tuple[Finding, ...]
    sets_visible: bool = True
    assigned: bool = True
    namespaced: bool = False

    @property
    def suffices(self) -> bool:
        """Whether no object, field or right is missing that the operator needs."""
        return not any(one.kind in _NEEDED for one in self.findings)


def check_package(session: Session) -> PackageCheck:
    """Look at everything that the package brings, as the integration user.

    Raises ConfigError and RetriableError for what has nothing to do with the package.
    """
    session.sign_in()
    access.org_state(session)
    return look_at_package(session)


def look_at_package(session: Session) -> PackageCheck:
    """The same for a session that is signed in, to an org that serves its API version."""
    version, rights = installed_version(session), integration_access(session)
    return PackageCheck(
        version,
        package_version(),
        username_of(session),
        tuple(_findings(session, version, rights)),
        sets_visible=rights.visible,
        assigned=rights.assigned,
        namespaced=bool(session.namespace),
    )


def _findings(session: Session, version: str | None, rights: Access) -> Iterator[Finding]:
    ours = package_version()
    if (rights.assigned or version is not None) and is_older(version, ours):
        had = f"is {version}" if version else "has no version"
        yield Finding("package", "Metronome", f"{had}, the operator brings {ours}", "deploy")
    for name in (INTEGRATION_SET, USER_SET, ADMIN_SET) if rights.visible else ():
        if permission_set_id(session, name) is None:
            yield Finding("permission set", name, "is not in the org", "deploy")
    needed = [
        finding
        for mapping in (*PACKAGED, ACCOUNT_SUMMARY)
        for finding in _of_object(session, mapping, rights)
    ]
    # Who has all that by a set of the org's own needs no other, and a cycle assigns none.
    if needed and rights.set_id is not None and not rights.assigned:
        yield Finding(
            "assignment",
            INTEGRATION_SET,
            "is not assigned to the integration user",
            "assign",
        )
    yield from needed


def _of_object(session: Session, mapping: ObjectMapping, rights: Access) -> Iterator[Finding]:
    described = access.describe(session, mapping)
    if described is None:
        if mapping is ACCOUNT_SUMMARY or not _is_missing(rights):
            yield Finding(
                "object access",
                mapping.sobject,
                "is closed to the integration user",
                _opening(rights),
            )
        else:
            yield Finding("object", mapping.sobject, _missing(rights), "deploy")
        return
    lacking = access.lacking_rights(mapping, described)
    if lacking:
        yield Finding(
            "object access",
            mapping.sobject,
            f"the integration user may not {', '.join(lacking)}",
            _opening(rights),
        )
    yield from _of_fields(mapping, described, rights)


def _of_fields(
    mapping: ObjectMapping, described: Mapping[str, Any], rights: Access
) -> Iterator[Finding]:
    for api in access.missing_fields(mapping.fields, described):
        name = f"{mapping.sobject}.{api}"
        if _is_missing(rights):
            yield Finding("field", name, _missing(rights), "deploy")
        else:
            sentence = "is closed to the integration user"
            yield Finding("field access", name, sentence, _opening(rights))
    for api in access.closed_fields(mapping, described):
        name = f"{mapping.sobject}.{api}"
        sentence = "the integration user may not write it"
        yield Finding("field access", name, sentence, _opening(rights))
    for api in access.plain_keys(mapping, described):
        name = f"{mapping.sobject}.{api}"
        yield Finding("field", name, "is no external ID", "deploy")


def _missing(rights: Access) -> str:
    if rights.set_id is None and rights.visible:
        return "is not in the org"
    if rights.visible:
        return "is not in the org, or no longer in the permission set"
    return "is not in the org, or closed to the integration user"


def _is_missing(rights: Access) -> bool:
    """Whether what the user does not see is not there: it has all rights, or there are none."""
    return rights.assigned or rights.set_id is None


def _opening(rights: Access) -> Remedy:
    """What opens something to the user: the permission set, or another deploy of it."""
    return "deploy" if _is_missing(rights) else "assign"


def grouped(findings: Sequence[Finding]) -> list[Finding]:
    """The findings in the order in which they are mended: what a deploy brings first."""
    order = {
        "package": 0, "permission set": 1, "object": 2, "field": 3, "assignment": 4,
        "object access": 5, "field access": 6,
    }  # fmt: skip
    return sorted(findings, key=lambda one: order[one.kind])
