"""Answer requests about customers, plans, metrics, custom fields and contracts.

Each handler takes a `Call` and returns the document of a 200, or None for a 200 without a body.
"""

from metronome_salesforce.sandbox.metronome import documents
from metronome_salesforce.sandbox.metronome.calls import Call
from metronome_salesforce.sandbox.metronome.catalogue import (
    CREDIT_TYPES,
    CUSTOM_FIELD_KEYS,
    USD,
)
from metronome_salesforce.sandbox.metronome.exceptions import BadRequestError, NotFoundError
from metronome_salesforce.sandbox.metronome.values import Assignment, CreditType, Document

_STATUSES = ("all", "active", "ended", "upcoming")
_LONGEST_VALUE = 200
_LONGEST_ALIAS = 128
_MOST_ALIASES = 2_000


def list_customers(call: Call) -> Document:
    """GET /v1/customers: active customers, or archived ones; never both."""
    ids = call.texts("customer_ids")
    accounts = call.texts("salesforce_account_ids")
    alias = call.text("ingest_alias")
    found = call.tenant.listed_customers(call.flag("only_archived"))
    if ids is not None or accounts is not None or alias is not None:
        found = [
            one
            for one in found
            if (ids is None or one.id in ids)
            and (accounts is None or one.salesforce_account_id in accounts)
            and (alias is None or alias in one.ingest_aliases)
        ]
    return call.page(found, documents.customer_document)


def get_customer(call: Call) -> Document:
    """GET /v1/customers/{customer_id}."""
    return {"data": call.tenant.customer(call.ids["customer_id"])}


def create_customer(call: Call) -> Document:
    """POST /v1/customers."""
    name = call.required("name")
    aliases = call.strings("ingest_aliases") or []
    fields = call.string_map("custom_fields")
    _check_aliases(aliases)
    _check_fields("customer", fields)
    made = call.tenant.add_customer(name=name, ingest_aliases=aliases, custom_fields=fields)
    return {"data": documents.short_customer_document(call.tenant.find_customer(made))}


def set_name(call: Call) -> Document:
    """POST /v1/customers/{customer_id}/setName."""
    customer = call.tenant.find_customer(call.ids["customer_id"])
    call.tenant.rename_customer(customer.id, call.required("name"))
    return {"data": documents.short_customer_document(customer)}


def update_config(call: Call) -> None:
    """POST /v1/customers/{customer_id}/updateConfig; null clears the Salesforce id."""
    customer = call.tenant.find_customer(call.ids["customer_id"])
    call.field("leave_stripe_invoices_in_draft", bool, required=False)
    account = call.field("salesforce_account_id", str, required=False)
    if "salesforce_account_id" in call.body:
        call.tenant.set_salesforce_account(customer.id, account)


def set_ingest_aliases(call: Call) -> None:
    """POST /v1/customers/{customer_id}/setIngestAliases."""
    customer = call.tenant.find_customer(call.ids["customer_id"])
    aliases = call.strings("ingest_aliases", required=True) or []
    _check_aliases(aliases)
    call.tenant.set_ingest_aliases(customer.id, aliases)


def archive_customer(call: Call) -> Document:
    """POST /v1/customers/archive."""
    customer_id = call.required("id")
    call.tenant.archive_customer(customer_id)
    return {"data": {"id": customer_id}}


def list_plans(call: Call) -> Document:
    """GET /v1/plans."""
    return call.page(call.tenant.catalogue.plans, documents.plan_document)


def get_plan(call: Call) -> Document:
    """GET /v1/planDetails/{plan_id}."""
    plan = call.tenant.find_plan(call.ids["plan_id"])
    return {"data": documents.plan_detail_document(plan, USD)}


def list_charges(call: Call) -> Document:
    """GET /v1/planDetails/{plan_id}/charges."""
    plan = call.tenant.find_plan(call.ids["plan_id"])
    return call.page(plan.charges, lambda charge: documents.charge_document(charge, plan))


def list_plan_customers(call: Call) -> Document:
    """GET /v1/planDetails/{plan_id}/customers, by default those with the plan active now."""
    plan = call.tenant.find_plan(call.ids["plan_id"])
    asked = call.texts("status") or frozenset({"active"})
    unknown = asked.difference(_STATUSES)
    if unknown:
        raise BadRequestError(f"status must be one of {', '.join(_STATUSES)}")
    if asked == {"ended", "upcoming"}:
        raise BadRequestError("status must not be ended,upcoming")
    found = [
        pair
        for pair in call.tenant.assignments(plan.id)
        if "all" in asked or _plan_status(call, pair[1]) in asked
    ]
    return call.page(found, lambda pair: documents.plan_customer_document(*pair))


