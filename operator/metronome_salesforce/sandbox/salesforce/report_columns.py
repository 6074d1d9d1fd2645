"""Columns of reports: `Table$Field`, `Table.Child__r$Field`, and over lookups `T$Account__c.Name`.

A path names custom lookups by their field (`Account__c.Name`) and standard ones by their
relationship (`Owner.Name`, `CreatedBy`), as retrieved report types do. A path that ends at a
lookup shows the name of the record it points to (Metadata API, ReportTypeColumn).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from metronome_salesforce.sandbox.salesforce.access import User
from metronome_salesforce.sandbox.salesforce.core import OrgState
from metronome_salesforce.sandbox.salesforce.object_metadata import MetadataError
from metronome_salesforce.sandbox.salesforce.report_types import (
    ReportType,
    Table,
    TypeColumn,
    resolve_tables,
)
from metronome_salesforce.sandbox.salesforce.schema import (
    LONG_TYPES,
    NUMBER_TYPES,
    REFERENCE_TYPES,
    Field,
    Schema,
    SObject,
)

MOST_LOOKUPS = 4
# Fields of every object that no report shows.
_NOT_REPORTABLE = frozenset({"IsDeleted", "SystemModstamp", "MasterRecordId"})


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a report type: the table by position, the lookups on the way, the field."""

    name: str
    label: str
    table: int
    lookups: tuple[Field, ...]
    field: Field

    @property
    def type(self) -> str:
        """The REST API's name of the type."""
        return self.field.api_type

    @property
    def is_number(self) -> bool:
        """Whether the values can be added up; checkboxes count as 0 and 1."""
        return self.field.result_type in NUMBER_TYPES or self.field.type == "Checkbox"

    @property
    def is_date(self) -> bool:
        """Whether the values are days or moments."""
        return self.field.type in {"Date", "DateTime"}

    @property
    def is_long(self) -> bool:
        """Whether the text is too long to be filtered, grouped or sorted."""
        return self.field.type in LONG_TYPES

    @property
    def points_to(self) -> str | None:
        """The object whose record's name the column shows, if it ends at a lookup."""
        return self.field.reference_to if self.field.type in REFERENCE_TYPES else None


def resolve_column(listed: TypeColumn, tables: Sequence[Table], schema: Schema) -> Column:
    """Follow a report type's column through the schema; raises MetadataError."""
    table = next((at for at, each in enumerate(tables) if each.path == listed.table), None)
    if table is None:
        raise MetadataError(f"Invalid table '{listed.table}' for column {listed.field}")
    sobject, lookups = tables[table].sobject, list[Field]()
    *path, last = listed.field.split(".")
    if len(path) > MOST_LOOKUPS:
        raise MetadataError(
            f"Field {listed.field} spans more than {MOST_LOOKUPS} lookup relationships"
        )
    for part in path:
        step = _lookup(sobject, part)
        target = schema.get(step.reference_to or "") if step else None
        if step is None or target is None:
            raise _no_field(listed.field, sobject)
        lookups.append(step)
        sobject = target
    field = _lookup(sobject, last) or _plain(sobject, last)
    if field is None:
        raise _no_field(listed.field, sobject)
    shown = [*(_lookup_label(each) for each in lookups), _lookup_label(field)]
    return Column(listed.name, listed.label or ": ".join(shown), table, tuple(lookups), field)


def _no_field(name: str, sobject: SObject) -> MetadataError:
    return MetadataError(f"Invalid field '{name}' for object '{sobject.name}'")


def _lookup(sobject: SObject, part: str) -> Field | None:
    for each in sobject.fields.values():
        if each.type in REFERENCE_TYPES and part == (
            each.name if each.custom else each.relationship
        ):
            return None if each.name in _NOT_REPORTABLE else each
    return None


def _plain(sobject: SObject, name: str) -> Field | None:
    found = sobject.field(name)
    if found is None or found.name != name or found.type in REFERENCE_TYPES:
        return None
    return None if name in _NOT_REPORTABLE else found


def _lookup_label(field: Field) -> str:
    # "Owner ID" is the field; what the column shows is the owner.
    if field.type in REFERENCE_TYPES and not field.custom:
        return field.label.removesuffix(" ID")
    return field.label


def columns_of(report_type: ReportType, schema: Schema) -> dict[str, Column]:
    """The report type's columns by name, those left out whose field is gone since the deploy."""
    try:
        tables = resolve_tables(report_type, schema)
    except MetadataError:
        return {}
    found = {}
    for each in report_type.columns:
        try:
            found[each.name] = resolve_column(each, tables, schema)
        except MetadataError:
            continue
    return found


def is_visible(column: Column, tables: Sequence[Table], state: OrgState, user: User) -> bool:
    """Whether the user may see every field on the column's path, and the records on it."""
    owner: str | None = tables[column.table].sobject.name
    for each in (*column.lookups, column.field):
        access = state.access(owner or "", user)
        if access is None or each.name.lower() not in access.fields:
            return False
        owner = each.reference_to
    return column.points_to is None or state.access(column.points_to, user) is not None
