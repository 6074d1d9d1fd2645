"""Dashboards: what the org takes, what it refuses, and what their components draw."""

import pytest

from metronome_salesforce.sandbox.salesforce import (
    ADMIN,
    INTEGRATION,
    SalesforceError,
    SalesforceOrg,
)
from metronome_salesforce.sandbox.salesforce.dashboards import (
    DashboardResult,
    dashboards,
    run_dashboard,
)
from tests.sandbox.salesforce import report_zip as rz

T = "T_Invoice__c$"
TYPE = [f"{T}{name}" for name in ("Name", "Status__c", "Kind__c", "Start__c", "Total__c")]
SHOWN = rz.columns(f"{T}Name", f"{T}Total__c:Sum")
REPORTS = {
    "reportTypes/Things.reportType": rz.report_type("T_Invoice__c", TYPE),
    "reports/F-meta.xml": rz.folder(),
    "reports/F/One.report": rz.report(SHOWN + rz.grouping(f"{T}Status__c"), kind="Summary"),
    "reports/F/Two.report": rz.report(
        SHOWN + rz.grouping(f"{T}Status__c") + rz.grouping(f"{T}Start__c", "Month")
        + rz.chart(f"{T}Start__c", f"{T}Total__c", "Line"), kind="Summary"),
    "reports/F/List.report": rz.report(SHOWN),
    "reports/F/Top.report": rz.report(
        SHOWN + rz.tag("sortColumn", f"{T}Total__c") + rz.tag("rowLimit", 3)),
    "dashboards/F-meta.xml": rz.folder("Dashboard"),
}  # fmt: skip
PATH = "dashboards/F/D.dashboard"


def by(*columns: str) -> str:
    """Grouping columns of a component."""
    return "".join(rz.tag("groupingColumn", T + each) for each in columns)


def summary(column: str = f"{T}Total__c", kind: str = "Sum") -> str:
    """A summary that a component draws."""
    return f"<chartSummary>{rz.tag('aggregate', kind)}{rz.tag('column', column)}</chartSummary>"


def deployed(org: SalesforceOrg, content: str) -> list[str]:
    """The problems of deploying one dashboard with its reports."""
    return rz.problems(rz.deploy(org, {**REPORTS, PATH: content}))


def one(kind: str, extra: str = "", report: str = "F/One") -> str:
    """A dashboard of one component."""
    return rz.dashboard([rz.component(report, kind, extra)])


def table_column(column: str, kind: str = "") -> str:
    """A column of a table component."""
    aggregate = rz.tag("aggregateType", kind) if kind else ""
    return f"<dashboardTableColumn>{aggregate}{rz.tag('column', column)}</dashboardTableColumn>"


def grid(*cells: tuple[int, int, int, int], columns: int = 12) -> str:
    """A dashboard of components at (column, row, width, height)."""
    parts = "".join(
        f"<dashboardGridComponents>{rz.tag('colSpan', wide)}{rz.tag('columnIndex', column)}"
        "<dashboardComponent><componentType>Column</componentType><report>F/One</report>"
        f"</dashboardComponent>{rz.tag('rowIndex', row)}{rz.tag('rowSpan', high)}"
        "</dashboardGridComponents>"
        for column, row, wide, high in cells
    )
    layout = f"{parts}{rz.tag('numberOfColumns', columns)}<rowHeight>36</rowHeight>"
    return rz.dashboard_of(f"<dashboardGridLayout>{layout}</dashboardGridLayout>")


ACCEPTED = [
    one("Bar", by("Status__c") + summary()), one("Donut", summary("RowCount", "None")),
    one("Metric", summary()), one("Table", table_column(f"{T}Status__c")
                                  + table_column(f"{T}Total__c", "Sum")),
    one("ColumnStacked", by("Start__c", "Status__c"), "F/Two"),
    one("Line", "<useReportChart>true</useReportChart>", "F/Two"),
    one("Table", table_column(f"{T}Name"), "F/Top"),
    one("Gauge", summary() + "<gaugeMax>100</gaugeMax><gaugeMin>0</gaugeMin>"
        "<indicatorBreakpoint1>30</indicatorBreakpoint1>"
        "<indicatorBreakpoint2>60</indicatorBreakpoint2>"),
    grid((0, 0, 6, 9), (6, 0, 6, 9), (0, 9, 12, 3)),
    rz.dashboard([], extra=rz.tag("runningUser", ADMIN)),
    rz.dashboard([], extra="<dashboardType>LoggedInUser</dashboardType>"),
]  # fmt: skip


@pytest.mark.parametrize("content", ACCEPTED, ids=range(len(ACCEPTED)))
def test_a_dashboard_that_the_platform_takes_is_taken(org: SalesforceOrg, content: str) -> None:
    assert deployed(org, content) == []
    assert dashboards(org.state) == [("F/D", "Overview")]


