"""What the org asks of a dashboard before it lets it in.

The platform's sentences are those for a report, a folder or a running user that is not there; the
others are ours. Dashboard filters, and components that show no report, are not modelled.
"""

from metronome_salesforce.sandbox.salesforce.dashboard_definitions import (
    SECTIONS,
    Component,
    Dashboard,
    read_dashboard,
)
from metronome_salesforce.sandbox.salesforce.drafts import Component as Deployed
from metronome_salesforce.sandbox.salesforce.drafts import Draft
from metronome_salesforce.sandbox.salesforce.object_metadata import MetadataError
from metronome_salesforce.sandbox.salesforce.packages import children, flag
from metronome_salesforce.sandbox.salesforce.report_definitions import Definition, read_report
from metronome_salesforce.sandbox.salesforce.report_folders import check_in_folder, check_length

MOST_COMPONENTS = 20
LONGEST_TITLE = 80
LONGEST_DESCRIPTION = 255
_WITHOUT_REPORT = frozenset({"Scontrol", "VisualforcePage", "Image", "RichText", "PulseMetric"})
_TABLES = frozenset({"Table", "FlexTable"})
_SINGLE = frozenset({"Metric", "Gauge"})
_GROUPED = ("Grouped", "Stacked", "Stacked100")
_GRID_WIDTHS = (9, 12)


def check_dashboard(component: Deployed, draft: Draft) -> None:
    """The rules for a dashboard; raises MetadataError."""
    check_in_folder(component, draft)
    root = component.root
    if children(root, "dashboardFilters"):
        raise MetadataError("dashboardFilters: not modelled by this org")
    gridded = bool(children(root, "dashboardGridLayout"))
    sections = {place for place in SECTIONS if children(root, f"{place}Section")}
    if gridded == bool(sections) or (gridded and not flag(root, "isGridLayout", default=True)):
        raise MetadataError("A dashboard has either sections or a grid layout")
    for place in ("left", "right") if sections else ():
        if place not in sections:
            raise MetadataError(f"Required field is missing: {place}Section")
    dashboard = read_dashboard(root)
    if not dashboard.title:
        raise MetadataError("Required field is missing: title")
    check_length("Title", dashboard.title, LONGEST_TITLE)
    check_length("Description", dashboard.description, LONGEST_DESCRIPTION)
    _check_running_user(dashboard, draft)
    if len(dashboard.components) > MOST_COMPONENTS:
        raise MetadataError(f"A dashboard can have at most {MOST_COMPONENTS} components")
    if gridded:
        _check_grid(dashboard)
    for each in dashboard.components:
        _check_component(each, draft)


def _check_running_user(dashboard: Dashboard, draft: Draft) -> None:
    wanted = dashboard.running_user
    if wanted and wanted.lower() not in draft.state.users:
        raise MetadataError(
            f"Cannot find a user that matches any of the following usernames: {wanted}"
        )


def _check_grid(dashboard: Dashboard) -> None:
    if dashboard.columns not in _GRID_WIDTHS:
        raise MetadataError("numberOfColumns must be 9 or 12")
    taken: set[tuple[int, int]] = set()
    for each in dashboard.components:
        cells = each.cells
        assert cells is not None  # noqa: S101 -- every component of a grid has cells
        if min(cells.wide, cells.high) < 1 or min(cells.column, cells.row) < 0:
            raise MetadataError("A component of the grid has no size or a place outside")
        if cells.column + cells.wide > dashboard.columns:
            raise MetadataError(f"A component reaches beyond column {dashboard.columns}")
        covered = {
            (column, row)
            for column in range(cells.column, cells.column + cells.wide)
            for row in range(cells.row, cells.row + cells.high)
        }
        if taken & covered:
            raise MetadataError("Two components of the grid overlap")
        taken |= covered


def _check_component(component: Component, draft: Draft) -> None:
    kind = component.type
    if kind in _WITHOUT_REPORT:
        raise MetadataError(f"componentType {kind}: not modelled by this org")
    if not component.report:
        raise MetadataError("Required field is missing: report")
    element = draft.element("Report", component.report) if "/" in component.report else None
    if element is None:
        raise MetadataError(f"In field: report - no Report named {component.report} found")
    report = read_report(element)
    mode, lowest, highest = component.axis
    if mode == "Manual" and (lowest is None or highest is None or lowest >= highest):
        raise MetadataError("A manual axis range needs a minimum below its maximum")
    if any(low >= high for low, high in zip(component.scale, component.scale[1:], strict=False)):
        raise MetadataError("Gauge range and indicator breakpoints must rise")
    if component.most is not None and component.most < 1:
        raise MetadataError(f"maxValuesDisplayed: Invalid value specified: {component.most}")
    if kind in _TABLES:
        _check_table(component, report)
    elif component.uses_report_chart:
        if report.chart is None or report.chart.type == "None":
            raise MetadataError(f"The report {component.report} has no chart to use")
    else:
        _check_chart(component, report)


def _check_table(component: Component, report: Definition) -> None:
    known = {name for name, _ in report.columns} | {each.column for each in report.groupings}
    for each in component.table:
        if each.aggregate is None and each.column not in known | set(report.aggregates):
            raise MetadataError(f"Table column '{each.column}' is not in the report")
        if each.aggregate is not None and each.aggregate not in report.aggregates:
            raise MetadataError(f"Table column '{each.aggregate}' is not a summary of the report")
    if not report.groupings and report.row_limit is None:
        raise MetadataError(
            f"A table needs a report with groupings or a row limit: {component.report}"
        )


def _check_chart(component: Component, report: Definition) -> None:
    known = [each.column for each in report.groupings]
    for name in component.groupings:
        if name not in known:
            raise MetadataError(f"Grouping '{name}' is not a grouping of {component.report}")
    for name in component.aggregates:
        if name not in report.aggregates:
            raise MetadataError(f"Summary '{name}' is not a summary of {component.report}")
    if component.type in _SINGLE:
        if component.groupings:
            raise MetadataError(f"A {component.type} has no groupingColumn")
        if component.type == "Gauge" and len(component.scale) < 2:
            raise MetadataError("A gauge needs gaugeMin and gaugeMax")
        return
    if not known:
        raise MetadataError(f"A chart needs a report with groupings: {component.report}")
    if component.type.endswith(_GROUPED) and len(known) < 2:
        raise MetadataError(f"A {component.type} chart needs a report with two groupings")
