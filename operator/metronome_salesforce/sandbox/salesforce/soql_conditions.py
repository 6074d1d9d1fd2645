"""The conditions of SOQL's WHERE and HAVING as SQL, with the type rules for literals.

Comparisons are two-valued as on the platform: `!=` and NOT IN also return rows where the field is
null (SOQL Reference, Comparison Operators).
"""

# ruff: noqa: S608 -- names in SQL come from the schema; values are bound

from datetime import datetime
from typing import Any, Protocol

from metronome_salesforce.sandbox.salesforce.date_literals import date_range
from metronome_salesforce.sandbox.salesforce.exceptions import SalesforceError
from metronome_salesforce.sandbox.salesforce.ids import normalise
from metronome_salesforce.sandbox.salesforce.schema import (
    LONG_TYPES,
    NUMBER_TYPES,
    REFERENCE_TYPES,
    Field,
)
from metronome_salesforce.sandbox.salesforce.soql import (
    Comparison,
    Literal,
    Logic,
    Membership,
    Operand,
    Query,
    query_error,
    string_value,
)
from metronome_salesforce.sandbox.salesforce.values import parse_date_time


class Subselect(Protocol):
    """A translated subquery, as far as a semi-join needs it."""

    columns: list[str]
    described: list[Any]
    from_sql: str
    parameters: list[Any]
    aggregate: bool


class Level(Protocol):
    """The query level that the conditions belong to."""

    text: str
    now: datetime
    parameters: list[Any]

    def operand(self, operand: Operand, *, having: bool) -> tuple[str, Field | None]:
        """The SQL of an operand, and its field if it is a plain one."""
        ...

    def subquery(self, query: Query) -> Subselect:
        """A translated sub-select."""
        ...


