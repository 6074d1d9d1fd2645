"""Lightning pages: template, regions, and what their components name.

(Metadata API guide, FlexiPage.) The design of a component is known to the platform alone; of those
that a package of plain metadata uses, the properties are listed here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from metronome_salesforce.sandbox.salesforce.drafts import Component, Draft
from metronome_salesforce.sandbox.salesforce.object_metadata import (
    MetadataError,
    check_developer_name,
    check_label,
)
from metronome_salesforce.sandbox.salesforce.packages import children, text_of

_LONGEST_LABEL = 80
# Page type -> prefixes of the templates that it may have.
_TEMPLATES = {
    "UtilityBar": ("one:utilityBarTemplateDesktop",),
    "AppPage": ("flexipage:",),
    "HomePage": ("home:",),
    "RecordPage": ("flexipage:",),
}
_REGIONS = {"UtilityBar": frozenset({"utilityItems", "background"})}
# What every utility bar item may say of itself, beside its component's own properties.
_UTILITY = frozenset({"eager", "height", "icon", "label", "scrollable", "width"})
_PROPERTIES = {
    "flexipage:filterListCard": frozenset({"entityName", "filterName", "pageSize"}),
    "flexipage:richText": frozenset({"decorate", "richTextValue"}),
    "flexipage:reportChart": frozenset({"cacheAge", "label", "reportName", "showRefreshButton"}),
    "flexipage:recentItems": frozenset({"entityNames"}),
    "home:recentRecordContainer": frozenset(),
}
_NAMESPACES = frozenset({
    "flexipage", "force", "forceChatter", "home", "lightning", "one", "record_flexipage",
    "runtime_sales_activities", "runtime_sales_pathassistant", "desktopDashboards",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class PageComponent:
    """A component on a page, and its properties by name (a list of values joined by commas)."""

    name: str
    properties: dict[str, str]
    facets: frozenset[str]


def check_page(component: Component, draft: Draft) -> None:
    """Refuse a Lightning page that could not be opened; raises MetadataError."""
    element = component.root
    check_developer_name(component.name)
    check_label(text_of(element, "masterLabel"), "masterLabel", _LONGEST_LABEL)
    kind = text_of(element, "type")
    _check_template(element, kind)
    sobject = text_of(element, "sobjectType")
    if kind == "RecordPage" and draft.schema.get(sobject) is None:
        raise MetadataError(f"In field: sobjectType - no CustomObject named {sobject} found")
    _check_regions(element, kind)
    for each in page_components(element):
        _check_component(each, kind, draft)


def _check_template(element: ET.Element, kind: str) -> None:
    name = "".join(text_of(each, "name") for each in children(element, "template"))
    prefixes = _TEMPLATES.get(kind, ())
    if prefixes and not name.startswith(prefixes):
        raise MetadataError(f"The template {name} is not valid for a Lightning page of type {kind}")


def _check_regions(element: ET.Element, kind: str) -> None:
    regions: dict[str, str] = {}
    for each in children(element, "flexiPageRegions"):
        name = text_of(each, "name")
        if name in regions:
            raise MetadataError(f"Field: flexiPageRegions, value:{name} appears more than once")
        regions[name] = text_of(each, "type")
    known = _REGIONS.get(kind)
    for name, region in regions.items():
        if region == "Region" and known is not None and name not in known:
            raise MetadataError(f"The region {name} is not defined in the template of the page")
    if "Region" not in regions.values():
        raise MetadataError("Required field is missing: flexiPageRegions")
    used = {facet for each in page_components(element) for facet in each.facets}
    for name, region in regions.items():
        if region == "Facet" and name not in used:
            raise MetadataError(
                f"The facet {name} is defined by a component in the FlexiPage but not actually "
                "used."
            )


def page_components(page: ET.Element) -> Iterator[PageComponent]:
    """The components of all regions of a page, in order."""
    for region in children(page, "flexiPageRegions"):
        for item in children(region, "itemInstances"):
            for each in children(item, "componentInstance"):
                properties = {
                    text_of(one, "name"): _value(one)
                    for one in children(each, "componentInstanceProperties")
                }
                facets = frozenset(
                    value for value in properties.values() if value.startswith("Facet-")
                )
                yield PageComponent(text_of(each, "componentName"), properties, facets)


def _value(element: ET.Element) -> str:
    listed = [
        text_of(item, "value")
        for values in children(element, "valueList")
        for item in children(values, "valueListItems")
    ]
    return ",".join(listed) if listed else text_of(element, "value")


def _check_component(each: PageComponent, kind: str, draft: Draft) -> None:
    namespace, _, name = each.name.partition(":")
    own = namespace == "c" and any(
        one.startswith(f"{name}/") for one in draft.names("LightningComponentBundle")
    )
    if not own and (namespace not in _NAMESPACES or not name):
        raise MetadataError(
            f"We couldn't retrieve the design time component information for component {each.name}."
        )
    allowed = _PROPERTIES.get(each.name)
    if allowed is not None:
        extra = _UTILITY if kind == "UtilityBar" else frozenset()
        for unknown in sorted(set(each.properties) - allowed - extra):
            raise MetadataError(f"Invalid property [{unknown}] in component [{each.name}]")
    _check_entity(each, draft)


def _check_entity(each: PageComponent, draft: Draft) -> None:
    """Objects, list views and reports that a component's properties name."""
    entity, view = (each.properties.get(name, "") for name in ("entityName", "filterName"))
    if entity and draft.schema.get(entity) is None:
        raise MetadataError(f"In field: entityName - no CustomObject named {entity} found in "
                            f"component [{each.name}]")  # fmt: skip
    if entity and view and not draft.has("ListView", f"{entity}.{view}"):
        raise MetadataError(f"In field: filterName - no ListView named {entity}.{view} found in "
                            f"component [{each.name}]")  # fmt: skip
