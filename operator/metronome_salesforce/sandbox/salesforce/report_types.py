"""Custom report types: which objects a report joins, and which of their fields it may show.

A report type starts at one object and follows child relationships, one below the other. The
tables of its columns are named by that path: `Account`, `Account.Metronome_Invoices__r`
(Metadata API, ReportType).
"""

from dataclasses import dataclass
from xml.etree import ElementTree as ET

from metronome_salesforce.sandbox.salesforce.object_metadata import MetadataError
from metronome_salesforce.sandbox.salesforce.packages import children, flag, text_of
from metronome_salesforce.sandbox.salesforce.schema import Field, Schema, SObject

MOST_OBJECTS = 4


@dataclass(frozen=True, slots=True)
class TypeColumn:
    """One column as the report type lists it; `label` is a displayNameOverride."""

    table: str
    field: str
    label: str | None = None

    @property
    def name(self) -> str:
        """The name by which reports refer to the column."""
        return f"{self.table}${self.field}"


@dataclass(frozen=True, slots=True)
class Section:
    """A group of columns."""

    label: str
    columns: tuple[TypeColumn, ...]


@dataclass(frozen=True, slots=True)
class ReportType:
    """A custom report type as written; `joins` are (child relationship, outer join?)."""

    name: str
    label: str
    base: str
    deployed: bool
    description: str
    joins: tuple[tuple[str, bool], ...]
    sections: tuple[Section, ...]

    @property
    def columns(self) -> list[TypeColumn]:
        """The columns of all sections."""
        return [each for section in self.sections for each in section.columns]


@dataclass(frozen=True, slots=True)
class Table:
    """One joined object; `key` is its field that points to the table before, if there is one."""

    path: str
    sobject: SObject
    key: Field | None = None
    outer: bool = False


def read_report_type(element: ET.Element, name: str) -> ReportType:
    """A report type from its XML, which has been held against the WSDL before."""
    joins: list[tuple[str, bool]] = []
    inner = children(element, "join")
    while inner:
        join = inner[0]
        joins.append((text_of(join, "relationship"), flag(join, "outerJoin")))
        inner = children(join, "join")
    return ReportType(
        name=name,
        label=text_of(element, "label"),
        base=text_of(element, "baseObject"),
        deployed=flag(element, "deployed"),
        description=text_of(element, "description"),
        joins=tuple(joins),
        sections=tuple(_section(each) for each in children(element, "sections")),
    )


def _section(element: ET.Element) -> Section:
    columns = tuple(
        TypeColumn(
            text_of(each, "table"),
            text_of(each, "field"),
            text_of(each, "displayNameOverride") or None,
        )
        for each in children(element, "columns")
    )
    return Section(text_of(element, "masterLabel"), columns)


def resolve_tables(report_type: ReportType, schema: Schema) -> tuple[Table, ...]:
    """The objects that the report type joins, the base object first; raises MetadataError."""
    base = schema.get(report_type.base)
    if base is None or base.name != report_type.base:
        raise MetadataError(f"Invalid object name '{report_type.base}'")
    tables = [Table(base.name, base)]
    for relationship, outer in report_type.joins:
        parent = tables[-1]
        found = next(
            (
                each
                for each in schema.children(parent.sobject.name)
                if each.name and each.name == relationship
            ),
            None,
        )
        if found is None:
            raise MetadataError(f"Invalid relationship name '{relationship}'")
        if parent.outer and not outer:
            raise MetadataError(f"An inner join is not allowed after an outer join: {relationship}")
        tables.append(Table(f"{parent.path}.{relationship}", found.child, found.field, outer))
    if len(tables) > MOST_OBJECTS:
        raise MetadataError(f"A report type can join at most {MOST_OBJECTS} objects")
    return tuple(tables)
