"""Reports at deploy: what the org takes and what it refuses, in whose words."""

import pytest

from metronome_salesforce.sandbox.salesforce import SalesforceOrg
from tests.sandbox.salesforce import report_zip as rz
from tests.sandbox.salesforce.metadata_zip import package_zip

T = "T_Invoice__c$"
TYPE = [
    f"{T}Name", f"{T}Status__c", f"{T}Kind__c", f"{T}Start__c", f"{T}Issued_At__c", f"{T}Total__c",
    f"{T}Share__c", f"{T}Closed__c", f"{T}Notes__c", f"{T}Account__c.Name", f"{T}Customer__c",
    f"{T}Line_Total__c",
]  # fmt: skip
SHOWN = rz.columns(f"{T}Name", f"{T}Total__c:Sum,Average,Maximum,Minimum", f"{T}Closed__c:Sum")
BY_STATUS = rz.grouping(f"{T}Status__c")


def deployed(org: SalesforceOrg, body: str, kind: str = "Tabular") -> list[str]:
    """The problems of deploying one report with its type and folder."""
    return rz.problems(rz.deploy(org, rz.things(body, kind=kind, type_columns=TYPE)))


def filtered(column: str, operator: str, value: str) -> str:
    """A report with one filter."""
    return SHOWN + rz.filters((T + column, operator, value))


ACCEPTED = [
    ("Tabular", SHOWN + "<scope>user</scope>"),
    ("Tabular", SHOWN + rz.tag("sortColumn", f"{T}Start__c") + rz.tag("rowLimit", 10)),
    ("Summary", SHOWN + BY_STATUS + rz.grouping(f"{T}Start__c", "Month") + rz.grouping(
        f"{T}Account__c.Name", "None", "Desc",
        "<aggregateType>Sum</aggregateType><sortType>Aggregate</sortType>"
        f"<sortByName>{T}Total__c</sortByName>")),
    ("Summary", SHOWN + BY_STATUS + rz.chart(f"{T}Status__c", f"{T}Total__c", "Donut")),
    ("Summary", SHOWN + BY_STATUS + rz.chart(f"{T}Status__c", "RowCount", aggregate="None")),
    *(("Tabular", filtered(*each)) for each in (
        ("Name", "startsWith", "A"), ("Status__c", "equals", "Draft,Void"),
        ("Status__c", "notContain", "oid"), ("Total__c", "greaterOrEqual", "-1.5"),
        ("Total__c", "equals", ""), ("Closed__c", "notEqual", "1"),
        ("Start__c", "equals", "LAST_N_DAYS:7"), ("Start__c", "lessThan", "1/31/2026"),
        ("Issued_At__c", "greaterThan", "2026-01-31"), ("Start__c", "equals", "THIS_FISCAL_YEAR"),
        ("Customer__c", "contains", "corp"),
    )),
    ("Tabular", SHOWN + rz.frame(f"{T}Start__c", "INTERVAL_CUSTOM", "2026-01-01", "2026-01-31")),
    ("Tabular", SHOWN + rz.frame(f"{T}Issued_At__c", "INTERVAL_LAST90")),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "body"), ACCEPTED, ids=range(len(ACCEPTED)))
def test_a_report_that_the_platform_takes_is_taken(
    org: SalesforceOrg, kind: str, body: str
) -> None:
    assert deployed(org, body, kind) == []


def aggregate_sort(column: str, kind: str = "Sum") -> str:
    """A grouping sorted by an aggregate."""
    return rz.grouping(
        f"{T}Status__c", "Day", "Desc",
        f"<aggregateType>{kind}</aggregateType><sortType>Aggregate</sortType>"
        f"<sortByName>{column}</sortByName>",
    )  # fmt: skip


