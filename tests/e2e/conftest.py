"""Fixtures of the end-to-end suite; see `suite`.

Each test that uses `cluster` runs on the embedded API in `make test` and on a real kube-apiserver
in `make test-cluster`. API and operator are shared by all of them; nothing else is.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from metronome_salesforce.sandbox.kubernetes import KubernetesSandbox
from tests.controlplane.launch import ControlPlane
from tests.e2e.suite import Cluster, Company, Operator, Space, company, made_up
from tests.e2e.suite_doctor import Ward, healthy
from tests.e2e.suite_faults import MAKERS, WITHOUT_PACKAGE, Gallery, right


@pytest.fixture(
    name="cluster",
    scope="session",
    params=["embedded", pytest.param("real", marks=pytest.mark.cluster)],
)
def _cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """A Kubernetes API with the CRDs."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "embedded":
        sandbox = KubernetesSandbox()
        with sandbox.serve() as served:
            kubeconfig = sandbox.write_kubeconfig(folder / "kubeconfig", served.url)
            yield from _with_crds(Cluster("embedded", kubeconfig, folder, sandbox.requests))
    else:
        with ControlPlane() as plane:
            yield from _with_crds(Cluster("real", plane.kubeconfig, folder))


def _with_crds(cluster: Cluster) -> Iterator[Cluster]:
    try:
        cluster.install_crds()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(name="operator", scope="session")
def _operator(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """The operator of all tests; it must end in order and must never have told a secret.

    Before that, it must have let go whatever tests have left. They do not wait for it.
    """
    with Operator(cluster, tmp_path_factory.mktemp("operator") / "log", quick=True) as operator:
        yield operator
        cluster.expect_left(operator.log_text)
        code = operator.stop()
    assert code == 0
    log = operator.log_text()
    assert [value for value in made_up if value in log] == []
    assert "unexpected error" not in log


@pytest.fixture(name="space")
def _space(cluster: Cluster, operator: Operator, request: pytest.FixtureRequest) -> Iterator[Space]:
    """A namespace of the test's own."""
    if "acme" in request.fixturenames:
        # Which is to end later: nobody should be calling it by then.
        request.getfixturevalue("acme")
    with Space.new(cluster, operator, wait=False) as space:
        yield space


@pytest.fixture(name="ward")
def _ward(tmp_path: Path) -> Iterator[Ward]:
    """A company whose MetronomeSync is in an embedded cluster, and all is in order."""
    with healthy(tmp_path) as ward:
        yield ward


@pytest.fixture(name="acme")
def _acme() -> Iterator[Company]:
    """A small company with the package in its org."""
    with company() as one:
        yield one


@pytest.fixture(name="gallery", scope="module")
def _gallery(cluster: Cluster, operator: Operator) -> Iterator[Gallery]:
    """Everything broken and one thing healthy, started at once."""
    with ExitStack() as stack:
        cases = [
            maker(stack.enter_context(company(package=maker not in WITHOUT_PACKAGE)))
            for maker in MAKERS
        ]
        healthy = stack.enter_context(company())
        space = stack.enter_context(Space.new(cluster, operator, wait=False))
        space.apply(
            *(document for case in cases for document in case.documents),
            *right("healthy", healthy).values(),
        )
        yield Gallery(space, {case.name: case for case in cases}, healthy)
