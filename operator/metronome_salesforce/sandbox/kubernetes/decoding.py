"""From a client's document to an object that can be checked and stored.

Source: Kubernetes API concepts, "Field validation".
"""

import copy
from dataclasses import dataclass, field
from typing import Any

from metronome_salesforce.sandbox.kubernetes import builtins, exceptions, metadata, schema
from metronome_salesforce.sandbox.kubernetes.exceptions import FieldError, Json
from metronome_salesforce.sandbox.kubernetes.kinds import Resource

_GO_NAMES = {"integer": "number", "boolean": "bool"}  # how encoding/json calls them


@dataclass(slots=True)
class Options:
    """What the query string says about a write; `warnings` is filled for the response header."""

    dry_run: bool = False
    field_validation: str = "Warn"
    warnings: list[str] = field(default_factory=list)


def decoded(resource: Resource, namespace: str | None, document: Any, options: Options) -> Json:
    """A client's document in storage form: pruned, defaulted, in the right namespace.

    Raises DecodingError for a wrong shape and for unknown fields under strict validation, ApiError
    400 for a wrong namespace and 422 for a wrong kind.
    """
    if not isinstance(document, dict):
        raise exceptions.DecodingError(f"the object provided is not a {resource.kind}")
    _require_kind(resource, document)
    unknown: list[str] = []
    meta = metadata.normalized(document.get("metadata"), unknown)
    item = {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": meta,
        **{
            key: copy.deepcopy(value)
            for key, value in document.items()
            if key not in ("apiVersion", "kind", "metadata")
        },
    }
    if resource.stored_as is not None:
        item = builtins.from_new_event(item)
    if resource.schema is not None:
        schema.prune_root(resource.schema, item, unknown)
        schema.default_root(resource.schema, item)
    if resource.shape is not None:
        schema.prune_root(resource.shape, item, unknown)
        _require_shape(resource.kind, resource.shape, item)
    if resource.storage == ("", "secrets"):
        builtins.require_base64(item)
    told = [f'unknown field "{path}"' for path in sorted(unknown)]
    if told and options.field_validation == "Strict":
        raise exceptions.DecodingError(f"strict decoding error: {', '.join(told)}")
    if options.field_validation == "Warn":
        options.warnings += told
    if not resource.namespaced:
        meta.pop("namespace", None)
    elif meta.setdefault("namespace", namespace) != namespace:
        raise exceptions.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    return item


def _require_kind(resource: Resource, document: Json) -> None:
    kind = document.get("kind") or resource.kind
    version = document.get("apiVersion") or resource.api_version
    meta = document.get("metadata")
    name = meta.get("name", "") if isinstance(meta, dict) else ""
    wrong: FieldError | None = None
    if kind != resource.kind:
        wrong = FieldError("FieldValueInvalid", "kind", f"must be {resource.kind}", kind)
    elif version != resource.api_version:
        wrong = FieldError(
            "FieldValueInvalid", "apiVersion", f"must be {resource.api_version}", version
        )
    if wrong is not None:
        group = version.rpartition("/")[0]
        raise exceptions.invalid(group, kind, name, [wrong])


def _require_shape(kind: str, shape: Json, item: Json) -> None:
    for error in schema.errors_of(shape, item, ""):
        raise exceptions.DecodingError(
            f"json: cannot unmarshal {_GO_NAMES.get(error.value, error.value)} into Go struct "
            f"field {kind}.{error.field}"
        )
