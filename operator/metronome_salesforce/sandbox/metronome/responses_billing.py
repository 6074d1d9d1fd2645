"""Answer requests about invoices, credit grants and credit ledgers."""

from datetime import datetime
from decimal import Decimal

from metronome_salesforce.sandbox.metronome import documents
from metronome_salesforce.sandbox.metronome.billing import Ledger, balance_moment
from metronome_salesforce.sandbox.metronome.calls import Call
from metronome_salesforce.sandbox.metronome.exceptions import BadRequestError, NotFoundError
from metronome_salesforce.sandbox.metronome.values import (
    CreditType,
    Customer,
    Document,
    Entry,
    Grant,
    plain,
)

_INVOICE_STATUSES = ("DRAFT", "FINALIZED", "VOID")
_INVOICE_TYPES = ("USAGE", "USAGE_CONSOLIDATED", "SCHEDULED")
_SORTS = ("date_asc", "date_desc")


def list_invoices(call: Call) -> Document:
    """GET /v1/customers/{customer_id}/invoices.

    Date filters act on the billing period, so invoices without one are left out by them; at
    `ending_before` itself a period is out. The vendor states neither.
    """
    found = call.tenant.invoices(call.ids["customer_id"])
    equal = {
        "status": call.choice("status", _INVOICE_STATUSES),
        "type": call.choice("type", _INVOICE_TYPES),
        "contract_id": call.text("contract_id"),
    }
    for name, value in equal.items():
        if value is not None:
            found = [one for one in found if one.get(name) == value]
    credit_type = call.text("credit_type_id")
    if credit_type is not None:
        found = [one for one in found if (one.get("credit_type") or {}).get("id") == credit_type]
    starting_on, ending_before = call.moment("starting_on"), call.moment("ending_before")
    if starting_on is not None:
        found = [one for one in found if _at_least(one.get("start_timestamp"), starting_on)]
    if ending_before is not None:
        found = [one for one in found if _before(one.get("end_timestamp"), ending_before)]
    if call.choice("sort", _SORTS) == "date_desc":
        found.reverse()
    call.flag("include_historical_commit_invoices")
    skip_zero = call.flag("skip_zero_qty_line_items")
    return call.page(found, lambda one: _without_zero_lines(one) if skip_zero else one)


def get_invoice(call: Call) -> Document:
    """GET /v1/customers/{customer_id}/invoices/{invoice_id}."""
    skip_zero = call.flag("skip_zero_qty_line_items")
    for one in call.tenant.invoices(call.ids["customer_id"]):
        if one.get("id") == call.ids["invoice_id"]:
            return {"data": _without_zero_lines(one) if skip_zero else one}
    raise NotFoundError("Invoice not found")


def void_invoice(call: Call) -> Document:
    """POST /v1/invoices/void."""
    invoice_id = call.required("id")
    call.tenant.void_invoice(invoice_id)
    return {"data": {"id": invoice_id}}


def regenerate_invoice(call: Call) -> Document:
    """POST /v1/invoices/regenerate: the answer carries the new invoice's id."""
    return {"data": {"id": call.tenant.regenerate_invoice(call.required("id"))}}


def list_grants(call: Call) -> Document:
    """POST /v1/credits/listGrants; voided grants are never listed."""
    customers = call.strings("customer_ids")
    credit_types = call.strings("credit_type_ids")
    grants = call.strings("credit_grant_ids")
    if grants is not None and (customers is not None or credit_types is not None):
        raise BadRequestError(
            "credit_grant_ids cannot be combined with customer_ids or credit_type_ids"
        )
    expiring = call.body_moment("not_expiring_before")
    effective = call.body_moment("effective_before")

    def asked(customer: Customer, grant: Grant) -> bool:
        return (
            (customers is None or customer.id in customers)
            and (credit_types is None or grant.credit_type.id in credit_types)
            and (grants is None or grant.id in grants)
            and (expiring is None or grant.expires_at >= expiring)
            and (effective is None or grant.effective_at < effective)
        )

    found = [pair for pair in call.tenant.listed_grants() if asked(*pair)]
    return call.page(found, lambda pair: call.tenant.grant_document(*pair))


