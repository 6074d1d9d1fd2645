"""The org as a deploy would leave it: what a checker may look at, and where it puts what it reads.

A draft holds the new schema and the components accepted so far over those the org has, so that a
package may name what it brings along.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree as ET

from metronome_salesforce.sandbox.salesforce.access import PermissionSet
from metronome_salesforce.sandbox.salesforce.components import StoredComponent
from metronome_salesforce.sandbox.salesforce.core import OrgState
from metronome_salesforce.sandbox.salesforce.packages import CUSTOM_ENDINGS
from metronome_salesforce.sandbox.salesforce.schema import Schema, SObject


@dataclass(frozen=True, slots=True)
class Component:
    """One thing to deploy: its metadata type, full name, file, and XML (None if it has none)."""

    type: str
    name: str
    file: str
    element: ET.Element | None
    content: bytes

    @property
    def kind(self) -> str:
        """The metadata type, a folder of reports or dashboards told from what is in it."""
        folder = self.type in {"Report", "Dashboard"} and "/" not in self.name
        return f"{self.type}Folder" if folder else self.type

    @property
    def custom(self) -> bool:
        """Whether the name is that of a custom object or metadata type."""
        return self.name.endswith(CUSTOM_ENDINGS)

    @property
    def root(self) -> ET.Element:
        """The XML of a component that cannot be without."""
        assert self.element is not None  # noqa: S101 -- files with a suffix are always parsed
        return self.element


@dataclass(frozen=True, slots=True)
class MetadataRecord:
    """A record of a custom metadata type: the type's API name, developer name, label, values."""

    type: str
    name: str
    label: str
    values: dict[str, Any]


@dataclass(slots=True)
class Draft:
    """The org in the making; `state` is the org as it is and is only looked at.

    `namespace` is that of a managed package that is being installed, empty for a deploy.
    `documents` and `removed` are keyed by metadata type and full name, `permission_sets` by
    lower-case name.
    """

    state: OrgState
    schema: Schema
    documents: dict[tuple[str, str], StoredComponent] = field(default_factory=dict)
    permission_sets: dict[str, PermissionSet] = field(default_factory=dict)
    removed: list[tuple[str, str]] = field(default_factory=list)
    records: list[MetadataRecord] = field(default_factory=list)
    namespace: str = ""

    def stored(self, kind: str, name: str) -> StoredComponent | None:
        """A component that the org has or will have, or None."""
        key = (kind, name)
        if key in self.documents:
            return self.documents[key]
        return None if key in self.removed else self.state.components.get(key)

    def checked(self, component: Component) -> bool:
        """Whether this deploy has accepted a component of the same type and name already."""
        return (component.type, component.name) in self.documents

    def has(self, kind: str, name: str) -> bool:
        """Whether the org has, or will have, the component."""
        return self.stored(kind, name) is not None

    def element(self, kind: str, name: str) -> ET.Element | None:
        """The XML of such a component, or None."""
        found = self.stored(kind, name)
        if found is None or not found.content.startswith(b"<"):
            return None
        return ET.fromstring(found.content)  # noqa: S314 -- what a deploy has parsed and accepted

    def names(self, kind: str) -> Iterator[str]:
        """The full names of all components of a type."""
        keys = {**self.state.components, **self.documents}
        return (name for each, name in keys if each == kind and self.has(each, name))

    def rows(self, sobject: SObject) -> int:
        """How many rows the org has of the object, deleted ones too."""
        if self.state.schema.get(sobject.name) is None:
            return 0
        return self.scalar(f'SELECT count(*) FROM "{sobject.name}"') or 0  # noqa: S608 -- a name

    def scalar(self, sql: str) -> int | None:
        """The single number that a query gives."""
        row = self.state.storage.one(sql)
        return row[0] if row else None


Checker = Callable[[Component, Draft], None]
"""Looks at one component, notes in the draft what it brings, raises MetadataError to refuse it."""
