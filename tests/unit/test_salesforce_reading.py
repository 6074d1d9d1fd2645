"""The queries that are asked, and how cursors that misbehave are lived with."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any
from urllib.parse import parse_qs, quote_plus, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metronome_salesforce.errors import ConfigError, ProductError, RetriableError
from metronome_salesforce.objects import (
    CUSTOMER,
    INVOICE,
    INVOICE_SUB_LINE_ITEM,
    OBJECTS,
    PLAN,
    USAGE,
)
from metronome_salesforce.salesforce.credentials import ClientSecret
from metronome_salesforce.salesforce.failures import RetryPolicy
from metronome_salesforce.salesforce.reading import account_ids, in_chunks, literal, select_for
from metronome_salesforce.salesforce.session import Session
from metronome_salesforce.salesforce.target import SalesforceTarget
from metronome_salesforce.scope import Scope
from tests.unit.salesforce_server import (
    DATA,
    USER_ID,
    Answer,
    Asked,
    ScriptedSalesforce,
    page,
    refusal,
)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@contextmanager
def target_of(url: str) -> Iterator[SalesforceTarget]:
    policy = RetryPolicy(attempts=3, sleep=lambda _: None)
    target = SalesforceTarget(Session(url, ClientSecret("id", "secret"), policy=policy))
    try:
        yield target
    finally:
        target.close()


def plan(number: int, by: str = USER_ID) -> dict[str, Any]:
    return {
        "attributes": {"type": "Metronome_Plan__c"},
        "Id": f"a01Ax000000000{number}",
        "Metronome_Plan_ID__c": f"plan{number}",
        "Sync_Hash__c": None,
        "LastModifiedById": by,
    }


def test_short_pages_are_followed_to_the_end() -> None:
    """A page of any size, an empty one too, is no sign of the end; only `done` is."""
    answers = [
        page(plan(1), more="01g-1"),
        page(more="01g-2"),
        page(plan(2), plan(3), more="01g-3"),
        page(plan(4)),
    ]
    with ScriptedSalesforce(*answers) as server, target_of(server.url) as target:
        pages = [[row.key for row in rows] for rows in target.read(PLAN, Scope())]
    assert pages == [["plan1"], ["plan2", "plan3"], ["plan4"]]
    assert [asked.path for asked in server.asked[1:]] == [
        f"{DATA}/query/01g-1",
        f"{DATA}/query/01g-2",
        f"{DATA}/query/01g-3",
    ]
    assert all(a.headers["Sforce-Query-Options"] == "batchSize=2000" for a in server.asked)


def test_a_dropped_cursor_goes_on_behind_the_last_row() -> None:
    answers = [
        page(plan(1), plan(2), more="01g-2"),
        refusal("INVALID_QUERY_LOCATOR"),
        page(plan(3), more="01g-1"),
        page(plan(4)),
    ]
    with ScriptedSalesforce(*answers) as server, target_of(server.url) as target:
        keys = [row.key for rows in target.read(PLAN, Scope()) for row in rows]
    assert keys == ["plan1", "plan2", "plan3", "plan4"]
    assert "WHERE" not in server.asked[0].query["q"]
    assert server.asked[2].query["q"].endswith("WHERE Id > 'a01Ax0000000002' ORDER BY Id")


def test_a_cursor_that_is_dropped_again_ends_the_cycle() -> None:
    lost = refusal("INVALID_QUERY_LOCATOR")
    with (
        ScriptedSalesforce(page(plan(1), more="01g"), lost, page(plan(2), more="01g"), lost) as s,
        target_of(s.url) as target,
        pytest.raises(ConfigError),
    ):
        list(target.read(PLAN, Scope()))


def test_rows_tell_who_wrote_them_last() -> None:
    """Ids of 15 and of 18 characters are the same id."""
    answers = page(plan(1), plan(2, USER_ID[:15]), plan(3, "005Ax0000000002AAA"))
    with ScriptedSalesforce(answers) as server, target_of(server.url) as target:
        [rows] = target.read(PLAN, Scope())
    assert [row.edited for row in rows] == [False, False, True]
    assert [row.customer_id for row in rows] == [None, None, None]


def test_a_nested_reference_may_be_missing() -> None:
    record = {
        "Id": "a05",
        "External_ID__c": "k",
        "Sync_Hash__c": "h",
        "LastModifiedById": USER_ID,
        "Invoice_Line_Item__r": {
            "Invoice__r": {
                "Metronome_Invoice_ID__c": "inv_1",
                "Metronome_Customer_ID__c": "cus_1",
                "Status__c": "Draft",
            }
        },
    }
    orphan = {**record, "External_ID__c": "k2", "Invoice_Line_Item__r": None}
    with ScriptedSalesforce(page(record, orphan)) as server, target_of(server.url) as target:
        [[row, lone]] = target.read(INVOICE_SUB_LINE_ITEM, Scope(invoices_from=date(2026, 1, 1)))
    assert (row.owner, row.customer_id, row.draft, row.hash) == ("inv_1", "cus_1", True, "h")
    assert (lone.owner, lone.customer_id, lone.draft) == (None, None, False)
    path = "Invoice_Line_Item__r.Invoice__r."
    assert (
        f"WHERE ({path}Status__c = 'Draft' OR {path}End__c >= 2026-01-01"
        in server.asked[0].query["q"]
    )


@pytest.mark.parametrize("mapping", OBJECTS, ids=lambda one: one.name)
def test_every_content_field_is_selected_when_it_is_asked_for(mapping: Any) -> None:
    paths = select_for(mapping, content=True).paths
    assert len(set(paths)) == len(paths)
    for field in mapping.content:
        base = field.api.removesuffix("__c")
        assert field.api in paths or any(path.startswith(f"{base}__r.") for path in paths)
    assert set(select_for(mapping, content=False).paths) <= set(paths)


def test_ids_of_customers_are_escaped_and_no_url_gets_too_long() -> None:
    """A URI of more than 16 kB is refused, by proxies even 8 kB; an empty list is malformed."""
    ids = [f"0b9a{n:04d}-0000-4000-8000-000000000000" for n in range(1100)]
    evil = "x' OR Name != '\\"

    def answer(asked: Asked) -> Answer:
        return page() if asked.method == "GET" else composed(200, page().document)

    with ScriptedSalesforce(by=answer) as server, target_of(server.url) as target:
        assert list(target.read_of_customers(INVOICE, [])) == []
        assert not server.asked
        assert list(target.read_of_customers(INVOICE, [evil, *ids])) == []
        with pytest.raises(ValueError, match="no customer"):
            list(target.read_of_customers(PLAN, ids))
    long, short = server.asked
    [part] = long.json["compositeRequest"]
    queries = [parse_qs(urlsplit(part["url"]).query)["q"][0], short.query["q"]]
    assert "IN ('x\\' OR Name != \\'\\\\'," in queries[0]
    assert len(quote_plus(queries[1])) < 7_600
    assert [query.count("-4000-8000-") for query in queries] == [999, 101]


def test_accounts_are_asked_for_by_id_only_where_the_text_is_an_id() -> None:
    """One text that is none would have the whole query refused."""
    ids = ["001Ax0000000001", "001Ax0000000001IAA", "001ax' OR", "003Ax0000000001", "", "001é" * 4]
    account = {
        "Id": "001Ax0000000001IAA",
        "Metronome_Customer_ID__c": "cus_1",
        "Metronome_Current_Spend__c": 12.5,
        "Metronome_Last_Invoice_Total__c": None,
        "Metronome_Last_Invoice_End__c": "2026-02-01",
        "Metronome_Credit_Balance__c": 0,
        "Metronome_Currency__c": "USD",
    }
    with (
        ScriptedSalesforce(page(), page(account)) as server,
        target_of(server.url) as target,
    ):
        [[row]] = target.accounts(ids)
    first, second = (asked.query["q"] for asked in server.asked)
    assert "WHERE Metronome_Customer_ID__c != null ORDER BY Id" in first
    assert "WHERE Id IN ('001Ax0000000001IAA') ORDER BY Id" in second
    assert (row.object, row.key, row.id) == ("Account", "001Ax0000000001IAA", "001Ax0000000001IAA")
    assert row.content is not None
    assert str(row.content["Metronome_Current_Spend__c"]) == "12.5"
    assert row.hash is not None


def test_the_horizon_takes_two_queries() -> None:
    answers = [
        page({"Id": "a", "Metronome_Customer_ID__c": "c", "Start__c": "2025-11-01"}),
        page(),
    ]
    with ScriptedSalesforce(*answers) as server, target_of(server.url) as target:
        horizon = target.horizon(date(2026, 1, 1))
    assert (horizon.old_drafts, horizon.oldest_usage) == ([("c", date(2025, 11, 1))], None)
    assert [asked.query["q"] for asked in server.asked] == [
        (
            "SELECT Id, Metronome_Customer_ID__c, Start__c FROM Metronome_Invoice__c"
            " WHERE Status__c = 'Draft' AND Start__c < 2026-01-01 ORDER BY Id"
        ),
        "SELECT Start__c FROM Metronome_Usage__c WHERE Start__c != null ORDER BY Start__c LIMIT 1",
    ]


def test_a_page_that_is_cut_short_is_read_again() -> None:
    answers = [Answer(raw=b'{"records": [', announced=900), page(plan(1))]
    with ScriptedSalesforce(*answers) as server, target_of(server.url) as target:
        [[row]] = target.read(PLAN, Scope())
    assert row.key == "plan1"


def test_a_next_page_on_another_host_is_not_read() -> None:
    evil = Answer({"done": False, "records": [plan(1)], "nextRecordsUrl": "@evil.example/x"})
    with (
        ScriptedSalesforce(evil) as server,
        target_of(server.url) as target,
        pytest.raises(RetriableError),
    ):
        list(target.read(PLAN, Scope()))


def test_the_usage_scope_is_a_day() -> None:
    def answer(asked: Asked) -> Answer:
        condition = asked.query["q"].partition(" WHERE ")[2]
        assert "Start__c >= 2026-01-02" in condition
        assert condition.endswith(" ORDER BY Id")
        return page()

    with ScriptedSalesforce(by=answer) as server, target_of(server.url) as target:
        assert list(target.read(USAGE, Scope(usage_from=date(2026, 1, 2)))) == []
        assert server.asked
        assert CUSTOMER.name == "Customer"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("001D000000IqhSL", "001D000000IqhSLIAZ"),
        ("001D000000IqhSLIAZ", "001D000000IqhSLIAZ"),
        ("001D000000IqhSLIAA", None),
        ("001d000000iqhsl", "001d000000iqhslAAA"),
        ("001D000000IqhS", None),
        ("001D000000IqhS'", None),
    ],
)
def test_ids_are_checked_and_brought_to_18_characters(text: str, expected: str | None) -> None:
    assert account_ids([text]) == ([] if expected is None else [expected])


@given(st.lists(st.text(max_size=3_999), max_size=30), st.integers(min_value=0, max_value=2_500))
def test_chunks_hold_every_value_once_and_are_no_longer_than_soql_may_be(
    texts: list[str], ids: int
) -> None:
    values = [*texts, *(f"{number:036}" for number in range(ids))]
    chunks = list(in_chunks("Id", values))
    inside = [chunk.removeprefix("Id IN (").removesuffix(")") for chunk in chunks]
    assert ",".join(inside) == ",".join(map(literal, values))
    assert all(0 < len(chunk) < 90_000 for chunk in chunks)
    assert len(chunks) <= len(values)


def test_a_query_too_long_for_a_url_is_sent_in_a_body_and_read_to_its_end() -> None:
    """One call for 1,000 customers; its pages are followed as any other's."""
    customers = [f"00000000-0000-4000-8000-{number:012}" for number in range(1_000)]
    sent: list[str] = []

    def answer(asked: Asked) -> Answer:
        if asked.method == "GET":
            return page(invoice(2))
        [part] = asked.json["compositeRequest"]
        url = urlsplit(part["url"])
        assert (part["method"], url.path) == ("GET", f"{DATA}/query")
        sent.extend(parse_qs(url.query)["q"])
        first = page(invoice(1), more="01g-1").document
        return composed(200, first)

    with ScriptedSalesforce(by=answer) as server, target_of(server.url) as target:
        pages = list(target.read_of_customers(INVOICE, customers))

    assert [len(rows) for rows in pages] == [1, 1]
    assert [asked.path for asked in server.asked] == [f"{DATA}/composite", f"{DATA}/query/01g-1"]
    assert all(f"'{one}'" in sent[0] for one in customers)


