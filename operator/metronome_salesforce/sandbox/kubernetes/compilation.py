"""Whether a CEL rule compiles against its schema: syntax, names, fields and functions.

cel-python finds these only when a rule runs, the server already when a definition is applied; so a
misspelt field in `crds/` must be refused here too. Types of operands are not checked.
"""

from typing import Any

import lark
from celpy.celparser import CELParseError

from metronome_salesforce.sandbox.kubernetes import rules
from metronome_salesforce.sandbox.kubernetes.exceptions import Json

_MACROS = {"all", "exists", "exists_one", "map", "filter"}
_TYPES = {"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"}
_FUNCTIONS = {
    "size", "matches", "startsWith", "endsWith", "contains", "has", "dyn", "type", "int", "uint",
    "double", "string", "bytes", "bool", "timestamp", "duration", "getDate", "getDayOfMonth",
    "getDayOfWeek", "getDayOfYear", "getFullYear", "getHours", "getMilliseconds", "getMinutes",
    "getMonth", "getSeconds", *rules.FUNCTIONS,
}  # fmt: skip
_UNKNOWN: Json = {}


class _CompileError(Exception):
    """A name that does not exist."""


def problem(rule: str, schema: Json, *, root: bool) -> str:
    """Why the rule does not compile against the schema that carries it; empty if it does."""
    try:
        tree = rules.syntax_tree(rule)
    except CELParseError as error:
        return f"Syntax error: {str(error.args[0]).splitlines()[0]}"
    own = rules.with_type_meta(schema) if root else schema
    try:
        _type_of(tree, {"self": own, "oldSelf": own})
    except _CompileError as error:
        return str(error)
    return ""


def _type_of(node: Any, scope: dict[str, Json]) -> Json:
    """The schema of an expression's value; the empty one if it is not known."""
    if not isinstance(node, lark.Tree):
        return _UNKNOWN
    rule, children = node.data, node.children
    if rule == "ident":
        return _named(str(children[0]), scope)
    if rule == "member_dot":
        return _field(_type_of(children[0], scope), str(children[1]))
    if rule == "member_index":
        _type_of(children[1], scope)
        return _element(_type_of(children[0], scope))
    if rule == "member_dot_arg":
        return _call(children, scope)
    if rule == "ident_arg":
        _require_function(str(children[0]))
        for child in children[1:]:
            _type_of(child, scope)
        return _UNKNOWN
    inner = [_type_of(child, scope) for child in children]
    # One child without an operator, such as parentheses, passes its type on.
    return inner[0] if len(inner) == 1 else _UNKNOWN


def _named(name: str, scope: dict[str, Json]) -> Json:
    if name in scope:
        return scope[name]
    if name in _TYPES:
        return _UNKNOWN
    raise _CompileError(f"undeclared reference to '{name}' (in container '')")


def _field(owner: Json, name: str) -> Json:
    properties = owner.get("properties")
    if properties is not None:
        for key, inner in properties.items():
            if rules.escaped(key) == name:
                return dict(inner)
        raise _CompileError(f"undefined field '{name}'")
    if isinstance(owner.get("additionalProperties"), dict):
        return dict(owner["additionalProperties"])
    if owner.get("type") in ("string", "integer", "number", "boolean", "array"):
        raise _CompileError(f"type '{owner['type']}' does not support field selection")
    if owner.get("type") == "object":
        raise _CompileError(f"undefined field '{name}'")
    return _UNKNOWN


def _element(owner: Json) -> Json:
    for key in ("items", "additionalProperties"):
        if isinstance(owner.get(key), dict):
            return dict(owner[key])
    return _UNKNOWN


def _call(children: list[Any], scope: dict[str, Json]) -> Json:
    owner, name = _type_of(children[0], scope), str(children[1])
    arguments = children[2].children if len(children) > 2 and children[2] is not None else []
    if name not in _MACROS:
        _require_function(name)
        for argument in arguments:
            _type_of(argument, scope)
        return _UNKNOWN
    variable = _variable(arguments[0])
    # Macros run over the elements of a list, but over the keys of a map.
    element = dict(owner.get("items") or {}) if owner.get("type") == "array" else _UNKNOWN
    inner = {**scope, variable: element}
    for argument in arguments[1:]:
        _type_of(argument, inner)
    return owner if name == "filter" else _UNKNOWN


def _variable(node: Any) -> str:
    while isinstance(node, lark.Tree) and node.children:
        node = node.children[0]
    return str(node)


def _require_function(name: str) -> None:
    if name not in _FUNCTIONS:
        raise _CompileError(f"undeclared reference to '{name}' (in container '')")