BAD_REPORTS = [
    ("Tabular", "", "Required field is missing: columns"),
    ("Tabular", rz.columns(f"{T}Nix__c"), f"Invalid field '{T}Nix__c' for report type 'Things__c'"),
    ("Tabular", rz.columns("T_Invoice__c.Name"),
     "Invalid field 'T_Invoice__c.Name' for report type 'Things__c'"),
    ("Tabular", rz.columns(f"{T}Paid__c"),
     f"Invalid field '{T}Paid__c' for report type 'Things__c'"),
    ("Tabular", rz.columns(f"{T}Name", f"{T}Name"), f"Duplicate column specified: {T}Name"),
    ("Tabular", rz.columns(f"{T}Name:Sum"),
     f"Aggregate type Sum is not valid for string field {T}Name"),
    ("Tabular", rz.columns(f"{T}Start__c:Maximum"),
     f"Aggregate type Maximum is not valid for date field {T}Start__c"),
    ("Tabular", rz.columns(f"{T}Total__c:Sum,Sum"),
     f"Duplicate aggregateTypes specified: {T}Total__c"),
    ("Tabular", rz.columns(f"{T}Total__c:Median"),
     "aggregateTypes Median: not modelled by this org"),
    ("Tabular", rz.columns(f"{T}Total__c:Most"),
     "'Most' is not a valid value for the enum 'ReportSummaryType'"),
    ("Tabular", SHOWN + BY_STATUS, "Tabular report cannot have groupings"),
    ("Tabular", SHOWN + rz.chart(f"{T}Status__c", f"{T}Total__c"),
     "Chart not valid for Tabular format"),
    ("Summary", SHOWN, "Summary report requires at least one grouping"),
    ("Matrix", SHOWN + BY_STATUS, "format Matrix: not modelled by this org"),
    ("Summary", SHOWN + BY_STATUS + "<groupingsAcross><field>X</field><sortOrder>Asc</sortOrder>"
     "</groupingsAcross>", "groupingsAcross: not modelled by this org"),
    ("List", SHOWN, "'List' is not a valid value for the enum 'ReportFormat'"),
    ("Summary", SHOWN + rz.grouping(f"{T}Name"),
     f"Grouping field '{T}Name' must not also be a column"),
    ("Summary", SHOWN + BY_STATUS * 2, f"Duplicate grouping specified: {T}Status__c"),
    ("Summary", SHOWN + "".join(rz.grouping(T + each) for each in
                                ("Status__c", "Kind__c", "Start__c", "Share__c")),
     "A summary report can have at most 3 groupings"),
    ("Summary", SHOWN + rz.grouping(f"{T}Nix__c"),
     f"Invalid field '{T}Nix__c' for report type 'Things__c'"),
    ("Summary", SHOWN + rz.grouping(f"{T}Notes__c"),
     f"Field {T}Notes__c is a long text area and cannot be grouped"),
    ("Summary", SHOWN + rz.grouping(f"{T}Status__c", "Month"),
     f"dateGranularity Month is not valid for picklist field {T}Status__c"),
    ("Summary", SHOWN + rz.grouping(f"{T}Start__c", "FiscalPeriod"),
     "dateGranularity: Invalid value specified: FiscalPeriod"),
    ("Summary", SHOWN + rz.grouping(f"{T}Start__c", "Decade"),
     "'Decade' is not a valid value for the enum 'UserDateGranularity'"),
    ("Summary", SHOWN + aggregate_sort(f"{T}Share__c"),
     f"Grouping {T}Status__c is sorted by an aggregate that the report has not"),
    ("Summary", SHOWN + aggregate_sort(f"{T}Total__c", "Unique"),
     f"Grouping {T}Status__c is sorted by an aggregate that the report has not"),
    ("Summary", SHOWN + BY_STATUS + rz.chart(f"{T}Kind__c", f"{T}Total__c"),
     f"Chart grouping '{T}Kind__c' is not a grouping of the report"),
    ("Summary", SHOWN + BY_STATUS + rz.chart(f"{T}Status__c", f"{T}Share__c"),
     f"Chart summary 's!{T}Share__c' is not a summary of the report"),
    ("Summary", SHOWN + BY_STATUS + rz.chart(f"{T}Status__c", f"{T}Closed__c", aggregate="Average"),
     f"Chart summary 'a!{T}Closed__c' is not a summary of the report"),
    ("Summary", SHOWN + BY_STATUS + rz.chart(f"{T}Status__c", f"{T}Total__c", "Cake"),
     "'Cake' is not a valid value for the enum 'ChartType'"),
    ("Summary", SHOWN + BY_STATUS + "<chart><chartType>Pie</chartType></chart>",
     "Required field is missing: groupingColumn"),
    ("Tabular", SHOWN + rz.tag("sortColumn", f"{T}Nix__c"),
     f"Invalid field '{T}Nix__c' for report type 'Things__c'"),
    ("Tabular", SHOWN + rz.tag("sortColumn", f"{T}Notes__c"),
     f"Field {T}Notes__c is a long text area and cannot be sorted"),
    ("Tabular", SHOWN + rz.tag("rowLimit", 10),
     "A row limit needs a tabular report and a sort column"),
    ("Tabular", SHOWN + rz.tag("sortColumn", f"{T}Name") + rz.tag("rowLimit", 100),
     "rowLimit must be between 1 and 99"),
    ("Tabular", SHOWN + "<scope>team</scope>", "scope: Invalid value specified: team"),
    ("Tabular", SHOWN + rz.tag("description", "d" * 256),
     f"Description: data value too large: {'d' * 256} (max length=255)"),
    ("Tabular", SHOWN + "<crossFilters><operation>with</operation><primaryTableColumn>X"
     "</primaryTableColumn><relatedTable>Y</relatedTable><relatedTableJoinColumn>Z"
     "</relatedTableJoinColumn></crossFilters>", "crossFilters: not modelled by this org"),
    ("Tabular", SHOWN + "<format>Tabular</format>",
     "Error parsing file: Element format is duplicated at this location in type Report"),
    ("Tabular", SHOWN + "<folderName>G</folderName>",
     "The folder G is not the one the file is in: F"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "body", "problem"), BAD_REPORTS, ids=range(len(BAD_REPORTS)))
