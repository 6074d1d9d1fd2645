"""Finds the Chromium that the browser tests drive; as a program, says what to install without one.

python -m tests.pages.chromium
"""

import os
import shutil
import sys

_VARIABLE = "CHROMIUM"
_NAMES = (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)  # fmt: skip
_MISSING = (
    "The browser tests drive Chromium, and there is none: install it (on Debian or Ubuntu as root: "
    f"apt-get update && apt-get install -y chromium), or name a program by {_VARIABLE}."
)


class NoChromiumError(Exception):
    """There is no Chromium; the message says what to do."""


def find_chromium() -> str:
    """The program's path: the one named by CHROMIUM, else one in the PATH."""
    named = os.environ.get(_VARIABLE)
    for name in [named] if named else _NAMES:
        found = shutil.which(name)
        if found is not None:
            return found
    raise NoChromiumError(_MISSING)


def main() -> int:
    """Say which one it is; the exit code."""
    try:
        print(f"browser  {find_chromium()}")  # noqa: T201 -- a program prints
    except NoChromiumError as error:
        print(error, file=sys.stderr)  # noqa: T201 -- a program prints
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
