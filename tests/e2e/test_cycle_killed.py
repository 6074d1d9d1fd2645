"""The child process of a cycle, killed in the middle of its writing: the next one finishes."""

import asyncio
import json
import os
import signal
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from metronome_salesforce.execution.child import run_child
from metronome_salesforce.report import CycleReport, Outcome
from metronome_salesforce.sandbox.metronome import API_KEY
from tests.expectation import SOBJECTS, differences
from tests.stage import ENVIRONMENT, Stage

CHILD = (sys.executable, "-m", "metronome_salesforce", "cycle-worker")


@pytest.fixture
async def live(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stage in the present, for a child has no other clock; never across midnight (UTC)."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    now = datetime.now(UTC)
    if now.hour == 23 and now.minute == 59:
        await asyncio.sleep(61 - now.second)
    with Stage(now=datetime.now(UTC), months=2, lookback=20) as stage:
        yield stage


def request(stage: Stage, *, full: bool = False) -> dict[str, Any]:
    """What the operator tells a child."""
    return {
        "sync": stage.document(),
        "apiKey": API_KEY,
        "credentials": stage.credentials,
        "caBundle": None,
        "runId": "run-1",
        "trigger": "Requested",
        "full": full,
        "dryRun": False,
        "lastSuccess": None,
    }


async def kill_at(stage: Stage, wanted: str) -> None:
    """Start a child and kill it as soon as it tells of `wanted`."""
    child = await asyncio.create_subprocess_exec(
        *CHILD,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(json.dumps(request(stage)).encode() + b"\n")
    await child.stdin.drain()
    async for line in child.stdout:
        told = json.loads(line)
        assert "progress" in told, "it ended before it could be killed"
        if told["progress"]["stage"] == wanted:
            break
    os.kill(child.pid, signal.SIGKILL)
    assert await child.wait() == -signal.SIGKILL
    child.stdin.close()


async def undisturbed(stage: Stage) -> CycleReport:
    """A whole cycle in a child."""
    return await run_child(request(stage), on_progress=lambda _progress: None, deadline=60)


@pytest.mark.parametrize("moment", ["write InvoiceLineItem", "write Usage"])
async def test_a_killed_child_leaves_nothing_that_the_next_cycle_does_not_finish(
    live: Stage, moment: str
) -> None:
    """Each write is slowed down, so that the blow falls on it."""
    live.salesforce.faults.add("PATCH *", delay=0.05)
    await kill_at(live, moment)
    live.salesforce.faults.clear()
    half = {sobject: live.org.count(sobject) for sobject in SOBJECTS}

    report = await undisturbed(live)

    assert report.outcome is Outcome.SUCCEEDED, report.message
    wanted = live.expected()
    assert differences(wanted, live.org) == []
    assert 0 < sum(half.values()) < sum(len(rows) for rows in wanted.values())
    live.org.statistics.reset()
    assert (await undisturbed(live)).outcome is Outcome.SUCCEEDED
    assert not any(sobject in SOBJECTS for sobject, _ in live.org.statistics.rows)


async def test_a_child_ends_in_peace_while_its_parent_lives(live: Stage) -> None:
    """Its lifeline is still held then: the interpreter must not stumble over it on its way out."""
    child = await asyncio.create_subprocess_exec(
        *CHILD,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdin.write(json.dumps(request(live)).encode() + b"\n")
    await child.stdin.drain()
    lines = [json.loads(line) async for line in child.stdout]
    assert lines[-1]["report"]["outcome"] == "Succeeded"
    async with asyncio.timeout(10):
        assert (await child.wait(), await child.stderr.read()) == (0, b"")
    child.stdin.close()
