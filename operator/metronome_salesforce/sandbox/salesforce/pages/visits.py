"""One look at the org by one person: what a page is asked and what it may read.

Everything goes through SOQL as that person, so a page cannot show more than the API would: an
object without read permission is not there, nor is a field without field-level security.
"""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from metronome_salesforce.sandbox.salesforce.access import Access, User
from metronome_salesforce.sandbox.salesforce.core import OrgState
from metronome_salesforce.sandbox.salesforce.models import SalesforceOrg
from metronome_salesforce.sandbox.salesforce.pages.markup import Markup

ROOT = "/app"
_VERSION = "66.0"


@dataclass(frozen=True, slots=True)
class Visit:
    """A request for a page: `query` and `form` are decoded, `secret` signs the forms."""

    org: SalesforceOrg
    user: User
    query: dict[str, str]
    form: dict[str, str]
    secret: bytes

    @property
    def state(self) -> OrgState:
        """The org's rows and schema."""
        return self.org.state

    def access(self, sobject: str) -> Access | None:
        """The person's view of an object, or None if there is none for the person."""
        return self.state.access(sobject, self.user)

    def soql(self, text: str) -> list[dict[str, Any]]:
        """All records of a query; raises SalesforceError."""
        answer = self.org.queries.run(text, self.user, _VERSION)
        records: list[dict[str, Any]] = answer["records"]
        while not answer["done"]:
            locator = answer["nextRecordsUrl"].rpartition("/")[2]
            answer = self.org.queries.more(locator, self.user, _VERSION)
            records += answer["records"]
        return records

    def count(self, sobject: str, where: str) -> int:
        """How many rows fulfil a SOQL condition."""
        text = f"SELECT count() FROM {sobject} WHERE {where}"  # noqa: S608 -- as the person
        size: int = self.org.queries.run(text, self.user, _VERSION)["totalSize"]
        return size


@dataclass(frozen=True, slots=True)
class Page:
    """What a page shows inside the shell; `tab` is the path of the tab that it belongs to.

    `refresh` is after how many seconds the browser looks again.
    """

    title: str
    body: Markup
    tab: str = ""
    status: int = 200
    refresh: int | None = field(default=None)


@dataclass(frozen=True, slots=True)
class Redirect:
    """Go there by GET."""

    to: str


class NoPageError(Exception):
    """There is no such page, or not for this person; the message says what is missing."""


def path(*segments: str, **query: str | int | None) -> str:
    """A path below the pages' root; query parameters that are None are left out."""
    given = {key: value for key, value in query.items() if value is not None}
    base = "/".join([ROOT, *(quote(each, safe="") for each in segments)])
    return f"{base}?{urlencode(given)}" if given else base


def object_path(sobject: str, **query: str | int | None) -> str:
    """The page with an object's list views."""
    return path("o", sobject, **query)


def record_path(record: str, *more: str, **query: str | int | None) -> str:
    """The page of a record, or one below it."""
    return path("r", record, *more, **query)


def report_path(name: str) -> str:
    """The page of a report, by `Folder/Name`."""
    return path("reports", *name.split("/"))


def dashboard_path(name: str) -> str:
    """The page of a dashboard, by `Folder/Name`."""
    return path("dashboards", *name.split("/"))
