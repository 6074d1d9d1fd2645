"""Filters and order of an invoice list, against the tenant's own documents."""

from datetime import datetime
from typing import Any

import httpx
import pytest

from metronome_salesforce.sandbox.metronome import Tenant


@pytest.fixture
def customer(tenant: Tenant) -> str:
    """The second customer has a contract: usage and scheduled invoices, past and future."""
    return str(tenant.customers()[1]["id"])


def listed(api: httpx.Client, customer: str, **params: Any) -> list[str]:
    answer = api.get(f"/v1/customers/{customer}/invoices", params={"limit": 100, **params})
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["data"]]


def test_order_is_by_issue_date_ascending_unless_asked(
    api: httpx.Client, tenant: Tenant, customer: str
) -> None:
    expected = [one["id"] for one in tenant.invoices(customer)]
    dates = [datetime.fromisoformat(one["issued_at"]) for one in tenant.invoices(customer)]

    assert dates == sorted(dates)
    assert listed(api, customer) == expected
    assert listed(api, customer, sort="date_asc") == expected
    assert listed(api, customer, sort="date_desc") == expected[::-1]


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"status": "DRAFT"}, "status"),
        ({"status": "FINALIZED"}, "status"),
        ({"type": "USAGE"}, "type"),
        ({"type": "SCHEDULED"}, "type"),
    ],
)
def test_equality_filters(
    api: httpx.Client, tenant: Tenant, customer: str, params: dict[str, str], field: str
) -> None:
    documents = tenant.invoices(customer)
    expected = [one["id"] for one in documents if one[field] == params[field]]

    assert 0 < len(expected) < len(documents)
    assert listed(api, customer, **params) == expected


def test_contract_and_credit_type_filters(api: httpx.Client, tenant: Tenant, customer: str) -> None:
    document = tenant.invoices(customer)[0]

    assert listed(api, customer, contract_id=document["contract_id"])
    assert listed(api, customer, credit_type_id=document["credit_type"]["id"])
    assert not listed(api, customer, contract_id="other")
    assert not listed(api, customer, credit_type_id="other")


def test_dates_act_on_the_period_and_drop_invoices_without_one(
    api: httpx.Client, tenant: Tenant, customer: str
) -> None:
    april, june = "2026-04-01T00:00:00Z", "2026-06-01T00:00:00Z"
    starts = {
        one["id"]: one["start_timestamp"][:10]
        for one in tenant.invoices(customer)
        if "start_timestamp" in one
    }

    later = listed(api, customer, starting_on=april)
    assert later == [key for key, start in starts.items() if start >= "2026-04-01"]
    # May ends where the filter ends, so it is out.
    inside = listed(api, customer, starting_on=april, ending_before=june)
    assert [starts[key] for key in inside] == ["2026-04-01"]


def test_lines_of_nothing_are_left_out_on_request(api: httpx.Client, tenant: Tenant) -> None:
    customer = tenant.customers()[0]["id"]
    draft = next(one for one in tenant.invoices(customer) if one["status"] == "DRAFT")
    for metric in tenant.billable_metrics():
        for day in range(1, 21):
            when = datetime.fromisoformat(draft["start_timestamp"]).replace(day=day).date()
            tenant.edit_usage(customer, metric["id"], when, None)
    path = f"/v1/customers/{customer}/invoices"

    full = api.get(f"{path}/{draft['id']}").json()["data"]["line_items"]
    for thin in (
        api.get(f"{path}/{draft['id']}?skip_zero_qty_line_items=true").json()["data"],
        api.get(f"{path}?status=DRAFT&skip_zero_qty_line_items=true").json()["data"][0],
    ):
        assert thin["line_items"] == [line for line in full if line["quantity"]]
        assert len(thin["line_items"]) < len(full)


@pytest.mark.parametrize("value", [None, 7, "soon", "2026-05-01"])
def test_surprising_documents_pass_through_filters_and_wire(
    api: httpx.Client, tenant: Tenant, customer: str, value: object
) -> None:
    odd = {"id": "odd", "status": "DRAFT", "start_timestamp": value, "total": 0.1, "extra": [True]}
    tenant.add_invoice(customer, odd)

    assert "odd" in listed(api, customer, status="DRAFT")
    assert "odd" not in listed(api, customer, starting_on="2020-01-01T00:00:00Z")
    assert "odd" not in listed(api, customer, credit_type_id="any")
    assert api.get(f"/v1/customers/{customer}/invoices/odd").json()["data"] == odd
