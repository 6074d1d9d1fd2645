"""The vocabulary in which `objects` declares what is synced: fields, their sources, their roles."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any

from metronome_salesforce.canon import Text, ValueKind, canon, cut, is_cut
from metronome_salesforce.rows import Row, Value

Record = Mapping[str, Any]
"""What a row is made from: Metronome's parsed objects by short names (`invoice`, `customer`, …)."""

Getter = Callable[[Record], object]


@dataclass(frozen=True, slots=True)
class AutoNumber:
    """A name that the platform counts up; never written."""

    display_format: str


@dataclass(frozen=True, slots=True)
class Formula:
    """A value that the platform computes from `expression`; never written."""

    kind: ValueKind
    expression: str
    percent: bool = False


@dataclass(frozen=True, slots=True)
class RollUp:
    """A count of the detail rows of `detail` whose master field is `foreign_key`; never written."""

    detail: str
    foreign_key: str


Kind = ValueKind | AutoNumber | Formula | RollUp


class Role(Enum):
    """Who decides a field's value, and so when it is compared and written."""

    CONTENT = "what Metronome says: hashed, compared, written"
    KEY = "the external id: the key of every upsert"
    PLACE = "where the row hangs (Account or Orphaned Customer): decided by the link rules"
    LINK = "the state of a customer's link: written when the link changes"
    STAMP = "time or fingerprint of our own write: never compared"
    PLATFORM = "computed by the platform: never written"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of one object.

    `source` is for the documentation, `value` finds the raw value in a record (CONTENT only);
    `description` is the help text in the org too.
    """

    api: str
    label: str
    kind: Kind
    description: str
    source: str
    value: Getter | None = None
    role: Role = Role.CONTENT
    required: bool = False
    external_id: bool = False
    unique: bool = False

    @property
    def value_kind(self) -> ValueKind:
        """The kind of the field's values; raises TypeError for a field that is never written."""
        if isinstance(self.kind, AutoNumber | Formula | RollUp):
            raise TypeError(f"{self.api} is computed by the platform")
        return self.kind


class Reach(Enum):
    """Which rows of an object a daily cycle looks at."""

    ALL = "every row"
    INVOICES = "rows of the invoices that are drafts or lie inside the look-back"
    USAGE = "rows of the days inside the look-back"


@dataclass(frozen=True, slots=True)
class ObjectMapping:
    """One object type: how its records are keyed, filled, reached and cleaned up.

    `name` is the word for it in specs, reports and metric labels. `invoice_path` leads from the
    row to its invoice in SOQL (`""` on the invoice itself). `prunable` rows are deleted when
    Metronome has them no more; others are history and stay.
    """

    name: str
    sobject: str
    label: str
    plural: str
    name_label: str
    fields: tuple[Field, ...]
    reach: Reach = Reach.ALL
    invoice_path: str | None = None
    sharing: str = "Read"
    prunable: bool = False

    @property
    def key(self) -> Field:
        """The external id field; raises KeyError for Accounts, which are found by record id."""
        for field in self.fields:
            if field.role is Role.KEY:
                return field
        raise KeyError(f"{self.name} has no external id")

    @property
    def content(self) -> tuple[Field, ...]:
        """The fields that Metronome decides, in order of declaration."""
        return tuple(field for field in self.fields if field.role is Role.CONTENT)

    @property
    def placed(self) -> bool:
        """Whether rows hang on an Account or an Orphaned Customer themselves."""
        return any(field.role is Role.PLACE for field in self.fields)

    @property
    def stamped(self) -> bool:
        """Whether rows carry the time of the last write."""
        return any(field.api == LAST_SYNCED for field in self.fields)

    def field(self, api: str) -> Field:
        """The field with that API name; raises KeyError."""
        for field in self.fields:
            if field.api == api:
                return field
        raise KeyError(api)


LAST_SYNCED = "Last_Synced__c"
SYNC_HASH = "Sync_Hash__c"
CUSTOMER_ID = "Metronome_Customer_ID__c"
ACCOUNT = "Account__c"
ORPHANED_CUSTOMER = "Orphaned_Customer__c"
LINKED_ACCOUNT_ID = "Linked_Account_ID__c"
LINK_SOURCE = "Link_Source__c"
LINK_PENDING = "Link_Pending__c"
RELINKING = "Relinking__c"

