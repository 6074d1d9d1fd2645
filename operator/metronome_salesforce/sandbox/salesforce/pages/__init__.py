"""Web pages that show the org to a person: read only, but for the Account of a customer."""

from metronome_salesforce.sandbox.salesforce.pages.routing import ROOT, PageRequest, Pages

__all__ = ["ROOT", "PageRequest", "Pages"]
