"""Composite graphs: each saved as a whole, or not at all."""

from typing import Any

import pytest

from metronome_salesforce.sandbox.salesforce import SalesforceOrg
from tests.sandbox.salesforce.conftest import Rest
from tests.sandbox.salesforce.test_rows import error

ROOT = "/services/data/v66.0/sobjects"


def node(reference: str, path: str, body: dict[str, Any], method: str = "POST") -> dict[str, Any]:
    """One subrequest."""
    return {
        "method": method, "url": f"{ROOT}/{path}", "referenceId": reference, "body": body
    }  # fmt: skip


def family(name: str, **line: Any) -> dict[str, Any]:
    """A graph of an invoice and its line."""
    return {
        "graphId": name,
        "compositeRequest": [
            node("invoice", f"T_Invoice__c/Invoice_ID__c/{name}", {"Name": name}, "PATCH"),
            node("line", "T_Line__c",
                 {"Line_ID__c": f"l-{name}", "Invoice__c": "@{invoice.id}", **line}),
        ],
    }  # fmt: skip


def test_a_graph_fails_alone(rest: Rest, org: SalesforceOrg) -> None:
    body = {"graphs": [family("a"), family("b", Amount__c=1e17), family("c")]}
    answer = rest.call("POST", "composite/graph", json=body)
    assert answer.status_code == 200
    graphs = answer.json()["graphs"]
    assert [(each["graphId"], each["isSuccessful"]) for each in graphs] == [
        ("a", True), ("b", False), ("c", True),
    ]  # fmt: skip
    first = graphs[0]["graphResponse"]["compositeResponse"]
    assert [each["httpStatusCode"] for each in first] == [201, 201]
    halted, failed = graphs[1]["graphResponse"]["compositeResponse"]
    assert halted["body"][0]["errorCode"] == "PROCESSING_HALTED"
    assert failed["body"][0]["errorCode"] == "NUMBER_OUTSIDE_VALID_RANGE"
    assert [each["Invoice_ID__c"] for each in org.rows("T_Invoice__c")] == ["a", "c"]
    assert org.statistics.rows["T_Line__c", "insert"] == 2


def test_after_fourteen_failures_the_rest_is_not_tried(rest: Rest, org: SalesforceOrg) -> None:
    bad = [family(f"b{number}", Amount__c=1e17) for number in range(14)]
    graphs = rest.call(
        "POST", "composite/graph", json={"graphs": [*bad, family("good")]}
    ).json()["graphs"]  # fmt: skip
    assert not any(each["isSuccessful"] for each in graphs)
    codes = [
        each["body"][0]["errorCode"] for each in graphs[-1]["graphResponse"]["compositeResponse"]
    ]
    assert codes == ["PROCESSING_HALTED", "PROCESSING_HALTED"]
    assert org.count("T_Invoice__c") == 0


def many(graphs: int, nodes: int) -> list[dict[str, Any]]:
    """Graphs of customers."""
    return [
        {
            "graphId": f"g{graph}",
            "compositeRequest": [
                node(f"n{each}", "T_Customer__c", {"Customer_ID__c": f"{graph}-{each}"})
                for each in range(nodes)
            ],
        }
        for graph in range(graphs)
    ]


QUERY = {"method": "GET", "url": "/services/data/v66.0/query?q=SELECT+Id+FROM+User"}


@pytest.mark.parametrize(
    ("graphs", "code"),
    [
        ([], "JSON_PARSER_ERROR"),
        (many(76, 1), "LIMIT_EXCEEDED"),
        (many(2, 251), "LIMIT_EXCEEDED"),
        ([*many(1, 1), *many(1, 1)], "INVALID_INPUT"),
        ([{"graphId": "g", "compositeRequest": []}], "JSON_PARSER_ERROR"),
        ([{"graphId": "g", "compositeRequest": [{**QUERY, "referenceId": "q"}]}], "INVALID_INPUT"),
        ([{"graphId": "g", "compositeRequest": [QUERY]}], "INVALID_INPUT"),
        (
            [{"graphId": "g", "compositeRequest": [
                node(f"r{n}", f"T{n}__c", {}) for n in range(16)]}],
            "LIMIT_EXCEEDED",
        ),
    ],
)  # fmt: skip
def test_refused_graphs(
    rest: Rest, org: SalesforceOrg, graphs: list[dict[str, Any]], code: str
) -> None:
    answer = rest.call("POST", "composite/graph", json={"graphs": graphs})
    assert error(answer)[:2] == (400, code)
    assert org.count("T_Customer__c") == 0


def test_the_largest_graphs(rest: Rest, org: SalesforceOrg) -> None:
    answer = rest.call("POST", "composite/graph", json={"graphs": many(2, 250)})
    assert all(each["isSuccessful"] for each in answer.json()["graphs"])
    assert org.count("T_Customer__c") == 500
