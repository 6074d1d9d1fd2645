"""Which failures of a Salesforce call pass by themselves, and which wait for a person.

    what came back                                    raised
    408, 420, 429, 5xx, time-outs, broken             TransientError, repeated; RetriableError after
      connections, unreadable answers, row locks,       the last attempt
      query time-outs, concurrent-request limit
    INVALID_SESSION_ID, any other 401                 ExpiredError: one new login, then ConfigError
    REQUEST_LIMIT_EXCEEDED of the day                 RetriableError("ApiBudgetExhausted"), at once
    other codes, untrusted certificates, redirects,   ConfigError, at once
      proxies that refuse

Decided by `errorCode`, not by HTTP status or exception class: Salesforce uses 403 for the daily
limit, for a concurrent limit and for missing rights alike (REST API, Status Codes and Error
Responses). The vendor's own texts can quote customers' data and stay out of every message; for the
same reason nothing here is chained to an exception of requests or simple-salesforce.
"""

import logging
import random
import re
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

import requests
import tenacity
from urllib3.exceptions import MaxRetryError

from metronome_salesforce import tracing
from metronome_salesforce.egress import is_refusal, proxy_sentence, proxy_status
from metronome_salesforce.errors import ConfigError, ProductError, RetriableError

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

PERMISSION_SET = "Metronome Integration"
_DAILY_AFTER = 3600.0
_PROXY_REASON = "SalesforceProxyRefused"

_CODE = re.compile(r"[A-Z][A-Z0-9_]{1,79}")
_ENHANCE_YOUR_CALM = 420  # "Server too busy" in older instances
_TRANSIENT_STATUS = frozenset({
    HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS, _ENHANCE_YOUR_CALM,
})  # fmt: skip
_TRANSIENT_CODES = frozenset({
    "SERVER_UNAVAILABLE", "UNKNOWN_EXCEPTION", "UNABLE_TO_LOCK_ROW", "QUERY_TIMEOUT",
})  # fmt: skip
_API_DISABLED = frozenset({"API_DISABLED_FOR_ORG", "API_CURRENTLY_DISABLED"})


class TransientError(Exception):
    """One failed attempt; `reason` and `message` as in RetriableError."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class ExpiredError(Exception):
    """The session is over, or was revoked."""


class RefusedError(ConfigError):
    """A whole request was refused; `code` is Salesforce's error code, "" when it gave none."""

    def __init__(self, reason: str, message: str, *, code: str, status: int) -> None:
        super().__init__(reason, message)
        self.code = code
        self.status = status


Failure = TransientError | ExpiredError | ProductError


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long; every duration in seconds.

    The wait before attempt n+1 is random between 0 and `base` * 2^(n-1), at most `cap`.
    `lock_attempts` is how often rows are sent that meet a lock. `sleep` is the tests' to replace.
    """

    attempts: int = 6
    lock_attempts: int = 5
    base: float = 1.0
    cap: float = 60.0
    sleep: Callable[[float], None] = time.sleep

    def pause(self, attempt: int) -> None:
        """Wait as after the attempt with that number (from 1)."""
        ceiling = min(self.cap, self.base * 2 ** (attempt - 1))
        self.sleep(random.uniform(0, ceiling))  # noqa: S311 -- jitter


def with_retries(policy: RetryPolicy, attempt: Callable[[], Result], *, what: str) -> Result:
    """The first result of `attempt` that is not TransientError; `what` names the call in logs.

    Raises RetriableError with the last failure's reason when the attempts are used up.
    """

    def log(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        pause = state.next_action.sleep if state.next_action else 0.0
        logger.info(
            "%s: attempt %d of %d failed (%s); again in %.1f s",
            what,
            state.attempt_number,
            policy.attempts,
            error,
            pause,
        )
        reason = error.reason if isinstance(error, TransientError) else ""
        tracing.retried(state.attempt_number, reason, pause)

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(TransientError),
        stop=tenacity.stop_after_attempt(policy.attempts),
        wait=tenacity.wait_random_exponential(multiplier=policy.base, max=policy.cap),
        sleep=policy.sleep,
        before_sleep=log,
        reraise=True,
    )
    try:
        return retrying(attempt)
    except TransientError as last:
        message = f"{last.message} ({what}, {policy.attempts} attempts)"
        raise RetriableError(last.reason, message) from last


def error_code(content: Any) -> tuple[str, str]:
    """The first (errorCode, message) of an error body; empty texts when it has another shape."""
    first = content[0] if isinstance(content, list) and content else content
    if not isinstance(first, dict):
        return "", ""
    code = first.get("errorCode") or first.get("statusCode")
    known = code if isinstance(code, str) and _CODE.fullmatch(code) else ""
    return known, str(first.get("message") or "")


def failure_of_status(status: int, content: Any, *, what: str) -> Failure:
    """The failure that an answer other than 2xx stands for; `content` is its parsed body."""
    code, message = error_code(content)
    if code == "INVALID_SESSION_ID" or status == HTTPStatus.UNAUTHORIZED:
        return ExpiredError()
    if code == "REQUEST_LIMIT_EXCEEDED":
        if message.startswith("Concurrent"):
            return TransientError(
                "SalesforceRateLimited", "the org runs too many long requests at once"
            )
        return budget_exhausted()
    if status in _TRANSIENT_STATUS or code in _TRANSIENT_CODES or status >= 500:  # noqa: PLR2004 -- all 5xx
        return TransientError("SalesforceUnavailable", f"Salesforce answered {code or status}")
    reason, sentence = _refusal(status, code, what)
    return RefusedError(reason, sentence, code=code, status=status)


def budget_exhausted() -> RetriableError:
    """The org's API calls of the day are used up."""
    return RetriableError(
        "ApiBudgetExhausted",
        "the org has used up its API calls for the last 24 hours; the sync goes on when calls "
        "become free again (Setup, Company Information, API Requests)",
        _DAILY_AFTER,
    )