class Conditions:
    """Translates the conditions of one level."""

    def __init__(self, level: Level) -> None:
        self._level = level

    def sql(self, condition: Any, *, having: bool = False) -> str:
        """The SQL of a condition; its values go to the level's parameters."""
        if isinstance(condition, Logic):
            parts = [self.sql(each, having=having) for each in condition.parts]
            if condition.word == "not":
                return f"(NOT coalesce({parts[0]}, 0))"
            return "(" + f" {condition.word.upper()} ".join(parts) + ")"
        if isinstance(condition, Membership):
            return self._membership(condition, having=having)
        return self._comparison(condition, having=having)

    def _comparison(self, each: Comparison, *, having: bool) -> str:
        sql, known = self._level.operand(each.operand, having=having)
        self._filterable(known, each.operand)
        operator, literal = each.operator, each.value
        if literal.kind == "null":
            if operator not in {"=", "!="}:
                raise query_error(
                    "MALFORMED_QUERY", self._level.text, literal.at, "unexpected token: 'null'"
                )
            return f"({sql} IS {'NOT ' if operator == '!=' else ''}NULL)"
        if operator == "like":
            return self._like(sql, known, literal)
        if literal.kind == "word":
            return self._date_word(sql, known, operator, literal)
        self._level.parameters.append(self._literal(known, literal))
        if operator in {"=", "!="}:
            return f"({sql} IS {'NOT ' if operator == '!=' else ''}?)"
        # Ids are ordered, byte by byte: reading on after a known id is how the platform chunks.
        if known is not None and known.type == "Checkbox":
            raise query_error(
                "INVALID_FIELD", self._level.text, each.operand.at,
                f"invalid operator on {known.api_type} field",
            )  # fmt: skip
        return f"({sql} {operator} ?)"

    def _like(self, sql: str, known: Field | None, literal: Literal) -> str:
        if literal.kind != "string" or (known and not known.is_text):
            raise query_error(
                "INVALID_FIELD", self._level.text, literal.at, "invalid operator on field: LIKE"
            )
        self._level.parameters.append(string_value(literal, self._level.text, like=True))
        return f"({sql} LIKE ? ESCAPE '\\')"

    def _membership(self, each: Membership, *, having: bool) -> str:
        sql, known = self._level.operand(each.operand, having=having)
        self._filterable(known, each.operand)
        negative = each.operator == "not in"
        if each.operator in {"includes", "excludes"}:
            return self._multi(sql, each)
        if each.query is not None:
            return self._semi_join(sql, known, each, negative=negative)
        marks: list[str] = []
        null = False
        for literal in each.values:
            if literal.kind == "null":
                null = True
            elif literal.kind == "word":
                raise query_error(
                    "MALFORMED_QUERY", self._level.text, literal.at, "unexpected token in IN list"
                )
            else:
                self._level.parameters.append(self._literal(known, literal))
                marks.append("?")
        inside = f"{sql} IN ({', '.join(marks)})"
        if negative:
            rest = f"{sql} IS NOT NULL" if null else "1"
            return f"((NOT coalesce({inside}, 0)) AND {rest})"
        return f"({inside} OR {sql} IS NULL)" if null else f"({inside})"

    def _multi(self, sql: str, each: Membership) -> str:
        tests = []
        for literal in each.values:
            parts = string_value(literal, self._level.text).split(";")
            one = []
            for part in parts:
                self._level.parameters.append(f"%;{part};%")
                one.append(f"(';' || coalesce({sql}, '') || ';') LIKE ?")
            tests.append("(" + " AND ".join(one) + ")")
        joined = "(" + " OR ".join(tests) + ")"
        return f"(NOT {joined})" if each.operator == "excludes" else joined

    def _semi_join(self, sql: str, known: Field | None, each: Membership, *, negative: bool) -> str:
        query = each.query
        assert query is not None  # noqa: S101 -- the caller has looked
        if known is None or known.type not in {"Id", *REFERENCE_TYPES}:
            raise query_error(
                "INVALID_FIELD", self._level.text, each.operand.at,
                "semi join sub-selects can only be used with ID and reference fields",
            )  # fmt: skip
        compiled = self._level.subquery(query)
        if len(query.items) != 1 or compiled.aggregate or len(compiled.described) != 1:
            raise query_error(
                "MALFORMED_QUERY", self._level.text, query.source_at,
                "semi join sub-selects must select exactly one field",
            )  # fmt: skip
        self._level.parameters += compiled.parameters
        inside = f"{sql} IN (SELECT {compiled.columns[-1]} FROM {compiled.from_sql})"
        if negative:
            # A null in the list would make NOT IN unknown for every row.
            inside = (
                f"{sql} IN (SELECT v FROM (SELECT {compiled.columns[-1]} AS v "
                f"FROM {compiled.from_sql}) WHERE v IS NOT NULL)"
            )
            return f"(NOT coalesce({inside}, 0))"
        return f"({inside})"

    def _date_word(self, sql: str, known: Field | None, operator: str, literal: Literal) -> str:
        found = date_range(literal.value, literal.count, self._level.now.date())
        if found is None:
            raise query_error(
                "MALFORMED_QUERY",
                self._level.text,
                literal.at,
                f"unexpected token: '{literal.value}'",
            )
        if known is None or known.type not in {"Date", "DateTime"}:
            raise self._mismatch(known, literal)
        suffix = "T00:00:00.000+0000" if known.type == "DateTime" else ""
        start, end = (f"{day.isoformat()}{suffix}" for day in found)
        if operator in {"=", "!="}:
            self._level.parameters += [start, end]
            inside = f"({sql} >= ? AND {sql} < ?)"
            return inside if operator == "=" else f"(NOT coalesce({inside}, 0))"
        bound = {"<": (start, "<"), ">=": (start, ">="), ">": (end, ">="), "<=": (end, "<")}
        value, sign = bound[operator]
        self._level.parameters.append(value)
        return f"({sql} {sign} ?)"

    def _filterable(self, known: Field | None, operand: Operand) -> None:
        if known is not None and known.type in LONG_TYPES:
            raise query_error(
                "INVALID_FIELD",
                self._level.text,
                operand.at,
                f"field '{known.name}' can not be filtered in a query call",
            )

    def _literal(self, known: Field | None, literal: Literal) -> Any:
        """The bound value of a literal, of the type that the field asks for."""
        kind = literal.kind
        if known is None:
            return string_value(literal, self._level.text) if kind == "string" else literal.value
        wanted = known.type
        if wanted in {"Id", *REFERENCE_TYPES}:
            if kind != "string":
                raise self._mismatch(known, literal)
            text = string_value(literal, self._level.text)
            found = normalise(text)
            if found is None and text:
                raise query_error(
                    "INVALID_QUERY_FILTER_OPERATOR", self._level.text, literal.at,
                    f"invalid ID field: {text}",
                )  # fmt: skip
            return found
        if wanted in NUMBER_TYPES or wanted == "Summary":
            accepted, value = kind == "number", literal.value
        elif wanted == "Checkbox":
            accepted, value = kind == "boolean", int(literal.value is True)
        elif wanted == "Date":
            accepted, value = kind == "date", literal.value
        elif wanted == "DateTime":
            accepted = kind == "datetime"
            value = parse_date_time(literal.value.upper()) if accepted else None
        else:
            accepted = kind == "string"
            value = (string_value(literal, self._level.text) or None) if accepted else None
        if not accepted:
            raise self._mismatch(known, literal)
        return value

    def _mismatch(self, known: Field | None, literal: Literal) -> SalesforceError:
        name = known.name if known else "expression"
        kind = {"datetime": "dateTime"}.get(known.api_type, known.api_type) if known else "number"
        quotes = (
            "should be enclosed in quotes"
            if known is not None and (known.is_text or kind in {"id", "reference"})
            else "should not be enclosed in quotes"
        )
        return query_error(
            "INVALID_FIELD",
            self._level.text,
            literal.at,
            f"value of filter criterion for field '{name}' must be of type {kind} and {quotes}",
        )
