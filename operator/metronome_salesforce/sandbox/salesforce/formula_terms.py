"""The compiled parts of formulas, and what they may be used as."""

from dataclasses import dataclass
from datetime import datetime

from metronome_salesforce.sandbox.salesforce.schema import Schema, SObject


class FormulaError(Exception):
    """A formula the org refuses; the message is the setup page's sentence."""


@dataclass(frozen=True, slots=True)
class Term:
    """A compiled part: its SQL and its type (text, number, boolean, date, datetime, ...)."""

    sql: str
    type: str


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a formula is evaluated: the row's table alias, and the moment of the query."""

    schema: Schema
    sobject: SObject
    alias: str
    now: datetime
    blank_as_zero: bool = True
    depth: int = 0


def quoted(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def as_boolean(term: Term, function: str) -> str:
    """The SQL of a term that must be true or false; null is false."""
    if term.type not in {"boolean", "null"}:
        raise wrong_type(function, "Boolean", term)
    return f"coalesce({term.sql}, 0)"


def as_number(term: Term, function: str) -> str:
    """The SQL of a term that must be a number."""
    if term.type not in {"number", "null"}:
        raise wrong_type(function, "Number", term)
    return term.sql


def as_text(term: Term, function: str) -> str:
    """The SQL of a term that must be text; null is the empty string."""
    if term.type == "picklist":
        raise picklist_misuse()
    if term.type not in {"text", "id", "null"}:
        raise wrong_type(function, "Text", term)
    return f"coalesce({term.sql}, '')"


def wrong_type(function: str, expected: str, term: Term) -> FormulaError:
    """The refusal of a parameter of the wrong type."""
    kind = "operator" if not function.strip().isalpha() else "function"
    received = {"datetime": "DateTime", "id": "Text"}.get(term.type, term.type.capitalize())
    return FormulaError(
        f"Error: Incorrect parameter type for {kind} '{function.strip()}()'. "
        f"Expected {expected}, received {received}"
    )


def picklist_misuse() -> FormulaError:
    """The refusal of a picklist outside the functions that take one."""
    return FormulaError(
        "Error: Field is a picklist field. Picklist fields are only supported in certain functions."
    )
