"""The emulated Metronome service: a tenant behind HTTP, with keys, faults and counters.

Not modelled: contracts beyond what their invoices show, commits and balances, invoice breakdowns
and PDFs, costs, alerts, audit logs, webhooks, ingest. Requests for those get a 404 like any other
unknown route, so that nobody mistakes silence for support.
"""

import asyncio
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

from aiohttp import web

from metronome_salesforce.sandbox.certificates import CertificateAuthority
from metronome_salesforce.sandbox.metronome.calls import Call, PageLimits, parse_query
from metronome_salesforce.sandbox.metronome.exceptions import (
    BadRequestError,
    ConflictError,
    ForbiddenError,
    MetronomeError,
    NotFoundError,
    UnauthorizedError,
)
from metronome_salesforce.sandbox.metronome.faults import Fault, Faults
from metronome_salesforce.sandbox.metronome.tenant import Tenant
from metronome_salesforce.sandbox.metronome.urls import Access, Route, find_route
from metronome_salesforce.sandbox.metronome.values import Document
from metronome_salesforce.sandbox.metronome.wire import dumps
from metronome_salesforce.sandbox.serving import Served

API_KEY = "metronome-sandbox-key"
READ_KEY = "metronome-sandbox-read-key"
UNKNOWN_ROUTE = "(unknown)"
DROPPED = 0
"""Counted instead of a status where the connection was closed without an answer."""

_JSON = "application/json"
_MOST_BODY = 2 * 1024 * 1024


class MetronomeSandbox:
    """Serves a tenant as Metronome's API does.

    `api_keys` may be changed while serving (rotation, revocation). `on_request` is called with
    method and path before a request is handled, so a test can change the tenant in mid-paging.
    `requests` counts (method, route template, status); `max_concurrency` is the most requests seen
    in flight at once, by endpoint family (`urls.py`). Answers are quick, so to see how many a
    client would send at once, slow them down with a delay.
    """

    def __init__(
        self,
        tenant: Tenant,
        *,
        api_keys: dict[str, Access] | None = None,
        page_limits: PageLimits | None = None,
    ) -> None:
        self.tenant = tenant
        self.api_keys: dict[str, Access] = (
            {API_KEY: "write", READ_KEY: "read"} if api_keys is None else dict(api_keys)
        )
        self.page_limits = page_limits or PageLimits()
        self.faults = Faults()
        self.on_request: Callable[[str, str], None] | None = None
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.max_concurrency: Counter[str] = Counter()
        self._in_flight: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._remembered: dict[str, tuple[str, int, bytes]] = {}

    def serve(self, port: int = 0, tls: CertificateAuthority | None = None) -> Served:
        """Start serving on 127.0.0.1, with `tls` by https; the caller stops it."""
        context = tls.server_context() if tls is not None else None
        return Served(self.make_app, port=port, tls=context)

    def reset_counters(self) -> None:
        """Count from zero again."""
        with self._lock:
            self.requests.clear()
            self.max_concurrency.clear()

    def make_app(self) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application(client_max_size=_MOST_BODY)
        app.router.add_post("/_sandbox/advance", self._advance)
        app.router.add_route("*", "/{path:.*}", self._handle)
        return app

    async def _advance(self, request: web.Request) -> web.Response:
        """Let days pass, for people who play with a running sandbox."""
        try:
            body = json.loads(await request.read() or b"{}", parse_float=Decimal)
            days = float(body.get("days", 1))
            self.tenant.advance(timedelta(days=days))
        except (AttributeError, OverflowError, TypeError, ValueError) as error:
            return web.json_response({"message": f"days must be a number: {error}"}, status=400)
        return web.json_response({"now": self.tenant.now.isoformat()})

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        method, path = request.method, request.path
        found = find_route(method, request.rel_url.raw_path)
        family = found[0].family if found else UNKNOWN_ROUTE
        template = found[0].template if found else UNKNOWN_ROUTE
        with self._lock:
            self._in_flight[family] += 1
            seen = max(self.max_concurrency[family], self._in_flight[family])
            self.max_concurrency[family] = seen
        status = DROPPED
        try:
            if self.on_request is not None:
                self.on_request(method, path)
            body = await request.read()
            fault = self.faults.take(method, path)
            if fault is not None:
                await asyncio.sleep(fault.delay)
            if fault is not None and fault.drop:
                return _cut_off(request)
            if fault is not None and fault.answers:
                content, headers = fault.content()
                status = fault.status or 200
                self._remember(request, body, status, content)
                return web.Response(status=status, body=content, headers=headers)
            status, content = self._answer(request, found, body)
            if fault is not None and fault.truncate:
                status = DROPPED
                return await _truncated(request, content)
            return _response(status, content, fault)
        finally:
            with self._lock:
                self._in_flight[family] -= 1
                self.requests[method, template, status] += 1

    def _answer(
        self, request: web.Request, found: tuple[Route, dict[str, str]] | None, body: bytes
    ) -> tuple[int, bytes]:
        try:
            access = self._authenticate(request.headers.get("Authorization"))
            if found is None:
                raise NotFoundError("Not found")
            route, ids = found
            if route.access == "write" and access != "write":
                raise ForbiddenError("The token has no write access")
            if (remembered := self._remembered_answer(request, body)) is not None:
                return remembered
            call = Call(
                self.tenant,
                self.page_limits,
                request.path,
                ids,
                parse_query(request.rel_url.raw_query_string),
                _parsed_body(body) if route.method == "POST" else {},
            )
            with self.tenant.lock:
                document = route.handler(call)
                content = b"" if document is None else dumps(document).encode()
        except MetronomeError as error:
            return error.status, dumps(error.body).encode()
        self._remember(request, body, 200, content)
        return 200, content

    def _authenticate(self, header: str | None) -> Access:
        scheme, _, token = (header or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise UnauthorizedError("Unauthorized")
        access = self.api_keys.get(token.strip())
        if access is None:
            raise ForbiddenError("Forbidden")
        return access

    def _remembered_answer(self, request: web.Request, body: bytes) -> tuple[int, bytes] | None:
        """Return the first answer to this Idempotency-Key, be it stale or a 500."""
        key = request.headers.get("Idempotency-Key")
        known = self._remembered.get(key) if key and request.method == "POST" else None
        if known is None:
            return None
        if known[0] != _fingerprint(request, body):
            raise ConflictError("Idempotency-Key was used with other parameters")
        return known[1], known[2]

    def _remember(self, request: web.Request, body: bytes, status: int, content: bytes) -> None:
        key = request.headers.get("Idempotency-Key")
        if key and request.method == "POST" and key not in self._remembered:
            self._remembered[key] = (_fingerprint(request, body), status, content)


def _parsed_body(raw: bytes) -> Document:
    # Generated clients send POSTs without filters with an empty body.
    if not raw:
        return {}
    try:
        body = json.loads(raw, parse_float=Decimal)
    except ValueError:
        raise BadRequestError("body must be valid JSON") from None
    if not isinstance(body, dict):
        raise BadRequestError("body must be object")
    return body


def _fingerprint(request: web.Request, body: bytes) -> str:
    return hashlib.blake2b(f"{request.path_qs} ".encode() + body).hexdigest()


def _response(status: int, content: bytes, fault: Fault | None) -> web.Response:
    response = web.Response(status=status, body=content)
    if content:
        response.content_type = _JSON
    if fault is not None:
        response.headers.update(fault.headers)
    return response


def _cut_off(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _truncated(request: web.Request, content: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": _JSON})
    response.content_length = len(content)
    await response.prepare(request)
    await response.write(content[: len(content) // 2])
    if request.transport is not None:
        request.transport.close()
    return response
