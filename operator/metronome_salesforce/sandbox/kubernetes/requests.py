"""Pieces of requests: the call for the log, options, bodies, selectors, accepted types, pages."""

import base64
import binascii
import json
from typing import Any

import yaml
from aiohttp import web

from metronome_salesforce.sandbox.kubernetes import (
    exceptions,
    manifests,
    patches,
    protobuf,
    selectors,
    urls,
)
from metronome_salesforce.sandbox.kubernetes.decoding import Options
from metronome_salesforce.sandbox.kubernetes.exceptions import FieldError, Json
from metronome_salesforce.sandbox.kubernetes.faults import Call
from metronome_salesforce.sandbox.kubernetes.kinds import Resource

_YAML = "application/yaml"


def call_of(request: web.Request, target: urls.Target | None, body: bytes) -> Call:
    """The call as the log and the faults know it."""
    watching = target is not None and is_true(request.query.get("watch", ""))
    verb = urls.verb(request.method, target, watch=watching)
    return Call(
        verb=verb,
        resource=target.plural if target else "",
        subresource=target.subresource if target else "",
        namespace=(target.namespace or "") if target else "",
        name=target.name if target else "",
        path=request.path_qs,
        user_agent=request.headers.get("User-Agent", ""),
        content_type=request.content_type,
        body=body.decode(errors="replace"),
    )


def is_true(text: str) -> bool:
    """A flag of the query string."""
    return text.lower() in ("1", "true", "t")


def number(text: str, name: str) -> int:
    """A non-negative number, 0 if absent; raises ApiError 400."""
    if not text:
        return 0
    if not text.isdigit():
        raise exceptions.bad_request(f"invalid {name}: {text}")
    return int(text)


def options_of(request: web.Request) -> Options:
    """The options of a write; raises ApiError 422."""
    dry_run = request.query.getall("dryRun", [])
    validation = request.query.get("fieldValidation", "Warn") or "Warn"
    errors: list[FieldError] = []
    if any(value != "All" for value in dry_run):
        detail = 'supported values: "All"'
        errors.append(FieldError("FieldValueNotSupported", "dryRun", detail, dry_run))
    if validation not in ("Strict", "Warn", "Ignore"):
        detail = 'supported values: "", "Ignore", "Strict", "Warn"'
        errors.append(FieldError("FieldValueNotSupported", "fieldValidation", detail, validation))
    if request.content_type == patches.APPLY and not request.query.get("fieldManager"):
        detail = "is required for apply patch"
        errors.append(FieldError("FieldValueRequired", "fieldManager", detail))
    if errors:
        kinds = {"POST": "CreateOptions", "PUT": "UpdateOptions", "PATCH": "PatchOptions"}
        kind = kinds.get(request.method, "DeleteOptions")
        raise exceptions.invalid("meta.k8s.io", kind, "", errors)
    return Options(dry_run=bool(dry_run), field_validation=validation)


def document_of(request: web.Request, body: bytes, verb: str) -> Any:
    """The body as JSON or YAML; raises ApiError 400 or 415."""
    kind = request.content_type
    if verb == "patch":
        allowed: tuple[str, ...] = (patches.JSON, patches.MERGE, patches.STRATEGIC, patches.APPLY)
        accepted = kind in allowed
    else:
        allowed = ("application/json", _YAML)
        if kind == protobuf.CONTENT_TYPE:
            return protobuf.document(body)
        # curl and some libraries send no type, or octet-stream, with JSON in it.
        accepted = kind in (*allowed, "application/octet-stream", "text/plain")
    if not accepted:
        raise exceptions.unsupported_media("" if verb == "patch" else kind, allowed)
    if not body.strip():
        return {}
    try:
        if kind in (_YAML, patches.APPLY):
            return next(manifests.documents(body.decode()), {})
        return json.loads(body)
    except (ValueError, yaml.YAMLError) as error:
        raise exceptions.bad_request(f"error decoding the body: {error}") from error


def predicate_of(request: web.Request, resource: Resource) -> selectors.Predicate:
    """The test that the query string's selectors make; raises ApiError 400."""
    query = request.query
    return selectors.predicate(
        resource, query.get("labelSelector", ""), query.get("fieldSelector", "")
    )


def wants(accept: str, kind: str) -> bool:
    """Whether the first type that we can serve is this rendering of meta.k8s.io/v1."""
    for entry in accept.split(","):
        parts = {part.strip() for part in entry.split(";")}
        if "application/json" not in parts:
            continue
        if not any(part.startswith("as=") for part in parts):
            return False
        if f"as={kind}" in parts and "v=v1" in parts:
            return True
    return False


def key_of(item: Json) -> tuple[str, str]:
    """Namespace and name, by which lists are ordered."""
    meta = item["metadata"]
    return (meta.get("namespace", ""), meta["name"])


def token(version: int, after: tuple[str, str]) -> str:
    """A `continue` token: the version of the first page and the last key sent."""
    return base64.urlsafe_b64encode(json.dumps([version, *after]).encode()).decode()


def continued(token: str) -> tuple[int, tuple[str, str]]:
    """The reverse of `token`; raises ApiError 400."""
    try:
        version, namespace, name = json.loads(base64.urlsafe_b64decode(token))
    except (ValueError, binascii.Error) as error:
        raise exceptions.bad_request(f"continue key is not valid: {error}") from error
    return int(version), (namespace, name)


def reply(document: Any, status: int = 200) -> web.Response:
    """A JSON response."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return web.Response(text=text, status=status, content_type="application/json")
