"""CEL rules of a schema (`x-kubernetes-validations`), evaluated with cel-python.

Values are bound as the schema types them: `date` and `date-time` are timestamps, `duration` is a
duration, numbers are doubles. A rule that names `oldSelf` is a transition rule and runs only where
an old value can be told apart, so never inside lists other than those of type `map`.
Source: Kubernetes documentation, "Validation rules" and "Common Expression Language in Kubernetes".
"""

import base64
import contextlib
import itertools
import re
from collections.abc import Iterator
from datetime import date, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import celpy
from celpy import celtypes
from celpy.evaluation import CELEvalError

from metronome_salesforce.sandbox.kubernetes import formats, patterns
from metronome_salesforce.sandbox.kubernetes.exceptions import OMITTED, FieldError, Json
from metronome_salesforce.sandbox.kubernetes.kinds import same

KEY = "x-kubernetes-validations"
_WORDS = {
    "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function",
    "if", "import", "let", "loop", "package", "namespace", "return", "var", "void", "while",
}  # fmt: skip
_OLD = re.compile(r"\boldSelf\b")


def escaped(name: str) -> str:
    """A property's name as CEL identifiers spell it."""
    if name in _WORDS:
        return f"__{name}__"
    name = name.replace("__", "__underscores__")
    return name.replace(".", "__dot__").replace("-", "__dash__").replace("/", "__slash__")


def is_transition(rule: str) -> bool:
    """Whether the rule compares with the old value."""
    return _OLD.search(rule) is not None


def any_in(schema: Json) -> bool:
    """Whether the schema has a rule anywhere."""
    if schema.get(KEY):
        return True
    return any(any_in(inner) for _, inner in _children(schema))


def _children(schema: Json) -> Iterator[tuple[str, Json]]:
    yield from (schema.get("properties") or {}).items()
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield key, schema[key]


# The functions that Kubernetes adds to CEL and that rules on strings and lists use.


def _text(value: Any) -> celtypes.StringType:
    return celtypes.StringType(value)


def _is_url(text: Any) -> celtypes.BoolType:
    parts = urlsplit(str(text))
    return celtypes.BoolType(bool(parts.scheme and parts.netloc) or str(text).startswith("/"))


def _replace(text: Any, old: Any, new: Any) -> celtypes.StringType:
    return _text(str(text).replace(str(old), str(new)))


def _split(text: Any, separator: Any) -> celtypes.ListType:
    return celtypes.ListType([_text(part) for part in str(text).split(str(separator))])


def _join(values: Any, separator: Any = "") -> celtypes.StringType:
    return _text(str(separator).join(str(value) for value in values))


def _substring(text: Any, start: Any, end: Any = None) -> celtypes.StringType:
    stop = len(text) if end is None else int(end)
    if not 0 <= int(start) <= stop <= len(text):
        raise IndexError("index out of range")
    return _text(str(text)[int(start) : stop])


def _index_of(value: Any, wanted: Any) -> celtypes.IntType:
    if isinstance(value, str):
        return celtypes.IntType(value.find(str(wanted)))
    return celtypes.IntType(next((i for i, item in enumerate(value) if item == wanted), -1))


def _is_sorted(values: Any) -> celtypes.BoolType:
    return celtypes.BoolType(all(a <= b for a, b in itertools.pairwise(values)))


def _find(text: Any, pattern: Any) -> celtypes.StringType:
    return _text(patterns.first(str(pattern), str(text)))


FUNCTIONS: dict[str, Any] = {
    "lowerAscii": lambda text: _text(str(text).lower()),
    "upperAscii": lambda text: _text(str(text).upper()),
    "trim": lambda text: _text(str(text).strip()),
    "charAt": lambda text, index: _text(str(text)[int(index)]),
    "replace": _replace,
    "split": _split,
    "join": _join,
    "substring": _substring,
    "indexOf": _index_of,
    "find": _find,
    "isSorted": _is_sorted,
    "min": min,
    "max": max,
    "isURL": _is_url,
}


@lru_cache(maxsize=1)
def _environment() -> celpy.Environment:
    return celpy.Environment()


@lru_cache(maxsize=1024)
def syntax_tree(rule: str) -> Any:
    """The parsed rule (a lark Tree). Raises CELParseError."""
    return _environment().compile(rule)


@lru_cache(maxsize=1024)
def _program(rule: str) -> Any:
    return _environment().program(syntax_tree(rule), functions=FUNCTIONS)