def void_grant(call: Call) -> Document:
    """POST /v1/credits/voidGrant."""
    grant_id = call.required("id")
    call.tenant.void_grant(grant_id)
    return {"data": {"id": grant_id}}


def list_entries(call: Call) -> Document:
    """POST /v1/credits/listEntries: per customer and credit type, what changed the balance.

    Entries carry the change: a grant is positive, a deduction negative.
    """
    customers = call.strings("customer_ids")
    credit_types = call.strings("credit_type_ids")
    descending = call.choice("sort", ("asc", "desc")) == "desc"
    span = (call.body_moment("starting_on"), call.body_moment("ending_before"))
    if span[1] is not None and span[1] > call.tenant.now:
        raise BadRequestError("ending_before must not be in the future")
    found: dict[str, Customer] = {}
    for customer, grant in call.tenant.listed_grants():
        if (customers is None or customer.id in customers) and (
            credit_types is None or grant.credit_type.id in credit_types
        ):
            found[customer.id] = customer

    def document(customer: Customer) -> Document:
        by_type: dict[CreditType, list[Ledger]] = {}
        for ledger in call.tenant.ledgers(customer).values():
            if credit_types is None or ledger.grant.credit_type.id in credit_types:
                by_type.setdefault(ledger.grant.credit_type, []).append(ledger)
        return {
            "customer_id": customer.id,
            "ledgers": [
                _ledger_document(credit_type, ledgers, span, call.tenant.now, descending)
                for credit_type, ledgers in by_type.items()
            ],
        }

    return call.page(list(found.values()), document, size=call.limits.entries)


def _ledger_document(
    credit_type: CreditType,
    ledgers: list[Ledger],
    span: tuple[datetime | None, datetime | None],
    now: datetime,
    descending: bool,
) -> Document:
    first = min(ledger.grant.effective_at for ledger in ledgers)
    start, end = span[0] or first, span[1] or balance_moment(now)
    posted = [(one.effective_at, -one.amount, one) for each in ledgers for one in each.posted]
    posted += [(each.grant.effective_at, each.grant.amount, _issue(each.grant)) for each in ledgers]
    pending = [(one.effective_at, -one.amount, one) for each in ledgers for one in each.pending]
    opening = sum((amount for at, amount, _ in posted if at < start), Decimal(0))
    entries, balance = _running(posted, opening, (start, end))
    waiting, including = _running(pending, balance, (start, end))
    if descending:
        entries.reverse()
        waiting.reverse()
    return {
        "credit_type": documents.credit_type_document(credit_type),
        "starting_balance": {
            "excluding_pending": plain(opening),
            "including_pending": plain(opening),
            "effective_at": documents.stamp(start),
        },
        "ending_balance": {
            "excluding_pending": plain(balance),
            "including_pending": plain(including),
            "effective_at": documents.stamp(end),
        },
        "entries": entries,
        "pending_entries": waiting,
    }


def _running(
    changes: list[tuple[datetime, Decimal, Entry]],
    balance: Decimal,
    span: tuple[datetime, datetime],
) -> tuple[list[Document], Decimal]:
    found: list[Document] = []
    # Grants come before the deductions of the same moment.
    for at, amount, entry in sorted(changes, key=lambda change: (change[0], -change[1])):
        if span[0] <= at <= span[1]:
            balance += amount
            document = documents.entry_document(entry, 0)
            found.append({**document, "amount": plain(amount), "running_balance": plain(balance)})
    return found, balance


def _issue(grant: Grant) -> Entry:
    return Entry(grant.amount, grant.amount, "Credits granted", grant.effective_at, grant.id)


def _without_zero_lines(document: Document) -> Document:
    lines = [line for line in document.get("line_items") or [] if line.get("quantity") != 0]
    return {**document, "line_items": lines}


def _at_least(value: object, limit: datetime) -> bool:
    moment = _moment(value)
    return moment is not None and moment >= limit


def _before(value: object, limit: datetime) -> bool:
    moment = _moment(value)
    return moment is not None and moment < limit


def _moment(value: object) -> datetime | None:
    """Read a document's timestamp; documents added by hand may hold anything there."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return None if moment is None or moment.tzinfo is None else moment
