"""A record's page: highlights, the sections of its layout, and its related lists."""

from metronome_salesforce.sandbox.salesforce.pages.account_choice import account_panel
from metronome_salesforce.sandbox.salesforce.pages.icons import object_icon
from metronome_salesforce.sandbox.salesforce.pages.layouts import (
    Layout,
    RelatedList,
    Section,
    column_field,
    compact_fields,
    layout_of,
)
from metronome_salesforce.sandbox.salesforce.pages.markup import Markup, join, tag
from metronome_salesforce.sandbox.salesforce.pages.records import (
    Record,
    find_record,
    order_by,
    select,
)
from metronome_salesforce.sandbox.salesforce.pages.showing import is_number, link
from metronome_salesforce.sandbox.salesforce.pages.tables import pager, table, wanted_page
from metronome_salesforce.sandbox.salesforce.pages.visits import (
    NoPageError,
    Page,
    Visit,
    object_path,
    record_path,
)
from metronome_salesforce.sandbox.salesforce.schema import Field

_SHORT_LIST = 6
_LONG_LIST = 100


def record_page(visit: Visit, record_id: str) -> Page:
    """The page of one record; raises NoPageError."""
    record = find_record(visit, record_id)
    layout = layout_of(visit.state, record.access, visit.user)
    panel = account_panel(visit, record)
    body = join(
        heading(visit, record),
        tag("div", panel.body, class_="beside") if panel else None,
        tag("div", _details(record, layout), class_="main"),
        tag("div", *(_short_list(visit, record, each) for each in layout.related), class_="side"),
    )
    return Page(
        record.name,
        tag("div", body, class_="record"),
        tab=object_path(record.access.sobject.name),
        refresh=panel.refresh if panel else None,
    )


def related_page(visit: Visit, record_id: str, relationship: str) -> Page:
    """All rows of one related list; raises NoPageError."""
    record = find_record(visit, record_id)
    layout = layout_of(visit.state, record.access, visit.user)
    found = next((each for each in layout.related if each.name == relationship), None)
    access = visit.access(found.child) if found else None
    if found is None or access is None:
        raise NoPageError("There is no such related list.")
    where = f"{found.field} = '{record.id}'"
    total = visit.count(found.child, where)
    page = wanted_page(visit, total, _LONG_LIST)
    body = join(
        heading(visit, record),
        tag(
            "section",
            _list_head(visit, record, found, total),
            _rows(visit, found, where, f"LIMIT {_LONG_LIST} OFFSET {(page - 1) * _LONG_LIST}"),
            pager(
                lambda page: record_path(record.id, relationship, page=page),
                page,
                total,
                _LONG_LIST,
            ),
            class_="card",
        ),
    )
    return Page(
        f"{access.sobject.plural} of {record.name}",
        body,
        tab=object_path(record.access.sobject.name),
    )


def heading(visit: Visit, record: Record) -> Markup:
    """The record's icon and name above its highlights, the fields of the compact layout."""
    sobject = record.access.sobject
    names = compact_fields(visit.state, sobject.name)
    fields = [each for name in names if (each := column_field(record.access, name)) is not None]
    highlights = [
        tag("div", tag("dt", each.label), tag("dd", record.cell(each)))
        for each in fields
        if not each.name_field
    ]
    return tag(
        "header",
        object_icon(visit.state, sobject.name),
        tag(
            "div",
            tag("p", link(object_path(sobject.name), sobject.label), class_="kind"),
            tag("h1", link(record_path(record.id), record.name)),
        ),
        tag("dl", *highlights, class_="highlights") if highlights else None,
        class_="card heading",
    )


# --- details ----------------------------------------------------------------------------


def _details(record: Record, layout: Layout) -> Markup:
    sections = [_section(record, each) for each in layout.sections]
    return tag("section", *sections, class_="card details")


def _section(record: Record, section: Section) -> Markup | None:
    columns = [
        tag("dl", *(_item(record, name) for name in column))
        for column in section.columns
        if any(name and column_field(record.access, name) for name in column)
    ]
    if not columns:
        return None
    return join(
        tag("h2", section.label) if section.heading and section.label else None,
        tag("div", *columns, class_="columns"),
    )


def _item(record: Record, name: str | None) -> Markup | None:
    field = column_field(record.access, name) if name else None
    if field is None:
        return None
    label = field.label.removesuffix(" ID") if field.relationship else field.label
    return tag("div", tag("dt", label, _help(field)), tag("dd", record.cell(field)))


def _help(field: Field) -> Markup | None:
    """The field's help text, shown to whoever points at the mark or reaches it by keyboard."""
    if not field.help:
        return None
    name = f"help-{field.name}"
    return tag(
        "span",
        tag("span", "i", class_="mark", tabindex="0", role="note", aria_describedby=name),
        tag("span", field.help, class_="tip", role="tooltip", id=name),
        class_="help",
    )


# --- related lists ----------------------------------------------------------------------


def _short_list(visit: Visit, record: Record, related: RelatedList) -> Markup | None:
    access = visit.access(related.child)
    if access is None or related.field.lower() not in access.fields:
        return None
    where = f"{related.field} = '{record.id}'"
    total = visit.count(related.child, where)
    more = link(record_path(record.id, related.name), "View all", class_="all")
    return tag(
        "section",
        _list_head(visit, record, related, total),
        _rows(visit, related, where, f"LIMIT {_SHORT_LIST}") if total else None,
        tag("footer", more) if total > _SHORT_LIST else None,
        class_="card related",
    )


def _list_head(visit: Visit, record: Record, related: RelatedList, total: int) -> Markup:
    sobject = visit.state.schema.objects[related.child.lower()]
    return tag(
        "h2",
        object_icon(visit.state, sobject.name),
        link(record_path(record.id, related.name), f"{sobject.plural} ({total:,})"),
    )


def _rows(visit: Visit, related: RelatedList, where: str, limit: str) -> Markup | None:
    access = visit.access(related.child)
    if access is None:
        return None
    found = [column_field(access, each) for each in ("NAME", *related.columns)]
    fields = list({each.name: each for each in found if each is not None}.values())
    sort = column_field(access, related.sort) if related.sort else None
    order = order_by(access, sort, descending=related.descending)
    rows = select(visit, access, fields, where, f"{order} {limit}")
    return table(
        [each.label for each in fields],
        [is_number(each.result_type) for each in fields],
        [[row.cell(each, linked=True) for each in fields] for row in rows],
    )
