"""Custom objects against their structural schema: pruned, defaulted, validated.

Source: Kubernetes documentation, "Extend the Kubernetes API with CustomResourceDefinitions"; the
sentences are those of k8s.io/kube-openapi/pkg/validation. Validation ratchets, as it does since
Kubernetes 1.30: a value that an update leaves as it was is not checked again.
"""

import copy
from collections.abc import Iterable
from typing import Any

from metronome_salesforce.sandbox.kubernetes import formats, patterns, rules
from metronome_salesforce.sandbox.kubernetes.exceptions import FieldError, Json, shown
from metronome_salesforce.sandbox.kubernetes.kinds import same

PRESERVE = "x-kubernetes-preserve-unknown-fields"
INT_OR_STRING = "x-kubernetes-int-or-string"
EMBEDDED = "x-kubernetes-embedded-resource"
LIST_TYPE = "x-kubernetes-list-type"
LIST_KEYS = "x-kubernetes-list-map-keys"
_ABSENT = object()  # no old value to compare with; None is one
_TYPE_META = ("apiVersion", "kind", "metadata")
_BLOCKING = {
    "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid",
    "FieldValueNotSupported",
}  # fmt: skip


def prepared(root: Json) -> Json:
    """A schema of its own for a Resource: later changes of the document do not reach it."""
    return copy.deepcopy(root)


def prune_root(root: Json, item: Json, unknown: list[str]) -> None:
    """Drop from an object what the schema does not name; the paths are appended to `unknown`."""
    meta = {key: item[key] for key in _TYPE_META if key in item}
    rest = {key: value for key, value in item.items() if key not in _TYPE_META}
    _prune(root, rest, "", unknown)
    item.clear()
    item.update(meta | rest)


def _prune(schema: Json, value: Any, path: str, unknown: list[str]) -> None:
    if isinstance(value, list):
        items = schema.get("items")
        for index, entry in enumerate(value if isinstance(items, dict) else ()):
            _prune(items or {}, entry, f"{path}[{index}]", unknown)
        return
    if not isinstance(value, dict):
        return
    properties = schema.get("properties") or {}
    others = schema.get("additionalProperties")
    for key in list(value):
        where = f"{path}.{key}" if path else key
        if key in properties:
            _prune(properties[key], value[key], where, unknown)
        elif isinstance(others, dict):
            _prune(others, value[key], where, unknown)
        elif others is True or schema.get(PRESERVE) or (schema.get(EMBEDDED) and key in _TYPE_META):
            continue
        else:
            del value[key]
            unknown.append(where)


def default_root(root: Json, item: Json) -> None:
    """Fill in the defaults of absent fields, in place."""
    default(root, item)


def default(schema: Json, value: Any) -> None:
    """Fill in the defaults below `value`, in place; a null that is not allowed is dropped first."""
    if isinstance(value, list):
        for entry in value:
            default(schema.get("items") or {}, entry)
        return
    if not isinstance(value, dict):
        return
    properties = schema.get("properties") or {}
    for key, inner in properties.items():
        if value.get(key, key) is None and inner.get("type") and not inner.get("nullable"):
            del value[key]
        if "default" in inner and key not in value:
            value[key] = copy.deepcopy(inner["default"])
        if key in value:
            default(inner, value[key])
    others = schema.get("additionalProperties")
    if isinstance(others, dict):
        for key in value.keys() - properties.keys():
            default(others, value[key])


def errors_root(
    root: Json, item: Json, old: Json | None, found: Iterable[FieldError] = ()
) -> list[FieldError]:
    """Everything wrong with an object, after what was `found`; CEL rules run if that lets them."""
    errors: list[FieldError] = list(found)
    own = {**root, "properties": {**(root.get("properties") or {})}}
    for key in _TYPE_META:
        own["properties"].pop(key, None)
    body = {key: value for key, value in item.items() if key not in _TYPE_META}
    own["required"] = [key for key in root.get("required") or () if key not in _TYPE_META]
    _validate({**own, PRESERVE: True}, body, "", errors, _ABSENT if old is None else old)
    if any(error.reason in _BLOCKING for error in errors):
        if rules.any_in(root):
            detail = (
                "some validation rules were not checked because the object was invalid; correct "
                "the existing errors to complete validation"
            )
            errors.append(FieldError("FieldValueInvalid", "<nil>", detail, None))
        return errors
    return errors + rules.errors_root(root, item, old)


def errors_of(schema: Json, value: Any, path: str) -> list[FieldError]:
    """What is wrong with one value, CEL rules aside."""
    errors: list[FieldError] = []
    _validate(schema, value, path, errors)
    return errors


_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}


