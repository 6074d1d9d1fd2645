"""Watches: a stream of events over one response that stays open.

Source: Kubernetes API concepts, "Efficient detection of changes". Bookmarks come every few seconds
rather than every minute, so that clients' handling of them is seen in a short demo.
"""

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from metronome_salesforce.sandbox.kubernetes.exceptions import ApiError, Json, gone
from metronome_salesforce.sandbox.kubernetes.faults import Faults
from metronome_salesforce.sandbox.kubernetes.history import Change
from metronome_salesforce.sandbox.kubernetes.kinds import Resource
from metronome_salesforce.sandbox.kubernetes.models import Store
from metronome_salesforce.sandbox.kubernetes.selectors import Predicate

BOOKMARK_SECONDS = 5.0
_LONGEST_SECONDS = 3600.0
_TICK_SECONDS = 0.5
_THAW_SECONDS = 0.05
_TEARDOWN_SECONDS = 1.0
_DEFINITIONS = ("apiextensions.k8s.io", "customresourcedefinitions")
INITIAL_END = "k8s.io/initial-events-end"


@dataclass(frozen=True, slots=True)
class Selection:
    """What a watch is about; `view` renders an object (as itself, as a Table row, …)."""

    resource: Resource
    namespace: str | None
    matches: Predicate
    view: Callable[[Json], Json]
    version: str = ""
    bookmarks: bool = False
    initial_events: bool = False
    seconds: float = _LONGEST_SECONDS


class _Stream:
    """One open watch: a queue that writers in any thread fill. None in it means: end."""

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self.queue: asyncio.Queue[Change | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def put(self, change: Change | None) -> None:
        """Hand over a change; harmless once the server has stopped."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.queue.put_nowait, change)


class Watches:
    """All open watches of a server."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._streams: set[_Stream] = set()

    def close(self, plural: str | None = None) -> None:
        """End the watches of one plural, or all."""
        with self._lock:
            for stream in self._streams:
                if plural in (None, stream.resource.plural):
                    stream.put(None)

    def count(self, plural: str | None = None) -> int:
        """How many are open."""
        with self._lock:
            return sum(1 for s in self._streams if plural in (None, s.resource.plural))

    async def serve(
        self,
        request: web.Request,
        selection: Selection,
        faults: Faults,
        *,
        expired: bool = False,
    ) -> web.StreamResponse:
        """Stream until the client leaves, the time is up, or the watch is closed.

        With `expired` the watch is answered as if its resourceVersion were too old.
        """
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        stream = _Stream(selection.resource)
        cancel: Callable[[], None] | None = None
        try:
            if expired:
                raise gone(f"too old resource version: {selection.version} (injected)")
            with self._store.lock:
                first = self._initial(selection)
                cancel = self._store.history.subscribe(stream.put)
            with self._lock:
                self._streams.add(stream)
            await response.prepare(request)
            for event in first:
                await response.write(encoded(event))
            await self._follow(request, response, stream, selection, faults)
        except ApiError as error:
            # Told inside the stream: by then the real server has sent its 200.
            await response.prepare(request)
            await response.write(encoded({"type": "ERROR", "object": error.status()}))
        except ConnectionError:
            return response
        finally:
            if cancel is not None:
                cancel()
            with self._lock:
                self._streams.discard(stream)
        return response

    def _initial(self, selection: Selection) -> list[Json]:
        """The events before the live ones; the caller holds the lock. Raises ApiError 410, 504."""
        resource, store = selection.resource, self._store
        if selection.version in ("", "0") or selection.initial_events:
            if selection.version not in ("", "0"):
                store.history.since(max(int(selection.version), store.history.oldest))
            items = store.selected(resource, selection.namespace, selection.matches)
            events = [{"type": "ADDED", "object": selection.view(item)} for item in items]
            if selection.initial_events and selection.bookmarks:
                events.append(self._bookmark(resource, initial=True))
            return events
        changes = store.history.since(int(selection.version))
        return [event for change in changes if (event := self._event(selection, change))]

    def _event(self, selection: Selection, change: Change) -> Json | None:
        kind = change.seen_through(selection.resource, selection.namespace, selection.matches)
        if kind is None:
            return None
        shown = self._store.shown(selection.resource, change.new)
        return {"type": kind, "object": selection.view(shown)}

    def _bookmark(self, resource: Resource, *, initial: bool = False) -> Json:
        meta: Json = {"resourceVersion": str(self._store.history.version)}
        if initial:
            meta["annotations"] = {INITIAL_END: "true"}
        return {
            "type": "BOOKMARK",
            "object": {
                "kind": resource.kind,
                "apiVersion": resource.api_version,
                "metadata": meta,
            },
        }

    async def _follow(
        self,
        request: web.Request,
        response: web.StreamResponse,
        stream: _Stream,
        selection: Selection,
        faults: Faults,
    ) -> None:
        clock = asyncio.get_running_loop().time
        end = clock() + selection.seconds
        next_bookmark = clock() + BOOKMARK_SECONDS
        while clock() < end:
            event: Json | None = None
            try:
                # In a flood, a round of the loop for each event would let the stream fall behind.
                if stream.queue.empty():
                    wait = max(0.0, min(_TICK_SECONDS, end - clock()))
                    change = await asyncio.wait_for(stream.queue.get(), wait)
                else:
                    change = stream.queue.get_nowait()
            except TimeoutError:
                if request.transport is None or request.transport.is_closing():
                    return
                if selection.bookmarks and clock() >= next_bookmark and stream.queue.empty():
                    event = self._bookmark(selection.resource)
                    next_bookmark = clock() + BOOKMARK_SECONDS
            else:
                if change is None:
                    return
                if _ends(change, selection.resource):
                    # The real server tears the storage down a moment later too; a kopf that has
                    # not yet heard of the deletion would meet a 404 and exit.
                    await asyncio.sleep(_TEARDOWN_SECONDS)
                    return
                event = self._event(selection, change)
            if event is None:
                continue
            while faults.frozen(selection.resource.plural):  # noqa: ASYNC110 -- set from any thread
                await asyncio.sleep(_THAW_SECONDS)
            await response.write(encoded(event))


def _ends(change: Change, resource: Resource) -> bool:
    """Whether the definition of the watched resource has gone."""
    if change.type != "DELETED" or change.storage != _DEFINITIONS:
        return False
    spec = change.new["spec"]
    return (spec["group"], spec["names"]["plural"]) == resource.storage


def encoded(document: Any) -> bytes:
    """One line of JSON."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
