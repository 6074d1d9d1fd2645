"""Bulk API 2.0 ingest: the requests that are refused, and the states that exclude each other."""

from typing import Any

import pytest

from metronome_salesforce.sandbox.salesforce import SalesforceOrg
from metronome_salesforce.sandbox.serving import Served
from tests.sandbox.salesforce import bulk
from tests.sandbox.salesforce.conftest import Rest, log_in
from tests.sandbox.salesforce.test_rows import error

BAD_JOBS: list[tuple[dict[str, Any], str, str]] = [
    ({"object": "Nix__c", "operation": "insert"}, "INVALIDJOB",
     "InvalidJob : Unable to find object: Nix__c"),
    ({"object": "T_Customer__c"}, "API_ERROR",
     "Invalid value: '' supplied for property: 'operation'"),
    ({"object": "T_Customer__c", "operation": "merge"}, "API_ERROR",
     "Invalid value: 'merge' supplied for property: 'operation'"),
    ({"object": "T_Customer__c", "operation": "insert", "lineEnding": "CR"}, "API_ERROR",
     "Invalid value: 'CR' supplied for property: 'lineEnding'"),
    ({"object": "T_Customer__c", "operation": "insert", "columnDelimiter": ","}, "API_ERROR",
     "Invalid value: ',' supplied for property: 'columnDelimiter'"),
    ({"object": "T_Customer__c", "operation": "insert", "contentType": "JSON"}, "API_ERROR",
     "Invalid value: 'JSON' supplied for property: 'contentType'"),
    ({"object": "T_Customer__c", "operation": "upsert", "externalIdFieldName": "Name"},
     "INVALIDJOB", ("InvalidJob : Field name provided, Name does not match an External ID for "
     "T_Customer__c")),
    ({"object": "T_Customer__c", "operation": "upsert"}, "INVALIDJOB",
     "InvalidJob : Field name provided,  does not match an External ID for T_Customer__c"),
    ({"object": "T_Customer__c", "operation": "insert", "priority": "x"}, "JSON_PARSER_ERROR",
     'Unrecognized field "priority" at [line:1, column:58]'),
]  # fmt: skip


@pytest.mark.parametrize(("body", "code", "message"), BAD_JOBS)
def test_jobs_that_are_not_created(rest: Rest, body: Any, code: str, message: str) -> None:
    assert error(rest.call("POST", "jobs/ingest", json=body)) == (400, code, message)
    assert rest.call("GET", "jobs/ingest").json()["records"] == []


def test_states_that_exclude_each_other(rest: Rest) -> None:
    """Uploads come once, ends are final, and running jobs are not deleted."""
    job = bulk.create(rest, "T_Customer__c", "insert")["id"]

    def refused(answer: Any) -> str:
        status, code, message = error(answer)
        assert (status, code) == (400, "INVALIDJOBSTATE")
        return message.removeprefix("InvalidJobState : ")

    path = f"jobs/ingest/{job}"
    assert refused(rest.call("DELETE", path)) == "Deleting Open Job not allowed"
    assert bulk.put(rest, job, "Customer_ID__c\na\n").status_code == 201
    assert error(bulk.put(rest, job, "Customer_ID__c\nb\n")) == (
        400,
        "BULK_API_ERROR",
        (
            f"Found multipe contents for job: <{job}>, please 'Close' / 'Abort' / 'Delete' the "
            "current Job then create a new Job and make sure you only do 'PUT' once on a given Job."
        ),
    )
    assert refused(rest.call("GET", f"{path}/failedResults")).startswith("Job is Open")
    assert refused(bulk.set_state(rest, job, "InProgress"))
    assert error(bulk.set_state(rest, job, "Done"))[1] == "API_ERROR"
    bulk.set_state(rest, job, "UploadComplete")
    assert refused(bulk.set_state(rest, job, "UploadComplete")) == (
        "Closing already closed Job not allowed"
    )
    assert bulk.info(rest, job)["state"] == "InProgress"
    assert refused(rest.call("DELETE", path)) == "Deleting InProgress Job not allowed"
    assert bulk.info(rest, job)["state"] == "JobComplete"
    assert refused(bulk.set_state(rest, job, "Aborted")) == (
        "Aborting already Completed Job not allowed"
    )
    assert rest.call("DELETE", path).status_code == 204
    assert error(rest.call("GET", path))[:2] == (404, "NOT_FOUND")
    late = bulk.create(rest, "T_Customer__c", "insert")["id"]
    bulk.set_state(rest, late, "Aborted")
    assert refused(bulk.put(rest, late, "Customer_ID__c\n")) == (
        "Uploading to Aborted Job not allowed"
    )
    assert refused(bulk.set_state(rest, late, "UploadComplete")) == (
        "Closing already Aborted Job not allowed"
    )


def test_other_requests_that_are_refused(
    rest: Rest, admin: Rest, org: SalesforceOrg, served: Served
) -> None:
    job = bulk.create(rest, "T_Customer__c", "insert")["id"]
    path = f"jobs/ingest/{job}"
    answer = rest.call("PUT", f"{path}/batches", json=[])
    assert error(answer)[:2] == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert rest.call("POST", f"{path}/batches", json={}).status_code == 405
    assert rest.call("GET", f"{path}/nothing").status_code == 404
    assert rest.call("GET", "jobs/other").status_code == 404
    old = Rest(rest.base, rest.token, "40.0")
    assert old.call("GET", "jobs/ingest").status_code == 404
    org.add_user("third@sandbox.example")
    third = log_in(org, served, "third@sandbox.example")
    assert error(third.call("GET", path))[:2] == (403, "INVALIDUSER")
    assert third.call("GET", "jobs/ingest").json()["records"] == []
    assert admin.call("GET", path).status_code == 200, "an administrator sees every job"
    assert rest.call("GET", f"jobs/ingest/{job[:15]}").json()["id"] == job


def test_an_upload_of_more_than_150_mb(rest: Rest) -> None:
    job = bulk.create(rest, "T_Customer__c", "insert")["id"]
    assert bulk.put(rest, job, b"x" * (150 * 1024 * 1024 + 1)).status_code == 413
    assert bulk.put(rest, job, "Customer_ID__c\n").status_code == 201
