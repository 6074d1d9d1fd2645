"""Our report types, reports and dashboard with one rule broken at a time: the org refuses each."""

import re

import pytest

from tests.package.breaking import (
    Breakage,
    Edit,
    adding,
    check_refused,
    creating,
    deploy,
    dropping,
    listing,
    moving,
    replacing,
    sound_files,
    together,
    within,
)

CUSTOMER = "Metronome_Orphan_Customer__c"
INVOICE = "Metronome_Invoice__c"
GRANT = "Metronome_Credit_Grant__c"
LINES = f"{INVOICE}.Line_Items__r"

TYPE = "Metronome_Invoices"
TYPE_FILE = f"reportTypes/{TYPE}.reportType"
WITH_LINES = "Metronome_Invoices_with_Line_Items"
WITH_LINES_FILE = f"reportTypes/{WITH_LINES}.reportType"
ACCOUNTS = "Accounts_with_Metronome_Invoices"
ACCOUNTS_FILE = f"reportTypes/{ACCOUNTS}.reportType"

HISTORY = "Metronome/Spend_History_by_Month"
LOW = "Metronome/Credits_Running_Low"
NEXT = "Metronome/Credits_Expiring_Next"
PENDING = "Metronome/Customers_with_a_Link_Pending"
TOP = "Metronome/Top_Orphaned_Customers_by_Monthly_Spend"
BOARD = "Metronome/Metronome_Overview"
BOARD_FILE = f"dashboards/{BOARD}.dashboard"
FOLDER_FILE = "reports/Metronome-meta.xml"


def file_of(report: str) -> str:
    """The file of a report in the zip."""
    return f"reports/{report}.report"


def column(table: str, field: str) -> str:
    """A column of a report type."""
    return (
        f"<columns><checkedByDefault>true</checkedByDefault><field>{field}</field>"
        f"<table>{table}</table></columns>"
    )


def below(relationship: str, inner: str = "") -> str:
    """An outer join."""
    named = f"<relationship>{relationship}</relationship>"
    return f"<join>{inner}<outerJoin>true</outerJoin>{named}</join>"


def with_column(table: str, field: str) -> Edit:
    """One more section in the report type of invoices."""
    section = f"<sections>{column(table, field)}<masterLabel>More</masterLabel></sections>"
    return adding(TYPE_FILE, section)


def filtering(report: str, name: str, operator: str, value: str) -> Edit:
    """Another operator and value for the filter of a column."""
    item = (
        rf"(<criteriaItems>\s*<column>{re.escape(name)}</column>.*?)<operator>.*?</criteriaItems>"
    )

    def edit(files: dict[str, str]) -> None:
        made = rf"\g<1><operator>{operator}</operator><value>{value}</value></criteriaItems>"
        files[file_of(report)] = re.sub(
            item, made, files[file_of(report)], count=1, flags=re.DOTALL
        )

    return edit


