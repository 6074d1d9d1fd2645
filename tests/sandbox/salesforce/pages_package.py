"""A small package with everything that the web pages show, written by hand."""

from collections.abc import Mapping

from tests.sandbox.salesforce.metadata_zip import (
    NS,
    custom_object,
    field,
    formula,
    key,
    lookup,
    number,
    package_zip,
    permission_set,
    picklist,
    standard_fields,
    text,
)

CUSTOMER = "Metronome_Orphan_Customer__c"
INVOICE = "Metronome_Invoice__c"
RUN = "Metronome_Sync_Run__c"
HIDDEN = "T_Hidden__c"
_REQUIRED = ("Name", "Metronome_Customer_ID__c")
SPEND_HELP = 'Draft <b>total</b> & "more"'


def list_view(name: str, label: str, *columns: str, filters: str = "") -> str:
    """A `<listViews>` element."""
    listed = "".join(f"<columns>{each}</columns>" for each in columns)
    return (
        f"<listViews><fullName>{name}</fullName>{listed}<filterScope>Everything</filterScope>"
        f"{filters}<label>{label}</label></listViews>"
    )


def layout(*sections: tuple[str, list[str], list[str]], related: str = "") -> str:
    """A layout of sections with two columns of fields."""

    def column(names: list[str]) -> str:
        items = "".join(
            "<layoutItems><behavior>"
            f"{'Required' if name in _REQUIRED else 'Readonly'}</behavior><field>{name}</field>"
            "</layoutItems>"
            for name in names
        )
        return f"<layoutColumns>{items}</layoutColumns>"

    shown = "".join(
        f"<layoutSections><customLabel>true</customLabel><detailHeading>true</detailHeading>"
        f"<editHeading>true</editHeading><label>{label}</label>{column(left)}{column(right)}"
        "<style>TwoColumnsTopToBottom</style></layoutSections>"
        for label, left, right in sections
    )
    return f'<Layout xmlns="{NS}">{shown}{related}</Layout>'


def tab(motif: str) -> str:
    """A tab of a custom object."""
    return (
        f'<CustomTab xmlns="{NS}"><customObject>true</customObject><motif>{motif}</motif>'
        "</CustomTab>"
    )


def report(
    name: str, chart: str, *groupings: str, series: str | None = None, total: str = "true"
) -> str:
    """A summary report over invoices with a chart of their totals by the last grouping."""
    parts = f"<secondaryGroupingColumn>{INVOICE}${series}</secondaryGroupingColumn>"
    down = "".join(
        f"<groupingsDown><dateGranularity>{'Month' if each == 'Start__c' else 'Day'}"
        f"</dateGranularity><field>{INVOICE}${each}</field><sortOrder>Asc</sortOrder>"
        "</groupingsDown>"
        for each in groupings
    )
    return (
        f'<Report xmlns="{NS}"><chart><chartSummaries><aggregate>Sum</aggregate>'
        f"<axisBinding>y</axisBinding><column>{INVOICE}$Total__c</column></chartSummaries>"
        f"<chartType>{chart}</chartType><groupingColumn>{INVOICE}${groupings[-1]}</groupingColumn>"
        f"<location>CHART_TOP</location>{parts if series else ''}<size>Medium</size>"
        "<summaryAxisRange>Auto</summaryAxisRange><textColor>#000000</textColor>"
        f"<textSize>12</textSize><title>{name} drawn</title><titleColor>#000000</titleColor>"
        f"<titleSize>18</titleSize></chart><columns><field>{INVOICE}$Name</field></columns>"
        f"<columns><aggregateTypes>Sum</aggregateTypes><field>{INVOICE}$Total__c</field></columns>"
        f"<columns><field>{INVOICE}$Secret__c</field></columns>"
        f"<format>Summary</format>{down}<name>{name}</name>"
        f"<reportType>Invoices__c</reportType><scope>organization</scope>"
        f"<showDetails>true</showDetails><showGrandTotal>{total}</showGrandTotal>"
        f"<timeFrameFilter><dateColumn>{INVOICE}$Start__c</dateColumn>"
        "<interval>INTERVAL_CUSTOM</interval></timeFrameFilter></Report>"
    )


