"""What the ingest and the query resources of Bulk API 2.0 have in common: bodies, lists, owners."""

import json
from collections.abc import Iterable
from typing import Any

from metronome_salesforce.sandbox.salesforce.access import User
from metronome_salesforce.sandbox.salesforce.bulk_csv import DELIMITERS, LINE_ENDINGS
from metronome_salesforce.sandbox.salesforce.calls import Call, Reply
from metronome_salesforce.sandbox.salesforce.exceptions import SalesforceError

_PAGE = 1000


def job_request(body: Any, known: Iterable[str]) -> dict[str, str]:
    """The members of a job's JSON; raises SalesforceError for unknown and non-text members."""
    if not isinstance(body, dict):
        raise SalesforceError("JSON_PARSER_ERROR", "The request body is not a job")
    allowed = set(known)
    for name, value in body.items():
        if name not in allowed:
            at = json.dumps(body, separators=(",", ":")).find(f'"{name}"') + len(name) + 3
            raise SalesforceError(
                "JSON_PARSER_ERROR", f'Unrecognized field "{name}" at [line:1, column:{at}]'
            )
        if value is not None and not isinstance(value, str):
            raise SalesforceError(
                "JSON_PARSER_ERROR", f"Cannot deserialize instance of string for '{name}'"
            )
    return {name: value for name, value in body.items() if value is not None}


def one_of(request: dict[str, str], name: str, choices: Iterable[str], default: str = "") -> str:
    """A member limited to some words; raises API_ERROR."""
    value = request.get(name, default)
    if value not in set(choices):
        raise SalesforceError(
            "API_ERROR", f"Invalid value: '{value}' supplied for property: '{name}'"
        )
    return value


def csv_format(request: dict[str, str]) -> tuple[str, str]:
    """The job's delimiter and line ending; raises API_ERROR."""
    one_of(request, "contentType", {"CSV"}, "CSV")
    delimiter = one_of(request, "columnDelimiter", DELIMITERS, "COMMA")
    return delimiter, one_of(request, "lineEnding", LINE_ENDINGS, "LF")


def wanted_state(call: Call) -> str:
    """The state that a PATCH asks for; raises SalesforceError."""
    request = job_request(call.json(), {"state"})
    states = {"Open", "UploadComplete", "InProgress", "JobComplete", "Failed", "Aborted"}
    return one_of(request, "state", states)


def require_owner(call: Call, owner: User) -> None:
    """Jobs are seen by who made them, and by who may modify everything."""
    if owner.id == call.user.id or call.org.state.may(call.user, "ModifyAllData"):
        return
    raise SalesforceError(
        "INVALIDUSER", "InvalidUser : The job was created by another user", status=403
    )


def milliseconds(rows: int) -> dict[str, int]:
    """The processing times of a job: a millisecond a row, no triggers."""
    return {
        "totalProcessingTime": rows, "apiActiveProcessingTime": rows, "apexProcessingTime": 0,
    }  # fmt: skip


def listing(call: Call, jobs: list[dict[str, Any]], resource: str) -> Reply:
    """A page of jobs, 1000 at a time; raises INVALID_QUERY_LOCATOR."""
    locator = call.query.get("queryLocator", "0")
    if not locator.isdigit() or int(locator) > len(jobs):
        raise SalesforceError("INVALID_QUERY_LOCATOR", "invalid query locator")
    start = int(locator)
    following = start + _PAGE
    done = following >= len(jobs)
    more = None if done else f"{call.root}/jobs/{resource}?queryLocator={following}"
    return Reply(200, {"done": done, "records": jobs[start:following], "nextRecordsUrl": more})
