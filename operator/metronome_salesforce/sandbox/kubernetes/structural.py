"""Whether the schema of a definition is structural, and whether its CEL rules compile.

Source: Kubernetes documentation, "Specifying a structural schema".
"""

import copy
from typing import Any

from metronome_salesforce.sandbox.kubernetes import compilation, patterns, rules, schema
from metronome_salesforce.sandbox.kubernetes.exceptions import FieldError, Json

_NOT_IN_JUNCTORS = (
    "description", "type", "default", "additionalProperties", "nullable", schema.PRESERVE,
    schema.INT_OR_STRING, schema.EMBEDDED, schema.LIST_TYPE, schema.LIST_KEYS,
)  # fmt: skip
_COUNTS = ("maxLength", "minLength", "maxItems", "minItems", "maxProperties", "minProperties")
_TYPES = ("object", "array", "string", "boolean", "integer", "number")


def errors(root: Json, path: str) -> list[FieldError]:
    """What the server refuses in `openAPIV3Schema`; `path` starts each field's name."""
    found: list[FieldError] = []
    if root.get("type") != "object":
        found.append(
            FieldError(
                "FieldValueInvalid", f"{path}.type", "must be object at the root", root.get("type")
            )
        )
    _walk(root, path, found, root=True)
    return found


def _walk(
    node: Any, path: str, found: list[FieldError], *, root: bool = False, apart: bool = True
) -> None:
    """`apart` says whether an old value can be told apart here, for transition rules."""
    if not isinstance(node, dict):
        found.append(FieldError("FieldValueTypeInvalid", path, "must be an object", node))
        return
    _keywords(node, path, found)
    _types(node, path, found)
    _limits(node, path, found)
    for junctor in ("allOf", "anyOf", "oneOf"):
        for index, inner in enumerate(node.get(junctor) or ()):
            _junctor(inner, node, f"{path}.{junctor}[{index}]", found)
    if "not" in node:
        _junctor(node["not"], node, f"{path}.not", found)
    for key, inner in (node.get("properties") or {}).items():
        if root and key == "metadata":
            continue
        _walk(inner, f"{path}.properties[{key}]", found, apart=apart)
    if isinstance(node.get("items"), dict):
        mapped = node.get(schema.LIST_TYPE) == "map"
        _walk(node["items"], f"{path}.items", found, apart=apart and mapped)
    if isinstance(node.get("additionalProperties"), dict):
        inner = node["additionalProperties"]
        _walk(inner, f"{path}.additionalProperties", found, apart=apart)
    if not found:
        _default(node, path, found, root=root)
        _rules(node, path, found, root=root)
        if not apart:
            _transitions(node, path, found)


def _forbid(found: list[FieldError], path: str, why: str) -> None:
    found.append(FieldError("FieldValueForbidden", path, why))


def _keywords(node: Json, path: str, found: list[FieldError]) -> None:
    others = node.get("additionalProperties")
    if others is not None and not isinstance(others, bool | dict):
        where = f"{path}.additionalProperties"
        found.append(
            FieldError("FieldValueInvalid", where, "must be a boolean or a schema", others)
        )
    if node.get("uniqueItems"):
        _forbid(found, f"{path}.uniqueItems", "uniqueItems cannot be set to true since the runtime "
                "complexity becomes quadratic")  # fmt: skip
    if node.get("additionalProperties") is False:
        _forbid(
            found, f"{path}.additionalProperties", "additionalProperties cannot be set to false"
        )
    if "additionalProperties" in node and node.get("properties"):
        _forbid(
            found,
            f"{path}.additionalProperties",
            "additionalProperties and properties are mutual exclusive",
        )


def _types(node: Json, path: str, found: list[FieldError]) -> None:
    kind = node.get("type")
    free = node.get(schema.PRESERVE) or node.get(schema.INT_OR_STRING)
    if not kind and not free:
        found.append(
            FieldError(
                "FieldValueRequired",
                f"{path}.type",
                "must not be empty for specified object fields",
            )
        )
    elif kind and kind not in _TYPES:
        listed = ", ".join(f'"{name}"' for name in sorted(_TYPES))
        found.append(
            FieldError(
                "FieldValueNotSupported", f"{path}.type", f"supported values: {listed}", kind
            )
        )
    if kind == "array" and not isinstance(node.get("items"), dict):
        found.append(FieldError("FieldValueRequired", f"{path}.items", "must be specified"))
    if kind != "array" and "items" in node:
        _forbid(found, f"{path}.items", "must only be used for arrays")
    if kind != "object" and ("properties" in node or "additionalProperties" in node):
        _forbid(found, f"{path}.properties", "must only be used for objects")
    list_type = node.get(schema.LIST_TYPE)
    if list_type not in (None, "atomic", "set", "map"):
        found.append(
            FieldError(
                "FieldValueNotSupported",
                f"{path}.{schema.LIST_TYPE}",
                'supported values: "atomic", "map", "set"',
                list_type,
            )
        )
    if list_type == "map":
        _list_map(node, path, found)


