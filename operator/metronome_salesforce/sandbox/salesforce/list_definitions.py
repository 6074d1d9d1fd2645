"""List views from their metadata: columns, filters and their logic, by the platform's rules.

(Metadata API guide, ListView; Salesforce Help, Create a Custom List View.)
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from xml.etree import ElementTree as ET

from metronome_salesforce.sandbox.salesforce.date_literals import date_range
from metronome_salesforce.sandbox.salesforce.object_metadata import MetadataError, check_label
from metronome_salesforce.sandbox.salesforce.packages import children, text_of
from metronome_salesforce.sandbox.salesforce.schema import (
    LONG_TYPES,
    NUMBER_TYPES,
    Schema,
    SObject,
)
from metronome_salesforce.sandbox.salesforce.view_columns import ListColumn, find_column

_MOST_COLUMNS = 15
_MOST_FILTERS = 10
_SCOPES = frozenset({"Everything", "Mine"})
_EQUALITY = frozenset({"equals", "notEqual"})
_ORDER = frozenset({"lessThan", "greaterThan", "lessOrEqual", "greaterOrEqual"})
_SUBSTRING = frozenset({"contains", "notContain", "startsWith"})
_MEMBERS = frozenset({"includes", "excludes"})
_SPOKEN_RANGE = re.compile(r"(LAST|NEXT) (\d+) (DAYS|WEEKS|MONTHS|QUARTERS|YEARS)\Z")
_LITERAL = re.compile(r"([A-Z][A-Z0-9_]*)(?::(\d+))?\Z")
_AMERICAN = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})(?: .*)?\Z")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?\Z")
_WORDS = re.compile(r"\d+|[A-Za-z]+|[()]|\S")

Logic = tuple["str | int | Logic", ...]
"""A number of a filter from 1, or ("and" | "or" | "not", operand, ...)."""


@dataclass(frozen=True, slots=True)
class ListFilter:
    """One condition; `value` is as the metadata has it, several are separated by commas."""

    column: ListColumn
    operation: str
    value: str

    @property
    def values(self) -> list[str]:
        """The values of an enumeration: any of them meets `equals`."""
        return [each.strip() for each in self.value.split(",")]


@dataclass(frozen=True, slots=True)
class ListDefinition:
    """A list view as deployed; `logic` is None where all filters must hold."""

    name: str
    label: str
    scope: str
    columns: tuple[ListColumn, ...]
    filters: tuple[ListFilter, ...]
    logic: Logic | None


def read_list_view(element: ET.Element, sobject: SObject, schema: Schema) -> ListDefinition:
    """A list view whose parts all make sense on the object; raises MetadataError."""
    label = text_of(element, "label")
    check_label(label)
    scope = text_of(element, "filterScope")
    if scope not in _SCOPES or (scope == "Mine" and sobject.field("OwnerId") is None):
        raise MetadataError(f"Invalid scope:{scope}, not allowed on: {sobject.name}")
    columns = tuple(_columns(element, sobject, schema))
    filters = tuple(_filter(each, sobject, schema) for each in children(element, "filters"))
    if len(filters) > _MOST_FILTERS:
        raise MetadataError(f"A list view can have at most {_MOST_FILTERS} filters")
    expression = text_of(element, "booleanFilter")
    logic = read_logic(expression, len(filters)) if expression else None
    return ListDefinition(text_of(element, "fullName"), label, scope, columns, filters, logic)


def _columns(element: ET.Element, sobject: SObject, schema: Schema) -> Iterator[ListColumn]:
    names = [(each.text or "").strip() for each in children(element, "columns")]
    if len(names) > _MOST_COLUMNS:
        raise MetadataError(f"A list view can have at most {_MOST_COLUMNS} columns")
    for at, name in enumerate(names):
        if name in names[:at]:
            raise MetadataError(f"Field: columns, value:{name} appears more than once")
        yield _column(name, sobject, schema)


def _column(name: str, sobject: SObject, schema: Schema) -> ListColumn:
    found = find_column(name, sobject, schema)
    if found is None or found.field.type in LONG_TYPES:
        raise MetadataError(f"Could not resolve list view column: {name}")
    return found


# --- filters --------------------------------------------------------------------------------


def _filter(element: ET.Element, sobject: SObject, schema: Schema) -> ListFilter:
    column = _column(text_of(element, "field"), sobject, schema)
    operation, value = text_of(element, "operation"), text_of(element, "value")
    if operation not in _operations(column.shown.result_type):
        raise MetadataError(f"Invalid operation:{operation}, not allowed on: {column.name}")
    found = ListFilter(column, operation, value)
    if not _fits(found):
        raise MetadataError(f"Invalid value:{value}, not allowed on: {column.name}")
    return found


def _operations(kind: str) -> frozenset[str]:
    if kind == "Checkbox":
        return _EQUALITY
    if kind in NUMBER_TYPES or kind in {"Date", "DateTime"}:
        return _EQUALITY | _ORDER
    if kind == "MultiselectPicklist":
        return _EQUALITY | _MEMBERS
    return _EQUALITY | _SUBSTRING if kind == "Picklist" else _EQUALITY | _SUBSTRING | _ORDER


def _fits(each: ListFilter) -> bool:
    """Whether the value is one of the field's type; no value asks for empty fields."""
    kind, shown = each.column.shown.result_type, each.column.shown
    if kind == "Checkbox":
        return each.value in {"0", "1"}
    if not each.value:
        return each.operation in _EQUALITY
    if kind in NUMBER_TYPES:
        return bool(_NUMBER.match(each.value.replace(",", "")))
    if kind in {"Date", "DateTime"}:
        return day_range(each.value, date(2000, 1, 1)) is not None
    if kind in {"Picklist", "MultiselectPicklist"} and each.operation not in _SUBSTRING:
        known = {text for one in shown.picklist for text in (one.value, one.label)}
        return set(each.values) <= known
    return True


