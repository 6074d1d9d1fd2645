"""The four patch types: JSON merge patch, JSON patch, strategic merge patch, server-side apply.

Apply is a plain merge: field ownership (`managedFields`) is not modelled, so a field that leaves
the applied document stays, and there are no apply conflicts.
"""

import copy
from typing import Any

import jsonpatch

from metronome_salesforce.sandbox.kubernetes.exceptions import (
    Json,
    bad_request,
    unprocessable_patch,
)

JSON = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"

_UNREADABLE = "error decoding patch: json: cannot unmarshal "
_UNION_LISTS = {"finalizers"}


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396: objects are merged, null removes, everything else replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def strategic(target: Any, patch: Any) -> Any:
    """Strategic merge as far as the built-in kinds here need it.

    Maps merge, `finalizers` is a set, every other list is replaced; the directives `$patch`,
    `$setElementOrder`, `$retainKeys` and `$deleteFromPrimitiveList` are understood.
    """
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    directive = patch.get("$patch")
    if directive == "delete":
        return {}
    result = dict(target) if isinstance(target, dict) and directive != "replace" else {}
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            name = key.partition("/")[2]
            result[name] = [item for item in result.get(name, []) if item not in value]
        elif key.startswith("$"):
            continue
        elif value is None:
            result.pop(key, None)
        elif key in _UNION_LISTS and isinstance(value, list):
            present = result.get(key, [])
            result[key] = present + [item for item in value if item not in present]
        else:
            result[key] = strategic(result.get(key), value)
    return result


def _operated(target: Json, operations: Any) -> Any:
    if not isinstance(operations, list):
        kind = _go_name(operations)
        raise bad_request(_UNREADABLE + f"{kind} into Go value of type []handlers.jsonPatchOp")
    for operation in operations:
        if not isinstance(operation, dict):
            kind = _go_name(operation)
            raise bad_request(_UNREADABLE + f"{kind} into Go value of type handlers.jsonPatchOp")
    try:
        return jsonpatch.JsonPatch(operations).apply(copy.deepcopy(target))
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError) as error:
        raise unprocessable_patch() from error


def _go_name(value: Any) -> str:
    names = {bool: "bool", int: "number", float: "number", str: "string", list: "array"}
    return names.get(type(value), "object")


def apply(content_type: str, target: Json, patch: Any) -> Json:
    """The patched object. Raises ApiError 400 for a malformed patch, 422 if it does not apply."""
    if content_type == JSON:
        result = _operated(target, patch)
    elif not isinstance(patch, dict):
        kind = _go_name(patch)
        raise bad_request(_UNREADABLE + f"{kind} into Go value of type map[string]interface {{}}")
    elif content_type == STRATEGIC:
        result = strategic(target, patch)
    else:
        result = merged(target, patch)
    if not isinstance(result, dict):
        raise unprocessable_patch()
    return result
