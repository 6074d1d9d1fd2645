"""Rows through REST: what is stored, what comes back, and every refusal with its code."""

import json
from typing import Any

import pytest

from metronome_salesforce.sandbox.salesforce import ADMIN, INTEGRATION, SalesforceOrg
from metronome_salesforce.sandbox.salesforce.ids import to18
from tests.sandbox.salesforce.conftest import Clock, Rest

INVOICE = {"Invoice_ID__c": "in_1", "Name": "First"}


def error(answer: Any) -> tuple[int, str, str]:
    """Status, code and message of a refused request."""
    body = answer.json()[0]
    return answer.status_code, body["errorCode"], body["message"]


def test_create_read_update_delete(rest: Rest, org: SalesforceOrg, clock: Clock) -> None:
    created = rest.call("POST", "sobjects/T_Invoice__c", json=INVOICE)
    assert created.status_code == 201
    record = created.json()["id"]
    assert created.json() == {"id": record, "success": True, "errors": []}
    assert created.headers["Location"] == f"/services/data/v66.0/sobjects/T_Invoice__c/{record}"
    clock.advance(minutes=1)
    updated = rest.call("PATCH", f"sobjects/T_Invoice__c/{record[:15]}", json={"Total__c": 5})
    assert (updated.status_code, updated.content) == (204, b"")
    row = rest.call("GET", f"sobjects/T_Invoice__c/{record}?fields=Name,Total__c,Closed__c").json()
    assert row == {
        "attributes": {
            "type": "T_Invoice__c",
            "url": f"/services/data/v66.0/sobjects/T_Invoice__c/{record}",
        },
        "Name": "First",
        "Total__c": 5.0,
        "Closed__c": False,
    }
    stored = org.rows("T_Invoice__c")[0]
    assert stored["CreatedDate"] == "2026-01-31T12:00:00.000+0000"
    assert stored["LastModifiedDate"] == "2026-01-31T12:01:00.000+0000"
    assert stored["LastModifiedById"] == org.users[INTEGRATION].id
    assert rest.call("DELETE", f"sobjects/T_Invoice__c/{record}").status_code == 204
    again = rest.call("DELETE", f"sobjects/T_Invoice__c/{record}")
    assert error(again) == (404, "ENTITY_IS_DELETED", "entity is deleted")
    assert org.count("T_Invoice__c") == 0
    assert org.rows("T_Invoice__c", deleted=True)[0]["Name"] == "First"
    assert org.statistics.rows == {
        ("T_Invoice__c", "insert"): 1,
        ("T_Invoice__c", "update"): 1,
        ("T_Invoice__c", "delete"): 1,
    }


def test_what_is_stored_is_what_rest_makes_of_it(rest: Rest, org: SalesforceOrg) -> None:
    """Text is trimmed, empty text is null, numbers keep surplus decimals, times become UTC."""
    rest.call(
        "POST",
        "sobjects/T_Invoice__c",
        json={
            **INVOICE,
            "Short__c": "  a b ",
            "Group_ID__c": "   ",
            "Site__c": "",
            "Total__c": 1.23456,
            "Issued_At__c": "2026-01-31T01:00:00.123+02:00",
            "Notes__c": "línea 1\n\U0001f600",
            "Closed__c": True,
        },
    )
    row = org.rows("T_Invoice__c")[0]
    assert row["Short__c"] == "a b"
    assert row["Group_ID__c"] is None
    assert row["Site__c"] is None
    assert row["Total__c"] == 1.23456
    assert row["Issued_At__c"] == "2026-01-30T23:00:00.000+0000"
    assert row["Notes__c"] == "línea 1\n\U0001f600"
    assert row["Closed__c"] is True


