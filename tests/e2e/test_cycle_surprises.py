"""Malformed and surprising data of Metronome, and bad days of both services."""

import copy
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from metronome_salesforce.report import Outcome
from tests.expectation import (
    GRANT,
    INVOICE,
    LINE,
    USAGE,
    differences,
)
from tests.stage import Stage

DAY = timedelta(days=1)
USD = {"id": "2714e483-4ff1-48e4-9e25-ac732e8f24f2", "name": "USD (cents)"}
TOKENS = {"id": "d0000000-0000-4000-8000-0000000000aa", "name": "Tokens “großzügig” 🪙"}
ODD = "Ünïcode 🦊 \"quoted\" 'single' \\back\nnew line\ttab \u2028 end; DROP TABLE--  "


def odd_invoice(customer: str, number: int = 1, **values: Any) -> dict[str, Any]:
    """An invoice with all that the API's schema lets through."""
    return {
        "id": f"5f0d7c1e-3333-5c3a-9b1d-{number:012d}",
        "customer_id": customer,
        "type": "MOON_PHASE",
        "status": "IN_REVIEW",
        "credit_type": USD,
        "total": None,
        "subtotal": Decimal("0.5"),
        "plan_name": "P" * 300,
        "start_timestamp": "2026-03-01T01:30:00+02:00",
        "end_timestamp": "2026-03-31T23:59:59.999Z",
        "external_invoice": {"billing_provider_type": "carrier_pigeon"},
        "brand_new_field": {"deeply": ["nested"]},
        "line_items": [
            {"name": ODD, "type": "mystery", "total": None, "credit_type": USD},
            {"name": "x" * 300, "type": "usage", "total": Decimal("12.345"), "credit_type": USD}
            | {"quantity": Decimal("1e-7"), "unit_price": Decimal("0.0000000051")},
            {"name": "🦊" * 200, "type": "usage", "total": Decimal("-0.5"), "credit_type": TOKENS},
            {"name": "", "type": "usage", "total": 1, "credit_type": USD, "quantity": None}
            | {"sub_line_items": [{"name": ODD, "quantity": None, "subtotal": None}]},
        ],
        "invoice_adjustments": [
            {"name": "Same", "total": 1, "credit_type": USD},
            {"name": "Same", "total": 1, "credit_type": USD},
        ],
        **values,
    }


async def test_all_that_the_schema_allows_is_written_and_what_was_cut_is_counted(
    stage: Stage,
) -> None:
    customer = stage.customer(3)
    stage.tenant.find_customer(customer).name = "N" * 300
    stage.tenant.find_customer(stage.customer(2)).name = ODD
    stage.tenant.add_invoice(customer, odd_invoice(customer))

    report = await stage.cycle(full=True)

    assert report.outcome is Outcome.SUCCEEDED, report.rejected
    wanted = stage.expected()
    # A line without a name is called by its key, which is the product's own affair.
    nameless = [row for row in wanted[LINE].values() if row.fields["Full_Name__c"] is None]
    found = [
        one
        for one in differences(wanted, stage.org)
        if not any(str(row.place) in one and " Name is " in one for row in nameless)
    ]
    assert len(nameless) == 1
    assert found == []
    cut = report.notes["cut"]
    assert cut["Customer.Full_Name__c"] == 1
    assert cut["InvoiceLineItem.Full_Name__c"] == 2
    assert cut["Invoice.Plan_Name__c"] == 1
    await stage.cycle(full=True)
    assert stage.written == Counter()


async def test_a_malformed_invoice_keeps_its_rows_and_is_counted(stage: Stage) -> None:
    """Nor is anything else of the customer taken for deleted, and its sums stay as they were."""
    customer = stage.customer(0)
    draft = odd_invoice(customer, status="DRAFT", total=Decimal(1000))
    draft["line_items"].pop()
    stage.tenant.add_invoice(customer, draft)
    await stage.cycle()
    before = stage.expected()
    assert differences(before, stage.org) == []
    (raw,) = stage.tenant._accounts[customer].raw

    for broken in ("credit_type", "line_items", "id"):
        kept = copy.deepcopy(raw)
        del raw[broken]
        for full in (False, True):
            report = await stage.cycle(full=full)
            assert report.outcome is Outcome.SUCCEEDED
            assert sum(report.notes["malformed"].values()) >= 1
            assert stage.written == Counter()
        raw.update(kept)

    stage.tenant.delete_draft_invoice(draft["id"])
    await stage.cycle()
    assert stage.written[INVOICE, "delete"] == 1
    assert differences(stage.expected(), stage.org) == []


