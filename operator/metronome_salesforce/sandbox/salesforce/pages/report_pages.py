"""Reports and dashboards: the lists of them, a report as chart and table, a dashboard as cards."""

from collections.abc import Iterator, Sequence

from metronome_salesforce.sandbox.salesforce.dashboards import (
    DashboardComponent,
    dashboards,
    run_dashboard,
)
from metronome_salesforce.sandbox.salesforce.exceptions import SalesforceError
from metronome_salesforce.sandbox.salesforce.packages import flag
from metronome_salesforce.sandbox.salesforce.pages.charts import draw
from metronome_salesforce.sandbox.salesforce.pages.icons import dashboards_icon, reports_icon
from metronome_salesforce.sandbox.salesforce.pages.markup import Content, Markup, join, tag
from metronome_salesforce.sandbox.salesforce.pages.report_charts import (
    chart_of_component,
    chart_of_report,
)
from metronome_salesforce.sandbox.salesforce.pages.showing import (
    is_number,
    link,
    number_text,
    record_link,
    shown,
)
from metronome_salesforce.sandbox.salesforce.pages.tables import table
from metronome_salesforce.sandbox.salesforce.pages.visits import (
    NoPageError,
    Page,
    Visit,
    dashboard_path,
    path,
    report_path,
)
from metronome_salesforce.sandbox.salesforce.report_columns import columns_of
from metronome_salesforce.sandbox.salesforce.reports import (
    ReportColumn,
    ReportGroup,
    ReportResult,
    ReportRow,
    definition,
    parsed,
    report_type_of,
    reports,
    run_report,
)
from metronome_salesforce.sandbox.salesforce.schema import Field

_REPORTS = path("reports")
_DASHBOARDS = path("dashboards")
_DETAILS = 500


def reports_page(visit: Visit) -> Page:
    """All reports."""
    rows = [
        [link(report_path(name), label), name.partition("/")[0]]
        for name, label in reports(visit.state)
    ]
    return _listing("Reports", reports_icon(), rows, _REPORTS)


def dashboards_page(visit: Visit) -> Page:
    """All dashboards."""
    rows = [
        [link(dashboard_path(name), label), name.partition("/")[0]]
        for name, label in dashboards(visit.state)
    ]
    return _listing("Dashboards", dashboards_icon(), rows, _DASHBOARDS)


def report_page(visit: Visit, name: str) -> Page:
    """One report: its chart, its totals, its rows in their groups; raises NoPageError."""
    try:
        result = run_report(visit.state, visit.user, name)
    except SalesforceError as error:
        raise NoPageError(error.message) from error
    chart = chart_of_report(result)
    drawn = draw(chart) if chart else None
    body = join(
        _heading("Report", result.label, reports_icon(), _REPORTS, _totals(visit, result)),
        tag("section", drawn, class_="card") if drawn else None,
        tag("section", _report_table(visit, result), _cut_note(result), class_="card"),
    )
    return Page(result.label, body, tab=_REPORTS)


def dashboard_page(visit: Visit, name: str) -> Page:
    """One dashboard; raises NoPageError."""
    try:
        result = run_dashboard(visit.state, visit.user, name)
    except SalesforceError as error:
        raise NoPageError(error.message) from error
    seen = tag("p", f"As {result.running_user} sees it", class_="count")
    cards = [_component(each) for each in result.components]
    body = join(
        _heading("Dashboard", result.label, dashboards_icon(), _DASHBOARDS, None, seen),
        tag("div", *cards, class_="board"),
    )
    return Page(result.label, body, tab=_DASHBOARDS)


def _listing(title: str, icon: Markup, rows: Sequence[Sequence[Content]], tab: str) -> Page:
    body = tag(
        "section",
        tag("header", icon, tag("h1", title), class_="heading"),
        table(["Name", "Folder"], [False, False], rows),
        None if rows else tag("p", "None.", class_="note"),
        class_="card",
    )
    return Page(title, body, tab=tab)


def _heading(
    kind: str,
    title: str,
    icon: Markup,
    up: str,
    highlights: Markup | None,
    below: Markup | None = None,
) -> Markup:
    words = tag("div", tag("p", link(up, kind), class_="kind"), tag("h1", title), below)
    return tag("header", icon, words, highlights, class_="card heading")


# --- a report ---------------------------------------------------------------------------


