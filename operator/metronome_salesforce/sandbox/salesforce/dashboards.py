"""Running dashboards: each component's report, and the points that the component draws.

Everybody sees a dashboard with the eyes of its running user; without one named, that is who
deployed it. A dynamic one (LoggedInUser) is seen with one's own (Salesforce Help, Dashboard
Running User).
"""

from dataclasses import dataclass

from metronome_salesforce.sandbox.salesforce.access import User
from metronome_salesforce.sandbox.salesforce.core import OrgState
from metronome_salesforce.sandbox.salesforce.dashboard_definitions import (
    Cells,
    Component,
    Dashboard,
    read_dashboard,
)
from metronome_salesforce.sandbox.salesforce.exceptions import SalesforceError, not_found
from metronome_salesforce.sandbox.salesforce.report_definitions import ROW_COUNT
from metronome_salesforce.sandbox.salesforce.report_folders import may_see
from metronome_salesforce.sandbox.salesforce.reports import (
    ReportColumn,
    ReportGroup,
    ReportResult,
    parsed,
    run_report,
)


@dataclass(frozen=True, slots=True)
class DashboardPoint:
    """One bar, slice or dot: a group's label and its aggregates, in the component's order."""

    label: str
    values: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class DashboardComponent:
    """One component that was run.

    `type` is the chart's (Bar, Column, Line, Donut, Metric, Table ...), `grouping` what its points
    stand for, `aggregates` their labels; a metric or gauge has one point without grouping.
    `place` is left, middle, right, or grid with its `cells`. `problem` says why there is no result.
    """

    type: str
    header: str
    title: str
    footer: str
    report: str
    place: str
    cells: Cells | None
    grouping: ReportColumn | None
    aggregates: tuple[str, ...]
    points: tuple[DashboardPoint, ...]
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
        result = run_report(state, user, component.report)
    except SalesforceError as error:
        # The platform shows the other components and a sentence in the place of this one.
        problem = error.message
    at = _grouping_at(component, result)
    names = _aggregates(component, result)
    return DashboardComponent(
        type=component.type,
        header=component.header,
        title=component.title,
        footer=component.footer,
        report=component.report,
        place=component.place,
        cells=component.cells,
        grouping=None if result is None or at is None else result.groupings[at],
        aggregates=tuple(
            each.label for name in names for each in (result.aggregates if result else ())
            if each.name == name
        ),
        points=() if result is None else _points(component, result, at, names),
        result=result,
        problem=problem,
    )  # fmt: skip


def _grouping_at(component: Component, result: ReportResult | None) -> int | None:
    """Which of the report's groupings the points stand for; None for one point of totals."""
    if result is None or not result.groupings or component.type in {"Metric", "Gauge"}:
        return None
    wanted = component.groupings[:1]
    if component.uses_report_chart and result.chart is not None:
        wanted = (result.chart.grouping,)
    names = [each.name for each in result.groupings]
    return names.index(wanted[0]) if wanted and wanted[0] in names else 0


def _aggregates(component: Component, result: ReportResult | None) -> tuple[str, ...]:
    """The names of the aggregates that the component draws: its own, the report chart's, or one."""
    if result is None:
        return ()
    known = [each.name for each in result.aggregates]
    wanted = component.aggregates
    if component.table:
        wanted = tuple(
            each.aggregate or each.column
            for each in component.table
            if (each.aggregate or each.column) in known
        )
    elif component.uses_report_chart and result.chart is not None:
        wanted = (result.chart.aggregate,)
    return tuple(name for name in wanted if name in known) or tuple(known[:1] or [ROW_COUNT])


def _points(
    component: Component, result: ReportResult, at: int | None, names: tuple[str, ...]
) -> tuple[DashboardPoint, ...]:
    places = [[each.name for each in result.aggregates].index(name) for name in names]
    if at is None:
        if result.groupings or component.type in {"Metric", "Gauge"}:
            return (DashboardPoint("", tuple(result.totals[place] for place in places)),)
        return ()
    groups = _level(result.groups, at)
    points = [
        DashboardPoint(each.label, tuple(each.aggregates[place] for place in places))
        for each in groups
    ]
    if component.sort.startswith("RowLabel"):
        order = sorted(range(len(points)), key=lambda one: _label_key(groups[one]))
        points = [points[one] for one in order]
    elif component.sort.startswith("RowValue"):
        points.sort(key=lambda each: _value_key(each.values[0]))
    if component.sort.endswith("Descending"):
        points.reverse()
    return tuple(points[: component.most])


def _level(groups: tuple[ReportGroup, ...], depth: int) -> list[ReportGroup]:
    if depth == 0:
        return list(groups)
    return [inner for each in groups for inner in _level(each.groups, depth - 1)]


def _label_key(group: ReportGroup) -> tuple[int, str]:
    # A month sorts by its first day, not by its name.
    return (0, "") if group.value is None else (1, str(group.value).casefold())


def _value_key(value: object) -> tuple[int, float]:
    return (1, float(value)) if isinstance(value, int | float) else (0, 0.0)
