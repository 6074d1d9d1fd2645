"""A session with one org: every REST call passes `Session.call`, on simple-salesforce.

simple-salesforce builds the URLs, sends the call and turns refusals into exceptions. It is always
given a session id: then it never logs in by itself. Its own refresh drops the call's headers, and
one of its paths logs in until the recursion limit.
"""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from http import HTTPStatus
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

import requests
from simple_salesforce.api import Salesforce
from simple_salesforce.exceptions import SalesforceError

from metronome_salesforce.errors import ConfigError, RetriableError
from metronome_salesforce.ports import Quota
from metronome_salesforce.salesforce.credentials import Credentials
from metronome_salesforce.salesforce.failures import (
    ExpiredError,
    Failure,
    RetryPolicy,
    TransientError,
    failure_of_status,
    failure_of_transport,
    with_retries,
)
from metronome_salesforce.salesforce.login import log_in
from metronome_salesforce.salesforce.namespace import Namespace
from metronome_salesforce.salesforce.wire import TIMEOUTS, OnRequest, Timeouts, Wire, family_of

API_VERSION = "66.0"

# Salesforce allows 3,600 logins per user and hour, shared with everything else of that user.
_MOST_LOGINS = 20
_VERSION = re.compile(r"\d{2,3}\.0")

# Salesforce takes 16,384 bytes of URI and headers, but a proxy on the way often only 8,192 for the
# first line of a request.
_LONGEST_QUERY = 7_500
_PAGE = {"Sforce-Query-Options": "batchSize=2000"}
_COMPOSITE = "composite"
_LOGIN_HOSTS = frozenset({"login.salesforce.com", "test.salesforce.com"})


def utc_now() -> datetime:
    """The machine's clock."""
    return datetime.now(tz=UTC)


