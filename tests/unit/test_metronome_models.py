"""Metronome's documents as the API reference shows them, and what may be missing from them."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from metronome_salesforce.metronome.models import (
    BillableMetric,
    CreditGrant,
    Customer,
    Invoice,
    LineItem,
    Plan,
    PlanAssignment,
    Usage,
    first_problem,
    readable_identifier,
)
from metronome_salesforce.metronome.paging import decoded

CUSTOMER = """{"id": "0b9a3c1e-7a55-4c0e-9d0a-3f6b1f1f0001", "external_id": "acme-prod",
 "ingest_aliases": ["acme-prod", "acme-eu"], "name": "Acme Robotics",
 "customer_config": {"salesforce_account_id": "001Hs00001AbCdEIAV"},
 "custom_fields": {"tier": "gold"}, "created_at": "2025-11-03T09:12:44.000Z",
 "updated_at": "2026-02-01T00:00:00.000Z", "archived_at": null,
 "current_billable_status": {"value": "billable", "effective_at": null}}"""

PLAN = """{"id": "7d1c0b0a-0000-4000-8000-000000000010", "name": "Growth",
 "description": "For teams", "custom_fields": {}}"""

ASSIGNMENT = """{"customer_details": {"id": "0b9a3c1e-7a55-4c0e-9d0a-3f6b1f1f0001",
  "external_id": "acme-prod", "ingest_aliases": [], "name": "Acme Robotics",
  "customer_config": {"salesforce_account_id": null}, "custom_fields": {},
  "created_at": "2025-11-03T09:12:44Z", "updated_at": "2026-02-01T00:00:00Z"},
 "plan_details": {"id": "7d1c0b0a-0000-4000-8000-000000000010",
  "customer_plan_id": "7d1c0b0a-0000-4000-8000-0000000000aa", "name": "Growth",
  "starting_on": "2026-01-01T00:00:00Z", "ending_before": null, "custom_fields": {}}}"""

CONTRACT_INVOICE = """{"id": "5f0d7c1e-1111-5c3a-9b1d-aaaaaaaaaaaa",
 "customer_id": "0b9a3c1e-7a55-4c0e-9d0a-3f6b1f1f0001", "type": "USAGE", "status": "DRAFT",
 "credit_type": {"id": "2714e483-4ff1-48e4-9e25-ac732e8f24f2", "name": "USD (cents)"},
 "start_timestamp": "2026-02-01T00:00:00+00:00", "end_timestamp": "2026-03-01T00:00:00+00:00",
 "issued_at": "2026-03-02T00:00:00+00:00", "contract_id": "c0000000-0000-4000-8000-000000000001",
 "total": 3050.75, "external_invoice": null, "billable_status": "billable",
 "customer_custom_fields": {}, "contract_custom_fields": {"sfdc_opportunity_id": "006Hs00001XyZ"},
 "custom_fields": {}, "line_items": [
  {"type": "usage", "name": "GPU hours", "product_id": "d0000000-0000-4000-8000-000000000001",
   "product_type": "UsageProductListItem",
   "credit_type": {"id": "2714e483-4ff1-48e4-9e25-ac732e8f24f2", "name": "USD (cents)"},
   "quantity": 50, "unit_price": 100, "total": 5000, "starting_at": "2026-02-01T00:00:00+00:00",
   "ending_before": "2026-03-01T00:00:00+00:00", "pricing_group_values": {"region": "eu"},
   "commit_id": "e0000000-0000-4000-8000-000000000001",
   "commit_segment_id": "e1000000-0000-4000-8000-000000000001", "commit_type": "PrepaidCommit"},
  {"type": "applied_commit_or_credit", "name": "2026 prepaid applied",
   "credit_type": {"id": "2714e483-4ff1-48e4-9e25-ac732e8f24f2", "name": "USD (cents)"},
   "total": -5000, "commit_id": "e0000000-0000-4000-8000-000000000001",
   "applied_commit_or_credit":
    {"id": "e0000000-0000-4000-8000-000000000001", "type": "PREPAID"}},
  {"type": "usage", "name": "GPU hours", "product_id": "d0000000-0000-4000-8000-000000000001",
   "credit_type": {"id": "2714e483-4ff1-48e4-9e25-ac732e8f24f2", "name": "USD (cents)"},
   "quantity": 30.5075, "unit_price": 100, "total": 3050.75,
   "tier": {"level": 2, "starting_at": "50", "size": null},
   "presentation_group_values": {"team": null}}]}"""

PLAN_INVOICE = """{"id": "5f0d7c1e-2222-5c3a-9b1d-bbbbbbbbbbbb",
 "customer_id": "0b9a3c1e-7a55-4c0e-9d0a-3f6b1f1f0001", "type": "PLAN_ARREARS",
 "status": "FINALIZED",
 "credit_type": {"id": "2714e483-4ff1-48e4-9e25-ac732e8f24f2", "name": "USD (cents)"},
 "plan_id": "7d1c0b0a-0000-4000-8000-000000000010", "plan_name": "Growth", "subtotal": 2000,
 "total": 1500, "invoice_adjustments": [{"name": "Welcome credit", "total": -500,
  "credit_type": {"id": "2714e483-4ff1-48e4-9e25-ac732e8f24f2", "name": "USD (cents)"},
  "credit_grant_id": "f0000000-0000-4000-8000-000000000001"}],
 "external_invoice": {"billing_provider_type": "stripe", "invoice_id": "in_123",
  "external_status": "PAID", "issued_at_timestamp": "2026-02-02T00:00:00Z"},
 "line_items": [{"type": "usage", "name": "Platform", "quantity": 1, "total": 2000,
  "credit_type": {"id": "2714e483-4ff1-48e4-9e25-ac732e8f24f2", "name": "USD (cents)"},
  "sub_line_items": [{"name": "API calls", "quantity": 1000, "subtotal": 2000,
   "charge_id": "a0000000-0000-4000-8000-000000000001", "custom_fields": {},
   "tiers": [{"starting_at": 0, "quantity": 1000, "price": 2, "subtotal": 2000}]}]}]}"""

GRANT = """{"id": "f0000000-0000-4000-8000-000000000001",
 "customer_id": "0b9a3c1e-7a55-4c0e-9d0a-3f6b1f1f0001", "name": "Welcome credit",
 "effective_at": "2026-01-01T00:00:00Z", "expires_at": "2026-07-01T00:00:00Z", "priority": 1,
 "grant_amount": {"amount": 10000,
  "credit_type": {"id": "2714e483-4ff1-48e4-9e25-ac732e8f24f2", "name": "USD (cents)"}},
 "paid_amount": {"amount": 0,
  "credit_type": {"id": "2714e483-4ff1-48e4-9e25-ac732e8f24f2", "name": "USD (cents)"}},
 "balance": {"excluding_pending": 9500, "including_pending": 9100,
  "effective_at": "2026-03-01T00:00:00Z"},
 "custom_fields": {}, "credit_grant_type": "trial", "reason": null, "invoice_id": null,
 "uniqueness_key": null,
 "deductions": [{"amount": 500, "running_balance": 9500, "reason": "Automated invoice deduction",
  "effective_at": "2026-02-01T00:00:00Z", "created_by": "Metronome System",
  "credit_grant_id": "f0000000-0000-4000-8000-000000000001",
  "invoice_id": "5f0d7c1e-2222-5c3a-9b1d-bbbbbbbbbbbb"}],
 "pending_deductions": []}"""

USAGE = """{"customer_id": "0b9a3c1e-7a55-4c0e-9d0a-3f6b1f1f0001",
 "billable_metric_id": "b0000000-0000-4000-8000-000000000001",
 "billable_metric_name": "GPU hours", "start_timestamp": "2026-02-01T00:00:00Z",
 "end_timestamp": "2026-02-02T00:00:00Z", "value": 12.25, "groups": {"eu": 12.25, "us": null}}"""

METRIC = """{"id": "b0000000-0000-4000-8000-000000000001", "name": "GPU hours",
 "aggregation_type": "SUM", "aggregation_key": "hours", "group_keys": [["region"]]}"""


def read(text: str) -> Any:
    return decoded(text.encode())


def test_a_customer() -> None:
    customer = Customer.model_validate(read(CUSTOMER))
    assert customer.id == "0b9a3c1e-7a55-4c0e-9d0a-3f6b1f1f0001"
    assert customer.name == "Acme Robotics"
    assert customer.customer_config.salesforce_account_id == "001Hs00001AbCdEIAV"
    assert customer.custom_fields == {"tier": "gold"}
    assert customer.ingest_aliases == ("acme-prod", "acme-eu")
    assert customer.archived_at is None


def test_a_plan() -> None:
    plan = Plan.model_validate(read(PLAN))
    assert (plan.id, plan.name, plan.description) == (
        "7d1c0b0a-0000-4000-8000-000000000010",
        "Growth",
        "For teams",
    )


def test_a_plan_assignment() -> None:
    assignment = PlanAssignment.model_validate(read(ASSIGNMENT))
    assert assignment.customer_details.id == "0b9a3c1e-7a55-4c0e-9d0a-3f6b1f1f0001"
    details = assignment.plan_details
    assert details.customer_plan_id == "7d1c0b0a-0000-4000-8000-0000000000aa"
    assert details.starting_on == datetime(2026, 1, 1, tzinfo=UTC)
    assert details.ending_before is None


def test_an_invoice_of_a_contract() -> None:
    invoice = Invoice.model_validate(read(CONTRACT_INVOICE))
    assert (invoice.status, invoice.type) == ("DRAFT", "USAGE")
    assert invoice.credit_type.name == "USD (cents)"
    assert invoice.total == Decimal("3050.75")
    assert invoice.subtotal is None
    assert invoice.end_timestamp == datetime(2026, 3, 1, tzinfo=UTC)
    assert invoice.external_invoice is None
    first, applied, second = invoice.line_items
    assert first.quantity == 50
    assert first.commit_segment_id == "e1000000-0000-4000-8000-000000000001"
    assert first.pricing_group_values == {"region": "eu"}
    assert first.starting_at == datetime(2026, 2, 1, tzinfo=UTC)
    assert (applied.total, applied.quantity) == (Decimal(-5000), None)
    assert second.quantity == Decimal("30.5075")
    assert second.tier is not None
    assert second.tier.level == 2
    assert second.presentation_group_values == {"team": None}


def test_an_invoice_of_a_plan() -> None:
    invoice = Invoice.model_validate(read(PLAN_INVOICE))
    assert invoice.plan_name == "Growth"
    assert (invoice.subtotal, invoice.total) == (Decimal(2000), Decimal(1500))
    assert (invoice.start_timestamp, invoice.issued_at) == (None, None)
    assert invoice.external_invoice is not None
    assert invoice.external_invoice.invoice_id == "in_123"
    assert invoice.external_invoice.external_status == "PAID"
    (adjustment,) = invoice.invoice_adjustments
    assert (adjustment.name, adjustment.total) == ("Welcome credit", Decimal(-500))
    assert adjustment.credit_grant_id == "f0000000-0000-4000-8000-000000000001"
    (charge,) = invoice.line_items[0].sub_line_items
    assert (charge.quantity, charge.subtotal) == (Decimal(1000), Decimal(2000))
    assert charge.name == "API calls"
    assert (charge.price, charge.charge_id) == (None, "a0000000-0000-4000-8000-000000000001")


def test_a_credit_grant() -> None:
    grant = CreditGrant.model_validate(read(GRANT))
    assert grant.grant_amount.amount == 10000
    assert grant.paid_amount is not None
    assert grant.paid_amount.amount == 0
    assert grant.balance.excluding_pending == 9500
    assert grant.balance.including_pending == 9100
    assert grant.expires_at == datetime(2026, 7, 1, tzinfo=UTC)


def test_usage_and_its_metric() -> None:
    usage = Usage.model_validate(read(USAGE))
    assert (usage.value, usage.billable_metric_name) == (Decimal("12.25"), "GPU hours")
    metric = BillableMetric.model_validate(read(METRIC))
    assert (metric.id, metric.aggregation_type) == (usage.billable_metric_id, "SUM")


DOCUMENTS: list[tuple[type[BaseModel], str]] = [
    (Customer, CUSTOMER),
    (Plan, PLAN),
    (PlanAssignment, ASSIGNMENT),
    (Invoice, CONTRACT_INVOICE),
    (Invoice, PLAN_INVOICE),
    (CreditGrant, GRANT),
    (Usage, USAGE),
    (BillableMetric, METRIC),
]


@pytest.mark.parametrize(("model", "text"), DOCUMENTS)
def test_unknown_fields_and_values_are_tolerated(model: type[BaseModel], text: str) -> None:
    """A field, a status or a type that Metronome adds tomorrow stops nothing."""
    document = read(text) | {"added_tomorrow": {"deeply": [1, None]}}
    document |= {key: "TOMORROWS_WORD" for key in ("status", "type") if key in document}
    assert "added_tomorrow" in (model.model_validate(document).model_extra or {})


@pytest.mark.parametrize(("model", "text"), DOCUMENTS)
def test_values_cannot_be_changed(model: type[BaseModel], text: str) -> None:
    value = model.model_validate(read(text))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(value, next(iter(model.model_fields)), None)


REQUIRED = {
    Customer: {"id", "name", "customer_config", "custom_fields"},
    Plan: {"id", "name", "description"},
    PlanAssignment: {"customer_details", "plan_details"},
    Invoice: {"id", "customer_id", "status", "type", "credit_type", "total", "line_items"},
    CreditGrant: {
        "id", "customer_id", "name", "grant_amount", "paid_amount", "balance", "effective_at",
        "expires_at",
    },
    Usage: {
        "customer_id", "billable_metric_id", "billable_metric_name", "start_timestamp",
        "end_timestamp", "value",
    },
    BillableMetric: {"id", "name"},
}  # fmt: skip
MAY_BE_NULL = {
    Customer: {"name", "custom_fields"},
    Plan: {"name", "description"},
    PlanAssignment: set(),
    Invoice: {"type", "total"},
    CreditGrant: {"name", "paid_amount", "effective_at", "expires_at"},
    Usage: {"billable_metric_name", "value"},
    BillableMetric: {"name"},
}


@pytest.mark.parametrize(("model", "text"), DOCUMENTS)
def test_what_is_missing_is_named_if_it_is_required(model: type[BaseModel], text: str) -> None:
    """Each key in turn: a required one makes the item malformed, any other one may be absent."""
    for key in read(text):
        document = {name: value for name, value in read(text).items() if name != key}
        if key in REQUIRED[model]:
            with pytest.raises(ValidationError) as caught:
                model.model_validate(document)
            assert first_problem(caught.value, "data[0]") == (f"data[0].{key}", "is missing")
        else:
            model.model_validate(document)


@pytest.mark.parametrize(("model", "text"), DOCUMENTS)
def test_null_is_taken_where_an_empty_field_can_stand_for_it(
    model: type[BaseModel], text: str
) -> None:
    """Names, amounts and dates; but no ids, no units, and no list whose loss would delete rows."""
    for key in read(text):
        document = read(text) | {key: None}
        if key in REQUIRED[model] - MAY_BE_NULL[model]:
            with pytest.raises(ValidationError):
                model.model_validate(document)
        else:
            model.model_validate(document)


def test_null_amounts_of_lines_are_taken_too() -> None:
    document = read(PLAN_INVOICE)
    line = document["line_items"][0]
    line |= {"total": None, "quantity": None, "name": None, "unit_price": None}
    line["sub_line_items"][0] |= {"quantity": None, "subtotal": None, "name": None}
    document["invoice_adjustments"][0] |= {"total": None, "name": None}
    invoice = Invoice.model_validate(document)
    assert (invoice.line_items[0].name, invoice.line_items[0].total) == ("", None)
    assert invoice.line_items[0].sub_line_items[0].subtotal is None
    assert invoice.invoice_adjustments[0].total is None


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2026-02-01T00:00:00Z", datetime(2026, 2, 1, tzinfo=UTC)),
        ("2026-02-01T00:00:00.000Z", datetime(2026, 2, 1, tzinfo=UTC)),
        ("2026-02-01T00:00:00+00:00", datetime(2026, 2, 1, tzinfo=UTC)),
        ("2026-02-01T01:30:00+01:30", datetime(2026, 2, 1, tzinfo=UTC)),
        ("2026-02-01T12:34:56.123456789Z", datetime(2026, 2, 1, 12, 34, 56, 123456, tzinfo=UTC)),
    ],
)
def test_timestamps_in_every_form_are_utc(written: str, meant: datetime) -> None:
    usage = Usage.model_validate(read(USAGE) | {"start_timestamp": written})
    assert usage.start_timestamp == meant
    assert usage.start_timestamp.tzinfo is UTC


@pytest.mark.parametrize(
    "written",
    [
        "", "2026-02-01", "2026-02-01T00:00:00", "1767225600", "2026-02-30T00:00:00Z", "tomorrow",
        "0001-01-01T00:00:00+01:00", 1767225600, 12.5, True, {},
    ],
)  # fmt: skip
def test_a_time_without_zone_or_meaning_is_malformed(written: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        Usage.model_validate(read(USAGE) | {"start_timestamp": written})
    path, problem = first_problem(caught.value, "data[7]")
    assert path == "data[7].start_timestamp"
    assert problem.startswith("must be a")


@given(st.decimals(-(10**20), 10**20, places=12) | st.integers(-(10**38), 10**38))
def test_amounts_are_exact(amount: Decimal | int) -> None:
    document = read(USAGE) | {"value": decoded(str(amount).encode())}
    assert Usage.model_validate(document).value == amount


@given(st.text())
def test_any_text_is_taken_as_it_is(name: str) -> None:
    """Emoji, quotes, line breaks, three hundred characters: cutting is another module's work."""
    assert Plan.model_validate(read(PLAN) | {"name": name}).name == name


