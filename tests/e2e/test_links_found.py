"""What random lives have found (`test_links_property`), each as short as it can be told."""

import pytest

from tests.expectation import CUSTOMER, USAGE
from tests.linkstage import asks, hang, person, record, shown, stored
from tests.stage import Stage

WRITE_BACK = {"linking": {"writeBack": True}}


async def test_a_link_that_never_counted_takes_nothing_from_metronome() -> None:
    """Deleted before anybody had looked at it, so that the operator cannot know that."""
    with Stage(customers=3, months=1, lookback=3, spec=WRITE_BACK) as stage:
        customer, account = stage.customer(0), stage.account("A")
        stage.tenant.set_salesforce_account(customer, account)
        await stage.cycle()
        assert shown(stage, customer) == (account, account, "Metronome", False)
        one = frozenset({customer})

        await stage.link(write_back=True, customers=one)

        assert stored(stage, customer) == account
        assert shown(stage, customer) == (account, account, "Metronome", False)


async def test_an_id_that_only_we_stored_decides_nothing_after_a_crash() -> None:
    """The run ends between storing the id and writing the record; then the link is deleted."""
    with Stage(customers=3, months=1, lookback=3, spec=WRITE_BACK) as stage:
        await stage.cycle()
        customer, account = stage.customer(0), stage.account("A")
        one = frozenset({customer})
        stage.links = [asks("acme", customer, account)]
        stage.salesforce.faults.add("PATCH *", drop="before", after=5)
        await stage.link(write_back=True)
        stage.salesforce.faults.clear()
        assert shown(stage, customer) == (None, None, None, False)
        stage.links = []

        await stage.link(write_back=True, customers=one, swept=one)

        assert shown(stage, customer) == (None, None, None, False)
        assert stored(stage, customer) is None
        await stage.cycle()
        assert hang(stage, customer) == {(None, True)}


async def test_a_refused_row_does_not_make_a_choice_metronomes() -> None:
    """What a person chose stays theirs to change, however long it takes to move all rows."""
    with Stage(customers=3, months=1, lookback=3, spec=WRITE_BACK) as stage:
        await stage.cycle()
        customer, first, second = stage.customer(0), stage.account("A"), stage.account("B")
        person(stage, customer, first)
        stage.salesforce.faults.row(USAGE, every=2, status_code="FIELD_CUSTOM_VALIDATION_EXCEPTION")
        await stage.link(write_back=True, watch=True)
        stage.salesforce.faults.clear()

        await stage.link(write_back=True, watch=True)

        assert shown(stage, customer) == (first, first, "Salesforce", False)
        person(stage, customer, second)
        await stage.link(write_back=True, watch=True)
        assert shown(stage, customer) == (second, second, "Salesforce", False)


async def test_a_link_that_moved_without_metronome_leaves_no_id_there() -> None:
    """The id it had stored before decides nothing once the link is deleted."""
    with Stage(customers=3, months=1, lookback=3, spec=WRITE_BACK) as stage:
        await stage.cycle()
        customer, first, second = stage.customer(0), stage.account("A"), stage.account("B")
        one = frozenset({customer})
        stage.links = [asks("acme", customer, first)]
        await stage.link(write_back=True)
        stage.links = [asks("acme", customer, second)]
        await stage.link(write_back=True, api_key="wrong")
        stage.links = []

        await stage.link(write_back=True, customers=one)

        assert shown(stage, customer) == (None, None, None, False)
        assert hang(stage, customer) == {(None, True)}


@pytest.mark.parametrize("by", ["link", "cycle"])
async def test_no_row_moves_before_the_record_says_so(stage: Stage, by: str) -> None:
    """Salesforce refuses the record, to which the mark is written; then the link is deleted."""
    customer, account = stage.customer(0), stage.account("A")
    stage.links = [asks("acme", customer, account)]
    stage.org.add_validation_rule(CUSTOMER, "Closed", lambda _row: True, "Closed for the audit")
    await (stage.link() if by == "link" else stage.cycle())
    stage.org.remove_validation_rule(CUSTOMER, "Closed")
    assert record(stage, customer)["Relinking__c"] or hang(stage, customer) == {(None, True)}
    stage.links = []

    await stage.cycle()

    assert hang(stage, customer) == {(None, True)}
