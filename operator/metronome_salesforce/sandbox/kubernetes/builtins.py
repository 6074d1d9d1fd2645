"""The built-in kinds, each with the little that the server checks or fills in for it.

Types and unknown fields are the matter of `shapes.py`; here is only what operators meet.
"""

import base64
import binascii
from collections.abc import Callable
from datetime import datetime
from functools import partial

from metronome_salesforce.sandbox.kubernetes import definitions, shapes
from metronome_salesforce.sandbox.kubernetes.exceptions import DecodingError, FieldError, Json
from metronome_salesforce.sandbox.kubernetes.kinds import AGE, Column, Resource

PERMANENT_NAMESPACES = frozenset({"default", "kube-system", "kube-public"})
_SECRET_BYTES = 1024 * 1024
_READ_ONLY = ("get", "list", "watch")


def _prepare_secret(item: Json, old: Json | None) -> list[FieldError]:
    errors: list[FieldError] = []
    data = dict(item.get("data") or {})
    for key, text in (item.pop("stringData", None) or {}).items():
        data[key] = base64.b64encode(str(text).encode()).decode()
    size = sum(len(base64.b64decode(text or "")) for text in data.values())
    if size > _SECRET_BYTES:
        detail = f"may not be more than {_SECRET_BYTES} bytes"
        errors.append(FieldError("FieldValueTooLong", "data", detail))
    errors += _data_keys(data)
    if data:
        item["data"] = data
    else:
        item.pop("data", None)
    item.setdefault("type", "Opaque")
    if old is not None and item["type"] != old["type"]:
        errors.append(FieldError("FieldValueInvalid", "type", "field is immutable", item["type"]))
    return errors + _immutable(item, old)


def require_base64(item: Json) -> None:
    """Raise DecodingError if a value in a Secret's `data` is not base64."""
    for text in (item.get("data") or {}).values():
        try:
            base64.b64decode(text or "", validate=True)
        except (binascii.Error, ValueError) as error:
            raise DecodingError("illegal base64 data") from error


def _prepare_config_map(item: Json, old: Json | None) -> list[FieldError]:
    errors = _data_keys(item.get("data") or {})
    for key, text in (item.get("data") or {}).items():
        if not isinstance(text, str):
            errors.append(FieldError("FieldValueInvalid", f"data[{key}]", "must be a string", text))
    return errors + _immutable(item, old)


def _immutable(item: Json, old: Json | None) -> list[FieldError]:
    if old is None or not old.get("immutable"):
        return []
    return [
        FieldError("FieldValueForbidden", key, "field is immutable when `immutable` is set")
        for key in ("data", "binaryData", "immutable")
        if item.get(key) != old.get(key)
    ]


def _data_keys(data: Json) -> list[FieldError]:
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
    detail = (
        "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. "
        "'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is "
        "'[-._a-zA-Z0-9]+')"
    )
    return [
        FieldError("FieldValueInvalid", f"data[{key}]", detail, key)
        for key in data
        if not key or set(key) - allowed or len(key) > 253
    ]


def _prepare_namespace(item: Json, _old: Json | None) -> list[FieldError]:
    item.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
    item.setdefault("status", {}).setdefault("phase", "Active")
    labels = item["metadata"].setdefault("labels", {})
    labels["kubernetes.io/metadata.name"] = item["metadata"].get("name", "")
    return []


def _prepare_event(item: Json, _old: Json | None) -> list[FieldError]:
    errors: list[FieldError] = []
    involved = item.setdefault("involvedObject", {})
    if involved.get("namespace", "") != item["metadata"]["namespace"] and (
        involved.get("namespace") or item["metadata"]["namespace"] != "default"
    ):
        errors.append(
            FieldError(
                "FieldValueInvalid",
                "involvedObject.namespace",
                "does not match event.namespace",
                involved.get("namespace", ""),
            )
        )
    if item.get("type") not in (None, "", "Normal", "Warning") and item.get("eventTime"):
        errors.append(FieldError("FieldValueInvalid", "type", "has invalid value", item["type"]))
    if len(str(item.get("message") or "").encode()) > 1024 and item.get("eventTime"):
        errors.append(
            FieldError("FieldValueInvalid", "message", "can have at most 1024 characters", "")
        )
    return errors


