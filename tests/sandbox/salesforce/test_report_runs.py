"""Reports that run: rows, groups and sums are worked out here once more from what was inserted."""

from collections.abc import Callable
from typing import Any

import pytest

from metronome_salesforce.sandbox.salesforce import ADMIN, SalesforceError, SalesforceOrg
from metronome_salesforce.sandbox.salesforce.reports import (
    ReportGroup,
    ReportResult,
    reports,
    run_report,
)
from tests.sandbox.salesforce import report_zip as rz
from tests.sandbox.salesforce.conftest import Clock
from tests.sandbox.salesforce.metadata_zip import package_zip, permission_set

T = "T_Invoice__c$"
L = "T_Invoice__c.Lines__r$"
TYPE = [
    f"{T}{name}" for name in (
        "Name", "Invoice_ID__c", "Status__c", "Start__c", "Issued_At__c", "Total__c", "Paid__c",
        "Rest__c", "Closed__c", "Notes__c", "Account__c", "Account__c.Name", "Account__c.Phone",
        "Customer__c", "Owner", "CreatedDate", "Line_Count__c", "Is_Draft__c",
    )
]  # fmt: skip
# name, status, start, issued, total, paid, closed, account
INVOICES: list[tuple[str, str | None, str | None, str, float | None, float, bool, str | None]] = [
    ("Alpha", "Draft", "2026-01-01", "2026-01-31T23:30:00Z", 10.1, 1.0, False, "Big"),
    ("beta", "Finalized", "2025-12-31", "2026-02-01T00:00:00Z", 20.2, 20.2, True, "Big"),
    ("Gamma", "Void", "2026-01-31", "2025-06-30T12:00:00Z", 0.3, 0.0, False, "Small"),
    ("Delta, Inc", None, None, "2026-01-31T00:00:00Z", None, 0.0, False, None),
    ("epsilon", "Draft", "2026-03-15", "2026-01-24T00:00:00Z", -5.0, 0.0, True, "Small"),
    ("Zeta", "Draft", "2026-04-01", "2024-01-31T00:00:00Z", 100.0, 19.9, False, "Big"),
]
Row = dict[str, Any]


@pytest.fixture
def rows(org: SalesforceOrg) -> list[Row]:
    """The invoices as inserted, their Account by name."""
    accounts = {name: org.insert("Account", {"Name": name}) for name in ("Big", "Small", "None")}
    found = []
    for at, (name, status, start, issued, total, paid, closed, account) in enumerate(INVOICES):
        values = {
            "Name": name, "Invoice_ID__c": f"in-{at}", "Status__c": status, "Start__c": start,
            "Issued_At__c": issued, "Total__c": total, "Paid__c": paid, "Closed__c": closed,
            "Account__c": accounts.get(account or ""),
        }  # fmt: skip
        record = org.insert("T_Invoice__c", values)
        found.append({**values, "Id": record, "Account": account})
        for line in range(at % 3):
            org.insert("T_Line__c", {
                "Name": f"{name} {line}", "Line_ID__c": f"{at}-{line}", "Invoice__c": record,
                "Amount__c": line + 0.5,
            })  # fmt: skip
    return found


def run(org: SalesforceOrg, username: str = ADMIN, name: str = "F/R") -> ReportResult:
    """Run a report as a user."""
    return run_report(org.state, org.users[username], name)


def ran(org: SalesforceOrg, body: str, kind: str = "Tabular", **more: Any) -> ReportResult:
    """Deploy a report and run it as the administrator."""
    files = rz.things(body, kind=kind, **{"type_columns": TYPE, **more})
    result = rz.deploy(org, files)
    assert rz.problems(result) == []
    return run(org)


def names(result: ReportResult) -> list[object]:
    """The first column of every row."""
    return [each.values[0] for each in result.rows]


SHOWN = rz.columns(f"{T}Name", f"{T}Total__c:Sum")