USD_CENTS_ID = "2714e483-4ff1-48e4-9e25-ac732e8f24f2"
"""Metronome's constant id of the credit type "USD (cents)": the only unit sent in hundredths."""
_USD_CENTS_NAME = "USD (cents)"


def path(dotted: str) -> Getter:
    """Read `invoice.plan_name` and the like from a record; None as soon as a part is missing."""
    first, *rest = dotted.split(".")

    def get(record: Record) -> object:
        value: object = record.get(first)
        for name in rest:
            if value is None:
                return None
            value = getattr(value, name)
        return value

    return get


def in_cents(credit_type: object) -> bool:
    """Whether amounts of this credit type are hundredths: true for USD alone."""
    return (
        getattr(credit_type, "id", None) == USD_CENTS_ID
        or getattr(credit_type, "name", None) == _USD_CENTS_NAME
    )


def unit_name(credit_type: object) -> str | None:
    """The unit that people read beside an amount: `USD`, `EUR`, or a custom unit's name."""
    if credit_type is None:
        return None
    return "USD" if in_cents(credit_type) else getattr(credit_type, "name", None)


def whole(amount: Decimal | int | None, credit_type: object) -> Decimal | None:
    """`amount` in whole units of its credit type (Metronome, currencies: USD is in cents)."""
    if amount is None:
        return None
    number = Decimal(amount)
    return number / 100 if in_cents(credit_type) else number


def money(amount: str, credit_type: str) -> Getter:
    """The amount at one path in whole units of the credit type at another."""
    get_amount, get_credit_type = path(amount), path(credit_type)

    def get(record: Record) -> object:
        raw = get_amount(record)
        if raw is not None and not isinstance(raw, Decimal | int):
            raise TypeError(f"{amount} is not a number")
        return whole(raw, get_credit_type(record))

    return get


def unit(credit_type: str) -> Getter:
    """The unit's name for the credit type at a path."""
    get = path(credit_type)
    return lambda record: unit_name(get(record))


def title_case(dotted: str) -> Getter:
    """Metronome's `PAST_DUE` as the package's `Past Due`."""
    get = path(dotted)

    def convert(record: Record) -> object:
        value = get(record)
        return None if value is None else str(value).replace("_", " ").title()

    return convert


def lines(dotted: str) -> Getter:
    """A list at a path as text, an item a line."""
    get = path(dotted)

    def join(record: Record) -> object:
        value = get(record)
        return "\n".join(map(str, value)) if isinstance(value, list | tuple) else None

    return join


_INVOICE_NAME_CUSTOMER = 67


def invoice_name(record: Record) -> object:
    """`Acme Robotics - 01-02-2026`: customer and first day of the period, else of issue."""
    invoice, customer = record["invoice"], record["customer"]
    moment: datetime | None = invoice.start_timestamp or invoice.issued_at
    name = canon(Text(255), customer.name) or customer.id
    short = cut(str(name), _INVOICE_NAME_CUSTOMER)
    return short if moment is None else f"{short} - {moment.strftime('%d-%m-%Y')}"


def to_row(
    mapping: ObjectMapping,
    record: Record,
    *,
    key: str,
    customer_id: str | None,
    owner: str | None,
    on_cut: Callable[[str, str], None],
) -> Row:
    """Make the canonical row of `record`.

    `on_cut(object, field)` is called for each text that had to be shortened. A value that the
    field cannot hold (an infinite number) is left empty and reported through `on_cut` as well.
    """
    content: dict[str, Value] = {}
    for field in mapping.content:
        assert field.value is not None  # noqa: S101 -- every CONTENT field is declared with one
        raw = field.value(record)
        kind = field.value_kind
        try:
            content[field.api] = canon(kind, raw)
        except (ValueError, TypeError, OverflowError):
            content[field.api] = None
            on_cut(mapping.name, field.api)
            continue
        # The record name is cut by design: the whole text stands in Full_Name__c.
        if field.api != "Name" and is_cut(kind, raw):
            on_cut(mapping.name, field.api)
    if "Name" in content and content["Name"] is None:
        content["Name"] = key[:_NAME_LENGTH]
    return Row(mapping.name, key, customer_id, owner, content)


_NAME_LENGTH = 80
