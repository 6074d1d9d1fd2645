"""Once a fault is mended, its MetronomeSync recovers, and nothing has told a secret on the way.

By itself where a Secret or ConfigMap has changed, at once where its spec has; where only the org
has changed, a person asks for a cycle rather than wait for minutes.
"""

import pytest

from tests.e2e.suite import KEYS, condition, eventually, made_up
from tests.e2e.suite_faults import NAMES, SLOW, Gallery, expect_told


def test_a_host_that_cannot_be_reached_is_tried_again(gallery: Gallery) -> None:
    """Unlike the other faults it may pass by itself, so that nobody is told to act."""
    expect_told(gallery, SLOW)
    gallery.mend(SLOW)
    healthy = gallery.space.status("healthy")["history"][-1]["finishedAt"]
    assert healthy < gallery.space.status(SLOW)["history"][-1]["finishedAt"]


@pytest.mark.parametrize("name", NAMES)
def test_it_recovers_once_it_is_mended(gallery: Gallery, name: str) -> None:
    """By itself where a Secret or ConfigMap has changed, which is looked at every 30 seconds."""
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
