"""Build the documents that go over the wire, as Metronome's API reference describes them.

Required keys are always there; optional ones are left out when there is nothing to say, and null
is sent only where the vendor documents it. Timestamps come in the three spellings that Metronome
uses, chosen by the record, because clients must read all of them.
"""

from datetime import datetime, timedelta
from decimal import Decimal

from metronome_salesforce.sandbox.metronome.billing import Ledger, balance_moment
from metronome_salesforce.sandbox.metronome.values import (
    Assignment,
    Charge,
    CreditType,
    Customer,
    Document,
    Entry,
    Grant,
    Invoice,
    Line,
    Metric,
    Plan,
    SubLine,
)

_SPELLINGS = ("Z", ".000Z", "+00:00")


def stamp(moment: datetime, style: int = 0) -> str:
    """Return the moment in one of three RFC 3339 spellings of UTC."""
    return moment.isoformat()[:19] + _SPELLINGS[style % 3]


def credit_type_document(one: CreditType) -> Document:
    """Build the reference to a credit type that amounts carry."""
    return {"id": one.id, "name": one.name}


def customer_document(customer: Customer) -> Document:
    """Build a CustomerDetail (List customers)."""
    style = customer.index
    document: Document = {
        "id": customer.id,
        "external_id": customer.ingest_aliases[0] if customer.ingest_aliases else customer.id,
        "ingest_aliases": list(customer.ingest_aliases),
        "name": customer.name,
        "customer_config": {"salesforce_account_id": customer.salesforce_account_id},
        "custom_fields": dict(customer.custom_fields),
        "created_at": stamp(customer.created_at, style),
        "updated_at": stamp(customer.updated_at, style),
        "archived_at": None if customer.archived_at is None else stamp(customer.archived_at, style),
    }
    if customer.index % 3 == 0:
        document["current_billable_status"] = {"value": "billable", "effective_at": None}
    if "unknown keys" in customer.traits:
        document["onboarding_stage"] = {"name": "live", "score": Decimal("0.97")}
    return document


def short_customer_document(customer: Customer) -> Document:
    """Build the shorter Customer that POST /v1/customers and setName answer with."""
    full = customer_document(customer)
    keys = ("id", "external_id", "ingest_aliases", "name", "custom_fields")
    return {key: full[key] for key in keys}


def plan_document(plan: Plan) -> Document:
    """Build an item of GET /v1/plans."""
    document: Document = {"id": plan.id, "name": plan.name, "description": plan.description}
    if plan.custom_fields:
        document["custom_fields"] = dict(plan.custom_fields)
    return document


def plan_detail_document(plan: Plan, fiat: CreditType) -> Document:
    """Build GET /v1/planDetails/{plan_id}; plans in a pricing unit name the unit's fiat rate."""
    unit = credit_type_document(plan.credit_type)
    document: Document = {
        "id": plan.id,
        "name": plan.name,
        "custom_fields": dict(plan.custom_fields),
        "description": plan.description,
    }
    if plan.minimum is not None:
        document["minimums"] = [
            {
                "name": "Monthly minimum",
                "value": plan.minimum,
                "start_period": 0,
                "credit_type": unit,
            }
        ]
    if not plan.credit_type.is_currency:
        document["overage_rates"] = [
            {
                "credit_type": unit,
                "fiat_credit_type": credit_type_document(fiat),
                "start_period": 0,
                "to_fiat_conversion_factor": Decimal(100),
            }
        ]
    return document


def charge_document(charge: Charge, plan: Plan) -> Document:
    """Build an item of GET /v1/planDetails/{plan_id}/charges."""
    document: Document = {
        "id": charge.id,
        "name": charge.name,
        "charge_type": charge.kind,
        "credit_type": credit_type_document(plan.credit_type),
        "product_id": charge.product_id,
        "product_name": charge.product_name,
        "prices": [{"value": tier.price, "tier": tier.start} for tier in charge.tiers],
        "custom_fields": {},
    }
    if charge.quantities:
        document["quantity"] = sum(charge.quantities, Decimal(0))
    return document


