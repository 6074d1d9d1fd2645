"""Price a period's usage: the lines of plan invoices and of contract invoices.

Amounts are exact products of quantity and price, so fractions of a cent appear as they do in
Metronome; nothing is rounded.
"""

from collections.abc import Callable
from decimal import ROUND_DOWN, Decimal

from metronome_salesforce.sandbox.metronome.values import (
    ZERO,
    Adjustment,
    Charge,
    Contract,
    Grant,
    Line,
    Plan,
    Scheduled,
    SubLine,
    Tier,
    plain,
)

Quantity = Callable[[str], Decimal]
"""Billable metric id -> what was used in the period."""

_COMMIT_STEP = Decimal("0.0001")


def plan_lines(plan: Plan, used: Quantity) -> tuple[Line, ...]:
    """Return one line per product; each charge is a sub line of its product's line."""
    by_product: dict[str, list[SubLine]] = {}
    names: dict[str, str] = {}
    for charge in plan.charges:
        names[charge.product_id] = charge.product_name
        by_product.setdefault(charge.product_id, []).extend(_sub_lines(charge, used))
    return tuple(
        Line(
            name=names[product_id],
            type="usage",
            total=plain(sum((sub.subtotal for sub in subs), ZERO)),
            quantity=Decimal(1) if any(sub.quantity for sub in subs) else ZERO,
            product_id=product_id,
            sub_lines=tuple(subs),
        )
        for product_id, subs in by_product.items()
    )


def plan_adjustments(
    plan: Plan, subtotal: Decimal, grants: list[tuple[Grant, Decimal]], *, twins: bool
) -> tuple[tuple[Adjustment, ...], tuple[tuple[str, Decimal], ...]]:
    """Return the adjustments, and what they draw from which grant.

    `grants` are the usable ones with what is left of them, in the order they are used up. With
    `twins`, two goodwill credits that nothing tells apart are added.
    """
    adjustments: list[Adjustment] = []
    draws: list[tuple[str, Decimal]] = []
    due = subtotal
    if twins:
        goodwill = plain(min(Decimal(500), due / 2))
        adjustments += [Adjustment("Goodwill", -goodwill), Adjustment("Goodwill", -goodwill)]
        due -= 2 * goodwill
    for grant, left in grants:
        amount = min(left, due)
        if amount > 0:
            adjustments.append(Adjustment(grant.name, plain(-amount), grant.id))
            draws.append((grant.id, plain(amount)))
            due -= amount
    if plan.minimum is not None and subtotal < plan.minimum:
        adjustments.append(Adjustment("Monthly minimum", plain(plan.minimum - subtotal)))
    return tuple(adjustments), tuple(draws)


def contract_lines(
    contract: Contract, used: Quantity, commit_left: Decimal
) -> tuple[tuple[Line, ...], tuple[tuple[str, Decimal], ...]]:
    """Return the lines of a contract's usage invoice, and what they draw from its commit.

    A line is split where the commit runs out; what the commit paid comes back as one negative
    line of type `applied_commit_or_credit`.
    """
    lines: list[Line] = []
    applied = ZERO
    for rate in contract.rates:
        quantity = used(rate.metric_id)
        left = quantity
        for number, (tenths, groups) in enumerate(rate.parts):
            last = number == len(rate.parts) - 1
            part = left if last else (quantity * tenths / 10).quantize(_COMMIT_STEP, ROUND_DOWN)
            left -= part
            covered = min(part, _affordable(commit_left - applied, rate.price))
            pieces = [(covered, contract.commit_id)] if covered > 0 else []
            if part > covered or not pieces:
                pieces.append((part - covered, None))
            for amount, commit_id in pieces:
                total = plain(amount * rate.price)
                applied += total if commit_id else ZERO
                lines.append(
                    Line(
                        name=rate.product_name,
                        type="usage",
                        total=total,
                        quantity=plain(amount),
                        unit_price=plain(rate.price),
                        product_id=rate.product_id,
                        product_type="UsageProductListItem",
                        commit_id=commit_id,
                        groups=groups,
                    )
                )
    if applied and contract.commit_id:
        lines.append(
            Line(
                name="Prepaid commit applied",
                type="applied_commit_or_credit",
                total=plain(-applied),
                commit_id=contract.commit_id,
            )
        )
        return tuple(lines), ((contract.commit_id, plain(applied)),)
    return tuple(lines), ()


def scheduled_line(contract: Contract, item: Scheduled) -> Line:
    """Return the one line of an invoice that a contract plans for a date."""
    return Line(
        name=item.name,
        type=item.line_type,
        total=item.amount,
        quantity=Decimal(1),
        unit_price=item.amount,
        product_type="FixedProductListItem",
        commit_id=contract.commit_id if item.line_type == "commit_purchase" else None,
    )


def _affordable(money: Decimal, price: Decimal) -> Decimal:
    return (money / price).quantize(_COMMIT_STEP, ROUND_DOWN) if money > 0 else ZERO


def _sub_lines(charge: Charge, used: Quantity) -> list[SubLine]:
    price = charge.tiers[0].price
    if charge.metric_id is None:
        return [
            SubLine(charge.name, quantity, plain(quantity * price), charge.id, price=price)
            for quantity in charge.quantities
        ]
    quantity = used(charge.metric_id)
    if len(charge.tiers) == 1:
        subtotal = plain(quantity * price)
        return [SubLine(charge.name, quantity, subtotal, charge.id, price=price)]
    tiers = _tiered(charge.tiers, quantity)
    subtotal = plain(sum((tier[3] for tier in tiers), ZERO))
    return [SubLine(charge.name, quantity, subtotal, charge.id, tiers=tiers)]


def _tiered(
    tiers: tuple[Tier, ...], quantity: Decimal
) -> tuple[tuple[Decimal, Decimal, Decimal, Decimal], ...]:
    """Return (starting_at, quantity, price, subtotal) for every tier that was reached."""
    reached: list[tuple[Decimal, Decimal, Decimal, Decimal]] = []
    for number, tier in enumerate(tiers):
        end = tiers[number + 1].start if number + 1 < len(tiers) else None
        inside = (quantity if end is None else min(quantity, end)) - tier.start
        if inside > 0 or number == 0:
            reached.append((tier.start, plain(inside), tier.price, plain(inside * tier.price)))
    return tuple(reached)
