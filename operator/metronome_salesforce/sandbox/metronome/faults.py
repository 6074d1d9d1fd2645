"""Make the emulated service misbehave on purpose.

A fault is matched by method and path pattern, can spare the first requests and can end by itself.
Rate limits look as Metronome documents them: 429 with X-Metronome-Rate-Limit-Type and, unless a
test adds it, no Retry-After.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import Any

from metronome_salesforce.sandbox.metronome.wire import dumps

_GATEWAY_PAGE = "<html><head><title>{0}</title></head><body><center>{0}</center></body></html>"
_MESSAGES = {408: "Request timed out", 429: "Rate limit exceeded", 500: "Internal server error"}


@dataclass(slots=True)
class Fault:
    """One switch; what is None is not done. Without status, drop and truncate it only delays."""

    match: str
    status: int | None = None
    times: int | None = None
    after: int = 0
    delay: float = 0.0
    drop: bool = False
    truncate: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None

    @property
    def answers(self) -> bool:
        """Whether the request is not handled as usual."""
        return self.status is not None or self.drop

    def content(self) -> tuple[bytes, dict[str, str]]:
        """Return the body to send and its headers."""
        headers: dict[str, str] = {"Content-Type": "application/json"}
        if self.status == 429:
            headers["X-Metronome-Rate-Limit-Type"] = "client"
        body = self.body
        if body is None and self.status is not None and self.status in {502, 503, 504}:
            # A proxy in front answers these, and it does not speak JSON.
            headers["Content-Type"] = "text/html"
            body = _GATEWAY_PAGE.format(f"{self.status} {HTTPStatus(self.status).phrase}")
        elif body is None:
            body = {"message": _MESSAGES.get(self.status or 0, "Refused by the sandbox")}
        headers.update(self.headers)
        if isinstance(body, bytes):
            return body, headers
        text = body if isinstance(body, str) else dumps(body)
        return text.encode(), headers


@dataclass(slots=True)
class _Bucket:
    """A token bucket: `burst` requests at once, then `per_second`."""

    match: str
    per_second: float
    burst: float
    tokens: float
    filled_at: float

    def admits(self, moment: float) -> bool:
        grown = self.tokens + (moment - self.filled_at) * self.per_second
        self.tokens = min(self.burst, grown)
        self.filled_at = moment
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class Faults:
    """The switches that are on; the first one that matches a request is taken."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._faults: list[Fault] = []
        self._buckets: list[_Bucket] = []

    def add(
        self,
        match: str = "* *",
        *,
        status: int | None = None,
        times: int | None = None,
        after: int = 0,
        delay: float = 0.0,
        drop: bool = False,
        truncate: bool = False,
        headers: dict[str, str] | None = None,
        body: Any = None,
    ) -> Fault:
        """Switch a fault on for requests like "GET /v1/customers/*/invoices".

        `times`: end after so many requests; `after`: spare so many first; `delay`: seconds before
        anything else; `drop`: close the connection without an answer; `truncate`: send half of the
        usual answer, then close; `body`: text, bytes or a JSON value instead of the usual one.
        502, 503 and 504 are HTML pages unless `body` says otherwise.
        """
        fault = Fault(match, status, times, after, delay, drop, truncate, dict(headers or {}), body)
        with self._lock:
            self._faults.append(fault)
        return fault

    def limit(self, match: str, *, per_second: float, burst: int = 1) -> None:
        """Answer 429 beyond this rate, as Metronome does per endpoint family."""
        bucket = _Bucket(match, per_second, burst, burst, self._clock())
        with self._lock:
            self._buckets.append(bucket)

    def clear(self) -> None:
        """Switch everything off."""
        with self._lock:
            self._faults.clear()
            self._buckets.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault that this request meets, and count it."""
        if not self._faults and not self._buckets:
            return None
        asked = f"{method} {path}"
        with self._lock:
            for fault in self._faults:
                if fault.times == 0 or not fnmatchcase(asked, fault.match):
                    continue
                if fault.after > 0:
                    fault.after -= 1
                    continue
                if fault.times is not None:
                    fault.times -= 1
                return fault
            for bucket in self._buckets:
                if fnmatchcase(asked, bucket.match) and not bucket.admits(self._clock()):
                    return Fault(bucket.match, status=429)
        return None
