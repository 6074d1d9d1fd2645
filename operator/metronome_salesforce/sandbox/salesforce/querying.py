"""Running SOQL and paging through results.

A cursor keeps the row numbers only (8 bytes a row) and reads the fields of each page when it is
asked for (REST API, Query and QueryMore).
"""

# ruff: noqa: S608 -- names in SQL come from the schema; values are bound

from array import array
from dataclasses import dataclass
from typing import Any

from metronome_salesforce.sandbox.salesforce.access import User
from metronome_salesforce.sandbox.salesforce.core import OrgState
from metronome_salesforce.sandbox.salesforce.exceptions import SalesforceError
from metronome_salesforce.sandbox.salesforce.schema import LONG_TYPES, NUMBER_TYPES
from metronome_salesforce.sandbox.salesforce.soql import parse
from metronome_salesforce.sandbox.salesforce.soql_sql import Column, Compiled, Compiler, Node

_MOST_CURSORS = 10
_MOST_GROUPS = 2000
DEFAULT_BATCH = 2000


@dataclass(slots=True)
class Cursor:
    """A result still being read; bound to the user who asked."""

    user: str
    compiled: Compiled
    rows: "array[int]"
    batch: int


class Queries:
    """Queries and open cursors of one org."""

    def __init__(self, state: OrgState) -> None:
        self._state = state
        self._cursors: dict[str, Cursor] = {}

    def expire(self) -> None:
        """Forget every cursor, as the platform does after two days."""
        self._cursors.clear()

    def compile(self, text: str, user: User, *, deleted: bool = False) -> Compiled:
        """Translate a query; raises SalesforceError with the platform's code and text."""
        compiler = Compiler(self._state, user, text, parse(text), deleted=deleted, prefix="t")
        return compiler.compile()

    def run(
        self, text: str, user: User, version: str, *, deleted: bool = False, batch: int = 0
    ) -> dict[str, Any]:
        """The JSON of a query's first page."""
        compiled = self.compile(text, user, deleted=deleted)
        batch = min(max(batch or DEFAULT_BATCH, 200), DEFAULT_BATCH)
        if compiled.counting:
            row = self._state.storage.one(
                f"SELECT count(*) FROM {compiled.from_sql}", compiled.parameters
            )
            total = row[0] if row else 0
            if compiled.limit is not None:
                total = min(total, compiled.limit)
            return {"totalSize": total, "done": True, "records": []}
        if compiled.aggregate:
            rows = self.all_rows(compiled)
            if compiled.tail and len(rows) > _MOST_GROUPS:
                raise SalesforceError(
                    "EXCEEDED_ID_LIMIT",
                    "Aggregate query does not support queryMore(), use LIMIT to restrict the "
                    "results to a single batch",
                )
            records = [_aggregate_record(compiled, row) for row in rows]
            return {"totalSize": len(records), "done": True, "records": records}
        return self._first_page(compiled, user, version, batch)

    def _first_page(
        self, compiled: Compiled, user: User, version: str, batch: int
    ) -> dict[str, Any]:
        rows = self.all_rows(compiled, at_most=batch + 1)
        if len(rows) <= batch:
            records = self.records(compiled, rows, version)
            return {"totalSize": len(records), "done": True, "records": records}
        sql = f"SELECT {compiled.root.alias}.rowid FROM {compiled.from_sql}{compiled.tail}"
        sql, parameters = _limited(compiled, sql)
        numbers = array("q", (row[0] for row in self._state.storage.all(sql, parameters)))
        locator = self._state.ids.next("01g")
        self._cursors[locator] = Cursor(user.id, compiled, numbers, batch)
        own = [name for name, each in self._cursors.items() if each.user == user.id]
        for oldest in own[:-_MOST_CURSORS]:
            del self._cursors[oldest]
        records = self.records(compiled, rows[:batch], version)
        return self._page(len(numbers), locator, batch, records, version)

    def more(self, locator: str, user: User, version: str) -> dict[str, Any]:
        """The JSON of a further page; raises INVALID_QUERY_LOCATOR."""
        name, _, offset_text = locator.partition("-")
        cursor = self._cursors.get(name)
        if cursor is None or cursor.user != user.id or not offset_text.isdigit():
            raise SalesforceError("INVALID_QUERY_LOCATOR", "invalid query locator")
        offset = int(offset_text)
        wanted = cursor.rows[offset : offset + cursor.batch]
        if not wanted:
            raise SalesforceError("INVALID_QUERY_LOCATOR", "invalid query locator")
        records = self.records(cursor.compiled, self._rows_at(cursor.compiled, wanted), version)
        following = offset + len(wanted)
        return self._page(len(cursor.rows), name, following, records, version)

    def _page(
        self,
        total: int,
        locator: str,
        following: int,
        records: list[dict[str, Any]],
        version: str,
    ) -> dict[str, Any]:
        body: dict[str, Any] = {"totalSize": total, "done": following >= total}
        if following < total:
            body["nextRecordsUrl"] = f"/services/data/v{version}/query/{locator}-{following}"
        body["records"] = records
        return body

    def _rows_at(self, compiled: Compiled, numbers: "array[int]") -> list[tuple[Any, ...]]:
        alias = compiled.root.alias
        tables = compiled.from_sql.split(" WHERE ", 1)[0]
        listed = ",".join(map(str, numbers))
        sql = (
            f"SELECT {', '.join(compiled.columns)}, {alias}.rowid FROM {tables} "
            f"WHERE {alias}.rowid IN ({listed})"
        )
        found = {row[-1]: row[:-1] for row in self._state.storage.all(sql)}
        return [found[number] for number in numbers if number in found]

    def all_rows(self, compiled: Compiled, at_most: int | None = None) -> list[tuple[Any, ...]]:
        """The fetched rows of a compiled query, in its order."""
        sql = f"SELECT {', '.join(compiled.columns)} FROM {compiled.from_sql}{compiled.tail}"
        sql, parameters = _limited(compiled, sql, at_most)
        return self._state.storage.all(sql, parameters)

    # --- records ------------------------------------------------------------------------

    def records(
        self, compiled: Compiled, rows: list[tuple[Any, ...]], version: str
    ) -> list[dict[str, Any]]:
        """The JSON records of fetched rows: attributes first, then fields as selected."""
        root = compiled.root
        records = (
            _flat(root, rows, version)
            if not root.parents
            else [_record(root, row, version) for row in rows]
        )
        for name, child, _ in compiled.children:
            self._attach(compiled, records, rows, name, child, version)
        return records

    def _attach(
        self,
        compiled: Compiled,
        records: list[dict[str, Any]],
        rows: list[tuple[Any, ...]],
        name: str,
        child: Compiled,
        version: str,
    ) -> None:
        id_column = compiled.root.id_column or 0
        ids = [row[id_column] for row in rows]
        key = child.columns[-1]
        glue = " AND" if " WHERE " in child.from_sql else " WHERE"
        grouped: dict[str, list[tuple[Any, ...]]] = {}
        if ids:
            marks = ",".join("?" * len(ids))
            sql = (
                f"SELECT {', '.join(child.columns)} FROM {child.from_sql}{glue} {key} IN ({marks})"
                f"{child.tail}"
            )
            parameters = [*child.parameters, *ids, *child.tail_parameters]
            for row in self._state.storage.all(sql, parameters):
                grouped.setdefault(row[-1], []).append(row)
        start = child.offset or 0
        end = None if child.limit is None else start + child.limit
        for record, parent in zip(records, ids, strict=True):
            found = grouped.get(parent, [])[start:end]
            record[name] = (
                {
                    "totalSize": len(found),
                    "done": True,
                    "records": self.records(child, found, version),
                }
                if found
                else None
            )


