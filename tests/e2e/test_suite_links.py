"""CustomerLinks on both Kubernetes APIs: applied at once, edited, in conflict, deleted, in cycles.

Who applies them is kubectl, who carries them out is the operator's process, and where rows hang is
read off the emulated org.
"""

import json
import time
from datetime import timedelta
from pathlib import Path

import pytest

from metronome_salesforce.sandbox.kubernetes import Match
from tests.e2e.suite import (
    GROUP,
    LINKS,
    VERSION,
    Company,
    Operator,
    Space,
    company,
    condition,
    eventually,
    message,
    run_cli,
)
from tests.e2e.suite_links import (
    CUSTOMER,
    READY,
    account,
    delete_link,
    edit,
    get_link,
    hang,
    in_a_cycle,
    link_manifest,
    link_status,
    metric,
    orphans,
    record,
    rows_of,
    shown,
    state,
    wait_link,
)


@pytest.fixture(name="customer")
def _customer(space: Space, acme: Company) -> str:
    """The company synced once; one of its customers, who is an orphan with many rows."""
    space.start(acme)
    space.wait_for_run()
    (customer, *_) = orphans(acme)
    assert len(rows_of(acme, customer)) >= 50
    acme.org.statistics.reset()
    return customer


def test_every_row_moves_within_two_seconds(space: Space, acme: Company, customer: str) -> None:
    """The status says what happened; nothing else was written, and a daily cycle keeps it."""
    target = account(acme, "Acme Europe")
    acme.org.statistics.reset()
    space.apply(link_manifest("europe", customer, target[:15]))
    applied = time.monotonic()
    status = wait_link(space, "europe")
    assert time.monotonic() - applied < 2

    assert hang(acme, customer) == {(target, False)}
    assert shown(acme, customer) == (target, target, "CustomerLink")
    rows = len(rows_of(acme, customer))
    assert sum(status["reparented"].values()) == rows
    assert acme.org.statistics.total_rows == rows + 3, (
        "the Account, and the record before and after"
    )
    assert (status["accountId"], status["accountName"]) == (target, "Acme Europe")
    assert (status["customerId"], status["customerName"]) == (
        customer,
        record(acme, customer)["Full_Name__c"],
    )
    assert "linkedAt" in status
    assert condition(status, "Stalled") == ("False", "Linked")
    assert [one[:2] for one in eventually(lambda: space.events("europe"))] == [("Normal", "Linked")]
    assert metric(space, "link_rows_total") == rows
    assert metric(space, "links", state="ready") == 1
    assert space.kubectl("get", "clink", "europe", "--no-headers").split()[:2] == ["europe", "True"]

    acme.org.statistics.reset()
    acme.tenant.advance(timedelta(days=1))
    space.request("a day later")
    assert hang(acme, customer) == {(target, False)}
    assert get_link(space, "europe")["status"] == status, "nothing to tell"


def test_an_edit_moves_them_again(space: Space, acme: Company, customer: str) -> None:
    first, second = account(acme, "First"), account(acme, "Second")
    space.apply(link_manifest("acme", customer, first))
    wait_link(space, "acme")
    space.apply(link_manifest("acme", customer, second))
    status = wait_link(space, "acme")
    assert status["accountId"] == second
    assert hang(acme, customer) == {(second, False)}
    assert metric(space, "link_runs_total", outcome="Succeeded") == 2


@pytest.mark.parametrize("policy", ["Orphan", "Retain"])
def test_a_deletion_gives_back_or_leaves(
    space: Space, acme: Company, customer: str, policy: str
) -> None:
    target = account(acme, "Acme Europe")
    space.apply(link_manifest("acme", customer, target, deletionPolicy=policy))
    wait_link(space, "acme")
    delete_link(space, "acme")
    if policy == "Orphan":
        assert hang(acme, customer) == {(None, True)}
        assert shown(acme, customer) == (None, None, None)
        told = "Unlinked"
    else:
        eventually(lambda: shown(acme, customer) == (target, target, "Salesforce"))
        eventually(lambda: "retained" not in space.status())
        assert hang(acme, customer) == {(target, False)}
        told = "Retained"
    eventually(lambda: space.events("acme")[-1][1] == told, told=lambda: space.events("acme"))
    space.request("later")
    expected = {(None, True)} if policy == "Orphan" else {(target, False)}
    assert hang(acme, customer) == expected


