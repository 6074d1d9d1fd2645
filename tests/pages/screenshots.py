"""Takes the README's screenshots of the sandbox's web pages, on a tenant that the operator synced.

python -m tests.pages.screenshots FOLDER
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.pages.browser import Tab, literal, open_browser
from tests.pages.sandbox import running_sandbox

_CUSTOMERS = 40
_LARGEST = "/app/o/Metronome_Orphan_Customer__c?view=Orphaned&sort=-Current_Spend__c"
_STATE = "//section[@id='account']//strong"
_MOVED = 60.0
_ARGUMENTS = 2


async def take(base: str, folder: Path) -> None:
    """Walk through the app as the README tells it, and take a picture of each step."""
    async with open_browser() as browser:
        tab = await browser.tab(base)
        await _link_a_customer(tab, folder)
        await tab.open("/app/dashboards/Metronome/Metronome_Overview")
        await _shoot(tab, folder, "dashboard")
        await tab.open("/app/reports/Metronome/Spend_History_by_Month")
        await _shoot(tab, folder, "report")
        await tab.click("//footer[@class='utility']//summary")
        await tab.sees("//footer[@class='utility']//details[@open]")
        await _shoot(tab, folder, "sync-runs")
        if tab.problems:
            raise AssertionError(tab.problems)


async def _link_a_customer(tab: Tab, folder: Path) -> None:
    """From the list to the Account, on which the billing data is at the end."""
    await tab.open(_LARGEST)
    await _shoot(tab, folder, "orphaned-customers")
    name = (await tab.read("//tbody/tr[1]/td[1]/a")).text
    await tab.click("//tbody/tr[1]/td[1]/a")
    await tab.sees(f"{_STATE}[.='Not linked']")
    await tab.click("//a[.='Set Account']")
    await tab.sees("//button[.='Save']")
    await tab.click(f"//label[normalize-space(span)={literal(name)}]/input")
    await _shoot(tab, folder, "set-account")
    await tab.click("//button[.='Save']")
    await tab.sees(f"{_STATE}[.='Link pending']")
    await _shoot(tab, folder, "link-pending")
    await tab.sees(f"{_STATE}[.='Linked']", seconds=_MOVED)
    await tab.click("//section[@id='account']//td/a")
    await tab.sees("//main//p[@class='kind']/a[.='Account']")
    await _shoot(tab, folder, "account")


async def _shoot(tab: Tab, folder: Path, name: str) -> None:
    picture = await tab.screenshot()
    await asyncio.to_thread((folder / f"{name}.png").write_bytes, picture)


def main() -> int:
    """Start a sandbox, take the pictures, end it; the exit code."""
    if len(sys.argv) != _ARGUMENTS:
        print(__doc__, file=sys.stderr)  # noqa: T201 -- a program prints
        return 2
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="metronome-salesforce-screenshots-") as made,
        running_sandbox(Path(made), customers=_CUSTOMERS) as base,
    ):
        asyncio.run(take(base, folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