def day_range(value: str, today: date) -> tuple[date, date] | None:
    """The days from..until (exclusive) that a date filter means, or None if it is no date.

    TODAY, LAST_N_DAYS:30, "LAST 30 DAYS", "THIS MONTH", 2026-01-31 and 1/31/2026 (as the en_US
    locale writes it) are dates.
    """
    literal = literal_date(value)
    if literal is not None:
        word, _, count = literal.partition(":")
        return date_range(word, int(count) if count else None, today)
    text = value.strip()
    american = _AMERICAN.match(text)
    try:
        day = (
            date(int(american[3]), int(american[1]), int(american[2]))
            if american
            else date.fromisoformat(text[:10])
        )
    except ValueError:
        return None
    return day, date.fromordinal(day.toordinal() + 1)


def literal_date(value: str) -> str | None:
    """The SOQL literal of a relative date such as "last 30 days", or None if it is not relative."""
    text = value.strip().upper()
    spoken = _SPOKEN_RANGE.match(text)
    if spoken:
        text = f"{spoken[1]}_N_{spoken[3]}:{spoken[2]}"
    literal = text.replace(" ", "_")
    return literal if _LITERAL.match(literal) else None


# --- filter logic ---------------------------------------------------------------------------


def read_logic(text: str, filters: int) -> Logic:
    """The tree of a booleanFilter such as `1 AND (2 OR 3)`; raises MetadataError.

    AND and OR need parentheses to stand beside each other, and every filter must have its place.
    """
    words = [each.upper() for each in _WORDS.findall(text)]
    tree, rest = _either(words)
    if rest:
        raise _imprecise()
    used = set(_numbers(tree))
    for number in sorted(used):
        if not 1 <= number <= filters:
            raise MetadataError(f"The filter logic references an undefined filter: {number}.")
    if len(used) < filters:
        raise MetadataError(
            "Some filter conditions are defined but not referenced in your filter logic."
        )
    return tree


def _either(words: list[str]) -> tuple[Logic, list[str]]:
    operand, words = _operand(words)
    parts, joint = [operand], ""
    while words and words[0] in {"AND", "OR"}:
        if joint not in {"", words[0]}:
            raise _imprecise()
        joint = words[0]
        operand, words = _operand(words[1:])
        parts.append(operand)
    return ((joint.lower(), *parts) if joint else operand), words


def _operand(words: list[str]) -> tuple[Logic, list[str]]:
    if words[:1] == ["NOT"]:
        operand, rest = _operand(words[1:])
        return ("not", operand), rest
    if words[:1] == ["("]:
        tree, rest = _either(words[1:])
        if rest[:1] != [")"]:
            raise _imprecise()
        return tree, rest[1:]
    if words and words[0].isdigit():
        return (int(words[0]),), words[1:]
    raise _imprecise()


def _numbers(tree: Logic) -> Iterator[int]:
    for each in tree:
        if isinstance(each, int):
            yield each
        elif not isinstance(each, str):
            yield from _numbers(each)


def _imprecise() -> MetadataError:
    return MetadataError(
        "Your filter is imprecise or incorrect. Please see the help for tips on filter logic."
    )
