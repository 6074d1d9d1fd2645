"""One request as the handlers see it: parameters checked, cursors bound to the question.

Metronome pages in several styles (query cursor, query cursor on a POST, body cursor); all of them
end here. A cursor is a position in live state, so things that come or go between two pages shift
what follows, and it belongs to its question: asked differently, it is refused.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar
from urllib.parse import parse_qsl

from metronome_salesforce.sandbox.metronome.exceptions import BadRequestError
from metronome_salesforce.sandbox.metronome.tenant import Tenant
from metronome_salesforce.sandbox.metronome.values import Document
from metronome_salesforce.sandbox.metronome.wire import dumps

_MOST_IDS = 100
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class PageLimits:
    """Page sizes. Only `most` is documented; the others are this sandbox's choice."""

    most: int = 100
    default: int = 25
    usage: int = 500
    entries: int = 100
    keys: int = 100
    contracts: int = 20


@dataclass(frozen=True, slots=True)
class Call:
    """A request to a known route. Every reader raises BadRequestError on malformed input."""

    tenant: Tenant
    limits: PageLimits
    path: str
    ids: Mapping[str, str]
    query: Mapping[str, list[str]]
    body: Document

    # Query parameters

    def text(self, name: str) -> str | None:
        """Return a parameter that may be given once."""
        values = self.query.get(name)
        if values is None:
            return None
        if len(values) > 1:
            raise BadRequestError(f"{name} was given more than once")
        return values[0]

    def texts(self, name: str) -> frozenset[str] | None:
        """Return an array parameter: repeated, joined by commas, or both."""
        values = self.query.get(name) or self.query.get(f"{name}[]")
        if values is None:
            return None
        parts = frozenset(part for value in values for part in value.split(",") if part)
        if len(parts) > _MOST_IDS:
            raise BadRequestError(f"{name} accepts at most {_MOST_IDS} values")
        return parts

    def flag(self, name: str) -> bool:
        """Return a boolean parameter, false if absent."""
        value = self.text(name)
        if value not in {None, "true", "false"}:
            raise BadRequestError(f"{name} must be true or false")
        return value == "true"

    def choice(self, name: str, allowed: Sequence[str]) -> str | None:
        """Return one of the allowed words, in whatever case it was sent."""
        value = self.text(name)
        return None if value is None else _chosen(name, value, allowed)

    def moment(self, name: str) -> datetime | None:
        """Return a timestamp parameter."""
        value = self.text(name)
        return None if value is None else _parsed(name, value)

    # Body fields

    def field(self, name: str, kind: type[Item], *, required: bool = True) -> Item | None:
        """Return a body field of the given JSON type; null counts as absent."""
        value = self.body.get(name)
        if value is None:
            if required:
                raise BadRequestError(f"body must have required property '{name}'")
            return None
        if not isinstance(value, kind):
            raise BadRequestError(f"body/{name} must be {kind.__name__}")
        return value

    def required(self, name: str) -> str:
        """Return a text field that must be there."""
        return self.field(name, str) or ""

    def strings(self, name: str, *, required: bool = False) -> list[str] | None:
        """Return a body field that is a list of strings."""
        values: list[str] | None = self.field(name, list, required=required)
        if values is not None and not all(isinstance(value, str) for value in values):
            raise BadRequestError(f"body/{name} must be a list of strings")
        return values

    def string_map(self, name: str, *, required: bool = False) -> dict[str, str]:
        """Return a body field that maps strings to strings, {} if absent."""
        values: dict[str, str] = self.field(name, dict, required=required) or {}
        if not all(isinstance(value, str) for value in values.values()):
            raise BadRequestError(f"body/{name} must map strings to strings")
        return values

    def word(self, name: str, allowed: Sequence[str]) -> str:
        """Return a required body field that is one of the allowed words, in any case."""
        return _chosen(name, self.required(name), allowed)

    def body_moment(self, name: str, *, required: bool = False) -> datetime | None:
        """Return a timestamp of the body."""
        value = self.field(name, str, required=required)
        return None if value is None else _parsed(name, value)

    def midnight(self, name: str) -> datetime:
        """Return a required timestamp of the body that must be 00:00 UTC."""
        moment = self.body_moment(name, required=True)
        if moment is None or moment.timestamp() % 86_400:
            raise BadRequestError(f"{name} must be aligned to UTC midnight")
        return moment

    # Paging

    def page(
        self,
        items: Sequence[Item],
        document: Callable[[Item], Document],
        *,
        size: int | None = None,
    ) -> Document:
        """Return the page that was asked for; only its own items become documents.

        `size` is for endpoints without a `limit` parameter.
        """
        limit = self._limit() if size is None else size
        start = self.position()
        chosen = items[start : start + limit]
        after = start + limit
        return {
            "data": [document(item) for item in chosen],
            "next_page": self.cursor(after) if after < len(items) else None,
        }

    def position(self) -> int:
        """Return where the page starts, from the query's cursor."""
        value = self.text("next_page")
        return 0 if not value else self._decoded(value, self._question())

    def cursor(self, position: int) -> str:
        """Return the cursor of the page that starts there."""
        raw = f"{position}:{self._question()}"
        return base64.urlsafe_b64encode(raw.encode()).decode().rstrip("=")

    def _limit(self) -> int:
        value = self.text("limit")
        if value is None:
            return self.limits.default
        if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= self.limits.most:
            raise BadRequestError(f"limit must be an integer from 1 to {self.limits.most}")
        return int(value)

    def _question(self) -> str:
        rest = sorted((key, value) for key, value in self.query.items() if key != "next_page")
        text = f"{self.path}?{rest}{dumps(self.body)}"
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    @staticmethod
    def _decoded(cursor: str, question: str) -> int:
        try:
            raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
            position, asked = raw.split(":")
            start = int(position)
        except (binascii.Error, ValueError):
            raise BadRequestError("next_page is not a valid cursor") from None
        if asked != question:
            raise BadRequestError("next_page belongs to a request with other parameters")
        return start


def parse_query(text: str) -> dict[str, list[str]]:
    """Return the query string's parameters with all values of each."""
    query: dict[str, list[str]] = {}
    for key, value in parse_qsl(text, keep_blank_values=True):
        query.setdefault(key, []).append(value)
    return query


def _chosen(name: str, value: str, allowed: Sequence[str]) -> str:
    for word in allowed:
        if value.casefold() == word.casefold():
            return word
    raise BadRequestError(f"{name} must be one of {', '.join(allowed)}")


def _parsed(name: str, value: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise BadRequestError(f"{name} must be an RFC 3339 timestamp") from None
    if moment.tzinfo is None:
        raise BadRequestError(f"{name} must have a time zone")
    return moment.astimezone(UTC)
