"""promtool and prometheus for the tests: programs of the machine, as Debian packages them.

`make test-monitoring` runs this file first, which says in a sentence what is missing.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.kubectl import ToolMissingError

_SECONDS = 60


def tool(name: str) -> Path:
    """The path of `promtool` or `prometheus`.

    `TEST_PROMTOOL` and `TEST_PROMETHEUS` name others. Raises ToolMissingError with what to install.
    """
    override = f"TEST_{name.upper()}"
    chosen = os.environ.get(override)
    found = shutil.which(chosen or name)
    if found is None:
        raise ToolMissingError(
            f"{chosen or name} is not there: install Prometheus 2.42 or newer with its promtool"
            f" (Debian: apt-get install prometheus), or name the program with {override}."
        )
    return Path(found)


def promtool(*arguments: str | Path, given: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Run promtool, whatever comes of it; `given` goes to its standard input."""
    done = subprocess.run(
        [tool("promtool"), *arguments],
        input=given,
        capture_output=True,
        timeout=_SECONDS,
        check=False,
    )
    out, err = done.stdout.decode(), done.stderr.decode()
    return subprocess.CompletedProcess(done.args, done.returncode, out, err)


def main() -> int:
    """Print where the programs are; 1 and a sentence where one is not."""
    for name in ("promtool", "prometheus"):
        try:
            sys.stdout.write(f"{name} for the tests: {tool(name)}\n")
        except ToolMissingError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
