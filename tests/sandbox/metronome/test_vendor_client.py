"""The vendor's own Python client, with strict validation, reads everything the sandbox serves."""

from collections import Counter
from datetime import UTC, datetime

import pytest
from metronome import ConflictError, Metronome, NotFoundError

from metronome_salesforce.sandbox.metronome import MetronomeSandbox, PageLimits, Tenant

START, END = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 5, 6, tzinfo=UTC)


def test_customers_of_both_lists_over_several_pages(sdk: Metronome, tenant: Tenant) -> None:
    for archived in (False, True):
        listed = list(sdk.v1.customers.list(limit=4, only_archived=archived))

        assert [one["id"] for one in tenant.customers(archived=archived)] == [
            one.id for one in listed
        ]
        assert all((one.archived_at is not None) == archived for one in listed)


def test_customers_can_be_asked_by_ids_alias_and_salesforce_id(
    sdk: Metronome, tenant: Tenant
) -> None:
    first, second = tenant.customers()[:2]
    tenant.set_salesforce_account(second["id"], "001Hs00001AbCdEIAV")

    by_ids = sdk.v1.customers.list(customer_ids=[first["id"], second["id"]])
    by_alias = sdk.v1.customers.list(ingest_alias=first["ingest_aliases"][-1])
    by_account = sdk.v1.customers.list(salesforce_account_ids=["001Hs00001AbCdEIAV", "x"])

    assert {first["id"], second["id"]} == {one.id for one in by_ids}
    assert [first["id"]] == [one.id for one in by_alias]
    assert [second["id"]] == [one.id for one in by_account]
    assert sdk.v1.customers.retrieve(customer_id=first["id"]).data.name == first["name"]


def test_plans_with_their_charges_and_customers(sdk: Metronome, tenant: Tenant) -> None:
    plans = list(sdk.v1.plans.list(limit=2))

    assert [plan["id"] for plan in tenant.plans()] == [plan.id for plan in plans]
    for plan in plans:
        assert sdk.v1.plans.get_details(plan_id=plan.id).data.name == plan.name
        assert list(sdk.v1.plans.list_charges(plan_id=plan.id, limit=1))
        everyone = sdk.v1.plans.list_customers(plan_id=plan.id, status="all", limit=2)
        assert [
            one["plan_details"]["customer_plan_id"] for one in tenant.plan_customers(plan.id)
        ] == [one.plan_details.customer_plan_id for one in everyone]


def test_plan_customers_by_status_partition_all(sdk: Metronome, tenant: Tenant) -> None:
    counts: Counter[str] = Counter()
    for plan in tenant.plans():
        for status in ("all", "active", "ended", "upcoming"):
            found = list(sdk.v1.plans.list_customers(plan_id=plan["id"], status=status))
            counts[status] += len(found)
        default = list(sdk.v1.plans.list_customers(plan_id=plan["id"]))
        counts["default"] += len(default)

    assert counts["all"] == counts["active"] + counts["ended"] + counts["upcoming"]
    assert counts["default"] == counts["active"]
    assert min(counts.values()) > 0


def test_every_customers_plans_metrics_and_invoices(sdk: Metronome, tenant: Tenant) -> None:
    for customer in tenant.customers() + tenant.customers(archived=True):
        key = customer["id"]
        plans = list(sdk.v1.customers.plans.list(customer_id=key, limit=1))
        assert [one["id"] for one in tenant.customer_plans(key)] == [one.id for one in plans]
        for plan in plans:
            prices = sdk.v1.customers.plans.list_price_adjustments(
                customer_id=key, customer_plan_id=plan.id
            )
            assert not list(prices)
        assert list(sdk.v1.customers.list_billable_metrics(customer_id=key, limit=2))
        invoices = list(sdk.v1.customers.invoices.list(customer_id=key, limit=2))
        assert [one["id"] for one in tenant.invoices(key)] == [one.id for one in invoices]
        for invoice in invoices[:2]:
            got = sdk.v1.customers.invoices.retrieve(customer_id=key, invoice_id=invoice.id)
            assert got.data.status == invoice.status


def test_credit_grants_ledgers_and_credit_types(sdk: Metronome, tenant: Tenant) -> None:
    grants = list(sdk.v1.credit_grants.list(limit=3))
    entries = list(sdk.v1.credit_grants.list_entries())
    units = {one.name for one in sdk.v1.pricing_units.list(limit=7)}

    assert [one["id"] for one in tenant.credit_grants()] == [one.id for one in grants]
    assert {one.customer_id for one in grants} == {one.customer_id for one in entries}
    assert {"USD (cents)", "EUR", "Compute Credits"} <= units


def test_usage_of_all_customers_is_paged_without_loss(
    sdk: Metronome, sandbox: MetronomeSandbox, tenant: Tenant
) -> None:
    sandbox.page_limits = PageLimits(usage=33)

    for window in ("HOUR", "DAY", "NONE"):
        listed = list(sdk.v1.usage.list(starting_on=START, ending_before=END, window_size=window))
        expected = tenant.usage(START, END, window)
        assert [
            (one["customer_id"], one["billable_metric_id"], one["start_timestamp"])
            for one in expected
        ] == [
            (one.customer_id, one.billable_metric_id, f"{one.start_timestamp:%Y-%m-%dT%H:%M:%SZ}")
            for one in listed
        ]


