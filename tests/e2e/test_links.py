"""CustomerLinks, people's changes and deletions applied at once, without a cycle."""

import asyncio
import threading
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from metronome_salesforce.linking import LinkReason, LinkRequest
from metronome_salesforce.report import Outcome, Retry
from tests.expectation import ACCOUNT, CUSTOMER, INVOICE, LINE, PLACED, USAGE, differences
from tests.linkstage import UNKNOWN, asks, hang, record, shown
from tests.stage import Stage

DAY = timedelta(days=1)


def everything(stage: Stage) -> dict[str, list[dict[str, Any]]]:
    """All rows, but for the platform's own stamps."""
    return {
        sobject: [
            {name: value for name, value in row.items() if name != "SystemModstamp"}
            for row in stage.org.rows(sobject)
        ]
        for sobject in (*PLACED, CUSTOMER, ACCOUNT, LINE)
    }


async def test_a_link_moves_every_row_of_every_age_at_once(stage: Stage) -> None:
    """Lines follow their invoice and are not written; again, it changes nothing."""
    customer, account = stage.customer(0), stage.account("Acme")
    stage.advance(60 * DAY)
    await stage.cycle()
    stage.links = [asks("acme", customer, account[:15])]

    report = await stage.link()

    assert report.outcome is Outcome.SUCCEEDED, report.message
    assert hang(stage, customer) == {(account, False)}
    assert shown(stage, customer) == (account, account, "CustomerLink", False)
    verdict = report.verdicts["acme"]
    assert (verdict.reason, verdict.account_id, verdict.account_name) == (
        LinkReason.LINKED,
        account,
        "Acme",
    )
    assert verdict.customer_name == record(stage, customer)["Full_Name__c"]
    of_customer = Counter(
        sobject
        for sobject in PLACED
        for row in stage.org.rows(sobject)
        if row["Metronome_Customer_ID__c"] == customer
    )
    assert sum(verdict.moved.values()) == of_customer.total()
    assert stage.written == Counter(
        {**{(sobject, "update"): n for sobject, n in of_customer.items()}, (CUSTOMER, "update"): 2}
    ) + Counter({(ACCOUNT, "update"): 1}), "the record before the first row and after the last"
    assert (LINE, "update") not in stage.written

    await stage.link()
    assert stage.written == Counter()
    await stage.cycle()
    assert [one for one in stage.written if one[0] in PLACED and one != (INVOICE, "update")] == []


async def test_an_account_shows_the_sums_of_its_one_customer_at_once(stage: Stage) -> None:
    """And its former Account shows them no longer; the cycle has nothing to add."""
    customer = stage.customer(0)
    first, second = stage.account("Acme"), stage.account("Acme Europe")
    for account in (first, second):
        stage.links = [asks("acme", customer, account)]
        await stage.link()
    rows = {row["Id"]: row for row in stage.org.rows(ACCOUNT)}
    spend = record(stage, customer)["Current_Spend__c"]
    assert spend is not None
    assert rows[second]["Metronome_Current_Spend__c"] == spend
    assert rows[second]["Metronome_Customer_ID__c"] == customer
    assert rows[first]["Metronome_Current_Spend__c"] is None
    assert rows[first]["Metronome_Customer_ID__c"] is None

    await stage.cycle()
    assert (ACCOUNT, "update") not in stage.written


async def test_a_cycle_knows_the_links(stage: Stage) -> None:
    """It moves what is not linked yet, and leaves what is."""
    customer, account = stage.customer(0), stage.account("Acme")
    stage.links = [asks("acme", customer, account)]
    report = await stage.cycle()
    assert report.links["acme"].reason is LinkReason.LINKED
    assert hang(stage, customer) == {(account, False)}
    assert shown(stage, customer) == (account, account, "CustomerLink", False)
    before = everything(stage)
    await stage.cycle()
    await stage.link()
    assert everything(stage) == before


async def test_a_cycle_that_knows_no_links_leaves_them_alone(stage: Stage) -> None:
    customer, account = stage.customer(0), stage.account("Acme")
    stage.links = [asks("acme", customer, account)]
    await stage.link()
    stage.links = None
    await stage.cycle()
    assert shown(stage, customer) == (account, account, "CustomerLink", False)
    stage.links = []
    await stage.cycle()
    assert shown(stage, customer) == (None, None, None, False)
    assert hang(stage, customer) == {(None, True)}


