"""What the chart has from elsewhere is as it is there, and its values are the ones it reads."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.generate import CHART, CRDS, ROOT, crd_copies, readme, schema, values

Json = dict[str, Any]
AGAIN = "write it again with: make chart"


def chart_yaml() -> Json:
    document: Json = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    return document


def test_crds_are_the_project_s() -> None:
    """Byte for byte, and no other file."""
    expected = {path: text.encode() for path, text in crd_copies().items()}

    there = {path: path.read_bytes() for path in (CHART / "files/crds").iterdir()}
    assert expected == there, AGAIN


def test_schema_has_the_crd_s_spec() -> None:
    assert schema() == (CHART / "values.schema.json").read_text("utf-8"), AGAIN


def test_readme_has_every_value() -> None:
    assert readme() == (CHART / "README.md").read_text("utf-8"), AGAIN


def test_a_value_without_comment_is_noticed() -> None:
    text = "# The image.\nimage:\n  # Where.\n  repository: a\n\n  tag: b\n"

    with pytest.raises(ValueError, match=r"image\.tag has no comment"):
        list(values(text))


def test_comments_become_lines_of_the_table() -> None:
    text = "# What\n# it does.\na: 1\n# B.\nb:\n  # Of c.\n  c: x\n  # Whole.\n  d:\n    e: 2\n"

    found = [(one.path, one.meaning, one.default) for one in values(text)]

    expected = [
        ("a", "What it does.", 1),
        ("b.c", "Of c.", "x"),
        ("b.d", "Whole.", {"e": 2}),
    ]
    assert expected == found


def test_comments_are_sentences() -> None:
    for one in values((CHART / "values.yaml").read_text("utf-8")):
        assert re.fullmatch(r"[A-Z0-9/`].*[.]", one.meaning), one.path


def test_versions_are_the_project_s() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    chart = chart_yaml()

    assert {project["version"]} == {chart["version"], chart["appVersion"]}


def test_annotations_name_the_kinds() -> None:
    """What a catalogue shows of the CRDs is so; for its examples see test_values."""
    crds = [yaml.safe_load(path.read_text("utf-8")) for path in CRDS.glob("*.yaml")]
    told = yaml.safe_load(chart_yaml()["annotations"]["artifacthub.io/crds"])

    assert {(one["metadata"]["name"], one["spec"]["names"]["kind"]) for one in crds} == {
        (one["name"], one["kind"]) for one in told
    }


def test_templates_read_the_values_that_there_are() -> None:
    """Neither does one read a value that nobody can set, nor is one set that nothing reads."""
    text = "\n".join(
        path.read_text("utf-8") for path in (CHART / "templates").rglob("*") if path.is_file()
    )
    read = set(re.findall(r"\.Values\.([A-Za-z.]+[A-Za-z])", text))
    known = [one.path for one in values((CHART / "values.yaml").read_text("utf-8"))]

    unknown = {
        path for path in read if not any(one == path or one.startswith(f"{path}.") for one in known)
    }
    assert set() == unknown
    idle = {one for one in known if not _is_read(one, read, text)}
    assert set() == idle


def _is_read(path: str, read: set[str], text: str) -> bool:
    """By its whole path, or inside `with` its parent by its last name."""
    if path in read:
        return True
    parents = path.split(".")[:-1]
    above = {".".join(parents[: n + 1]) for n in range(len(parents))}
    return bool(above & read) and re.search(rf"\.{path.rpartition('.')[2]}\b", text) is not None


def test_schema_knows_the_values_that_there_are() -> None:
    """All of them, and none besides but what Helm and a chart above set."""
    document = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    known = {
        one.path.partition(".")[0] for one in values((CHART / "values.yaml").read_text("utf-8"))
    }

    assert known | {"global", "enabled"} == set(document["properties"])
    for path, one in _objects(document, "values"):
        assert one.get("additionalProperties") is not True, path


def _objects(schema_: Json, path: str) -> list[tuple[str, Json]]:
    found = [(path, schema_)] if "properties" in schema_ else []
    for name, one in schema_.get("properties", {}).items():
        found += _objects(one, f"{path}.{name}")
    return found


def test_every_document_of_the_hooks_has_a_file() -> None:
    """The scripts that hooks run are files, which are linted, and not text in a template."""
    scripts = {path.name for path in (CHART / "files/hooks").glob("*.py")}
    text = "\n".join(Path(p).read_text("utf-8") for p in (CHART / "templates").rglob("*.yaml"))

    assert scripts == set(re.findall(r'\.Files\.Get "files/hooks/([a-z]+\.py)"', text))
