"""The operator as a program: kopf watches, everything else is ours. The only module with kopf.

MetronomeSyncs and CustomerLinks are watched with `on.event`: level-triggered, and without the
annotations in which kopf would keep the last spec: those end at 256 KiB, are written before the
status, and would be a second memory beside it. Deleting a MetronomeSync needs no clean-up in any
org, so nothing may stand in its way; the finalizer of CustomerLinks is set by us, because many of
them are worked off together.
"""

import asyncio
import dataclasses
import logging
import os
import random
import secrets
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import kopf

from metronome_salesforce import tracing
from metronome_salesforce.errors import ConfigError
from metronome_salesforce.execution.lease import Timing
from metronome_salesforce.health import Health, HealthServer
from metronome_salesforce.hosts import host_rules
from metronome_salesforce.kube import Kube, KubeError
from metronome_salesforce.metrics import CONTENT_TYPE, Metrics
from metronome_salesforce.runtime import LONGEST_BACK_OFF, Runtime, link_threads
from metronome_salesforce.spec import GROUP, LINK_PLURAL, SYNC_PLURAL, VERSION
from metronome_salesforce.syncs import Syncs

logger = logging.getLogger(__name__)

_KOPF_END_SECONDS = 10.0  # it gives its own tasks 5 seconds, and its workers 2
_LEFT_SECONDS = 5.0


class KopfStuckError(Exception):
    """The framework has failed and does not even end; the process has to."""


@dataclass(frozen=True, slots=True)
class OperatorOptions:
    """How an operator runs; times are seconds.

    `namespaces`: the ones to serve, none for the whole cluster. `kubeconfig`: a file, None for the
    pod's own access or the usual file. `port` (0: any free one) of `host` (None: all addresses, of
    IPv4 and IPv6) serves /metrics, /healthz and /readyz. `identity` is what Leases are held under:
    the pod's name, or any name that no other living process has; without one a new name is made,
    and Leases of a killed process have to expire. `max_cycles` run at once, others wait.
    """

    namespaces: tuple[str, ...] = ()
    kubeconfig: str | None = None
    host: str | None = None
    port: int = 8080
    identity: str | None = None
    max_cycles: int = 10
    progress_every: float = 2.0
    resync_every: float = 60.0
    recheck_every: float = 30.0
    lease: Timing = dataclasses.field(default_factory=Timing)


def run(
    options: OperatorOptions,
    *,
    cycle_command: Sequence[str] | None = None,
    now: Callable[[], datetime] | None = None,
    stop: threading.Event | None = None,
    on_started: Callable[[int], None] | None = None,
) -> int:
    """Serve until a signal (or `stop`) ends it; 0 then, 1 after a failure, 2 for bad settings.

    Logging is the caller's to configure. `cycle_command` replaces the program that runs cycles,
    `now` the clock that schedules are read by; `on_started` is told the port of the probes.
    `stop` is for callers that are not the main thread; it is also set when the operator ends by
    itself.
    """
    try:
        rules = host_rules(os.environ)
        kube = Kube(options.kubeconfig)
        tracing.start(os.environ)
    except (ConfigError, KubeError) as error:
        logger.error("cannot start: %s", error)  # noqa: TRY400 -- a setting, not a bug
        return 2
    metrics = Metrics()
    threads = link_threads()
    identity = options.identity or f"{socket.gethostname()}-{secrets.token_hex(4)}"

    def make_runtime() -> Runtime:
        return Runtime(
            kube=kube,
            metrics=metrics,
            identity=identity,
            rules=rules,
            slots=asyncio.Semaphore(options.max_cycles),
            timing=options.lease,
            command=cycle_command,
            now=now or (lambda: datetime.now(UTC)),
            progress_every=options.progress_every,
            recheck_every=options.recheck_every,
            threads=threads,
        )

    health = Health()
    metrics.show_health(health.watch_lags, health.list_age)
    try:
        with HealthServer(
            health, lambda: (metrics.render(), CONTENT_TYPE), options.host, options.port
        ) as server:
            if on_started is not None:
                on_started(server.port)
            _run_to_end(lambda: _serve(options, make_runtime(), health, identity, stop))
    except OSError as error:
        logger.error("cannot serve the probes on port %d: %s", options.port, error.strerror)  # noqa: TRY400 -- as above
        return 2
    except Exception:
        # The kubelet restarts the pod; a process that lives without its watch would be worse.
        logger.exception("the operator ends after a failure")
        return 1
    finally:
        kube.close()
        threads.shutdown(wait=False, cancel_futures=True)
        tracing.stop()
    return 0