def test_rows_columns_and_totals_of_a_tabular_report(org: SalesforceOrg, rows: list[Row]) -> None:
    shown = rz.columns(
        f"{T}Name", f"{T}Account__c", f"{T}Account__c.Name", f"{T}Start__c", f"{T}Closed__c:Sum",
        f"{T}Total__c:Sum,Average,Maximum,Minimum", f"{T}Status__c:Unique", f"{T}Owner",
    )  # fmt: skip
    result = ran(org, shown)
    assert (result.name, result.label, result.format) == ("F/R", "A Report", "Tabular")
    assert [(each.label, each.type) for each in result.columns] == [
        ("Name", "string"), ("Account", "reference"), ("Account: Account Name", "string"),
        ("Start", "date"), ("Closed", "boolean"), ("Total", "double"), ("Status", "picklist"),
        ("Owner", "reference"),
    ]  # fmt: skip
    assert [each.values for each in result.rows] == [
        (
            row["Name"], row["Account"], row["Account"], row["Start__c"], row["Closed__c"],
            row["Total__c"], row["Status__c"], "Sandbox Admin",
        )
        for row in rows
    ]  # fmt: skip
    assert [each.ids for each in result.rows] == [(row["Id"],) for row in rows]
    assert [each.references[:3] for each in result.rows] == [
        (row["Id"], row["Account__c"], row["Account__c"]) for row in rows
    ]
    assert [each.label for each in result.aggregates] == [
        "Sum of Closed", "Sum of Total", "Average Total", "Largest Total", "Smallest Total",
        "Unique Status", "Record Count",
    ]  # fmt: skip
    assert result.totals == (2.0, 125.6, 25.12, 100.0, -5.0, 3, 6)
    assert result.groups == ()
    assert result.chart is None
    assert reports(org.state) == [("F/R", "A Report")]


def started(day: str) -> Callable[[Row], bool]:
    """Rows of invoices that start on or after a day."""
    return lambda row: row["Start__c"] is not None and row["Start__c"] >= day


FILTERS: list[tuple[tuple[str, str, str], Callable[[Row], bool]]] = [
    (("Name", "equals", "ALPHA,Beta"), lambda row: row["Name"] in {"Alpha", "beta"}),
    (("Name", "equals", '"delta, inc"'), lambda row: row["Name"] == "Delta, Inc"),
    (("Name", "notEqual", "Alpha"), lambda row: row["Name"] != "Alpha"),
    (("Name", "contains", "ta"), lambda row: "ta" in row["Name"].lower()),
    (("Name", "notContain", "a"), lambda row: "a" not in row["Name"].lower()),
    (("Name", "startsWith", "e,z"), lambda row: row["Name"][0].lower() in "ez"),
    (("Name", "greaterThan", "delta"), lambda row: row["Name"].lower() > "delta"),
    (("Status__c", "equals", "Draft,Void"), lambda row: row["Status__c"] in {"Draft", "Void"}),
    (("Status__c", "notEqual", "Draft"), lambda row: row["Status__c"] != "Draft"),
    (("Status__c", "equals", ""), lambda row: row["Status__c"] is None),
    (("Status__c", "notEqual", ""), lambda row: row["Status__c"] is not None),
    (("Total__c", "greaterThan", "0.3"), lambda row: (row["Total__c"] or 0) > 0.3),
    (("Total__c", "lessOrEqual", "10.1"),
     lambda row: row["Total__c"] is not None and row["Total__c"] <= 10.1),
    (("Total__c", "notEqual", "100"), lambda row: row["Total__c"] != 100),
    (("Rest__c", "lessThan", "20"),
     lambda row: (row["Total__c"] or 0) > 0
     and round(row["Paid__c"] / row["Total__c"] * 100, 1) < 20),
    (("Closed__c", "equals", "1"), lambda row: row["Closed__c"]),
    (("Is_Draft__c", "equals", "0"), lambda row: row["Status__c"] != "Draft"),
    (("Account__c.Name", "equals", "big"), lambda row: row["Account"] == "Big"),
    (("Account__c", "equals", ""), lambda row: row["Account"] is None),
    (("Account__c.Phone", "equals", ""), lambda row: row["Name"] != ""),
    (("Start__c", "equals", "THIS_MONTH"), lambda row: (row["Start__c"] or "")[:7] == "2026-01"),
    (("Start__c", "equals", "TODAY"), lambda row: row["Start__c"] == "2026-01-31"),
    (("Start__c", "equals", "NEXT_N_DAYS:60"),
     lambda row: row["Start__c"] is not None and "2026-02-01" <= row["Start__c"] <= "2026-04-01"),
    (("Start__c", "equals", "LAST_N_DAYS:30"),
     lambda row: row["Start__c"] is not None and "2026-01-01" <= row["Start__c"] <= "2026-01-31"),
    (("Start__c", "equals", "NEXT_FISCAL_QUARTER"), lambda row: row["Name"] == "Zeta"),
    (("Start__c", "notEqual", "THIS_YEAR"), lambda row: (row["Start__c"] or "")[:4] != "2026"),
    (("Start__c", "greaterThan", "1/1/2026"), started("2026-01-02")),
    (("Start__c", "greaterOrEqual", "2026-01-01"), started("2026-01-01")),
    (("Issued_At__c", "equals", "1/31/2026"), lambda row: row["Issued_At__c"][:10] == "2026-01-31"),
    (("Issued_At__c", "lessOrEqual", "LAST_WEEK"),
     lambda row: row["Issued_At__c"][:10] < "2026-01-25"),
]  # fmt: skip