async def test_a_deleted_link_gives_the_rows_back(stage: Stage) -> None:
    customer, account = stage.customer(0), stage.account("Acme")
    stage.links = [asks("acme", customer, account)]
    await stage.link()
    stage.links = []

    await stage.link(customers=frozenset({customer}))

    assert shown(stage, customer) == (None, None, None, False)
    assert hang(stage, customer) == {(None, True)}


async def test_a_deleted_link_that_retains_leaves_a_persons_choice(stage: Stage) -> None:
    customer, account = stage.customer(0), stage.account("Acme")
    stage.links = [asks("acme", customer, account)]
    await stage.link()
    stage.links = []
    one = frozenset({customer})

    await stage.link(customers=one, retained=one)

    assert shown(stage, customer) == (account, account, "Salesforce", False)
    await stage.cycle()
    assert shown(stage, customer) == (account, account, "Salesforce", False)


@pytest.mark.parametrize("by", ["link", "cycle"])
async def test_what_a_person_sets_in_salesforce(stage: Stage, by: str) -> None:
    """Set, changed and cleared; noticed once each."""
    customer = stage.customer(0)
    first, second = stage.account("Acme"), stage.account("Acme Europe")
    for account in (first, second, None):
        stage.org.update(
            CUSTOMER, record(stage, customer)["Id"], {"Account__c": account}, username=stage.clerk()
        )
        assert record(stage, customer)["Link_Pending__c"]
        if by == "link":
            report = await stage.link(watch=True)
            assert report.noticed == {(customer, account)}
            assert (await stage.link(watch=True)).noticed == set()
            assert stage.written == Counter()
        else:
            await stage.cycle()
        source = None if account is None else "Salesforce"
        assert shown(stage, customer) == (account, account, source, False)
        assert hang(stage, customer) == {(account, account is None)}


async def test_a_quiet_watch_takes_one_query(stage: Stage) -> None:
    report = await stage.link(watch=True)
    assert report.api_requests == {"metronome": 0, "salesforce": 2}  # the login is one


async def test_precedence(stage: Stage) -> None:
    """A CustomerLink before Metronome before the record; the losing side is told."""
    customer = stage.customer(0)
    by_link, by_metronome, by_person = (stage.account(name) for name in ("A", "B", "C"))
    stage.links = [asks("acme", customer, by_link)]
    stage.tenant.set_salesforce_account(customer, by_metronome)

    def person(account: str) -> None:
        stage.org.update(
            CUSTOMER, record(stage, customer)["Id"], {"Account__c": account}, username=stage.clerk()
        )

    person(by_person)
    report = await stage.link(watch=True)
    assert shown(stage, customer) == (by_link, by_link, "CustomerLink", False)
    assert report.overruled == {customer}
    assert [reason for reason, _ in report.events] == ["Conflict"]
    assert by_person in str(report.verdicts["acme"].contradiction)

    verdict = (await stage.cycle()).links["acme"]
    assert shown(stage, customer) == (by_link, by_link, "CustomerLink", False)
    assert by_metronome in str(verdict.contradiction)

    stage.links = []
    await stage.link(customers=frozenset({customer}))
    assert shown(stage, customer) == (by_metronome, by_metronome, "Metronome", False)

    person(by_person)
    report = await stage.link(watch=True)
    assert shown(stage, customer) == (by_metronome, by_metronome, "Metronome", False)
    assert report.overruled == {customer}

    person(by_person)
    cycle = await stage.cycle()
    assert shown(stage, customer) == (by_metronome, by_metronome, "Metronome", False)
    assert [reason for reason, _ in cycle.events] == ["Conflict"]
    assert (await stage.cycle()).events == []

    stage.tenant.set_salesforce_account(customer, None)
    person(by_person)
    await stage.link(watch=True)
    assert shown(stage, customer) == (by_person, by_person, "Salesforce", False)
    assert hang(stage, customer) == {(by_person, False)}


