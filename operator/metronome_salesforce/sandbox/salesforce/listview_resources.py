"""List views over REST: the list, one view, its description and its rows.

(REST API Developer Guide, List Views, List View Describe, List View Results.)
"""

from typing import Any

from metronome_salesforce.sandbox.salesforce.calls import Call, Reply
from metronome_salesforce.sandbox.salesforce.exceptions import SalesforceError, not_found
from metronome_salesforce.sandbox.salesforce.ids import normalise
from metronome_salesforce.sandbox.salesforce.list_definitions import ListFilter, Logic
from metronome_salesforce.sandbox.salesforce.listviews import (
    ListQuery,
    column_label,
    column_type,
    list_query,
    list_views,
    selected,
    value_at,
)
from metronome_salesforce.sandbox.salesforce.querying import Queries
from metronome_salesforce.sandbox.salesforce.schema import Field

_MOST = 2000
_USUAL = 25
# How the two directions of sorting are called, by the type of the column.
_DIRECTIONS = {
    "boolean": ("Selected to Not Selected", "Not Selected to Selected"),
    "date": ("Old to New", "New to Old"),
    "datetime": ("Old to New", "New to Old"),
    "picklist": ("Low to High", "High to Low"),
}
_NUMBERS = ("0-9", "9-0")
_LETTERS = ("A-Z", "Z-A")


def views(call: Call, name: str) -> Reply:
    """`GET sobjects/T/listviews`."""
    owner = call.access(name).sobject.name
    found = [_one(call, owner, each) for each, _ in list_views(call.org.state, owner)]
    return Reply(
        200,
        {
            "done": True, "listviews": found, "nextRecordsUrl": None, "size": len(found),
            "sobjectType": owner,
        },
    )  # fmt: skip


def view(call: Call, name: str, record: str) -> Reply:
    """`GET sobjects/T/listviews/<id>`."""
    owner = call.access(name).sobject.name
    return Reply(200, _one(call, owner, _developer_name(call, owner, record)))


def describe(call: Call, name: str, record: str) -> Reply:
    """`GET sobjects/T/listviews/<id or developer name>/describe`."""
    query = _query(call, name, record)
    definition = query.definition
    body: dict[str, Any] = {
        "columns": _columns(query),
        "id": _id(call, query.access.sobject.name, definition.name),
        "orderBy": [
            {"fieldNameOrPath": each, "nullsPosition": "first", "sortDirection": "ascending"}
            for each in _order(query)
        ],
        "query": query.soql,
        "scope": None if definition.scope == "Everything" else definition.scope.lower(),
        "sobjectType": query.access.sobject.name,
        "whereCondition": _where(definition.logic, definition.filters),
    }
    return Reply(200, body)


def results(call: Call, name: str, record: str) -> Reply:
    """`GET sobjects/T/listviews/<id>/results?limit=&offset=`; picklists come as labels."""
    query = _query(call, name, record)
    limit, offset = _page(call)
    queries = Queries(call.org.state)
    compiled = queries.compile(query.soql, call.user)
    fetched = queries.all_rows(compiled, at_most=offset - 1 + limit)[offset - 1 :]
    columns = _paths(query)
    records = [
        {
            "columns": [
                {"fieldNameOrPath": ".".join(path), "value": _shown(value_at(each, path))}
                for path, _ in columns
            ]
        }
        for each in queries.records(compiled, fetched, call.version)
    ]
    definition = query.definition
    return Reply(
        200,
        {
            "columns": _columns(query),
            "developerName": definition.name,
            "done": True,
            "id": _id(call, query.access.sobject.name, definition.name),
            "label": definition.label,
            "records": records,
            "size": len(records),
        },
    )


