"""One REST call and its reply, free of the HTTP server: composite requests make them too."""

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from metronome_salesforce.sandbox.salesforce.access import Access, User
from metronome_salesforce.sandbox.salesforce.exceptions import SalesforceError, not_found
from metronome_salesforce.sandbox.salesforce.models import SalesforceOrg

JSON_TYPE = "application/json;charset=UTF-8"


@dataclass(slots=True)
class Call:
    """A REST call below `/services/data/vX`: decoded path segments, query, raw body."""

    org: SalesforceOrg
    user: User
    method: str
    segments: list[str]
    query: dict[str, str]
    version: str
    base: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    fast: bool = True

    @property
    def root(self) -> str:
        """`/services/data/vX`."""
        return f"/services/data/v{self.version}"

    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """The parsed body; raises JSON_PARSER_ERROR."""
        if not self.body.strip():
            raise SalesforceError(
                "JSON_PARSER_ERROR",
                "The HTTP entity body is required, but this request has no entity body.",
            )
        try:
            return json.loads(self.body, parse_constant=_refuse_constant)
        except UnicodeDecodeError as error:
            raise SalesforceError("JSON_PARSER_ERROR", "Invalid UTF-8 in the request") from error
        except ValueError as error:
            at = getattr(error, "pos", 0)
            line, column = getattr(error, "lineno", 1), getattr(error, "colno", at + 1)
            char = self.text()[at : at + 1]
            raise SalesforceError(
                "JSON_PARSER_ERROR",
                f"Unexpected character ('{char}' (code {ord(char) if char else 0})): expected a "
                f"valid value at [line:{line}, column:{column}]",
            ) from error

    def json_object(self) -> dict[str, Any]:
        """The parsed body, which must be an object."""
        found = self.json()
        if not isinstance(found, dict):
            raise SalesforceError(
                "JSON_PARSER_ERROR",
                "Cannot deserialize instance of sobject from START_ARRAY value or request may be "
                "missing a required field at [line:1, column:1]",
            )
        return found

    def access(self, name: str) -> Access:
        """The caller's view of an object; raises NOT_FOUND."""
        found = self.org.state.access(name, self.user)
        if found is None:
            raise not_found()
        return found


@dataclass(slots=True)
class Reply:
    """A reply: `body` is JSON (None: no body), or text and bytes with their own content type."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = JSON_TYPE

    def encoded(self) -> bytes:
        """The bytes to send."""
        if self.body is None:
            return b""
        if isinstance(self.body, bytes):
            return self.body
        if isinstance(self.body, str) and self.content_type != JSON_TYPE:
            return self.body.encode()
        return json.dumps(self.body, ensure_ascii=False, separators=(",", ":")).encode()


class _ConstantError(ValueError):
    pos = 0


def _refuse_constant(name: str) -> Any:
    raise _ConstantError(name)


def split_target(target: str) -> tuple[list[str], dict[str, str]]:
    """A request target's decoded path segments (no empty ones) and its query parameters."""
    path, _, query = target.partition("?")
    segments = [unquote(each) for each in path.split("/") if each]
    return segments, dict(parse_qsl(query, keep_blank_values=True))
