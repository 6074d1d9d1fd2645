"""What all that one operator serves has in common: its calls, its name, its clock, its limits."""

import asyncio
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime

from metronome_salesforce.execution.child import GRACE_SECONDS
from metronome_salesforce.execution.lease import Timing
from metronome_salesforce.hosts import HostRules
from metronome_salesforce.kube import Kube, KubeError
from metronome_salesforce.metrics import Metrics

FIRST_BACK_OFF = 0.5
LONGEST_BACK_OFF = 8.0
"""Seconds between tries at the Kubernetes API, which double from the first to the longest.

An API server that is back after minutes finds the operator at work half a minute later, and two
tries may come one after the other until then.
"""

LONGEST_BACK_OFF_REFUSED = 30.0
"""The same where it has answered, and a person has to do something about it: a right is missing."""

BUG_PAUSE = 30.0
"""Seconds before something is tried again that failed in a way that nobody has thought of."""

_LINK_THREADS = 32


def link_threads() -> ThreadPoolExecutor:
    """Threads for link runs, made as they are needed; each may wait for minutes for a slow org."""
    return ThreadPoolExecutor(_LINK_THREADS, thread_name_prefix="links")


@dataclass(frozen=True, slots=True)
class Runtime:
    """What all resources of one operator share; times are seconds.

    `command` replaces the program that runs a cycle. `slots` bounds the cycles that run at once,
    `threads` run what moves customers without a cycle.
    """

    kube: Kube
    metrics: Metrics
    identity: str
    rules: HostRules
    slots: asyncio.Semaphore
    timing: Timing
    command: Sequence[str] | None = None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    progress_every: float = 2.0
    recheck_every: float = 30.0
    grace: float = GRACE_SECONDS
    threads: ThreadPoolExecutor = field(default_factory=link_threads)


class GoneError(Exception):
    """The resource does not exist any more, or another one has its name."""


def next_back_off(wait: float, error: Exception) -> float:
    """How long to wait after the next failure, if this one was waited for so long."""
    refused = isinstance(error, KubeError) and (error.forbidden or error.refused)
    return min(wait * 2, LONGEST_BACK_OFF_REFUSED if refused else LONGEST_BACK_OFF)


def jitter(seconds: float) -> float:
    """About so many seconds, so that many who wait do not all come at once."""
    return seconds * random.uniform(0.75, 1.25)  # noqa: S311 -- spreads load, guards nothing
