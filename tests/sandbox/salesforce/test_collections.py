"""sObject Collections, composite, batch and tree."""

from typing import Any

import pytest

from metronome_salesforce.sandbox.salesforce import SalesforceOrg
from tests.sandbox.salesforce.conftest import Rest
from tests.sandbox.salesforce.test_rows import error


def row(number: int, **more: Any) -> dict[str, Any]:
    return {"Invoice_ID__c": f"in_{number}", "Name": f"I{number}", **more}


def codes(results: list[dict[str, Any]]) -> list[str]:
    """`ok` or the code of each result."""
    return ["ok" if each["success"] else each["errors"][0]["statusCode"] for each in results]


def test_results_come_in_order_each_on_its_own(rest: Rest, org: SalesforceOrg) -> None:
    org.insert("T_Invoice__c", row(1))
    results = rest.upsert(
        "T_Invoice__c", "Invoice_ID__c", row(0), row(1), row(2, Short__c="x" * 11), row(3)
    )
    assert codes(results) == ["ok", "ok", "STRING_TOO_LONG", "ok"]
    assert [each.get("created") for each in results] == [True, False, None, True]
    assert results[2] == {
        "success": False,
        "errors": [
            {
                "statusCode": "STRING_TOO_LONG",
                "message": "Short: data value too large: xxxxxxxxxxx (max length=10)",
                "fields": ["Short__c"],
            }
        ],
    }
    assert org.count("T_Invoice__c") == 3


def test_all_or_none_rolls_everything_back(rest: Rest, org: SalesforceOrg) -> None:
    org.statistics.reset()
    results = rest.upsert(
        "T_Invoice__c", "Invoice_ID__c", row(0), row(1, Kind__c="Nope"), allOrNone=True
    )
    assert codes(results) == [
        "ALL_OR_NONE_OPERATION_ROLLED_BACK",
        "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
    ]
    assert org.count("T_Invoice__c") == 0
    assert org.statistics.total_rows == 0


def test_the_same_key_twice_fails_both(rest: Rest, org: SalesforceOrg) -> None:
    results = rest.upsert("T_Invoice__c", "Invoice_ID__c", row(1), row(2), row(1, Name="Again"))
    assert codes(results) == ["DUPLICATE_VALUE", "ok", "DUPLICATE_VALUE"]
    assert results[0]["errors"][0]["message"] == "Duplicate external id specified: in_1"
    assert org.count("T_Invoice__c") == 1


def test_keys_that_differ_in_case_are_two_rows(rest: Rest, org: SalesforceOrg) -> None:
    results = rest.upsert(
        "T_Invoice__c", "Invoice_ID__c", {"Invoice_ID__c": "in_A"}, {"Invoice_ID__c": "in_a"}
    )
    assert codes(results) == ["ok", "ok"]
    assert org.count("T_Invoice__c") == 2


def test_a_row_without_its_key(rest: Rest) -> None:
    results = rest.upsert("T_Invoice__c", "Invoice_ID__c", {"Name": "N"})
    assert results[0]["errors"][0]["message"] == "Invoice_ID__c not specified"
    assert codes(results) == ["MISSING_ARGUMENT"]


def test_parents_by_external_id_and_cleared_lookups(rest: Rest, org: SalesforceOrg) -> None:
    customer = org.insert("T_Customer__c", {"Customer_ID__c": "c1"})
    rest.upsert("T_Invoice__c", "Invoice_ID__c", row(1, Customer__r={"Customer_ID__c": "c1"}))
    assert org.rows("T_Invoice__c")[0]["Customer__c"] == customer
    rest.upsert("T_Invoice__c", "Invoice_ID__c", row(1))
    assert org.rows("T_Invoice__c")[0]["Customer__c"] == customer
    rest.upsert("T_Invoice__c", "Invoice_ID__c", row(1, Customer__c=None))
    assert org.rows("T_Invoice__c")[0]["Customer__c"] is None