@pytest.mark.parametrize(("item", "kept"), FILTERS, ids=[each[0] for each, _ in FILTERS])
def test_a_filter_keeps_the_rows_it_says(
    org: SalesforceOrg, rows: list[Row], item: tuple[str, str, str], kept: Callable[[Row], bool]
) -> None:
    column, operator, value = item
    result = ran(org, SHOWN + rz.filters((T + column, operator, value)))
    assert names(result) == [row["Name"] for row in rows if kept(row)]
    assert result.rows != ()


def test_filters_are_joined_by_and_or_by_their_logic(org: SalesforceOrg, rows: list[Row]) -> None:
    items = [
        (f"{T}Status__c", "equals", "Draft"), (f"{T}Closed__c", "equals", "1"),
        (f"{T}Total__c", "greaterThan", "50"),
    ]  # fmt: skip

    def tests(row: Row) -> tuple[bool, bool, bool]:
        return row["Status__c"] == "Draft", row["Closed__c"], (row["Total__c"] or 0) > 50

    expected: list[tuple[str, Callable[[bool, bool, bool], bool]]] = [
        ("", lambda a, b, c: a and b and c),
        ("1 AND (2 OR 3)", lambda a, b, c: a and (b or c)),
        ("(1 and 2) or 3", lambda a, b, c: (a and b) or c),
        ("NOT(1 OR 2) OR 3", lambda a, b, c: not (a or b) or c),
        ("1 AND NOT 2 AND NOT 3", lambda a, b, c: a and not b and not c),
    ]
    for logic, kept in expected:
        result = ran(org, SHOWN + rz.filters(*items, logic=logic))
        assert names(result) == [row["Name"] for row in rows if kept(*tests(row))], logic


INTERVALS = [
    ("INTERVAL_CUSTOM", "", "", 6), ("INTERVAL_CUSTOM", "2026-01-31", "2026-03-15", 2),
    ("INTERVAL_CUSTOM", "2026-01-01", "", 4), ("INTERVAL_CUSTOM", "", "2026-01-01", 2),
    ("INTERVAL_CURY", "", "", 4), ("INTERVAL_PREVY", "", "", 1), ("INTERVAL_PREVCURY", "", "", 5),
    ("INTERVAL_THISMONTH", "", "", 2), ("INTERVAL_LASTMONTH", "", "", 1),
    ("INTERVAL_CURRENTQ", "", "", 3), ("INTERVAL_CURNEXTQ", "", "", 4),
    ("INTERVAL_CURRENT", "", "", 3), ("INTERVAL_TODAY", "", "", 1),
    ("INTERVAL_NEXT60", "", "", 2), ("INTERVAL_LAST30", "", "", 2),
    ("INTERVAL_CURNEXT3", "", "", 4), ("INTERVAL_THISWEEK", "", "", 1),
]  # fmt: skip


