"""Customers that carry an Account in Metronome: their rows hang there, all of them, always."""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from metronome_salesforce.report import Outcome
from tests.expectation import ACCOUNT, CUSTOMER, PLACED, USAGE, changes, differences
from tests.stage import Stage

FIELD = "salesforce_account_id"


def hang(stage: Stage, customer: str) -> dict[str, set[tuple[str | None, bool]]]:
    """Where the customer's rows of each sObject hang: (Account, whether on the orphan's record)."""
    return {
        sobject: {
            (row["Account__c"], row["Orphaned_Customer__c"] is not None)
            for row in stage.org.rows(sobject)
            if row["Metronome_Customer_ID__c"] == customer
        }
        for sobject in PLACED
    }


async def test_a_customer_with_an_account_never_hangs_on_the_orphan(fresh: Stage) -> None:
    customer, account = fresh.customer(0), fresh.account("Acme")
    fresh.tenant.set_salesforce_account(customer, account)

    report = await fresh.cycle()

    assert report.customers == {"total": 12, "linked": 1, "orphaned": 11, "archived": 1}
    assert differences(fresh.expected(), fresh.org) == []
    assert set().union(*hang(fresh, customer).values()) == {(account, False)}
    assert fresh.written[ACCOUNT, "update"] == 1
    await fresh.cycle()
    assert fresh.written == Counter()


async def test_linked_moved_and_unlinked_rows_of_every_age_follow(stage: Stage) -> None:
    """Among them invoices and usage far older than what a daily cycle looks at."""
    customer = stage.customer(0)
    first, second = stage.account("Acme"), stage.account("Acme Europe")
    stage.advance(timedelta(days=30))
    await stage.cycle(full=True)
    before = stage.expected()

    for account in (first, second, second[:15], None):
        stage.tenant.set_salesforce_account(customer, account)
        report = await stage.cycle()

        after = stage.expected()
        assert report.outcome is Outcome.SUCCEEDED
        assert differences(after, stage.org) == []
        wanted = changes(before, after)
        written = stage.written
        # The customer's record and an Account may take two writes: that it has moved comes last.
        for twice in ((CUSTOMER, "update"), (ACCOUNT, "update")):
            assert wanted[twice] <= written.pop(twice, 0) <= 2 * wanted.pop(twice, 0)
        assert written == wanted
        full = (
            None if account is None else next(a for a in (first, second) if a[:15] == account[:15])
        )
        assert set().union(*hang(stage, customer).values()) == {(full, full is None)}
        before = after
    await stage.cycle()
    assert stage.written == Counter()


async def test_two_customers_on_one_account_are_summed_there(stage: Stage) -> None:
    """In the unit of the larger spend: one is billed in dollars, the other in euros."""
    account = stage.account("Acme Holding")
    customers = [stage.customer(0), stage.customer(1), stage.customer(2)]
    for customer in customers:
        stage.tenant.set_salesforce_account(customer, account)

    await stage.cycle()

    assert differences(stage.expected(), stage.org) == []
    (row,) = stage.org.rows(ACCOUNT)
    alone = {one["Metronome_Customer_ID__c"]: one for one in stage.org.rows(CUSTOMER)}
    assert row["Metronome_Currency__c"] == "USD"
    assert row["Metronome_Current_Spend__c"] == pytest.approx(
        sum(alone[one]["Current_Spend__c"] for one in customers[:2]), abs=0.011
    )
    assert row["Metronome_Customer_ID__c"] == min(customers)

    # One of them leaves; the sums and the name of the first follow.
    stage.tenant.set_salesforce_account(min(customers), None)
    await stage.cycle()
    assert differences(stage.expected(), stage.org) == []


async def test_two_accounts_change_customers_in_one_cycle(stage: Stage) -> None:
    """The id on the Account is unique, so one of them has to give it up first."""
    accounts = [stage.account("East"), stage.account("West")]
    customers = [stage.customer(0), stage.customer(1)]
    for order in (customers, customers[::-1]):
        for customer, account in zip(order, accounts, strict=True):
            stage.tenant.set_salesforce_account(customer, account)
        report = await stage.cycle()
        assert report.outcome is Outcome.SUCCEEDED, report.rejected
        assert differences(stage.expected(), stage.org) == []


async def test_the_account_may_stand_in_a_custom_field(stage: Stage) -> None:
    stage.spec = {"metronome": {"salesforceIdField": "customFields.sfdc_account"}}
    customer, account = stage.customer(3), stage.account("Acme")
    stage.tenant.set_salesforce_account(stage.customer(0), account)
    for value in (account, None):
        stage.tenant.set_custom_field(customer, "sfdc_account", value)

        await stage.cycle()

        wanted = stage.expected(id_field="customFields.sfdc_account")
        assert differences(wanted, stage.org) == []
        assert stage.written[USAGE, "update"] > 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Acme GmbH", "MalformedAccountId"),
        ("003Hs00000000001", "MalformedAccountId"),
        ("001Hs00000000zzQAA", "MalformedAccountId"),
        ("003Hs0000000001", "NotAnAccountId"),
        ("001Hs0000099999", "AccountNotFound"),
        ("001' OR Name != '", "MalformedAccountId"),
    ],
)
async def test_an_id_that_names_no_account_links_nothing_and_is_told(
    stage: Stage, text: str, reason: str
) -> None:
    before = stage.expected()
    stage.tenant.set_salesforce_account(stage.customer(0), text)

    report = await stage.cycle()

    assert report.outcome is Outcome.SUCCEEDED
    assert stage.written == Counter()
    assert differences(before, stage.org) == []
    assert [event[0] for event in report.events] == [reason]
    assert stage.customer(0) in report.events[0][1]
    assert text not in report.events[0][1]


async def test_an_account_that_is_deleted_orphans_its_customer(stage: Stage) -> None:
    customer, account = stage.customer(0), stage.account("Acme")
    stage.tenant.set_salesforce_account(customer, account)
    await stage.cycle()
    stage.org.delete(ACCOUNT, account)

    report = await stage.cycle()

    assert [event[0] for event in report.events] == ["AccountDeleted", "AccountNotFound"]
    assert differences(stage.expected(), stage.org) == []
    assert set().union(*hang(stage, customer).values()) == {(None, True)}


@pytest.mark.usefixtures("no_pauses")
async def test_a_link_that_stops_half_way_is_finished_by_the_next_cycle(stage: Stage) -> None:
    """The record shows the new link only once the last row has moved."""
    customer, account = stage.customer(0), stage.account("Acme")
    stage.tenant.set_salesforce_account(customer, account)

    def stuck_row(row: dict[str, Any]) -> bool:
        key = str(row.get("External_ID__c"))
        return key.startswith(customer) and key.endswith("-07")

    stuck = stage.salesforce.faults.row(USAGE, key=stuck_row)

    report = await stage.cycle()

    assert stuck.hits > 0
    assert report.outcome is Outcome.PARTIALLY_FAILED
    assert report.rejected_codes.keys() == {"UNABLE_TO_LOCK_ROW"}
    record = {row["Metronome_Customer_ID__c"]: row for row in stage.org.rows(CUSTOMER)}[customer]
    assert (record["Linked_Account_ID__c"], record["Account__c"]) == (None, None)

    stage.salesforce.faults.clear()
    report = await stage.cycle()
    assert report.outcome is Outcome.SUCCEEDED
    assert differences(stage.expected(), stage.org) == []
