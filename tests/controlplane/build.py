"""Find kube-apiserver and etcd for the tests, or build them once with Go.

The Kubernetes project publishes no package of its servers in a registry that every developer
reaches, but it publishes its source as a Go module. Building it takes minutes, so the binary goes
to the user's cache folder, under a name made from everything that went into it.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.kubectl import cache_home

MODULE = Path(__file__).resolve().parent
SOURCES = ("go.mod", "go.sum", "main.go")
BINARY = "controlplane"


class ControlPlaneError(RuntimeError):
    """There is no control plane to test on; the message is a sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Programs:
    """The command lines, without flags, that start the two servers."""

    etcd: tuple[str, ...]
    apiserver: tuple[str, ...]


def find() -> Programs:
    """Return the programs: those in `KUBEBUILDER_ASSETS` if it is set, else those built before.

    Raises ControlPlaneError when they are not there; it never builds, for that takes minutes.
    """
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets:
        return _in_assets(Path(assets))
    binary = built_binary()
    if not os.access(binary, os.X_OK):
        raise ControlPlaneError(
            f"There is no kube-apiserver to test on ({binary} is missing): run `make test-cluster`,"
            " which builds it with Go, or set KUBEBUILDER_ASSETS to a folder with kube-apiserver"
            " and etcd, or set TEST_USE_KUBECONFIG=1 to use the cluster in KUBECONFIG."
        )
    return Programs(etcd=(str(binary), "etcd"), apiserver=(str(binary), "kube-apiserver"))


def build() -> Path:
    """Build the binary into the cache folder, unless it is there, and return its path.

    Raises ControlPlaneError when Go is missing or the build fails.
    """
    binary = built_binary()
    if os.access(binary, os.X_OK):
        return binary
    go = shutil.which("go")
    if go is None:
        needed = _pinned(r"^go (\S+)$")
        raise ControlPlaneError(
            f"Building kube-apiserver needs Go {needed} or newer, and there is no go on PATH:"
            " install it, or set KUBEBUILDER_ASSETS to a folder with kube-apiserver and etcd, or"
            " set TEST_USE_KUBECONFIG=1 to use the cluster in KUBECONFIG."
        )
    binary.parent.mkdir(parents=True, exist_ok=True)
    version = _pinned(r"^\s*k8s\.io/kubernetes (v\S+)$")
    # Without the version the server would call itself v0.0.0-master, which clients parse.
    flags = f"-s -w -X k8s.io/component-base/version.gitVersion={version}"
    with tempfile.TemporaryDirectory(dir=binary.parent, prefix=".building-") as folder:
        partial = Path(folder) / BINARY
        command = [go, "build", "-trimpath", "-ldflags", flags, "-o", str(partial), "."]
        environment = os.environ | {"CGO_ENABLED": "0"}
        if subprocess.run(command, cwd=MODULE, env=environment, check=False).returncode != 0:
            raise ControlPlaneError("Go could not build kube-apiserver; its reason stands above.")
        partial.replace(binary)
    return binary


def built_binary() -> Path:
    """Return where the built binary is or would be."""
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update((MODULE / name).read_bytes())
    return cache_home() / f"controlplane-{digest.hexdigest()[:16]}" / BINARY


def _in_assets(folder: Path) -> Programs:
    for name in ("etcd", "kube-apiserver"):
        if not os.access(folder / name, os.X_OK):
            raise ControlPlaneError(f"KUBEBUILDER_ASSETS={folder} holds no executable {name}.")
    return Programs(etcd=(str(folder / "etcd"),), apiserver=(str(folder / "kube-apiserver"),))


def _pinned(pattern: str) -> str:
    found = re.search(pattern, (MODULE / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise ControlPlaneError(f"go.mod has no line like {pattern}.")
    return found[1]


def main() -> int:
    """Make sure that there is something to test on, building it where nothing else is named."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    started = time.monotonic()
    try:
        if os.environ.get("TEST_USE_KUBECONFIG") == "1":
            sys.stdout.write("control plane: the cluster in KUBECONFIG\n")
            return 0
        if not os.environ.get("KUBEBUILDER_ASSETS"):
            sys.stdout.write("control plane: building kube-apiserver (minutes, the first time)\n")
            sys.stdout.flush()
            build()
        sys.stdout.write(f"control plane: {find().apiserver[0]}\n")
    except ControlPlaneError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"control plane: ready after {time.monotonic() - started:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
