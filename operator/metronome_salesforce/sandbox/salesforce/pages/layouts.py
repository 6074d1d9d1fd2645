"""Layouts, compact layouts and related lists as they are deployed in the org.

An object without a layout in the org (the package brings none for Account) gets one that shows all
that the person may see, with a related list for each relationship that has a name (Metadata API,
Layout and CompactLayout).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from metronome_salesforce.sandbox.salesforce.access import Access, User
from metronome_salesforce.sandbox.salesforce.core import OrgState
from metronome_salesforce.sandbox.salesforce.packages import children, flag, text_of
from metronome_salesforce.sandbox.salesforce.schema import Field

_ONE_COLUMN = "OneColumn"
_LINKS = "CustomLinks"
_NEVER = frozenset({"id", "isdeleted", "systemmodstamp", "masterrecordid", "sync_hash__c"})
_SYSTEM = ("OwnerId", "CreatedById", "LastModifiedById")
_COVERED = frozenset({"ownerid", "createdbyid", "createddate", "lastmodifiedbyid",
                      "lastmodifieddate"})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Section:
    """A section of a record page: names of fields by column, None for an empty space."""

    label: str
    columns: tuple[tuple[str | None, ...], ...]
    heading: bool = True


@dataclass(frozen=True, slots=True)
class RelatedList:
    """Rows whose lookup `field` points to the record; columns as the layout names them."""

    child: str
    field: str
    name: str
    columns: tuple[str, ...]
    sort: str | None = None
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """What a record page shows, and in which order."""

    sections: tuple[Section, ...]
    related: tuple[RelatedList, ...]


def layout_of(state: OrgState, access: Access, user: User) -> Layout:
    """The deployed layout of the object, or one made of all its fields."""
    prefix = f"{access.sobject.name.lower()}-"
    for (kind, name), stored in state.components.items():
        if kind == "Layout" and name.lower().startswith(prefix):
            return _deployed(state, ET.fromstring(stored.content))  # noqa: S314 -- as deployed
    return Layout(tuple(_all_fields(access)), tuple(_all_children(state, access, user)))


def compact_fields(state: OrgState, sobject: str) -> tuple[str, ...]:
    """The fields of the compact layout that is assigned to the object."""
    stored = state.components.get(("CustomObject", sobject))
    assigned = ""
    if stored is not None:
        own = ET.fromstring(stored.content)  # noqa: S314 -- as deployed
        assigned = text_of(own, "compactLayoutAssignment")
    compact = state.components.get(("CompactLayout", f"{sobject}.{assigned}"))
    if compact is None:
        return ()
    element = ET.fromstring(compact.content)  # noqa: S314 -- as deployed
    return tuple((each.text or "").strip() for each in children(element, "fields"))


def column_field(access: Access, column: str) -> Field | None:
    """The field that a layout's column names, or None if the person does not see it."""
    known = {
        "NAME": access.sobject.name_field.name if access.sobject.name_field else "Name",
        "CREATED_DATE": "CreatedDate", "LAST_UPDATE": "LastModifiedDate",
        "CREATEDBY_USER": "CreatedById", "UPDATEDBY_USER": "LastModifiedById",
        "CREATEDBY_USER.ALIAS": "CreatedById", "UPDATEDBY_USER.ALIAS": "LastModifiedById",
        "OWNER.ALIAS": "OwnerId", "CORE.USERS.ALIAS": "OwnerId",
    }  # fmt: skip
    name = known.get(column.upper(), column).rpartition(".")[2]
    return access.fields.get(name.lower())


def _deployed(state: OrgState, element: ET.Element) -> Layout:
    sections = [
        Section(
            text_of(each, "label"),
            tuple(_items(column) for column in children(each, "layoutColumns")),
            heading=flag(each, "detailHeading", default=True),
        )
        for each in children(element, "layoutSections")
        if text_of(each, "style") != _LINKS
    ]
    return Layout(tuple(sections), tuple(_related(state, element)))


def _items(column: ET.Element) -> tuple[str | None, ...]:
    return tuple(text_of(each, "field") or None for each in children(column, "layoutItems"))


def _related(state: OrgState, element: ET.Element) -> Iterator[RelatedList]:
    for each in children(element, "relatedLists"):
        child, _, field = text_of(each, "relatedList").partition(".")
        sobject = state.schema.get(child)
        reference = sobject.field(field) if sobject else None
        if sobject is None or reference is None:
            continue  # activities, notes and history: the org has none
        yield RelatedList(
            sobject.name,
            reference.name,
            reference.children or reference.name,
            tuple((one.text or "").strip() for one in children(each, "fields")),
            text_of(each, "sortField") or None,
            descending=text_of(each, "sortOrder") == "Desc",
        )


# --- without a layout -------------------------------------------------------------------


def _all_fields(access: Access) -> Iterator[Section]:
    fields = [each for key, each in access.fields.items() if key not in _NEVER | _COVERED]
    standard = [each.name for each in fields if not each.custom]
    custom = [each.name for each in fields if each.custom]
    yield _in_two_columns(f"{access.sobject.label} Information", standard)
    if custom:
        words = {name.partition("_")[0] for name in custom}
        yield _in_two_columns(
            words.pop() if len(words) == 1 and standard else "Additional Information", custom
        )
    system = [name for name in _SYSTEM if name.lower() in access.fields]
    yield _in_two_columns("System Information", system)


def _in_two_columns(label: str, names: list[str]) -> Section:
    half = (len(names) + 1) // 2
    return Section(label, (tuple(names[:half]), tuple(names[half:])))


def _all_children(state: OrgState, access: Access, user: User) -> Iterator[RelatedList]:
    """A list for each named relationship, with the columns that other layouts give the child."""
    known = {
        one.child: one
        for (kind, _), stored in state.components.items()
        if kind == "Layout"
        for one in _related(state, ET.fromstring(stored.content))  # noqa: S314 -- as deployed
    }
    for each in state.schema.children(access.sobject.name):
        seen = state.access(each.child.name, user)
        if each.name is None or seen is None or each.field.name.lower() not in seen.fields:
            continue
        like = known.get(each.child.name)
        columns = like.columns if like else compact_fields(state, each.child.name) or ("NAME",)
        yield RelatedList(
            each.child.name,
            each.field.name,
            each.name,
            columns,
            like.sort if like else None,
            descending=bool(like and like.descending),
        )
