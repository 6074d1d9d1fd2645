"""Reports over REST: the list, describe, and runs (Reports and Dashboards REST API Guide).

A run may come with other filters (`reportMetadata` of a POST). Not modelled: asynchronous
instances, changing and cloning reports, other changes of the metadata of a run, dashboards.
"""

from dataclasses import replace
from typing import Any

from metronome_salesforce.sandbox.salesforce.calls import Call, Reply
from metronome_salesforce.sandbox.salesforce.core import OrgState
from metronome_salesforce.sandbox.salesforce.exceptions import SalesforceError, not_found
from metronome_salesforce.sandbox.salesforce.ids import normalise
from metronome_salesforce.sandbox.salesforce.object_metadata import MetadataError
from metronome_salesforce.sandbox.salesforce.report_columns import (
    Column,
    columns_of,
    is_visible,
)
from metronome_salesforce.sandbox.salesforce.report_definitions import (
    ROW_COUNT,
    Definition,
    FilterItem,
)
from metronome_salesforce.sandbox.salesforce.report_filters import (
    check_filter,
    operators_for,
    read_logic,
)
from metronome_salesforce.sandbox.salesforce.report_folders import may_see
from metronome_salesforce.sandbox.salesforce.report_groups import value_label
from metronome_salesforce.sandbox.salesforce.reports import (
    ReportGroup,
    ReportResult,
    ReportRow,
    definition,
    readable_tables,
    report_type_of,
    reports,
    run_report,
)

_MOST_LISTED = 200
_CHANGEABLE = frozenset({"reportFilters", "reportBooleanFilter"})
Json = dict[str, Any]


def report_list(call: Call) -> Reply:
    """`GET analytics/reports`: up to 200 reports that the user may open."""
    state = call.org.state
    with state.lock:
        found = [
            (name, label, state.components["Report", name].id)
            for name, label in reports(state)
            if may_see(state, call.user, "Report", name.rpartition("/")[0])
        ]
    return Reply(200, [
        {
            "describeUrl": f"{call.root}/analytics/reports/{record}/describe",
            "fieldsUrl": f"{call.root}/analytics/reports/{record}/fields",
            "id": record,
            "instancesUrl": f"{call.root}/analytics/reports/{record}/instances",
            "name": label,
            "url": f"{call.root}/analytics/reports/{record}",
        }
        for _, label, record in found[:_MOST_LISTED]
    ])  # fmt: skip


def describe(call: Call, record: str) -> Reply:
    """`GET analytics/reports/<id>/describe`: the report, its type's columns, its summaries."""
    with call.org.state.lock:
        name = _name(call.org.state, record)
        report = definition(call.org.state, call.user, name)
        columns = _columns(call, report)
        result = run_report(call.org.state, call.user, name)
        return Reply(
            200,
            {
                "reportExtendedMetadata": _extended(result),
                "reportMetadata": _metadata(call, name, report, result),
                "reportTypeMetadata": _type_metadata(call, report, columns),
            },
        )


def run(call: Call, record: str) -> Reply:
    """`GET|POST analytics/reports/<id>?includeDetails=true`: run, perhaps with other filters."""
    state = call.org.state
    with state.lock:
        name = _name(state, record)
        report = definition(state, call.user, name)
        columns = _columns(call, report)
        if call.method == "POST" and call.body.strip():
            report = _changed(report, columns, call.json_object())
        result = run_report(state, call.user, name, changed=report)
    details = call.query.get("includeDetails", "").lower() == "true" and report.details
    facts: Json = {}
    rows = result.rows if details else ()
    facts["T!T"] = _fact(result, result.totals, rows, columns, details=details)
    groupings = _groupings(result, result.groups, "", facts, columns, details=details)
    base = f"{call.root}/analytics/reports/{state.components['Report', name].id}"
    return Reply(
        200,
        {
            "attributes": {
                "describeUrl": f"{base}/describe",
                "instancesUrl": f"{base}/instances",
                "reportId": state.components["Report", name].id,
                "reportName": result.label,
                "type": "Report",
            },
            "allData": result.all_data,
            "factMap": facts,
            "groupingsAcross": {"groupings": []},
            "groupingsDown": {"groupings": groupings},
            "hasDetailRows": details,
            "picklistColors": {},
            "reportExtendedMetadata": _extended(result),
            "reportMetadata": _metadata(call, name, report, result),
        },
    )


