"""Tabs, apps and Lightning pages: what leads people to the records.

(Metadata API guide, CustomTab, CustomApplication, FlexiPage.)
"""

import re
from xml.etree import ElementTree as ET

from metronome_salesforce.sandbox.salesforce.drafts import Component, Draft
from metronome_salesforce.sandbox.salesforce.object_metadata import (
    MetadataError,
    check_developer_name,
    check_label,
)
from metronome_salesforce.sandbox.salesforce.packages import children, flag, text_of

_MOTIF = re.compile(r"Custom([1-9]\d{0,2}): \S.*\Z")
_MOST_MOTIFS = 100
_COLOUR = re.compile(r"#[0-9A-Fa-f]{6}\Z")
_TAB_KINDS = (
    "customObject", "flexiPage", "page", "url", "lwcComponent", "auraComponent", "scontrol",
)  # fmt: skip
STANDARD_TABS = frozenset({
    "standard-home", "standard-Account", "standard-Contact", "standard-Lead",
    "standard-Opportunity", "standard-Case", "standard-Campaign", "standard-Task",
    "standard-Event", "standard-Product2", "standard-Contract", "standard-Order",
    "standard-report", "standard-Dashboard", "standard-Feed", "standard-File",
    "standard-CollaborationGroup", "standard-ContentNote", "standard-Document",
})  # fmt: skip


def tab_exists(name: str, draft: Draft) -> bool:
    """Whether there is a tab of that name, of the platform or of the org."""
    return name in STANDARD_TABS or draft.has("CustomTab", name)


def check_tab(component: Component, draft: Draft) -> None:
    """Refuse a tab that leads nowhere; raises MetadataError."""
    element = component.root
    kinds = [each for each in _TAB_KINDS if text_of(element, each) not in {"", "false"}]
    if len(kinds) != 1:
        raise MetadataError("A tab must have exactly one of: " + ", ".join(_TAB_KINDS))
    if kinds == ["customObject"]:
        if not flag(element, "customObject"):
            raise MetadataError("A tab must have exactly one of: " + ", ".join(_TAB_KINDS))
        _check_object_tab(component, draft)
    else:
        check_label(text_of(element, "label"))
        check_developer_name(component.name)
        page = text_of(element, "flexiPage")
        if page and not draft.has("FlexiPage", page):
            raise MetadataError(f"In field: flexiPage - no FlexiPage named {page} found")
    motif = text_of(element, "motif")
    if not motif and not text_of(element, "icon"):
        raise MetadataError("Required field is missing: motif")
    found = _MOTIF.match(motif)
    if motif and (found is None or int(found[1]) > _MOST_MOTIFS):
        raise MetadataError(f"'{motif}' is not a valid value for the motif of a tab")


def _check_object_tab(component: Component, draft: Draft) -> None:
    sobject = draft.schema.get(component.name)
    if sobject is None or not sobject.custom or sobject.metadata_type:
        raise MetadataError(f"Could not find entity {component.name} for custom tab")
    if text_of(component.root, "label"):
        raise MetadataError("Duplicate external id specified for CustomTab")


# --- apps -----------------------------------------------------------------------------------


def check_app(component: Component, draft: Draft) -> None:
    """Refuse an app whose parts are not there; raises MetadataError."""
    element = component.root
    check_developer_name(component.name.removeprefix("standard__"))
    check_label(text_of(element, "label"))
    lightning = text_of(element, "uiType") == "Lightning"
    factors = children(element, "formFactors")
    if lightning and not factors:
        raise MetadataError("FormFactors is required for Lightning apps.")
    if not lightning and (text_of(element, "navType") or text_of(element, "utilityBar")):
        raise MetadataError("navType and utilityBar are for Lightning apps only")
    names = [(each.text or "").strip() for each in children(element, "tabs")]
    for at, name in enumerate(names):
        if name in names[:at]:
            raise MetadataError(f"Field: tabs, value:{name} appears more than once")
        _check_tab_name("tab", name, draft)
    landing = text_of(element, "defaultLandingTab")
    if landing:
        _check_tab_name("defaultLandingTab", landing, draft)
    for brand in children(element, "brand"):
        colour = text_of(brand, "headerColor")
        if colour and not _COLOUR.match(colour):
            raise MetadataError(f"'{colour}' is not a valid value for headerColor")
    _check_utility_bar(text_of(element, "utilityBar"), draft)
    for override in children(element, "actionOverrides"):
        check_override(override, draft)
        target = text_of(override, "pageOrSobjectType")
        if not target.startswith("standard-") and draft.schema.get(target) is None:
            raise MetadataError(f"In field: pageOrSobjectType - no CustomObject named {target} "
                                "found")  # fmt: skip


def _check_tab_name(element: str, name: str, draft: Draft) -> None:
    if not tab_exists(name, draft):
        raise MetadataError(f"In field: {element} - no CustomTab named {name} found")


def _check_utility_bar(name: str, draft: Draft) -> None:
    if not name:
        return
    page = draft.element("FlexiPage", name)
    if page is None:
        raise MetadataError(f"In field: utilityBar - no FlexiPage named {name} found")
    if text_of(page, "type") != "UtilityBar":
        raise MetadataError(
            f"In field: utilityBar - the FlexiPage {name} is not of type UtilityBar"
        )


def check_override(override: ET.Element, draft: Draft) -> None:
    """An action override that opens a Lightning page needs that page; raises MetadataError."""
    if text_of(override, "type") != "Flexipage":
        return
    name, action = text_of(override, "content"), text_of(override, "actionName")
    if not draft.has("FlexiPage", name):
        raise MetadataError(
            f"Lightning page {name} does not exist or is not a valid override for action {action}."
        )
