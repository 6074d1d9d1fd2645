"""`/jobs/ingest`: uploads of rows as CSV, worked off in the background (Bulk API 2.0, Ingest)."""

import json
from collections.abc import Iterable
from typing import Any

from metronome_salesforce.sandbox.salesforce.bulk_csv import CSV_TYPE, quote, write_lines
from metronome_salesforce.sandbox.salesforce.bulk_jobs import ENDED, IngestJob
from metronome_salesforce.sandbox.salesforce.bulk_requests import (
    csv_format,
    job_request,
    listing,
    milliseconds,
    one_of,
    require_owner,
    wanted_state,
)
from metronome_salesforce.sandbox.salesforce.calls import Call, Reply
from metronome_salesforce.sandbox.salesforce.exceptions import SalesforceError, not_found
from metronome_salesforce.sandbox.salesforce.multipart import read_parts
from metronome_salesforce.sandbox.salesforce.schema import Field

_OPERATIONS = ("insert", "update", "upsert", "delete", "hardDelete")
_MEMBERS = (
    "assignmentRuleId", "columnDelimiter", "contentType", "externalIdFieldName", "lineEnding",
    "object", "operation",
)  # fmt: skip
_RESULTS = frozenset({"successfulresults", "failedresults", "unprocessedrecords"})
_LARGEST = 150 * 1024 * 1024
_LONGEST_PART = 100_000


def jobs(call: Call) -> Reply:
    """`GET jobs/ingest` lists the jobs; `POST` creates one, with its data if multipart."""
    if call.method == "GET":
        kind = call.query.get("jobType")
        found = [] if kind not in {None, "V2Ingest"} else call.org.ingest.jobs.values()
        own = [each for each in found if _may_see(call, each)]
        return listing(call, [_info(each) for each in own], "ingest")
    if call.headers.get("content-type", "").lower().startswith("multipart/"):
        return _create_whole(call)
    return Reply(200, _created(_create(call, call.json())))


def _may_see(call: Call, job: IngestJob) -> bool:
    try:
        require_owner(call, job.user)
    except SalesforceError:
        return False
    return True


def _create(call: Call, body: Any) -> IngestJob:
    request = job_request(body, _MEMBERS)
    operation = one_of(request, "operation", _OPERATIONS)
    delimiter, ending = csv_format(request)
    name = request.get("object", "")
    org = call.org
    access = org.state.access(name, call.user)
    if access is None:
        raise SalesforceError("INVALIDJOB", f"InvalidJob : Unable to find object: {name}")
    if operation == "hardDelete" and not org.state.may(call.user, "BulkApiHardDelete"):
        raise SalesforceError(
            "FEATURENOTENABLED",
            "FeatureNotEnabled : hardDelete operation requires special user profile permission, "
            "please contact your system administrator",
        )
    job = IngestJob(
        org.state.ids.next("750"), operation, access, call.user, org.state.stamp(), call.version,
        delimiter=delimiter, ending=ending,
    )  # fmt: skip
    if operation == "upsert":
        job.key = _key(request.get("externalIdFieldName", ""), job)
    return org.ingest.create(job)


def _key(name: str, job: IngestJob) -> Field:
    key = job.access.fields.get(name.lower())
    if key is None or not key.id_lookup:
        raise SalesforceError(
            "INVALIDJOB",
            f"InvalidJob : Field name provided, {name} does not match an External ID for "
            f"{job.access.sobject.name}",
        )
    return key


def _create_whole(call: Call) -> Reply:
    """A job and its data in one request: parts `job` (JSON) and `content` (CSV)."""
    parts = read_parts(call)
    if "job" not in parts or "content" not in parts:
        raise SalesforceError("INVALID_MULTIPART_REQUEST", "Parts job and content are required")
    if len(parts["content"].decode("utf-8", "replace")) > _LONGEST_PART:
        raise SalesforceError(
            "API_ERROR", f"Multipart content cannot exceed {_LONGEST_PART} characters"
        )
    try:
        body = json.loads(parts["job"])
    except ValueError as error:
        raise SalesforceError("JSON_PARSER_ERROR", "The job part is not JSON") from error
    job = _create(call, body)
    call.org.ingest.upload(job, parts["content"])
    call.org.ingest.close(job)
    return Reply(200, _created(job))


