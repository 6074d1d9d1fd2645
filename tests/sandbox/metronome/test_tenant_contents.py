"""A tenant of a dozen customers contains everything that a reader has to survive."""

import json
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from metronome_salesforce.sandbox.metronome import Tenant

NOW = datetime(2026, 5, 20, 7, tzinfo=UTC)
Document = dict[str, Any]


@pytest.fixture(params=[1, 2, 99])
def tenant(request: pytest.FixtureRequest) -> Tenant:
    return Tenant.generate(customers=12, seed=request.param, now=NOW)


@pytest.fixture
def customers(tenant: Tenant) -> list[Document]:
    return tenant.customers() + tenant.customers(archived=True)


@pytest.fixture
def invoices(tenant: Tenant, customers: list[Document]) -> list[Document]:
    return [one for customer in customers for one in tenant.invoices(customer["id"])]


def lines(invoices: list[Document]) -> list[Document]:
    return [line for one in invoices for line in one["line_items"]]


def test_same_seed_same_documents() -> None:
    def everything(seed: int) -> str:
        tenant = Tenant.generate(customers=13, seed=seed, now=NOW)
        tenant.advance(timedelta(days=3))
        customers = tenant.customers() + tenant.customers(archived=True)
        parts: list[Any] = [customers, tenant.plans(), tenant.credit_grants()]
        parts += [tenant.invoices(one["id"]) for one in customers]
        parts += [tenant.plan_customers(one["id"]) for one in tenant.plans()]
        parts.append(tenant.usage(NOW.replace(hour=0) - timedelta(days=9), NOW.replace(hour=0)))
        return json.dumps(parts, default=str)

    assert everything(5) == everything(5)
    assert everything(5) != everything(6)


def test_plan_assignments_are_ended_active_and_upcoming(
    tenant: Tenant, customers: list[Document]
) -> None:
    plans = [tenant.customer_plans(one["id"]) for one in customers]
    ends = [
        (
            datetime.fromisoformat(plan["starting_on"]),
            datetime.fromisoformat(plan.get("ending_before", "9999-01-01T00:00:00Z")),
        )
        for some in plans
        for plan in some
    ]

    assert max(len(some) for some in plans) == 2
    assert any(end <= NOW for _, end in ends)
    assert any(start <= NOW < end for start, end in ends)
    assert any(start > NOW for start, _ in ends)
    assert any("trial_info" in plan for some in plans for plan in some)


def test_invoices_of_every_kind_and_state(invoices: list[Document]) -> None:
    states = Counter((one["type"], one["status"]) for one in invoices)

    for kind in ("PLAN_ARREARS", "USAGE"):
        assert states[kind, "DRAFT"] > 0
        assert states[kind, "FINALIZED"] > 0
    assert states["PLAN_ARREARS", "VOID"] > 0
    assert states["SCHEDULED", "FINALIZED"] > 0
    assert states["ROUNDING_FIX", "FINALIZED"] > 0
    future = [one for one in invoices if one["type"] == "SCHEDULED" and one["status"] == "DRAFT"]
    assert future
    assert all(datetime.fromisoformat(one["issued_at"]) > NOW for one in future)
    assert all("start_timestamp" not in one for one in invoices if one["type"] == "SCHEDULED")
    assert any("regenerated_from_invoice_id" in one for one in invoices)


def test_totals_are_the_sums_of_their_parts(invoices: list[Document]) -> None:
    for invoice in invoices:
        subtotal = sum((line["total"] for line in invoice["line_items"]), Decimal(0))
        adjusted = sum((one["total"] for one in invoice.get("invoice_adjustments", [])), Decimal(0))
        assert subtotal + adjusted == invoice["total"]
        assert subtotal == invoice.get("subtotal", subtotal)
        for line in invoice["line_items"]:
            for sub in line.get("sub_line_items", []):
                tiers = sub.get("tiers")
                if tiers is None:
                    assert sub["quantity"] * sub["price"] == sub["subtotal"]
                else:
                    assert "price" not in sub
                    assert sum(tier["quantity"] for tier in tiers) == sub["quantity"]
                    assert sum(tier["subtotal"] for tier in tiers) == sub["subtotal"]
            if line.get("sub_line_items"):
                assert sum(sub["subtotal"] for sub in line["sub_line_items"]) == line["total"]
            elif "unit_price" in line:
                assert line["quantity"] * line["unit_price"] == line["total"]