REFUSED_VALUES: list[tuple[dict[str, Any], str, str, list[str] | None]] = [
    ({"Short__c": "12345678901"}, "STRING_TOO_LONG",
     "Short: data value too large: 12345678901 (max length=10)", ["Short__c"]),
    ({"Short__c": "123456789🌊"}, "STRING_TOO_LONG",
     "Short: data value too large: 123456789🌊 (max length=10)", ["Short__c"]),
    ({"Total__c": 1e16}, "NUMBER_OUTSIDE_VALID_RANGE",
     "Total: value outside of valid range on numeric field: 1E16", ["Total__c"]),
    ({"Kind__c": "Weekly"}, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
     "Kind: bad value for restricted picklist field: Weekly", ["Kind__c"]),
    ({"Contact__c": "nobody"}, "INVALID_EMAIL_ADDRESS",
     "Contact: invalid email address: nobody", ["Contact__c"]),
    ({"Start__c": "1600-01-01"}, "INVALID_TYPE_ON_FIELD_IN_RECORD",
     "Start: invalid date: 1600-01-01", ["Start__c"]),
    ({"Account__c": "001"}, "MALFORMED_ID",
     "Account: id value of incorrect type: 001", ["Account__c"]),
    ({"Account__c": "a01000000000001"}, "MALFORMED_ID",
     f"Account: id value of incorrect type: {to18('a01000000000001')}", ["Account__c"]),
    ({"Account__c": "001000000000001"}, "INVALID_CROSS_REFERENCE_KEY",
     "invalid cross reference id", ["Account__c"]),
    ({"Customer__r": {"Customer_ID__c": "c9"}}, "INVALID_FIELD",
     "Foreign key external ID: c9 not found for field Customer_ID__c in entity T_Customer__c", []),
    ({"Is_Draft__c": True}, "INVALID_FIELD_FOR_INSERT_UPDATE",
     ("Unable to create/update fields: Is_Draft__c. Please check the security settings of this "
     "field and verify that it is read/write for your profile or permission set."),
     ["Is_Draft__c"]),
    ({"Line_Count__c": 3}, "INVALID_FIELD_FOR_INSERT_UPDATE",
     ("Unable to create/update fields: Line_Count__c. Please check the security settings of this "
     "field and verify that it is read/write for your profile or permission set."),
     ["Line_Count__c"]),
    ({"CreatedDate": "2026-01-01T00:00:00Z"}, "INVALID_FIELD_FOR_INSERT_UPDATE",
     ("Unable to create/update fields: CreatedDate. Please check the security settings of this "
     "field and verify that it is read/write for your profile or permission set."),
     ["CreatedDate"]),
    ({"Invoice_ID__c": None}, "REQUIRED_FIELD_MISSING",
     "Required fields are missing: [Invoice_ID__c]", ["Invoice_ID__c"]),
    ({"Id": "a01000000000001"}, "INVALID_FIELD_FOR_INSERT_UPDATE",
     "cannot specify Id in an insert call", ["Id"]),
]  # fmt: skip


@pytest.mark.parametrize(("values", "code", "message", "fields"), REFUSED_VALUES)
def test_refused_values(
    rest: Rest,
    org: SalesforceOrg,
    values: dict[str, Any],
    code: str,
    message: str,
    fields: list[str] | None,
) -> None:
    """A row is refused with the vendor's code, sentence and fields; nothing is stored."""
    answer = rest.call("POST", "sobjects/T_Invoice__c", json={**INVOICE, **values})
    assert answer.status_code == 400
    assert answer.json() == [{"message": message, "errorCode": code, "fields": fields}]
    assert org.count("T_Invoice__c") == 0


REFUSED_JSON: list[tuple[dict[str, Any], str, str]] = [
    ({"Total__c": "12"}, "JSON_PARSER_ERROR",
     "Cannot deserialize instance of double from VALUE_STRING value 12 or request may be"),
    ({"Closed__c": "true"}, "JSON_PARSER_ERROR",
     "Cannot deserialize instance of boolean from VALUE_STRING value true or"),
    ({"Start__c": "31.01.2026"}, "JSON_PARSER_ERROR",
     "Cannot deserialize instance of date from VALUE_STRING value 31.01.2026 or"),
    ({"Start__c": "2026-02-30"}, "JSON_PARSER_ERROR",
     "Cannot deserialize instance of date from VALUE_STRING value 2026-02-30 or"),
    ({"Issued_At__c": "2026-01-31 00:00:00"}, "JSON_PARSER_ERROR",
     "Cannot deserialize instance of datetime from VALUE_STRING value 2026-01-31 00:00:00 or"),
    ({"Name": {"a": 1}}, "JSON_PARSER_ERROR",
     "Cannot deserialize instance of string from START_OBJECT or"),
    ({"Total__c": [1]}, "JSON_PARSER_ERROR",
     "Cannot deserialize instance of double from START_ARRAY or"),
    ({"Nope__c": 1}, "INVALID_FIELD", "No such column 'Nope__c' on sobject of type T_Invoice__c"),
    ({"Customer__r": {"Nope__c": "x"}}, "INVALID_FIELD",
     "No such column 'Nope__c' on sobject of type T_Customer__c"),
    ({"Customer__r": {"Linked_Account_ID__c": "x"}}, "INVALID_FIELD",
     "Field name provided, Linked_Account_ID__c is not an External ID or indexed field for"),
    ({"Customer__r": None}, "INVALID_FIELD", "Cannot reference a foreign key field Customer__r."),
]  # fmt: skip


