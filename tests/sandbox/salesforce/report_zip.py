"""Report types, reports, dashboards and their folders for tests, written by hand as XML."""

from collections.abc import Iterable, Sequence

from metronome_salesforce.sandbox.salesforce import SalesforceOrg
from metronome_salesforce.sandbox.salesforce.deploy_results import DeployResult
from tests.sandbox.salesforce.metadata_zip import NS, package_zip

INVOICE = "T_Invoice__c"
SHARED = (
    "<folderShares><accessLevel>View</accessLevel><sharedTo>AllInternalUsers</sharedTo>"
    "<sharedToType>Organization</sharedToType></folderShares>"
)


def tag(name: str, value: object) -> str:
    """An element, its text escaped."""
    text = str(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"<{name}>{text}</{name}>"


def join(relationship: str, *, outer: bool, inner: str = "") -> str:
    """A `<join>`."""
    kind = tag("outerJoin", str(outer).lower())
    return f"<join>{inner}{kind}{tag('relationship', relationship)}</join>"


def section(columns: Iterable[str], label: str = "Columns") -> str:
    """A section of columns given as `Table$Field`, a label for the column after a `=`."""
    parts = []
    for each in columns:
        name, _, override = each.partition("=")
        table, _, field = name.partition("$")
        shown = tag("displayNameOverride", override) if override else ""
        parts.append(
            f"<columns><checkedByDefault>true</checkedByDefault>{shown}"
            f"{tag('field', field)}{tag('table', table)}</columns>"
        )
    return f"<sections>{''.join(parts)}{tag('masterLabel', label)}</sections>"


def report_type(
    base: str, columns: Iterable[str], *, joins: str = "", label: str = "Things", extra: str = ""
) -> str:
    """A `.reportType` file."""
    return (
        f'<ReportType xmlns="{NS}">{tag("baseObject", base)}<category>other</category>'
        f"<deployed>true</deployed>{joins}{tag('label', label)}{section(columns)}{extra}"
        "</ReportType>"
    )


def columns(*names: str) -> str:
    """`<columns>` of a report: `Name`, or `Name:Sum,Average`."""
    found = []
    for each in names:
        name, _, kinds = each.partition(":")
        sums = "".join(tag("aggregateTypes", kind) for kind in kinds.split(",") if kind)
        found.append(f"<columns>{sums}{tag('field', name)}</columns>")
    return "".join(found)


def grouping(name: str, granularity: str = "Day", order: str = "Asc", extra: str = "") -> str:
    """A `<groupingsDown>`."""
    return (
        f"<groupingsDown>{tag('dateGranularity', granularity)}{tag('field', name)}"
        f"{extra}{tag('sortOrder', order)}</groupingsDown>"
    )


def filters(*items: tuple[str, str, str], logic: str = "") -> str:
    """A `<filter>` of (column, operator, value)."""
    criteria = "".join(
        f"<criteriaItems>{tag('column', column)}{tag('operator', operator)}{tag('value', value)}"
        "</criteriaItems>"
        for column, operator, value in items
    )
    return f"<filter>{tag('booleanFilter', logic) if logic else ''}{criteria}</filter>"


def frame(column: str, interval: str, start: str = "", end: str = "") -> str:
    """A `<timeFrameFilter>`."""
    days = "".join(tag(name, day) for name, day in (("endDate", end), ("startDate", start)) if day)
    return (
        f"<timeFrameFilter>{tag('dateColumn', column)}{days}{tag('interval', interval)}"
        "</timeFrameFilter>"
    )


def chart(
    group: str, summary: str, kind: str = "VerticalColumn", aggregate: str = "Sum", more: str = ""
) -> str:
    """A `<chart>`."""
    return (
        f"<chart><chartSummaries>{tag('aggregate', aggregate)}{tag('column', summary)}"
        f"</chartSummaries>{tag('chartType', kind)}{tag('groupingColumn', group)}{more}"
        "<title>Drawn</title></chart>"
    )


def report(
    body: str, *, kind: str = "Tabular", of: str = "Things__c", label: str = "A Report"
) -> str:
    """A `.report` file."""
    return (
        f'<Report xmlns="{NS}">{body}{tag("format", kind)}{tag("name", label)}'
        f"{tag('reportType', of)}</Report>"
    )


def folder(kind: str = "Report", *, name: str = "Things", shares: str = SHARED) -> str:
    """A folder's file."""
    return f'<{kind}Folder xmlns="{NS}">{shares}{tag("name", name)}</{kind}Folder>'


def component(report_name: str, kind: str = "Column", extra: str = "") -> str:
    """A `<components>` of a dashboard."""
    return (
        f"<components>{tag('componentType', kind)}{extra}{tag('report', report_name)}</components>"
    )


def dashboard(
    left: Sequence[str], right: Sequence[str] = (), *, extra: str = "", title: str = "Overview"
) -> str:
    """A `.dashboard` file with two sections."""
    sections = "".join(
        f"<{place}Section><columnSize>Medium</columnSize>{''.join(parts)}</{place}Section>"
        for place, parts in (("left", left), ("right", right))
    )
    return dashboard_of(sections + extra, title)


def dashboard_of(body: str, title: str = "Overview") -> str:
    """A `.dashboard` file with that body."""
    return (
        f'<Dashboard xmlns="{NS}"><backgroundEndColor>#FFFFFF</backgroundEndColor>'
        "<backgroundFadeDirection>Diagonal</backgroundFadeDirection>"
        f"<backgroundStartColor>#FFFFFF</backgroundStartColor>{body}<textColor>#000000</textColor>"
        f"{tag('title', title)}<titleColor>#000000</titleColor><titleSize>12</titleSize>"
        "</Dashboard>"
    )


_KINDS = {"reportTypes": "ReportType", "reports": "Report", "dashboards": "Dashboard"}


def deploy(org: SalesforceOrg, files: dict[str, str], **more: str) -> DeployResult:
    """Deploy files by their path in the zip, package.xml made from the paths."""
    members: dict[str, list[str]] = {}
    for path in files:
        top, _, rest = path.partition("/")
        name = rest.removesuffix("-meta.xml") if rest.endswith("-meta.xml") else (
            rest.rpartition(".")[0]
        )  # fmt: skip
        members.setdefault(_KINDS[top], []).append(name)
    return org.deploy(package_zip(files, members), **more)  # type: ignore[arg-type]


def things(
    body: str, *, kind: str = "Tabular", type_columns: Iterable[str], base: str = INVOICE,
    joins: str = "",
) -> dict[str, str]:  # fmt: skip
    """The files of one report `F/R` with its type and folder."""
    return {
        "reportTypes/Things.reportType": report_type(base, type_columns, joins=joins),
        "reports/F-meta.xml": folder(),
        "reports/F/R.report": report(body, kind=kind),
    }


def problems(result: DeployResult) -> list[str]:
    """What a deploy says is wrong."""
    return [each.problem or "" for each in result.failures]
