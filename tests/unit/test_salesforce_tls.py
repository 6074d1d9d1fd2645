"""Whom the session trusts."""

import contextlib
import gc
import ipaddress
import select
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from metronome_salesforce.errors import ConfigError
from metronome_salesforce.salesforce.credentials import ClientSecret
from metronome_salesforce.salesforce.failures import RetryPolicy
from metronome_salesforce.salesforce.session import Session
from tests.unit.salesforce_server import Answer, ScriptedSalesforce

OK = Answer({"fine": True})


@pytest.fixture(name="tls")
def _tls(tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    """A server's TLS with a certificate for localhost, and that certificate as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sandbox")])
    now = datetime.now(tz=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [
                    x509.DNSName("localhost"),
                    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
                ]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (tmp_path / "cert.pem").write_bytes(pem)
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    return context, pem.decode()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


class Tunnel:
    """A forward proxy that answers CONNECT with a connection to one server, whoever is asked for.

    One connection at a time is enough here.
    """

    def __init__(self, target: str) -> None:
        self._port = int(target.rpartition(":")[2])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.asked: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _run(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client, socket.create_connection(("127.0.0.1", self._port)) as server:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += client.recv(4096)
                self.asked.append(head.decode().splitlines()[0])
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                # The client leaves in mid-handshake when it does not trust the certificate.
                with contextlib.suppress(ConnectionError):
                    self._relay(client, server)

    @staticmethod
    def _relay(client: socket.socket, server: socket.socket) -> None:
        ways = {client: server, server: client}
        while True:
            for side in select.select(list(ways), [], [], 5)[0]:
                data = side.recv(65536)
                if not data:
                    return
                ways[side].sendall(data)


def call(url: str, ca_bundle: str | None) -> object:
    session = Session(
        url,
        ClientSecret("id", "secret"),
        ca_bundle=ca_bundle,
        policy=RetryPolicy(attempts=3, sleep=lambda _: None),
    )
    try:
        return session.call("limits")
    finally:
        session.close()


def test_an_untrusted_certificate_names_the_setting_and_is_not_tried_again(
    tls: tuple[ssl.SSLContext, str],
) -> None:
    with ScriptedSalesforce(OK, tls=tls[0]) as server:
        with pytest.raises(ConfigError, match="caBundleConfigMapRef") as raised:
            call(server.url, None)
        assert not server.logins
        assert call(server.url, tls[1]) == {"fine": True}
    assert raised.value.reason == "SalesforceCertificateFailed"
    assert "localhost" in raised.value.message


def test_a_certificate_for_another_host_is_refused_although_its_issuer_is_trusted(
    tls: tuple[ssl.SSLContext, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reached through a proxy, so that no name has to be resolved."""
    monkeypatch.setenv("NO_PROXY", "localhost")
    with ScriptedSalesforce(OK, tls=tls[0]) as server, Tunnel(server.url) as tunnel:
        monkeypatch.setenv("HTTPS_PROXY", tunnel.url)
        with pytest.raises(ConfigError, match=r"acme\.my\.salesforce\.com") as raised:
            call("https://acme.my.salesforce.com", tls[1])
        assert not server.logins
        assert call(server.url, tls[1]) == {"fine": True}
    assert raised.value.reason == "SalesforceCertificateFailed"


def test_the_bundle_is_trusted_through_a_proxy_too(
    tls: tuple[ssl.SSLContext, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "nothing.example")
    with ScriptedSalesforce(OK, tls=tls[0]) as server, Tunnel(server.url) as tunnel:
        monkeypatch.setenv("HTTPS_PROXY", tunnel.url)
        assert call(server.url, tls[1]) == {"fine": True}
        assert tunnel.asked[0].startswith("CONNECT localhost:")


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_the_bundle_is_trusted_whatever_the_environment_says(
    tls: tuple[ssl.SSLContext, str],
    variable: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """These variables would take the place of a bundle given to requests."""
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    monkeypatch.setenv(variable, str(empty))
    with ScriptedSalesforce(OK, tls=tls[0]) as server:
        assert call(server.url, tls[1]) == {"fine": True}


@pytest.mark.parametrize("text", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nx"])
def test_a_bundle_that_is_none_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="caBundleConfigMapRef") as raised:
        Session("https://acme.my.salesforce.com", ClientSecret("id", "secret"), ca_bundle=text)
    assert raised.value.reason == "SalesforceCertificateFailed"


def test_closing_gives_the_connections_back_at_once(tls: tuple[ssl.SSLContext, str]) -> None:
    """A connection that waits for the garbage collector holds the org's end open as well."""
    with ScriptedSalesforce(OK, tls=tls[0]) as server:
        port = int(server.url.rpartition(":")[2])
        session = Session(server.url, ClientSecret("id", "secret"), ca_bundle=tls[1])
        session.sign_in()
        assert open_connections(port) == 1
        session.close()
        assert open_connections(port) == 0


def open_connections(port: int) -> int:
    """Our TLS connections to that port on loopback."""
    sockets = [one for one in gc.get_objects() if type(one) is ssl.SSLSocket]
    return sum(one.fileno() != -1 and one.getpeername()[1] == port for one in sockets)
