"""List usage window by window, from any position on.

Positions count windows over the customers that exist now, so that customers who come or go while
somebody pages shift what follows, as in the real service.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import islice

from metronome_salesforce.sandbox.metronome.metering import Metering, shares
from metronome_salesforce.sandbox.metronome.values import Customer, Document, Metric, Rate


@dataclass(frozen=True, slots=True)
class UsageQuestion:
    """What POST /v1/usage asks for; no ids means all.

    `groups` holds (metric id, group key, group values) for the metrics that are to be split.
    """

    start: datetime
    end: datetime
    window_size: str = "DAY"
    customer_ids: frozenset[str] | None = None
    metric_ids: frozenset[str] | None = None
    groups: tuple[tuple[str, str, tuple[str, ...]], ...] = ()

    @property
    def windows(self) -> int:
        """How many windows each customer and metric has."""
        days = (self.end - self.start).days
        return {"NONE": 1, "DAY": days, "HOUR": days * 24}[self.window_size]


def usage_from(
    metering: Metering,
    series: Sequence[tuple[Customer, Rate]],
    question: UsageQuestion,
    position: int,
    now: datetime,
) -> Iterator[tuple[int, Document]]:
    """Yield (position of the next window, item of POST /v1/usage) from a position on."""
    windows = question.windows
    wanted = {metric_id: values for metric_id, _, values in question.groups}
    first, skip = divmod(position, windows)
    span = (question.start, question.end)
    for number, (customer, rate) in enumerate(islice(series, first, None), start=first):
        metric = rate.metric
        found = metering.windows(customer, rate, span, question.window_size, now)
        for offset, window in enumerate(found):
            if window is None or offset < skip:
                continue
            document: Document = {
                "customer_id": customer.id,
                "billable_metric_id": metric.id,
                "billable_metric_name": metric.name,
                "start_timestamp": window[0].isoformat()[:19] + "Z",
                "end_timestamp": window[1].isoformat()[:19] + "Z",
                "value": window[2],
            }
            if metric.id in wanted:
                document["groups"] = _groups(metric, window[2], wanted[metric.id])
            yield number * windows + offset + 1, document
        skip = 0


def _groups(
    metric: Metric, value: Decimal | None, wanted: tuple[str, ...]
) -> dict[str, Decimal | None]:
    """Split a window's value by the values of a group key; null where nothing matched."""
    parts = {} if value is None else shares(metric, value)
    return {name: parts.get(name) for name in wanted or tuple(parts)}