@pytest.mark.parametrize(("values", "code", "message"), REFUSED_JSON)
def test_refused_json(
    rest: Rest, org: SalesforceOrg, values: dict[str, Any], code: str, message: str
) -> None:
    """Wrong JSON types and unknown columns refuse the whole request, collections included."""
    answer = rest.call("POST", "sobjects/T_Invoice__c", json={**INVOICE, **values})
    status, found, text = error(answer)
    assert (status, found) == (400, code)
    assert text.startswith(message)
    good = {"attributes": {"type": "T_Invoice__c"}, **INVOICE}
    bad = {"attributes": {"type": "T_Invoice__c"}, "Invoice_ID__c": "in_2", **values}
    answer = rest.call(
        "PATCH", "composite/sobjects/T_Invoice__c/Invoice_ID__c", json={"records": [good, bad]}
    )
    assert error(answer)[:2] == (400, code)
    assert org.count("T_Invoice__c") == 0


def test_parser_errors_name_line_and_column(rest: Rest) -> None:
    body = '{"Name": "x",\n "Total__c": "12"}'
    answer = rest.call(
        "POST", "sobjects/T_Invoice__c", data=body, headers={"Content-Type": "application/json"}
    )
    assert error(answer)[2].endswith("missing a required field at [line:2, column:14]")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "The HTTP entity body is required, but this request has no entity body."),
        ("{", "Unexpected character"),
        ('{"Total__c": NaN}', "Unexpected character"),
        ("[]", "Cannot deserialize instance of sobject from START_ARRAY"),
    ],
)
def test_bodies_that_are_no_json_object(rest: Rest, body: str, message: str) -> None:
    answer = rest.call(
        "POST", "sobjects/T_Invoice__c", data=body, headers={"Content-Type": "application/json"}
    )
    assert error(answer)[:2] == (400, "JSON_PARSER_ERROR")
    assert error(answer)[2].startswith(message)


def test_unique_values_block_each_other_by_case_rules(rest: Rest, org: SalesforceOrg) -> None:
    """A caseSensitive key tells in_A from in_a; another unique field does not."""
    for each in ("in_A", "in_a"):
        assert rest.call("POST", "sobjects/T_Invoice__c", json={"Invoice_ID__c": each}).ok
    twice = rest.call("POST", "sobjects/T_Invoice__c", json={"Invoice_ID__c": "in_A"})
    first = org.rows("T_Invoice__c")[0]["Id"]
    assert error(twice) == (
        400,
        "DUPLICATE_VALUE",
        f"duplicate value found: Invoice_ID__c duplicates value on record with id: {first}",
    )
    org.insert("Account", {"Name": "A", "Billing_ID__c": "cus_1"})
    other = org.insert("Account", {"Name": "B"})
    answer = rest.call("PATCH", f"sobjects/Account/{other}", json={"Billing_ID__c": "CUS_1"})
    assert error(answer)[:2] == (400, "DUPLICATE_VALUE")


def test_a_deleted_row_does_not_block_its_key(rest: Rest, org: SalesforceOrg) -> None:
    record = org.insert("T_Invoice__c", INVOICE)
    org.delete("T_Invoice__c", record)
    assert rest.call("POST", "sobjects/T_Invoice__c", json=INVOICE).status_code == 201


def test_a_custom_record_without_a_name_is_named_by_its_id(org: SalesforceOrg) -> None:
    record = org.insert("T_Invoice__c", {"Invoice_ID__c": "x"})
    assert org.rows("T_Invoice__c")[0]["Name"] == record


def test_auto_numbers_count_on(org: SalesforceOrg) -> None:
    invoice = org.insert("T_Invoice__c", INVOICE)
    for _ in range(2):
        org.insert("T_Note__c", {"Invoice__c": invoice})
    notes = [(each["Name"], each["Code__c"]) for each in org.rows("T_Note__c")]
    assert notes == [("N-0001", "C-001"), ("N-0002", "C-002")]