@pytest.mark.parametrize(("interval", "start", "end", "count"), INTERVALS)
def test_the_date_filter(
    org: SalesforceOrg, rows: list[Row], interval: str, start: str, end: str, count: int
) -> None:
    """Counted by hand on 31 January 2026, a Saturday; a row without the date is in no interval."""
    assert len(rows) == 6
    result = ran(org, SHOWN + rz.frame(f"{T}Start__c", interval, start, end))
    assert result.totals[-1] == count


def test_order_limit_and_scope(org: SalesforceOrg, rows: list[Row]) -> None:
    def ordered(order: str, extra: str = "") -> list[object]:
        body = SHOWN + rz.tag("sortColumn", f"{T}Total__c") + rz.tag("sortOrder", order) + extra
        return names(ran(org, body))

    known = sorted(
        (row for row in rows if row["Total__c"] is not None), key=lambda row: row["Total__c"]
    )
    ascending = ["Delta, Inc", *(row["Name"] for row in known)]
    assert ordered("Asc") == ascending
    assert ordered("Desc") == ascending[::-1]
    assert ordered("Desc", rz.tag("rowLimit", 2)) == ascending[::-1][:2]
    by_name = names(ran(org, SHOWN + rz.tag("sortColumn", f"{T}Name")))
    assert by_name == sorted((row["Name"] for row in rows), key=str.lower)
    org.add_user("other@sandbox.example", admin=True)
    org.assign_permission_set("other@sandbox.example", "Sync")
    mine = org.insert(
        "T_Invoice__c", {"Name": "Mine", "Invoice_ID__c": "m"}, username="other@sandbox.example"
    )
    assert len(names(ran(org, SHOWN + "<scope>user</scope>"))) == len(rows)
    assert [each.ids for each in run(org, "other@sandbox.example").rows] == [(mine,)]


# --- groups -----------------------------------------------------------------------------------


def tree(groups: tuple[ReportGroup, ...]) -> list[Any]:
    """Groups as label, aggregates, and what is inside."""
    return [
        (each.label, each.aggregates, tree(each.groups) or [row.values[0] for row in each.rows])
        for each in groups
    ]


def test_two_groupings_with_sums_on_each_level(org: SalesforceOrg, rows: list[Row]) -> None:
    body = SHOWN + rz.grouping(f"{T}Account__c.Name") + rz.grouping(f"{T}Status__c", "None", "Desc")
    result = ran(org, body, "Summary")
    expected = []
    for account in (None, "Big", "Small"):
        mine = [row for row in rows if row["Account"] == account]
        inner = []
        for status in ("Void", "Finalized", "Draft", None):
            inside = [row for row in mine if row["Status__c"] == status]
            if inside:
                total = round(sum(row["Total__c"] or 0 for row in inside), 2)
                inner.append((status or "-", (total, len(inside)), [row["Name"] for row in inside]))
        total = round(sum(row["Total__c"] or 0 for row in mine), 2)
        expected.append((account or "-", (total, len(mine)), inner))
    assert tree(result.groups) == expected
    assert result.rows == ()
    assert result.totals == (125.6, 6)
    assert [each.name for each in result.groupings] == [f"{T}Account__c.Name", f"{T}Status__c"]
    assert [each.reference for each in result.groups] == [
        None, rows[0]["Account__c"], rows[2]["Account__c"],
    ]  # fmt: skip


GRANULARITIES = [
    ("Day", ["-", "12/31/2025", "1/1/2026", "1/31/2026", "3/15/2026", "4/1/2026"]),
    ("Week", ["-", "12/28/2025 - 1/3/2026", "1/25/2026 - 1/31/2026", "3/15/2026 - 3/21/2026",
              "3/29/2026 - 4/4/2026"]),
    ("Month", ["-", "December 2025", "January 2026", "March 2026", "April 2026"]),
    ("Quarter", ["-", "Q4 CY2025", "Q1 CY2026", "Q2 CY2026"]),
    ("FiscalQuarter", ["-", "Q4 FY2025", "Q1 FY2026", "Q2 FY2026"]),
    ("Year", ["-", "CY2025", "CY2026"]),
    ("FiscalYear", ["-", "FY2025", "FY2026"]),
    ("MonthInYear", ["-", "January", "March", "April", "December"]),
    ("DayInMonth", ["-", "1", "15", "31"]),
]  # fmt: skip


