"""What the session does when Salesforce does not answer as it should."""

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from metronome_salesforce.errors import ConfigError, ProductError, RetriableError
from metronome_salesforce.ports import Quota
from metronome_salesforce.salesforce.credentials import (
    ClientSecret,
    Credentials,
    Password,
    PrivateKey,
    parse_credentials,
)
from metronome_salesforce.salesforce.failures import RefusedError, RetryPolicy
from metronome_salesforce.salesforce.login import audience
from metronome_salesforce.salesforce.session import Session
from metronome_salesforce.salesforce.wire import family_of
from tests.unit.salesforce_server import (
    DATA,
    EXPIRED,
    USER_ID,
    Answer,
    Asked,
    ScriptedSalesforce,
    refusal,
)

SECRET = "correct-horse-battery-staple"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CREDENTIALS = ClientSecret("client-of-ours", SECRET)
OK = Answer({"fine": True})


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback is reached directly, whatever the machine's proxy settings."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


class Waits(list[float]):
    """Waits that cost no time and are written down."""

    def policy(self, **settings: Any) -> RetryPolicy:
        return RetryPolicy(**{"attempts": 4, "sleep": self.append, **settings})


@contextmanager
def session_of(
    url: str, credentials: Credentials = CREDENTIALS, **settings: Any
) -> Iterator[Session]:
    settings = {"policy": Waits().policy(), "now": lambda: NOW, **settings}
    session = Session(url, credentials, **settings)
    try:
        yield session
    finally:
        session.close()


def failure_of(*answers: Answer, tokens: list[Answer] | None = None) -> ProductError:
    with (
        ScriptedSalesforce(*answers, tokens=tokens) as server,
        session_of(server.url) as session,
        pytest.raises(ProductError) as raised,
    ):
        session.call("limits")
    return raised.value


# -- signing in ----------------------------------------------------------------------------------


def test_client_credentials_go_to_the_org_itself_and_so_do_the_calls() -> None:
    """The token's instance_url is not followed: a session must not leave the configured host."""
    with ScriptedSalesforce(OK) as server, session_of(server.url) as session:
        assert session.call("limits") == {"fine": True}
        assert session.user_id == USER_ID
    assert parse_qs(server.logins[0].body.decode()) == {
        "grant_type": ["client_credentials"],
        "client_id": ["client-of-ours"],
        "client_secret": [SECRET],
    }
    assert server.asked[0].path == f"{DATA}/limits"
    assert server.asked[0].headers["Authorization"] == "Bearer 00Dx!token1"


def test_a_jwt_login_signs_who_for_whom_and_until_when() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    credentials = PrivateKey("client-of-ours", "sync@acme.example", pem)
    with ScriptedSalesforce(OK) as server, session_of(server.url, credentials) as session:
        session.call("limits")
    form = parse_qs(server.logins[0].body.decode())
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    claims = jwt.decode(
        form["assertion"][0],
        key.public_key(),
        algorithms=["RS256"],
        audience="https://login.salesforce.com",
        options={"verify_exp": False},
    )
    assert claims == {
        "iss": "client-of-ours",
        "sub": "sync@acme.example",
        "aud": "https://login.salesforce.com",
        "exp": int(NOW.timestamp()) + 180,
    }


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://acme.my.salesforce.com", "https://login.salesforce.com"),
        ("https://acme--uat.sandbox.my.salesforce.com", "https://test.salesforce.com"),
        ("https://sandbox.my.salesforce.com.evil.example", "https://login.salesforce.com"),
    ],
)
def test_the_audience_of_a_sandbox_is_its_own(url: str, expected: str) -> None:
    assert audience(url) == expected


def test_a_private_key_that_is_none_is_named_and_not_shown() -> None:
    with (
        ScriptedSalesforce() as server,
        session_of(server.url, PrivateKey("id", "user", f"-----BEGIN {SECRET}")) as session,
        pytest.raises(ConfigError, match="privateKey") as raised,
    ):
        session.call("limits")
    assert raised.value.reason == "CredentialsIncomplete"
    assert raised.value.__context__ is None
    assert SECRET not in str(raised.value)


