"""What Metronome answers, as frozen values: exactly the fields that the product uses.

Tolerant where the API is open and strict where a guess could write a wrong row. Unknown fields are
kept, enums are plain strings, and a null stands wherever an empty Salesforce field can stand for
it. A missing required key, an empty id or a wrong type makes the item malformed: it is reported by
its path and left out whole, because half an invoice would delete the other half in the org.
Names and shapes are those of the Metronome API (https://docs.metronome.com/api-reference).
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainValidator,
    ValidationError,
)
from pydantic_core import PydanticCustomError

# Beyond these a number is no money and no quantity, and to write it out in full would cost
# gigabytes: nine characters such as 1e9999999 are enough.
_MAX_DIGITS = 40
_MAX_PLACES = 40

_ID = re.compile(r"[\x21-\x7e]{1,128}")
_DATE_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]")


def _number(value: object) -> Decimal:
    """A JSON number, exactly; a string is no number, and true is not 1."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise PydanticCustomError("number", "must be a number")
    number = Decimal(value)
    if not number:
        return Decimal(0)  # 0e999999999 is zero as well
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or -exponent > _MAX_PLACES or number.adjusted() > _MAX_DIGITS:
        raise PydanticCustomError("number", "must be a number of at most 40 digits")
    return number


def _text(value: object) -> str:
    """Any text, null as the empty one. A lone surrogate, which nothing can store, is replaced."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise PydanticCustomError("text", "must be a string")
    if value.isascii():
        return value
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _identifier(value: object) -> str:
    """Visible ASCII without spaces: ids are UUIDs, but nothing here depends on that."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise PydanticCustomError("identifier", "must be an id")
    return value


def _word(value: object) -> str:
    """Text that must say something, such as a status or the name of a currency."""
    text = _text(value)
    if not text.strip():
        raise PydanticCustomError("word", "must not be empty")
    return text


def _text_map(value: object) -> dict[str, str | None]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise PydanticCustomError("map", "must be a map of strings")
    return {_text(key): None if text is None else _text(text) for key, text in value.items()}


def _written_time(value: object) -> str:
    if not isinstance(value, str) or not _DATE_TIME.match(value):
        raise PydanticCustomError("timestamp", "must be an RFC 3339 timestamp")
    return value


def _utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:  # the calendar's first or last day, seen from another zone
        raise PydanticCustomError("timestamp", "must be a time between years 1 and 9999") from None


def _none_is_empty(value: object) -> object:
    return () if value is None else value


_Item = TypeVar("_Item")

Number = Annotated[Decimal, PlainValidator(_number)]
Text = Annotated[str, PlainValidator(_text)]
Word = Annotated[str, PlainValidator(_word)]
Identifier = Annotated[str, PlainValidator(_identifier)]
TextMap = Annotated[dict[str, str | None], PlainValidator(_text_map)]
Timestamp = Annotated[AwareDatetime, BeforeValidator(_written_time), AfterValidator(_utc)]
Several = Annotated[tuple[_Item, ...], BeforeValidator(_none_is_empty)]
"""A list, of which null and absence are the empty one."""


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True)


class CreditType(_Answer):
    """A currency or a custom pricing unit; amounts in "USD (cents)" are cents, others whole."""

    id: Identifier
    name: Word


class CustomerConfig(_Answer):
    """Where Metronome keeps the Account; unknown keys stand in `model_extra`."""

    salesforce_account_id: Text | None


class Customer(_Answer):
    """A customer (Metronome API, List customers); `archived_at` is None while it is active."""

    id: Identifier
    name: Text
    customer_config: CustomerConfig
    custom_fields: TextMap
    ingest_aliases: Several[Text] = ()
    archived_at: Timestamp | None = None


class Plan(_Answer):
    """A plan of the catalogue (Metronome API, List plans)."""

    id: Identifier
    name: Text
    description: Text


class CustomerDetails(_Answer):
    """The customer of a plan assignment, as far as it identifies it."""

    id: Identifier
    name: Text


class PlanDetails(_Answer):
    """A plan while a customer has it; `id` is the plan's, `ending_before` None while open."""

    id: Identifier
    customer_plan_id: Identifier
    name: Text
    starting_on: Timestamp
    ending_before: Timestamp | None = None


class PlanAssignment(_Answer):
    """One customer on one plan (Metronome API, List customers on a plan)."""

    customer_details: CustomerDetails
    plan_details: PlanDetails


class Tier(_Answer):
    """The price tier a line was charged in."""

    level: Number


class TierPeriod(_Answer):
    """The time over which the tiers of a charge are counted."""

    starting_at: Timestamp
    ending_before: Timestamp | None = None


class SubLineItem(_Answer):
    """One charge below a line of a plan invoice; it has no id. `price` is None when tiered."""

    name: Text
    quantity: Number | None
    subtotal: Number | None
    price: Number | None = None
    charge_id: Identifier | None = None
    credit_grant_id: Identifier | None = None
    start_date: Timestamp | None = None
    end_date: Timestamp | None = None
    tier_period: TierPeriod | None = None


