"""All MetronomeSyncs that the operator serves: one worker for each, started, fed and stopped.

Two sources feed them and the CustomerLinks: the watch, which is quick, and every minute a plain
list, which is sure. What the watch lost, the list brings; and a watch that stays behind the list is
reported to the probes.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from metronome_salesforce.health import Health
from metronome_salesforce.kube import KubeError
from metronome_salesforce.linksets import LinkSets
from metronome_salesforce.reconciling import SyncWorker
from metronome_salesforce.runtime import Runtime, next_back_off
from metronome_salesforce.series import Key

logger = logging.getLogger(__name__)

Json = dict[str, Any]

_FIRST_LIST_RETRY = 1.0
_LIST_SECONDS = 120.0  # a list of many pages, each of which has its own timeout


class Syncs:
    """The workers by namespace and name; call everything from one event loop."""

    def __init__(self, runtime: Runtime, health: Health) -> None:
        self._runtime = runtime
        self._health = health
        self._links = LinkSets(runtime)
        self._keeping: asyncio.Task[None] | None = None
        self._workers: dict[Key, SyncWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ending: dict[Key, asyncio.Task[None]] = {}
        self._stopped = False

    def watched(self, body: Json, *, deleted: bool) -> None:
        """Take what the watch brought: the newest body, or the last one of what is gone."""
        metadata = body["metadata"]
        if deleted:
            self._health.lag.deleted(metadata["uid"])
            self._end(metadata["uid"])
        else:
            self._health.lag.delivered(metadata["uid"], metadata["resourceVersion"])
            self._feed(body)

    def link_watched(self, body: Json, *, deleted: bool) -> None:
        """The same for a CustomerLink."""
        metadata = body["metadata"]
        if self._stopped:
            return
        if deleted:
            self._health.link_lag.deleted(metadata["uid"])
            self._links.remove(metadata["uid"])
        else:
            self._health.link_lag.delivered(metadata["uid"], metadata["resourceVersion"])
            self._links.feed(body)

    async def resync(self, namespaces: Sequence[str], every: float) -> None:
        """List all resources for ever, every so many seconds; soon again as long as it fails."""
        retry = _FIRST_LIST_RETRY
        while not self._stopped:
            error = await self._list(namespaces)
            if error is None:
                wait, retry = every, _FIRST_LIST_RETRY
            else:
                wait, retry = retry, min(next_back_off(retry, error), every)
            self._health.looked()
            await asyncio.sleep(wait * random.uniform(0.9, 1.1))  # noqa: S311 -- spreads load

    async def _list(self, namespaces: Sequence[str]) -> Exception | None:
        """List all resources once; the error when that failed for any of them.

        Only what was known before a list was asked for can be missing in it.
        """
        kube, known, known_links = self._runtime.kube, set(self._tasks), self._links.uids
        try:
            versions = await _fed(kube.sync_pages(namespaces), self._feed)
        except (KubeError, TimeoutError) as error:
            logger.warning("the MetronomeSyncs could not be listed: %s", error or "no answer")
            return error
        for uid in known - versions.keys():
            self._end(uid)
        self._health.listed(versions)
        try:
            versions = await _fed(kube.link_pages(namespaces), self._feed_link)
        except (KubeError, TimeoutError) as error:
            logger.warning("the CustomerLinks could not be listed: %s", error or "no answer")
            return error
        if self._stopped:
            return None
        self._links.listed(set(versions), known_links)
        self._health.links_listed(versions)
        if self._keeping is None:
            # Not before: a MetronomeSync that was not listed yet would seem not to exist.
            self._keeping = asyncio.create_task(self._links.keep_unserved(self._feed))
        return None

    async def stop(self) -> None:
        """Stop all cycles and workers, and take nothing more."""
        self._stopped = True
        tasks = [*self._tasks.values(), *self._ending.values()]
        if self._keeping is not None:
            tasks.append(self._keeping)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _feed_link(self, body: Json) -> None:
        if not self._stopped:
            self._links.feed(body)

    def _feed(self, body: Json) -> None:
        metadata = body["metadata"]
        key = (metadata["namespace"], metadata["name"])
        if self._stopped:
            return
        if "deletionTimestamp" in metadata:
            self._end(metadata["uid"])
            return
        worker = self._workers.get(key)
        if worker is not None and worker.uid == metadata["uid"]:
            worker.offer(body)
            return
        if worker is not None:
            self._end(worker.uid)
        worker = SyncWorker(body, self._runtime, self._links.of(key))
        self._workers[key] = worker
        self._tasks[worker.uid] = asyncio.create_task(
            self._serve(worker, self._ending.get(key)), name=f"sync {'/'.join(key)}"
        )

    async def _serve(self, worker: SyncWorker, before: asyncio.Task[None] | None) -> None:
        # The one that had the name before holds the Lease until its cycle has stopped.
        if before is not None:
            await asyncio.wait({before})
            # Which went on to show what it knew: nothing of that is about this one.
            self._runtime.metrics.forget(worker.key)
        try:
            await worker.run()
        finally:
            self._tasks.pop(worker.uid, None)
            if self._workers.get(worker.key) is worker:
                del self._workers[worker.key]
                self._runtime.metrics.forget(worker.key)

    def _end(self, uid: str) -> None:
        """Stop the worker of a resource that is gone, in the background."""
        task = self._tasks.pop(uid, None)
        if task is None:
            return
        for key, worker in list(self._workers.items()):
            if worker.uid == uid:
                worker.deleted = True
                self._ending[key] = asyncio.create_task(self._await_end(key, worker, task))
        task.cancel()

    async def _await_end(self, key: Key, worker: SyncWorker, task: asyncio.Task[None]) -> None:
        await asyncio.wait({task})
        if self._workers.get(key) is worker:
            del self._workers[key]
            self._runtime.metrics.forget(key)
        if self._ending.get(key) is asyncio.current_task():
            del self._ending[key]


async def _fed(pages: AsyncIterator[list[Json]], feed: Callable[[Json], None]) -> dict[str, str]:
    """Pass on what a list brings, page by page; the versions by uid of all that it had."""
    versions: dict[str, str] = {}
    async with asyncio.timeout(_LIST_SECONDS):
        async for page in pages:
            for body in page:
                versions[body["metadata"]["uid"]] = body["metadata"]["resourceVersion"]
                feed(body)
    return versions
