"""Bulk API 2.0 query: what the CSV holds, how it is paged, and which queries are refused."""

from typing import Any

import pytest

from metronome_salesforce.sandbox.salesforce import INTEGRATION, SalesforceOrg
from tests.sandbox.salesforce import bulk
from tests.sandbox.salesforce.conftest import Clock, Rest
from tests.sandbox.salesforce.test_rows import error


def results(rest: Rest, job: str, **query: Any) -> Any:
    """A page of results."""
    return rest.call("GET", f"jobs/query/{job}/results", params=query)


def test_a_query_job_from_start_to_end(rest: Rest, org: SalesforceOrg, clock: Clock) -> None:
    """States and members of the job, the file and its headers; later rows are not in it."""
    org.insert("T_Customer__c", {"Customer_ID__c": "c", "Name": 'A "b", c'})
    made = bulk.query(rest, "SELECT Customer_ID__c, Name FROM T_Customer__c").json()
    job = made["id"]
    common = {
        "id": job, "operation": "query", "object": "T_Customer__c",
        "createdById": org.users[INTEGRATION].id, "createdDate": "2026-01-31T12:00:00.000+0000",
        "concurrencyMode": "Parallel", "contentType": "CSV", "apiVersion": 66.0,
        "lineEnding": "LF", "columnDelimiter": "COMMA",
    }  # fmt: skip
    start = {"systemModstamp": "2026-01-31T12:00:00.000+0000", "state": "UploadComplete"}
    assert made == common | start
    assert error(results(rest, job))[:2] == (400, "INVALIDJOBSTATE")
    assert bulk.info(rest, job, "query")["state"] == "InProgress"
    clock.advance(seconds=3)
    done = bulk.info(rest, job, "query")
    assert done["state"] == "JobComplete"
    assert done["systemModstamp"] == "2026-01-31T12:00:03.000+0000"
    assert (done["jobType"], done["numberRecordsProcessed"]) == ("V2Query", 1)
    assert done["isPkChunkingSupported"] is True
    org.insert("T_Customer__c", {"Customer_ID__c": "late"})
    answer = results(rest, job)
    assert answer.headers["Content-Type"] == "text/csv; charset=UTF-8"
    assert answer.headers["Sforce-Locator"] == "null"
    assert answer.headers["Sforce-NumberOfRecords"] == "1"
    assert answer.text == '"Customer_ID__c","Name"\n"c","A ""b"", c"\n'


def test_every_kind_of_field(rest: Rest, org: SalesforceOrg) -> None:
    """Numbers as Java prints doubles, moments with Z, null as nothing."""
    parent = org.insert("T_Customer__c", {"Customer_ID__c": "é😀"})
    one = org.insert(
        "T_Invoice__c",
        {
            "Invoice_ID__c": "1", "Customer__c": parent, "Total__c": 12345678.5, "Paid__c": 23,
            "Share__c": -0.5, "Closed__c": True, "Start__c": "2026-01-02",
            "Issued_At__c": "2026-01-02T03:04:05+02:00", "Status__c": "Draft",
            "Notes__c": "a\nb", "Contact__c": "a@b.example",
        },
    )  # fmt: skip
    two = org.insert("T_Invoice__c", {"Invoice_ID__c": "2", "Total__c": 0.00012, "Paid__c": 1e7})
    text = (
        "SELECT id, customer__r.CUSTOMER_ID__c, Total__c, Paid__c, Share__c, Closed__c, Start__c, "
        "Issued_At__c, Status__c, Notes__c, Contact__c, Line_Count__c, Is_Draft__c "
        "FROM T_Invoice__c ORDER BY Invoice_ID__c"
    )
    job = bulk.run_query(rest, text)
    assert bulk.info(rest, job, "query")["isPkChunkingSupported"] is False
    assert results(rest, job).content.decode() == (
        '"Id","Customer__r.Customer_ID__c","Total__c","Paid__c","Share__c","Closed__c","Start__c",'
        '"Issued_At__c","Status__c","Notes__c","Contact__c","Line_Count__c","Is_Draft__c"\n'
        f'"{one}","é😀","1.23456785E7","23.0","-0.5","true","2026-01-02",'
        '"2026-01-02T01:04:05.000Z","Draft","a\nb","a@b.example","0.0","true"\n'
        f'"{two}","","1.2E-4","1.0E7","","false","","","","","","0.0","false"\n'
    )


def test_deleted_rows_formats_and_an_empty_result(rest: Rest, org: SalesforceOrg) -> None:
    record = org.insert("T_Customer__c", {"Customer_ID__c": "c"})
    org.delete("T_Customer__c", record)
    text = "SELECT Id, IsDeleted FROM T_Customer__c"
    nothing = bulk.run_query(rest, text)
    assert results(rest, nothing).text == '"Id","IsDeleted"\n'
    assert results(rest, nothing).headers["Sforce-NumberOfRecords"] == "0"
    job = bulk.run_query(rest, text, "queryAll", lineEnding="CRLF", columnDelimiter="PIPE")
    assert results(rest, job).text == f'"Id"|"IsDeleted"\r\n"{record}"|"true"\r\n'


