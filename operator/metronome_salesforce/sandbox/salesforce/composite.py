"""Several requests in one call: composite, batch and tree (REST API, Composite Resources)."""

import json
import re
from collections.abc import Callable
from typing import Any

from metronome_salesforce.sandbox.salesforce.calls import Call, Reply, split_target
from metronome_salesforce.sandbox.salesforce.exceptions import (
    RowRefusedError,
    SalesforceError,
)
from metronome_salesforce.sandbox.salesforce.incoming import read_record
from metronome_salesforce.sandbox.salesforce.writing import Batch

_MOST = 25
_MOST_HEAVY = 5
_MOST_TREE = 200
_REFERENCE = re.compile(r"@\{(\w+)((?:\.\w+|\[\d+\])*)\}")
HALTED = "The transaction was rolled back since another operation in the same transaction failed."

Dispatch = Callable[[Call], Reply]


def _heavy(url: str) -> bool:
    return "/query" in url or "/composite/sobjects" in url


def composite(call: Call, dispatch: Dispatch) -> Reply:
    """`POST composite`: up to 25 subrequests that may refer to each other's results."""
    body = call.json_object()
    requests = body.get("compositeRequest")
    if not isinstance(requests, list) or not requests:
        raise SalesforceError("JSON_PARSER_ERROR", "compositeRequest is required")
    if len(requests) > _MOST:
        raise SalesforceError(
            "LIMIT_EXCEEDED",
            f"Limit exceeded. There are {len(requests)} subrequests, which exceeds the limit of "
            f"{_MOST}.",
        )
    if sum(_heavy(str(each.get("url", ""))) for each in requests) > _MOST_HEAVY:
        raise SalesforceError(
            "LIMIT_EXCEEDED",
            f"Limit exceeded. At most {_MOST_HEAVY} query or sObject Collections subrequests are "
            "allowed.",
        )
    references = [str(each.get("referenceId", "")) for each in requests]
    if "" in references or len(set(references)) < len(references):
        raise SalesforceError("INVALID_INPUT", "Every subrequest needs a referenceId of its own.")
    return Reply(
        200,
        {
            "compositeResponse": run_together(
                call, requests, dispatch, all_or_none=body.get("allOrNone") is True
            )
        },
    )


def run_together(
    call: Call, requests: list[dict[str, Any]], dispatch: Dispatch, *, all_or_none: bool
) -> list[dict[str, Any]]:
    """Run subrequests in order; with `all_or_none` the first failure undoes and halts the rest."""
    storage, counted = call.org.state.storage, call.org.statistics.rows
    if not all_or_none:
        return _run(call, requests, dispatch, stop=False)
    before = counted.copy()
    storage.run("BEGIN")
    try:
        answers = _run(call, requests, dispatch, stop=True)
    except BaseException:
        storage.run("ROLLBACK")
        raise
    failed = [each for each in answers if each["httpStatusCode"] >= 300]
    if not failed:
        storage.run("COMMIT")
        return answers
    storage.run("ROLLBACK")
    call.org.state.access_cache.clear()
    counted.clear()
    counted.update(before)
    halted = [{"errorCode": "PROCESSING_HALTED", "message": HALTED}]
    return [
        each
        if each is failed[0]
        else {**each, "body": halted, "httpStatusCode": 400, "httpHeaders": {}}
        for each in answers
    ]


def _run(
    call: Call, requests: list[dict[str, Any]], dispatch: Dispatch, *, stop: bool
) -> list[dict[str, Any]]:
    results: dict[str, Any] = {}
    answers: list[dict[str, Any]] = []
    halted = False
    for each in requests:
        reference = str(each.get("referenceId"))
        if halted:
            reply = Reply(400, [])
        else:
            reply = _subrequest(call, each, results, dispatch)
            results[reference] = reply
            halted = stop and reply.status >= 300
        answers.append(
            {
                "body": reply.body,
                "httpHeaders": reply.headers,
                "httpStatusCode": reply.status,
                "referenceId": reference,
            }
        )
    return answers


def _subrequest(
    call: Call, each: dict[str, Any], results: dict[str, Any], dispatch: Dispatch
) -> Reply:
    try:
        inner = _inner(call, each, results)
        return dispatch(inner)
    except SalesforceError as error:
        return Reply(error.status, error.body())
    except RowRefusedError as refusal:
        refused = refusal.as_request_error()
        return Reply(refused.status, refused.body())


def _inner(call: Call, each: dict[str, Any], results: dict[str, Any]) -> Call:
    url = _substitute(str(each.get("url", "")), results)
    content = _substitute(each["body"], results) if "body" in each else None
    segments, query = split_target(url)
    if segments[:2] != ["services", "data"] or len(segments) < 3:
        raise SalesforceError("INVALID_INPUT", f"The url {url} is not a REST API resource.")
    return Call(
        call.org,
        call.user,
        str(each.get("method", "")).upper(),
        segments[3:],
        query,
        segments[2].removeprefix("v"),
        call.base,
        b"" if content is None else json.dumps(content).encode(),
        {str(k).lower(): str(v) for k, v in (each.get("httpHeaders") or {}).items()},
        call.fast,
    )


