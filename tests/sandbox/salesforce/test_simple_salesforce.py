"""The unmodified simple-salesforce client, over https with the sandbox's own authority."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from simple_salesforce.api import Salesforce
from simple_salesforce.exceptions import (
    SalesforceExpiredSession,
    SalesforceMalformedRequest,
    SalesforceMoreThanOneRecord,
    SalesforceResourceNotFound,
)
from simple_salesforce.format import format_soql

from metronome_salesforce.sandbox.certificates import CertificateAuthority
from metronome_salesforce.sandbox.salesforce import SalesforceOrg, SalesforceSandbox
from metronome_salesforce.sandbox.serving import Served


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    return CertificateAuthority()


@pytest.fixture
def secure(sandbox: SalesforceSandbox, authority: CertificateAuthority) -> Iterator[Served]:
    with sandbox.serve(tls=authority) as served:
        yield served


@pytest.fixture
def client(secure: Served, authority: CertificateAuthority, tmp_path: Path) -> Any:
    """Logged in by token request, then handed to simple-salesforce."""
    session = requests.Session()
    session.verify = str(authority.write(tmp_path))
    session.trust_env = False
    answer = session.post(
        f"{secure.url}/services/oauth2/token",
        data={"grant_type": "client_credentials"},
        auth=("sandbox-client-id", "sandbox-client-secret"),
        timeout=20,
    ).json()
    return Salesforce(
        instance_url=answer["instance_url"], session_id=answer["access_token"],
        session=session, version="66.0",
    )  # fmt: skip


def test_rows_and_queries(client: Any) -> None:
    made = client.T_Customer__c.create({"Customer_ID__c": "it's", "Name": "N"})
    assert made == {"id": made["id"], "success": True, "errors": []}
    assert client.T_Customer__c.update(made["id"], {"Name": "M"}) == 204
    assert client.T_Customer__c.get_by_custom_id("Customer_ID__c", "it's")["Name"] == "M"
    text = format_soql("SELECT Id, Name FROM T_Customer__c WHERE Customer_ID__c = {}", "it's")
    assert [each["Name"] for each in client.query(text)["records"]] == ["M"]
    assert client.T_Customer__c.delete(made["id"]) == 204
    assert client.query_all(text, include_deleted=True)["totalSize"] == 1
    assert client.api_usage["api-usage"].total == 100_000


def test_collections_and_paging(client: Any) -> None:
    for start in range(0, 2200, 200):
        records = [
            {"attributes": {"type": "T_Customer__c"}, "Customer_ID__c": f"c{number:05d}"}
            for number in range(start, start + 200)
        ]
        results = client.restful(
            "composite/sobjects/T_Customer__c/Customer_ID__c", method="PATCH",
            data=json.dumps({"records": records}),
        )  # fmt: skip
        assert all(each["created"] for each in results)
    found = client.query_all_iter("SELECT Customer_ID__c FROM T_Customer__c ORDER BY Id")
    assert [each["Customer_ID__c"] for each in found] == [f"c{n:05d}" for n in range(2200)]


def test_its_exceptions(client: Any, org: SalesforceOrg) -> None:
    with pytest.raises(SalesforceMalformedRequest) as malformed:
        client.T_Customer__c.create({"Name": "N"})
    content: Any = malformed.value.content
    assert content[0]["errorCode"] == "REQUIRED_FIELD_MISSING"
    with pytest.raises(SalesforceResourceNotFound):
        client.T_Customer__c.get("a00000000000009")
    for number in range(2):
        org.insert("T_Invoice__c", {"Invoice_ID__c": str(number), "Group_ID__c": "g"})
    with pytest.raises(SalesforceMoreThanOneRecord):
        client.T_Invoice__c.upsert("Group_ID__c/g", {"Name": "N"})
    org.expire_sessions()
    with pytest.raises(SalesforceExpiredSession):
        client.limits()


def test_describe_and_limits(client: Any) -> None:
    fields = {each["name"]: each for each in client.T_Invoice__c.describe()["fields"]}
    assert fields["Invoice_ID__c"]["externalId"] is True
    assert fields["Invoice_ID__c"]["caseSensitive"] is True
    assert fields["Total__c"]["precision"] == 18
    assert fields["Customer__c"]["referenceTo"] == ["T_Customer__c"]
    assert fields["Customer__c"]["relationshipName"] == "Customer__r"
    names = {each["name"] for each in client.describe()["sobjects"]}
    assert {"Account", "T_Invoice__c"} <= names
    assert client.limits()["DailyApiRequests"]["Max"] == 100_000


def test_https_needs_the_authority(secure: Served) -> None:
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f"{secure.url}/services/data", timeout=20)


def test_http_and_https_serve_one_org(client: Any, served: Served) -> None:
    """Tokens name the address they were asked at; sessions hold on both."""
    client.T_Customer__c.create({"Customer_ID__c": "c"})
    answer = requests.get(
        f"{served.url}/services/data/v66.0/query",
        params={"q": "SELECT COUNT() FROM T_Customer__c"},
        headers={"Authorization": f"Bearer {client.session_id}"}, timeout=20,
    )  # fmt: skip
    assert answer.json()["totalSize"] == 1