REPORT_TYPES = [
    Breakage("the base object is not there",
             replacing(TYPE_FILE, f"<baseObject>{INVOICE}<", "<baseObject>Metronome_Bill__c<"),
             "Invalid object name 'Metronome_Bill__c'", TYPE),
    Breakage("the category is none",
             replacing(TYPE_FILE, "<category>other<", "<category>billing<"),
             "'billing' is not a valid value for the enum 'ReportTypeCategory'", TYPE),
    Breakage("the label is missing",
             replacing(TYPE_FILE, "<label>Metronome Invoices</label>", ""),
             "Required field is missing: label", TYPE),
    Breakage("whether it is deployed is missing",
             replacing(TYPE_FILE, "<deployed>true</deployed>", ""),
             "Required field is missing: deployed", TYPE),
    Breakage("the description is too long", within(TYPE_FILE, "description", "", "Invoices",
                                                   "Invoices " * 40),
             "Description: data value too large", TYPE),
    Breakage("a column's field is not there", with_column(INVOICE, "Totals__c"),
             f"Invalid field 'Totals__c' for object '{INVOICE}'", TYPE),
    Breakage("a lookup is named by its relationship", with_column(INVOICE, "Account__r.Name"),
             f"Invalid field 'Account__r.Name' for object '{INVOICE}'", TYPE),
    Breakage("a field over a lookup is not there", with_column(INVOICE, "Account__c.Nix__c"),
             "Invalid field 'Account__c.Nix__c' for object 'Account'", TYPE),
    Breakage("a column's table is not joined", with_column(LINES, "Name"),
             f"Invalid table '{LINES}' for column Name", TYPE),
    Breakage("a column's table is an object's name",
             replacing(WITH_LINES_FILE, f"<table>{LINES}<",
                       "<table>Metronome_Invoice_Line_Item__c<"),
             "Invalid table 'Metronome_Invoice_Line_Item__c'", WITH_LINES),
    Breakage("a column twice", with_column(INVOICE, "Total__c"),
             f"Duplicate column specified: {INVOICE}$Total__c", TYPE),
    Breakage("a join by the field's name",
             replacing(WITH_LINES_FILE, "<relationship>Line_Items__r<",
                       "<relationship>Invoice__c<"),
             "Invalid relationship name 'Invoice__c'", WITH_LINES),
    Breakage("an inner join after an outer one",
             within(ACCOUNTS_FILE, "join", "", "<outerJoin>true</outerJoin>",
                    "<join><outerJoin>false</outerJoin><relationship>Line_Items__r</relationship>"
                    "</join><outerJoin>true</outerJoin>"),
             "An inner join is not allowed after an outer join", ACCOUNTS),
    Breakage("five objects",
             together(
                 replacing(ACCOUNTS_FILE, "<relationship>Metronome_Invoices__r<",
                           "<relationship>ChildAccounts<"),
                 within(ACCOUNTS_FILE, "join", "", "<outerJoin>true</outerJoin>",
                        below("Metronome_Invoices__r", below("Line_Items__r", below(
                            "Sub_Line_Items__r"))) + "<outerJoin>true</outerJoin>")),
             "A report type can join at most 4 objects", ACCOUNTS),
    Breakage("a join to what the object has no rows of",
             within(ACCOUNTS_FILE, "join", "", "<outerJoin>true</outerJoin>",
                    below("Sub_Line_Items__r") + "<outerJoin>true</outerJoin>"),
             "Invalid relationship name 'Sub_Line_Items__r'", ACCOUNTS),
    Breakage("the field that a column shows is not in the package",
             within(f"objects/{INVOICE}.object", "fields", "<fullName>Plan_Name__c<",
                    "Plan_Name__c", "Plan_Title__c"),
             f"Invalid field 'Plan_Name__c' for object '{INVOICE}'", TYPE),
]  # fmt: skip

