"""What custom fields refer to: parents, roll-ups and formulas, once all objects are known.

(Metadata API guide, CustomField; Salesforce Help, Considerations for Object Relationships.)
"""

from metronome_salesforce.sandbox.salesforce.formula_terms import FormulaError, Scope
from metronome_salesforce.sandbox.salesforce.formulas import check_formula
from metronome_salesforce.sandbox.salesforce.object_metadata import MetadataError
from metronome_salesforce.sandbox.salesforce.schema import (
    NUMBER_TYPES,
    Field,
    Schema,
    SObject,
)

_MOST_MASTERS = 2
_MOST_LEVELS = 3  # of details below the topmost master
_MOST_EXTERNAL_IDS = 25
_MOST_REFERENCES = 40
_ORDERED_TYPES = NUMBER_TYPES | {"Date", "DateTime"}


def check_room(field: Field, owner: SObject, schema: Schema) -> None:
    """Whether there is room for one more such field, and its relationship name is free.

    `owner` and `schema` are those before the field: the last one is too many, not the first.
    """
    others = [each for each in owner.fields.values() if each.name.lower() != field.name.lower()]
    if field.external_id and sum(one.external_id for one in others) >= _MOST_EXTERNAL_IDS:
        raise MetadataError(
            f"Too many external ID fields on {owner.name}: {_MOST_EXTERNAL_IDS} are allowed"
        )
    if field.reference_to is None:
        return
    if sum(one.custom and one.reference_to is not None for one in others) >= _MOST_REFERENCES:
        raise MetadataError(
            f"Too many relationship fields on {owner.name}: {_MOST_REFERENCES} are allowed"
        )
    masters = [each for each in others if each.type == "MasterDetail"]
    if field.type == "MasterDetail" and len(masters) >= _MOST_MASTERS:
        raise MetadataError("Too many master-detail relationships: 2 are allowed")
    target = schema.get(field.reference_to)
    for each in schema.children(field.reference_to):
        same = each.child.name == owner.name and each.field.name == field.name
        if field.children and not same and (each.name or "").lower() == field.children.lower():
            raise MetadataError(
                f"There is already a Child Relationship named {field.children[:-3]} on "
                f"{target.label if target else field.reference_to}."
            )


def check_references(field: Field, owner: SObject, schema: Schema, scope: Scope) -> None:
    """Lookup targets, relationship names, roll-ups and formulas; raises MetadataError."""
    if field.reference_to is not None:
        _check_lookup(field, owner, schema)
    if field.summary is not None:
        _check_summary(field, owner, schema)
    if field.formula is not None:
        try:
            check_formula(field, scope)
        except FormulaError as error:
            raise MetadataError(str(error)) from error


def _check_lookup(field: Field, owner: SObject, schema: Schema) -> None:
    target = schema.get(field.reference_to or "")
    if target is None:
        raise MetadataError(f"referenceTo value of '{field.reference_to}' does not resolve to a "
                            "valid sObject type")  # fmt: skip
    if target.metadata_type:
        raise MetadataError(f"referenceTo value of '{field.reference_to}' does not resolve to a "
                            "valid sObject type")  # fmt: skip
    if field.type != "MasterDetail":
        return
    if owner.sharing != "ControlledByParent":
        raise MetadataError(
            "Cannot set sharingModel to "
            f"{owner.sharing} on a CustomObject with a MasterDetail relationship field"
        )
    if _levels(owner, schema, frozenset()) > _MOST_LEVELS:
        raise MetadataError(
            f"Too many master-detail levels above {owner.name}: {_MOST_LEVELS} are allowed"
        )


def _levels(sobject: SObject, schema: Schema, seen: frozenset[str]) -> int:
    """How many details are in the longest chain that ends here; endless for a circle."""
    if sobject.name in seen:
        return _MOST_LEVELS + 1
    above = [schema.get(each.reference_to or "") for each in sobject.masters]
    seen |= {sobject.name}
    return max((1 + _levels(each, schema, seen) for each in above if each), default=0)


def _check_summary(field: Field, owner: SObject, schema: Schema) -> None:
    summary = field.summary
    assert summary is not None  # noqa: S101 -- the caller has looked
    child = schema.get(summary.child)
    key = child.field(summary.foreign_key) if child else None
    if child is None or key is None or key.type != "MasterDetail" or key.reference_to != owner.name:
        raise MetadataError(
            f"Could not resolve summaryForeignKey: {summary.child}.{summary.foreign_key}"
        )
    names = [summary.field] if summary.field else []
    for name in [*names, *(each[0] for each in summary.filters)]:
        if child.field(name) is None:
            raise MetadataError(f"In field: field - no such column '{name}' on entity "
                                f"'{child.name}'")  # fmt: skip
    summed = child.field(summary.field) if summary.field else None
    usable = NUMBER_TYPES if summary.operation == "sum" else _ORDERED_TYPES
    if summed and summed.type not in usable:
        raise MetadataError(f"Invalid type for the summarized field: {summed.type}")
