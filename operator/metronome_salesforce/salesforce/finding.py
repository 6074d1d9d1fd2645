"""Accounts that links name: by record id, by external id, and by the id of one that was merged."""

from collections.abc import Callable, Collection, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from metronome_salesforce.linking import Accounts
from metronome_salesforce.salesforce.reading import account_ids, in_chunks, literal, pages
from metronome_salesforce.salesforce.session import Session

_MOST_MERGES = 10  # an Account that was merged so often in a row is no longer followed
_TEXTS = frozenset({"string", "email", "phone", "url", "textarea", "picklist"})
_NUMBERS = frozenset({"double", "int", "currency", "percent"})
_INT = "int"
_OBJECT = "Account"

# What fields and SOQL can hold (Salesforce: custom field limits; SOQL limits, strings in WHERE).
# A value beyond that is in no Account, and in a query it would have that refused for all values.
_LONGEST_TEXT = 4_000
_MOST_DIGITS = 18
_LARGEST_INT = 2**31 - 1


def find_accounts(
    session: Session, ids: Collection[str], external_ids: Collection[tuple[str, str]] = ()
) -> Accounts:
    """The Accounts with these ids, or the masters that they were merged into, and these values.

    One query for 1,000 ids. Texts that are no Account ids are passed over. In
    `by_external_id` is each (field, value) as it was asked for, also without an Account; and once
    more in lower case, with the Accounts of all its spellings, if that is not one of them.
    """
    names: dict[str, str | None] = {}
    by_external_id: dict[tuple[str, str], tuple[str, ...]] = {}
    bad_fields: dict[str, str] = {}
    asked = frozenset(external_ids)
    if asked:
        described = session.call(f"sobjects/{_OBJECT}/describe")
        for name in sorted({name for name, _ in asked}):
            values = sorted({value for field, value in asked if field == name})
            found = _by_field(session, described, name, values)
            if isinstance(found, str):
                bad_fields[name] = found
                continue
            by_external_id |= {(name, value): tuple(ids) for value, ids in found.items()}
            names |= {id_: account for ids in found.values() for id_, account in ids.items()}
    for (name, value), ids_found in list(by_external_id.items()):
        lower = (name, value.lower())
        if lower not in asked:
            both = (*by_external_id.get(lower, ()), *ids_found)
            by_external_id[lower] = tuple(dict.fromkeys(both))
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
) -> dict[str, dict[str, str | None]] | str:
    """The Accounts' names by id for each value of a field, or why it cannot be searched."""
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
    key_of: Callable[[str], str | Decimal | None]
    if kind in _TEXTS:
        key_of = _text_keys(field)
    elif kind in _NUMBERS:
        key_of = _int_key if kind == _INT else _number_key
    else:
        return (
            f"Field {name} of Account is of type {kind}, which cannot be looked up; use a text or"
            " number field, or spec.account.id."
        )
    found: dict[str, dict[str, str | None]] = {value: {} for value in values}
    asked: dict[str | Decimal, list[str]] = {}
    for value in values:
        key = key_of(value)
        if key is not None:
            asked.setdefault(key, []).append(value)
    # One of several spellings, as it was given: the org may fold case in other ways than we do.
    literals = [
        format(key, "f") if isinstance(key, Decimal) else literal(spellings[0])
        for key, spellings in asked.items()
    ]
    select = f"SELECT Id, Name, {api} FROM Account"  # noqa: S608 -- a name that describe gave
    for condition in in_chunks(api, literals, quoted=True):
        for records in pages(session, select, [condition]):
            for one in records:
                key = key_of(str(one[api]))
                for value in asked.get(key, ()) if key is not None else ():
                    found[value][str(one["Id"])] = one.get("Name")
    return found


def _text_keys(field: Mapping[str, Any]) -> Callable[[str], str | None]:
    """What values of a text field that the field takes for the same have in common.

    That function gives None for a value that the field cannot hold.
    """
    longest = min(int(field.get("length") or _LONGEST_TEXT), _LONGEST_TEXT)
    case_counts = bool(field.get("caseSensitive"))

    def key_of(value: str) -> str | None:
        if len(value) > longest:
            return None
        return value if case_counts else value.lower()

    return key_of


def _number_key(value: str) -> Decimal | None:
    """The number that a text holds; None for none, and for one that no number field can hold.

    Others must not be written out: 1E9999999999 would take 10 GB.
    """
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    _, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int) or len(digits) > _MOST_DIGITS:
        return None
    if exponent < -_MOST_DIGITS or number.adjusted() >= _MOST_DIGITS:
        return None
    return number + 0  # without an exponent above zero, or a sign of zero


def _int_key(value: str) -> Decimal | None:
    number = _number_key(value)
    if number is None or number != int(number) or abs(number) > _LARGEST_INT:
        return None
    return Decimal(int(number))
