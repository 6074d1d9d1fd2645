"""The company that the tests of reports and list views look at; nobody changes it."""

from collections.abc import Iterator

import pytest

from tests.package.company import Company
from tests.stage import Stage


@pytest.fixture(scope="session")
def company() -> Iterator[Company]:
    with Stage(customers=30) as stage:
        yield Company(stage)