async def test_of_two_links_the_older_wins(stage: Stage) -> None:
    """Whichever is listed first; when it goes the other takes over."""
    customer, old, new = stage.customer(0), stage.account("Old"), stage.account("New")
    younger = asks("aaa", customer, new, created="2026-03-10T07:00:00Z")
    older = asks("zzz", customer, old, created="2026-03-09T07:00:00Z")
    stage.links = [younger, older]
    report = await stage.link()
    assert report.verdicts["zzz"].reason is LinkReason.LINKED
    assert report.verdicts["aaa"].reason is LinkReason.CONFLICT
    assert "zzz" in report.verdicts["aaa"].message
    assert hang(stage, customer) == {(old, False)}

    stage.links = [younger]
    report = await stage.link(dirty=frozenset(), customers=frozenset({customer}))
    assert report.verdicts["aaa"].reason is LinkReason.LINKED
    assert hang(stage, customer) == {(new, False)}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"account": UNKNOWN}, LinkReason.ACCOUNT_NOT_FOUND),
        ({"external_id": ("Nothing__c", "x")}, LinkReason.EXTERNAL_ID_INVALID),
        ({"external_id": ("Name", "Acme")}, LinkReason.EXTERNAL_ID_INVALID),
        ({"external_id": ("Metronome_Customer_ID__c", "x")}, LinkReason.ACCOUNT_NOT_FOUND),
        ({"customer": "00000000-0000-4000-8000-000000000000"}, LinkReason.CUSTOMER_NOT_FOUND),
    ],
)
async def test_a_link_that_cannot_be_followed_changes_nothing(
    stage: Stage, changes: dict[str, Any], reason: LinkReason
) -> None:
    """Not even what it decided before it was edited."""
    customer, account = stage.customer(0), stage.account("Acme")
    stage.links = [asks("acme", customer, account)]
    await stage.link()
    values = {"customer": customer, "account": None, **changes}
    stage.links = [asks("acme", values.pop("customer"), values.pop("account"), **values)]

    report = await stage.link()

    verdict = report.verdicts["acme"]
    assert verdict.reason is reason
    assert verdict.message.endswith(".")
    assert stage.written == Counter()
    if "customer" not in changes:
        await stage.cycle()
        assert shown(stage, customer) == (account, account, "CustomerLink", False)


async def test_an_archived_customer_is_not_linked_anew(stage: Stage) -> None:
    """One that was linked before keeps its link."""
    first, second, account = stage.customer(0), stage.customer(1), stage.account("Acme")
    stage.links = [asks("first", first, account)]
    await stage.link()
    stage.tenant.archive_customer(first)
    stage.tenant.archive_customer(second)
    await stage.cycle()
    stage.links = [*stage.links, asks("second", second, account)]

    report = await stage.link()

    assert report.verdicts["first"].reason is LinkReason.LINKED
    assert report.verdicts["second"].reason is LinkReason.CUSTOMER_ARCHIVED
    assert hang(stage, first) == {(account, False)}
    assert hang(stage, second) == {(None, True)}


async def test_an_ingest_alias_names_the_customer(stage: Stage) -> None:
    customer, account = stage.customer(0), stage.account("Acme")
    stage.tenant.set_ingest_aliases(customer, ["acme-prod"])
    stage.links = [LinkRequest("acme", ingest_alias="acme-prod", account_id=account)]
    report = await stage.link()
    assert report.verdicts["acme"].customer_id == customer
    assert hang(stage, customer) == {(account, False)}
    await stage.cycle()
    assert shown(stage, customer) == (account, account, "CustomerLink", False)

    stage.links = [LinkRequest("acme", ingest_alias="nobody", account_id=account)]
    report = await stage.link()
    assert report.verdicts["acme"].reason is LinkReason.CUSTOMER_NOT_FOUND


async def test_an_external_id_names_the_account(stage: Stage) -> None:
    other, customer = stage.customer(1), stage.customer(0)
    account = stage.account("Acme")
    stage.links = [asks("other", other, account)]
    await stage.link()
    field = ("Metronome_Customer_ID__c", other)
    stage.links = [*stage.links, asks("acme", customer, external_id=field)]
    report = await stage.link()
    assert report.verdicts["acme"].account_id == account
    assert hang(stage, customer) == {(account, False)}


@pytest.mark.parametrize("by", ["link", "cycle"])
async def test_a_merged_account_is_followed(stage: Stage, by: str) -> None:
    customer, master, loser = stage.customer(0), stage.account("Acme"), stage.account("ACME")
    stage.links = [asks("acme", customer, loser)]
    await stage.link()
    stage.org.merge_accounts(master, loser)

    if by == "link":
        report = await stage.link(dirty=frozenset(), watch=True)
        assert report.noticed == set(), "nobody chose anything"
        events, verdict = report.events, report.verdicts["acme"]
    else:
        cycle = await stage.cycle()
        events, verdict = cycle.events, cycle.links["acme"]
    [(reason, sentence)] = events
    assert reason == "AccountMerged"
    assert loser in sentence
    assert sentence.endswith(f"its rows hang on {master} now.")

    assert (verdict.reason, verdict.account_id, verdict.merged_from) == (
        LinkReason.LINKED,
        master,
        loser,
    )
    assert shown(stage, customer) == (master, master, "CustomerLink", False)
    assert hang(stage, customer) == {(master, False)}


