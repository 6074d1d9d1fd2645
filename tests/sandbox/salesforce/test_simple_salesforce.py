"""The unmodified simple-salesforce client, over https with the sandbox's own authority."""

import io
import json
import zipfile
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
    SalesforceOperationError,
    SalesforceResourceNotFound,
)
from simple_salesforce.format import format_soql

from metronome_salesforce.sandbox.certificates import CertificateAuthority
from metronome_salesforce.sandbox.salesforce import SalesforceOrg, SalesforceSandbox
from metronome_salesforce.sandbox.serving import Served
from tests.sandbox.salesforce import metadata_zip as md


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


def test_bulk_loads(client: Any, org: SalesforceOrg) -> None:
    """Insert, upsert with a failing row, update, delete: the library polls by itself."""
    bulk = client.bulk2.T_Customer__c
    rows = [{"Customer_ID__c": f"c{number}", "Name": "é😀\n"} for number in range(5)]
    made = bulk.insert(records=rows, wait=0)
    assert made[0]["numberRecordsProcessed"] == made[0]["numberRecordsTotal"] == 5
    assert {each["Customer_ID__c"] for each in org.rows("T_Customer__c")} == {
        f"c{number}" for number in range(5)
    }
    assert org.rows("T_Customer__c")[0]["Name"] == "é😀"
    changed = bulk.upsert(
        records=[{"Customer_ID__c": "c0", "Name": "New"}, {"Customer_ID__c": "", "Name": "X"}],
        external_id_field="Customer_ID__c", wait=0,
    )  # fmt: skip
    assert changed[0]["numberRecordsFailed"] == 1
    found = bulk.get_all_ingest_records(changed[0]["job_id"])
    assert [each["sf__Created"] for each in found["successfulRecords"]] == ["false"]
    assert [each["sf__Error"] for each in found["failedRecords"]] == [
        "MISSING_ARGUMENT:Customer_ID__c not specified:--"
    ]
    assert found["unprocessedRecords"] == []
    ids = [{"Id": each["Id"]} for each in org.rows("T_Customer__c")]
    bulk.update(records=[{**each, "Name": "Same"} for each in ids], wait=0)
    assert {each["Name"] for each in org.rows("T_Customer__c")} == {"Same"}
    bulk.delete(records=ids[:4], wait=0)
    assert org.count("T_Customer__c") == 1
    with pytest.raises(SalesforceMalformedRequest, match="special user profile permission"):
        bulk.hard_delete(records=ids[4:], wait=0)
    with pytest.raises(SalesforceOperationError, match="Field name not found : Nome"):
        bulk.insert(records=[{"Nome": "x"}], wait=0)
    assert org.statistics.jobs == {"insert": 2, "upsert": 1, "update": 1, "delete": 1}


def test_bulk_queries(client: Any, org: SalesforceOrg, tmp_path: Path) -> None:
    """In pages, and into files."""
    for number in range(5):
        org.insert("T_Customer__c", {"Customer_ID__c": str(number), "Name": "é"})
    text = "SELECT Customer_ID__c, Name FROM T_Customer__c ORDER BY Customer_ID__c"
    pages = list(client.bulk2.T_Customer__c.query(text, max_records=2, wait=0))
    assert [page.splitlines()[1:] for page in pages] == [
        ['"0","é"', '"1","é"'], ['"2","é"', '"3","é"'], ['"4","é"'],
    ]  # fmt: skip
    org.delete("T_Customer__c", org.rows("T_Customer__c")[0]["Id"])
    all_rows = list(client.bulk2.T_Customer__c.query_all(text, wait=0))
    assert len(all_rows[0].splitlines()) == 6
    files = client.bulk2.T_Customer__c.download(text, path=str(tmp_path), max_records=3, wait=0)
    assert [each["number_of_records"] for each in files] == [3, 1]
    content = Path(files[0]["file"]).read_text(encoding="utf-8")
    assert content.startswith('"Customer_ID__c","Name"\n"1","é"\n')
    with pytest.raises(SalesforceMalformedRequest, match="Bulk V2 Query"):
        list(client.bulk2.T_Customer__c.query("SELECT COUNT(Id) FROM T_Customer__c", wait=0))


def test_metadata(
    client: Any, org: SalesforceOrg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deploy, status, retrieve, list and describe, against the library's own WSDL."""
    # The WSDL client opens connections of its own, without the session it was given.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", client.session.verify)
    package = tmp_path / "package.zip"
    package.write_bytes(md.package_zip(
        {"objects/Thing__c.object": md.custom_object("Thing", "")}, {"CustomObject": ["Thing__c"]}
    ))  # fmt: skip
    started = client.deploy(str(package), sandbox=False)
    assert started["state"] == "Queued"
    assert client.checkDeployStatus(started["asyncId"])["state"] == "InProgress"
    done = client.checkDeployStatus(started["asyncId"])
    assert done["state"] == "Succeeded"
    assert done["deployment_detail"]["failed_count"] == "0"
    assert org.state.schema.get("Thing__c") is not None
    api = client.mdapi
    described = {each.xmlName: each for each in api.describe_metadata().metadataObjects}
    assert described["CustomObject"].suffix == "object"
    query = api._client.get_type("ns0:ListMetadataQuery")(type="PermissionSet")
    assert [each.fullName for each in api.list_metadata([query])] == ["Sync"]
    record, state = api.retrieve("", unpackaged={"CustomObject": ["Thing__c"]})
    assert state == "Queued"
    status, error, messages, content = api.retrieve_zip(record)
    assert (status, error, messages) == ("Succeeded", None, [])
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == ["objects/Thing__c.object", "package.xml"]
