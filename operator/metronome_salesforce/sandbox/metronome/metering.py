"""Daily usage as a pure function of customer, metric, day and the moment of looking.

Nothing is stored: a value is `base x factor(day)`, the factors come from one table for the tenant,
and prefix sums of it make a month's total as cheap as a day's. Late usage has its own arrival day,
so looking later at the same day can give more, for up to 34 days, as in Metronome.
"""

import random
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import accumulate

from metronome_salesforce.sandbox.metronome.values import (
    Customer,
    Metric,
    Rate,
    plain,
)

_SIZE = 4095  # whole weeks, so that weekends fall on weekends for every offset
_LONGEST_DELAY = 33
_WEEKEND = {6, 0}  # ordinal % 7
_SHARES = (("eu", 5), ("us", 3), ("ap", 2))  # tenths of a value, by region or any other group

Override = Decimal | None


@dataclass(slots=True)
class Metering:
    """The tenant's usage. `overrides` holds what `edit_usage` set: (customer, metric) to days."""

    seed: int
    overrides: dict[tuple[str, str], dict[int, Override]] = field(default_factory=dict)
    _factors: list[int] = field(init=False)
    _sums: list[int] = field(init=False)
    _late: dict[int, tuple[int, int]] = field(init=False)
    _late_positions: list[int] = field(init=False)

    def __post_init__(self) -> None:
        rng = random.Random(f"usage:{self.seed}")
        self._factors = []
        self._late = {}
        for position in range(_SIZE):
            low, high = (20, 700) if position % 7 in _WEEKEND else (600, 2000)
            silent = rng.random() < 0.05
            self._factors.append(0 if silent else rng.randint(low, high))
            if rng.random() < 0.03:
                self._late[position] = (rng.randint(2, _LONGEST_DELAY), rng.randint(5, 200))
        self._sums = [0, *accumulate(self._factors + self._factors)]
        positions = sorted(self._late)
        self._late_positions = positions + [one + _SIZE for one in positions]

    def steps(self, rate: Rate, day: int, as_of: datetime) -> int | None:
        """Return the day's usage in the metric's smallest step, or None without any event."""
        hours = _hours_seen(day, as_of)
        if hours <= 0 or day < rate.first_day or not rate.base:
            return None
        position = (rate.offset + day) % _SIZE
        factor = self._factors[position]
        if hours < 24:
            return _first_hours(rate.metric, rate.base * factor, hours) if factor else None
        late = self._late.get(position)
        if late is not None and as_of.toordinal() >= day + late[0]:
            factor += late[1]
        return rate.base * factor if factor else None

    def billed(
        self, customer: Customer, rate: Rate, period: tuple[datetime, datetime], as_of: datetime
    ) -> Decimal:
        """Return the quantity of a period as known at `as_of`; 0 if nothing was used."""
        first = period[0].toordinal()
        last = min(period[1].toordinal(), as_of.toordinal() + 1)
        if (customer.id, rate.metric.id) in self.overrides or not rate.metric.adds_up:
            values = [
                value
                for day in range(first, last)
                if (value := self.value(customer, rate, day, as_of)) is not None
            ]
            return combine(rate.metric, values) or Decimal(0)
        first = max(first, rate.first_day)
        if last <= first:
            return Decimal(0)
        whole = min(last, as_of.toordinal())
        total = rate.base * self._factor_sum(rate, first, whole, as_of.toordinal())
        if last > whole:
            total += self.steps(rate, whole, as_of) or 0
        return _scaled(total, rate.metric)

    def value(self, customer: Customer, rate: Rate, day: int, as_of: datetime) -> Decimal | None:
        """Return the day's usage with overrides, or None without any event."""
        edited = self.overrides.get((customer.id, rate.metric.id))
        if edited is not None and day in edited:
            return edited[day] if _hours_seen(day, as_of) > 0 else None
        steps = self.steps(rate, day, as_of)
        return None if steps is None else _scaled(steps, rate.metric)

    def hour(
        self, customer: Customer, rate: Rate, day: int, hour: int, as_of: datetime
    ) -> Decimal | None:
        """Return one hour's share of its day, or None without any event."""
        if _hours_seen(day, as_of) <= hour:
            return None
        edited = self.overrides.get((customer.id, rate.metric.id))
        if edited is not None and day in edited:
            return edited[day] if hour == 23 else None
        position = (rate.offset + day) % _SIZE
        if day < rate.first_day or not self._factors[position] or not rate.base:
            whole_day = self.steps(rate, day, as_of)
            return _scaled(whole_day, rate.metric) if whole_day and hour == 23 else None
        share = _one_hour(rate.metric, rate.base * self._factors[position], hour)
        late = self._late.get(position)
        if late is not None and hour == 23 and as_of.toordinal() >= day + late[0]:
            share += rate.base * late[1]
        return _scaled(share, rate.metric)

    def windows(
        self,
        customer: Customer,
        rate: Rate,
        span: tuple[datetime, datetime],
        window_size: str,
        now: datetime,
    ) -> Iterator[tuple[datetime, datetime, Decimal | None] | None]:
        """Yield (start, end, value) per window, or None where the window is left out."""
        as_of = now if customer.archived_at is None else min(now, customer.archived_at)
        first, last = span[0].toordinal(), span[1].toordinal()
        if window_size == "NONE":
            values = [self.value(customer, rate, day, as_of) for day in range(first, last)]
            known = [value for value in values if value is not None]
            yield (*span, combine(rate.metric, known)) if known else None
            return
        for day in range(first, last):
            opened = span[0] + timedelta(days=day - first)
            if window_size == "DAY":
                value = self.value(customer, rate, day, as_of)
                known_by = opened + timedelta(hours=1)
                yield _window(rate, (opened, opened + timedelta(days=1)), value, as_of >= known_by)
                continue
            for number in range(24):
                start = opened + timedelta(hours=number)
                end = start + timedelta(hours=1)
                value = self.hour(customer, rate, day, number, as_of)
                yield _window(rate, (start, end), value, as_of >= end)

    def _factor_sum(self, rate: Rate, first: int, last: int, seen: int) -> int:
        """Sum the factors of the whole days [first, last), late usage included if it arrived."""
        total = 0
        while first < last:
            count = min(last - first, _SIZE)
            position = (rate.offset + first) % _SIZE
            total += self._sums[position + count] - self._sums[position]
            for at in self._late_positions[
                bisect_left(self._late_positions, position) : bisect_left(
                    self._late_positions, position + count
                )
            ]:
                delay, extra = self._late[at % _SIZE]
                if seen >= first + at - position + delay:
                    total += extra
            first += count
        return total


