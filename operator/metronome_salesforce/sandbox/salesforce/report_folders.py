"""Folders of reports and dashboards: what is deployed, and who may look into them.

A folder shows its content to whom it is shared with, to whom made it, and to administrators
(Metadata API, Folder; Salesforce Help, Share a Report or Dashboard Folder).
"""

import re
from xml.etree import ElementTree as ET

from metronome_salesforce.sandbox.salesforce.access import User
from metronome_salesforce.sandbox.salesforce.core import OrgState
from metronome_salesforce.sandbox.salesforce.drafts import Component, Draft
from metronome_salesforce.sandbox.salesforce.object_metadata import MetadataError
from metronome_salesforce.sandbox.salesforce.packages import children, text_of

EVERYBODYS = "unfiled$public"
LONGEST_NAME = 40
LONGEST_DEVELOPER_NAME = 80
_EVERYBODY = "AllInternalUsers"
_NAME = re.compile(r"[A-Za-z](?:_?[A-Za-z0-9])*\Z")


def check_developer_name(name: str) -> None:
    """The rule for names of folders, reports, dashboards and report types."""
    if not _NAME.match(name):
        raise MetadataError(
            f"The name {name} can only contain underscores and alphanumeric characters. It must "
            "be unique, begin with a letter, not include spaces, not end with an underscore, and "
            "not contain two consecutive underscores."
        )
    if len(name) > LONGEST_DEVELOPER_NAME:
        raise MetadataError(
            f"Developer Name: data value too large: {name} (max length={LONGEST_DEVELOPER_NAME})"
        )


def check_length(label: str, value: str, longest: int) -> None:
    """Refuse a text that its field in the org could not hold."""
    if len(value) > longest:
        raise MetadataError(f"{label}: data value too large: {value} (max length={longest})")


def check_in_folder(component: Component, draft: Draft) -> None:
    """Refuse a report or dashboard whose folder is not there, or whose name is none."""
    folder, _, name = component.name.rpartition("/")
    if folder != EVERYBODYS and not draft.has(component.type, folder):
        raise MetadataError(f"Cannot find folder:{folder}")
    check_developer_name(name)
    inside = text_of(component.root, "folderName")
    if inside and inside != folder:
        raise MetadataError(f"The folder {inside} is not the one the file is in: {folder}")


def check_folder(component: Component, draft: Draft) -> None:
    """The rules for a folder and its shares; raises MetadataError."""
    root = component.root
    check_developer_name(component.name)
    name = text_of(root, "name")
    if not name:
        raise MetadataError("Required field is missing: name")
    check_length("Folder Label", name, LONGEST_NAME)
    seen: set[tuple[str, str]] = set()
    for share in children(root, "folderShares"):
        kind, who = text_of(share, "sharedToType"), text_of(share, "sharedTo")
        if not who or (kind == "Organization" and who != _EVERYBODY):
            raise MetadataError(f"sharedTo: Invalid value specified: {who}")
        known = who == _EVERYBODY or (kind == "User" and who.lower() in draft.state.users)
        if not known:
            raise MetadataError(f"In field: sharedTo - no {kind} named {who} found")
        if (kind, who.lower()) in seen:
            raise MetadataError(f"Duplicate folderShares specified: {who}")
        seen.add((kind, who.lower()))


def may_see(state: OrgState, user: User, kind: str, folder: str) -> bool:
    """Whether the user may look into the folder; `kind` is Report or Dashboard."""
    if folder == EVERYBODYS or state.may(user, "ModifyAllData"):
        return True
    stored = state.components.get((kind, folder))
    if stored is None:
        return False
    root = ET.fromstring(stored.content)  # noqa: S314 -- what a deploy has parsed and accepted
    shared = {text_of(each, "sharedTo").lower() for each in children(root, "folderShares")}
    return (
        stored.created_by[0] == user.id
        or text_of(root, "accessType").startswith("Public")
        or not shared.isdisjoint({_EVERYBODY.lower(), user.username.lower()})
    )
