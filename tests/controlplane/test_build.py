"""Where the tests' programs come from, and what a person is told when they are not there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import kubectl
from tests.controlplane import build
from tests.controlplane.launch import ControlPlane

ROOT = Path(__file__).resolve().parents[2]


def executable(path: Path) -> Path:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_assets_come_before_the_built_binary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    etcd = executable(tmp_path / "etcd")
    apiserver = executable(tmp_path / "kube-apiserver")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))

    assert build.Programs(etcd=(str(etcd),), apiserver=(str(apiserver),)) == build.find()


def test_assets_without_etcd_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executable(tmp_path / "kube-apiserver")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))

    with pytest.raises(build.ControlPlaneError, match="holds no executable etcd"):
        build.find()


def test_nothing_to_test_on_is_an_error_that_names_the_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.delenv("TEST_USE_KUBECONFIG", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    with pytest.raises(
        build.ControlPlaneError,
        match=r"make test-cluster.*KUBEBUILDER_ASSETS.*TEST_USE_KUBECONFIG",
    ):
        ControlPlane().__enter__()


def test_build_without_go_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(build.ControlPlaneError, match=r"needs Go 1\.\d+.*no go on PATH"):
        build.build()


def test_given_cluster_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = tmp_path / "config"
    given.write_text("{}")
    monkeypatch.setenv("TEST_USE_KUBECONFIG", "1")
    monkeypatch.setenv("KUBECONFIG", f"{given}:{tmp_path / 'other'}")

    with ControlPlane() as plane:
        assert given == plane.kubeconfig
        assert not plane.owned
        with pytest.raises(build.ControlPlaneError, match="must not do"):
            plane.kill_apiserver()
    assert given.exists()


def test_given_cluster_without_kubeconfig_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_USE_KUBECONFIG", "1")
    monkeypatch.delenv("KUBECONFIG", raising=False)

    with pytest.raises(build.ControlPlaneError, match="needs KUBECONFIG to name a file"):
        ControlPlane().__enter__()


def test_server_that_dies_at_start_is_reported_with_its_last_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("etcd", "kube-apiserver"):
        executable(tmp_path / name).write_text("#!/bin/sh\necho 'no room' >&2\nexit 3\n")
    monkeypatch.delenv("TEST_USE_KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    with pytest.raises(build.ControlPlaneError, match=r"etcd exited with 3; .*\nno room"):
        ControlPlane().__enter__()

    assert not list(tmp_path.glob("controlplane-*"))


def test_kubectl_of_the_tests_can_be_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = executable(tmp_path / "kubectl-mine")
    monkeypatch.setenv("TEST_KUBECTL", str(chosen))

    assert chosen == kubectl.kubectl_path()


def test_missing_kubectl_says_make_env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_KUBECTL", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")

    with pytest.raises(kubectl.ToolMissingError, match="make env"):
        kubectl.kubectl_path()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param("def test_it(): pass", 0, id="a test that passed"),
        pytest.param("def test_it(): assert not 1", 1, id="a test that failed"),
        pytest.param("", 5, id="no test"),
        pytest.param(
            "import pytest\ndef test_it(): pytest.skip()\ndef test_other(): pass",
            5,
            id="a skipped test",
        ),
        pytest.param(
            "import pytest\npytestmark = pytest.mark.skip\ndef test_it(): pass",
            5,
            id="all skipped",
        ),
    ],
)
def test_strict_run_passes_only_when_every_test_ran(tmp_path: Path, body: str, code: int) -> None:
    (tmp_path / "test_sample.py").write_text(body)
    command = [sys.executable, "-m", "pytest", "-p", "tests.controlplane.strict", "-c", "/dev/null"]

    run = subprocess.run(
        [*command, "-p", "no:cacheprovider", f"--rootdir={tmp_path}", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # as quick as can be
        capture_output=True,
        text=True,
        check=False,
    )

    assert code == run.returncode, run.stdout + run.stderr