def _page(call: Call) -> tuple[int, int]:
    limit, offset = call.query.get("limit", str(_USUAL)), call.query.get("offset", "1")
    if not limit.isdigit() or not 1 <= int(limit) <= _MOST:
        raise SalesforceError("INVALID_QUERY_FILTER_OPERATOR", f"limit must be 1 to {_MOST}")
    if not offset.isdigit() or int(offset) < 1:
        raise SalesforceError("INVALID_QUERY_FILTER_OPERATOR", "offset must be 1 or more")
    return int(limit), int(offset)


def _shown(value: Any) -> str | None:
    """A value as list view results have it: text, whatever its type."""
    if value is None or isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


# --- which view ------------------------------------------------------------------------------


def _query(call: Call, name: str, record: str) -> ListQuery:
    owner = call.access(name).sobject.name
    found = _developer_name(call, owner, record)
    return list_query(call.org.state, call.user, owner, found, labels=True)


def _developer_name(call: Call, owner: str, record: str) -> str:
    """The view that an id, or its developer name, means; raises NOT_FOUND."""
    wanted = normalise(record)
    for each, _ in list_views(call.org.state, owner):
        if each == record or _id(call, owner, each) == wanted:
            return each
    raise not_found()


def _id(call: Call, owner: str, name: str) -> str:
    return call.org.state.components["ListView", f"{owner}.{name}"].id


def _one(call: Call, owner: str, name: str) -> dict[str, Any]:
    record = _id(call, owner, name)
    url = f"{call.root}/sobjects/{owner}/listviews/{record}"
    return {
        "describeUrl": f"{url}/describe",
        "developerName": name,
        "id": record,
        "label": dict(list_views(call.org.state, owner))[name],
        "resultsUrl": f"{url}/results",
        "soqlCompatible": True,
        "url": url,
    }


# --- its columns and conditions --------------------------------------------------------------


def _paths(query: ListQuery) -> list[tuple[tuple[str, ...], Field]]:
    """The columns of the query: those that show, then the hidden ones every view reads."""
    shown = {each.path: each.shown for each in query.definition.columns}
    fields = query.access.fields
    for name in ("Id", "CreatedDate", "LastModifiedDate", "SystemModstamp"):
        shown.setdefault((name,), fields[name.lower()])
    return list(shown.items())


def _order(query: ListQuery) -> list[str]:
    named = query.access.sobject.name_field
    return [*([named.name] if named else []), "Id"]


def _columns(query: ListQuery) -> list[dict[str, Any]]:
    order = _order(query)
    known = {each.path: each for each in query.definition.columns}
    columns = []
    for path, field in _paths(query):
        joined, column = ".".join(path), known.get(path)
        kind = column_type(column) if column else field.api_type
        numeric = kind in {"double", "currency", "percent", "int"}
        up, down = _DIRECTIONS.get(kind, _NUMBERS if numeric else _LETTERS)
        columns.append(
            {
                "ascendingLabel": up,
                "descendingLabel": down,
                "fieldNameOrPath": joined,
                "hidden": column is None,
                "label": column_label(column) if column else field.label,
                "selectListItem": selected(column, labels=True) if column else joined,
                "sortDirection": "ascending" if joined in order else None,
                "sortIndex": order.index(joined) if joined in order else None,
                "sortable": column is not None,
                "type": kind,
            }
        )
    return columns


def _where(logic: Logic | None, filters: tuple[ListFilter, ...]) -> dict[str, Any] | None:
    if not filters:
        return None
    if logic is None:
        conditions = [_condition(each) for each in filters]
        return (
            conditions[0]
            if len(conditions) == 1
            else {"conditions": conditions, "conjunction": "and"}
        )
    word, *parts = logic
    if isinstance(word, int):
        return _condition(filters[word - 1])
    inner = [_where(each, filters) for each in parts if isinstance(each, tuple)]
    if word == "not":
        return {"condition": inner[0]}
    return {"conditions": inner, "conjunction": word}


def _condition(each: ListFilter) -> dict[str, Any]:
    return {
        "field": ".".join(each.column.path), "operator": each.operation, "values": each.values,
    }  # fmt: skip