def _limited(compiled: Compiled, sql: str, at_most: int | None = None) -> tuple[str, list[Any]]:
    parameters = [*compiled.parameters, *compiled.tail_parameters]
    limits = [each for each in (compiled.limit, at_most) if each is not None]
    if limits or compiled.offset:
        sql += f" LIMIT {min(limits) if limits else -1}"
    if compiled.offset:
        sql += f" OFFSET {compiled.offset}"
    return sql, parameters


def _flat(node: Node, rows: list[tuple[Any, ...]], version: str) -> list[dict[str, Any]]:
    """Rows without parents: the fast path of a full page."""
    name = node.access.sobject.name
    prefix = f"/services/data/v{version}/sobjects/{name}/"
    leaves = node.leaves
    id_column = node.id_column or 0
    booleans = [(leaf, index) for leaf, index, boolean in leaves if boolean]
    # The columns come in the order of the select list, after the id added in front.
    names = [leaf for leaf, _, _ in leaves]
    first = leaves[0][1] if leaves else 0
    records = []
    for row in rows:
        record: dict[str, Any] = {
            "attributes": {"type": name, "url": prefix + row[id_column]},
            **dict(zip(names, row[first:], strict=False)),
        }
        for leaf, index in booleans:
            record[leaf] = bool(row[index])
        records.append(record)
    return records


