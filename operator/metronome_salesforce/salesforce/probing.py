"""One look at an org before anybody signs in: does it answer, what time does it have, its versions.

The list of API versions is open to everybody (REST API, Versions).
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import urlsplit

import requests

from metronome_salesforce.clockskew import Heard
from metronome_salesforce.errors import ProductError, RetriableError
from metronome_salesforce.salesforce.failures import (
    ExpiredError,
    Failure,
    failure_of_status,
    failure_of_transport,
)
from metronome_salesforce.salesforce.session import checked_url
from metronome_salesforce.salesforce.wire import Timeouts, Wire

_TIMEOUTS: Timeouts = (10.0, 30.0)
_WHAT = "services/data"


@dataclass(frozen=True, slots=True)
class Probe:
    """An answer: when it came, and the API versions that the org offers, oldest first.

    `refused` says why there are none.
    """

    heard: Heard
    versions: tuple[str, ...]
    refused: ProductError | None = None


def probe(instance_url: str, ca_bundle: str | None) -> Probe:
    """Ask for the API versions; raises ConfigError and RetriableError when there is no answer."""
    url = checked_url(instance_url)
    wire = Wire(url, ca_bundle=ca_bundle, timeouts=_TIMEOUTS)
    sent = datetime.now(UTC)
    try:
        response = wire.get(f"{url}/services/data/", headers={"Accept": "application/json"})
    except requests.RequestException as error:
        failure: Failure = failure_of_transport(error, host=urlsplit(url).hostname or "the org")
    else:
        heard = Heard(response.headers.get("Date"), sent, datetime.now(UTC))
        versions = _versions(response)
        if versions:
            return Probe(heard, versions)
        return Probe(heard, (), _refusal(response.status_code))
    finally:
        wire.close()
    # Outside of the except block: those exceptions quote URLs.
    raise _final(failure)


def _versions(response: requests.Response) -> tuple[str, ...]:
    if response.status_code != HTTPStatus.OK:
        return ()
    try:
        return tuple(str(one["version"]) for one in response.json())
    except (ValueError, TypeError, KeyError):
        return ()


def _refusal(status: int) -> ProductError:
    if status < HTTPStatus.MULTIPLE_CHOICES or status == HTTPStatus.NOT_FOUND:
        return RetriableError(
            "SalesforceUrlInvalid",
            "what answers there is no Salesforce org; set spec.salesforce.instanceUrl to the org's "
            "My Domain URL (https://<name>.my.salesforce.com), and check the proxy",
        )
    return _final(failure_of_status(status, None, what=_WHAT))


def _final(failure: Failure) -> ProductError:
    if isinstance(failure, ExpiredError):
        return RetriableError("SalesforceUnavailable", "the org wants a session for its versions")
    if isinstance(failure, ProductError):
        return failure
    return RetriableError(failure.reason, failure.message)
