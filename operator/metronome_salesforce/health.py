"""Whether the operator is alive and ready, and the small server that tells so.

An operator whose watch has died silently looks healthy to everybody: it runs, answers, and does
nothing. So liveness here means that what the watch delivers keeps up with what a plain list shows,
and that the event loop moves. When it does not, /healthz fails with a sentence and the kubelet
restarts the pod. An API server that is down does not make the operator unhealthy: a restart would
not help.

The server has a thread and an event loop of its own, to be able to tell that the other one stands.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from aiohttp import web

MAX_LAG_SECONDS = 120.0
"""How long the watch may be behind the list: kopf notices a silent one after 70 s by itself."""

MAX_STANDSTILL_SECONDS = 30.0
MAX_SILENCE_SECONDS = 300.0
_BEAT_SECONDS = 1.0
_START_SECONDS = 10.0


def is_newer(version: str, than: str | None) -> bool:
    """Whether one resourceVersion of an object is later than another.

    They are decimal numbers that grow (Kubernetes API concepts, Resource versions); from a server
    that numbers otherwise, any other version counts as newer.
    """
    if than is None:
        return True
    if version.isdecimal() and than.isdecimal():
        return int(version) > int(than)
    return version != than


class WatchLag:
    """How long the watch has been behind the list; times are monotonic seconds.

    That an object is gone is not always told: a watch that was too late for the server (HTTP 410)
    begins anew, and brings what is there. So what vanished counts only as long as the watch brings
    nothing else; and not at all where there is nothing that it could bring.
    """

    def __init__(self) -> None:
        self._delivered: dict[str, str] = {}
        self._missed: dict[str, tuple[str, float]] = {}
        self._vanished: dict[str, float] = {}
        self._forgiven: set[str] = set()
        self._told_gone: set[str] = set()
        self._anew = False

    def delivered(self, uid: str, version: str) -> None:
        """The watch brought this version of an object."""
        if self._delivered.get(uid) == version:
            self._anew = True
        self._delivered[uid] = version
        missed = self._missed.get(uid)
        if missed is not None and not is_newer(missed[0], version):
            del self._missed[uid]
        self._forgive()

    def deleted(self, uid: str) -> None:
        """The watch told that an object is gone."""
        self._delivered.pop(uid, None)
        self._missed.pop(uid, None)
        self._told_gone.add(uid)
        self._forgive()

    def listed(self, versions: Mapping[str, str], now: float) -> None:
        """A list showed these objects (uid to resourceVersion)."""
        missed: dict[str, tuple[str, float]] = {}
        for uid, version in versions.items():
            # The list may have been asked for before the watch told.
            if uid not in self._told_gone and is_newer(version, self._delivered.get(uid)):
                missed[uid] = self._missed.get(uid) or (version, now)
        vanished = self._delivered.keys() - versions.keys()
        for uid in vanished & self._forgiven:
            del self._delivered[uid]  # not before the second list: one may be older than the watch
        before = self._vanished
        self._vanished = {uid: before.get(uid, now) for uid in vanished - self._forgiven}
        self._missed = missed
        self._forgiven, self._told_gone = set(), set()
        if self._anew or not versions:
            self._forgive()
        self._anew = False

    def seconds(self, now: float) -> float:
        """How long the oldest thing has been missing that the watch ought to have brought."""
        # Copies: another thread asks than the one that writes.
        missed = [*(at for _, at in list(self._missed.values())), *list(self._vanished.values())]
        return max((now - since for since in missed), default=0.0)

    def _forgive(self) -> None:
        """See that the watch goes on, and will not tell any more what it has not told by now."""
        if self._vanished:
            self._forgiven |= self._vanished.keys()
            self._vanished = {}


class Health:
    """What the probes look at; written from the operator's event loop, read from the server's."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.lag = WatchLag()
        self.link_lag = WatchLag()
        self._beat: float | None = None
        self._looked: float | None = None
        self._listed = False
        self._listed_at = clock()
        self._stopping = False

    async def beat(self) -> None:
        """Run for ever in the event loop that is to be seen moving."""
        while True:
            self._beat = self._clock()
            await asyncio.sleep(_BEAT_SECONDS)

    def looked(self) -> None:
        """Note that the list was asked for, with whatever success."""
        self._looked = self._clock()

    def listed(self, versions: Mapping[str, str]) -> None:
        """Note what the list showed (uid to resourceVersion)."""
        self._listed = True
        self._listed_at = self._clock()
        self.lag.listed(versions, self._clock())

    def links_listed(self, versions: Mapping[str, str]) -> None:
        """Note what the list of CustomerLinks showed (uid to resourceVersion)."""
        self.link_lag.listed(versions, self._clock())

    def stopping(self) -> None:
        """Note that the operator is on its way out: not ready any more, and alive."""
        self._stopping = True

    def watch_lags(self) -> dict[str, float]:
        """How many seconds the watch of each resource (its plural) is behind the list."""
        now = self._clock()
        return {
            "metronomesyncs": self.lag.seconds(now),
            "customerlinks": self.link_lag.seconds(now),
        }

    def list_age(self) -> float:
        """How many seconds ago the MetronomeSyncs were last listed, else since the start."""
        return self._clock() - self._listed_at

    def trouble(self) -> str | None:
        """Why the operator has to be restarted, or None."""
        now = self._clock()
        if self._beat is not None and now - self._beat > MAX_STANDSTILL_SECONDS:
            return f"The event loop has not moved for {now - self._beat:.0f} seconds."
        if self._stopping:
            return None
        if self._looked is not None and now - self._looked > MAX_SILENCE_SECONDS:
            return f"The resources were last listed {now - self._looked:.0f} seconds ago."
        if (lag := max(self.lag.seconds(now), self.link_lag.seconds(now))) > MAX_LAG_SECONDS:
            return f"The watch has been behind the list for {lag:.0f} seconds."
        return None

    def not_ready(self) -> str | None:
        """Why the operator does not serve yet, or None."""
        if self._stopping:
            return "The operator is stopping."
        if not self._listed:
            return "The MetronomeSyncs have not been listed yet."
        return self.trouble()