SOAP_OK = (
    b'<?xml version="1.0"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/'
    b'envelope/"><soapenv:Body><loginResponse><result><serverUrl>https://acme.my.salesforce.com'
    b"/services/Soap/u/64.0/00Dx</serverUrl><sessionId>00Dx!soap</sessionId><userId>"
    + USER_ID.encode()
    + b"</userId></result></loginResponse></soapenv:Body></soapenv:Envelope>"
)


def soap_fault(code: str) -> Answer:
    xml = (
        '<?xml version="1.0"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/'
        'envelope/" xmlns:sf="urn:fault.partner.soap.sforce.com"><soapenv:Body><soapenv:Fault>'
        f"<faultcode>sf:{code}</faultcode><faultstring>x</faultstring><detail><sf:LoginFault>"
        f"<sf:exceptionCode>{code}</sf:exceptionCode><sf:exceptionMessage>x"
        "</sf:exceptionMessage></sf:LoginFault></detail></soapenv:Fault></soapenv:Body>"
        "</soapenv:Envelope>"
    )
    return Answer(raw=xml.encode(), status=500, headers={"Content-Type": "text/xml"})


def test_a_password_login_uses_the_newest_version_that_has_soap_login() -> None:
    tokens = [Answer(raw=SOAP_OK, headers={"Content-Type": "text/xml"})]
    credentials = Password("sync@acme.example", "p<ä>&ss", "TOKEN")
    with (
        ScriptedSalesforce(OK, tokens=tokens) as server,
        session_of(server.url, credentials) as session,
    ):
        session.call("limits")
        assert session.user_id == USER_ID
    assert server.logins[0].path == "/services/Soap/u/64.0"
    assert "<n1:password>p&lt;ä&gt;&amp;ssTOKEN</n1:password>" in server.logins[0].body.decode()
    assert server.asked[0].headers["Authorization"] == "Bearer 00Dx!soap"


@pytest.mark.parametrize(
    ("code", "kind", "reason", "words"),
    [
        ("INVALID_LOGIN", ConfigError, "SalesforceAuthenticationFailed", "password"),
        ("UNSUPPORTED_API_VERSION", ConfigError, "SalesforceAuthenticationFailed", "client app"),
        ("SOMETHING_NEW", ConfigError, "SalesforceAuthenticationFailed", "SOMETHING_NEW"),
        ("LOGIN_RATE_EXCEEDED", RetriableError, "SalesforceLoginRateExceeded", "too often"),
        ("SERVER_UNAVAILABLE", RetriableError, "SalesforceUnavailable", "not available"),
    ],
)
def test_soap_faults_say_what_to_do(
    code: str, kind: type[ProductError], reason: str, words: str
) -> None:
    with (
        ScriptedSalesforce(tokens=[soap_fault(code)] * 4) as server,
        session_of(server.url, Password("u", SECRET, "t")) as session,
        pytest.raises(kind, match=words) as raised,
    ):
        session.call("limits")
    assert raised.value.reason == reason
    assert SECRET not in str(raised.value)


def test_a_proxy_page_instead_of_a_soap_answer_is_tried_again() -> None:
    html = Answer(raw=b"<html><p>Bad gateway<br></html>", status=502)
    tokens = [html, Answer(raw=SOAP_OK, headers={"Content-Type": "text/xml"})]
    with (
        ScriptedSalesforce(OK, tokens=tokens) as server,
        session_of(server.url, Password("u", "p", "t")) as session,
    ):
        assert session.call("limits") == {"fine": True}
    assert len(server.logins) == 2


