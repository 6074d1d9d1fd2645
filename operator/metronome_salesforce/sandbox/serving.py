"""Serve an aiohttp application on loopback from a background thread.

A thread of its own, because the tests and the demo drive the emulators' state directly while the
operator, a separate process, talks to them over the wire.
"""

import asyncio
import ssl
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from aiohttp import web

_START_SECONDS = 10.0
_SHUTDOWN_SECONDS = 0.1
_ACCEPT_SECONDS = 0.01


class Served:
    """A running server; a context manager that stops it at the end.

    `url` is `http://127.0.0.1:PORT` or, with `tls`, `https://localhost:PORT`. Port 0 takes any free
    one. `make_app` is called in the server's own event loop. Raises OSError if the port is taken.
    """

    def __init__(
        self,
        make_app: Callable[[], web.Application],
        *,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._make_app = make_app
        self._tls = tls
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._failure: BaseException | None = None
        self.port = port
        self._thread = threading.Thread(target=self._run, name="sandbox-server", daemon=True)
        self._thread.start()
        self._await_start()

    @property
    def url(self) -> str:
        """The base URL, without a trailing slash."""
        if self._tls is not None:
            return f"https://localhost:{self.port}"
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Close every connection and end the thread; safe to call twice."""
        loop, stop = self._loop, self._stop
        if loop is not None and stop is not None and self._thread.is_alive():
            loop.call_soon_threadsafe(stop.set)
        self._thread.join(_START_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _await_start(self) -> None:
        if not self._ready.wait(_START_SECONDS):
            raise TimeoutError("the sandbox server did not start within 10 seconds")
        if self._failure is not None:
            self._thread.join(_START_SECONDS)
            raise self._failure

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        runner = web.AppRunner(
            self._make_app(), access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS
        )
        try:
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", self.port, ssl_context=self._tls)
            await site.start()
            self.port = runner.addresses[0][1]
        except BaseException as error:  # noqa: BLE001 -- handed to the thread that waits
            self._failure = error
            await runner.cleanup()
            return
        finally:
            self._ready.set()
        await self._stop.wait()
        # A connection that is accepted but not attached to the server when the server closes is
        # refused by asyncio without being closed (Python 3.11). A timer's wake-up comes after the
        # attaching of all that was accepted before it, and before the next accept.
        await asyncio.sleep(_ACCEPT_SECONDS)
        await site.stop()
        # Then a moment for those attached last to be made known to the application's server.
        await asyncio.sleep(_ACCEPT_SECONDS)
        server = runner.server
        transports = _transports(server)
        await runner.cleanup()
        # TLS handshakes that are under way would bring connections that nobody closes any more.
        handshakes = asyncio.all_tasks() - {asyncio.current_task()}
        for handshake in handshakes:
            handshake.cancel()
        await asyncio.gather(*handshakes, return_exceptions=True)
        # Whoever does not read (a killed process's watch) keeps a closing transport open.
        for transport in [*transports, *_transports(server)]:
            transport.abort()
        await asyncio.sleep(_ACCEPT_SECONDS)


def _transports(server: web.Server | None) -> list[asyncio.Transport]:
    connections = server.connections if server is not None else []
    return [one.transport for one in connections if one.transport is not None]
