"""Which failures of a Metronome call pass by themselves, and how long to wait for them.

    status or failure                         raised
    408, 429, 5xx, time-outs, connection and  TransientError, repeated; RetriableError after the
      protocol errors, unreadable pages         last attempt
    401, 403, other 4xx, redirects,           ConfigError, at once
      untrusted certificates, refusing proxies
    404 of one customer or plan               Vanished, at once

Metronome documents no Retry-After and no limits for reads, only "back off exponentially": the waits
are random in full (so that workers do not meet again) below an exponential ceiling, and an answered
Retry-After is honoured all the same. 409 is not repeated: reads do not conflict. No
Idempotency-Key is sent: Metronome would answer a repeated POST from its cache, a cached 500
included.
"""

import asyncio
import logging
import math
import random
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TypeVar

import httpx
import tenacity

from metronome_salesforce import tracing
from metronome_salesforce.egress import is_refusal, proxy_sentence, proxy_status
from metronome_salesforce.errors import ConfigError, ProductError, RetriableError

logger = logging.getLogger(__name__)

_PROXY_REASON = "MetronomeProxyRefused"

Result = TypeVar("Result")


class Vanished(Exception):  # noqa: N818 -- no error: data moves while we read
    """Metronome does not know this customer or plan (any more), although a list named it."""

    def __init__(self, id_: str) -> None:
        super().__init__(f"Metronome does not know {id_}")
        self.id = id_


class CustomerGone(Vanished):
    """The customer vanished between the list of customers and the call for this one."""


class PlanGone(Vanished):
    """The plan vanished between the list of plans and the call for this one."""


class TransientError(Exception):
    """One failed attempt; `reason` and `message` as in RetriableError, `after` in seconds."""

    def __init__(self, reason: str, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.after = after


def _utc_now() -> datetime:
    return datetime.now(tz=UTC)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long; every duration in seconds.

    The wait before attempt n+1 is random between 0 and `base` * 2^(n-1), at most `cap`. A
    Retry-After replaces it, up to `retry_after_cap`. `sleep` and `now` are the tests' to replace.
    """

    attempts: int = 8
    base: float = 0.5
    cap: float = 60.0
    retry_after_cap: float = 300.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    now: Callable[[], datetime] = _utc_now


async def with_retries(
    policy: RetryPolicy, attempt: Callable[[], Awaitable[Result]], *, what: str
) -> Result:
    """The first result of `attempt` that is not TransientError; `what` names the call in logs.

    Raises RetriableError with the last failure's reason when the attempts are used up.
    """
    back_off = tenacity.wait_random_exponential(multiplier=policy.base, max=policy.cap)

    def wait(state: tenacity.RetryCallState) -> float:
        after = _failure(state).after
        if after is None:
            return back_off(state)
        # The limit is shared by all workers: they must not come back in the same instant.
        return min(after, policy.retry_after_cap) + random.uniform(0, policy.base)  # noqa: S311 -- jitter

    def log(state: tenacity.RetryCallState) -> None:
        pause = state.next_action.sleep if state.next_action else 0.0
        logger.info(
            "%s: attempt %d of %d failed (%s); again in %.1f s",
            what,
            state.attempt_number,
            policy.attempts,
            _failure(state).message,
            pause,
        )
        tracing.retried(state.attempt_number, _failure(state).reason, pause)

    retrying = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(TransientError),
        stop=tenacity.stop_after_attempt(policy.attempts),
        wait=wait,
        sleep=policy.sleep,
        before_sleep=log,
        reraise=True,
    )
    try:
        return await retrying(attempt)
    except TransientError as last:
        message = f"{last.message} ({what}, {policy.attempts} attempts)"
        raise RetriableError(last.reason, message, last.after) from last


def _failure(state: tenacity.RetryCallState) -> TransientError:
    error = state.outcome.exception() if state.outcome else None
    if not isinstance(
        error, TransientError
    ):  # pragma: no cover -- tenacity waits after failures only
        raise TypeError("a wait without a failure")
    return error


def failure_of_status(
    response: httpx.Response, *, what: str, now: Callable[[], datetime]
) -> TransientError | ProductError:
    """The failure that a response other than 2xx and 404 stands for."""
    status = response.status_code
    host = response.request.url.host
    if status == HTTPStatus.UNAUTHORIZED:
        return ConfigError(
            "MetronomeAuthenticationFailed",
            "the Metronome API key was refused (401); put a valid key into the Secret that "
            "spec.metronome.apiKeySecretRef names",
        )
    if status == HTTPStatus.FORBIDDEN:
        return ConfigError(
            "MetronomePermissionDenied",
            f"{what} was refused (403): the key is wrong, or has no read access; put a valid "
            "Metronome API key into the Secret that spec.metronome.apiKeySecretRef names, or give "
            "its token read access",
        )
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        limit = response.headers.get("X-Metronome-Rate-Limit-Type", "not told")
        logger.warning("%s: Metronome's rate limit is reached (limit type: %.20r)", what, limit)
        return TransientError(
            "MetronomeRateLimited",
            f"{host} limits the rate of requests (429)",
            _after(response, now),
        )
    if status == HTTPStatus.REQUEST_TIMEOUT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return TransientError(
            "MetronomeUnavailable", f"{host} answered {status}", _after(response, now)
        )
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return ConfigError(_PROXY_REASON, proxy_sentence(host, status))
    if response.is_redirect:
        return ConfigError(
            "MetronomeRedirected",
            f"{host} answered {what} with a redirect ({status}), which is not followed because it "
            "would take the API key along; check spec.metronome.baseUrl and the proxy",
        )
    return ConfigError(
        "MetronomeRequestRefused",
        f"{host} refused {what} with {status}; check spec.metronome.baseUrl, and whether a newer "
        "version of the operator knows this API",
    )


def failure_of_transport(error: Exception, *, host: str) -> TransientError | ConfigError:
    """The failure that an exception of httpx, or the deadline's TimeoutError, stands for.

    Names the host and the kind of failure only: the exceptions of httpx can quote headers.
    """
    certificate = _certificate_error(error)
    if certificate is not None:
        return ConfigError(
            "MetronomeCertificateFailed",
            f"the certificate of {host} cannot be trusted ({certificate.verify_message}); behind a "
            "proxy that inspects TLS, give the operator its CA (SSL_CERT_FILE) or exempt the host "
            "from the proxy (NO_PROXY)",
        )
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return TransientError("MetronomeTimeout", f"{host} did not answer in time")
    if isinstance(error, httpx.ProxyError):
        status = proxy_status(str(error))
        sentence = proxy_sentence(host, status)
        if is_refusal(status):
            return ConfigError(_PROXY_REASON, sentence)
        return TransientError("MetronomeUnreachable", sentence)
    if isinstance(error, httpx.ConnectError):
        return TransientError(
            "MetronomeUnreachable",
            f"{host} cannot be reached; check spec.metronome.baseUrl, DNS, the proxy and network "
            "policies",
        )
    return TransientError("MetronomeUnavailable", f"the connection to {host} broke")


def _certificate_error(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _after(response: httpx.Response, now: Callable[[], datetime]) -> float | None:
    """Seconds that Retry-After asks for, in either form (RFC 9110); None if it says none."""
    value = response.headers.get("Retry-After", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now()).total_seconds()
    return seconds if math.isfinite(seconds) and seconds > 0 else None
