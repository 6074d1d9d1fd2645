"""Pin the Salesforce CLI and all that it needs again, after a change to `package.json` beside this.

    python -m tests.salesforce_cli.lock

asks npm for the newest versions that `package.json` and the packages themselves allow, and writes
`npm.lock` from npm's own lock file, without addresses and what else an installation does not need.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.salesforce_cli.install import LOCK

_MODULES = "node_modules/"


def lock_lines(npm_lock: str) -> list[str]:
    """The lines of npm.lock, from the text of a package-lock.json without links."""
    return [
        f"{path.removeprefix(_MODULES)} {package['version']} {package['integrity']}"
        for path, package in sorted(json.loads(npm_lock)["packages"].items())
        # What is in a bundle comes with the package that bundles it.
        if path and not package.get("inBundle")
    ]


def main() -> int:
    """Write npm.lock; npm's exit code."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "package.json").write_bytes(LOCK.with_name("package.json").read_bytes())
        command = ["npm", "install", "--package-lock-only", "--ignore-scripts", "--force"]
        options = ["--no-audit", "--no-fund", "--loglevel=error"]
        code = subprocess.run([*command, *options], cwd=folder, check=False).returncode
        if code == 0:
            lines = lock_lines((folder / "package-lock.json").read_text("utf-8"))
            LOCK.write_text("\n".join([*lines, ""]), "utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())
