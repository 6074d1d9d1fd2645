"""Bulk API 2.0 ingest: what a job does with rows, and with what it cannot read."""

import json
from typing import Any

import pytest

from metronome_salesforce.sandbox.salesforce import (
    INTEGRATION,
    Interruption,
    SalesforceOrg,
    SalesforceSandbox,
)
from tests.sandbox.salesforce import bulk
from tests.sandbox.salesforce.conftest import Clock, Rest
from tests.sandbox.salesforce.test_rows import error


def upsert(rest: Rest, data: str, sobject: str = "T_Customer__c", **more: str) -> dict[str, Any]:
    """Upsert by the object's own key."""
    keys = {"T_Customer__c": "Customer_ID__c", "T_Invoice__c": "Invoice_ID__c"}
    more.setdefault("externalIdFieldName", keys[sobject])
    return bulk.load(rest, sobject, "upsert", data, **more)


def test_a_job_from_open_to_complete(rest: Rest, org: SalesforceOrg, clock: Clock) -> None:
    """The members of the job's JSON, and the states in the order in which they are seen."""
    made = bulk.create(rest, "T_Customer__c", "upsert", externalIdFieldName="Customer_ID__c")
    job = made["id"]
    assert job[:3] == "750"
    assert len(job) == 18
    common = {
        "id": job, "operation": "upsert", "object": "T_Customer__c",
        "createdById": org.users[INTEGRATION].id, "createdDate": "2026-01-31T12:00:00.000+0000",
        "systemModstamp": "2026-01-31T12:00:00.000+0000",
        "externalIdFieldName": "Customer_ID__c", "concurrencyMode": "Parallel",
        "contentType": "CSV", "apiVersion": 66.0, "lineEnding": "LF", "columnDelimiter": "COMMA",
    }  # fmt: skip
    url = f"services/data/v66.0/jobs/ingest/{job}/batches"
    assert made == {**common, "state": "Open", "contentUrl": url}
    uploaded = bulk.put(rest, job, 'Customer_ID__c,Name\nA1,Acme\nA2,"Foo, ""Bar"""\n')
    assert (uploaded.status_code, uploaded.content) == (201, b"")
    assert bulk.info(rest, job)["state"] == "Open"
    clock.advance(seconds=5)
    closed = bulk.set_state(rest, job, "UploadComplete").json()
    assert closed == {
        **common, "state": "UploadComplete", "systemModstamp": "2026-01-31T12:00:05.000+0000"
    }  # fmt: skip
    assert bulk.info(rest, job)["state"] == "InProgress"
    assert org.count("T_Customer__c") == 0
    done = bulk.info(rest, job)
    assert (done["state"], done["jobType"]) == ("JobComplete", "V2Ingest")
    assert (done["numberRecordsProcessed"], done["numberRecordsFailed"]) == (2, 0)
    assert {"retries", "totalProcessingTime", "apiActiveProcessingTime"} <= set(done)
    rows = {each["Customer_ID__c"]: each for each in org.rows("T_Customer__c")}
    assert rows["A2"]["Name"] == 'Foo, "Bar"'
    text = rest.call("GET", f"jobs/ingest/{job}/successfulResults").text
    assert text.splitlines() == [
        '"sf__Id","sf__Created",Customer_ID__c,Name',
        f'"{rows["A1"]["Id"]}","true","A1","Acme"',
        f'"{rows["A2"]["Id"]}","true","A2","Foo, ""Bar"""',
    ]
    failed = rest.call("GET", f"jobs/ingest/{job}/failedResults").text
    assert failed == '"sf__Id","sf__Error",Customer_ID__c,Name\n'
    for spelling in ("unprocessedrecords", "unprocessedRecords", "unprocessedRecords/"):
        left = rest.call("GET", f"jobs/ingest/{job}/{spelling}").text
        assert left == "Customer_ID__c,Name\n"


