"""Page layouts: their fields, and the related lists below them (Metadata API guide, Layout).

The platform reports one problem of a layout at a time, so the first one is what is raised.
"""

from collections.abc import Iterator
from xml.etree import ElementTree as ET

from metronome_salesforce.sandbox.salesforce.drafts import Component, Draft
from metronome_salesforce.sandbox.salesforce.object_metadata import MetadataError, check_length
from metronome_salesforce.sandbox.salesforce.packages import children, text_of
from metronome_salesforce.sandbox.salesforce.schema import LONG_TYPES, Field, SObject
from metronome_salesforce.sandbox.salesforce.view_columns import find_column

_LONGEST_LABEL = 80
_COLUMNS = {
    "OneColumn": 1, "TwoColumnsTopToBottom": 2, "TwoColumnsLeftToRight": 2, "CustomLinks": 3,
}  # fmt: skip
_MOST_LIST_FIELDS = 10
# Related lists that come with the platform; all others are `Child__c.Lookup__c`.
_STANDARD_LISTS = frozenset({
    "RelatedActivityList", "RelatedHistoryList", "RelatedNoteList", "RelatedFileList",
    "RelatedContentNoteList", "RelatedEntityHistoryList", "RelatedProcessHistoryList",
})  # fmt: skip
# Actions that come with the platform; all others are components of their own.
_STANDARD_ACTIONS = frozenset({
    "LogACall", "NewTask", "NewEvent", "NewContact", "NewCase", "NewLead", "NewOpportunity",
    "NewAccount", "SendEmail",
})  # fmt: skip


def check_layout(component: Component, draft: Draft) -> None:
    """Refuse a layout that the platform would; raises MetadataError."""
    sobject = _object(component, draft)
    seen: set[str] = set()
    for section in children(component.root, "layoutSections"):
        _check_columns(section)
        for item in _items(section):
            name = text_of(item, "field")
            if not name:
                continue
            if name in seen:
                raise MetadataError(f"Field: field, value:{name} appears more than once")
            seen.add(name)
            _check_item(name, text_of(item, "behavior") or "Edit", sobject)
    for each in sobject.fields.values():
        if _required(each, sobject) and each.name not in seen:
            raise MetadataError(
                f"Layout must contain an item for required layout field: {each.name}"
            )
    _check_actions(component.root, sobject, draft)
    _check_related_lists(component.root, sobject, draft)


def _object(component: Component, draft: Draft) -> SObject:
    """The object that the layout's name begins with."""
    name, dash, label = component.name.partition("-")
    sobject = draft.schema.get(name)
    if not dash or not label:
        raise MetadataError(
            f"The full name of a layout must be the object and the label: {component.name}"
        )
    if sobject is None:
        raise MetadataError("Parent entity failed to deploy")
    check_length(label, "Name", _LONGEST_LABEL)
    return sobject


# --- fields ---------------------------------------------------------------------------------


def _check_columns(section: ET.Element) -> None:
    style, found = text_of(section, "style"), len(children(section, "layoutColumns"))
    wanted = _COLUMNS.get(style, found)
    if found != wanted:
        raise MetadataError(
            f"A layout section of style {style} must have {wanted} layoutColumns, not {found}"
        )


def _items(section: ET.Element) -> Iterator[ET.Element]:
    for column in children(section, "layoutColumns"):
        yield from children(column, "layoutItems")


def _check_item(name: str, behavior: str, sobject: SObject) -> None:
    field = sobject.field(name)
    if field is None or field.name != name:
        raise MetadataError(f"In field: field - no CustomField named {sobject.name}.{name} found")
    if _required(field, sobject) and behavior != "Required":
        raise MetadataError(f"Field:{name} must be Required")
    if _read_only(field) and behavior != "Readonly":
        raise MetadataError(f"Field:{name} must be Readonly")


def _required(field: Field, sobject: SObject) -> bool:
    """Whether the page would be of no use without the field."""
    if field.name_field:
        return field.type == "Text" and field.createable and not field.calculated
    return field.custom and (field.required or field in sobject.masters)


def _read_only(field: Field) -> bool:
    return field.calculated or field.type == "AutoNumber" or not field.createable


# --- actions and related lists ---------------------------------------------------------------


def _check_actions(element: ET.Element, sobject: SObject, draft: Draft) -> None:
    for name in _texts(element, "customButtons"):
        _check_button(name, sobject, draft)
    for actions in children(element, "quickActionList"):
        for item in children(actions, "quickActionListItems"):
            name = text_of(item, "quickActionName")
            standard = name in _STANDARD_ACTIONS or name.startswith("FeedItem.")
            if not standard and not draft.has("QuickAction", name):
                raise MetadataError(f"In field: QuickAction - no QuickAction named {name} found")


def _check_button(name: str, sobject: SObject, draft: Draft) -> None:
    if not draft.has("WebLink", f"{sobject.name}.{name}"):
        raise MetadataError(
            f"In field: customButtons - no WebLink named {sobject.name}.{name} found"
        )


def _check_related_lists(element: ET.Element, sobject: SObject, draft: Draft) -> None:
    seen: set[str] = set()
    for each in children(element, "relatedLists"):
        name = text_of(each, "relatedList")
        if name in seen:
            raise MetadataError(f"Field: relatedLists, value:{name} appears more than once")
        seen.add(name)
        if name in _STANDARD_LISTS:
            continue
        child = _child(name, sobject, draft)
        if child is None:
            raise MetadataError(f"Cannot find related list:{name}")
        _check_list_fields(each, name, child, draft)
        for button in _texts(each, "customButtons"):
            _check_button(button, child, draft)


def _child(name: str, sobject: SObject, draft: Draft) -> SObject | None:
    """The object whose rows the list shows: its reference must have a relationship name."""
    owner, _, reference = name.partition(".")
    for each in draft.schema.children(sobject.name):
        if each.name and each.child.name == owner and each.field.name == reference:
            return each.child
    return None


def _check_list_fields(each: ET.Element, name: str, child: SObject, draft: Draft) -> None:
    columns = _texts(each, "fields")
    if len(columns) > _MOST_LIST_FIELDS:
        raise MetadataError(f"A related list can have at most {_MOST_LIST_FIELDS} fields: {name}")
    for at, column in enumerate(columns):
        if column in columns[:at]:
            raise MetadataError(f"Field: fields, value:{column} appears more than once")
    sorted_by = text_of(each, "sortField")
    for column in [*columns, *([sorted_by] if sorted_by else [])]:
        found = find_column(column, child, draft.schema)
        if found is None or found.field.type in LONG_TYPES:
            raise MetadataError(f"Invalid field:{column} in related list:{name}")


def _texts(element: ET.Element, name: str) -> list[str]:
    return [(each.text or "").strip() for each in children(element, name)]
