"""Between HTTP and the store: bodies, query strings, content types, and errors as `Status`."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from aiohttp import web

from metronome_salesforce.sandbox.kubernetes import (
    discovery,
    exceptions,
    requests,
    reviews,
    tables,
    urls,
)
from metronome_salesforce.sandbox.kubernetes.decoding import Options
from metronome_salesforce.sandbox.kubernetes.exceptions import ApiError, Json
from metronome_salesforce.sandbox.kubernetes.faults import Call, Fault, Faults, RequestLog
from metronome_salesforce.sandbox.kubernetes.kinds import Resource
from metronome_salesforce.sandbox.kubernetes.models import Preconditions, Store
from metronome_salesforce.sandbox.kubernetes.watches import Selection, Watches

_OPEN_PATHS = {"/healthz", "/livez", "/readyz", "/version"}
_BODY_BYTES = 3 * 1024 * 1024


class Responses:
    """Answers every request of the API."""

    def __init__(
        self,
        store: Store,
        watches: Watches,
        faults: Faults,
        log: RequestLog,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._watches = watches
        self._faults = faults
        self._log = log
        self._now = now
        self.tokens: set[str] | None = None
        self.username = "sandbox"

    def application(self) -> web.Application:
        """The aiohttp application; every path goes through one handler, as faults apply to all."""
        app = web.Application(client_max_size=_BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", self._answer)

        async def end_watches(_app: web.Application) -> None:
            self._watches.close()

        app.on_shutdown.append(end_watches)
        return app

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        call = Call("")
        fault: Fault | None = None
        try:
            target = urls.parsed(request.path) if urls.is_resource(request.path) else None
            body = await request.read()
            call = requests.call_of(request, target, body)
            fault = self._faults.take(call)
            if fault is not None and fault.delay:
                await asyncio.sleep(fault.delay)
            if fault is not None and not fault.after:
                self._fail(request, fault, call)
            self._authenticate(request)
            if target is None:
                response = self._path(request)
            elif reviews.is_review(request.method, request.path):
                response = self._review(request.path, body)
            elif call.verb == "watch":
                return await self._watch(request, target, call, fault)
            else:
                response = self._resource(request, target, body, call.verb)
            if fault is not None and fault.after:
                self._fail(request, fault, call)
        except ApiError as error:
            response = requests.reply(error.status(), error.code)
            if (seconds := error.details.get("retryAfterSeconds")) is not None:
                response.headers["Retry-After"] = str(seconds)
        except web.HTTPRequestEntityTooLarge:
            response = requests.reply(exceptions.too_large(_BODY_BYTES).status(), 413)
        self._log.record(replace(call, status=response.status))
        return response

    def _fail(self, request: web.Request, fault: Fault, call: Call) -> None:
        if fault.drop:
            self._log.record(call)
            if request.transport is not None:
                request.transport.abort()
            raise asyncio.CancelledError
        if (call.verb, fault.status) == ("watch", 410):
            return
        if error := fault.error():
            raise error

    def _authenticate(self, request: web.Request) -> None:
        if self.tokens is None or request.path in _OPEN_PATHS:
            return
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or token.strip() not in self.tokens:
            raise exceptions.unauthorized()

    # Paths without resources

    def _path(self, request: web.Request) -> web.Response:
        path = request.path.rstrip("/")
        if path in ("/healthz", "/livez", "/readyz"):
            return web.Response(text="ok")
        if request.method not in ("GET", "HEAD"):
            raise exceptions.no_such_path()
        resources = self._store.resources()
        parts = path.strip("/").split("/")
        if path in ("/api", "/apis") and discovery.AGGREGATED in request.headers.get("Accept", ""):
            document = discovery.aggregated(resources, core=path == "/api")
            return web.Response(
                text=json.dumps(document), headers={"Content-Type": discovery.AGGREGATED}
            )
        if path == "/version":
            return requests.reply(discovery.VERSION)
        if path == "/api":
            return requests.reply(discovery.core_versions())
        if path == "/apis":
            return requests.reply(discovery.group_list(resources))
        if parts[0] == "api" and len(parts) == 2:
            return requests.reply(discovery.resource_list(resources, "", parts[1]))
        if parts[0] == "apis" and len(parts) == 2:
            return requests.reply(discovery.group(resources, parts[1]))
        if parts[0] == "apis" and len(parts) == 3:
            return requests.reply(discovery.resource_list(resources, parts[1], parts[2]))
        if path == "/openapi/v3":
            return requests.reply(discovery.openapi_index(resources))
        if path.startswith("/openapi/v3/"):
            return requests.reply(discovery.openapi(resources, path.removeprefix("/openapi/v3/")))
        raise exceptions.no_such_path()

    def _review(self, path: str, body: bytes) -> web.Response:
        answer = reviews.answer(path, body, username=self.username, forbids=self._faults.forbids)
        return requests.reply(answer, 201)

    # Resources

    def _find(self, target: urls.Target) -> Resource:
        resource = self._store.find(target.group, target.version, target.plural)
        if target.namespace is not None and not resource.namespaced:
            raise exceptions.no_such_path()
        if target.subresource and not (target.subresource == "status" and resource.has_status):
            raise exceptions.no_such_path()
        return resource

    def _resource(
        self, request: web.Request, target: urls.Target, body: bytes, verb: str
    ) -> web.Response:
        with self._store.lock:
            resource = self._find(target)
            if verb not in resource.verbs or (target.subresource and verb in ("delete", "create")):
                raise exceptions.method_not_allowed()
            if resource.namespaced and target.namespace is None and verb not in ("list", "watch"):
                raise exceptions.method_not_allowed()
            if verb in ("get", "list"):
                return self._read(request, target, resource)
            options = requests.options_of(request)
            document = requests.document_of(request, body, verb)
            if verb in ("delete", "deletecollection"):
                return self._delete(request, target, resource, document, options)
            return self._write(request, target, resource, document, options)

    def _read(self, request: web.Request, target: urls.Target, resource: Resource) -> web.Response:
        if target.name:
            item = self._store.get(resource, target.namespace, target.name)
            return requests.reply(self._view(request, resource)(item))
        return self._list(request, target, resource)

    def _list(self, request: web.Request, target: urls.Target, resource: Resource) -> web.Response:
        query = request.query
        version = self._store.history.version
        asked = requests.number(query.get("resourceVersion", ""), "resourceVersion")
        if asked:
            self._store.history.since(max(asked, self._store.history.oldest))
        if query.get("resourceVersionMatch") == "Exact" and asked < self._store.history.oldest:
            raise exceptions.gone(f"too old resource version: {asked} ({version})")
        items = self._store.selected(
            resource, target.namespace, requests.predicate_of(request, resource)
        )
        limit, start = requests.number(query.get("limit", ""), "limit"), 0
        if token := query.get("continue", ""):
            version, after = requests.continued(token)
            if version < self._store.history.oldest:
                raise exceptions.gone(
                    "The provided continue parameter is too old to display a consistent list "
                    "result. You can start a new list without the continue parameter, or use the "
                    "continue token in this response to retrieve the remainder of the results."
                )
            keys = [requests.key_of(item) for item in items]
            start = sum(1 for key in keys if key <= after)
        meta: Json = {"resourceVersion": str(version)}
        page = items[start : start + limit] if limit else items[start:]
        if limit and start + limit < len(items):
            meta["continue"] = requests.token(version, requests.key_of(page[-1]))
            if not query.get("labelSelector") and not query.get("fieldSelector"):
                meta["remainingItemCount"] = len(items) - start - limit
        accept = request.headers.get("Accept", "")
        if requests.wants(accept, "Table"):
            return requests.reply(self._table(request, resource, page, meta))
        if requests.wants(accept, "PartialObjectMetadataList"):
            return requests.reply(
                {
                    "kind": "PartialObjectMetadataList",
                    "apiVersion": "meta.k8s.io/v1",
                    "metadata": meta,
                    "items": [tables.partial(item) for item in page],
                }
            )
        return requests.reply(
            {
                "kind": resource.list_kind,
                "apiVersion": resource.api_version,
                "metadata": meta,
                "items": page,
            }
        )

    def _table(
        self, request: web.Request, resource: Resource, items: list[Json], meta: Json
    ) -> Json:
        include = request.query.get("includeObject", "Metadata")
        return tables.table(resource, items, meta, include=include, now=self._now())

    def _view(self, request: web.Request, resource: Resource) -> Callable[[Json], Json]:
        """How one object is rendered, after the Accept header."""
        accept = request.headers.get("Accept", "")
        if requests.wants(accept, "Table"):
            return lambda item: self._table(
                request,
                resource,
                [item],
                {"resourceVersion": item["metadata"]["resourceVersion"]},
            )
        if requests.wants(accept, "PartialObjectMetadata"):
            return tables.partial
        return lambda item: item

    def _write(
        self,
        request: web.Request,
        target: urls.Target,
        resource: Resource,
        document: Any,
        options: Options,
    ) -> web.Response:
        created = request.method == "POST"
        if request.method == "POST":
            if target.name:
                raise exceptions.method_not_allowed()
            item = self._store.create(resource, target.namespace, document, options)
        elif request.method == "PUT":
            item = self._store.update(
                resource,
                target.namespace,
                target.name,
                document,
                options,
                subresource=target.subresource,
            )
        else:
            kind = request.content_type
            item, created = self._store.patch(
                resource,
                target.namespace,
                target.name,
                kind,
                document,
                options,
                subresource=target.subresource,
            )
        response = requests.reply(self._view(request, resource)(item), 201 if created else 200)
        for warning in options.warnings:
            quoted = warning.replace("\\", "\\\\").replace('"', '\\"')
            response.headers.add("Warning", f'299 - "{quoted}"')
        return response

    def _delete(
        self,
        request: web.Request,
        target: urls.Target,
        resource: Resource,
        document: Any,
        options: Options,
    ) -> web.Response:
        given = document if isinstance(document, dict) else {}
        if given.get("dryRun"):
            options.dry_run = True
        demanded = given.get("preconditions") or {}
        wanted = Preconditions(demanded.get("uid"), demanded.get("resourceVersion"))
        if not target.name:
            items = self._store.selected(
                resource, target.namespace, requests.predicate_of(request, resource)
            )
            for item in items:
                meta = item["metadata"]
                self._store.delete(resource, meta.get("namespace"), meta["name"], options)
            return requests.reply(
                {
                    "kind": resource.list_kind,
                    "apiVersion": resource.api_version,
                    "metadata": {"resourceVersion": str(self._store.history.version)},
                    "items": items,
                }
            )
        item, gone = self._store.delete(resource, target.namespace, target.name, options, wanted)
        if not gone or resource.plural == "namespaces":
            return requests.reply(item)
        details = {
            "name": target.name,
            "group": resource.group,
            "kind": resource.plural,
            "uid": item["metadata"]["uid"],
        }
        return requests.reply(
            {
                "kind": "Status",
                "apiVersion": "v1",
                "metadata": {},
                "status": "Success",
                "details": {key: value for key, value in details.items() if value},
            }
        )

    async def _watch(
        self, request: web.Request, target: urls.Target, call: Call, fault: Fault | None
    ) -> web.StreamResponse:
        query = request.query
        resource = self._find(target)
        matches = requests.predicate_of(request, resource)
        if target.name:
            inner = matches

            def matches(item: Json) -> bool:
                return bool(item["metadata"]["name"] == target.name) and inner(item)

        requests.number(query.get("resourceVersion", ""), "resourceVersion")
        seconds = requests.number(query.get("timeoutSeconds", ""), "timeoutSeconds")
        selection = Selection(
            resource=resource,
            namespace=target.namespace,
            matches=matches,
            view=self._view(request, resource),
            version=query.get("resourceVersion", ""),
            bookmarks=requests.is_true(query.get("allowWatchBookmarks", "")),
            initial_events=requests.is_true(query.get("sendInitialEvents", "")),
            seconds=seconds or 3600.0,
        )
        self._log.record(replace(call, status=200))
        expired = fault is not None and fault.status == 410
        return await self._watches.serve(request, selection, self._faults, expired=expired)
