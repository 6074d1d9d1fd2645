"""Single-record resources: create, read, update, delete, upsert (REST API, sObject Rows)."""

# ruff: noqa: S608 -- names in SQL come from the schema; values are bound

from datetime import UTC, datetime, timedelta
from typing import Any

from metronome_salesforce.sandbox.salesforce.access import Access
from metronome_salesforce.sandbox.salesforce.calls import Call, Reply
from metronome_salesforce.sandbox.salesforce.deleting import delete_rows
from metronome_salesforce.sandbox.salesforce.exceptions import SalesforceError, not_found
from metronome_salesforce.sandbox.salesforce.ids import normalise
from metronome_salesforce.sandbox.salesforce.incoming import Result, read_record
from metronome_salesforce.sandbox.salesforce.schema import NUMBER_TYPES, Field
from metronome_salesforce.sandbox.salesforce.storage import stamp
from metronome_salesforce.sandbox.salesforce.values import parse_date_time
from metronome_salesforce.sandbox.salesforce.writing import Batch

_RETENTION = timedelta(days=30)


def create(call: Call, name: str) -> Reply:
    """`POST sobjects/T`."""
    access = call.access(name)
    incoming = read_record(call.org.state, access, call.json_object(), call.user, call.text())
    result = Batch(call.org.state, call.user).insert([incoming])[0]
    if result.errors:
        return _refused(result)
    return _created(call, access, result, upsert=False)


def _created(call: Call, access: Access, result: Result, *, upsert: bool) -> Reply:
    body: dict[str, Any] = {"id": result.id, "success": True, "errors": []}
    if upsert and float(call.version) >= 46:
        body["created"] = True
    location = f"{call.root}/sobjects/{access.sobject.name}/{result.id}"
    return Reply(201, body, {"Location": location})


def _refused(result: Result) -> Reply:
    """A refused row as the reply of a single-record request."""
    return Reply(
        result.status,
        [
            {"message": each.message, "errorCode": each.code, "fields": list(each.fields)}
            for each in result.errors
        ],
    )


def _selected(call: Call, access: Access) -> str:
    wanted = call.query.get("fields")
    if wanted is None:
        return ", ".join(each.name for each in access.fields.values())
    names = [each.strip() for each in wanted.split(",") if each.strip()]
    for each in names:
        if "." not in each and each.lower() not in access.fields:
            raise SalesforceError(
                "INVALID_FIELD",
                f"No such column '{each}' on entity '{access.sobject.name}'. If you are attempting "
                "to use a custom field, be sure to append the '__c' after the custom field name. "
                "Please reference your WSDL or the describe call for the appropriate names.",
            )
    return ", ".join(names)


def read(call: Call, name: str, record: str) -> Reply:
    """`GET sobjects/T/<id>?fields=`."""
    access = call.access(name)
    full = normalise(record)
    missing = not_found(f"Provided external ID field does not exist or is not accessible: {record}")
    if full is None or full[:3] != access.sobject.prefix:
        raise missing
    row = call.org.state.storage.one(
        f'SELECT "IsDeleted" FROM "{access.sobject.name}" WHERE "Id" = ?', (full,)
    )
    if row is None:
        raise missing
    if row[0]:
        raise SalesforceError("ENTITY_IS_DELETED", "entity is deleted", status=404, fields=[])
    return Reply(200, _one(call, access, full))


def _one(call: Call, access: Access, record: str) -> dict[str, Any]:
    text = f"SELECT {_selected(call, access)} FROM {access.sobject.name} WHERE Id = '{record}'"
    found: dict[str, Any] = call.org.queries.run(text, call.user, call.version)["records"][0]
    return found


def _key_field(access: Access, name: str) -> Field:
    key = access.fields.get(name.lower())
    if key is None or not key.id_lookup:
        raise not_found()
    return key


def _key_value(key: Field, text: str) -> Any:
    if key.type in NUMBER_TYPES:
        try:
            return float(text)
        except ValueError as error:
            raise not_found() from error
    return text


def _matches(call: Call, access: Access, key: Field, text: str) -> list[str]:
    rows = call.org.state.storage.all(
        f'SELECT "Id" FROM "{access.sobject.name}" WHERE "{key.name}" = ? AND "IsDeleted" = 0',
        (_key_value(key, text),),
    )
    return [row[0] for row in rows]


def _several(call: Call, access: Access, ids: list[str]) -> Reply:
    return Reply(300, [f"{call.root}/sobjects/{access.sobject.name}/{each}" for each in ids])


def read_by_key(call: Call, name: str, key_name: str, text: str) -> Reply:
    """`GET sobjects/T/Ext__c/<value>`."""
    access = call.access(name)
    ids = _matches(call, access, _key_field(access, key_name), text)
    if not ids:
        raise not_found()
    return Reply(200, _one(call, access, ids[0])) if len(ids) == 1 else _several(call, access, ids)