REPORTS = [
    Breakage("the report type is not there",
             replacing(file_of(HISTORY), "<reportType>Metronome_Invoices__c<",
                       "<reportType>Metronome_Bills__c<"),
             "Invalid report type 'Metronome_Bills__c'", HISTORY),
    Breakage("the report type without its ending",
             replacing(file_of(HISTORY), "<reportType>Metronome_Invoices__c<",
                       "<reportType>Metronome_Invoices<"),
             "a custom report type is named with __c", HISTORY),
    Breakage("the report type did not come along", dropping(TYPE_FILE),
             "Invalid report type 'Metronome_Invoices__c'", HISTORY),
    Breakage("a column that the report type has not",
             replacing(file_of(HISTORY), f"<field>{INVOICE}$Name<",
                       f"<field>{INVOICE}$Sync_Hash__c<"),
             f"Invalid field '{INVOICE}$Sync_Hash__c' for report type", HISTORY),
    Breakage("a column named as a field",
             replacing(file_of(HISTORY), f"<field>{INVOICE}$Name<", f"<field>{INVOICE}.Name<"),
             f"Invalid field '{INVOICE}.Name' for report type", HISTORY),
    Breakage("a grouping that is a column too",
             replacing(file_of(HISTORY), f"<field>{INVOICE}$Name<",
                       f"<field>{INVOICE}$Currency__c<"),
             f"Grouping field '{INVOICE}$Currency__c' must not also be a column", HISTORY),
    Breakage("months of what is no date",
             within(file_of(HISTORY), "groupingsDown", f"{INVOICE}$Currency__c",
                    "<dateGranularity>Day<", "<dateGranularity>Month<"),
             f"dateGranularity Month is not valid for string field {INVOICE}$Currency__c", HISTORY),
    Breakage("a sum of text",
             replacing(file_of(HISTORY), f"<field>{INVOICE}$Customer_Name__c<",
                       f"<aggregateTypes>Sum</aggregateTypes><field>{INVOICE}$Customer_Name__c<"),
             f"Aggregate type Sum is not valid for string field {INVOICE}$Customer_Name__c",
             HISTORY),
    Breakage("a table with groupings",
             replacing(file_of(HISTORY), "<format>Summary<", "<format>Tabular<"),
             "Tabular report cannot have groupings", HISTORY),
    Breakage("a summary without groupings",
             replacing(file_of(PENDING), "<format>Tabular<", "<format>Summary<"),
             "Summary report requires at least one grouping", PENDING),
    Breakage("a matrix", replacing(file_of(HISTORY), "<format>Summary<", "<format>Matrix<"),
             "format Matrix: not modelled by this org", HISTORY),
    Breakage("an unknown status",
             filtering(HISTORY, f"{INVOICE}$Status__c", "equals", "Draft,Paid"),
             "Picklist value: Paid in picklist: Status__c not found", HISTORY),
    Breakage("a checkbox that is True", filtering(NEXT, f"{GRANT}$Is_Active__c", "equals", "True"),
             f"Invalid filter value 'True' for boolean field {GRANT}$Is_Active__c", NEXT),
    Breakage("a number with a sign behind",
             filtering(NEXT, f"{GRANT}$Balance_Including_Pending__c", "lessThan", "20%"),
             f"Invalid filter value '20%' for double field {GRANT}$Balance_Including_Pending__c",
             NEXT),
    Breakage("a number that contains",
             filtering(NEXT, f"{GRANT}$Balance_Including_Pending__c", "contains", "2"),
             "Invalid filter operator 'contains'", NEXT),
    Breakage("days of no number",
             filtering(NEXT, f"{GRANT}$Expiration_Date__c", "equals", "NEXT_N_DAYS"),
             "Invalid filter value 'NEXT_N_DAYS' for date field", NEXT),
    Breakage("a filter on a column that is not there",
             replacing(file_of(NEXT), f"<column>{GRANT}$Is_Active__c<",
                       f"<column>{GRANT}$Active__c<"),
             f"Invalid field '{GRANT}$Active__c' for report type", NEXT),
    Breakage("logic over a third filter",
             replacing(file_of(PENDING), "<booleanFilter>1 OR 2<", "<booleanFilter>1 OR 2 OR 3<"),
             "The filter logic references an undefined filter: 3.", PENDING),
    Breakage("logic that leaves a filter out",
             replacing(file_of(PENDING), "<booleanFilter>1 OR 2<", "<booleanFilter>1<"),
             "Some filter conditions are defined but not referenced", PENDING),
    Breakage("the date filter of no date",
             replacing(file_of(HISTORY), f"<dateColumn>{INVOICE}$Start__c<",
                       f"<dateColumn>{INVOICE}$Total__c<"),
             f"Field {INVOICE}$Total__c of the date filter is not a date", HISTORY),
    Breakage("an interval that is none",
             replacing(file_of(HISTORY), "INTERVAL_CUSTOM", "INTERVAL_CURQ"),
             "'INTERVAL_CURQ' is not a valid value for the enum 'UserDateInterval'", HISTORY),
    Breakage("a chart over no grouping",
             replacing(file_of(HISTORY), f"<groupingColumn>{INVOICE}$Start__c<",
                       f"<groupingColumn>{INVOICE}$Status__c<"),
             f"Chart grouping '{INVOICE}$Status__c' is not a grouping of the report", HISTORY),
    Breakage("a chart of a sum that is not there",
             within(file_of(HISTORY), "chartSummaries", "", f"{INVOICE}$Total__c",
                    f"{INVOICE}$Status__c"),
             f"Chart summary 's!{INVOICE}$Status__c' is not a summary of the report", HISTORY),
    Breakage("sorted by a column that is not there",
             replacing(file_of(HISTORY), f"<sortColumn>{INVOICE}$Total__c<",
                       f"<sortColumn>{INVOICE}$Amount__c<"),
             f"Invalid field '{INVOICE}$Amount__c' for report type", HISTORY),
    Breakage("groups sorted by an aggregate that is not there",
             replacing(file_of(TOP), f"<sortByName>{CUSTOMER}$Current_Spend__c<",
                       f"<sortByName>{CUSTOMER}$Last_Invoice_End__c<"),
             "is sorted by an aggregate that the report has not", TOP),
    Breakage("a name too long",
             replacing(file_of(HISTORY), "<name>Spend History by Month<",
                       "<name>Spend History by Month, Unit and Customer<"),
             "Report Name: data value too large", HISTORY),
    Breakage("a description too long",
             within(file_of(HISTORY), "description", "", "<description>",
                    "<description>" + "x" * 255),
             "Description: data value too large", HISTORY),
    Breakage("a scope that is none",
             replacing(file_of(HISTORY), "<scope>organization<", "<scope>everybody<"),
             "scope: Invalid value specified: everybody", HISTORY),
    Breakage("a report outside of the folder",
             together(moving(file_of(LOW), "reports/Billing/Credits_Running_Low.report"),
                      listing("Report", "Billing/Credits_Running_Low")),
             "Cannot find folder:Billing", "Billing/Credits_Running_Low"),
    Breakage("the folder did not come along", dropping(FOLDER_FILE),
             "Cannot find folder:Metronome", HISTORY),
    Breakage("the folder is shared with nobody known",
             replacing(FOLDER_FILE, "<sharedTo>AllInternalUsers<", "<sharedTo>Everybody<"),
             "sharedTo: Invalid value specified: Everybody", "Metronome"),
    Breakage("a report with a wrong name",
             together(creating("reports/Metronome/2nd.report", "<x/>"),
                      listing("Report", "Metronome/2nd")),
             "does not match type Report", "Metronome/2nd"),
]  # fmt: skip