def test_usage_of_chosen_customers_and_metrics_with_groups(sdk: Metronome, tenant: Tenant) -> None:
    customer = tenant.customers()[0]["id"]
    metric = tenant.billable_metrics()[1]["id"]

    listed = list(
        sdk.v1.usage.list(
            starting_on=START,
            ending_before=END,
            window_size="DAY",
            customer_ids=[customer],
            billable_metrics=[{"id": metric, "group_by": {"key": "region"}}],
        )
    )

    assert {(customer, metric)} == {(one.customer_id, one.billable_metric_id) for one in listed}
    filled = [one for one in listed if one.value]
    assert filled
    for one in filled:
        parts = [part or 0 for part in (one.groups or {}).values()]
        assert one.value == pytest.approx(sum(parts))


def test_usage_groups_by_simple_and_compound_keys(sdk: Metronome, tenant: Tenant) -> None:
    customer, metric = tenant.customers()[0]["id"], tenant.billable_metrics()[1]["id"]

    simple = list(
        sdk.v1.usage.list_with_groups(
            customer_id=customer,
            billable_metric_id=metric,
            window_size="DAY",
            starting_on=START,
            ending_before=END,
            group_key=["region"],
            group_filters={"region": ["eu"]},
            limit=2,
        )
    )
    compound = list(
        sdk.v1.usage.list_with_groups(
            customer_id=customer,
            billable_metric_id=metric,
            window_size="NONE",
            current_period=True,
            group_key=["region", "instance"],
        )
    )

    assert {"eu"} == {one.group_value for one in simple}
    assert {"eu", "us", "ap"} == {(one.group or {})["region"] for one in compound}


def test_metrics_and_custom_field_keys(sdk: Metronome) -> None:
    live = list(sdk.v1.billable_metrics.list(limit=2))
    all_of_them = list(sdk.v1.billable_metrics.list(include_archived=True))

    assert len(live) + 1 == len(all_of_them)
    assert sdk.v1.billable_metrics.retrieve(billable_metric_id=live[0].id).data.name
    assert {"contract"} == {
        one.entity for one in sdk.v1.custom_fields.list_keys(entities=["contract"])
    }


def test_contracts_are_empty_for_known_customers(sdk: Metronome, tenant: Tenant) -> None:
    assert not list(sdk.v2.contracts.list(customer_id=tenant.customers()[1]["id"]))


def test_writes_of_the_vendors_client(sdk: Metronome, tenant: Tenant) -> None:
    made = sdk.v1.customers.create(name="N" * 300, ingest_aliases=["new-one"]).data
    sdk.v1.customers.update_config(customer_id=made.id, salesforce_account_id="001x")
    sdk.v1.customers.set_ingest_aliases(customer_id=made.id, ingest_aliases=["newer"])
    sdk.v1.custom_fields.set_values(
        entity="customer", entity_id=made.id, custom_fields={"tier": "silver"}
    )

    assert len(made.name) == 160
    document = tenant.customer(made.id)
    assert document["customer_config"] == {"salesforce_account_id": "001x"}
    assert document["ingest_aliases"] == ["newer"]
    assert document["custom_fields"] == {"tier": "silver"}
    assert sdk.v1.customers.set_name(customer_id=made.id, name="Renamed").data.name == "Renamed"
    with pytest.raises(ConflictError):
        sdk.v1.customers.create(name="Again", ingest_aliases=["newer"])

    sdk.v1.customers.update_config(customer_id=made.id, salesforce_account_id=None)
    sdk.v1.customers.archive(id=made.id)
    assert tenant.customer(made.id)["customer_config"] == {"salesforce_account_id": None}
    assert made.id in {one["id"] for one in tenant.customers(archived=True)}


def test_voiding_and_regenerating_through_the_vendors_client(
    sdk: Metronome, tenant: Tenant
) -> None:
    customer = tenant.customers()[1]["id"]
    final = next(
        one
        for one in tenant.invoices(customer)
        if one["status"] == "FINALIZED" and one["type"] == "USAGE"
    )

    sdk.v1.invoices.void(id=final["id"])
    again = sdk.v1.invoices.regenerate(id=final["id"]).data
    grant = tenant.credit_grants()[0]
    sdk.v1.credit_grants.void(id=grant["id"])

    invoices = {one["id"]: one for one in tenant.invoices(customer)}
    assert again is not None
    assert invoices[final["id"]]["status"] == "VOID"
    assert invoices[again.id]["regenerated_from_invoice_id"] == final["id"]
    assert invoices[again.id]["start_timestamp"][:10] == final["start_timestamp"][:10]
    assert grant["id"] not in {one.id for one in sdk.v1.credit_grants.list()}


def test_a_deleted_customer_is_unknown_everywhere(sdk: Metronome, tenant: Tenant) -> None:
    customer = tenant.customers()[0]["id"]
    tenant.delete_customer(customer)

    with pytest.raises(NotFoundError):
        sdk.v1.customers.retrieve(customer_id=customer)
    with pytest.raises(NotFoundError):
        sdk.v1.customers.invoices.list(customer_id=customer)
    with pytest.raises(NotFoundError):
        sdk.v1.customers.plans.list(customer_id=customer)
    usage = sdk.v1.usage.list(starting_on=START, ending_before=END, window_size="NONE")
    assert customer not in {one.customer_id for one in usage}
    assert customer not in {one.customer_id for one in sdk.v1.credit_grants.list()}
    for plan in tenant.plans():
        listed = sdk.v1.plans.list_customers(plan_id=plan["id"], status="all")
        assert customer not in {one.customer_details.id for one in listed}
