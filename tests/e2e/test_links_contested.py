"""Where links fail, moves break off or ids are stale, no row stays behind, nothing is undone."""

from datetime import timedelta
from typing import Any

import pytest

from metronome_salesforce.linking import LinkReason, LinkRequest
from metronome_salesforce.report import Outcome
from tests.expectation import USAGE
from tests.linkstage import UNKNOWN, asks, hang, person, record, shown, stored
from tests.stage import Stage

DAY = timedelta(days=1)
WRITE_BACK = {"linking": {"writeBack": True}}
STORING = "POST /v1/customers/*/updateConfig"


# -- a link that cannot be followed ----------------------------------------------------------------


@pytest.mark.parametrize("by", ["Metronome", "Salesforce"])
async def test_it_takes_nothing_from_who_decides_without_it(stage: Stage, by: str) -> None:
    customer, account = stage.customer(0), stage.account("Acme")
    if by == "Metronome":
        stage.tenant.set_salesforce_account(customer, account)
        await stage.cycle()
    else:
        person(stage, customer, account)
        await stage.link(watch=True)
    stage.links = [asks("acme", customer, UNKNOWN)]

    report = await stage.link()

    assert report.verdicts["acme"].reason is LinkReason.ACCOUNT_NOT_FOUND
    assert shown(stage, customer) == (account, account, by, False)
    assert hang(stage, customer) == {(account, False)}
    await stage.cycle()
    assert shown(stage, customer) == (account, account, by, False)


async def test_an_archived_customer_stays_where_metronome_put_it(stage: Stage) -> None:
    customer, account = stage.customer(0), stage.account("Acme")
    stage.tenant.set_salesforce_account(customer, account)
    await stage.cycle()
    stage.tenant.archive_customer(customer)
    await stage.cycle()
    stage.links = [asks("acme", customer, stage.account("Other"))]

    report = await stage.link()

    assert report.verdicts["acme"].reason is LinkReason.CUSTOMER_ARCHIVED
    assert hang(stage, customer) == {(account, False)}


@pytest.mark.parametrize("links", ["unknown", "broken"])
@pytest.mark.parametrize("other", ["Metronome", "person"])
async def test_it_keeps_what_it_decided_before(stage: Stage, other: str, links: str) -> None:
    """Also where nobody knows the links, as for `sync -f` without them."""
    customer, account, elsewhere = stage.customer(0), stage.account("A"), stage.account("B")
    stage.links = [asks("acme", customer, account)]
    await stage.link()
    if other == "Metronome":
        stage.tenant.set_salesforce_account(customer, elsewhere)
    else:
        person(stage, customer, elsewhere)
    stage.links = None if links == "unknown" else [asks("acme", customer, UNKNOWN)]

    await stage.cycle()

    assert shown(stage, customer) == (account, account, "CustomerLink", False)
    assert hang(stage, customer) == {(account, False)}


async def test_a_deleted_link_leaves_nobody_to_a_malformed_id(stage: Stage) -> None:
    """An id in Metronome that names no Account keeps what Metronome decided, and nothing else."""
    customer, account = stage.customer(0), stage.account("Acme")
    stage.tenant.set_salesforce_account(customer, "Acme GmbH")
    stage.links = [asks("acme", customer, account)]
    await stage.link()
    stage.links, one = [], frozenset({customer})

    await stage.link(customers=one)

    assert shown(stage, customer) == (None, None, None, False)
    assert hang(stage, customer) == {(None, True)}


async def test_an_alias_that_its_customer_lost_still_holds_the_link(stage: Stage) -> None:
    """Its id is known from before, to cycles as to link runs; another holder is followed."""
    customer, account = stage.customer(0), stage.account("Acme")
    stage.tenant.set_ingest_aliases(customer, ["acme"])
    link = LinkRequest("acme", "2026-03-10T06:00:00Z", ingest_alias="acme", account_id=account)
    stage.links = [link]
    await stage.link()
    stage.links = [LinkRequest(link.name, link.created, customer, "acme", account)]
    stage.tenant.set_ingest_aliases(customer, ["another"])

    await stage.cycle()

    assert shown(stage, customer) == (account, account, "CustomerLink", False)