def _refusal(status: int, code: str, what: str) -> tuple[str, str]:
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return _PROXY_REASON, proxy_sentence("the org", status)
    if code in _API_DISABLED:
        return "SalesforceApiDisabled", (
            "the API is not enabled for this org or user; enable it (edition with API access, and "
            '"API Enabled" for the integration user)'
        )
    if code in {"INVALID_FIELD", "INVALID_TYPE", "NOT_FOUND"}:
        # An object that is not there is no field that is closed: the package is missing, or access.
        return "PackageMissing" if code == "INVALID_TYPE" else "FieldNotAccessible", (
            f"the integration user cannot see an object or field ({code}, {what}); deploy the "
            "Metronome package (metronome-salesforce package deploy) and assign the permission set "
            f'"{PERMISSION_SET}"'
        )
    if code == "STORAGE_LIMIT_EXCEEDED":
        return "StorageLimitExceeded", "the org's data storage is full; free or buy storage"
    if status == HTTPStatus.GONE:
        return "SalesforceApiVersionRetired", (
            "the org no longer serves this API version; set a newer spec.salesforce.apiVersion"
        )
    if HTTPStatus.MULTIPLE_CHOICES < status < HTTPStatus.BAD_REQUEST:
        return "SalesforceRedirected", (
            f"Salesforce answered {what} with a redirect ({status}), which is not followed because "
            "it would take the session along; set spec.salesforce.instanceUrl to the org's current "
            "My Domain URL"
        )
    if status == HTTPStatus.FORBIDDEN:
        return "SalesforceAccessDenied", (
            f"the integration user may not do this ({code or status}, {what}); assign the "
            f'permission set "{PERMISSION_SET}" and check the security policies of the org'
        )
    return "SalesforceRequestRefused", (
        f"Salesforce refused a request ({code or status}, {what}); check spec.salesforce, and "
        "whether a newer version of the operator knows this API"
    )


def failure_of_transport(error: Exception, *, host: str) -> TransientError | ConfigError:
    """The failure that an exception of requests stands for.

    Names the host and the kind of failure only: those exceptions quote URLs and headers.
    """
    certificate = _certificate_error(error)
    if certificate is not None:
        return ConfigError(
            "SalesforceCertificateFailed",
            f"the certificate of {host} cannot be trusted ({certificate.verify_message}); behind a "
            "proxy that inspects TLS, put its CA into a ConfigMap and name it in "
            "spec.salesforce.caBundleConfigMapRef, or give it to the operator (SSL_CERT_FILE)",
        )
    if isinstance(error, requests.exceptions.ProxyError):
        status = proxy_status(_tunnel_error(error))
        if is_refusal(status):
            return ConfigError(_PROXY_REASON, proxy_sentence(host, status))
        if status is not None:
            return TransientError("SalesforceUnreachable", proxy_sentence(host, status))
    if isinstance(error, requests.exceptions.ReadTimeout):
        return TransientError("SalesforceTimeout", f"{host} did not answer in time")
    unreachable = requests.exceptions.ConnectTimeout | requests.exceptions.ProxyError
    if isinstance(error, unreachable) or any(isinstance(a, MaxRetryError) for a in error.args):
        return TransientError(
            "SalesforceUnreachable",
            f"{host} cannot be reached; check spec.salesforce.instanceUrl, DNS, the proxy and "
            "network policies",
        )
    if isinstance(error, requests.exceptions.ConnectionError | requests.exceptions.HTTPError):
        return TransientError("SalesforceUnavailable", f"the connection to {host} broke")
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return ConfigError(
            "SalesforceUrlInvalid",
            "the address of the org or of the proxy is no URL; check spec.salesforce.instanceUrl "
            "and HTTPS_PROXY",
        )
    return TransientError("SalesforceUnavailable", f"{host} sent an answer that cannot be read")


def _tunnel_error(error: BaseException) -> str:
    """What http.client says of a proxy that opens no tunnel, in the middle of others' words."""
    found = re.search(r"Tunnel connection failed: (\d{3})", str(error))
    return found[1] if found else ""


def _certificate_error(error: BaseException) -> ssl.SSLCertVerificationError | None:
    """The certificate's own error within; urllib3 keeps it as cause, as argument or as `reason`."""
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        if isinstance(one, ssl.SSLCertVerificationError):
            return one
        seen.add(id(one))
        waiting += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    return None
