"""Rows of a bulk upload: CSV text to the same incoming records that JSON requests become.

Empty leaves a field alone and `#N/A` clears it; a value of the wrong kind refuses its row, an
unknown column the whole job (Bulk API 2.0, Prepare CSV Files).
"""

import re
from dataclasses import dataclass
from typing import Any

from metronome_salesforce.sandbox.salesforce.access import Access, User
from metronome_salesforce.sandbox.salesforce.bulk_csv import CsvError
from metronome_salesforce.sandbox.salesforce.core import OrgState
from metronome_salesforce.sandbox.salesforce.exceptions import RowRefusedError, SalesforceError
from metronome_salesforce.sandbox.salesforce.incoming import Incoming, ParentReference
from metronome_salesforce.sandbox.salesforce.schema import NUMBER_TYPES, Field, SObject
from metronome_salesforce.sandbox.salesforce.values import deserialise

_NULL = "#N/A"
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\Z")
_WHOLE = re.compile(r"[+-]?\d+\Z")


@dataclass(frozen=True, slots=True)
class Column:
    """What a header cell names: the id, a field, or a parent by its key."""

    field: Field | None = None
    target: SObject | None = None
    key: Field | None = None


def resolve_columns(state: OrgState, access: Access, user: User, header: list[str]) -> list[Column]:
    """The columns of a header; raises CsvError for the first that the user does not have."""
    columns: list[Column] = []
    seen: set[str] = set()
    for name in header:
        if name.lower() in seen:
            raise CsvError(f"InvalidBatch : Duplicate column found : {name}")
        seen.add(name.lower())
        columns.append(_resolve(state, access, user, name))
    return columns


def id_only(header: list[str], operation: str) -> None:
    """Deletes name rows by id and by nothing else; raises CsvError."""
    if "id" not in [each.lower() for each in header]:
        raise CsvError("InvalidBatch : Field name not found : Id")
    if len(header) > 1:
        raise CsvError(f"InvalidBatch : The '{operation}' batch must contain only ids")


def _resolve(state: OrgState, access: Access, user: User, name: str) -> Column:
    if name.lower() == "id":
        return Column()
    known = access.fields.get(name.lower())
    if known is not None:
        return Column(known)
    parent = _resolve_parent(state, access, user, name)
    if parent is None:
        raise CsvError(f"InvalidBatch : Field name not found : {name}")
    return parent


def _resolve_parent(state: OrgState, access: Access, user: User, name: str) -> Column | None:
    """`Account__r.Ext__c`, or with the parent's type in front: `Account:Account__r.Ext__c`."""
    kind, _, path = name.rpartition(":")
    relationship, _, key_name = path.partition(".")
    reference = access.relationships.get(relationship.lower())
    if reference is None:
        return None
    target = state.access(reference.reference_to or "", user)
    if target is None or (kind and kind.lower() != target.sobject.name.lower()):
        return None
    key = target.fields.get(key_name.lower())
    if key is None or not key.id_lookup:
        return None
    return Column(reference, target.sobject, key)


def incoming_row(access: Access, columns: list[Column], cells: list[str]) -> Incoming:
    """One row deserialised; raises RowRefusedError for a value of the wrong kind."""
    incoming = Incoming(access)
    for column, cell in zip(columns, cells, strict=True):
        if cell == "":
            continue
        if column.field is None:
            incoming.id = None if cell == _NULL else cell
        elif cell == _NULL:
            incoming.values[column.field.name] = deserialise(column.field, None)
        elif column.key is not None and column.target is not None:
            value = parse_cell(column.key, cell)
            incoming.parents.append(ParentReference(column.field, column.target, column.key, value))
        else:
            incoming.values[column.field.name] = parse_cell(column.field, cell)
    return incoming


def parse_cell(field: Field, cell: str) -> Any:
    """The stored form of a CSV value; raises RowRefusedError."""
    value: Any = cell
    if field.type == "Checkbox":
        value = _BOOLEANS.get(cell.lower())
    elif field.type in NUMBER_TYPES:
        pattern = _WHOLE if field.type == "Int" else _NUMBER
        value = (int if field.type == "Int" else float)(cell) if pattern.match(cell) else None
    if value is not None:
        try:
            return deserialise(field, value)
        except SalesforceError:
            value = None
    raise RowRefusedError(
        "INVALID_TYPE_ON_FIELD_IN_RECORD",
        f"{field.label}: value not of required type: {cell}",
        [field.name],
    )
