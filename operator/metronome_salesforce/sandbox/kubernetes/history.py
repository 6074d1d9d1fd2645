"""What happened, in the order of resourceVersions: the source of every watch."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from metronome_salesforce.sandbox.kubernetes.exceptions import (
    Json,
    gone,
    too_large_version,
)
from metronome_salesforce.sandbox.kubernetes.kinds import Resource
from metronome_salesforce.sandbox.kubernetes.selectors import Predicate

EventType = Literal["ADDED", "MODIFIED", "DELETED"]


@dataclass(frozen=True, slots=True)
class Change:
    """One write: `new` is the object after it (for DELETED its last state), `old` before it."""

    version: int
    type: EventType
    storage: tuple[str, str]
    new: Json
    old: Json | None

    def seen_through(
        self, resource: Resource, namespace: str | None, matches: Predicate
    ) -> EventType | None:
        """The event that a watch with this selection gets, None if it gets none.

        An object that enters a selection is ADDED, one that leaves it DELETED.
        """
        if self.storage != resource.storage:
            return None
        if namespace is not None and self.new["metadata"].get("namespace") != namespace:
            return None
        after = self.type != "DELETED" and matches(self.new)
        before = self.old is not None and matches(self.old)
        if after:
            return "MODIFIED" if before else "ADDED"
        return "DELETED" if before else None


class History:
    """The last `kept` changes and those who wait for the next; the caller holds the lock."""

    def __init__(self, kept: int = 20_000) -> None:
        self._changes: deque[Change] = deque()
        self._kept = kept
        self._listeners: list[Callable[[Change], None]] = []
        self.version = 1
        self.oldest = 1

    def next_version(self) -> int:
        """Count up; one counter for all resources, as etcd has it."""
        self.version += 1
        return self.version

    def add(self, change: Change) -> None:
        """Keep a change and tell every listener."""
        self._changes.append(change)
        while len(self._changes) > self._kept:
            self.oldest = self._changes.popleft().version
        for listener in list(self._listeners):
            listener(change)

    def since(self, version: int) -> list[Change]:
        """The changes after `version`; raises ApiError 410 or 504 for one out of range."""
        if version > self.version:
            raise too_large_version(version, self.version)
        if version < self.oldest:
            raise gone(f"too old resource version: {version} ({self.oldest})")
        return [change for change in self._changes if change.version > version]

    def compact(self) -> None:
        """Forget everything, so that any earlier resourceVersion is too old."""
        self._changes.clear()
        self.oldest = self.next_version()

    def subscribe(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Call `listener` in the writer's thread for each change; returns how to stop that."""
        self._listeners.append(listener)

        def cancel() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return cancel