def test_of_two_the_older_wins_until_it_goes(space: Space, acme: Company, customer: str) -> None:
    old, new = account(acme, "Old"), account(acme, "New")
    space.apply(link_manifest("zzz-older", customer, old))
    wait_link(space, "zzz-older")
    time.sleep(1)  # creation is told in seconds
    space.apply(link_manifest("aaa-younger", customer, new))
    status = wait_link(space, "aaa-younger", ("False", "Conflict"))
    assert "zzz-older" in message(status, "Ready")
    assert condition(status, "Conflict") == ("True", "Conflict")
    assert condition(status, "Stalled")[0] == "True"
    assert hang(acme, customer) == {(old, False)}
    assert metric(space, "link_conflicts") == 1

    delete_link(space, "zzz-older")
    status = wait_link(space, "aaa-younger")
    assert "Conflict" not in {one["type"] for one in status["conditions"]}
    assert hang(acme, customer) == {(new, False)}
    eventually(lambda: metric(space, "link_conflicts") == 0)


def test_the_loser_of_a_conflict_goes_at_once(space: Space, acme: Company, customer: str) -> None:
    old, new = account(acme, "Old"), account(acme, "New")
    space.apply(link_manifest("older", customer, old))
    wait_link(space, "older")
    time.sleep(1)
    space.apply(link_manifest("younger", customer, new))
    wait_link(space, "younger", ("False", "Conflict"))
    acme.salesforce.faults.add("* *", status=503)
    delete_link(space, "younger")
    acme.salesforce.faults.clear()
    assert hang(acme, customer) == {(old, False)}
    assert state(space, "older") == READY


def test_it_is_told_who_says_otherwise(space: Space, acme: Company, customer: str) -> None:
    """The link decides; a cycle sees what Metronome says, and that it says so no longer."""
    by_link, by_metronome = account(acme, "By link"), account(acme, "By Metronome")
    acme.tenant.set_salesforce_account(customer, by_metronome)
    space.apply(link_manifest("acme", customer, by_link))
    wait_link(space, "acme")
    space.request("see Metronome")
    eventually(lambda: condition(link_status(space, "acme"), "Conflict")[0] == "True")
    assert by_metronome in message(link_status(space, "acme"), "Conflict")
    assert hang(acme, customer) == {(by_link, False)}
    eventually(lambda: "Conflict" in [reason for _, reason, _ in space.events("acme")])

    acme.tenant.set_salesforce_account(customer, by_link)
    space.request("see it again")
    eventually(lambda: condition(link_status(space, "acme"), "Conflict") == ("", ""))
    assert state(space, "acme") == READY


def test_links_in_a_running_cycle(space: Space) -> None:
    """Applied, edited and deleted between what it reads and what it writes: the link's word counts.

    The cycle has new rows to write for each of them.
    """
    with company(customers=8) as acme:
        space.start(acme)
        space.wait_for_run()
        edited, deleted, applied, *_ = orphans(acme)
        first, second = account(acme, "First"), account(acme, "Second")
        space.apply(
            link_manifest("edited", edited, first), link_manifest("deleted", deleted, first)
        )
        wait_link(space, "edited")
        wait_link(space, "deleted")
        acme.tenant.advance(timedelta(days=1))
        counts = {id_: len(rows_of(acme, id_)) for id_ in (edited, deleted, applied)}

        def meanwhile() -> None:
            space.apply(
                link_manifest("edited", edited, second), link_manifest("applied", applied, second)
            )
            wait_link(space, "edited", seconds=5)
            wait_link(space, "applied", seconds=5)
            delete_link(space, "deleted")
            assert hang(acme, edited) == hang(acme, applied) == {(second, False)}
            assert hang(acme, deleted) == {(None, True)}

        in_a_cycle(space, acme, meanwhile)
        for again in (False, True):
            if again:
                space.request("another one")
            for id_ in (edited, applied):
                assert hang(acme, id_) == {(second, False)}
                assert shown(acme, id_) == (second, second, "CustomerLink")
            assert hang(acme, deleted) == {(None, True)}
            assert shown(acme, deleted) == (None, None, None)
        for id_, count in counts.items():
            assert len(rows_of(acme, id_)) > count, "the cycle had something to write"


