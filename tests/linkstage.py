"""Where a customer's rows hang, what the record shows, and what people and links ask for."""

from typing import Any

from metronome_salesforce.linking import LinkRequest
from tests.expectation import CUSTOMER, PLACED
from tests.stage import Stage

UNKNOWN = "001000000000zzzAAA"
"""The id of an Account that there is not."""


def hang(stage: Stage, customer: str) -> set[tuple[str | None, bool]]:
    """Where the customer's rows hang: (Account, whether on the orphan's record)."""
    return {
        (row["Account__c"], row["Orphaned_Customer__c"] is not None)
        for sobject in PLACED
        for row in stage.org.rows(sobject)
        if row["Metronome_Customer_ID__c"] == customer
    }


def record(stage: Stage, customer: str) -> dict[str, Any]:
    """The Orphaned Customer record."""
    return next(
        row for row in stage.org.rows(CUSTOMER) if row["Metronome_Customer_ID__c"] == customer
    )


def shown(stage: Stage, customer: str) -> tuple[str | None, str | None, str | None, bool]:
    """What the record shows of its link."""
    row = record(stage, customer)
    return (
        row["Account__c"],
        row["Linked_Account_ID__c"],
        row["Link_Source__c"],
        bool(row["Link_Pending__c"]),
    )


def asks(name: str, customer: str, account: str | None = None, **changes: Any) -> LinkRequest:
    """A CustomerLink."""
    created = changes.pop("created", "2026-03-10T06:00:00Z")
    return LinkRequest(name, created, customer, account_id=account, **changes)


def person(stage: Stage, customer: str, account: str | None) -> None:
    """Somebody sets the Account on the Orphaned Customer record."""
    row = record(stage, customer)["Id"]
    stage.org.update(CUSTOMER, row, {"Account__c": account}, username=stage.clerk())


def stored(stage: Stage, customer: str) -> str | None:
    """The Salesforce id that Metronome keeps."""
    (one,) = [each for each in stage.tenant.customers() if each["id"] == customer]
    value = one["customer_config"]["salesforce_account_id"]
    return None if value is None else str(value)
