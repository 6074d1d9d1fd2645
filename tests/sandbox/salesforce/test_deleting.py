"""Deletes, cascades, restores and merges."""

import pytest

from metronome_salesforce.sandbox.salesforce import RowRefusedError, SalesforceOrg
from tests.sandbox.salesforce import metadata_zip as md
from tests.sandbox.salesforce.conftest import Clock, Rest


@pytest.fixture
def tree(org: SalesforceOrg) -> dict[str, str]:
    """An Account with a customer and an invoice that has two lines and a note."""
    account = org.insert("Account", {"Name": "A", "Billing_ID__c": "cus_1"})
    customer = org.insert("T_Customer__c", {"Customer_ID__c": "c", "Account__c": account})
    invoice = org.insert(
        "T_Invoice__c",
        {"Invoice_ID__c": "i", "Account__c": account, "Customer__c": customer},
    )
    for number in range(2):
        org.insert("T_Line__c", {"Line_ID__c": str(number), "Invoice__c": invoice})
    org.insert("T_Note__c", {"Invoice__c": invoice})
    org.statistics.reset()
    return {"account": account, "customer": customer, "invoice": invoice}


def test_details_go_with_their_master(org: SalesforceOrg, tree: dict[str, str]) -> None:
    org.delete("T_Invoice__c", tree["invoice"])
    assert [org.count(each) for each in ("T_Invoice__c", "T_Line__c", "T_Note__c")] == [0, 0, 0]
    assert len(org.rows("T_Line__c", deleted=True)) == 2
    assert org.statistics.rows == {
        ("T_Invoice__c", "delete"): 1,
        ("T_Line__c", "cascade"): 2,
        ("T_Note__c", "cascade"): 1,
    }
    org.undelete("T_Invoice__c", tree["invoice"])
    assert [org.count(each) for each in ("T_Invoice__c", "T_Line__c", "T_Note__c")] == [1, 2, 1]


def test_lookups_to_a_deleted_row_are_cleared(
    org: SalesforceOrg, tree: dict[str, str], clock: Clock
) -> None:
    """The child is not deleted; a poll by SystemModstamp sees the change; undelete restores it."""
    clock.advance(hours=1)
    org.delete("Account", tree["account"])
    row = org.rows("T_Invoice__c")[0]
    assert row["Account__c"] is None
    assert row["SystemModstamp"] == "2026-01-31T13:00:00.000+0000"
    assert row["LastModifiedDate"] == "2026-01-31T12:00:00.000+0000"
    org.undelete("Account", tree["account"])
    assert org.rows("T_Invoice__c")[0]["Account__c"] == tree["account"]


def test_a_restricting_lookup_refuses_the_delete(empty_org: SalesforceOrg) -> None:
    content = md.custom_object("Thing", md.lookup("Account__c", "Account", "Things", "Restrict"))
    grants = md.permission_set({}, {"Thing__c.Account__c": "rw"})
    empty_org.deploy(
        md.package_zip(
            {"objects/Thing__c.object": content, "permissionsets/P.permissionset": grants},
            {"CustomObject": ["Thing__c"], "PermissionSet": ["P"]},
        )
    )
    empty_org.assign_permission_set("admin@sandbox.example", "P")
    account = empty_org.insert("Account", {"Name": "A"})
    empty_org.insert("Thing__c", {"Account__c": account})
    with pytest.raises(RowRefusedError, match="DELETE_FAILED"):
        empty_org.delete("Account", account)
    assert empty_org.count("Account") == 1


def test_a_restored_row_must_not_double_a_key(org: SalesforceOrg, tree: dict[str, str]) -> None:
    org.delete("T_Invoice__c", tree["invoice"])
    org.insert("T_Invoice__c", {"Invoice_ID__c": "i"})
    with pytest.raises(RowRefusedError, match="DUPLICATE_VALUE"):
        org.undelete("T_Invoice__c", tree["invoice"])
    assert org.count("T_Line__c") == 0


def test_merging_accounts(org: SalesforceOrg, tree: dict[str, str], rest: Rest) -> None:
    """Children move to the master, the loser is deleted and says where it went."""
    master = org.insert("Account", {"Name": "Master"})
    org.merge_accounts(master, tree["account"])
    assert org.rows("T_Invoice__c")[0]["Account__c"] == master
    assert org.rows("T_Customer__c")[0]["Account__c"] == master
    assert [each["Name"] for each in org.rows("Account")] == ["Master"]
    found = rest.soql("SELECT Id, MasterRecordId FROM Account WHERE IsDeleted = true", "queryAll")[
        "records"
    ]
    assert [(each["Id"], each["MasterRecordId"]) for each in found] == [(tree["account"], master)]
    again = rest.upsert("Account", "Billing_ID__c", {"Billing_ID__c": "cus_1", "Spend__c": 1})
    assert again[0]["errors"][0]["statusCode"] == "INSUFFICIENT_ACCESS_OR_READONLY"


def test_rows_pointing_to_deleted_rows_are_refused(
    org: SalesforceOrg, tree: dict[str, str]
) -> None:
    org.delete("Account", tree["account"])
    with pytest.raises(RowRefusedError, match="INVALID_CROSS_REFERENCE_KEY"):
        org.update("T_Invoice__c", tree["invoice"], {"Account__c": tree["account"]})
    with pytest.raises(RowRefusedError, match="ENTITY_IS_DELETED"):
        org.update("Account", tree["account"], {"Name": "B"})
    with pytest.raises(RowRefusedError, match="ENTITY_IS_DELETED"):
        org.delete("Account", tree["account"])
