"""Reports and dashboards on the pages: their tables, and charts that have the right proportions."""

from collections.abc import Iterator

import pytest

from metronome_salesforce.sandbox.salesforce import SalesforceOrg, SalesforceSandbox
from tests.sandbox.salesforce.page_reading import Element, rows_of, terms_of
from tests.sandbox.salesforce.pages_package import INVOICE
from tests.sandbox.salesforce.pages_site import PERSON, Site, add_invoice, fill

# Name, status, month, total, currency.
INVOICES = (
    ("a", "Draft", "2026-01-05", 100, "EUR"),
    ("b", "Draft", "2026-02-05", 300, "USD"),
    ("c", "Finalized", "2026-01-07", 50.5, "USD"),
    ("d", "Finalized", "2026-03-01", 150, "EUR"),
)


@pytest.fixture
def site(empty_org: SalesforceOrg) -> Iterator[Site]:
    fill(empty_org)
    for name, status, start, total, currency in INVOICES:
        add_invoice(
            empty_org, name, Status__c=status, Start__c=start, Total__c=total,
            Currency__c=currency, Secret__c="hush",
        )  # fmt: skip
    with SalesforceSandbox(empty_org, person=PERSON).serve() as served:
        yield Site(empty_org, served)


def marks(figure: Element, tag: str) -> list[tuple[str, Element]]:
    """The marks of a chart with what each says to whoever points at it."""
    return [(each.one("title").text, each) for each in figure.all(tag) if each.all("title")]


def sizes(figure: Element, side: str) -> dict[str, float]:
    """The width or height of a chart's bars by what they say."""
    return {tip: float(bar[side]) for tip, bar in marks(figure, "rect")}


def texts(figure: Element) -> list[str]:
    """The words drawn in a chart."""
    return [each.text for each in figure.all("text")]


def test_reports_are_listed(site: Site) -> None:
    """All reports of the org by name, with their folder."""
    main = site.main("/app/reports")
    assert rows_of(main.one("table")) == [
        ["By Month", "Billing"], ["By Status", "Billing"], ["Shares", "Billing"],
        ["Trend", "Billing"],
    ]  # fmt: skip
    assert main.one("tbody").all("a")[0]["href"] == "/app/reports/Billing/By_Month"


def test_a_report_shows_groups_and_rows(site: Site) -> None:
    """Groups with their sums above their rows; a column without FLS is gone; rows are links."""
    main = site.main("/app/reports/Billing/By_Status")
    assert main.one("h1").text == "By Status"
    assert terms_of(main)["Sum of Total"] == "600.50"
    table = main.one("table")
    assert [each.text for each in table.one("thead").all("th")] == ["Name", "Total"]
    assert rows_of(table) == [
        ["Status: Draft Sum of Total: 400 Record Count: 2"],
        ["a", "100.00"], ["b", "300.00"],
        ["Status: Finalized Sum of Total: 200.50 Record Count: 2"],
        ["c", "50.50"], ["d", "150.00"],
    ]  # fmt: skip
    record = next(each["Id"] for each in site.org.rows(INVOICE) if each["Name"] == "a")
    assert table.all("a")[0]["href"] == f"/app/r/{record}"
    assert "hush" not in site.get("/app/reports/Billing/By_Status").text


def test_bars_are_as_long_as_their_numbers(site: Site) -> None:
    """A horizontal bar for each group, with its name and number."""
    figure = site.main("/app/reports/Billing/By_Status").one("figure")
    assert figure.one("figcaption").text == "By Status drawn"
    assert figure.all("svg")[0]["aria-label"] == "By Status drawn"
    wide = sizes(figure, "width")
    assert set(wide) == {"Draft: 400", "Finalized: 200.50"}
    assert wide["Draft: 400"] / wide["Finalized: 200.50"] == pytest.approx(400 / 200.5, rel=0.01)
    assert texts(figure) == ["Draft", "400", "Finalized", "200.5"]