@pytest.mark.parametrize(
    ("error", "description", "words"),
    [
        ("invalid_grant", "no client credentials user enabled", "Run As"),
        ("invalid_grant", "request not supported on this domain", "My Domain"),
        ("invalid_grant", "user hasn't approved this consumer", "admin-approved"),
        ("invalid_grant", "user is not admin approved", "admin-approved"),
        ("invalid_grant", "audience is invalid", "audience"),
        ("invalid_grant", "inactive user", "inactive"),
        ("invalid_grant", "invalid assertion", "certificate"),
        ("invalid_client_id", "client identifier invalid", "clientId"),
        ("invalid_client", "invalid client credentials", "clientSecret"),
        ("unsupported_grant_type", "grant type not supported", "login flow"),
        ("some_new_error", "text of <b>theirs</b>", "some_new_error"),
        ("<script>", "text of theirs", "an unknown error"),
    ],
)
def test_refused_tokens_say_what_to_do(error: str, description: str, words: str) -> None:
    token = Answer({"error": error, "error_description": description}, status=400)
    failure = failure_of(tokens=[token])
    assert isinstance(failure, ConfigError)
    assert failure.reason == "SalesforceAuthenticationFailed"
    assert words in failure.message
    assert SECRET not in failure.message


def test_an_exceeded_login_rate_passes_by_itself() -> None:
    body = {"error": "invalid_grant", "error_description": "login rate exceeded"}
    failure = failure_of(tokens=[Answer(body, status=400)])
    assert isinstance(failure, RetriableError)
    assert failure.after == 3600


def test_an_unavailable_login_is_tried_again() -> None:
    html = Answer(raw=b"<html>down</html>", status=503)
    with ScriptedSalesforce(OK, tokens=[html, html]) as server, session_of(server.url) as session:
        assert session.call("limits") == {"fine": True}
    assert len(server.logins) == 3


def test_a_host_that_is_no_org_is_named_as_such() -> None:
    failure = failure_of(tokens=[Answer(raw=b"<html>404</html>", status=404)])
    assert failure.reason == "SalesforceAuthenticationFailed"
    assert "My Domain" in failure.message


# -- credentials and settings --------------------------------------------------------------------


