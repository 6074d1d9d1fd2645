"""Cursors, repeated items and exact JSON, without a server."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metronome_salesforce.metronome.paging import (
    EndlessCursorError,
    Page,
    Seen,
    UnreadableError,
    decoded,
    follow,
    member,
    page_of,
)


@given(
    pages=st.lists(st.lists(st.integers()), min_size=1, max_size=8),
    seed=st.lists(st.text(min_size=1), min_size=7, max_size=7, unique=True),
)
async def test_every_page_is_given_once_and_in_order(
    pages: list[list[int]], seed: list[str]
) -> None:
    """Whatever the cursors look like, and however empty pages are."""
    cursors: list[str | None] = [None, *seed[: len(pages) - 1]]

    async def fetch(cursor: str | None) -> Page:
        number = cursors.index(cursor)
        following = cursors[number + 1] if number + 1 < len(cursors) else None
        return Page(pages[number], following)

    assert [page.items async for page in follow(fetch, what="a list")] == pages


async def test_the_last_allowed_page_may_be_the_last() -> None:
    """As many pages as allowed are fine; one more is not."""

    async def fetch(cursor: str | None) -> Page:
        number = int(cursor or 0) + 1
        return Page([number], str(number) if number < 3 else None)

    read = [page.items async for page in follow(fetch, what="a list", max_pages=3)]
    assert read == [[1], [2], [3]]
    with pytest.raises(EndlessCursorError, match="a list does not end after 2 pages"):
        _ = [page async for page in follow(fetch, what="a list", max_pages=2)]


async def test_a_cursor_is_not_told() -> None:
    """It is opaque, and may hold anything."""

    async def fetch(_: str | None) -> Page:
        return Page([], "SECRET")

    with pytest.raises(EndlessCursorError) as caught:
        _ = [page async for page in follow(fetch, what="a list")]
    assert "SECRET" not in repr(caught.value) + str(caught.value)


@given(st.lists(st.text(max_size=3)))
def test_seen_knows_what_came_before(keys: list[str]) -> None:
    seen = Seen()
    assert [seen.again(key) for key in keys] == [
        key in keys[:position] for position, key in enumerate(keys)
    ]


def test_seen_forgets_the_oldest_first() -> None:
    """With room for two, the third key drives out the first."""
    seen = Seen(limit=2)
    assert [seen.again(key) for key in ["a", "b", "c", "b", "a"]] == [
        False,
        False,
        False,
        True,
        False,
    ]


@given(st.decimals(allow_nan=False, allow_infinity=False, places=9) | st.integers())
def test_a_number_is_what_its_digits_say(number: Decimal | int) -> None:
    assert decoded(f'{{"n": {number}}}'.encode()) == {"n": Decimal(number)}


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_other_values_are_read_as_any_parser_does(value: Any) -> None:
    assert decoded(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"<html>", b"\xff", b"{'data': []}", b'{"data": []} trailing', b"[" * 99999],
)
def test_what_is_not_json_is_unreadable(content: bytes) -> None:
    """And nothing of it stays behind in the exception."""
    with pytest.raises(UnreadableError) as caught:
        decoded(content)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"data": []}, Page([], None)),
        ({"data": [1], "next_page": None}, Page([1], None)),
        ({"data": [1], "next_page": ""}, Page([1], None)),
        ({"data": [1], "next_page": "x", "extra": 1}, Page([1], "x")),
    ],
)
def test_a_page_has_items_and_perhaps_a_cursor(document: Any, expected: Page) -> None:
    assert page_of(document) == expected


@pytest.mark.parametrize(
    "document",
    [None, [], "page", {}, {"data": None}, {"data": {}}, {"data": [], "next_page": {"a": 1}}],
)
def test_what_has_no_items_is_no_page(document: Any) -> None:
    with pytest.raises(UnreadableError):
        page_of(document)


def test_a_member_is_of_the_kind_that_was_asked_for() -> None:
    assert member({"message": "no"}, "message", str) == "no"
    with pytest.raises(UnreadableError, match="'message' is missing"):
        member({"message": 5}, "message", str)
