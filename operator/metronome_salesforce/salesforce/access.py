"""The preflight: whether objects and fields are there, and open to the integration user.

A field without field-level security does not exist for the API: it is missing from describe, and a
write names it as unknown. That is the commonest fault of an installation, so it is found here, with
the name of the permission set, and not in the middle of a cycle.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from metronome_salesforce.errors import ConfigError
from metronome_salesforce.mapping import Field, ObjectMapping, Role
from metronome_salesforce.objects import ACCOUNT_SUMMARY
from metronome_salesforce.ports import OrgState, Quota
from metronome_salesforce.salesforce.failures import PERMISSION_SET, RefusedError, budget_exhausted
from metronome_salesforce.salesforce.session import Session

_ASSIGN = f'assign the permission set "{PERMISSION_SET}" to the integration user'
_DEPLOY = "deploy the Metronome package to the org (metronome-salesforce package deploy)"
_NAMED = 10


def check_access(
    session: Session, mappings: Sequence[ObjectMapping], state: OrgState | None = None
) -> None:
    """Sign in, read the org's limits (unless `state` has them), describe all objects.

    Raises as `org_state` and `check_described`.
    """
    if state is None:
        org_state(session)
    check_described(session, mappings)


def check_described(session: Session, mappings: Sequence[ObjectMapping]) -> None:
    """Describe every object of `mappings` and Account.

    Raises ConfigError with reason PackageMissing, ObjectNotAccessible or FieldNotAccessible that
    names all that is wrong with the first such object.
    """
    accounts = [] if ACCOUNT_SUMMARY in mappings else [ACCOUNT_SUMMARY]
    for mapping in (*mappings, *accounts):
        described = describe(session, mapping)
        if described is None:
            raise _missing(mapping)
        _check_object(mapping, described)
        _check_fields(mapping, described)


def org_state(session: Session) -> OrgState:
    """What is left of the org's daily API calls and storage (REST API, Limits).

    Raises RetriableError("ApiBudgetExhausted") when no calls are left.
    """
    try:
        limits = session.call("limits") or {}
    except RefusedError as refused:
        if refused.status != HTTPStatus.NOT_FOUND:
            raise
        raise ConfigError(
            "SalesforceApiVersionUnknown",
            f"the org does not know API version {session.api_version}; set an older "
            "spec.salesforce.apiVersion",
        ) from None
    calls, storage = _limit(limits, "DailyApiRequests"), _limit(limits, "DataStorageMB")
    # The header is of this moment, the limits resource lags by minutes.
    quota = session.quota or (Quota(calls[1] - calls[0], calls[1]) if calls else None)
    if quota is not None and quota.maximum > 0 and quota.remaining == 0:
        raise budget_exhausted()
    return OrgState(
        quota=quota,
        storage_left_mb=storage[0] if storage else None,
        storage_max_mb=storage[1] if storage else None,
    )


def _limit(limits: Mapping[str, Any], name: str) -> tuple[int, int] | None:
    entry = limits.get(name)
    if not isinstance(entry, dict) or "Remaining" not in entry or "Max" not in entry:
        return None
    return int(entry["Remaining"]), int(entry["Max"])


def describe(session: Session, mapping: ObjectMapping) -> Mapping[str, Any] | None:
    """The object as the session's user sees it; None when it does not exist for the user."""
    try:
        described: Mapping[str, Any] = session.call(f"sobjects/{mapping.sobject}/describe")
    except RefusedError as refused:
        if refused.status != HTTPStatus.NOT_FOUND:
            raise
        return None
    return described


def _missing(mapping: ObjectMapping) -> ConfigError:
    if mapping is ACCOUNT_SUMMARY:
        return ConfigError(
            "ObjectNotAccessible", f"the integration user cannot see Accounts; {_ASSIGN}"
        )
    return ConfigError(
        "PackageMissing",
        f"the org has no object {mapping.sobject} that the integration user can see; {_DEPLOY}, "
        f"and {_ASSIGN}",
    )


def lacking_rights(mapping: ObjectMapping, described: Mapping[str, Any]) -> list[str]:
    """What the user may not do with the object, in the words of a permission set's own page."""
    needed = {"queryable": "read", "updateable": "edit"}
    if mapping is not ACCOUNT_SUMMARY:
        needed |= {"createable": "create", "deletable": "delete"}
    return [word for flag, word in needed.items() if described.get(flag) is not True]


def written_fields(mapping: ObjectMapping) -> list[Field]:
    """The fields that the integration writes."""
    return [field for field in mapping.fields if field.role is not Role.PLATFORM]


def missing_fields(fields: Sequence[Field], described: Mapping[str, Any]) -> list[str]:
    """Those of `fields` that the user does not see, which may be there all the same."""
    seen = {str(field["name"]) for field in described.get("fields", [])}
    return [field.api for field in fields if field.api not in seen]


def closed_fields(mapping: ObjectMapping, described: Mapping[str, Any]) -> list[str]:
    """The fields that the user sees and may not write, although the integration has to."""
    flags = ["updateable"] if mapping is ACCOUNT_SUMMARY else ["createable", "updateable"]
    fields = {str(field["name"]): field for field in described.get("fields", [])}
    return [
        field.api
        for field in written_fields(mapping)
        if field.api in fields and any(fields[field.api].get(flag) is not True for flag in flags)
    ]


def plain_keys(mapping: ObjectMapping, described: Mapping[str, Any]) -> list[str]:
    """The keys that are no external ids, so that rows cannot be found by them."""
    fields = {str(field["name"]): field for field in described.get("fields", [])}
    return [
        field.api
        for field in mapping.fields
        if field.role is Role.KEY
        and field.api in fields
        and fields[field.api].get("externalId") is not True
    ]


def _check_object(mapping: ObjectMapping, described: Mapping[str, Any]) -> None:
    lacking = lacking_rights(mapping, described)
    if lacking:
        raise ConfigError(
            "ObjectNotAccessible",
            f"the integration user may not {', '.join(lacking)} {mapping.sobject}; {_ASSIGN}",
        )


def _check_fields(mapping: ObjectMapping, described: Mapping[str, Any]) -> None:
    missing = missing_fields(written_fields(mapping), described)
    if missing:
        raise ConfigError(
            "FieldNotAccessible",
            f"the integration user cannot see {_names(mapping, missing)}; {_ASSIGN}, or, if the "
            f"org does not have them, {_DEPLOY}",
        )
    closed = closed_fields(mapping, described)
    if closed:
        raise ConfigError(
            "FieldNotAccessible",
            f"the integration user may not write {_names(mapping, closed)}; {_ASSIGN}",
        )
    plain = plain_keys(mapping, described)
    if plain:
        raise ConfigError(
            "FieldNotAccessible",
            f"{_names(mapping, plain)} is not marked as an external ID, so that rows cannot be "
            f"found by it; {_DEPLOY} again",
        )


def _names(mapping: ObjectMapping, fields: Sequence[str]) -> str:
    rest = len(fields) - _NAMED
    named = ", ".join(f"{mapping.sobject}.{name}" for name in fields[:_NAMED])
    return f"{named} and {rest} more fields" if rest > 0 else named