def test_what_is_wrong_with_a_report_is_said(
    org: SalesforceOrg, kind: str, body: str, problem: str
) -> None:
    assert deployed(org, body, kind) == [problem]


BAD_FILTERS = [
    (filtered("Nix__c", "equals", "1"), f"Invalid field '{T}Nix__c' for report type 'Things__c'"),
    (filtered("Notes__c", "contains", "x"),
     f"Field {T}Notes__c is a long text area and cannot be filtered"),
    (filtered("Total__c", "contains", "1"),
     f"Invalid filter operator 'contains' for double field {T}Total__c"),
    (filtered("Closed__c", "greaterThan", "0"),
     f"Invalid filter operator 'greaterThan' for boolean field {T}Closed__c"),
    (filtered("Start__c", "startsWith", "2026"),
     f"Invalid filter operator 'startsWith' for date field {T}Start__c"),
    (filtered("Name", "includes", "A"),
     f"Invalid filter operator 'includes' for string field {T}Name"),
    (filtered("Name", "like", "A"), "'like' is not a valid value for the enum 'FilterOperation'"),
    (filtered("Total__c", "lessThan", ""), f"A filter value is required for {T}Total__c"),
    (filtered("Closed__c", "equals", ""), f"A filter value is required for {T}Closed__c"),
    (filtered("Closed__c", "equals", "True"),
     f"Invalid filter value 'True' for boolean field {T}Closed__c"),
    (filtered("Total__c", "lessThan", "20%"),
     f"Invalid filter value '20%' for double field {T}Total__c"),
    (filtered("Start__c", "equals", "31.01.2026"),
     f"Invalid filter value '31.01.2026' for date field {T}Start__c"),
    (filtered("Start__c", "equals", "NEXT_N_DAYS"),
     f"Invalid filter value 'NEXT_N_DAYS' for date field {T}Start__c"),
    (filtered("Start__c", "equals", "2026-02-30"),
     f"Invalid filter value '2026-02-30' for date field {T}Start__c"),
    (filtered("Status__c", "equals", "Draft,Paid"),
     "Picklist value: Paid in picklist: Status__c not found"),
    (SHOWN + rz.filters((f"{T}Name", "equals", "A"), (f"{T}Name", "equals", "B"), logic="1 OR 3"),
     "The filter logic references an undefined filter: 3."),
    (SHOWN + rz.filters((f"{T}Name", "equals", "A"), (f"{T}Name", "equals", "B"), logic="1"),
     "Some filter conditions are defined but not referenced in your filter logic."),
    (SHOWN + rz.filters(*[(f"{T}Name", "equals", "A")] * 3, logic="1 AND 2 OR 3"),
     "Your filter must use parentheses around successive AND and OR expressions."),
    (SHOWN + rz.filters(*[(f"{T}Name", "equals", "A")] * 2, logic="1 && 2"),
     "Your filter is imprecise or incorrect: &"),
    (SHOWN + rz.filters(*[(f"{T}Name", "equals", "A")] * 2, logic="(1 OR 2"),
     "Your filter is missing a parenthesis"),
    (SHOWN + rz.filters(*[(f"{T}Name", "equals", "A")] * 2, logic="1 OR 2)"),
     "Your filter is imprecise or incorrect"),
    (SHOWN + rz.filters(*[(f"{T}Name", "equals", "A")] * 2, logic="1 2 AND"),
     "Your filter is imprecise or incorrect"),
    (SHOWN + rz.filters((f"{T}Name", "equals", "A"), logic="1 AND"),
     "Your filter is missing an operand"),
    (SHOWN + rz.filters((f"{T}Name", "equals", "A")).replace(
        "<operator>", "<columnToColumn>true</columnToColumn><operator>"),
     "columnToColumn: not modelled by this org"),
    (SHOWN + rz.frame(f"{T}Name", "INTERVAL_CUSTOM"),
     f"Field {T}Name of the date filter is not a date"),
    (SHOWN + rz.frame(f"{T}End__c", "INTERVAL_CUSTOM"),
     f"Invalid field '{T}End__c' for report type 'Things__c'"),
    (SHOWN + rz.frame(f"{T}Start__c", "INTERVAL_CURQ"),
     "'INTERVAL_CURQ' is not a valid value for the enum 'UserDateInterval'"),
    (SHOWN + rz.frame(f"{T}Start__c", "THIS_FISCALPERIOD"),
     "interval: Invalid value specified: THIS_FISCALPERIOD"),
    (SHOWN + rz.frame(f"{T}Start__c", "INTERVAL_CURY", "2026-01-01"),
     "The date filter cannot have the date 2026-01-01"),
    (SHOWN + rz.frame(f"{T}Start__c", "INTERVAL_CUSTOM", "2026-02-01", "2026-01-01"),
     "The end date of the date filter is before its start date"),
    (SHOWN + rz.frame(f"{T}Start__c", "INTERVAL_CUSTOM", "January"),
     "The date filter cannot have the date January"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "problem"), BAD_FILTERS, ids=range(len(BAD_FILTERS)))
