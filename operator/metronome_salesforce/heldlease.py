"""`sync -f --lease`: the Lease of a MetronomeSync in a cluster, held for a run outside of it.

A thread with an event loop of its own renews it, as the run's may stand still for minutes while a
plan is computed. Whoever loses the Lease is told at once, and the process ends if the run has not
ended when others may take the Lease over: the same time that the operator gives a cycle.
"""

import asyncio
import contextlib
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from metronome_salesforce.errors import ConfigError, ProductError, RetriableError
from metronome_salesforce.execution.lease import SharedLease, SyncLease, Timing
from metronome_salesforce.kube import Kube, KubeError
from metronome_salesforce.spec import MetronomeSync

Json = dict[str, Any]

PATIENCE = 40.0
"""Seconds of waiting for another holder: longer than a Lease is valid whose holder was killed."""

_KILL_SECONDS = 2.0  # kept back of a lost Lease's time, to end what would not stop
_SHORTEST_GRACE = 0.5
_EXIT_CODE = 1  # of any run that failed


@dataclass(frozen=True, slots=True)
class LeaseOptions:
    """Which cluster (a path, None: as kubectl finds it), and for how many seconds to wait."""

    kubeconfig: str | None = None
    patience: float = PATIENCE
    timing: Timing = field(default_factory=Timing)


class HeldLease:
    """The Lease while it is held, for the thread that does the work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lost: RetriableError | None = None
        self._acts: list[Callable[[], None]] = []

    @property
    def lost(self) -> RetriableError | None:
        """Why the work must end; None as long as the Lease is ours."""
        with self._lock:
            return self._lost

    def when_lost(self, act: Callable[[], None]) -> None:
        """Call this, from another thread, when the Lease is lost; at once if it is."""
        with self._lock:
            if self._lost is None:
                self._acts.append(act)
                return
        act()

    def lose(self, why: RetriableError) -> None:
        """Tell those who asked for it."""
        with self._lock:
            self._lost = why
            acts, self._acts = self._acts, []
        for act in acts:
            act()


@contextlib.contextmanager
def held(
    sync: MetronomeSync, options: LeaseOptions, tell: Callable[[str], None]
) -> Iterator[HeldLease]:
    """Hold the Lease of the MetronomeSync of this namespace and name; released in any case.

    `tell` gets a line for the person who waits. Raises ConfigError when there is no such
    MetronomeSync or no right to hold its Lease, RetriableError when another holds it for longer
    than the patience, or the cluster did not answer.
    """
    with _other_thread() as loop:
        holder = _Holder(sync, options, tell)
        acquiring = asyncio.run_coroutine_threadsafe(holder.acquire(), loop)
        try:
            try:
                acquiring.result()
            except KubeError as error:
                raise _explained(sync, error) from None
            yield holder.lease
        finally:
            acquiring.cancel()  # only ctrl-C comes here before it is done
            asyncio.run_coroutine_threadsafe(holder.release(), loop).result()


@contextlib.contextmanager
def _other_thread() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="lease", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class _Holder:
    """What the thread does; all of it runs in its event loop."""

    def __init__(
        self, sync: MetronomeSync, options: LeaseOptions, tell: Callable[[str], None]
    ) -> None:
        self.lease = HeldLease()
        self._sync = sync
        self._options = options
        self._tell = tell
        self._kube: Kube | None = None
        self._shared: SharedLease | None = None
        self._attempt: asyncio.Task[str | None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._why = ""

    async def acquire(self) -> None:
        """Get the Lease, or raise ProductError or KubeError."""
        options, metadata = self._options, self._sync.metadata
        self._kube = Kube(options.kubeconfig)
        body = await self._kube.get_sync(metadata.namespace, metadata.name)
        _ensure_same_org(self._sync, body)
        lease = SyncLease(self._kube, body, _identity(), options.timing)
        self._shared = SharedLease(lease)
        began, waits = _now(), False
        while not await self._try(self._shared, last=_now() >= began + options.patience):
            if not waits:
                self._tell(f"{self._why}; waiting for up to {options.patience:.0f} seconds")
            waits = True
            left = began + options.patience - _now()
            await asyncio.sleep(max(0.0, min(options.timing.poll, left)))
        self._watching = asyncio.create_task(self._watch(self._shared))

    async def _try(self, shared: SharedLease, *, last: bool) -> bool:
        """Try once; False for a reason that may pass, which is raised at the last time."""
        # A ctrl-C does not cut it short: the Lease that it may have got has to be given back.
        self._attempt = asyncio.create_task(shared.try_acquire())
        try:
            holder = await asyncio.shield(self._attempt)
        except KubeError as error:
            if last or error.forbidden or error.refused or error.not_found:
                raise
            self._why = str(error)
            return False
        if holder is None:
            return True
        self._why = f"{holder} holds the Lease of {_name(self._sync)}"
        if last:
            raise RetriableError(
                "LeaseHeld",
                f"Nothing was written: {self._why}. An operator holds it while it runs a cycle or"
                " moves a customer, another sync -f --lease until it ends. Try again when that is"
                " over.",
            )
        return False

    async def release(self) -> None:
        """Give the Lease back if we have it."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        if self._shared is not None and self._attempt is not None:
            (result,) = await asyncio.gather(self._attempt, return_exceptions=True)
            if result is None:
                await self._shared.release()
        if self._kube is not None:
            self._kube.close()

    async def _watch(self, shared: SharedLease) -> None:
        """See to it that the work ends when the Lease is lost; cancelled when that is over."""
        (keeper,) = (await asyncio.wait({shared.lost}))[0]
        self.lease.lose(
            RetriableError(
                "LeaseLost",
                f"The run was stopped: {keeper.exception()}. What was written so far stands; try"
                " again with --lease.",
            )
        )
        timing = self._options.timing
        time_to_stop = timing.duration - timing.give_up - _KILL_SECONDS
        await asyncio.sleep(max(_SHORTEST_GRACE, time_to_stop))
        self._tell(
            f"LeaseLost: {keeper.exception()}, and the call under way does not end: it is cut off,"
            " before another may write"
        )
        os._exit(_EXIT_CODE)