def list_customer_plans(call: Call) -> Document:
    """GET /v1/customers/{customer_id}/plans, newest first."""
    found = call.tenant.customer_plans(call.ids["customer_id"])
    return call.page(found, lambda document: document)


def list_price_adjustments(call: Call) -> Document:
    """GET /v1/customers/{customer_id}/plans/{customer_plan_id}/priceAdjustments: there are none."""
    customer = call.tenant.find_customer(call.ids["customer_id"])
    if all(one.id != call.ids["customer_plan_id"] for one in customer.assignments):
        raise NotFoundError("Customer plan not found")
    none: list[Document] = []
    return call.page(none, lambda document: document)


def list_metrics(call: Call) -> Document:
    """GET /v1/billable-metrics."""
    found = call.tenant.billable_metrics(include_archived=call.flag("include_archived"))
    return call.page(found, lambda document: document)


def get_metric(call: Call) -> Document:
    """GET /v1/billable-metrics/{billable_metric_id}."""
    metric = call.tenant.find_metric(call.ids["billable_metric_id"])
    return {"data": documents.metric_document(metric)}


def list_customer_metrics(call: Call) -> Document:
    """GET /v1/customers/{customer_id}/billable-metrics."""
    customer = call.tenant.find_customer(call.ids["customer_id"])
    if call.flag("on_current_plan"):
        now = call.tenant.now
        priced = {
            charge.metric_id
            for one in customer.assignments
            if one.start <= now and (one.end is None or one.end > now)
            for charge in one.plan.charges
        }
        metrics = [rate.metric for rate in customer.rates if rate.metric.id in priced]
    else:
        metrics = [rate.metric for rate in customer.rates]
    return call.page(metrics, documents.metric_document)


def list_credit_types(call: Call) -> Document:
    """GET /v1/credit-types/list: every currency and the company's own unit."""

    def document(one: CreditType) -> Document:
        return {"id": one.id, "name": one.name, "is_currency": one.is_currency}

    return call.page(CREDIT_TYPES, document)


def list_field_keys(call: Call) -> Document:
    """POST /v1/customFields/listKeys."""
    entities = call.strings("entities")
    found = [
        {"entity": entity, "key": key, "enforce_uniqueness": unique}
        for entity, key, unique in CUSTOM_FIELD_KEYS
        if entities is None or entity in entities
    ]
    return call.page(found, lambda document: document, size=call.limits.keys)


def set_field_values(call: Call) -> None:
    """POST /v1/customFields/setValues: all of the values or none."""
    entity, entity_id = call.required("entity"), call.required("entity_id")
    values = call.string_map("custom_fields", required=True)
    if entity != "customer":
        raise BadRequestError("the sandbox stores custom fields of customers only")
    _check_fields(entity, values)
    customer = call.tenant.find_customer(entity_id)
    for key, value in values.items():
        call.tenant.set_custom_field(customer.id, key, value)


def list_contracts(call: Call) -> Document:
    """POST /v1 and /v2/contracts/list: known customers have none that the sandbox would show."""
    _known_customer(call)
    limit = call.field("limit", int, required=False)
    if limit is not None and not 1 <= limit <= call.limits.contracts:
        raise BadRequestError(
            f"limit must be an integer from 1 to {call.limits.contracts}", code="BadRequest"
        )
    if call.field("cursor", str, required=False):
        raise BadRequestError("cursor is not valid", code="BadRequest")
    return {"data": [], "cursor": None}


def get_contract(call: Call) -> Document:
    """POST /v1 and /v2/contracts/get: no contract is known here."""
    _known_customer(call)
    call.required("contract_id")
    raise BadRequestError("Contract not found", code="ContractNotFound")


def _known_customer(call: Call) -> None:
    try:
        call.tenant.find_customer(call.required("customer_id"))
    except NotFoundError as error:
        # The vendor answers 400 here, unlike on every other route.
        raise BadRequestError(error.message, code="CustomerNotFound") from None


def _plan_status(call: Call, assignment: Assignment) -> str:
    if assignment.start > call.tenant.now:
        return "upcoming"
    ended = assignment.end is not None and assignment.end <= call.tenant.now
    return "ended" if ended else "active"


def _check_aliases(aliases: list[str]) -> None:
    if len(aliases) > _MOST_ALIASES or not all(1 <= len(one) <= _LONGEST_ALIAS for one in aliases):
        raise BadRequestError("ingest_aliases must be at most 2000 strings of 1 to 128 characters")


def _check_fields(entity: str, fields: dict[str, str]) -> None:
    known = {key for owner, key, _ in CUSTOM_FIELD_KEYS if owner == entity}
    for key, value in fields.items():
        if key not in known:
            raise BadRequestError(f"custom field key '{key}' does not exist on {entity}")
        if len(value) > _LONGEST_VALUE:
            raise BadRequestError(f"custom field '{key}' is longer than {_LONGEST_VALUE}")