def shares(metric: Metric, value: Decimal) -> dict[str, Decimal]:
    """Split a value over the group values that the emulated events carry; the parts add up."""
    parts: dict[str, Decimal] = {}
    left = value
    step = Decimal(1).scaleb(-metric.decimals)
    for name, tenths in _SHARES[1:]:
        parts[name] = plain((value * tenths / 10).quantize(step))
        left -= parts[name]
    return {_SHARES[0][0]: plain(left), **parts}


def combine(metric: Metric, values: list[Decimal]) -> Decimal | None:
    """Aggregate the values of days as the metric would over the whole time."""
    if not values:
        return None
    if metric.adds_up:
        return plain(sum(values, Decimal(0)))
    return values[-1] if metric.aggregation == "LATEST" else max(values)


def _window(
    rate: Rate, span: tuple[datetime, datetime], value: Decimal | None, seen: bool
) -> tuple[datetime, datetime, Decimal | None] | None:
    if value is not None:
        return (*span, value)
    if not seen or span[0].toordinal() < rate.first_day or rate.silence == "absent":
        return None
    return (*span, Decimal(0) if rate.silence == "zero" else None)


def _hours_seen(day: int, as_of: datetime) -> int:
    today = as_of.astimezone(UTC).toordinal()
    if day < today:
        return 24
    return as_of.hour if day == today else 0


def _one_hour(metric: Metric, steps: int, hour: int) -> int:
    if metric.adds_up:
        return steps * (hour + 1) // 24 - steps * hour // 24
    if metric.aggregation == "LATEST":
        return steps * (hour + 1) // 24
    return steps * (12 + hour % 12) // 23


def _first_hours(metric: Metric, steps: int, hours: int) -> int:
    if metric.adds_up:
        return steps * hours // 24
    if metric.aggregation == "LATEST":
        return steps * hours // 24
    return max(_one_hour(metric, steps, hour) for hour in range(hours))


def _scaled(steps: int, metric: Metric) -> Decimal:
    return plain(Decimal(steps).scaleb(-metric.decimals)) if metric.decimals else Decimal(steps)