BAD = [
    (one("Column", report="F/Nix"), "In field: report - no Report named F/Nix found"),
    (one("Column", report="F"), "In field: report - no Report named F found"),
    (rz.dashboard(["<components><componentType>Bar</componentType></components>"]),
     "Required field is missing: report"),
    (one("Cake"), "'Cake' is not a valid value for the enum 'DashboardComponentType'"),
    (one("RichText"), "componentType RichText: not modelled by this org"),
    (one("Column", by("Kind__c")), f"Grouping '{T}Kind__c' is not a grouping of F/One"),
    (one("Column", summary(f"{T}Total__c", "Average")),
     f"Summary 'a!{T}Total__c' is not a summary of F/One"),
    (one("Column", summary(f"{T}Nix__c")), f"Summary 's!{T}Nix__c' is not a summary of F/One"),
    (one("Column", report="F/List"), "A chart needs a report with groupings: F/List"),
    (one("BarStacked"), "A BarStacked chart needs a report with two groupings"),
    (one("Column", "<useReportChart>true</useReportChart>"),
     "The report F/One has no chart to use"),
    (one("Metric", by("Status__c")), "A Metric has no groupingColumn"),
    (one("Gauge", summary()), "A gauge needs gaugeMin and gaugeMax"),
    (one("Gauge", "<gaugeMax>10</gaugeMax><gaugeMin>0</gaugeMin>"
         "<indicatorBreakpoint1>9</indicatorBreakpoint1>"
         "<indicatorBreakpoint2>5</indicatorBreakpoint2>"),
     "Gauge range and indicator breakpoints must rise"),
    (one("Table", table_column(f"{T}Nix__c")), f"Table column '{T}Nix__c' is not in the report"),
    (one("Table", table_column(f"{T}Total__c", "Maximum")),
     f"Table column 'x!{T}Total__c' is not a summary of the report"),
    (one("Table", report="F/List"), "A table needs a report with groupings or a row limit: F/List"),
    (one("Column", "<chartAxisRange>Manual</chartAxisRange><chartAxisRangeMax>1</chartAxisRangeMax>"
         "<chartAxisRangeMin>2</chartAxisRangeMin>"),
     "A manual axis range needs a minimum below its maximum"),
    (one("Column", "<chartAxisRange>Manual</chartAxisRange>"),
     "A manual axis range needs a minimum below its maximum"),
    (one("Column", "<maxValuesDisplayed>0</maxValuesDisplayed>"),
     "maxValuesDisplayed: Invalid value specified: 0"),
    (one("Column", "<sortBy>Biggest</sortBy>"),
     "'Biggest' is not a valid value for the enum 'DashboardComponentFilter'"),
    (rz.dashboard([rz.component("F/One")] * 11, [rz.component("F/One")] * 10),
     "A dashboard can have at most 20 components"),
    (rz.dashboard([], title=""), "Required field is missing: title"),
    (rz.dashboard([], title="T" * 81), f"Title: data value too large: {'T' * 81} (max length=80)"),
    (rz.dashboard([], extra="<dashboardType>Everybody</dashboardType>"),
     "'Everybody' is not a valid value for the enum 'DashboardType'"),
    (rz.dashboard([], extra=rz.tag("runningUser", "nobody@sandbox.example")),
     "Cannot find a user that matches any of the following usernames: nobody@sandbox.example"),
    (rz.dashboard([], extra="<dashboardFilters><name>Status</name></dashboardFilters>"),
     "dashboardFilters: not modelled by this org"),
    (rz.dashboard([]).replace("Medium", "Huge"),
     "'Huge' is not a valid value for the enum 'DashboardComponentSize'"),
    (rz.dashboard_of("<leftSection><columnSize>Wide</columnSize></leftSection>"),
     "Required field is missing: rightSection"),
    (rz.dashboard_of(""), "A dashboard has either sections or a grid layout"),
    (grid((0, 0, 6, 9), (5, 8, 6, 3)), "Two components of the grid overlap"),
    (grid((0, 0, 13, 9)), "A component reaches beyond column 12"),
    (grid((0, 0, 0, 9)), "A component of the grid has no size or a place outside"),
    (grid((0, 0, 1, 1), columns=10), "numberOfColumns must be 9 or 12"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "problem"), BAD, ids=range(len(BAD)))
def test_what_is_wrong_with_a_dashboard_is_said(
    org: SalesforceOrg, content: str, problem: str
) -> None:
    found = deployed(org, content)
    assert set(found) == {problem}


def test_a_dashboard_needs_its_folder(org: SalesforceOrg) -> None:
    files = {key: text for key, text in REPORTS.items() if key != "dashboards/F-meta.xml"}
    result = rz.deploy(org, {**files, PATH: rz.dashboard([])})
    assert rz.problems(result) == ["Cannot find folder:F"]


# --- running ----------------------------------------------------------------------------------

INVOICES = [
    ("A", "Draft", "2026-01-10", 10.0), ("B", "Draft", "2026-02-10", 5.0),
    ("C", "Void", "2026-01-20", 40.0), ("D", "Finalized", "2025-12-01", 1.0),
    ("E", None, "2026-01-01", 2.5),
]  # fmt: skip


