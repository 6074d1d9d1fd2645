"""From the JSON value of a REST body to the stored value, and back.

REST is strict about JSON types, trims text and turns the empty string into null; lengths, ranges
and picklists are checked when the row is saved (REST API, Field Types and Values).
"""

import json
import math
import re
from datetime import UTC, date, datetime
from typing import Any

from metronome_salesforce.sandbox.salesforce.exceptions import RowRefusedError, SalesforceError
from metronome_salesforce.sandbox.salesforce.ids import normalise
from metronome_salesforce.sandbox.salesforce.schema import NUMBER_TYPES, REFERENCE_TYPES, Field
from metronome_salesforce.sandbox.salesforce.storage import stamp

_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})\Z")
_DATE_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:?\d{2})\Z")
_EMAIL = re.compile(r"[^@\s,;]+@[^@\s,;.]+(\.[^@\s,;.]+)+\Z")
_NEEDED = {"Checkbox": "boolean", "Date": "date", "DateTime": "datetime", "Int": "int"}
_FIRST_DAY, _LAST_DAY = "1700-01-01", "4000-12-31"


def token_name(value: Any) -> str:
    """The JSON parser's word for a value, as its error messages print it."""
    if value is True:
        return "VALUE_TRUE"
    if value is False:
        return "VALUE_FALSE"
    if isinstance(value, str):
        return "VALUE_STRING"
    if isinstance(value, float):
        return "VALUE_NUMBER_FLOAT"
    if isinstance(value, int):
        return "VALUE_NUMBER_INT"
    return "START_OBJECT" if isinstance(value, dict) else "START_ARRAY"


def cannot_deserialise(kind: str, value: Any, body: str = "") -> SalesforceError:
    """JSON_PARSER_ERROR for a value of the wrong JSON type, with its place in the body."""
    token = token_name(value)
    shown = f" value {_shown(value)}" if token.startswith("VALUE") else ""
    at = body.find(json.dumps(value, ensure_ascii=False)) if body else -1
    before = body[: max(at, 0)]
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    return SalesforceError(
        "JSON_PARSER_ERROR",
        f"Cannot deserialize instance of {kind} from {token}{shown} or request may be missing a "
        f"required field at [line:{line}, column:{column}]",
    )


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def deserialise(field: Field, value: Any, body: str = "") -> Any:
    """The stored form of a JSON value; raises JSON_PARSER_ERROR for the whole request."""
    kind = field.type
    if value is None:
        return 0 if kind == "Checkbox" else None
    if isinstance(value, dict | list):
        raise cannot_deserialise(field.api_type, value, body)
    if kind == "Checkbox":
        if not isinstance(value, bool):
            raise cannot_deserialise("boolean", value, body)
        return 1 if value else 0
    if kind in NUMBER_TYPES:
        if isinstance(value, bool) or not isinstance(value, int | float):
            if value == "":
                return None
            raise cannot_deserialise(_NEEDED.get(kind, "double"), value, body)
        if kind == "Int":
            if isinstance(value, float):
                raise cannot_deserialise("int", value, body)
            return value
        return float(value) if abs(value) < 1e300 else math.inf
    if isinstance(value, bool):
        raise cannot_deserialise("string", value, body)
    if isinstance(value, int | float):
        if kind in {"Date", "DateTime"}:
            raise cannot_deserialise(_NEEDED[kind], value, body)
        return str(value)
    text: str = value.strip()
    if not text:
        return None
    if kind == "Date":
        if not _is_date(text):
            raise cannot_deserialise("date", value, body)
        return text
    if kind == "DateTime":
        found = parse_date_time(text)
        if found is None:
            raise cannot_deserialise("datetime", value, body)
        return found
    return text


def _is_date(text: str) -> bool:
    if not _DATE.match(text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def parse_date_time(text: str) -> str | None:
    """ISO 8601 with Z or an offset as stored UTC text, or None if it is something else."""
    if not _DATE_TIME.match(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    try:
        return stamp(moment.astimezone(UTC))
    except OverflowError:
        return None


def check(field: Field, value: Any) -> Any:
    """The value as it will be stored; raises RowRefusedError if the field cannot hold it."""
    if value is None:
        return None
    kind = field.type
    if kind in REFERENCE_TYPES:
        return _check_reference(field, value)
    if kind in NUMBER_TYPES:
        return _check_number(field, value)
    if kind in {"Date", "DateTime"}:
        if not _FIRST_DAY <= value[:10] <= _LAST_DAY:
            raise RowRefusedError(
                "INVALID_TYPE_ON_FIELD_IN_RECORD",
                f"{field.label}: invalid date: {value}",
                [field.name],
            )
        return value
    if not field.is_text:
        return value
    if kind in {"Picklist", "MultiselectPicklist"}:
        return _check_picklist(field, value)
    if field.length and _units(value) > field.length:
        raise RowRefusedError(
            "STRING_TOO_LONG",
            f"{field.label}: data value too large: {value} (max length={field.length})",
            [field.name],
        )
    if kind == "Email" and not _EMAIL.match(value):
        raise RowRefusedError(
            "INVALID_EMAIL_ADDRESS",
            f"{field.label}: invalid email address: {value}",
            [field.name],
        )
    return value


def _units(text: str) -> int:
    """Lengths are counted as Java counts them, in UTF-16 units: an emoji is two."""
    return len(text.encode("utf-16-le")) // 2


def _check_number(field: Field, value: float) -> float:
    whole_digits = (field.precision or 18) - field.scale
    if not math.isfinite(value) or abs(value) >= 10**whole_digits:
        raise RowRefusedError(
            "NUMBER_OUTSIDE_VALID_RANGE",
            f"{field.label}: value outside of valid range on numeric field: {_scientific(value)}",
            [field.name],
        )
    return value


def _check_picklist(field: Field, value: str) -> str:
    if not field.restricted:
        if _units(value) > 255:
            raise RowRefusedError(
                "STRING_TOO_LONG",
                f"{field.label}: data value too large: {value} (max length=255)",
                [field.name],
            )
        return value
    for part in value.split(";") if field.type == "MultiselectPicklist" else [value]:
        if not any(each.value == part and each.active for each in field.picklist):
            raise RowRefusedError(
                "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
                f"{field.label}: bad value for restricted picklist field: {part}",
                [field.name],
            )
    return value


def _check_reference(field: Field, value: str) -> str:
    found = normalise(value)
    if found is None:
        raise RowRefusedError(
            "MALFORMED_ID", f"{field.label}: id value of incorrect type: {value}", [field.name]
        )
    return found


def converter(field: Field) -> Any:
    """A function from the stored to the JSON value, or None where they are the same."""
    return _to_bool if field.type == "Checkbox" else None


def _to_bool(value: Any) -> bool:
    return bool(value)


def _scientific(value: float) -> str:
    """A number as the platform prints it in errors: 1E20, not 1E+20."""
    return f"{value:.12G}".replace("E+", "E")
