"""CustomerLinks and others who act: a second operator, a lost Lease, Metronome, the watch."""

import json
import time
from pathlib import Path

import pytest

from tests.e2e.suite import (
    Company,
    Operator,
    Space,
    condition,
    eventually,
    message,
)
from tests.e2e.suite_links import (
    PLACED,
    account,
    edit,
    get_link,
    hang,
    link_manifest,
    metric,
    orphans,
    rows_of,
    shown,
    wait_link,
)


@pytest.fixture(name="customer")
def _customer(space: Space, acme: Company) -> str:
    """The company synced once; one of its customers, who is an orphan with many rows."""
    space.start(acme)
    space.wait_for_run()
    customer = orphans(acme)[0]
    acme.org.statistics.reset()
    return customer


def test_two_operators_move_each_row_once(
    space: Space, acme: Company, customer: str, tmp_path: Path
) -> None:
    """Both know the link; the Lease lets one of them act, and the other finds it done."""
    target, again = account(acme, "Acme Europe"), account(acme, "Acme Asia")
    with Operator(space.cluster, tmp_path / "log", "second-operator") as second:
        eventually(lambda: f'namespace="{space.namespace}"' in second.probe("/metrics")[1])
        for wanted in (target, again):
            acme.org.statistics.reset()
            space.apply(link_manifest("europe", customer, wanted))
            wait_link(space, "europe")
            time.sleep(2)
            assert hang(acme, customer) == {(wanted, False)}
            moved = [acme.org.statistics.rows[sobject, "update"] for sobject in PLACED]
            assert sum(moved) == len(rows_of(acme, customer))
        space.kubectl("delete", "clink", "europe", "--timeout=20s")
        assert hang(acme, customer) == {(None, True)}
        assert "unexpected error" not in second.log_text()
        assert second.stop() == 0


def test_a_lease_that_is_lost_stops_the_run(space: Space, acme: Company, customer: str) -> None:
    """What is left is done once the Lease can be had again."""
    target = account(acme, "Acme Europe")
    acme.salesforce.faults.add("PATCH /services/data/*/composite/sobjects*", delay=3, times=2)
    acme.org.statistics.reset()
    space.apply(link_manifest("europe", customer, target))
    eventually(lambda: get_link(space, "europe")["metadata"].get("finalizers"))
    thief = {"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 1}}
    lease = ("patch", "lease", "metronome-sync-acme", "--type=merge", "-p", json.dumps(thief))
    eventually(lambda: space.kubectl("get", "lease", "-o", "name"))
    space.kubectl(*lease)
    eventually(lambda: metric(space, "link_runs_total", outcome="Stopped") == 1, 20)
    assert shown(acme, customer) == (None, None, None)
    wait_link(space, "europe", seconds=40)
    assert hang(acme, customer) == {(target, False)}


def test_account_ids_are_stored_in_metronome_once_the_key_may(
    space: Space, acme: Company, customer: str
) -> None:
    """A key that may only read holds up no link, and is told by a condition of its own."""
    target = account(acme, "Acme Europe")
    space.patch({"linking": {"writeBack": True}})
    space.wait_for_run(2)
    space.apply(link_manifest("europe", customer, target))
    wait_link(space, "europe")
    assert hang(acme, customer) == {(target, False)}
    status = space.wait(
        lambda status: condition(status, "WriteBack") == ("False", "MetronomeReadOnly")
    )
    assert "may not change customers" in message(status, "WriteBack")
    assert condition(status, "Ready") == ("True", "Succeeded")

    acme.metronome.api_keys[acme.api_key] = "write"
    space.wait(lambda status: condition(status, "WriteBack") == ("True", "Stored"), seconds=40)

    def stored() -> str | None:
        (one,) = [one for one in acme.tenant.customers() if one["id"] == customer]
        value: str | None = one["customer_config"]["salesforce_account_id"]
        return value

    assert stored() == target
    space.kubectl("delete", "clink", "europe", "--timeout=20s")
    assert stored() is None
    assert hang(acme, customer) == {(None, True)}
    space.patch({"linking": {"writeBack": False}})
    space.wait_for_run(3)
    edit(acme, customer, target)


def test_the_watch_waits_for_the_first_cycle_and_rests_while_suspended(
    space: Space, acme: Company
) -> None:
    """A query that has to fail is not sent, nor one whose answer may not be followed."""
    acme.slow_down(2)
    space.start(acme, linking={"watchSalesforceEvery": "1s"})
    space.wait(lambda status: status.get("progress", {}).get("stage", "").startswith("fetch"))
    time.sleep(2)
    assert metric(space, "api_requests_total", system="salesforce") == 0
    acme.metronome.faults.clear()
    space.wait_for_run()
    asked = metric(space, "api_requests_total", system="salesforce")
    eventually(lambda: metric(space, "api_requests_total", system="salesforce") > asked + 1)

    space.patch({"suspend": True})
    space.wait(lambda status: condition(status, "Reconciling")[1] == "Suspended")
    (customer, *_) = orphans(acme)
    target = account(acme, "By hand")
    edit(acme, customer, target)
    time.sleep(1.5)
    asked = metric(space, "api_requests_total", system="salesforce")
    time.sleep(2)
    assert metric(space, "api_requests_total", system="salesforce") == asked
    assert hang(acme, customer) == {(None, True)}
    space.patch({"suspend": False})
    eventually(lambda: hang(acme, customer) == {(target, False)}, 30)
