"""Accounts that links name: by record id, by external id, and by the id of one that was merged."""

from collections.abc import Collection
from decimal import Decimal, InvalidOperation
from typing import Any

from metronome_salesforce.linking import Accounts
from metronome_salesforce.salesforce.reading import account_ids, in_chunks, literal, pages
from metronome_salesforce.salesforce.session import Session

_MOST_MERGES = 10  # an Account that was merged so often in a row is no longer followed
_TEXTS = frozenset({"string", "email", "phone", "url", "textarea", "picklist"})
_NUMBERS = frozenset({"double", "int", "currency", "percent"})
_OBJECT = "Account"


def find_accounts(
    session: Session, ids: Collection[str], external_ids: Collection[tuple[str, str]] = ()
) -> Accounts:
    """The Accounts with these ids, or the masters that they were merged into, and these values.

    One query for 1,000 ids. Texts that are no Account ids are passed over.
    """
    names: dict[str, str | None] = {}
    by_external_id: dict[tuple[str, str], tuple[str, ...]] = {}
    bad_fields: dict[str, str] = {}
    if external_ids:
        described = session.call(f"sobjects/{_OBJECT}/describe")
        for name in sorted({name for name, _ in external_ids}):
            values = sorted({value for field, value in external_ids if field == name})
            found = _by_field(session, described, name, values)
            if isinstance(found, str):
                bad_fields[name] = found
                continue
            for value, id_, account_name in found:
                key = (name, value)
                by_external_id[key] = (*by_external_id.get(key, ()), id_)
                names[id_] = account_name
    wanted = [id_ for id_ in account_ids(ids) if id_ not in names]
    names |= _by_id(session, wanted)
    merged: dict[str, str] = {}
    missing = [id_ for id_ in wanted if id_ not in names]
    for _ in range(_MOST_MERGES):
        if not missing:
            break
        masters = _masters(session, missing)
        merged |= masters
        unknown = sorted(set(masters.values()) - names.keys() - merged.keys())
        names |= _by_id(session, unknown)
        missing = [id_ for id_ in unknown if id_ not in names]
    return Accounts(names, merged, by_external_id, bad_fields)


def _by_id(session: Session, ids: Collection[str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for condition in in_chunks("Id", ids):
        for records in pages(session, "SELECT Id, Name FROM Account", [condition]):
            found.update((str(one["Id"]), one.get("Name")) for one in records)
    return found


def _masters(session: Session, ids: Collection[str]) -> dict[str, str]:
    """The master of each Account that was merged; one that was deleted plainly has none."""
    found: dict[str, str] = {}
    for condition in in_chunks("Id", ids):
        soql = f"SELECT Id, MasterRecordId FROM Account WHERE IsDeleted = true AND {condition}"  # noqa: S608 -- SOQL of our own names
        for one in session.query(soql, deleted=True)["records"]:
            if one["MasterRecordId"] is not None:
                found[str(one["Id"])] = str(one["MasterRecordId"])
    return found


def _by_field(
    session: Session, described: Any, name: str, values: Collection[str]
) -> list[tuple[str, str, str | None]] | str:
    """The (value in lower case, id, name) of Accounts by a field, or why it cannot be searched."""
    field = next((one for one in described["fields"] if one["name"].lower() == name.lower()), None)
    if field is None:
        return (
            f"Account has no field {name}, or the integration user may not read it; correct"
            " spec.account.externalId.field, or give the user access to the field."
        )
    if not (field.get("externalId") or field.get("unique") or field.get("idLookup")):
        return (
            f"Field {name} of Account is neither an external id nor unique; mark it so in"
            " Salesforce, or use spec.account.id."
        )
    api, kind = str(field["name"]), field["type"]
    if kind in _TEXTS:
        literals = {value: literal(value) for value in values}
    elif kind in _NUMBERS:
        numbers = {value: _number(value) for value in values}
        literals = {value: number for value, number in numbers.items() if number is not None}
    else:
        return (
            f"Field {name} of Account is of type {kind}, which cannot be looked up; use a text or"
            " number field, or spec.account.id."
        )
    found: list[tuple[str, str, str | None]] = []
    select = f"SELECT Id, Name, {api} FROM Account"  # noqa: S608 -- a name that describe gave
    for condition in in_chunks(api, list(literals.values()), quoted=True):
        for records in pages(session, select, [condition]):
            for one in records:
                text = _matching(one[api], literals, kind)
                found.extend((value, str(one["Id"]), one.get("Name")) for value in text)
    return found


def _number(value: str) -> str | None:
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return format(number, "f") if number.is_finite() else None


def _matching(stored: object, literals: dict[str, str], kind: str) -> list[str]:
    """The asked values, in lower case, that a stored one answers."""
    if kind in _NUMBERS:
        return [v.lower() for v, text in literals.items() if Decimal(text) == Decimal(str(stored))]
    return [str(stored).lower()]