def test_rows_are_refused_one_by_one(rest: Rest, org: SalesforceOrg) -> None:
    """The rules are those of all other ways in; the error names code, message and fields."""
    org.add_validation_rule(
        "T_Invoice__c", "R", lambda row: row.get("Short__c") == "no", "Not that", "Short__c"
    )
    header = "Invoice_ID__c,Total__c,Start__c,Closed__c,Kind__c,Short__c,Customer__r.Customer_ID__c"
    rows = [
        ",1,,,,,", "long,1,,,,12345678901,", "number,1.2.3,,,,,", "date,1,2026-02-30,,,,",
        "flag,1,,maybe,,,", "kind,1,,,Odd,,", "rule,1,,,,no,", "parent,1,,,,,nobody",
        "big,1e17,,,,,", "good,1e2,2026-02-28,TRUE,Fixed,yes,",
    ]  # fmt: skip
    done = upsert(rest, "\n".join([header, *rows]), "T_Invoice__c")
    assert done["state"] == "JobComplete"
    assert (done["numberRecordsProcessed"], done["numberRecordsFailed"]) == (10, 9)
    found = {
        each["Invoice_ID__c"]: each["sf__Error"]
        for each in bulk.results(rest, done["id"], "failedResults")
    }
    assert found == {
        "": "MISSING_ARGUMENT:Invoice_ID__c not specified:--",
        "long": "STRING_TOO_LONG:Short: data value too large: 12345678901 (max length=10):"
        "Short__c --",
        "number": "INVALID_TYPE_ON_FIELD_IN_RECORD:Total: value not of required type: 1.2.3:"
        "Total__c --",
        "date": "INVALID_TYPE_ON_FIELD_IN_RECORD:Start: value not of required type: 2026-02-30:"
        "Start__c --",
        "flag": "INVALID_TYPE_ON_FIELD_IN_RECORD:Closed: value not of required type: maybe:"
        "Closed__c --",
        "kind": "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST:Kind: bad value for restricted picklist "
        "field: Odd:Kind__c --",
        "rule": "FIELD_CUSTOM_VALIDATION_EXCEPTION:Not that:Short__c --",
        "parent": "INVALID_FIELD:Foreign key external ID: nobody not found for field "
        "Customer_ID__c in entity T_Customer__c:--",
        "big": "NUMBER_OUTSIDE_VALID_RANGE:Total: value outside of valid range on numeric field: "
        "1E17:Total__c --",
    }
    good = {each["Invoice_ID__c"]: each for each in org.rows("T_Invoice__c")}["good"]
    assert (good["Total__c"], good["Start__c"], good["Closed__c"]) == (100.0, "2026-02-28", True)


def test_empty_leaves_alone_and_na_clears(rest: Rest, org: SalesforceOrg) -> None:
    """Also for lookups by id and by the parent's key."""
    parent = org.insert("T_Customer__c", {"Customer_ID__c": "c"})
    org.insert(
        "T_Invoice__c",
        {
            "Invoice_ID__c": "i", "Total__c": 5, "Short__c": "s", "Closed__c": True,
            "Customer__c": parent,
        },
    )  # fmt: skip
    upsert(rest, "Invoice_ID__c,Total__c,Short__c,Closed__c\ni,,#N/A,\n", "T_Invoice__c")
    row = org.rows("T_Invoice__c")[0]
    assert (row["Total__c"], row["Short__c"], row["Closed__c"]) == (5.0, None, True)
    assert row["Customer__c"] == parent
    upsert(rest, "Invoice_ID__c,Total__c,Customer__r.Customer_ID__c\ni,#N/A,#N/A\n", "T_Invoice__c")
    row = org.rows("T_Invoice__c")[0]
    assert (row["Total__c"], row["Customer__c"]) == (None, None)
    data = "Invoice_ID__c,T_Customer__c:Customer__r.Customer_ID__c\ni,c\n"
    upsert(rest, data, "T_Invoice__c")
    assert org.rows("T_Invoice__c")[0]["Customer__c"] == parent
    refused = upsert(rest, "Invoice_ID__c,Name\n#N/A,N\n", "T_Invoice__c")
    assert bulk.errors(rest, refused["id"]) == ["MISSING_ARGUMENT:Invoice_ID__c not specified:--"]


