"""What the child process of a cycle is told: CustomerLinks at first, and who is moved meanwhile."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pytest

from metronome_salesforce.execution.child import Progress, run_child
from metronome_salesforce.linking import LinkReason, LinkRequest
from metronome_salesforce.planning import Place
from metronome_salesforce.report import CycleReport, Outcome
from metronome_salesforce.sandbox.metronome import API_KEY
from tests.expectation import PLACED
from tests.stage import ENVIRONMENT, Stage


@pytest.fixture(name="stage")
def _stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A stage in the present, for a child has no other clock."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with Stage(now=datetime.now(UTC), customers=4, months=1, lookback=10) as stage:
        yield stage


async def run(stage: Stage, spec: Mapping[str, Any] | None = None, **more: Any) -> CycleReport:
    """One cycle in a child; `links`, `retained` and `relinked` as keyword arguments."""
    relinked: asyncio.Queue[Mapping[str, Place]] = asyncio.Queue()
    places = more.pop("relinked", None)

    def hear(progress: Progress) -> None:
        if progress.stage == "fetch" and places is not None and relinked.empty():
            relinked.put_nowait(places)

    request = {
        "sync": stage.document(spec),
        "apiKey": API_KEY,
        "credentials": stage.credentials,
        "caBundle": None,
        "runId": "run-1",
        "trigger": "Requested",
        "full": True,
        "dryRun": False,
        "lastSuccess": None,
        **more,
    }
    report = await run_child(request, on_progress=hear, relinked=relinked, deadline=60)
    assert report.outcome is Outcome.SUCCEEDED, report.message
    return report


def hang(stage: Stage, customer: str) -> set[str | None]:
    return {
        row["Account__c"]
        for sobject in PLACED
        for row in stage.org.rows(sobject)
        if row["Metronome_Customer_ID__c"] == customer
    }


async def test_the_links_of_the_request_are_followed(stage: Stage) -> None:
    by_id, by_value = stage.account("By id"), stage.account("By value")
    first, second = stage.customer(0), stage.customer(1)
    stage.tenant.set_ingest_aliases(second, ["second"])
    field = ("Metronome_Customer_ID__c", "value")
    stage.org.update("Account", by_value, {field[0]: field[1]}, username=stage.clerk())
    links = [
        LinkRequest("by-id", "2026-03-10T06:00:00Z", first, account_id=by_id),
        LinkRequest("by-value", "", None, "second", external_id=field),
    ]
    report = await run(stage, links=[asdict(one) for one in links])
    assert {name: one.reason for name, one in report.links.items()} == dict.fromkeys(
        ("by-id", "by-value"), LinkReason.LINKED
    )
    assert hang(stage, first) == {by_id}
    assert hang(stage, second) == {by_value}

    await run(stage, links=None)
    assert hang(stage, first) == {by_id}, "not known is not the same as none"
    await run(stage, links=[], retained=[first])
    assert hang(stage, first) == {by_id}
    assert hang(stage, second) == {None}


async def test_who_is_moved_meanwhile_is_followed(stage: Stage) -> None:
    """The cycle has decided otherwise when it is told, and writes its new rows there."""
    account, customer = stage.account("Acme"), stage.customer(0)
    await run(stage, {"objects": ["Customer"]})
    assert hang(stage, customer) == set()
    stage.metronome.faults.add("GET /v1/customers/*/invoices", delay=0.3)
    await run(stage, relinked={customer: (account, "CustomerLink")}, links=[])
    assert hang(stage, customer) == {account}