def _name(state: OrgState, record: str) -> str:
    """The full name of the report with that id; raises NOT_FOUND."""
    wanted = normalise(record)
    for (kind, name), stored in state.components.items():
        if kind == "Report" and "/" in name and stored.id == wanted:
            return name
    raise not_found()


def _columns(call: Call, report: Definition) -> dict[str, Column]:
    """The columns of the report's type that the caller may see."""
    state = call.org.state
    report_type = report_type_of(state, report)
    tables = readable_tables(state, call.user, report_type)
    return {
        name: each
        for name, each in columns_of(report_type, state.schema).items()
        if is_visible(each, tables, state, call.user)
    }


def _changed(report: Definition, columns: dict[str, Column], body: Json) -> Definition:
    """The report with the filters of a POST; raises BAD_REQUEST."""
    metadata = body.get("reportMetadata")
    if not isinstance(metadata, dict):
        raise SalesforceError("BAD_REQUEST", "The request needs reportMetadata")
    other = sorted(metadata.keys() - _CHANGEABLE)
    if other:
        raise SalesforceError("BAD_REQUEST", f"reportMetadata.{other[0]}: not modelled by this org")
    items = report.filters
    if "reportFilters" in metadata:
        items = tuple(
            FilterItem(str(each["column"]), str(each["operator"]), str(each.get("value") or ""))
            for each in metadata["reportFilters"]
        )
    logic = metadata.get("reportBooleanFilter", report.logic) or ""
    unknown = next((each.column for each in items if each.column not in columns), None)
    if unknown is not None:
        raise SalesforceError("BAD_REQUEST", f"Invalid field '{unknown}' in the report's filters")
    try:
        for each in items:
            check_filter(each, columns[each.column])
        if logic:
            read_logic(logic, len(items))
    except MetadataError as error:
        raise SalesforceError("BAD_REQUEST", str(error)) from error
    return replace(report, filters=items, logic=logic)


# --- facts ----------------------------------------------------------------------------------


def _groupings(
    result: ReportResult,
    groups: tuple[ReportGroup, ...],
    prefix: str,
    facts: Json,
    columns: dict[str, Column],
    *,
    details: bool,
) -> list[Json]:
    """The tree of groups; their facts go into the fact map by keys such as 0_1!T."""
    found = []
    for at, group in enumerate(groups):
        key = f"{prefix}{at}"
        rows = group.rows if details else ()
        facts[f"{key}!T"] = _fact(result, group.aggregates, rows, columns, details=details)
        inner = _groupings(result, group.groups, f"{key}_", facts, columns, details=details)
        value = group.value if group.reference is None else group.reference
        found.append({"groupings": inner, "key": key, "label": group.label, "value": value})
    return found


def _fact(
    result: ReportResult,
    sums: tuple[object, ...],
    rows: tuple[ReportRow, ...],
    columns: dict[str, Column],
    *,
    details: bool,
) -> Json:
    fact: Json = {
        "aggregates": [
            {"label": _sum_label(each.name, value, columns), "value": value}
            for each, value in zip(result.aggregates, sums, strict=True)
        ]
    }
    if details:
        shown = [columns[each.name] for each in result.columns]
        fact["rows"] = [
            {
                "dataCells": [
                    {
                        "label": value_label(column, value),
                        "value": value if reference is None else reference,
                    }
                    for column, value, reference in zip(
                        shown, row.values, row.references, strict=True
                    )
                ]
            }
            for row in rows
        ]
    return fact