@pytest.mark.parametrize(
    ("method", "path", "more", "code"),
    [
        ("PATCH", "composite/sobjects/T_Invoice__c/Invoice_ID__c",
         {"json": {"records": [{"attributes": {"type": "T_Invoice__c"}}] * 201}},
         "EXCEEDED_ID_LIMIT"),
        ("PATCH", "composite/sobjects/T_Invoice__c/Invoice_ID__c",
         {"json": {"records": [{"attributes": {"type": "T_Line__c"}}]}}, "INVALID_TYPE"),
        ("PATCH", "composite/sobjects/T_Invoice__c/Invoice_ID__c", {"json": {"rows": []}},
         "JSON_PARSER_ERROR"),
        ("PATCH", "composite/sobjects/T_Invoice__c/Short__c", {"json": {"records": []}},
         "NOT_FOUND"),
        ("POST", "composite/sobjects", {"json": {"records": [{"Name": "x"}]}}, "INVALID_TYPE"),
        ("POST", "composite/sobjects",
         {"json": {"records": [{"attributes": {"type": "Nope__c"}}]}}, "INVALID_TYPE"),
        ("POST", "composite/sobjects",
         {"json": {"records": [{"attributes": {"type": kind}}
                               for kind in ("Account", "T_Customer__c") * 6]}}, "INVALID_TYPE"),
        ("DELETE", "composite/sobjects", {}, "INVALID_FIELD"),
        ("DELETE", "composite/sobjects",
         {"params": {"ids": ",".join(["001000000000001"] * 201)}}, "EXCEEDED_ID_LIMIT"),
        ("POST", "composite/sobjects/Account",
         {"json": {"ids": ["001000000000001"] * 2001, "fields": ["Id"]}}, "EXCEEDED_ID_LIMIT"),
        ("GET", "composite/sobjects/Account", {}, "INVALID_FIELD"),
        ("POST", "composite", {"json": {"compositeRequest": [{}] * 26}}, "LIMIT_EXCEEDED"),
        ("POST", "composite",
         {"json": {"compositeRequest": [{"url": "/services/data/v66.0/query?q=x"}] * 6}},
         "LIMIT_EXCEEDED"),
        ("POST", "composite", {"json": {"compositeRequest": [{"url": "/x"}]}}, "INVALID_INPUT"),
        ("POST", "composite/batch", {"json": {"batchRequests": []}}, "LIMIT_EXCEEDED"),
    ],
)  # fmt: skip
def test_refused_requests(
    rest: Rest, method: str, path: str, more: dict[str, Any], code: str
) -> None:
    status, found, _ = error(rest.call(method, path, **more))
    assert (status, found) == (404 if code == "NOT_FOUND" else 400, code)


def test_create_update_delete_and_retrieve_many(rest: Rest, org: SalesforceOrg) -> None:
    def typed(kind: str, **values: Any) -> dict[str, Any]:
        return {"attributes": {"type": kind}, **values}

    created = rest.call(
        "POST",
        "composite/sobjects",
        json={
            "records": [
                typed("T_Customer__c", Customer_ID__c="c1"),
                typed("T_Invoice__c", **row(1)),
            ]
        },
    ).json()
    assert codes(created) == ["ok", "ok"]
    assert "created" not in created[0]
    ids = [each["id"] for each in created]
    updated = rest.call(
        "PATCH",
        "composite/sobjects",
        json={"records": [typed("T_Invoice__c", id=ids[1], Name="New"), typed("T_Invoice__c")]},
    ).json()
    assert codes(updated) == ["ok", "MISSING_ARGUMENT"]
    found = rest.call(
        "GET", "composite/sobjects/T_Invoice__c",
        params={"ids": f"{ids[1]},a01000000000009", "fields": "Name"},
    ).json()  # fmt: skip
    assert [each and each["Name"] for each in found] == ["New", None]
    gone = rest.call(
        "DELETE", "composite/sobjects",
        params={"ids": f"{ids[0]},{ids[1]},{ids[1]}", "allOrNone": "false"},
    ).json()  # fmt: skip
    assert codes(gone) == ["ok", "ok", "ENTITY_IS_DELETED"]
    assert org.count("T_Invoice__c") == 0


