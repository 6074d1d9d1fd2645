"""`python -m metronome_salesforce` and the `metronome-salesforce` command."""

import sys

from metronome_salesforce.cli import run


def main() -> int:
    """Run the command line; the exit code."""
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