def plan_customer_document(customer: Customer, assignment: Assignment) -> Document:
    """Build an item of GET /v1/planDetails/{plan_id}/customers."""
    style = customer.index + 1
    end = assignment.end
    return {
        "customer_details": customer_document(customer),
        "plan_details": {
            "id": assignment.plan.id,
            "customer_plan_id": assignment.id,
            "name": assignment.plan.name,
            "starting_on": stamp(assignment.start, style),
            "ending_before": None if end is None else stamp(end, style),
            "custom_fields": dict(assignment.plan.custom_fields),
        },
    }


def customer_plan_document(customer: Customer, assignment: Assignment) -> Document:
    """Build an item of GET /v1/customers/{id}/plans."""
    style = customer.index + 2
    plan = assignment.plan
    document: Document = {
        "id": assignment.id,
        "plan_id": plan.id,
        "plan_name": plan.name,
        "plan_description": plan.description,
        "starting_on": stamp(assignment.start, style),
        "custom_fields": dict(assignment.custom_fields),
    }
    if assignment.end is not None:
        document["ending_before"] = stamp(assignment.end, style)
    if assignment.terms_days is not None:
        document["net_payment_terms_days"] = assignment.terms_days
    if assignment.trial_end is not None:
        cap = Decimal(50_000)
        unit = credit_type_document(plan.credit_type)
        document["trial_info"] = {
            "ending_before": stamp(assignment.trial_end, style),
            "spending_caps": [{"credit_type": unit, "amount": cap, "amount_remaining": cap}],
        }
    return document


def metric_document(metric: Metric) -> Document:
    """Build an item of GET /v1/billable-metrics."""
    document: Document = {
        "id": metric.id,
        "name": metric.name,
        "aggregation_type": metric.aggregation,
        "custom_fields": {},
    }
    if metric.key is not None:
        document["aggregation_key"] = metric.key
        document["property_filters"] = [{"name": metric.key, "exists": True}]
    if metric.group_keys:
        document["group_keys"] = [list(keys) for keys in metric.group_keys]
    if metric.archived_at is not None:
        document["archived_at"] = stamp(metric.archived_at, 1)
    return document


def grant_document(customer: Customer, ledger: Ledger, now: datetime) -> Document:
    """Build an item of POST /v1/credits/listGrants."""
    grant = ledger.grant
    style = customer.index
    return {
        "id": grant.id,
        "customer_id": customer.id,
        "name": grant.name,
        "effective_at": stamp(grant.effective_at, style),
        "expires_at": stamp(grant.expires_at, style),
        "priority": grant.priority,
        "grant_amount": _amount(grant.amount, grant.credit_type),
        "paid_amount": _amount(grant.paid, grant.paid_type),
        "balance": {
            "excluding_pending": ledger.excluding_pending,
            "including_pending": ledger.including_pending,
            "effective_at": stamp(balance_moment(now), style),
        },
        "deductions": [entry_document(entry, style) for entry in ledger.posted],
        "pending_deductions": [entry_document(entry, style) for entry in ledger.pending],
        "custom_fields": dict(grant.custom_fields),
        "reason": grant.reason,
        "credit_grant_type": grant.kind,
        "invoice_id": None,
        "uniqueness_key": None,
    }


def entry_document(entry: Entry, style: int) -> Document:
    """Build a CreditLedgerEntry."""
    return {
        "amount": entry.amount,
        "running_balance": entry.running_balance,
        "reason": entry.reason,
        "effective_at": stamp(entry.effective_at, style),
        "created_by": "Metronome System",
        "credit_grant_id": entry.grant_id,
        "invoice_id": entry.invoice_id,
    }


def invoice_document(
    customer: Customer, invoice: Invoice, now: datetime, *, paid: bool = False
) -> Document:
    """Build an Invoice (List invoices). `paid` is a payment that somebody booked by hand."""
    style = invoice.style
    document: Document = {
        "id": invoice.id,
        "customer_id": customer.id,
        "type": invoice.type,
        "status": invoice.status,
        "credit_type": credit_type_document(invoice.credit_type),
        "total": invoice.total,
        "issued_at": stamp(invoice.issued_at, style),
        "external_invoice": _external(customer, invoice, now, paid=paid),
        "line_items": [line_document(line, invoice.credit_type, style) for line in invoice.lines],
        "customer_custom_fields": dict(customer.custom_fields),
        "custom_fields": {},
        "billable_status": "billable",
    }
    if invoice.start is not None and invoice.end is not None:
        document["start_timestamp"] = stamp(invoice.start, style)
        document["end_timestamp"] = stamp(invoice.end, style)
    if invoice.assignment is not None:
        document["subtotal"] = invoice.subtotal
        document["plan_id"] = invoice.assignment.plan.id
        document["plan_name"] = invoice.assignment.plan.name
        document["plan_custom_fields"] = dict(invoice.assignment.plan.custom_fields)
        document["invoice_adjustments"] = _adjustments(customer, invoice)
        if invoice.assignment.terms_days is not None:
            document["net_payment_terms_days"] = invoice.assignment.terms_days
    if invoice.contract is not None:
        document["contract_id"] = invoice.contract.id
        document["contract_custom_fields"] = dict(invoice.contract.custom_fields)
        document["net_payment_terms_days"] = 30
    if invoice.regenerated_from is not None:
        document["regenerated_from_invoice_id"] = invoice.regenerated_from
    if "unknown keys" in customer.traits:
        document["presentation_hints"] = ["compact", {"locale": "nb-NO"}]
    return document


