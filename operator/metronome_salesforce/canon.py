"""One canonical value form per field type, used on both sides of a comparison.

What Metronome says and what Salesforce returns are brought to the same form before they are
compared, so a row is written only when it really differs. `canon` is idempotent.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from hashlib import sha256
from json import dumps

from metronome_salesforce.rows import Value

ELLIPSIS = "…"

# Far wider than any field, so that rounding to the scale never runs out of digits.
_WIDE = Context(prec=400, rounding=ROUND_HALF_UP)

# Characters beyond the basic plane are two UTF-16 units.
_BASIC_PLANE_END = 0xFFFF

# Control characters have no place in a single-line field; the org's own pages replace them too.
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]+")
_CONTROL_BUT_NEWLINES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Text:
    """A single line of at most `length` UTF-16 units (the platform counts as Java does)."""

    length: int


@dataclass(frozen=True, slots=True)
class LongText:
    """Several lines of at most `length` UTF-16 units; newlines are line feeds."""

    length: int


@dataclass(frozen=True, slots=True)
class Number:
    """A decimal of `precision` digits in all, `scale` of them behind the point."""

    precision: int
    scale: int


@dataclass(frozen=True, slots=True)
class Checkbox:
    """True or false; never empty."""


@dataclass(frozen=True, slots=True)
class Date:
    """A day in UTC, `YYYY-MM-DD`."""


@dataclass(frozen=True, slots=True)
class DateTime:
    """A second in UTC, `YYYY-MM-DDTHH:MM:SSZ`; the platform keeps no fractions."""


@dataclass(frozen=True, slots=True)
class Picklist:
    """An unrestricted picklist: (value, label) pairs that the package ships, others accepted."""

    values: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Lookup:
    """A reference to one record of `target`; children appear under `relationship` there."""

    target: str
    relationship: str


@dataclass(frozen=True, slots=True)
class MasterDetail:
    """A reference to the master record, required and cascading."""

    target: str
    relationship: str


ValueKind = Text | LongText | Number | Checkbox | Date | DateTime | Picklist | Lookup | MasterDetail
_PICKLIST_LENGTH = 255


def canon(kind: ValueKind, value: object) -> Value:
    """The canonical form of `value` for a field of `kind`; None for nothing.

    Accepts what the two vendors send: str, int, float, Decimal, bool, date, datetime. Raises
    ValueError for a value that the field type cannot hold at all.
    """
    match kind:
        case Checkbox():
            return bool(value)
        case _ if value is None:
            return None
        case Text(length):
            return _text(value, length)
        case Picklist():
            return _text(value, _PICKLIST_LENGTH)
        case LongText(length):
            return _long_text(value, length)
        case Number(_, scale):
            return _number(value, scale)
        case Date():
            return _date(value)
        case DateTime():
            return _datetime(value)
        case Lookup() | MasterDetail():
            return str(value) or None


def is_cut(kind: ValueKind, value: object) -> bool:
    """Tell whether `canon` shortens `value` to make it fit."""
    match kind:
        case Text(length) if isinstance(value, str) and not _surely_fits(value, length):
            return units(_single_line(value)) > length
        case LongText(length) if isinstance(value, str) and not _surely_fits(value, length):
            return units(_lines(value)) > length
        case _:
            return False


def units(text: str) -> int:
    """The length as the platform counts it: characters beyond the basic plane count twice."""
    if text.isascii():
        return len(text)
    return len(text) + sum(1 for character in text if ord(character) > _BASIC_PLANE_END)


def cut(text: str, length: int) -> str:
    """`text`, or its beginning with an ellipsis, in at most `length` UTF-16 units."""
    if _surely_fits(text, length) or units(text) <= length:
        return text
    kept: list[str] = []
    room = length - 1
    for character in text:
        room -= 2 if ord(character) > _BASIC_PLANE_END else 1
        if room < 0:
            break
        kept.append(character)
    return "".join(kept).rstrip() + ELLIPSIS


def content_hash(content: Mapping[str, Value]) -> str:
    """The fingerprint of canonical content: 64 hexadecimal digits, whatever the field order."""
    plain = {
        name: format(value, "f") if isinstance(value, Decimal) else value
        for name, value in content.items()
        if value is not None
    }
    return sha256(
        dumps(plain, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    ).hexdigest()


def _surely_fits(text: str, length: int) -> bool:
    """True without counting, even if every character counted twice."""
    return len(text) * 2 <= length


def _single_line(text: str) -> str:
    return _CONTROL.sub(" ", text).strip()


def _lines(text: str) -> str:
    unified = text.replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROL_BUT_NEWLINES.sub("", unified).strip()


def _text(value: object, length: int) -> str | None:
    return cut(_single_line(_encodable(str(value))), length) or None


def _long_text(value: object, length: int) -> str | None:
    return cut(_lines(_encodable(str(value))), length) or None


def _encodable(text: str) -> str:
    """Lone surrogates, legal in JSON escapes, cannot be sent as UTF-8."""
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode("utf-8")


def _number(value: object, scale: int) -> Decimal:
    try:
        number = value if isinstance(value, Decimal) else Decimal(str(value))
        if not number.is_finite():
            raise ValueError("a number field holds finite numbers only")
        rounded = number.quantize(Decimal(1).scaleb(-scale), context=_WIDE)
    except InvalidOperation as error:
        raise ValueError("not a number that a number field can hold") from error
    # Salesforce passes numbers as doubles over REST, so what a double cannot hold would come back
    # different for ever. The shortest text of the double has no more decimals than `rounded`.
    stored = Decimal(repr(float(rounded))).normalize(_WIDE)
    # normalize() turns 100 into 1E+2 and keeps a sign on zero; neither is canonical.
    return Decimal(0) if stored == 0 else Decimal(format(stored, "f"))


def _date(value: object) -> str:
    if isinstance(value, datetime):
        return _utc(value).date().isoformat()
    if isinstance(value, date):
        return value.isoformat()
    text = str(value)
    if len(text) == len("2026-01-31"):
        return date.fromisoformat(text).isoformat()
    return _utc(datetime.fromisoformat(text)).date().isoformat()


def _datetime(value: object) -> str:
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return _utc(moment).replace(microsecond=0).strftime("%Y-%m-%dT%H:%M:%SZ")


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
