"""Whether a metadata file has the structure its type demands: the Metadata API's own schema.

The WSDL (v63) comes inside the simple-salesforce distribution; it is read as data on the first
deploy, without importing that package. Order is not enforced, as the platform does not either.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree as ET

from metronome_salesforce.sandbox.salesforce.packages import local_name

_XSD = "{http://www.w3.org/2001/XMLSchema}"
_MOST_PROBLEMS = 20
# WSDL v63 calls these required although file-based metadata leaves them out.
_OPTIONAL = frozenset({"fullName"})


@dataclass(slots=True)
class _Type:
    base: str | None = None
    elements: dict[str, tuple[str, bool, bool]] = field(default_factory=dict)


@dataclass(slots=True)
class _Definitions:
    types: dict[str, _Type] = field(default_factory=dict)
    enums: dict[str, set[str]] = field(default_factory=dict)


@lru_cache(maxsize=1)
def _definitions() -> _Definitions:
    found = _Definitions()
    spec = find_spec("simple_salesforce")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("metadata.wsdl: the simple-salesforce distribution is missing")
    path = Path(spec.origin).with_name("metadata.wsdl")
    for _, element in ET.iterparse(path):  # noqa: S314 -- a file of an installed package
        if element.tag == f"{_XSD}complexType" and element.get("name"):
            found.types[element.get("name", "")] = _complex(element)
        elif element.tag == f"{_XSD}simpleType" and element.get("name"):
            values = {each.get("value", "") for each in element.iter(f"{_XSD}enumeration")}
            if values:
                found.enums[element.get("name", "")] = values
    return found


def _complex(element: ET.Element) -> _Type:
    made = _Type()
    for extension in element.iter(f"{_XSD}extension"):
        made.base = extension.get("base", "").rpartition(":")[2]
    for each in element.iter(f"{_XSD}element"):
        name, kind = each.get("name"), each.get("type", "").rpartition(":")[2]
        if name:
            many = each.get("maxOccurs") == "unbounded"
            required = each.get("minOccurs", "1") != "0" and not many
            made.elements[name] = (kind, many, required)
    return made


def _elements(name: str) -> dict[str, tuple[str, bool, bool]]:
    known = _definitions().types
    made = known.get(name)
    if made is None:
        return {}
    return {**(_elements(made.base) if made.base else {}), **made.elements}


def structure_problems(kind: str, element: ET.Element) -> list[str]:
    """What is wrong with the file, in the platform's words; empty if nothing is."""
    if kind not in _definitions().types:
        return []
    if local_name(element) != kind:
        return [f"Error parsing file: Element {element.tag} does not match type {kind}"]
    problems: list[str] = []
    _check(kind, element, problems)
    return problems[:_MOST_PROBLEMS]


def _check(kind: str, element: ET.Element, problems: list[str]) -> None:
    known = _elements(kind)
    seen: set[str] = set()
    for each in element:
        name = local_name(each)
        if name not in known:
            problems.append(
                f"Error parsing file: Element {each.tag} invalid at this location in type {kind}"
            )
            continue
        type_name, many, _ = known[name]
        if name in seen and not many:
            problems.append(
                f"Error parsing file: Element {name} is duplicated at this location in type {kind}"
            )
        seen.add(name)
        _check_value(type_name, each, problems)
    for name, (_, _, required) in known.items():
        if required and name not in seen and name not in _OPTIONAL:
            problems.append(f"Required field is missing: {name}")


def _check_value(type_name: str, each: ET.Element, problems: list[str]) -> None:
    text = (each.text or "").strip()
    enum = _definitions().enums.get(type_name)
    if enum is not None:
        if text not in enum:
            problems.append(f"'{text}' is not a valid value for the enum '{type_name}'")
        return
    if type_name == "boolean" and text.lower() not in {"true", "false", "0", "1"}:
        problems.append(f"Error parsing file: '{text}' is not a valid value for the type boolean")
    elif type_name == "int" and not text.lstrip("-").isdigit():
        problems.append(f"Error parsing file: '{text}' is not a valid value for the type int")
    elif type_name in _definitions().types:
        _check(type_name, each, problems)