@pytest.mark.parametrize(
    ("status", "code", "reason", "asked"),
    [
        (400, "INVALID_FIELD", "FieldNotAccessible", 1),
        (400, "QUERY_TIMEOUT", "SalesforceUnavailable", 3),
        (503, "SERVER_UNAVAILABLE", "SalesforceUnavailable", 3),
    ],
)
def test_what_a_query_in_a_body_fails_with_is_told_as_if_it_were_in_a_url(
    status: int, code: str, reason: str, asked: int
) -> None:
    """The composite request itself is answered with 200 then."""
    answers = [composed(status, [{"errorCode": code, "message": "no"}])] * asked
    customers = [f"customer-of-{number:036}" for number in range(500)]
    with (
        ScriptedSalesforce(*answers) as server,
        target_of(server.url) as target,
        pytest.raises(ProductError) as raised,
    ):
        list(target.read_of_customers(CUSTOMER, customers))
    assert raised.value.reason == reason
    assert len(server.asked) == asked


def invoice(number: int) -> dict[str, Any]:
    return {
        "Id": f"a02Ax000000000{number}",
        "Metronome_Invoice_ID__c": f"invoice{number}",
        "Metronome_Customer_ID__c": "c",
        "Sync_Hash__c": None,
        "LastModifiedById": USER_ID,
        "Account__c": None,
        "Orphaned_Customer__r": None,
        "Status__c": "Draft",
    }


def composed(status: int, body: Any) -> Answer:
    """The answer to a composite request of one part."""
    part = {"body": body, "httpHeaders": {}, "httpStatusCode": status, "referenceId": "query"}
    return Answer({"compositeResponse": [part]})