# -- Accounts that come and go ---------------------------------------------------------------------


async def test_a_merge_is_followed_for_customers_that_metronome_lost(stage: Stage) -> None:
    customer, master, loser = stage.customer(0), stage.account("Acme"), stage.account("ACME")
    stage.tenant.set_salesforce_account(customer, loser)
    await stage.cycle()
    stage.tenant.delete_customer(customer)
    stage.org.merge_accounts(master, loser)

    await stage.link(watch=True)

    assert shown(stage, customer) == (master, master, "Metronome", False)
    assert hang(stage, customer) == {(master, False)}


# -- ids that are stored in Metronome --------------------------------------------------------------


@pytest.mark.parametrize("failure", [{"status": 503}, {"drop": "before"}])
async def test_an_id_that_could_not_be_taken_back_does_not_undo_a_deletion(
    failure: dict[str, Any],
) -> None:
    with Stage(customers=3, months=1, lookback=3, spec=WRITE_BACK) as stage:
        await stage.cycle()
        customer, account = stage.customer(0), stage.account("Acme")
        stage.links = [asks("acme", customer, account)]
        await stage.link(write_back=True)
        assert stored(stage, customer) == account
        stage.links, one = [], frozenset({customer})
        stage.metronome.faults.add(STORING, **failure)
        report = await stage.link(write_back=True, customers=one)
        assert report.outcome is Outcome.FAILED
        assert report.unsettled == {customer}
        stage.metronome.faults.clear()

        await stage.link(write_back=True, customers=one)

        assert stored(stage, customer) is None
        assert shown(stage, customer) == (None, None, None, False)
        assert hang(stage, customer) == {(None, True)}
        await stage.cycle()
        assert hang(stage, customer) == {(None, True)}


async def test_a_choice_survives_that_it_could_not_be_stored() -> None:
    with Stage(customers=3, months=1, lookback=3, spec=WRITE_BACK) as stage:
        await stage.cycle()
        customer, first, second = stage.customer(0), stage.account("A"), stage.account("B")
        person(stage, customer, first)
        await stage.link(write_back=True, watch=True)
        person(stage, customer, second)
        stage.metronome.faults.add(STORING, status=503)
        await stage.link(write_back=True, watch=True)
        stage.metronome.faults.clear()

        await stage.link(write_back=True, customers=frozenset({customer}))

        assert stored(stage, customer) == second
        assert shown(stage, customer) == (second, second, "Salesforce", False)
        assert hang(stage, customer) == {(second, False)}


async def test_a_link_whose_record_waits_for_metronome_is_not_called_done() -> None:
    """All rows have moved then, and the next run finishes it."""
    with Stage(customers=3, months=1, lookback=3, spec=WRITE_BACK) as stage:
        await stage.cycle()
        customer, first, second = stage.customer(0), stage.account("A"), stage.account("B")
        stage.links = [asks("acme", customer, first)]
        await stage.link(write_back=True)
        stage.links = [asks("acme", customer, second)]

        report = await stage.link(write_back=True, api_key="wrong")

        assert report.outcome is Outcome.FAILED
        assert (report.verdicts, report.unsettled) == ({}, {customer})
        assert hang(stage, customer) == {(second, False)}
        report = await stage.link(write_back=True)
        assert report.verdicts["acme"].reason is LinkReason.LINKED
        assert shown(stage, customer) == (second, second, "CustomerLink", False)
        assert stored(stage, customer) == second


async def test_cycles_store_what_they_see_first() -> None:
    """As after the operator was away, for what was decided before it was wished, and without it."""
    with Stage(customers=3, months=1, lookback=3) as stage:
        await stage.cycle()
        customer, first, second = stage.customer(0), stage.account("A"), stage.account("B")
        person(stage, customer, first)
        await stage.cycle()
        assert stored(stage, customer) is None
        stage.spec = WRITE_BACK
        report = await stage.cycle()
        assert report.write_back is None
        assert stored(stage, customer) == first
        person(stage, customer, second)
        for _ in range(2):
            await stage.cycle()
            assert stored(stage, customer) == second
            assert shown(stage, customer) == (second, second, "Salesforce", False)
        told = [path for _, path, _ in stage.metronome.requests if "updateConfig" in path]
        assert told == [], "what is stored is not told again"