def update(call: Call, name: str, record: str) -> Reply:
    """`PATCH sobjects/T/<id>`."""
    access = call.access(name)
    body = call.json_object()
    if any(each.lower() == "id" for each in body):
        raise SalesforceError(
            "INVALID_FIELD", "The Id field should not be specified in the sobject data.",
            fields=["Id"],
        )  # fmt: skip
    unchanged_since = call.headers.get("if-unmodified-since")
    full = normalise(record)
    if full is None or full[:3] != access.sobject.prefix:
        raise not_found(f"Provided external ID field does not exist or is not accessible: {record}")
    if unchanged_since and _modified_after(call, access, full, unchanged_since):
        raise SalesforceError("PRECONDITION_FAILED", "precondition failed", status=412)
    incoming = read_record(call.org.state, access, body, call.user, call.text())
    incoming.id = full
    result = Batch(call.org.state, call.user).update([incoming])[0]
    if (
        result.errors
        and result.errors[0].code == "INVALID_CROSS_REFERENCE_KEY"
        and (result.status == 404)
    ):
        raise not_found(f"Provided external ID field does not exist or is not accessible: {record}")
    return _refused(result) if result.errors else Reply(204)


def _modified_after(call: Call, access: Access, record: str, header: str) -> bool:
    try:
        limit = datetime.strptime(header, "%a, %d %b %Y %H:%M:%S %Z").replace(tzinfo=UTC)
    except ValueError:
        return False
    row = call.org.state.storage.one(
        f'SELECT "LastModifiedDate" FROM "{access.sobject.name}" WHERE "Id" = ?', (record,)
    )
    return bool(row and row[0] > stamp(limit))


def upsert(call: Call, name: str, key_name: str, text: str) -> Reply:
    """`PATCH sobjects/T/Ext__c/<value>`: 201 created, 200 updated (204 before v46)."""
    access = call.access(name)
    key = _key_field(access, key_name)
    body = call.json_object()
    for each in body:
        if each.lower() in {"id", key.name.lower()}:
            raise SalesforceError(
                "INVALID_FIELD",
                f"The {each} field should not be specified in the sobject data.",
                fields=[each],
            )
    ids = _matches(call, access, key, text)
    if len(ids) > 1:
        return _several(call, access, ids)
    incoming = read_record(call.org.state, access, body, call.user, call.text())
    incoming.values[key.name] = _key_value(key, text)
    only = call.query.get("updateOnly", "").lower() == "true"
    result = Batch(call.org.state, call.user).upsert([incoming], key, update_only=only)[0]
    if result.errors:
        return _refused(result)
    if result.created:
        return _created(call, access, result, upsert=True)
    if float(call.version) < 46:
        return Reply(204)
    return Reply(200, {"id": result.id, "success": True, "errors": [], "created": False})


def delete(call: Call, name: str, record: str) -> Reply:
    """`DELETE sobjects/T/<id>`."""
    access = call.access(name)
    full = normalise(record)
    if full is None or full[:3] != access.sobject.prefix:
        raise not_found(f"Provided external ID field does not exist or is not accessible: {record}")
    result = delete_rows(call.org.state, call.user, [full])[0]
    return _refused(result) if result.errors else Reply(204)


def delete_by_key(call: Call, name: str, key_name: str, text: str) -> Reply:
    """`DELETE sobjects/T/Ext__c/<value>`."""
    access = call.access(name)
    ids = _matches(call, access, _key_field(access, key_name), text)
    if not ids:
        raise not_found()
    return delete(call, name, ids[0]) if len(ids) == 1 else _several(call, access, ids)


def _period(call: Call) -> tuple[str, str]:
    start, end = (parse_date_time(call.query.get(each, "")) for each in ("start", "end"))
    if start is None or end is None:
        raise SalesforceError("INVALID_FIELD", "start and end are required")
    if start >= end:
        raise SalesforceError("INVALID_REPLICATION_DATE", "startDate before endDate expected")
    if start < stamp(call.org.state.moment() - _RETENTION):
        raise SalesforceError(
            "INVALID_REPLICATION_DATE", "startDate cannot be more than 30 days ago"
        )
    return start, end


def updated(call: Call, name: str) -> Reply:
    """`GET sobjects/T/updated/?start=&end=`."""
    access = call.access(name)
    start, end = _period(call)
    rows = call.org.state.storage.all(
        f'SELECT "Id" FROM "{access.sobject.name}" WHERE "SystemModstamp" >= ? '
        'AND "SystemModstamp" < ? AND "IsDeleted" = 0',
        (start, end),
    )
    return Reply(200, {"ids": [row[0] for row in rows], "latestDateCovered": end})


def deleted(call: Call, name: str) -> Reply:
    """`GET sobjects/T/deleted/?start=&end=`."""
    access = call.access(name)
    start, end = _period(call)
    rows = call.org.state.storage.all(
        f'SELECT "Id", "SystemModstamp" FROM "{access.sobject.name}" '
        'WHERE "SystemModstamp" >= ? AND "SystemModstamp" < ? AND "IsDeleted" = 1',
        (start, end),
    )
    return Reply(
        200,
        {
            "deletedRecords": [{"id": row[0], "deletedDate": row[1]} for row in rows],
            "earliestDateAvailable": stamp(call.org.state.moment() - _RETENTION),
            "latestDateCovered": end,
        },
    )
