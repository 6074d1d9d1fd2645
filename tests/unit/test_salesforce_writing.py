"""What is sent for a row, and what becomes of rows that the org does not take at once."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metronome_salesforce.canon import Number, canon
from metronome_salesforce.errors import RetriableError
from metronome_salesforce.objects import ACCOUNT_SUMMARY, CUSTOMER, INVOICE, INVOICE_LINE_ITEM
from metronome_salesforce.rows import Operation, RowResult, Value, Write
from metronome_salesforce.salesforce.credentials import ClientSecret
from metronome_salesforce.salesforce.failures import RetryPolicy
from metronome_salesforce.salesforce.session import Session
from metronome_salesforce.salesforce.target import SalesforceTarget
from metronome_salesforce.salesforce.writing import UnsendableError, json_value
from tests.unit.salesforce_server import (
    DATA,
    Answer,
    Asked,
    ScriptedSalesforce,
    refusal,
)

ACCOUNT = "001Ax0000000001IAA"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@contextmanager
def target_of(url: str, waits: list[float] | None = None) -> Iterator[SalesforceTarget]:
    sleep = (waits if waits is not None else []).append
    policy = RetryPolicy(attempts=4, lock_attempts=4, sleep=sleep)
    target = SalesforceTarget(Session(url, ClientSecret("id", "secret"), policy=policy))
    try:
        yield target
    finally:
        target.close()


def done(*, created: bool = False) -> dict[str, Any]:
    return {"id": "a00", "success": True, "errors": [], "created": created}


def refused(code: str, message: str = "no", *fields: str) -> dict[str, Any]:
    error = {"statusCode": code, "message": message, "fields": list(fields)}
    return {"success": False, "errors": [error]}


def customer(key: str, **fields: Value) -> Write:
    return Write("Customer", Operation.UPDATE, key, fields, id=f"id-{key}")


def keys_of(asked: Asked) -> list[str]:
    return [record["Metronome_Customer_ID__c"] for record in asked.json["records"]]


def by_key(answers: dict[str, list[dict[str, Any]]]) -> Any:
    """Answer each row of each request with the next answer of its key."""
    return lambda asked: Answer([answers[key].pop(0) for key in keys_of(asked)])


def test_an_upsert_says_what_the_resource_wants_to_hear() -> None:
    writes = [
        Write(
            "Invoice",
            Operation.CREATE,
            "inv/1?#..",
            {
                "Name": 'Acme "Ümlaut" 🎉',
                "Total__c": Decimal("12.30"),
                "Subtotal__c": Decimal(100),
                "Plan_Name__c": None,
                "Start__c": "2026-01-31",
                "Issued_At__c": "2026-01-31T23:59:59Z",
                "Orphaned_Customer__c": "cus_1",
                "Account__c": None,
            },
        ),
        Write(
            "Invoice",
            Operation.UPDATE,
            "inv_2",
            {"Name": "Two", "Orphaned_Customer__c": None, "Account__c": ACCOUNT},
            id="a00",
        ),
    ]
    with (
        ScriptedSalesforce(Answer([done(created=True), done()])) as server,
        target_of(server.url) as target,
    ):
        assert target.write(INVOICE, writes) == [
            RowResult(writes[0], created=True),
            RowResult(writes[1]),
        ]
    asked = server.asked[0]
    assert asked.method == "PATCH"
    assert asked.path == (f"{DATA}/composite/sobjects/Metronome_Invoice__c/Metronome_Invoice_ID__c")
    assert asked.headers["Sforce-Duplicate-Rule-Header"] == "allowSave=true"
    assert asked.headers["Sforce-Auto-Assign"] == "FALSE"
    assert asked.headers["Content-Type"] == "application/json"
    assert asked.json == {
        "allOrNone": False,
        "records": [
            {
                "attributes": {"type": "Metronome_Invoice__c"},
                "Metronome_Invoice_ID__c": "inv/1?#..",
                "Name": 'Acme "Ümlaut" 🎉',
                "Total__c": 12.3,
                "Subtotal__c": 100,
                "Plan_Name__c": None,
                "Start__c": "2026-01-31",
                "Issued_At__c": "2026-01-31T23:59:59Z",
                "Orphaned_Customer__r": {"Metronome_Customer_ID__c": "cus_1"},
                "Account__c": None,
            },
            {
                "attributes": {"type": "Metronome_Invoice__c"},
                "Metronome_Invoice_ID__c": "inv_2",
                "Name": "Two",
                "Orphaned_Customer__c": None,
                "Account__c": ACCOUNT,
            },
        ],
    }


def test_what_only_moves_is_updated_by_id_and_never_created() -> None:
    """A row that was deleted meanwhile has nothing to move; the others keep their order."""

    def move(key: str) -> Write:
        fields: dict[str, Value] = {"Orphaned_Customer__c": None, "Account__c": ACCOUNT}
        return Write("Invoice", Operation.UPDATE, key, fields, id=f"id-{key}")

    made = Write("Invoice", Operation.CREATE, "new", {"Name": "New", "Account__c": ACCOUNT})
    writes = [move("one"), made, move("deleted"), move("refused")]

    def answer(asked: Asked) -> Answer:
        if asked.path.endswith("Metronome_Invoice_ID__c"):
            return Answer([done(created=True)])
        codes = {"id-one": None, "id-deleted": "ENTITY_IS_DELETED", "id-refused": "INVALID_FIELD"}
        found = [codes[one["id"]] for one in asked.json["records"]]
        return Answer([done() if code is None else refused(code) for code in found])

    with ScriptedSalesforce(by=answer) as server, target_of(server.url) as target:
        results = target.write(INVOICE, writes)

    assert [one.write for one in results] == writes
    assert [one.created for one in results] == [False, True, False, False]
    assert [one.error and one.error.code for one in results] == [None, None, None, "INVALID_FIELD"]
    by_id = server.asked[0]
    assert by_id.path == f"{DATA}/composite/sobjects"
    assert all("Metronome_Invoice_ID__c" not in one for one in by_id.json["records"])


def test_a_master_is_named_by_its_key() -> None:
    write = Write("InvoiceLineItem", Operation.CREATE, "k", {"Invoice__c": "inv_1"})
    with ScriptedSalesforce(Answer([done()])) as server, target_of(server.url) as target:
        target.write(INVOICE_LINE_ITEM, [write])
    record = server.asked[0].json["records"][0]
    assert record["Invoice__r"] == {"Metronome_Invoice_ID__c": "inv_1"}
    assert "Invoice__c" not in record


def test_accounts_are_updated_by_id_and_never_created_or_deleted() -> None:
    write = Write("Account", Operation.UPDATE, ACCOUNT, {"Metronome_Currency__c": None}, id=ACCOUNT)
    with ScriptedSalesforce(Answer([done()])) as server, target_of(server.url) as target:
        assert target.write(ACCOUNT_SUMMARY, [write]) == [RowResult(write)]
        with pytest.raises(ValueError, match="never deleted"):
            target.delete(ACCOUNT_SUMMARY, [write])
    assert server.asked[0].path == f"{DATA}/composite/sobjects"
    assert server.asked[0].json["records"] == [
        {"attributes": {"type": "Account"}, "id": ACCOUNT, "Metronome_Currency__c": None}
    ]


def test_a_delete_names_the_ids_and_what_is_gone_counts_as_deleted() -> None:
    writes = [Write("Customer", Operation.DELETE, k, {}, id=f"a0{k}") for k in "1234"]
    answers = [
        done(),
        refused("ENTITY_IS_DELETED"),
        refused("INVALID_CROSS_REFERENCE_KEY"),
        refused("DELETE_FAILED", "Your attempt to delete Initech Confidential failed"),
    ]
    with ScriptedSalesforce(Answer(answers)) as server, target_of(server.url) as target:
        results = target.delete(CUSTOMER, writes)
    assert server.asked[0].method == "DELETE"
    assert server.asked[0].query == {"ids": "a01,a02,a03,a04", "allOrNone": "false"}
    assert [result.error.code if result.error else None for result in results] == [
        None,
        None,
        None,
        "DELETE_FAILED",
    ]
    assert "Initech" not in str(results[3].error)


def test_rows_go_in_chunks_of_200_and_a_key_once_a_request() -> None:
    """A key that comes twice in one request would have both rows refused."""
    writes = [customer(str(n)) for n in range(450)] + [customer("7", Archived__c=True)]
    with (
        ScriptedSalesforce(by=lambda asked: Answer([done() for _ in keys_of(asked)])) as server,
        target_of(server.url) as target,
    ):
        assert target.chunk_size == 200
        results = target.write(CUSTOMER, writes)
        twice = target.write(CUSTOMER, [customer("a"), customer("b"), customer("a")])
    assert [result.write for result in results] == writes
    assert len(twice) == 3
    assert [len(keys_of(asked)) for asked in server.asked] == [200, 200, 51, 2, 1]


def test_no_rows_cost_no_call() -> None:
    with ScriptedSalesforce() as server, target_of(server.url) as target:
        assert target.write(CUSTOMER, []) == []
        assert target.delete(CUSTOMER, []) == []
    assert not server.asked


def test_locked_rows_are_sent_again_alone_and_results_keep_their_order() -> None:
    waits: list[float] = []
    lock = refused("UNABLE_TO_LOCK_ROW")
    answers = {"a": [lock, lock, done()], "b": [done(created=True)], "c": [lock, done()]}
    with (
        ScriptedSalesforce(by=by_key(answers)) as server,
        target_of(server.url, waits) as target,
    ):
        results = target.write(CUSTOMER, [customer("a"), customer("b"), customer("c")])
    assert [keys_of(asked) for asked in server.asked] == [["a", "b", "c"], ["a", "c"], ["a"]]
    assert [(r.write.key, r.created, r.error) for r in results] == [
        ("a", False, None),
        ("b", True, None),
        ("c", False, None),
    ]
    assert len(waits) == 2


def test_a_lasting_lock_is_given_up_and_told() -> None:
    with (
        ScriptedSalesforce(
            by=lambda _: Answer([refused("UNABLE_TO_LOCK_ROW", "… 1 records: 001Ax")])
        ) as server,
        target_of(server.url) as target,
    ):
        [result] = target.write(CUSTOMER, [customer("a")])
    assert result.error is not None
    assert result.error.code == "UNABLE_TO_LOCK_ROW"
    assert len(server.asked) == 4


@pytest.mark.parametrize("code", ["DUPLICATE_VALUE", "ENTITY_IS_DELETED"])
def test_a_row_that_raced_with_another_writer_is_sent_once_more(code: str) -> None:
    answers = {"a": [refused(code), done()], "b": [refused(code), refused(code)]}
    with ScriptedSalesforce(by=by_key(answers)) as server, target_of(server.url) as target:
        first, second = target.write(CUSTOMER, [customer("a"), customer("b")])
    assert first.error is None
    assert second.error is not None
    assert second.error.code == code
    assert len(server.asked) == 2


def test_a_unique_value_taken_by_another_account_is_no_race() -> None:
    write = Write("Account", Operation.UPDATE, ACCOUNT, {"Metronome_Customer_ID__c": "c"}, ACCOUNT)
    with (
        ScriptedSalesforce(Answer([refused("DUPLICATE_VALUE")])) as server,
        target_of(server.url) as target,
    ):
        [result] = target.write(ACCOUNT_SUMMARY, [write])
    assert result.error is not None
    assert len(server.asked) == 1


def test_one_unreadable_row_does_not_take_the_others_along() -> None:
    """JSON_PARSER_ERROR refuses the whole request, and does not say which row it was."""

    def answer(asked: Asked) -> Answer:
        if "5" in keys_of(asked):
            return refusal("JSON_PARSER_ERROR", "Cannot deserialize … VALUE_STRING Initech")
        return Answer([done() for _ in keys_of(asked)])

    with ScriptedSalesforce(by=answer) as server, target_of(server.url) as target:
        results = target.write(CUSTOMER, [customer(str(n)) for n in range(8)])
    assert [r.write.key for r in results] == list("01234567")
    bad = {r.write.key: r.error for r in results if r.error}
    assert list(bad) == ["5"]
    assert bad["5"].code == "JSON_PARSER_ERROR"
    assert "Initech" not in bad["5"].message
    assert len(server.asked) == 7


def test_a_number_that_json_cannot_carry_is_refused_here() -> None:
    writes = [
        customer("a", Current_Spend__c=Decimal("NaN")),
        customer("b", Current_Spend__c=Decimal("1.5")),
    ]
    with (
        ScriptedSalesforce(by=lambda asked: Answer([done() for _ in keys_of(asked)])) as server,
        target_of(server.url) as target,
    ):
        first, second = target.write(CUSTOMER, writes)
    assert first.error is not None
    assert first.error.code == "NUMBER_OUTSIDE_VALID_RANGE"
    assert second.error is None
    assert all(b"NaN" not in asked.body for asked in server.asked)


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        ("FIELD_CUSTOM_VALIDATION_EXCEPTION", "Spend\nneeds a   unit", "Spend needs a unit"),
        (
            "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
            "Guard: execution of BeforeUpdate caused by: …: Initech owes 5",
            "a trigger or flow of the org Guard failed",
        ),
        (
            "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
            "Initech cannot be saved",
            "a trigger or flow of the org failed",
        ),
        ("STRING_TOO_LONG", "Name: data value too large: Initech", "a text is longer"),
        ("INVALID_EMAIL_ADDRESS", "Mail: invalid email address: Initech", "the org refused"),
        ("STORAGE_LIMIT_EXCEEDED", "storage limit exceeded", "storage is full"),
    ],
)
def test_the_orgs_text_is_shown_only_where_its_administrator_wrote_it(
    code: str, text: str, expected: str
) -> None:
    """Other texts quote the customer's data."""
    row = {
        "success": False,
        "errors": [
            {"statusCode": code, "message": text, "fields": ["Name"]},
            {"statusCode": "OTHER", "message": text, "fields": ["Name", "Currency__c"]},
        ],
    }
    with ScriptedSalesforce(Answer([row])) as server, target_of(server.url) as target:
        [result] = target.write(CUSTOMER, [customer("a")])
    assert result.error is not None
    assert result.error.code == code
    assert expected in result.error.message
    assert "Initech" not in result.error.message
    assert result.error.fields == ("Name", "Currency__c")


