"""Every list view of the package over a filled org: the rows that the stored values say it has."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from metronome_salesforce.sandbox.salesforce import INTEGRATION, SalesforceOrg
from metronome_salesforce.sandbox.salesforce.listviews import list_views, run_list_view
from tests.stage import NOW, Stage

TODAY = NOW.date()
PERSON = "person@sandbox.example"
SOURCE = Path(__file__).parents[2] / "operator/metronome_salesforce/package/metronome/objects"
Row = dict[str, Any]


@pytest.fixture(scope="module")
def filled() -> Iterator[SalesforceOrg]:
    """A tenant in the org: a customer linked, one whose link is pending, and rows of all kinds."""
    with Stage() as stage:
        asyncio.run(stage.cycle())
        org = stage.org
        linked, pending = org.rows("Metronome_Orphan_Customer__c")[:2]
        account = stage.account("Acme")
        org.update("Metronome_Orphan_Customer__c", linked["Id"], {"Account__c": account},
                   username=INTEGRATION)  # fmt: skip
        asyncio.run(stage.cycle())
        org.update("Metronome_Orphan_Customer__c", pending["Id"], {"Account__c": account},
                   username=INTEGRATION)  # fmt: skip
        _add(org, "Metronome_Sync_Run__c", "Run_ID__c", [{"Rows_Rejected__c": 2}, {}])
        _add(org, "Metronome_Credit_Grant__c", "Metronome_Credit_Grant_ID__c", _grants())
        _add(org, "Metronome_Usage__c", "External_ID__c", [
            {"Start__c": (TODAY - timedelta(days=days)).isoformat()} for days in (0, 30, 31)
        ])  # fmt: skip
        _add(org, "Metronome_Customer_Plan__c", "Metronome_Customer_Plan_ID__c", [
            {"Starting_On__c": "2026-01-01", "Ending_On__c": TODAY.isoformat()},
            {"Starting_On__c": TODAY.isoformat()},
        ])  # fmt: skip
        org.add_user(PERSON)
        org.assign_permission_set(PERSON, "Metronome_User")
        yield org


def _grants() -> list[Row]:
    """Grants on both sides of every border: days to expiration, and share that is left."""

    def grant(days: int, left: float) -> Row:
        return {
            "Effective_Date__c": "2026-01-01", "Initial_Grant_Amount__c": 100,
            "Balance_Including_Pending__c": left,
            "Expiration_Date__c": (TODAY + timedelta(days=days)).isoformat(),
        }  # fmt: skip

    return [grant(0, 1), grant(1, 19.99), grant(30, 20), grant(31, 0), grant(400, 90)]


def _add(org: SalesforceOrg, sobject: str, key: str, rows: list[Row]) -> None:
    named = not sobject.endswith(("Run__c", "Usage__c"))
    for number, row in enumerate(rows):
        name = {"Name": f"Added {number}"} if named else {}
        org.insert(sobject, {key: f"added-{number}", **name, **row}, username=INTEGRATION)


def _every(row: Row) -> bool:
    return bool(row["Id"])


def _day(row: Row, field: str) -> date | None:
    return date.fromisoformat(row[field]) if row[field] else None


def _in_effect(row: Row, start: str, end: str) -> bool:
    begins, ends = _day(row, start), _day(row, end)
    return begins is not None and begins <= TODAY and (ends is None or ends > TODAY)


def _active_grant(row: Row) -> bool:
    return _in_effect(row, "Effective_Date__c", "Expiration_Date__c")


def _expiring(row: Row) -> bool:
    ends, left = _day(row, "Expiration_Date__c"), row["Balance_Including_Pending__c"] or 0
    return _active_grant(row) and left > 0 and ends is not None and 1 <= (ends - TODAY).days <= 30


def _running_low(row: Row) -> bool:
    amount, left = row["Initial_Grant_Amount__c"] or 0, row["Balance_Including_Pending__c"] or 0
    return _active_grant(row) and amount > 0 and left < amount / 5


def _pending(row: Row) -> bool:
    return bool(row["Relinking__c"]) or row["Account__c"] != row["Linked_Account_ID__c"]


def _recent(row: Row) -> bool:
    begins = _day(row, "Start__c")
    return begins is not None and 0 <= (TODAY - begins).days <= 30


SOME: dict[tuple[str, str], Callable[[Row], bool]] = {
    ("Metronome_Credit_Grant__c", "Expiring_in_30_Days"): _expiring,
    ("Metronome_Credit_Grant__c", "Running_Low"): _running_low,
    ("Metronome_Customer_Plan__c", "Active"):
        lambda row: _in_effect(row, "Starting_On__c", "Ending_On__c"),
    ("Metronome_Invoice__c", "Current_Draft"): lambda row: row["Status__c"] == "Draft",
    ("Metronome_Orphan_Customer__c", "Link_Pending"): _pending,
    ("Metronome_Orphan_Customer__c", "Linked"):
        lambda row: row["Account__c"] is not None and not _pending(row),
    ("Metronome_Orphan_Customer__c", "Orphaned"):
        lambda row: row["Account__c"] is None and not _pending(row),
    ("Metronome_Orphan_Customer__c", "Top_Spend"): lambda row: (row["Current_Spend__c"] or 0) > 0,
    ("Metronome_Sync_Run__c", "Latest"): lambda row: bool(row["Is_Latest__c"]),
    ("Metronome_Sync_Run__c", "With_Rejected_Rows"):
        lambda row: (row["Rows_Rejected__c"] or 0) > 0,
    ("Metronome_Usage__c", "Last_30_Days"): _recent,
}  # fmt: skip


def _views(org: SalesforceOrg) -> list[tuple[str, str]]:
    return [
        (sobject.name, name)
        for sobject in org.state.schema.objects.values()
        for name, _ in list_views(org.state, sobject.name)
    ]


def test_each_view_has_the_rows_it_should(filled: SalesforceOrg) -> None:
    """All means all; every other view leaves some rows out, and has some."""
    for sobject, name in _views(filled):
        rows = filled.rows(sobject)
        wanted = SOME.get((sobject, name), _every)
        expected = {row["Id"] for row in rows if wanted(row)}
        found = run_list_view(filled.state, filled.state.user(PERSON), sobject, name)
        assert (sobject, name, {row.id for row in found.rows}) == (sobject, name, expected)
        assert len(found.rows) == len(expected) > 0
        assert (name == "All") == (len(expected) == len(rows)), (sobject, name)
    assert set(SOME) == {each for each in _views(filled) if each[1] != "All"}


def test_a_person_sees_every_column_with_its_value(filled: SalesforceOrg) -> None:
    """The permission set for people leaves out no column; values are what is stored."""
    for sobject, name in _views(filled):
        path = SOURCE / sobject / "listViews" / f"{name}.listView-meta.xml"
        element = ET.parse(path)  # noqa: S314 -- our own file
        columns = [each.text for each in element.iterfind("{*}columns")]
        found = run_list_view(filled.state, filled.state.user(PERSON), sobject, name)
        assert [each.name for each in found.columns] == columns
        stored = {row["Id"]: row for row in filled.rows(sobject)}
        for row in found.rows:
            for column, value in zip(found.columns, row.values, strict=True):
                kept = stored[row.id].get("Name" if column.name == "NAME" else column.name)
                if column.name.endswith("__c") and column.type == "string" and _is_id(kept):
                    continue
                if column.name == "NAME" or column.name.endswith("__c"):
                    assert (column.name, value) == (column.name, kept)


def test_lookups_show_the_names_of_parents(filled: SalesforceOrg) -> None:
    found = run_list_view(
        filled.state, filled.state.user(PERSON), "Metronome_Orphan_Customer__c", "Linked"
    )
    at = [each.name for each in found.columns].index("Account__c")
    assert [row.values[at] for row in found.rows] == ["Acme"]


def _is_id(value: object) -> bool:
    return isinstance(value, str) and len(value) == 18 and value[3:7] == "Hs00"
