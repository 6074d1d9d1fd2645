"""The chart's operator while the API server is restarted or killed, with work under way."""

import time
from collections.abc import Callable, Iterator

import pytest

from tests.controlplane.busystage import ASKED, LINKED, Stage, expect_one_run_each, staged
from tests.controlplane.launch import ControlPlane
from tests.e2e.suite import content, undisturbed

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

RECOVERED_SECONDS = 30
OUTAGE_SECONDS = 50
"""A Lease and more, and long enough for all that tries again to have become slow at it."""


@pytest.fixture(name="stage", scope="module")
def _stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("outages"), lambda _: None, links=70) as stage:
        yield stage


def restart(plane: ControlPlane) -> None:
    plane.restart_apiserver()


def kill(plane: ControlPlane) -> None:
    """And start it at once, as a kubelet does."""
    plane.kill_apiserver()
    plane.restart_apiserver()


@pytest.mark.parametrize("disturb", [restart, kill])
def test_a_short_outage_costs_no_cycle(
    stage: Stage, disturb: Callable[[ControlPlane], None], note: Callable[[str], None]
) -> None:
    """The Lease is renewed in time, and the cycles go on: nobody outside the logs sees a thing."""
    token = disturb.__name__
    before = {name: len(stage.runs(name)) for name in stage.companies}
    with stage.linking():
        stage.begin_cycles(token, 8)
        disturb(stage.plane)
        note(f"seconds to recover: {stage.react(token, RECOVERED_SECONDS):.1f}")
    stage.expect_linked(RECOVERED_SECONDS)

    expect_one_run_each(stage, before, token)
    assert stage.space.operator.probe("/healthz") == (200, "ok\n")


def test_a_long_outage_stops_cycles_and_runs_them_again(
    stage: Stage, note: Callable[[str], None]
) -> None:
    """Longer than a Lease, which cannot be renewed: another operator might have taken it."""
    before = {name: len(stage.runs(name)) for name in stage.companies}
    token = "long"
    with stage.linking():
        stage.begin_cycles(token, 60)
        stage.plane.kill_apiserver()
        time.sleep(OUTAGE_SECONDS)
        assert stage.space.operator.probe("/healthz")[0] == 200, "a restart would not help"
        stage.plane.restart_apiserver()
        note(f"seconds to recover: {stage.react(token, RECOVERED_SECONDS):.1f}")
    stage.expect_linked(RECOVERED_SECONDS)

    for name, one in stage.companies.items():
        lost = [("Requested", "Failed"), ("Retry", "Succeeded")] if name != ASKED else []
        stage.space.wait(
            lambda status: status["lastRun"]["outcome"] == "Succeeded" and "progress" not in status,
            name,
            90,
        )
        new = stage.runs(name)[before[name] :]
        ended = [(run["trigger"], run["outcome"]) for run in new]
        assert ended == (lost or [("Requested", "Succeeded")])
        if name != LINKED:
            assert content(one.org) == undisturbed(one)
    stage.expect_each_run_once()