def test_deleting_all_or_none(rest: Rest, org: SalesforceOrg) -> None:
    record = org.insert("T_Invoice__c", row(1))
    gone = rest.call(
        "DELETE", "composite/sobjects",
        params={"ids": f"{record},a01000000000009", "allOrNone": "true"},
    ).json()  # fmt: skip
    assert codes(gone) == ["ALL_OR_NONE_OPERATION_ROLLED_BACK", "INVALID_CROSS_REFERENCE_KEY"]
    assert org.count("T_Invoice__c") == 1


def composite(rest: Rest, *requests: dict[str, Any], all_or_none: bool = False) -> Any:
    body = {"allOrNone": all_or_none, "compositeRequest": list(requests)}
    return rest.call("POST", "composite", json=body).json()["compositeResponse"]


def test_composite_refers_to_earlier_results(rest: Rest, org: SalesforceOrg) -> None:
    calls = org.api_used
    answers = composite(
        rest,
        {"method": "POST", "url": "/services/data/v66.0/sobjects/T_Customer__c",
         "referenceId": "c", "body": {"Customer_ID__c": "c1"}},
        {"method": "POST", "url": "/services/data/v66.0/sobjects/T_Invoice__c",
         "referenceId": "i", "body": row(1, Customer__c="@{c.id}")},
        {"method": "GET", "referenceId": "q", "url": "/services/data/v66.0/query?q=SELECT+Name"
         "+FROM+T_Invoice__c+WHERE+Customer__c='@{c.id}'"},
    )  # fmt: skip
    assert [each["httpStatusCode"] for each in answers] == [201, 201, 200]
    assert answers[2]["body"]["records"][0]["Name"] == "I1"
    assert answers[0]["httpHeaders"]["Location"].endswith(answers[0]["body"]["id"])
    assert org.api_used == calls + 1


def test_composite_halts_when_all_or_none(rest: Rest, org: SalesforceOrg) -> None:
    answers = composite(
        rest,
        {"method": "POST", "url": "/services/data/v66.0/sobjects/T_Invoice__c",
         "referenceId": "a", "body": row(1)},
        {"method": "POST", "url": "/services/data/v66.0/sobjects/T_Invoice__c",
         "referenceId": "b", "body": row(1)},
        {"method": "POST", "url": "/services/data/v66.0/sobjects/T_Invoice__c",
         "referenceId": "c", "body": row(2)},
        all_or_none=True,
    )  # fmt: skip
    assert [each["body"][0]["errorCode"] for each in answers] == [
        "PROCESSING_HALTED", "DUPLICATE_VALUE", "PROCESSING_HALTED",
    ]  # fmt: skip
    assert org.count("T_Invoice__c") == 0
    assert org.statistics.total_rows == 0


def test_batch_runs_each_request_on_its_own(rest: Rest) -> None:
    answer = rest.call(
        "POST",
        "composite/batch",
        json={
            "batchRequests": [
                {"method": "GET", "url": "v66.0/limits"},
                {"method": "GET", "url": "v66.0/sobjects/Nope__c/describe"},
            ]
        },
    ).json()
    assert answer["hasErrors"] is True
    assert [each["statusCode"] for each in answer["results"]] == [200, 404]


def test_tree_creates_parents_with_children_or_nothing(rest: Rest, org: SalesforceOrg) -> None:
    def tree(code: str, amount: Any) -> dict[str, Any]:
        return {
            "attributes": {"type": "T_Invoice__c", "referenceId": "i"},
            **row(1),
            "Lines__r": {
                "records": [
                    {
                        "attributes": {"type": "T_Line__c", "referenceId": "l"},
                        "Line_ID__c": code,
                        "Amount__c": amount,
                    }
                ]
            },
        }

    refused = rest.call("POST", "composite/tree/T_Invoice__c", json={"records": [tree("l1", 1e17)]})
    assert refused.status_code == 400
    assert refused.json()["results"][0]["errors"][0]["statusCode"] == "NUMBER_OUTSIDE_VALID_RANGE"
    assert org.count("T_Invoice__c") == 0
    made = rest.call("POST", "composite/tree/T_Invoice__c", json={"records": [tree("l1", 2)]})
    assert made.status_code == 201
    assert [each["referenceId"] for each in made.json()["results"]] == ["i", "l"]
    assert org.rows("T_Invoice__c")[0]["Line_Total__c"] == 2.0
