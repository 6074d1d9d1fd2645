"""What the API server refuses, as exceptions that carry its `Status` object.

Reasons, codes and sentences are those of k8s.io/apimachinery (its packages errors and field),
because kubectl and the client libraries decide by `reason` and people read `message`.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

_SENTENCES = {
    "FieldValueRequired": "Required value",
    "FieldValueInvalid": "Invalid value",
    "FieldValueTypeInvalid": "Invalid value",
    "FieldValueNotSupported": "Unsupported value",
    "FieldValueDuplicate": "Duplicate value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueTooLong": "Too long",
    "FieldValueTooMany": "Too many",
}
_WITHOUT_VALUE = {"FieldValueRequired", "FieldValueForbidden", "FieldValueTooLong"}


OMITTED = object()  # the value of a field error that shows none, as those of CEL rules on objects


def shown(value: Any) -> str:
    """A value as the server quotes it: JSON, with compact separators."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class FieldError:
    """One refused field; `field` is a dotted path such as `spec.items[0].name`."""

    reason: str
    field: str
    detail: str = ""
    value: Any = None

    @property
    def message(self) -> str:
        """The sentence without the path, as `details.causes[].message` has it."""
        parts = [_SENTENCES[self.reason]]
        if self.reason not in _WITHOUT_VALUE and self.value is not OMITTED:
            parts.append(shown(self.value))
        if self.detail:
            parts.append(self.detail)
        return ": ".join(parts)

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class ApiError(Exception):
    """A refusal; `status()` is the body that the client gets."""

    def __init__(
        self, code: int, reason: str, message: str, details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = dict(details or {})

    def status(self) -> Json:
        """The `Status` object of the Kubernetes API, meta/v1."""
        body: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        }
        if self.reason:
            body["reason"] = self.reason
        if self.details:
            body["details"] = self.details
        return body


def _details(group: str, plural: str, name: str) -> Json:
    pairs = {"name": name, "group": group, "kind": plural}
    return {key: value for key, value in pairs.items() if value}


def qualified(group: str, plural: str) -> str:
    """`widgets.example.com`, or `secrets` for the core group."""
    return f"{plural}.{group}" if group else plural


class DecodingError(ApiError):
    """400: the document is not of the kind's shape; in a patch the server makes a 422 of it."""

    def __init__(self, message: str) -> None:
        super().__init__(400, "BadRequest", message)


def bad_request(message: str) -> ApiError:
    """400: the request cannot be understood."""
    return ApiError(400, "BadRequest", message)


def unauthorized() -> ApiError:
    """401: no bearer token, or not one of the known ones."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def forbidden(group: str, plural: str, name: str, why: str) -> ApiError:
    """403 with the server's sentence."""
    message = f'{qualified(group, plural)} "{name}" is forbidden: {why}'
    return ApiError(403, "Forbidden", message, _details(group, plural, name))


def not_found(group: str, plural: str, name: str) -> ApiError:
    """404 for an object."""
    message = f'{qualified(group, plural)} "{name}" not found'
    return ApiError(404, "NotFound", message, _details(group, plural, name))


def no_such_path() -> ApiError:
    """404 for a path or a resource that is not served."""
    return ApiError(404, "NotFound", "the server could not find the requested resource")


def method_not_allowed() -> ApiError:
    """405: the resource has no such verb."""
    return ApiError(
        405, "MethodNotAllowed", "the server does not allow this method on the requested resource"
    )


def already_exists(group: str, plural: str, name: str) -> ApiError:
    """409 for a second object of that name."""
    message = f'{qualified(group, plural)} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, _details(group, plural, name))


def conflict(group: str, plural: str, name: str, why: str = "") -> ApiError:
    """409 for a stale resourceVersion or an unmet precondition."""
    why = why or (
        "the object has been modified; please apply your changes to the latest version "
        "and try again"
    )
    message = f'Operation cannot be fulfilled on {qualified(group, plural)} "{name}": {why}'
    return ApiError(409, "Conflict", message, _details(group, plural, name))


def gone(message: str) -> ApiError:
    """410: the version asked for is no longer kept."""
    return ApiError(410, "Expired", message)


def too_large(limit: int) -> ApiError:
    """413 for a body above the limit, in bytes."""
    message = f"Request entity too large: limit is {limit}"
    return ApiError(413, "RequestEntityTooLarge", message)


def unsupported_media(given: str, allowed: Iterable[str]) -> ApiError:
    """415 for a body of a type that the resource does not take; `given` is told if not empty."""
    accepted = ", ".join(allowed)
    return ApiError(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - "
        f"{given + ': ' if given else ''}accepted media types include: {accepted}",
    )


def invalid(group: str, kind: str, name: str, errors: Iterable[FieldError]) -> ApiError:
    """422 with one cause for each refused field."""
    listed = list(errors)
    sentences = [str(error) for error in listed]
    told = sentences[0] if len(sentences) == 1 else "[" + ", ".join(sentences) + "]"
    causes = [
        {"reason": error.reason, "message": error.message, "field": error.field} for error in listed
    ]
    message = f'{qualified(group, kind)} "{name}" is invalid: {told}'
    return ApiError(422, "Invalid", message, {**_details(group, kind, name), "causes": causes})


def unprocessable_patch() -> ApiError:
    """422 for a JSON patch that does not apply, a failed `test` operation among them."""
    return ApiError(
        422, "Invalid", "the server rejected our request due to an error in our request"
    )


def too_large_version(asked: int, current: int) -> ApiError:
    """504 for a resourceVersion that the server has not reached."""
    causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    return ApiError(504, "Timeout", message, {"causes": causes, "retryAfterSeconds": 1})