def job(call: Call, record: str) -> Reply:
    """`GET`, `PATCH` and `DELETE jobs/ingest/<id>`."""
    found = _find(call, record)
    if call.method == "DELETE":
        call.org.ingest.remove(found)
        return Reply(204)
    if call.method == "GET":
        call.org.ingest.look(found, fast=call.fast)
        return Reply(200, _info(found))
    state = wanted_state(call)
    if state == "UploadComplete":
        call.org.ingest.close(found)
    elif state == "Aborted":
        call.org.ingest.abort(found)
    else:
        raise SalesforceError(
            "INVALIDJOBSTATE", f"InvalidJobState : Changing the state to {state} not allowed"
        )
    return Reply(200, _created(found))


def batches(call: Call, record: str) -> Reply:
    """`PUT jobs/ingest/<id>/batches`: the data, once."""
    found = _find(call, record)
    kind = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "text/csv":
        raise SalesforceError(
            "UNSUPPORTED_MEDIA_TYPE",
            f"Content-Type header specified in HTTP request is not supported: {kind or 'none'}",
            status=415,
        )
    if len(call.body) > _LARGEST:
        raise SalesforceError(
            "API_ERROR", "The uploaded data exceeds the limit of 150 MB", status=413
        )
    call.org.ingest.upload(found, call.body)
    return Reply(201)


def results(call: Call, record: str, which: str) -> Reply:
    """`GET jobs/ingest/<id>/successfulResults`, `failedResults` or `unprocessedRecords`.

    The order is not that of the upload: later transactions come first here.
    """
    found = _find(call, record)
    if which.lower() not in _RESULTS:
        raise not_found()
    if found.state not in ENDED:
        raise SalesforceError(
            "INVALIDJOBSTATE", f"InvalidJobState : Job is {found.state}, it has no results yet"
        )
    header = found.table.header if found.table else []
    rows: Iterable[list[str]]
    match which.lower():
        case "successfulresults":
            names, rows = ["sf__Id", "sf__Created"], _newest_first(found.successes)
        case "failedresults":
            names, rows = ["sf__Id", "sf__Error"], _newest_first(found.failures)
        case _:
            names, rows = [], found.unprocessed
    columns = [*map(quote, names), *header]
    text = write_lines(columns, rows, found.delimiter, found.ending)
    return Reply(200, text, content_type=CSV_TYPE)


def _newest_first(transactions: list[list[list[str]]]) -> list[list[str]]:
    return [row for rows in reversed(transactions) for row in rows]


def _find(call: Call, record: str) -> IngestJob:
    found = call.org.ingest.jobs.get(record) or next(
        (each for name, each in call.org.ingest.jobs.items() if name[:15] == record), None
    )
    if found is None:
        raise not_found()
    require_owner(call, found.user)
    return found


def _created(job: IngestJob) -> dict[str, Any]:
    body: dict[str, Any] = {
        "id": job.id,
        "operation": job.operation,
        "object": job.access.sobject.name,
        "createdById": job.user.id,
        "createdDate": job.moment,
        "systemModstamp": job.modified,
        "state": job.state,
    }
    if job.key is not None:
        body["externalIdFieldName"] = job.key.name
    body |= {
        "concurrencyMode": "Parallel",
        "contentType": "CSV",
        "apiVersion": float(job.version),
    }
    if job.state == "Open":
        body["contentUrl"] = f"services/data/v{job.version}/jobs/ingest/{job.id}/batches"
    return body | {"lineEnding": job.ending, "columnDelimiter": job.delimiter}


def _info(job: IngestJob) -> dict[str, Any]:
    body = _created(job) | {
        "jobType": "V2Ingest",
        "numberRecordsProcessed": job.position,
        "numberRecordsFailed": job.failed,
        "retries": 0,
        **milliseconds(job.position),
    }
    if job.error is not None and job.state == "Failed":
        body["errorMessage"] = job.error
    return body