def test_pages(rest: Rest, org: SalesforceOrg) -> None:
    """The header stands on each page; the locator of the last is the word null."""
    for number in range(5):
        org.insert("T_Customer__c", {"Customer_ID__c": str(number)})
    job = bulk.run_query(rest, "SELECT Customer_ID__c FROM T_Customer__c ORDER BY Customer_ID__c")
    pages, locator = [], ""
    while locator != "null":
        answer = results(rest, job, maxRecords=2, **({"locator": locator} if locator else {}))
        pages.append((answer.text, answer.headers["Sforce-NumberOfRecords"]))
        locator = answer.headers["Sforce-Locator"]
    head = '"Customer_ID__c"\n'
    assert pages == [
        (f'{head}"0"\n"1"\n', "2"), (f'{head}"2"\n"3"\n', "2"), (f'{head}"4"\n', "1"),
    ]  # fmt: skip
    assert error(results(rest, job, locator="MTAwMDA"))[1] == "INVALID_QUERY_LOCATOR"
    assert error(results(rest, job, locator="!"))[1] == "INVALID_QUERY_LOCATOR"
    assert error(results(rest, job, maxRecords=0))[1] == "API_ERROR"


REFUSED = [
    ("SELECT Id, (SELECT Id FROM Invoices__r) FROM T_Customer__c", "API_ERROR",
     "Aggregate Relationships not supported in Bulk V2 Query with CSV content type"),
    ("SELECT COUNT() FROM T_Customer__c", "API_ERROR", None),
    ("SELECT COUNT(Id) FROM T_Customer__c", "API_ERROR", None),
    ("SELECT Name FROM T_Customer__c GROUP BY Name", "API_ERROR", None),
    ("SELECT Id FROM T_Customer__c LIMIT 5 OFFSET 1", "API_ERROR", None),
    ("SELECT TYPEOF Owner WHEN User THEN Id END FROM T_Customer__c", "MALFORMED_QUERY", None),
    ("SELECT Nix__c FROM T_Customer__c", "INVALID_FIELD", None),
    ("SELECT Id FROM Nix__c", "INVALID_TYPE", None),
    ("SELECT Id FRM T_Customer__c", "MALFORMED_QUERY", None),
    ("", "MALFORMED_QUERY", None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "code", "message"), REFUSED)
def test_queries_that_are_refused(rest: Rest, text: str, code: str, message: str | None) -> None:
    status, found, said = error(bulk.query(rest, text))
    assert (status, found) == (400, code)
    assert message is None or said == message
    assert rest.call("GET", "jobs/query").json()["records"] == []


def test_requests_that_are_refused(rest: Rest) -> None:
    text = "SELECT Id FROM T_Customer__c"
    assert error(bulk.query(rest, text, "insert"))[1] == "API_ERROR"
    assert error(bulk.query(rest, text, columnDelimiter="X"))[1] == "API_ERROR"
    assert error(bulk.query(rest, text, object="T_Customer__c"))[1] == "JSON_PARSER_ERROR"
    old = Rest(rest.base, rest.token, "46.0")
    assert old.call("GET", "jobs/query").status_code == 404
    assert rest.call("PUT", "jobs/query").status_code == 405
    assert rest.call("GET", "jobs/query/750000000000001").status_code == 404


def test_abort_delete_and_list(rest: Rest, admin: Rest) -> None:
    text = "SELECT Id FROM T_Customer__c"
    first = bulk.query(rest, text).json()["id"]
    path = f"jobs/query/{first}"
    assert error(rest.call("DELETE", path))[1] == "INVALIDJOBSTATE"
    assert error(bulk.set_state(rest, first, "UploadComplete", "query"))[1] == "INVALIDJOBSTATE"
    assert bulk.set_state(rest, first, "Aborted", "query").json()["state"] == "Aborted"
    assert bulk.info(rest, first, "query")["state"] == "Aborted"
    assert error(bulk.set_state(rest, first, "Aborted", "query")) == (
        400, "INVALIDJOBSTATE", "InvalidJobState : Aborting already Aborted Job not allowed",
    )  # fmt: skip
    assert error(rest.call("GET", f"{path}/results"))[1] == "INVALIDJOBSTATE"
    second = bulk.query(admin, text).json()["id"]
    assert [each["id"] for each in rest.call("GET", "jobs/query").json()["records"]] == [first]
    listed = admin.call("GET", "jobs/query?jobType=V2Query").json()["records"]
    assert [each["id"] for each in listed] == [first, second]
    assert error(rest.call("GET", f"jobs/query/{second}"))[:2] == (403, "INVALIDUSER")
    assert rest.call("DELETE", path).status_code == 204
    assert rest.call("GET", path).status_code == 404


def test_the_daily_allowance_and_a_lost_field(rest: Rest, org: SalesforceOrg) -> None:
    bulk.run_query(rest, "SELECT Id FROM T_Customer__c")
    limits = rest.call("GET", "limits").json()
    assert limits["DailyBulkV2QueryJobs"] == {"Max": 10_000, "Remaining": 9_999}
    assert limits["DailyBulkV2QueryFileStorageMB"]["Max"] == 976_562
    assert org.statistics.jobs == {"query": 1}
    waiting = bulk.query(rest, "SELECT Account__c FROM T_Customer__c").json()["id"]
    org.revoke_permission_set(INTEGRATION, "Sync")
    failed = bulk.wait(rest, waiting, "query")
    assert failed["state"] == "Failed"
    assert failed["errorMessage"].startswith("InvalidBatch : Failed to process query: INVALID_TYPE")
    org.bulk_queries.quota.limit = 2
    assert error(bulk.query(rest, "SELECT Id FROM Account")) == (
        400, "LIMIT_EXCEEDED", "Max bulk v2 query jobs (2) per 24 hrs has been reached (2)",
    )  # fmt: skip
