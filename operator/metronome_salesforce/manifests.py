"""Resources from files: what `sync -f` and `plan -f` read instead of an API server.

The YAML is composed, not loaded, so that every problem is reported with its file, line and field.
Scalars are read as kubectl reads them: dates stay text, and keys are text. No message repeats a
value, because any value may be a secret, if only one in the wrong place.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TextIO

import yaml
from pydantic import ValidationError

from metronome_salesforce.errors import ConfigError
from metronome_salesforce.inputs import Name, Texts, config_map_texts, decoded, secret_texts
from metronome_salesforce.spec import (
    API_VERSION,
    GROUP,
    CustomerLink,
    FieldProblem,
    MetronomeSync,
    problems,
)

_SUFFIXES: Final = (".yaml", ".yml", ".json")
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DEEPEST: Final = 50
_MODELS: Final[Mapping[str, type[MetronomeSync] | type[CustomerLink]]] = {
    "MetronomeSync": MetronomeSync,
    "CustomerLink": CustomerLink,
}


@dataclass(frozen=True, slots=True)
class ManifestProblem:
    """What is wrong at one place; `line` counts from 1 (None: the whole file), `field` may be "".

    No part of it holds a value from the file.
    """

    file: str
    line: int | None
    field: str
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return (
            f"{place}: {self.field}: {self.message}" if self.field else f"{place}: {self.message}"
        )


class InvalidManifest(ConfigError):  # noqa: N818 -- named by what is the matter, as its siblings
    """Manifests cannot be used; `problems` has them all, the text lists one a line."""

    def __init__(self, found: Iterable[ManifestProblem]) -> None:
        self.problems = tuple(found)
        super().__init__("InvalidManifest", "\n".join(map(str, self.problems)))


@dataclass(frozen=True, slots=True)
class Bundle:
    """The resources of some manifests, or of a cluster. `notes` tells what was left aside."""

    syncs: tuple[MetronomeSync, ...] = ()
    links: tuple[CustomerLink, ...] = ()
    secrets: Mapping[Name, Texts] = field(default_factory=dict, repr=False)
    config_maps: Mapping[Name, Texts] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()


def load(paths: Iterable[str], *, stdin: TextIO | None = None) -> Bundle:
    """Read manifests from files, folders (their YAML and JSON files) and `-` (standard input).

    Raises InvalidManifest with every problem of every file.
    """
    reading = _Reading()
    for path in paths:
        for name, text in reading.texts(path, stdin or sys.stdin):
            reading.file(name, text)
    if reading.problems:
        raise InvalidManifest(reading.problems)
    return Bundle(
        tuple(reading.syncs),
        tuple(reading.links),
        reading.secrets,
        reading.config_maps,
        tuple(reading.notes),
    )


class _Unreadable(Exception):  # noqa: N818 -- never leaves this module
    """A node that cannot be read; the problem is on the list already."""


@dataclass(slots=True)
class _Reading:
    """What has been read so far, from however many files."""

    syncs: list[MetronomeSync] = field(default_factory=list)
    links: list[CustomerLink] = field(default_factory=list)
    secrets: dict[Name, Texts] = field(default_factory=dict)
    config_maps: dict[Name, Texts] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[ManifestProblem] = field(default_factory=list)
    seen: dict[tuple[str, str, str], str] = field(default_factory=dict)
    name: str = ""

    def texts(self, path: str, stdin: TextIO) -> Iterator[tuple[str, str]]:
        """The files at `path` with their texts."""
        if path == "-":
            yield "stdin", stdin.read()
            return
        files = [Path(path)]
        if files[0].is_dir():
            files = sorted(file for file in files[0].iterdir() if file.suffix in _SUFFIXES)
            if not files:
                self._whole(path, "has no .yaml, .yml or .json file")
        for file in files:
            try:
                yield str(file), file.read_text(encoding="utf-8-sig")
            except UnicodeDecodeError:
                self._whole(str(file), "is not UTF-8 text")
            except OSError as error:
                self._whole(str(file), f"cannot be read: {error.strerror}")

    def _whole(self, file: str, message: str) -> None:
        self.problems.append(ManifestProblem(file, None, "", message))

    def _problem(self, node: yaml.Node | None, path: str, message: str) -> None:
        line = None if node is None else node.start_mark.line + 1
        self.problems.append(ManifestProblem(self.name, line, path, message))

    def file(self, name: str, text: str) -> None:
        """Read the documents of one file."""
        self.name = name
        loader = _LOADER(text)
        try:
            while loader.check_node():
                node = loader.get_node()
                if not _is_null(node):
                    self._document(loader, node)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            # What is missing at the end is missed behind the last line.
            line = None if mark is None else min(mark.line + 1, len(text.splitlines()))
            self.problems.append(ManifestProblem(name, line, "", _syntax(error)))
        except yaml.YAMLError:
            self._whole(name, "is not YAML: it has characters that YAML does not allow")
        except RecursionError:
            self._whole(name, "is nested too deeply")
        finally:
            loader.dispose()

    def _document(self, loader: Any, node: yaml.Node) -> None:
        try:
            document = _Reader(self, loader).value(node, "", 0)
        except _Unreadable:
            return
        if not isinstance(document, dict):
            self._problem(node, "", "is not a resource: there must be apiVersion, kind and so on")
            return
        self._resource(document, node)

    def _resource(self, document: dict[str, Any], node: yaml.Node) -> None:
        for key in ("apiVersion", "kind"):
            if not isinstance(document.get(key), str):
                self._problem(_place(node, (key,)), key, "is required and must be text")
                return
        version, kind = document["apiVersion"], document["kind"]
        if (version, kind) == ("v1", "List"):
            self._list(document, node)
        elif version.split("/")[0] == GROUP:
            self._own(document, node)
        elif version == "v1" and kind in ("Secret", "ConfigMap"):
            self._core(document, node)
        else:
            line = node.start_mark.line + 1
            self.notes.append(f"{self.name}:{line}: {kind} ({version}) is of no use here; ignored")

    def _list(self, document: dict[str, Any], node: yaml.Node) -> None:
        items = document.get("items")
        if not isinstance(items, list):
            self._field(node, FieldProblem(("items",), "must be a list of resources"))
            return
        # Of keys given twice, which is on the list of problems already, lengths may differ.
        for item, inner in zip(items, _items(node), strict=False):
            if isinstance(item, dict):
                self._resource(item, inner)
            else:
                self._problem(inner, "items", "must be a list of resources")

    def _own(self, document: dict[str, Any], node: yaml.Node) -> None:
        version, kind = document["apiVersion"], document["kind"]
        if version != API_VERSION:
            self._problem(_place(node, ("apiVersion",)), "apiVersion", f"must be {API_VERSION}")
            return
        model = _MODELS.get(kind)
        if model is None:
            self._problem(_place(node, ("kind",)), "kind", f"must be one of {', '.join(_MODELS)}")
            return
        try:
            resource = model.model_validate(document)
        except ValidationError as error:
            for found in problems(error):
                self._field(node, found)
            return
        name = (resource.metadata.namespace, resource.metadata.name)
        if self._is_new(kind, name, node):
            if isinstance(resource, MetronomeSync):
                self.syncs.append(resource)
            else:
                self.links.append(resource)

    def _field(self, node: yaml.Node, found: FieldProblem) -> None:
        self._problem(_place(node, found.path), found.field, found.message)

    def _core(self, document: dict[str, Any], node: yaml.Node) -> None:
        kind = document["kind"]
        metadata = document.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        name, space = metadata.get("name"), metadata.get("namespace", "default")
        problems_before = len(self.problems)
        if not isinstance(name, str) or not name:
            self._field(node, FieldProblem(("metadata", "name"), "is required and must be text"))
        if not isinstance(space, str) or not space:
            self._field(node, FieldProblem(("metadata", "namespace"), "must be text"))
        for part in ("data", "stringData") if kind == "Secret" else ("data",):
            self._check_texts(
                document.get(part), node, part, encoded=(kind, part) == ("Secret", "data")
            )
        if len(self.problems) > problems_before or not self._is_new(
            kind, (str(space), str(name)), node
        ):
            return
        if kind == "Secret":
            self.secrets[str(space), str(name)] = secret_texts(document)
        else:
            self.config_maps[str(space), str(name)] = config_map_texts(document)

    def _check_texts(self, data: object, node: yaml.Node, part: str, *, encoded: bool) -> None:
        if data is None:
            return
        if not isinstance(data, dict):
            self._field(node, FieldProblem((part,), "must be an object with texts"))
            return
        for key, value in data.items():
            path = (part, key)
            if not isinstance(value, str):
                self._field(node, FieldProblem(path, "must be text (a number goes in quotes)"))
            elif encoded and decoded(value) is None:
                self._field(
                    node,
                    FieldProblem(path, "must be text in base64; use stringData for plain text"),
                )

    def _is_new(self, kind: str, name: Name, node: yaml.Node) -> bool:
        key = (kind, *name)
        if key in self.seen:
            self._problem(
                _place(node, ("metadata", "name")),
                "metadata.name",
                f"is that of the {kind} in {self.seen[key]} already",
            )
            return False
        self.seen[key] = f"{self.name}:{node.start_mark.line + 1}"
        return True


@dataclass(slots=True)
class _Reader:
    """Makes plain values of one document's nodes; an aliased node is made once."""

    reading: _Reading
    loader: Any
    made: dict[int, Any] = field(default_factory=dict)
    open: set[int] = field(default_factory=set)

    def value(self, node: yaml.Node, path: str, depth: int) -> Any:
        if id(node) in self.made:
            return self.made[id(node)]
        if id(node) in self.open or depth > _DEEPEST:
            self._give_up(node, path, "is nested too deeply")
        self.open.add(id(node))
        if isinstance(node, yaml.MappingNode):
            value: Any = self._mapping(node, path, depth)
        elif isinstance(node, yaml.SequenceNode):
            value = [
                self.value(inner, f"{path}[{index}]", depth + 1)
                for index, inner in enumerate(node.value)
            ]
        else:
            value = self._scalar(node, path)
        self.open.discard(id(node))
        self.made[id(node)] = value
        return value

    def _mapping(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._give_up(key_node, path, "must have text as keys")
            if key_node.tag == "tag:yaml.org,2002:merge":
                self._give_up(key_node, path, "must not use << (merge keys)")
            key = str(key_node.value)
            inner = f"{path}.{key}" if path else key
            if key in result:
                self.reading._problem(key_node, inner, "is given twice")  # noqa: SLF001 -- one whole
            result[key] = self.value(value_node, inner, depth + 1)
        return result

    def _scalar(self, node: yaml.Node, path: str) -> Any:
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        try:
            match kind:
                case "null":
                    return None
                case "bool":
                    return self.loader.construct_yaml_bool(node)
                # Sixties (1:30) are numbers to this YAML library only.
                case "int" if ":" not in node.value:
                    return self.loader.construct_yaml_int(node)
                case "float" if ":" not in node.value:
                    return self.loader.construct_yaml_float(node)
                case "str" | "timestamp" | "int" | "float" | "value" | "merge":
                    return str(node.value)
        except (ValueError, KeyError):
            pass  # an explicit tag on something else
        return self._give_up(node, path, "has a YAML tag that has no meaning here")

    def _give_up(self, node: yaml.Node, path: str, message: str) -> Any:
        self.reading._problem(node, path, message)  # noqa: SLF001 -- the two are one whole
        raise _Unreadable


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _items(node: yaml.Node) -> list[yaml.Node]:
    """The nodes of `items` of a List."""
    for key, value in node.value:
        if key.value == "items" and isinstance(value, yaml.SequenceNode):
            return list(value.value)
    return []


def _place(node: yaml.Node, path: tuple[str | int, ...]) -> yaml.Node:
    """The node to point at for a path: the key, or the nearest one above that exists."""
    place = node
    for part in path:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == part:
                    place, node = key, value
                    break
            else:
                return place
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            if part >= len(node.value):
                return place
            place = node = node.value[part]
        else:
            return place
    return place


def _syntax(error: yaml.MarkedYAMLError) -> str:
    """What the YAML parser says, without what it quotes from the file."""
    said = re.sub(r"\s*(['\"]).*\1", "", error.problem or "", flags=re.DOTALL)
    return f"is not YAML: {said}" if said else "is not YAML"
