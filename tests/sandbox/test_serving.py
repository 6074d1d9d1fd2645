"""The emulators' server ends with all of its connections, whenever they were made."""

import gc
import socket
import ssl
import threading
from contextlib import suppress

import pytest
from aiohttp import web

from metronome_salesforce.sandbox.certificates import CertificateAuthority
from metronome_salesforce.sandbox.serving import Served

_ROUNDS = 25


def _knock(port: int, ended: threading.Event) -> None:
    while not ended.is_set():
        try:
            socket.create_connection(("127.0.0.1", port), timeout=0.1).close()
        except OSError:
            return


def left_behind(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is found unclosed from now on; what other tests have left is not this server's."""
    gc.collect()
    found: list[str] = []
    monkeypatch.setattr("sys.unraisablehook", lambda left: found.append(str(left.exc_value)))
    return found


def test_connections_made_while_it_ends_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asyncio does not close what it accepted just before its server was closed."""
    left_open = left_behind(monkeypatch)
    for _ in range(_ROUNDS):
        server, ended = Served(web.Application), threading.Event()
        clients = [threading.Thread(target=_knock, args=(server.port, ended)) for _ in range(4)]
        for client in clients:
            client.start()
        server.stop()
        ended.set()
        for client in clients:
            client.join()
    gc.collect()

    assert left_open == []


def test_a_client_that_does_not_read_does_not_outlive_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A closing connection waits for its buffer to be read, and the client may be dead."""
    left_open = left_behind(monkeypatch)

    async def flood(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 1_000_000)

    def make_app() -> web.Application:
        app = web.Application()
        app.router.add_get("/", flood)
        return app

    server = Served(make_app)
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(1)
        server.stop()
    gc.collect()

    assert left_open == []


def _send(client: socket.socket, last: bytes) -> None:
    with suppress(OSError):  # the server is gone
        client.sendall(last)


def test_a_handshake_that_ends_while_it_ends_leaves_no_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The client sends its last part at any moment of the server's end."""
    left_open = left_behind(monkeypatch)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    tls = CertificateAuthority().server_context()
    for moment in range(0, 60, 3):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        handshake = context.wrap_bio(incoming, outgoing)
        server = Served(web.Application, tls=tls)
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
            with pytest.raises(ssl.SSLWantReadError):
                handshake.do_handshake()
            client.sendall(outgoing.read())
            while True:
                incoming.write(client.recv(65_536))
                try:
                    handshake.do_handshake()
                except ssl.SSLWantReadError:
                    continue
                break
            later = threading.Timer(moment / 1000, _send, [client, outgoing.read()])
            later.start()
            server.stop()
            later.join()
        gc.collect()

    assert left_open == []