_RENAMED = {
    "involvedObject": "regarding",
    "message": "note",
    "reportingComponent": "reportingController",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
}


def to_new_event(item: Json) -> Json:
    """A core Event in the words of events.k8s.io/v1."""
    renamed = {_RENAMED.get(key, key): value for key, value in item.items()}
    return {**renamed, "apiVersion": "events.k8s.io/v1"}


def from_new_event(item: Json) -> Json:
    """The reverse of `to_new_event`; core/v1 is how events are stored."""
    back = {new: old for old, new in _RENAMED.items()}
    return {**{back.get(key, key): value for key, value in item.items()}, "apiVersion": "v1"}


def _prepare_definition(
    now: Callable[[], datetime], item: Json, old: Json | None
) -> list[FieldError]:
    return definitions.prepare(item, old, now())


def resources(now: Callable[[], datetime]) -> list[Resource]:
    """Every built-in kind; `now` dates the conditions of definitions."""
    age = (AGE,)
    return [
        Resource(
            "", "v1", "namespaces", "Namespace",
            shape=shapes.NAMESPACE, namespaced=False, singular="namespace",
            short_names=("ns",), has_status=True, prepare=_prepare_namespace,
            columns=(Column("Status", ".status.phase"), AGE),
        ),
        Resource(
            "", "v1", "secrets", "Secret",
            shape=shapes.SECRET, singular="secret", prepare=_prepare_secret,
            columns=(Column("Type", ".type"), Column("Data", ".data", "count"), AGE),
        ),
        Resource(
            "", "v1", "configmaps", "ConfigMap",
            shape=shapes.CONFIG_MAP, singular="configmap", short_names=("cm",),
            prepare=_prepare_config_map,
            columns=(Column("Data", ".data", "count"), AGE),
        ),
        Resource(
            "", "v1", "events", "Event",
            shape=shapes.EVENT, singular="event", short_names=("ev",),
            prepare=_prepare_event, columns=_EVENT_COLUMNS,
        ),
        Resource(
            "events.k8s.io", "v1", "events", "Event",
            shape=shapes.EVENT, singular="event", short_names=("ev",),
            prepare=_prepare_event, columns=_EVENT_COLUMNS, stored_as=("", "events"),
        ),
        Resource(
            "", "v1", "serviceaccounts", "ServiceAccount",
            shape=shapes.SERVICE_ACCOUNT, singular="serviceaccount",
            short_names=("sa",), columns=age,
        ),
        Resource(
            "", "v1", "pods", "Pod", singular="pod", short_names=("po",), categories=("all",),
            verbs=_READ_ONLY, columns=age,
        ),
        Resource(
            "", "v1", "nodes", "Node", namespaced=False, singular="node", short_names=("no",),
            verbs=_READ_ONLY, columns=age,
        ),
        Resource(
            "coordination.k8s.io", "v1", "leases", "Lease",
            shape=shapes.LEASE, singular="lease",
            columns=(Column("Holder", ".spec.holderIdentity"), AGE), unconditional_update=False,
        ),
        Resource(
            definitions.GROUP, "v1", "customresourcedefinitions", "CustomResourceDefinition",
            shape=shapes.DEFINITION,
            namespaced=False, singular="customresourcedefinition", short_names=("crd", "crds"),
            categories=("api-extensions",), has_status=True, counts_generation=True,
            unconditional_update=False,
            columns=(Column("Created At", ".metadata.creationTimestamp"),),
            prepare=partial(_prepare_definition, now),
        ),
    ]  # fmt: skip


_EVENT_COLUMNS = (
    Column("Last Seen", ".lastTimestamp", "event-age"),
    Column("Type", ".type"),
    Column("Reason", ".reason"),
    Column("Object", ".involvedObject", "object-reference"),
    Column("Subobject", ".involvedObject.fieldPath", priority=1),
    Column("Source", ".source", "event-source", priority=1),
    Column("Message", ".message"),
    Column("First Seen", ".firstTimestamp", "date", priority=1),
    Column("Count", ".count", "integer", priority=1),
    Column("Name", ".metadata.name", priority=1),
)