async def test_items_that_come_twice_are_written_once(fresh: Stage) -> None:
    customers = fresh.tenant.customers()
    twice = {"data": [*customers, customers[0], customers[3]], "next_page": None}
    fresh.metronome.faults.add("GET /v1/customers", status=200, body=twice, times=1)
    grants = fresh.tenant.credit_grants()
    twice = {"data": [*grants, *grants], "next_page": None}
    fresh.metronome.faults.add("POST /v1/credits/listGrants", status=200, body=twice, times=1)

    report = await fresh.cycle()

    assert report.outcome is Outcome.SUCCEEDED
    assert differences(fresh.expected(), fresh.org) == []
    assert sum(report.notes["duplicates"].values()) == 2 + len(grants)


async def test_null_amounts_of_grants_and_usage_are_empty_not_zero(stage: Stage) -> None:
    grants = stage.tenant.credit_grants()
    odd = copy.deepcopy(grants)
    odd[0]["balance"]["including_pending"] = None
    odd[0]["paid_amount"] = None
    odd[0]["name"] = None
    body = {"data": odd, "next_page": None}
    stage.metronome.faults.add("POST /v1/credits/listGrants", status=200, body=body)

    report = await stage.cycle()

    assert report.outcome is Outcome.SUCCEEDED
    row = next(
        row for row in stage.org.rows(GRANT) if row["Metronome_Credit_Grant_ID__c"] == odd[0]["id"]
    )
    assert row["Balance_Including_Pending__c"] is None
    assert (row["Amount_Paid__c"], row["Payment_Currency__c"]) == (None, None)
    assert row["Name"] == odd[0]["id"]
    stage.metronome.faults.clear()
    await stage.cycle()
    assert differences(stage.expected(), stage.org) == []


async def test_one_unreadable_grant_deletes_no_other(stage: Stage) -> None:
    before = stage.expected()
    odd: list[Any] = stage.tenant.credit_grants()
    del odd[0]["balance"]
    odd[1] = "no object at all"
    body = {"data": odd, "next_page": None}
    stage.metronome.faults.add("POST /v1/credits/listGrants", status=200, body=body)

    report = await stage.cycle()

    assert report.outcome is Outcome.SUCCEEDED
    assert report.notes["malformed"] == {"POST /v1/credits/listGrants": 2}
    assert not any(key[0] == GRANT for key in stage.written)
    assert differences(before, stage.org) == []


@pytest.mark.usefixtures("no_pauses")
async def test_errors_in_between_are_overcome(fresh: Stage) -> None:
    """Of both services: too many requests, server errors, cut connections, half an answer."""
    faults = fresh.metronome.faults
    faults.add("GET /v1/customers", status=429, times=2)
    faults.add("GET /v1/customers/*/invoices", status=500, times=2)
    faults.add("GET /v1/customers/*/invoices", status=503, times=1, after=3)
    faults.add("POST /v1/usage", drop=True, times=2)
    faults.add("POST /v1/usage", truncate=True, times=2)
    faults.add("POST /v1/credits/listGrants", status=200, body="<html>", times=2)
    org = fresh.salesforce.faults
    org.add("GET *", status=503, error_code="SERVER_UNAVAILABLE", times=2)
    org.add("PATCH *", status=500, times=1)
    org.add("PATCH *", drop="before", times=1, after=2)
    org.add("PATCH *", drop="after_commit", times=2, after=4)

    report = await fresh.cycle()

    assert report.outcome is Outcome.SUCCEEDED, report.message
    assert differences(fresh.expected(), fresh.org) == []


@pytest.mark.parametrize(
    ("match", "body"),
    [
        ("POST /v1/usage", {"data": [], "next_page": "round-and-round"}),
        ("GET /v1/customers", {"data": [], "next_page": "round-and-round"}),
    ],
)
async def test_a_list_that_goes_in_circles_ends_the_cycle(
    stage: Stage, match: str, body: dict[str, Any]
) -> None:
    stage.metronome.faults.add(match, status=200, body=body)

    report = await stage.cycle()

    assert (report.outcome, report.reason) == (Outcome.FAILED, "EndlessCursor")
    assert stage.written == Counter()


async def test_usage_of_a_customer_that_no_list_names_is_passed_over(stage: Stage) -> None:
    before = stage.expected()
    stranger = {
        "customer_id": "00000000-0000-4000-8000-000000000bad",
        "billable_metric_id": stage.tenant.billable_metrics()[0]["id"],
        "billable_metric_name": "GPU hours",
        "start_timestamp": "2026-03-01T00:00:00Z",
        "end_timestamp": "2026-03-02T00:00:00Z",
        "value": 1,
    }
    since, until = stage.now - timedelta(days=stage.lookback), stage.now
    known = stage.tenant.usage(since.replace(hour=0), until.replace(hour=0))
    body = {"data": [stranger, *known], "next_page": None}
    stage.metronome.faults.add("POST /v1/usage", status=200, body=body)

    report = await stage.cycle()

    assert report.outcome is Outcome.SUCCEEDED
    assert differences(before, stage.org) == []
    assert stage.written[USAGE, "insert"] == 0
