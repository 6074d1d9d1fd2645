"""What the tests of this folder share."""

import sys
from collections.abc import Callable

import pytest


@pytest.fixture(name="note")
def _note(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Show a figure to whoever runs the tests."""

    def note(line: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f" {line} ")

    return note
