"""What the client does when Metronome does not answer as it should."""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from metronome_salesforce.errors import ConfigError, ProductError, RetriableError
from metronome_salesforce.metronome.client import MetronomeClient
from metronome_salesforce.metronome.retrying import CustomerGone, PlanGone, RetryPolicy
from tests.unit.metronome_server import Answer, Asked, ScriptedMetronome, page

KEY = "sk-correct-horse-battery-staple"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PLAN = {"id": "7d1c0b0a-0000-4000-8000-000000000010", "name": "Growth", "description": ""}


class Clock:
    """Waits that cost no time and are written down."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0)


@pytest.fixture(name="clock")
def _clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback is reached directly, whatever the machine's proxy settings."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@contextlib.asynccontextmanager
async def client_of(url: str, clock: Clock, **settings: Any) -> AsyncIterator[MetronomeClient]:
    policy = RetryPolicy(attempts=4, sleep=clock.sleep, now=lambda: NOW)
    settings = {"retry": policy, "api_key": KEY, **settings}
    async with MetronomeClient(base_url=url, **settings) as client:
        yield client


async def plans(client: MetronomeClient) -> list[str]:
    return [plan.name async for plan in client.plans()]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 529])
async def test_statuses_that_pass_are_asked_again(status: int, clock: Clock) -> None:
    bad = Answer({"message": "not now"}, status=status)
    with ScriptedMetronome(bad, bad, page(PLAN)) as server:
        async with client_of(server.url, clock) as client:
            assert await plans(client) == ["Growth"]
    assert len(server.asked) == 3
    assert len(clock.waits) == 2


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (400, "MetronomeRequestRefused"),
        (401, "MetronomeAuthenticationFailed"),
        (403, "MetronomePermissionDenied"),
        (404, "MetronomeRequestRefused"),
        (409, "MetronomeRequestRefused"),
        (422, "MetronomeRequestRefused"),
        (302, "MetronomeRedirected"),
    ],
)
async def test_statuses_that_stay_are_not_asked_again(
    status: int, reason: str, clock: Clock
) -> None:
    answer = Answer({"message": "no"}, status=status, headers={"Location": "/elsewhere"})
    with ScriptedMetronome(answer, page(PLAN)) as server:
        async with client_of(server.url, clock) as client:
            with pytest.raises(ConfigError) as caught:
                await plans(client)
    assert caught.value.reason == reason
    assert len(server.asked) == 1
    assert clock.waits == []


async def test_a_refused_key_says_where_the_key_comes_from(clock: Clock) -> None:
    with ScriptedMetronome(Answer({"message": "Unauthorized"}, status=401)) as server:
        async with client_of(server.url, clock) as client:
            with pytest.raises(ConfigError, match=r"Secret that spec\.metronome\.apiKey"):
                await plans(client)


async def test_a_key_answered_403_may_be_wrong_or_have_no_rights(clock: Clock) -> None:
    """Metronome answers an unknown key so as well."""
    with ScriptedMetronome(Answer({"message": "Forbidden"}, status=403)) as server:
        async with client_of(server.url, clock) as client:
            with pytest.raises(
                ConfigError,
                match=r"refused \(403\): the key is wrong, or has no read access.*"
                r"Secret that spec\.metronome\.apiKeySecretRef names",
            ):
                await plans(client)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer({"message": "slow down"}, status=429), "MetronomeRateLimited"),
        (Answer({"message": "oops"}, status=500), "MetronomeUnavailable"),
        (Answer(raw=b"<html>bad gateway</html>", status=502), "MetronomeUnavailable"),
        (Answer(raw=b"<html>welcome</html>"), "MetronomeUnreadable"),
        (Answer(raw=b'{"data": [{"id": "7d'), "MetronomeUnreadable"),
        (Answer(raw=b"\xff\xfe\xfa"), "MetronomeUnreadable"),
        (Answer(raw=b""), "MetronomeUnreadable"),
        (Answer(raw=b"[" * 100_000), "MetronomeUnreadable"),
        (Answer([]), "MetronomeUnreadable"),
        (Answer({"data": None, "next_page": None}), "MetronomeUnreadable"),
        (Answer({"next_page": None}), "MetronomeUnreadable"),
        (Answer({"data": [], "next_page": 7}), "MetronomeUnreadable"),
        (Answer(raw=b"abc", headers={"Content-Encoding": "gzip"}), "MetronomeUnavailable"),
        (Answer(drop=True), "MetronomeUnavailable"),
        (Answer({"data": []}, announced=5000), "MetronomeUnavailable"),
    ],
)
async def test_a_failure_that_stays_ends_with_its_reason(
    answer: Answer, reason: str, clock: Clock
) -> None:
    """Four attempts, three waits, then an error that says that waiting may help."""
    with ScriptedMetronome(by=lambda _: answer) as server:
        async with client_of(server.url, clock) as client:
            with pytest.raises(RetriableError) as caught:
                await plans(client)
    assert caught.value.reason == reason
    assert "127.0.0.1" in caught.value.message
    assert "GET /v1/plans" in caught.value.message
    assert len(server.asked) == 4
    assert len(clock.waits) == 3


@pytest.mark.parametrize(
    "answer",
    [
        Answer(raw=b"<html>bad gateway</html>", status=502, headers={"Content-Type": "text/html"}),
        Answer(raw=b"<html>hello</html>", headers={"Content-Type": "text/html"}),
        Answer(raw=b'{"data": [{"id": "7d'),
        Answer(drop=True),
        Answer({"data": []}, announced=5000),
    ],
    ids=["502 HTML", "200 HTML", "half a page", "dropped", "cut short"],
)
async def test_a_broken_answer_is_asked_for_again(answer: Answer, clock: Clock) -> None:
    with ScriptedMetronome(answer, page(PLAN)) as server:
        async with client_of(server.url, clock) as client:
            assert await plans(client) == ["Growth"]
    assert len(server.asked) == 2


async def test_a_retry_asks_for_the_same_page(clock: Clock) -> None:
    other = {**PLAN, "id": "7d1c0b0a-0000-4000-8000-000000000011", "name": "Scale"}
    answers = page(PLAN, cursor="two"), Answer(status=500), page(other)
    with ScriptedMetronome(*answers) as server:
        async with client_of(server.url, clock) as client:
            assert await plans(client) == ["Growth", "Scale"]
    assert [asked.query.get("next_page") for asked in server.asked] == [None, "two", "two"]


async def test_waits_are_random_below_a_doubling_ceiling(clock: Clock) -> None:
    policy = RetryPolicy(attempts=8, base=0.5, cap=10.0, sleep=clock.sleep)
    with ScriptedMetronome(by=lambda _: Answer(status=503)) as server:
        async with client_of(server.url, clock, retry=policy) as client:
            for _ in range(10):
                with pytest.raises(RetriableError):
                    await plans(client)
    rounds = [clock.waits[start : start + 7] for start in range(0, 70, 7)]
    ceilings = [0.5, 1, 2, 4, 8, 10, 10]
    for waits in rounds:
        assert all(0 <= wait <= top for wait, top in zip(waits, ceilings, strict=True))
    # Full jitter: the sixth wait is somewhere in 0..10, so ten of them are neither close together
    # nor all in the upper half (chance of a false alarm: below one in a thousand).
    sixth = [waits[5] for waits in rounds]
    assert max(sixth) - min(sixth) > 2
    assert min(sixth) < 5


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("2.5", 2.5),
        ("Sun, 01 Mar 2026 12:00:40 GMT", 40.0),
        ("Sunday, 01-Mar-26 12:00:40 GMT", 40.0),
        ("86400", 300.0),
        ("Mon, 02 Mar 2026 12:00:00 GMT", 300.0),
    ],
)
async def test_retry_after_is_honoured_up_to_five_minutes(
    header: str, seconds: float, clock: Clock
) -> None:
    """In both forms; up to half a second is added, so that workers do not return together."""
    limited = Answer({"message": "no"}, status=429, headers={"Retry-After": header})
    with ScriptedMetronome(limited, page(PLAN)) as server:
        async with client_of(server.url, clock) as client:
            assert await plans(client) == ["Growth"]
    (wait,) = clock.waits
    assert seconds <= wait <= seconds + 0.5


@pytest.mark.parametrize(
    "header", ["", "0", "-5", "soon", "nan", "inf", "Sun, 01 Mar 2026 11:59:00 GMT"]
)
async def test_a_retry_after_that_says_nothing_is_ignored(header: str, clock: Clock) -> None:
    limited = Answer({"message": "no"}, status=503, headers={"Retry-After": header})
    with ScriptedMetronome(limited, page(PLAN)) as server:
        async with client_of(server.url, clock) as client:
            assert await plans(client) == ["Growth"]
    (wait,) = clock.waits
    assert 0 <= wait <= 0.5


async def test_the_last_retry_after_reaches_the_caller(clock: Clock) -> None:
    """Whoever schedules the next cycle learns what Metronome wished."""
    limited = Answer({"message": "no"}, status=429, headers={"Retry-After": "900"})
    with ScriptedMetronome(by=lambda _: limited) as server:
        async with client_of(server.url, clock) as client:
            with pytest.raises(RetriableError) as caught:
                await plans(client)
    assert caught.value.after == 900.0


async def test_the_type_of_a_rate_limit_is_logged(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {"X-Metronome-Rate-Limit-Type": "customer"}
    limited = Answer({"message": "no"}, status=429, headers=headers)
    with ScriptedMetronome(limited, page(PLAN)) as server:
        async with client_of(server.url, clock) as client:
            await plans(client)
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.getMessage() for record in warnings] == [
        "GET /v1/plans: Metronome's rate limit is reached (limit type: 'customer')"
    ]


async def test_silence_is_a_timeout(clock: Clock) -> None:
    with ScriptedMetronome(Answer(delay=5), page(PLAN)) as server:
        async with client_of(server.url, clock, timeout=0.2) as client:
            assert await plans(client) == ["Growth"]
    assert len(server.asked) == 2


async def test_an_answer_that_drips_ends_at_the_deadline(clock: Clock) -> None:
    """Each read is in time, and the whole is not."""
    statuses: list[str] = []
    settings = {
        "deadline": 0.3,
        "on_request": lambda _family, status, _seconds: statuses.append(status),
    }
    with ScriptedMetronome(by=lambda _: Answer({}, drip=True, announced=1000)) as server:
        async with client_of(server.url, clock, **settings) as client:
            with pytest.raises(RetriableError) as caught:
                await plans(client)
    assert caught.value.reason == "MetronomeTimeout"
    assert statuses == ["timeout"] * 4


async def test_nobody_listening_is_unreachable(clock: Clock) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, but not listening: connections are refused
        port = unused.getsockname()[1]
        async with client_of(f"http://127.0.0.1:{port}", clock) as client:
            with pytest.raises(RetriableError) as caught:
                await plans(client)
    assert caught.value.reason == "MetronomeUnreachable"
    assert caught.value.message.startswith("127.0.0.1 cannot be reached")


async def test_a_name_without_address_is_unreachable(clock: Clock) -> None:
    """What httpx makes of a resolver's answer; asking a real one would leave this machine."""

    def unknown(request: httpx.Request) -> httpx.Response:
        error = httpx.ConnectError("[Errno -2] Name or service not known", request=request)
        raise error from socket.gaierror(-2, "Name or service not known")

    transport = httpx.MockTransport(unknown)
    async with client_of("http://metronome.invalid", clock, transport=transport) as client:
        with pytest.raises(RetriableError) as caught:
            await plans(client)
    assert caught.value.reason == "MetronomeUnreachable"
    assert caught.value.message.startswith("metronome.invalid cannot be reached")
    assert len(clock.waits) == 3


