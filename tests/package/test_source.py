"""The package's source against the code: generated files are up to date, and values fit fields."""

import json
import tomllib
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from metronome_salesforce.canon import (
    Checkbox,
    Date,
    DateTime,
    LongText,
    Lookup,
    MasterDetail,
    Number,
    Picklist,
    Text,
)
from metronome_salesforce.mapping import Field, ObjectMapping, Role
from metronome_salesforce.objects import ACCOUNT_SUMMARY, PACKAGED
from metronome_salesforce.salesforce.package import package_files, package_version
from tests.package.generate import SOURCE, generated, is_generated

ROOT = Path(__file__).parents[2]
NS = "{http://soap.sforce.com/2006/04/metadata}"
FILES = package_files()
WRITTEN = [
    pytest.param(mapping, field, id=f"{mapping.name}.{field.api}")
    for mapping in (*PACKAGED, ACCOUNT_SUMMARY)
    for field in mapping.fields
    if field.role is not Role.PLATFORM and field.api != "Name"
]


def test_the_generated_files_are_as_the_declarations_have_them() -> None:
    """After a change to objects.py: make package."""
    files = {
        path.relative_to(SOURCE).as_posix(): path.read_bytes()
        for path in SOURCE.rglob("*")
        if path.is_file()
    }
    assert {name: text for name, text in files.items() if is_generated(name)} == generated()


def test_project_package_and_operator_have_one_version() -> None:
    project = json.loads((SOURCE.parent / "sfdx-project.json").read_text("utf-8"))
    [directory] = project["packageDirectories"]
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]

    assert package_version() == declared
    assert directory["versionNumber"] == f"{declared}.NEXT"
    assert project["namespace"] == ""


def element(mapping: ObjectMapping, field: Field) -> dict[str, str]:
    """The elements of a field in the zip, those without children."""
    root = ET.fromstring(FILES[f"objects/{mapping.sobject}.object"])  # noqa: S314 -- our own file
    [found] = [
        one for one in root.findall(f"{NS}fields") if one.findtext(f"{NS}fullName") == field.api
    ]
    return {child.tag.removeprefix(NS): child.text or "" for child in found}


@pytest.mark.parametrize(("mapping", "field"), WRITTEN)
def test_a_field_that_is_written_can_hold_what_is_written(
    mapping: ObjectMapping, field: Field
) -> None:
    found = element(mapping, field)

    assert "formula" not in found
    assert found["type"] not in {"Summary", "AutoNumber"}
    match field.value_kind:
        case Text(length):
            assert (found["type"], int(found["length"]) >= length) == ("Text", True)
        case LongText(length):
            assert (found["type"], int(found["length"]) >= length) == ("LongTextArea", True)
        case Number(precision, scale):
            assert found["type"] == "Number"
            assert int(found["scale"]) >= scale
            assert int(found["precision"]) - int(found["scale"]) >= precision - scale
        case Lookup(target, _) | MasterDetail(target, _):
            assert found["referenceTo"] == target
        case Checkbox() | Date() | DateTime() | Picklist():
            assert found["type"] == type(field.value_kind).__name__
    assert (found.get("externalId") == "true") == field.external_id
    assert (found.get("unique") == "true") == field.unique


@pytest.mark.parametrize(("mapping", "field"), WRITTEN)
def test_a_field_that_is_written_is_open_to_the_integration(
    mapping: ObjectMapping, field: Field
) -> None:
    """Required and master-detail fields are open to everybody, and may not be named."""
    content = FILES["permissionsets/Metronome_Integration.permissionset"]
    found = [
        one
        for one in ET.fromstring(content).findall(f"{NS}fieldPermissions")  # noqa: S314 -- our own
        if one.findtext(f"{NS}field") == f"{mapping.sobject}.{field.api}"
    ]
    shape = element(mapping, field)
    if shape.get("required") == "true" or shape["type"] == "MasterDetail":
        assert found == []
    else:
        assert [one.findtext(f"{NS}editable") for one in found] == ["true"]


def test_every_custom_field_explains_itself_to_people() -> None:
    for name, content in FILES.items():
        if not name.startswith("objects/"):
            continue
        for one in ET.fromstring(content).findall(f"{NS}fields"):  # noqa: S314 -- our own file
            label = one.findtext(f"{NS}fullName")
            assert one.findtext(f"{NS}description"), f"{name} {label}"
            assert one.findtext(f"{NS}inlineHelpText"), f"{name} {label}"


def test_there_is_no_code_in_the_package() -> None:
    """An org must not have to test anything, and nothing of it can fail there."""
    folders = {name.partition("/")[0] for name in FILES if "/" in name}

    assert folders == {
        "applications", "customMetadata", "dashboards", "flexipages", "layouts", "objects",
        "permissionsets", "reportTypes", "reports", "tabs",
    }  # fmt: skip
    assert not any(name.startswith("layouts/Account") for name in FILES), "that page is not ours"
    assert [name for name in FILES if name.startswith("flexipages/")] == [
        "flexipages/Metronome_UtilityBar.flexipage"
    ]
