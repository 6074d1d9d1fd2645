"""Composite graphs: several all-or-nothing composite requests in one call (REST API, Composite)."""

from typing import Any

from metronome_salesforce.sandbox.salesforce.calls import Call, Reply, split_target
from metronome_salesforce.sandbox.salesforce.composite import HALTED, Dispatch, run_together
from metronome_salesforce.sandbox.salesforce.exceptions import SalesforceError

_MOST_GRAPHS = 75
_MOST_NODES = 500
_MOST_KINDS = 15
_MOST_FAILED = 14


def graph(call: Call, dispatch: Dispatch) -> Reply:
    """`POST composite/graph`: each graph is saved as a whole or not at all.

    After 14 failed graphs the rest is not tried.
    """
    graphs = call.json_object().get("graphs")
    if not isinstance(graphs, list) or not graphs:
        raise SalesforceError("JSON_PARSER_ERROR", "graphs is required")
    if len(graphs) > _MOST_GRAPHS:
        raise _too_many("graphs", len(graphs), _MOST_GRAPHS)
    names = [str(each.get("graphId", "")) for each in graphs]
    if "" in names or len(set(names)) < len(names):
        raise SalesforceError("INVALID_INPUT", "Every graph needs a graphId of its own.")
    requests = [_requests(each) for each in graphs]
    nodes = sum(map(len, requests))
    if nodes > _MOST_NODES:
        raise _too_many("nodes", nodes, _MOST_NODES)
    answers: list[dict[str, Any]] = []
    failed = 0
    for name, each in zip(names, requests, strict=True):
        response = (
            _halted(each)
            if failed >= _MOST_FAILED
            else run_together(call, each, dispatch, all_or_none=True)
        )
        good = all(one["httpStatusCode"] < 300 for one in response)
        failed += not good
        answers.append(
            {
                "graphId": name,
                "graphResponse": {"compositeResponse": response},
                "isSuccessful": good,
            }
        )
    return Reply(200, {"graphs": answers})


def _requests(one: dict[str, Any]) -> list[dict[str, Any]]:
    """A graph's nodes; raises SalesforceError for what a graph cannot hold."""
    requests = one.get("compositeRequest")
    if not isinstance(requests, list) or not requests:
        raise SalesforceError("JSON_PARSER_ERROR", "compositeRequest is required")
    references = [str(each.get("referenceId", "")) for each in requests]
    if "" in references or len(set(references)) < len(references):
        raise SalesforceError("INVALID_INPUT", "Every subrequest needs a referenceId of its own.")
    kinds = set()
    for each in requests:
        segments, _ = split_target(str(each.get("url", "")))
        if segments[:2] != ["services", "data"] or segments[3:4] != ["sobjects"]:
            raise SalesforceError(
                "INVALID_INPUT", f"The url {each.get('url')} is not supported in a graph."
            )
        kinds.add((segments[2], str(each.get("method", "")).upper(), *segments[4:5]))
    if len(kinds) > _MOST_KINDS:
        raise _too_many("distinct nodes", len(kinds), _MOST_KINDS)
    return requests


def _halted(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "body": [{"errorCode": "PROCESSING_HALTED", "message": HALTED}],
            "httpHeaders": {},
            "httpStatusCode": 400,
            "referenceId": str(each["referenceId"]),
        }
        for each in requests
    ]


def _too_many(what: str, count: int, most: int) -> SalesforceError:
    return SalesforceError(
        "LIMIT_EXCEEDED",
        f"Limit exceeded. There are {count} {what}, which exceeds the limit of {most}.",
    )
