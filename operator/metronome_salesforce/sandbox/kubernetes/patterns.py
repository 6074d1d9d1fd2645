"""Regular expressions as the server runs them: RE2, searched anywhere in the text.

RE2 has no lookaround and no backreferences; a schema that uses them is refused.
"""

from functools import lru_cache
from typing import Any

# google-re2, which cel-python requires, ships no stubs.
import re2  # type: ignore[import-untyped]


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


def problem(pattern: str) -> str:
    """Why a pattern cannot be used; empty if it can."""
    try:
        _compiled(pattern)
    except re2.error as error:
        return str(error.args[0] if error.args else error)
    return ""


def found(pattern: str, text: str) -> bool:
    """Whether the pattern occurs in the text."""
    return _compiled(pattern).search(text) is not None


def first(pattern: str, text: str) -> str:
    """The first occurrence; empty if there is none."""
    match = _compiled(pattern).search(text)
    return str(match.group()) if match is not None else ""
