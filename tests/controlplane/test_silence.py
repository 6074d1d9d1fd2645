"""The chart's operator while traffic from the API server is frozen and no connection is closed."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.controlplane.busystage import Stage, expect_one_run_each, staged
from tests.controlplane.launch import ControlPlane
from tests.controlplane.relay import Relay

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

RECOVERED_SECONDS = 30
FOUND_SECONDS = 100
"""A list finds within a minute what a frozen watch lost, but may first ask where nobody answers."""
SILENT_SECONDS = 85
"""After 70 s without a bookmark, kopf opens another watch."""
QUICK_SECONDS = 5
FROZEN_SECONDS = 12
"""Well within the 20 s in which a Lease has to be renewed."""


@pytest.fixture(name="relayed", scope="module")
def _relayed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, Relay]]:
    """The operator reaches the API server through a relay, and people reach it as always."""
    with ExitStack() as stack:
        relays = []

        def reach(plane: ControlPlane) -> str:
            relays.append(stack.enter_context(Relay(plane.url)))
            return relays[0].url

        stage = stack.enter_context(staged(tmp_path_factory.mktemp("frozen"), reach, links=8))
        yield stage, relays[0]
        relays[0].thaw()  # else the API server waits for these connections when it ends


def test_a_moment_without_traffic_costs_no_cycle(relayed: tuple[Stage, Relay]) -> None:
    """Nothing comes through for a while, then all that was held up does."""
    stage, relay = relayed
    before = {name: len(stage.runs(name)) for name in stage.companies}
    stage.begin_cycles("moment", 8)
    assert relay.freeze(new=True)
    time.sleep(FROZEN_SECONDS)
    relay.thaw()
    stage.react("moment", RECOVERED_SECONDS)

    expect_one_run_each(stage, before, "moment")


def test_frozen_connections_are_given_up(
    relayed: tuple[Stage, Relay], note: Callable[[str], None]
) -> None:
    """As by a firewall that forgot them: no byte comes any more, and nobody closes anything.

    New ones work. The Leases of the cycles are kept; what the watch does not tell is found by the
    list; and a new watch is opened as soon as bookmarks are overdue, without a restart.
    """
    stage, relay = relayed
    before = {name: len(stage.runs(name)) for name in stage.companies}
    stage.begin_cycles("frozen", 8)
    frozen = time.monotonic()
    assert relay.freeze(new=False)
    note(f"seconds to find: {stage.react('frozen', FOUND_SECONDS):.1f}")
    expect_one_run_each(stage, before, "frozen")

    # By then a watch that got no bookmark is given up, and so many quick answers are no luck.
    time.sleep(max(0.0, frozen + SILENT_SECONDS - time.monotonic()))
    took = [stage.notice(f"anew-{number}", QUICK_SECONDS) for number in range(3)]
    note(f"seconds to notice afterwards: {max(took):.1f}")
    assert stage.space.operator.probe("/healthz") == (200, "ok\n")
