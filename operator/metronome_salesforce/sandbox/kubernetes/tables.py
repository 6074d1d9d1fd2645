"""Lists as Tables: the columns that `kubectl get` shows.

Source: Kubernetes API concepts, "Receiving resources as Tables". The server renders ages; kubectl
only aligns what it is given.
"""

from datetime import UTC, datetime
from typing import Any

from metronome_salesforce.sandbox.kubernetes import jsonpath
from metronome_salesforce.sandbox.kubernetes.exceptions import Json
from metronome_salesforce.sandbox.kubernetes.kinds import Column, Resource

_NAME = {
    "name": "Name",
    "type": "string",
    "format": "name",
    "description": "Name must be unique within a namespace.",
    "priority": 0,
}
_EVENTS = ("", "events")  # the only kind whose first column is not its name
_PARTIAL = "meta.k8s.io/v1"
_OWN_TYPES = {"count": "integer"}
_SCHEMA_TYPES = ("integer", "number", "string", "boolean", "date")


def age(seconds: float) -> str:
    """A duration as kubectl prints ages: `42s`, `3m10s`, `5h`, `12d`, `2y40d`."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 60 * 2:
        return f"{max(whole, 0)}s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if minutes < 10:
        return f"{minutes}m{whole % 60}s" if whole % 60 else f"{minutes}m"
    if minutes < 60 * 3:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if hours < 24 * 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 365 * 2:
        return f"{days}d"
    years, rest = divmod(days, 365)
    if years < 8 and rest:
        return f"{years}y{rest}d"
    return f"{years}y"


def _age_of(text: Any, now: datetime) -> str:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return "<invalid>"
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return age((now - moment).total_seconds())


def _typed(kind: str, value: Any) -> Any:
    if kind in ("integer", "number"):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return (int(value) if kind == "integer" else value) if is_number else None
    if kind == "boolean":
        return value if isinstance(value, bool) else None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return jsonpath.printed(value)
    return str(value)


def _event_age(item: Json, now: datetime) -> str:
    text = (
        (item.get("series") or {}).get("lastObservedTime")
        or item.get("lastTimestamp")
        or item.get("eventTime")
    )
    return _age_of(text, now) if text else "<unknown>"


def _event_object(item: Json) -> str:
    involved = item.get("involvedObject") or item.get("regarding") or {}
    return f"{str(involved.get('kind', '')).lower()}/{involved.get('name', '')}"


def _event_source(item: Json) -> str:
    source = item.get("source") or item.get("deprecatedSource") or {}
    component = source.get("component") or item.get("reportingComponent") or ""
    return ", ".join(part for part in (component, source.get("host")) if part)


def _cell(column: Column, item: Json, now: datetime) -> Any:
    if column.type == "event-age":
        return _event_age(item, now)
    if column.type == "object-reference":
        return _event_object(item)
    if column.type == "event-source":
        return _event_source(item)
    found = jsonpath.compiled(column.path)(item)
    value = found[0] if found else None
    if column.type == "count":
        return len(value or {})
    if value is None:
        return None
    if column.type == "date":
        return _age_of(value, now)
    return _typed(column.type, value)


def _definition(column: Column) -> Json:
    kind = column.type if column.type in _SCHEMA_TYPES else _OWN_TYPES.get(column.type, "string")
    described = column.description or f"Custom resource definition column: {column.path}"
    return {
        "name": column.name,
        "type": kind,
        "format": column.format,
        "description": described,
        "priority": column.priority,
    }


def partial(item: Json) -> Json:
    """PartialObjectMetadata of an object."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": _PARTIAL,
        "metadata": item["metadata"],
    }


def table(
    resource: Resource, items: list[Json], meta: Json, *, include: str, now: datetime
) -> Json:
    """A Table of the objects; `include` is `None`, `Metadata` or `Object`, as in includeObject."""
    named = [] if resource.storage == _EVENTS else [_NAME]
    rows: list[Json] = []
    for item in items:
        cells = [] if resource.storage == _EVENTS else [item["metadata"]["name"]]
        cells += [_cell(column, item, now) for column in resource.columns]
        row: Json = {"cells": cells}
        if include == "Object":
            row["object"] = item
        elif include != "None":
            row["object"] = partial(item)
        rows.append(row)
    return {
        "kind": "Table",
        "apiVersion": _PARTIAL,
        "metadata": meta,
        "columnDefinitions": [*named, *(_definition(column) for column in resource.columns)],
        "rows": rows,
    }
