"""From the points of a report's or a dashboard's chart to what is drawn.

Where a second grouping parts the points, its values are the colours: amounts in different units
stand beside each other then, and are never added.
"""

from collections.abc import Sequence

from metronome_salesforce.sandbox.salesforce.dashboards import DashboardComponent
from metronome_salesforce.sandbox.salesforce.pages.charts import Chart, Series
from metronome_salesforce.sandbox.salesforce.reports import ChartPoint, ReportResult

_WIDE = 880
_NARROW = 600
_MOST_POINTS = 400
_MOST_BARS = 20


def chart_of_report(result: ReportResult) -> Chart | None:
    """What the report's own chart draws; None if it has none, or no number to draw."""
    chart = result.chart
    if chart is None:
        return None
    labels = {each.name: each.label for each in result.aggregates}
    wanted = chart.aggregates or (chart.aggregate,)
    return _chart(
        (chart.type, chart.title or result.label),
        chart.points,
        [labels.get(name, name) for name in wanted],
        parted=chart.series is not None,
        wide=_WIDE,
    )


def chart_of_component(component: DashboardComponent) -> Chart | None:
    """What a dashboard's component draws; None if there is no number to draw."""
    return _chart(
        (component.type, component.header or component.title or component.report),
        component.points,
        component.aggregates,
        parted=component.series is not None,
        wide=_NARROW,
    )


def _chart(
    look: tuple[str, str],
    points: Sequence[ChartPoint],
    aggregates: Sequence[str],
    *,
    parted: bool,
    wide: int,
) -> Chart | None:
    kind, title = look
    points = points[: _MOST_POINTS if "line" in kind.lower() else _MOST_BARS]
    if parted:
        # By name, so that a currency has the same colour in most charts.
        colours = sorted({one.label for each in points for one in each.series})
        series = [
            Series(colour, tuple(_part(each, colour) for each in points)) for colour in colours
        ]
    else:
        series = [
            Series(
                label if len(aggregates) > 1 else "",
                tuple(_number(each.amounts[at]) for each in points),
            )
            for at, label in enumerate(aggregates)
        ]
    filled = tuple(each for each in series if any(each.values))
    if not filled:
        return None
    return Chart(kind, title, tuple(each.label for each in points), filled, wide)


def _part(point: ChartPoint, colour: str) -> float | None:
    """The first amount of a point's part; two parts of one name (two Accounts) are added."""
    amounts = [_number(each.amounts[0]) for each in point.series if each.label == colour]
    known = [each for each in amounts if each is not None]
    return sum(known) if known else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