def report_type(*fields: str) -> str:
    """A custom report type over invoices."""
    columns = "".join(
        f"<columns><checkedByDefault>true</checkedByDefault><field>{each}</field>"
        f"<table>{INVOICE}</table></columns>"
        for each in fields
    )
    return (
        f'<ReportType xmlns="{NS}"><baseObject>{INVOICE}</baseObject><category>other</category>'
        "<deployed>true</deployed><label>Invoices</label>"
        f"<sections>{columns}<masterLabel>Invoices</masterLabel></sections></ReportType>"
    )


def folder(kind: str) -> str:
    """A folder of reports or dashboards that everybody sees."""
    return (
        f'<{kind} xmlns="{NS}"><folderShares><accessLevel>View</accessLevel>'
        "<sharedTo>AllInternalUsers</sharedTo><sharedToType>Organization</sharedToType>"
        f"</folderShares><name>Billing</name></{kind}>"
    )


def component(kind: str, header: str, report_name: str, grouping: str | None) -> str:
    """A component of a dashboard."""
    by = f"<groupingColumn>{INVOICE}${grouping}</groupingColumn>" if grouping else ""
    return (
        "<components><autoselectColumnsFromReport>false</autoselectColumnsFromReport>"
        "<chartAxisRange>Auto</chartAxisRange><chartSummary><aggregate>Sum</aggregate>"
        f"<axisBinding>y</axisBinding><column>{INVOICE}$Total__c</column></chartSummary>"
        f"<componentType>{kind}</componentType><displayUnits>Auto</displayUnits>{by}"
        f"<header>{header}</header><legendPosition>Bottom</legendPosition>"
        f"<report>Billing/{report_name}</report><sortBy>RowLabelAscending</sortBy></components>"
    )


def dashboard(*components: str) -> str:
    """A dashboard that everybody sees with their own eyes."""
    return (
        f'<Dashboard xmlns="{NS}"><backgroundEndColor>#FFFFFF</backgroundEndColor>'
        "<backgroundFadeDirection>Diagonal</backgroundFadeDirection>"
        "<backgroundStartColor>#FFFFFF</backgroundStartColor><dashboardType>LoggedInUser"
        f"</dashboardType><leftSection><columnSize>Medium</columnSize>{''.join(components)}"
        "</leftSection><rightSection><columnSize>Medium</columnSize></rightSection>"
        "<textColor>#000000</textColor><title>Overview</title>"
        "<titleColor>#000000</titleColor><titleSize>12</titleSize></Dashboard>"
    )


def utility_bar(sobject: str, view: str) -> str:
    """A utility bar with one list."""
    given = {"entityName": sobject, "filterName": view, "label": "Last Run", "pageSize": "2"}
    properties = "".join(
        "<componentInstanceProperties>"
        f"<name>{name}</name>{'<type>decorator</type>' if name == 'label' else ''}"
        f"<value>{value}</value></componentInstanceProperties>"
        for name, value in given.items()
    )
    return (
        f'<FlexiPage xmlns="{NS}"><flexiPageRegions><itemInstances><componentInstance>{properties}'
        "<componentName>flexipage:filterListCard</componentName><identifier>list</identifier>"
        "</componentInstance></itemInstances><name>utilityItems</name><type>Region</type>"
        "</flexiPageRegions><flexiPageRegions><name>backgroundComponents</name>"
        "<type>Background</type></flexiPageRegions><masterLabel>Bar</masterLabel><template>"
        "<name>one:utilityBarTemplateDesktop</name></template><type>UtilityBar</type></FlexiPage>"
    )


APP = (
    f'<CustomApplication xmlns="{NS}"><brand><headerColor>#2A5BD7</headerColor>'
    "<shouldOverrideOrgTheme>false</shouldOverrideOrgTheme></brand><formFactors>Large</formFactors>"
    "<label>Billing &amp; more</label><navType>Standard</navType>"
    f"<tabs>{CUSTOMER}</tabs><tabs>{HIDDEN}</tabs><tabs>standard-Account</tabs>"
    f"<tabs>{INVOICE}</tabs><tabs>standard-Dashboard</tabs><tabs>standard-report</tabs>"
    "<uiType>Lightning</uiType><utilityBar>Bar</utilityBar></CustomApplication>"
)

