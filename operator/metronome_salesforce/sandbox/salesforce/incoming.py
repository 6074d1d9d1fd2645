"""A record on its way in: deserialised, not yet checked, and what became of it.

Unknown columns and wrong JSON types refuse the whole request, as the REST parser does; everything
else is the row's own affair (REST API, sObject Rows).
"""

from dataclasses import dataclass, field
from typing import Any

from metronome_salesforce.sandbox.salesforce.access import Access, User
from metronome_salesforce.sandbox.salesforce.core import OrgState
from metronome_salesforce.sandbox.salesforce.exceptions import RowError, SalesforceError
from metronome_salesforce.sandbox.salesforce.schema import Field, SObject
from metronome_salesforce.sandbox.salesforce.values import deserialise


@dataclass(frozen=True, slots=True)
class ParentReference:
    """`{"Account__r": {"Ext__c": "x"}}`: a lookup given by the parent's external id."""

    field: Field
    target: SObject
    key: Field
    value: Any


@dataclass(slots=True)
class Incoming:
    """One deserialised record: stored forms by column, parents still to be found."""

    access: Access
    values: dict[str, Any] = field(default_factory=dict)
    parents: list[ParentReference] = field(default_factory=list)
    id: str | None = None


@dataclass(slots=True)
class Result:
    """What became of one row; `created` only for upserts."""

    id: str | None = None
    errors: list[RowError] = field(default_factory=list)
    created: bool | None = None
    matches: list[str] = field(default_factory=list)
    status: int = 400

    @property
    def success(self) -> bool:
        """Whether the row was saved."""
        return not self.errors

    def body(self) -> dict[str, Any]:
        """The JSON of a collections result."""
        if self.errors:
            return {"success": False, "errors": [each.body() for each in self.errors]}
        body: dict[str, Any] = {"id": self.id, "success": True, "errors": []}
        if self.created is not None:
            body["created"] = self.created
        return body


def read_record(
    state: OrgState, access: Access, record: dict[str, Any], user: User, body: str = ""
) -> Incoming:
    """Deserialise one JSON record; raises SalesforceError for the whole request."""
    incoming = Incoming(access)
    fields, values = access.fields, incoming.values
    for name, value in record.items():
        lower = name.lower()
        if lower == "attributes":
            continue
        if lower == "id":
            incoming.id = value if isinstance(value, str) else None
            continue
        known = fields.get(lower)
        if known is not None:
            values[known.name] = deserialise(known, value, body)
            continue
        reference = access.relationships.get(lower)
        if reference is None:
            raise SalesforceError(
                "INVALID_FIELD", f"No such column '{name}' on sobject of type {access.sobject.name}"
            )
        incoming.parents.append(_parent(state, reference, value, user, body))
    return incoming


def _parent(
    state: OrgState, reference: Field, value: Any, user: User, body: str
) -> ParentReference:
    target = state.access(reference.reference_to or "", user)
    names = [each for each in value if each != "attributes"] if isinstance(value, dict) else []
    if target is None or len(names) != 1:
        raise SalesforceError(
            "INVALID_FIELD",
            f"Cannot reference a foreign key field {reference.relationship}.",
        )
    key = target.fields.get(names[0].lower())
    if key is None:
        raise SalesforceError(
            "INVALID_FIELD",
            f"No such column '{names[0]}' on sobject of type {target.sobject.name}",
        )
    if not key.id_lookup:
        raise SalesforceError(
            "INVALID_FIELD",
            f"Field name provided, {key.name} is not an External ID or indexed field for "
            f"{target.sobject.name}",
        )
    return ParentReference(reference, target.sobject, key, deserialise(key, value[names[0]], body))
