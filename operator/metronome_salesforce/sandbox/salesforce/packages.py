"""Reading a metadata zip: package.xml and the files it names (Metadata API, File-Based Calls)."""

import io
import zipfile
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

NAMESPACE = "http://soap.sforce.com/2006/04/metadata"

# Folder -> (metadata type, file suffix); other folders are kept as raw documents too.
FOLDERS = {
    "objects": ("CustomObject", ".object"),
    "permissionsets": ("PermissionSet", ".permissionset"),
    "tabs": ("CustomTab", ".tab"),
    "applications": ("CustomApplication", ".app"),
    "layouts": ("Layout", ".layout"),
    "reportTypes": ("ReportType", ".reportType"),
    "reports": ("Report", ".report"),
    "dashboards": ("Dashboard", ".dashboard"),
    "flexipages": ("FlexiPage", ".flexipage"),
    "globalValueSets": ("GlobalValueSet", ".globalValueSet"),
    "customMetadata": ("CustomMetadata", ".md"),
    "labels": ("CustomLabels", ".labels"),
    "staticresources": ("StaticResource", ".resource"),
    "lwc": ("LightningComponentBundle", ""),
}
# Types that live inside an object file: metadata type -> element.
INSIDE_OBJECT = {
    "CustomField": "fields",
    "ListView": "listViews",
    "ValidationRule": "validationRules",
    "CompactLayout": "compactLayouts",
    "WebLink": "webLinks",
    "RecordType": "recordTypes",
    "FieldSet": "fieldSets",
}

# How the names of custom objects and of custom metadata types end.
CUSTOM_ENDINGS = ("__c", "__mdt")

DESTRUCTIVE_FILES = (
    "destructiveChangesPre.xml", "destructiveChanges.xml", "destructiveChangesPost.xml",
)  # fmt: skip


class PackageError(Exception):
    """The zip cannot be read as a package at all."""


@dataclass(slots=True)
class Package:
    """A read package: members by metadata type, files by path below the package root.

    `destructive` holds the members of each destructiveChanges file by its name.
    """

    members: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    destructive: dict[str, dict[str, list[str]]] = field(default_factory=dict)


def local_name(element: ET.Element) -> str:
    """The tag without its namespace."""
    return element.tag.rpartition("}")[2]


def children(element: ET.Element, name: str) -> list[ET.Element]:
    """The direct children of that name."""
    return [each for each in element if local_name(each) == name]


def text_of(element: ET.Element, name: str, default: str = "") -> str:
    """The text of the first child of that name."""
    found = next((each for each in element if local_name(each) == name), None)
    return default if found is None else (found.text or "").strip()


def flag(element: ET.Element, name: str, *, default: bool = False) -> bool:
    """A boolean child; XML Schema's `true` and `1` are true."""
    value = text_of(element, name).lower()
    return default if not value else value in {"true", "1"}


def parse_xml(content: bytes) -> ET.Element:
    """The root element; raises PackageError with the platform's sentence."""
    try:
        return ET.fromstring(content)  # noqa: S314 -- a sandbox on loopback parses its user's own file
    except ET.ParseError as error:
        raise PackageError(f"Error parsing file: {error}") from error


def read_package(content: bytes) -> Package:
    """Unpack a deploy zip; raises PackageError when it is no zip or has no package.xml."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            files = {
                entry.filename: archive.read(entry)
                for entry in archive.infolist()
                if not entry.is_dir()
            }
    except zipfile.BadZipFile as error:
        raise PackageError("INVALID_ZIP_FILE: the file is not a valid zip") from error
    manifest = next(
        (name for name in sorted(files, key=len) if name.rpartition("/")[2] == "package.xml"), None
    )
    if manifest is None:
        raise PackageError("No package.xml found")
    root = manifest[: -len("package.xml")]
    package = Package(
        files={name[len(root) :]: data for name, data in files.items() if name.startswith(root)}
    )
    package.members = read_members(parse_xml(files[manifest]))
    for name in DESTRUCTIVE_FILES:
        if name in package.files:
            package.destructive[name] = read_members(parse_xml(package.files[name]))
    return package


def read_members(manifest: ET.Element) -> dict[str, list[str]]:
    """The members of a package.xml's root element, or of one like it, by metadata type."""
    members: dict[str, list[str]] = {}
    for types in children(manifest, "types"):
        names = [(each.text or "").strip() for each in children(types, "members")]
        members.setdefault(text_of(types, "name"), []).extend(names)
    return members