def test_each_set_of_keys_makes_its_credentials() -> None:
    assert parse_credentials({"clientId": "a\n", "clientSecret": "b\r\n"}) == ClientSecret("a", "b")
    assert parse_credentials({"clientId": "a", "username": "u", "privateKey": "k"}) == PrivateKey(
        "a", "u", "k"
    )
    assert parse_credentials(
        {"username": "u", "password": " p ", "securityToken": "", "other": "x"}
    ) == Password("u", " p ", "")


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        ({}, "needs one of: clientId \\+ clientSecret; clientId \\+ username \\+ privateKey"),
        ({"clientId": SECRET}, "lacks clientSecret .* beside clientId"),
        ({"clientId": SECRET, "clientSecret": ""}, "lacks clientSecret"),
        ({"username": SECRET, "password": SECRET}, "lacks securityToken"),
        ({"clientId": SECRET, "username": "u"}, "lacks privateKey"),
        ({SECRET: "x"}, "holds no Salesforce credentials"),
    ],
)
def test_incomplete_credentials_name_keys_and_no_values(secret: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as raised:
        parse_credentials(secret)
    assert raised.value.reason == "CredentialsIncomplete"
    assert SECRET not in str(raised.value)


def test_credentials_do_not_show_themselves() -> None:
    for credentials in (
        ClientSecret(SECRET, SECRET),
        PrivateKey(SECRET, SECRET, SECRET),
        Password(SECRET, SECRET, SECRET),
    ):
        assert SECRET not in repr(credentials)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://login.salesforce.com", "My Domain"),
        ("https://test.salesforce.com/", "My Domain"),
        ("acme.my.salesforce.com", "https URL"),
        ("ftp://acme.my.salesforce.com", "https URL"),
        ("", "https URL"),
    ],
)
def test_addresses_that_cannot_be_an_org_are_refused_before_a_login(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Session(url, CREDENTIALS)


@pytest.mark.parametrize("version", ["v66.0", "66", "latest", "66.0/../../x"])
def test_an_api_version_of_another_form_is_refused(version: str) -> None:
    with pytest.raises(ConfigError, match="apiVersion"):
        Session("https://acme.my.salesforce.com", CREDENTIALS, version)


# -- sessions that end ---------------------------------------------------------------------------


def test_an_expired_session_is_renewed_once_and_the_call_repeated_with_its_headers() -> None:
    """simple-salesforce's own refresh would drop the headers of the call."""
    with ScriptedSalesforce(OK, EXPIRED, OK) as server, session_of(server.url) as session:
        session.call("limits")
        headers = {"Sforce-Duplicate-Rule-Header": "allowSave=true"}
        assert session.call("composite/sobjects", method="PATCH", body=[], headers=headers)
    assert len(server.logins) == 2
    first, again = server.asked[1:]
    assert again.headers["Authorization"] == "Bearer 00Dx!token2"
    assert again.headers["Sforce-Duplicate-Rule-Header"] == "allowSave=true"
    assert (first.method, first.path, first.body) == (again.method, again.path, again.body)


def test_a_lasting_invalid_session_costs_two_logins_not_979() -> None:
    with (
        ScriptedSalesforce(by=lambda _: EXPIRED) as server,
        session_of(server.url) as session,
        pytest.raises(ConfigError) as raised,
    ):
        session.call("limits")
    assert raised.value.reason == "SalesforceAuthenticationFailed"
    assert len(server.logins) == 2
    assert len(server.asked) == 2


def test_a_401_that_is_no_json_costs_two_logins_as_well() -> None:
    """simple-salesforce's own refresh would fail on the body."""
    html = Answer(raw=b"<html>401</html>", status=401)
    with (
        ScriptedSalesforce(by=lambda _: html) as server,
        session_of(server.url) as session,
        pytest.raises(ConfigError),
    ):
        session.call("limits")
    assert len(server.logins) == 2


def test_sessions_that_keep_ending_come_to_an_end() -> None:
    """Every call finds its session revoked and renews it: bounded over all calls of a run."""
    turns = iter(range(1000))
    with (
        ScriptedSalesforce(by=lambda _: EXPIRED if next(turns) % 2 == 0 else OK) as server,
        session_of(server.url) as session,
    ):
        for _ in range(19):
            session.call("limits")
        with pytest.raises(RetriableError) as raised:
            session.call("limits")
    assert raised.value.reason == "SalesforceSessionUnstable"
    assert len(server.logins) == 20


# -- failures of calls ---------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 420, 429, 500, 502, 503, 504])
def test_statuses_that_pass_are_asked_again(status: int) -> None:
    waits = Waits()
    bad = Answer(raw=b"<html>not now</html>", status=status)
    with (
        ScriptedSalesforce(bad, bad, OK) as server,
        session_of(server.url, policy=waits.policy()) as session,
    ):
        assert session.call("limits") == {"fine": True}
    assert len(server.asked) == 3
    assert len(waits) == 2
    assert len(server.logins) == 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer(drop=True),
        Answer({"fine": True}, announced=500),
        Answer(raw=b"<html>200</html>"),
        refusal("UNABLE_TO_LOCK_ROW"),
        refusal("QUERY_TIMEOUT"),
        refusal("REQUEST_LIMIT_EXCEEDED", "ConcurrentPerOrgLongTxn Limit exceeded.", 403),
    ],
)
def test_broken_answers_and_passing_codes_are_asked_again(answer: Answer) -> None:
    with ScriptedSalesforce(answer, OK) as server, session_of(server.url) as session:
        assert session.call("limits") == {"fine": True}
    assert len(server.asked) == 2


def test_what_does_not_pass_ends_as_a_retriable_error() -> None:
    bad = Answer(raw=b"<html>not now</html>", status=503)
    failure = failure_of(*[bad] * 4)
    assert isinstance(failure, RetriableError)
    assert failure.reason == "SalesforceUnavailable"
    assert "4 attempts" in failure.message


def test_a_server_that_stays_silent_is_given_up_after_the_time_limit() -> None:
    """simple-salesforce has no time limits: a call could hang for hours."""
    started = time.monotonic()
    with (
        ScriptedSalesforce(by=lambda _: Answer(OK.document, delay=1.5)) as server,
        session_of(server.url, timeouts=(1.0, 0.1), policy=Waits().policy(attempts=2)) as session,
        pytest.raises(RetriableError) as raised,
    ):
        session.call("limits")
    assert raised.value.reason == "SalesforceTimeout"
    assert session.calls["limits", "timeout"] == 2
    assert time.monotonic() - started < 5


