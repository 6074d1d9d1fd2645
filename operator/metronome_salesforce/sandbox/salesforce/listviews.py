"""Running list views: a view is a SOQL query, and whoever opens it sees what SOQL shows that user.

A column that the user may not see is left out; the others stay (Salesforce Help, List Views; REST
API, List View Describe).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any
from xml.etree import ElementTree as ET

from metronome_salesforce.sandbox.salesforce.access import Access, User
from metronome_salesforce.sandbox.salesforce.core import OrgState
from metronome_salesforce.sandbox.salesforce.exceptions import SalesforceError, not_found
from metronome_salesforce.sandbox.salesforce.list_definitions import (
    ListDefinition,
    ListFilter,
    Logic,
    day_range,
    literal_date,
    read_list_view,
)
from metronome_salesforce.sandbox.salesforce.querying import Queries
from metronome_salesforce.sandbox.salesforce.schema import NUMBER_TYPES, Field
from metronome_salesforce.sandbox.salesforce.view_columns import ListColumn

_SIGNS = {
    "equals": "=", "notEqual": "!=", "lessThan": "<", "greaterThan": ">", "lessOrEqual": "<=",
    "greaterOrEqual": ">=",
}  # fmt: skip
_PATTERNS = {"contains": "%{}%", "notContain": "%{}%", "startsWith": "{}%"}
_NEGATIVE = frozenset({"notEqual", "notContain", "excludes"})
_PEOPLE_LABELS = {
    "CREATEDBY_USER": "Created By", "CREATEDBY_USER.ALIAS": "Created By Alias",
    "UPDATEDBY_USER": "Last Modified By", "UPDATEDBY_USER.ALIAS": "Last Modified By Alias",
    "OWNER.ALIAS": "Owner Alias", "OWNER.FIRST_NAME": "Owner First Name",
    "OWNER.LAST_NAME": "Owner Last Name", "CORE.USERS.ALIAS": "Account Owner Alias",
}  # fmt: skip
# What every list view reads beside its columns (REST API, List View Describe).
_HIDDEN = ("Id", "CreatedDate", "LastModifiedDate", "SystemModstamp")


@dataclass(frozen=True, slots=True)
class ViewColumn:
    """A column: its name in the metadata (NAME, Account__c), label, and REST type."""

    name: str
    label: str
    type: str


@dataclass(frozen=True, slots=True)
class ViewRow:
    """A row: its record id, and a value for each column as REST gives it."""

    id: str
    values: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class ListViewResult:
    """What one user sees of a list view; a lookup column holds the parent's name."""

    object: str
    name: str
    label: str
    columns: tuple[ViewColumn, ...]
    rows: tuple[ViewRow, ...]


@dataclass(frozen=True, slots=True)
class ListQuery:
    """A list view for one user: its definition with the columns that are left, and its SOQL."""

    access: Access
    definition: ListDefinition
    soql: str


def list_views(state: OrgState, sobject: str) -> list[tuple[str, str]]:
    """The list views of an object as (developer name, label), by label."""
    known = state.schema.get(sobject)
    owner = known.name if known else sobject
    found = [
        (name.partition(".")[2], _label(state, name))
        for kind, name in state.components
        if kind == "ListView" and name.partition(".")[0] == owner
    ]
    return sorted(found, key=lambda each: (each[1].lower(), each[0]))


def _label(state: OrgState, name: str) -> str:
    return str(_element(state, name).findtext("{*}label"))


def _element(state: OrgState, name: str) -> ET.Element:
    stored = state.components.get(("ListView", name))
    if stored is None:
        raise not_found()
    return ET.fromstring(stored.content)  # noqa: S314 -- what a deploy has parsed and accepted


def run_list_view(
    state: OrgState, user: User, sobject: str, name: str, *, limit: int | None = None
) -> ListViewResult:
    """The rows of a list view that the user may see, in the order of their names.

    Raises SalesforceError: NOT_FOUND if the user has no such object or view, INVALID_FIELD if the
    user may not see a field that the view filters by.
    """
    query = list_query(state, user, sobject, name)
    queries = Queries(state)
    compiled = queries.compile(query.soql, user)
    fetched = queries.all_rows(compiled, at_most=limit)
    records = queries.records(compiled, fetched, "66.0")
    columns = query.definition.columns
    return ListViewResult(
        query.access.sobject.name,
        query.definition.name,
        query.definition.label,
        tuple(ViewColumn(one.name, column_label(one), column_type(one)) for one in columns),
        tuple(
            ViewRow(each["Id"], tuple(value_at(each, one.path) for one in columns))
            for each in records
        ),
    )


def list_query(
    state: OrgState, user: User, sobject: str, name: str, *, labels: bool = False
) -> ListQuery:
    """A list view as the user's SOQL, picklists as labels if asked for; raises NOT_FOUND."""
    access = state.access(sobject, user)
    if access is None:
        raise not_found()
    own = access.sobject
    definition = read_list_view(_element(state, f"{own.name}.{name}"), own, state.schema)
    columns = tuple(each for each in definition.columns if _visible(each, access, state, user))
    definition = replace(definition, columns=columns)
    return ListQuery(
        access,
        definition,
        _soql(definition, access, _conditions(definition, state, user), labels=labels),
    )


def _visible(column: ListColumn, access: Access, state: OrgState, user: User) -> bool:
    if column.field.name.lower() not in access.fields:
        return False
    if len(column.path) == 1:
        return True
    parent = state.access(column.field.reference_to or "", user)
    return parent is not None and column.shown.name.lower() in parent.fields


