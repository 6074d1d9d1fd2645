"""Follow Metronome's cursors to the end, and never for ever.

Every list in use hands its cursor out as `next_page` and takes it back as the query parameter
`next_page`, on GET and POST alike; null and absence end the list, an empty page does not. Cursors
are opaque, so a list that goes in circles shows only by a cursor that comes back. While the data
changes, pages overlap: what was seen is not given out again.
"""

import json
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from hashlib import blake2b
from typing import Any, TypeVar

from metronome_salesforce.errors import RetriableError

Kind = TypeVar("Kind")

MAX_PAGES = 100_000
_REMEMBERED = 100_000


class EndlessCursorError(RetriableError):
    """A list that does not end: the cursor came back, or there were too many pages."""

    def __init__(self, message: str) -> None:
        super().__init__("EndlessCursor", message)


class UnreadableError(ValueError):
    """An answer that is no page of Metronome's: cut short, HTML, or of another shape."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page: items of any shape, and the cursor of the next page or None at the end."""

    items: list[Any]
    cursor: str | None


async def follow(
    fetch: Callable[[str | None], Awaitable[Page]], *, what: str, max_pages: int = MAX_PAGES
) -> AsyncGenerator[Page, None]:
    """Pages from the first (cursor None) on, each requested when the last one is used up.

    Raises EndlessCursorError, and whatever `fetch` raises.
    """
    cursors: set[bytes] = set()
    cursor: str | None = None
    for _ in range(max_pages):
        page = await fetch(cursor)
        yield page
        cursor = page.cursor
        if cursor is None:
            return
        digest = _digest(cursor)
        if digest in cursors:
            raise EndlessCursorError(f"{what} goes in circles: a page cursor came back")
        cursors.add(digest)
    raise EndlessCursorError(f"{what} does not end after {max_pages} pages")


def decoded(content: bytes) -> Any:
    """JSON with every number as an exact Decimal. Raises UnreadableError."""
    with suppress(ValueError, RecursionError):
        return json.loads(
            content, parse_float=_decimal, parse_int=_decimal, parse_constant=_decimal
        )
    # Raised out here, because json's exception holds the whole document.
    raise UnreadableError("it is not JSON")


def member(document: Any, key: str, kind: type[Kind]) -> Kind:
    """The value at `key` of an object, of that kind. Raises UnreadableError."""
    value = document.get(key) if isinstance(document, dict) else None
    if not isinstance(value, kind):
        raise UnreadableError(f"its {key!r} is missing or of another kind")
    return value


def page_of(document: Any) -> Page:
    """The page that a decoded answer is. Raises UnreadableError."""
    items = member(document, "data", list)
    cursor = document.get("next_page")
    if cursor is not None and not isinstance(cursor, str):
        raise UnreadableError("its 'next_page' is no cursor")
    return Page(items, cursor or None)


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent beyond any number: the item is malformed, not the page
        return Decimal("NaN")


class Seen:
    """The keys of a list's latest items, as digests so that memory stays small (about 12 MB).

    Overlaps come from items that move by a place or a page; one that returns later than that is
    let through, and its upsert by key makes it harmless.
    """

    def __init__(self, limit: int = _REMEMBERED) -> None:
        self._limit = limit
        self._digests: OrderedDict[bytes, None] = OrderedDict()

    def again(self, key: str) -> bool:
        """Whether `key` was seen before; it is from now on."""
        digest = _digest(key)
        if digest in self._digests:
            return True
        self._digests[digest] = None
        if len(self._digests) > self._limit:
            self._digests.popitem(last=False)
        return False


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