class Session:
    """Signs in when it has to, refreshes once per call, retries, counts. One thread at a time.

    `instance_url` is the org's My Domain URL, https (http for the sandbox), and every request goes
    there, whatever the login's answer names. `namespace` is that of the package in the org (see
    `namespace`): calls and answers have the names without it. `ca_bundle` is PEM text. Raises
    ConfigError for values that cannot work.
    """

    def __init__(
        self,
        instance_url: str,
        credentials: Credentials,
        api_version: str = API_VERSION,
        *,
        namespace: str = "",
        ca_bundle: str | None = None,
        timeouts: Timeouts = TIMEOUTS,
        policy: RetryPolicy | None = None,
        on_request: OnRequest | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._url = checked_url(instance_url)
        if not _VERSION.fullmatch(api_version):
            raise ConfigError(
                "InvalidApiVersion", 'spec.salesforce.apiVersion must look like "66.0"'
            )
        self.api_version = api_version
        self.policy = policy or RetryPolicy()
        self.namespace = Namespace(namespace)
        self._credentials = credentials
        self._now = now
        self._wire = Wire(self._url, ca_bundle=ca_bundle, timeouts=timeouts, on_request=on_request)
        self._client: Salesforce | None = None
        self._logins = 0
        self.user_id: str | None = None

    @property
    def quota(self) -> Quota | None:
        """The org's daily API calls by the newest answer; None before the first."""
        return self._wire.quota

    @property
    def calls(self) -> Mapping[tuple[str, str], int]:
        """How many requests were made, by (family, status); logins and repeats included."""
        return self._wire.calls

    def sign_in(self) -> None:
        """Open a new session.

        Raises ConfigError or RetriableError, also when this object has opened too many already.
        """
        if self._logins >= _MOST_LOGINS:
            raise RetriableError(
                "SalesforceSessionUnstable",
                f"Salesforce ended {_MOST_LOGINS} sessions during one run; check who revokes the "
                "sessions of the integration user, and the session time-out",
            )
        self._logins += 1
        login = with_retries(
            self.policy,
            lambda: log_in(
                self._wire,
                self._url,
                self._credentials,
                api_version=self.api_version,
                now=self._now(),
            ),
            what="login",
        )
        self.user_id = login.user_id
        self._client = Salesforce(
            session_id=login.session_id,
            instance_url=self._url,
            session=self._wire,
            version=self.api_version,
            parse_float=Decimal,
            object_pairs_hook=None,
        )
        # Blanks for people, up to a third of every answer.
        self._client.headers.pop("X-PrettyPrint", None)

    def call(
        self,
        path: str,
        *,
        method: str = "GET",
        params: Mapping[str, str] | None = None,
        body: Any = None,
        content: tuple[str, bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The parsed answer to one call; `path` is what follows `/services/data/vXX.X/`.

        Numbers with a point come as Decimal. None stands for an empty answer, `[]` and `{}` too.
        `body` is JSON-able, `content` is what is sent as it is, with its type before it; the call
        must be one that may be repeated. Raises ConfigError (its subclass RefusedError when the org
        refused this very request) and RetriableError.
        """
        path = self.namespace.path(path)
        body = self.namespace.outgoing(body)
        data = None if body is None else json.dumps(body, allow_nan=False).encode()
        headers = dict(headers or {})
        if content is not None:
            headers["Content-Type"], data = content
        what = family_of(f"{self._base}{path}")

        def send() -> Any:
            return self._send(
                path,
                what=what,
                method=method,
                params=dict(params) if params else None,
                data=data,
                headers=dict(headers),
            )

        def attempt() -> Any:
            if self._client is None:
                self.sign_in()
            try:
                return send()
            except ExpiredError:
                self.sign_in()
            try:
                return send()
            except ExpiredError:
                raise ConfigError(
                    "SalesforceAuthenticationFailed",
                    "Salesforce refuses a session that it has just opened; check the app's session "
                    "and IP policies, and that it does not issue tokens in JWT format",
                ) from None

        return self.namespace.incoming(with_retries(self.policy, attempt, what=what))

    def query(self, soql: str, *, deleted: bool = False) -> Any:
        """The answer to a query, its first page; with `deleted`, of deleted records too.

        One that is too long for a URL is sent as the only part of a composite request: one API call
        as well, with the query in its body (REST API, Composite). Raises as `call` does.
        """
        resource = "queryAll" if deleted else "query"
        soql = self.namespace.soql(soql)
        if len(quote_plus(soql)) <= _LONGEST_QUERY:
            return self.call(resource, params={"q": soql}, headers=_PAGE)
        url = f"{self._base}{resource}?{urlencode({'q': soql})}"
        part = {"method": "GET", "url": url, "referenceId": "query"}
        return self.call(_COMPOSITE, method="POST", body={"compositeRequest": [part]})

    def next_page(self, url: str) -> Any:
        """What follows a page of a query, by its `nextRecordsUrl`. Raises as `call` does."""
        return self.call(self.path_of(url), headers=_PAGE)

    def path_of(self, url: str) -> str:
        """What `call` needs to follow a URL of an answer, such as nextRecordsUrl.

        Raises RetriableError for a URL that leads elsewhere.
        """
        if not url.startswith(self._base):
            raise RetriableError(
                "SalesforceUnavailable", "Salesforce sent a link that leads outside its API"
            )
        return url.removeprefix(self._base)

    @property
    def _base(self) -> str:
        return f"/services/data/v{self.api_version}/"

    def close(self) -> None:
        """Give the connections back; the session is not revoked."""
        self._client = None
        self._wire.close()

    def _send(self, path: str, *, what: str, **kwargs: Any) -> Any:
        """One attempt; raises what `failures` makes of whatever went wrong."""
        if self._client is None:  # pragma: no cover -- attempt() signs in first
            raise ExpiredError
        failure: Failure
        try:
            answer = self._client.restful(path, **kwargs)
            if path != _COMPOSITE:
                return answer
            return _part_of(answer, what=what)
        except SalesforceError as refused:
            failure = failure_of_status(refused.status, refused.content, what=what)
        except requests.exceptions.JSONDecodeError:
            failure = TransientError("SalesforceUnavailable", "the answer is no JSON document")
        except requests.RequestException as error:
            failure = failure_of_transport(error, host=urlsplit(self._url).hostname or "the org")
        # Outside of the except blocks: those exceptions quote URLs, tokens and records, and would
        # be printed as the context of ours.
        raise failure


def _part_of(answer: Any, *, what: str) -> Any:
    """The body of a composite request's only part; the whole is answered with 200 in any case."""
    try:
        [part] = answer["compositeResponse"]
        status, body = int(part["httpStatusCode"]), part["body"]
    except (LookupError, TypeError, ValueError):
        raise TransientError(
            "SalesforceUnavailable", "the answer is no composite response"
        ) from None
    if status == HTTPStatus.OK:
        return body
    raise failure_of_status(status, body, what=what)


def checked_url(instance_url: str) -> str:
    """The org's address without what no address of an org has; raises ConfigError."""
    parts = urlsplit(instance_url.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError(
            "SalesforceUrlInvalid", "spec.salesforce.instanceUrl must be an https URL"
        )
    if parts.hostname in _LOGIN_HOSTS:
        raise ConfigError(
            "SalesforceUrlInvalid",
            f"spec.salesforce.instanceUrl is {parts.hostname}, which serves no API; set it to the "
            "org's My Domain URL (https://<name>.my.salesforce.com)",
        )
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
