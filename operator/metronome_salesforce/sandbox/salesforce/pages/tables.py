"""Tables of records, and paging through long ones."""

from collections.abc import Callable, Iterable, Sequence

from metronome_salesforce.sandbox.salesforce.pages.markup import Content, Markup, tag
from metronome_salesforce.sandbox.salesforce.pages.showing import link
from metronome_salesforce.sandbox.salesforce.pages.visits import NoPageError, Visit


def table(
    heads: Sequence[Content], numeric: Sequence[bool], rows: Iterable[Sequence[Content]]
) -> Markup:
    """A table that a narrow screen may scroll sideways; numbers stand on the right."""
    sides = ["number" if each else None for each in numeric]
    head = tag(
        "tr",
        *(tag("th", one, class_=side, scope="col") for one, side in zip(heads, sides, strict=True)),
    )
    body = [
        tag("tr", *(tag("td", cell, class_=side) for cell, side in zip(row, sides, strict=True)))
        for row in rows
    ]
    return tag(
        "div", tag("table", tag("thead", head), tag("tbody", *body)), class_="scroll", tabindex="0"
    )


def wanted_page(visit: Visit, total: int, size: int) -> int:
    """The number of the page that is asked for, from 1; raises NoPageError beyond the last."""
    given = visit.query.get("page", "1")
    page = int(given) if given.isascii() and given.isdigit() and len(given) < 9 else 0
    if not 1 <= page <= max(1, -(-total // size)):
        raise NoPageError("There is no such page of the list.")
    return page


def pager(href: Callable[[int], str], page: int, total: int, size: int) -> Markup | None:
    """Links to the pages before and after; nothing if there is one page only."""
    if total <= size:
        return None
    last = -(-total // size)
    first_row = (page - 1) * size + 1
    return tag(
        "nav",
        link(href(page - 1), "Previous") if page > 1 else tag("span", "Previous"),
        tag("span", f"{first_row:,} to {min(page * size, total):,} of {total:,}", class_="where"),
        link(href(page + 1), "Next") if page < last else tag("span", "Next"),
        class_="pager",
        aria_label="Pages",
    )
