"""External ids made from content: unique, stable under reordering and under moving amounts."""

import random
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from metronome_salesforce.metronome.keys import (
    adjustment_keys,
    line_keys,
    sub_line_keys,
    usage_key,
)
from metronome_salesforce.metronome.models import (
    InvoiceAdjustment,
    LineItem,
    SubLineItem,
    Usage,
)

USD = {"id": "2714e483-4ff1-48e4-9e25-ac732e8f24f2", "name": "USD (cents)"}

LINES = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(["GPU hours", "Storage"]),
            "type": st.just("usage"),
            "total": st.integers(0, 3).map(Decimal),
            "credit_type": st.just(USD),
            "unit_price": st.sampled_from([Decimal(1), Decimal(2), None]),
            "pricing_group_values": st.sampled_from([{}, {"region": "eu"}, {"region": "us"}]),
        }
    ),
    max_size=8,
)


def line(**fields: Any) -> LineItem:
    return LineItem.model_validate(
        {"name": "GPU hours", "type": "usage", "total": Decimal(1), "credit_type": USD, **fields}
    )


@given(LINES, st.randoms(use_true_random=False))
def test_a_changed_order_moves_no_key(documents: list[Any], order: random.Random) -> None:
    items = [LineItem.model_validate(document) for document in documents]
    shuffled = list(items)
    order.shuffle(shuffled)

    def content(lines: list[LineItem]) -> dict[str, object]:
        return {
            key: (one.name, one.total, one.unit_price, one.pricing_group_values)
            for key, one in zip(line_keys("inv", lines), lines, strict=True)
        }

    assert len(content(items)) == len(items)
    assert content(items) == content(shuffled)


def test_amounts_move_without_a_new_key_and_facts_do_not() -> None:
    (key,) = line_keys("inv", [line(quantity=Decimal(5), total=Decimal(10))])

    assert [key] == line_keys("inv", [line(quantity=Decimal(6), total=Decimal(12))])
    assert [key] != line_keys("inv", [line(unit_price=Decimal(2))])
    assert [key] != line_keys("inv", [line(starting_at="2026-02-01T00:00:00Z")])
    assert [key] != line_keys("other", [line()])
    assert line_keys("inv", [line(unit_price=Decimal("2.0"))]) == line_keys(
        "inv", [line(unit_price=Decimal(2))]
    )


def test_times_in_any_notation_give_one_key() -> None:
    notations = ["2026-02-01T00:00:00Z", "2026-02-01T00:00:00.000Z", "2026-02-01T00:00:00+00:00"]

    assert len({line_keys("i", [line(starting_at=one)])[0] for one in notations}) == 1


def test_equal_items_are_numbered() -> None:
    assert [key.rsplit(":", 1)[1] for key in line_keys("inv", [line(), line()])] == ["1", "2"]


def test_the_shape_of_each_key() -> None:
    sub_line = SubLineItem.model_validate(
        {"name": "Seats", "quantity": Decimal(1), "subtotal": Decimal(1)}
    )
    adjustment = InvoiceAdjustment.model_validate(
        {"name": "Credit", "total": Decimal(-1), "credit_type": USD}
    )
    usage = Usage.model_validate(
        {
            "customer_id": "c1",
            "billable_metric_id": "m1",
            "billable_metric_name": "GPU",
            "start_timestamp": "2026-02-01T05:00:00Z",
            "end_timestamp": "2026-02-01T06:00:00Z",
            "value": Decimal(1),
        }
    )
    (line_key,) = line_keys("inv", [line()])
    (sub_line_key,) = sub_line_keys(line_key, [sub_line])
    (adjustment_key,) = adjustment_keys("inv", [adjustment])

    assert [len(part) for part in line_key.split(":")] == [3, 16, 1]
    assert sub_line_key.startswith(f"{line_key}:")
    assert adjustment_key.startswith("inv:adj:")
    assert usage_key(usage, "Day") == "c1:m1:2026-02-01"
    assert usage_key(usage, "Hour") == "c1:m1:2026-02-01T05:00Z"
    assert usage_key(usage, "None") == "c1:m1:total"
