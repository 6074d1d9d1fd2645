"""CustomerLinks that cannot be applied, or not now: each says why, and recovers by itself.

On both Kubernetes APIs; nothing is half moved, and no finalizer hangs for ever. Where nothing but
one customer is concerned, tests share a company. It takes half a minute until an org that is down
is given up, so that this begins with the first test and is looked at by the last ones.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.e2e.suite import (
    Cluster,
    Company,
    Json,
    Operator,
    Space,
    company,
    condition,
    eventually,
    message,
    references,
    secret_manifest,
)
from tests.e2e.suite_links import (
    READY,
    account,
    delete_link,
    edit,
    get_link,
    hang,
    link_manifest,
    link_status,
    metric,
    orphans,
    shown,
    state,
    wait_link,
    why,
)

NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(name="customer")
def _customer(space: Space, acme: Company) -> str:
    """The company synced once; one of its customers, who is an orphan with many rows."""
    space.start(acme)
    space.wait_for_run()
    return orphans(acme)[0]


@dataclass(slots=True)
class Shared:
    """A company that was synced once; each test takes a customer who is an orphan with rows."""

    space: Space
    one: Company
    _free: list[str] = field(default_factory=list)

    def customer(self) -> str:
        """One that no test has had."""
        return self._free.pop()


@pytest.fixture(name="shared", scope="module")
def _shared(cluster: Cluster, operator: Operator) -> Iterator[Shared]:
    """For tests that touch neither the MetronomeSync nor what all customers need."""
    with company(customers=10) as one, Space.new(cluster, operator, wait=False) as space:
        space.start(one)
        space.wait_for_run()
        free = [id_ for id_ in orphans(one) if hang(one, id_) == {(None, True)}]
        yield Shared(space, one, free)


@pytest.fixture(name="nobody_s", scope="module")
def _nobody_s(shared: Shared) -> str:
    """A customer whom no link is ever applied to."""
    return shared.customer()


@pytest.fixture(name="linked", scope="module")
def _linked(shared: Shared) -> Space:
    """The space of a link that is ready, named europe."""
    target = account(shared.one, "Acme Europe")
    shared.space.apply(link_manifest("europe", shared.customer(), target))
    wait_link(shared.space, "europe")
    return shared.space


@dataclass(slots=True)
class Outage:
    """Two companies whose orgs are down: one with a link that was deleted, one with a watch."""

    space: Space
    linked: Company
    watched: Company
    customer: str
    target: str
    edited: str = ""
    by_hand: str = ""

    def complaints(self) -> list[str]:
        """The lines of the log about what cannot be watched."""
        lines = self.space.operator.log_text().splitlines()
        mine = [one for one in lines if f'"{self.space.namespace}/watched"' in one]
        return [one for one in mine if "cannot be seen" in one]

    def end(self) -> None:
        """Once it is told that they are down: they are up again, and somebody edits a record."""
        if self.edited:
            return
        eventually(lambda: "finalizer waits" in why(self.space, "europe"), 60)
        assert condition(link_status(self.space, "europe"), "Ready")[0] == "False"
        assert hang(self.linked, self.customer) == {(self.target, False)}
        eventually(self.complaints, 60)
        for one in (self.linked, self.watched):
            one.salesforce.faults.clear()
        (self.edited, *_) = orphans(self.watched)
        self.by_hand = account(self.watched, "By hand")
        edit(self.watched, self.edited, self.by_hand)


@pytest.fixture(name="outage", scope="module")
def _outage(cluster: Cluster, operator: Operator) -> Iterator[Outage]:
    """Both synced before they go down, and the link of one ready before it is deleted."""
    with ExitStack() as stack:
        linked, watched = (stack.enter_context(company()) for _ in range(2))
        space = stack.enter_context(Space.new(cluster, operator, wait=False))
        space.start(linked, "linked")
        space.start(watched, "watched", linking={"watchSalesforceEvery": "1s"})
        space.wait_for_run(name="linked")
        space.wait_for_run(name="watched")
        (customer, *_) = orphans(linked)
        target = account(linked, "Acme Europe")
        space.apply(link_manifest("europe", customer, target, "linked"))
        wait_link(space, "europe")
        for one in (linked, watched):
            one.salesforce.faults.add("* *", status=503)
        space.kubectl("delete", "clink", "europe", "--wait=false")
        yield Outage(space, linked, watched, customer, target)


# The outage is only to begin now.
@pytest.mark.usefixtures("outage")
def test_a_link_before_its_sync(space: Space, acme: Company) -> None:
    """It says so, waits, and is applied by the first cycle."""
    (customer, *_) = [one["id"] for one in acme.tenant.customers()][1:]
    target = account(acme, "Acme Europe")
    space.apply(link_manifest("early", customer, target))
    status = wait_link(space, "early", ("False", "SyncNotFound"))
    assert "acme" in message(status, "Ready")
    assert condition(status, "Stalled")[0] == "True"
    assert "finalizers" not in get_link(space, "early")["metadata"]

    space.start(acme)
    wait_link(space, "early", seconds=40)
    assert hang(acme, customer) == {(target, False)}
    assert shown(acme, customer) == (target, target, "CustomerLink")


def test_a_sync_in_another_namespace_is_none(shared: Shared) -> None:
    space, acme = shared.space, shared.one
    with Space.new(space.cluster, space.operator, wait=False) as other:
        other.apply(link_manifest("stray", NOBODY, account(acme, "Acme Europe")))
        status = wait_link(other, "stray", ("False", "SyncNotFound"))
        assert other.namespace in message(status, "Ready")
        delete_link(other, "stray")


def test_a_sync_that_is_deleted_lets_its_links_go(
    space: Space, acme: Company, customer: str
) -> None:
    """Rows stay where they are; nobody is left to move them."""
    target = account(acme, "Acme Europe")
    space.apply(link_manifest("europe", customer, target))
    wait_link(space, "europe")
    space.kubectl("delete", "msync", "acme", "--timeout=10s")
    wait_link(space, "europe", ("False", "SyncNotFound"))
    delete_link(space, "europe")
    assert hang(acme, customer) == {(target, False)}


def test_a_suspended_sync_applies_nothing(space: Space, acme: Company, customer: str) -> None:
    """Neither a link nor a deletion, until it is resumed."""
    first, second = account(acme, "First"), account(acme, "Second")
    space.apply(link_manifest("linked", customer, first))
    wait_link(space, "linked")
    space.patch({"suspend": True})
    space.wait(lambda status: condition(status, "Reconciling")[1] == "Suspended")
    assert state(space, "linked") == READY, "what was done is done"
    space.apply(link_manifest("linked", customer, second))
    wait_link(space, "linked", ("False", "SyncSuspended"))
    space.kubectl("delete", "clink", "linked", "--wait=false")
    eventually(lambda: "finalizer" in why(space, "linked"))
    time.sleep(1)
    assert hang(acme, customer) == {(first, False)}

    space.patch({"suspend": False})
    eventually(lambda: not get_link(space, "linked"))
    eventually(lambda: hang(acme, customer) == {(None, True)})
    space.wait_for_run(2)
    assert hang(acme, customer) == {(None, True)}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"customer": NOBODY}, "CustomerNotFound"),
        ({"customer": {"ingestAlias": "nobody"}}, "CustomerNotFound"),
        ({"account": "001Hs000000zzzzIAA"}, "AccountNotFound"),
        ({"account": {"externalId": {"field": "Nothing__c", "value": "x"}}}, None),
    ],
)
def test_what_is_not_there_is_said(
    shared: Shared, nobody_s: str, changes: Json, reason: str | None
) -> None:
    space, acme = shared.space, shared.one
    wanted: dict[str, Any] = {"customer": nobody_s, "account": account(acme, "Acme"), **changes}
    space.apply(link_manifest("wrong", wanted["customer"], wanted["account"]))
    status = wait_link(space, "wrong", ("False", reason or "ExternalIdFieldInvalid"))
    assert condition(status, "Stalled")[0] == "True"
    assert message(status, "Stalled") == message(status, "Ready")
    assert hang(acme, nobody_s) == {(None, True)}
    delete_link(space, "wrong")


def test_an_archived_customer_is_not_linked_anew(shared: Shared) -> None:
    space, acme, archived = shared.space, shared.one, shared.customer()
    acme.tenant.archive_customer(archived)
    space.request("see it archived")
    space.apply(link_manifest("late", archived, account(acme, "Acme")))
    wait_link(space, "late", ("False", "CustomerArchived"))
    assert shown(acme, archived) == (None, None, None)


def test_an_account_that_appears_mends_the_link(shared: Shared) -> None:
    """Nobody touches the link; its former place is kept until then."""
    space, acme, customer = shared.space, shared.one, shared.customer()
    first, second = account(acme, "First"), account(acme, "Second")
    space.apply(link_manifest("moved", customer, first))
    wait_link(space, "moved")
    acme.org.delete("Account", second)
    space.apply(link_manifest("moved", customer, second))
    status = wait_link(space, "moved", ("False", "AccountNotFound"))
    assert status["accountId"] == first
    assert hang(acme, customer) == {(first, False)}
    acme.org.undelete("Account", second)
    wait_link(space, "moved", seconds=40)
    assert hang(acme, customer) == {(second, False)}


def test_a_customer_that_is_new_comes_with_the_next_cycle(shared: Shared) -> None:
    space, acme = shared.space, shared.one
    target = account(acme, "Acme Europe")
    new = acme.tenant.add_customer(name="Newcomer", ingest_aliases=["new"], custom_fields={})
    space.apply(link_manifest("new", {"ingestAlias": "new"}, target))
    wait_link(space, "new", ("False", "CustomerNotSynced"))
    space.request("bring it")
    status = wait_link(space, "new")
    assert status["customerId"] == new
    assert shown(acme, new) == (target, target, "CustomerLink")


def test_an_outage_is_told(outage: Outage) -> None:
    """By the link, whose finalizer waits, and in the log; then it is over."""
    outage.end()


def test_retain_goes_at_once_although_salesforce_is_down(
    space: Space, acme: Company, customer: str
) -> None:
    """And is not forgotten: the customer stays on its Account when Salesforce is back."""
    target = account(acme, "Acme Europe")
    space.apply(link_manifest("europe", customer, target, deletionPolicy="Retain"))
    wait_link(space, "europe")
    acme.salesforce.faults.add("* *", status=503)
    delete_link(space, "europe")
    assert space.status()["retained"] == [customer]
    acme.salesforce.faults.clear()
    space.request("a cycle meanwhile")
    assert hang(acme, customer) == {(target, False)}
    eventually(lambda: shown(acme, customer) == (target, target, "Salesforce"), 60)
    eventually(lambda: "retained" not in space.status(), 60)


def test_a_revoked_sign_in_is_said_and_mended_by_the_secret(
    space: Space, acme: Company, customer: str
) -> None:
    """The Secret is looked at again and again; nobody touches the link."""
    target = account(acme, "Acme Europe")
    wrong = {**acme.credentials, "clientSecret": "wrong-client-secret"}
    space.apply(secret_manifest("acme-salesforce", wrong))
    space.apply(link_manifest("europe", customer, target))
    status = wait_link(space, "europe", ("False", "SalesforceAuthenticationFailed"))
    assert condition(status, "Stalled")[0] == "True"
    space.apply(*references(acme))
    wait_link(space, "europe", seconds=60)
    assert hang(acme, customer) == {(target, False)}


def test_rows_that_are_refused_are_named_and_tried_again(shared: Shared) -> None:
    space, acme, customer = shared.space, shared.one, shared.customer()
    target = account(acme, "Acme Europe")
    acme.org.add_validation_rule(
        "Metronome_Invoice__c",
        "Not_There",
        lambda row: row["Account__c"] == target,
        "Ask accounting first",
    )
    space.apply(link_manifest("refused", customer, target))
    status = wait_link(space, "refused", ("False", "RowsRejected"))
    assert "Ask accounting first" in message(status, "Ready")
    acme.org.remove_validation_rule("Metronome_Invoice__c", "Not_There")
    wait_link(space, "refused", seconds=40)
    assert hang(acme, customer) == {(target, False)}


@pytest.mark.parametrize(
    "change",
    [
        {"customer": {"id": NOBODY}},
        {"syncRef": {"name": "other"}},
        {"account": {"id": "001", "externalId": None}},
        {"account": {"externalId": {"field": "A__c", "value": "x"}}},
        {"customer": {"ingestAlias": "both"}},
    ],
)
def test_the_schema_refuses(linked: Space, change: Json) -> None:
    """What cannot be changed, and what is no choice."""
    before = link_status(linked, "europe")
    assert condition(before, "Ready") == READY
    result = linked.cluster.try_kubectl(
        *("-n", linked.namespace, "patch", "clink", "europe", "--type=merge", "--patch-file"),
        "/dev/stdin",
        given={"spec": change},
    )
    assert result.returncode != 0
    assert "Invalid" in result.stderr or "invalid" in result.stderr
    assert link_status(linked, "europe") == before


def test_a_dry_run_moves_nothing(space: Space, acme: Company, customer: str) -> None:
    target = account(acme, "Acme Europe")
    space.patch({"dryRun": True})
    space.wait_for_run(2, outcome="Planned")
    space.apply(link_manifest("europe", customer, target))
    wait_link(space, "europe", ("False", "SyncDryRun"))
    assert hang(acme, customer) == {(None, True)}
    space.patch({"dryRun": False})
    wait_link(space, "europe", seconds=40)
    assert hang(acme, customer) == {(target, False)}


def test_deleted_while_salesforce_is_down(outage: Outage) -> None:
    """The finalizer waits and says so; then the rows go back."""
    outage.end()
    eventually(lambda: not get_link(outage.space, "europe"), 60)
    assert hang(outage.linked, outage.customer) == {(None, True)}


def test_a_watch_that_fails_is_told_once_and_goes_on(outage: Outage) -> None:
    outage.end()
    moved = {(outage.by_hand, False)}
    eventually(lambda: hang(outage.watched, outage.edited) == moved, 60)
    assert len(outage.complaints()) == 1
    eventually(lambda: metric(outage.space, "noticed_edits_total") == 1)
