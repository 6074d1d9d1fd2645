"""The values that flow between the two edges: rows, what the org holds, and results of writes."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

Value = str | Decimal | bool | None
"""A canonical field value (see `canon`): text, number, checkbox, or nothing.

Dates are `2026-01-31`, times `2026-01-31T23:59:59Z`, a reference is the parent's external id.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One record as it should be: what Metronome says, in canonical values.

    `content` maps field API names to values: everything that is compared, so neither the place of
    the row (Account or Orphaned Customer), which the link rules decide, nor the stamps of a write.
    `customer_id` is the owner; None for rows that belong to nobody, such as plans.
    `owner` is what must have been read completely before a missing sibling counts as deleted: the
    invoice of a line item, the customer of the other rows.
    """

    object: str
    key: str
    customer_id: str | None
    owner: str | None
    content: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class ActualRow:
    """One record as the org holds it, as far as a comparison needs it.

    `account` is the 18-character Account id in `Account__c`, `orphaned_customer` the customer id
    that `Orphaned_Customer__c` leads to. Customers only have `linked`, `link_source` and
    `relinking`. `edited` tells that somebody other than the integration user wrote the row last.
    `draft` tells that an invoice is (or a child belongs to) a draft. `content` is filled when it
    was asked for.
    """

    object: str
    key: str
    id: str
    hash: str | None
    customer_id: str | None = None
    owner: str | None = None
    account: str | None = None
    orphaned_customer: str | None = None
    linked: str | None = None
    link_source: str | None = None
    relinking: bool = False
    edited: bool = False
    draft: bool = False
    content: Mapping[str, Value] | None = None


class Operation(StrEnum):
    """What a plan does to a row; the values are metric labels and report keys."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Write:
    """One row to send. `fields` are canonical values by API name; None clears.

    A reference field names its parent by external id; an id field (`Account__c`) by record id.
    For a delete, and for an update of an Account, `id` is the record id; `fields` is then empty
    or what changes.
    """

    object: str
    operation: Operation
    key: str
    fields: Mapping[str, Value]
    id: str | None = None


@dataclass(frozen=True, slots=True)
class RowError:
    """Why Salesforce refused a row: its status code, field API names and a sentence.

    `message` is the org's own text only where an administrator of that org wrote it (validation
    rules, triggers); other texts may quote the customer's data and are replaced by ours.
    """

    code: str
    message: str
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RowResult:
    """What became of one `Write`; `created` as the org tells it, `error` None when it is stored."""

    write: Write
    created: bool = False
    error: RowError | None = None