def test_sub_lines_are_tiered_and_untiered_and_some_look_the_same(
    invoices: list[Document],
) -> None:
    subs = [line["sub_line_items"] for line in lines(invoices) if "sub_line_items" in line]

    assert any(len(sub.get("tiers", [])) > 1 for some in subs for sub in some)
    assert any("price" in sub for some in subs for sub in some)
    assert any(some.count(sub) == 2 for some in subs for sub in some)


def test_adjustments_are_credits_minimums_and_twins(invoices: list[Document]) -> None:
    adjusted = [one["invoice_adjustments"] for one in invoices if "invoice_adjustments" in one]

    assert any("credit_grant_id" in one for some in adjusted for one in some)
    assert any(one["total"] > 0 for some in adjusted for one in some)
    assert any(some.count(one) == 2 for some in adjusted for one in some)


def test_lines_that_only_their_quantity_tells_apart(invoices: list[Document]) -> None:
    def look(line: Document) -> str:
        rest = {key: value for key, value in line.items() if key not in {"quantity", "total"}}
        return json.dumps(rest, default=str)

    assert any(
        max(Counter(look(line) for line in one["line_items"]).values()) > 1
        for one in invoices
        if one["type"] == "USAGE"
    )


def test_commits_are_applied_as_negative_lines_until_they_run_out(
    invoices: list[Document],
) -> None:
    applied = [line for line in lines(invoices) if line["type"] == "applied_commit_or_credit"]

    assert applied
    assert all(line["total"] < 0 for line in applied)
    bought: dict[str, Decimal] = {}
    for line in lines(invoices):
        if line["type"] == "commit_purchase":
            bought[line["commit_id"]] = line["total"]
    used: Counter[str] = Counter()
    for line in applied:
        used[line["commit_id"]] += line["total"]
    assert all(amount + used[key] >= 0 for key, amount in bought.items())
    assert any(
        {"commit_id" in line for line in one["line_items"] if line["type"] == "usage"}
        == {True, False}
        for one in invoices
    )


def test_money_comes_in_three_units_and_in_fractions(
    tenant: Tenant, invoices: list[Document]
) -> None:
    assert {"USD (cents)", "EUR", "Compute Credits"} == {
        one["credit_type"]["name"] for one in invoices
    }
    assert any(one["total"] % 1 for one in invoices if one["credit_type"]["name"] != "EUR")
    assert any(
        one["grant_amount"]["credit_type"] != one["paid_amount"]["credit_type"]
        for one in tenant.credit_grants()
    )


def test_billing_providers_unknown_keys_and_timestamp_spellings(
    customers: list[Document], invoices: list[Document]
) -> None:
    assert any(one["external_invoice"] is None for one in invoices)
    assert {"PAID", "VOID"} <= {
        one["external_invoice"]["external_status"] for one in invoices if one["external_invoice"]
    }
    assert any("presentation_hints" in one for one in invoices)
    assert any("onboarding_stage" in one for one in customers)
    spellings = {one["issued_at"][19:] for one in invoices}
    assert spellings == {"Z", ".000Z", "+00:00"}


def test_names_and_links(tenant: Tenant, customers: list[Document]) -> None:
    names = [one["name"] for one in customers]

    assert any(len(name) == 160 for name in names)
    assert any("\n" in name and '"' in name and "🌊" in name for name in names)
    assert tenant.customers(archived=True)
    assert all(one["customer_config"] == {"salesforce_account_id": None} for one in customers)


