"""One look at Metronome: does it answer, what time does it have, does it take the key.

A single request without repeats, for a person who waits; the client of cycles is made to outlast
bad days instead.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import httpx

from metronome_salesforce.clockskew import Heard
from metronome_salesforce.errors import ConfigError, ProductError, RetriableError
from metronome_salesforce.metronome.client import bearer, http_client, trust
from metronome_salesforce.metronome.retrying import (
    TransientError,
    failure_of_status,
    failure_of_transport,
)

_SECONDS = 30.0
_CONNECT_SECONDS = 10.0
_WHAT = "GET /v1/customers"


@dataclass(frozen=True, slots=True)
class Probe:
    """An answer: when it came, and why the request was refused, None if it was not."""

    heard: Heard
    refused: ProductError | None


async def probe(base_url: str, api_key: str | None) -> Probe:
    """Ask for one customer; without a key only to see whether anybody answers.

    Raises ConfigError and RetriableError when there is no answer.
    """
    auth = None if api_key is None else bearer(api_key)
    timeout = httpx.Timeout(_SECONDS, connect=_CONNECT_SECONDS)
    async with http_client(base_url, auth=auth, timeout=timeout, verify=trust(None)) as http:
        sent = datetime.now(UTC)
        try:
            response = await http.get("/v1/customers", params={"limit": "1"})
        except (httpx.RequestError, OSError) as error:
            failure = failure_of_transport(error, host=http.base_url.host)
        else:
            heard = Heard(response.headers.get("Date"), sent, datetime.now(UTC))
            return Probe(heard, None if response.is_success else _refusal(response))
    # Outside of the except block: those exceptions quote headers.
    raise _final(failure)


def _refusal(response: httpx.Response) -> ProductError:
    return _final(failure_of_status(response, what=_WHAT, now=lambda: datetime.now(UTC)))


def _final(failure: TransientError | ProductError) -> ConfigError | RetriableError:
    if isinstance(failure, ConfigError | RetriableError):
        return failure
    return RetriableError(failure.reason, failure.message)
