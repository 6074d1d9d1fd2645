"""Objects and fields as the org knows them.

Values, not services: a metadata deploy builds a new `Schema` beside the old one and swaps it in
when everything in the package is accepted, so a refused deploy leaves no trace.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

# Metadata API field type -> (REST API type, SOAP type); Metadata API guide, CustomField.
API_TYPES = {
    "Id": ("id", "tns:ID"),
    "Text": ("string", "xsd:string"),
    "TextArea": ("textarea", "xsd:string"),
    "LongTextArea": ("textarea", "xsd:string"),
    "Html": ("textarea", "xsd:string"),
    "Number": ("double", "xsd:double"),
    "Currency": ("currency", "xsd:double"),
    "Percent": ("percent", "xsd:double"),
    "Int": ("int", "xsd:int"),
    "Checkbox": ("boolean", "xsd:boolean"),
    "Date": ("date", "xsd:date"),
    "DateTime": ("datetime", "xsd:dateTime"),
    "Picklist": ("picklist", "xsd:string"),
    "MultiselectPicklist": ("multipicklist", "xsd:string"),
    "Lookup": ("reference", "tns:ID"),
    "MasterDetail": ("reference", "tns:ID"),
    "AutoNumber": ("string", "xsd:string"),
    "Email": ("email", "xsd:string"),
    "Url": ("url", "xsd:string"),
    "Phone": ("phone", "xsd:string"),
}
TEXT_TYPES = frozenset({
    "Text", "TextArea", "LongTextArea", "Html", "Picklist", "MultiselectPicklist",
    "AutoNumber", "Email", "Url", "Phone",
})  # fmt: skip
LONG_TYPES = frozenset({"LongTextArea", "Html"})
NUMBER_TYPES = frozenset({"Number", "Currency", "Percent", "Int"})
REFERENCE_TYPES = frozenset({"Lookup", "MasterDetail"})


@dataclass(frozen=True, slots=True)
class PicklistValue:
    """One value of a picklist."""

    value: str
    label: str
    default: bool = False
    active: bool = True


@dataclass(frozen=True, slots=True)
class Summary:
    """A roll-up: `operation` over `field` of the child rows that `foreign_key` ties to the row.

    `filters` are (field, operation, value) as in the metadata's summaryFilterItems.
    """

    operation: str
    child: str
    foreign_key: str
    field: str | None
    filters: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Field:
    """One field; `type` is the Metadata API's name (for a formula: of its result)."""

    name: str
    label: str
    type: str
    length: int = 0
    precision: int = 0
    scale: int = 0
    required: bool = False
    unique: bool = False
    external_id: bool = False
    case_sensitive: bool = False
    default: str | bool | None = None
    formula: str | None = None
    blank_as_zero: bool = True
    picklist: tuple[PicklistValue, ...] = ()
    restricted: bool = False
    reference_to: str | None = None
    relationship: str | None = None  # of the parent, as SOQL names it: Account__r
    children: str | None = None  # of the child rows, on the parent: Metronome_Invoices__r
    relationship_order: int | None = None
    delete_constraint: str = "SetNull"
    reparentable: bool = False
    display_format: str | None = None
    summary: Summary | None = None
    custom: bool = False
    createable: bool = True
    updateable: bool = True
    permissionable: bool = False  # invisible until field-level security grants it
    name_field: bool = False
    help: str | None = None

    @property
    def calculated(self) -> bool:
        """Formulas and roll-ups: never stored, never written."""
        return self.formula is not None or self.summary is not None

    @property
    def result_type(self) -> str:
        """The type of the value: a roll-up's is a number."""
        return "Number" if self.type == "Summary" else self.type

    @property
    def api_type(self) -> str:
        """The REST API's name of the type."""
        return API_TYPES[self.result_type][0]

    @property
    def is_text(self) -> bool:
        """Whether the value is free or picklist text."""
        return self.type in TEXT_TYPES

    @property
    def id_lookup(self) -> bool:
        """Whether an upsert may name rows by this field."""
        return self.external_id or self.type == "Id"


@dataclass(frozen=True, slots=True)
class SObject:
    """One object and its fields, by lower-case API name, in creation order."""

    name: str
    label: str
    plural: str
    prefix: str
    custom: bool = False
    sharing: str = "ReadWrite"
    fields: Mapping[str, Field] = field(default_factory=dict)
    createable: bool = True
    updateable: bool = True
    deletable: bool = True
    validation_rules: tuple["ValidationRule", ...] = ()

    def field(self, name: str) -> Field | None:
        """The field of that API name, whatever its case."""
        return self.fields.get(name.lower())

    def with_fields(self, fields: Iterable[Field]) -> "SObject":
        """A copy with the fields added or replaced."""
        merged = dict(self.fields)
        for each in fields:
            merged[each.name.lower()] = each
        return replace(self, fields=merged)

    @property
    def metadata_type(self) -> bool:
        """Whether this is a custom metadata type, whose records come by deploy only."""
        return self.name.endswith("__mdt")

    @property
    def stored(self) -> list[Field]:
        """The fields that have a column."""
        return [each for each in self.fields.values() if not each.calculated]

    @property
    def masters(self) -> list[Field]:
        """The master-detail fields; a row dies with any of these parents."""
        return [each for each in self.fields.values() if each.type == "MasterDetail"]

    @property
    def name_field(self) -> Field | None:
        """The field that names a record, if the object has one."""
        return next((each for each in self.fields.values() if each.name_field), None)


@dataclass(frozen=True, slots=True)
class ValidationRule:
    """A declarative rule: the row is refused while `formula` is true."""

    name: str
    formula: str
    message: str
    field: str | None = None
    active: bool = True


@dataclass(frozen=True, slots=True)
class ChildRelationship:
    """`child.field` points here; `name` is what SOQL calls the rows from the parent."""

    child: SObject
    field: Field
    name: str | None


class Schema:
    """All objects of the org, by lower-case API name; replaced as a whole, never changed."""

    def __init__(self, objects: Iterable[SObject], version: int = 1) -> None:
        self.objects = {each.name.lower(): each for each in objects}
        self.version = version
        self._children: dict[str, list[ChildRelationship]] = {}
        for child in self.objects.values():
            for each in child.fields.values():
                if each.type in REFERENCE_TYPES and each.reference_to:
                    self._children.setdefault(each.reference_to.lower(), []).append(
                        ChildRelationship(child, each, each.children)
                    )

    def get(self, name: str) -> SObject | None:
        """The object of that API name, whatever its case."""
        return self.objects.get(name.lower())

    def children(self, parent: str) -> list[ChildRelationship]:
        """Every reference field that points to the object."""
        return self._children.get(parent.lower(), [])

    def by_prefix(self, prefix: str) -> SObject | None:
        """The object whose ids begin with the three characters."""
        return next((each for each in self.objects.values() if each.prefix == prefix), None)

    def with_objects(self, objects: Iterable[SObject]) -> "Schema":
        """A copy with the objects added or replaced, and the next version number."""
        merged = dict(self.objects)
        for each in objects:
            merged[each.name.lower()] = each
        return Schema(merged.values(), self.version + 1)

    def without(self, name: str) -> "Schema":
        """A copy without the object, and the next version number."""
        kept = [each for key, each in self.objects.items() if key != name.lower()]
        return Schema(kept, self.version + 1)

    def summaries_of(self, child: str) -> list[tuple[SObject, Field]]:
        """The roll-ups that count or sum the object's rows, with the object that holds them."""
        return [
            (owner, each)
            for owner in self.objects.values()
            for each in owner.fields.values()
            if each.summary is not None and each.summary.child.lower() == child.lower()
        ]
