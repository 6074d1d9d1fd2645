"""The parts of grouping a report: which group a row falls into, labels, order, aggregates."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from metronome_salesforce.sandbox.salesforce.report_columns import Column
from metronome_salesforce.sandbox.salesforce.report_dates import bucket, shown_day, shown_moment
from metronome_salesforce.sandbox.salesforce.report_rows import Cell

BLANK = "-"


def grouped(cell: Cell, column: Column, granularity: str) -> tuple[Cell, str]:
    """The value by which a row is grouped, and the group's label."""
    if cell.value is not None and column.is_date:
        value, label = bucket(cell.value, granularity)
        return Cell(value), label
    return cell, value_label(column, cell.value)


def value_label(column: Column, value: Any) -> str:
    """A value as people read it in the en_US locale; blanks are "-"."""
    kind = column.field.result_type
    if value is None:
        return BLANK
    if kind == "Checkbox":
        return str(bool(value)).lower()
    if kind == "Date":
        return shown_day(value)
    if kind == "DateTime":
        return shown_moment(value)
    if isinstance(value, int | float):
        summary = column.field.summary
        counted = summary is not None and summary.operation == "count"
        shown = f"{value:,.{0 if counted else column.field.scale}f}"
        return f"{shown}%" if kind == "Percent" else shown
    labels = {each.value.lower(): each.label for each in column.field.picklist}
    return labels.get(str(value).lower(), str(value))


def order_key(value: object) -> tuple[int, Any, str]:
    """Blanks first, then numbers by size, then text without regard to case."""
    if value is None:
        return 0, 0, ""
    if isinstance(value, bool | int | float):
        return 1, value, ""
    return 2, str(value).casefold(), str(value)


def aggregate(kind: str, values: Iterable[Any]) -> object:
    """One aggregate of a column's values: blanks left out, sums exact as the platform's are."""
    known = [each for each in values if each is not None]
    if kind == "u":
        return len({each.casefold() if isinstance(each, str) else each for each in known})
    if not known:
        return 0.0 if kind == "s" else None
    if kind in {"x", "m"}:
        return max(known) if kind == "x" else min(known)
    total = sum((Decimal(str(float(each))) for each in known), Decimal())
    return float(total if kind == "s" else total / len(known))