def type_name(value: Any) -> str:
    """The JSON Schema name of a value's type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    names = {float: "number", str: "string", list: "array"}
    return names.get(type(value), "object")


def _has_type(schema: Json, value: Any) -> bool:
    if schema.get(INT_OR_STRING):
        return type_name(value) in ("integer", "string")
    wanted = schema.get("type")
    if not wanted:
        return True
    if isinstance(value, bool):
        return bool(wanted == "boolean")
    if wanted == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[wanted])


def _validate(
    schema: Json, value: Any, path: str, errors: list[FieldError], old: Any = _ABSENT
) -> None:
    if same(value, old):
        return
    if value is None and (schema.get("nullable") or not schema.get("type")):
        return
    if not _has_type(schema, value):
        wanted = "integer,string" if schema.get(INT_OR_STRING) else schema["type"]
        actual = type_name(value)
        detail = f'{path} in body must be of type {wanted}: "{actual}"'
        errors.append(FieldError("FieldValueTypeInvalid", path, detail, actual))
        return
    if "enum" in schema and not any(same(value, choice) for choice in schema["enum"]):
        listed = ", ".join(shown(choice) for choice in schema["enum"])
        errors.append(
            FieldError("FieldValueNotSupported", path, f"supported values: {listed}", value)
        )
    if isinstance(value, str):
        _validate_string(schema, value, path, errors)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _validate_number(schema, value, path, errors)
    elif isinstance(value, list):
        _validate_list(schema, value, path, errors, old)
    elif isinstance(value, dict):
        _validate_object(schema, value, path, errors, old)
    _validate_junctors(schema, value, path, errors)


def _invalid(path: str, value: Any, what: str) -> FieldError:
    return FieldError("FieldValueInvalid", path, f"{path} in body {what}", value)


def _malformed(schema: Json, value: Any, path: str) -> FieldError:
    detail = f"{path} in body must be of type {schema['format']}: {shown(value)}"
    return FieldError("FieldValueTypeInvalid", path, detail, value)


def _validate_string(schema: Json, value: str, path: str, errors: list[FieldError]) -> None:
    longest, shortest = schema.get("maxLength"), schema.get("minLength")
    if longest is not None and len(value) > longest:
        detail = f"may not be more than {longest} bytes"
        errors.append(FieldError("FieldValueTooLong", path, detail))
    if shortest is not None and len(value) < shortest:
        errors.append(_invalid(path, value, f"should be at least {shortest} chars long"))
    pattern = schema.get("pattern")
    if pattern and not patterns.found(pattern, value):
        errors.append(_invalid(path, value, f"should match '{pattern}'"))
    if not formats.accepts(schema.get("format", ""), value):
        errors.append(_malformed(schema, value, path))


def _validate_number(schema: Json, value: float, path: str, errors: list[FieldError]) -> None:
    low, high, step = schema.get("minimum"), schema.get("maximum"), schema.get("multipleOf")
    if low is not None and schema.get("exclusiveMinimum") and value <= low:
        errors.append(_invalid(path, value, f"should be greater than {low}"))
    elif low is not None and value < low:
        errors.append(_invalid(path, value, f"should be greater than or equal to {low}"))
    if high is not None and schema.get("exclusiveMaximum") and value >= high:
        errors.append(_invalid(path, value, f"should be less than {high}"))
    elif high is not None and value > high:
        errors.append(_invalid(path, value, f"should be less than or equal to {high}"))
    if step and value % step:
        errors.append(_invalid(path, value, f"should be a multiple of {step}"))
    if not formats.accepts(schema.get("format", ""), value):
        errors.append(_malformed(schema, value, path))


def _validate_list(
    schema: Json, value: list[Any], path: str, errors: list[FieldError], old: Any
) -> None:
    most, least = schema.get("maxItems"), schema.get("minItems")
    if most is not None and len(value) > most:
        detail = f"must have at most {most} items"
        errors.append(FieldError("FieldValueTooMany", path, detail, len(value)))
    if least is not None and len(value) < least:
        errors.append(_invalid(path, len(value), f"should have at least {least} items"))
    items = schema.get("items")
    for index, entry in enumerate(value if isinstance(items, dict) else ()):
        before = rules.counterpart(schema.get(LIST_KEYS), entry, old)
        where = f"{path}[{index}]"
        _validate(items or {}, entry, where, errors, _ABSENT if before is None else before)
    keys = schema.get(LIST_KEYS)
    seen: list[Any] = []
    if schema.get(LIST_TYPE) not in ("set", "map"):
        return
    for index, entry in enumerate(value):
        identity = entry
        if keys and isinstance(entry, dict):
            identity = {key: entry[key] for key in keys if key in entry}
        if sum(1 for other in seen if same(other, identity)) == 1:  # told once for each value
            errors.append(FieldError("FieldValueDuplicate", f"{path}[{index}]", "", identity))
        seen.append(identity)


def _validate_object(
    schema: Json, value: Json, path: str, errors: list[FieldError], old: Any
) -> None:
    most, least = schema.get("maxProperties"), schema.get("minProperties")
    if most is not None and len(value) > most:
        detail = f"must have at most {most} items"
        errors.append(FieldError("FieldValueTooMany", path, detail, len(value)))
    if least is not None and len(value) < least:
        errors.append(_invalid(path, len(value), f"should have at least {least} properties"))
    errors += [
        FieldError("FieldValueRequired", f"{path}.{key}" if path else key)
        for key in schema.get("required") or ()
        if key not in value
    ]
    properties = schema.get("properties") or {}
    others = schema.get("additionalProperties")
    for key, entry in value.items():
        inner = properties.get(key, others)
        if isinstance(inner, dict):
            before = old.get(key, _ABSENT) if isinstance(old, dict) else _ABSENT
            _validate(inner, entry, f"{path}.{key}" if path else key, errors, before)


def _validate_junctors(schema: Json, value: Any, path: str, errors: list[FieldError]) -> None:
    def fits(inner: Json) -> bool:
        return not errors_of(inner, value, path)

    def refuse(what: str) -> None:
        detail = f'"{path}" must {what}'
        errors.append(FieldError("FieldValueInvalid", path or "<nil>", detail, ""))

    for inner in schema.get("allOf") or ():
        _validate(inner, value, path, errors)
    if "anyOf" in schema and not any(fits(inner) for inner in schema["anyOf"]):
        refuse("validate at least one schema (anyOf)")
    if "oneOf" in schema:
        count = sum(1 for inner in schema["oneOf"] if fits(inner))
        if count != 1:
            found = "Found none valid" if count == 0 else f"Found {count} valid alternatives"
            refuse(f"validate one and only one schema (oneOf). {found}")
    if "not" in schema and fits(schema["not"]):
        refuse("not validate the schema (not)")