async def test_a_cycle_that_may_not_store_says_so_and_links_all_the_same() -> None:
    with Stage(customers=3, months=1, lookback=3, spec=WRITE_BACK) as stage:
        await stage.cycle()
        customer, account = stage.customer(0), stage.account("A")
        stage.links = [asks("acme", customer, account)]
        stage.metronome.faults.add(STORING, status=403)
        report = await stage.cycle()
        assert report.outcome is Outcome.SUCCEEDED
        assert report.write_back is not None
        assert report.write_back[0] == "MetronomeReadOnly"
        assert shown(stage, customer) == (account, account, "CustomerLink", False)


# -- moves that break off --------------------------------------------------------------------------


@pytest.mark.parametrize("back", ["Metronome", "person", "link", "Retain"])
async def test_a_move_that_broke_off_and_was_taken_back_leaves_no_row(back: str) -> None:
    """Rows of every age: the next run sees that some may have moved, whoever runs it."""
    with Stage(customers=3, months=4, lookback=100) as stage:
        await stage.cycle(full=True)
        stage.advance(60 * DAY)
        stage.lookback = 3
        await stage.cycle()
        customer, account = stage.customer(0), stage.account("Acme")
        one = frozenset({customer})
        match back:
            case "Metronome":
                stage.tenant.set_salesforce_account(customer, account)
            case "person":
                person(stage, customer, account)
            case _:
                stage.links = [asks("acme", customer, account)]
        stage.salesforce.faults.add("PATCH *", drop="after_commit", after=2)
        cut = await (stage.cycle() if back == "Metronome" else stage.link(watch=True))
        assert cut.outcome is Outcome.FAILED
        stage.salesforce.faults.clear()
        assert len(hang(stage, customer)) == 2, "the move must break off half way"

        match back:
            case "Metronome":
                stage.tenant.set_salesforce_account(customer, None)
                await stage.cycle()
            case "person":
                person(stage, customer, None)
                await stage.link(customers=one)
            case "link":
                stage.links = []
                await stage.cycle()
            case _:
                stage.links = []
                await stage.link(customers=one, retained=one)

        assert hang(stage, customer) == {(None, True)}
        assert shown(stage, customer) == (None, None, None, False)
        assert not record(stage, customer)["Relinking__c"]


async def test_rows_of_objects_that_are_not_synced_move_too() -> None:
    with Stage(customers=3, months=4, lookback=100) as stage:
        await stage.cycle(full=True)
        customer, account = stage.customer(0), stage.account("Acme")
        stage.links = [asks("acme", customer, account)]
        spec = {"objects": ["Customer", "Plan", "CustomerPlan", "Invoice"]}
        await stage.link(spec=spec)
        assert hang(stage, customer) == {(account, False)}
        stage.links = []
        await stage.cycle(spec=spec)
        assert hang(stage, customer) == {(None, True)}


async def test_who_could_not_be_decided_is_named(stage: Stage) -> None:
    """A refused row of one customer must not hide that Metronome was not asked about another."""
    customer, other = stage.customer(0), stage.customer(1)
    account, elsewhere = stage.account("A"), stage.account("B")
    stage.links = [asks("acme", customer, account)]
    await stage.link()
    stage.org.add_validation_rule(
        USAGE, "Not_There", lambda row: row["Account__c"] == elsewhere, "no"
    )
    stage.links, one = [asks("other", other, elsewhere)], frozenset({customer})

    report = await stage.link(customers=one, api_key="wrong")

    assert report.undecided == {customer}
    assert report.outcome is Outcome.FAILED
    assert hang(stage, customer) == {(account, False)}
