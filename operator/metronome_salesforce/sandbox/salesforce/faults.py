"""Faults on demand: what a real org does on a bad day, and the record of what was asked.

Each of these has bitten a real sync: errors before and after the commit, slow answers, dropped
connections, single rows that cannot be locked.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from metronome_salesforce.sandbox.salesforce.exceptions import RowError

_LOCK_MESSAGE = "unable to obtain exclusive access to this record or 1 records"


@dataclass(slots=True)
class Fault:
    """One fault on requests; see `Faults.add`."""

    match: str
    status: int | None
    error_code: str
    message: str
    body: Any
    times: int | None
    after: int
    delay: float
    drop: Literal["before", "after_commit"] | None
    hits: int = 0


@dataclass(slots=True)
class RowFault:
    """One fault on rows; see `Faults.row`."""

    sobject: str
    predicate: Callable[[dict[str, Any]], bool] | None
    every: int | None
    error: RowError
    times: int | None
    operation: str | None
    seen: int = 0
    hits: int = 0


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request as it was answered."""

    method: str
    path: str
    query: dict[str, str]
    status: int
    family: str
    body_size: int
    headers: dict[str, str] = field(default_factory=dict)


class Faults:
    """The faults to inject; empty at first. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: list[Fault] = []
        self._rows: list[RowFault] = []

    def add(
        self,
        match: str,
        *,
        status: int | None = None,
        error_code: str = "UNKNOWN_EXCEPTION",
        message: str = "An unexpected error occurred",
        body: Any = None,
        times: int | None = None,
        after: int = 0,
        delay: float = 0.0,
        drop: Literal["before", "after_commit"] | None = None,
    ) -> Fault:
        """Spoil requests that match `METHOD /path` (shell wildcards).

        With `status`, the request is answered so and not carried out; with `drop`, the connection
        is cut before the work or after it is committed; `delay` (seconds) comes first. The fault
        skips the first `after` matches and ends after `times`.
        """
        fault = Fault(match, status, error_code, message, body, times, after, delay, drop)
        with self._lock:
            self._requests.append(fault)
        return fault

    def row(
        self,
        sobject: str,
        *,
        key: Callable[[dict[str, Any]], bool] | None = None,
        every: int | None = None,
        status_code: str = "UNABLE_TO_LOCK_ROW",
        message: str = _LOCK_MESSAGE,
        times: int | None = None,
        operation: str | None = None,
    ) -> RowFault:
        """Refuse rows of an object: those for which `key(row)` is true, or every nth.

        `operation` limits it to insert, update or delete; `times` to so many rows.
        """
        fault = RowFault(
            sobject.lower(), key, every, RowError(status_code, message, []), times, operation
        )
        with self._lock:
            self._rows.append(fault)
        return fault

    def clear(self) -> None:
        """Remove every fault."""
        with self._lock:
            self._requests.clear()
            self._rows.clear()

    def for_request(self, method: str, path: str) -> Fault | None:
        """The fault that this request meets, counted."""
        with self._lock:
            for each in self._requests:
                if not fnmatchcase(f"{method} {path}", each.match):
                    continue
                if each.after > 0:
                    each.after -= 1
                    continue
                if each.times is not None and each.hits >= each.times:
                    continue
                each.hits += 1
                return each
        return None

    def for_row(self, sobject: str, operation: str, values: dict[str, Any]) -> RowError | None:
        """The error that this row meets, counted."""
        with self._lock:
            for each in self._rows:
                if each.sobject != sobject.lower():
                    continue
                if each.operation not in {None, operation}:
                    continue
                if each.times is not None and each.hits >= each.times:
                    continue
                each.seen += 1
                hit = each.every is None or each.seen % each.every == 0
                if hit and (each.predicate is None or each.predicate(values)):
                    each.hits += 1
                    return each.error
        return None
