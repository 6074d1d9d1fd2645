"""Failures on demand, and the log of what was asked: for tests of clients on a bad day."""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from metronome_salesforce.sandbox.kubernetes.exceptions import ApiError

_REASONS = {
    400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict",
    410: "Expired", 422: "Invalid", 429: "TooManyRequests", 500: "InternalError",
    502: "InternalError", 503: "ServiceUnavailable", 504: "Timeout",
}  # fmt: skip
_FORBIDDEN = 403


@dataclass(frozen=True, slots=True)
class Call:
    """One request and the status it got.

    `verb` is Kubernetes' (get, list, watch, create, update, patch, delete, deletecollection),
    `resource` the plural name, empty for discovery and other paths.
    """

    verb: str
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    user_agent: str = ""
    content_type: str = ""
    body: str = ""
    status: int = 0


@dataclass(frozen=True, slots=True)
class Match:
    """Which calls are meant; None matches any value. `subresource=""` means the object itself."""

    verb: str | None = None
    resource: str | None = None
    subresource: str | None = None
    namespace: str | None = None
    name: str | None = None

    def covers(self, call: Call) -> bool:
        """Whether the call is one of these."""
        pairs = (
            (self.verb, call.verb),
            (self.resource, call.resource),
            (self.subresource, call.subresource),
            (self.namespace, call.namespace),
            (self.name, call.name),
        )
        return all(wanted is None or wanted == actual for wanted, actual in pairs)


@dataclass(slots=True)
class Fault:
    """What happens to the matching calls, the next `times` of them or (None) all.

    `delay` in seconds comes first; `drop` then cuts the connection; `status` answers with an error
    of that code (for a watch and 410: an ERROR event, as the server does). With `after` the call is
    carried out before it fails, so the client does not learn that it succeeded.
    """

    match: Match
    status: int | None = None
    times: int | None = None
    delay: float = 0.0
    drop: bool = False
    after: bool = False
    retry_after: int | None = None
    message: str = ""
    hits: int = 0

    def error(self) -> ApiError | None:
        """The refusal to send, None if the call goes through."""
        if self.status is None:
            return None
        details = {} if self.retry_after is None else {"retryAfterSeconds": self.retry_after}
        reason = _REASONS.get(self.status, "Unknown")
        return ApiError(self.status, reason, self.message or f"injected: {reason}", details)


class Faults:
    """The active faults, and the state of the watches; safe to use from any thread."""

    def __init__(self, close_watches: Callable[[str | None], None]) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._frozen: set[str | None] = set()
        self._close_watches = close_watches

    def add(
        self,
        match: Match | None = None,
        *,
        status: int | None = None,
        times: int | None = None,
        delay: float = 0.0,
        drop: bool = False,
        after: bool = False,
        retry_after: int | None = None,
        message: str = "",
    ) -> Fault:
        """Start a fault (see Fault) and return it; its `hits` counts the calls it has met."""
        fault = Fault(match or Match(), status, times, delay, drop, after, retry_after, message)
        with self._lock:
            self._faults.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        """End a fault; one that has ended already is no error."""
        with self._lock:
            if fault in self._faults:
                self._faults.remove(fault)

    def clear(self) -> None:
        """End all faults and thaw all watches."""
        with self._lock:
            self._faults.clear()
            self._frozen.clear()

    def take(self, call: Call) -> Fault | None:
        """The oldest fault that covers the call; counts the hit."""
        with self._lock:
            for fault in self._faults:
                if fault.match.covers(call):
                    fault.hits += 1
                    if fault.times is not None and fault.hits >= fault.times:
                        self._faults.remove(fault)
                    return fault
        return None

    def forbids(self, call: Call) -> bool:
        """Whether the call would be answered with 403; no hit is counted."""
        with self._lock:
            return any(one.status == _FORBIDDEN and one.match.covers(call) for one in self._faults)

    def freeze_watches(self, resource: str | None = None) -> None:
        """Keep open watches (of one plural, or all) silent: no events, no bookmarks, no end."""
        with self._lock:
            self._frozen.add(resource)

    def thaw_watches(self) -> None:
        """Let all watches go on; they deliver what they have missed."""
        with self._lock:
            self._frozen.clear()

    def frozen(self, resource: str) -> bool:
        """Whether watches of this plural are silent now."""
        with self._lock:
            return None in self._frozen or resource in self._frozen

    def close_watches(self, resource: str | None = None) -> None:
        """End the open watches (of one plural, or all) as a restarting server does."""
        self._close_watches(resource)


@dataclass(slots=True)
class RequestLog:
    """Every call with the status it got, in order of their answers (watches: of their start)."""

    _calls: list[Call] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def record(self, call: Call) -> None:
        """Add one answered call."""
        with self._lock:
            self._calls.append(call)

    def calls(self, match: Match | None = None) -> list[Call]:
        """The calls so far, or the matching ones."""
        wanted = match or Match()
        with self._lock:
            return [call for call in self._calls if wanted.covers(call)]

    def counts(self) -> Counter[tuple[str, str, int]]:
        """Calls by (verb, resource, status)."""
        return Counter((call.verb, call.resource, call.status) for call in self.calls())

    def clear(self) -> None:
        """Start counting anew."""
        with self._lock:
            self._calls.clear()
