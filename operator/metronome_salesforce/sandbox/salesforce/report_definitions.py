"""A report as its metadata file describes it, read into values (Metadata API, Report)."""

from dataclasses import dataclass
from xml.etree import ElementTree as ET

from metronome_salesforce.sandbox.salesforce.packages import children, flag, text_of

ROW_COUNT = "RowCount"
# Metadata API, ReportSummaryType -> prefix of the aggregate's name (Apex, ReportMetadata).
AGGREGATE_PREFIXES = {"Sum": "s", "Average": "a", "Maximum": "x", "Minimum": "m", "Unique": "u"}
AGGREGATE_LABELS = {
    "s": "Sum of {}", "a": "Average {}", "x": "Largest {}", "m": "Smallest {}", "u": "Unique {}",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Grouping:
    """One grouping of rows; `aggregate` is the name it is sorted by, None for its own values."""

    column: str
    granularity: str
    descending: bool
    aggregate: str | None


@dataclass(frozen=True, slots=True)
class FilterItem:
    """`column operator value`; an empty value stands for blank."""

    column: str
    operator: str
    value: str


@dataclass(frozen=True, slots=True)
class TimeFrame:
    """The date filter every report has; days are ISO text or empty, both inclusive."""

    column: str
    interval: str
    start: str
    end: str


@dataclass(frozen=True, slots=True)
class Chart:
    """The chart of a report; `aggregates` are names such as RowCount or s!T$F."""

    type: str
    title: str
    groupings: tuple[str, ...]
    aggregates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Definition:
    """A report; `columns` are (name, aggregate types), `logic` is the booleanFilter or empty."""

    label: str
    description: str
    format: str
    report_type: str
    scope: str
    columns: tuple[tuple[str, tuple[str, ...]], ...]
    groupings: tuple[Grouping, ...]
    filters: tuple[FilterItem, ...]
    logic: str
    time_frame: TimeFrame | None
    sort_column: str
    descending: bool
    chart: Chart | None
    details: bool
    row_limit: int | None

    @property
    def aggregates(self) -> tuple[str, ...]:
        """The names of the report's aggregates, the count of rows last."""
        named = [aggregate_name(kind, column) for column, kinds in self.columns for kind in kinds]
        return (*named, ROW_COUNT)


def aggregate_name(kind: str, column: str) -> str:
    """The name of an aggregate: RowCount, or a prefix and the column."""
    if ROW_COUNT in (kind, column):
        return ROW_COUNT
    return f"{AGGREGATE_PREFIXES.get(kind, kind)}!{column}"


def read_report(element: ET.Element) -> Definition:
    """A report from its XML, which has been held against the WSDL before."""
    filters, logic = _filters(element)
    frame = next(iter(children(element, "timeFrameFilter")), None)
    chart = next(iter(children(element, "chart")), None)
    limit = text_of(element, "rowLimit")
    return Definition(
        label=text_of(element, "name"),
        description=text_of(element, "description"),
        format=text_of(element, "format"),
        report_type=text_of(element, "reportType"),
        scope=text_of(element, "scope") or "organization",
        columns=tuple(
            (
                text_of(each, "field"),
                tuple((one.text or "").strip() for one in children(each, "aggregateTypes")),
            )
            for each in children(element, "columns")
        ),
        groupings=tuple(_grouping(each) for each in children(element, "groupingsDown")),
        filters=filters,
        logic=logic,
        time_frame=None if frame is None else TimeFrame(
            text_of(frame, "dateColumn"), text_of(frame, "interval"),
            text_of(frame, "startDate"), text_of(frame, "endDate"),
        ),
        sort_column=text_of(element, "sortColumn"),
        descending=text_of(element, "sortOrder") == "Desc",
        chart=None if chart is None else _chart(chart),
        details=flag(element, "showDetails", default=True),
        row_limit=int(limit) if limit else None,
    )  # fmt: skip


def _filters(element: ET.Element) -> tuple[tuple[FilterItem, ...], str]:
    found = next(iter(children(element, "filter")), None)
    if found is None:
        return (), ""
    items = tuple(
        FilterItem(text_of(each, "column"), text_of(each, "operator"), text_of(each, "value"))
        for each in children(found, "criteriaItems")
    )
    return items, text_of(found, "booleanFilter")


def _grouping(element: ET.Element) -> Grouping:
    by_aggregate = text_of(element, "sortType") == "Aggregate"
    return Grouping(
        text_of(element, "field"),
        text_of(element, "dateGranularity") or "Day",
        text_of(element, "sortOrder") == "Desc",
        aggregate_name(text_of(element, "aggregateType"), text_of(element, "sortByName"))
        if by_aggregate
        else None,
    )


def _chart(element: ET.Element) -> Chart:
    groupings = [text_of(element, "groupingColumn"), text_of(element, "secondaryGroupingColumn")]
    return Chart(
        text_of(element, "chartType"),
        text_of(element, "title"),
        tuple(each for each in groupings if each),
        tuple(
            aggregate_name(text_of(each, "aggregate"), text_of(each, "column"))
            for each in children(element, "chartSummaries")
        ),
    )