def _sum_label(name: str, value: object, columns: dict[str, Column]) -> str:
    if name == ROW_COUNT or name.startswith("u!") or isinstance(value, bool):
        return str(value)
    return value_label(columns[name[2:]], value)


# --- metadata -------------------------------------------------------------------------------


def _aggregate_type(name: str, result: ReportResult) -> str:
    if name == ROW_COUNT or name.startswith("u!"):
        return "int"
    known = {each.name: each.type for each in (*result.columns, *result.groupings)}
    return known.get(name[2:], "double")


def _extended(result: ReportResult) -> Json:
    return {
        "aggregateColumnInfo": {
            each.name: {
                "acrossGroupingContext": None,
                "dataType": _aggregate_type(each.name, result),
                "downGroupingContext": None,
                "label": each.label,
            }
            for each in result.aggregates
        },
        "detailColumnInfo": {
            each.name: {"dataType": each.type, "label": each.label} for each in result.columns
        },
        "groupingColumnInfo": {
            each.name: {"dataType": each.type, "groupingLevel": level, "label": each.label}
            for level, each in enumerate(result.groupings)
        },
    }


def _metadata(call: Call, name: str, report: Definition, result: ReportResult) -> Json:
    state = call.org.state
    folder, _, developer_name = name.rpartition("/")
    stored = state.components.get(("Report", folder))
    shown = {each.name for each in result.groupings}
    frame = report.time_frame
    return {
        "aggregates": [each.name for each in result.aggregates],
        "chart": None
        if result.chart is None
        else {
            "chartType": result.chart.type,
            "groupings": [each for each in (result.chart.grouping, result.chart.series) if each],
            "hasLegend": True,
            "showChartValues": False,
            "summaries": list(result.chart.aggregates),
            "title": result.chart.title,
        },
        "currency": None,
        "description": report.description or None,
        "detailColumns": [each.name for each in result.columns],
        "developerName": developer_name,
        "folderId": stored.id if stored else None,
        "groupingsAcross": [],
        "groupingsDown": [
            {
                "dateGranularity": each.granularity,
                "name": each.column,
                "sortAggregate": each.aggregate,
                "sortOrder": "Desc" if each.descending else "Asc",
            }
            for each in report.groupings
            if each.column in shown
        ],
        "hasDetailRows": report.details,
        "hasRecordCount": True,
        "id": state.components["Report", name].id,
        "name": report.label,
        "reportBooleanFilter": report.logic or None,
        "reportFilters": [
            {"column": each.column, "operator": each.operator, "value": each.value}
            for each in report.filters
        ],
        "reportFormat": report.format.upper(),
        "reportType": {
            "label": report_type_of(state, report).label,
            "type": report.report_type,
        },
        "scope": report.scope,
        "sortBy": [
            {
                "sortColumn": report.sort_column,
                "sortOrder": "Desc" if report.descending else "Asc",
            }
        ]
        if report.sort_column
        else [],
        "standardDateFilter": None
        if frame is None
        else {
            "column": frame.column,
            "durationValue": frame.interval.removeprefix("INTERVAL_"),
            "endDate": frame.end or None,
            "startDate": frame.start or None,
        },
    }


def _type_metadata(call: Call, report: Definition, columns: dict[str, Column]) -> Json:
    found = report_type_of(call.org.state, report)
    operators = {each.type: sorted(operators_for(each)) for each in columns.values()}
    return {
        "categories": [
            {
                "label": section.label,
                "columns": {
                    each.name: {
                        "dataType": columns[each.name].type,
                        "filterValues": [
                            {"label": one.label, "name": one.value}
                            for one in columns[each.name].field.picklist
                        ],
                        "filterable": not columns[each.name].is_long,
                        "label": columns[each.name].label,
                    }
                    for each in section.columns
                    if each.name in columns
                },
            }
            for section in found.sections
        ],
        "dataTypeFilterOperatorMap": {
            kind: [{"label": each, "name": each} for each in names]
            for kind, names in sorted(operators.items())
        },
    }
