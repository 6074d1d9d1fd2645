"""Fixtures for tests that run whole cycles; see `stage`."""

import asyncio
import random
from collections.abc import Iterator

import pytest

from metronome_salesforce.report import Outcome
from tests.stage import Stage


@pytest.fixture(scope="session")
def synced_template() -> Iterator[Stage]:
    """A stage after its first cycle; only copied, never used itself."""
    with Stage() as stage:
        report = asyncio.run(stage.cycle())
        assert report.outcome is Outcome.SUCCEEDED, report.message
        yield stage


@pytest.fixture
def fresh() -> Iterator[Stage]:
    """A stage whose org has the package and no rows."""
    with Stage() as stage:
        yield stage


@pytest.fixture
def stage(synced_template: Stage) -> Iterator[Stage]:
    """A stage after its first cycle, made anew for each test."""
    with Stage() as stage:
        stage.take_rows_of(synced_template)
        yield stage


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every retry come at once: the waits are random between nothing and a ceiling."""
    monkeypatch.setattr(random, "uniform", lambda low, _high: low)
