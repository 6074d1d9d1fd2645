"""What the org refuses, as exceptions carrying the vendor's code, sentence and HTTP status.

One class for a whole request and one for a single row: the collections resources answer 200 with
the second inside, the single-record resources turn it into the first (REST API, Status Codes and
Error Responses).
"""

from dataclasses import dataclass, field
from typing import Any


class SalesforceError(Exception):
    """A refused request: `code` such as INVALID_FIELD, HTTP `status`, and the fields concerned."""

    def __init__(
        self, code: str, message: str, *, status: int = 400, fields: list[str] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.fields = fields

    def body(self) -> list[dict[str, Any]]:
        """The JSON body of a REST answer: an array with one error."""
        error: dict[str, Any] = {"message": self.message, "errorCode": self.code}
        if self.fields is not None:
            error["fields"] = self.fields
        return [error]


@dataclass(frozen=True, slots=True)
class RowError:
    """Why one row was refused."""

    code: str
    message: str
    fields: list[str] = field(default_factory=list)

    def body(self) -> dict[str, Any]:
        """The JSON form inside a collections result."""
        return {"statusCode": self.code, "message": self.message, "fields": list(self.fields)}


class RowRefusedError(Exception):
    """Raised while a row is checked or written; the batch goes on with the next row."""

    def __init__(
        self, code: str, message: str, fields: list[str] | None = None, *, status: int = 400
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.error = RowError(code, message, fields or [])

    def as_request_error(self) -> SalesforceError:
        """The same refusal as the answer of a single-record request."""
        return SalesforceError(
            self.error.code,
            self.error.message,
            status=self.status,
            fields=list(self.error.fields),
        )


class OAuthError(Exception):
    """A refused token request: OAuth's own JSON shape, not the REST array."""

    def __init__(self, error: str, description: str, *, status: int = 400) -> None:
        super().__init__(description)
        self.error = error
        self.description = description
        self.status = status


class SoapFaultError(Exception):
    """A SOAP fault: HTTP 500 with `sf:<code>` and `<code>: <message>`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def session_expired() -> SalesforceError:
    """The answer to an unknown, revoked or timed-out token."""
    return SalesforceError("INVALID_SESSION_ID", "Session expired or invalid", status=401)


def not_found(message: str = "The requested resource does not exist") -> SalesforceError:
    """The answer for unknown URLs, sObjects, keys and ids."""
    return SalesforceError("NOT_FOUND", message, status=404)