def test_what_is_wrong_with_a_filter_is_said(org: SalesforceOrg, body: str, problem: str) -> None:
    assert deployed(org, body) == [problem]


def test_report_type_folder_and_name_of_a_report(org: SalesforceOrg) -> None:
    """What the report refers to must be there or come along, in whatever order."""
    files = rz.things(SHOWN, type_columns=TYPE)
    path = "reports/F/R.report"

    def problems(**changed: str) -> list[str]:
        return rz.problems(rz.deploy(org, {**files, path: rz.report(SHOWN, **changed)}))

    assert problems(of="Things") == [
        "Invalid report type 'Things': a custom report type is named with __c"
    ]
    assert problems(of="Others__c") == ["Invalid report type 'Others__c'"]
    assert problems(of="AccountList") == ["Invalid report type 'AccountList'"]
    assert problems(label="") == ["Required field is missing: name"]
    assert problems(label="N" * 41) == [
        f"Report Name: data value too large: {'N' * 41} (max length=40)"
    ]
    alone = {name: text for name, text in files.items() if name != "reports/F-meta.xml"}
    assert rz.problems(rz.deploy(org, alone)) == ["Cannot find folder:F"]
    [problem] = rz.problems(rz.deploy(org, {**files, "reports/F/R_.report": files[path]}))
    assert problem.startswith("The name R_ can only contain underscores")
    loose = {**files, "reports/R.report": files[path]}
    [problem] = rz.problems(rz.deploy(org, loose))
    assert problem.endswith("does not match type ReportFolder")
    assert rz.problems(rz.deploy(org, dict(reversed(files.items())))) == []
    only = {path: rz.report(SHOWN, label="Again")}
    assert rz.problems(rz.deploy(org, only)) == []


def test_a_refused_report_type_takes_its_report_with_it(org: SalesforceOrg) -> None:
    """And a refused report leaves no trace."""
    files = rz.things(SHOWN, type_columns=["T_Invoice__c$Nix__c"])
    assert rz.problems(rz.deploy(org, files)) == [
        "Invalid field 'Nix__c' for object 'T_Invoice__c'",
        "Invalid report type 'Things__c'",
    ]
    members = {"Report": ["F", "F/R"]}
    assert (
        "An object 'F/R' of type Report was named"
        in rz.problems(org.deploy(package_zip({"reports/F-meta.xml": rz.folder()}, members)))[0]
    )
    assert not [key for key in org.state.components if key[0] in {"Report", "ReportType"}]
