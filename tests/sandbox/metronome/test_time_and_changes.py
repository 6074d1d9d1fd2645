"""What moves when time passes or somebody changes something, and that nothing else does."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from metronome_salesforce.sandbox.metronome import Tenant
from metronome_salesforce.sandbox.metronome.exceptions import (
    BadRequestError,
    ConflictError,
    NotFoundError,
)

Document = dict[str, Any]


def at(day: int, hour: int = 7, month: int = 5) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def make(now: datetime) -> Tenant:
    return Tenant.generate(customers=12, seed=3, now=now)


def all_invoices(tenant: Tenant) -> dict[str, Document]:
    customers = tenant.customers() + tenant.customers(archived=True)
    return {one["id"]: one for each in customers for one in tenant.invoices(each["id"])}


def without_payment(document: Document) -> Document:
    return {key: value for key, value in document.items() if key != "external_invoice"}


def draft_of(tenant: Tenant, number: int = 0) -> Document:
    """Return the draft with a billing period of a customer."""
    customer = tenant.customers()[number]["id"]
    return next(
        one
        for one in tenant.invoices(customer)
        if one["status"] == "DRAFT" and "start_timestamp" in one
    )


def test_a_day_in_mid_month_moves_drafts_and_nothing_else() -> None:
    tenant = make(at(20))
    before = all_invoices(tenant)
    fixed = tenant.customers(), tenant.plans(), tenant.billable_metrics()
    tenant.advance(timedelta(days=1))
    after = all_invoices(tenant)

    assert list(before) == list(after)
    moved = {key for key in before if without_payment(before[key]) != without_payment(after[key])}
    assert moved
    for key in moved:
        assert before[key]["status"] == after[key]["status"] == "DRAFT"
        assert before[key]["start_timestamp"][:10] == "2026-05-01"
    assert (tenant.customers(), tenant.plans(), tenant.billable_metrics()) == fixed


def test_only_a_few_payments_move_in_a_day() -> None:
    tenant = make(at(10))
    paid: list[str] = []
    for _ in range(12):
        before = all_invoices(tenant)
        tenant.advance(timedelta(days=1))
        after = all_invoices(tenant)
        for key, document in before.items():
            if document["external_invoice"] != after[key]["external_invoice"]:
                assert after[key]["status"] == "FINALIZED"
                paid.append(after[key]["external_invoice"]["external_status"])

    assert "PAID" in paid


def test_usage_arrives_late_within_34_days_and_never_later() -> None:
    tenant = make(at(20, 0))
    start, end = at(1, 0, 2), at(20, 0)
    before = {
        (one["customer_id"], one["billable_metric_id"], one["start_timestamp"]): one["value"]
        for one in tenant.usage(start, end)
    }
    tenant.advance(timedelta(days=1))
    after = {
        (one["customer_id"], one["billable_metric_id"], one["start_timestamp"]): one["value"]
        for one in tenant.usage(start, end)
    }

    changed = [key[2] for key in after if before.get(key) != after[key]]
    assert 0 < len(changed) < len(after) / 20
    assert min(changed) >= "2026-04-16"
    archived = {one["id"] for one in tenant.customers(archived=True)}
    fresh = {one["customer_id"] for one in tenant.usage(at(20, 0), at(21, 0))}
    assert len(fresh) > 5
    assert not fresh & archived


def test_a_draft_finalizes_a_day_after_its_period_under_the_same_id() -> None:
    tenant = make(at(31, 12))
    drafts = {
        key
        for key, one in all_invoices(tenant).items()
        if one["status"] == "DRAFT" and "start_timestamp" in one
    }

    tenant.advance(timedelta(hours=24))
    grace = all_invoices(tenant)
    new = {key for key in grace if key not in drafts and grace[key]["status"] == "DRAFT"}
    assert all(grace[key]["status"] == "DRAFT" for key in drafts)
    assert {grace[key]["start_timestamp"][:10] for key in new if "start_timestamp" in grace[key]}

    tenant.advance(timedelta(hours=12))
    final = all_invoices(tenant)
    assert {final[key]["status"] for key in drafts} == {"FINALIZED"}
    assert {final[key]["issued_at"][:19] for key in drafts} == {"2026-06-02T00:00:00"}

    tenant.advance(timedelta(days=20))
    later = all_invoices(tenant)
    assert all(without_payment(later[key]) == without_payment(final[key]) for key in drafts)


def test_the_upcoming_plan_starts_and_is_billed() -> None:
    tenant = make(at(31, 12))
    customer = next(one for one in tenant.customers() if len(one["name"]) == 160)["id"]
    plans = tenant.customer_plans(customer)

    tenant.advance(timedelta(days=3))

    names = [one["plan_name"] for one in tenant.invoices(customer)]
    assert names[-1] == plans[0]["plan_name"]
    assert names[-2] == plans[1]["plan_name"]
    assert tenant.customer_plans(customer) == plans


def test_scheduled_drafts_finalize_on_their_date() -> None:
    tenant = make(at(10))
    customer = tenant.customers()[1]["id"]
    future = next(
        one
        for one in tenant.invoices(customer)
        if one["type"] == "SCHEDULED" and one["status"] == "DRAFT"
    )
    due = datetime.fromisoformat(future["issued_at"])

    tenant.advance(due - tenant.now)
    assert all_invoices(tenant)[future["id"]]["status"] == "DRAFT"
    tenant.advance(timedelta(minutes=30))
    assert all_invoices(tenant)[future["id"]]["status"] == "FINALIZED"


def test_steps_and_leaps_lead_to_the_same_place() -> None:
    stepped, leapt = make(at(20)), make(at(20))
    for _ in range(40):
        stepped.advance(timedelta(days=1))
        all_invoices(stepped)
    leapt.advance(timedelta(days=40))

    assert all_invoices(stepped) == all_invoices(leapt)
    assert stepped.credit_grants() == leapt.credit_grants()


def test_grants_are_drawn_down_as_drafts_finalize() -> None:
    tenant = make(at(20))
    grant = next(one for one in tenant.credit_grants() if one["pending_deductions"])
    pending = grant["pending_deductions"][0]

    tenant.advance(timedelta(days=20))

    after = next(one for one in tenant.credit_grants() if one["id"] == grant["id"])
    posted = [one["invoice_id"] for one in after["deductions"]]
    assert pending["invoice_id"] in posted
    assert after["balance"]["excluding_pending"] < grant["balance"]["excluding_pending"]
    assert after["balance"]["effective_at"] > grant["balance"]["effective_at"]


def test_a_voided_grant_vanishes_and_drafts_stop_drawing_on_it() -> None:
    tenant = make(at(20))
    grant = next(one for one in tenant.credit_grants() if one["pending_deductions"])
    draft = grant["pending_deductions"][0]["invoice_id"]
    before = all_invoices(tenant)

    tenant.void_grant(grant["id"])

    after = all_invoices(tenant)
    assert grant["id"] not in {one["id"] for one in tenant.credit_grants()}
    used = {one.get("credit_grant_id") for one in after[draft]["invoice_adjustments"]}
    assert grant["id"] not in used
    assert after[draft]["total"] >= before[draft]["total"]
    finals = [key for key in before if before[key]["status"] != "DRAFT"]
    assert all(
        before[key]["total"] == after[key]["total"]
        and before[key]["status"] == after[key]["status"]
        for key in finals
    )
    with pytest.raises(NotFoundError):
        tenant.void_grant(grant["id"])


def test_voiding_gives_back_what_the_invoice_drew() -> None:
    tenant = make(at(20))
    grant = next(
        one
        for one in tenant.credit_grants()
        if one["deductions"] and one["balance"]["excluding_pending"] > 0
    )
    invoice = grant["deductions"][0]["invoice_id"]

    tenant.void_invoice(invoice)

    after = next(one for one in tenant.credit_grants() if one["id"] == grant["id"])
    changes: Counter[str] = Counter()
    for entry in after["deductions"]:
        changes[entry["invoice_id"]] += entry["amount"]
    assert all_invoices(tenant)[invoice]["status"] == "VOID"
    assert changes[invoice] == 0
    with pytest.raises(BadRequestError):
        tenant.void_invoice(invoice)
    assert tenant.regenerate_invoice(invoice) != invoice
    with pytest.raises(BadRequestError):
        tenant.regenerate_invoice(invoice)


def test_only_finalized_invoices_are_voided_and_only_void_ones_regenerated() -> None:
    tenant = make(at(20))
    draft = draft_of(tenant)["id"]

    for refused in (tenant.void_invoice, tenant.regenerate_invoice, tenant.mark_paid):
        with pytest.raises(BadRequestError):
            refused(draft)
    with pytest.raises(NotFoundError):
        tenant.void_invoice("unknown")


def test_edited_usage_moves_the_draft_but_no_final_invoice() -> None:
    tenant = make(at(20))
    customer, metric = tenant.customers()[0]["id"], tenant.billable_metrics()[0]["id"]
    before = all_invoices(tenant)

    tenant.edit_usage(customer, metric, date(2026, 5, 3), Decimal(777))
    tenant.edit_usage(customer, metric, date(2026, 4, 3), Decimal(777))

    changed = {key for key, one in all_invoices(tenant).items() if before[key] != one}
    assert changed == {draft_of(tenant)["id"]}
    rows = {
        one["start_timestamp"][:10]: one["value"]
        for one in tenant.usage(at(1, 0, 4), at(20, 0))
        if one["customer_id"] == customer and one["billable_metric_id"] == metric
    }
    assert rows["2026-05-03"] == rows["2026-04-03"] == 777
    tenant.edit_usage(customer, metric, date(2026, 5, 3), None)
    assert 777 not in [
        one["value"] for one in tenant.usage(at(3, 0), at(4, 0)) if one["customer_id"] == customer
    ]


def test_usage_can_be_set_for_a_customer_without_any() -> None:
    tenant = make(at(20))
    customer = tenant.add_customer(name="Quiet")
    metric = tenant.billable_metrics()[0]["id"]

    tenant.edit_usage(customer, metric, date(2026, 5, 3), Decimal("1.5"))

    found = [one for one in tenant.usage(at(1, 0), at(20, 0)) if one["customer_id"] == customer]
    assert [one["value"] for one in found] == [Decimal("1.5")]


def test_a_split_line_keeps_the_total_and_merges_again() -> None:
    tenant = make(at(20))
    for number in (0, 1):
        before = draft_of(tenant, number)

        tenant.split_draft_line(before["id"])
        split = draft_of(tenant, number)
        assert len(split["line_items"]) == len(before["line_items"]) + 1
        assert split["total"] == before["total"]
        first, second = split["line_items"][:2]
        assert first["ending_before"] == second["starting_at"]
        tenant.split_draft_line(before["id"])
        assert draft_of(tenant, number) == before


def test_a_deleted_draft_stays_away() -> None:
    tenant = make(at(20))
    draft = draft_of(tenant)["id"]

    tenant.delete_draft_invoice(draft)
    assert draft not in all_invoices(tenant)
    tenant.advance(timedelta(days=30))
    assert draft not in all_invoices(tenant)


def test_a_payment_changes_external_invoice_only() -> None:
    tenant = make(at(4))
    before = all_invoices(tenant)
    unpaid = next(
        key
        for key, one in before.items()
        if one["status"] == "FINALIZED" and one["external_invoice"] is None and one["total"] > 0
    )

    tenant.mark_paid(unpaid)

    after = all_invoices(tenant)
    assert after[unpaid]["external_invoice"]["external_status"] == "PAID"
    assert without_payment(after[unpaid]) == without_payment(before[unpaid])
    assert [key for key in before if before[key] != after[key]] == [unpaid]


def test_archiving_voids_everything_and_is_final() -> None:
    tenant = make(at(20))
    customer = tenant.customers()[0]["id"]
    expected = [one["id"] for one in tenant.invoices(customer)]

    tenant.archive_customer(customer)
    tenant.advance(timedelta(days=40))

    assert expected == [one["id"] for one in tenant.invoices(customer)]
    assert {"VOID"} == {one["status"] for one in tenant.invoices(customer)}
    assert customer in {one["id"] for one in tenant.customers(archived=True)}
    assert customer not in {one["customer_id"] for one in tenant.usage(at(21, 0), at(22, 0))}
    with pytest.raises(BadRequestError):
        tenant.archive_customer(customer)


def test_raw_documents_are_listed_as_they_are_and_can_be_acted_on() -> None:
    tenant = make(at(20))
    customer = tenant.customers()[0]["id"]
    odd = {"id": "raw-1", "status": "FINALIZED", "total": None, "line_items": None}

    tenant.add_invoice(customer, odd)
    assert odd in tenant.invoices(customer)
    tenant.mark_paid("raw-1")
    tenant.void_invoice("raw-1")
    found = next(one for one in tenant.invoices(customer) if one["id"] == "raw-1")
    assert found["external_invoice"]["external_status"] == "PAID"
    assert found["status"] == "VOID"
    assert odd["status"] == "FINALIZED"


def test_customers_are_renamed_linked_tagged_and_deleted() -> None:
    tenant = make(at(20))
    one, two = tenant.customers()[:2]

    tenant.rename_customer(one["id"], "x" * 300)
    tenant.set_salesforce_account(one["id"], "001A")
    tenant.set_custom_field(one["id"], "tier", None)
    tenant.set_custom_field(one["id"], "region", "us")
    changed = tenant.customer(one["id"])
    assert changed["name"] == "x" * 160
    assert changed["customer_config"] == {"salesforce_account_id": "001A"}
    assert changed["custom_fields"] == {"region": "us"}
    assert tenant.invoices(one["id"])[0]["customer_custom_fields"] == {"region": "us"}
    assert tenant.customer(two["id"]) == two

    with pytest.raises(ConflictError):
        tenant.set_ingest_aliases(one["id"], two["ingest_aliases"])
    tenant.set_ingest_aliases(one["id"], [])
    assert tenant.customer(one["id"])["ingest_aliases"] == []

    tenant.delete_customer(one["id"])
    for query in (tenant.customer, tenant.invoices, tenant.customer_plans):
        with pytest.raises(NotFoundError):
            query(one["id"])
    assert one["id"] not in {grant["customer_id"] for grant in tenant.credit_grants()}


def test_an_added_customer_on_a_plan_is_metered_and_billed() -> None:
    tenant = make(at(20))
    plan = tenant.plans()[0]

    customer = tenant.add_customer(name="Newcomer", plan_id=plan["id"])
    tenant.advance(timedelta(days=3))

    assert [one["plan_name"] for one in tenant.customer_plans(customer)] == [plan["name"]]
    assert customer in {one["customer_details"]["id"] for one in tenant.plan_customers(plan["id"])}
    drafts = tenant.invoices(customer)
    assert [one["status"] for one in drafts] == ["DRAFT"]
    assert drafts[0]["total"] > 0
    assert any(one["customer_id"] == customer for one in tenant.usage(at(20, 0), at(23, 0)))


def test_time_goes_forward_only() -> None:
    with pytest.raises(ValueError, match="forward"):
        make(at(20)).advance(timedelta(seconds=-1))
