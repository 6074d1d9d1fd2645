"""The web pages of the org show what is deployed and stored, as one person may see it."""

from collections.abc import Iterator

import pytest

from metronome_salesforce.sandbox.salesforce import INTEGRATION, SalesforceOrg, SalesforceSandbox
from tests.sandbox.salesforce.page_reading import heads_of, rows_of, terms_of
from tests.sandbox.salesforce.pages_package import CUSTOMER, HIDDEN, INVOICE, RUN, SPEND_HELP
from tests.sandbox.salesforce.pages_site import PERSON, Site, add_customer, add_invoice, fill

LIST = f"/app/o/{CUSTOMER}"


@pytest.fixture
def sandbox(empty_org: SalesforceOrg) -> SalesforceSandbox:
    fill(empty_org)
    return SalesforceSandbox(empty_org, person=PERSON)


@pytest.fixture
def site(sandbox: SalesforceSandbox) -> Iterator[Site]:
    with sandbox.serve() as served:
        yield Site(sandbox.org, served)


def test_root_leads_to_the_first_tab(site: Site) -> None:
    """Whoever opens the server's address lands on the app's first tab."""
    assert site.get("/").headers["Location"] == "/app"
    assert site.get("/").status_code == 303
    assert site.get("/app").headers["Location"] == LIST


def test_tabs_stand_in_the_order_of_the_app(site: Site) -> None:
    """The app's tabs in its order, in the colours of their motifs; none for a hidden object."""
    page = site.page(LIST)
    tabs = page.one("nav", class_="tabs").all("a")
    assert [(each.text, each["href"]) for each in tabs] == [
        ("Orphaned Customers", LIST),
        ("Accounts", "/app/o/Account"),
        ("Invoices", f"/app/o/{INVOICE}"),
        ("Dashboards", "/app/dashboards"),
        ("Reports", "/app/reports"),
    ]
    assert [each.text for each in tabs if "aria-current" in each.attributes] == [
        "Orphaned Customers"
    ]
    # Lightning Design System, custom icons 57 and 18.
    assert tabs[0].one("rect")["fill"] == "#5a9cdd"
    assert tabs[2].one("rect")["fill"] == "#4dca76"
    assert page.one("svg", class_="stripe").one("rect")["fill"] == "#2a5bd7"
    assert page.one("a", class_="app").text == "Billing & more"
    assert page.one("span", class_="person").text == "Pat Person"


def test_list_view_is_a_table(site: Site) -> None:
    """Columns and rows of the view; the name leads to the record; a column without FLS is gone."""
    account = site.org.insert("Account", {"Name": "Acme"})
    first = add_customer(
        site.org, "Beta", Current_Spend__c=1234.5, Secret__c="hush", Since__c="2026-01-31"
    )
    add_customer(site.org, "alpha", Account__c=account)
    page = site.main(LIST)
    table = page.one("table")
    assert heads_of(table) == ["Name", "Account", "Current Spend", "Since"]
    assert rows_of(table) == [
        ["alpha", "Acme", "-", "-"],
        ["Beta", "-", "1,234.50", "Jan 31, 2026"],
    ]
    links = {each.text: each["href"] for each in table.one("tbody").all("a")}
    assert links["Beta"] == f"/app/r/{first}"
    assert links["Acme"] == f"/app/r/{account}"
    assert page.one("p", class_="count").text == "2 items"
    assert "hush" not in site.get(LIST).text


def test_list_views_can_be_picked(site: Site) -> None:
    """Each list view of the object is offered, and filters as it says."""
    add_customer(site.org, "Rich", Current_Spend__c=100.01)
    add_customer(site.org, "Poor", Current_Spend__c=100)
    picker = site.page(LIST).one("nav", class_="views")
    assert [(each.text, each["href"]) for each in picker.all("a")] == [
        ("All", f"{LIST}?view=All"),
        ("Rich Ones", f"{LIST}?view=Rich"),
    ]
    page = site.main(f"{LIST}?view=Rich")
    assert rows_of(page.one("table")) == [["Rich", "100.01"]]
    assert page.one("p", class_="count").text == "1 item"
    assert page.one("h1").text == "Rich Ones"
    site.page(f"{LIST}?view=Missing", status=404)


