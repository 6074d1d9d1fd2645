"""What the tests of this folder share."""

from collections.abc import Callable

import pytest


@pytest.fixture(name="note")
def _note(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Keep a figure for whoever runs the tests, who is shown it at the end (see `strict`)."""

    def note(line: str) -> None:
        request.node.user_properties.append(("measured", line))

    return note