def test_what_a_person_changes_in_salesforce_is_noticed_once(space: Space, acme: Company) -> None:
    space.start(acme, linking={"watchSalesforceEvery": "1s"})
    space.wait_for_run()
    (customer, *_) = orphans(acme)
    target = account(acme, "By hand")
    edit(acme, customer, target)
    eventually(lambda: shown(acme, customer) == (target, target, "Salesforce"), 5)
    assert hang(acme, customer) == {(target, False)}
    time.sleep(2.5)
    assert metric(space, "noticed_edits_total") == 1
    edit(acme, customer, None)
    eventually(lambda: hang(acme, customer) == {(None, True)}, 5)
    eventually(lambda: metric(space, "noticed_edits_total") == 2)


def test_an_edit_that_is_overruled_is_told_once(space: Space, acme: Company) -> None:
    space.start(acme, linking={"watchSalesforceEvery": "1s"})
    space.wait_for_run()
    (customer, *_) = orphans(acme)
    mine, theirs = account(acme, "Mine"), account(acme, "Theirs")
    space.apply(link_manifest("europe", customer, mine))
    wait_link(space, "europe")
    edit(acme, customer, theirs)
    eventually(lambda: condition(link_status(space, "europe"), "Conflict")[0] == "True", 10)
    eventually(lambda: shown(acme, customer) == (mine, mine, "CustomerLink"))
    time.sleep(2.5)
    told = [sentence for _, reason, sentence in space.events() if reason == "Conflict"]
    assert len(told) == 1
    assert metric(space, "noticed_edits_total") == 1


def test_an_account_that_is_merged_or_deleted_is_followed(space: Space, acme: Company) -> None:
    space.start(acme, linking={"watchSalesforceEvery": "1s"})
    space.wait_for_run()
    (customer, *_) = orphans(acme)
    master, loser = account(acme, "Master"), account(acme, "Loser")
    space.apply(link_manifest("acme", customer, loser))
    wait_link(space, "acme")
    acme.org.merge_accounts(master, loser)
    eventually(lambda: link_status(space, "acme").get("accountId") == master, 10)
    assert hang(acme, customer) == {(master, False)}
    assert loser in message(link_status(space, "acme"), "Ready")
    eventually(lambda: "AccountMerged" in [reason for _, reason, _ in space.events()])

    acme.org.delete("Account", master)
    status = wait_link(space, "acme", ("False", "AccountNotFound"), 10)
    assert "accountId" not in status
    assert hang(acme, customer) == {(None, True)}
    eventually(lambda: "AccountDeleted" in [reason for _, reason, _ in space.events()])
    acme.org.undelete("Account", master)
    wait_link(space, "acme", seconds=40)
    assert hang(acme, customer) == {(master, False)}


def test_an_operator_killed_in_the_middle_goes_on(
    space: Space, acme: Company, customer: str, operator: Operator
) -> None:
    """Half of the rows are moved when it dies."""
    target = account(acme, "Acme Europe")
    acme.salesforce.faults.add("PATCH /services/data/*/composite/sobjects*", after=2, delay=60)
    acme.org.statistics.reset()
    space.apply(link_manifest("acme", customer, target))
    eventually(lambda: len(hang(acme, customer)) == 2)
    operator.kill()
    acme.salesforce.faults.clear()
    assert shown(acme, customer) == (None, None, None), "the record comes last"
    operator.start()
    wait_link(space, "acme")
    assert hang(acme, customer) == {(target, False)}
    assert shown(acme, customer) == (target, target, "CustomerLink")


