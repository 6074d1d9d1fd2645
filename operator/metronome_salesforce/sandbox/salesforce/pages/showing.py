"""Values as a person reads them: dates, amounts, ticks, links."""

import re
from decimal import ROUND_HALF_UP, Decimal
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

from metronome_salesforce.sandbox.salesforce.pages.markup import Content, Markup, join, tag
from metronome_salesforce.sandbox.salesforce.pages.visits import record_path
from metronome_salesforce.sandbox.salesforce.schema import API_TYPES, Field

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_NUMBERS = frozenset({"double", "currency", "percent", "int"})
_SHORT_SCALE = 2
_NO_DECIMALS_KNOWN = 6
_DATE_TIME = re.compile(r"(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2})")
_EMPTY = tag("span", "-", class_="empty")


def api_kind(kind: str) -> str:
    """The REST API's name of a type, given by that or by the Metadata API's name."""
    return API_TYPES[kind][0] if kind in API_TYPES else kind.lower()


def is_number(kind: str) -> bool:
    """Whether values of the type stand on the right of their column."""
    return api_kind(kind) in _NUMBERS


def link(href: str, *content: Content, class_: str | None = None) -> Markup:
    """A link within these pages."""
    return tag("a", *content, href=href, class_=class_)


def record_link(record: str | None, name: str | None) -> Markup:
    """A link to a record by its name."""
    if record is None:
        return _EMPTY
    return link(record_path(record), name or record)


def shown(kind: str, value: Any, *, field: Field | None = None) -> Markup:
    """A value of a type; the field, where there is one, tells decimals, labels and links."""
    match api_kind(kind):
        case "boolean":
            return _tick(yes=bool(value))
        case _ if value is None or value == "":
            return _EMPTY
        case "date":
            return tag("time", date_text(str(value)), datetime=str(value)[:10])
        case "datetime":
            return tag("time", moment_text(str(value)), datetime=str(value))
        case "double" | "currency" | "int":
            return join(number_text(value, field.scale if field else None))
        case "percent":
            return join(number_text(value, field.scale if field else None), "%")
        case "picklist":
            return _picklist(str(value), field)
        case "textarea":
            return tag("span", str(value), class_="long")
        case "url":
            return _outward(str(value), str(value))
    if field is not None and field.formula and "HYPERLINK" in field.formula.upper():
        return _hyperlink(str(value))
    return join(str(value))


def date_text(iso: str) -> str:
    """`2026-01-31` as `Jan 31, 2026`; what is no date is left as it is."""
    parts = iso[:10].split("-")
    if len(parts) != 3 or not all(each.isdigit() for each in parts):
        return iso
    year, month, day = parts
    name = _MONTHS[int(month) - 1] if 1 <= int(month) <= 12 else month
    return f"{name} {int(day)}, {year}"


def moment_text(iso: str) -> str:
    """A stored datetime as `Jan 31, 2026, 12:00 UTC`."""
    found = _DATE_TIME.match(iso)
    return f"{date_text(found.group(1))}, {found.group(2)} UTC" if found else iso


def number_text(value: float | str, scale: int | None) -> str:
    """A number with separators: its decimals, but beyond two only as far as they are not zero."""
    exact = Decimal(str(value))
    places = _NO_DECIMALS_KNOWN if scale is None else scale
    exact = exact.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    text = f"{exact:,f}"
    least = 0 if scale is None else min(scale, _SHORT_SCALE)
    whole, point, decimals = text.partition(".")
    decimals = decimals.rstrip("0").ljust(least, "0")
    if scale is None and len(decimals) == 1:
        decimals += "0"
    return f"{whole}{point}{decimals}" if decimals else whole


def _tick(*, yes: bool) -> Markup:
    return tag(
        "span", "✓" if yes else "", class_="tick on" if yes else "tick", role="img",
        aria_label="true" if yes else "false",
    )  # fmt: skip


def _picklist(value: str, field: Field | None) -> Markup:
    labels = {each.value: each.label for each in field.picklist} if field else {}
    return tag("span", labels.get(value, value), class_=f"pill {_tone(value)}".rstrip())


def _tone(value: str) -> str:
    """The colour of a state, for the states whose meaning is good or bad wherever they stand."""
    match value.lower():
        case "succeeded" | "finalized" | "active":
            return "good"
        case "failed" | "refused" | "void":
            return "bad"
        case "partiallyfailed" | "draft" | "running":
            return "soon"
    return ""


class _Anchor(HTMLParser):
    """Takes a HYPERLINK formula's value apart: the API gives it as an `<a>` element."""

    def __init__(self) -> None:
        super().__init__()
        self.href: str | None = None
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a" and self.href is None:
            self.href = dict(attrs).get("href")

    def handle_data(self, data: str) -> None:
        self.text += data


def _hyperlink(value: str) -> Markup:
    anchor = _Anchor()
    anchor.feed(value)
    anchor.close()
    return _outward(anchor.href or "", anchor.text or value)


def _outward(address: str, text: str) -> Markup:
    """A link out of the org: to a web address only, and it is not told where it stood."""
    try:
        scheme = urlsplit(address).scheme
    except ValueError:
        return join(text)
    if scheme not in {"http", "https"}:
        return join(text)
    return tag("a", text, href=address, rel="noopener noreferrer", target="_blank", class_="out")