_CUSTOMER = custom_object(
    "Orphaned Customer",
    key("Metronome_Customer_ID__c")
    + lookup("Account__c", "Account", "Metronome_Customers")
    + text("Linked_Account_ID__c", 18)
    + formula(
        "Link_Pending__c",
        "Checkbox",
        "IF(ISBLANK(Account__c), NOT(ISBLANK(Linked_Account_ID__c)), "
        "CASESAFEID(Account__c) <> Linked_Account_ID__c)",
    )
    + formula("Link__c", "Text", 'HYPERLINK("https://x.example/" & Metronome_Customer_ID__c, "Go")')
    + formula("Trap__c", "Text", 'HYPERLINK("javascript:alert(1)", "Trap")')
    + field("Current_Spend__c", "Number",
            extra="<inlineHelpText>Draft &lt;b&gt;total&lt;/b&gt; &amp; &quot;more&quot;"
            "</inlineHelpText><precision>18</precision><scale>2</scale>")
    + number("Share__c", 5, 1, "Percent")
    + number("Price__c", 18, 10)
    + field("Since__c", "Date")
    + field("Seen_At__c", "DateTime")
    + field("Archived__c", "Checkbox", extra="<defaultValue>false</defaultValue>")
    + field("Notes__c", "LongTextArea",
            extra="<length>32768</length><visibleLines>3</visibleLines>")
    + field("Site__c", "Url")
    + text("Secret__c"),
    extra="<compactLayoutAssignment>Summary</compactLayoutAssignment><compactLayouts>"
    "<fullName>Summary</fullName><fields>Name</fields><fields>Current_Spend__c</fields>"
    "<fields>Secret__c</fields><fields>Account__c</fields><label>Summary</label></compactLayouts>"
    + list_view("All", "All", "NAME", "Account__c", "Current_Spend__c", "Secret__c", "Since__c")
    + list_view(
        "Rich", "Rich Ones", "NAME", "Current_Spend__c",
        filters="<filters><field>Current_Spend__c</field><operation>greaterThan</operation>"
        "<value>100</value></filters>",
    ),
)  # fmt: skip

_INVOICE = custom_object(
    "Invoice",
    key("Metronome_Invoice_ID__c")
    + lookup("Orphaned_Customer__c", CUSTOMER, "Metronome_Invoices")
    + lookup("Account__c", "Account", "Metronome_Invoices")
    + text("Metronome_Customer_ID__c", extra="<externalId>true</externalId>")
    + picklist("Status__c", "Draft", "Finalized")
    + field("Start__c", "Date")
    + number("Total__c")
    + text("Currency__c")
    + text("Secret__c"),
    sharing="Read",
    extra=list_view("All", "All", "NAME", "Orphaned_Customer__c", "Total__c"),
)

_RUN = custom_object(
    "Sync Run",
    picklist("Outcome__c", "Running", "Succeeded", "Failed")
    + field("Started_At__c", "DateTime")
    + field("Finished_At__c", "DateTime")
    + number("Rows_Created__c", 18, 0),
    name_field="<nameField><displayFormat>RUN-{000}</displayFormat><label>Run</label>"
    "<type>AutoNumber</type></nameField>",
    extra=list_view("All", "All", "NAME", "Outcome__c", "Rows_Created__c"),
)

_RELATED = (
    "<relatedLists><fields>NAME</fields><fields>Status__c</fields><fields>Secret__c</fields>"
    f"<fields>Total__c</fields><relatedList>{INVOICE}.Orphaned_Customer__c</relatedList>"
    "<sortField>Start__c</sortField><sortOrder>Desc</sortOrder></relatedLists>"
)

_READ = (
    "Account.Metronome_Current_Spend__c",
    *(f"{CUSTOMER}.{name}" for name in (
        "Linked_Account_ID__c", "Link_Pending__c", "Link__c", "Trap__c", "Current_Spend__c",
        "Share__c", "Price__c", "Since__c", "Seen_At__c", "Archived__c", "Notes__c", "Site__c",
    )),
    *(f"{INVOICE}.{name}" for name in (
        "Orphaned_Customer__c", "Account__c", "Metronome_Customer_ID__c", "Status__c", "Start__c",
        "Total__c", "Currency__c",
    )),
    *(f"{RUN}.{name}" for name in (
        "Outcome__c", "Started_At__c", "Finished_At__c", "Rows_Created__c",
    )),
)  # fmt: skip
_OBJECTS = {"Account": "rv", INVOICE: "rv", RUN: "rv"}
_FULL = "crudva"