@pytest.fixture(name="tls", scope="module")
def _tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """A server's context with a certificate of its own making, and that certificate's file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    today = datetime.now(tz=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    file, private = folder / "ca.pem", folder / "key.pem"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, private)
    return context, file


async def test_an_untrusted_certificate_is_for_a_person_to_mend(
    tls: tuple[ssl.SSLContext, Path], clock: Clock
) -> None:
    context, _ = tls
    with ScriptedMetronome(page(PLAN), tls=context) as server:
        async with client_of(server.url, clock) as client:
            with pytest.raises(ConfigError) as caught:
                await plans(client)
    assert caught.value.reason == "MetronomeCertificateFailed"
    assert "localhost" in caught.value.message
    assert clock.waits == []


async def test_a_named_ca_is_trusted(tls: tuple[ssl.SSLContext, Path], clock: Clock) -> None:
    context, ca = tls
    with ScriptedMetronome(page(PLAN), tls=context) as server:
        async with client_of(server.url, clock, verify=ca) as client:
            assert await plans(client) == ["Growth"]


@pytest.mark.parametrize("content", [None, "not a certificate"])
def test_an_unusable_ca_file_is_for_a_person_to_mend(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError) as caught:
        MetronomeClient(base_url="https://localhost", api_key=KEY, verify=file)
    assert caught.value.reason == "MetronomeCertificateFailed"


async def test_a_customer_or_plan_that_vanished_is_no_failure(clock: Clock) -> None:
    gone = Answer({"message": "not found"}, status=404)
    with ScriptedMetronome(by=lambda _: gone) as server:
        async with client_of(server.url, clock) as client:
            with pytest.raises(CustomerGone) as customer:
                await anext(client.invoices("c-1"))
            with pytest.raises(CustomerGone):
                await client.update_config("c-1", salesforce_account_id=None)
            with pytest.raises(PlanGone) as plan:
                await anext(client.plan_customers("p-1"))
    assert customer.value.id == "c-1"
    assert plan.value.id == "p-1"
    assert clock.waits == []


async def test_a_404_that_is_not_metronomes_does_not_make_a_customer_vanish(clock: Clock) -> None:
    """A proxy's page says nothing about customers."""
    html = Answer(raw=b"<html>Not Found</html>", status=404)
    with ScriptedMetronome(html) as server:
        async with client_of(server.url, clock) as client:
            with pytest.raises(ConfigError) as caught:
                await anext(client.invoices("c-1"))
    assert caught.value.reason == "MetronomeRequestRefused"


