"""A relay of bytes before the API server, which can fall silent without closing anything.

That is what a firewall does that forgets a connection, or a node whose network is gone: whoever
waits for bytes waits on, and nobody is told. TLS passes through, so both sides are the real ones.
"""

import asyncio
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_CHUNK = 64 * 1024
_START_SECONDS = 10.0


@dataclass(slots=True, eq=False)
class _Pair:
    """The two ends of one connection, and whether bytes pass."""

    writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    passing: asyncio.Event = field(default_factory=asyncio.Event)

    def close(self) -> None:
        for writer in self.writers:
            writer.close()


class Relay:
    """Listens on loopback and relays to a server (`https://127.0.0.1:PORT`); a context manager."""

    def __init__(self, server: str) -> None:
        self._port = urlsplit(server).port
        self._listening = 0
        self._frozen = False
        self._pairs: set[_Pair] = set()
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(_START_SECONDS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(_START_SECONDS)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://127.0.0.1:{self._listening}"

    def freeze(self, *, new: bool) -> int:
        """Let nothing pass through the connections that are open, nor, if `new`, later ones.

        Their number: of a freeze that met nothing, nothing is proved.
        """
        return asyncio.run_coroutine_threadsafe(self._freeze(new=new), self._loop).result(5)

    def thaw(self) -> None:
        """Let all pass again, and what was held up first."""
        self._loop.call_soon_threadsafe(self._thaw)

    async def _freeze(self, *, new: bool) -> int:
        self._frozen = new
        for pair in self._pairs:
            pair.passing.clear()
        return len(self._pairs)

    def _thaw(self) -> None:
        self._frozen = False
        for pair in self._pairs:
            pair.passing.set()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self._listening = server.sockets[0].getsockname()[1]
        self._started.set()
        async with server:
            await self._ended.wait()
            # First, as newer Pythons wait for them.
            self._thaw()
            for pair in self._pairs:
                pair.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.close()
            return
        pair = _Pair((writer, back_writer))
        if not self._frozen:
            pair.passing.set()
        self._pairs.add(pair)
        try:
            await asyncio.wait(
                {
                    asyncio.create_task(_pass_on(reader, back_writer, pair)),
                    asyncio.create_task(_pass_on(back_reader, writer, pair)),
                }
            )
        finally:
            self._pairs.discard(pair)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pair: _Pair) -> None:
    """Relay one direction to its end, which is told only while bytes pass."""
    try:
        while data := await reader.read(_CHUNK):
            await pair.passing.wait()
            writer.write(data)
            await writer.drain()
        await pair.passing.wait()
    except OSError:
        await pair.passing.wait()
    finally:
        pair.close()
