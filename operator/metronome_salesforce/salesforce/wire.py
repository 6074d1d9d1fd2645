"""One `requests.Session` for all traffic with the org: time limits, trust, proxies, counting.

simple-salesforce sends whatever it sends through the session it is given, so what it lacks is added
here: it knows no time limits, no redirect policy, no plain http, and takes the environment's word
on certificates.
"""

import re
import ssl
import time
from collections import Counter
from collections.abc import Callable
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies

from metronome_salesforce import tracing
from metronome_salesforce.egress import AuthoritiesError, trusting
from metronome_salesforce.errors import ConfigError
from metronome_salesforce.ports import Quota

OnRequest = Callable[[str, str, float], None]
"""Called after each request with its family, its HTTP status (or `timeout`, `error`), seconds."""

Timeouts = tuple[float, float]
"""Seconds to connect, and seconds without a byte of the answer."""

# SOQL may run for 120 s (Salesforce, API query limits); an answer may be silent that long.
TIMEOUTS: Timeouts = (10.0, 150.0)

_USER_AGENT = "metronome-salesforce-operator"

# `per-app-api-usage=…` may follow; the first figure is the org's (Sforce-Limit-Info header).
_LIMIT_INFO = re.compile(r"(?<![-\w])api-usage=(\d+)/(\d+)")

_FAMILIES = (
    (re.compile(r"/services/(oauth2|Soap/u)/"), "oauth"),
    # A query that is too long for a URL is sent as a composite request, and nothing else is.
    (re.compile(r"/services/data/v[\d.]+/((query|queryAll)(/|$)|composite$)"), "query"),
    (re.compile(r"/services/data/v[\d.]+/composite/sobjects(/|$)"), "collections"),
    (re.compile(r"/services/data/v[\d.]+/sobjects/[^/]+/describe$"), "describe"),
    (re.compile(r"/services/data/v[\d.]+/limits(/|$)"), "limits"),
    (re.compile(r"/services/data/v[\d.]+/metadata(/|$)"), "metadata"),
)


def family_of(url: str) -> str:
    """The endpoint family of a URL: a small, fixed set of words, fit for a metric's label."""
    path = urlsplit(url).path
    return next((name for pattern, name in _FAMILIES if pattern.search(path)), "sobjects")


class Wire(requests.Session):
    """Sends requests to one org. Not for several threads at once.

    `ca_bundle` is PEM text that is trusted beside the public authorities and those of the
    environment (see `egress`). Its proxies are used; its REQUESTS_CA_BUNDLE and ~/.netrc are not:
    the one would replace our certificates, the other the Authorization header. Raises ConfigError
    for an unusable bundle.
    """

    def __init__(
        self,
        instance_url: str,
        *,
        ca_bundle: str | None = None,
        timeouts: Timeouts = TIMEOUTS,
        on_request: OnRequest | None = None,
    ) -> None:
        super().__init__()
        parts = urlsplit(instance_url)
        self._plain = parts.scheme == "http"
        self._timeouts = timeouts
        self._on_request = on_request
        self.trust_env = False
        self.headers["User-Agent"] = _USER_AGENT
        # Salesforce sets cookies on API answers; none of them is ours to send back.
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.mount("https://", _TrustingAdapter(_context(ca_bundle)))
        if self._plain:
            self.mount(f"https://{parts.netloc}/", _PlainAdapter())
        self.calls: Counter[tuple[str, str]] = Counter()
        self.quota: Quota | None = None
        self.login_answer: requests.Response | None = None

    def request(self, method: str | bytes, url: str | bytes, *_: Any, **kwargs: Any) -> Any:
        """Send one request. Redirects are not followed: they would take the token along."""
        address = url.decode() if isinstance(url, bytes) else url
        kwargs["timeout"] = kwargs.get("timeout") or self._timeouts
        kwargs["allow_redirects"] = False
        kwargs["proxies"] = get_environ_proxies(_plain(address) if self._plain else address)
        family, status, started = family_of(address), "error", time.monotonic()
        self.login_answer = None
        try:
            with tracing.call("salesforce", family, str(method)) as span:
                response = super().request(method, address, **kwargs)
                span.answered(response.status_code)
            status = str(response.status_code)
        except requests.Timeout:
            status = "timeout"
            raise
        finally:
            self.calls[family, status] += 1
            if self._on_request is not None:
                self._on_request(family, status, time.monotonic() - started)
        if family == "oauth":
            # simple-salesforce's SOAP login keeps back what else the answer holds.
            self.login_answer = response
        told = _LIMIT_INFO.search(response.headers.get("Sforce-Limit-Info", ""))
        if told:
            self.quota = Quota(int(told[1]), int(told[2]))
        return response

    def close(self) -> None:
        """Close every connection. urllib3 closes a pool when nothing refers to it any more."""
        self.login_answer = None
        super().close()


class _TrustingAdapter(HTTPAdapter):
    """An adapter whose connections verify by our own context, through proxies too."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)

    def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
        return super().proxy_manager_for(proxy, ssl_context=self._context, **kwargs)


class _PlainAdapter(HTTPAdapter):
    """Sends what simple-salesforce addresses to https over http instead: for the sandbox only."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        request.url = _plain(request.url or "")
        return super().send(request, *args, **kwargs)


def _plain(url: str) -> str:
    return re.sub(r"^https:", "http:", url)


def _context(ca_bundle: str | None) -> ssl.SSLContext:
    try:
        return trusting("requests", ca_bundle)
    except AuthoritiesError as error:
        raise ConfigError("SalesforceCertificateFailed", str(error)) from None
    except ValueError:
        raise ConfigError(
            "SalesforceCertificateFailed",
            "the ConfigMap that spec.salesforce.caBundleConfigMapRef names holds no PEM "
            "certificates that can be read",
        ) from None
