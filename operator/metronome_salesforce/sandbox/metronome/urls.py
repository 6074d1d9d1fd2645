"""The routes of the emulated API: which handler answers, who may ask, which limiter counts.

`family` groups routes that share a rate limit at Metronome, as far as one can tell from outside.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

from metronome_salesforce.sandbox.metronome import (
    responses,
    responses_billing,
    responses_usage,
)
from metronome_salesforce.sandbox.metronome.calls import Call
from metronome_salesforce.sandbox.metronome.values import Document

Access = Literal["read", "write"]
Handler = Callable[[Call], Document | None]


@dataclass(frozen=True, slots=True)
class Route:
    """One route; segments in braces are ids."""

    method: str
    template: str
    handler: Handler
    family: str
    access: Access = "read"


_CUSTOMER = "/v1/customers/{customer_id}"
_PLAN = "/v1/planDetails/{plan_id}"

ROUTES = (
    Route("GET", "/v1/customers", responses.list_customers, "customers"),
    Route("POST", "/v1/customers", responses.create_customer, "customers", "write"),
    Route("POST", "/v1/customers/archive", responses.archive_customer, "customers", "write"),
    Route("GET", _CUSTOMER, responses.get_customer, "customers"),
    Route("POST", f"{_CUSTOMER}/setName", responses.set_name, "customers", "write"),
    Route("POST", f"{_CUSTOMER}/updateConfig", responses.update_config, "customers", "write"),
    Route(
        "POST",
        f"{_CUSTOMER}/setIngestAliases",
        responses.set_ingest_aliases,
        "customers",
        "write",
    ),
    Route("GET", f"{_CUSTOMER}/plans", responses.list_customer_plans, "plans"),
    Route(
        "GET",
        f"{_CUSTOMER}/plans/{{customer_plan_id}}/priceAdjustments",
        responses.list_price_adjustments,
        "plans",
    ),
    Route(
        "GET",
        f"{_CUSTOMER}/billable-metrics",
        responses.list_customer_metrics,
        "billable-metrics",
    ),
    Route("GET", f"{_CUSTOMER}/invoices", responses_billing.list_invoices, "invoices"),
    Route("GET", f"{_CUSTOMER}/invoices/{{invoice_id}}", responses_billing.get_invoice, "invoices"),
    Route("POST", "/v1/invoices/void", responses_billing.void_invoice, "invoices", "write"),
    Route(
        "POST", "/v1/invoices/regenerate", responses_billing.regenerate_invoice, "invoices", "write"
    ),
    Route("GET", "/v1/plans", responses.list_plans, "plans"),
    Route("GET", _PLAN, responses.get_plan, "plans"),
    Route("GET", f"{_PLAN}/charges", responses.list_charges, "plans"),
    Route("GET", f"{_PLAN}/customers", responses.list_plan_customers, "plans"),
    Route("POST", "/v1/credits/listGrants", responses_billing.list_grants, "credits"),
    Route("POST", "/v1/credits/listEntries", responses_billing.list_entries, "credits"),
    Route("POST", "/v1/credits/voidGrant", responses_billing.void_grant, "credits", "write"),
    Route("GET", "/v1/credit-types/list", responses.list_credit_types, "credit-types"),
    Route("POST", "/v1/usage", responses_usage.list_usage, "usage"),
    Route("POST", "/v1/usage/groups", responses_usage.list_usage_groups, "usage"),
    Route("GET", "/v1/billable-metrics", responses.list_metrics, "billable-metrics"),
    Route(
        "GET", "/v1/billable-metrics/{billable_metric_id}", responses.get_metric, "billable-metrics"
    ),
    Route("POST", "/v1/customFields/listKeys", responses.list_field_keys, "customFields"),
    Route(
        "POST", "/v1/customFields/setValues", responses.set_field_values, "customFields", "write"
    ),
    Route("POST", "/v1/contracts/list", responses.list_contracts, "contracts"),
    Route("POST", "/v1/contracts/get", responses.get_contract, "contracts"),
    Route("POST", "/v2/contracts/list", responses.list_contracts, "contracts"),
    Route("POST", "/v2/contracts/get", responses.get_contract, "contracts"),
)

_BY_SHAPE: dict[tuple[str, int], list[tuple[list[str], Route]]] = {}
for _route in ROUTES:
    _segments = _route.template.split("/")
    _BY_SHAPE.setdefault((_route.method, len(_segments)), []).append((_segments, _route))


def find_route(method: str, raw_path: str) -> tuple[Route, dict[str, str]] | None:
    """Return the route of a request and the ids in its path, or None if there is no such route."""
    segments = raw_path.split("/")
    for template, route in _BY_SHAPE.get((method, len(segments)), ()):
        ids: dict[str, str] = {}
        for wanted, given in zip(template, segments, strict=True):
            if wanted.startswith("{") and given:
                ids[wanted[1:-1]] = unquote(given)
            elif wanted != given:
                break
        else:
            return route, ids
    return None
