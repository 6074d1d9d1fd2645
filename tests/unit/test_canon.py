"""Canonical values: idempotent, exact, and never longer than the field."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metronome_salesforce.canon import (
    Checkbox,
    Date,
    DateTime,
    LongText,
    Number,
    Picklist,
    Text,
    ValueKind,
    canon,
    content_hash,
    cut,
    is_cut,
    units,
)
from metronome_salesforce.rows import Value

SCALES = st.sampled_from([Number(18, 0), Number(18, 2), Number(18, 6), Number(18, 10)])
MONEY = st.decimals(
    min_value=-(10**15), max_value=10**15, allow_nan=False, allow_infinity=False, places=8
)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (Text(80), "  Acme\r\nRobotics\t ", "Acme Robotics"),
        (Text(80), "", None),
        (Text(80), " \n ", None),
        (Text(80), None, None),
        (Text(5), "abcdef", "abcd…"),
        (Text(4), "a🌊🌊", "a🌊…"),
        (Text(5), "a🌊🌊", "a🌊🌊"),
        (Text(80), 'O\'Neil "<b>" & Söhne 🌊', 'O\'Neil "<b>" & Söhne 🌊'),
        (Text(80), "lone \ud800 surrogate", "lone ? surrogate"),
        (LongText(80), "one\r\ntwo\rthree ", "one\ntwo\nthree"),
        (Number(18, 2), Decimal("12.345"), Decimal("12.35")),
        (Number(18, 2), Decimal("-12.345"), Decimal("-12.35")),
        (Number(18, 2), 100.0, Decimal(100)),
        (Number(18, 2), "-0.001", Decimal(0)),
        (Number(18, 2), Decimal("12345678901234.567891"), Decimal("12345678901234.57")),
        (Checkbox(), None, False),
        (Date(), datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01"),
        (Date(), datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2))), "2025-12-31"),
        (Date(), "2026-01-31", "2026-01-31"),
        (Date(), date(2026, 1, 31), "2026-01-31"),
        (DateTime(), "2026-01-31T23:59:59.000+0000", "2026-01-31T23:59:59Z"),
        (DateTime(), "2026-01-31T23:59:59.987Z", "2026-01-31T23:59:59Z"),
        (Picklist((("Draft", "Draft"),)), "Past Due", "Past Due"),
    ],
)
def test_the_two_vendors_forms_become_one(kind: ValueKind, value: object, expected: Value) -> None:
    assert canon(kind, value) == expected


@pytest.mark.parametrize("value", ["NaN", "Infinity", "x", float("nan")])
def test_what_no_number_field_can_hold_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="number"):
        canon(Number(18, 2), value)


@given(SCALES, MONEY)
def test_a_number_survives_the_way_through_a_double(kind: Number, amount: Decimal) -> None:
    """What is sent as a JSON number, stored as a double and read again compares as equal."""
    written = canon(kind, amount)

    assert isinstance(written, Decimal)
    assert canon(kind, float(written)) == written
    assert canon(kind, written) == written
    assert abs(written - amount) <= Decimal(1).scaleb(-kind.scale) / 2 + abs(amount) / 10**15


@given(st.text(), st.integers(1, 90))
def test_a_cut_text_fits_and_stays_cut(text: str, length: int) -> None:
    shortened = cut(text, length)

    assert units(shortened) <= length
    assert cut(shortened, length) == shortened
    assert units(shortened) == len(shortened.encode("utf-16-le", "surrogatepass")) // 2


@given(st.sampled_from([Text(80), Text(255), LongText(300)]), st.text())
def test_text_is_idempotent(kind: ValueKind, text: str) -> None:
    once = canon(kind, text)

    assert canon(kind, once) == once
    assert not is_cut(kind, once)


def test_a_cut_is_noticed() -> None:
    assert is_cut(Text(5), "abcdef")
    assert not is_cut(Text(5), " abcde ")
    assert is_cut(LongText(5), "abc\ndef")


def test_the_hash_depends_on_content_alone() -> None:
    assert content_hash({"a": Decimal("1.50"), "b": None}) == content_hash({"a": Decimal("1.50")})
    assert content_hash({"a": "x", "b": "y"}) == content_hash({"b": "y", "a": "x"})
    assert content_hash({"a": "1"}) != content_hash({"b": "1"})
    assert len(content_hash({})) == 64