def test_a_detail_cannot_be_without_its_master(rest: Rest, org: SalesforceOrg) -> None:
    answer = rest.call("POST", "sobjects/T_Line__c", json={"Line_ID__c": "l1"})
    assert error(answer)[1:] == (
        "REQUIRED_FIELD_MISSING",
        "Required fields are missing: [Invoice__c]",
    )
    assert org.count("T_Line__c") == 0


def test_only_a_reparentable_master_can_be_changed(rest: Rest, org: SalesforceOrg) -> None:
    """A master that is not reparentable refuses updates that name it, even with its own value."""
    first = org.insert("T_Invoice__c", INVOICE)
    second = org.insert("T_Invoice__c", {"Invoice_ID__c": "in_2"})
    line = org.insert("T_Line__c", {"Line_ID__c": "l1", "Invoice__c": first})
    note = org.insert("T_Note__c", {"Invoice__c": first})
    moved = rest.call("PATCH", f"sobjects/T_Line__c/{line}", json={"Invoice__c": second})
    assert moved.status_code == 204
    kept = rest.call("PATCH", f"sobjects/T_Note__c/{note}", json={"Invoice__c": first})
    assert error(kept)[1] == "INVALID_FIELD_FOR_INSERT_UPDATE"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "sobjects/Nope__c/describe", 404, "NOT_FOUND"),
        ("POST", "sobjects/Nope__c", 404, "NOT_FOUND"),
        ("GET", "nowhere", 404, "NOT_FOUND"),
        ("GET", "sobjects/T_Invoice__c/a01000000000009", 404, "NOT_FOUND"),
        ("PATCH", "sobjects/T_Invoice__c/a01000000000009", 404, "NOT_FOUND"),
        ("GET", "sobjects/T_Invoice__c/Nope__c/x", 404, "NOT_FOUND"),
        ("GET", "sobjects/T_Invoice__c/Short__c/x", 404, "NOT_FOUND"),
        ("GET", "sobjects/T_Invoice__c/Invoice_ID__c/unknown", 404, "NOT_FOUND"),
        ("PUT", "sobjects/T_Invoice__c", 405, "METHOD_NOT_ALLOWED"),
        ("DELETE", "query", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/services/data/v20.0/limits", 410, "UNSUPPORTED_API_VERSION"),
        ("GET", "/services/data/v99.0/limits", 404, "NOT_FOUND"),
        ("GET", "/services/data/66/limits", 404, "NOT_FOUND"),
    ],
)
def test_paths_that_are_refused(rest: Rest, method: str, path: str, status: int, code: str) -> None:
    body: dict[str, Any] = {"json": {}} if method in {"POST", "PATCH"} else {}
    assert error(rest.call(method, path, **body))[:2] == (status, code)


def test_bodies_must_be_declared_as_json(rest: Rest) -> None:
    answer = rest.call("POST", "sobjects/T_Invoice__c", data=json.dumps(INVOICE))
    assert error(answer)[:2] == (415, "UNSUPPORTED_MEDIA_TYPE")


def test_storage_full_refuses_inserts_only(rest: Rest, org: SalesforceOrg) -> None:
    record = org.insert("T_Invoice__c", INVOICE)
    org.storage_full = True
    answer = rest.call("POST", "sobjects/T_Invoice__c", json={"Invoice_ID__c": "in_2"})
    assert error(answer)[1:] == ("STORAGE_LIMIT_EXCEEDED", "storage limit exceeded")
    assert rest.call("PATCH", f"sobjects/T_Invoice__c/{record}", json={"Name": "N"}).ok


def test_validation_rules_of_the_customer(rest: Rest, org: SalesforceOrg) -> None:
    org.add_validation_rule(
        "T_Invoice__c", "No_Negative", lambda row: (row["Total__c"] or 0) < 0, "No!", "Total__c"
    )
    answer = rest.call("POST", "sobjects/T_Invoice__c", json={**INVOICE, "Total__c": -1})
    assert answer.json() == [
        {
            "message": "No!",
            "errorCode": "FIELD_CUSTOM_VALIDATION_EXCEPTION",
            "fields": ["Total__c"],
        }
    ]
    org.remove_validation_rule("T_Invoice__c", "No_Negative")
    assert rest.call("POST", "sobjects/T_Invoice__c", json={**INVOICE, "Total__c": -1}).ok