async def _serve(
    options: OperatorOptions,
    runtime: Runtime,
    health: Health,
    identity: str,
    stop: threading.Event | None,
) -> None:
    syncs = Syncs(runtime, health)

    async def end() -> None:
        health.stopping()
        await syncs.stop()

    background = [
        asyncio.create_task(health.beat()),
        asyncio.create_task(syncs.resync(options.namespaces, options.resync_every)),
    ]
    # kopf takes all tasks that it does not know from before for its own, and ends them with it.
    ours = asyncio.all_tasks()
    try:
        tasks = await kopf.spawn_tasks(
            registry=_registry(runtime.kube, syncs, options, end),
            namespaces=options.namespaces,
            clusterwide=not options.namespaces,
            standalone=True,
            # Given, because kopf would make one of the user's name, which a container's numeric
            # user does not have: it would not start.
            identity=_kopf_identity(identity),
            stop_flag=stop,
        )
        running = asyncio.create_task(kopf.run_tasks(tasks, ignored=ours))
        first, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        failed = any(not one.cancelled() and one.exception() is not None for one in first)
        # None of kopf's tasks ends but at the end, or by a failure; then some of the others may
        # wait for ever for what the failed one should have brought.
        await end()
        done, _ = await asyncio.wait({running}, timeout=_KOPF_END_SECONDS)
        if not done:
            raise KopfStuckError("kopf did not end")
        try:
            await running
        except (AssertionError, RuntimeError):
            # Asked to end, kopf closes its sessions under tasks that still try to reach an API
            # server which is down; aiohttp asserts that they are open.
            if failed:
                raise
            logger.warning("kopf ended while it waited for the API server")
    finally:
        if stop is not None:
            stop.set()  # else the thread in which kopf waits for it would never end
        await end()
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)


def _run_to_end(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run the coroutine as `asyncio.run` does, but wait for what it leaves behind only so long."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(main())
    finally:
        if left := asyncio.all_tasks(loop):
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.wait(left, timeout=_LEFT_SECONDS))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _registry(
    kube: Kube, syncs: Syncs, options: OperatorOptions, end: Callable[[], Any]
) -> kopf.OperatorRegistry:
    """The handlers, in a registry of this operator's own."""
    registry = kopf.OperatorRegistry()

    @kopf.on.startup(registry=registry)
    async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        _configure(settings, namespaced=bool(options.namespaces))

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        connection = kube.connection()
        return kopf.ConnectionInfo(
            server=connection.server,
            ca_path=connection.ca_file,
            insecure=not connection.verify,
            certificate_path=connection.cert_file,
            private_key_path=connection.key_file,
            token=connection.token,
            username=connection.username,
            password=connection.password,
            trust_env=connection.through_proxies,
        )

    @kopf.on.event(GROUP, VERSION, SYNC_PLURAL, registry=registry)
    async def sync_changed(event: kopf.RawEvent, **_: Any) -> None:
        syncs.watched(_plain(event["object"]), deleted=event["type"] == "DELETED")

    @kopf.on.event(GROUP, VERSION, LINK_PLURAL, registry=registry)
    async def link_changed(event: kopf.RawEvent, **_: Any) -> None:
        syncs.link_watched(_plain(event["object"]), deleted=event["type"] == "DELETED")

    @kopf.on.cleanup(registry=registry)
    async def stop_cycles(**_: Any) -> None:
        await end()

    return registry


def _configure(settings: kopf.OperatorSettings, *, namespaced: bool) -> None:
    """Kopf's settings for production; each differs from the default for the reason given."""
    # The default gives up after 54 s of HTTP 5xx or 403, and the process exits: for ever instead.
    settings.networking.error_backoffs = _BackOffs()
    # A server that accepts and says nothing is noticed; the defaults are 5 minutes and none.
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    # Watches end and begin anew, so that none hangs on a forgotten connection for longer.
    settings.watching.server_timeout = 5 * 60
    settings.watching.client_timeout = 6 * 60
    settings.watching.connect_timeout = 5
    # The server sends a bookmark each minute: a watch that is silent for longer is dead.
    settings.watching.inactivity_timeout = 70
    # Without a limit, a burst of events takes a task for each object and keeps the memory. A slot
    # stays taken for the idle timeout after each object: 5 s by default, which would let 4 objects
    # a second through, and a thousand CustomerLinks come in a few seconds.
    settings.queueing.worker_limit = 50
    settings.queueing.idle_timeout = 0.1
    # Our Events are posted by us; kopf's log lines are none.
    settings.posting.level = logging.WARNING
    settings.posting.loggers = False
    # One replica (strategy Recreate) and a Lease for each cycle; peering would need a CRD of its
    # own, and pauses both of two equal replicas.
    settings.peering.standalone = True
    # Our own names, should a handler with state ever be added: moving later handles all anew.
    # kopf takes its finalizer off whatever no handler of its own needs it for: not our name.
    settings.persistence.finalizer = f"{GROUP}/kopf-finalizer"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(
        prefix=GROUP, key="last-handled-configuration"
    )
    # A namespaced role may neither list namespaces nor definitions.
    settings.scanning.disabled = namespaced
    # A last resort; kubelets wait 30 s for a pod by default.
    settings.process.ultimate_exiting_timeout = 60


class _BackOffs:
    """Seconds between tries, without end and with jitter; each `iter` starts anew.

    It has no length on purpose: kopf takes what has one for a number of tries.
    """

    def __iter__(self) -> Iterator[float]:
        seconds = 1.0
        while True:
            yield seconds * random.uniform(0.75, 1.25)  # noqa: S311 -- spreads load
            seconds = min(seconds * 1.6, LONGEST_BACK_OFF)


def _kopf_identity(identity: str) -> Any:
    # kopf's type for it is not public; it is text.
    return identity


def _plain(value: Any) -> Any:
    """A copy in dicts and lists: kopf hands out views of what it goes on using."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
