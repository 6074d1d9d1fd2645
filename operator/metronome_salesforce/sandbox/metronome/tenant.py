"""A plausible Metronome tenant whose time can be advanced.

Usage, invoices and balances follow from the seed and the moment, so a tenant of any size is made
in no time, and a customer's invoices are worked out when somebody asks for them. What people do to
the tenant is kept per customer and stays in force when time moves on.

Queries return documents as they go over the wire, with `Decimal` amounts, in the order in which the
API lists them; callers may change the documents, they are made anew each time.
"""

import copy
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Literal, Self

from metronome_salesforce.sandbox.metronome import documents
from metronome_salesforce.sandbox.metronome.billing import (
    Account,
    Ledger,
    Settlement,
    regenerate,
    settle,
)
from metronome_salesforce.sandbox.metronome.catalogue import Catalogue, make_catalogue
from metronome_salesforce.sandbox.metronome.exceptions import (
    BadRequestError,
    ConflictError,
    NotFoundError,
)
from metronome_salesforce.sandbox.metronome.generating import make_customers
from metronome_salesforce.sandbox.metronome.metering import Metering
from metronome_salesforce.sandbox.metronome.usage import UsageQuestion, usage_from
from metronome_salesforce.sandbox.metronome.values import (
    Assignment,
    Customer,
    Document,
    Grant,
    Invoice,
    Metric,
    Plan,
    Rate,
    month_start,
    stable_id,
)

_SETTLEMENTS_KEPT = 4_096  # a reader asks for one customer's drafts and history right after another
_NAME_LENGTH = 160
Scale = Literal["full", "light"]


