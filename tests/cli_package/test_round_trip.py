"""What the Salesforce CLI makes of the source, and gets back from an org that has it."""

import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.cli_package.conftest import Desk, command
from tests.cli_package.source import INSIDE_OBJECT, NAMESPACE, components, meanings

pytestmark = pytest.mark.package

DEPLOY = ("project", "deploy", "start", "--source-dir", "metronome")
# The folder in which the CLI puts what its project does not have yet.
DEFAULT = "main/default/"


def test_retrieved_source_says_what_was_deployed(desk: Desk, tmp_path: Path) -> None:
    """Into a project that has nothing, so that all of it comes from the org."""
    desk.cli.run(*DEPLOY)
    desk.cli.run("project", "generate", "manifest", "--source-dir", "metronome")
    empty = tmp_path / "empty"
    (empty / "metronome").mkdir(parents=True)
    for name in ("sfdx-project.json", "package.xml"):
        shutil.copy(desk.project / name, empty)

    result = desk.cli.within(empty).json(
        "project", "retrieve", "start", "--manifest", "package.xml"
    )

    assert result["success"] is True
    assert {(each["type"], each["fullName"]) for each in result["files"]} >= set(
        components(desk.project / "metronome")
    )
    retrieved = meanings(empty / "metronome", without=DEFAULT)
    # The CLI wants a file for the object of each field, also where there is nothing to write.
    assert retrieved.pop("objects/Account/Account.object-meta.xml") == ("CustomObject", "", ())
    assert retrieved == meanings(desk.project / "metronome")


def test_retrieving_over_the_source_leaves_it_as_it_is(desk: Desk) -> None:
    """What a person sees who retrieves right after a deploy: no change, and no new file."""
    before = meanings(desk.project / "metronome")
    desk.cli.run(*DEPLOY)

    desk.cli.run("project", "retrieve", "start", "--source-dir", "metronome")

    assert meanings(desk.project / "metronome") == before


def test_zip_holds_what_the_cli_makes_of_the_source(desk: Desk, tmp_path: Path) -> None:
    content = tmp_path / "metronome.zip"
    command("package", "zip", str(content))
    shutil.unpack_archive(content, tmp_path / "ours")

    arguments = ["--root-dir", "metronome", "--output-dir", str(tmp_path / "theirs")]
    desk.cli.run("project", "convert", "source", *arguments)

    ours, theirs = meanings(tmp_path / "ours"), meanings(tmp_path / "theirs")
    assert members(tmp_path / "ours") == {
        kind: names
        for kind, names in members(tmp_path / "theirs").items()
        if kind not in INSIDE_OBJECT
    } | {"CustomField": account_fields(desk.project / "metronome")}
    del ours["package.xml"], theirs["package.xml"]
    assert ours == theirs


def members(folder: Path) -> dict[str, set[str]]:
    """The members that package.xml names, by their type."""
    found = {}
    for types in ET.fromstring((folder / "package.xml").read_bytes()):  # noqa: S314 -- ours or the CLI's
        # The CLI puts a slash behind the names of folders.
        texts = (each.text or "" for each in types.iter(f"{{{NAMESPACE}}}members"))
        names = {text.removesuffix("/") for text in texts}
        kind = types.findtext(f"{{{NAMESPACE}}}name")
        if kind is not None:
            found[kind] = names
    return found


def account_fields(source: Path) -> set[str]:
    """The fields that are named one by one, as their object is the platform's."""
    found = components(source)
    own = {name for kind, name in found if kind == "CustomObject"}
    return {
        name for kind, name in found if kind == "CustomField" and name.partition(".")[0] not in own
    }
