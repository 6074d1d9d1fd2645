"""The Metronome app for Salesforce: its source, and the zip that a deploy takes.

The source stands in `package/`, in the format of Salesforce DX (an object's fields and list views
are files of their own); the Metadata API takes the older one, in which an object is one file. What
is composed here is what the Salesforce CLI makes of the same source. The same source gives the same
bytes.
"""

import io
import json
import zipfile
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

NAMESPACE = "http://soap.sforce.com/2006/04/metadata"
VERSION_TYPE = "Metronome_Package__mdt"
"""The custom metadata type whose record `Current` tells which version an org has."""
VERSION_RECORD = "Current"
VERSION_FIELD = "Version__c"

INTEGRATION_SET = "Metronome_Integration"
USER_SET = "Metronome_User"
ADMIN_SET = "Metronome_Admin"

_META = "-meta.xml"
_OBJECTS = "objects"
# Folder -> metadata type, in the order in which package.xml lists them (Metadata API, types).
_TYPES = {
    "applications": "CustomApplication",
    "customMetadata": "CustomMetadata",
    "dashboards": "Dashboard",
    "flexipages": "FlexiPage",
    "layouts": "Layout",
    "permissionsets": "PermissionSet",
    "reportTypes": "ReportType",
    "reports": "Report",
    "tabs": "CustomTab",
}
# Folder below an object -> element inside the object's file.
_INSIDE = {"fields": "fields", "listViews": "listViews", "compactLayouts": "compactLayouts"}
_FOLDER_SUFFIXES = (".reportFolder", ".dashboardFolder")
# Zip entries carry a time; the earliest one that the format knows is as good as any.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def package_version() -> str:
    """The version of the package that comes with this operator, such as "0.1.0"."""
    record = source_files()[f"customMetadata/{_version_member()}.md{_META}"]
    for values in ET.fromstring(record).iter(f"{{{NAMESPACE}}}values"):  # noqa: S314 -- our own file
        if values.findtext(f"{{{NAMESPACE}}}field") == VERSION_FIELD:
            return str(values.findtext(f"{{{NAMESPACE}}}value"))
    raise ValueError(f"the package's record {_version_member()} has no {VERSION_FIELD}")


def package_zip(api_version: str | None = None) -> bytes:
    """The package as a zip for a Metadata API deploy with `singlePackage` true."""
    buffer = io.BytesIO()
    # Stored, not deflated: zlib's output differs from version to version.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path, content in sorted(package_files(api_version).items()):
            archive.writestr(zipfile.ZipInfo(path, _EPOCH), content)
    return buffer.getvalue()


def package_files(api_version: str | None = None) -> dict[str, bytes]:
    """The package's files by their path in the zip.

    `api_version` is of the form "66.0", by default that of the source project.
    """
    source = source_files()
    made = dict(_other_files(source))
    for name in _object_names(source):
        made[f"{_OBJECTS}/{name}.object"] = _object_file(source, name)
    made["package.xml"] = _manifest(source, api_version or _project()["sourceApiVersion"])
    return made


def export(folder: Path) -> int:
    """Write the source to `folder` as a project of the Salesforce CLI; how many files it wrote.

    Raises OSError, also (as FileExistsError) when the folder exists and is not empty: what a former
    version left there would be deployed as well.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(17, "it is not empty")
    written = 0
    for path, content in _walk(_root(), ""):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        written += 1
    return written


def source_files() -> dict[str, bytes]:
    """The files of the package's source, by their path below its only package directory."""
    [directory] = _project()["packageDirectories"]
    return dict(_walk(_root().joinpath(directory["path"]), ""))


def _root() -> Traversable:
    return files("metronome_salesforce").joinpath("package")


def _project() -> dict[str, list[dict[str, str]]]:
    project: dict[str, list[dict[str, str]]] = json.loads(
        _root().joinpath("sfdx-project.json").read_text("utf-8")
    )
    return project


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        else:
            yield f"{prefix}{entry.name}", entry.read_bytes()


def _version_member() -> str:
    return f"{VERSION_TYPE.removesuffix('__mdt')}.{VERSION_RECORD}"


# -- from source format to the format of the Metadata API -----------------------------------------


def _other_files(source: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """All but the objects: the same files under their names without the suffix."""
    for path, content in source.items():
        folder, _, _ = path.partition("/")
        if folder in _TYPES:
            name = path.removesuffix(_META)
            for suffix in _FOLDER_SUFFIXES:
                if name.endswith(suffix):
                    name = f"{name.removesuffix(suffix)}{_META}"
            yield name, content


def _object_names(source: dict[str, bytes]) -> list[str]:
    return sorted({path.split("/")[1] for path in source if path.startswith(f"{_OBJECTS}/")})


def _object_file(source: dict[str, bytes], name: str) -> bytes:
    """One object with its parts, elements by name: so the platform writes them itself."""
    folder = f"{_OBJECTS}/{name}/"
    own = source.get(f"{folder}{name}.object{_META}")  # none for Account, which is the platform's
    elements = [] if own is None else list(_parse(own))
    for path in sorted(path for path in source if path.startswith(folder)):
        inside = _INSIDE.get(path.removeprefix(folder).partition("/")[0])
        if inside is not None:
            part = _parse(source[path])
            part.tag = f"{{{NAMESPACE}}}{inside}"
            elements.append(part)
    root = ET.Element(f"{{{NAMESPACE}}}CustomObject")
    root.extend(sorted(elements, key=lambda element: element.tag))
    return _serialised(root)


def _parse(content: bytes) -> ET.Element:
    return ET.fromstring(content)  # noqa: S314 -- our own file


def _serialised(root: ET.Element) -> bytes:
    for element in root.iter():
        # Without it, ElementTree invents a prefix, unless told so for the whole process.
        element.tag = element.tag.removeprefix(f"{{{NAMESPACE}}}")
    root.set("xmlns", NAMESPACE)
    ET.indent(root, "    ")
    text = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'.encode()


def _manifest(source: dict[str, bytes], api_version: object) -> bytes:
    """package.xml: every component but those inside a custom object, which come with it."""
    members: dict[str, set[str]] = {}
    for path in source:
        folder, _, rest = path.partition("/")
        if folder == _OBJECTS:
            sobject, _, part = rest.partition("/")
            if part == f"{sobject}.object{_META}":
                members.setdefault("CustomObject", set()).add(sobject)
            elif f"{_OBJECTS}/{sobject}/{sobject}.object{_META}" not in source:
                name = part.removeprefix("fields/").removesuffix(f".field{_META}")
                members.setdefault("CustomField", set()).add(f"{sobject}.{name}")
        elif folder in _TYPES:
            name = rest.removesuffix(_META).rpartition(".")[0]
            members.setdefault(_TYPES[folder], set()).add(name)
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f'<Package xmlns="{NAMESPACE}">']
    for kind in sorted(members):
        listed = [f"        <members>{escape(name)}</members>" for name in sorted(members[kind])]
        lines += ["    <types>", *listed, f"        <name>{kind}</name>", "    </types>"]
    lines += [f"    <version>{api_version}</version>", "</Package>", ""]
    return "\n".join(lines).encode()