def test_insert_update_delete_and_hard_delete(admin: Rest, org: SalesforceOrg) -> None:
    """All by id; sf__Created is true for inserted rows only."""
    made = bulk.load(admin, "T_Customer__c", "insert", "Customer_ID__c,Name\na,A\nb,B\na,again\n")
    assert made["numberRecordsFailed"] == 1
    first = org.rows("T_Customer__c")[0]["Id"]
    assert bulk.errors(admin, made["id"]) == [
        (
            "DUPLICATE_VALUE:duplicate value found: Customer_ID__c duplicates value on record with "
            f"id: {first}:--"
        )
    ]
    found = bulk.results(admin, made["id"], "successfulResults")
    assert [each["sf__Created"] for each in found] == ["true", "true"]
    a, b = (each["sf__Id"] for each in found)
    data = f"Id,Name\n{a},A2\n{b[:15]},B2\n,C\n001000000000001,D\n"
    done = bulk.load(admin, "T_Customer__c", "update", data)
    assert [each["Name"] for each in org.rows("T_Customer__c")] == ["A2", "B2"]
    assert [each["sf__Created"] for each in bulk.results(admin, done["id"], "successfulResults")] \
        == ["false", "false"]  # fmt: skip
    assert bulk.errors(admin, done["id"]) == [
        "MISSING_ARGUMENT:Id not specified in an update call:--",
        "MALFORMED_ID:Customer ID: id value of incorrect type: 001000000000001:Id --",
    ]
    child = org.insert("T_Invoice__c", {"Invoice_ID__c": "i"})
    org.insert("T_Line__c", {"Line_ID__c": "l", "Invoice__c": child})
    gone = bulk.load(admin, "T_Customer__c", "delete", f"Id\n{a}\n{a}\n{child}\n")
    assert [each["Id"] for each in org.rows("T_Customer__c", deleted=True)] == [a]
    assert bulk.errors(admin, gone["id"]) == [
        "ENTITY_IS_DELETED:entity is deleted:--",
        f"MALFORMED_ID:Customer ID: id value of incorrect type: {child}:Id --",
    ]
    bulk.load(admin, "T_Invoice__c", "hardDelete", f"Id\n{child}\n")
    for name in ("T_Invoice__c", "T_Line__c"):
        assert org.rows(name) == org.rows(name, deleted=True) == []


def test_a_delete_holds_ids_and_nothing_else(rest: Rest) -> None:
    for data, message in (
        ("Id,Name\n,\n", "InvalidBatch : The 'delete' batch must contain only ids"),
        ("Customer_ID__c\na\n", "InvalidBatch : Field name not found : Id"),
    ):
        done = bulk.load(rest, "T_Customer__c", "delete", data)
        assert (done["state"], done["errorMessage"]) == ("Failed", message)


def test_hard_delete_needs_its_permission(rest: Rest) -> None:
    body = {"object": "T_Customer__c", "operation": "hardDelete"}
    assert error(rest.call("POST", "jobs/ingest", json=body)) == (
        400,
        "FEATURENOTENABLED",
        (
            "FeatureNotEnabled : hardDelete operation requires special user profile permission, "
            "please contact your system administrator"
        ),
    )


def test_upsert_by_id_and_the_empty_id_column_of_jsforce(rest: Rest, org: SalesforceOrg) -> None:
    """An empty Id is as good as none; a filled one contradicts another key."""
    done = upsert(rest, "Id,Customer_ID__c,Name\n,c,N\n")
    assert done["numberRecordsFailed"] == 0
    record = org.rows("T_Customer__c")[0]["Id"]
    refused = upsert(rest, f"Id,Customer_ID__c,Name\n{record},c,N\n")
    assert bulk.errors(rest, refused["id"]) == [
        "INVALID_FIELD:The Id field should not be specified in the sobject data.:--"
    ]
    data = f"Id,Customer_ID__c,Name\n{record},,New\n,d,D\n"
    by_id = upsert(rest, data, externalIdFieldName="Id")
    found = bulk.results(rest, by_id["id"], "successfulResults")
    assert {each["sf__Id"] == record: each["sf__Created"] for each in found} == {
        True: "false", False: "true",
    }  # fmt: skip
    assert [each["Name"] for each in org.rows("T_Customer__c")] == ["New", "D"]