def _substitute(value: Any, results: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {name: _substitute(each, results) for name, each in value.items()}
    if isinstance(value, list):
        return [_substitute(each, results) for each in value]
    if not isinstance(value, str) or "@{" not in value:
        return value
    whole = _REFERENCE.fullmatch(value)
    if whole:
        return _lookup(whole, results)
    return _REFERENCE.sub(lambda match: str(_lookup(match, results)), value)


def _lookup(match: re.Match[str], results: dict[str, Any]) -> Any:
    name, path = match.groups()
    reply = results.get(name)
    if reply is None or reply.status >= 300:
        raise SalesforceError(
            "PROCESSING_HALTED", f"Invalid reference specified. No value for {name}{path} found"
        )
    found = reply.body
    for part in re.findall(r"\.(\w+)|\[(\d+)\]", path):
        try:
            found = found[part[0]] if part[0] else found[int(part[1])]
        except (KeyError, IndexError, TypeError) as error:
            raise SalesforceError(
                "PROCESSING_HALTED",
                f"Invalid reference specified. No value for {name}{path} found",
            ) from error
    return found


def batch(call: Call, dispatch: Dispatch) -> Reply:
    """`POST composite/batch`: up to 25 independent subrequests."""
    requests = call.json_object().get("batchRequests")
    if not isinstance(requests, list) or not requests or len(requests) > _MOST:
        raise SalesforceError("LIMIT_EXCEEDED", f"1 to {_MOST} batchRequests are allowed.")
    results = []
    for each in requests:
        reply = _subrequest(
            call,
            {
                "url": "/services/data/" + str(each.get("url", "")).lstrip("/"),
                "method": each.get("method"),
                **({"body": each["richInput"]} if "richInput" in each else {}),
            },
            {},
            dispatch,
        )
        results.append({"statusCode": reply.status, "result": reply.body})
    return Reply(
        200, {"hasErrors": any(each["statusCode"] >= 300 for each in results), "results": results}
    )


def tree(call: Call, name: str) -> Reply:
    """`POST composite/tree/T`: create records with their children, all or nothing."""
    records = call.json_object().get("records")
    if not isinstance(records, list) or not records:
        raise SalesforceError("JSON_PARSER_ERROR", "records is required")
    state, counted = call.org.state, call.org.statistics.rows
    before = counted.copy()
    results: list[dict[str, Any]] = []
    problems: list[dict[str, Any]] = []
    state.storage.run("BEGIN")
    try:
        _plant_all(call, name, records, results, problems)
    except BaseException:
        state.storage.run("ROLLBACK")
        counted.clear()
        counted.update(before)
        raise
    if problems:
        state.storage.run("ROLLBACK")
        counted.clear()
        counted.update(before)
        return Reply(400, {"hasErrors": True, "results": problems})
    state.storage.run("COMMIT")
    return Reply(201, {"hasErrors": False, "results": results})


def _plant_all(
    call: Call,
    name: str,
    records: list[dict[str, Any]],
    results: list[dict[str, Any]],
    problems: list[dict[str, Any]],
) -> None:
    for each in records:
        _plant(call, name, each, None, results, problems)
    if len(results) + len(problems) > _MOST_TREE:
        raise SalesforceError(
            "LIMIT_EXCEEDED", f"Limit exceeded. At most {_MOST_TREE} records are allowed."
        )


def _plant(
    call: Call,
    name: str,
    record: dict[str, Any],
    parent: tuple[str, str] | None,
    results: list[dict[str, Any]],
    problems: list[dict[str, Any]],
) -> None:
    access = call.access(name)
    reference = str((record.get("attributes") or {}).get("referenceId", ""))
    plain, nested = {}, []
    for key, value in record.items():
        if isinstance(value, dict) and "records" in value:
            nested.append((key, value["records"]))
        else:
            plain[key] = value
    incoming = read_record(call.org.state, access, plain, call.user, call.text())
    if parent is not None:
        incoming.values[parent[0]] = parent[1]
    result = Batch(call.org.state, call.user).insert([incoming])[0]
    if result.errors or result.id is None:
        problems.append({
            "referenceId": reference, "errors": [each.body() for each in result.errors]
        })  # fmt: skip
        return
    results.append({"referenceId": reference, "id": result.id})
    for relationship, children in nested:
        for each in call.org.state.schema.children(name):
            if each.name and each.name.lower() == relationship.lower():
                for child in children:
                    link = (each.field.name, result.id)
                    _plant(call, each.child.name, child, link, results, problems)
                break
        else:
            raise SalesforceError(
                "INVALID_FIELD", f"No such relation '{relationship}' on sobject of type {name}"
            )