class Tenant:
    """The state of an emulated tenant. Every method may be called from any thread.

    Unknown ids raise NotFoundError, moves that Metronome refuses raise BadRequestError or
    ConflictError (`exceptions.py`).
    """

    def __init__(
        self, catalogue: Catalogue, customers: Sequence[Customer], *, seed: int, now: datetime
    ) -> None:
        self.lock = threading.RLock()
        self.catalogue = catalogue
        self.seed = seed
        self._now = now
        self._customers = {customer.id: customer for customer in customers}
        self._metering = Metering(seed)
        self._accounts: dict[str, Account] = {}
        self._settled: dict[str, Settlement] = {}
        self._series: tuple[UsageQuestion, list[tuple[Customer, Rate]]] | None = None
        self._made = len(self._customers)
        for customer in customers:
            if "regenerated" in customer.traits:
                self._dispute_first_invoice(customer)

    @classmethod
    def generate(
        cls,
        *,
        customers: int = 12,
        seed: int = 1,
        now: datetime,
        months: int = 4,
        scale: Scale = "full",
    ) -> Self:
        """Make a tenant with `months` whole months of history before `now` (aware).

        The first twelve customers cover every oddity (`generating.py`). `light` has two metrics
        and few lines, for many thousands of customers.
        """
        if now.tzinfo is None:
            raise ValueError("now needs a time zone")
        now = now.astimezone(UTC)
        light = scale == "light"
        catalogue = make_catalogue(seed, light=light, opened=month_start(now, -months))
        made = make_customers(
            catalogue, customers=customers, seed=seed, now=now, months=months, light=light
        )
        return cls(catalogue, made, seed=seed, now=now)

    # Time

    @property
    def now(self) -> datetime:
        """The tenant's clock."""
        return self._now

    def advance(self, by: timedelta) -> None:
        """Let time pass: usage arrives, late usage too, drafts move, finalize and open."""
        if by < timedelta(0):
            raise ValueError("time only goes forward")
        with self.lock:
            self._now += by
            self._settled.clear()

    # Queries

    def customers(self, *, archived: bool = False) -> list[Document]:
        """Return the active customers, or with `archived` only the archived ones."""
        with self.lock:
            return [documents.customer_document(one) for one in self.listed_customers(archived)]

    def customer(self, customer_id: str) -> Document:
        """Return one customer, archived or not."""
        with self.lock:
            return documents.customer_document(self.find_customer(customer_id))

    def plans(self) -> list[Document]:
        """Return all plans."""
        return [documents.plan_document(plan) for plan in self.catalogue.plans]

    def plan_customers(self, plan_id: str) -> list[Document]:
        """Return the plan's assignments of every status, ended and upcoming ones too."""
        with self.lock:
            return [
                documents.plan_customer_document(customer, assignment)
                for customer, assignment in self.assignments(plan_id)
            ]

    def customer_plans(self, customer_id: str) -> list[Document]:
        """Return the customer's plan assignments, newest first."""
        with self.lock:
            customer = self.find_customer(customer_id)
            newest = sorted(customer.assignments, key=lambda one: one.start, reverse=True)
            return [documents.customer_plan_document(customer, one) for one in newest]

    def invoices(self, customer_id: str) -> list[Document]:
        """Return the customer's invoices of every status and type, oldest issue date first."""
        with self.lock:
            customer = self.find_customer(customer_id)
            account = self._accounts.get(customer_id, Account())
            made = [
                documents.invoice_document(customer, one, self._now, paid=one.id in account.paid)
                for one in self._settle(customer).invoices
            ]
            if account.raw:
                made += copy.deepcopy(account.raw)
                made.sort(key=lambda one: str(one.get("issued_at") or "")[:19])
            return made

    def credit_grants(self) -> list[Document]:
        """Return all grants of all customers; voided ones are gone."""
        with self.lock:
            return [self.grant_document(*pair) for pair in self.listed_grants()]

    def billable_metrics(self, *, include_archived: bool = False) -> list[Document]:
        """Return the billable metrics."""
        return [
            documents.metric_document(metric)
            for metric in self.catalogue.metrics
            if include_archived or metric.archived_at is None
        ]

    def usage(self, start: datetime, end: datetime, window_size: str = "DAY") -> list[Document]:
        """Return usage of all customers and metrics between two midnights, window by window.

        `window_size` is HOUR, DAY or NONE.
        """
        question = UsageQuestion(start, end, window_size)
        with self.lock:
            return [document for _, document in self.usage_from(question, 0)]

    # What the HTTP layer needs besides

    def listed_customers(self, archived: bool) -> list[Customer]:
        """Return the customers of one of the two lists."""
        return [
            one for one in self._customers.values() if (one.archived_at is not None) == archived
        ]

    def find_customer(self, customer_id: str) -> Customer:
        """Return a customer or raise NotFoundError."""
        try:
            return self._customers[customer_id]
        except KeyError:
            raise NotFoundError("Customer not found") from None

    def find_plan(self, plan_id: str) -> Plan:
        """Return a plan or raise NotFoundError."""
        for plan in self.catalogue.plans:
            if plan.id == plan_id:
                return plan
        raise NotFoundError("Plan not found")

    def find_metric(self, metric_id: str) -> Metric:
        """Return a billable metric or raise NotFoundError."""
        for metric in self.catalogue.metrics:
            if metric.id == metric_id:
                return metric
        raise NotFoundError("Billable metric not found")

    def assignments(self, plan_id: str) -> list[tuple[Customer, Assignment]]:
        """Return who has, had or will have the plan."""
        return [
            (customer, assignment)
            for customer in self._customers.values()
            for assignment in customer.assignments
            if assignment.plan.id == plan_id
        ]

    def listed_grants(self) -> list[tuple[Customer, Grant]]:
        """Return every grant with its customer."""
        return [(one, grant) for one in self._customers.values() for grant in one.grants]

    def grant_document(self, customer: Customer, grant: Grant) -> Document:
        """Return one grant with its balance."""
        return documents.grant_document(customer, self.ledgers(customer)[grant.id], self._now)

    def ledgers(self, customer: Customer) -> dict[str, Ledger]:
        """Return the ledgers of the customer's grants, by grant id."""
        return self._settle(customer).ledgers

    def has_active_plan(self, customer: Customer) -> bool:
        """Whether the customer pays by a plan at this moment."""
        return any(
            one.start <= self._now and (one.end is None or one.end > self._now)
            for one in customer.assignments
        )

    def usage_from(self, question: UsageQuestion, position: int) -> Iterator[tuple[int, Document]]:
        """Yield (position of the next window, document) from a position on (`usage.py`)."""
        series = self._usage_series(question)
        return usage_from(self._metering, series, question, position, self._now)

    # What people and other systems do to the tenant

    def add_customer(
        self,
        *,
        name: str,
        ingest_aliases: Sequence[str] = (),
        custom_fields: dict[str, str] | None = None,
        salesforce_account_id: str | None = None,
        plan_id: str | None = None,
        usage: bool = False,
    ) -> str:
        """Create a customer and return its id.

        `plan_id` puts it on that plan from the first of this month; that or `usage` makes it use
        every metric from today on.
        """
        with self.lock:
            self._refuse_taken_aliases(ingest_aliases, None)
            index = self._made
            self._made += 1
            customer = Customer(
                id=stable_id(self.seed, "added", index),
                index=index,
                name=name[:_NAME_LENGTH],
                ingest_aliases=tuple(ingest_aliases),
                created_at=self._now,
                updated_at=self._now,
                rates=(),
                custom_fields=dict(custom_fields or {}),
                salesforce_account_id=salesforce_account_id,
            )
            if plan_id is not None:
                start = month_start(self._now)
                made = stable_id(self.seed, "assignment", index, 0)
                customer.assignments = (Assignment(made, self.find_plan(plan_id), start, None),)
            if usage or plan_id is not None:
                customer.rates = tuple(
                    Rate(metric, metric.typical[0], 7 * index, self._now.toordinal(), "absent")
                    for metric in self.catalogue.metrics
                    if metric.archived_at is None
                )
            self._customers[customer.id] = customer
            self._series = None
            return customer.id

    def rename_customer(self, customer_id: str, name: str) -> None:
        """Give the customer another name, cut to 160 characters as Metronome does."""
        with self.lock:
            customer = self.find_customer(customer_id)
            customer.name = name[:_NAME_LENGTH]
            customer.updated_at = self._now

    def set_salesforce_account(self, customer_id: str, account_id: str | None) -> None:
        """Set or clear customer_config.salesforce_account_id; it is free text.

        `updated_at` stays: whether Metronome moves it is not documented, so nobody may rely on it.
        """
        with self.lock:
            self.find_customer(customer_id).salesforce_account_id = account_id

    def set_custom_field(self, customer_id: str, key: str, value: str | None) -> None:
        """Set a custom field of a customer, or remove it with None."""
        with self.lock:
            fields = self.find_customer(customer_id).custom_fields
            if value is None:
                fields.pop(key, None)
            else:
                fields[key] = value

    def set_ingest_aliases(self, customer_id: str, aliases: Sequence[str]) -> None:
        """Replace the whole set of aliases. Raises ConflictError if another customer has one."""
        with self.lock:
            customer = self.find_customer(customer_id)
            self._refuse_taken_aliases(aliases, customer_id)
            customer.ingest_aliases = tuple(aliases)

    def archive_customer(self, customer_id: str) -> None:
        """Archive for good: the invoices become void and no usage is counted any more."""
        with self.lock:
            customer = self.find_customer(customer_id)
            if customer.archived_at is not None:
                raise BadRequestError("Customer is already archived")
            self._touch(customer_id)
            customer.archived_at = customer.updated_at = self._now

    def delete_customer(self, customer_id: str) -> None:
        """Let a customer vanish with all that belongs to it; Metronome's support can do that."""
        with self.lock:
            self.find_customer(customer_id)
            del self._customers[customer_id]
            self._accounts.pop(customer_id, None)
            self._settled.pop(customer_id, None)
            self._series = None

    def void_grant(self, grant_id: str) -> None:
        """Void a grant: it is never listed again, and drafts stop drawing on it."""
        with self.lock:
            for customer, grant in self.listed_grants():
                if grant.id == grant_id:
                    self._touch(customer.id)
                    customer.grants = tuple(one for one in customer.grants if one is not grant)
                    return
            raise NotFoundError("Credit grant not found")

    def void_invoice(self, invoice_id: str) -> None:
        """Void a finalized invoice; what it drew from grants is given back."""
        with self.lock:
            customer, invoice = self._find_invoice(invoice_id)
            status = invoice["status"] if isinstance(invoice, dict) else invoice.status
            if status != "FINALIZED":
                raise BadRequestError(f"An invoice that is {status} cannot be voided")
            if isinstance(invoice, dict):
                invoice["status"] = "VOID"
                return
            self._touch(customer.id).voided[invoice_id] = self._now

    def regenerate_invoice(self, invoice_id: str) -> str:
        """Bill a voided invoice's period anew and return the new invoice's id."""
        with self.lock:
            customer, invoice = self._find_invoice(invoice_id)
            if isinstance(invoice, dict) or invoice.status != "VOID":
                raise BadRequestError("Only a voided invoice can be regenerated")
            if customer.archived_at is not None:
                raise BadRequestError("The customer is archived")
            account = self._touch(customer.id)
            if any(one.regenerated_from == invoice_id for one in account.regenerated):
                raise BadRequestError("The invoice was regenerated already")
            made = regenerate(customer, account, self._metering, self._now, invoice)
            return made.id

    def delete_draft_invoice(self, invoice_id: str) -> None:
        """Let a draft vanish for good, as an edit of plan or contract can make it."""
        with self.lock:
            customer, invoice = self._find_invoice(invoice_id)
            status = invoice.get("status") if isinstance(invoice, dict) else invoice.status
            if status != "DRAFT":
                raise BadRequestError("Only a draft can be deleted")
            account = self._touch(customer.id)
            if isinstance(invoice, dict):
                account.raw.remove(invoice)
            account.deleted.add(invoice_id)

    def split_draft_line(self, invoice_id: str) -> None:
        """Split the draft's first line in the middle of the period; again merges it."""
        with self.lock:
            customer, invoice = self._find_invoice(invoice_id)
            if isinstance(invoice, dict) or invoice.status != "DRAFT" or invoice.start is None:
                raise BadRequestError("Only a draft with a billing period can be split")
            self._touch(customer.id).split ^= {invoice_id}

    def mark_paid(self, invoice_id: str) -> None:
        """Let the billing provider report a finalized invoice as paid."""
        with self.lock:
            customer, invoice = self._find_invoice(invoice_id)
            if isinstance(invoice, dict):
                external = invoice.get("external_invoice") or {"billing_provider_type": "custom"}
                invoice["external_invoice"] = {**external, "external_status": "PAID"}
                return
            if invoice.status != "FINALIZED":
                raise BadRequestError("Only a finalized invoice can be paid")
            self._touch(customer.id).paid.add(invoice_id)

    def add_invoice(self, customer_id: str, document: Document) -> None:
        """Add an invoice document as it is, however surprising; it is never recomputed."""
        with self.lock:
            self.find_customer(customer_id)
            self._touch(customer_id).raw.append(copy.deepcopy(document))

    def edit_usage(
        self, customer_id: str, metric_id: str, day: date, value: Decimal | None
    ) -> None:
        """Set a day's usage, or let it be nothing with None; drafts follow, the rest stays."""
        with self.lock:
            customer = self.find_customer(customer_id)
            metric = self.find_metric(metric_id)
            self._touch(customer_id)
            if all(rate.metric.id != metric_id for rate in customer.rates):
                customer.rates = (
                    *customer.rates,
                    # A base of 0: nothing is used but what is edited.
                    Rate(metric, 0, 0, 0, "absent"),
                )
                self._series = None
            edited = self._metering.overrides.setdefault((customer_id, metric_id), {})
            edited[day.toordinal()] = value

    # Inner workings

    def _settle(self, customer: Customer) -> Settlement:
        settled = self._settled.get(customer.id)
        if settled is None:
            if len(self._settled) >= _SETTLEMENTS_KEPT:
                self._settled.clear()
            account = self._accounts.get(customer.id)
            settled = settle(customer, account, self._metering, self._now)
            self._settled[customer.id] = settled
        return settled

    def _touch(self, customer_id: str) -> Account:
        """Fix what is final so far, because what follows must not change it."""
        account = self._accounts.setdefault(customer_id, Account())
        settle(self.find_customer(customer_id), account, self._metering, self._now)
        self._settled.pop(customer_id, None)
        return account

    def _find_invoice(self, invoice_id: str) -> tuple[Customer, Invoice | Document]:
        for customer_id, account in self._accounts.items():
            for document in account.raw:
                if document.get("id") == invoice_id:
                    return self._customers[customer_id], document
        for customer in self._customers.values():
            for invoice in self._settle(customer).invoices:
                if invoice.id == invoice_id:
                    return customer, invoice
        raise NotFoundError("Invoice not found")

    def _usage_series(self, question: UsageQuestion) -> list[tuple[Customer, Rate]]:
        if self._series is None or self._series[0] != question:
            chosen, metrics = question.customer_ids, question.metric_ids
            series = [
                (customer, rate)
                for customer in self._customers.values()
                if chosen is None or customer.id in chosen
                for rate in customer.rates
                if metrics is None or rate.metric.id in metrics
            ]
            self._series = (question, series)
        return self._series[1]

    def _refuse_taken_aliases(self, aliases: Sequence[str], owner: str | None) -> None:
        wanted = set(aliases)
        if not wanted:
            return
        for customer in self._customers.values():
            if customer.id != owner and not wanted.isdisjoint(customer.ingest_aliases):
                raise ConflictError("An ingest alias is used by another customer")

    def _dispute_first_invoice(self, customer: Customer) -> None:
        final = [one for one in self._settle(customer).invoices if one.status == "FINALIZED"]
        if final:
            self.void_invoice(final[0].id)
            self.regenerate_invoice(final[0].id)
