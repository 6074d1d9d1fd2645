"""Objects, fields and validation rules on their way into the schema of a draft.

Fields come in two steps: all are read, then their references are looked at, because a roll-up or a
formula may name a field that stands further down (Metadata API guide, CustomField).
"""

# ruff: noqa: S608 -- names in SQL come from the schema; values are bound

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count

from metronome_salesforce.sandbox.salesforce.drafts import Component, Draft
from metronome_salesforce.sandbox.salesforce.field_metadata import read_field
from metronome_salesforce.sandbox.salesforce.field_references import check_references, check_room
from metronome_salesforce.sandbox.salesforce.formula_terms import FormulaError, Scope
from metronome_salesforce.sandbox.salesforce.formulas import compile_formula
from metronome_salesforce.sandbox.salesforce.ids import custom_prefix
from metronome_salesforce.sandbox.salesforce.object_metadata import (
    MetadataError,
    read_object,
    read_rule,
)
from metronome_salesforce.sandbox.salesforce.schema import Field, SObject
from metronome_salesforce.sandbox.salesforce.view_metadata import (
    check_assignment,
    check_search_layouts,
)


def deploy_object(component: Component, draft: Draft) -> None:
    """Put one custom object or metadata type into the draft; raises MetadataError."""
    existing = draft.schema.get(component.name)
    prefix = existing.prefix if existing else _free_prefix(component, draft)
    made = read_object(component.root, component.name, prefix, existing, draft.namespace)
    if existing is not None:
        before, after = existing.name_field, made.name_field
        if before and after and before.type != after.type and draft.rows(made):
            raise MetadataError("Cannot change the type of the name field: records exist")
    draft.schema = draft.schema.with_objects([made])


def _free_prefix(component: Component, draft: Draft) -> str:
    """The first key prefix that no object has: a00 and so on, m00 for metadata types."""
    letter = "m" if component.name.endswith("__mdt") else "a"
    taken = {each.prefix for each in draft.schema.objects.values()}
    return next(
        one for one in map(partial(custom_prefix, letter=letter), count()) if one not in taken
    )


def check_object(component: Component, draft: Draft) -> None:
    """What an object says about its own parts, once these are in the draft; or it goes again."""
    sobject = draft.schema.get(component.name)
    assert sobject is not None  # noqa: S101 -- `deploy_object` has put it there
    try:
        _check_sharing(sobject)
        check_assignment(component.root, sobject, draft)
        check_search_layouts(component.root, sobject, draft)
    except MetadataError:
        before = draft.state.schema.get(component.name)
        draft.schema = (
            draft.schema.with_objects([before]) if before else draft.schema.without(component.name)
        )
        for key in [each for each in draft.documents if each[1].startswith(f"{sobject.name}.")]:
            del draft.documents[key]
        raise


def _check_sharing(sobject: SObject) -> None:
    if sobject.sharing == "ControlledByParent" and not sobject.masters:
        raise MetadataError(
            "Cannot set sharingModel to ControlledByParent on a CustomObject without a "
            "MasterDetail relationship field"
        )


def deploy_fields(
    components: list[Component],
    draft: Draft,
    accept: Callable[[Component], None],
    refuse: Callable[[Component, str], None],
) -> None:
    """Put all custom fields of a package into the draft, each accepted or refused."""
    read: list[tuple[Component, Field]] = []
    for each in components:
        try:
            read.append((each, _field(each, draft, {one.name.lower() for one, _ in read})))
        except MetadataError as error:
            refuse(each, str(error))
    for each, made in read:
        owner = each.name.partition(".")[0]
        sobject = draft.schema.get(owner)
        assert sobject is not None  # noqa: S101 -- read just above
        scope = Scope(draft.schema, sobject, "t0", draft.state.moment())
        try:
            check_references(made, sobject, draft.schema, scope)
        except MetadataError as error:
            refuse(each, str(error))
            _drop(draft, sobject, made)
        else:
            accept(each)


def _field(component: Component, draft: Draft, taken: set[str]) -> Field:
    """Read one field into the draft's schema; its references are looked at afterwards."""
    owner, _, name = component.name.partition(".")
    sobject = draft.schema.get(owner)
    if sobject is None:
        raise MetadataError(
            f"Entity Enumeration Or ID: bad value for restricted picklist field: {owner}"
        )
    made = read_field(component.root, owner, draft.namespace)
    if component.name.lower() in taken:
        raise MetadataError(f"Field {name} is defined more than once")
    _check_change(draft, sobject, made)
    check_room(made, sobject, draft.schema)
    draft.schema = draft.schema.with_objects([sobject.with_fields([made])])
    return made


def _drop(draft: Draft, sobject: SObject, made: Field) -> None:
    before = draft.state.schema.get(sobject.name)
    old = before.field(made.name) if before else None
    kept = {key: value for key, value in sobject.fields.items() if key != made.name.lower()}
    if old is not None:
        kept[made.name.lower()] = old
    draft.schema = draft.schema.with_objects([replace(sobject, fields=kept)])


def _check_change(draft: Draft, sobject: SObject, made: Field) -> None:
    """What may not change, or be added, once there are rows."""
    old = sobject.field(made.name)
    stored = draft.state.schema.get(sobject.name)
    rows = draft.rows(stored) if stored else 0
    if old is None:
        if made.type == "MasterDetail" and rows:
            raise MetadataError(
                "Cannot create a new master-detail relationship field on a custom object "
                "that contains records"
            )
        return
    if old.type != made.type or old.calculated != made.calculated:
        if rows or old.calculated != made.calculated:
            raise MetadataError(
                f"Cannot change the field type of {made.name} from {old.type} to {made.type}"
            )
        return
    if rows and old.is_text and 0 < made.length < old.length and not made.calculated:
        longest = draft.scalar(f'SELECT max(length("{made.name}")) FROM "{sobject.name}"')
        if longest and longest > made.length:
            raise MetadataError(f"Cannot decrease length of {made.name}: data would be lost")
    if rows and made.unique and not old.unique:
        twice = draft.scalar(
            f'SELECT count(*) FROM (SELECT 1 FROM "{sobject.name}" WHERE "IsDeleted" = 0 '
            f'AND "{made.name}" IS NOT NULL GROUP BY "{made.name}" HAVING count(*) > 1)'
        )
        if twice:
            raise MetadataError(f"Cannot make {made.name} unique: duplicate values exist")


def check_validation_rule(component: Component, draft: Draft) -> None:
    """Put one validation rule into the draft; raises MetadataError."""
    owner = component.name.partition(".")[0]
    sobject = draft.schema.get(owner)
    if sobject is None:
        raise MetadataError(f"Entity {owner} not found")
    rule = read_rule(component.root)
    scope = Scope(draft.schema, sobject, "t0", draft.state.moment())
    try:
        kind = compile_formula(rule.formula, scope).type
    except FormulaError as error:
        raise MetadataError(str(error)) from error
    if kind not in {"boolean", "null"}:
        raise MetadataError("Error: Formula result must be a true or false value")
    others = [each for each in sobject.validation_rules if each.name != rule.name]
    draft.schema = draft.schema.with_objects([replace(sobject, validation_rules=(*others, rule))])