@pytest.mark.parametrize("by", ["link", "cycle"])
@pytest.mark.parametrize("source", ["link", "person"])
async def test_a_deleted_account_leaves_an_orphan(stage: Stage, source: str, by: str) -> None:
    customer, account = stage.customer(0), stage.account("Acme")
    if source == "link":
        stage.links = [asks("acme", customer, account)]
        await stage.link()
    else:
        row = record(stage, customer)["Id"]
        stage.org.update(CUSTOMER, row, {"Account__c": account}, username=stage.clerk())
        await stage.link(watch=True)
    stage.org.delete(ACCOUNT, account)

    if by == "link":
        report = await stage.link(dirty=frozenset(), watch=True)
        events, verdicts = report.events, report.verdicts
    else:
        cycle = await stage.cycle()
        events, verdicts = cycle.events, cycle.links
    [(reason, sentence)] = events
    assert reason == "AccountDeleted"
    assert customer in sentence
    assert sentence.endswith("orphan again.")

    assert shown(stage, customer) == (None, None, None, False)
    assert hang(stage, customer) == {(None, True)}
    if source == "link":
        assert verdicts["acme"].reason is LinkReason.ACCOUNT_NOT_FOUND


async def test_rows_that_are_refused_keep_the_link_waiting(stage: Stage) -> None:
    """And the next run moves what is left."""
    customer, account = stage.customer(0), stage.account("Acme")
    stage.org.add_validation_rule(
        USAGE, "Not_There", lambda row: row["Account__c"] == account, "Ask accounting first"
    )
    stage.links = [asks("acme", customer, account)]
    report = await stage.link()
    assert (report.outcome, report.retry) == (Outcome.PARTIALLY_FAILED, Retry.LATER)
    assert report.verdicts["acme"].reason is LinkReason.ROWS_REJECTED
    assert "Ask accounting first" in report.verdicts["acme"].message
    assert report.unsettled == {customer}
    assert shown(stage, customer) == (None, None, None, False)

    stage.org.remove_validation_rule(USAGE, "Not_There")
    report = await stage.link()
    assert report.verdicts["acme"].reason is LinkReason.LINKED
    assert hang(stage, customer) == {(account, False)}


async def test_a_cycle_says_what_it_could_not_move(stage: Stage) -> None:
    """And a dry run what would be."""
    customer, account = stage.customer(0), stage.account("Acme")
    stage.org.add_validation_rule(
        USAGE, "Not_There", lambda row: row["Account__c"] == account, "Ask accounting first"
    )
    stage.links = [asks("acme", customer, account)]
    assert (await stage.cycle(dry_run=True)).links["acme"].reason is LinkReason.LINKED
    assert stage.written == Counter()

    verdict = (await stage.cycle()).links["acme"]

    assert verdict.reason is LinkReason.ROWS_REJECTED
    assert "Ask accounting first" in verdict.message
    assert shown(stage, customer) == (None, None, None, False)


async def test_links_need_no_metronome(stage: Stage) -> None:
    """What needs it waits and says so, and moves nothing meanwhile."""
    linked, other = stage.customer(0), stage.customer(1)
    account = stage.account("Acme")
    row = record(stage, other)["Id"]
    stage.org.update(CUSTOMER, row, {"Account__c": account}, username=stage.clerk())
    stage.links = [asks("acme", linked, account)]

    report = await stage.link(watch=True, api_key="wrong")

    assert report.outcome is Outcome.FAILED
    assert report.verdicts["acme"].reason is LinkReason.LINKED
    assert hang(stage, linked) == {(account, False)}
    assert hang(stage, other) == {(None, True)}
    await stage.link(watch=True)
    assert hang(stage, other) == {(account, False)}


async def test_a_customer_that_no_cycle_has_brought_yet(stage: Stage) -> None:
    account = stage.account("Acme")
    new = stage.tenant.add_customer(name="Newcomer", ingest_aliases=[], custom_fields={})
    stage.links = [asks("new", new, account)]
    report = await stage.link()
    assert report.verdicts["new"].reason is LinkReason.CUSTOMER_NOT_SYNCED
    await stage.cycle()
    assert shown(stage, new) == (account, account, "CustomerLink", False)