def test_a_login_that_stays_silent_is_given_up_too() -> None:
    with (
        ScriptedSalesforce(tokens=[Answer({}, delay=1.5)]) as server,
        session_of(server.url, timeouts=(1.0, 0.1), policy=Waits().policy(attempts=1)) as session,
        pytest.raises(RetriableError) as raised,
    ):
        session.call("limits")
    assert raised.value.reason == "SalesforceTimeout"


def test_an_org_that_cannot_be_reached_is_named() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with session_of(f"http://127.0.0.1:{port}") as session, pytest.raises(RetriableError) as raised:
        session.call("limits")
    assert raised.value.reason == "SalesforceUnreachable"
    assert "instanceUrl" in raised.value.message


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (
            refusal("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", 403),
            RetriableError,
            "ApiBudgetExhausted",
        ),
        (refusal("API_DISABLED_FOR_ORG", status=403), ConfigError, "SalesforceApiDisabled"),
        (refusal("API_CURRENTLY_DISABLED", status=403), ConfigError, "SalesforceApiDisabled"),
        (refusal("INVALID_FIELD"), ConfigError, "FieldNotAccessible"),
        (refusal("INVALID_TYPE"), ConfigError, "PackageMissing"),
        (refusal("INSUFFICIENT_ACCESS", status=403), ConfigError, "SalesforceAccessDenied"),
        (refusal("TXN_SECURITY_NO_ACCESS", status=403), ConfigError, "SalesforceAccessDenied"),
        (refusal("MALFORMED_QUERY"), ConfigError, "SalesforceRequestRefused"),
        (Answer(raw=b"gone", status=410), ConfigError, "SalesforceApiVersionRetired"),
        (Answer(raw=b"<html>", status=400), ConfigError, "SalesforceRequestRefused"),
    ],
)
def test_what_does_not_pass_is_not_asked_again(
    answer: Answer, kind: type[ProductError], reason: str
) -> None:
    """Decided by errorCode: 403 is the daily limit, a concurrent limit and missing rights alike."""
    with (
        ScriptedSalesforce(answer) as server,
        session_of(server.url) as session,
        pytest.raises(kind) as raised,
    ):
        session.call("limits")
    assert raised.value.reason == reason
    assert len(server.asked) == 1


def test_a_redirect_is_not_followed() -> None:
    with ScriptedSalesforce(OK) as elsewhere:
        moved = Answer(status=302, headers={"Location": f"{elsewhere.url}/x"})
        failure = failure_of(moved)
        assert failure.reason == "SalesforceRedirected"
        assert not elsewhere.asked


def test_a_link_of_an_answer_that_leads_elsewhere_is_not_followed() -> None:
    with session_of("https://acme.my.salesforce.com") as session:
        assert session.path_of(f"{DATA}/query/01g-2000") == "query/01g-2000"
        for link in ("@evil.example/services/data/v66.0/query/1", "https://evil.example/", "//x"):
            with pytest.raises(RetriableError):
                session.path_of(link)