def _ensure_same_org(sync: MetronomeSync, body: Json) -> None:
    """The Lease guards the org that the cluster's MetronomeSync writes to, and no other."""
    ours = sync.spec.salesforce.instance_url
    theirs = str(body["spec"]["salesforce"]["instanceUrl"])
    if ours.rstrip("/").lower() != theirs.rstrip("/").lower():
        raise ConfigError(
            "LeaseOfAnotherOrg",
            f"In the cluster, {_name(sync)} writes to {theirs}, and in the file to {ours}: its"
            " Lease does not guard this run. Name the right cluster with --kubeconfig, or leave"
            " --lease out.",
        )


def _explained(sync: MetronomeSync, error: KubeError) -> ProductError:
    space = sync.metadata.namespace
    if error.not_found:
        return ConfigError(
            "SyncNotFound",
            f"There is no {_name(sync)} in the cluster, and so no Lease to hold. Check"
            " metadata.namespace in the file and the cluster that --kubeconfig names; if no"
            f" operator serves it, leave --lease out. The API server said: {error}",
        )
    if error.forbidden:
        return ConfigError(
            "LeaseForbidden",
            f"To hold the Lease of {_name(sync)}, you need the right to get metronomesyncs and to"
            f" get, create and update leases (coordination.k8s.io) in namespace {space}. The API"
            f" server said: {error}",
        )
    return RetriableError(
        "ClusterUnavailable",
        f"The Lease of {_name(sync)} cannot be had: {error}. Check the cluster that --kubeconfig"
        " names; if no operator serves this MetronomeSync, leave --lease out.",
    )


def _name(sync: MetronomeSync) -> str:
    return f"MetronomeSync {sync.metadata.name} in namespace {sync.metadata.namespace}"


def _identity() -> str:
    # Not all machines have names of their own: containers of a CI may share name and process id.
    return f"sync-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


def _now() -> float:
    return asyncio.get_running_loop().time()
