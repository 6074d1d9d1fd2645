"""Answer requests about usage."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import Any

from metronome_salesforce.sandbox.metronome.calls import Call
from metronome_salesforce.sandbox.metronome.documents import stamp
from metronome_salesforce.sandbox.metronome.exceptions import BadRequestError
from metronome_salesforce.sandbox.metronome.usage import UsageQuestion
from metronome_salesforce.sandbox.metronome.values import Document, month_start

_WINDOWS = ("HOUR", "DAY", "NONE")
_MOST_VALUES = 200


def list_usage(call: Call) -> Document:
    """POST /v1/usage: all customers and metrics, or chosen ones; the page size is fixed."""
    start, end = call.midnight("starting_on"), call.midnight("ending_before")
    if end <= start:
        raise BadRequestError("ending_before must be at least one day after starting_on")
    window = call.word("window_size", _WINDOWS)
    customers = call.strings("customer_ids")
    metrics = call.field("billable_metrics", list, required=False)
    groups: list[tuple[str, str, tuple[str, ...]]] = []
    ids: set[str] = set()
    for metric in metrics or []:
        if not isinstance(metric, dict) or not isinstance(metric.get("id"), str):
            raise BadRequestError("body/billable_metrics must have required property 'id'")
        ids.add(metric["id"])
        if metric.get("group_by") is not None:
            groups.append((metric["id"], *_group_by(metric["group_by"])))
    question = UsageQuestion(
        start,
        end,
        window,
        None if customers is None else frozenset(customers),
        None if metrics is None else frozenset(ids),
        tuple(groups),
    )
    found = call.tenant.usage_from(question, call.position())
    page = list(islice(found, call.limits.usage))
    more = next(found, None) is not None
    return {
        "data": [document for _, document in page],
        "next_page": call.cursor(page[-1][0]) if more else None,
    }


def list_usage_groups(call: Call) -> Document:
    """POST /v1/usage/groups: one customer and metric, by the values of one or more group keys."""
    customer = call.tenant.find_customer(call.required("customer_id"))
    metric = call.tenant.find_metric(call.required("billable_metric_id"))
    window = call.word("window_size", _WINDOWS)
    keys, wanted = _group_keys(call)
    if keys and tuple(keys) not in metric.group_keys:
        raise BadRequestError("group_key is not a group key of the billable metric")
    start, end = _groups_span(call)
    question = UsageQuestion(
        start,
        end,
        window,
        frozenset({customer.id}),
        frozenset({metric.id}),
        ((metric.id, keys[0] if keys else "", ()),),
    )
    found = [
        item
        for _, document in call.tenant.usage_from(question, 0)
        for item in _by_group(document, keys, wanted)
    ]
    return call.page(found, lambda item: item)


def _group_by(value: Any) -> tuple[str, tuple[str, ...]]:
    if not isinstance(value, dict) or not isinstance(value.get("key"), str):
        raise BadRequestError("group_by must have required property 'key'")
    values = value.get("values")
    if values is None:
        return value["key"], ()
    if not isinstance(values, list) or not 1 <= len(values) <= _MOST_VALUES:
        raise BadRequestError(f"group_by.values must have 1 to {_MOST_VALUES} values")
    return value["key"], tuple(values)


def _group_keys(call: Call) -> tuple[list[str], frozenset[str]]:
    keys = call.strings("group_key")
    old = call.field("group_by", dict, required=False)
    if keys is not None and old is not None:
        raise BadRequestError("group_key cannot be used together with group_by")
    if old is not None:
        key, values = _group_by(old)
        return [key], frozenset(values)
    filters: dict[str, list[str]] = call.field("group_filters", dict, required=False) or {}
    if not set(filters).issubset(keys or []):
        raise BadRequestError("group_filters must only have keys of group_key")
    if sum(len(values) for values in filters.values()) > _MOST_VALUES:
        raise BadRequestError(f"group_filters accepts at most {_MOST_VALUES} values")
    return keys or [], frozenset(filters.get(keys[0], ()) if keys else ())


def _groups_span(call: Call) -> tuple[datetime, datetime]:
    if not call.field("current_period", bool, required=False):
        start, end = call.midnight("starting_on"), call.midnight("ending_before")
        if end <= start:
            raise BadRequestError("ending_before must be at least one day after starting_on")
        return start, end
    if "starting_on" in call.body or "ending_before" in call.body:
        raise BadRequestError("current_period excludes starting_on and ending_before")
    customer = call.tenant.find_customer(call.required("customer_id"))
    if not call.tenant.has_active_plan(customer):
        raise BadRequestError("The customer has no active plan")
    return month_start(call.tenant.now), month_start(call.tenant.now, 1)


def _by_group(document: Document, keys: list[str], wanted: frozenset[str]) -> Iterator[Document]:
    span = {
        "starting_on": _restamped(document["start_timestamp"]),
        "ending_before": _restamped(document["end_timestamp"]),
    }
    if not keys:
        yield {**span, "group_key": None, "group_value": None, "value": document["value"]}
        return
    groups: dict[str, Decimal | None] = document["groups"]
    for name, value in groups.items():
        if wanted and name not in wanted:
            continue
        # Compound keys share the first key's split; the others have one value each.
        group = {key: name if key == keys[0] else "standard" for key in keys}
        single = len(keys) == 1
        yield {
            **span,
            "group_key": keys[0] if single else None,
            "group_value": name if single else None,
            "group": group,
            "value": value,
        }


def _restamped(value: str) -> str:
    return stamp(datetime.fromisoformat(value), 2)
