"""A dashboard as its metadata file describes it, read into values (Metadata API, Dashboard)."""

from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from metronome_salesforce.sandbox.salesforce.packages import children, flag, text_of
from metronome_salesforce.sandbox.salesforce.report_definitions import aggregate_name

SECTIONS = ("left", "middle", "right")


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column of a table component: a column of the report, or an aggregate of one."""

    column: str
    aggregate: str | None


@dataclass(frozen=True, slots=True)
class Cells:
    """Where a component lies on the grid of a Lightning dashboard."""

    column: int
    row: int
    wide: int
    high: int


@dataclass(frozen=True, slots=True)
class Component:
    """One component; `place` is left, middle, right, or grid with its `cells`.

    `aggregates` are names as in `report_definitions.aggregate_name`, `axis` is the manual range of
    the value axis, `scale` the numbers that must rise on a gauge or metric.
    """

    place: str
    cells: Cells | None
    type: str
    report: str
    header: str
    title: str
    footer: str
    groupings: tuple[str, ...]
    aggregates: tuple[str, ...]
    table: tuple[TableColumn, ...]
    uses_report_chart: bool
    sort: str
    most: int | None
    axis: tuple[str, float | None, float | None]
    scale: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A dashboard; `type` is SpecifiedUser, LoggedInUser or MyTeamUser."""

    title: str
    description: str
    type: str
    running_user: str
    columns: int
    components: tuple[Component, ...]


def read_dashboard(element: ET.Element) -> Dashboard:
    """A dashboard from its XML, which has been held against the WSDL before."""
    grid = next(iter(children(element, "dashboardGridLayout")), None)
    return Dashboard(
        title=text_of(element, "title"),
        description=text_of(element, "description"),
        type=text_of(element, "dashboardType") or "SpecifiedUser",
        running_user=text_of(element, "runningUser"),
        columns=int(text_of(grid, "numberOfColumns")) if grid is not None else 0,
        components=tuple(_components(element, grid)),
    )


def _components(element: ET.Element, grid: ET.Element | None) -> Iterator[Component]:
    for place in SECTIONS:
        for section in children(element, f"{place}Section"):
            for each in children(section, "components"):
                yield _component(each, place, None)
    for cell in children(grid, "dashboardGridComponents") if grid is not None else []:
        names = ("columnIndex", "rowIndex", "colSpan", "rowSpan")
        cells = Cells(*(int(text_of(cell, name)) for name in names))
        for each in children(cell, "dashboardComponent"):
            yield _component(each, "grid", cells)


def _component(element: ET.Element, place: str, cells: Cells | None) -> Component:
    most = text_of(element, "maxValuesDisplayed")
    scale = ("gaugeMin", "indicatorBreakpoint1", "indicatorBreakpoint2", "gaugeMax")
    return Component(
        place=place,
        cells=cells,
        type=text_of(element, "componentType"),
        report=text_of(element, "report"),
        header=text_of(element, "header"),
        title=text_of(element, "title"),
        footer=text_of(element, "footer"),
        groupings=tuple((each.text or "").strip() for each in children(element, "groupingColumn")),
        aggregates=tuple(
            aggregate_name(text_of(each, "aggregate"), text_of(each, "column"))
            for each in children(element, "chartSummary")
        ),
        table=tuple(_table_columns(element)),
        uses_report_chart=flag(element, "useReportChart"),
        sort=text_of(element, "sortBy"),
        most=int(most) if most else None,
        axis=(
            text_of(element, "chartAxisRange"),
            _number(element, "chartAxisRangeMin"),
            _number(element, "chartAxisRangeMax"),
        ),
        scale=tuple(
            found for name in scale for found in [_number(element, name)] if found is not None
        ),
    )


def _table_columns(element: ET.Element) -> Iterator[TableColumn]:
    for each in children(element, "dashboardTableColumn"):
        column, kind = text_of(each, "column"), text_of(each, "aggregateType")
        summed = kind not in {"", "None", "Noop"} or column == "RowCount"
        yield TableColumn(column, aggregate_name(kind, column) if summed else None)
    for properties in children(element, "flexComponentProperties"):
        for each in children(properties, "flexTableColumn"):
            yield TableColumn(text_of(each, "reportColumn"), None)


def _number(element: ET.Element, name: str) -> float | None:
    text = text_of(element, name)
    return float(text) if text else None
