"""A metadata retrieve: the deployed components as a zip again (Metadata API, retrieve()).

Object files are put together from what was deployed over time; standard objects hold only what was
added to them, and a permission set comes whole whatever else is asked for.
"""

import io
import zipfile
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree as ET

from metronome_salesforce.sandbox.salesforce.access import User
from metronome_salesforce.sandbox.salesforce.components import (
    StoredComponent,
    file_properties,
    known_types,
)
from metronome_salesforce.sandbox.salesforce.core import OrgState
from metronome_salesforce.sandbox.salesforce.packages import INSIDE_OBJECT, NAMESPACE, local_name

_DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'
_ROOT = "unpackaged/"


@dataclass(slots=True)
class Retrieval:
    """One retrieve: the zip, and what stands in it."""

    id: str
    content: bytes = b""
    properties: list[dict[str, Any]] = field(default_factory=list)
    messages: list[dict[str, str]] = field(default_factory=list)
    polls_left: int = 0

    def look(self) -> bool:
        """Whether it is done; each look brings it one step on."""
        if self.polls_left > 0:
            self.polls_left -= 1
            return False
        return True

    def body(self, *, include_zip: bool, encoded: str) -> dict[str, Any]:
        """The RetrieveResult of a retrieve that is done."""
        return {
            "done": True,
            "fileProperties": self.properties,
            "id": self.id,
            "messages": self.messages,
            "status": "Succeeded",
            "success": True,
            "zipFile": encoded if include_zip else None,
        }


def retrieve(
    state: OrgState, user: User, members: dict[str, list[str]], version: str, *, single: bool
) -> Retrieval:
    """Collect the named components; `single` leaves out the `unpackaged` folder.

    What does not exist is a message, not an error.
    """
    retrieval = Retrieval(state.ids.next("09S"))
    collected = _Collected(state, retrieval, "" if single else _ROOT)
    for kind, names in members.items():
        for name in names:
            collected.add(kind, name)
    files = collected.files()
    root = "" if single else _ROOT
    manifest = _manifest(members, version)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in sorted(files.items()):
            archive.writestr(root + path, content)
        archive.writestr(f"{root}package.xml", manifest)
    retrieval.content = buffer.getvalue()
    moment = state.stamp()
    by = (user.id, user.name)
    own = StoredComponent(manifest, "package.xml", "", moment, by, moment, by)
    name = f"{root}package.xml"
    retrieval.properties.append(file_properties("Package", name, own, root=root))
    return retrieval


class _Collected:
    """The components asked for: whole files, and objects made of parts."""

    def __init__(self, state: OrgState, retrieval: Retrieval, root: str) -> None:
        self._state = state
        self._retrieval = retrieval
        self._root = root
        self._whole: dict[str, bytes] = {}
        self._objects: set[str] = set()
        self._parts: dict[str, set[tuple[str, str]]] = {}

    def add(self, kind: str, name: str) -> None:
        """Note one member of the manifest; `*` stands for all of a type, but for no parts."""
        if kind not in known_types():
            self._problem(f"Unknown type name '{kind}' specified in package.xml")
            return
        stored = self._state.components
        if name == "*":
            if kind not in INSIDE_OBJECT:
                for each, full in sorted(stored):
                    if each == kind and "/" not in full:
                        self.add(kind, full)
            return
        plain = name.rstrip("/")
        if kind == "CustomObject" and self._state.schema.get(plain) is not None:
            self._objects.add(plain)
        elif kind in INSIDE_OBJECT and (kind, plain) in stored:
            owner = plain.partition(".")[0]
            self._parts.setdefault(owner, set()).add((kind, plain))
        elif kind != "CustomObject" and kind not in INSIDE_OBJECT and (kind, plain) in stored:
            found = stored[kind, plain]
            canonical = found.content.startswith(b"<") and not found.content.startswith(b"<?")
            self._whole[found.file] = (_DECLARATION if canonical else b"") + found.content
            self._listed(kind, plain, found)
        else:
            self._problem(f"Entity of type '{kind}' named '{name}' cannot be found")

    def _problem(self, problem: str) -> None:
        self._retrieval.messages.append(
            {"fileName": f"{self._root}package.xml", "problem": problem}
        )

    def _listed(self, kind: str, name: str, found: StoredComponent) -> None:
        self._retrieval.properties.append(file_properties(kind, name, found, root=self._root))

    def files(self) -> dict[str, bytes]:
        """All files by path below the root."""
        files = dict(self._whole)
        for owner in sorted(self._objects | set(self._parts)):
            whole = owner in self._objects
            parts = [
                (kind, name, each.content)
                for (kind, name), each in self._state.components.items()
                if kind in INSIDE_OBJECT
                and name.partition(".")[0] == owner
                and (whole or (kind, name) in self._parts[owner])
            ]
            stored = self._state.components.get(("CustomObject", owner))
            path = f"objects/{owner}.object"
            files[path] = _object_file(stored.content if whole and stored else None, parts)
            moment, nobody = self._state.stamp(), ("", "")
            self._listed(
                "CustomObject",
                owner,
                stored or StoredComponent(b"", path, "", moment, nobody, moment, nobody),
            )
        return files


def _object_file(content: bytes | None, parts: list[tuple[str, str, bytes]]) -> bytes:
    """An object file: the object's own elements, then the parts by kind and name."""
    element = ET.Element(f"{{{NAMESPACE}}}CustomObject")
    if content is not None:
        element = ET.fromstring(content)  # noqa: S314 -- what a deploy has parsed and accepted
    for _, _, part in sorted(parts):
        element.append(ET.fromstring(part))  # noqa: S314 -- as above
    element[:] = sorted(element, key=local_name)  # the platform writes them in this order
    return _document(element)


def _manifest(members: dict[str, list[str]], version: str) -> bytes:
    package = ET.Element(f"{{{NAMESPACE}}}Package")
    for kind, names in sorted(members.items()):
        types = ET.SubElement(package, f"{{{NAMESPACE}}}types")
        for name in sorted(names):
            ET.SubElement(types, f"{{{NAMESPACE}}}members").text = name
        ET.SubElement(types, f"{{{NAMESPACE}}}name").text = kind
    ET.SubElement(package, f"{{{NAMESPACE}}}version").text = version
    return _document(package)


def _document(element: ET.Element) -> bytes:
    ET.indent(element, "    ")
    written: bytes = ET.tostring(element, "utf-8", default_namespace=NAMESPACE)
    return _DECLARATION + written + b"\n"
