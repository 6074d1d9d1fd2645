"""An object's list views as tables, each row a link to its record."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from metronome_salesforce.sandbox.salesforce.access import Access
from metronome_salesforce.sandbox.salesforce.exceptions import SalesforceError
from metronome_salesforce.sandbox.salesforce.listviews import (
    ListViewResult,
    ViewColumn,
    ViewRow,
    list_views,
    run_list_view,
)
from metronome_salesforce.sandbox.salesforce.pages.icons import object_icon
from metronome_salesforce.sandbox.salesforce.pages.layouts import column_field, compact_fields
from metronome_salesforce.sandbox.salesforce.pages.markup import Content, Markup, tag
from metronome_salesforce.sandbox.salesforce.pages.records import Record, order_by, select
from metronome_salesforce.sandbox.salesforce.pages.showing import (
    is_number,
    link,
    record_link,
    shown,
)
from metronome_salesforce.sandbox.salesforce.pages.tables import pager, table, wanted_page
from metronome_salesforce.sandbox.salesforce.pages.visits import (
    NoPageError,
    Page,
    Visit,
    object_path,
)
from metronome_salesforce.sandbox.salesforce.schema import REFERENCE_TYPES

_SIZE = 50
_LONGEST_SEARCH = 80
_BUILT_IN = "AllRecords"


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the address asks for: a view, words to search for, a column to sort by."""

    view: str
    words: str
    sort: str | None
    descending: bool


def list_page(visit: Visit, sobject: str) -> Page:
    """The list view that is asked for, or the first; raises NoPageError."""
    access = visit.access(sobject)
    if access is None:
        raise NoPageError("There is no such object, or no access to it.")
    views = dict(list_views(visit.state, access.sobject.name))
    views = views or {_BUILT_IN: f"All {access.sobject.plural}"}
    asked = _asked(visit, views)
    listing = _run(visit, access, asked.view)
    rows = _sorted(listing, _matching(listing, asked.words), asked)
    page = wanted_page(visit, len(rows), _SIZE)
    here = rows[(page - 1) * _SIZE : page * _SIZE]
    body = tag(
        "section",
        _head(visit, access, listing.label, len(rows)),
        tag("div", _picker(access, views, asked), _search(access, asked), class_="tools"),
        _table(
            visit, listing, here, [_column_head(access, each, asked) for each in listing.columns]
        ),
        None if rows else tag("p", "No records.", class_="note"),
        pager(lambda number: _href(access, asked, page=number), page, len(rows), _SIZE),
        class_="card list",
    )
    return Page(
        f"{listing.label} | {access.sobject.plural}", body, tab=object_path(access.sobject.name)
    )


def _asked(visit: Visit, views: dict[str, str]) -> _Asked:
    first = next((name for name in views if name.startswith("All")), next(iter(views)))
    view = visit.query.get("view", first)
    if view not in views:
        raise NoPageError("There is no such list view.")
    sort = visit.query.get("sort", "")
    return _Asked(
        view,
        visit.query.get("q", "").strip()[:_LONGEST_SEARCH],
        sort.removeprefix("-") or None,
        sort.startswith("-"),
    )


def _href(access: Access, asked: _Asked, **more: str | int | None) -> str:
    sort = f"{'-' if asked.descending else ''}{asked.sort}" if asked.sort else None
    query: dict[str, str | int | None] = {
        "view": asked.view, "q": asked.words or None, "sort": sort, **more
    }  # fmt: skip
    return object_path(access.sobject.name, **query)


# --- rows -------------------------------------------------------------------------------


def _run(visit: Visit, access: Access, view: str) -> ListViewResult:
    if view != _BUILT_IN:
        try:
            return run_list_view(visit.state, visit.user, access.sobject.name, view)
        except SalesforceError as error:
            raise NoPageError(error.message) from error
    # An object without list views in the org, as Account: its name and what is custom.
    names = compact_fields(visit.state, access.sobject.name)
    fields = [column_field(access, name) for name in names]
    known = [each for each in fields if each] or [
        each for each in access.fields.values() if each.custom or each.name_field
    ]
    known.sort(key=lambda each: not each.name_field)
    records = select(visit, access, known, "Id != null", order_by(access, None, descending=False))
    return ListViewResult(
        access.sobject.name,
        view,
        f"All {access.sobject.plural}",
        tuple(ViewColumn(each.name, each.label, each.result_type) for each in known),
        tuple(
            ViewRow(row.id, tuple(_plain(row, each.name) for each in known)) for row in records
        ),
    )  # fmt: skip


