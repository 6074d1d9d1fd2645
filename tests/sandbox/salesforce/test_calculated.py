"""Formulas and roll-ups, as Python and SOQL see them."""

from typing import Any

import pytest

from metronome_salesforce.sandbox.salesforce import SalesforceOrg
from tests.sandbox.salesforce import metadata_zip as md
from tests.sandbox.salesforce.conftest import Clock


def invoice(org: SalesforceOrg, **values: Any) -> dict[str, Any]:
    org.insert("T_Invoice__c", {"Invoice_ID__c": f"in_{org.count('T_Invoice__c')}", **values})
    return org.rows("T_Invoice__c")[-1]


@pytest.mark.parametrize(
    ("values", "field", "expected"),
    [
        ({"Status__c": "Draft"}, "Is_Draft__c", True),
        ({"Status__c": "draft"}, "Is_Draft__c", False),
        ({}, "Is_Draft__c", False),
        ({"Start__c": "2026-01-01"}, "Active__c", True),
        ({"Start__c": "2026-01-31", "End__c": "2026-02-01"}, "Active__c", True),
        ({"Start__c": "2026-01-01", "End__c": "2026-01-31"}, "Active__c", False),
        ({"Start__c": "2026-02-01"}, "Active__c", False),
        ({}, "Active__c", False),
        ({"Total__c": 10, "Paid__c": 2.5}, "Open__c", 7.5),
        ({"Total__c": 10}, "Open__c", 10.0),  # blanks count as zero
        ({"Total__c": 10, "Paid__c": 2.5}, "Rest__c", 25.0),  # percent
        ({"Total__c": 3, "Paid__c": 1}, "Rest__c", 33.3),
        ({"Total__c": 0, "Paid__c": 1}, "Rest__c", None),
        ({}, "Rest__c", None),
        ({"End__c": "2026-02-10"}, "Days_Left__c", 10.0),
        ({"End__c": "2026-01-30"}, "Days_Left__c", -1.0),
        ({}, "Days_Left__c", None),
    ],
)
def test_formula_values(
    org: SalesforceOrg, values: dict[str, Any], field: str, expected: Any
) -> None:
    assert invoice(org, **values)[field] == expected


def test_formulas_move_with_the_day(org: SalesforceOrg, clock: Clock) -> None:
    invoice(org, End__c="2026-02-10")
    clock.advance(days=5)
    assert org.rows("T_Invoice__c")[0]["Days_Left__c"] == 5.0


def test_whether_a_link_is_pending(org: SalesforceOrg) -> None:
    """Ids in a formula have 15 characters; CASESAFEID makes 18 of them."""
    account = org.insert("Account", {"Name": "A"})
    customer = org.insert("T_Customer__c", {"Customer_ID__c": "c"})

    def seen(**values: Any) -> tuple[bool, bool]:
        org.update("T_Customer__c", customer, values)
        row = org.rows("T_Customer__c")[0]
        return row["Is_Linked__c"], row["Link_Pending__c"]

    assert seen() == (False, False)
    assert seen(Account__c=account) == (True, True)
    assert seen(Linked_Account_ID__c=account[:15]) == (True, True)
    assert seen(Linked_Account_ID__c=account) == (True, False)
    assert seen(Account__c=None) == (False, True)
    assert seen(Linked_Account_ID__c=None) == (False, False)


def test_a_hyperlink(org: SalesforceOrg) -> None:
    org.insert("T_Customer__c", {"Customer_ID__c": "c1"})
    assert org.rows("T_Customer__c")[0]["Link__c"] == (
        '<a href="https://x.example/c1" target="_blank">Open</a>'
    )


EXPRESSIONS = [
    ("Text", 'A__c & "-" & TEXT(N__c)', "x-2.5"),
    ("Text", 'IF(N__c > 2 && A__c = "x", "yes", "no")', "yes"),
    ("Text", 'IF(A__c = "X" || NOT(TRUE), "yes", "no")', "no"),
    ("Text", 'BLANKVALUE(B__c, "none")', "none"),
    ("Text", 'UPPER(LEFT("abc", 2)) & RIGHT("abc", 1)', "ABc"),
    ("Text", "B__c", None),
    ("Text", "CASESAFEID(Account__c)", "account"),
    ("Text", "Account__r.Name", "Acme"),
    ("Text", "IF(Account__c = NULL, \"none\", 'some')", "some"),
    ("Number", "2 + 3 * 4 ^ 2 / 8 - -1", 9.0),
    ("Number", "(2 + 3) * 4", 20.0),
    ("Number", "N__c / 0", None),
    ("Number", "ROUND(2.345, 2)", 2.35),
    ("Number", "MAX(1, 5, 3) + MIN(2, 1) + ABS(-2)", 8.0),
    ("Number", "Z__c + 1", 1.0),
    ("Number", "YEAR(D__c) * 100 + MONTH(D__c)", 202601.0),
    ("Number", "LEN(A__c)", 1.0),
    ("Number", 'VALUE("12.5")', 12.5),
    ("Number", "P__c", 0.25),
    ("Date", "D__c + 1", "2026-02-01"),
    ("Date", "TODAY() - 31", "2025-12-31"),
    ("Checkbox", 'CONTAINS("abc", "b")', True),
    ("Checkbox", "D__c = TODAY()", True),
    ("Checkbox", "D__c <> TODAY()", False),
    ("Checkbox", "ISBLANK(Z__c)", True),
    ("Checkbox", "Z__c = 0", True),
]


