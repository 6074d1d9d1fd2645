"""A web page as its reader meets it: elements, what they say, where links and forms lead."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser

_VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})


class Element:
    """An element of a page, with its text and its elements in order."""

    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag = tag
        self.attributes = attributes
        self.children: list[Element | str] = []

    def walk(self) -> Iterator[Element]:
        """All elements below, in the order of the page."""
        for each in self.children:
            if isinstance(each, Element):
                yield each
                yield from each.walk()

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """The elements of that tag; `class_` is one of the classes."""
        return [each for each in self.walk() if each.tag == tag and each.has(attributes)]

    def one(self, tag: str, **attributes: str) -> Element:
        """The only element of that kind."""
        found = self.all(tag, **attributes)
        assert len(found) == 1, f"{len(found)} {tag} with {attributes}"
        return found[0]

    def has(self, attributes: dict[str, str]) -> bool:
        """Whether the element has these attributes."""
        return all(
            value in self.attributes.get("class", "").split()
            if name == "class_"
            else self.attributes.get(name) == value
            for name, value in attributes.items()
        )

    @property
    def text(self) -> str:
        """What is read in the element, spaces as one; marks with a tip are left out."""
        return " ".join(self._raw().split())

    def _raw(self) -> str:
        if self.attributes.get("class") == "help":
            return ""
        inside = "".join(each if isinstance(each, str) else each._raw() for each in self.children)
        return inside if self.tag in {"span", "a", "b", "strong", "time"} else f" {inside} "

    def __getitem__(self, name: str) -> str:
        return self.attributes[name]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Element("", {})
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self._open[-1].children.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self._open[-1].tag == tag, f"</{tag}> closes <{self._open[-1].tag}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)

    def finish(self) -> Element:
        self.close()
        assert self._open == [self.root], "an element is not closed"
        return self.root


def read_page(html: str) -> Element:
    """The page; every element must be closed where it should."""
    assert html.startswith("<!doctype html>")
    return read_elements(html)


def read_elements(html: str) -> Element:
    """The elements of some HTML."""
    reader = _Reader()
    reader.feed(html)
    return reader.finish()


def rows_of(table: Element) -> list[list[str]]:
    """The texts of a table's body, row by row."""
    body = table.one("tbody")
    return [
        [cell.text for cell in row.walk() if cell.tag in {"td", "th"}] for row in body.all("tr")
    ]


def heads_of(table: Element) -> list[str]:
    """The texts of a table's head."""
    return [each.text for each in table.one("thead").all("th")]


def terms_of(element: Element) -> dict[str, str]:
    """Labels and values of the description lists in an element."""
    terms = [each.text for each in element.all("dt")]
    return dict(zip(terms, [each.text for each in element.all("dd")], strict=True))
