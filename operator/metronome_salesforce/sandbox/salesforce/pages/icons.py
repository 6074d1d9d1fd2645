"""Small pictures for objects, in the colours of their tabs' motifs.

The drawings are our own: a motif's colour tells tabs apart as in Salesforce, and a few words in its
name or in the object's choose what is drawn.
"""

import re

from metronome_salesforce.sandbox.salesforce.core import OrgState
from metronome_salesforce.sandbox.salesforce.pages.apps import motif_of
from metronome_salesforce.sandbox.salesforce.pages.markup import Markup, tag

# The background of the motifs Custom1 to Custom100 (Lightning Design System, custom icons).
_MOTIFS = (
    "ff7b84cfd05cecb46ce1d9519fdb6654c4736a89e550ceb96b9ee26488e3"
    "8784eadc71d1df61843cc2b3f77e75e9af67acd3604dca763abeb148c7c8"
    "8a7aed8b85f9b070e6e56798e46fbe7698f05ab0d289c059bdd25ff59f71"
    "eb687f38c39397cf5dd58a6ae9637ed472d48c89f253b6d74fbe7583c75e"
    "43b5b5cfd05b7f93f9c8ca58d9587967a5e75fcc64ef697fe25c8049bcd3"
    "d8c760ee8e6ff36e83ea70b1d66ee0718deb5a9cdd34b59de3d067bf5a88"
    "f573766b92dc7ccf60618fd8f279abd8be5ff87d76f26979ed6387e769b4"
    "e36ee38d9bfb679ef041c8a0cd9f65db6d7ab55d5b5a95dd8ed363659ad5"
    "da627fd15b97e7806ff6707bf26891e260abd876e5996fe63e99be22a48a"
    "bf7b66517e82904d4c439cba8bcf6a6d9de3dd6085e1be5cf0856ee15d76"
)
_ACCOUNT = "#5867e8"
_PLAIN = "#747474"
_NUMBER = re.compile(r"custom(\d+)", re.IGNORECASE)

# What is drawn, 24 by 24, by a word in the object's label: strokes only.
_DRAWINGS = (
    ("account", "M5 20V5h9v15M14 10h5v10M3 20h18M8 9h3M8 13h3M8 17h3"),
    ("orphan", "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4 21c1-5 4-6 8-6s7 1 8 6"),
    ("customer plan", "M6 4h12v16H6zM9 9h6M9 13h6M9 17h3"),
    ("plan", "M4 6h16v13H4zM4 10h16M9 3v5M15 3v5"),
    ("sub line", "M5 5v14M5 9h6M5 17h6M14 9h5M14 17h5"),
    ("line", "M4 6h16M4 12h16M4 18h10"),
    ("adjust", "M5 7h14M5 17h14M9 4v6M15 14v6"),
    ("invoice", "M6 3h12v18l-3-2-3 2-3-2-3 2zM9 8h6M9 12h6"),
    ("credit", "M3 6h18v12H3zM3 10h18M7 15h4"),
    ("usage", "M4 20V4M4 20h16M8 16v-4M12 16V8M16 16v-6"),
    ("run", "M20 6v5h-5M4 18v-5h5M19 11a7 7 0 0 0-12-4M5 13a7 7 0 0 0 12 4"),
)
_BOX = "M5 5h14v14H5zM9 10h6M9 14h6"


def object_icon(state: OrgState, sobject: str) -> Markup:
    """The icon of an object."""
    known = state.schema.get(sobject)
    label = known.label.lower() if known else ""
    drawn = next((path for word, path in _DRAWINGS if word in label), _BOX)
    return _icon(drawn, _ACCOUNT if sobject == "Account" else _colour(motif_of(state, sobject)))


def _colour(motif: str) -> str:
    found = _NUMBER.match(motif)
    at = (int(found.group(1)) - 1) * 6 if found else -1
    return f"#{_MOTIFS[at : at + 6]}" if 0 <= at < len(_MOTIFS) else _PLAIN


def _icon(drawn: str, colour: str) -> Markup:
    return tag(
        "svg",
        tag("rect", width=24, height=24, rx=5, fill=colour),
        tag("path", d=drawn, fill="none", stroke="#fff", stroke_width="1.7",
            stroke_linejoin="round", stroke_linecap="round",
            transform="translate(3.6 3.6) scale(.7)"),
        viewBox="0 0 24 24", class_="icon", aria_hidden="true",
    )  # fmt: skip


def reports_icon() -> Markup:
    """The icon of reports."""
    return _icon("M6 3h12v18H6zM9 16v-3M12 16V9M15 16v-5", "#2e8b7a")


def dashboards_icon() -> Markup:
    """The icon of dashboards."""
    return _icon("M4 17a8 8 0 1 1 16 0zM12 17l4-6", "#c2571a")
