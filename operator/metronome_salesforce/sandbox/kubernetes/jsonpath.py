r"""The part of Kubernetes' JSONPath that printer columns use.

Fields (`.status.phase`, `['a.b']`, `.metadata.annotations.example\.com/x`), indexes, `[*]`, and
filters `[?(@.type=="Ready")]`. A missing key gives nothing, it is no error.
Source: Kubernetes documentation, "JSONPath Support".
"""

import json
import operator
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

Step = Callable[[list[Any]], list[Any]]

_TOKEN = re.compile(
    r"""\.(?P<star>\*)
    |\.(?P<field>(?:\\.|[^.\[\\\s])+)
    |\[\s*(?P<quoted>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")\s*\]
    |\[\s*(?P<index>-?\d+)\s*\]
    |\[\s*(?P<all>\*)\s*\]
    |\[\?\(\s*@(?P<path>[^=!<>]*?)\s*(?:(?P<op>==|!=|<=|>=|<|>)\s*(?P<value>[^)]+?)\s*)?\)\]""",
    re.VERBOSE,
)
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _field(name: str) -> Step:
    return lambda values: [
        value[name] for value in values if isinstance(value, dict) and name in value
    ]


def _index(position: int) -> Step:
    return lambda values: [
        value[position]
        for value in values
        if isinstance(value, list) and -len(value) <= position < len(value)
    ]


def _all(values: list[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if isinstance(value, dict):
            found += value.values()
        elif isinstance(value, list):
            found += value
    return found


def _filter(path: str, sign: str | None, literal: str | None) -> Step:
    steps = _steps(path) if path else []
    wanted = _literal(literal) if literal is not None else None

    def holds(item: Any) -> bool:
        found = _run(steps, item)
        if not found:
            return False
        if sign is None:
            return True
        try:
            return _OPERATORS[sign](found[0], wanted)
        except TypeError:
            return False

    return lambda values: [
        item for value in values if isinstance(value, list) for item in value if holds(item)
    ]


def _literal(text: str) -> Any:
    if text[0] == text[-1] == "'" and len(text) > 1:
        return text[1:-1]
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"unrecognized literal in filter: {text}") from error


def _steps(path: str) -> list[Step]:
    steps: list[Step] = []
    position = 0
    while position < len(path):
        found = _TOKEN.match(path, position)
        if not found:
            raise ValueError(f"unrecognized character in action: {path[position:]}")
        position = found.end()
        if found["field"]:
            steps.append(_field(re.sub(r"\\(.)", r"\1", found["field"])))
        elif found["quoted"]:
            steps.append(_field(re.sub(r"\\(.)", r"\1", found["quoted"][1:-1])))
        elif found["index"]:
            steps.append(_index(int(found["index"])))
        elif found["star"] or found["all"]:
            steps.append(_all)
        else:
            steps.append(_filter(found["path"], found["op"], found["value"]))
    return steps


def _run(steps: list[Step], item: Any) -> list[Any]:
    values = [item]
    for step in steps:
        values = step(values)
    return values


@lru_cache(maxsize=512)
def compiled(path: str) -> Callable[[Any], list[Any]]:
    """A function that finds all values under a path; raises ValueError for a bad path."""
    inner = path[1:-1] if path.startswith("{") and path.endswith("}") else path
    if not inner.startswith((".", "[")):
        raise ValueError("must be a simple json path starting with .")
    steps = _steps(inner) if inner != "." else []
    return lambda item: _run(steps, item)


def printed(value: Any) -> str:
    """A map or list in a cell of type string: compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
