"""HTML that cannot be forgotten to be escaped.

Only what `tag` and `join` made is taken as HTML; every other string, wherever it came from, is text
and is escaped where it is put in. So a record called `<script>` is a record with a funny name.
"""

from html import escape

_VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})


class Markup(str):
    """Text that is HTML already; made by the functions below only."""

    __slots__ = ()


Content = str | int | None
"""What stands inside an element: HTML, text to be escaped, or None for nothing."""


def join(*parts: Content) -> Markup:
    """The parts one after the other, text escaped."""
    return Markup("".join(_piece(part) for part in parts))


def tag(name: str, /, *content: Content, **attributes: str | float | bool | None) -> Markup:
    """An element.

    In the names of attributes `_` stands for `-`, and one at the end is dropped (`class_`). True
    gives an attribute without a value; False and None give none.
    """
    head = name + "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID and not content:
        return Markup(f"<{head}>")
    return Markup(f"<{head}>{join(*content)}</{name}>")


def _piece(part: Content) -> str:
    if part is None:
        return ""
    return str(part) if isinstance(part, Markup) else escape(str(part))


def _attribute(key: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