@pytest.mark.parametrize(("granularity", "labels"), GRANULARITIES)
def test_dates_are_grouped_by_granularity(
    org: SalesforceOrg, rows: list[Row], granularity: str, labels: list[str]
) -> None:
    result = ran(org, SHOWN + rz.grouping(f"{T}Start__c", granularity), "Summary")
    assert [each.label for each in result.groups] == labels
    assert sum(len(each.rows) for each in result.groups) == len(rows)


def test_groups_of_moments_checkboxes_numbers_and_people(
    org: SalesforceOrg, rows: list[Row]
) -> None:
    def labels(column: str, granularity: str = "Day") -> list[str]:
        result = ran(org, SHOWN + rz.grouping(T + column, granularity), "Summary")
        return [each.label for each in result.groups]

    assert len(rows) == 6
    assert labels("Issued_At__c", "Year") == ["CY2024", "CY2025", "CY2026"]
    assert labels("Closed__c") == ["false", "true"]
    assert labels("Owner") == ["Sandbox Admin"]
    assert labels("Line_Count__c") == ["0", "1", "2"]
    assert labels("Rest__c") == ["-", "0.0%", "9.9%", "19.9%", "100.0%"]


def test_groups_are_sorted_by_an_aggregate(org: SalesforceOrg, rows: list[Row]) -> None:
    sums: dict[str | None, float] = {}
    for row in rows:
        sums[row["Account"]] = sums.get(row["Account"], 0) + (row["Total__c"] or 0)
    for order in ("Asc", "Desc"):
        extra = (
            "<aggregateType>Sum</aggregateType><sortType>Aggregate</sortType>"
            f"<sortByName>{T}Total__c</sortByName>"
        )
        body = SHOWN + rz.grouping(f"{T}Account__c.Name", "Day", order, extra)
        result = ran(org, body, "Summary")
        expected = sorted(sums, key=lambda name: sums[name], reverse=order == "Desc")
        assert [each.value for each in result.groups] == expected
    extra = (
        "<aggregateType>RowCount</aggregateType><sortType>Aggregate</sortType>"
        "<sortByName>RowCount</sortByName>"
    )
    body = SHOWN + rz.grouping(f"{T}Account__c.Name", "Day", "Desc", extra)
    assert [each.aggregates[-1] for each in ran(org, body, "Summary").groups] == [3, 2, 1]


def test_the_chart_follows_its_own_groupings(org: SalesforceOrg, rows: list[Row]) -> None:
    """The report is grouped by status first, the chart by account, parted by status."""
    body = (
        SHOWN + rz.grouping(f"{T}Status__c") + rz.grouping(f"{T}Account__c.Name")
        + rz.chart(f"{T}Account__c.Name", f"{T}Total__c",
                   more=rz.tag("secondaryGroupingColumn", f"{T}Status__c"))
    )  # fmt: skip
    chart = ran(org, body, "Summary").chart
    assert chart is not None
    assert (chart.type, chart.title) == ("VerticalColumn", "Drawn")
    assert (chart.grouping, chart.aggregate) == (f"{T}Account__c.Name", f"s!{T}Total__c")
    assert chart.series == f"{T}Status__c"
    expected = []
    for account in (None, "Big", "Small"):
        mine = [row for row in rows if row["Account"] == account]
        kinds = sorted({row["Status__c"] or "" for row in mine})
        parts = [
            round(sum(row["Total__c"] or 0 for row in mine if (row["Status__c"] or "") == kind), 2)
            for kind in kinds
        ]
        expected.append((account, round(sum(parts), 2), parts))
    assert [
        (each.value, each.amounts[0], [part.amounts[0] for part in each.series])
        for each in chart.points
    ] == expected


# --- joins ------------------------------------------------------------------------------------