def test_an_endless_text_of_an_administrator_is_cut() -> None:
    row = refused("FIELD_CUSTOM_VALIDATION_EXCEPTION", "x" * 9000)
    with ScriptedSalesforce(Answer([row])) as server, target_of(server.url) as target:
        [result] = target.write(CUSTOMER, [customer("a")])
    assert result.error is not None
    assert len(result.error.message) == 500


@pytest.mark.parametrize("answer", [Answer([]), Answer({"x": 1}), Answer([done()] * 3)])
def test_an_answer_that_does_not_fit_the_rows_is_not_taken_for_success(answer: Answer) -> None:
    with (
        ScriptedSalesforce(answer) as server,
        target_of(server.url) as target,
        pytest.raises(RetriableError),
    ):
        target.write(CUSTOMER, [customer("a"), customer("b")])


@given(st.decimals(allow_nan=False, allow_infinity=False, places=10, min_value=-1e8, max_value=1e8))
def test_canonical_numbers_survive_json(number: Decimal) -> None:
    """Salesforce keeps doubles: what it reads from our JSON is what we compare with."""
    canonical = canon(Number(18, 10), number)
    text = json.dumps(json_value(canonical))
    assert Decimal(repr(float(json.loads(text)))) == canonical


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "sNaN"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(UnsendableError):
        json_value(Decimal(text))
    assert not math.isnan(float(str(json_value(Decimal("1.25")))))
