"""`/jobs/query`: queries run in the background, results as pages of CSV (Bulk API 2.0, Query)."""

import base64
import binascii
from typing import Any

from metronome_salesforce.sandbox.salesforce.bulk_csv import CSV_TYPE, quote, write_lines
from metronome_salesforce.sandbox.salesforce.bulk_query_jobs import QueryJob
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

_MEMBERS = ("columnDelimiter", "contentType", "lineEnding", "operation", "query")
_PAGE = 50_000


def jobs(call: Call) -> Reply:
    """`GET jobs/query` lists the caller's jobs; `POST` creates one."""
    org = call.org
    if call.method == "GET":
        kind = call.query.get("jobType")
        every = org.state.may(call.user, "ModifyAllData")
        found = [
            _info(each)
            for each in org.bulk_queries.jobs.values()
            if kind in {None, "V2Query"} and (every or each.user.id == call.user.id)
        ]
        return listing(call, found, "query")
    request = job_request(call.json(), _MEMBERS)
    operation = one_of(request, "operation", ("query", "queryAll"))
    created = org.bulk_queries.create(
        request.get("query", ""), operation, call.user, call.version, csv_format(request)
    )
    return Reply(200, _created(created))


def job(call: Call, record: str) -> Reply:
    """`GET`, `PATCH` and `DELETE jobs/query/<id>`."""
    found = _find(call, record)
    if call.method == "DELETE":
        call.org.bulk_queries.remove(found)
        return Reply(204)
    if call.method == "GET":
        call.org.bulk_queries.look(found, fast=call.fast)
        return Reply(200, _info(found))
    state = wanted_state(call)
    if state != "Aborted":
        raise SalesforceError(
            "INVALIDJOBSTATE", f"InvalidJobState : Changing the state to {state} not allowed"
        )
    call.org.bulk_queries.abort(found)
    return Reply(200, _created(found))


def results(call: Call, record: str) -> Reply:
    """`GET jobs/query/<id>/results?locator=&maxRecords=`: the header stands on every page."""
    found = _find(call, record)
    if found.state != "JobComplete":
        raise SalesforceError(
            "INVALIDJOBSTATE", f"InvalidJobState : Job is {found.state}, it has no results"
        )
    most = call.query.get("maxRecords", str(_PAGE))
    if not most.isdigit() or int(most) < 1:
        raise SalesforceError(
            "API_ERROR", f"Invalid value: '{most}' supplied for property: 'maxRecords'"
        )
    start = _offset(call.query.get("locator", ""), len(found.rows))
    page = found.rows[start : start + int(most)]
    following = start + len(page)
    text = write_lines([quote(each) for each in found.header], page, found.delimiter, found.ending)
    headers = {
        "Sforce-NumberOfRecords": str(len(page)),
        "Sforce-Locator": _locator(following) if following < len(found.rows) else "null",
    }
    return Reply(200, text, headers, CSV_TYPE)


def _locator(offset: int) -> str:
    return base64.b64encode(str(offset).encode()).decode().rstrip("=")


def _offset(locator: str, rows: int) -> int:
    if not locator:
        return 0
    try:
        text = base64.b64decode(locator + "=" * (-len(locator) % 4), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        text = ""
    if not text.isdigit() or int(text) >= rows:
        raise SalesforceError("INVALID_QUERY_LOCATOR", "invalid query locator")
    return int(text)


def _find(call: Call, record: str) -> QueryJob:
    every = call.org.bulk_queries.jobs
    found = every.get(record) or next(
        (each for name, each in every.items() if name[:15] == record), None
    )
    if found is None:
        raise not_found()
    require_owner(call, found.user)
    return found


def _created(job: QueryJob) -> dict[str, Any]:
    return {
        "id": job.id,
        "operation": job.operation,
        "object": job.sobject,
        "createdById": job.user.id,
        "createdDate": job.moment,
        "systemModstamp": job.modified,
        "state": job.state,
        "concurrencyMode": "Parallel",
        "contentType": "CSV",
        "apiVersion": float(job.version),
        "lineEnding": job.ending,
        "columnDelimiter": job.delimiter,
    }


def _info(job: QueryJob) -> dict[str, Any]:
    body = _created(job) | {
        "jobType": "V2Query",
        "numberRecordsProcessed": len(job.rows),
        "retries": 0,
        **milliseconds(len(job.rows)),
        "isPkChunkingSupported": job.chunked,
    }
    if job.error is not None:
        body["errorMessage"] = job.error
    return body