DASHBOARD = [
    Breakage("a report that is not there",
             replacing(BOARD_FILE, f"<report>{HISTORY}<", "<report>Metronome/Spend<"),
             "In field: report - no Report named Metronome/Spend found", BOARD),
    Breakage("a report that did not come along", dropping(file_of(NEXT)),
             f"In field: report - no Report named {NEXT} found", BOARD),
    Breakage("a grouping that the report has not",
             replacing(BOARD_FILE, f"<groupingColumn>{INVOICE}$Start__c<",
                       f"<groupingColumn>{INVOICE}$End__c<"),
             f"Grouping '{INVOICE}$End__c' is not a grouping of {HISTORY}", BOARD),
    Breakage("a summary that the report has not",
             within(BOARD_FILE, "chartSummary", f"{INVOICE}$Total__c", ">Sum<", ">Average<"),
             f"Summary 'a!{INVOICE}$Total__c' is not a summary of {HISTORY}", BOARD),
    Breakage("a chart over a table",
             replacing(BOARD_FILE, f"<report>{NEXT}<", f"<report>{PENDING}<"),
             "is not a grouping of Metronome/Customers_with_a_Link_Pending", BOARD),
    Breakage("a running user who is not there",
             adding(BOARD_FILE, "<runningUser>me@example.com</runningUser>"),
             "Cannot find a user that matches any of the following usernames: me@example.com",
             BOARD),
    Breakage("a type that is none",
             replacing(BOARD_FILE, "<dashboardType>SpecifiedUser<", "<dashboardType>Everybody<"),
             "'Everybody' is not a valid value for the enum 'DashboardType'", BOARD),
    Breakage("two components in one place",
             replacing(BOARD_FILE, "<columnIndex>6<", "<columnIndex>5<"),
             "Two components of the grid overlap", BOARD),
    Breakage("a component outside of the grid",
             replacing(BOARD_FILE, "<colSpan>6<", "<colSpan>13<"),
             "A component reaches beyond column 12", BOARD),
    Breakage("a manual axis without its range",
             replacing(BOARD_FILE, "<chartAxisRange>Auto<", "<chartAxisRange>Manual<"),
             "A manual axis range needs a minimum below its maximum", BOARD),
    Breakage("the report's chart where it has none",
             together(
                 within(BOARD_FILE, "dashboardComponent", NEXT, "<useReportChart>false<",
                        "<useReportChart>true<"),
                 replacing(file_of(NEXT), "<chartType>VerticalColumnGrouped<", "<chartType>None<")),
             f"The report {NEXT} has no chart to use", BOARD),
    Breakage("a title too long",
             replacing(BOARD_FILE, "<title>Metronome Overview<", f"<title>{'Overview ' * 10}<"),
             "Title: data value too large", BOARD),
    Breakage("the folder did not come along", dropping("dashboards/Metronome-meta.xml"),
             "Cannot find folder:Metronome", BOARD),
]  # fmt: skip

BREAKAGES = [*REPORT_TYPES, *REPORTS, *DASHBOARD]


@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda each: f"{each.component}: {each.name}")
def test_the_org_refuses_it(breakage: Breakage) -> None:
    check_refused(breakage)


def test_the_package_as_it_is_gives_no_finding() -> None:
    """All of its report types, reports, dashboards and folders are taken."""
    result = deploy(sound_files())
    assert result.problems == []
    taken = {(each.component_type, each.full_name) for each in result.successes}
    for kind, count in (
        ("ReportType", 7), ("ReportFolder", 1), ("Report", 9), ("DashboardFolder", 1),
        ("Dashboard", 1),
    ):  # fmt: skip
        assert sum(each == kind for each, _ in taken) == count