def line_document(line: Line, credit_type: CreditType, style: int) -> Document:
    """Build a line item; it has no id, as in the real API."""
    document: Document = {
        "name": line.name,
        "type": line.type,
        "total": line.total,
        "credit_type": credit_type_document(credit_type),
    }
    optional = {
        "quantity": line.quantity,
        "unit_price": line.unit_price,
        "product_id": line.product_id,
        "product_type": line.product_type,
        "starting_at": None if line.starting_at is None else stamp(line.starting_at, style),
        "ending_before": None if line.ending_before is None else stamp(line.ending_before, style),
    }
    document.update({key: value for key, value in optional.items() if value is not None})
    if line.commit_id is not None:
        document["commit_id"] = line.commit_id
        document["commit_type"] = "PrepaidCommit"
    if line.type == "applied_commit_or_credit":
        document["applied_commit_or_credit"] = {"id": line.commit_id, "type": "PREPAID"}
    if line.groups:
        document["pricing_group_values"] = dict(line.groups)
    if line.sub_lines:
        document["sub_line_items"] = [_sub_line_document(sub) for sub in line.sub_lines]
    return document


def _sub_line_document(sub: SubLine) -> Document:
    document: Document = {
        "name": sub.name,
        "quantity": sub.quantity,
        "subtotal": sub.subtotal,
        "charge_id": sub.charge_id,
        "custom_fields": {},
    }
    if sub.price is not None:
        document["price"] = sub.price
    if sub.tiers:
        document["tiers"] = [
            {"starting_at": start, "quantity": quantity, "price": price, "subtotal": subtotal}
            for start, quantity, price, subtotal in sub.tiers
        ]
    return document


def _adjustments(customer: Customer, invoice: Invoice) -> list[Document]:
    grants: dict[str, Grant] = {grant.id: grant for grant in customer.grants}
    documents: list[Document] = []
    for one in invoice.adjustments:
        document: Document = {
            "name": one.name,
            "total": one.total,
            "credit_type": credit_type_document(invoice.credit_type),
        }
        if one.grant_id is not None:
            grant = grants.get(one.grant_id)
            document["credit_grant_id"] = one.grant_id
            document["credit_grant_custom_fields"] = dict(grant.custom_fields) if grant else {}
        documents.append(document)
    return documents


def _external(
    customer: Customer, invoice: Invoice, now: datetime, *, paid: bool
) -> Document | None:
    """Build external_invoice: what the billing provider says, which moves after finalization."""
    provider = customer.provider or ("custom" if paid else None)
    if provider is None or invoice.status == "DRAFT" or (invoice.total <= 0 and not paid):
        return None
    number = int(invoice.id[:6], 16)
    due = invoice.finalizes_at + timedelta(days=3 + number % 17, hours=number % 24)
    if invoice.status == "VOID":
        status = "VOID"
    elif paid or now >= due:
        status = "UNCOLLECTIBLE" if number % 29 == 0 and not paid else "PAID"
    else:
        status = "SENT" if number % 2 else "FINALIZED"
    return {
        "billing_provider_type": provider,
        "invoice_id": f"in_{invoice.id[:8]}",
        "issued_at_timestamp": stamp(invoice.finalizes_at, invoice.style + 1),
        "external_status": status,
    }


def _amount(amount: Decimal, credit_type: CreditType) -> Document:
    return {"amount": amount, "credit_type": credit_type_document(credit_type)}
