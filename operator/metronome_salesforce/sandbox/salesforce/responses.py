"""Between aiohttp and the org: sessions, limits, faults, and the exact shape of every answer."""

import asyncio
import re
from collections.abc import Callable
from datetime import datetime
from email.utils import format_datetime
from urllib.parse import parse_qsl
from weakref import WeakSet

from aiohttp import web

from metronome_salesforce.sandbox.salesforce import oauth, soap, soap_metadata
from metronome_salesforce.sandbox.salesforce.access import User
from metronome_salesforce.sandbox.salesforce.calls import Call, Reply, split_target
from metronome_salesforce.sandbox.salesforce.exceptions import (
    OAuthError,
    RowRefusedError,
    SalesforceError,
    SoapFaultError,
    not_found,
    session_expired,
)
from metronome_salesforce.sandbox.salesforce.faults import Fault, Faults, RequestRecord
from metronome_salesforce.sandbox.salesforce.models import SalesforceOrg
from metronome_salesforce.sandbox.salesforce.org_resources import (
    NEWEST_VERSION,
    OLDEST_VERSION,
    versions,
)
from metronome_salesforce.sandbox.salesforce.pages import PageRequest, Pages
from metronome_salesforce.sandbox.salesforce.urls import dispatch, family

_LONGEST_URI = 16_384
_LARGEST_BODY = 200 * 1024 * 1024
_VERSION = re.compile(r"v(\d+)\.0\Z")
Record = Callable[[RequestRecord], None]
Hook = Callable[[web.Request], None]


class Gateway:
    """Turns HTTP requests into calls on one org, and records them."""

    def __init__(
        self,
        org: SalesforceOrg,
        faults: Faults,
        record: Record,
        hook: Hook,
        *,
        fast: bool,
        pages: Pages | None = None,
    ) -> None:
        self._org = org
        self._faults = faults
        self._record = record
        self._hook = hook
        self._pages = pages
        self.fast = fast

    def application(self) -> web.Application:
        """An aiohttp application that takes every path."""
        application = web.Application(
            client_max_size=_LARGEST_BODY,
            handler_args={"max_line_size": 1 << 20, "max_field_size": 1 << 16},
        )
        transports: WeakSet[asyncio.BaseTransport] = WeakSet()

        async def handle(request: web.Request) -> web.StreamResponse:
            if request.transport is not None:
                transports.add(request.transport)
            return await self.handle(request)

        async def cut_the_rest(_: web.Application) -> None:
            # A TLS connection that a client keeps alive would wait for its closing handshake
            # longer than the loop lives.
            for each in list(transports):
                if isinstance(each, asyncio.WriteTransport):
                    each.abort()
            await asyncio.sleep(0)

        application.router.add_route("*", "/{path:.*}", handle)
        application.on_cleanup.append(cut_the_rest)
        return application

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        self._hook(request)
        target = request.raw_path
        path = target.partition("?")[0]
        body = await request.read()
        if self._pages is not None and self._pages.serves(path):
            page = self._pages.answer(_page_request(request, body))
            return _response(page, self._org.state.moment())
        injected = self._faults.for_request(request.method, path)
        if injected is not None and injected.delay:
            await asyncio.sleep(injected.delay)
        if injected is not None and injected.drop == "before":
            return self._cut(request)
        segments, query = split_target(target)
        if injected is not None and injected.status is not None:
            reply = _faulty(injected)
            self._count(segments, reply)
        else:
            with self._org.lock:
                reply = self._answer(request, segments, query, body)
        name = _family(segments)
        self._record(
            RequestRecord(
                request.method, path, query, reply.status, name, len(body),
                {key.lower(): value for key, value in request.headers.items()
                 if key.lower() != "authorization"},
            )
        )  # fmt: skip
        if injected is not None and injected.drop == "after_commit":
            return self._cut(request)
        return _response(reply, self._org.state.moment())

    def _cut(self, request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)

    def _count(self, segments: list[str], reply: Reply) -> None:
        with self._org.lock:
            self._org.statistics.calls[_family(segments), reply.status] += 1
            if segments[:3] == ["services", "Soap", "m"]:
                self._org.api_used += 1
            elif segments[:2] == ["services", "data"] and len(segments) > 2:
                self._org.api_used += 1
                reply.headers["Sforce-Limit-Info"] = self._limit_info()

    def _limit_info(self) -> str:
        return f"api-usage={self._org.api_used}/{self._org.api_limit}"

    def _answer(
        self, request: web.Request, segments: list[str], query: dict[str, str], body: bytes
    ) -> Reply:
        base = f"{request.scheme}://{request.host}"
        try:
            reply = self._route(request, segments, query, body, base)
        except SalesforceError as error:
            reply = Reply(error.status, error.body())
        except RowRefusedError as refusal:
            refused = refusal.as_request_error()
            reply = Reply(refused.status, refused.body())
        except OAuthError as error:
            reply = Reply(
                error.status, {"error": error.error, "error_description": error.description}
            )
        except SoapFaultError as error:
            reply = soap.fault(error)
        self._count(segments, reply)
        return reply

    def _route(
        self,
        request: web.Request,
        segments: list[str],
        query: dict[str, str],
        body: bytes,
        base: str,
    ) -> Reply:
        match segments:
            case ["services", "data"]:
                return versions()
            case ["services", "data", version, *rest]:
                return self._rest(request, version, rest, query, body, base)
            case ["services", "oauth2", *rest]:
                return self._oauth(request, rest, body, base)
            case ["services", "Soap", "u", version, *_]:
                return soap.login(self._org, body, version, base)
            case ["services", "Soap", "m", version, *_]:
                self._spend()
                return soap_metadata.metadata(self._org, body, version, base, fast=self.fast)
            case ["id", _, user_id]:
                return oauth.identity(self._org, self._user(request), base, user_id)
        raise not_found()

    def _oauth(self, request: web.Request, rest: list[str], body: bytes, base: str) -> Reply:
        form = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        authorization = request.headers.get("Authorization", "")
        match rest:
            case ["token"]:
                if request.method != "POST":
                    raise OAuthError("invalid_request", "must use HTTP POST")
                return oauth.token(self._org, form, authorization, base, request.host)
            case ["introspect"]:
                return oauth.introspect(self._org, form, authorization)
            case ["revoke"]:
                return oauth.revoke(self._org, form)
            case ["userinfo"]:
                return oauth.user_info(self._org, self._user(request), base)
            case ["singleaccess"]:
                self._user(request)
                return oauth.single_access(base)
        raise not_found()

    def _rest(
        self,
        request: web.Request,
        version: str,
        rest: list[str],
        query: dict[str, str],
        body: bytes,
        base: str,
    ) -> Reply:
        _check_lengths(request)
        number = _check_version(version)
        user = self._user(request)
        self._spend()
        if request.method in {"POST", "PATCH", "PUT"} and body:
            _check_content_type(request)
        headers = {key.lower(): value for key, value in request.headers.items()}
        call = Call(
            self._org, user, request.method, rest, query, f"{number}.0", base, body, headers,
            self.fast,
        )  # fmt: skip
        return dispatch(call)

    def _user(self, request: web.Request) -> User:
        header = request.headers.get("Authorization")
        if header is None:
            raise session_expired()
        scheme, _, token = header.partition(" ")
        if scheme.lower() not in {"bearer", "oauth"}:
            raise SalesforceError("INVALID_AUTH_HEADER", "INVALID_HEADER_TYPE", status=401)
        return self._org.sessions.user_of(token.strip())

    def _spend(self) -> None:
        if self._org.api_used >= self._org.api_limit:
            raise SalesforceError(
                "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", status=403
            )


