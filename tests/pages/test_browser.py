"""The org's pages in headless Chromium, scripts off, on a tenant that the operator has synced."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.pages.browser import Tab, literal, open_browser
from tests.pages.sandbox import running_sandbox
from tests.sandbox.salesforce.page_reading import rows_of

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

CUSTOMERS = "/app/o/Metronome_Orphan_Customer__c"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_sandbox(tmp_path_factory.mktemp("sandbox"), customers=12) as address:
        yield address


@pytest.fixture
async def tab(base: str) -> AsyncIterator[Tab]:
    """A tab in which nothing may go wrong: no error, no blocked style, no request elsewhere."""
    async with open_browser() as browser:
        made = await browser.tab(base)
        yield made
        assert made.problems == []


async def test_every_tab_can_be_followed(tab: Tab) -> None:
    """A click on each tab of the app leads to a page with that tab marked."""
    await tab.open("/app")
    names = [each.text for each in (await tab.read("//nav[@class='tabs']")).all("a")]
    assert names == [
        "Orphaned Customers", "Accounts", "Metronome Invoices", "Credit Grants", "Customer Plans",
        "Metronome Plans", "Metronome Usage", "Reports", "Dashboards", "Sync Runs",
    ]  # fmt: skip
    for name in names:
        await tab.click(f"//nav[@class='tabs']/a[normalize-space()='{name}']")
        await tab.sees(f"//nav[@class='tabs']/a[@aria-current][normalize-space()='{name}']")
        await tab.sees("//main//table")


async def test_a_person_sets_an_account_and_the_rows_move(tab: Tab) -> None:
    """From the list to the form, by search and click: link pending, then the rows' new place."""
    await tab.open("/app")
    await tab.click("//nav[@class='views']/a[.='Orphaned']")
    await tab.sees("//nav[@class='views']/a[@aria-current][.='Orphaned']")
    # The largest: the sandbox has created Accounts of the same name for these.
    await tab.click("//th/a[normalize-space()='Current Spend']")
    await tab.sees("//th/a[normalize-space()='Current Spend ↑']")
    await tab.click("//th/a[normalize-space()='Current Spend ↑']")
    await tab.sees("//th/a[normalize-space()='Current Spend ↓']")
    name = (await tab.read("//tbody/tr[1]/td[1]/a")).text
    await tab.click("//tbody/tr[1]/td[1]/a")
    await tab.sees("//section[@id='account']//strong[.='Not linked']")
    before = rows_of(await tab.read("//section[@id='account']//table"))
    assert {place for _, _, place in before} == {"this record"}

    await tab.click("//a[.='Set Account']")
    await tab.sees("//input[@type='search'][@name='q']")
    await tab.click("//main//input[@type='search']")
    await tab.type(name[:5].lower())
    await tab.press_enter()
    await tab.sees(f"//main//input[@type='search'][@value='{name[:5].lower()}']")
    await tab.click(f"//label[normalize-space(span)={literal(name)}]/input")
    await tab.click("//button[.='Save']")

    # The page looks again by itself; the operator has moved the rows within seconds.
    await tab.sees("//section[@id='account']//strong[.='Link pending' or .='Linked']")
    await tab.sees("//section[@id='account']//strong[.='Linked']", seconds=60)
    after = rows_of(await tab.read("//section[@id='account']//table"))
    assert after == [[label, rows, name] for label, rows, _ in before]

    await tab.click(f"//section[@id='account']//table//a[normalize-space()={literal(name)}]")
    await tab.sees("//main//p[@class='kind']/a[.='Account']")
    related = [each.text for each in (await tab.read("//div[@class='side']")).all("h2")]
    assert f"Metronome Invoices ({dict(each[:2] for each in after)['Metronome Invoices']})" in (
        related
    )

    await tab.click("//div[@class='side']//td//a[.!='-']")
    await tab.sees("//main//p[@class='kind']")
    await tab.open(CUSTOMERS)
    await tab.click("//nav[@class='views']/a[.='Linked']")
    await tab.sees(f"//tbody//a[normalize-space()={literal(name)}]")


