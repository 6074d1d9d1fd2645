"""Faults, limits and the record of requests."""

from typing import Any

import pytest
import requests

from metronome_salesforce.sandbox.salesforce import SalesforceOrg, SalesforceSandbox
from tests.sandbox.salesforce.conftest import Rest
from tests.sandbox.salesforce.test_collections import codes, row
from tests.sandbox.salesforce.test_rows import error


def test_a_fault_after_some_and_for_some_requests(rest: Rest, sandbox: SalesforceSandbox) -> None:
    sandbox.faults.add(
        "GET /services/data/*/limits", status=503, error_code="SERVER_UNAVAILABLE",
        message="Server too busy", after=1, times=2,
    )  # fmt: skip
    statuses = [rest.call("GET", "limits").status_code for _ in range(4)]
    assert statuses == [200, 503, 503, 200]
    assert [each.status for each in sandbox.requests if each.family == "limits"] == statuses


def test_a_faulty_answer_writes_nothing(
    rest: Rest, org: SalesforceOrg, sandbox: SalesforceSandbox
) -> None:
    sandbox.faults.add("PATCH *", status=500, body="<html>busy</html>", times=1)
    answer = rest.call(
        "PATCH", "composite/sobjects/T_Invoice__c/Invoice_ID__c", json={"records": []}
    )
    assert (answer.status_code, answer.text) == (500, "<html>busy</html>")
    assert answer.headers["Content-Type"] == "text/html;charset=UTF-8"
    assert org.statistics.total_rows == 0


@pytest.mark.parametrize(("drop", "rows"), [("before", 0), ("after_commit", 1)])
def test_a_dropped_connection(
    rest: Rest, org: SalesforceOrg, sandbox: SalesforceSandbox, drop: Any, rows: int
) -> None:
    """The client cannot know whether the row was written; here it can be looked up."""
    sandbox.faults.add("PATCH *composite*", drop=drop, times=1)
    with pytest.raises(requests.exceptions.ConnectionError):
        rest.upsert("T_Invoice__c", "Invoice_ID__c", row(1))
    assert org.count("T_Invoice__c") == rows
    assert codes(rest.upsert("T_Invoice__c", "Invoice_ID__c", row(1))) == ["ok"]
    assert org.count("T_Invoice__c") == 1


def test_rows_that_cannot_be_locked(rest: Rest, sandbox: SalesforceSandbox) -> None:
    sandbox.faults.row("T_Invoice__c", every=2, times=2)
    rows = [row(number) for number in range(5)]
    results = rest.upsert("T_Invoice__c", "Invoice_ID__c", *rows)
    assert codes(results) == ["ok", "UNABLE_TO_LOCK_ROW", "ok", "UNABLE_TO_LOCK_ROW", "ok"]
    assert codes(rest.upsert("T_Invoice__c", "Invoice_ID__c", *rows)) == ["ok"] * 5


def test_rows_picked_by_their_values(rest: Rest, sandbox: SalesforceSandbox) -> None:
    sandbox.faults.row(
        "T_Invoice__c", key=lambda values: values["Invoice_ID__c"] == "in_1",
        status_code="CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", message="T: caused by: x",
        operation="insert",
    )  # fmt: skip
    results = rest.upsert("T_Invoice__c", "Invoice_ID__c", row(0), row(1))
    assert codes(results) == ["ok", "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"]
    sandbox.faults.clear()
    assert codes(rest.upsert("T_Invoice__c", "Invoice_ID__c", row(1))) == ["ok"]


def test_the_daily_limit(rest: Rest, org: SalesforceOrg) -> None:
    """Every REST reply tells the usage; beyond the limit all are refused."""
    org.api_limit = org.api_used + 1
    answer = rest.call("GET", "limits")
    assert answer.headers["Sforce-Limit-Info"] == f"api-usage={org.api_used}/{org.api_limit}"
    assert answer.json()["DailyApiRequests"]["Remaining"] == 1
    refused = rest.call("GET", "limits")
    assert error(refused) == (403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
    assert refused.headers["Sforce-Limit-Info"].startswith("api-usage=")


def test_what_was_asked_is_remembered(
    rest: Rest, org: SalesforceOrg, sandbox: SalesforceSandbox
) -> None:
    seen: list[str] = []
    sandbox.on_request = lambda request: seen.append(request.method)
    rest.upsert("T_Invoice__c", "Invoice_ID__c", row(1))
    rest.call("GET", "sobjects/Nope__c/describe")
    assert seen == ["PATCH", "GET"]
    assert org.statistics.calls["collections", 200] == 1
    assert org.statistics.calls["describe", 404] == 1
    assert org.statistics.rows == {("T_Invoice__c", "insert"): 1}
    last = sandbox.requests[-2]
    assert last.path == "/services/data/v66.0/composite/sobjects/T_Invoice__c/Invoice_ID__c"
    assert "authorization" not in last.headers
    org.statistics.reset()
    assert org.statistics.total_calls == 0
