"""Pass on how far a running cycle is, at the pace of whoever takes it.

A cycle tells its progress many times a second, and each write of a status wakes every watch.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from metronome_salesforce.execution.child import Progress

_SETTLE_SECONDS = 10.0


class Teller:
    """Passes a running cycle's progress on, not more often than every so many seconds."""

    def __init__(self, show: Callable[[Progress], Coroutine[Any, Any, None]], every: float) -> None:
        self._show = show
        self._every = every
        self._news = Progress("starting", 0, None)
        self._heard = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None

    def hear(self, progress: Progress) -> None:
        """Take note of where the cycle is."""
        self._news = progress
        self._heard.set()

    async def run(self) -> None:
        """Pass on what was heard, until cancelled; raises what showing it raises."""
        while True:
            await self._heard.wait()
            self._heard.clear()
            self._writing = asyncio.create_task(self._show(self._news))
            await asyncio.shield(self._writing)
            await asyncio.sleep(self._every)

    async def settle(self) -> None:
        """Wait for a write under way, which would otherwise overtake the run's last one."""
        if self._writing is not None:
            await asyncio.wait({self._writing}, timeout=_SETTLE_SECONDS)
            if self._writing.done() and not self._writing.cancelled():
                self._writing.exception()  # seen; a resource that is gone shows soon enough
