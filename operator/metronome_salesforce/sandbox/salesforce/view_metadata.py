"""List views, compact layouts and search layouts: the parts of an object that show its fields.

(Metadata API guide, ListView, CompactLayout, SearchLayouts.)
"""

from xml.etree import ElementTree as ET

from metronome_salesforce.sandbox.salesforce.drafts import Component, Draft
from metronome_salesforce.sandbox.salesforce.list_definitions import read_list_view
from metronome_salesforce.sandbox.salesforce.object_metadata import (
    MetadataError,
    check_developer_name,
    check_label,
)
from metronome_salesforce.sandbox.salesforce.packages import children, local_name, text_of
from metronome_salesforce.sandbox.salesforce.schema import LONG_TYPES, SObject
from metronome_salesforce.sandbox.salesforce.view_columns import find_column

_LONGEST_NAME = 40
_MOST_COMPACT = 10
_LONGEST_COMPACT_LABEL = 80
# Salesforce Help, Compact Layouts: what they cannot show.
_NOT_COMPACT = LONG_TYPES | {"TextArea", "MultiselectPicklist"}
_SEARCH_FIELDS = frozenset({
    "customTabListAdditionalFields", "lookupDialogsAdditionalFields", "lookupFilterFields",
    "lookupPhoneDialogsAdditionalFields", "searchFilterFields", "searchResultsAdditionalFields",
})  # fmt: skip
_SEARCH_BUTTONS = frozenset({"listViewButtons", "searchResultsCustomButtons"})
_MOST_SEARCH_FIELDS = 10


def object_of(component: Component, draft: Draft) -> tuple[SObject, str]:
    """The object that holds a part, and the part's own name; raises MetadataError."""
    owner, _, name = component.name.partition(".")
    sobject = draft.schema.get(owner)
    if sobject is None:
        raise MetadataError("Parent entity failed to deploy")
    check_developer_name(name)
    if len(name) > _LONGEST_NAME:
        raise MetadataError(f"Field: fullName, value too large: {name} (max length=40)")
    if draft.checked(component):
        raise MetadataError(f"Field: fullName, value:{name} appears more than once")
    return sobject, name


def check_list_view(component: Component, draft: Draft) -> None:
    """Refuse a list view that could not be shown; raises MetadataError."""
    sobject, _ = object_of(component, draft)
    read_list_view(component.root, sobject, draft.schema)


def check_compact_layout(component: Component, draft: Draft) -> None:
    """Refuse a compact layout with fields that it cannot show; raises MetadataError."""
    sobject, _ = object_of(component, draft)
    check_label(text_of(component.root, "label"), most=_LONGEST_COMPACT_LABEL)
    names = [(each.text or "").strip() for each in children(component.root, "fields")]
    if not 1 <= len(names) <= _MOST_COMPACT:
        raise MetadataError(f"A compact layout must have between 1 and {_MOST_COMPACT} fields")
    for at, name in enumerate(names):
        found = sobject.field(name)
        if found is None or found.name != name:
            raise MetadataError(f"In field: fields - no CustomField named {sobject.name}.{name} "
                                "found")  # fmt: skip
        if found.type in _NOT_COMPACT:
            raise MetadataError(
                f"A compact layout cannot have a field of type {found.type}: {name}"
            )
        if name in names[:at]:
            raise MetadataError(f"Field: fields, value:{name} appears more than once")


def check_assignment(element: ET.Element, sobject: SObject, draft: Draft) -> None:
    """The compact layout that an object names must be one of its own; raises MetadataError."""
    name = text_of(element, "compactLayoutAssignment")
    if name and name != "SYSTEM" and not draft.has("CompactLayout", f"{sobject.name}.{name}"):
        raise MetadataError(
            f"In field: compactLayoutAssignment - no CompactLayout named {sobject.name}.{name} "
            "found"
        )


def check_search_layouts(element: ET.Element, sobject: SObject, draft: Draft) -> None:
    """The fields and buttons of an object's search layouts must exist; raises MetadataError."""
    for layouts in children(element, "searchLayouts"):
        seen: dict[str, list[str]] = {}
        for each in layouts:
            kind, name = local_name(each), (each.text or "").strip()
            listed = seen.setdefault(kind, [])
            if name in listed:
                raise MetadataError(f"Field: {kind}, value:{name} appears more than once")
            listed.append(name)
            if kind in _SEARCH_FIELDS:
                found = find_column(name, sobject, draft.schema)
                if found is None or found.field.type in LONG_TYPES:
                    raise MetadataError(f"In field: {kind} - no CustomField named "
                                        f"{sobject.name}.{name} found")  # fmt: skip
            elif kind in _SEARCH_BUTTONS and not draft.has("WebLink", f"{sobject.name}.{name}"):
                raise MetadataError(f"In field: {kind} - no WebLink named {sobject.name}.{name} "
                                    "found")  # fmt: skip
            if kind in _SEARCH_FIELDS and len(listed) > _MOST_SEARCH_FIELDS:
                raise MetadataError(
                    f"A search layout can have at most {_MOST_SEARCH_FIELDS} fields: {kind}"
                )
