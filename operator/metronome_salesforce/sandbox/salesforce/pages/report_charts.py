"""From a report that was run to what its chart draws.

Where a report groups twice, the grouping that the chart does not name gives the colours: amounts in
different units stand beside each other then, and are never added.
"""

from collections.abc import Iterator, Sequence

from metronome_salesforce.sandbox.salesforce.dashboards import DashboardComponent
from metronome_salesforce.sandbox.salesforce.pages.charts import Chart, Series
from metronome_salesforce.sandbox.salesforce.reports import ReportGroup, ReportResult

_MOST_POINTS = 400
_MOST_BARS = 20
_DATES = frozenset({"date", "datetime"})

Category = tuple[str, str | None]
"""A group's label, and the record it stands for: two Accounts may have one name."""


def chart_of_report(result: ReportResult) -> Chart | None:
    """What the report's own chart draws; None if it has none, or nothing to draw it from."""
    if result.chart is None:
        return None
    title = result.chart.title or result.label
    return _chart(result, (result.chart.type, title), result.chart.grouping, result.chart.aggregate)


def chart_of_component(component: DashboardComponent) -> Chart | None:
    """What a dashboard's component draws, its categories in the component's order."""
    result, grouping = component.result, component.grouping
    if result is None or grouping is None or not component.aggregates:
        return None
    labels = {each.label: each.name for each in result.aggregates}
    return _chart(
        result,
        (component.type, component.header or component.title or result.label),
        grouping.name,
        labels[component.aggregates[0]],
        wanted=list(dict.fromkeys(each.label for each in component.points)),
    )


def _chart(
    result: ReportResult,
    look: tuple[str, str],
    grouping: str,
    aggregate: str,
    *,
    wanted: Sequence[str] | None = None,
) -> Chart | None:
    kind, title = look
    levels = [each.name for each in result.groupings]
    names = [each.name for each in result.aggregates]
    if grouping not in levels[:2] or aggregate not in names:
        return None
    level, place = levels.index(grouping), names.index(aggregate)
    cells: dict[tuple[str, Category], float] = {}
    groups: dict[Category, ReportGroup] = {}
    colours: dict[str, None] = {}
    for colour, group, value in _points(result, level, place):
        category = (group.label, group.reference)
        groups.setdefault(category, group)
        colours.setdefault(colour)
        if isinstance(value, int | float):
            cells[colour, category] = value
    categories = _ordered(result, level, groups, cells)
    if wanted is not None:
        categories = [each for each in categories if each[0] in wanted]
        categories.sort(key=lambda each: wanted.index(each[0]))
    categories = categories[: _MOST_POINTS if "line" in kind.lower() else _MOST_BARS]
    series = [
        Series(colour, tuple(cells.get((colour, each)) for each in categories))
        for colour in colours
    ]
    filled = tuple(each for each in series if any(each.values))
    return Chart(kind, title, tuple(label for label, _ in categories), filled) if filled else None


def _points(
    result: ReportResult, level: int, place: int
) -> Iterator[tuple[str, ReportGroup, object]]:
    """The colour, the group that is the category, and the number, of each point."""
    for outer in result.groups:
        if len(result.groupings) == 1:
            yield "", outer, outer.aggregates[place]
            continue
        for inner in outer.groups:
            colour, category = (inner, outer) if level == 0 else (outer, inner)
            yield colour.label, category, inner.aggregates[place]


def _ordered(
    result: ReportResult,
    level: int,
    groups: dict[Category, ReportGroup],
    cells: dict[tuple[str, Category], float],
) -> list[Category]:
    """Days and months as they pass, everything else with the largest number first."""
    if result.groupings[level].type in _DATES:
        return sorted(groups, key=lambda each: str(groups[each].value or ""))
    largest: dict[Category, float] = {}
    for (_, category), value in cells.items():
        largest[category] = max(value, largest.get(category, value))
    return sorted(groups, key=lambda each: -largest.get(each, 0))
