"""Running reports: rows, groups, aggregates and totals, as the user may see them.

A column without field access is just not there, and neither is a grouping or an aggregate of it;
filters by such a field, and objects that the user may not read, refuse the run. Aggregates are over
all rows, details stop at 2,000 (Reports and Dashboards REST API, Limits). Blanks form a group of
their own, shown as "-", and count in no sum or average.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from metronome_salesforce.sandbox.salesforce.access import User
from metronome_salesforce.sandbox.salesforce.core import OrgState
from metronome_salesforce.sandbox.salesforce.exceptions import SalesforceError, not_found
from metronome_salesforce.sandbox.salesforce.object_metadata import MetadataError
from metronome_salesforce.sandbox.salesforce.report_columns import (
    Column,
    columns_of,
    is_visible,
)
from metronome_salesforce.sandbox.salesforce.report_definitions import (
    AGGREGATE_LABELS,
    ROW_COUNT,
    Definition,
    Grouping,
    read_report,
)
from metronome_salesforce.sandbox.salesforce.report_folders import may_see
from metronome_salesforce.sandbox.salesforce.report_groups import (
    aggregate,
    grouped,
    order_key,
)
from metronome_salesforce.sandbox.salesforce.report_rows import Cell, Row, RowQuery
from metronome_salesforce.sandbox.salesforce.report_types import (
    ReportType,
    Table,
    read_report_type,
    resolve_tables,
)

MOST_DETAILS = 2000


@dataclass(frozen=True, slots=True)
class ReportColumn:
    """A column or grouping: its name in the metadata, what people read, the REST API's type."""

    name: str
    label: str
    type: str


@dataclass(frozen=True, slots=True)
class ReportRow:
    """A row: ids of the joined records, values by column, ids of the records the values name."""

    ids: tuple[str | None, ...]
    values: tuple[object, ...]
    references: tuple[str | None, ...] = ()


@dataclass(frozen=True, slots=True)
class ReportGroup:
    """The rows that share a value of `column`; only the innermost groups hold rows.

    `reference` is the record that the value names, where it names one.
    """

    column: ReportColumn
    value: object
    label: str
    aggregates: tuple[object, ...]
    rows: tuple[ReportRow, ...]
    groups: tuple["ReportGroup", ...]
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class ReportAggregate:
    """An aggregate: RowCount, or s!, a!, x! (maximum), m! (minimum), u! (unique) and a column."""

    name: str
    label: str


@dataclass(frozen=True, slots=True)
class ChartPoint:
    """A bar, slice or dot: a group of all rows, whatever the groups of the report's table.

    `amounts` are the chart's aggregates over it, `series` its parts by the second grouping.
    """

    value: object
    label: str
    amounts: tuple[object, ...]
    series: tuple["ChartPoint", ...] = ()


@dataclass(frozen=True, slots=True)
class ReportChart:
    """What the report's chart draws: aggregates over one grouping, perhaps parted by another.

    `aggregate` is the first of `aggregates`, which the amounts of the points follow.
    """

    type: str
    title: str
    grouping: str
    aggregate: str
    aggregates: tuple[str, ...] = ()
    series: str | None = None
    points: tuple[ChartPoint, ...] = ()


@dataclass(frozen=True, slots=True)
class ReportResult:
    """A report that was run; `rows` are those of a report without groups.

    `totals` are the aggregates over all rows, in the order of `aggregates`; `all_data` is false
    if there were more rows than details may be given.
    """

    name: str
    label: str
    format: str
    columns: tuple[ReportColumn, ...]
    groupings: tuple[ReportColumn, ...]
    aggregates: tuple[ReportAggregate, ...]
    totals: tuple[object, ...]
    groups: tuple[ReportGroup, ...]
    rows: tuple[ReportRow, ...]
    chart: ReportChart | None
    all_data: bool = True


def reports(state: OrgState) -> list[tuple[str, str]]:
    """The full names ("Folder/Name") and labels of the org's reports, by name."""
    return sorted(
        (name, read_report(parsed(found.content)).label)
        for (kind, name), found in state.components.items()
        if kind == "Report" and "/" in name
    )


def parsed(content: bytes) -> ET.Element:
    """The XML of a stored component."""
    return ET.fromstring(content)  # noqa: S314 -- what a deploy has parsed and accepted


def definition(state: OrgState, user: User, name: str) -> Definition:
    """A report that the user may open; raises NOT_FOUND, FORBIDDEN where its folder is closed."""
    stored = state.components.get(("Report", name))
    if stored is None or "/" not in name:
        raise not_found()
    if not may_see(state, user, "Report", name.rpartition("/")[0]):
        raise _forbidden()
    return read_report(parsed(stored.content))


def report_type_of(state: OrgState, report: Definition) -> ReportType:
    """The report's type; raises NOT_FOUND if it was deleted since."""
    name = report.report_type.removesuffix("__c")
    stored = state.components.get(("ReportType", name))
    if stored is None:
        raise not_found()
    return read_report_type(parsed(stored.content), name)


def readable_tables(state: OrgState, user: User, report_type: ReportType) -> tuple[Table, ...]:
    """The tables of a report type; raises FORBIDDEN unless the user may read all objects."""
    try:
        tables = resolve_tables(report_type, state.schema)
    except MetadataError as error:
        raise not_found() from error
    if any(state.access(each.sobject.name, user) is None for each in tables):
        raise _forbidden()
    return tables


def _forbidden() -> SalesforceError:
    return SalesforceError(
        "FORBIDDEN", "You don't have sufficient privileges to perform this operation.", status=403
    )