@pytest.mark.parametrize(
    ("escaped", "name"),
    [
        (r"a\ud800b", "a\ufffdb"),
        (r"\udc00", "\ufffd"),
        (r"\ud83d\ude80", "\U0001f680"),
    ],
)
def test_half_a_character_is_replaced(escaped: str, name: str) -> None:
    """JSON can name half a character; SQLite and UTF-8 cannot store one."""
    plan = Plan.model_validate(decoded(PLAN.replace("Growth", escaped).encode()))
    assert plan.name == name
    assert plan.name.encode()


@given(st.text(alphabet=st.characters(categories=("Cs", "Lu", "So"))))
def test_every_text_can_be_stored(name: str) -> None:
    """Whole characters stay, in their order, whatever stands between them."""
    stored = Plan.model_validate(read(PLAN) | {"name": name}).name
    assert stored.encode().decode() == stored
    whole = [char for char in stored if char != "\ufffd"]
    joined = name.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
    assert whole == [char for char in joined if char != "\ufffd"]


def test_keys_that_a_customer_chose_do_not_show_in_a_path() -> None:
    document = read(CUSTOMER) | {"custom_fields": {"SECRET": ["SECRET"]}}
    with pytest.raises(ValidationError) as caught:
        Customer.model_validate(document)
    assert "SECRET" not in repr(first_problem(caught.value, "data[0]")) + str(caught.value)


@pytest.mark.parametrize(
    ("document", "keys", "expected"),
    [
        ({"id": "c-1"}, ("id",), "c-1"),
        ({"a": {"id": "c-1"}}, ("a", "id"), "c-1"),
        ({"id": None}, ("id",), None),
        ({"id": "two words"}, ("id",), None),
        ({"id": "x" * 200}, ("id",), None),
        ({"a": [1]}, ("a", "id"), None),
        (None, ("id",), None),
        ([], ("id",), None),
    ],
)
def test_an_id_is_read_from_any_shape(
    document: Any, keys: tuple[str, ...], expected: str | None
) -> None:
    assert readable_identifier(document, *keys) == expected


def test_what_identifies_a_line_is_all_there() -> None:
    """Every part of the external id that lines get, because Metronome gives them none."""
    parts = {
        "type", "product_id", "name", "commit_id", "commit_segment_id", "scheduled_charge_id",
        "subscription_id", "discount_id", "starting_at", "ending_before", "pricing_group_values",
        "presentation_group_values", "tier", "unit_price",
    }  # fmt: skip
    assert parts <= set(LineItem.model_fields)