async def test_account_ids_are_stored_in_metronome_where_wished(stage: Stage) -> None:
    """By links and people, only where they differ; and they do not decide there by themselves."""
    customer, first, second = stage.customer(0), stage.account("Acme"), stage.account("Other")

    def stored() -> str | None:
        (one,) = [each for each in stage.tenant.customers() if each["id"] == customer]
        value = one["customer_config"]["salesforce_account_id"]
        return None if value is None else str(value)

    stage.spec = {"linking": {"writeBack": True}}
    stage.links = [asks("acme", customer, first)]
    await stage.link(write_back=True)
    assert stored() == first
    report = await stage.link(write_back=True)
    assert report.api_requests["metronome"] == 1, "it is asked, and not told again"
    await stage.cycle()
    assert shown(stage, customer) == (first, first, "CustomerLink", False)

    one = frozenset({customer})
    stage.links = []
    await stage.link(write_back=True, customers=one)
    assert stored() is None
    assert hang(stage, customer) == {(None, True)}

    for account in (first, second, None):
        row = record(stage, customer)["Id"]
        stage.org.update(CUSTOMER, row, {"Account__c": account}, username=stage.clerk())
        await stage.link(write_back=True, watch=True)
        assert stored() == account
        assert hang(stage, customer) == {(account, account is None)}
        await stage.cycle()
        assert hang(stage, customer) == {(account, account is None)}


async def test_a_link_while_a_cycle_runs_is_not_undone_by_it(stage: Stage) -> None:
    """The cycle has looked before, and writes new rows after: they follow, and none goes back."""
    customer, other = stage.customer(0), stage.customer(1)
    account, elsewhere = stage.account("Acme"), stage.account("Elsewhere")
    stage.tenant.set_salesforce_account(other, elsewhere)
    stage.advance(DAY)
    told: dict[str, Any] = {}
    began = False

    def relinked() -> dict[str, Any]:
        nonlocal began
        if not began and any(step.startswith("write") for step, *_ in stage.progress):
            began = True
            stage.links = [asks("acme", customer, account), asks("other", other, account)]
            link_now(stage, told)
        found = dict(told)
        told.clear()
        return found

    stage.relinked = relinked
    report = await stage.cycle()
    assert began
    assert report.outcome is Outcome.SUCCEEDED
    stage.relinked = None
    for each in (customer, other):
        assert hang(stage, each) == {(account, False)}
        assert shown(stage, each) == (account, account, "CustomerLink", False)
    await stage.cycle()
    assert hang(stage, other) == {(account, False)}


def link_now(stage: Stage, told: dict[str, Any]) -> None:
    """Run the links to their end in the middle of a cycle, as the operator does in a thread."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            report = asyncio.run(stage.link(moving=told.update))
            assert report.outcome is Outcome.SUCCEEDED
        except BaseException as error:  # noqa: BLE001 -- raised again below
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    if failures:
        raise failures[0]


async def test_linked_rows_are_kept_up_by_daily_cycles(stage: Stage) -> None:
    """All is as without the link, but for where the rows hang and what their Account shows."""
    customer, account = stage.customer(0), stage.account("Acme")
    stage.links = [asks("acme", customer, account)]
    await stage.link()
    stage.advance(DAY)
    await stage.cycle()
    found = differences(stage.expected(), stage.org, at_most=9999)
    assert {one.partition(") ")[2].split(" is ")[0] for one in found} <= {
        "Account__c",
        "Orphaned_Customer__c",
        "Linked_Account_ID__c",
        "Link_Source__c",
        "Is_Linked__c",
        *(name for name in stage.org.rows(ACCOUNT)[0] if name.startswith("Metronome_")),
    }
    assert hang(stage, customer) == {(account, False)}


async def test_a_metronome_id_typed_into_an_account_links_nothing(stage: Stage) -> None:
    """Not supported, on purpose: a link run does not see it, and a cycle sets the field back."""
    customer, other = stage.customer(0), stage.customer(1)
    account = stage.account("Acme")
    stage.links = [asks("other", other, stage.account("Other"))]
    await stage.link()
    before = everything(stage)
    stage.org.update(
        ACCOUNT, account, {"Metronome_Customer_ID__c": customer}, username=stage.clerk()
    )

    report = await stage.link(watch=True, customers=frozenset({customer}))
    assert (report.noticed, report.moved, stage.written) == (set(), {}, Counter())
    await stage.cycle()
    assert {one: rows for one, rows in everything(stage).items() if one != ACCOUNT} == {
        one: rows for one, rows in before.items() if one != ACCOUNT
    }
    assert shown(stage, customer) == (None, None, None, False)
    assert hang(stage, customer) == {(None, True)}
    row = next(row for row in stage.org.rows(ACCOUNT) if row["Id"] == account)
    assert row["Metronome_Customer_ID__c"] is None
