"""Accounts by external id: what is asked of the org, what is not, and whose answer it is."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from metronome_salesforce.salesforce.credentials import ClientSecret
from metronome_salesforce.salesforce.failures import RetryPolicy
from metronome_salesforce.salesforce.package import package_zip
from metronome_salesforce.salesforce.session import Session
from metronome_salesforce.salesforce.target import SalesforceTarget
from metronome_salesforce.sandbox.salesforce import INTEGRATION, SalesforceOrg, SalesforceSandbox
from tests.unit.salesforce_server import Answer, Asked, ScriptedSalesforce, page

FIRST, SECOND = "001Ax0000000001IAA", "001Ax0000000002IAA"
SENSITIVE = "Metronome_Customer_ID__c"
"""A field of Account whose values differ in case alone, by the package."""


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@contextmanager
def target_of(
    url: str,
    credentials: ClientSecret = ClientSecret("id", "secret"),  # noqa: B008 -- a value
) -> Iterator[SalesforceTarget]:
    policy = RetryPolicy(attempts=3, sleep=lambda _: None)
    target = SalesforceTarget(Session(url, credentials, policy=policy))
    try:
        yield target
    finally:
        target.close()


@contextmanager
def org_with(field: dict[str, Any], *accounts: dict[str, Any]) -> Iterator[ScriptedSalesforce]:
    """An org whose Account has one field more; whatever is asked for, it answers these Accounts."""
    described = {"externalId": True, "caseSensitive": False, "length": 0, **field}

    def by(asked: Asked) -> Answer:
        return Answer({"fields": [described]}) if "describe" in asked.path else page(*accounts)

    with ScriptedSalesforce(by=by) as server:
        yield server


def literals(server: ScriptedSalesforce) -> list[list[str]]:
    """What stands between the parentheses of each `IN (…)` that was asked."""
    queries = [asked.query["q"] for asked in server.asked if "q" in asked.query]
    return [part.split(",") for query in queries for part in re.findall(r"__c IN \((.*?)\)", query)]


@pytest.mark.parametrize(
    "value",
    [
        "1e9999999999",
        "1e-9999999999",
        "0e9999999999",
        "1e999999999999999999999",
        "1e18",
        "1234567890123456789",
        "0.1234567890123456789",
        "1e-19",
        "9" * 255,
        "inf",
        "nan",
        "twelve",
    ],
)
def test_what_no_number_field_can_hold_is_not_asked_for(value: str) -> None:
    """Salesforce has numbers of 18 digits; written out, some of these would fill the memory."""
    field = {"name": "ERP_Number__c", "type": "double"}
    with org_with(field, {"Id": FIRST, "Name": "Acme", "ERP_Number__c": 7}) as server:
        with target_of(server.url) as target:
            found = target.find_accounts([], [("ERP_Number__c", value), ("ERP_Number__c", "7")])
        assert literals(server) == [["7"]]
    assert found.by_external_id["ERP_Number__c", "7"] == (FIRST,)
    assert not found.by_external_id["ERP_Number__c", value]


@pytest.mark.parametrize(
    ("value", "asked", "stored"),
    [
        ("123456789012345678", "123456789012345678", 123456789012345678),
        ("1e17", "100000000000000000", 1e17),
        ("0.000000000000000001", "0.000000000000000001", 1e-18),
        ("-12.50", "-12.50", -12.5),
        ("007", "7", 7.0),
        ("-0", "0", 0),
        ("0e5", "0", 0),
    ],
)
def test_a_number_is_found_however_it_is_written(value: str, asked: str, stored: float) -> None:
    field = {"name": "ERP_Number__c", "type": "double"}
    with org_with(field, {"Id": FIRST, "Name": "Acme", "ERP_Number__c": stored}) as server:
        with target_of(server.url) as target:
            found = target.find_accounts([], [("ERP_Number__c", value)])
        assert literals(server) == [[asked]]
    assert found.by_external_id["ERP_Number__c", value] == (FIRST,)


def test_one_number_written_in_two_ways_is_one_account() -> None:
    field = {"name": "ERP_Number__c", "type": "double"}
    with org_with(field, {"Id": FIRST, "Name": "Acme", "ERP_Number__c": 7}) as server:
        with target_of(server.url) as target:
            found = target.find_accounts([], [("ERP_Number__c", "7"), ("ERP_Number__c", "7.0")])
        assert len(literals(server)[0]) == 1
    assert found.by_external_id["ERP_Number__c", "7"] == (FIRST,)
    assert found.by_external_id["ERP_Number__c", "7.0"] == (FIRST,)


@pytest.mark.parametrize("value", ["1.5", "2147483648", "1e12"])
def test_what_a_whole_number_field_cannot_hold_is_not_asked_for(value: str) -> None:
    """Such a field has 32 bits; a value of another type has the whole query refused."""
    field = {"name": "ERP_Number__c", "type": "int"}
    with org_with(field, {"Id": FIRST, "Name": "Acme", "ERP_Number__c": 7}) as server:
        with target_of(server.url) as target:
            found = target.find_accounts([], [("ERP_Number__c", value), ("ERP_Number__c", "7.0")])
        assert literals(server) == [["7"]]
    assert found.by_external_id["ERP_Number__c", "7.0"] == (FIRST,)
    assert not found.by_external_id["ERP_Number__c", value]


@pytest.mark.parametrize(("length", "longest"), [(10, 10), (131_072, 4000)])
def test_text_that_the_field_cannot_hold_is_not_asked_for(length: int, longest: int) -> None:
    """Nor is text that SOQL cannot: it would have the query refused for all."""
    field = {"name": "ERP_Code__c", "type": "string", "length": length}
    fits, long = "x" * longest, "x" * (longest + 1)
    with org_with(field, {"Id": FIRST, "Name": "Acme", "ERP_Code__c": fits}) as server:
        with target_of(server.url) as target:
            found = target.find_accounts([], [("ERP_Code__c", long), ("ERP_Code__c", fits)])
        assert literals(server) == [[f"'{fits}'"]]
    assert found.by_external_id["ERP_Code__c", fits] == (FIRST,)
    assert not found.by_external_id["ERP_Code__c", long]


def test_nothing_is_asked_when_no_value_can_be_there() -> None:
    field = {"name": "ERP_Code__c", "type": "string", "length": 10}
    with org_with(field) as server:
        with target_of(server.url) as target:
            found = target.find_accounts([], [("ERP_Code__c", "x" * 11)])
        assert literals(server) == []
    assert not found.by_external_id["ERP_Code__c", "x" * 11]


def test_case_does_not_count_where_the_field_says_so() -> None:
    """Both spellings name the one Account; the org is asked for it once."""
    field = {"name": "ERP_Code__c", "type": "string", "length": 10}
    with org_with(field, {"Id": FIRST, "Name": "Acme", "ERP_Code__c": "ABC"}) as server:
        with target_of(server.url) as target:
            found = target.find_accounts([], [("ERP_Code__c", "Abc"), ("ERP_Code__c", "abc")])
        assert len(literals(server)[0]) == 1
    assert found.by_external_id["ERP_Code__c", "Abc"] == (FIRST,)
    assert found.by_external_id["ERP_Code__c", "abc"] == (FIRST,)


def test_case_counts_where_the_field_says_so() -> None:
    """Two Accounts whose values differ in case alone are two; a third spelling is neither."""
    org = SalesforceOrg(now=lambda: datetime(2026, 3, 10, tzinfo=UTC))
    assert org.deploy(package_zip("66.0")).success
    org.assign_permission_set(INTEGRATION, "Metronome_Integration")
    upper = org.insert("Account", {"Name": "Upper"})
    org.update("Account", upper, {SENSITIVE: "Abc"}, username=INTEGRATION)
    lower = org.insert("Account", {"Name": "Lower"})
    org.update("Account", lower, {SENSITIVE: "abc"}, username=INTEGRATION)
    app = org.client_credentials
    with (
        SalesforceSandbox(org).serve() as served,
        target_of(served.url, ClientSecret(app.client_id, app.client_secret)) as target,
    ):
        found = target.find_accounts([], [(SENSITIVE, text) for text in ("Abc", "abc", "ABC")])
        alone = target.find_accounts([], [(SENSITIVE, "Abc")])
    assert found.by_external_id[SENSITIVE, "Abc"] == (upper,)
    assert found.by_external_id[SENSITIVE, "abc"] == (lower,)
    assert found.by_external_id[SENSITIVE, "ABC"] == ()
    assert found.names == {upper: "Upper", lower: "Lower"}
    assert alone.by_external_id[SENSITIVE, "Abc"] == (upper,)


def test_two_accounts_with_one_value_are_both_told() -> None:
    """A field that is an external id need not be unique."""
    field = {"name": "ERP_Code__c", "type": "string", "length": 10}
    accounts = [
        {"Id": id_, "Name": "Acme", "ERP_Code__c": text}
        for id_, text in ((FIRST, "abc"), (SECOND, "ABC"))
    ]
    with org_with(field, *accounts) as server, target_of(server.url) as target:
        found = target.find_accounts([], [("ERP_Code__c", "Abc")])
    assert found.by_external_id["ERP_Code__c", "Abc"] == (FIRST, SECOND)
