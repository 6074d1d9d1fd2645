"""Filters of reports: what a value must look like for its column, and the SQL it becomes.

Several values with commas between them mean "any of these" (for notEqual and notContain: none of
them), an empty value means blank, text is compared without regard to case, and a blank field is
neither less nor greater than anything (Salesforce Help, Filter Operators Reference).
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from metronome_salesforce.sandbox.salesforce.object_metadata import MetadataError
from metronome_salesforce.sandbox.salesforce.report_columns import Column
from metronome_salesforce.sandbox.salesforce.report_dates import (
    Range,
    day_range,
    interval_range,
    parse_day,
)
from metronome_salesforce.sandbox.salesforce.report_definitions import FilterItem, TimeFrame
from metronome_salesforce.sandbox.salesforce.schema import NUMBER_TYPES

_ORDERED = frozenset({"lessThan", "greaterThan", "lessOrEqual", "greaterOrEqual"})
_EQUAL = frozenset({"equals", "notEqual"})
_PARTS = frozenset({"contains", "notContain", "startsWith"})
_SIGNS = {"lessThan": "<", "greaterThan": ">", "lessOrEqual": "<=", "greaterOrEqual": ">="}
_TOKEN = re.compile(r"\s*(\(|\)|\d+|[A-Za-z]+|\S)")

Sql = tuple[str, list[Any]]
"""A condition and the values bound to it."""


@dataclass(frozen=True, slots=True)
class Logic:
    """A booleanFilter: `and`, `or` or `not` over parts, or the number of a filter from 1."""

    word: str
    parts: tuple["Logic", ...] = ()
    number: int = 0


# --- what may be filtered how -----------------------------------------------------------------


def operators_for(column: Column) -> frozenset[str]:
    """The operators that the column's type takes (Analytics API, dataTypeFilterOperatorMap)."""
    kind = column.field.result_type
    if kind == "Checkbox":
        return _EQUAL
    if kind in NUMBER_TYPES or column.is_date:
        return _EQUAL | _ORDERED
    if kind == "MultiselectPicklist":
        return _EQUAL | {"includes", "excludes"}
    return _EQUAL | _ORDERED | _PARTS


def check_filter(item: FilterItem, column: Column) -> None:
    """Raise MetadataError unless the operator and the value suit the column."""
    if column.is_long:
        raise MetadataError(f"Field {item.column} is a long text area and cannot be filtered")
    if item.operator not in operators_for(column):
        raise MetadataError(
            f"Invalid filter operator '{item.operator}' for {column.type} field {item.column}"
        )
    if not item.value:
        if item.operator not in _EQUAL or column.field.type == "Checkbox":
            raise MetadataError(f"A filter value is required for {item.column}")
        return
    wrong = next((each for each in _values(item.value) if not _suits(each, column)), None)
    if wrong is None or (item.operator in _PARTS | _ORDERED and column.field.picklist):
        return
    if column.field.picklist:
        raise MetadataError(f"Picklist value: {wrong} in picklist: {column.field.name} not found")
    raise MetadataError(f"Invalid filter value '{wrong}' for {column.type} field {item.column}")


def _suits(value: str, column: Column) -> bool:
    kind = column.field.result_type
    if kind == "Checkbox":
        return value in {"0", "1"}
    if kind in NUMBER_TYPES:
        return _number(value) is not None
    if column.is_date:
        return day_range(value, date(2000, 1, 1)) is not None
    if kind in {"Picklist", "MultiselectPicklist"} and column.field.picklist:
        known = {each.value.lower() for each in column.field.picklist}
        return all(part.strip().lower() in known for part in value.split(";"))
    return True


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _values(text: str) -> list[str]:
    """The values of a filter: commas part them, double quotes keep a comma."""
    found = next(csv.reader([text], skipinitialspace=True), [])
    return [each.strip() for each in found if each.strip()]


# --- SQL ------------------------------------------------------------------------------------


def filter_sql(item: FilterItem, column: Column, sql: str, today: date) -> Sql:
    """The condition of a filter that `check_filter` has accepted."""
    operator, values = item.operator, _values(item.value)
    if not values:
        return f"({sql} IS {'NOT ' if operator == 'notEqual' else ''}NULL)", []
    negative = operator in {"notEqual", "notContain", "excludes"}
    parts = [_one(operator, each, column, sql, today) for each in values]
    joined = "(" + " OR ".join(part for part, _ in parts) + ")"
    bound = [value for _, some in parts for value in some]
    # A blank is not equal to anything, so it passes what is negated.
    return (f"(NOT coalesce({joined}, 0))" if negative else joined), bound


