"""Reading records for the pages: the fields asked for, and the names of the parents."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from metronome_salesforce.sandbox.salesforce.access import Access
from metronome_salesforce.sandbox.salesforce.pages.markup import Markup, join
from metronome_salesforce.sandbox.salesforce.pages.showing import record_link, shown
from metronome_salesforce.sandbox.salesforce.pages.visits import NoPageError, Visit
from metronome_salesforce.sandbox.salesforce.schema import LONG_TYPES, REFERENCE_TYPES, Field

# Who created or changed a record is shown with the moment.
_MOMENTS = {"CreatedById": "CreatedDate", "LastModifiedById": "LastModifiedDate"}


@dataclass(frozen=True, slots=True)
class Record:
    """A row as the person sees it: `values` is the JSON of a query."""

    access: Access
    id: str
    values: dict[str, Any]

    @property
    def name(self) -> str:
        """The record's name, or its id if it has none."""
        field = self.access.sobject.name_field
        return str(self.values.get(field.name) or self.id) if field else self.id

    def value(self, field: str) -> Any:
        """A field's value, None if the person does not see it."""
        return self.values.get(field)

    def cell(self, field: Field, *, linked: bool = False) -> Markup:
        """The field's value as HTML; with `linked` the name leads to the record."""
        value = self.values.get(field.name)
        if field.type in REFERENCE_TYPES:
            parent = self.values.get(field.relationship or "") or {}
            shown_parent = record_link(value, parent.get("Name"))
            moment = _MOMENTS.get(field.name)
            if moment is None:
                return shown_parent
            return join(shown_parent, ", ", shown("DateTime", self.values.get(moment)))
        if linked and field.name_field:
            return record_link(self.id, self.name)
        return shown(field.type if field.type != "Summary" else "Number", value, field=field)


def find_record(visit: Visit, record: str) -> Record:
    """The record with all fields the person sees; raises NoPageError."""
    found = visit.state.find_object(record)
    access = visit.access(found[0].name) if found else None
    if found is None or access is None:
        raise NoPageError("There is no such record, or no access to it.")
    rows = select(visit, access, access.fields.values(), f"Id = '{found[1]}'")
    if not rows:
        raise NoPageError("There is no such record. It may have been deleted.")
    return rows[0]


def select(
    visit: Visit, access: Access, fields: Iterable[Field], where: str, rest: str = ""
) -> list[Record]:
    """The rows that fulfil a SOQL condition; `rest` is ORDER BY, LIMIT and OFFSET."""
    name_field = access.sobject.name_field
    wanted = {"Id": None, **({name_field.name: None} if name_field else {})}
    for each in fields:
        wanted[each.name] = None
        if each.type in REFERENCE_TYPES and _has_name(visit, each):
            wanted[f"{each.relationship}.Name"] = None
        if each.name in _MOMENTS:
            wanted[_MOMENTS[each.name]] = None
    text = f"SELECT {', '.join(wanted)} FROM {access.sobject.name} WHERE {where} {rest}"  # noqa: S608 -- as the person
    return [Record(access, each["Id"], each) for each in visit.soql(text)]


def order_by(access: Access, field: Field | None, *, descending: bool) -> str:
    """An ORDER BY clause; by name where nothing, or nothing sortable, is given."""
    by = field if field is not None and field.type not in LONG_TYPES else access.sobject.name_field
    name = by.name if by is not None else "Id"
    return f"ORDER BY {name} {'DESC' if descending else 'ASC'} NULLS LAST, Id"


def _has_name(visit: Visit, field: Field) -> bool:
    parent = visit.access(field.reference_to or "")
    return field.relationship is not None and parent is not None and "name" in parent.fields


def quoted(text: str, *, like: bool = False) -> str:
    """A SOQL string literal; for LIKE the wildcards in it stand for themselves."""
    for char in "\\'" + ("%_" if like else ""):
        text = text.replace(char, "\\" + char)
    return text