def test_upsert_by_key(rest: Rest, org: SalesforceOrg) -> None:
    path = "sobjects/T_Invoice__c/Invoice_ID__c/a%20b%2Fc%3F%23%C3%A9"
    created = rest.call("PATCH", path, json={"Name": "One"})
    assert (created.status_code, created.json()["created"]) == (201, True)
    updated = rest.call("PATCH", path, json={"Name": "Two"})
    assert (updated.status_code, updated.json()) == (
        200,
        {"id": created.json()["id"], "success": True, "errors": [], "created": False},
    )
    row = org.rows("T_Invoice__c")[0]
    assert (row["Invoice_ID__c"], row["Name"]) == ("a b/c?#é", "Two")
    assert rest.call("GET", path).json()["Name"] == "Two"
    assert rest.call("DELETE", path).status_code == 204
    only = rest.call("PATCH", path, params={"updateOnly": "true"}, json={"Name": "Three"})
    assert error(only)[:2] == (404, "NOT_FOUND")


def test_upsert_answers_as_the_api_version_does(served_url: str, rest: Rest) -> None:
    """Before v46 an updating upsert has no body."""
    old = Rest(served_url, rest.token, "45.0")
    path = "sobjects/T_Invoice__c/Invoice_ID__c/in_1"
    assert "created" not in old.call("PATCH", path, json={"Name": "One"}).json()
    answer = old.call("PATCH", path, json={"Name": "Two"})
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.fixture
def served_url(rest: Rest) -> str:
    return rest.base


@pytest.mark.parametrize("extra", [{"Id": "a01000000000001"}, {"invoice_id__c": "in_1"}])
def test_an_upsert_body_holds_neither_id_nor_key(rest: Rest, extra: dict[str, str]) -> None:
    answer = rest.call(
        "PATCH", "sobjects/T_Invoice__c/Invoice_ID__c/in_1", json={"Name": "N", **extra}
    )
    assert error(answer)[:2] == (400, "INVALID_FIELD")


def test_a_key_that_several_rows_carry(rest: Rest, org: SalesforceOrg) -> None:
    """300 with their URLs, and nothing is written."""
    ids = [
        org.insert("T_Invoice__c", {"Invoice_ID__c": f"in_{each}", "Group_ID__c": "g"})
        for each in range(2)
    ]
    org.statistics.reset()
    answer = rest.call("PATCH", "sobjects/T_Invoice__c/Group_ID__c/g", json={"Name": "N"})
    assert answer.status_code == 300
    assert answer.json() == [f"/services/data/v66.0/sobjects/T_Invoice__c/{each}" for each in ids]
    results = rest.upsert("T_Invoice__c", "Group_ID__c", {"Group_ID__c": "g", "Name": "N"})
    assert results[0]["errors"][0]["statusCode"] == "DUPLICATE_EXTERNAL_ID"
    assert org.statistics.total_rows == 0


def test_changed_and_deleted_ids(rest: Rest, org: SalesforceOrg, clock: Clock) -> None:
    org.insert("Account", {"Name": "Before"})
    clock.advance(hours=1)
    kept = org.insert("Account", {"Name": "Kept"})
    gone = org.insert("Account", {"Name": "Gone"})
    org.delete("Account", gone)
    period = {"start": "2026-01-31T12:30:00Z", "end": "2026-01-31T13:30:00Z"}
    answer = rest.call("GET", "sobjects/Account/updated/", params=period).json()
    assert answer == {"ids": [kept], "latestDateCovered": "2026-01-31T13:30:00.000+0000"}
    found = rest.call("GET", "sobjects/Account/deleted/", params=period).json()
    assert [each["id"] for each in found["deletedRecords"]] == [gone]
    wrong = {"start": period["end"], "end": period["start"]}
    answer = rest.call("GET", "sobjects/Account/updated/", params=wrong)
    assert error(answer)[1] == "INVALID_REPLICATION_DATE"


def test_ids_are_checked_and_mended() -> None:
    """The checksum of a known id, as published with the object reference."""
    assert to18("00D000000000062") == "00D000000000062EAA"


def test_a_person_edits_through_the_same_rules(org: SalesforceOrg) -> None:
    record = org.insert("T_Invoice__c", INVOICE, username=INTEGRATION)
    org.update("T_Invoice__c", record, {"Name": "Edited"})
    row = org.rows("T_Invoice__c")[0]
    assert (row["Name"], row["LastModifiedById"]) == ("Edited", org.users[ADMIN].id)
