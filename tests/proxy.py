"""A forward proxy as a process of its own, as companies put one before the internet.

`python -m tests.proxy LOG [--user USER:PASSWORD] [--refuse STATUS]` listens on loopback, prints its
port, and notes in LOG each host that it was asked for, a line each: status, method, target. With a
user it answers 407 to whoever does not name it; with a status it refuses everybody so. CONNECT
opens a tunnel; requests for http addresses are passed on.
"""

import argparse
import asyncio
import base64
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

_PHRASES = {403: "Forbidden", 407: "Proxy Authentication Required", 502: "Bad Gateway"}
_PART = 65_536


class Proxy:
    """A running proxy, as a test sees it."""

    def __init__(self, port: int, log: Path, user: str) -> None:
        self._log = log
        self.address = f"127.0.0.1:{port}"
        self.url = f"http://{user}@{self.address}" if user else f"http://{self.address}"

    def environment(self, no_proxy: str = "", url: str | None = None) -> dict[str, str]:
        """The variables of a process that is to use it, in both spellings."""
        values = {"HTTPS_PROXY": url or self.url, "HTTP_PROXY": url or self.url}
        values["NO_PROXY"] = no_proxy
        return {**values, **{name.lower(): value for name, value in values.items()}}

    def asked(self) -> set[tuple[str, str, str]]:
        """What it was asked for: status, method and target."""
        found = set()
        for line in self._log.read_text("ascii").splitlines():
            status, method, target = line.split(" ")
            found.add((status, method, target))
        return found


@contextmanager
def proxy_process(folder: Path, *, user: str = "", refuse: int = 0) -> Iterator[Proxy]:
    """Start one, which ends with the test."""
    log = folder / "proxy.log"
    words = [*(["--user", user] if user else []), *(["--refuse", str(refuse)] if refuse else [])]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.proxy", str(log), *words], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield Proxy(int(process.stdout.readline()), log, user)
        finally:
            process.kill()


# -- the process -----------------------------------------------------------------------------------


class _Server:
    def __init__(self, log: Path, user: str, refuse: int) -> None:
        self._log = log
        self._expected = f"Basic {base64.b64encode(user.encode()).decode()}" if user else ""
        self._refuse = refuse

    async def serve(self) -> None:
        self._log.touch()
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 -- whoever started it reads it
        async with server:
            await server.serve_forever()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            await self._talk(reader, writer)
        with contextlib.suppress(ConnectionError):
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, target, _ = head.split("\r\n", 1)[0].split(" ")
        given = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        headers = {name.lower(): value for name, value in given.items()}
        status = self._refuse
        if self._expected and headers.get("proxy-authorization") != self._expected:
            status = 407
        place = target if method == "CONNECT" else urlsplit(target).netloc
        host, _, port = place.rpartition(":")
        upstream = None
        if not status:
            try:
                upstream = await asyncio.open_connection(host.strip("[]"), int(port))
            except OSError:
                status = 502
        self._note(status or 200, method, target)
        if upstream is None:
            phrase = f"HTTP/1.1 {status} {_PHRASES[status]}\r\nContent-Length: 0\r\n"
            writer.write(f"{phrase}Connection: close\r\n\r\n".encode())
            await writer.drain()
            return
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            path = target.removeprefix(f"http://{place}")
            kept = [line for line in head.split("\r\n")[1:] if not line.startswith("Proxy-")]
            upstream[1].write("\r\n".join([f"{method} {path} HTTP/1.1", *kept]).encode("latin-1"))
        await asyncio.gather(_pass_on(reader, upstream[1]), _pass_on(upstream[0], writer))

    def _note(self, status: int, method: str, target: str) -> None:
        with self._log.open("a", encoding="ascii") as stream:
            stream.write(f"{status} {method} {target}\n")


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while part := await reader.read(_PART):
            writer.write(part)
            await writer.drain()
    with contextlib.suppress(ConnectionError):
        writer.close()


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("log", type=Path)
    parser.add_argument("--user", default="")
    parser.add_argument("--refuse", type=int, default=0)
    options = parser.parse_args()
    asyncio.run(_Server(options.log, options.user, options.refuse).serve())


if __name__ == "__main__":
    _main()
