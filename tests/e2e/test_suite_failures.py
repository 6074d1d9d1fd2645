"""What can be wrong outside the operator, all at once: reason, sentence, recovery, and no secret.

Each fault is mended as soon as it has told its reason. Recovery is by itself where a Secret or
ConfigMap has changed, and at once where the spec has; where only the org has changed, a person
asks for a cycle rather than wait for minutes.
"""

import pytest

from tests.e2e.suite import KEYS, condition, eventually, made_up
from tests.e2e.suite_faults import NAMES, SLOW, Gallery, expect_told


@pytest.mark.parametrize("name", [name for name in NAMES if name != SLOW])
def test_each_fault_has_its_reason_and_says_what_to_do(gallery: Gallery, name: str) -> None:
    expect_told(gallery, name)
    gallery.mend(name)


def test_the_others_are_served_meanwhile(gallery: Gallery) -> None:
    status = gallery.space.wait_for_run(name="healthy")
    assert condition(status, "Ready") == ("True", "Succeeded")


def test_probes_answer_while_everything_is_broken(gallery: Gallery) -> None:
    operator = gallery.space.operator
    assert operator.probe("/healthz") == (200, "ok\n")
    assert operator.probe("/readyz") == (200, "ok\n")


@pytest.mark.parametrize("name", [name for name in NAMES if name != SLOW])
def test_it_recovers_once_it_is_mended(gallery: Gallery, name: str) -> None:
    """By itself where a Secret or ConfigMap has changed, which is looked at again and again."""
    expect_recovered(gallery, name)


def expect_recovered(gallery: Gallery, name: str) -> None:
    """Check what a case tells once it is mended, and that everything has come."""
    space, case = gallery.space, gallery.cases[name]
    gallery.see(name)
    gallery.mend(name)
    status = space.wait(lambda status: condition(status, "Ready")[0] == "True", name)

    assert condition(status, "Stalled")[0] == "False"
    assert "failedAttempts" not in status or status["failedAttempts"] == 0
    assert all(case.one.org.count(sobject) for sobject in KEYS)
    by_edit = "SpecChanged" if name == "host-not-allowed" else "Retry"
    # What is tried again soon may be quicker than the request.
    expected = {"Requested", "Retry"} if case.asks else {by_edit}
    assert expected & {run["trigger"] for run in status["history"]}
    eventually(lambda: space.events(name)[-1][1] == "Recovered")


def test_a_host_that_cannot_be_reached_is_tried_again(gallery: Gallery) -> None:
    """Unlike the other faults it may pass by itself, so that nobody is told to act."""
    expect_told(gallery, SLOW)
    gallery.mend(SLOW)
    healthy = gallery.space.status("healthy")["history"][-1]["finishedAt"]
    assert healthy < gallery.space.status(SLOW)["history"][-1]["finishedAt"]
    expect_recovered(gallery, SLOW)


def test_no_secret_is_to_be_seen_anywhere(gallery: Gallery) -> None:
    """Neither right ones nor wrong ones, after all that went wrong."""
    space = gallery.space
    shown = {
        "log": space.operator.log_text(),
        "metrics": space.operator.probe("/metrics")[1],
        "resources": space.kubectl("get", "msync", "-o", "yaml"),
        "events": space.kubectl("get", "events", "-o", "json"),
        "leases": space.kubectl("get", "leases", "-o", "json"),
        "description": space.kubectl("describe", "msync"),
    }
    assert all(shown.values())
    assert len(made_up) > 2 * len(NAMES), "there were secrets to find"
    tokens = gallery.healthy.session_tokens()
    assert tokens
    for where, text in shown.items():
        assert [value for value in [*made_up, *tokens] if value in text] == [], where
