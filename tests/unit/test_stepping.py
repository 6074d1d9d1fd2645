"""Calls in threads that a run leaves behind when it is stopped."""

import asyncio
import gc
import threading

import pytest

from metronome_salesforce.stepping import CycleStoppedError, Steps
from metronome_salesforce.tracing import Stages


def test_a_call_that_fails_after_a_stop_is_no_bug_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whoever waited for it is gone by then."""
    stop, begun, go_on = threading.Event(), threading.Event(), threading.Event()

    def call() -> None:
        begun.set()
        go_on.wait(10)
        raise CycleStoppedError

    async def run() -> str:
        steps = Steps(stop, Stages())
        waiting = asyncio.create_task(steps.blocking(call))
        await asyncio.to_thread(begun.wait, 10)
        stop.set()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        go_on.set()
        return await steps.last_word(lambda: "told", 10)

    assert asyncio.run(run()) == "told"
    gc.collect()
    assert [record.name for record in caplog.records if record.name == "asyncio"] == []


def test_a_failure_is_told_to_whoever_waits() -> None:
    def call() -> None:
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        asyncio.run(Steps(threading.Event(), Stages()).blocking(call))
