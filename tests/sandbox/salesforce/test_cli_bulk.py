"""The bulk commands of the Salesforce CLI, and jsforce's bulk2: their requests as recorded."""

from collections.abc import Iterator
from typing import Any

import requests

from metronome_salesforce.sandbox.salesforce import Interruption, SalesforceOrg
from tests.sandbox.salesforce.conftest import Rest

JSON = {
    "content-type": "application/json; charset=utf-8", "accept": "application/json",
    "Sforce-Call-Options": "client=sfdx toolbelt:",
}  # fmt: skip
DATA = 'Customer_ID__c,Name\nA1,Acme\nA2,"Foo, ""Bar"""\n'
UPSERT = {
    "object": "T_Customer__c", "operation": "upsert", "lineEnding": "LF",
    "externalIdFieldName": "Customer_ID__c", "columnDelimiter": "COMMA",
}  # fmt: skip


def chunks(data: str) -> Iterator[bytes]:
    """Two pieces, so that the request is chunked."""
    half = len(data) // 2
    yield data[:half].encode()
    yield data[half:].encode()


def start(rest: Rest, body: dict[str, Any], data: str) -> str:
    """Create, upload in chunks, close; the job's id."""
    made = rest.call("POST", "jobs/ingest", json=body, headers=JSON)
    assert (made.status_code, made.json()["state"]) == (200, "Open")
    job: str = made.json()["id"]
    sent = rest.call(
        "PUT", f"jobs/ingest/{job}/batches", data=chunks(data), headers={"content-type": "text/csv"}
    )
    assert (sent.request.headers["Transfer-Encoding"], sent.status_code) == ("chunked", 201)
    assert sent.content == b""
    closed = rest.call(
        "PATCH", f"jobs/ingest/{job}", data='{"state":"UploadComplete"}', headers=JSON
    )
    assert (closed.status_code, closed.json()["state"]) == (200, "UploadComplete")
    return job


def poll(rest: Rest, job: str, kind: str = "ingest") -> list[dict[str, Any]]:
    """Three looks, as the CLI takes them five seconds apart."""
    return [rest.call("GET", f"jobs/{kind}/{job}", headers=JSON).json() for _ in range(3)]


def csv_of(rest: Rest, job: str, which: str) -> str:
    """One of the result files."""
    answer = rest.call("GET", f"jobs/ingest/{job}/{which}", headers={"accept": "text/csv"})
    assert answer.headers["Content-Type"] == "text/csv; charset=UTF-8"
    return answer.content.decode()


def test_upsert_bulk(rest: Rest, org: SalesforceOrg) -> None:
    job = start(rest, UPSERT, DATA)
    seen = poll(rest, job)
    assert [each["state"] for each in seen] == ["InProgress", "JobComplete", "JobComplete"]
    assert (seen[-1]["numberRecordsProcessed"], seen[-1]["numberRecordsFailed"]) == (2, 0)
    a1, a2 = (each["Id"] for each in org.rows("T_Customer__c"))
    assert csv_of(rest, job, "successfulResults") == (
        '"sf__Id","sf__Created",Customer_ID__c,Name\n'
        f'"{a1}","true","A1","Acme"\n"{a2}","true","A2","Foo, ""Bar"""\n'
    )
    assert csv_of(rest, job, "failedResults") == '"sf__Id","sf__Error",Customer_ID__c,Name\n'
    assert csv_of(rest, job, "unprocessedrecords") == "Customer_ID__c,Name\n"


def test_upsert_bulk_with_a_failing_row_and_its_results(rest: Rest) -> None:
    """`data bulk results` asks again by the job's id."""
    job = start(rest, UPSERT, "Customer_ID__c,Name\nA1,Acme\n,Nobody\n")
    done = poll(rest, job)[-1]
    assert (done["state"], done["numberRecordsFailed"]) == ("JobComplete", 1)
    assert {"id", "operation", "object", "numberRecordsProcessed"} <= set(done)
    assert csv_of(rest, job, "failedResults") == (
        '"sf__Id","sf__Error",Customer_ID__c,Name\n'
        '"","MISSING_ARGUMENT:Customer_ID__c not specified:--","","Nobody"\n'
    )
    assert csv_of(rest, job, "successfulResults").count("\n") == 2


