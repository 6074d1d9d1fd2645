"""OBJECTS hangs together: what one mapping names, another one or the models have."""

import pytest

from metronome_salesforce.canon import Lookup, MasterDetail
from metronome_salesforce.mapping import Field, ObjectMapping, Role
from metronome_salesforce.objects import ACCOUNT_SUMMARY, BY_NAME, OBJECTS

FIELDS = [
    pytest.param(mapping, field, id=f"{mapping.name}.{field.api}")
    for mapping in (*OBJECTS, ACCOUNT_SUMMARY)
    for field in mapping.fields
]


def test_the_nine_types_parents_first() -> None:
    assert list(BY_NAME) == [
        "Customer",
        "Plan",
        "CustomerPlan",
        "Invoice",
        "InvoiceLineItem",
        "InvoiceSubLineItem",
        "InvoiceAdjustment",
        "CreditGrant",
        "Usage",
    ]
    written: set[str] = {"Account"}
    for mapping in OBJECTS:
        written.add(mapping.sobject)
        for field in mapping.fields:
            if isinstance(field.kind, Lookup | MasterDetail):
                assert field.kind.target in written


@pytest.mark.parametrize(("mapping", "field"), FIELDS)
def test_every_field_is_complete(mapping: ObjectMapping, field: Field) -> None:
    assert len(field.api) <= 40
    assert len(field.label) <= 40
    assert field.description.endswith(".")
    assert field.api == "Name" or field.api.endswith("__c")
    assert (field.value is not None) == (field.role is Role.CONTENT)
    assert [other.api for other in mapping.fields].count(field.api) == 1


@pytest.mark.parametrize("mapping", OBJECTS, ids=lambda one: one.name)
def test_each_object_has_one_key_and_a_fingerprint(mapping: ObjectMapping) -> None:
    keys = [field for field in mapping.fields if field.role is Role.KEY]

    assert len(keys) == 1
    assert keys[0].unique
    assert keys[0].external_id
    assert mapping.field("Sync_Hash__c").role is Role.STAMP


def test_relationship_names_are_unique_per_parent() -> None:
    seen: set[tuple[str, str]] = set()
    for mapping in OBJECTS:
        for field in mapping.fields:
            if isinstance(field.kind, Lookup | MasterDetail):
                name = (field.kind.target, field.kind.relationship)
                assert name not in seen
                seen.add(name)
