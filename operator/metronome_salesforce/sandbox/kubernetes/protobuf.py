"""The few protobuf bodies that kubectl insists on sending: `kubectl create secret` and its like.

kubectl's typed clients encode built-in kinds as protobuf and do not fall back to JSON when refused;
they do accept JSON in return. Field numbers are those of k8s.io/api/core/v1/generated.proto and
k8s.io/apimachinery/pkg/apis/meta/v1/generated.proto; other kinds are refused with 415.
"""

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from metronome_salesforce.sandbox.kubernetes.exceptions import Json, bad_request, unsupported_media

CONTENT_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_Value = bytes | int


@dataclass(frozen=True, slots=True)
class _Field:
    """How one numbered field becomes JSON; `many` collects, `pairs` makes a map of its entries."""

    name: str
    read: Callable[[_Value], Any]
    many: bool = False
    pairs: bool = False


def _text(value: _Value) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _base64(value: _Value) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else ""


def _message(fields: dict[int, _Field]) -> Callable[[_Value], Json]:
    return lambda value: _decoded(value, fields) if isinstance(value, bytes) else {}


_META = _message(
    {
        1: _Field("name", _text),
        2: _Field("generateName", _text),
        3: _Field("namespace", _text),
        5: _Field("uid", _text),
        6: _Field("resourceVersion", _text),
        11: _Field("labels", _text, pairs=True),
        12: _Field("annotations", _text, pairs=True),
        14: _Field("finalizers", _text, many=True),
    }
)
_KINDS: dict[tuple[str, str], dict[int, _Field]] = {
    ("v1", "Namespace"): {1: _Field("metadata", _META)},
    ("v1", "ServiceAccount"): {1: _Field("metadata", _META)},
    ("v1", "ConfigMap"): {
        1: _Field("metadata", _META),
        2: _Field("data", _text, pairs=True),
        3: _Field("binaryData", _base64, pairs=True),
        4: _Field("immutable", bool),
    },
    ("v1", "Secret"): {
        1: _Field("metadata", _META),
        2: _Field("data", _base64, pairs=True),
        3: _Field("type", _text),
        4: _Field("stringData", _text, pairs=True),
        5: _Field("immutable", bool),
    },
}


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position


def _entries(data: bytes) -> Iterator[tuple[int, _Value]]:
    """(field number, value) pairs; raises IndexError or ValueError for broken data."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        kind = tag & 7
        if kind == 0:
            value, position = _varint(data, position)
            yield tag >> 3, value
        elif kind == 2:
            size, position = _varint(data, position)
            yield tag >> 3, data[position : position + size]
            position += size
        else:
            raise ValueError(f"wire type {kind}")


def _decoded(data: bytes, fields: dict[int, _Field]) -> Json:
    result: Json = {}
    for number, value in _entries(data):
        field = fields.get(number)
        if field is None or value == b"":
            continue
        if field.pairs and isinstance(value, bytes):
            entry = dict(_entries(value))
            result.setdefault(field.name, {})[_text(entry[1])] = field.read(entry.get(2, b""))
        elif field.many:
            result.setdefault(field.name, []).append(field.read(value))
        else:
            result[field.name] = field.read(value)
    return result


def document(body: bytes) -> Json:
    """The object in a protobuf body; raises ApiError 400 if broken, 415 for other kinds."""
    if not body.startswith(_MAGIC):
        raise bad_request("provided data does not appear to be a protobuf message")
    try:
        envelope = dict(_entries(body[len(_MAGIC) :]))
        types = {number: _text(value) for number, value in _entries(bytes(envelope[1]))}
        api_version, kind = types.get(1, ""), types.get(2, "")
        fields = _KINDS.get((api_version, kind))
        if fields is None:
            raise unsupported_media(f"{CONTENT_TYPE} of {kind}", ("application/json",))
        found = _decoded(bytes(envelope[2]), fields)
    except (IndexError, KeyError, ValueError) as error:
        raise bad_request(f"error decoding the body: {error}") from error
    return {"apiVersion": api_version, "kind": kind, **found}