def test_the_same_key_twice(rest: Rest, org: SalesforceOrg) -> None:
    """In one transaction of 200 both rows fail; in two the later one wins."""
    near = upsert(rest, "Customer_ID__c,Name\nk,1\nk,2\n")
    assert (
        bulk.errors(rest, near["id"])
        == ["DUPLICATE_VALUE:Duplicate external id specified: k:Customer_ID__c --"] * 2
    )
    rows = [f"r{number},N" for number in range(199)]
    far = upsert(rest, "\n".join(["Customer_ID__c,Name", "k,1", *rows, "k,2"]))
    assert far["numberRecordsFailed"] == 0
    assert {each["Customer_ID__c"]: each["Name"] for each in org.rows("T_Customer__c")}["k"] == "2"
    keys = [each["Customer_ID__c"] for each in bulk.results(rest, far["id"], "successfulResults")]
    assert sorted(keys) == sorted(["k", "k", *(f"r{number}" for number in range(199))])
    assert keys[0] == keys[1] == "k", "results are not in the order of the upload"


UNREADABLE = [
    ("Customer_ID__c,Nome\na,A\n", "InvalidBatch : Field name not found : Nome"),
    ("Name\nA\n", "InvalidBatch : Field name not found : Customer_ID__c"),
    ("\ufeffCustomer_ID__c\na\n", "InvalidBatch : Field name not found : \ufeffCustomer_ID__c"),
    ("Customer_ID__c,Account__r.Nix__c\na,\n",
     "InvalidBatch : Field name not found : Account__r.Nix__c"),
    ("Customer_ID__c,Account__r.Name\na,\n",
     "InvalidBatch : Field name not found : Account__r.Name"),
    ("Customer_ID__c;Name\na;A\n", "InvalidBatch : Field name not found : Customer_ID__c;Name"),
    ("Customer_ID__c,Name,name\na,A,B\n", "InvalidBatch : Duplicate column found : name"),
    ("Customer_ID__c,Name\r\na,A\r\n",
     "ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is LF"),
    ('Customer_ID__c,Name\na,"A\r\nB"\n',
     "ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is LF"),
    ('Customer_ID__c,Name\na,"A\n',
     "ClientInputError : Failed to parse CSV. EOF reached before closing an opened quote"),
    ('Customer_ID__c,Name\na,A "x" y\n',
     ("ClientInputError : Failed to parse CSV. Found unescaped quote. A value with quote should "
     "be within a quote")),
    ('Customer_ID__c,Name\n"a", "A"\n',
     ("ClientInputError : Failed to parse CSV. Found unescaped quote. A value with quote should "
     "be within a quote")),
    ("Customer_ID__c,Name\na\n", "InvalidBatch : Row 1 has 1 columns, the header has 2"),
    (b"Customer_ID__c,Name\na,\xff\n", "ClientInputError : The data is not valid UTF-8"),
    ("", "InvalidBatch : The CSV has no header row"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "message"), UNREADABLE, ids=[each[1] for each in UNREADABLE])
def test_a_job_that_cannot_be_read_fails_as_a_whole(
    rest: Rest, org: SalesforceOrg, data: str | bytes, message: str
) -> None:
    done = bulk.load(rest, "T_Customer__c", "upsert", data, externalIdFieldName="Customer_ID__c")
    assert (done["state"], done["errorMessage"]) == ("Failed", message)
    assert (done["numberRecordsProcessed"], done["numberRecordsFailed"]) == (0, 0)
    assert org.count("T_Customer__c") == 0
    assert bulk.results(rest, done["id"], "successfulResults") == []


