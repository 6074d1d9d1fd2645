"""Accounts whose customers are archived, or cannot be read: their sums stay true."""

from datetime import timedelta

from metronome_salesforce.report import Outcome
from tests.expectation import INVOICE, differences
from tests.stage import Stage


async def test_an_archived_customer_is_linked_with_all_its_rows(stage: Stage) -> None:
    customer, account = stage.customer(6), stage.account("Acme")
    stage.tenant.set_salesforce_account(customer, account)

    await stage.cycle()

    assert differences(stage.expected(), stage.org) == []
    rows = [row for row in stage.org.rows(INVOICE) if row["Metronome_Customer_ID__c"] == customer]
    assert {row["Account__c"] for row in rows} == {account}


async def test_an_account_with_an_archived_customer_follows_the_other_one(month: Stage) -> None:
    """Also when that one was archived before anything that a daily cycle looks at."""
    month.advance(timedelta(days=30))
    await month.cycle(full=True)
    account = month.account("Acme")
    for number in (6, 0):
        month.tenant.set_salesforce_account(month.customer(number), account)

    for _ in range(2):
        await month.cycle()
        assert differences(month.expected(), month.org) == []
        month.advance(timedelta(days=1))


async def test_a_customer_that_cannot_be_read_loses_nothing(stage: Stage) -> None:
    """Nor does its Account: a malformed item in the list of customers is no farewell."""
    customer, account = stage.customer(0), stage.account("Acme")
    stage.tenant.set_salesforce_account(customer, account)
    await stage.cycle()
    before = stage.expected()
    listed = stage.tenant.customers()
    for one in listed:
        if one["id"] == customer:
            del one["customer_config"]
    stage.metronome.faults.add(
        "GET /v1/customers", status=200, body={"data": listed, "next_page": None}, times=1
    )

    report = await stage.cycle()

    assert report.outcome is Outcome.SUCCEEDED
    assert sum(report.notes["malformed"].values()) == 1
    assert differences(before, stage.org) == []
