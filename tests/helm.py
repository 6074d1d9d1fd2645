"""The real Helm 3 and Helm 4, and Kubernetes' OpenAPI, for the tests of the chart.

Helm 3 comes in the wheel that kubectl comes in. Helm 4 is in a newer one of the same kind, and the
OpenAPI definitions of each minor version of Kubernetes are in a wheel that validates with them;
both are pinned by hash, and `make env` runs this file once. So the tests of the chart need neither
a download site nor a network.
"""

import argparse
import functools
import json
import os
import platform
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from tests import kubectl
from tests.kubectl import ToolMissingError, cache_home

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements" / "chart.txt"
MAJORS = (3, 4)
# The oldest that the chart takes, the newest there is, and some between.
KUBERNETES = ("1.29", "1.31", "1.33", "1.35", "1.36", "1.37")
_SCHEMAS = "kubernetes_validate/kubernetes-json-schema/v{}.0-local-strict/_definitions.json"


def helm_path(major: int) -> Path:
    """Return the path of an executable helm 3 or helm 4.

    `TEST_HELM` and `TEST_HELM4` override those from the wheels. Raises ToolMissingError when it is
    not there.
    """
    if major == MAJORS[0]:
        return kubectl.helm_path()
    chosen = os.environ.get("TEST_HELM4")
    path = Path(chosen) if chosen else _folder() / "helm"
    if os.access(path, os.X_OK):
        return path
    if chosen:
        raise ToolMissingError(f"TEST_HELM4={chosen} is not an executable file.")
    if not _runs_here():
        raise ToolMissingError(kubectl.unsupported())
    raise ToolMissingError(f"helm 4 is not installed for the tests: run `make env` ({path}).")


@functools.cache
def definitions(minor: str) -> dict[str, Any]:
    """The OpenAPI definitions of a minor version (`1.29`), which refuse unknown fields.

    Raises ToolMissingError when they are not there.
    """
    path = _folder() / f"kubernetes-{minor}.json"
    if not path.exists():
        raise ToolMissingError(f"The OpenAPI of Kubernetes is missing: run `make env` ({path}).")
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))["$defs"]
    return found


def install() -> Path:
    """Unpack helm 4 and the definitions into the cache folder, unless there, and return it.

    Raises subprocess.CalledProcessError when pip cannot fetch the wheels or a hash differs.
    """
    folder = _folder()
    if (folder / "complete").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpacking-") as name:
        unpacking = Path(name)
        kubectl.download(REQUIREMENTS, unpacking)
        (layer,) = unpacking.glob("aws_cdk*.whl")
        (schemas,) = unpacking.glob("kubernetes_validate*.whl")
        with zipfile.ZipFile(schemas) as archive:
            for minor in KUBERNETES:
                content = archive.read(_SCHEMAS.format(minor))
                (unpacking / f"kubernetes-{minor}.json").write_bytes(content)
        if _runs_here():
            kubectl.unpack(layer, unpacking, ["helm"])
        for path in [*unpacking.glob("*.json"), *unpacking.glob("helm")]:
            path.replace(folder / path.name)
    (folder / "complete").touch()
    return folder


def _runs_here() -> bool:
    return (platform.system(), platform.machine()) == kubectl.SUPPORTED


def _folder() -> Path:
    # Keyed on what is pinned and unpacked, so that an old clone keeps its own.
    pins = "-".join(
        line.partition("==")[2].split()[0]
        for line in REQUIREMENTS.read_text("utf-8").splitlines()
        if "==" in line
    )
    return cache_home() / f"chart-{pins}-{'-'.join(KUBERNETES)}"


def main() -> int:
    """Install the tools and print where they are."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    try:
        sys.stdout.write(f"helm 4 and Kubernetes' OpenAPI for the tests: {install()}\n")
    except subprocess.CalledProcessError as error:
        sys.stderr.write(f"pip could not fetch {REQUIREMENTS}: exit {error.returncode}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
