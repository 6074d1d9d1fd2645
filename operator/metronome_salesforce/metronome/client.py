"""Read Metronome: every list that the nine record types need, page by page.

Lists are async iterators that hold one page at a time and ask for the next one only when it is
wanted, so a caller may stop early and memory stays flat. An item that cannot be read is reported
and left out; a page that cannot be read is a failure of the call.
"""

import asyncio
import logging
import re
import ssl
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from metronome_salesforce import tracing
from metronome_salesforce.egress import AuthoritiesError, trusting
from metronome_salesforce.errors import ConfigError
from metronome_salesforce.metronome.models import (
    BillableMetric,
    CreditGrant,
    Customer,
    Invoice,
    MalformedItem,
    Plan,
    PlanAssignment,
    Usage,
    first_problem,
    readable_identifier,
)
from metronome_salesforce.metronome.paging import (
    MAX_PAGES,
    Page,
    Seen,
    UnreadableError,
    decoded,
    follow,
    member,
    page_of,
)
from metronome_salesforce.metronome.retrying import (
    CustomerGone,
    PlanGone,
    RetryPolicy,
    TransientError,
    Vanished,
    failure_of_status,
    failure_of_transport,
    with_retries,
)

logger = logging.getLogger(__name__)

OnRequest = Callable[[str, str, float], None]
"""Called after each attempt with endpoint family, HTTP status (or "timeout", "error"), seconds."""

PAGE_SIZE = 100  # the most that Metronome allows
USAGE_DAYS = 35  # the range of one usage request; Metronome documents a limit for breakdowns only
_CONNECT_SECONDS = 10.0
_KEY = re.compile(r"[\x21-\x7e]+")

Model = TypeVar("Model", bound=BaseModel)
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Listing(Generic[Model]):
    """A list: how to call it, what it holds, and what makes two of its items the same."""

    family: str
    method: str
    path: str
    model: type[Model]
    key: Callable[[Model], str]
    id_path: tuple[str, ...] = ("id",)
    customer_path: tuple[str, ...] = ()
    gone: type[Vanished] | None = None


