"""Bulk jobs by hand, for tests: what a client sends, step by step."""

import csv
import io
from typing import Any

import requests

from tests.sandbox.salesforce.conftest import Rest


def create(rest: Rest, sobject: str, operation: str, **more: str) -> dict[str, Any]:
    """A new ingest job's JSON."""
    body = {"object": sobject, "operation": operation, **more}
    answer = rest.call("POST", "jobs/ingest", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def put(rest: Rest, job: str, data: str | bytes) -> requests.Response:
    """Upload the data."""
    content = data.encode() if isinstance(data, str) else data
    return rest.call(
        "PUT", f"jobs/ingest/{job}/batches", data=content, headers={"Content-Type": "text/csv"}
    )


def set_state(rest: Rest, job: str, state: str, kind: str = "ingest") -> requests.Response:
    """Close or abort a job."""
    return rest.call("PATCH", f"jobs/{kind}/{job}", json={"state": state})


def info(rest: Rest, job: str, kind: str = "ingest") -> dict[str, Any]:
    """The job's JSON as it is now; looking brings it on."""
    answer = rest.call("GET", f"jobs/{kind}/{job}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def wait(rest: Rest, job: str, kind: str = "ingest") -> dict[str, Any]:
    """Look until the job has ended."""
    for _ in range(50):
        found = info(rest, job, kind)
        if found["state"] in {"JobComplete", "Failed", "Aborted"}:
            return found
    raise AssertionError(found)


def load(
    rest: Rest, sobject: str, operation: str, data: str | bytes, **more: str
) -> dict[str, Any]:
    """Create, upload, close, and look until the job has ended."""
    job = create(rest, sobject, operation, **more)["id"]
    assert put(rest, job, data).status_code == 201
    assert set_state(rest, job, "UploadComplete").status_code == 200
    return wait(rest, job)


def results(rest: Rest, job: str, which: str) -> list[dict[str, str]]:
    """The rows of a result file, by column."""
    answer = rest.call("GET", f"jobs/ingest/{job}/{which}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "text/csv; charset=UTF-8"
    return list(csv.DictReader(io.StringIO(answer.content.decode(), newline="")))


def errors(rest: Rest, job: str) -> list[str]:
    """The sf__Error of the refused rows."""
    return [each["sf__Error"] for each in results(rest, job, "failedResults")]


def query(rest: Rest, text: str, operation: str = "query", **more: str) -> requests.Response:
    """Create a query job."""
    body = {"operation": operation, "query": text, **more}
    return rest.call("POST", "jobs/query", json=body)


def run_query(rest: Rest, text: str, operation: str = "query", **more: str) -> str:
    """Create a query job and look until it has ended; its id."""
    answer = query(rest, text, operation, **more)
    assert answer.status_code == 200, answer.text
    job: str = answer.json()["id"]
    assert wait(rest, job, "query")["state"] == "JobComplete"
    return job