def test_upsert_bulk_of_a_job_that_fails(rest: Rest, org: SalesforceOrg) -> None:
    org.ingest.interruption = Interruption(0, "InternalError : Cannot process")
    done = poll(rest, start(rest, UPSERT, DATA))[-1]
    assert (done["state"], done["errorMessage"]) == ("Failed", "InternalError : Cannot process")


def test_import_and_delete_bulk(rest: Rest, org: SalesforceOrg) -> None:
    """A delete whose file holds more than ids is refused as a whole."""
    body = {
        "object": "T_Customer__c", "operation": "insert", "lineEnding": "LF",
        "columnDelimiter": "COMMA",
    }  # fmt: skip
    assert poll(rest, start(rest, body, DATA))[-1]["numberRecordsProcessed"] == 2
    ids = [each["Id"] for each in org.rows("T_Customer__c")]
    body["operation"] = "delete"
    refused = poll(rest, start(rest, body, DATA))[-1]
    assert refused["errorMessage"] == "InvalidBatch : Field name not found : Id"
    job = start(rest, body, "Id\n" + "\n".join(ids) + "\n")
    assert poll(rest, job)[-1]["numberRecordsFailed"] == 0
    assert org.count("T_Customer__c") == 0
    assert csv_of(rest, job, "successfulResults") == (
        '"sf__Id","sf__Created",Id\n' + "".join(f'"{each}","false","{each}"\n' for each in ids)
    )


def test_export_bulk(rest: Rest, org: SalesforceOrg) -> None:
    """Without the header Sforce-Locator: null on the last page jsforce would never end."""
    record = org.insert("Account", {"Name": "Acme"})
    body = {"query": "SELECT Id,Name FROM Account", "operation": "query", "lineEnding": "LF"}
    made = rest.call("POST", "jobs/query", json=body, headers=JSON).json()
    assert (made["state"], made["object"], made["columnDelimiter"]) == (
        "UploadComplete", "Account", "COMMA",
    )  # fmt: skip
    states = [each["state"] for each in poll(rest, made["id"], "query")]
    assert states == ["InProgress", "JobComplete", "JobComplete"]
    answer = rest.call(
        "GET", f"jobs/query/{made['id']}/results",
        headers={"content-type": "text/csv", "accept": "text/csv"},
    )  # fmt: skip
    assert answer.text == f'"Id","Name"\n"{record}","Acme"\n'
    assert answer.headers["Sforce-Locator"] == "null"
    assert answer.headers["Sforce-NumberOfRecords"] == "1"


def test_jsforce_bulk2(rest: Rest, org: SalesforceOrg) -> None:
    """Little is said at creation, an empty Id comes first, nulls are #N/A."""
    org.insert("T_Customer__c", {"Customer_ID__c": "1", "Name": "Old"})
    body = {
        "object": "T_Customer__c", "operation": "upsert", "externalIdFieldName": "Customer_ID__c"
    }  # fmt: skip
    job = start(rest, body, "Id,Customer_ID__c,Name,Account__c\n,1,New,#N/A\n,2,Two,#N/A\n")
    assert poll(rest, job)[-1]["numberRecordsFailed"] == 0
    assert [each["Name"] for each in org.rows("T_Customer__c")] == ["New", "Two"]
    threads = [csv_of(rest, job, which) for which in (
        "successfulResults", "failedResults", "unprocessedRecords")]  # fmt: skip
    assert [each.count("\n") for each in threads] == [3, 1, 1]
    unauthorised = requests.get(f"{rest.base}{rest.root}/jobs/ingest/{job}", timeout=20)
    assert unauthorised.status_code == 401
