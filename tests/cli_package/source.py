"""What stands in a folder of Salesforce DX source, told by file names and by XML alone.

Made without the code that makes the package, and without the CLI: both are compared with it.
"""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree as ET

NAMESPACE = "http://soap.sforce.com/2006/04/metadata"
# What stands before `-meta.xml` in a file's name -> metadata type (Metadata API, types).
KINDS = {
    "app": "CustomApplication",
    "compactLayout": "CompactLayout",
    "dashboard": "Dashboard",
    "dashboardFolder": "DashboardFolder",
    "field": "CustomField",
    "flexipage": "FlexiPage",
    "layout": "Layout",
    "listView": "ListView",
    "md": "CustomMetadata",
    "object": "CustomObject",
    "permissionset": "PermissionSet",
    "report": "Report",
    "reportFolder": "ReportFolder",
    "reportType": "ReportType",
    "tab": "CustomTab",
}
# Folders whose own folders are part of a name, as in the report `Metronome/Usage_Trend`.
_FILED = {"reports", "dashboards"}
_WHOLE = {"CustomObject"}
# Elements of a zip's object file that are files of their own in source.
INSIDE_OBJECT = {"CompactLayout", "CustomField", "ListView"}

Meaning = tuple[str, str, tuple["Meaning", ...]]
"""An element: tag, text, and what stands in it."""


def components(source: Path) -> dict[tuple[str, str], Path]:
    """The file of each component by its metadata type and full name."""
    return dict(_components(source))


def _components(source: Path) -> Iterator[tuple[tuple[str, str], Path]]:
    for path in sorted(each for each in source.rglob("*") if each.is_file()):
        folder, *inner, file = path.relative_to(source).parts
        assert file.endswith("-meta.xml"), f"{path} is no source of metadata"
        name, _, suffix = file.removesuffix("-meta.xml").rpartition(".")
        kind = KINDS[suffix]
        if kind in INSIDE_OBJECT:
            name = f"{inner[0]}.{name}"
        elif folder in _FILED:
            name = "/".join([*inner, name])
        yield (kind, unquote(name)), path


def meaning(content: bytes) -> Meaning:
    """What a file says: elements of different names may stand in any order, as on the platform."""
    return _meaning(ET.fromstring(content))  # noqa: S314 -- our own file


def _meaning(element: ET.Element) -> Meaning:
    name = _name(element)
    # An object's parts have names of their own; elsewhere the order of equals matters.
    inner = sorted(element, key=lambda each: (_name(each), _part(each) if name in _WHOLE else ""))
    return name, (element.text or "").strip(), tuple(map(_meaning, inner))


def _name(element: ET.Element) -> str:
    assert element.tag.startswith(f"{{{NAMESPACE}}}"), element.tag
    return element.tag.removeprefix(f"{{{NAMESPACE}}}")


def _part(element: ET.Element) -> str:
    return element.findtext(f"{{{NAMESPACE}}}fullName") or ""


def meanings(folder: Path, *, without: str = "") -> dict[str, Meaning]:
    """What all files below a folder say, by their path in it less the part `without`."""
    return {
        path.relative_to(folder).as_posix().removeprefix(without): meaning(path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }
