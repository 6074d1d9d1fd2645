"""What the org asks of a report type and of a report before it lets them in.

Sentences of the platform, as public lists of deploy errors have them: a base object, relationship,
field or report type that is not there, a folder that is not there, a picklist value that is not
there, filter logic. The other sentences are ours. What is refused although the platform has it:
matrix and joined reports, cross filters, buckets, formulas, filters on aggregates, comparisons of
two columns, standard report types (their columns have names of their own). It is refused with
"not modelled".
"""

from collections import Counter
from xml.etree import ElementTree as ET

from metronome_salesforce.sandbox.salesforce.drafts import Component, Draft
from metronome_salesforce.sandbox.salesforce.object_metadata import MetadataError
from metronome_salesforce.sandbox.salesforce.packages import children, flag, text_of
from metronome_salesforce.sandbox.salesforce.report_columns import Column, resolve_column
from metronome_salesforce.sandbox.salesforce.report_dates import GRANULARITIES, parse_day
from metronome_salesforce.sandbox.salesforce.report_definitions import (
    AGGREGATE_PREFIXES,
    ROW_COUNT,
    Chart,
    Definition,
    Grouping,
    read_report,
)
from metronome_salesforce.sandbox.salesforce.report_filters import (
    check_filter,
    frame_range,
    read_logic,
)
from metronome_salesforce.sandbox.salesforce.report_folders import (
    check_developer_name,
    check_in_folder,
    check_length,
)
from metronome_salesforce.sandbox.salesforce.report_types import (
    ReportType,
    read_report_type,
    resolve_tables,
)
from metronome_salesforce.sandbox.salesforce.schema import Schema

LONGEST_LABEL = 50
LONGEST_REPORT_NAME = 40
LONGEST_DESCRIPTION = 255
MOST_GROUPINGS = 3
MOST_ROWS_OF_LIMIT = 99
_SUFFIX = "__c"
_NOT_MODELLED = (
    "block", "buckets", "crossFilters", "customDetailFormulas", "dataCategoryFilters",
    "groupingsAcross", "historicalSelector", "aggregates", "aggregateFilters", "division",
    "roleHierarchyFilter", "territoryHierarchyFilter", "userFilter",
)  # fmt: skip
_CHARTS_WITHOUT_GROUPING = frozenset({"None"})


def find_report_type(draft: Draft, name: str) -> ReportType | None:
    """The custom report type that a report calls by its name and `__c`, or None."""
    plain = name.removesuffix(_SUFFIX)
    element = draft.element("ReportType", plain) if plain != name else None
    return None if element is None else read_report_type(element, plain)


def check_report_type(component: Component, draft: Draft) -> None:
    """The rules for a custom report type; raises MetadataError."""
    found = read_report_type(component.root, component.name)
    check_developer_name(found.name)
    if not found.label:
        raise MetadataError("Required field is missing: label")
    check_length("Report Type Label", found.label, LONGEST_LABEL)
    check_length("Description", found.description, LONGEST_DESCRIPTION)
    before = draft.state.components.get(("ReportType", component.name))
    if before is not None:
        # The primary object cannot be edited after the report type was made.
        old = text_of(ET.fromstring(before.content), "baseObject")  # noqa: S314 -- accepted before
        if old != found.base:
            raise MetadataError("Cannot change base object")
    _check_columns(found, draft.schema)


def _check_columns(found: ReportType, schema: Schema) -> None:
    tables = resolve_tables(found, schema)
    seen: set[str] = set()
    for section in found.sections:
        if not section.label:
            raise MetadataError("Required field is missing: masterLabel")
        for each in section.columns:
            resolve_column(each, tables, schema)
            if each.name in seen:
                raise MetadataError(f"Duplicate column specified: {each.name}")
            seen.add(each.name)
    if not seen:
        raise MetadataError("A report type without columns shows nothing")


# --- reports --------------------------------------------------------------------------------


def check_report(component: Component, draft: Draft) -> None:
    """The rules for a report; raises MetadataError."""
    check_in_folder(component, draft)
    root = component.root
    for name in _NOT_MODELLED:
        if children(root, name):
            raise MetadataError(f"{name}: not modelled by this org")
    report = read_report(root)
    if not report.label:
        raise MetadataError("Required field is missing: name")
    check_length("Report Name", report.label, LONGEST_REPORT_NAME)
    check_length("Description", report.description, LONGEST_DESCRIPTION)
    columns = _columns(report, draft)
    _check_format(report)
    _check_shown(report, columns)
    for grouping in report.groupings:
        _check_grouping(grouping, report, columns)
    _check_filters(root, report, columns, draft)
    if report.chart is not None:
        _check_chart(report.chart, report)


def _columns(report: Definition, draft: Draft) -> dict[str, Column]:
    found = find_report_type(draft, report.report_type)
    if found is None:
        if draft.has("ReportType", report.report_type):
            raise MetadataError(
                f"Invalid report type '{report.report_type}': a custom report type is named with "
                f"{_SUFFIX}"
            )
        raise MetadataError(f"Invalid report type '{report.report_type}'")
    tables = resolve_tables(found, draft.schema)
    _check_scope(report.scope, tables[0].sobject.field("OwnerId") is not None)
    return {each.name: resolve_column(each, tables, draft.schema) for each in found.columns}


def _check_scope(scope: str, owned: bool) -> None:
    if scope != "organization" and not (scope == "user" and owned):
        raise MetadataError(f"scope: Invalid value specified: {scope}")


def _known(name: str, report: Definition, columns: dict[str, Column]) -> Column:
    found = columns.get(name)
    if found is None:
        raise MetadataError(f"Invalid field '{name}' for report type '{report.report_type}'")
    return found


def _check_format(report: Definition) -> None:
    match report.format:
        case "Summary" if not report.groupings:
            raise MetadataError("Summary report requires at least one grouping")
        case "Tabular" if report.groupings:
            raise MetadataError("Tabular report cannot have groupings")
        case "Tabular" if report.chart is not None and report.chart.type != "None":
            raise MetadataError("Chart not valid for Tabular format")
        case "Matrix" | "MultiBlock":
            raise MetadataError(f"format {report.format}: not modelled by this org")
    if len(report.groupings) > MOST_GROUPINGS:
        raise MetadataError(f"A summary report can have at most {MOST_GROUPINGS} groupings")
    if report.row_limit is not None:
        if report.format != "Tabular" or not report.sort_column:
            raise MetadataError("A row limit needs a tabular report and a sort column")
        if not 1 <= report.row_limit <= MOST_ROWS_OF_LIMIT:
            raise MetadataError(f"rowLimit must be between 1 and {MOST_ROWS_OF_LIMIT}")


def _check_shown(report: Definition, columns: dict[str, Column]) -> None:
    if not report.columns:
        raise MetadataError("Required field is missing: columns")
    twice = [name for name, times in Counter(name for name, _ in report.columns).items()
             if times > 1]  # fmt: skip
    if twice:
        raise MetadataError(f"Duplicate column specified: {twice[0]}")
    for name, kinds in report.columns:
        column = _known(name, report, columns)
        for kind in kinds:
            if kind not in AGGREGATE_PREFIXES:
                raise MetadataError(f"aggregateTypes {kind}: not modelled by this org")
            if kind != "Unique" and not column.is_number:
                raise MetadataError(
                    f"Aggregate type {kind} is not valid for {column.type} field {name}"
                )
            if kind == "Unique" and column.is_long:
                raise MetadataError(f"Field {name} is a long text area and cannot be counted")
        if len(set(kinds)) < len(kinds):
            raise MetadataError(f"Duplicate aggregateTypes specified: {name}")
    if report.sort_column and _known(report.sort_column, report, columns).is_long:
        raise MetadataError(f"Field {report.sort_column} is a long text area and cannot be sorted")


def _check_grouping(grouping: Grouping, report: Definition, columns: dict[str, Column]) -> None:
    name = grouping.column
    column = _known(name, report, columns)
    if name in {shown for shown, _ in report.columns}:
        raise MetadataError(f"Grouping field '{name}' must not also be a column")
    if [each.column for each in report.groupings].count(name) > 1:
        raise MetadataError(f"Duplicate grouping specified: {name}")
    if column.is_long:
        raise MetadataError(f"Field {name} is a long text area and cannot be grouped")
    # Retrieved reports say Day or None for groupings of every type.
    if column.is_date and grouping.granularity not in GRANULARITIES:
        raise MetadataError(f"dateGranularity: Invalid value specified: {grouping.granularity}")
    if not column.is_date and grouping.granularity not in {"Day", "None"}:
        raise MetadataError(
            f"dateGranularity {grouping.granularity} is not valid for {column.type} field {name}"
        )
    if grouping.aggregate is not None and grouping.aggregate not in report.aggregates:
        raise MetadataError(f"Grouping {name} is sorted by an aggregate that the report has not")


def _check_filters(
    root: ET.Element, report: Definition, columns: dict[str, Column], draft: Draft
) -> None:
    for criteria in children(root, "filter"):
        if any(flag(item, "columnToColumn") for item in children(criteria, "criteriaItems")):
            raise MetadataError("columnToColumn: not modelled by this org")
    for item in report.filters:
        check_filter(item, _known(item.column, report, columns))
    if report.logic:
        read_logic(report.logic, len(report.filters))
    frame = report.time_frame
    if frame is None:
        return
    if not _known(frame.column, report, columns).is_date:
        raise MetadataError(f"Field {frame.column} of the date filter is not a date")
    for day in (frame.start, frame.end):
        if day and (frame.interval != "INTERVAL_CUSTOM" or parse_day(day) is None):
            raise MetadataError(f"The date filter cannot have the date {day}")
    frame_range(frame, draft.state.moment().date())


def _check_chart(chart: Chart, report: Definition) -> None:
    if chart.type in _CHARTS_WITHOUT_GROUPING:
        return
    groupings = [each.column for each in report.groupings]
    if not chart.groupings:
        raise MetadataError("Required field is missing: groupingColumn")
    for name in chart.groupings:
        if name not in groupings:
            raise MetadataError(f"Chart grouping '{name}' is not a grouping of the report")
    if not chart.aggregates:
        raise MetadataError("Required field is missing: chartSummaries")
    for name in chart.aggregates:
        if name != ROW_COUNT and name not in report.aggregates:
            raise MetadataError(f"Chart summary '{name}' is not a summary of the report")