def run_report(
    state: OrgState, user: User, name: str, *, changed: Definition | None = None
) -> ReportResult:
    """Run the report "Folder/Name" as the user; `changed` stands in for what is saved.

    Raises SalesforceError: NOT_FOUND, FORBIDDEN.
    """
    with state.lock:
        report = definition(state, user, name)
        return _Run(state, user, changed or report).result(name)


_Part = tuple[Cell, str, list[Row], tuple[object, ...]]


class _Run:
    """One run: which columns there are for the user, then the rows, then the groups."""

    def __init__(self, state: OrgState, user: User, report: Definition) -> None:
        self._report = report
        report_type = report_type_of(state, report)
        tables = readable_tables(state, user, report_type)
        known = {
            name: each
            for name, each in columns_of(report_type, state.schema).items()
            if is_visible(each, tables, state, user)
        }
        self._known = known
        self._columns = [known[each] for each, _ in report.columns if each in known]
        self._groupings = [each for each in report.groupings if each.column in known]
        self._aggregates = [each for each in report.aggregates if _source(each) in (None, *known)]
        wanted = [*self._columns, *(known[each.column] for each in self._groupings)]
        self._at = {each.name: at for at, each in enumerate(wanted)}
        self._rows = list(RowQuery(state, user, tables).rows(report, wanted, known))
        self._details = 0

    def result(self, name: str) -> ReportResult:
        report = self._report
        groups = self._groups(self._rows, self._groupings)
        return ReportResult(
            name=name,
            label=report.label,
            format=report.format,
            columns=tuple(_shown(each) for each in self._columns),
            groupings=tuple(_shown(self._known[each.column]) for each in self._groupings),
            aggregates=tuple(
                ReportAggregate(each, self._aggregate_label(each)) for each in self._aggregates
            ),
            totals=self._sums(self._rows),
            groups=groups,
            rows=() if groups else self._detail(self._rows),
            chart=self._chart(),
            all_data=not report.details or len(self._rows) <= MOST_DETAILS,
        )

    def _aggregate_label(self, name: str) -> str:
        source = _source(name)
        if source is None:
            return "Record Count"
        return AGGREGATE_LABELS[name[0]].format(self._known[source].label)

    def _detail(self, rows: Sequence[Row]) -> tuple[ReportRow, ...]:
        if not self._report.details:
            return ()
        shown = rows[: max(MOST_DETAILS - self._details, 0)]
        self._details += len(shown)
        width = len(self._columns)
        return tuple(
            ReportRow(
                each.ids,
                tuple(cell.value for cell in each.cells[:width]),
                tuple(cell.reference for cell in each.cells[:width]),
            )
            for each in shown
        )

    def _groups(
        self, rows: Sequence[Row], groupings: Sequence[Grouping]
    ) -> tuple[ReportGroup, ...]:
        if not groupings:
            return ()
        inner = groupings[1:]
        column = self._known[groupings[0].column]
        return tuple(
            ReportGroup(
                column=_shown(column),
                value=cell.value,
                label=label,
                aggregates=sums,
                rows=() if inner else self._detail(inside),
                groups=self._groups(inside, inner),
                reference=cell.reference,
            )
            for cell, label, inside, sums in self._parted(rows, groupings[0])
        )

    def _parted(self, rows: Sequence[Row], grouping: Grouping) -> list[_Part]:
        """The rows of each group with its cell, label and aggregates, in the grouping's order."""
        column, at = self._known[grouping.column], self._at[grouping.column]
        found: dict[object, tuple[Cell, str, list[Row]]] = {}
        for row in rows:
            cell, label = grouped(row.cells[at], column, grouping.granularity)
            key = cell.value if cell.reference is None else cell.reference
            found.setdefault(key, (cell, label, []))[2].append(row)
        parts = [(*each, self._sums(each[2])) for each in found.values()]
        parts.sort(key=lambda each: order_key(each[0].value))
        if grouping.aggregate in self._aggregates:
            place = self._aggregates.index(grouping.aggregate)
            parts.sort(key=lambda each: order_key(each[3][place]), reverse=grouping.descending)
        elif grouping.descending:
            parts.reverse()
        return parts

    def _sums(self, rows: Sequence[Row]) -> tuple[object, ...]:
        return tuple(
            len(rows)
            if name == ROW_COUNT
            else aggregate(name[0], (row.cells[self._at[name[2:]]].value for row in rows))
            for name in self._aggregates
        )

    def _chart(self) -> ReportChart | None:
        chart = self._report.chart
        if chart is None or not chart.groupings:
            return None
        named = {each.column: each for each in self._groupings}
        groupings = [named[each] for each in chart.groupings if each in named]
        aggregates = tuple(each for each in chart.aggregates if each in self._aggregates)
        if not aggregates or chart.groupings[0] not in named:
            return None
        return ReportChart(
            type=chart.type,
            title=chart.title or self._report.label,
            grouping=groupings[0].column,
            aggregate=aggregates[0],
            aggregates=aggregates,
            series=groupings[1].column if len(groupings) > 1 else None,
            points=self._points(self._rows, groupings, aggregates),
        )

    def _points(
        self, rows: Sequence[Row], groupings: Sequence[Grouping], aggregates: Sequence[str]
    ) -> tuple[ChartPoint, ...]:
        if not groupings:
            return ()
        places = [self._aggregates.index(each) for each in aggregates]
        return tuple(
            ChartPoint(
                cell.value,
                label,
                tuple(sums[place] for place in places),
                self._points(inside, groupings[1:], aggregates),
            )
            for cell, label, inside, sums in self._parted(rows, groupings[0])
        )


def _source(aggregate: str) -> str | None:
    """The column of an aggregate; None for the count of rows."""
    return None if aggregate == ROW_COUNT else aggregate[2:]


def _shown(column: Column) -> ReportColumn:
    return ReportColumn(column.name, column.label, column.type)