def test_an_operator_killed_in_a_deletion_goes_on(
    space: Space, acme: Company, customer: str, operator: Operator
) -> None:
    target = account(acme, "Acme Europe")
    space.apply(link_manifest("acme", customer, target))
    wait_link(space, "acme")
    acme.salesforce.faults.add("PATCH /services/data/*/composite/sobjects*", after=2, delay=60)
    acme.org.statistics.reset()
    space.kubectl("delete", "clink", "acme", "--wait=false")
    eventually(lambda: len(hang(acme, customer)) == 2)
    operator.kill()
    acme.salesforce.faults.clear()
    operator.start()
    eventually(lambda: not get_link(space, "acme"))
    assert hang(acme, customer) == {(None, True)}
    assert shown(acme, customer) == (None, None, None)


def test_many_links_from_a_folder(space: Space, operator: Operator, tmp_path: Path) -> None:
    """A few API calls and, for each link, two patches and one Event.

    One call for each of them would be far too many, although they are more than one call can hold.
    """
    count, at_once = 100, 200
    with company(customers=count + 10) as large:
        space.start(large, objects=["Customer", "Invoice"], invoices={"statuses": ["Draft"]})
        space.wait_for_run()
        customers = orphans(large)[:count]
        assert len(customers) == count
        targets = {id_: account(large, f"Account {n}") for n, id_ in enumerate(customers)}
        for number, id_ in enumerate(customers):
            manifest = link_manifest(f"link-{number}", id_, targets[id_])
            (tmp_path / f"{number}.json").write_text(json.dumps(manifest))
        large.org.statistics.reset()
        requests = space.cluster.requests
        if requests is not None:
            requests.clear()
        space.kubectl("apply", "--validate=false", "-f", str(tmp_path))
        applied = time.monotonic()
        place = (GROUP, VERSION, space.namespace, LINKS)
        listed = space.cluster.custom.list_namespaced_custom_object

        def ready() -> bool:
            links = listed(*place)["items"]
            states = [condition(one.get("status", {}), "Ready") for one in links]
            return states == [READY] * count

        eventually(ready, 30, told=lambda: operator.log_text()[-3000:])
        assert time.monotonic() - applied < 20
        rows = sum(len(rows_of(large, id_)) for id_ in customers)
        assert rows + 2 * count > at_once
        calls = sum(large.org.statistics.calls.values())
        assert calls <= (rows + 2 * count) / at_once + 30
        runs = metric(space, "link_runs_total")
        assert runs <= 5
        for id_ in customers:
            assert shown(large, id_) == (targets[id_], targets[id_], "CustomerLink")
            assert hang(large, id_) <= {(targets[id_], False)}
        if requests is not None:
            patches = requests.calls(Match(verb="patch", resource=LINKS))
            mine = [one for one in patches if one.namespace == space.namespace]
            assert len(mine) <= 2 * count
        large.org.statistics.reset()
        space.kubectl("delete", "clink", "--all", "--wait=false")
        eventually(lambda: not listed(*place)["items"], 30, told=operator.log_text)
        assert {shown(large, id_)[0] for id_ in customers} == {None}
        calls = sum(large.org.statistics.calls.values())
        assert calls <= (rows + 2 * count) / at_once + 30


def test_the_command_shows_where_customers_of_a_cluster_hang(
    space: Space, acme: Company, customer: str
) -> None:
    """`links --sync` reads the MetronomeSync, its Secrets and its links as a person may."""
    target = account(acme, "Shown")
    space.apply(link_manifest("shown-link", customer, target))
    wait_link(space, "shown-link")

    result = run_cli(
        *("links", "--sync", "acme", "--namespace", space.namespace, "--output", "json"),
        *("--kubeconfig", str(space.cluster.kubeconfig)),
    )

    assert result.returncode == 0, result.stderr
    listed = {one["id"]: one for one in json.loads(result.stdout)["customers"]}
    assert listed.keys() == {row["Metronome_Customer_ID__c"] for row in acme.org.rows(CUSTOMER)}
    assert listed[customer]["account"] == {"id": target, "name": "Shown"}
    assert "shown-link" in json.dumps(listed[customer])
