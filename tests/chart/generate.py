"""Write what the chart has from elsewhere: `python -m tests.chart.generate` (`make chart`).

The CRDs are copies of crds/; the schema of a MetronomeSync in values.schema.json is that of its
CRD; the README's table of values is made from the comments in values.yaml; the golden files are
what Helm renders. `test_generated.py` and `test_render.py` fail when one of them is not up to date.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.chart import render

ROOT = Path(__file__).resolve().parents[2]
CRDS = ROOT / "crds"
CHART = ROOT / "charts" / "metronome-salesforce-operator"
SCHEMA = CHART / "values.schema.json"
SPEC = "metronomeSyncSpec"
TABLE = re.compile(r"(?<=<!-- generated: values -->\n).*?(?=<!-- end -->)", re.DOTALL)
_KEPT = (
    *("type", "description", "default", "enum", "required", "format", "pattern"),
    *("minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems"),
)
_KEY = re.compile(r"( *)([A-Za-z]\w*):(?: (.*))?")

Json = dict[str, Any]


# -- CRDs ------------------------------------------------------------------------------------------


def crd_copies() -> dict[Path, str]:
    """The files that the chart has a copy of, and their content."""
    return {CHART / "files/crds" / one.name: one.read_text("utf-8") for one in CRDS.glob("*.yaml")}


# -- schema ----------------------------------------------------------------------------------------


def schema() -> str:
    """values.schema.json with the spec of MetronomeSync as its CRD has it."""
    document = json.loads(SCHEMA.read_text("utf-8"))
    crd = yaml.safe_load((CRDS / "metronomesyncs.yaml").read_text("utf-8"))
    of_crd = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    document["$defs"][SPEC] = strict(of_crd)
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def strict(of_crd: Json) -> Json:
    """The same as JSON Schema that refuses unknown keys; CEL rules are left to the API server."""
    made = {key: of_crd[key] for key in _KEPT if key in of_crd}
    if "properties" in of_crd:
        made["additionalProperties"] = False
        made["properties"] = {name: strict(one) for name, one in of_crd["properties"].items()}
    if "items" in of_crd:
        made["items"] = strict(of_crd["items"])
    return made


# -- table of values -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Value:
    """One line of the table: the path (`image.tag`), what it is, and its default."""

    path: str
    meaning: str
    default: Any


def values(text: str) -> Iterator[Value]:
    """Every value of values.yaml with the comment above it.

    A mapping whose first key has no comment is one value in one piece. Raises ValueError for a key
    without a comment.
    """
    document = yaml.safe_load(text)
    comment: list[str] = []
    parents: list[tuple[int, str]] = []
    whole: int | None = None  # the indentation below which all belongs to one value
    lines = text.splitlines()
    for number, line in enumerate(lines):
        stripped = line.strip()
        if stripped.startswith("#"):
            comment.append(stripped.removeprefix("#").strip())
            continue
        found = _KEY.fullmatch(line)
        if not found:
            continue
        indent = len(found[1])
        if whole is not None and indent > whole:
            continue
        whole = None
        parents = [one for one in parents if one[0] < indent]
        path = ".".join([*(name for _, name in parents), found[2]])
        if not comment:
            raise ValueError(f"values.yaml: {path} has no comment")
        following = lines[number + 1].strip() if number + 1 < len(lines) else ""
        if found[3] is None and following.startswith("#"):
            parents.append((indent, found[2]))
        else:
            whole = indent
            yield Value(path, " ".join(comment), _at(document, path))
        comment = []


def _at(document: Json, path: str) -> Any:
    for name in path.split("."):
        document = document[name]
    return document


def table() -> str:
    """The table of the chart's README."""
    lines = ["| value | default | meaning |", "| --- | --- | --- |"]
    lines += [
        f"| `{one.path}` | `{json.dumps(one.default)}` | {one.meaning} |".replace("`{}`", "`{}`")
        for one in values((CHART / "values.yaml").read_text("utf-8"))
    ]
    return "\n" + "\n".join(lines) + "\n\n"


def readme() -> str:
    """The chart's README with its table."""
    return TABLE.sub(lambda _: table(), (CHART / "README.md").read_text("utf-8"))


def main() -> None:
    """Write all of it."""
    for path, text in crd_copies().items():
        path.write_text(text, "utf-8")
    SCHEMA.write_text(schema(), "utf-8")
    (CHART / "README.md").write_text(readme(), "utf-8")
    for path, text in render.goldens().items():
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
