"""What is written to CustomerLinks: finalizers, statuses, Events; never more than a few at once.

A status is patched only when that changes it, so that a thousand links that stay as they are cost
nothing, and a thousand new ones two patches and an Event each.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from metronome_salesforce import conditions, linkstatus
from metronome_salesforce.conditions import Event, Moment
from metronome_salesforce.kube import KubeError
from metronome_salesforce.linkqueue import FINALIZER, Entry, LinkSet
from metronome_salesforce.runtime import Runtime

logger = logging.getLogger(__name__)

Json = dict[str, Any]

_AT_ONCE = 8
_CONFLICTS = 5  # somebody else writes the link all the time, or our view of it stands still


class LinkWriter:
    """Writes to the links of one set; what the API answers goes into the set."""

    def __init__(self, links: LinkSet, runtime: Runtime) -> None:
        self._links = links
        self._runtime = runtime
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def all(self, calls: Iterable[Coroutine[Any, Any, bool]]) -> list[bool]:
        """Make the calls, a few at a time; which of them succeeded."""
        return list(await asyncio.gather(*calls))

    async def show(self, entry: Entry, make: Callable[[Json, Moment], Json]) -> bool:
        """Patch the status with what `make` makes of it; False if that has to be tried again."""
        body = entry.body
        async with self._room:
            for _ in range(_CONFLICTS):
                before = body.get("status") or {}
                patch = make(before, Moment(self._runtime.now(), entry.generation))
                if conditions.changes_nothing(before, patch):
                    return True
                try:
                    body = await self._runtime.kube.patch_link_status(body, patch)
                except KubeError as error:
                    if not error.conflict:
                        return self._failed(entry, "status", error)
                    newer = await self._read_again(entry)
                    if isinstance(newer, bool):
                        return newer
                    body = newer
                    continue
                self._take(body)
                for event in linkstatus.events(before, body.get("status") or {}):
                    await self._post(entry, event)
                return True
        return False

    async def hold(self, entry: Entry) -> bool:
        """Put our finalizer on a link; False if that did not work, or the link is gone."""
        return entry.held or await self._set_finalizer(entry, held=True)

    async def let_go(self, entry: Entry, event: Event | None) -> bool:
        """Take our finalizer off a link that is being deleted; False if that did not work.

        The Event comes after it, as one that tells of each try would tell of what has not happened.
        """
        if not await self._set_finalizer(entry, held=False):
            return False
        self._links.released(entry, asyncio.get_running_loop().time())
        if event is not None:
            async with self._room:
                await self._post(entry, event)
        return True

    async def note_customer(self, entry: Entry, id_: str) -> bool:
        """Write which customer an ingest alias stands for; False if it does not stand there."""
        await self.show(entry, lambda _status, _moment: {"customerId": id_})
        known = self._links.entries.get(entry.name, entry)
        return known.uid == entry.uid and known.status.get("customerId") == id_

    async def _set_finalizer(self, entry: Entry, *, held: bool) -> bool:
        body = entry.body
        async with self._room:
            for _ in range(_CONFLICTS):
                metadata = body["metadata"]
                if held and "deletionTimestamp" in metadata:
                    return False
                others = [one for one in metadata.get("finalizers") or () if one != FINALIZER]
                wanted = [*others, FINALIZER] if held else others
                if wanted == list(metadata.get("finalizers") or ()):
                    return True
                try:
                    body = await self._runtime.kube.set_link_finalizers(body, wanted)
                except KubeError as error:
                    if not error.conflict:
                        self._failed(entry, "finalizer", error)
                        # Also after a refusal: an admission webhook may think better of it.
                        return error.not_found and not held
                    newer = await self._read_again(entry)
                    if isinstance(newer, bool):
                        return newer and not held
                    body = newer
                    continue
                self._take(body)
                return True
        return False

    async def _read_again(self, entry: Entry) -> Json | bool:
        """The link as it is now; True if it is gone, False if that cannot be seen."""
        try:
            body = await self._runtime.kube.get_link(*_place(entry))
        except KubeError as error:
            return self._failed(entry, "newest version", error)
        return body if body["metadata"]["uid"] == entry.uid else True

    def _take(self, body: Json) -> None:
        # A link of this name that is another one comes by the watch.
        known = self._links.entries.get(body["metadata"]["name"])
        if known is not None and known.uid == body["metadata"]["uid"]:
            self._links.offer(body, asyncio.get_running_loop().time())

    def _failed(self, entry: Entry, what: str, error: KubeError) -> bool:
        """Whether nothing is left to be done after a failed write."""
        if error.not_found:
            return True  # the watch tells
        if error.refused:
            logger.error("the %s of CustomerLink %s: refused: %s", what, entry.name, error)
            self._runtime.metrics.failed(self._links.key)
            return True
        logger.warning("the %s of CustomerLink %s: tried again: %s", what, entry.name, error)
        return False

    async def _post(self, entry: Entry, event: Event) -> None:
        try:
            await self._runtime.kube.post_event(entry.body, event.kind, event.reason, event.message)
        except KubeError as error:
            logger.warning("Event %s could not be posted: %s", event.reason, error)


def _place(entry: Entry) -> tuple[str, str]:
    return entry.body["metadata"]["namespace"], entry.name
