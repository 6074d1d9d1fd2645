"""Running dashboards: each component's report, and the points that the component draws.

Everybody sees a dashboard with the eyes of its running user; without one named, that is who
deployed it. A dynamic one (LoggedInUser) is seen with one's own (Salesforce Help, Dashboard
Running User).
"""

from dataclasses import dataclass, replace

from metronome_salesforce.sandbox.salesforce.access import User
from metronome_salesforce.sandbox.salesforce.core import OrgState
from metronome_salesforce.sandbox.salesforce.dashboard_definitions import (
    Cells,
    Component,
    Dashboard,
    read_dashboard,
)
from metronome_salesforce.sandbox.salesforce.exceptions import SalesforceError, not_found
from metronome_salesforce.sandbox.salesforce.report_definitions import Chart, Definition
from metronome_salesforce.sandbox.salesforce.report_folders import may_see
from metronome_salesforce.sandbox.salesforce.report_groups import order_key
from metronome_salesforce.sandbox.salesforce.reports import (
    ChartPoint,
    ReportChart,
    ReportColumn,
    ReportResult,
    definition,
    parsed,
    run_report,
)

_SINGLE = frozenset({"Metric", "Gauge"})


@dataclass(frozen=True, slots=True)
class DashboardComponent:
    """One component that was run.

    `type` is the chart's (Bar, Column, Line, Donut, Metric, Table ...), `grouping` what its points
    stand for, `series` what parts them, `aggregates` the labels of their amounts; a metric or gauge
    has one point, the total. `place` is left, middle, right, or grid with its `cells`. `problem`
    says why there is no result.
    """

    type: str
    header: str
    title: str
    footer: str
    report: str
    place: str
    cells: Cells | None
    grouping: ReportColumn | None
    series: ReportColumn | None
    aggregates: tuple[str, ...]
    points: tuple[ChartPoint, ...]
    result: ReportResult | None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class DashboardResult:
    """A dashboard that was run; `running_user` is the name of whose eyes it was seen with."""

    name: str
    label: str
    description: str
    running_user: str
    components: tuple[DashboardComponent, ...]


def dashboards(state: OrgState) -> list[tuple[str, str]]:
    """The full names ("Folder/Name") and titles of the org's dashboards, by name."""
    return sorted(
        (name, read_dashboard(parsed(found.content)).title)
        for (kind, name), found in state.components.items()
        if kind == "Dashboard" and "/" in name
    )


def run_dashboard(state: OrgState, user: User, name: str) -> DashboardResult:
    """Run the dashboard "Folder/Name"; raises SalesforceError: NOT_FOUND, FORBIDDEN."""
    with state.lock:
        stored = state.components.get(("Dashboard", name))
        if stored is None or "/" not in name:
            raise not_found()
        if not may_see(state, user, "Dashboard", name.rpartition("/")[0]):
            raise SalesforceError(
                "FORBIDDEN", "You don't have access to the dashboard's folder.", status=403
            )
        dashboard = read_dashboard(parsed(stored.content))
        eyes = _running_user(state, user, dashboard, stored.created_by[0])
        return DashboardResult(
            name=name,
            label=dashboard.title,
            description=dashboard.description,
            running_user=eyes.name,
            components=tuple(_run(state, eyes, each) for each in dashboard.components),
        )


def _running_user(state: OrgState, user: User, dashboard: Dashboard, deployed_by: str) -> User:
    if dashboard.type != "SpecifiedUser":
        return user
    if dashboard.running_user:
        return state.user(dashboard.running_user)
    return state.user_by_id(deployed_by) or user


def _run(state: OrgState, user: User, component: Component) -> DashboardComponent:
    result, problem = None, None
    try:
        report = definition(state, user, component.report)
        changed = replace(report, chart=_chart(component, report))
        result = run_report(state, user, component.report, changed=changed)
    except SalesforceError as error:
        # The platform shows the other components and a sentence in the place of this one.
        problem = error.message
    chart = result.chart if result is not None else None
    single = result is not None and component.type in _SINGLE
    columns = {each.name: each for each in result.groupings} if result is not None else {}
    shown = _shown_aggregates(component, result)
    return DashboardComponent(
        type=component.type,
        header=component.header,
        title=component.title,
        footer=component.footer,
        report=component.report,
        place=component.place,
        cells=component.cells,
        grouping=columns[chart.grouping] if chart is not None and not single else None,
        series=columns[chart.series] if chart is not None and chart.series else None,
        aggregates=tuple(label for _, label, _ in shown),
        points=(ChartPoint(None, "", tuple(total for _, _, total in shown)),)
        if single
        else _points(component, chart),
        result=result,
        problem=problem,
    )


def _chart(component: Component, report: Definition) -> Chart | None:
    """What the component draws: its own groupings and summaries, or the report's chart."""
    if component.uses_report_chart:
        return report.chart
    groupings = component.groupings or tuple(each.column for each in report.groupings[:1])
    tabled = tuple(each.aggregate or each.column for each in component.table)
    aggregates = (
        component.aggregates
        or tuple(each for each in report.aggregates if each in tabled)
        or report.aggregates[:1]
    )
    return Chart(component.type, component.title, groupings, aggregates)


def _shown_aggregates(
    component: Component, result: ReportResult | None
) -> list[tuple[str, str, object]]:
    """Name, label and total of the aggregates that the component shows."""
    if result is None:
        return []
    known = {
        each.name: (each.name, each.label, total)
        for each, total in zip(result.aggregates, result.totals, strict=True)
    }
    if result.chart is not None:
        return [known[each] for each in result.chart.aggregates]
    own = [known[each] for each in component.aggregates if each in known]
    return own or list(known.values())[:1]


def _points(component: Component, chart: ReportChart | None) -> tuple[ChartPoint, ...]:
    points = list(chart.points) if chart is not None else []
    if component.sort.startswith("RowLabel"):
        # A month sorts by its first day, not by its name.
        points.sort(key=lambda each: order_key(each.value))
    elif component.sort.startswith("RowValue"):
        points.sort(key=lambda each: order_key(each.amounts[0]))
    if component.sort.endswith("Descending"):
        points.reverse()
    return tuple(points[: component.most])
