"""Only listed hosts are called, whatever an address looks like."""

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metronome_salesforce.errors import ConfigError
from metronome_salesforce.hosts import HostRules, check_url, host_rules

LISTED = ("metronome.internal", "*.apps.example", "127.0.0.1", "::1")


@pytest.mark.parametrize(
    "url",
    [
        "https://api.metronome.com",
        "https://API.metronome.com/v1/customers?limit=1",
        "https://api.metronome.com:443/",
        "https://acme.my.salesforce.com",
        "https://acme--dev.sandbox.my.salesforce.com/services/oauth2/token",
        "https://login.salesforce.com",
        "https://test.salesforce.com",
        "https://metronome.internal",
        "https://a.b.apps.example:8443",
        "https://127.0.0.1:8443",
        "https://[::1]:8443",
        "https://[0:0:0:0:0:0:0:1]:8443",
    ],
)
def test_listed_host_is_called(url: str) -> None:
    check_url(url, extra_hosts=LISTED)


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example",
        "https://metronome.com",
        "https://api.metronome.com.evil.example",
        "https://xapi.metronome.com",
        "https://evilmy.salesforce.com",
        "https://my.salesforce.com",
        "https://.my.salesforce.com.evil.example",
        "https://salesforce.com",
        "https://apps.example",
        "https://127.0.0.2",
        "https://10.0.0.1",
        "https://2130706433",
        "https://0x7f.1",
        "https://169.254.169.254/latest/meta-data",
        "https://[::2]",
        "https://kubernetes.default.svc",
        "https://localhost",
        "https://api.metronome.com.",
        "https://api.metronome.com@evil.example",
        "https://evil.example#@api.metronome.com",
        "https://evil.example\\@api.metronome.com",
        "https://evil.example\\.my.salesforce.com",
        "https://evil.example?.my.salesforce.com",
        "https://evil.example/.my.salesforce.com",
        "https://user:pw@api.metronome.com",
        "https://@api.metronome.com",
        "https://api.metronome.com:0",
        "https://api.metronome.com:99999",
        "https://api.metronome.com:x",
        "https://api.metronome.com\n",
        "https://api.metro\tnome.com",
        " https://api.metronome.com",
        "https://аpi.metronome.com",  # noqa: RUF001 -- a Cyrillic letter is the point
        "https://[api.metronome.com",
        "//api.metronome.com",
        "api.metronome.com",
        "ftp://api.metronome.com",
        "file:///etc/passwd",
        "https://",
        "",
    ],
)
def test_other_host_is_not(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_url(url, extra_hosts=LISTED, allow_http=True)

    assert caught.value.reason == "HostNotAllowed"


def test_refusal_names_host_and_variable() -> None:
    with pytest.raises(ConfigError) as caught:
        check_url("https://billing.example/path?token=secret")

    assert "billing.example" in caught.value.message
    assert "METRONOME_SALESFORCE_ALLOWED_HOSTS" in caught.value.message
    assert "secret" not in caught.value.message


def test_password_in_an_address_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        check_url("https://user:hunter2@api.metronome.com")

    assert "hunter2" not in caught.value.message


def test_http_needs_the_variable() -> None:
    with pytest.raises(ConfigError, match="METRONOME_SALESFORCE_ALLOW_HTTP"):
        check_url("http://127.0.0.1:8080", extra_hosts=["127.0.0.1"])

    check_url("http://127.0.0.1:8080", extra_hosts=["127.0.0.1"], allow_http=True)


def test_pattern_never_matches_an_address() -> None:
    with pytest.raises(ConfigError):
        check_url("https://127.0.0.1", extra_hosts=["*.0.0.1"])


@pytest.mark.parametrize(
    "url",
    [
        "https://api.metronome.com",
        "https://acme.my.salesforce.com",
        "https://login.salesforce.com",
        "https://test.salesforce.com",
    ],
)
def test_without_the_default_hosts_only_listed_ones_are_called(url: str) -> None:
    """A sandbox must not reach the vendors; a company may pin its one org."""
    rules = host_rules(
        {
            "METRONOME_SALESFORCE_DEFAULT_HOSTS": "false",
            "METRONOME_SALESFORCE_ALLOWED_HOSTS": "globex.my.salesforce.com,127.0.0.1",
        }
    )
    rules.check("https://globex.my.salesforce.com")
    rules.check("https://127.0.0.1:8443")

    with pytest.raises(ConfigError) as caught:
        rules.check(url)

    assert caught.value.reason == "HostNotAllowed"
    said = caught.value.message
    assert "METRONOME_SALESFORCE_ALLOWED_HOSTS" in said
    assert "*.my.salesforce.com" not in said, "it is not allowed"


PIECES = [
    "api.metronome.com", ".my.salesforce.com", "evil.example", "acme", "127.0.0.1", "[::1]",
    "@", ":", "/", "\\", "?", "#", "%2e", "%", ".", ":443", "user:pw@", " ", "\t", "\n", "*", "-",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=6).map("".join))
@example("acme.my.salesforce.com:443")
def test_what_gets_through_is_a_listed_host_for_another_parser_too(text: str) -> None:
    """The client that will call it reads the same host from the address."""
    url = f"https://{text}/"
    try:
        check_url(url)
    except ConfigError:
        return

    host = httpx.URL(url).host
    assert host == "api.metronome.com" or host.endswith(".my.salesforce.com")


def test_rules_are_read_from_the_environment() -> None:
    rules = host_rules(
        {
            "METRONOME_SALESFORCE_ALLOWED_HOSTS": " Metronome.Internal, *.apps.example,[::1],",
            "METRONOME_SALESFORCE_ALLOW_HTTP": "true",
        }
    )

    assert rules == HostRules(("metronome.internal", "*.apps.example", "::1"), allow_http=True)
    rules.check("http://metronome.internal:8080")


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"METRONOME_SALESFORCE_ALLOW_HTTP": "false"},
        {"METRONOME_SALESFORCE_DEFAULT_HOSTS": "true"},
        {"METRONOME_SALESFORCE_DEFAULT_HOSTS": ""},
    ],
)
def test_rules_are_strict_by_default(environment: dict[str, str]) -> None:
    assert host_rules(environment) == HostRules((), allow_http=False)


@pytest.mark.parametrize(
    "entry", ["*", "*.*", "https://x.example", "x.example:8443", "x.example/path", "127.0.0.256",
              "a..b", "-", "*x.example", "a.*.b"],
)  # fmt: skip
def test_setting_that_cannot_match_is_refused(entry: str) -> None:
    with pytest.raises(ConfigError, match="METRONOME_SALESFORCE_ALLOWED_HOSTS") as caught:
        host_rules({"METRONOME_SALESFORCE_ALLOWED_HOSTS": f"ok.example,{entry}"})

    assert caught.value.reason == "InvalidSettings"


@pytest.mark.parametrize(
    "name", ["METRONOME_SALESFORCE_ALLOW_HTTP", "METRONOME_SALESFORCE_DEFAULT_HOSTS"]
)
def test_other_words_for_true_and_false_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be true or false"):
        host_rules({name: "1"})
