"""The resource types that the server knows: the built-in ones, and what a definition adds."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from metronome_salesforce.sandbox.kubernetes.exceptions import FieldError, Json

VERBS = (
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a Table; `path` is a JSONPath such as `.status.phase`."""

    name: str
    path: str
    type: str = "string"
    format: str = ""
    priority: int = 0
    description: str = ""


@dataclass(frozen=True, slots=True)
class Resource:
    """One served version of a resource type.

    `columns` are those after the name. `prepare(new, old)` mends and checks an object before it is
    stored and returns the errors. Custom kinds have a `schema`; built-in ones a `shape`, the types
    of their fields (see `shapes.py`), and a `prepare`.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = VERBS
    has_status: bool = False
    custom: bool = False
    columns: tuple[Column, ...] = ()
    schema: Json | None = None
    shape: Json | None = None
    counts_generation: bool = False
    unconditional_update: bool = True
    prepare: Callable[[Json, Json | None], list[FieldError]] | None = None
    stored_as: tuple[str, str] | None = None
    selectable_fields: tuple[str, ...] = field(default=())

    @property
    def api_version(self) -> str:
        """`v1` or `group/version`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def storage(self) -> tuple[str, str]:
        """The (group, plural) under which the objects are kept, shared by all versions."""
        return self.stored_as or (self.group, self.plural)

    @property
    def list_kind(self) -> str:
        """The kind of a collection."""
        return f"{self.kind}List"


AGE = Column(
    "Age",
    ".metadata.creationTimestamp",
    "date",
    description="CreationTimestamp is a timestamp representing the server time when this object "
    "was created.",
)


def select(value: Any, path: str) -> Any:
    """The value under a dotted path, or None."""
    for part in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(part)
    return value


def same(one: Any, other: Any) -> bool:
    """Equal as JSON: unlike Python's `==`, true is not 1, and 1 is not 1.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)
