"""Fixtures for tests that run whole cycles; see `stage`."""

import asyncio
import random
from collections.abc import Iterator

import pytest

from metronome_salesforce.report import Outcome
from tests.stage import Stage

WEEK, DEFAULT = 5, 34
"""Days of usage: most tests need few; late usage comes up to 34 days late."""


def _synced(lookback: int) -> Iterator[Stage]:
    with Stage(lookback=lookback) as stage:
        report = asyncio.run(stage.cycle())
        assert report.outcome is Outcome.SUCCEEDED, report.message
        yield stage


def _copied(template: Stage) -> Iterator[Stage]:
    with Stage(lookback=template.lookback) as stage:
        stage.take_rows_of(template)
        yield stage


@pytest.fixture(scope="session")
def week_template() -> Iterator[Stage]:
    """A stage after its first cycle; only copied, never used itself."""
    yield from _synced(WEEK)


@pytest.fixture(scope="session")
def month_template() -> Iterator[Stage]:
    """The same with the default look-back."""
    yield from _synced(DEFAULT)


@pytest.fixture
def fresh() -> Iterator[Stage]:
    """A stage with few days of usage, whose org has the package and no rows."""
    with Stage(lookback=WEEK) as stage:
        yield stage


@pytest.fixture
def stage(week_template: Stage) -> Iterator[Stage]:
    """A stage with few days of usage after its first cycle, made anew for each test."""
    yield from _copied(week_template)


@pytest.fixture
def month(month_template: Stage) -> Iterator[Stage]:
    """The same with the default look-back, for tests in which days pass."""
    yield from _copied(month_template)


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every retry come at once: the waits are random between nothing and a ceiling."""
    monkeypatch.setattr(random, "uniform", lambda low, _high: low)