def test_list_is_sorted_and_searched(site: Site) -> None:
    """A head sorts, again the other way round, empty values last; a search narrows."""
    for name, spend in (("a", 5), ("b", None), ("c", 40), ("d", 9)):
        add_customer(site.org, name, Current_Spend__c=spend)

    def names(query: str) -> list[str]:
        return [row[0] for row in rows_of(site.main(f"{LIST}?{query}").one("table"))]

    head = site.main(LIST).one("thead").all("a")[2]
    assert head["href"] == f"{LIST}?view=All&sort=Current_Spend__c"
    assert names("view=All&sort=Current_Spend__c") == ["a", "d", "c", "b"]
    assert names("view=All&sort=-Current_Spend__c") == ["c", "d", "a", "b"]
    assert names("q=C") == ["c"]
    empty = site.main(f"{LIST}?q=nobody")
    assert rows_of(empty.one("table")) == []
    assert empty.one("input", type="search")["value"] == "nobody"


def test_long_lists_have_pages(site: Site) -> None:
    """Fifty rows a page, links to the neighbours, none beyond the ends."""
    for number in range(101):
        add_customer(site.org, f"c{number:03}")
    second = site.main(f"{LIST}?page=2")
    assert [row[0] for row in rows_of(second.one("table"))][::49] == ["c050", "c099"]
    pager = second.one("nav", class_="pager")
    assert pager.one("span", class_="where").text == "51 to 100 of 101"
    assert [each["href"] for each in pager.all("a")] == [
        f"{LIST}?view=All&page=1",
        f"{LIST}?view=All&page=3",
    ]
    assert len(rows_of(site.main(f"{LIST}?page=3").one("table"))) == 1
    for wrong in ("0", "4", "-1", "x", "9" * 30, "%C2%B2"):
        site.page(f"{LIST}?page={wrong}", status=404)


def test_accounts_without_list_views(site: Site) -> None:
    """Account has no list view in the package: all of them, with the fields that were added."""
    site.org.insert("Account", {"Name": "Acme"})
    site.org.insert("Account", {"Name": "Beta", "Metronome_Current_Spend__c": 7})
    page = site.main("/app/o/Account")
    assert page.one("h1").text == "All Accounts"
    assert heads_of(page.one("table")) == ["Account Name", "Metronome Current Spend"]
    assert rows_of(page.one("table")) == [["Acme", "-"], ["Beta", "7.00"]]


def test_record_follows_its_layout(site: Site) -> None:
    """Sections with two columns in the layout's order, values as people write them, FLS kept."""
    account = site.org.insert("Account", {"Name": "Acme"})
    record = add_customer(
        site.org, "Beta", Account__c=account, Current_Spend__c=-1234567.891, Share__c=12.5,
        Price__c=0.000123, Since__c="2026-02-01", Seen_At__c="2026-02-01T23:59:30Z",
        Archived__c=True, Notes__c="one\ntwo", Site__c="https://beta.example/?a=1&b=2",
        Secret__c="hush",
    )  # fmt: skip
    page = site.page(f"/app/r/{record}")
    details = page.one("section", class_="details")
    assert [each.text for each in details.all("h2")] == ["Who", "Money & Dates", "Keys"]
    columns = [
        [each.text for each in column.all("dt")]
        for section in details.all("div", class_="columns")
        for column in section.all("dl")
    ]
    assert columns == [
        ["Name", "Site"],
        ["Account", "Archived"],
        ["Current Spend", "Share", "Price"],
        ["Since", "Seen At", "Notes", "Link", "Trap"],
        ["Metronome Customer ID"],
    ]
    assert terms_of(details) == {
        "Name": "Beta", "Site": "https://beta.example/?a=1&b=2", "Account": "Acme",
        "Archived": "✓", "Current Spend": "-1,234,567.89", "Share": "12.5%",
        "Price": "0.000123", "Since": "Feb 1, 2026", "Seen At": "Feb 1, 2026, 23:59 UTC",
        "Notes": "one two", "Link": "Go", "Trap": "Trap",
        "Metronome Customer ID": "id of Beta",
    }  # fmt: skip
    assert details.one("span", class_="long").children == ["one\ntwo"]
    assert details.one("time", datetime="2026-02-01").text == "Feb 1, 2026"
    assert "hush" not in site.get(f"/app/r/{record}").text


