"""The column names of list views, related lists and search layouts, and the fields they mean.

They are not API names: custom fields keep theirs, but the record name is `NAME`, and the fields of
the people behind a record have names of their own (Metadata API guide, ListView).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from metronome_salesforce.sandbox.salesforce.schema import Field, Schema, SObject

# Column -> path of API names, for every custom object.
_CUSTOM: Mapping[str, tuple[str, ...]] = {
    "NAME": ("Name",),
    "CREATED_DATE": ("CreatedDate",),
    "LAST_UPDATE": ("LastModifiedDate",),
    "CREATEDBY_USER": ("CreatedBy", "Name"),
    "CREATEDBY_USER.ALIAS": ("CreatedBy", "Alias"),
    "UPDATEDBY_USER": ("LastModifiedBy", "Name"),
    "UPDATEDBY_USER.ALIAS": ("LastModifiedBy", "Alias"),
    "OWNER.ALIAS": ("Owner", "Alias"),
    "OWNER.FIRST_NAME": ("Owner", "FirstName"),
    "OWNER.LAST_NAME": ("Owner", "LastName"),
}
# Standard objects prefix their columns with their own name; these are those of Account.
_ACCOUNT: Mapping[str, tuple[str, ...]] = {
    "ACCOUNT.NAME": ("Name",),
    "ACCOUNT.TYPE": ("Type",),
    "ACCOUNT.SITE": ("Site",),
    "ACCOUNT.INDUSTRY": ("Industry",),
    "ACCOUNT.PHONE1": ("Phone",),
    "ACCOUNT.URL": ("Website",),
    "ACCOUNT.EMPLOYEES": ("NumberOfEmployees",),
    "ACCOUNT.SALES": ("AnnualRevenue",),
    "ACCOUNT.ACCOUNT_NUMBER": ("AccountNumber",),
    "ACCOUNT.ADDRESS1_CITY": ("BillingCity",),
    "ACCOUNT.ADDRESS1_STATE": ("BillingState",),
    "ACCOUNT.ADDRESS1_ZIP": ("BillingPostalCode",),
    "ACCOUNT.CREATED_DATE": ("CreatedDate",),
    "ACCOUNT.LAST_UPDATE": ("LastModifiedDate",),
    "CORE.USERS.ALIAS": ("Owner", "Alias"),
}
_STANDARD = {"Account": _ACCOUNT}


@dataclass(frozen=True, slots=True)
class ListColumn:
    """A column and what it shows: `path` leads from the row over references to the last field.

    `field` is the field that stands on the row itself, `shown` the one at the end of the path; for
    a lookup that is the parent's name.
    """

    name: str
    path: tuple[str, ...]
    field: Field
    shown: Field


def find_column(name: str, sobject: SObject, schema: Schema) -> ListColumn | None:
    """What a column name means on an object, or None if it means nothing there."""
    known = _CUSTOM if sobject.custom else _STANDARD.get(sobject.name, {})
    path = known.get(name)
    if path is None:
        return _own(name, sobject, schema)
    first = _reference(path[0], sobject) if len(path) > 1 else sobject.field(path[0])
    if first is None:
        return None
    target = schema.get(first.reference_to or "") if len(path) > 1 else sobject
    shown = target.field(path[-1]) if target else None
    return None if shown is None else ListColumn(name, path, first, shown)


def _own(name: str, sobject: SObject, schema: Schema) -> ListColumn | None:
    """A custom field, by its exact API name; a lookup shows the name of the parent."""
    found = sobject.field(name)
    if found is None or not found.custom or found.name != name:
        return None
    target = schema.get(found.reference_to) if found.reference_to else None
    parent = target.name_field if target else None
    if parent is None:
        return ListColumn(name, (name,), found, found)
    return ListColumn(name, (found.relationship or "", parent.name), found, parent)


def _reference(relationship: str, sobject: SObject) -> Field | None:
    return next(
        (each for each in sobject.fields.values() if each.relationship == relationship), None
    )