@dataclass(frozen=True, slots=True)
class _Call:
    """One request; `path` has a place for `id_`, and without it names the call in messages."""

    family: str
    method: str
    path: str
    id_: str | None = None
    query: Mapping[str, str] | None = None
    body: Mapping[str, Any] | None = None

    @property
    def what(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def url(self) -> str:
        return self.path if self.id_ is None else self.path.replace("{id}", _segment(self.id_))


_CUSTOMERS = _Listing(
    "customers", "GET", "/v1/customers", Customer, lambda one: one.id, customer_path=("id",)
)
_PLANS = _Listing("plans", "GET", "/v1/plans", Plan, lambda one: one.id)
_PLAN_CUSTOMERS = _Listing(
    "plans",
    "GET",
    "/v1/planDetails/{id}/customers",
    PlanAssignment,
    lambda one: one.plan_details.customer_plan_id,
    id_path=("plan_details", "customer_plan_id"),
    customer_path=("customer_details", "id"),
    gone=PlanGone,
)
_INVOICES = _Listing(
    "invoices",
    "GET",
    "/v1/customers/{id}/invoices",
    Invoice,
    lambda one: one.id,
    customer_path=("customer_id",),
    gone=CustomerGone,
)
_CREDIT_GRANTS = _Listing(
    "credits",
    "POST",
    "/v1/credits/listGrants",
    CreditGrant,
    lambda one: one.id,
    customer_path=("customer_id",),
)
_USAGE = _Listing(
    "usage",
    "POST",
    "/v1/usage",
    Usage,
    lambda one: (
        f"{one.customer_id} {one.billable_metric_id} {one.start_timestamp} {one.end_timestamp}"
    ),
    id_path=(),
    customer_path=("customer_id",),
)
_BILLABLE_METRICS = _Listing(
    "billable-metrics", "GET", "/v1/billable-metrics", BillableMetric, lambda one: one.id
)


class _NotFoundError(Exception):
    """404, which each call reads in its own way."""


class _Bearer(httpx.Auth):
    """Adds the key to each request, so that no header set holds it and no repr shows it."""

    def __init__(self, key: str) -> None:
        self._header = f"Bearer {key}"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = self._header
        yield request


class MetronomeClient:
    """A connection to one tenant; an async context manager.

    At most `max_concurrent_requests` run at a time per endpoint family, the scope of Metronome's
    rate limits as seen in practice; waiting for a retry takes none of them. `timeout` (seconds) is
    for one read from the wire, `deadline` for one whole attempt. `verify` trusts a context, or a
    file of CA certificates besides the usual ones; `transport` replaces the network.

    Every list may raise ConfigError (the key, the address, the certificate) and RetriableError
    (after `retry.attempts`, or a list that does not end). Items that cannot be read go to
    `on_malformed` (default: the log), repeated ones to `on_duplicate` by their endpoint's name.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        max_concurrent_requests: int = 4,
        verify: ssl.SSLContext | Path | str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        timeout: float = 60.0,
        deadline: float = 300.0,
        retry: RetryPolicy | None = None,
        max_pages: int = MAX_PAGES,
        on_request: OnRequest | None = None,
        on_malformed: Callable[[MalformedItem], None] | None = None,
        on_duplicate: Callable[[str], None] | None = None,
    ) -> None:
        self._deadline = deadline
        self._retry = retry or RetryPolicy()
        self._max_pages = max_pages
        self._on_request = on_request
        self._on_malformed = on_malformed or _log_malformed
        self._on_duplicate = on_duplicate
        self._max_concurrent_requests = max_concurrent_requests
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._http = http_client(
            base_url,
            auth=bearer(api_key),
            timeout=httpx.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS)),
            # The slots of the families are the limit; a pool that waits would count as a time-out.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
            verify=trust(verify),
            transport=transport,
        )

    def __repr__(self) -> str:
        return f"MetronomeClient(base_url={self._http.base_url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    def customers(
        self,
        *,
        archived: bool = False,
        ids: Sequence[str] | None = None,
        ingest_alias: str | None = None,
    ) -> AsyncGenerator[Customer, None]:
        """All active customers or, with `archived`, all archived ones: there is no list of both.

        `ids` (100 at most) asks for these only, `ingest_alias` for the customer who has it.
        """
        query = {"limit": str(PAGE_SIZE)}
        if archived:
            query["only_archived"] = "true"
        if ids is not None:
            query["customer_ids"] = ",".join(ids)
        if ingest_alias is not None:
            query["ingest_alias"] = ingest_alias
        return self._list(_CUSTOMERS, query=query)

    async def update_config(self, customer_id: str, *, salesforce_account_id: str | None) -> None:
        """Set or clear a customer's Salesforce id (Metronome API, Update a customer's config).

        May be repeated. Raises CustomerGone, ConfigError if the key may not, RetriableError.
        """
        call = _Call(
            "customers",
            "POST",
            "/v1/customers/{id}/updateConfig",
            id_=customer_id,
            body={"salesforce_account_id": salesforce_account_id},
        )

        async def attempt() -> None:
            await self._send(call)

        try:
            await with_retries(self._retry, attempt, what=call.what)
        except _NotFoundError:
            raise CustomerGone(customer_id) from None

    def plans(self) -> AsyncGenerator[Plan, None]:
        """All plans of the catalogue."""
        return self._list(_PLANS, query={"limit": str(PAGE_SIZE)})

    def plan_customers(self, plan_id: str) -> AsyncGenerator[PlanAssignment, None]:
        """All past, current and coming assignments of a plan. Raises PlanGone."""
        query = {"limit": str(PAGE_SIZE), "status": "all"}
        return self._list(_PLAN_CUSTOMERS, id_=plan_id, query=query)

    def invoices(
        self,
        customer_id: str,
        *,
        status: Literal["DRAFT", "FINALIZED", "VOID"] | None = None,
        sort: Literal["date_asc", "date_desc"] = "date_desc",
        limit: int = PAGE_SIZE,
    ) -> AsyncGenerator[Invoice, None]:
        """A customer's invoices with their lines, by issue date. Raises CustomerGone.

        `sort` is always sent, because Metronome's own default is described in two ways; date
        filters are not offered, because they may drop scheduled invoices, which have no period.
        """
        query = {"limit": str(limit), "sort": sort} | ({"status": status} if status else {})
        return self._list(_INVOICES, id_=customer_id, query=query)

    async def invoice(self, customer_id: str, invoice_id: str) -> Invoice | None:
        """One invoice, None if there is none. Raises RetriableError if it cannot be read."""
        call = _Call(
            "invoices",
            "GET",
            "/v1/customers/{id}/invoices/" + _segment(invoice_id),
            id_=customer_id,
        )
        try:
            return await self._answer(call, _reader(Invoice))
        except _NotFoundError:
            return None

    def credit_grants(
        self, *, ids: Sequence[str] | None = None
    ) -> AsyncGenerator[CreditGrant, None]:
        """The credit grants of all customers, or those of `ids`; voided ones are never listed."""
        return self._list(
            _CREDIT_GRANTS,
            query={"limit": str(PAGE_SIZE)},
            body={} if ids is None else {"credit_grant_ids": list(ids)},
        )

    async def usage(
        self,
        *,
        starting_on: datetime,
        ending_before: datetime,
        window_size: Literal["DAY", "HOUR", "NONE"],
        customer_ids: Sequence[str] | None = None,
    ) -> AsyncGenerator[Usage, None]:
        """Usage of all (or these) customers, by metric, between two UTC midnights, end exclusive.

        Long ranges take several requests. With "NONE" they do not: there is one value for the whole
        range then, and those of its parts do not add up to it. Raises ValueError on other times.
        """
        _check_midnights(starting_on, ending_before)
        seen = Seen()
        for start, end in _ranges(starting_on, ending_before, window_size):
            body: dict[str, Any] = {
                "starting_on": _written(start),
                "ending_before": _written(end),
                "window_size": window_size,
            }
            if customer_ids is not None:
                body["customer_ids"] = list(customer_ids)
            async with aclosing(self._list(_USAGE, query={}, body=body, seen=seen)) as items:
                async for item in items:
                    yield item

    def billable_metrics(self, *, archived: bool = False) -> AsyncGenerator[BillableMetric, None]:
        """All billable metrics, with `archived` also those."""
        query = {"limit": str(PAGE_SIZE)} | ({"include_archived": "true"} if archived else {})
        return self._list(_BILLABLE_METRICS, query=query)

    async def _list(
        self,
        listing: _Listing[Model],
        *,
        id_: str | None = None,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None = None,
        seen: Seen | None = None,
    ) -> AsyncGenerator[Model, None]:
        """The readable items of a list, each once. Raises `listing.gone` on a 404."""
        call = _Call(listing.family, listing.method, listing.path, id_, query, body)
        seen = seen or Seen()

        async def fetch(cursor: str | None) -> Page:
            page_query = {**query} if cursor is None else {**query, "next_page": cursor}
            return await self._answer(replace(call, query=page_query), page_of)

        try:
            async with aclosing(follow(fetch, what=call.what, max_pages=self._max_pages)) as pages:
                async for page in pages:
                    for position, document in enumerate(page.items):
                        item = self._item(listing, call, position, document)
                        if item is None:
                            continue
                        if not seen.again(listing.key(item)):
                            yield item
                        elif self._on_duplicate is not None:
                            self._on_duplicate(call.what)
        except _NotFoundError:
            if listing.gone is not None and id_ is not None:
                raise listing.gone(id_) from None
            raise ConfigError(
                "MetronomeRequestRefused",
                f"{self._http.base_url.host} does not know {call.what} (404); check "
                "spec.metronome.baseUrl",
            ) from None

    def _item(
        self, listing: _Listing[Model], call: _Call, position: int, document: Any
    ) -> Model | None:
        try:
            return listing.model.model_validate(document)
        except ValidationError as error:
            path, problem = first_problem(error, f"data[{position}]")
        customer_id = call.id_ if listing.gone is CustomerGone else None
        if customer_id is None and listing.customer_path:
            customer_id = readable_identifier(document, *listing.customer_path)
        item_id = readable_identifier(document, *listing.id_path) if listing.id_path else None
        self._on_malformed(MalformedItem(call.what, path, problem, item_id, customer_id))
        return None

    async def _answer(self, call: _Call, read: Callable[[Any], Result]) -> Result:
        """What `read` makes of the answer; an UnreadableError one is asked for again."""

        async def attempt() -> Result:
            response = await self._send(call)
            try:
                return read(decoded(response.content))
            except UnreadableError as error:
                raise TransientError(
                    "MetronomeUnreadable",
                    f"{self._http.base_url.host} sent an answer that cannot be read: {error}",
                ) from None

        return await with_retries(self._retry, attempt, what=call.what)

    async def _send(self, call: _Call) -> httpx.Response:
        """One attempt; a 404 is a _NotFoundError if Metronome itself said so."""
        slot = self._slots.setdefault(call.family, asyncio.Semaphore(self._max_concurrent_requests))
        async with slot:
            status, start = "error", time.perf_counter()
            try:
                with tracing.call("metronome", call.family, call.method) as span:
                    async with asyncio.timeout(self._deadline):
                        response = await self._http.request(
                            call.method, call.url, params=call.query, json=call.body
                        )
                    span.answered(response.status_code)
                status = str(response.status_code)
            except (httpx.RequestError, OSError) as error:
                if isinstance(error, httpx.TimeoutException | TimeoutError):
                    status = "timeout"
                raise failure_of_transport(error, host=self._http.base_url.host) from error
            finally:
                if self._on_request is not None:
                    self._on_request(call.family, status, time.perf_counter() - start)
        if response.is_success:
            return response
        if response.status_code == HTTPStatus.NOT_FOUND and _is_metronomes(response):
            raise _NotFoundError
        raise failure_of_status(response, what=call.what, now=self._retry.now)


def _reader(model: type[Model]) -> Callable[[Any], Model]:
    """Reads the one document in `data`; raises UnreadableError without a word of its content."""

    def read(document: Any) -> Model:
        try:
            return model.model_validate(member(document, "data", dict))
        except ValidationError as error:
            where, problem = first_problem(error, "data")
        raise UnreadableError(f"{where} {problem}")  # out here: that one holds the input

    return read


def _checked_key(api_key: str) -> str:
    """The key without the line break that Secrets often end with.

    What no header can carry is refused here, because httpx would quote it in its exception.
    """
    key = api_key.strip()
    if not _KEY.fullmatch(key):
        raise ConfigError(
            "MetronomeAuthenticationFailed",
            "the Metronome API key is empty or has characters that no key has; put a valid key "
            "into the Secret that spec.metronome.apiKeySecretRef names",
        )
    return key


def bearer(api_key: str) -> httpx.Auth:
    """What signs each request; raises ConfigError for what cannot be a key."""
    return _Bearer(_checked_key(api_key))


def trust(verify: ssl.SSLContext | Path | str | None) -> ssl.SSLContext:
    """What httpx is to trust; raises ConfigError for authorities that cannot be read."""
    if isinstance(verify, ssl.SSLContext):
        return verify
    try:
        if verify is None:
            return trusting("httpx")
        return trusting("httpx", Path(verify).read_text("ascii"))
    except AuthoritiesError as error:
        raise ConfigError("MetronomeCertificateFailed", str(error)) from None
    except (OSError, ValueError):
        raise ConfigError(
            "MetronomeCertificateFailed", "the file of CA certificates cannot be read as PEM"
        ) from None


def http_client(base_url: str, **options: Any) -> httpx.AsyncClient:
    """A client of httpx that uses the environment's proxies; raises ConfigError for wrong ones."""
    try:
        return httpx.AsyncClient(
            base_url=base_url,
            headers={"Accept": "application/json", "User-Agent": "metronome-salesforce-operator"},
            follow_redirects=False,
            **options,
        )
    except (ValueError, ImportError, httpx.InvalidURL):
        pass  # they quote the address, which may hold a password
    raise ConfigError(
        "InvalidSettings",
        "HTTPS_PROXY, HTTP_PROXY or ALL_PROXY of the operator's environment is no address of an "
        "http proxy; correct it (such as http://proxy.example.com:3128)",
    )


def _is_metronomes(response: httpx.Response) -> bool:
    """Whether Metronome said it, and not a proxy or a foreign server: errors have a message."""
    try:
        member(decoded(response.content), "message", str)
    except UnreadableError:
        return False
    return True


def _log_malformed(item: MalformedItem) -> None:
    logger.warning("%s: item left out: %s %s", item.endpoint, item.path, item.problem)


def _segment(id_: str) -> str:
    """An id as one path segment; dots alone would lead to another path."""
    if id_ in {"", ".", ".."}:
        raise ValueError("not an id")
    return quote(id_, safe="")


def _check_midnights(*times: datetime) -> None:
    for moment in times:
        if moment.utcoffset() != timedelta(0) or moment.time() != datetime.min.time():
            raise ValueError("usage is read between UTC midnights")
    if not times[0] < times[1]:
        raise ValueError("usage is read for a day at least")


def _ranges(
    start: datetime, end: datetime, window_size: str
) -> Iterator[tuple[datetime, datetime]]:
    step = end - start if window_size == "NONE" else timedelta(days=USAGE_DAYS)
    while start < end:
        yield start, min(start + step, end)
        start += step


def _written(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