def test_links_lead_to_web_addresses_only(site: Site) -> None:
    """A formula's link is followed if it is one to the web, and is text if it is a script."""
    record = add_customer(site.org, "Beta", Site__c="javascript:alert(2)")
    page = site.page(f"/app/r/{record}")
    outward = [each for each in page.all("a") if each.has({"class_": "out"})]
    assert [(each.text, each["href"], each["rel"]) for each in outward] == [
        ("Go", "https://x.example/id of Beta", "noopener noreferrer")
    ]
    assert not [each for each in page.all("a") if "javascript" in each["href"].lower()]


def test_help_texts_are_tips(site: Site) -> None:
    """A field's help is shown as text to whoever points at its mark, or reaches it by keyboard."""
    page = site.page(f"/app/r/{add_customer(site.org, 'Beta')}")
    mark = page.one("span", class_="mark")
    tip = page.one("span", role="tooltip")
    assert (mark["aria-describedby"], mark["tabindex"]) == (tip["id"], "0")
    assert tip.children == [SPEND_HELP]


def test_highlights_are_the_compact_layout(site: Site) -> None:
    """The compact layout's fields stand at the top, without the name and what is not seen."""
    record = add_customer(site.org, "Beta", Current_Spend__c=3, Secret__c="hush")
    header = site.page(f"/app/r/{record}").one("header", class_="heading")
    assert header.one("h1").text == "Beta"
    assert terms_of(header) == {"Current Spend": "3.00", "Account": "-"}


def test_related_lists_have_the_columns_of_the_layout(site: Site) -> None:
    """A related list: count, columns that are seen, the layout's order, six rows and all others."""
    record = add_customer(site.org, "Beta")
    for day in range(1, 9):
        add_invoice(
            site.org, f"i{day}", Orphaned_Customer__c=record, Start__c=f"2026-01-0{day}",
            Total__c=day, Status__c="Draft",
        )  # fmt: skip
    related = site.page(f"/app/r/{record}").one("section", class_="related")
    assert related.one("h2").text == "Invoices (8)"
    assert heads_of(related.one("table")) == ["Name", "Status", "Total"]
    assert rows_of(related.one("table")) == [
        [f"i{day}", "Draft", f"{day}.00"] for day in (8, 7, 6, 5, 4, 3)
    ]
    everything = related.one("footer").one("a")["href"]
    assert everything == f"/app/r/{record}/Metronome_Invoices__r"
    rows = rows_of(site.main(everything).one("table"))
    assert [row[0] for row in rows] == [f"i{day}" for day in range(8, 0, -1)]
    site.page(f"/app/r/{record}/Metronome_Nothing", status=404)


def test_account_has_a_page_without_a_layout(site: Site) -> None:
    """All fields that are seen, and a related list for each relationship that has a name."""
    account = site.org.insert("Account", {"Name": "Acme", "Metronome_Current_Spend__c": 2})
    add_invoice(site.org, "hers", Account__c=account, Status__c="Finalized", Total__c=5)
    page = site.page(f"/app/r/{account}")
    details = terms_of(page.one("section", class_="details"))
    assert details["Account Name"] == "Acme"
    assert details["Metronome Current Spend"] == "2.00"
    assert details["Owner"] == "Sandbox Admin"
    assert "Account Phone" not in details
    lists = page.all("section", class_="related")
    assert [each.one("h2").text for each in lists] == ["Invoices (1)", "Orphaned Customers (0)"]
    # The columns that another layout gives the same rows.
    assert rows_of(lists[0].one("table")) == [["hers", "Finalized", "5.00"]]


