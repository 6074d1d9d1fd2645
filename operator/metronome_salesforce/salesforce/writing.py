"""Rows to the org through sObject Collections: up to 200 a call, one result per row, in order.

Keys travel in the body, not in the URL, where a slash or a dot would change which resource is meant
(REST API, sObject Collections). Each call may be repeated: an upsert by external id, an update and
a delete by id do the same thing twice.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any

from metronome_salesforce.canon import Lookup, MasterDetail
from metronome_salesforce.errors import RetriableError
from metronome_salesforce.mapping import ObjectMapping
from metronome_salesforce.rows import RowError, RowResult, Value, Write
from metronome_salesforce.salesforce.failures import PERMISSION_SET, RefusedError
from metronome_salesforce.salesforce.reading import reference_path
from metronome_salesforce.salesforce.session import Session

logger = logging.getLogger(__name__)

CHUNK = 200

_HEADERS = {
    # Duplicate rules of the org are for people who type; they would hold billing data back.
    "Sforce-Duplicate-Rule-Header": "allowSave=true",
    # Assignment rules would hand the records to somebody else.
    "Sforce-Auto-Assign": "FALSE",
}

DELETED = frozenset({"ENTITY_IS_DELETED"})
_LOCKED = frozenset({"UNABLE_TO_LOCK_ROW"})
# Another writer created or deleted the record between the org's look-up and its write.
_RACES = frozenset({"DUPLICATE_VALUE", "ENTITY_IS_DELETED"})
# In the recycle bin, and purged from it.
_GONE = frozenset({"ENTITY_IS_DELETED", "INVALID_CROSS_REFERENCE_KEY"})
_UNREADABLE = "JSON_PARSER_ERROR"


class UnsendableError(ValueError):
    """A value that JSON cannot carry."""


Send = Callable[[Sequence[Write]], list[Mapping[str, Any]]]


def upsert(session: Session, mapping: ObjectMapping, writes: Sequence[Write]) -> list[RowResult]:
    """Create or update each row by its external id; None clears a field."""

    def send(rows: Sequence[Write]) -> list[Mapping[str, Any]]:
        records = [_record(mapping, row, {mapping.key.api: row.key}) for row in rows]
        path = f"composite/sobjects/{mapping.sobject}/{mapping.key.api}"
        return _patch(session, path, records)

    return _in_chunks(session, send, writes, once=_RACES)


def update(
    session: Session,
    mapping: ObjectMapping,
    writes: Sequence[Write],
    *,
    gone: frozenset[str] = frozenset(),
) -> list[RowResult]:
    """Update each row by its record id; a row refused with a code in `gone` counts as done."""

    def send(rows: Sequence[Write]) -> list[Mapping[str, Any]]:
        records = [_record(mapping, row, {"id": row.id or row.key}) for row in rows]
        return _patch(session, "composite/sobjects", records)

    return _in_chunks(session, send, writes, gone=gone)


def delete(session: Session, writes: Sequence[Write]) -> list[RowResult]:
    """Delete each row by its record id; one that is gone already counts as deleted."""

    def send(rows: Sequence[Write]) -> list[Mapping[str, Any]]:
        ids = ",".join(row.id or "" for row in rows)
        answer = session.call(
            "composite/sobjects",
            method="DELETE",
            params={"ids": ids, "allOrNone": "false"},
            headers=_HEADERS,
        )
        return _results(answer)

    return _in_chunks(session, send, writes, gone=_GONE)


def json_value(value: Value) -> str | int | float | bool | None:
    """A canonical value as JSON carries it; raises UnsendableError for NaN and infinities.

    Canonical numbers are such that a double holds them, so float loses nothing.
    """
    if not isinstance(value, Decimal):
        return value
    if not value.is_finite():
        raise UnsendableError("no JSON number")
    return int(value) if value == value.to_integral_value() else float(value)


def _record(mapping: ObjectMapping, write: Write, identity: Mapping[str, str]) -> dict[str, object]:
    record: dict[str, object] = {"attributes": {"type": mapping.sobject}, **identity}
    for api, value in write.fields.items():
        field = mapping.field(api)
        reference = reference_path(field) if isinstance(field.kind, Lookup | MasterDetail) else None
        if reference is None or value is None:
            # A reference is cleared by its own name: null under the relationship's is ignored.
            record[api] = json_value(value)
        else:
            parent, key = reference.split(".")
            record[parent] = {key: value}
    return record


def _patch(
    session: Session, path: str, records: Sequence[Mapping[str, object]]
) -> list[Mapping[str, Any]]:
    body = {"allOrNone": False, "records": records}
    return _results(session.call(path, method="PATCH", body=body, headers=_HEADERS))


def _results(answer: Any) -> list[Mapping[str, Any]]:
    return answer if isinstance(answer, list) else []


def _in_chunks(
    session: Session,
    send: Send,
    writes: Sequence[Write],
    *,
    once: frozenset[str] = frozenset(),
    gone: frozenset[str] = frozenset(),
) -> list[RowResult]:
    results: list[RowResult] = []
    for chunk in chunks(writes):
        results += _settle(session, send, chunk, once=once, gone=gone)
    return results


def chunks(writes: Sequence[Write]) -> Iterator[list[Write]]:
    """`writes` in pieces of at most 200, none holding a key twice.

    Salesforce refuses every row of a request whose key occurs in it again.
    """
    chunk: list[Write] = []
    keys: set[str] = set()
    for write in writes:
        if len(chunk) == CHUNK or write.key in keys:
            yield chunk
            chunk, keys = [], set()
        chunk.append(write)
        keys.add(write.key)
    if chunk:
        yield chunk


def _settle(
    session: Session,
    send: Send,
    writes: Sequence[Write],
    *,
    once: frozenset[str],
    gone: frozenset[str],
) -> list[RowResult]:
    """The results of one chunk; rows that met a lock or a race are sent again by themselves."""
    results: dict[int, RowResult] = {}
    pending = list(range(len(writes)))
    raced: set[int] = set()
    attempt = 0
    while pending:
        attempt += 1
        answers = _answers(send, [writes[index] for index in pending])
        again: list[int] = []
        for index, answer in zip(pending, answers, strict=True):
            error = _error(answer)
            code = error.code if error else ""
            if code in _LOCKED and attempt < session.policy.lock_attempts:
                again.append(index)
            elif code in once and index not in raced:
                raced.add(index)
                again.append(index)
            elif error is None or code in gone:
                created = answer.get("created") is True
                results[index] = RowResult(writes[index], created=created)
            else:
                results[index] = RowResult(writes[index], error=error)
        pending = again
        if pending:
            logger.info("%d rows met a lock or another writer; sent again", len(pending))
            session.policy.pause(attempt)
    return [results[index] for index in range(len(writes))]


def _answers(send: Send, writes: Sequence[Write]) -> list[Mapping[str, Any]]:
    """One answer per row. A request that one row makes unreadable is halved until it is found."""
    try:
        answers = send(writes)
    except RefusedError as refused:
        if refused.code != _UNREADABLE:
            raise
        if len(writes) == 1:
            return [_refusal(_UNREADABLE)]
    except UnsendableError:
        if len(writes) == 1:
            return [_refusal("NUMBER_OUTSIDE_VALID_RANGE")]
    else:
        if len(answers) != len(writes):
            raise RetriableError(
                "SalesforceUnavailable", "Salesforce did not answer for every row of a request"
            )
        return answers
    half = len(writes) // 2
    rows = iter(writes)
    first, second = list(islice(rows, half)), list(rows)
    return _answers(send, first) + _answers(send, second)


def _refusal(code: str) -> Mapping[str, Any]:
    return {"success": False, "errors": [{"statusCode": code, "fields": []}]}


def _error(answer: Mapping[str, Any]) -> RowError | None:
    if answer.get("success") is True:
        return None
    errors = [error for error in answer.get("errors") or [] if isinstance(error, dict)]
    first = errors[0] if errors else {}
    code = str(first.get("statusCode") or "UNKNOWN_EXCEPTION")
    fields = dict.fromkeys(str(name) for error in errors for name in error.get("fields") or [])
    return RowError(code, _sentence(code, str(first.get("message") or "")), tuple(fields))


_OWN_TEXT = 500
# An administrator of the org wrote this text.
_ADMIN_TEXT = "FIELD_CUSTOM_VALIDATION_EXCEPTION"
# Here the text is that of a program, which may quote the record; it begins with the program's name.
_AUTOMATION = "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"
_LONGEST_NAME = 120
_ASSIGN = f'assign the permission set "{PERMISSION_SET}" to the integration user'
_SENTENCES = {
    "STRING_TOO_LONG": "a text is longer than the field; deploy the Metronome package again",
    "INVALID_FIELD": (
        "a field or the parent record is missing in the org; the parent may have been rejected "
        f"itself, else deploy the Metronome package and {_ASSIGN}"
    ),
    "INVALID_FIELD_FOR_INSERT_UPDATE": f"a field may not be written; {_ASSIGN}",
    "INSUFFICIENT_ACCESS_OR_READONLY": f"the record may not be written; {_ASSIGN}",
    "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY": (
        "the integration user may not see or use the parent record, for instance the Account; give "
        'it "View All" on Accounts'
    ),
    "INVALID_CROSS_REFERENCE_KEY": "the parent record is gone, for instance a deleted Account",
    "ENTITY_IS_DELETED": "the record was deleted in the org meanwhile",
    "MALFORMED_ID": "a record id is malformed",
    "REQUIRED_FIELD_MISSING": "the org requires a field that the integration does not write",
    "DUPLICATE_VALUE": "another record holds the same value in a unique field",
    "DUPLICATE_EXTERNAL_ID": "several records hold the same external id; delete all but one",
    "DUPLICATES_DETECTED": "a duplicate rule of the org blocks the record",
    "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST": (
        "a picklist of the org does not allow the value; make it unrestricted or add the value"
    ),
    "NUMBER_OUTSIDE_VALID_RANGE": "a number has more digits than the field holds",
    "JSON_PARSER_ERROR": "the org cannot read a value of the row",
    "UNABLE_TO_LOCK_ROW": "the record or its parent was locked by other work in the org",
    "STORAGE_LIMIT_EXCEEDED": "the org's data storage is full; free or buy storage",
    "ALL_OR_NONE_OPERATION_ROLLED_BACK": "another row of the same request was refused",
    "DELETE_FAILED": "other records keep this one from being deleted",
}


def _sentence(code: str, message: str) -> str:
    line = " ".join(message.split())
    if code == _ADMIN_TEXT and line:
        return line if len(line) <= _OWN_TEXT else f"{line[: _OWN_TEXT - 1]}…"
    if code == _AUTOMATION:
        name, colon, _ = line.partition(":")
        named = f" {name}" if colon and name and len(name) <= _LONGEST_NAME else ""
        return f"a trigger or flow of the org{named} failed; ask the org's administrator to mend it"
    return _SENTENCES.get(code, "the org refused the row")
