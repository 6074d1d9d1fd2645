"""The vendor's refusals as exceptions, each with the status and body that Metronome answers.

MetronomeError
|- BadRequestError      400  malformed or missing parameter; also unknown ids on v2 contracts
|- UnauthorizedError    401  no bearer token
|- ForbiddenError       403  unknown token, or one without write access
|- NotFoundError        404  unknown resource or route
`- ConflictError        409  alias in use, Idempotency-Key reused with another body
"""

from typing import ClassVar


class MetronomeError(Exception):
    """A refusal. `code` is sent only by the few endpoints that have one."""

    status: ClassVar[int]

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code

    @property
    def body(self) -> dict[str, str]:
        """The JSON body of the answer."""
        coded = {} if self.code is None else {"code": self.code}
        return {**coded, "message": self.message}


class BadRequestError(MetronomeError):
    """The request is malformed."""

    status = 400


class UnauthorizedError(MetronomeError):
    """The request has no bearer token."""

    status = 401


class ForbiddenError(MetronomeError):
    """The token is unknown or may not do this."""

    status = 403


class NotFoundError(MetronomeError):
    """The resource or the route does not exist."""

    status = 404


class ConflictError(MetronomeError):
    """The request contradicts what is there."""

    status = 409