def test_columns_keep_units_apart(site: Site) -> None:
    """Months in their order, a colour for each currency, nothing added over currencies."""
    main = site.main("/app/reports/Billing/By_Month")
    figure = main.one("figure")
    high = sizes(figure, "height")
    assert set(high) == {
        "January 2026, EUR: 100", "January 2026, USD: 50.50", "February 2026, USD: 300",
        "March 2026, EUR: 150",
    }  # fmt: skip
    unit = high["February 2026, USD: 300"] / 300
    for tip, height in high.items():
        assert height == pytest.approx(float(tip.partition(": ")[2]) * unit, abs=0.1), tip
    colours = {tip.partition(", ")[2][:3]: bar["fill"] for tip, bar in marks(figure, "rect")}
    assert colours["EUR"] != colours["USD"]
    places = {tip[:3]: float(bar["x"]) for tip, bar in marks(figure, "rect")}
    assert places["Jan"] < places["Feb"] < places["Mar"]
    legend = figure.one("ul", class_="legend")
    assert [(each.text, each.one("rect")["fill"]) for each in legend.all("li")] == [
        ("EUR", colours["EUR"]),
        ("USD", colours["USD"]),
    ]
    assert texts(figure)[-3:] == ["January 2026", "February 2026", "March 2026"]
    # The report has its grand total hidden.
    assert not main.one("header", class_="heading").all("dl")


def test_lines_go_through_their_points(site: Site) -> None:
    """A line over the months: a dot for each, higher for more."""
    figure = site.main("/app/reports/Billing/Trend").one("figure")
    dots = {tip: (float(dot["cx"]), float(dot["cy"])) for tip, dot in marks(figure, "circle")}
    assert list(dots) == ["January 2026: 150.50", "February 2026: 300", "March 2026: 150"]
    assert [x for x, _ in dots.values()] == sorted(x for x, _ in dots.values())
    heights = [y for _, y in dots.values()]
    # Downwards from the top of the drawing.
    assert heights[1] < heights[0] < heights[2]
    line = figure.one("polyline")["points"].split()
    assert line == [f"{x},{y}" for x, y in dots.values()]


def test_donuts_are_cut_by_shares(site: Site) -> None:
    """Two thirds and one third of the circle, named with their shares."""
    figure = site.main("/app/reports/Billing/Shares").one("figure")
    slices = dict(marks(figure, "circle"))
    parts = {
        tip: [float(part) for part in each["stroke-dasharray"].split()]
        for tip, each in slices.items()
    }
    assert set(parts) == {"Draft: 400", "Finalized: 200.50"}
    assert parts["Draft: 400"][0] / parts["Draft: 400"][1] == pytest.approx(400 / 600.5, rel=1e-3)
    assert slices["Draft: 400"]["transform"].startswith("rotate(-90.000")
    assert "Draft 66.6%" in texts(figure)
    assert "Finalized 33.4%" in texts(figure)


def test_numbers_below_zero_go_the_other_way(site: Site) -> None:
    """A credit is drawn to the left of zero, and below it."""
    add_invoice(site.org, "e", Status__c="Void", Start__c="2026-04-01", Total__c=-200)
    bars = dict(marks(site.main("/app/reports/Billing/By_Status").one("figure"), "rect"))
    void, draft = bars["Void: -200"], bars["Draft: 400"]
    assert float(void["x"]) + float(void["width"]) == pytest.approx(float(draft["x"]), abs=0.2)
    dots = dict(marks(site.main("/app/reports/Billing/Trend").one("figure"), "circle"))
    assert float(dots["April 2026: -200"]["cy"]) > float(dots["March 2026: 150"]["cy"])


def test_a_report_without_rows_has_no_chart(site: Site) -> None:
    """Nothing to draw is no empty frame."""
    for each in site.org.rows(INVOICE):
        site.org.delete(INVOICE, each["Id"])
    main = site.main("/app/reports/Billing/By_Status")
    assert not main.all("figure")
    assert rows_of(main.one("table")) == []


def test_the_dashboard_shows_its_components(site: Site) -> None:
    """A card for each: a chart, a number, and the way to the report."""
    assert rows_of(site.main("/app/dashboards").one("table")) == [["Overview", "Billing"]]
    main = site.main("/app/dashboards/Billing/Overview")
    assert main.one("h1").text == "Overview"
    assert "As Pat Person sees it" in main.text
    months, total = main.one("div", class_="board").all("section")
    assert months.one("h2").text == "Months"
    assert list(sizes(months, "height")) == [
        "January 2026: 150.50", "February 2026: 300", "March 2026: 150",
    ]  # fmt: skip
    assert months.one("footer").one("a")["href"] == "/app/reports/Billing/Trend"
    assert total.one("p", class_="figure").text == "600.50"


def test_a_person_without_the_objects_is_told(site: Site) -> None:
    """Without read permission on the report's object: the platform's sentence, no rows."""
    site.org.revoke_permission_set(PERSON, "People")
    page = site.page("/app/reports/Billing/By_Status", status=404)
    assert "sufficient privileges" in page.text
    cards = site.main("/app/dashboards/Billing/Overview").all("p", role="alert")
    assert len(cards) == 2