def test_grants_are_active_expired_and_used(tenant: Tenant) -> None:
    grants = tenant.credit_grants()
    expired = [one for one in grants if datetime.fromisoformat(one["expires_at"]) <= NOW]

    assert expired
    assert all(one["balance"]["including_pending"] == 0 for one in expired)
    assert any(one["balance"]["including_pending"] > 0 for one in grants)
    assert any(one["pending_deductions"] for one in grants)


def test_balances_add_up_against_deductions(tenant: Tenant) -> None:
    for one in tenant.credit_grants():
        posted = sum((entry["amount"] for entry in one["deductions"]), Decimal(0))
        pending = sum((entry["amount"] for entry in one["pending_deductions"]), Decimal(0))
        amount = one["grant_amount"]["amount"]
        assert one["balance"]["excluding_pending"] == amount - posted
        assert one["balance"]["including_pending"] == amount - posted - pending
        assert one["balance"]["including_pending"] >= 0


def test_deductions_are_the_adjustments_of_invoices(
    tenant: Tenant, invoices: list[Document]
) -> None:
    live = {one["id"]: one for one in invoices if one["status"] != "VOID"}
    booked: Counter[tuple[str, str]] = Counter()
    for grant in tenant.credit_grants():
        for entry in grant["deductions"] + grant["pending_deductions"]:
            if entry["invoice_id"] in live:
                booked[grant["id"], entry["invoice_id"]] += entry["amount"]
    shown: Counter[tuple[str, str]] = Counter()
    for one in live.values():
        for adjustment in one.get("invoice_adjustments", []):
            if "credit_grant_id" in adjustment:
                shown[adjustment["credit_grant_id"], one["id"]] -= adjustment["total"]

    assert shown
    assert shown == booked


def test_usage_windows_are_zero_null_or_left_out(tenant: Tenant) -> None:
    start, end = datetime(2026, 4, 1, tzinfo=UTC), datetime(2026, 5, 1, tzinfo=UTC)
    rows = tenant.usage(start, end)
    counts = Counter((one["customer_id"], one["billable_metric_id"]) for one in rows)

    assert any(one["value"] is None for one in rows)
    assert any(one["value"] == 0 for one in rows)
    assert min(counts.values()) < 30
    assert max(counts.values()) == 30


def test_windows_of_a_day_add_up_to_the_day(tenant: Tenant) -> None:
    start, end = datetime(2026, 4, 28, tzinfo=UTC), datetime(2026, 5, 2, tzinfo=UTC)
    adding = {
        one["id"]
        for one in tenant.billable_metrics()
        if one["aggregation_type"] in {"SUM", "COUNT"}
    }
    sums: dict[str, Counter[tuple[str, str]]] = {}
    for window in ("HOUR", "DAY", "NONE"):
        sums[window] = Counter()
        for one in tenant.usage(start, end, window):
            if one["billable_metric_id"] in adding and one["value"]:
                key = one["customer_id"], one["billable_metric_id"]
                sums[window][key] += one["value"]

    assert sums["DAY"]
    assert sums["HOUR"] == sums["DAY"] == sums["NONE"]


def test_a_light_tenant_of_ten_thousand_is_made_quickly() -> None:
    began = time.process_time()
    tenant = Tenant.generate(customers=10_000, now=NOW, scale="light")
    taken = time.process_time() - began

    assert len(tenant.customers()) + len(tenant.customers(archived=True)) == 10_000
    assert taken < 5


def test_numbers_go_over_the_wire_digit_by_digit(api: httpx.Client) -> None:
    """`api` serves the tenant of conftest with another seed; its own documents are compared."""
    text = api.get("/v1/customers").text
    customer = json.loads(text)["data"][1]["id"]
    raw = api.get(f"/v1/customers/{customer}/invoices?limit=100").text
    exact = json.loads(raw, parse_float=Decimal)

    fractions = [
        line["total"]
        for one in exact["data"]
        for line in one["line_items"]
        if isinstance(line["total"], Decimal)
    ]
    assert fractions
    assert all(f":{value}" in raw for value in fractions)
    assert "e-" not in raw.lower().split('"total":')[1][:20]
