"""An org with the small test package, on the wire, under a clock of the tests' own."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from metronome_salesforce.sandbox.salesforce import (
    ADMIN,
    INTEGRATION,
    SalesforceOrg,
    SalesforceSandbox,
)
from metronome_salesforce.sandbox.serving import Served
from tests.sandbox.salesforce.metadata_zip import standard_package

SETUP_RIGHTS = ("ModifyMetadata", "CustomizeApplication", "AssignPermissionSets", "ViewSetup")


class Clock:
    """A clock that moves only when told."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        """Move on by a timedelta's arguments."""
        self.now += timedelta(**by)


class Rest:
    """A REST client of one user, made of plain `requests`."""

    def __init__(self, base: str, token: str, version: str = "66.0") -> None:
        self.base = base
        self.token = token
        self.root = f"/services/data/v{version}"
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Authorization"] = f"Bearer {token}"

    def call(self, method: str, path: str, **more: Any) -> requests.Response:
        """Send a request below `/services/data/vX`, or to an absolute path."""
        url = self.base + (path if path.startswith("/services") else f"{self.root}/{path}")
        return self.session.request(method, url, timeout=20, **more)

    def soql(self, text: str, resource: str = "query") -> dict[str, Any]:
        """The JSON of a query that must succeed."""
        answer = self.call("GET", resource, params={"q": text})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def values(self, text: str, name: str = "Name") -> list[Any]:
        """One field of every record of a query."""
        return [each[name] for each in self.soql(text)["records"]]

    def upsert(self, sobject: str, key: str, *rows: dict[str, Any], **more: Any) -> Any:
        """Upsert rows through sObject Collections; the JSON of the answer."""
        records = [{"attributes": {"type": sobject}, **each} for each in rows]
        return self.call(
            "PATCH", f"composite/sobjects/{sobject}/{key}", json={"records": records, **more}
        ).json()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def empty_org(clock: Clock) -> SalesforceOrg:
    """An org as it comes: nothing custom."""
    return SalesforceOrg(now=clock)


@pytest.fixture
def org(empty_org: SalesforceOrg) -> SalesforceOrg:
    """An org with the test package, assigned to both users."""
    result = empty_org.deploy(standard_package())
    assert result.success, result.problems
    for each in (ADMIN, INTEGRATION):
        empty_org.assign_permission_set(each, "Sync")
    # Tests of deploys and permission sets sign in as this user, which has no such rights by itself.
    for right in SETUP_RIGHTS:
        empty_org.grant_permission(INTEGRATION, right)
    empty_org.statistics.reset()
    return empty_org


@pytest.fixture
def sandbox(org: SalesforceOrg) -> SalesforceSandbox:
    return SalesforceSandbox(org)


@pytest.fixture
def served(sandbox: SalesforceSandbox) -> Iterator[Served]:
    with sandbox.serve() as server:
        yield server


def log_in(org: SalesforceOrg, served: Served, username: str, version: str = "66.0") -> Rest:
    """A client logged in as that user by client credentials."""
    org.add_client_app(f"app-{username}", "secret", username)
    answer = requests.post(
        f"{served.url}/services/oauth2/token",
        data={
            "grant_type": "client_credentials",
            "client_id": f"app-{username}",
            "client_secret": "secret",
        },
        timeout=20,
    )
    return Rest(served.url, answer.json()["access_token"], version)


@pytest.fixture
def rest(org: SalesforceOrg, served: Served) -> Rest:
    """The integration user's client."""
    return log_in(org, served, INTEGRATION)


@pytest.fixture
def admin(org: SalesforceOrg, served: Served) -> Rest:
    """The admin's client."""
    return log_in(org, served, ADMIN)