def test_columns_that_the_user_may_not_see_are_unknown(org: SalesforceOrg, rest: Rest) -> None:
    """A field without field-level security fails the job, a read-only one the row."""
    refused = upsert(rest, "Customer_ID__c,Link__c\nc,x\n")
    assert bulk.errors(rest, refused["id"])[0].startswith(
        "INVALID_FIELD_FOR_INSERT_UPDATE:Unable to create/update fields: Link__c."
    )
    org.revoke_permission_set(INTEGRATION, "Sync")
    body = {"object": "T_Customer__c", "operation": "insert"}
    assert error(rest.call("POST", "jobs/ingest", json=body)) == (
        400, "INVALIDJOB", "InvalidJob : Unable to find object: T_Customer__c",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("delimiter", "character"),
    [("BACKQUOTE", "`"), ("CARET", "^"), ("PIPE", "|"), ("SEMICOLON", ";"), ("TAB", "\t")],
)
def test_delimiters_and_line_endings(
    rest: Rest, org: SalesforceOrg, delimiter: str, character: str
) -> None:
    """Results come in the format of the job."""
    lines = [["Customer_ID__c", "Name"], ["a", '"x, y"'], ["b", "z"]]
    data = "\r\n".join(character.join(line) for line in lines) + "\r\n"
    done = upsert(rest, data, columnDelimiter=delimiter, lineEnding="CRLF")
    assert [each["Name"] for each in org.rows("T_Customer__c")] == ["x, y", "z"]
    text = rest.call("GET", f"jobs/ingest/{done['id']}/successfulResults").text
    assert text.startswith(character.join(['"sf__Id"', '"sf__Created"', *lines[0]]) + "\r\n")
    assert text.count("\r\n") == 3
    wrong = upsert(rest, "Customer_ID__c\na\n", columnDelimiter=delimiter, lineEnding="CRLF")
    assert wrong["errorMessage"].endswith("Current LineEnding setting is CRLF")


def test_text_of_all_kinds_survives(rest: Rest, org: SalesforceOrg) -> None:
    """Line breaks in quotes, emoji, blank lines, a last line without an end."""
    upsert(rest, 'Customer_ID__c,Name\n\n"1","a\nb"\n2,"😀 ""é"""\n\n3,x')
    assert [each["Name"] for each in org.rows("T_Customer__c")] == ["a\nb", '😀 "é"', "x"]


def test_a_job_in_one_multipart_request(rest: Rest, org: SalesforceOrg) -> None:
    body = {
        "object": "T_Customer__c", "operation": "upsert", "externalIdFieldName": "Customer_ID__c",
        "contentType": "CSV", "lineEnding": "LF",
    }  # fmt: skip

    def send(data: str) -> Any:
        files = {
            "job": (None, json.dumps(body), "application/json"),
            "content": ("content", data, "text/csv"),
        }
        return rest.call("POST", "jobs/ingest", files=files)

    made = send("Customer_ID__c,Name\na,A\nb,B\n").json()
    assert made["state"] == "UploadComplete"
    assert bulk.wait(rest, made["id"])["numberRecordsProcessed"] == 2
    assert [each["Name"] for each in org.rows("T_Customer__c")] == ["A", "B"]
    assert error(send("Customer_ID__c\n" + "x\n" * 50_000))[1] == "API_ERROR"


def test_an_aborted_job_keeps_what_is_done(rest: Rest, org: SalesforceOrg) -> None:
    """Rows that were saved stay, the others are listed as not processed."""
    org.ingest.rows_per_look = 200
    data = "Customer_ID__c\n" + "".join(f"c{number:03d}\n" for number in range(450))
    job = bulk.create(rest, "T_Customer__c", "insert")["id"]
    bulk.put(rest, job, data)
    bulk.set_state(rest, job, "UploadComplete")
    seen = [bulk.info(rest, job)["numberRecordsProcessed"] for _ in range(3)]
    assert seen == [0, 200, 400]
    assert bulk.set_state(rest, job, "Aborted").json()["state"] == "Aborted"
    assert bulk.info(rest, job)["state"] == "Aborted"
    assert org.count("T_Customer__c") == 400
    left = [each["Customer_ID__c"] for each in bulk.results(rest, job, "unprocessedRecords")]
    assert left == [f"c{number}" for number in range(400, 450)]
    assert len(bulk.results(rest, job, "successfulResults")) == 400


