"""What a kubelet would do, as far as tests need it: run a pod's containers as processes.

The control plane of the tests has no nodes. What a pod is made of is still taken from its manifest:
the arguments, the environment, and the ServiceAccount, whose token is the only access that the
process gets. Image, volumes and security context are not: they need a container engine.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from tests.e2e.suite import Cluster, Operator, eventually

POD_NAME = "operator-0"
_SECONDS = 120

Json = dict[str, Any]


def environment_of(container: Json, **more: str) -> dict[str, str]:
    """A container's environment and nothing of this process's but where programs are.

    References are filled in as the kubelet does, with an API server on loopback.
    """
    values = {"KUBERNETES_SERVICE_HOST": "127.0.0.1"}
    found: dict[str, str] = {}
    for one in container.get("env", ()):
        if "valueFrom" in one:
            assert one["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name", one
            found[one["name"]] = POD_NAME
            continue
        text = one["value"]
        for name, value in values.items():
            text = text.replace(f"$({name})", value)
        found[one["name"]] = text
    return {"PATH": os.environ["PATH"], **found, **more}


def command_of(container: Json) -> list[str]:
    """What the container runs, with this Python for the image's: its entry point is the program."""
    arguments: list[str] = container.get("args", [])
    if "command" not in container:
        return [sys.executable, "-m", "metronome_salesforce", *arguments]
    python, *words = container["command"]
    assert python == "python"
    return [sys.executable, *words, *arguments]


def kubeconfig_of(
    cluster: Cluster, namespace: str, account: str, path: Path, server: str | None = None
) -> Path:
    """A kubeconfig for the same server that knows one ServiceAccount only.

    `server` is another address of it.
    """
    token = cluster.kubectl("-n", namespace, "create", "token", account).strip()
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    if server is not None:
        config["clusters"][0]["cluster"]["server"] = server
    config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
    assert len(config["users"]) == 1
    path.touch(0o600)
    path.write_text(yaml.safe_dump(config))
    return path


class Pod(Operator):
    """The operator as its pod runs it; `pod` is the spec, `server` the API server's address."""

    def __init__(
        self,
        cluster: Cluster,
        folder: Path,
        namespace: str,
        pod: Json,
        server: str | None = None,
    ) -> None:
        super().__init__(cluster, folder / "operator.log")
        (self._container,) = pod["containers"]
        account = pod["serviceAccountName"]
        path = folder / "kubeconfig-pod"
        self._kubeconfig = kubeconfig_of(cluster, namespace, account, path, server)
        self._home = folder

    def start(self) -> None:
        """Start it and wait until it is ready."""
        environment = environment_of(
            self._container, HOME=str(self._home), KUBECONFIG=str(self._kubeconfig)
        )
        with self.log.open("ab") as stream:
            self._process = subprocess.Popen(
                [*command_of(self._container), "--host", "127.0.0.1", "--port", str(self.port)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        eventually(lambda: self.pid and self.probe("/readyz")[0] == 200, told=self.log_text)


def run_to_end(
    cluster: Cluster,
    folder: Path,
    namespace: str,
    pod: Json,
    replaced: Mapping[str, str] = MappingProxyType({}),
) -> list[subprocess.CompletedProcess[str]]:
    """Run a pod's containers one after the other, whatever comes of them.

    `replaced` are whole arguments, such as an address that only a cluster's network knows, by what
    stands in for them here.
    """
    account = pod["serviceAccountName"]
    kubeconfig = kubeconfig_of(cluster, namespace, account, folder / "kubeconfig-hook")
    return [
        subprocess.run(
            [replaced.get(word, word) for word in command_of(container)],
            env=environment_of(container, HOME=str(folder), KUBECONFIG=str(kubeconfig)),
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
        for container in pod["containers"]
    ]