class LineItem(_Answer):
    """One line of an invoice; it has no id, so what identifies it is typed here in full."""

    name: Text
    type: Text
    total: Number | None
    credit_type: CreditType
    quantity: Number | None = None
    unit_price: Number | None = None
    product_id: Identifier | None = None
    commit_id: Identifier | None = None
    commit_segment_id: Identifier | None = None
    scheduled_charge_id: Identifier | None = None
    subscription_id: Identifier | None = None
    discount_id: Identifier | None = None
    starting_at: Timestamp | None = None
    ending_before: Timestamp | None = None
    pricing_group_values: TextMap = {}
    presentation_group_values: TextMap = {}
    tier: Tier | None = None
    sub_line_items: Several[SubLineItem] = ()


class InvoiceAdjustment(_Answer):
    """A minimum, a discount or an applied credit on a plan invoice; it has no id."""

    name: Text
    total: Number | None
    credit_type: CreditType
    credit_grant_id: Identifier | None = None


class ExternalInvoice(_Answer):
    """The invoice at the billing provider; its status moves after the invoice is final."""

    invoice_id: Text | None = None
    external_status: Text | None = None


class Invoice(_Answer):
    """An invoice (Metronome API, List invoices), its amounts in units of `credit_type`.

    `start_timestamp` and `end_timestamp` (exclusive) are None on scheduled invoices, `subtotal` and
    the plan on contract invoices.
    """

    id: Identifier
    customer_id: Identifier
    status: Word
    type: Text
    credit_type: CreditType
    total: Number | None
    line_items: tuple[LineItem, ...]
    subtotal: Number | None = None
    start_timestamp: Timestamp | None = None
    end_timestamp: Timestamp | None = None
    issued_at: Timestamp | None = None
    contract_id: Identifier | None = None
    plan_id: Identifier | None = None
    plan_name: Text | None = None
    invoice_adjustments: Several[InvoiceAdjustment] = ()
    external_invoice: ExternalInvoice | None = None
    regenerated_from_invoice_id: Identifier | None = None


class AmountOf(_Answer):
    """An amount and its unit."""

    amount: Number | None
    credit_type: CreditType


class Balance(_Answer):
    """What is left of a grant at the end of the customer's current billing period."""

    excluding_pending: Number | None
    including_pending: Number | None
    effective_at: Timestamp | None


class CreditGrant(_Answer):
    """A credit grant (Metronome API, List credit grants); granted and paid may differ in unit."""

    id: Identifier
    customer_id: Identifier
    name: Text
    grant_amount: AmountOf
    paid_amount: AmountOf | None
    balance: Balance
    effective_at: Timestamp | None
    expires_at: Timestamp | None


class Usage(_Answer):
    """The value of one metric for one customer in one window [start, end); it has no id."""

    customer_id: Identifier
    billable_metric_id: Identifier
    billable_metric_name: Text
    start_timestamp: Timestamp
    end_timestamp: Timestamp
    value: Number | None


class BillableMetric(_Answer):
    """A metric (Metronome API, List billable metrics); LATEST, MAX and UNIQUE do not add up."""

    id: Identifier
    name: Text
    aggregation_type: Text | None = None
    archived_at: Timestamp | None = None


@dataclass(frozen=True, slots=True)
class MalformedItem:
    """An item that was left out, described without the customer's content.

    `path` leads into the page, as in `data[3].line_items[0].total`; keys that a customer chose read
    `*`. `problem` says what is wrong there. `item_id` and `customer_id` are set where they could be
    read: what the item stands for in the org must not be taken for vanished.
    """

    endpoint: str
    path: str
    problem: str
    item_id: str | None = None
    customer_id: str | None = None


Model = TypeVar("Model", bound=BaseModel)


def first_problem(error: ValidationError, prefix: str) -> tuple[str, str]:
    """Path and problem of the first error, from the schema's own words only."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    first = details[0]
    return prefix + _path(first["loc"]), _PROBLEMS.get(first["type"], first["msg"])


def readable_identifier(document: object, *keys: str) -> str | None:
    """The id at `keys` of a document that may have any shape; None if there is none."""
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    return document if isinstance(document, str) and _ID.fullmatch(document) else None


# Said in one way for every type, in words that fit a log line.
_PROBLEMS = {
    "missing": "is missing",
    "model_type": "must be an object",
    "tuple_type": "must be a list",
    "timezone_aware": "must be a timestamp with a time zone",
    "datetime_from_date_parsing": "must be an RFC 3339 timestamp",
    "datetime_parsing": "must be an RFC 3339 timestamp",
}


def _path(location: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else _step(part) for part in location)


def _step(part: str) -> str:
    return f".{part}" if part in _FIELDS else ".*"


def _field_names(model: type[Any]) -> set[str]:
    names = set(model.model_fields)
    for child in model.__subclasses__():
        names |= _field_names(child)
    return names


_FIELDS = frozenset(_field_names(_Answer))
