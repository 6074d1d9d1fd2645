"""All CustomerLinks by the MetronomeSync that they name, and those that name none.

A MetronomeSync's own task serves its links. Links without one are told so, and let go when they are
deleted: nobody is left who could move anything.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from metronome_salesforce import linkstatus
from metronome_salesforce.kube import KubeError
from metronome_salesforce.linkqueue import Entry, LinkSet, key_of
from metronome_salesforce.linkwriting import LinkWriter
from metronome_salesforce.runtime import LONGEST_BACK_OFF, Runtime, jitter
from metronome_salesforce.series import Key

logger = logging.getLogger(__name__)

Json = dict[str, Any]

_PATIENCE = 1.0  # a MetronomeSync that is applied together with its links may come after them
_LOOK_EVERY = 60.0


class LinkSets:
    """The links by namespace and name of their MetronomeSync; for use from one event loop."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        # Held by its links (`_of`) and by the worker that serves it, if only later.
        self._sets: WeakValueDictionary[Key, LinkSet] = WeakValueDictionary()
        self._of: dict[str, LinkSet] = {}
        self._unserved = asyncio.Event()

    def of(self, key: Key) -> LinkSet:
        """The links that name this MetronomeSync."""
        links = self._sets.get(key)
        if links is None:
            links = self._sets[key] = LinkSet(key, self._unserved.set)
        return links

    @property
    def uids(self) -> set[str]:
        """The uids of all links that are known."""
        return set(self._of)

    def feed(self, body: Json) -> None:
        """Take a link's body; older ones than the one known are passed over."""
        links = self.of(key_of(body))
        self._of[body["metadata"]["uid"]] = links
        if links.offer(body, asyncio.get_running_loop().time()):
            links.wake()

    def remove(self, uid: str) -> None:
        """Forget a link that does not exist any more."""
        links = self._of.get(uid)
        if links is None:
            return
        if links.remove(uid, asyncio.get_running_loop().time()):
            links.wake()
        del self._of[uid]

    def listed(self, uids: set[str], known: set[str]) -> None:
        """Forget what is not in a list; only what was `known` before it was asked for can be."""
        for uid in known - uids:
            self.remove(uid)

    async def keep_unserved(self, found: Callable[[Json], None]) -> None:
        """Look for ever after links whose MetronomeSync nobody serves.

        One that exists all the same is handed to `found`.
        """
        while True:
            try:
                async with asyncio.timeout(_LOOK_EVERY):
                    await self._unserved.wait()
                    await asyncio.sleep(_PATIENCE)
            except TimeoutError:
                pass
            self._unserved.clear()
            for links in list(self._sets.values()):
                if links.served or not links.entries:
                    continue
                try:
                    await self._look_after(links, found)
                    continue
                except KubeError as error:
                    logger.warning("links without a MetronomeSync: %s", error)
                except Exception:
                    # A bug shows in log and metric, and must not end the service.
                    logger.exception("unexpected error")
                    self._runtime.metrics.failed(links.key)
                await asyncio.sleep(jitter(LONGEST_BACK_OFF / 3))
                self._unserved.set()

    async def _look_after(self, links: LinkSet, found: Callable[[Json], None]) -> None:
        try:
            sync = await self._runtime.kube.get_sync(*links.key)
        except KubeError as error:
            if not error.not_found:
                raise
        else:
            if "deletionTimestamp" not in sync["metadata"]:
                found(sync)
                return
        if links.served:
            return
        links.gone.clear()
        writer = LinkWriter(links, self._runtime)
        why = linkstatus.sync_not_found(*links.key)

        async def tell(entry: Entry) -> bool:
            if entry.deleting:
                return not entry.held or await writer.let_go(entry, None)
            return await writer.show(entry, partial(linkstatus.hindered, why=why))

        if not all(await writer.all(tell(entry) for entry in list(links.entries.values()))):
            self._unserved.set()