async def test_a_person_clears_an_account(tab: Tab) -> None:
    """The other button of the form, on a link that a person chose: the rows come back."""
    await tab.open(f"{CUSTOMERS}?view=Linked")
    for link in (await tab.read("//tbody")).all("a")[::2]:
        await tab.open(link["href"])
        await tab.sees("//section[@id='account']//strong[.='Linked']")
        if "Link source: Salesforce" in (await tab.read("//section[@id='account']")).text:
            break
    await tab.click("//a[.='Change Account']")
    await tab.sees("//button[.='Clear the Account']")
    await tab.click("//button[.='Clear the Account']")
    await tab.sees("//section[@id='account']//strong[.='Not linked']", seconds=60)
    rows = rows_of(await tab.read("//section[@id='account']//table"))
    assert {place for _, _, place in rows} == {"this record"}


async def test_reports_lead_to_records(tab: Tab) -> None:
    """From the list of reports to one with a chart, and on to a record in it."""
    await tab.open("/app/reports")
    await tab.click("//a[.='Top Orphaned Customers by Monthly Spend']")
    await tab.sees("//figure//*[name()='svg']")
    bars = (await tab.read("//figure")).all("rect")
    assert len(bars) > 1
    await tab.click("//table//a")
    await tab.sees("//section[@id='account']")


async def test_the_dashboard_leads_to_its_reports(tab: Tab) -> None:
    """Charts on cards side by side, each with the way to its report."""
    await tab.open("/app/dashboards")
    await tab.click("//a[.='Metronome Overview']")
    await tab.sees("//div[@class='board']")
    first = await tab.box("//div[@class='board']/section[1]")
    second = await tab.box("//div[@class='board']/section[2]")
    assert first[1] == second[1]
    assert second[0] > first[0] + first[2]
    await tab.click("//section[h2='Spend by Month']//a[.='View report']")
    await tab.sees("//h1[.='Spend History by Month']")


async def test_help_and_utility_bar_open(tab: Tab) -> None:
    """A help text shows when pointed at; the utility bar opens without a script."""
    await tab.open(CUSTOMERS)
    await tab.click("//tbody/tr[1]/td[1]/a")
    await tab.sees("//section[@id='account']")
    tip = "(//span[@role='tooltip'])[1]"
    assert not await tab.is_shown(tip)
    await tab.point("(//span[@class='mark'])[1]")
    assert await tab.is_shown(tip)

    summary = "//footer[@class='utility']//summary"
    assert "Succeeded" in (await tab.read(summary)).text
    await tab.click(summary)
    await tab.sees("//footer[@class='utility']//details[@open]")
    _, top, _, height = await tab.box("//footer[@class='utility']")
    assert top + height == pytest.approx(800, abs=1)
    await tab.click("//footer[@class='utility']//dd/a")
    await tab.sees("//main//p[@class='kind']/a[.='Sync Run']")


async def fits(tab: Tab) -> bool:
    """Whether the page is no wider than the window; its styles may come a moment after it."""
    for _ in range(50):
        if await tab.overflows() <= 0:
            return True
        await asyncio.sleep(0.1)
    return False


@pytest.mark.parametrize("width", [1280, 768, 390])
async def test_pages_fit_the_window(tab: Tab, width: int) -> None:
    """On a desk, a tablet and a phone no page is wider than the window; tables scroll inside."""
    await tab.resize(width, 800)
    await tab.open(CUSTOMERS)
    await tab.click("//tbody/tr[1]/td[1]/a")
    await tab.sees("//section[@id='account']")
    assert await fits(tab)
    await tab.click("//section[@id='account']/footer/a")
    await tab.sees("//form[@role='search']")
    for path in (
        None, CUSTOMERS, "/app/o/Metronome_Sync_Run__c", "/app/reports/Metronome/Spend_by_Product",
        "/app/dashboards/Metronome/Metronome_Overview",
    ):  # fmt: skip
        if path is not None:
            await tab.open(path)
        assert await fits(tab), path
