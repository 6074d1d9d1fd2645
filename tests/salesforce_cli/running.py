"""Run the Salesforce CLI in a home of its own, quietly, and watch that it calls nobody but the org.

Without its settings the CLI reports what it was used for, asks for newer versions, and leaves a
process behind that updates it. Every command of the tests is watched from inside Node
(`watch.cjs`), so that a new version which finds another way to call out fails them.
"""

import ipaddress
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.salesforce_cli.install import Programs

SECONDS = 100
WATCH = Path(__file__).resolve().with_name("watch.cjs")
QUIET = {
    "SF_SKIP_NEW_VERSION_CHECK": "true",
    "SF_DISABLE_TELEMETRY": "true",
    "SF_DISABLE_AUTOUPDATE": "true",
    "SF_DISABLE_LOG_FILE": "true",
    "NO_COLOR": "1",
    # Progress as lines, not as a picture that is drawn again and again.
    "CI": "true",
}


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that has ended: its exit code and what it printed."""

    code: int
    output: str
    errors: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What Node processes did: their ids, the hosts they turned to, the programs they started."""

    processes: tuple[int, ...]
    hosts: tuple[str, ...]
    programs: tuple[str, ...]

    @property
    def foreign(self) -> list[str]:
        """The hosts that are not this machine."""
        return [host for host in self.hosts if not _loopback(host)]


class SalesforceCli:
    """The CLI with its state in `home`, started in `folder`.

    A command fails the test when it turns to another machine or starts a program.
    """

    def __init__(self, programs: Programs, home: Path, folder: Path) -> None:
        self.programs = programs
        self.home = home
        self.folder = folder
        home.mkdir(parents=True, exist_ok=True)

    def within(self, folder: Path) -> "SalesforceCli":
        """The same, logged in as before, started in another folder."""
        return SalesforceCli(self.programs, self.home, folder)

    def run(self, *arguments: str, code: int = 0, env: Mapping[str, str] | None = None) -> Finished:
        """Run `sf` with these arguments; it must end with that exit code."""
        finished, seen = self.watched(self.programs.cli, *arguments, env=env)
        assert not seen.foreign, f"sf {' '.join(arguments)} called {seen.foreign}"
        assert not seen.programs, f"sf {' '.join(arguments)} started {seen.programs}"
        assert finished.code == code, f"{finished.output}\n{finished.errors}"
        return finished

    def json(self, *arguments: str, code: int = 0, env: Mapping[str, str] | None = None) -> Any:
        """Run `sf` with `--json`: its result, or its whole answer when it has to fail."""
        finished = self.run(*arguments, "--json", code=code, env=env)
        answer = json.loads(finished.output)
        return answer if code else answer["result"]

    def log_in(self, url: str, token: str) -> Finished:
        """Log in with an access token; the org becomes the default one, in each folder."""
        arguments = ["org", "login", "access-token", "--instance-url", url, "--set-default"]
        at_home = self.within(self.home)  # in a project it would be the project's default alone
        return at_home.run(*arguments, "--no-prompt", env={"SF_ACCESS_TOKEN": token})

    def watched(
        self, script: Path, *arguments: str, env: Mapping[str, str] | None = None
    ) -> tuple[Finished, Seen]:
        """Run a script with the CLI's Node and in its environment, and tell what it did."""
        notes = self.home / "watched"
        notes.write_text("")
        finished = subprocess.run(
            [self.programs.node, script, *arguments],
            cwd=self.folder,
            env=self.environment(notes) | dict(env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return Finished(finished.returncode, finished.stdout, finished.stderr), _seen(notes)

    def environment(self, notes: Path) -> dict[str, str]:
        """All that a command gets of the environment."""
        path = os.pathsep.join([str(self.programs.node.parent), os.defpath])
        watch = {"NODE_OPTIONS": f'--require "{WATCH}"', "CLI_WATCH": str(notes)}
        return {"HOME": str(self.home), "PATH": path, **QUIET, **watch}


def _seen(notes: Path) -> Seen:
    found: dict[str, list[str]] = {"process": [], "host": [], "program": []}
    for line in notes.read_text("utf-8").splitlines():
        kind, _, what = line.partition(" ")
        found[kind].append(what)
    return Seen(tuple(map(int, found["process"])), tuple(found["host"]), tuple(found["program"]))


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
