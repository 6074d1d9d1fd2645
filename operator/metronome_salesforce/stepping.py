"""What a cycle and a link run share: calls that can be stopped between two, and stamped writes."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from metronome_salesforce.canon import DateTime, canon
from metronome_salesforce.mapping import LAST_SYNCED, ObjectMapping
from metronome_salesforce.objects import ACCOUNT_SUMMARY
from metronome_salesforce.rows import Write
from metronome_salesforce.tracing import Stages

Item = TypeVar("Item")

_ACCOUNT_SYNCED = "Metronome_Last_Synced__c"


class CycleStoppedError(Exception):
    """The run was asked to stop; what was written so far stands and is known to the next run."""


class Steps:
    """Calls to the org, one after the other in worker threads, until `stop` is set.

    In threads, so that signals and the lifeline are heard meanwhile. All raise CycleStoppedError
    instead of calling once it is set. `stages` are for the run's trace.
    """

    def __init__(self, stop: threading.Event, stages: Stages) -> None:
        self._stop = stop
        self.stages = stages
        self._under_way: asyncio.Future[Any] | None = None

    def check_stop(self) -> None:
        """Go on, or not."""
        if self._stop.is_set():
            raise CycleStoppedError

    async def blocking(self, call: Callable[[], Item]) -> Item:
        """Make one call."""
        self.check_stop()
        # Who is cancelled leaves the thread behind, and has to know it for a last word.
        under_way = asyncio.ensure_future(asyncio.to_thread(call))
        # Nobody else may be there to hear of its failure, and asyncio would log it as a bug.
        under_way.add_done_callback(lambda one: one.cancelled() or one.exception())
        self._under_way = under_way
        return await asyncio.shield(under_way)

    async def last_word(self, call: Callable[[], Item], seconds: float) -> Item:
        """Make one call in spite of `stop`, once the one that is under way has ended.

        Raises TimeoutError when both together take longer.
        """
        async with asyncio.timeout(seconds):
            if self._under_way is not None:
                await asyncio.wait({self._under_way})
            return await asyncio.to_thread(call)

    async def pages(self, pages: Iterator[Item]) -> AsyncIterator[Item]:
        """Take one page after the other, each in a call of its own."""
        while (page := await self.blocking(lambda: next(pages, None))) is not None:
            yield page


def stamped(mapping: ObjectMapping, writes: Iterable[Write], now: datetime) -> list[Write]:
    """The writes with the time of the last sync, where the object shows it."""
    field = _ACCOUNT_SYNCED if mapping is ACCOUNT_SUMMARY else LAST_SYNCED
    if mapping is not ACCOUNT_SUMMARY and not mapping.stamped:
        return list(writes)
    time = canon(DateTime(), now)
    return [replace(write, fields={**write.fields, field: time}) for write in writes]