def bound(schema: Json, value: Any) -> Any:
    """A JSON value as CEL sees it through its schema."""
    if value is None:
        return None
    if isinstance(value, bool):
        return celtypes.BoolType(value)
    if isinstance(value, dict):
        properties = schema.get("properties") or {}
        others = schema.get("additionalProperties")
        inner = others if isinstance(others, dict) else {}
        return celtypes.MapType(
            {
                _text(escaped(key) if key in properties else key): bound(
                    properties.get(key, inner), entry
                )
                for key, entry in value.items()
            }
        )
    if isinstance(value, list):
        return celtypes.ListType([bound(schema.get("items") or {}, entry) for entry in value])
    if isinstance(value, str):
        # A malformed value has been reported by its format; a rule that reads it fails by itself.
        with contextlib.suppress(ValueError):
            return _bound_text(schema.get("format", ""), value)
        return _text(value)
    if schema.get("type") == "number" or isinstance(value, float):
        return celtypes.DoubleType(value)
    return celtypes.IntType(value)


def _bound_text(form: str, value: str) -> Any:
    if form in ("date-time", "datetime"):
        return celtypes.TimestampType(datetime.fromisoformat(value.upper()))
    if form == "date":
        day = date.fromisoformat(value)
        return celtypes.TimestampType(f"{day.isoformat()}T00:00:00Z")
    if form == "duration":
        return celtypes.DurationType(formats.duration(value))
    if form == "byte":
        return celtypes.BytesType(base64.b64decode(value))
    return _text(value)


def errors_root(root: Json, item: Json, old: Json | None) -> list[FieldError]:
    """The violated rules of a whole object that its schema has otherwise accepted."""
    errors: list[FieldError] = []
    _check(with_type_meta(root), item, old, "", errors)
    return errors


def with_type_meta(root: Json) -> Json:
    """The root schema with the fields that rules may always read: name, kind and version."""
    text: Json = {"type": "string"}
    meta: Json = {"type": "object", "properties": {"name": text, "generateName": text}}
    own = root.get("properties") or {}
    return {**root, "properties": {**own, "apiVersion": text, "kind": text, "metadata": meta}}


def _check(schema: Json, new: Any, old: Any, path: str, errors: list[FieldError]) -> None:
    if new is None:
        return
    for entry in schema.get(KEY) or ():
        # Ratcheting: what has held for an unchanged value need not hold again.
        if (old is None) if is_transition(entry["rule"]) else same(new, old):
            continue
        errors += _violations(schema, entry, new, old, path)
    if isinstance(new, dict):
        properties = schema.get("properties") or {}
        others = schema.get("additionalProperties")
        for key, value in new.items():
            inner = properties.get(key, others)
            if isinstance(inner, dict):
                before = old.get(key) if isinstance(old, dict) else None
                _check(inner, value, before, f"{path}.{key}" if path else key, errors)
    elif isinstance(new, list) and isinstance(schema.get("items"), dict):
        keys = schema.get("x-kubernetes-list-map-keys")
        for index, value in enumerate(new):
            before = counterpart(keys, value, old)
            _check(schema["items"], value, before, f"{path}[{index}]", errors)


def counterpart(keys: list[str] | None, value: Any, old: Any) -> Any:
    """The entry of an old list of type `map` with the same keys; None if there is none."""
    if not keys or not isinstance(old, list):
        return None
    for candidate in old:
        both = isinstance(candidate, dict) and isinstance(value, dict)
        if both and all(candidate.get(key) == value.get(key) for key in keys):
            return candidate
    return None


def _violations(schema: Json, entry: Json, new: Any, old: Any, path: str) -> list[FieldError]:
    rule = entry["rule"]
    names = {"self": bound(schema, new)}
    if old is not None:
        names["oldSelf"] = bound(schema, old)
    value = OMITTED if isinstance(new, dict | list) else new
    where = path + (entry.get("fieldPath") or "") if path else path
    where = (where or (entry.get("fieldPath") or "").lstrip(".")) or "<nil>"
    try:
        holds = _program(rule).evaluate(names)
    except (CELEvalError, TypeError, ValueError) as error:
        detail = f"{_reason_of(error)} evaluating rule: {entry.get('message') or rule}"
        return [FieldError("FieldValueInvalid", where, detail, value)]
    if holds is True or (isinstance(holds, celtypes.BoolType) and bool(holds)):
        return []
    told = _message(entry, names)
    return [FieldError(entry.get("reason") or "FieldValueInvalid", where, told, value)]


def _message(entry: Json, names: Json) -> str:
    if expression := entry.get("messageExpression"):
        # One that fails is logged by the real server, and `message` takes its place.
        with contextlib.suppress(CELEvalError, TypeError, ValueError):
            text = str(_program(expression).evaluate(names)).strip()
            if text and "\n" not in text:
                return text
    return str(entry.get("message") or f"failed rule: {entry['rule'].strip()}")


def _reason_of(error: Exception) -> str:
    text = str(error.args[0]) if error.args else str(error)
    if found := re.search(r"no such member in mapping: '?([^']*)'?", text):
        return f"no such key: {found[1]}"
    return text.split(" (in activation", 1)[0]
