"""A person's day with the Salesforce CLI: install the package, let the sync fill it, look at rows.

One org for all tests here, which only look: installed by the CLI alone, filled by one cycle.
"""

# ruff: noqa: S608 -- SOQL of constants

import asyncio
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from metronome_salesforce.report import Outcome
from metronome_salesforce.sandbox.salesforce import ADMIN, INTEGRATION
from tests.cli_package.conftest import token
from tests.cli_package.source import components
from tests.salesforce_cli.install import Programs
from tests.salesforce_cli.running import SalesforceCli
from tests.stage import Stage

# The first one waits for the installation and the cycle, too.
pytestmark = [pytest.mark.package, pytest.mark.timeout(300)]

PERSON = "person@sandbox.example"
STRANGER = "stranger@sandbox.example"
INVOICE = "Metronome_Invoice__c"


@dataclass(frozen=True, slots=True)
class Filled:
    """An org with the package and rows, and the CLI, logged in as several users."""

    stage: Stage
    cli: SalesforceCli
    source: Path

    def query(self, soql: str, *, user: str = PERSON) -> list[dict[str, Any]]:
        """The records of a query, without what the API says about them."""
        arguments = ("data", "query", "--query", soql, "--target-org", user)
        records = self.cli.json(*arguments)["records"]
        return [{k: v for k, v in each.items() if k != "attributes"} for each in records]


@pytest.fixture(scope="module")
def filled(
    exported_source: Path, programs: Programs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Filled]:
    folder = tmp_path_factory.mktemp("filled")
    cli = SalesforceCli(programs, folder / "home", exported_source)
    with Stage(lookback=5, package=False) as stage:
        for name in (PERSON, STRANGER):
            stage.org.add_user(name, name="Sandbox Person")
        for name in (PERSON, STRANGER, INTEGRATION, ADMIN):  # the last one is the default
            cli.log_in(stage.salesforce_url, token(stage.org, name))
        cli.run("project", "deploy", "start", "--source-dir", "metronome")
        for name, user in (("Metronome_Integration", INTEGRATION), ("Metronome_User", PERSON)):
            cli.run("org", "assign", "permset", "--name", name, "--on-behalf-of", user)
        report = asyncio.run(stage.cycle())
        assert report.outcome is Outcome.SUCCEEDED, report.message
        yield Filled(stage, cli, exported_source / "metronome")


def test_permission_sets_are_assigned_to_whom_was_named(filled: Filled) -> None:
    soql = "SELECT PermissionSet.Name, Assignee.Username FROM PermissionSetAssignment"

    found = filled.query(soql, user=ADMIN)

    pairs = {(each["PermissionSet"]["Name"], each["Assignee"]["Username"]) for each in found}
    assert pairs == {("Metronome_Integration", INTEGRATION), ("Metronome_User", PERSON)}


def test_person_with_the_set_sees_every_invoice(filled: Filled) -> None:
    fields = (
        "Metronome_Invoice_ID__c",
        "Name",
        "Status__c",
        "Total__c",
        "Start__c",
        "Is_Current__c",
    )
    rows = filled.stage.org.rows(INVOICE)
    assert len(rows) > 10

    found = filled.query(f"SELECT {', '.join(fields)} FROM {INVOICE}")

    shown = {each[fields[0]]: each for each in found}
    assert shown == {row[fields[0]]: {name: row[name] for name in fields} for row in rows}


def test_query_as_a_table(filled: Filled) -> None:
    soql = f"SELECT Name, Customer_Name__c FROM {INVOICE} ORDER BY Name LIMIT 3"
    first = filled.query(soql)

    finished = filled.cli.run("data", "query", "--query", soql, "--target-org", PERSON)

    assert all(each["Name"] in finished.output for each in first)
    assert "Total number of records retrieved: 3." in finished.output


def test_stranger_without_the_set_sees_no_object(filled: Filled) -> None:
    arguments = ("data", "query", "--query", f"SELECT Id FROM {INVOICE}")

    answer = filled.cli.json(*arguments, "--target-org", STRANGER, code=1)

    assert f"sObject type '{INVOICE}' is not supported" in answer["message"]


def test_installed_version_is_that_of_the_source(filled: Filled) -> None:
    soql = "SELECT Version__c FROM Metronome_Package__mdt WHERE DeveloperName = 'Current'"
    version = components(filled.source)["CustomMetadata", "Metronome_Package.Current"]

    [record] = filled.query(soql, user=INTEGRATION)

    assert f">{record['Version__c']}<" in version.read_text("utf-8")


def test_bulk_export_has_every_row(filled: Filled, tmp_path: Path) -> None:
    fields = ["Id", "Name", "Metronome_Customer_ID__c", "Current_Spend__c"]
    soql = f"SELECT {', '.join(fields)} FROM Metronome_Orphan_Customer__c"
    file = tmp_path / "customers.csv"

    arguments = ("data", "export", "bulk", "--query", soql, "--output-file", str(file))
    result = filled.cli.json(*arguments, "--target-org", PERSON, "--wait", "2")

    rows = filled.stage.org.rows("Metronome_Orphan_Customer__c")
    assert result["totalSize"] == len(rows) > 0
    with file.open(encoding="utf-8", newline="") as content:
        exported = list(csv.DictReader(content))
    assert list(exported[0]) == fields
    spend = {each["Id"]: each["Current_Spend__c"] for each in rows}
    assert {each["Id"]: each["Current_Spend__c"] for each in exported} == {
        key: "" if value is None else str(value) for key, value in spend.items()
    }


def test_description_has_the_fields_of_the_source(filled: Filled) -> None:
    fields = {name for kind, name in components(filled.source) if kind == "CustomField"}

    for sobject in (INVOICE, "Account"):
        found = filled.cli.json("sobject", "describe", "--sobject", sobject, "--target-org", PERSON)
        custom = {f"{sobject}.{each['name']}" for each in found["fields"] if each["custom"]}
        assert custom == {name for name in fields if name.startswith(f"{sobject}.")}


def test_metadata_is_listed_as_the_source_has_it(filled: Filled) -> None:
    """One call for each type; reports and dashboards are listed folder by folder."""
    source = components(filled.source)
    kinds = sorted({kind for kind, _ in source})
    for kind in kinds:
        folder = ("--folder", "Metronome") if kind in {"Report", "Dashboard"} else ()
        found = filled.cli.json("org", "list", "metadata", "--metadata-type", kind, *folder)
        names = {each["fullName"] for each in found}
        expected = {name for each, name in source if each == kind}
        if kind == "CustomObject":  # the standard ones are listed, too
            names = {name for name in names if name in expected or name.startswith("Metronome_")}
        assert names == expected, kind
        assert {each["type"] for each in found} == {kind}
