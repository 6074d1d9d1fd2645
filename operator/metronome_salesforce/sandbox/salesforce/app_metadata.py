"""Tabs from their metadata (Metadata API guide, CustomTab)."""

from metronome_salesforce.sandbox.salesforce.drafts import Component, Draft
from metronome_salesforce.sandbox.salesforce.object_metadata import MetadataError
from metronome_salesforce.sandbox.salesforce.packages import flag, text_of


def check_tab(component: Component, draft: Draft) -> None:
    """Refuse a tab whose object is not there; raises MetadataError."""
    element = component.root
    if not flag(element, "customObject"):
        return
    if draft.schema.get(component.name) is None:
        raise MetadataError(f"Could not find entity {component.name} for custom tab")
    if text_of(element, "label"):
        raise MetadataError("Duplicate external id specified for CustomTab")