def _totals(visit: Visit, result: ReportResult) -> Markup | None:
    """The grand totals; None where the report has them hidden, as amounts in several units do."""
    stored = visit.state.components[("Report", result.name)]
    if not flag(parsed(stored.content), "showGrandTotal", default=True):
        return None
    pairs = zip(result.aggregates, result.totals, strict=True)
    return tag(
        "dl",
        *(tag("div", tag("dt", each.label), tag("dd", _number(value))) for each, value in pairs),
        class_="highlights",
    )


def _report_table(visit: Visit, result: ReportResult) -> Markup:
    """The groups with their aggregates, the innermost above its rows."""
    fields = _fields(visit, result)
    head = tag(
        "tr",
        *(tag("th", each.label, scope="col", class_=_side(each)) for each in result.columns),
    )
    body = [
        *(row for group in result.groups for row in _group_rows(result, group, fields)),
        *(_row(result, each, fields) for each in result.rows),
    ]
    shown_rows = body[:_DETAILS]
    if len(body) > _DETAILS:
        more = f"{len(body) - _DETAILS:,} more lines are not shown."
        shown_rows.append(tag("tr", tag("td", more, colspan=max(len(result.columns), 1))))
    return tag(
        "div", tag("table", tag("thead", head), tag("tbody", *shown_rows)), class_="scroll",
        tabindex="0",
    )  # fmt: skip


def _fields(visit: Visit, result: ReportResult) -> dict[str, Field]:
    """The fields of the report's columns by the columns' names: they know decimals and labels."""
    report = definition(visit.state, visit.user, result.name)
    known = columns_of(report_type_of(visit.state, report), visit.state.schema)
    return {each.name: known[each.name].field for each in result.columns}


def _group_rows(
    result: ReportResult, group: ReportGroup, fields: dict[str, Field], depth: int = 0
) -> Iterator[Markup]:
    name = record_link(group.reference, group.label) if group.reference else join(group.label)
    sums = [
        join(" ", tag("span", f"{each.label}: ", tag("b", _number(value)), class_="sum"))
        for each, value in zip(result.aggregates, group.aggregates, strict=True)
    ]
    yield tag(
        "tr",
        tag(
            "th",
            tag("span", f"{group.column.label}: ", class_="kind"), name, *sums,
            colspan=max(len(result.columns), 1), scope="rowgroup", class_=f"level{depth}",
        ),
        class_="group",
    )  # fmt: skip
    for inner in group.groups:
        yield from _group_rows(result, inner, fields, depth + 1)
    for each in group.rows:
        yield _row(result, each, fields)


def _row(result: ReportResult, row: ReportRow, fields: dict[str, Field]) -> Markup:
    references = row.references or (None,) * len(result.columns)
    cells = [
        tag(
            "td",
            record_link(to, str(value))
            if to and value is not None
            else shown(each.type, value, field=fields[each.name]),
            class_=_side(each),
        )
        for each, value, to in zip(result.columns, row.values, references, strict=True)
    ]
    return tag("tr", *cells)


def _side(column: ReportColumn) -> str | None:
    return "number" if is_number(column.type) else None


def _cut_note(result: ReportResult) -> Markup | None:
    if result.all_data:
        return None
    return tag("p", "There are more rows than a report gives as details.", class_="note")


def _number(value: object) -> str:
    """An aggregate: a count as it is, everything else to the hundredth."""
    if not isinstance(value, int | float):
        return "-"
    return number_text(value, 0 if float(value).is_integer() else 2)


# --- a dashboard ------------------------------------------------------------------------


def _component(component: DashboardComponent) -> Markup:
    title = component.header or component.title or (
        component.result.label if component.result else component.report
    )  # fmt: skip
    return tag(
        "section",
        tag("h2", title),
        _inside(component),
        tag("p", component.footer, class_="note") if component.footer else None,
        tag("footer", link(report_path(component.report), "View report")),
        class_="card",
    )


def _inside(component: DashboardComponent) -> Markup:
    if component.problem is not None:
        return tag("p", component.problem, class_="refusal", role="alert")
    if component.type in {"Metric", "Gauge"}:
        values = component.points[0].amounts if component.points else ()
        return tag("p", _number(values[0] if values else None), class_="figure")
    chart = None if "Table" in component.type else chart_of_component(component)
    drawn = draw(chart) if chart else None
    if drawn is not None:
        return drawn
    if not component.points:
        return tag("p", "No records.", class_="note")
    head = component.grouping.label if component.grouping else ""
    rows = [[each.label, *(_number(value) for value in each.amounts)] for each in component.points]
    return table(
        [head, *component.aggregates], [False, *(True for _ in component.aggregates)], rows
    )
