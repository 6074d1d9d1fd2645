"""What customers spend now, summed for those with an Account and those without: for monitoring.

By currency, because amounts of different units are never added. Units are the tenant's own words,
and one that was made for a customer may bear its name, so only those that are written as ISO 4217
codes are shown; and of these no more than ten, so that what is stored of them is bounded.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal

MOST_CURRENCIES = 10

LINKED, ORPHANED = "linked", "orphaned"

_CURRENCY = re.compile(r"[A-Z]{3}")

Spend = Mapping[str, Decimal]
"""Amounts in whole units by unit."""


def totals(customers: Iterable[tuple[str, Spend]]) -> dict[str, dict[str, str]]:
    """Sum (link state, spend) of customers up: state to currency to an amount as text.

    Of too many currencies those that the most customers spend in are kept. States without any
    spend are there, and empty.
    """
    sums: dict[str, dict[str, Decimal]] = {LINKED: {}, ORPHANED: {}}
    spenders: Counter[str] = Counter()
    for state, spend in customers:
        of_state = sums[state]
        for unit, amount in spend.items():
            if _CURRENCY.fullmatch(unit):
                spenders[unit] += 1
                of_state[unit] = of_state.get(unit, Decimal(0)) + amount
    kept = sorted(spenders, key=lambda unit: (-spenders[unit], unit))[:MOST_CURRENCIES]
    return {
        state: {unit: f"{of_state[unit]:.2f}" for unit in sorted(kept) if unit in of_state}
        for state, of_state in sums.items()
    }
