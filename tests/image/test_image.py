"""The image works as the chart runs it: another user, read-only, no shell, no emulators.

`make test-image` runs this; there is no container engine, see `building`.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from metronome_salesforce.sandbox.kubernetes import KubernetesSandbox
from tests.e2e.suite import (
    ROOT,
    SETTINGS,
    Cluster,
    Operator,
    Space,
    company,
    eventually,
)
from tests.image.building import TMP, Image, build, stages

pytestmark = [pytest.mark.image, pytest.mark.timeout(300)]

USER = "65532"


@pytest.fixture(name="image", scope="module")
def _image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("image")
    return Image.of(build(folder), folder / "root")


def run(image: Image, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program of the image to its end."""
    return subprocess.run(
        image.command(*arguments),
        env=image.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def python(image: Image, code: str) -> subprocess.CompletedProcess[str]:
    """Run a piece of Python in it."""
    return run(image, "/opt/venv/bin/python", "-c", code)


def test_it_holds_the_operator_and_no_more(image: Image) -> None:
    """The version is the project's; neither pip nor the emulators are there, nor a shell."""
    version = yaml.safe_load((ROOT / "charts/metronome-salesforce-operator/Chart.yaml").read_text())
    told = run(image, image.entry_point(), "--version")
    listed = python(
        image,
        "import importlib.metadata as m; print(*sorted(d.name for d in m.distributions()))",
    )

    assert told.stdout.split()[-1] == version["appVersion"], told.stderr
    assert "pip" not in listed.stdout.split()
    assert "metronome-salesforce-operator" in listed.stdout.split()
    assert python(image, "import metronome_salesforce.sandbox").returncode == 1
    for shell in ("/bin/sh", "/usr/bin/env"):
        assert not (image.root / shell[1:]).exists()


def test_only_tmp_can_be_written_to(image: Image) -> None:
    code = """
import os, tempfile
def may(path):
    try:
        open(os.path.join(path, "x"), "w").close()
    except OSError as error:
        return error.strerror
    return "yes"
print(os.getuid(), os.getgid(), tempfile.gettempdir(), sep="|")
print(may("/tmp"), may("/opt/venv"), may("/"), sep="|")
"""
    done = python(image, code)

    who, where = (line.split("|") for line in done.stdout.splitlines())
    assert where == ["yes", "Read-only file system", "Read-only file system"], done.stderr
    assert who == [*([USER, USER] if os.geteuid() == 0 else ["0", "0"]), TMP]


def test_traces_need_no_other_image(image: Image) -> None:
    """What they need is in it, and loads; the collector is not called before there is a span."""
    code = """
import os, sys
from metronome_salesforce import tracing
os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9"
before = "opentelemetry" in sys.modules
tracing.start(os.environ)
print(before, "opentelemetry.sdk.trace" in sys.modules)
tracing.stop()
"""
    done = python(image, code)

    assert (done.stdout.split(), done.stderr) == (["False", "True"], "")


class Contained(Operator):
    """The operator in the image."""

    def __init__(self, cluster: Cluster, folder: Path, image: Image) -> None:
        super().__init__(cluster, folder / "log")
        self._image = image

    def start(self) -> None:
        """Start it as the entry point, and wait until it is ready."""
        image = self._image
        config = image.root / "config" / "kubeconfig"
        config.write_text(self._cluster.kubeconfig.read_text())
        config.chmod(0o644)
        arguments = ("operator", "--host", "127.0.0.1", "--port", str(self.port))
        with self.log.open("ab") as stream:
            self._process = subprocess.Popen(
                image.command(image.entry_point(), *arguments),
                env=image.environment() | SETTINGS | {"KUBECONFIG": "/config/kubeconfig"},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        eventually(lambda: self.pid and self.probe("/readyz")[0] == 200, told=self.log_text)


@contextmanager
def cluster_of(folder: Path) -> Iterator[Cluster]:
    """The embedded Kubernetes API with the CRDs."""
    sandbox = KubernetesSandbox()
    with sandbox.serve() as served:
        kubeconfig = sandbox.write_kubeconfig(folder / "kubeconfig", served.url)
        cluster = Cluster("embedded", kubeconfig, folder, sandbox.requests)
        try:
            cluster.install_crds()
            yield cluster
        finally:
            cluster.close()


def test_the_operator_runs_a_cycle_in_it(image: Image, tmp_path: Path) -> None:
    """The child process, its plan in /tmp, certificates, time zones: all of it is in the image."""
    with (
        company() as acme,
        cluster_of(tmp_path) as cluster,
        Contained(cluster, tmp_path, image) as operator,
    ):
        if os.geteuid() == 0:
            status = Path(f"/proc/{operator.pid}/status").read_text()
            assert f"Uid:\t{USER}\t{USER}\t{USER}\t{USER}" in status
        cluster.kubectl("create", "namespace", "image")
        space = Space(cluster, "image", operator)
        space.start(acme, timeZone="Europe/Berlin")
        space.wait_for_run()
        assert operator.stop() == 0
    for line in operator.log_text().splitlines():
        json.loads(line)


def test_labels_and_process() -> None:
    """What a registry and a cluster's policy look at."""
    last = stages()[-1]

    assert "org.opencontainers.image.version" in last.settings["LABEL"]
    assert last.settings["USER"] == f"{USER}:{USER}"
    assert "HEALTHCHECK" not in last.settings
