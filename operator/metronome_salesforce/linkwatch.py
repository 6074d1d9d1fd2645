"""Look for Orphaned Customers whose Account a person changed in Salesforce: one query each time.

It needs no Lease, as it writes nothing. Who was found is looked at by a link run.
"""

import asyncio
import logging
import random

from metronome_salesforce.errors import ConfigError, ProductError, RetriableError
from metronome_salesforce.execution.linkruns import LinkRuns
from metronome_salesforce.references import read_inputs
from metronome_salesforce.runtime import Runtime
from metronome_salesforce.series import Key
from metronome_salesforce.spec import MetronomeSync

logger = logging.getLogger(__name__)

_LONGEST_WAIT = 900.0
_TRUST_SECONDS = 900.0  # in which it is not looked whether Secrets have changed


class Watch:
    """The watch over one org; times are monotonic seconds."""

    def __init__(self, key: Key, runs: LinkRuns, runtime: Runtime) -> None:
        self._key = key
        self._runs = runs
        self._runtime = runtime
        self._due: float | None = None
        self._failures = 0
        self._trouble: str | None = None
        self._versions: tuple[str, ...] = ()
        self._read_at = 0.0

    def rest(self) -> None:
        """Start anew: after a while without watching, or when what failed may work now."""
        self._due, self._failures = None, 0

    def due(self, sync: MetronomeSync) -> float:
        """When to look next; the first time is any within the interval, as many start at once."""
        if self._due is None:
            self._due = _now() + self._every(sync) * random.random()  # noqa: S311 -- spreads load
        return self._due

    def used(self, versions: tuple[str, ...]) -> None:
        """Take note of the versions of Secrets that a run has just read."""
        self._versions, self._read_at = versions, _now()

    async def look(self, sync: MetronomeSync) -> list[str]:
        """The customers whose Account somebody changed; none while that cannot be seen."""
        try:
            found = await self._pending(sync)
        except ProductError as error:
            self._failed(sync, error)
            return []
        finally:
            self._runtime.metrics.requested(self._key, self._runs.take_calls())
            self._runtime.metrics.show_quota(self._key, self._runs.quota)
        if self._trouble is not None:
            logger.info("changes in Salesforce can be seen again")
        self._trouble, self._failures = None, 0
        spread = random.uniform(0.9, 1.1)  # noqa: S311 -- spreads load
        self._due = _now() + self._every(sync) * spread
        return found

    async def _pending(self, sync: MetronomeSync) -> list[str]:
        inputs = None
        generation = sync.metadata.generation
        trusted = _now() - self._read_at < _TRUST_SECONDS
        if not (trusted and self._runs.keeps((generation, *self._versions))):
            inputs, versions = await read_inputs(self._runtime.kube, self._runtime.rules, sync)
            self.used(versions)
        return await self._runs.pending(
            inputs,
            (generation, *self._versions),
            budget_percent=sync.spec.salesforce.api_budget_percent,
        )

    def _failed(self, sync: MetronomeSync, error: ProductError) -> None:
        if error.reason != self._trouble:
            logger.warning("changes in Salesforce cannot be seen: %s", error.message)
        self._trouble = error.reason
        wait = max(self._every(sync), 1.0) * (1 << min(self._failures, 12))
        if isinstance(error, ConfigError):
            wait = max(wait, self._runtime.recheck_every)
        elif isinstance(error, RetriableError):
            wait = max(wait, error.after or 0.0)
        self._failures += 1
        spread = random.uniform(0.9, 1.1)  # noqa: S311 -- spreads load
        self._due = _now() + min(wait, max(_LONGEST_WAIT, self._every(sync))) * spread

    def _every(self, sync: MetronomeSync) -> float:
        return sync.spec.linking.watch_salesforce_every.total_seconds()


def _now() -> float:
    return asyncio.get_running_loop().time()