FILES: Mapping[str, str] = {
    "objects/Account.object": standard_fields(
        text("Metronome_Customer_ID__c") + number("Metronome_Current_Spend__c")
    ),
    f"objects/{CUSTOMER}.object": _CUSTOMER,
    f"objects/{INVOICE}.object": _INVOICE,
    f"objects/{RUN}.object": _RUN,
    f"objects/{HIDDEN}.object": custom_object("Hidden", text("Note__c")),
    f"layouts/{CUSTOMER}-Orphaned Customer Layout.layout": layout(
        ("Who", ["Name", "Site__c"], ["Account__c", "Archived__c"]),
        ("Money & Dates".replace("&", "&amp;"), ["Current_Spend__c", "Share__c", "Price__c"],
         ["Since__c", "Seen_At__c", "Notes__c", "Link__c", "Trap__c"]),
        ("Keys", ["Metronome_Customer_ID__c"], []),
        ("Only Secrets", ["Secret__c"], []),
        related=_RELATED,
    ),
    f"tabs/{CUSTOMER}.tab": tab("Custom57: Building Block"),
    f"tabs/{INVOICE}.tab": tab("Custom18: Form"),
    f"tabs/{HIDDEN}.tab": tab("Custom1: Heart"),
    "applications/Billing.app": APP,
    "flexipages/Bar.flexipage": utility_bar(RUN, "All"),
    "reportTypes/Invoices.reportType": report_type(
        "Name", "Status__c", "Start__c", "Total__c", "Currency__c", "Secret__c"
    ),
    "reports/Billing-meta.xml": folder("ReportFolder"),
    "reports/Billing/By_Status.report": report("By Status", "HorizontalBar", "Status__c"),
    "reports/Billing/By_Month.report": report(
        "By Month", "VerticalColumnGrouped", "Currency__c", "Start__c", series="Currency__c",
        total="false",
    ),
    "reports/Billing/Trend.report": report("Trend", "Line", "Start__c"),
    "reports/Billing/Shares.report": report("Shares", "Donut", "Status__c"),
    "dashboards/Billing-meta.xml": folder("DashboardFolder"),
    "dashboards/Billing/Overview.dashboard": dashboard(
        component("Column", "Months", "Trend", "Start__c"),
        component("Metric", "In all", "By_Status", None),
    ),
    "permissionsets/People.permissionset": permission_set(
        {**_OBJECTS, CUSTOMER: "ruv"},
        {**dict.fromkeys(_READ, "r"), f"{CUSTOMER}.Account__c": "rw"},
    ),
    "permissionsets/Readers.permissionset": permission_set(
        {**_OBJECTS, CUSTOMER: "rv"},
        {**dict.fromkeys(_READ, "r"), f"{CUSTOMER}.Account__c": "r"},
    ),
    "permissionsets/Operator.permissionset": permission_set(
        {"Account": "ruv", CUSTOMER: _FULL, INVOICE: _FULL, RUN: _FULL, HIDDEN: _FULL},
        {
            **dict.fromkeys(_READ, "rw"),
            **{f"{CUSTOMER}.{name}": "r" for name in ("Link_Pending__c", "Link__c", "Trap__c")},
            f"{CUSTOMER}.Account__c": "rw",
            f"{CUSTOMER}.Secret__c": "rw",
            f"{INVOICE}.Secret__c": "rw",
            "Account.Metronome_Customer_ID__c": "rw",
        },
    ),
}  # fmt: skip
_MEMBERS = {
    "CustomObject": [CUSTOMER, INVOICE, RUN, HIDDEN],
    "CustomField": ["Account.Metronome_Customer_ID__c", "Account.Metronome_Current_Spend__c"],
    "Layout": [f"{CUSTOMER}-Orphaned Customer Layout"],
    "CustomTab": [CUSTOMER, INVOICE, HIDDEN],
    "CustomApplication": ["Billing"],
    "FlexiPage": ["Bar"],
    "ReportType": ["Invoices"],
    "Report": ["Billing", *(f"Billing/{each}" for each in (
        "By_Status", "By_Month", "Trend", "Shares"))],
    "Dashboard": ["Billing", "Billing/Overview"],
    "PermissionSet": ["People", "Readers", "Operator"],
}  # fmt: skip


def pages_package(changed: Mapping[str, str] | None = None) -> bytes:
    """The package, some of its files replaced."""
    return package_zip({**FILES, **(changed or {})}, _MEMBERS)