def _page_request(request: web.Request, body: bytes) -> PageRequest:
    headers = {key.lower(): value for key, value in request.headers.items()}
    base = f"{request.scheme}://{request.host}"
    return PageRequest(request.method, request.raw_path, base, headers, body)


def _family(segments: list[str]) -> str:
    match segments:
        case ["services", "data", _, *rest]:
            return family(rest)
        case ["services", "oauth2", name, *_]:
            return name
        case ["services", "Soap", kind, *_]:
            return f"soap-{kind}"
    return "other"


def _check_version(version: str) -> int:
    found = _VERSION.match(version)
    if found is None or int(found.group(1)) > NEWEST_VERSION:
        raise not_found()
    number = int(found.group(1))
    if number < OLDEST_VERSION:
        raise SalesforceError(
            "UNSUPPORTED_API_VERSION", "The requested API version is retired", status=410
        )
    return number


def _check_lengths(request: web.Request) -> None:
    uri = len(request.raw_path)
    if uri > _LONGEST_URI:
        raise SalesforceError("URI_TOO_LONG", "URI Too Long", status=414)
    headers = sum(len(name) + len(value) + 4 for name, value in request.raw_headers)
    if uri + headers > _LONGEST_URI:
        raise SalesforceError(
            "REQUEST_HEADER_FIELDS_TOO_LARGE", "Request Header Fields Too Large", status=431
        )


def _check_content_type(request: web.Request) -> None:
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in {"application/json", "multipart/form-data", "text/csv"}:
        return
    raise SalesforceError(
        "UNSUPPORTED_MEDIA_TYPE",
        f"Content-Type header specified in HTTP request is not supported: {kind or 'none'}",
        status=415,
    )


def _faulty(fault: Fault) -> Reply:
    status = fault.status or 500
    if fault.body is None:
        return Reply(status, [{"message": fault.message, "errorCode": fault.error_code}])
    if isinstance(fault.body, str):
        return Reply(status, fault.body, content_type="text/html;charset=UTF-8")
    return Reply(status, fault.body)


def _response(reply: Reply, moment: datetime) -> web.Response:
    headers = {"Date": format_datetime(moment, usegmt=True), **reply.headers}
    content = reply.encoded()
    if content:
        headers["Content-Type"] = reply.content_type
    return web.Response(status=reply.status, body=content or None, headers=headers)