class HealthServer:
    """Serves /healthz, /readyz and /metrics from a thread; a context manager.

    `render` makes the metrics and their content type. Host None is every address. Port 0 takes any
    free one, then `port` tells which. Raises OSError if the port is taken.
    """

    def __init__(
        self, health: Health, render: Callable[[], tuple[bytes, str]], host: str | None, port: int
    ) -> None:
        self._health = health
        self._render = render
        self._host = host
        self.port = port
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="health", daemon=True)
        self._thread.start()
        self._await_start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Close the server and end its thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_START_SECONDS)

    def _await_start(self) -> None:
        if not self._started.wait(_START_SECONDS):
            raise TimeoutError("the health server did not start")
        if self._failure is not None:
            self._thread.join(_START_SECONDS)
            raise self._failure

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        # Each probe and scrape would be a log line.
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        try:
            await runner.setup()
            await web.TCPSite(runner, self._host, self.port).start()
            self.port = runner.addresses[0][1]
        except OSError as error:
            self._failure = error
        self._started.set()
        if self._failure is None:
            await self._stop.wait()
        await runner.cleanup()

    async def _healthz(self, _request: web.Request) -> web.Response:
        return _answer(self._health.trouble())

    async def _readyz(self, _request: web.Request) -> web.Response:
        return _answer(self._health.not_ready())

    async def _metrics(self, _request: web.Request) -> web.Response:
        body, content_type = self._render()
        return web.Response(body=body, headers={"Content-Type": content_type})


def _answer(trouble: str | None) -> web.Response:
    if trouble is None:
        return web.Response(text="ok\n")
    return web.Response(status=503, text=f"{trouble}\n")