def _one(operator: str, value: str, column: Column, sql: str, today: date) -> Sql:
    if column.is_date:
        return _on_days(operator, value, column, sql, today)
    kind = column.field.result_type
    if kind in NUMBER_TYPES or kind == "Checkbox":
        return f"{sql} {_SIGNS.get(operator, '=')} ?", [float(value)]
    if kind == "MultiselectPicklist" and operator in {"includes", "excludes"}:
        parts = [part.strip().lower() for part in value.split(";")]
        tests = [f"instr(';' || lower({sql}) || ';', ?) > 0"] * len(parts)
        return "(" + " AND ".join(tests) + ")", [f";{part};" for part in parts]
    if operator in {"contains", "notContain"}:
        return f"instr(lower({sql}), ?) > 0", [value.lower()]
    if operator == "startsWith":
        return f"instr(lower({sql}), ?) = 1", [value.lower()]
    return f"lower({sql}) {_SIGNS.get(operator, '=')} ?", [value.lower()]


def _on_days(operator: str, value: str, column: Column, sql: str, today: date) -> Sql:
    days = day_range(value, today)
    assert days is not None  # noqa: S101 -- check_filter has seen that it is a date
    start, end = (_stored(each, column) for each in days)
    match operator:
        case "lessThan":
            return f"{sql} < ?", [start]
        case "greaterOrEqual":
            return f"{sql} >= ?", [start]
        case "greaterThan":
            return f"{sql} >= ?", [end]
        case "lessOrEqual":
            return f"{sql} < ?", [end]
    return f"({sql} >= ? AND {sql} < ?)", [start, end]


def _stored(day: date, column: Column) -> str:
    suffix = "T00:00:00.000+0000" if column.field.type == "DateTime" else ""
    return day.isoformat() + suffix


# --- the date filter ------------------------------------------------------------------------


def frame_range(frame: TimeFrame, today: date) -> Range:
    """The days that the date filter lets through; raises MetadataError."""
    if frame.interval != "INTERVAL_CUSTOM":
        found = interval_range(frame.interval, today)
        if found is None:
            raise MetadataError(f"interval: Invalid value specified: {frame.interval}")
        return found
    start, end = parse_day(frame.start), parse_day(frame.end)
    if start is not None and end is not None and end < start:
        raise MetadataError("The end date of the date filter is before its start date")
    return start, None if end is None else end + timedelta(days=1)


def frame_sql(frame: TimeFrame, column: Column, sql: str, today: date) -> Sql | None:
    """The condition of the date filter, or None if it lets everything through."""
    start, end = frame_range(frame, today)
    tests = [(f"{sql} >= ?", start), (f"{sql} < ?", end)]
    kept = [(test, _stored(day, column)) for test, day in tests if day is not None]
    if not kept:
        return None
    return "(" + " AND ".join(test for test, _ in kept) + ")", [day for _, day in kept]


# --- filter logic ---------------------------------------------------------------------------


def read_logic(text: str, count: int) -> Logic:
    """A booleanFilter such as `1 AND (2 OR 3)` over so many filters; raises MetadataError."""
    tokens = [each.upper() for each in _TOKEN.findall(text)]
    unknown = [each for each in tokens if each not in {"(", ")", "AND", "OR", "NOT"}]
    for each in unknown:
        if not each.isdigit():
            raise MetadataError(f"Your filter is imprecise or incorrect: {each}")
    numbers = {int(each) for each in unknown}
    for number in sorted(numbers):
        if not 1 <= number <= count:
            raise MetadataError(f"The filter logic references an undefined filter: {number}.")
    if len(numbers) < count:
        raise MetadataError(
            "Some filter conditions are defined but not referenced in your filter logic."
        )
    found, rest = _expression(tokens)
    if rest:
        raise MetadataError("Your filter is imprecise or incorrect")
    return found


def _expression(tokens: list[str]) -> tuple[Logic, list[str]]:
    first, rest = _term(tokens)
    parts, word = [first], ""
    while rest and rest[0] in {"AND", "OR"}:
        if word and rest[0] != word:
            raise MetadataError(
                "Your filter must use parentheses around successive AND and OR expressions."
            )
        word = rest[0]
        following, rest = _term(rest[1:])
        parts.append(following)
    return (Logic(word.lower(), tuple(parts)) if word else first), rest


def _term(tokens: list[str]) -> tuple[Logic, list[str]]:
    if not tokens:
        raise MetadataError("Your filter is missing an operand")
    head, rest = tokens[0], tokens[1:]
    if head == "NOT":
        inner, rest = _term(rest)
        return Logic("not", (inner,)), rest
    if head == "(":
        inner, rest = _expression(rest)
        if not rest or rest[0] != ")":
            raise MetadataError("Your filter is missing a parenthesis")
        return inner, rest[1:]
    if not head.isdigit():
        raise MetadataError("Your filter is imprecise or incorrect")
    return Logic("number", number=int(head)), rest


def logic_sql(logic: Logic, parts: Sequence[Sql]) -> Sql:
    """The condition of filters joined by a booleanFilter."""
    if logic.word == "number":
        return parts[logic.number - 1]
    inner = [logic_sql(each, parts) for each in logic.parts]
    bound = [value for _, some in inner for value in some]
    if logic.word == "not":
        return f"(NOT coalesce({inner[0][0]}, 0))", bound
    return "(" + f" {logic.word.upper()} ".join(part for part, _ in inner) + ")", bound