def column_label(column: ListColumn) -> str:
    """The heading of a column."""
    return _PEOPLE_LABELS.get(column.name, column.field.label)


def column_type(column: ListColumn) -> str:
    """The REST type of a column's values."""
    return column.shown.api_type


def value_at(record: dict[str, Any] | None, path: Sequence[str]) -> Any:
    """The value at the end of a path through a record and its parents."""
    for part in path:
        if record is None:
            return None
        record = record[part]
    return record


# --- SOQL -----------------------------------------------------------------------------------


def selected(column: ListColumn, *, labels: bool) -> str:
    """A column as it stands in the select list."""
    path = ".".join(column.path)
    return f"toLabel({path})" if labels and column.shown.picklist else path


def _soql(
    definition: ListDefinition, access: Access, conditions: list[str], *, labels: bool
) -> str:
    named = access.sobject.name_field
    first = named.name if named else "Id"
    names = [*(selected(each, labels=labels) for each in definition.columns), *_HIDDEN]
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return (
        f"SELECT {', '.join(dict.fromkeys(names))} FROM {access.sobject.name}{where} "  # noqa: S608 -- SOQL, which a compiler checks
        f"ORDER BY {first} ASC NULLS FIRST, Id ASC NULLS FIRST"
    )


def _conditions(definition: ListDefinition, state: OrgState, user: User) -> list[str]:
    mine = [f"OwnerId = '{user.id}'"] if definition.scope == "Mine" else []
    today = state.moment().date()
    tests = [_test(each, today) for each in definition.filters]
    return [*mine, *([_joined(definition.logic, tests)] if tests else [])]


def _joined(logic: Logic | None, tests: list[str]) -> str:
    """The tests put together as the filter logic says, all of them without one."""
    if logic is None:
        return " AND ".join(tests)
    word, *parts = logic
    if isinstance(word, int):
        return tests[word - 1]
    inner = [_joined(each, tests) for each in parts if isinstance(each, tuple)]
    if word == "not":
        return f"(NOT {inner[0]})"
    return "(" + f" {str(word).upper()} ".join(inner) + ")"


def _test(each: ListFilter, today: date) -> str:
    """One filter as a SOQL condition, in parentheses where it is more than a comparison."""
    path, kind = ".".join(each.column.path), each.column.shown.result_type
    if not each.value:
        return f"{path} {_SIGNS[each.operation]} null"
    if kind == "Checkbox":
        return f"{path} {_SIGNS[each.operation]} {'TRUE' if each.value == '1' else 'FALSE'}"
    if kind in NUMBER_TYPES:
        return f"{path} {_SIGNS[each.operation]} {each.value.replace(',', '')}"
    if kind in {"Date", "DateTime"}:
        return _date_test(each, path, kind, today)
    return _text_test(each, path)


def _text_test(each: ListFilter, path: str) -> str:
    """Text, picklists and names of parents: any of several values is enough."""
    values = [_api_value(value, each.column.shown) for value in each.values]
    if each.operation in {"includes", "excludes"}:
        return f"{path} {each.operation.upper()} ({', '.join(map(_quoted, values))})"
    if each.operation in _PATTERNS:
        pattern = _PATTERNS[each.operation]
        like = [f"{path} LIKE {_pattern(pattern, value)}" for value in values]
        joined = like[0] if len(like) == 1 else "(" + " OR ".join(like) + ")"
        return f"(NOT {joined})" if each.operation in _NEGATIVE else joined
    if len(values) == 1:
        return f"{path} {_SIGNS[each.operation]} {_quoted(values[0])}"
    if each.operation in {"equals", "notEqual"}:
        word = "NOT IN" if each.operation in _NEGATIVE else "IN"
        return f"{path} {word} ({', '.join(map(_quoted, values))})"
    raise SalesforceError("INVALID_FIELD", f"several values in a filter of {each.column.name}")


def _api_value(value: str, field: Field) -> str:
    """The API value of a picklist's value or label; other text as it is."""
    for each in field.picklist:
        if value in {each.value, each.label}:
            return each.value
    return value


def _date_test(each: ListFilter, path: str, kind: str, today: date) -> str:
    literal = literal_date(each.value)
    if literal is not None:
        return f"{path} {_SIGNS[each.operation]} {literal}"
    found = day_range(each.value, today)
    assert found is not None  # noqa: S101 -- the deploy has refused what is no date
    start, last = found[0], found[1] - timedelta(days=1)
    if kind == "Date":
        return f"{path} {_SIGNS[each.operation]} {start.isoformat()}"
    # A day is a span of moments: equal means within, after means from the next day on.
    begin, end = f"{start.isoformat()}T00:00:00Z", f"{last.isoformat()}T23:59:59Z"
    spans: dict[str, Callable[[], str]] = {
        "equals": lambda: f"({path} >= {begin} AND {path} <= {end})",
        "notEqual": lambda: f"(NOT ({path} >= {begin} AND {path} <= {end}))",
        "lessThan": lambda: f"{path} < {begin}",
        "greaterThan": lambda: f"{path} > {end}",
        "lessOrEqual": lambda: f"{path} <= {end}",
        "greaterOrEqual": lambda: f"{path} >= {begin}",
    }
    return spans[each.operation]()


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _pattern(pattern: str, text: str) -> str:
    escaped = "".join(_pattern_characters(text))
    return f"'{pattern.format(escaped)}'"


def _pattern_characters(text: str) -> Iterator[str]:
    for character in text:
        yield f"\\{character}" if character in "\\'%_" else character