def _plain(row: Record, name: str) -> Any:
    field = row.access.fields[name.lower()]
    if field.type in REFERENCE_TYPES:
        return (row.value(field.relationship or "") or {}).get("Name")
    return row.value(name)


def _matching(listing: ListViewResult, words: str) -> list[ViewRow]:
    """The rows in which some text contains the words."""
    wanted = words.casefold()
    return [
        row
        for row in listing.rows
        if not wanted
        or any(isinstance(one, str) and wanted in one.casefold() for one in row.values)
    ]


def _sorted(listing: ListViewResult, rows: list[ViewRow], asked: _Asked) -> list[ViewRow]:
    """The rows by the column asked for, empty values at the end; else in the view's order."""
    at = next((i for i, each in enumerate(listing.columns) if each.name == asked.sort), None)
    if at is None:
        return rows
    filled = [row for row in rows if row.values[at] is not None]
    empty = [row for row in rows if row.values[at] is None]

    def by(row: ViewRow) -> Any:
        value = row.values[at]
        return value.casefold() if isinstance(value, str) else value

    return sorted(filled, key=by, reverse=asked.descending) + empty


# --- what is seen -----------------------------------------------------------------------


def _head(visit: Visit, access: Access, label: str, count: int) -> Markup:
    return tag(
        "header",
        object_icon(visit.state, access.sobject.name),
        tag(
            "div",
            tag("p", access.sobject.plural, class_="kind"),
            tag("h1", label),
            tag("p", "1 item" if count == 1 else f"{count:,} items", class_="count"),
        ),
        class_="heading",
    )


def _picker(access: Access, views: dict[str, str], asked: _Asked) -> Markup:
    links = [
        tag("a", label, href=object_path(access.sobject.name, view=name),
            aria_current="true" if name == asked.view else None)
        for name, label in views.items()
    ]  # fmt: skip
    return tag("nav", *links, class_="views", aria_label="List views")


def _search(access: Access, asked: _Asked) -> Markup:
    return tag(
        "form",
        tag("input", type="hidden", name="view", value=asked.view),
        tag("input", type="search", name="q", value=asked.words, placeholder="Search this list",
            aria_label="Search this list", maxlength=_LONGEST_SEARCH),
        tag("button", "Search", class_="button"),
        action=object_path(access.sobject.name), method="get", role="search", class_="search",
    )  # fmt: skip


def view_table(visit: Visit, listing: ListViewResult) -> Markup:
    """A list view's rows as a table that cannot be sorted."""
    return _table(visit, listing, listing.rows, [each.label for each in listing.columns])


def _table(
    visit: Visit, listing: ListViewResult, rows: Sequence[ViewRow], heads: Sequence[Content]
) -> Markup:
    access = visit.access(listing.object)
    if access is None:
        raise NoPageError("There is no such object, or no access to it.")
    parents = _parents(visit, access, listing, rows)
    body = [
        [_cell(access, each, row, at, parents) for at, each in enumerate(listing.columns)]
        for row in rows
    ]
    return table(heads, [is_number(each.type) for each in listing.columns], body)


def _column_head(access: Access, column: ViewColumn, asked: _Asked) -> Markup:
    chosen = column.name == asked.sort
    sort = f"-{column.name}" if chosen and not asked.descending else column.name
    mark = (" ↓" if asked.descending else " ↑") if chosen else ""
    return link(_href(access, asked, sort=sort), column.label + mark)


def _cell(
    access: Access, column: ViewColumn, row: ViewRow, at: int, parents: dict[str, Record]
) -> Content:
    value, field = row.values[at], column_field(access, column.name)
    if field is None:
        return shown(column.type, value)
    if field.name_field:
        return record_link(row.id, str(value))
    if field.type in REFERENCE_TYPES and row.id in parents:
        return parents[row.id].cell(field)
    return shown(field.result_type, value, field=field)


def _parents(
    visit: Visit, access: Access, listing: ListViewResult, rows: Sequence[ViewRow]
) -> dict[str, Record]:
    """The records of the rows by id, where a column is a lookup: a view gives no ids of parents."""
    fields = [column_field(access, each.name) for each in listing.columns]
    lookups = [each for each in fields if each and each.type in REFERENCE_TYPES]
    if not lookups or not rows:
        return {}
    ids = ", ".join(f"'{row.id}'" for row in rows)
    return {each.id: each for each in select(visit, access, lookups, f"Id IN ({ids})")}
