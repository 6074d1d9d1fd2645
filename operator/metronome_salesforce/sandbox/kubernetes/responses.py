"""Between HTTP and the store: bodies, query strings, content types, and errors as `Status`."""

import asyncio
import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import yaml
from aiohttp import web

from metronome_salesforce.sandbox.kubernetes import (
    discovery,
    exceptions,
    manifests,
    patches,
    protobuf,
    selectors,
    tables,
    urls,
)
from metronome_salesforce.sandbox.kubernetes.exceptions import ApiError, Json
from metronome_salesforce.sandbox.kubernetes.faults import Call, Fault, Faults, RequestLog
from metronome_salesforce.sandbox.kubernetes.kinds import Resource
from metronome_salesforce.sandbox.kubernetes.models import Options, Preconditions, Store
from metronome_salesforce.sandbox.kubernetes.watches import Selection, Watches

_OPEN_PATHS = {"/healthz", "/livez", "/readyz", "/version"}
_BODY_BYTES = 3 * 1024 * 1024
_YAML = "application/yaml"


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
            call = _call(request, target, body)
            fault = self._faults.take(call)
            if fault is not None and fault.delay:
                await asyncio.sleep(fault.delay)
            if fault is not None and not fault.after:
                self._fail(request, fault, call)
            self._authenticate(request)
            if target is None:
                response = self._path(request)
            elif call.verb == "watch":
                return await self._watch(request, target, call, fault)
            else:
                response = self._resource(request, target, body, call.verb)
            if fault is not None and fault.after:
                self._fail(request, fault, call)
        except ApiError as error:
            response = _json(error.status(), error.code)
            if (seconds := error.details.get("retryAfterSeconds")) is not None:
                response.headers["Retry-After"] = str(seconds)
        except web.HTTPRequestEntityTooLarge:
            response = _json(exceptions.too_large(_BODY_BYTES).status(), 413)
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
            return _json(discovery.VERSION)
        if path == "/api":
            return _json(discovery.core_versions())
        if path == "/apis":
            return _json(discovery.group_list(resources))
        if parts[0] == "api" and len(parts) == 2:
            return _json(discovery.resource_list(resources, "", parts[1]))
        if parts[0] == "apis" and len(parts) == 2:
            return _json(discovery.group(resources, parts[1]))
        if parts[0] == "apis" and len(parts) == 3:
            return _json(discovery.resource_list(resources, parts[1], parts[2]))
        if path == "/openapi/v3":
            return _json(discovery.openapi_index(resources))
        if path.startswith("/openapi/v3/"):
            return _json(discovery.openapi(resources, path.removeprefix("/openapi/v3/")))
        raise exceptions.no_such_path()

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
            options = _options(request)
            document = _document(request, body, verb)
            if verb in ("delete", "deletecollection"):
                return self._delete(request, target, resource, document, options)
            return self._write(request, target, resource, document, options)

    def _read(self, request: web.Request, target: urls.Target, resource: Resource) -> web.Response:
        if target.name:
            item = self._store.get(resource, target.namespace, target.name)
            return _json(self._view(request, resource)(item))
        return self._list(request, target, resource)

    def _list(self, request: web.Request, target: urls.Target, resource: Resource) -> web.Response:
        query = request.query
        version = self._store.history.version
        asked = _number(query.get("resourceVersion", ""), "resourceVersion")
        if asked:
            self._store.history.since(max(asked, self._store.history.oldest))
        if query.get("resourceVersionMatch") == "Exact" and asked < self._store.history.oldest:
            raise exceptions.gone(f"too old resource version: {asked} ({version})")
        items = self._store.selected(resource, target.namespace, _predicate(request, resource))
        limit, start = _number(query.get("limit", ""), "limit"), 0
        if token := query.get("continue", ""):
            version, after = _continued(token)
            if version < self._store.history.oldest:
                raise exceptions.gone(
                    "The provided continue parameter is too old to display a consistent list "
                    "result. You can start a new list without the continue parameter, or use the "
                    "continue token in this response to retrieve the remainder of the results."
                )
            keys = [_key(item) for item in items]
            start = sum(1 for key in keys if key <= after)
        meta: Json = {"resourceVersion": str(version)}
        page = items[start : start + limit] if limit else items[start:]
        if limit and start + limit < len(items):
            meta["continue"] = _token(version, _key(page[-1]))
            if not query.get("labelSelector") and not query.get("fieldSelector"):
                meta["remainingItemCount"] = len(items) - start - limit
        accept = request.headers.get("Accept", "")
        if _wants(accept, "Table"):
            return _json(self._table(request, resource, page, meta))
        if _wants(accept, "PartialObjectMetadataList"):
            return _json(
                {
                    "kind": "PartialObjectMetadataList",
                    "apiVersion": "meta.k8s.io/v1",
                    "metadata": meta,
                    "items": [tables.partial(item) for item in page],
                }
            )
        return _json(
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
        if _wants(accept, "Table"):
            return lambda item: self._table(
                request,
                resource,
                [item],
                {"resourceVersion": item["metadata"]["resourceVersion"]},
            )
        if _wants(accept, "PartialObjectMetadata"):
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
            if kind == patches.APPLY and not request.query.get("fieldManager"):
                raise exceptions.ApiError(
                    422,
                    "Invalid",
                    'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is '
                    "required for apply patch",
                )
            item, created = self._store.patch(
                resource,
                target.namespace,
                target.name,
                kind,
                document,
                options,
                subresource=target.subresource,
            )
        response = _json(self._view(request, resource)(item), 201 if created else 200)
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
            items = self._store.selected(resource, target.namespace, _predicate(request, resource))
            for item in items:
                meta = item["metadata"]
                self._store.delete(resource, meta.get("namespace"), meta["name"], options)
            return _json(
                {
                    "kind": resource.list_kind,
                    "apiVersion": resource.api_version,
                    "metadata": {"resourceVersion": str(self._store.history.version)},
                    "items": items,
                }
            )
        item, gone = self._store.delete(resource, target.namespace, target.name, options, wanted)
        if not gone or resource.plural == "namespaces":
            return _json(item)
        details = {
            "name": target.name,
            "group": resource.group,
            "kind": resource.plural,
            "uid": item["metadata"]["uid"],
        }
        return _json(
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
        matches = _predicate(request, resource)
        if target.name:
            inner = matches

            def matches(item: Json) -> bool:
                return bool(item["metadata"]["name"] == target.name) and inner(item)

        _number(query.get("resourceVersion", ""), "resourceVersion")
        seconds = _number(query.get("timeoutSeconds", ""), "timeoutSeconds")
        selection = Selection(
            resource=resource,
            namespace=target.namespace,
            matches=matches,
            view=self._view(request, resource),
            version=query.get("resourceVersion", ""),
            bookmarks=_true(query.get("allowWatchBookmarks", "")),
            initial_events=_true(query.get("sendInitialEvents", "")),
            seconds=seconds or 3600.0,
        )
        self._log.record(replace(call, status=200))
        expired = fault is not None and fault.status == 410
        return await self._watches.serve(request, selection, self._faults, expired=expired)


# Pieces of requests


def _call(request: web.Request, target: urls.Target | None, body: bytes) -> Call:
    watching = target is not None and _true(request.query.get("watch", ""))
    verb = urls.verb(request.method, target, watch=watching)
    return Call(
        verb=verb,
        resource=target.plural if target else "",
        subresource=target.subresource if target else "",
        namespace=(target.namespace or "") if target else "",
        name=target.name if target else "",
        path=request.path_qs,
        user_agent=request.headers.get("User-Agent", ""),
        content_type=request.content_type,
        body=body.decode(errors="replace"),
    )


def _true(text: str) -> bool:
    return text.lower() in ("1", "true", "t")


def _number(text: str, name: str) -> int:
    if not text:
        return 0
    if not text.isdigit():
        raise exceptions.bad_request(f"invalid {name}: {text}")
    return int(text)


def _options(request: web.Request) -> Options:
    dry_run = request.query.getall("dryRun", [])
    if any(value != "All" for value in dry_run):
        raise exceptions.ApiError(
            422,
            "Invalid",
            f' "" is invalid: dryRun: Unsupported value: ["{dry_run[0]}"]: supported values: "All"',
        )
    validation = request.query.get("fieldValidation", "Warn") or "Warn"
    if validation not in ("Strict", "Warn", "Ignore"):
        raise exceptions.ApiError(
            422,
            "Invalid",
            f' "" is invalid: fieldValidation: Unsupported value: "{validation}": supported '
            'values: "", "Ignore", "Strict", "Warn"',
        )
    return Options(dry_run=bool(dry_run), field_validation=validation)


def _document(request: web.Request, body: bytes, verb: str) -> Any:
    """The body as JSON or YAML; raises ApiError 400 or 415."""
    kind = request.content_type
    if verb == "patch":
        allowed: tuple[str, ...] = (patches.JSON, patches.MERGE, patches.STRATEGIC, patches.APPLY)
        accepted = kind in allowed
    else:
        allowed = ("application/json", _YAML)
        if kind == protobuf.CONTENT_TYPE:
            return protobuf.document(body)
        # curl and some libraries send no type, or octet-stream, with JSON in it.
        accepted = kind in (*allowed, "application/octet-stream", "text/plain")
    if not accepted:
        raise exceptions.unsupported_media(kind, allowed)
    if not body.strip():
        return {}
    try:
        if kind in (_YAML, patches.APPLY):
            return next(manifests.documents(body.decode()), {})
        return json.loads(body)
    except (ValueError, yaml.YAMLError) as error:
        raise exceptions.bad_request(f"error decoding the body: {error}") from error


def _predicate(request: web.Request, resource: Resource) -> selectors.Predicate:
    query = request.query
    return selectors.predicate(
        resource, query.get("labelSelector", ""), query.get("fieldSelector", "")
    )


def _wants(accept: str, kind: str) -> bool:
    """Whether the first type that we can serve is this rendering of meta.k8s.io/v1."""
    for entry in accept.split(","):
        parts = {part.strip() for part in entry.split(";")}
        if "application/json" not in parts:
            continue
        if not any(part.startswith("as=") for part in parts):
            return False
        if f"as={kind}" in parts and "v=v1" in parts:
            return True
    return False


def _key(item: Json) -> tuple[str, str]:
    meta = item["metadata"]
    return (meta.get("namespace", ""), meta["name"])


def _token(version: int, after: tuple[str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps([version, *after]).encode()).decode()


def _continued(token: str) -> tuple[int, tuple[str, str]]:
    try:
        version, namespace, name = json.loads(base64.urlsafe_b64decode(token))
    except (ValueError, binascii.Error) as error:
        raise exceptions.bad_request(f"continue key is not valid: {error}") from error
    return int(version), (namespace, name)


def _json(document: Any, status: int = 200) -> web.Response:
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return web.Response(text=text, status=status, content_type="application/json")