def test_a_job_that_fails_half_way_or_hangs(rest: Rest, org: SalesforceOrg) -> None:
    message = "InternalError : Too many retries"
    org.ingest.interruption = Interruption(3, message)
    done = bulk.load(rest, "T_Customer__c", "insert", "Customer_ID__c\na\nb\nc\nd\n")
    assert (done["state"], done["errorMessage"]) == ("Failed", message)
    assert done["numberRecordsProcessed"] == org.count("T_Customer__c") == 3
    assert bulk.results(rest, done["id"], "unprocessedrecords") == [{"Customer_ID__c": "d"}]
    org.ingest.stalled = True
    job = bulk.create(rest, "T_Customer__c", "insert")["id"]
    bulk.put(rest, job, "Customer_ID__c\nd\n")
    bulk.set_state(rest, job, "UploadComplete")
    assert {bulk.info(rest, job)["state"] for _ in range(5)} == {"InProgress"}
    org.ingest.finish()
    assert bulk.info(rest, job)["state"] == "JobComplete"


def test_counters_and_the_daily_allowance(rest: Rest, org: SalesforceOrg) -> None:
    """Batches of 10,000 rows count, as do the calls; no batch left fails the job."""
    before = rest.call("GET", "limits").json()
    done = upsert(rest, "Customer_ID__c\na\nb\n")
    assert done["state"] == "JobComplete"
    org.insert("T_Customer__c", {"Customer_ID__c": "c"})
    after = rest.call("GET", "limits").json()
    left = "DailyBulkApiBatches"
    assert after[left]["Remaining"] == before[left]["Remaining"] - 1 == 14_999
    calls = before["DailyApiRequests"]["Remaining"] - after["DailyApiRequests"]["Remaining"]
    assert calls == 6, "create, upload, close, two looks, limits"
    assert org.statistics.calls["bulk", 200] == 4
    assert org.statistics.calls["bulk", 201] == 1
    assert org.statistics.rows["T_Customer__c", "insert"] == 3
    assert org.statistics.bulk_rows == {("T_Customer__c", "insert"): 2}
    assert org.statistics.jobs == {"upsert": 1}
    org.ingest.batches.limit = 1
    refused = upsert(rest, "Customer_ID__c\nd\n")
    assert refused["errorMessage"] == "ExceededQuota : ApiBatchItems Limit exceeded."
    org.statistics.reset()
    assert not org.statistics.bulk_rows


def test_the_list_of_jobs(rest: Rest, admin: Rest) -> None:
    first = bulk.create(rest, "T_Customer__c", "insert")["id"]
    second = bulk.create(rest, "Account", "update")["id"]
    found = rest.call("GET", "jobs/ingest?jobType=V2Ingest").json()
    assert (found["done"], found["nextRecordsUrl"]) == (True, None)
    assert [each["id"] for each in found["records"]] == [first, second]
    assert found["records"][1]["object"] == "Account"
    assert rest.call("GET", "jobs/ingest?jobType=Classic").json()["records"] == []
    assert len(admin.call("GET", "jobs/ingest").json()["records"]) == 2
    answer = rest.call("GET", "jobs/ingest?queryLocator=x")
    assert error(answer)[1] == "INVALID_QUERY_LOCATOR"


def test_a_locked_row_and_a_full_org(
    rest: Rest, org: SalesforceOrg, sandbox: SalesforceSandbox
) -> None:
    """Injected faults reach bulk rows too."""
    sandbox.faults.row("T_Customer__c", key=lambda row: row["Customer_ID__c"] == "b")
    done = upsert(rest, "Customer_ID__c\na\nb\n")
    assert bulk.errors(rest, done["id"]) == [
        "UNABLE_TO_LOCK_ROW:unable to obtain exclusive access to this record or 1 records:--"
    ]
    org.storage_full = True
    full = upsert(rest, "Customer_ID__c\nc\n")
    assert bulk.errors(rest, full["id"]) == ["STORAGE_LIMIT_EXCEEDED:storage limit exceeded:--"]
