"""From a client's document to an object that can be checked and stored.

Source: Kubernetes API concepts, "Field validation".
"""

import copy
from dataclasses import dataclass, field
from typing import Any

from metronome_salesforce.sandbox.kubernetes import builtins, exceptions, metadata, schema
from metronome_salesforce.sandbox.kubernetes.exceptions import Json
from metronome_salesforce.sandbox.kubernetes.kinds import Resource


@dataclass(slots=True)
class Options:
    """What the query string says about a write; `warnings` is filled for the response header."""

    dry_run: bool = False
    field_validation: str = "Warn"
    warnings: list[str] = field(default_factory=list)


def decoded(
    resource: Resource,
    namespace: str | None,
    document: Any,
    options: Options,
    *,
    prefix: bool = True,
) -> Json:
    """A client's document in storage form: pruned, defaulted, in the right namespace."""
    if not isinstance(document, dict):
        raise exceptions.bad_request(f"the object provided is not a {resource.kind}")
    kind, version = document.get("kind"), document.get("apiVersion")
    if (kind or resource.kind) != resource.kind or (
        version or resource.api_version
    ) != resource.api_version:
        raise exceptions.bad_request(
            f"the API version in the data ({version}) or the kind ({kind}) does not match the "
            f"expected ({resource.api_version}, {resource.kind})"
        )
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
    start = (
        f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
    )
    if resource.shape is not None:
        schema.prune_root(resource.shape, item, unknown)
        for error in schema.errors_of(resource.shape, item, ""):
            raise exceptions.bad_request(
                f"{start}json: cannot unmarshal {error.field}: {error.detail}"
            )
    told = ", ".join(f'unknown field "{path}"' for path in unknown)
    if unknown and options.field_validation == "Strict":
        raise exceptions.bad_request(f"{start if prefix else ''}strict decoding error: {told}")
    if options.field_validation == "Warn":
        options.warnings += [f'unknown field "{path}"' for path in unknown]
    if resource.namespaced:
        if meta.setdefault("namespace", namespace) != namespace:
            raise exceptions.bad_request(
                "the namespace of the provided object does not match the namespace sent on "
                "the request"
            )
    else:
        meta.pop("namespace", None)
    return item
