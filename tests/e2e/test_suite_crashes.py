"""Cycles cut short: kill -9 of the child and of the operator, SIGTERM, deletion in mid-cycle.

Where the cycle is run again, the org ends as if nothing had been.

The tenant is served slowly enough to be caught while it is read, and the org while it is written.
The comparison is with a second org that one undisturbed cycle has filled.
"""

import os
import signal

import pytest

from tests.e2e.suite import (
    KEYS,
    Company,
    Operator,
    Space,
    condition,
    content,
    eventually,
    message,
    parent_of,
    rows_written,
    undisturbed,
)

READING, WRITING = "while it reads", "while it writes"


def in_the_middle(acme: Company, when: str) -> None:
    """Wait until a cycle is where it is to be killed, after which nothing is slow any more."""
    if when == READING:
        eventually(lambda: "invoices" in str(acme.metronome.requests))
        assert not rows_written(acme.org)
    else:
        eventually(lambda: rows_written(acme.org))
        assert acme.org.count("Metronome_Usage__c") == 0, "it is not done"


def slow_down(acme: Company, when: str) -> None:
    if when == READING:
        # Two answers come as always.
        acme.metronome.faults.add("GET /v1/customers/*/invoices", after=2, delay=60)
    else:
        acme.salesforce.faults.add("* */composite/sobjects*", after=4, delay=60)


def speed_up(acme: Company) -> None:
    acme.metronome.faults.clear()
    acme.salesforce.faults.clear()


def test_a_killed_child_is_run_again(space: Space, acme: Company, operator: Operator) -> None:
    slow_down(acme, WRITING)
    space.start(acme)
    in_the_middle(acme, WRITING)
    child = operator.only_child()
    speed_up(acme)
    os.kill(child, signal.SIGKILL)

    status = space.wait_for_run(outcome="Failed")
    assert status["lastRun"]["reason"] == "CycleCrashed"
    assert "was killed by SIGKILL" in message(status, "Ready")
    assert condition(status, "Reconciling") == ("True", "Retrying")
    # It would come by itself in a minute.
    status = space.request("do not wait")
    assert status["lastRun"]["outcome"] == "Succeeded"
    assert content(acme.org) == undisturbed(acme)


@pytest.mark.parametrize("when", [READING, WRITING])
def test_a_killed_operator_goes_on_when_it_is_back(
    space: Space, acme: Company, operator: Operator, when: str
) -> None:
    """The child ends with it, and the new operator runs the cycle that was never finished."""
    slow_down(acme, when)
    space.start(acme)
    in_the_middle(acme, when)
    child = operator.only_child()
    operator.kill()
    eventually(lambda: parent_of(child) < 0, 10)
    written = sum(acme.org.count(sobject) for sobject in KEYS)
    assert "lastRun" not in space.status()
    speed_up(acme)
    operator.start()

    status = space.wait_for_run()
    assert status["lastRun"]["trigger"] == "Created"
    assert content(acme.org) == undisturbed(acme)
    assert (written > 0) == (when == WRITING)
    inserted = sum(count for (_, what), count in rows_written(acme.org).items() if what == "insert")
    assert inserted == sum(acme.org.count(sobject) for sobject in KEYS), "each row only once"


def test_an_operator_that_is_stopped_says_so_and_goes_on(
    space: Space, acme: Company, operator: Operator
) -> None:
    """SIGTERM, as the kubelet sends it: the child is stopped in order."""
    slow_down(acme, READING)
    space.start(acme)
    in_the_middle(acme, READING)
    child = operator.only_child()
    assert operator.stop() == 0
    assert parent_of(child) < 0
    status = space.status()
    assert condition(status, "Reconciling") == ("True", "Interrupted")
    assert "progress" not in status
    [record] = acme.org.rows("Metronome_Sync_Run__c")
    assert record["Outcome__c"] == "Failed"
    speed_up(acme)
    operator.start()

    space.wait_for_run()
    assert content(acme.org) == undisturbed(acme)


def test_deleting_it_during_a_run_stops_the_child(
    space: Space, acme: Company, operator: Operator
) -> None:
    """No finalizer hangs, nothing more is written, and the operator is as well as before."""
    acme.slow_down(30)
    space.start(acme)
    space.wait(lambda status: status.get("progress", {}).get("stage", "").startswith("fetch"))
    child = operator.only_child()
    assert "finalizers" not in space.get()["metadata"]
    space.kubectl("delete", "msync", "acme", "--timeout=10s")

    eventually(lambda: parent_of(child) < 0, 10)
    assert not rows_written(acme.org)
    [record] = acme.org.rows("Metronome_Sync_Run__c")
    assert record["Outcome__c"] == "Failed", "no other run comes to close it"
    assert operator.probe("/healthz")[0] == 200
    acme.metronome.faults.clear()
    space.start(acme)
    status = space.wait_for_run()
    assert status["lastRun"]["trigger"] == "Created"
    eventually(lambda: f'namespace="{space.namespace}"' in operator.probe("/metrics")[1])
    space.kubectl("delete", "msync", "acme", "--timeout=10s")
    eventually(lambda: f'namespace="{space.namespace}"' not in operator.probe("/metrics")[1])
