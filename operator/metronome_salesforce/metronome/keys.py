"""External ids for what Metronome gives no id: line items, sub line items, adjustments and usage.

They are made from content that does not move while a draft is recomputed (so neither quantities nor
totals), and an ordinal among items that are equal in it. A changed order changes no key.
"""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from typing import TypeVar

from metronome_salesforce.metronome.models import InvoiceAdjustment, LineItem, SubLineItem, Usage

Item = TypeVar("Item", LineItem, SubLineItem, InvoiceAdjustment)


def line_keys(invoice_id: str, items: Sequence[LineItem]) -> list[str]:
    """`<invoice>:<hash>:<ordinal>` for each line item, in the order given."""
    return _keys(invoice_id, items, _line_identity, lambda one: (one.total, one.quantity))


def sub_line_keys(line_key: str, items: Sequence[SubLineItem]) -> list[str]:
    """`<line key>:<hash>:<ordinal>` for each sub line item, in the order given."""
    return _keys(line_key, items, _sub_line_identity, lambda one: (one.subtotal, one.quantity))


def adjustment_keys(invoice_id: str, items: Sequence[InvoiceAdjustment]) -> list[str]:
    """`<invoice>:adj:<hash>:<ordinal>` for each adjustment, in the order given."""
    return _keys(f"{invoice_id}:adj", items, _adjustment_identity, lambda one: (one.total,))


def usage_key(usage: Usage, window_size: str) -> str:
    """`<customer>:<metric>:<start>`: a day, an ISO minute for hours, `total` for no windows."""
    match window_size:
        case "Day":
            start = usage.start_timestamp.astimezone(UTC).strftime("%Y-%m-%d")
        case "Hour":
            start = usage.start_timestamp.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")
        case _:
            start = "total"
    return f"{usage.customer_id}:{usage.billable_metric_id}:{start}"


def _keys(
    prefix: str,
    items: Sequence[Item],
    identity: Callable[[Item], list[object]],
    amounts: Callable[[Item], tuple[Decimal | None, ...]],
) -> list[str]:
    hashes = [_hash(identity(item)) for item in items]

    # Equal items are told apart by their amounts, so that a changed order moves no content.
    def rank(position: int) -> tuple[str, list[Decimal]]:
        return hashes[position], [amount or Decimal(0) for amount in amounts(items[position])]

    seen: dict[str, int] = {}
    keys = [""] * len(items)
    for position in sorted(range(len(items)), key=rank):
        digest = hashes[position]
        ordinal = seen[digest] = seen.get(digest, 0) + 1
        keys[position] = f"{prefix}:{digest}:{ordinal}"
    return keys


def _line_identity(item: LineItem) -> list[object]:
    return [
        item.type,
        item.product_id,
        item.name,
        item.commit_id,
        item.commit_segment_id,
        item.scheduled_charge_id,
        item.subscription_id,
        item.discount_id,
        _moment(item.starting_at),
        _moment(item.ending_before),
        sorted(item.pricing_group_values.items()),
        sorted(item.presentation_group_values.items()),
        None if item.tier is None else _number(item.tier.level),
        _number(item.unit_price),
    ]


def _sub_line_identity(item: SubLineItem) -> list[object]:
    period = item.tier_period
    return [
        item.charge_id,
        item.name,
        _moment(item.start_date),
        _moment(item.end_date),
        None if period is None else [_moment(period.starting_at), _moment(period.ending_before)],
    ]


def _adjustment_identity(item: InvoiceAdjustment) -> list[object]:
    return [item.name, item.credit_type.id, item.credit_grant_id]


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()


def _number(number: Decimal | None) -> str | None:
    if number is None:
        return None
    return "0" if number == 0 else format(number.normalize(), "f")


def _hash(identity: list[object]) -> str:
    text = json.dumps(identity, ensure_ascii=False, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()[:16]
