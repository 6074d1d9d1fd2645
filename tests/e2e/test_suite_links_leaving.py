"""CustomerLinks that go, or wait, while something stands in their way: on an API that fails.

The API is the embedded one of this module's own, with an operator that tests may kill.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from metronome_salesforce.sandbox.kubernetes import KubernetesSandbox, Match
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
    sync_manifest,
)
from tests.e2e.suite_links import (
    account,
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

WRITES = "PATCH /services/data/*/composite/sobjects*"
FINALIZERS = Match(verb="patch", resource="customerlinks", subresource="")
STATUSES = Match(verb="patch", resource="customerlinks", subresource="status")
SYNC_STATUSES = Match(verb="patch", resource="metronomesyncs", subresource="status")
RETAINED = ("Normal", "Retained")


@dataclass(frozen=True, slots=True)
class World:
    """An API that fails on demand, with an operator of its own."""

    sandbox: KubernetesSandbox
    cluster: Cluster
    operator: Operator


@pytest.fixture(name="world", scope="module")
def _world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("leaving")
    sandbox = KubernetesSandbox()
    with sandbox.serve() as served:
        kubeconfig = sandbox.write_kubeconfig(folder / "kubeconfig", served.url)
        cluster = Cluster("embedded", kubeconfig, folder, sandbox.requests)
        try:
            cluster.install_crds()
            with Operator(cluster, folder / "log") as operator:
                yield World(sandbox, cluster, operator)
                assert operator.stop() == 0
                assert "unexpected error" not in operator.log_text()
        finally:
            cluster.close()


@pytest.fixture(name="space")
def _space(world: World) -> Iterator[Space]:
    with Space.new(world.cluster, world.operator) as space:
        yield space
        world.sandbox.faults.clear()


@pytest.fixture(name="acme")
def _acme() -> Iterator[Company]:
    """A company that ends after the namespace; nothing in its way by then."""
    with company() as one:
        yield one
        one.salesforce.faults.clear()


@pytest.fixture(name="customer")
def _customer(acme: Company, space: Space) -> str:
    """The company synced once; one of its customers, who is an orphan with many rows."""
    space.start(acme)
    space.wait_for_run()
    return orphans(acme)[0]


def alias_of(one: Company, customer: str) -> Json:
    """The customer by the first of its ingest aliases."""
    (found,) = [each for each in one.tenant.customers() if each["id"] == customer]
    return {"ingestAlias": found["ingest_aliases"][0]}


def leave(space: Space, name: str) -> None:
    """Delete a link without waiting for its end."""
    space.kubectl("delete", "clink", name, "--wait=false")


def test_a_finalizer_that_cannot_be_taken_off_is_tried_now_and_then(
    world: World, space: Space, acme: Company, customer: str
) -> None:
    """Each try costs a request; what has not happened is not told, and not forgotten."""
    target = account(acme, "Acme Europe")
    space.apply(link_manifest("europe", customer, target, deletionPolicy="Retain"))
    wait_link(space, "europe")
    fault = world.sandbox.faults.add(FINALIZERS, status=500)
    runs = metric(space, "link_runs_total")
    world.sandbox.requests.clear()
    leave(space, "europe")
    time.sleep(6)
    assert 1 <= fault.hits <= 4
    assert metric(space, "link_runs_total") - runs <= 2
    assert len(world.sandbox.requests.calls(SYNC_STATUSES)) <= 2
    assert RETAINED not in [one[:2] for one in space.events("europe")]
    assert space.status()["retained"] == [customer]
    assert hang(acme, customer) == {(target, False)}

    world.sandbox.faults.clear()
    eventually(lambda: not get_link(space, "europe"), 20)
    eventually(lambda: "retained" not in space.status())
    assert [one[:2] for one in space.events("europe")].count(RETAINED) == 1
    assert hang(acme, customer) == {(target, False)}


def test_a_suspended_sync_does_not_keep_a_link_that_leaves_its_rows(
    world: World, space: Space, acme: Company, customer: str
) -> None:
    """Also when its finalizer could not be taken off at first."""
    target = account(acme, "Acme Europe")
    space.apply(link_manifest("europe", customer, target, deletionPolicy="Retain"))
    wait_link(space, "europe")
    space.patch({"suspend": True})
    space.wait(lambda status: condition(status, "Reconciling")[1] == "Suspended")
    world.sandbox.faults.add(FINALIZERS, status=500, times=2)
    leave(space, "europe")
    eventually(lambda: not get_link(space, "europe"), 15)
    assert hang(acme, customer) == {(target, False)}


def test_a_link_that_only_others_hold_is_left_to_them(
    world: World, space: Space, acme: Company, customer: str
) -> None:
    space.patch({"suspend": True})
    space.wait(lambda status: condition(status, "Reconciling")[1] == "Suspended")
    manifest = link_manifest("theirs", customer, account(acme, "Acme Europe"))
    manifest["metadata"]["finalizers"] = ["example.com/other"]
    space.apply(manifest)
    wait_link(space, "theirs", ("False", "SyncSuspended"))
    leave(space, "theirs")
    eventually(lambda: "deletionTimestamp" in get_link(space, "theirs")["metadata"])
    space.patch({"suspend": False})
    space.wait_for_run(2)
    time.sleep(2)
    runs = metric(space, "link_runs_total")
    world.sandbox.requests.clear()
    time.sleep(3)
    assert metric(space, "link_runs_total") == runs
    assert len(world.sandbox.requests.calls(Match(resource="leases"))) == 0
    assert hang(acme, customer) == {(None, True)}
    space.kubectl("patch", "clink", "theirs", "--type=json", "-p", '[{"op":"remove","path":"/metadata/finalizers"}]')  # fmt: skip  # noqa: E501 -- one command
    eventually(lambda: not get_link(space, "theirs"))


def test_an_alias_that_was_cut_short_knows_whose_rows_it_moved(
    space: Space, acme: Company, customer: str
) -> None:
    """Deleted before it has ever succeeded: the finalizer waits until all rows are back."""
    target = account(acme, "Acme Europe")
    acme.salesforce.faults.add(WRITES, after=2, status=503)
    space.apply(link_manifest("europe", alias_of(acme, customer), target))
    eventually(lambda: state(space, "europe")[1] == "SalesforceUnavailable", 60)
    assert hang(acme, customer) == {(target, False), (None, True)}, "cut short in its midst"
    assert link_status(space, "europe")["customerId"] == customer
    acme.salesforce.faults.add("* *", status=503)
    leave(space, "europe")
    eventually(lambda: "finalizer waits" in why(space, "europe"), 60)
    acme.salesforce.faults.clear()
    eventually(lambda: not get_link(space, "europe"), 60)
    assert hang(acme, customer) == {(None, True)}
    assert shown(acme, customer) == (None, None, None)


def test_an_alias_whose_operator_was_killed_knows_whose_rows_it_moved(
    world: World, space: Space, acme: Company, customer: str
) -> None:
    """Deleted while the operator is away."""
    acme.salesforce.faults.add(WRITES, after=2, delay=60)
    space.apply(link_manifest("europe", alias_of(acme, customer), account(acme, "Acme Europe")))
    eventually(lambda: len(hang(acme, customer)) == 2)
    world.operator.kill()
    acme.salesforce.faults.clear()
    leave(space, "europe")
    world.operator.start()
    eventually(lambda: not get_link(space, "europe"), 60)
    assert hang(acme, customer) == {(None, True)}


def test_nothing_is_moved_before_it_is_known_whose_rows(
    world: World, space: Space, acme: Company, customer: str
) -> None:
    """A status that cannot be written holds a link by ingest alias up, and no longer than that."""
    target = account(acme, "Acme Europe")
    world.sandbox.faults.add(STATUSES, status=500)
    acme.org.statistics.reset()
    space.apply(link_manifest("europe", alias_of(acme, customer), target))
    eventually(lambda: metric(space, "link_runs_total") >= 1)
    time.sleep(1)
    assert acme.org.statistics.total_rows == 0
    world.sandbox.faults.clear()
    wait_link(space, "europe")
    assert hang(acme, customer) == {(target, False)}


def test_the_loser_of_a_conflict_goes_on_to_say_so(
    space: Space, acme: Company, customer: str
) -> None:
    """While the MetronomeSync is suspended, and when it is resumed."""
    winner, loser = account(acme, "Winner"), account(acme, "Loser")
    space.apply(link_manifest("winner", customer, winner))
    wait_link(space, "winner")
    time.sleep(1)  # the older one wins, by whole seconds
    space.apply(link_manifest("loser", customer, loser))
    wait_link(space, "loser", ("False", "Conflict"))
    space.patch({"suspend": True})
    space.wait(lambda status: condition(status, "Reconciling")[1] == "Suspended")
    time.sleep(1)
    assert state(space, "loser") == ("False", "Conflict")
    space.patch({"suspend": False})
    space.wait_for_run(2)
    time.sleep(1)
    assert state(space, "loser") == ("False", "Conflict")
    leave(space, "winner")
    wait_link(space, "loser")
    assert hang(acme, customer) == {(loser, False)}


def test_a_first_cycle_that_a_person_has_to_mend_is_no_mere_wait(
    space: Space, acme: Company
) -> None:
    """The link points to the MetronomeSync, where the reason stands."""
    customer = acme.tenant.customers()[1]["id"]
    target = account(acme, "Acme Europe")
    wrong = {**acme.credentials, "clientSecret": "wrong-client-secret"}
    space.apply(
        *references(acme),
        secret_manifest("acme-salesforce", wrong),
        sync_manifest("acme", acme.spec()),
        link_manifest("europe", customer, target),
    )
    space.wait(lambda status: condition(status, "Stalled")[0] == "True")
    eventually(lambda: condition(link_status(space, "europe"), "Stalled")[0] == "True", 10)
    assert state(space, "europe") == ("False", "WaitingForFirstCycle")
    sentence = message(link_status(space, "europe"), "Stalled")
    assert "SalesforceAuthenticationFailed" in sentence
    assert sentence == why(space, "europe")
    space.apply(*references(acme))
    space.request("mended")
    wait_link(space, "europe", seconds=60)
    assert condition(link_status(space, "europe"), "Stalled")[0] == "False"


def test_a_cycle_that_cannot_even_start_is_said_at_once(space: Space, acme: Company) -> None:
    space.apply(
        link_manifest("europe", acme.tenant.customers()[1]["id"], account(acme, "Acme Europe")),
        *references(acme)[1:],
        sync_manifest("acme", acme.spec()),
    )
    wait_link(space, "europe", ("False", "WaitingForFirstCycle"))
    eventually(lambda: "SecretNotFound" in why(space, "europe"), 10)
    assert condition(link_status(space, "europe"), "Stalled")[0] == "True"


def test_a_cycle_tells_that_it_stores_account_ids(space: Space, acme: Company) -> None:
    """No link is there, and none is needed."""
    space.start(acme, linking={"writeBack": True})
    space.wait_for_run()
    space.wait(lambda status: condition(status, "WriteBack") == ("True", "Stored"), seconds=10)
    space.patch({"linking": {"writeBack": False}})
    space.request("without")
    space.wait(lambda status: condition(status, "WriteBack") == ("", ""), seconds=10)


def test_a_cycle_tells_that_it_cannot_store_account_ids(space: Space, acme: Company) -> None:
    """The key may only read; the first cycle finds that out, and the link is followed."""
    customer = acme.tenant.customers()[1]["id"]
    target = account(acme, "Acme Europe")
    space.apply(link_manifest("europe", customer, target))
    space.start(acme, linking={"writeBack": True})
    space.wait_for_run()
    space.wait(lambda status: condition(status, "WriteBack")[0] == "False", seconds=10)
    wait_link(space, "europe")
    assert hang(acme, customer) == {(target, False)}


def test_removing_it_leaves_the_data_where_it_is(
    space: Space, acme: Company, customer: str
) -> None:
    """The README's order: MetronomeSyncs, then their links, which go at once."""
    target = account(acme, "Acme Europe")
    space.apply(link_manifest("europe", customer, target))
    wait_link(space, "europe")
    acme.salesforce.faults.add("* *", status=503)
    space.kubectl("delete", "msync", "--all", "--timeout=10s")
    space.kubectl("delete", "clink", "--all", "--timeout=10s")
    assert hang(acme, customer) == {(target, False)}
    assert shown(acme, customer) == (target, target, "CustomerLink")


def test_removing_it_with_the_links_first_takes_the_data_back(
    space: Space, acme: Company, customer: str
) -> None:
    space.apply(link_manifest("europe", customer, account(acme, "Acme Europe")))
    wait_link(space, "europe")
    space.kubectl("delete", "clink", "--all", "--timeout=20s")
    space.kubectl("delete", "msync", "--all", "--timeout=10s")
    assert hang(acme, customer) == {(None, True)}
    assert shown(acme, customer) == (None, None, None)


def test_a_finalizer_is_cleared_by_hand_when_the_operator_is_gone(
    world: World, space: Space, acme: Company, customer: str
) -> None:
    target = account(acme, "Acme Europe")
    space.apply(link_manifest("europe", customer, target))
    wait_link(space, "europe")
    world.operator.kill()
    try:
        leave(space, "europe")
        time.sleep(1)
        assert get_link(space, "europe"), "nobody lets it go"
        cleared = '{"metadata":{"finalizers":null}}'
        space.kubectl("patch", "clink", "europe", "--type=merge", "-p", cleared)
        assert not get_link(space, "europe")
        assert hang(acme, customer) == {(target, False)}
    finally:
        world.operator.start()
