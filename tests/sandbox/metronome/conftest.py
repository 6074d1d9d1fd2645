"""A tenant with a fixed clock, served on loopback, and clients that are closed afterwards."""

from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest
from metronome import Metronome

from metronome_salesforce.sandbox.metronome import API_KEY, MetronomeSandbox, Tenant
from metronome_salesforce.sandbox.serving import Served

NOW = datetime(2026, 5, 20, 7, tzinfo=UTC)


@pytest.fixture
def tenant() -> Tenant:
    return Tenant.generate(customers=15, seed=7, now=NOW)


@pytest.fixture
def sandbox(tenant: Tenant) -> MetronomeSandbox:
    return MetronomeSandbox(tenant)


@pytest.fixture
def served(sandbox: MetronomeSandbox) -> Iterator[Served]:
    with sandbox.serve() as served:
        yield served


@pytest.fixture
def api(served: Served) -> Iterator[httpx.Client]:
    """A plain HTTP client with the write key."""
    with httpx.Client(
        base_url=served.url, headers={"Authorization": f"Bearer {API_KEY}"}, timeout=5
    ) as client:
        yield client


@pytest.fixture
def sdk(served: Served) -> Iterator[Metronome]:
    """The vendor's own client, which refuses documents that lack a required key."""
    with Metronome(
        bearer_token=API_KEY,
        base_url=served.url,
        max_retries=0,
        _strict_response_validation=True,
    ) as client:
        yield client
