"""Describe answers: what a user may see of the schema (REST API, sObject Describe)."""

from typing import Any

from metronome_salesforce.sandbox.salesforce.access import Access
from metronome_salesforce.sandbox.salesforce.calls import Call, Reply
from metronome_salesforce.sandbox.salesforce.schema import (
    API_TYPES,
    LONG_TYPES,
    NUMBER_TYPES,
    Field,
)


def basic(call: Call, access: Access) -> dict[str, Any]:
    """The object's own properties."""
    sobject, grant = access.sobject, access.grant
    base = f"{call.root}/sobjects/{sobject.name}"
    return {
        "activateable": False,
        "createable": grant.create and sobject.createable,
        "custom": sobject.custom,
        "customSetting": False,
        "deletable": grant.delete and sobject.deletable,
        "deprecatedAndHidden": False,
        "feedEnabled": False,
        "keyPrefix": sobject.prefix,
        "label": sobject.label,
        "labelPlural": sobject.plural,
        "layoutable": True,
        "mergeable": sobject.name in {"Account", "Contact"},
        "name": sobject.name,
        "queryable": True,
        "replicateable": True,
        "retrieveable": True,
        "searchable": True,
        "triggerable": True,
        "undeletable": sobject.deletable,
        "updateable": grant.edit and sobject.updateable,
        "urls": {
            "sobject": base,
            "describe": f"{base}/describe",
            "rowTemplate": f"{base}/{{ID}}",
        },
    }


def field_body(each: Field, access: Access) -> dict[str, Any]:
    """One field of a describe."""
    kind, soap_type = API_TYPES[each.result_type]
    number = each.result_type in NUMBER_TYPES
    text = each.is_text or each.type in {"Id", "Lookup", "MasterDetail"}
    long = each.type in LONG_TYPES
    required = each.required or each.type == "MasterDetail"
    checkbox = each.type == "Checkbox"
    return {
        "aggregatable": not long,
        "autoNumber": each.type == "AutoNumber",
        "byteLength": (each.length or 18) * 3 if text else 0,
        "calculated": each.calculated,
        "calculatedFormula": each.formula,
        "cascadeDelete": each.type == "MasterDetail",
        "caseSensitive": each.case_sensitive,
        "createable": access.writable(each, creating=True) and access.grant.create,
        "custom": each.custom,
        "defaultValue": each.default if checkbox else None,
        "defaultedOnCreate": checkbox or each.type == "AutoNumber"
        or each.name in {"Id", "OwnerId", "CreatedDate", "CreatedById", "LastModifiedDate",
                         "LastModifiedById", "SystemModstamp", "IsDeleted"},
        "deprecatedAndHidden": False,
        "digits": each.precision if each.type == "Int" else 0,
        "externalId": each.external_id,
        "filterable": not long,
        "groupable": not long and not number,
        "htmlFormatted": bool(each.formula and "HYPERLINK" in each.formula.upper()),
        "idLookup": each.id_lookup,
        "inlineHelpText": each.help,
        "label": each.label,
        "length": each.length if text else 0,
        "name": each.name,
        "nameField": each.name_field,
        "namePointing": False,
        "nillable": not required and not checkbox
        and each.name not in {"Id", "CreatedDate", "CreatedById", "LastModifiedDate",
                              "LastModifiedById", "SystemModstamp", "OwnerId"},
        "picklistValues": [
            {"active": one.active, "defaultValue": one.default, "label": one.label,
             "validFor": None, "value": one.value}
            for one in each.picklist
        ],
        "precision": each.precision if number and each.type != "Int" else 0,
        "referenceTo": [each.reference_to] if each.reference_to else [],
        "relationshipName": each.relationship,
        "relationshipOrder": each.relationship_order,
        "restrictedDelete": each.type == "Lookup" and each.delete_constraint == "Restrict",
        "restrictedPicklist": each.restricted,
        "scale": each.scale if number else 0,
        "soapType": soap_type,
        "sortable": not long,
        "type": kind,
        "unique": each.unique,
        "updateable": access.writable(each, creating=False) and access.grant.edit,
        "writeRequiresMasterRead": each.type == "MasterDetail",
    }  # fmt: skip


def describe(call: Call, name: str) -> Reply:
    """`GET sobjects/T/describe`."""
    access = call.access(name)
    state = call.org.state
    children = []
    for each in state.schema.children(access.sobject.name):
        seen = state.access(each.child.name, call.user)
        if seen is None or each.field.name.lower() not in seen.fields:
            continue
        cascade = each.field.delete_constraint == "Cascade"
        children.append(
            {
                "cascadeDelete": cascade,
                "childSObject": each.child.name,
                "deprecatedAndHidden": False,
                "field": each.field.name,
                "relationshipName": each.name,
                "restrictedDelete": each.field.type == "Lookup"
                and each.field.delete_constraint == "Restrict",
            }
        )
    body = basic(call, access)
    body |= {
        "childRelationships": children,
        "fields": [field_body(each, access) for each in access.fields.values()],
        "recordTypeInfos": [
            {"active": True, "available": True, "defaultRecordTypeMapping": True,
             "developerName": "Master", "master": True, "name": "Master",
             "recordTypeId": "012000000000000AAA", "urls": {}}
        ],
        "supportedScopes": [{"label": "All", "name": "everything"}],
    }  # fmt: skip
    return Reply(200, body)


def sobject(call: Call, name: str) -> Reply:
    """`GET sobjects/T`: the basic information and recent items."""
    return Reply(200, {"objectDescribe": basic(call, call.access(name)), "recentItems": []})


def sobjects(call: Call) -> Reply:
    """`GET sobjects`: every object the user may read."""
    state = call.org.state
    seen = [state.access(each.name, call.user) for each in state.schema.objects.values()]
    return Reply(
        200,
        {
            "encoding": "UTF-8",
            "maxBatchSize": 200,
            "sobjects": [basic(call, each) for each in seen if each is not None],
        },
    )