Script = Callable[[Asked], Answer]


@pytest.mark.parametrize(
    "script",
    [
        lambda _: Answer({"message": f"key {KEY} is unknown"}, status=401),
        lambda _: Answer({"message": f"key {KEY} may not"}, status=403),
        lambda _: Answer({"message": f"bad {KEY}"}, status=400),
        lambda _: Answer({"message": f"{KEY}"}, status=500),
        lambda _: Answer(status=302, headers={"Location": "http://127.0.0.1:1/"}),
        lambda asked: Answer(raw=asked.headers["Authorization"].encode()),
        lambda asked: page({**PLAN, "name": [asked.headers["Authorization"]]}),
        lambda _: Answer(drop=True),
    ],
    ids=["401", "403", "400", "500", "redirect", "echo", "echo in an item", "drop"],
)
async def test_the_key_is_nowhere_to_be_read(
    script: Script, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in logs of any level or library, not in the errors or their causes, not in the repr."""
    caplog.set_level(logging.DEBUG)
    with ScriptedMetronome(by=script) as server:
        async with client_of(server.url, clock) as client:
            said = repr(client) + str(client)
            try:
                await plans(client)
            except ProductError as error:
                said += _everything_in(error)
    assert server.asked[0].headers["Authorization"] == f"Bearer {KEY}"
    assert KEY not in said + caplog.text


@pytest.mark.parametrize("api_key", ["", " \n", "two words", "line\nbreak", "schlüssel", "nul\0"])
def test_a_key_that_no_header_carries_is_refused_unquoted(api_key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        MetronomeClient(base_url="http://127.0.0.1", api_key=api_key)
    assert caught.value.reason == "MetronomeAuthenticationFailed"
    assert not api_key.strip() or api_key not in _everything_in(caught.value)


async def test_the_line_break_at_the_end_of_a_secret_is_left_out(clock: Clock) -> None:
    with ScriptedMetronome(page(PLAN)) as server:
        async with client_of(server.url, clock, api_key=KEY + "\n") as client:
            await plans(client)
    assert server.asked[0].headers["Authorization"] == f"Bearer {KEY}"


async def test_the_transport_can_be_replaced(clock: Clock) -> None:
    document = {"data": [PLAN], "next_page": None}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=document))
    async with client_of("http://metronome.invalid", clock, transport=transport) as client:
        assert await plans(client) == ["Growth"]


def _everything_in(error: BaseException | None) -> str:
    said = ""
    while error is not None:
        said += f"{error!r} {error} {vars(error)!r} "
        error = error.__cause__ or error.__context__
    return said