@pytest.mark.parametrize(("kind", "expression", "expected"), EXPRESSIONS)
def test_expressions(empty_org: SalesforceOrg, kind: str, expression: str, expected: Any) -> None:
    """Operators by precedence, functions, blanks, parents."""
    digits = "<precision>18</precision><scale>2</scale>" if kind == "Number" else ""
    content = md.custom_object(
        "Thing",
        md.text("A__c")
        + md.text("B__c")
        + md.number("N__c")
        + md.number("Z__c")
        + md.number("P__c", 5, 2, "Percent")
        + md.field("D__c", "Date")
        + md.lookup("Account__c", "Account", "Things")
        + md.formula("F__c", kind, expression, digits),
    )
    names = ("A__c", "N__c", "P__c", "D__c", "Account__c")
    grants = md.permission_set({}, {f"Thing__c.{each}": "rw" for each in names})
    result = empty_org.deploy(
        md.package_zip(
            {"objects/Thing__c.object": content, "permissionsets/P.permissionset": grants},
            {"CustomObject": ["Thing__c"], "PermissionSet": ["P"]},
        )
    )
    assert result.problems == []
    empty_org.assign_permission_set("admin@sandbox.example", "P")
    account = empty_org.insert("Account", {"Name": "Acme"})
    empty_org.insert(
        "Thing__c",
        {"A__c": "x", "N__c": 2.5, "P__c": 25, "D__c": "2026-01-31", "Account__c": account},
    )
    wanted = account if expected == "account" else expected
    assert empty_org.rows("Thing__c")[0]["F__c"] == wanted


def test_blanks_may_stay_blank(empty_org: SalesforceOrg) -> None:
    content = md.custom_object(
        "Thing",
        md.number("Z__c")
        + md.formula(
            "F__c", "Number", "Z__c + 1",
            "<formulaTreatBlanksAs>BlankAsBlank</formulaTreatBlanksAs>"
            "<precision>18</precision><scale>0</scale>",
        ),
    )  # fmt: skip
    result = empty_org.deploy(
        md.package_zip({"objects/Thing__c.object": content}, {"CustomObject": ["Thing__c"]})
    )
    assert result.problems == []
    empty_org.insert("Thing__c", {})
    assert empty_org.rows("Thing__c")[0]["F__c"] is None


def test_roll_ups_follow_their_lines(org: SalesforceOrg) -> None:
    """Counts, sums and maxima are right after insert, update, move, delete and undelete."""
    first, second = (org.insert("T_Invoice__c", {"Invoice_ID__c": each}) for each in ("a", "b"))

    def totals() -> list[tuple[float, float, float | None]]:
        return [
            (each["Line_Count__c"], each["Line_Total__c"], each["Largest__c"])
            for each in org.rows("T_Invoice__c")
        ]

    lines = [
        org.insert("T_Line__c", {"Line_ID__c": str(n), "Invoice__c": first, "Amount__c": n})
        for n in (1, 2)
    ]
    assert totals() == [(2, 3, 2), (0, 0, None)]
    org.update("T_Line__c", lines[0], {"Amount__c": 5})
    assert totals() == [(2, 7, 5), (0, 0, None)]
    org.update("T_Line__c", lines[1], {"Invoice__c": second})
    assert totals() == [(1, 5, 5), (1, 2, 2)]
    org.delete("T_Line__c", lines[0])
    assert totals() == [(0, 0, None), (1, 2, 2)]
    org.undelete("T_Line__c", lines[0])
    assert totals() == [(1, 5, 5), (1, 2, 2)]


def test_a_roll_up_moves_the_system_time_only(org: SalesforceOrg, clock: Clock) -> None:
    parent = org.insert("T_Invoice__c", {"Invoice_ID__c": "a"})
    clock.advance(hours=1)
    org.insert("T_Line__c", {"Line_ID__c": "1", "Invoice__c": parent})
    row = org.rows("T_Invoice__c")[0]
    assert row["LastModifiedDate"] == "2026-01-31T12:00:00.000+0000"
    assert row["SystemModstamp"] == "2026-01-31T13:00:00.000+0000"
