"""Label and field selectors, as lists, watches and deletecollection take them.

Source: Kubernetes documentation, "Labels and Selectors" and "Field Selectors".
"""

import re
from collections.abc import Callable

from metronome_salesforce.sandbox.kubernetes.exceptions import Json, bad_request
from metronome_salesforce.sandbox.kubernetes.kinds import Resource, select

Predicate = Callable[[Json], bool]

_EVENT_FIELDS = (
    "involvedObject.kind", "involvedObject.namespace", "involvedObject.name",
    "involvedObject.uid", "involvedObject.apiVersion", "involvedObject.resourceVersion",
    "involvedObject.fieldPath", "reason", "reportingComponent", "type",
)  # fmt: skip
_FIELDS = {
    ("", "events"): _EVENT_FIELDS,
    ("", "secrets"): ("type",),
    ("", "namespaces"): ("status.phase",),
    ("", "pods"): ("status.phase", "spec.nodeName", "spec.serviceAccountName"),
}
_SET = re.compile(r"^(?P<key>\S+)\s+(?P<op>in|notin)\s*\(\s*(?P<values>[^()]*)\)$")
_EQUAL = re.compile(r"^(?P<key>[^=!\s]+)\s*(?P<op>==|=|!=)\s*(?P<value>[^=!\s]*)$")
_KEY = re.compile(r"^(?P<not>!?)\s*(?P<key>[A-Za-z0-9][-A-Za-z0-9_./]*)$")


def _split(text: str) -> list[str]:
    return [part.strip() for part in re.split(r",(?![^(]*\))", text) if part.strip()]


def _label_term(term: str) -> Predicate:
    if found := _SET.match(term):
        key, values = found["key"], {value.strip() for value in found["values"].split(",")}
        if found["op"] == "in":
            return lambda labels: key in labels and labels[key] in values
        return lambda labels: labels.get(key) not in values
    if found := _EQUAL.match(term):
        key, value = found["key"], found["value"]
        if found["op"] == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if found := _KEY.match(term):
        key, absent = found["key"], bool(found["not"])
        return lambda labels: (key in labels) is not absent
    raise bad_request(f"unable to parse requirement: found '{term}', expected: identifier")


def _field_term(resource: Resource, term: str) -> Predicate:
    found = _EQUAL.match(term)
    if not found:
        raise bad_request(f"invalid selector: '{term}'; can't understand '{term}'")
    key, value, differs = found["key"], found["value"], found["op"] == "!="
    known = ("metadata.name", "metadata.namespace", *resource.selectable_fields)
    if key not in (*known, *_FIELDS.get(resource.storage, ())):
        raise bad_request(f"field label not supported: {key}")
    return lambda item: ((_text(select(item, key))) == value) is not differs


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def predicate(resource: Resource, labels: str = "", fields: str = "") -> Predicate:
    """A test for objects; raises ApiError 400 for a selector that cannot be understood."""
    label_terms = [_label_term(term) for term in _split(labels)]
    field_terms = [_field_term(resource, term) for term in _split(fields)]

    def matches(item: Json) -> bool:
        own = item["metadata"].get("labels", {})
        return all(term(own) for term in label_terms) and all(term(item) for term in field_terms)

    return matches