def ran(org: SalesforceOrg, content: str, username: str = ADMIN) -> DashboardResult:
    """Deploy a dashboard over the invoices and run it."""
    if not org.rows("T_Invoice__c"):
        for name, status, start, total in INVOICES:
            org.insert("T_Invoice__c", {
                "Name": name, "Invoice_ID__c": name, "Status__c": status, "Start__c": start,
                "Total__c": total,
            })  # fmt: skip
    assert deployed(org, content) == []
    return run_dashboard(org.state, org.users[username], "F/D")


def test_points_are_sorted_and_cut(org: SalesforceOrg) -> None:
    sums = {"-": 2.5, "Draft": 15.0, "Finalized": 1.0, "Void": 40.0}
    orders = {
        "RowLabelAscending": ["-", "Draft", "Finalized", "Void"],
        "RowLabelDescending": ["Void", "Finalized", "Draft", "-"],
        "RowValueAscending": ["Finalized", "-", "Draft", "Void"],
        "RowValueDescending": ["Void", "Draft", "-", "Finalized"],
    }
    for sort, labels in orders.items():
        extra = by("Status__c") + "<header>Spend</header><maxValuesDisplayed>3</maxValuesDisplayed>"
        [drawn] = ran(org, one("Bar", f"{extra}{rz.tag('sortBy', sort)}{summary()}")).components
        assert [(each.label, each.amounts) for each in drawn.points] == [
            (label, (sums[label],)) for label in labels[:3]
        ]
        assert (drawn.header, drawn.type, drawn.place) == ("Spend", "Bar", "left")
        assert drawn.grouping is not None
        assert (drawn.grouping.label, drawn.series, drawn.aggregates) == (
            "Status", None, ("Sum of Total",),
        )  # fmt: skip
        assert drawn.problem is None


def test_a_stacked_chart_has_groupings_of_its_own(org: SalesforceOrg) -> None:
    """The report groups by status and month, the component by month and status."""
    [drawn] = ran(
        org, one("ColumnStacked", by("Start__c", "Status__c") + summary(), "F/Two")
    ).components
    assert [
        (each.label, each.amounts[0], [(part.label, part.amounts[0]) for part in each.series])
        for each in drawn.points
    ] == [
        ("December 2025", 1.0, [("Finalized", 1.0)]),
        ("January 2026", 52.5, [("-", 2.5), ("Draft", 10.0), ("Void", 40.0)]),
        ("February 2026", 5.0, [("Draft", 5.0)]),
    ]
    assert drawn.result is not None
    assert [each.label for each in drawn.result.groups] == ["-", "Draft", "Finalized", "Void"]


def test_metric_table_and_the_reports_own_chart(org: SalesforceOrg) -> None:
    content = rz.dashboard(
        [rz.component("F/One", "Metric", summary()),
         rz.component("F/One", "Metric", summary("RowCount", "None"))],
        [rz.component("F/Two", "Line", "<useReportChart>true</useReportChart>"),
         rz.component("F/Top", "Table", table_column(f"{T}Name"))],
    )  # fmt: skip
    total, count, line, table = ran(org, content).components
    assert [each.points[0].amounts for each in (total, count)] == [(58.5,), (5,)]
    assert [each.amounts[0] for each in line.points] == [1.0, 52.5, 5.0]
    assert table.points == ()
    assert table.result is not None
    assert [row.values[0] for row in table.result.rows] == ["D", "E", "B"]
    assert [each.place for each in (total, line)] == ["left", "right"]


def test_whose_eyes_it_is_seen_with(org: SalesforceOrg) -> None:
    """The deploying user's, a named user's, or, if it is dynamic, one's own."""
    org.add_user("viewer@sandbox.example")
    plain = one("Metric", summary())

    def seen(content: str) -> tuple[str, bool]:
        found = ran(org, content, "viewer@sandbox.example")
        return found.running_user, found.components[0].problem is None

    assert seen(plain) == ("Sandbox Admin", True)
    named = plain.replace("<textColor>", f"{rz.tag('runningUser', INTEGRATION)}<textColor>", 1)
    assert seen(named) == ("Metronome Integration", True)
    dynamic = plain.replace("<textColor>", "<dashboardType>LoggedInUser</dashboardType><textColor>")
    assert seen(dynamic) == ("Sandbox User", False)


def test_folder_and_name_decide_who_opens_it(org: SalesforceOrg) -> None:
    ran(org, one("Metric"))
    rz.deploy(org, {"dashboards/F-meta.xml": rz.folder("Dashboard", shares="")})
    with pytest.raises(SalesforceError) as refused:
        run_dashboard(org.state, org.users[INTEGRATION], "F/D")
    assert refused.value.code == "FORBIDDEN"
    with pytest.raises(SalesforceError) as unknown:
        run_dashboard(org.state, org.users[ADMIN], "F/Nix")
    assert unknown.value.code == "NOT_FOUND"