def test_what_the_person_may_not_read_is_not_there(site: Site) -> None:
    """Objects without read permission, unknown objects and deleted rows answer 404 alike."""
    hidden = site.org.insert(HIDDEN, {"Name": "hush"}, username=INTEGRATION)
    gone = add_customer(site.org, "Gone")
    site.org.delete(CUSTOMER, gone, username=INTEGRATION)
    for path in (
        f"/app/o/{HIDDEN}", f"/app/r/{hidden}", f"/app/r/{hidden}/account", f"/app/r/{gone}",
        "/app/o/Nothing__c", "/app/r/001000000000000AAA", "/app/r/x", "/app/r/a'b", "/app/nothing",
        "/app/o", "/app/r", "/app/o/Account/more", "/app/reports/Billing/No", "/app/reports/x",
        "/app/dashboards/Billing/No", "/app/style.css/x",
    ):  # fmt: skip
        page = site.page(path, status=404)
        assert page.one("h1").text == "Not found", path
        assert "hush" not in page.text


def test_utility_bar_tells_the_last_run(site: Site) -> None:
    """The list of the app's utility bar, and how the newest run of all went."""
    assert site.page(LIST).one("footer", class_="utility").one("summary").text == (
        "Last Run none yet"
    )
    for start, outcome, rows in (("11:58", "Succeeded", 7), ("10:00", "Failed", 1)):
        site.org.insert(
            RUN,
            {
                "Outcome__c": outcome, "Rows_Created__c": rows,
                "Started_At__c": f"2026-01-31T{start}:00Z",
                "Finished_At__c": f"2026-01-31T{start}:30Z",
            },
            username=INTEGRATION,
        )  # fmt: skip
    bar = site.page("/app/reports").one("footer", class_="utility")
    # The org's clock stands at noon.
    assert bar.one("summary").text == "Last Run RUN-001 Succeeded 1 min ago"
    assert terms_of(bar) == {"Last run": "RUN-001", "Rows Created": "7"}
    assert rows_of(bar.one("table")) == [["RUN-001", "Succeeded", "7"], ["RUN-002", "Failed", "1"]]


def test_without_an_app_the_objects_are_the_tabs(empty_org: SalesforceOrg) -> None:
    """An org to which nothing was deployed shows what there is: its Accounts."""
    empty_org.add_user(PERSON, name="Pat Person", admin=True)
    with SalesforceSandbox(empty_org, person=PERSON).serve() as served:
        site = Site(empty_org, served)
        page = site.page("/app/o/Account")
        assert [each.text for each in page.one("nav", class_="tabs").all("a")] == ["Accounts"]
        assert not page.all("footer", class_="utility")


def test_pages_wait_for_their_person(empty_org: SalesforceOrg) -> None:
    """While the user as whom the pages look is not in the org, they show nothing of it."""
    with SalesforceSandbox(empty_org, person=PERSON).serve() as served:
        page = Site(empty_org, served).page("/app/o/Account", status=404)
        assert PERSON in page.text
        assert not page.all("nav")


def test_every_link_leads_to_a_page(site: Site) -> None:
    """From the first tab on, no link of any page leads nowhere."""
    account = site.org.insert("Account", {"Name": "Acme"})
    record = add_customer(site.org, "Beta", Account__c=account)
    for number in range(7):
        add_invoice(site.org, f"i{number}", Orphaned_Customer__c=record, Total__c=number + 1)
    known, waiting = {LIST}, [LIST]
    while waiting:
        for each in site.page(waiting.pop()).all("a"):
            path = each["href"]
            if path.startswith("/app/") and path not in known:
                known.add(path)
                waiting.append(path)
    assert len(known) > 40
    assert {
        f"/app/r/{record}",
        f"/app/r/{record}/account",
        f"/app/r/{account}",
        "/app/reports/Billing/By_Month",
        f"/app/r/{record}/Metronome_Invoices__r",
    } <= known
