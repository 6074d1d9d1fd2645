"""A Helm release on a real API server, and what the cluster's other parts would do for it.

There is no kubelet and no Job controller: pods and Jobs of hooks are found here, run as processes,
and reported as ended, so that Helm goes on as in a cluster.
"""

import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from tests.chart.render import CHART
from tests.controlplane.pods import run_to_end
from tests.e2e.suite import Cluster, eventually
from tests.helm import helm_path

NAMESPACE, NAME = "metronome-salesforce", "metronome"
OPERATOR = "metronome-metronome-salesforce-operator"
_SECONDS = 120

Json = dict[str, Any]
Ran = list[subprocess.CompletedProcess[str]]


@dataclass(slots=True)
class Release:
    """One release; `kubeconfig` is the person's who runs Helm, by default one with all rights."""

    cluster: Cluster
    major: int
    folder: Path
    kubeconfig: Path | None = None
    namespace: str = NAMESPACE
    name: str = NAME
    _files: int = field(default=0, init=False)

    def try_helm(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run Helm in the release's namespace, whatever comes of it."""
        config = self.kubeconfig or self.cluster.kubeconfig
        return subprocess.run(
            [helm_path(self.major), "--namespace", self.namespace, *arguments],
            env={"HOME": str(self.folder), "KUBECONFIG": str(config), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )

    def helm(self, *arguments: str | Path) -> str:
        """What Helm printed; it must have succeeded."""
        done = self.try_helm(*arguments)
        assert done.returncode == 0, f"helm {arguments}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def values(self, values: Json) -> tuple[str, Path]:
        """The arguments for these values."""
        self._files += 1
        path = self.folder / f"values-{self._files}.yaml"
        path.write_text(yaml.safe_dump(values))
        return "--values", path

    def install(self, values: Json, chart: Path = CHART) -> str:
        """As a person installs it."""
        return self.helm("install", self.name, chart, "--create-namespace", *self.values(values))

    def upgrade(self, values: Json, chart: Path = CHART) -> str:
        """As a person upgrades it."""
        return self.helm("upgrade", self.name, chart, *self.values(values))

    def get(self, kind: str, name: str) -> Json:
        """A resource of the release's namespace, or of the cluster."""
        found: Json = json.loads(
            self.cluster.kubectl("-n", self.namespace, "get", kind, name, "-o", "json")
        )
        return found

    def pod(self) -> Json:
        """The spec of the operator's pod as the API server has it."""
        spec: Json = self.get("deployment", OPERATOR)["spec"]["template"]["spec"]
        return spec

    def test(self, replaced: Mapping[str, str]) -> tuple[subprocess.CompletedProcess[str], Ran]:
        """`helm test --logs`, and what its pod printed.

        The log that Helm gets is empty, as there is no kubelet that it could come from; but the API
        server judges what Helm asks for.
        """

        def run() -> Ran:
            name = f"{OPERATOR}-test"
            pod = self.get("pod", name)
            ran = run_to_end(self.cluster, self.folder, self.namespace, pod["spec"], replaced)
            phase = "Failed" if any(one.returncode for one in ran) else "Succeeded"
            self._report("pod", name, {"phase": phase})
            return ran

        return self._beside(f"pod/{OPERATOR}-test", run, "test", self.name, "--logs")

    def uninstall(
        self, replaced: Mapping[str, str] = MappingProxyType({})
    ) -> tuple[subprocess.CompletedProcess[str], Ran]:
        """`helm uninstall` where a hook runs first, and what that printed."""
        name = f"{OPERATOR}-uninstall"

        def run() -> Ran:
            pod = self.get("job", name)["spec"]["template"]["spec"]
            ran = run_to_end(self.cluster, self.folder, self.namespace, pod, replaced)
            assert [one.returncode for one in ran] == [0], ran
            now = self.cluster.kubectl("get", "job", name, "-n", self.namespace, "-o", _CREATED)
            condition = {"status": "True", "lastTransitionTime": now, "lastProbeTime": now}
            done = [{"type": kind, **condition} for kind in ("SuccessCriteriaMet", "Complete")]
            times = {"startTime": now, "completionTime": now}
            self._report("job", name, {"conditions": done, "succeeded": 1, **times})
            return ran

        return self._beside(f"job/{name}", run, "uninstall", self.name)

    def _report(self, kind: str, name: str, status: Json) -> None:
        patch = ("--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))
        self.cluster.kubectl("-n", self.namespace, "patch", kind, name, *patch)

    def _beside(
        self, waited: str, run: Callable[[], Ran], *arguments: str
    ) -> tuple[subprocess.CompletedProcess[str], Ran]:
        """Run Helm, and `run` as soon as the resource that Helm then waits for is there."""
        done: list[subprocess.CompletedProcess[str]] = []
        before = self._uid(waited)
        thread = threading.Thread(target=lambda: done.append(self.try_helm(*arguments)))
        thread.start()
        try:
            eventually(lambda: self._uid(waited) not in {before, ""}, told=lambda: done)
            ran = run()
        finally:
            thread.join()
        return done[0], ran

    def _uid(self, resource: str) -> str:
        got = self.cluster.try_kubectl(
            *("-n", self.namespace, "get", resource, "--ignore-not-found"),
            *("-o", "jsonpath={.metadata.uid}"),
        )
        return got.stdout


_CREATED = "jsonpath={.metadata.creationTimestamp}"


def previous_chart(folder: Path) -> Path:
    """A chart as an earlier version might have been: CRDs without one field and one column."""
    chart = folder / "metronome-salesforce-operator"
    shutil.copytree(CHART, chart)
    about = yaml.safe_load((chart / "Chart.yaml").read_text("utf-8"))
    about |= {"version": "0.0.1", "appVersion": "0.0.1"}
    (chart / "Chart.yaml").write_text(yaml.safe_dump(about))
    path = chart / "files/crds/metronomesyncs.yaml"
    crd = yaml.safe_load(path.read_text("utf-8"))
    (version,) = crd["spec"]["versions"]
    columns = version["additionalPrinterColumns"]
    version["additionalPrinterColumns"] = [one for one in columns if one["name"] != "Orphaned"]
    del version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["dryRun"]
    path.write_text(yaml.safe_dump(crd, sort_keys=False))
    return chart
