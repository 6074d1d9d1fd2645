"""The metadata components that are in the org: what was deployed, when, by whom, in which file."""

from dataclasses import dataclass
from typing import Any

from metronome_salesforce.sandbox.salesforce.packages import FOLDERS, INSIDE_OBJECT

# Key prefixes of component ids as listMetadata prints them.
_PREFIXES = {
    "CustomObject": "01I", "CustomField": "00N", "ValidationRule": "03d", "ListView": "00B",
    "CompactLayout": "0AH", "WebLink": "00b", "RecordType": "012", "FieldSet": "0IX",
    "CustomTab": "01r", "CustomApplication": "02u", "Layout": "00h", "ReportType": "070",
    "Report": "00O", "Dashboard": "01Z", "FlexiPage": "0M0", "PermissionSet": "0PS",
    "ReportFolder": "00l", "DashboardFolder": "00l",
    "CustomMetadata": "0Nl",
}  # fmt: skip
_OTHER_PREFIX = "0Nt"
_IN_FOLDERS = frozenset({"Report", "Dashboard"})


@dataclass(frozen=True, slots=True)
class StoredComponent:
    """One component: `content` is canonical XML (raw bytes for what is not XML)."""

    content: bytes
    file: str
    id: str
    created: str
    created_by: tuple[str, str]
    modified: str
    modified_by: tuple[str, str]


def id_prefix(kind: str) -> str:
    """The key prefix of a component's id."""
    return _PREFIXES.get(kind, _OTHER_PREFIX)


def file_properties(
    kind: str, name: str, stored: StoredComponent, *, root: str = ""
) -> dict[str, Any]:
    """FileProperties as listMetadata and retrieve answer them, in the order of the WSDL."""
    return {
        "createdById": stored.created_by[0],
        "createdByName": stored.created_by[1],
        "createdDate": stored.created,
        "fileName": root + stored.file,
        "fullName": name,
        "id": stored.id,
        "lastModifiedById": stored.modified_by[0],
        "lastModifiedByName": stored.modified_by[1],
        "lastModifiedDate": stored.modified,
        "manageableState": "unmanaged",
        "type": kind,
    }


def known_types() -> set[str]:
    """The metadata types of this org; reports and dashboards have folders of their own type."""
    folders = {f"{kind}Folder" for kind in _IN_FOLDERS}
    return {kind for kind, _ in FOLDERS.values()} | set(INSIDE_OBJECT) | folders


def describe_types() -> list[dict[str, Any]]:
    """The metadataObjects of describeMetadata."""
    return [
        {
            "childXmlNames": sorted(INSIDE_OBJECT) if kind == "CustomObject" else [],
            "directoryName": directory,
            "inFolder": kind in _IN_FOLDERS,
            "metaFile": kind == "StaticResource",
            "suffix": suffix.removeprefix(".") or None,
            "xmlName": kind,
        }
        for directory, (kind, suffix) in FOLDERS.items()
    ]
