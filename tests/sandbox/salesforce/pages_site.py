"""An org with the package that the pages show, rows in it, and a browser made of `requests`."""

from dataclasses import dataclass
from typing import Any

import requests

from metronome_salesforce.sandbox.salesforce import ADMIN, INTEGRATION, SalesforceOrg
from metronome_salesforce.sandbox.serving import Served
from tests.sandbox.salesforce.page_reading import Element, read_page
from tests.sandbox.salesforce.pages_package import CUSTOMER, INVOICE, pages_package

PERSON = "person@sandbox.example"


@dataclass(frozen=True, slots=True)
class Site:
    """The pages of an org on the wire."""

    org: SalesforceOrg
    served: Served

    def get(self, path: str, **more: Any) -> requests.Response:
        """A page's answer, redirects not followed."""
        with requests.Session() as session:
            session.trust_env = False
            return session.get(self.served.url + path, timeout=20, allow_redirects=False, **more)

    def page(self, path: str, status: int = 200) -> Element:
        """A page, which must have that status."""
        answer = self.get(path)
        assert answer.status_code == status, answer.text
        return read_page(answer.text)

    def main(self, path: str) -> Element:
        """What a page shows between tabs and utility bar."""
        return self.page(path).one("main")

    def post(self, path: str, data: dict[str, str], **headers: str | None) -> requests.Response:
        """Send a form as a page of this server would; headers given replace the browser's."""
        sent: dict[str, str | None] = {
            "Origin": self.served.url,
            "Sec-Fetch-Site": "same-origin",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        with requests.Session() as session:
            session.trust_env = False
            return session.post(
                self.served.url + path, data=data, timeout=20, allow_redirects=False,
                headers={name: value for name, value in sent.items() if value is not None},
            )  # fmt: skip

    def token(self, record: str) -> str:
        """The token of the form that sets a customer's Account."""
        page = self.page(f"/app/r/{record}/account")
        return page.all("input", name="token")[0]["value"]


def fill(org: SalesforceOrg, *, person_set: str = "People") -> None:
    """Deploy the package and make the person who looks."""
    result = org.deploy(pages_package())
    assert result.success, result.problems
    org.add_user(PERSON, name="Pat Person")
    org.assign_permission_set(PERSON, person_set)
    for each in (ADMIN, INTEGRATION):
        org.assign_permission_set(each, "Operator")


def add_customer(org: SalesforceOrg, name: str, **values: Any) -> str:
    """An Orphaned Customer written by the integration user; its id."""
    given = {"Name": name, "Metronome_Customer_ID__c": f"id of {name}", **values}
    return org.insert(CUSTOMER, given, username=INTEGRATION)


def add_invoice(org: SalesforceOrg, name: str, **values: Any) -> str:
    """An invoice written by the integration user; its id."""
    given = {"Name": name, "Metronome_Invoice_ID__c": f"id of {name}", **values}
    return org.insert(INVOICE, given, username=INTEGRATION)