def test_inner_and_outer_joins(org: SalesforceOrg, rows: list[Row]) -> None:
    """One row for each line; invoices without lines only where the join is outer."""
    columns = [f"{T}Name", f"{L}Name", f"{L}Amount__c", f"{L}Invoice__c.Account__c.Name"]
    body = rz.columns(f"{T}Name", f"{L}Name", f"{L}Amount__c:Sum,Average")
    for outer in (False, True):
        joins = rz.join("Lines__r", outer=outer)
        result = ran(org, body, type_columns=columns, joins=joins)
        expected = [
            (row["Name"], f"{row['Name']} {line}" if line is not None else None,
             line + 0.5 if line is not None else None)
            for at, row in enumerate(rows)
            for line in ((*range(at % 3),) or (None,) * outer)
        ]  # fmt: skip
        assert [each.values for each in result.rows] == expected
        assert [each.ids[1] is None for each in result.rows] == [
            each[1] is None for each in expected
        ]
        amounts = [each[2] for each in expected if each[2] is not None]
        assert result.totals == (sum(amounts), sum(amounts) / len(amounts), len(expected))


def test_an_account_without_invoices_and_three_objects(org: SalesforceOrg, rows: list[Row]) -> None:
    joins = rz.join("Invoices__r", outer=True, inner=rz.join("Lines__r", outer=True))
    deep = "Account.Invoices__r.Lines__r$"
    columns = ["Account$Name", "Account.Invoices__r$Total__c", f"{deep}Amount__c"]
    body = rz.columns("Account.Invoices__r$Total__c", f"{deep}Amount__c:Sum") + rz.grouping(
        "Account$Name"
    )
    result = ran(org, body, "Summary", base="Account", type_columns=columns, joins=joins)
    expected = {}
    for name in ("Big", "None", "Small"):
        lines = [at % 3 for at, row in enumerate(rows) if row["Account"] == name]
        amount = sum(line + 0.5 for count in lines for line in range(count))
        expected[name] = (amount, sum(max(count, 1) for count in lines) or 1)
    assert {each.value: each.aggregates for each in result.groups} == expected
    blank = rz.columns("Account.Invoices__r$Total__c") + rz.filters(
        ("Account.Invoices__r$Total__c", "greaterThan", "0")
    )
    kept = ran(org, blank, base="Account", type_columns=columns, joins=joins)
    assert None not in [each.values[0] for each in kept.rows]


def test_deleted_rows_are_gone(org: SalesforceOrg, rows: list[Row]) -> None:
    joins = rz.join("Lines__r", outer=True)
    columns = [f"{T}Name", f"{L}Name"]
    org.delete("T_Invoice__c", rows[0]["Id"])
    for line in org.rows("T_Line__c")[:1]:
        org.delete("T_Line__c", line["Id"])
    result = ran(org, rz.columns(*columns), type_columns=columns, joins=joins)
    assert sorted({str(each.values[0]) for each in result.rows}) == sorted(
        row["Name"] for row in rows[1:]
    )
    assert sum(each.values[1] is not None for each in result.rows) == 5


# --- access, limits, time -----------------------------------------------------------------------


def reader(org: SalesforceOrg, fields: dict[str, str], objects: dict[str, str]) -> str:
    """A user with a permission set of these objects and fields."""
    content = permission_set(objects, fields)
    org.deploy(package_zip({"permissionsets/Reader.permissionset": content},
                           {"PermissionSet": ["Reader"]}))  # fmt: skip
    name = "reader@sandbox.example"
    org.add_user(name)
    org.assign_permission_set(name, "Reader")
    return name


def test_a_column_without_field_access_is_not_there(org: SalesforceOrg, rows: list[Row]) -> None:
    """Nor its grouping, aggregate and chart; Account is not readable, so neither is its name."""
    body = (
        rz.columns(f"{T}Name", f"{T}Total__c:Sum", f"{T}Paid__c:Sum", f"{T}Account__c.Name")
        + rz.grouping(f"{T}Start__c", "Month") + rz.grouping(f"{T}Status__c")
        + rz.tag("sortColumn", f"{T}Paid__c") + rz.chart(f"{T}Status__c", f"{T}Total__c")
    )  # fmt: skip
    ran(org, body, "Summary")
    fields = {f"T_Invoice__c.{name}": "r" for name in ("Total__c", "Start__c", "Account__c")}
    name = reader(org, fields, {"T_Invoice__c": "rv"})
    result = run(org, name)
    assert [each.name for each in result.columns] == [f"{T}Name", f"{T}Total__c"]
    assert [each.name for each in result.groupings] == [f"{T}Start__c"]
    assert [each.name for each in result.aggregates] == [f"s!{T}Total__c", "RowCount"]
    assert result.chart is None
    assert sum(len(each.rows) for each in result.groups) == len(rows)
    assert result.totals == (125.6, 6)


