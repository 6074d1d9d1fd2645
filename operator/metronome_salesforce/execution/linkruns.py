"""Link runs beside the event loop: a thread for each, and a session with the org that is kept.

A thread of this process and no child, because a link must be applied within two seconds, and the
watch of hundreds of idle orgs must not need hundreds of processes. For the same reason the session
stays open between runs: a look at the org is one query then.
"""

import asyncio
import contextlib
import contextvars
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from metronome_salesforce.errors import ConfigError, RetriableError
from metronome_salesforce.execution.running import open_session, pending_links, run_linking
from metronome_salesforce.guards import Limits, ensure_budget
from metronome_salesforce.inputs import SyncInputs
from metronome_salesforce.planning import Place
from metronome_salesforce.ports import Quota
from metronome_salesforce.relinking import LinkJob, LinkReport, failed_links
from metronome_salesforce.report import Outcome
from metronome_salesforce.salesforce.session import Session
from metronome_salesforce.stepping import CycleStoppedError

T = TypeVar("T")
Versions = tuple[object, ...]
"""What the session was opened with: the spec's generation and the versions of Secrets."""
Calls = list[tuple[str, str, str, int]]
"""Requests as (system, endpoint family, status, count)."""

_LONGEST_TELLING = 1.0
_STOP_SECONDS = 0.2
_LEAVING_SECONDS = 5.0


class LinkRuns:
    """The link runs of one MetronomeSync, one at a time; for use from one event loop.

    `environment` is the process's: it may allow further hosts (see `hosts`).
    """

    def __init__(self, threads: ThreadPoolExecutor, environment: Mapping[str, str]) -> None:
        self._threads = threads
        self._environment = environment
        self._session: Session | None = None
        self._versions: Versions = ()
        self._counted: Counter[tuple[str, str]] = Counter()
        self._calls: Counter[tuple[str, str, str]] = Counter()
        self.quota: Quota | None = None
        """The org's daily API calls by the newest answer."""

    def keeps(self, versions: Versions) -> bool:
        """Whether there is a session that was opened with these versions."""
        return self._session is not None and self._versions == versions

    async def run(
        self,
        inputs: SyncInputs,
        versions: Versions,
        job: LinkJob,
        *,
        moving: Callable[[Mapping[str, Place]], Awaitable[None]],
        resolved: Callable[[Mapping[str, str]], Awaitable[None]],
        lost: "asyncio.Task[None]",
    ) -> LinkReport | None:
        """Run a job to its end and report; None when it was stopped because `lost` ended.

        `moving` and `resolved` (see `run_links`) are called in the event loop while the run waits,
        for the second as long as it takes. When the caller is cancelled, the run is stopped after
        the call that it makes just then.
        """
        loop = asyncio.get_running_loop()
        stop = threading.Event()

        def tell(places: Mapping[str, Place]) -> None:
            telling = asyncio.run_coroutine_threadsafe(_awaited(moving(places)), loop)
            # Not to be told in time does no harm: what a cycle does meanwhile is looked at again.
            with contextlib.suppress(TimeoutError, CancelledError):
                telling.result(_LONGEST_TELLING)

        def note(customers: Mapping[str, str]) -> None:
            _wait_for(asyncio.run_coroutine_threadsafe(_awaited(resolved(customers)), loop), stop)

        try:
            session = self._kept(inputs, versions)
        except ConfigError as error:
            return failed_links(error)

        async def work() -> LinkReport:
            return await run_linking(
                inputs,
                job,
                moving=tell,
                resolved=note,
                environment=self._environment,
                stop=stop,
                session=session,
            )

        # With the caller's context: what its lines and spans belong to, the run's do.
        context = contextvars.copy_context()
        running: asyncio.Future[LinkReport] = loop.run_in_executor(
            self._threads, lambda: context.run(lambda: asyncio.run(work()))
        )
        try:
            both: set[asyncio.Future[Any]] = {running, lost}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            stop.set()  # a run that has ended does not hear it
            report = await asyncio.shield(running)
        except CycleStoppedError:
            report = None
        except Exception:
            self.drop()
            raise
        except asyncio.CancelledError:
            stop.set()
            await _left(running)
            raise
        self._count(session)
        if report is not None:
            for system, family, status, count in report.api_calls:
                if system != "salesforce":  # those are the session's, of all its runs
                    self._calls[system, family, status] += count
            if report.outcome is Outcome.FAILED and not report.reason.startswith("Metronome"):
                self.drop()
        return report

    async def pending(
        self, inputs: SyncInputs | None, versions: Versions, *, budget_percent: int
    ) -> list[str]:
        """The customers whose Account somebody changed in the org; one query.

        `inputs` are needed unless a session of these versions is kept. Raises ConfigError and
        RetriableError, the latter also when the day's API budget is used up.
        """
        session = self._kept(inputs, versions)
        limits = Limits(max_delete_percent=100, api_budget_percent=budget_percent)
        loop = asyncio.get_running_loop()
        try:
            ensure_budget(session.quota, limits, calls=1)
            return await loop.run_in_executor(self._threads, pending_links, session)
        except (ConfigError, RetriableError):
            self.drop()
            raise
        finally:
            self._count(session)

    def take_calls(self) -> Calls:
        """The requests made since this was last asked."""
        calls, self._calls = self._calls, Counter()
        return [(*labels, count) for labels, count in sorted(calls.items())]

    def drop(self) -> None:
        """Close the session that is kept; the next run opens another one."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _kept(self, inputs: SyncInputs | None, versions: Versions) -> Session:
        if self._session is not None and self._versions == versions:
            return self._session
        self.drop()
        if inputs is None:
            raise RuntimeError("a session cannot be opened without what it needs")
        self._session = open_session(inputs, environment=self._environment)
        self._versions, self._counted = versions, Counter()
        return self._session

    def _count(self, session: Session) -> None:
        now = Counter(session.calls)
        for (family, status), count in (now - self._counted).items():
            self._calls["salesforce", family, status] += count
        self._counted = now
        self.quota = session.quota or self.quota


async def _left(running: "asyncio.Future[LinkReport]") -> None:
    """Give a run that was told to stop some time for it; what it ends with does not matter."""
    await asyncio.wait({running}, timeout=_LEAVING_SECONDS)
    if running.done() and not running.cancelled():
        running.exception()


def _wait_for(what: "Future[None]", stop: threading.Event) -> None:
    """Wait in a run's thread; raises CycleStoppedError as soon as the run is to end."""
    while not stop.is_set():
        done, _ = wait({what}, _STOP_SECONDS)
        if done and not what.cancelled():
            return what.result()
    what.cancel()
    raise CycleStoppedError


async def _awaited(what: Awaitable[T]) -> T:
    return await what
