"""The rows of a report in SQL: joined objects, parents over lookups, filters, order.

Nothing is filtered in Python. Each row carries the ids of its records, and for every column the
value to show and the record that the value names.
"""

# ruff: noqa: S608 -- names in SQL come from the schema; values are bound

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from metronome_salesforce.sandbox.salesforce.access import User
from metronome_salesforce.sandbox.salesforce.core import OrgState
from metronome_salesforce.sandbox.salesforce.exceptions import SalesforceError
from metronome_salesforce.sandbox.salesforce.formula_terms import Scope
from metronome_salesforce.sandbox.salesforce.formulas import field_sql
from metronome_salesforce.sandbox.salesforce.report_columns import Column
from metronome_salesforce.sandbox.salesforce.report_definitions import Definition
from metronome_salesforce.sandbox.salesforce.report_filters import (
    Sql,
    filter_sql,
    frame_sql,
    logic_sql,
    read_logic,
)
from metronome_salesforce.sandbox.salesforce.report_types import Table
from metronome_salesforce.sandbox.salesforce.schema import Field, SObject


@dataclass(frozen=True, slots=True)
class Cell:
    """A value as REST gives it (a lookup gives the name), and the id of the record it names."""

    value: Any
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """The ids of the joined records, None where an outer join found none, and the cells."""

    ids: tuple[str | None, ...]
    cells: tuple[Cell, ...]


class RowQuery:
    """One query over the tables of a report type; joins are added as columns ask for them."""

    def __init__(self, state: OrgState, user: User, tables: Sequence[Table]) -> None:
        self._state = state
        self._user = user
        self._tables = tables
        self._now = state.moment()
        self._joined: dict[tuple[str, str], str] = {}
        self._joins: list[str] = []
        for at, table in enumerate(tables[1:], start=1):
            assert table.key is not None  # noqa: S101 -- every table but the first has one
            kind = "LEFT JOIN" if table.outer else "JOIN"
            self._joins.append(
                f'{kind} "{table.sobject.name}" t{at} ON t{at}."{table.key.name}" = '
                f't{at - 1}."Id" AND t{at}."IsDeleted" = 0'
            )

    def rows(self, report: Definition, columns: Sequence[Column], known: dict[str, Column]
             ) -> Iterator[Row]:  # fmt: skip
        """The rows with these columns; `known` are the columns that filters and order may name.

        Raises SalesforceError where the report filters by a column that is not in `known`.
        """
        selected = [f't{at}."Id"' for at in range(len(self._tables))]
        checkboxes = [each.field.type == "Checkbox" for each in columns]
        for each in columns:
            selected += self._shown(each)
        condition, bound = self._condition(report, known)
        order = self._order(report, known)
        base = self._tables[0].sobject.name
        sql = (
            f'SELECT {", ".join(selected)} FROM "{base}" t0 {" ".join(self._joins)} '
            f"WHERE {condition} ORDER BY {order}"
        )
        if report.row_limit is not None:
            sql += f" LIMIT {report.row_limit}"
        width = len(self._tables)
        for found in self._state.storage.all(sql, bound):
            pairs = zip(found[width::2], found[width + 1 :: 2], checkboxes, strict=True)
            yield Row(
                found[:width],
                tuple(
                    Cell(bool(value) if boolean and value is not None else value, reference)
                    for value, reference, boolean in pairs
                ),
            )

    # --- columns ------------------------------------------------------------------------

    def _shown(self, column: Column) -> tuple[str, str]:
        """The SQL of the value and of the id of the record that it names."""
        alias, sobject = self._place(column)
        if column.points_to is None:
            named = f'{alias}."Id"' if column.field.name_field else "NULL"
            return self._value(alias, sobject, column.field), named
        target = self._state.schema.get(column.points_to)
        assert target is not None  # noqa: S101 -- the column was resolved with it
        joined = self._join(alias, column.field, target)
        name = target.name_field
        shown = self._value(joined, target, name) if name else f'{joined}."Id"'
        return shown, f'{joined}."Id"'

    def _place(self, column: Column) -> tuple[str, SObject]:
        """The alias of the table that holds the column's field, and its object."""
        alias, sobject = f"t{column.table}", self._tables[column.table].sobject
        for each in column.lookups:
            target = self._state.schema.get(each.reference_to or "")
            assert target is not None  # noqa: S101 -- the column was resolved with it
            alias, sobject = self._join(alias, each, target), target
        return alias, sobject

    def _join(self, alias: str, lookup: Field, target: SObject) -> str:
        key = (alias, lookup.name)
        if key not in self._joined:
            joined = self._joined[key] = f"p{len(self._joined)}"
            self._joins.append(
                f'LEFT JOIN "{target.name}" {joined} ON {joined}."Id" = {alias}."{lookup.name}"'
            )
        return self._joined[key]

    def _value(self, alias: str, sobject: SObject, field: Field) -> str:
        return field_sql(field, Scope(self._state.schema, sobject, alias, self._now))

    # --- conditions and order -----------------------------------------------------------

    def _condition(self, report: Definition, known: dict[str, Column]) -> Sql:
        today = self._now.date()
        conditions: list[Sql] = [('t0."IsDeleted" = 0', [])]
        if report.scope == "user":
            conditions.append(('t0."OwnerId" = ?', [self._user.id]))
        parts = [
            filter_sql(each, column, self._shown(column)[0], today)
            for each in report.filters
            for column in [_filterable(each.column, known)]
        ]
        if report.logic:
            conditions.append(logic_sql(read_logic(report.logic, len(parts)), parts))
        else:
            conditions += parts
        frame = report.time_frame
        if frame is not None and (frame.column in known or frame.interval != "INTERVAL_CUSTOM"
                                  or frame.start or frame.end):  # fmt: skip
            column = _filterable(frame.column, known)
            within = frame_sql(frame, column, self._shown(column)[0], today)
            conditions += [within] if within else []
        sql = " AND ".join(each for each, _ in conditions)
        return sql, [value for _, some in conditions for value in some]

    def _order(self, report: Definition, known: dict[str, Column]) -> str:
        column = known.get(report.sort_column)
        rows = ", ".join(f"t{at}.rowid" for at in range(len(self._tables)))
        if column is None:
            return rows
        sql = self._shown(column)[0]
        direction = "DESC NULLS LAST" if report.descending else "ASC NULLS FIRST"
        text = " COLLATE NOCASE" if column.field.is_text or column.points_to else ""
        return f"{sql}{text} {direction}, {rows}"


def _filterable(name: str, known: dict[str, Column]) -> Column:
    found = known.get(name)
    if found is None:
        raise SalesforceError(
            "FORBIDDEN",
            f"The report is filtered by a field that you cannot see: {name}",
            status=403,
        )
    return found