def _record(node: Node, row: tuple[Any, ...], version: str) -> dict[str, Any]:
    name = node.access.sobject.name
    record: dict[str, Any] = {
        "attributes": {
            "type": name,
            "url": f"/services/data/v{version}/sobjects/{name}/{row[node.id_column or 0]}",
        }
    }
    for leaf, index, boolean in node.leaves:
        record[leaf] = bool(row[index]) if boolean else row[index]
    for relationship, parent in node.parents.items():
        known = row[parent.id_column or 0] is not None
        record[relationship] = _record(parent, row, version) if known else None
    return record


def _aggregate_record(compiled: Compiled, row: tuple[Any, ...]) -> dict[str, Any]:
    record: dict[str, Any] = {"attributes": {"type": "AggregateResult"}}
    for leaf, index, boolean in compiled.root.leaves:
        record[leaf] = bool(row[index]) if boolean and row[index] is not None else row[index]
    return record


def column_metadata(compiled: Compiled) -> dict[str, Any]:
    """The undocumented `columns=true` answer that the CLI asks for after each query."""
    return {
        "columnMetadata": [_column_json(each) for each in compiled.described],
        "entityName": compiled.root.access.sobject.name,
        "groupBy": " GROUP BY " in compiled.tail,
        "idSelected": any(each.path == ("Id",) for each in compiled.described),
        "keyPrefix": compiled.root.access.sobject.prefix,
    }


def _column_json(column: Column) -> dict[str, Any]:
    known, aggregate = column.field, column.aggregate
    kind = known.result_type if known is not None else "Number"
    joins = [_column_json(each) for each in column.children]
    for part in reversed(column.path[1:]):
        joins = [{"columnName": part, "joinColumns": joins}]
    apex = {"Id": "Id", "Checkbox": "Boolean", "Date": "Date", "DateTime": "Datetime"}
    return {
        "aggregate": aggregate is not None,
        "apexType": apex.get(kind, "Double" if kind in NUMBER_TYPES else "String"),
        "booleanType": kind == "Checkbox",
        "columnName": column.path[0],
        "custom": bool(known and known.custom),
        "displayName": aggregate or column.path[0],
        "foreignKeyName": known.relationship if known else None,
        "insertable": bool(known and known.createable and not known.calculated),
        "joinColumns": joins,
        "numberType": kind in NUMBER_TYPES,
        "textType": bool(known and (known.is_text or known.type in LONG_TYPES)),
        "updatable": bool(known and known.updateable and not known.calculated),
    }