def test_nothing_of_a_refused_row_or_of_the_secrets_is_logged_or_raised(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The vendor's texts quote the data; exceptions of the libraries quote URLs and bodies."""
    caplog.set_level(logging.DEBUG, logger="metronome_salesforce")
    customer = "Initech Confidential"
    refused = refusal("STRING_TOO_LONG", f"Name: data value too large: {customer}")
    bad = Answer(raw=customer.encode(), status=503)
    body = {"records": [{"Name": customer}]}
    with (
        ScriptedSalesforce(bad, EXPIRED, refused) as server,
        session_of(server.url) as session,
        pytest.raises(RefusedError) as raised,
    ):
        session.call("composite/sobjects", method="PATCH", body=body)
    seen: BaseException | None = raised.value
    texts = [caplog.text, repr(session.__dict__)]
    while seen is not None:
        texts += [str(seen), repr(seen)]
        seen = seen.__cause__ or seen.__context__
    assert caplog.records
    for text in texts:
        assert customer not in text
        assert SECRET not in text
        assert "00Dx!token" not in text


# -- what is counted, and how calls are sent ------------------------------------------------------


def test_requests_are_counted_and_timed_by_family_and_status() -> None:
    told: list[tuple[str, str, float]] = []
    bad = Answer(raw=b"", status=503)
    with (
        ScriptedSalesforce(bad, OK, EXPIRED, OK) as server,
        session_of(server.url, on_request=lambda *call: told.append(call)) as session,
    ):
        session.call("limits")
        session.call("query", params={"q": "SELECT Id FROM Account"})
        assert dict(session.calls) == {
            ("oauth", "200"): 2,
            ("limits", "503"): 1,
            ("limits", "200"): 1,
            ("query", "401"): 1,
            ("query", "200"): 1,
        }
    assert [(family, status) for family, status, _ in told] == [
        ("oauth", "200"),
        ("limits", "503"),
        ("limits", "200"),
        ("query", "401"),
        ("oauth", "200"),
        ("query", "200"),
    ]
    assert all(0 <= seconds < 10 for _, _, seconds in told)


@pytest.mark.parametrize(
    ("path", "family"),
    [
        ("/services/oauth2/token", "oauth"),
        ("/services/Soap/u/64.0", "oauth"),
        (f"{DATA}/query/?q=SELECT", "query"),
        (f"{DATA}/query/01gRO-2000", "query"),
        (f"{DATA}/composite/sobjects/Metronome_Usage__c/External_ID__c", "collections"),
        (f"{DATA}/composite/sobjects?ids=1", "collections"),
        (f"{DATA}/sobjects/Account/describe", "describe"),
        (f"{DATA}/sobjects/Account/001", "sobjects"),
        (f"{DATA}/limits/", "limits"),
        (f"{DATA}/metadata/deployRequest", "metadata"),
    ],
)
def test_families_are_a_fixed_set_of_words(path: str, family: str) -> None:
    assert family_of(f"https://acme.my.salesforce.com{path}") == family


def test_the_quota_is_read_from_every_answer_that_tells_it() -> None:
    def told(text: str, status: int = 200) -> Answer:
        return Answer({"fine": True}, status=status, headers={"Sforce-Limit-Info": text})

    answers = [
        told("api-usage=18/15000"),
        told("api-usage=25/5000; per-app-api-usage=17/250(appName=sample)"),
        told("per-app-api-usage=19/250(appName=sample)"),
        told("api-usage=26/5000", status=400),
    ]
    with ScriptedSalesforce(*answers) as server, session_of(server.url) as session:
        quotas = []
        for _ in range(3):
            session.call("limits")
            quotas.append(session.quota)
        with pytest.raises(ConfigError):
            session.call("limits")
        quotas.append(session.quota)
    assert quotas == [Quota(18, 15000), Quota(25, 5000), Quota(25, 5000), Quota(26, 5000)]
    assert Quota(30, 20).remaining == 0


def test_netrc_does_not_replace_the_session(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """The requests library takes ~/.netrc over an Authorization header."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with ScriptedSalesforce(OK) as server, session_of(server.url) as session:
        session.call("limits")
    assert server.asked[0].headers["Authorization"] == "Bearer 00Dx!token1"


def test_the_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies must work although nothing else of the environment is trusted."""

    def answer(asked: Asked) -> Answer:
        return OK if "acme" in asked.headers["Host"] else Answer(status=418)

    with ScriptedSalesforce(by=answer) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "localhost")
        with session_of("http://acme.example") as session:
            assert session.call("limits") == {"fine": True}
    assert proxy.asked[0].headers["Host"] == "acme.example"


def test_decimals_come_exactly_as_they_were_sent() -> None:
    raw = b'{"a": 0.1, "b": 12345678901234.5678, "c": 7}'
    with ScriptedSalesforce(Answer(raw=raw)) as server, session_of(server.url) as session:
        answer = session.call("limits")
    assert [str(answer[name]) for name in "abc"] == ["0.1", "12345678901234.5678", "7"]