def _list_map(node: Json, path: str, found: list[FieldError]) -> None:
    items = node.get("items") or {}
    keys = node.get(schema.LIST_KEYS)
    if not keys:
        found.append(
            FieldError(
                "FieldValueRequired",
                f"{path}.{schema.LIST_KEYS}",
                "must not be empty if x-kubernetes-list-type is map",
            )
        )
    for key in keys or ():
        inner = (items.get("properties") or {}).get(key)
        if inner is None:
            found.append(
                FieldError(
                    "FieldValueInvalid",
                    f"{path}.{schema.LIST_KEYS}",
                    "must be a property of items",
                    key,
                )
            )
        elif key not in (items.get("required") or ()) and "default" not in inner:
            found.append(
                FieldError(
                    "FieldValueRequired",
                    f"{path}.items.properties[{key}].default",
                    "this property is in x-kubernetes-list-map-keys, so it must have a default "
                    "or be a required property",
                )
            )


def _limits(node: Json, path: str, found: list[FieldError]) -> None:
    pattern = node.get("pattern")
    if pattern and (why := patterns.problem(pattern)):
        detail = f"must be a valid regular expression, but isn't: {why}"
        found.append(FieldError("FieldValueInvalid", f"{path}.pattern", detail, pattern))
    found += [
        FieldError(
            "FieldValueInvalid", f"{path}.{key}", "must be a non-negative integer", node[key]
        )
        for key in _COUNTS
        if key in node and (not isinstance(node[key], int) or node[key] < 0)
    ]
    if "enum" in node and not node["enum"]:
        found.append(FieldError("FieldValueRequired", f"{path}.enum", "must not be empty"))


def _junctor(inner: Any, outer: Json, path: str, found: list[FieldError]) -> None:
    """Inside allOf, anyOf, oneOf and not: values only, of properties that stand outside too."""
    if not isinstance(inner, dict):
        found.append(FieldError("FieldValueTypeInvalid", path, "must be an object", inner))
        return
    for key in _NOT_IN_JUNCTORS:
        allowed = key == "type" and outer.get(schema.INT_OR_STRING)
        if key in inner and not allowed:
            _forbid(found, f"{path}.{key}", "must be empty to be structural")
    _limits(inner, path, found)
    for key, value in (inner.get("properties") or {}).items():
        if key not in (outer.get("properties") or {}):
            at = path.split(".allOf", 1)[0].split(".anyOf", 1)[0].split(".oneOf", 1)[0]
            where = f"{at}.properties[{key}]"
            detail = f"because it is defined in {path}.properties[{key}]"
            found.append(FieldError("FieldValueRequired", where, detail))
        else:
            _junctor(value, outer["properties"][key], f"{path}.properties[{key}]", found)


def _default(node: Json, path: str, found: list[FieldError], *, root: bool) -> None:
    if "default" not in node:
        return
    if root:
        _forbid(found, f"{path}.default", "must not be set at the root")
        return
    value = {"value": copy.deepcopy(node["default"])}
    around: Json = {"type": "object", "properties": {"value": node}}
    unknown: list[str] = []
    schema.prune_root(around, value, unknown)
    if unknown:
        found.append(
            FieldError(
                "FieldValueInvalid",
                f"{path}.default",
                "must not have unknown fields",
                node["default"],
            )
        )
    schema.default_root(around, value)
    found += schema.errors_of(node, value["value"], f"{path}.default")


def _rules(node: Json, path: str, found: list[FieldError], *, root: bool) -> None:
    for index, entry in enumerate(node.get(rules.KEY) or ()):
        at = f"{path}.{rules.KEY}[{index}]"
        if not str(entry.get("rule") or "").strip():
            found.append(FieldError("FieldValueRequired", f"{at}.rule", "rule is not specified"))
            continue
        if entry.get("optionalOldSelf"):
            _forbid(found, f"{at}.optionalOldSelf", "not modelled by this embedded API")
        message = entry.get("message")
        if message is not None and (not message.strip() or "\n" in message):
            found.append(
                FieldError(
                    "FieldValueInvalid", f"{at}.message", "must be a non-empty line", message
                )
            )
        for key in ("rule", "messageExpression"):
            if key in entry and (why := compilation.problem(entry[key], node, root=root)):
                detail = f"compilation failed: ERROR: <input>: {why}"
                found.append(FieldError("FieldValueInvalid", f"{at}.{key}", detail, entry[key]))


def _transitions(node: Json, path: str, found: list[FieldError]) -> None:
    detail = (
        "oldSelf cannot be used on the uncorrelatable portion of the schema within a list of type "
        "atomic or set"
    )
    found += [
        FieldError("FieldValueInvalid", f"{path}.{rules.KEY}[{index}].rule", detail, entry["rule"])
        for index, entry in enumerate(node.get(rules.KEY) or ())
        if rules.is_transition(entry.get("rule") or "")
    ]
