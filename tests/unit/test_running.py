"""A run that cannot start leaves no client behind."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partialmethod
from typing import Any

import httpx
import pytest

from metronome_salesforce.cycle import Observers, Run
from metronome_salesforce.execution.running import run_linking, run_sync
from metronome_salesforce.inputs import SyncInputs
from metronome_salesforce.relinking import LinkJob, LinkReport
from metronome_salesforce.report import CycleReport, Trigger
from metronome_salesforce.spec import MetronomeSync

NOW = datetime(2026, 3, 10, tzinfo=UTC)
ENVIRONMENT = {
    "METRONOME_SALESFORCE_ALLOWED_HOSTS": "127.0.0.1",
    "METRONOME_SALESFORCE_ALLOW_HTTP": "true",
}
SYNC = MetronomeSync.model_validate(
    {
        "apiVersion": "metronome-salesforce.dev/v1alpha1",
        "kind": "MetronomeSync",
        "metadata": {"name": "production"},
        "spec": {
            "metronome": {
                "apiKeySecretRef": {"name": "metronome"},
                "baseUrl": "http://127.0.0.1:9",
            },
            "salesforce": {
                "instanceUrl": "http://127.0.0.1:9",
                "credentialsSecretRef": {"name": "salesforce"},
            },
        },
    }
)
CREDENTIALS = {"clientId": "id", "clientSecret": "secret"}


@pytest.fixture(name="clients")
def _clients(monkeypatch: pytest.MonkeyPatch) -> list[httpx.AsyncClient]:
    """Every HTTP client that is made from now on."""
    made: list[httpx.AsyncClient] = []
    make: Any = httpx.AsyncClient.__init__

    def remember(client: httpx.AsyncClient, *positional: Any, **named: Any) -> None:
        make(client, *positional, **named)
        made.append(client)

    monkeypatch.setattr(httpx.AsyncClient, "__init__", partialmethod(remember))
    return made


async def cycle(inputs: SyncInputs, environment: Mapping[str, str]) -> CycleReport:
    run = Run(id="run", trigger=Trigger.REQUESTED, now=NOW)
    return await run_sync(inputs, run, Observers(lambda *_: None), environment=environment)


async def linking(inputs: SyncInputs, environment: Mapping[str, str]) -> LinkReport:
    return await run_linking(
        inputs, LinkJob(now=NOW), moving=lambda _: None, environment=environment
    )


@pytest.mark.parametrize("run", [cycle, linking])
@pytest.mark.parametrize(
    ("credentials", "ca_bundle", "reason"),
    [
        (CREDENTIALS, "no certificate", "SalesforceCertificateFailed"),
        ({"clientId": "id"}, None, "CredentialsIncomplete"),
    ],
)
async def test_metronomes_client_is_closed_when_salesforce_cannot_be_reached(
    clients: list[httpx.AsyncClient],
    run: Any,
    credentials: dict[str, str],
    ca_bundle: str | None,
    reason: str,
) -> None:
    """The operator tries again for as long as the Secret is wrong, in one process."""
    report = await run(SyncInputs(SYNC, "key", credentials, ca_bundle), ENVIRONMENT)
    assert report.reason == reason
    assert clients
    assert all(client.is_closed for client in clients)
