"""sObject Collections: up to 200 rows in one call, each with its own result."""

# ruff: noqa: S608 -- names in SQL come from the schema; values are bound

from itertools import groupby
from typing import Any

from metronome_salesforce.sandbox.salesforce.access import Access
from metronome_salesforce.sandbox.salesforce.calls import Call, Reply
from metronome_salesforce.sandbox.salesforce.deleting import delete_rows
from metronome_salesforce.sandbox.salesforce.exceptions import SalesforceError, not_found
from metronome_salesforce.sandbox.salesforce.ids import normalise
from metronome_salesforce.sandbox.salesforce.incoming import Incoming, Result, read_record
from metronome_salesforce.sandbox.salesforce.writing import Batch

_MOST_ROWS = 200
_MOST_READ = 2000
_MOST_CHUNKS = 10


def _records(call: Call) -> tuple[list[dict[str, Any]], bool]:
    body = call.json_object()
    records = body.get("records")
    if not isinstance(records, list) or not all(isinstance(each, dict) for each in records):
        raise SalesforceError(
            "JSON_PARSER_ERROR",
            "Cannot deserialize instance of list from VALUE_NULL value null or request may be "
            "missing a required field at [line:1, column:1]",
        )
    if len(records) > _MOST_ROWS:
        raise SalesforceError(
            "EXCEEDED_ID_LIMIT",
            f"record limit reached. cannot submit more than {_MOST_ROWS} records into this call",
        )
    return records, body.get("allOrNone") is True


def _type(record: dict[str, Any]) -> str:
    attributes = record.get("attributes")
    name = attributes.get("type") if isinstance(attributes, dict) else None
    return name if isinstance(name, str) else ""


def _access(call: Call, name: str) -> Access:
    access = call.org.state.access(name, call.user)
    if access is None:
        raise SalesforceError(
            "INVALID_TYPE",
            f"sObject type '{name}' is not supported. If you are attempting to use a custom "
            "object, be sure to append the '__c' after the entity name. Please reference your "
            "WSDL or the describe call for the appropriate names.",
        )
    return access


def _typed(call: Call, records: list[dict[str, Any]]) -> list[Incoming]:
    chunks = [name for name, _ in groupby(records, key=_type)]
    if len(chunks) > _MOST_CHUNKS:
        raise SalesforceError(
            "INVALID_TYPE",
            f"Cannot have more than {_MOST_CHUNKS} chunks in a single operation. Please rearrange "
            "the data to reduce chunking.",
        )
    text = call.text()
    return [
        read_record(call.org.state, _access(call, _type(each)), each, call.user, text)
        for each in records
    ]


def _answer(results: list[Result]) -> Reply:
    return Reply(200, [each.body() for each in results])


def create(call: Call) -> Reply:
    """`POST composite/sobjects`."""
    records, all_or_none = _records(call)
    rows = _typed(call, records)
    return _answer(Batch(call.org.state, call.user, all_or_none=all_or_none).insert(rows))


def update(call: Call) -> Reply:
    """`PATCH composite/sobjects`: rows carry their ids."""
    records, all_or_none = _records(call)
    rows = _typed(call, records)
    return _answer(Batch(call.org.state, call.user, all_or_none=all_or_none).update(rows))


def upsert(call: Call, name: str, key_name: str) -> Reply:
    """`PATCH composite/sobjects/T/Ext__c`: one type, rows named by the key field."""
    access = call.access(name)
    key = access.fields.get(key_name.lower())
    if key is None or not key.id_lookup:
        raise not_found()
    records, all_or_none = _records(call)
    text = call.text()
    rows = []
    for each in records:
        if _type(each).lower() != access.sobject.name.lower():
            raise SalesforceError(
                "INVALID_TYPE",
                f"record type '{_type(each)}' does not match the type in the URL "
                f"'{access.sobject.name}'",
            )
        rows.append(read_record(call.org.state, access, each, call.user, text))
    batch = Batch(call.org.state, call.user, all_or_none=all_or_none)
    return _answer(batch.upsert(rows, key))


def delete(call: Call) -> Reply:
    """`DELETE composite/sobjects?ids=a,b&allOrNone=`."""
    ids = [each for each in call.query.get("ids", "").split(",") if each]
    if not ids:
        raise SalesforceError("INVALID_FIELD", "The ids parameter is required")
    if len(ids) > _MOST_ROWS:
        raise SalesforceError(
            "EXCEEDED_ID_LIMIT",
            f"record limit reached. cannot submit more than {_MOST_ROWS} records into this call",
        )
    all_or_none = call.query.get("allOrNone", "").lower() == "true"
    return _answer(delete_rows(call.org.state, call.user, ids, all_or_none=all_or_none))


def retrieve(call: Call, name: str) -> Reply:
    """`GET composite/sobjects/T?ids=&fields=` and `POST` with both in the body."""
    access = call.access(name)
    if call.method == "POST":
        body = call.json_object()
        ids, fields = body.get("ids", []), body.get("fields", [])
    else:
        ids = [each for each in call.query.get("ids", "").split(",") if each]
        fields = [each for each in call.query.get("fields", "").split(",") if each]
    if not isinstance(ids, list) or not isinstance(fields, list) or not ids or not fields:
        raise SalesforceError("INVALID_FIELD", "ids and fields are required")
    if len(ids) > _MOST_READ:
        raise SalesforceError(
            "EXCEEDED_ID_LIMIT",
            f"record limit reached. cannot retrieve more than {_MOST_READ} records in this call",
        )
    known = [normalise(str(each)) for each in ids]
    listed = ", ".join(f"'{each}'" for each in known if each)
    names = list(dict.fromkeys(str(each) for each in fields if str(each).lower() != "id"))
    text = f"SELECT {', '.join(['Id', *names])} FROM {access.sobject.name} WHERE Id IN ({listed})"
    found = {}
    if listed:
        compiled = call.org.queries.compile(text, call.user)
        rows = call.org.state.storage.all(
            f"SELECT {', '.join(compiled.columns)} FROM {compiled.from_sql}", compiled.parameters
        )
        for record in call.org.queries.records(compiled, rows, call.version):
            found[record["Id"]] = record
    return Reply(200, [found.get(each) if each else None for each in known])
