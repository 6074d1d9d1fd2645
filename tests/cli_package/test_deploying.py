"""The exported source and the zip, deployed by the Salesforce CLI in each of its ways."""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.cli_package.conftest import Desk, command
from tests.cli_package.source import components

pytestmark = pytest.mark.package

DEPLOY = ("project", "deploy", "start", "--source-dir", "metronome")
REST = {"SF_ORG_METADATA_REST_DEPLOY": "true"}
INVOICE = "Metronome_Invoice__c"


def states(result: Any) -> dict[tuple[str, str], str]:
    """What became of each component, by its type and full name."""
    return {(each["type"], each["fullName"]): each["state"] for each in result["files"]}


def calls(desk: Desk, part: str) -> int:
    """How many requests had a path with that part."""
    return sum(part in each.path for each in desk.sandbox.requests)


@pytest.mark.parametrize(("env", "used", "unused"), [
    pytest.param({}, "/services/Soap/m/", "/metadata/deployRequest", id="SOAP, the default"),
    pytest.param(REST, "/metadata/deployRequest", "/services/Soap/m/", id="REST"),
])  # fmt: skip
def test_deploy_creates_every_component_of_the_source(
    desk: Desk, env: dict[str, str], used: str, unused: str
) -> None:
    source = components(desk.project / "metronome")

    result = desk.cli.json(*DEPLOY, env=env)

    assert states(result) == dict.fromkeys(source, "Created")
    assert result["success"] is True
    assert result["numberComponentsDeployed"] == result["numberComponentsTotal"] == len(source)
    assert Counter(kind for kind, _ in states(result)) == Counter(kind for kind, _ in source)
    files = {Path(each["filePath"]) for each in result["files"]}
    assert files == set(source.values())
    assert calls(desk, used)
    assert not calls(desk, unused)


def test_deploy_again_changes_nothing(desk: Desk) -> None:
    created = states(desk.cli.json(*DEPLOY))

    again = states(desk.cli.json(*DEPLOY))

    assert again == dict.fromkeys(created, "Unchanged")


def test_zip_is_the_same_package_as_the_source(desk: Desk, tmp_path: Path) -> None:
    content = tmp_path / "metronome.zip"
    command("package", "zip", str(content))
    arguments = ["project", "deploy", "start", "--metadata-dir", str(content), "--single-package"]
    source = components(desk.project / "metronome")

    by_zip = desk.cli.json(*arguments)
    by_source = states(desk.cli.json(*DEPLOY))

    assert by_zip["numberComponentErrors"] == 0
    assert by_zip["numberComponentsDeployed"] == len(source)
    assert by_source == dict.fromkeys(source, "Unchanged")


@pytest.mark.parametrize("arguments", [
    pytest.param(("project", "deploy", "validate", "--source-dir", "metronome"), id="validate"),
    pytest.param((*DEPLOY, "--dry-run"), id="dry run"),
])  # fmt: skip
def test_validation_finds_nothing_and_changes_nothing(
    desk: Desk, arguments: tuple[str, ...]
) -> None:
    result = desk.cli.json(*arguments)

    assert result["checkOnly"] is True
    assert result["success"] is True
    assert set(states(result)) == set(components(desk.project / "metronome"))
    assert desk.org.state.schema.get(INVOICE) is None


@pytest.mark.parametrize(("file", "old", "new", "row"), [
    pytest.param(
        f"objects/{INVOICE}/fields/Plan_Name__c.field-meta.xml",
        "<length>255</length>", "<length>900</length>",
        ("CustomField", f"{INVOICE}.Plan_Name__c", "Length must be between 1 and 255"),
        id="a text that is too long",
    ),
    pytest.param(
        f"objects/{INVOICE}/fields/Status__c.field-meta.xml",
        "<type>Picklist</type>", "<type>Pick</type>",
        ("CustomObject", INVOICE, "'Pick' is not a valid value for the enum 'FieldType'"),
        id="an unknown type",
    ),
    pytest.param(
        f"objects/{INVOICE}/fields/Orphaned_Customer__c.field-meta.xml",
        "<referenceTo>Metronome_Orphan_Customer__c</referenceTo>",
        "<referenceTo>Metronome_Customer__c</referenceTo>",
        ("CustomField", f"{INVOICE}.Orphaned_Customer__c",
         "referenceTo value of 'Metronome_Customer__c' does not resolve to a valid sObject type"),
        id="a lookup to nothing",
    ),
])  # fmt: skip
def test_broken_source_is_refused_with_a_table_of_failures(
    desk: Desk, file: str, old: str, new: str, row: tuple[str, ...]
) -> None:
    broken = desk.project / "metronome" / file
    text = broken.read_text("utf-8")
    assert old in text
    broken.write_text(text.replace(old, new), "utf-8")

    finished = desk.cli.run(*DEPLOY, code=1)

    rows = failures(finished.output)
    assert row in rows
    assert f"Component Failures [{len(rows)}]" in finished.output
    assert desk.org.state.schema.get(INVOICE) is None


def failures(output: str) -> list[tuple[str, str, str]]:
    """Type, name and problem in each line of the CLI's table of failures."""
    lines = output.partition("Component Failures [")[2].splitlines()
    [head] = [line for line in lines if line.split() == ["Type", "Name", "Problem", "Line:Column"]]
    starts = [head.index(name) for name in ("Type", "Name", "Problem", "Line:Column")]
    kind, name, problem = (slice(*each) for each in pairwise(starts))
    rows = [line for line in lines[lines.index(head) + 2 :] if line.strip()]
    return [(row[kind].strip(), row[name].strip(), row[problem].strip()) for row in rows]