def test_what_a_user_may_not_run(org: SalesforceOrg, rows: list[Row]) -> None:
    """A filter on a hidden field, an object that is not readable, a folder that is not shared."""
    assert rows
    ran(org, SHOWN + rz.filters((f"{T}Closed__c", "equals", "0")))
    name = reader(org, {"T_Invoice__c.Total__c": "r"}, {"T_Invoice__c": "rv"})
    with pytest.raises(SalesforceError, match="filtered by a field that you cannot see") as hidden:
        run(org, name)
    assert (hidden.value.code, hidden.value.status) == ("FORBIDDEN", 403)
    ran(org, SHOWN)
    assert len(run(org, name).rows) == 6
    org.add_user("nobody@sandbox.example")
    with pytest.raises(SalesforceError, match="sufficient privileges"):
        run(org, "nobody@sandbox.example")
    rz.deploy(org, {"reports/F-meta.xml": rz.folder(shares="")})
    with pytest.raises(SalesforceError, match="sufficient privileges"):
        run(org, name)
    own = rz.SHARED.replace("AllInternalUsers", name).replace("Organization", "User")
    rz.deploy(org, {"reports/F-meta.xml": rz.folder(shares=own)})
    assert len(run(org, name).rows) == 6
    for missing in ("F/Nix", "F", "G/R"):
        with pytest.raises(SalesforceError) as unknown:
            run(org, ADMIN, missing)
        assert unknown.value.code == "NOT_FOUND"


def test_details_stop_at_two_thousand_but_sums_do_not(org: SalesforceOrg) -> None:
    for at in range(2003):
        org.insert("T_Customer__c", {"Name": f"C{at}", "Customer_ID__c": f"{at}"})
    columns = ["T_Customer__c$Name", "T_Customer__c$Is_Linked__c"]
    more: dict[str, Any] = {"base": "T_Customer__c", "type_columns": columns}
    result = ran(org, rz.columns(columns[0]), **more)
    assert (len(result.rows), result.totals, result.all_data) == (2000, (2003,), False)
    body = rz.columns(columns[0]) + rz.grouping(columns[1])
    result = ran(org, body, "Summary", **more)
    assert [(len(each.rows), each.aggregates) for each in result.groups] == [(2000, (2003,))]
    result = ran(org, body + "<showDetails>false</showDetails>", "Summary", **more)
    assert [(each.rows, each.aggregates) for each in result.groups] == [((), (2003,))]
    assert result.all_data


def test_relative_dates_follow_the_clock_of_the_org(
    org: SalesforceOrg, rows: list[Row], clock: Clock
) -> None:
    assert rows
    assert names(ran(org, SHOWN + rz.filters((f"{T}Start__c", "equals", "TODAY")))) == ["Gamma"]
    clock.advance(days=43)
    assert names(run(org)) == ["epsilon"]


def test_a_column_whose_field_was_deleted_is_gone(org: SalesforceOrg, rows: list[Row]) -> None:
    assert rows
    ran(org, rz.columns(f"{T}Name", f"{T}Paid__c:Sum", f"{T}Account__c.Phone"))
    destructive = (
        '<Package xmlns="http://soap.sforce.com/2006/04/metadata"><types>'
        "<members>T_Invoice__c.Account__c</members><name>CustomField</name></types></Package>"
    )
    gone = org.deploy(package_zip({"destructiveChanges.xml": destructive}, {}))
    assert gone.success, gone.problems
    assert [each.name for each in run(org).columns] == [f"{T}Name", f"{T}Paid__c"]
