"""Two operators never act at once, although there is no election: each sync has a Lease.

The chart runs one, and stops it before it starts the next. This is what happens if there are two
all the same: a second release, a Deployment that somebody scaled, a node that was cut off.
"""

import itertools
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.controlplane.launch import ControlPlane
from tests.controlplane.pods import Pod
from tests.controlplane.release import NAMESPACE, Release
from tests.controlplane.test_helm import LOOPBACK, accounts_of, link
from tests.e2e.suite import REQUESTED_AT, Cluster, Space, company, content, undisturbed

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

ROUNDS = 6


def test_two_operators_never_act_at_once(tmp_path: Path) -> None:
    """Both are asked for the same cycles; each runs once, by one, and never two at a time."""
    with (
        ControlPlane() as plane,
        closing(Cluster("real", plane.kubeconfig, tmp_path)) as cluster,
        company() as one,
    ):
        release = Release(cluster, 4, tmp_path)
        release.install(LOOPBACK)
        cluster.wait_for_crds()
        first, second = pods(release)
        with first, second:
            one.slow_down(0.2)
            space = Space(cluster, NAMESPACE, first)
            space.start(one)
            space.wait_for_run()
            for number in range(1, ROUNDS):
                # Whoever holds the Lease, both see the request at the same moment.
                space.request(f"round-{number}")
            runs = space.status()["history"]
            expected = undisturbed(one)
            assert expected == content(one.org)
            customer = link(space, one)
            (account,) = accounts_of(one, customer)
            space.annotate(REQUESTED_AT, "last")
            space.wait(lambda status: status.get("lastHandledRequest") == "last")
            assert accounts_of(one, customer) == {account}
            assert (first.stop(), second.stop()) == (0, 0)

    assert [run["outcome"] for run in runs] == ["Succeeded"] * ROUNDS
    spans = sorted((time_of(run["startedAt"]), time_of(run["finishedAt"])) for run in runs)
    for (_, ended), (began, _) in itertools.pairwise(spans):
        assert ended <= began
    # Each cycle was one operator's: the other logged none of that id.
    logs = [operator.log_text() for operator in (first, second)]
    for run in runs:
        assert sum(f'"run": "{run["id"]}"' in log for log in logs) == 1


def pods(release: Release) -> tuple[Pod, Pod]:
    """The Deployment's pod twice, as two pods with a name each."""
    found = []
    for name in ("operator-a", "operator-b"):
        pod = release.pod()
        for variable in pod["containers"][0]["env"]:
            if variable["name"] == "POD_NAME":
                del variable["valueFrom"]
                variable["value"] = name
        folder = release.folder / name
        folder.mkdir()
        found.append(Pod(release.cluster, folder, NAMESPACE, pod))
    return found[0], found[1]


def time_of(text: Any) -> datetime:
    """A time of a status."""
    return datetime.fromisoformat(text)
