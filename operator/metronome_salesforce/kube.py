"""The few Kubernetes calls that the operator makes itself, as plain dictionaries.

kopf watches; everything else (status, Secrets, Leases, Events, the list that checks the watch) goes
through the official client, so that a call's fate is known here and is retried by whoever needs it.
Each call runs in a thread of a small pool of its own and with timeouts: a hanging API server takes
neither the event loop nor the threads of others. The client's typed layer is left out: its models
reformat times and quote a Secret's content when they refuse it.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import quote

import kubernetes.client
import kubernetes.config
import urllib3
from kubernetes.client.exceptions import ApiException

from metronome_salesforce.spec import API_VERSION, GROUP, LINK_PLURAL, SYNC_PLURAL

Json = dict[str, Any]

# The client is typed in parts only.
_client: Any = kubernetes.client
_config: Any = kubernetes.config

_THREADS = 8
_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 30.0
_PAGE = 500
_FORBIDDEN = 403
_NOT_FOUND = 404
_REFUSED = frozenset({400, 405, 406, 413, 415, 422})
_CONFLICT = 409
_FIRST_ERROR = 400
_COMPONENT = "metronome-salesforce-operator"
_EVENT_LENGTH = 1024  # the API server refuses longer messages


class KubeError(Exception):
    """A call failed; `status` is the HTTP status, or None when there was no answer.

    The text holds the server's own sentence, never another body: bodies may be Secrets.
    """

    def __init__(self, status: int | None, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def not_found(self) -> bool:
        """The object, or its whole type, does not exist."""
        return self.status == _NOT_FOUND

    @property
    def forbidden(self) -> bool:
        """The operator's role does not allow it."""
        return self.status == _FORBIDDEN

    @property
    def refused(self) -> bool:
        """The request itself is wrong, so that repeating it is of no use."""
        return self.status in _REFUSED

    @property
    def conflict(self) -> bool:
        """Somebody else changed or created the object first."""
        return self.status == _CONFLICT


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the API server is and how to sign in, for another client; files are paths.

    `through_proxies`: whether the environment's proxies are for it, too.
    """

    server: str
    ca_file: str | None
    verify: bool
    cert_file: str | None
    key_file: str | None
    token: str | None = field(repr=False)
    username: str | None = field(repr=False)
    password: str | None = field(repr=False)
    through_proxies: bool = True


class Kube:
    """The calls, each async and raising KubeError; for use from one event loop.

    The access is the given kubeconfig, else the pod's service account, else the usual kubeconfig.
    In a cluster the server's address comes from KUBERNETES_SERVICE_HOST, which needs no DNS. Raises
    KubeError when there is no access to be found.
    """

    def __init__(self, kubeconfig: str | None = None) -> None:
        configuration = _client.Configuration()
        self._through_proxies = True
        try:
            if kubeconfig is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
                _config.load_incluster_config(client_configuration=configuration)
                # It is in the cluster: a proxy to the world outside does not lead to it.
                configuration.proxy = None
                self._through_proxies = False
            else:
                _config.load_kube_config(config_file=kubeconfig, client_configuration=configuration)
        except (_config.ConfigException, OSError) as error:
            raise KubeError(None, f"no access to a Kubernetes API: {error}") from error
        # Retries belong to the caller, who knows whether the call is still wanted.
        configuration.retries = False
        configuration.connection_pool_maxsize = _THREADS + 1
        self._configuration = configuration
        self._client = _client.ApiClient(configuration)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="kube")
        # Pages are megabytes, which the C library goes on to keep for each thread that had one.
        self._list_pool = ThreadPoolExecutor(1, thread_name_prefix="kube-list")

    def connection(self) -> Connection:
        """The connection as it is now; a token that was rotated is read again."""
        configuration = self._configuration
        header = configuration.get_api_key_with_prefix("BearerToken") or ""
        return Connection(
            server=configuration.host,
            ca_file=configuration.ssl_ca_cert,
            verify=configuration.verify_ssl,
            cert_file=configuration.cert_file,
            key_file=configuration.key_file,
            token=header.rpartition(" ")[2] or None,
            username=configuration.username or None,
            password=configuration.password or None,
            through_proxies=self._through_proxies,
        )

    def sync_pages(self, namespaces: Sequence[str] = ()) -> AsyncIterator[list[Json]]:
        """All MetronomeSyncs of the namespaces, or of the cluster when none are given."""
        return self._pages(SYNC_PLURAL, namespaces)

    def link_pages(self, namespaces: Sequence[str] = ()) -> AsyncIterator[list[Json]]:
        """All CustomerLinks of the namespaces, or of the cluster when none are given."""
        return self._pages(LINK_PLURAL, namespaces)

    async def _pages(self, plural: str, namespaces: Sequence[str]) -> AsyncIterator[list[Json]]:
        # Page by page, as thousands at once take memory that the process then keeps.
        for namespace in namespaces or (None,):
            query = {"limit": str(_PAGE)}
            while True:
                path = _path(plural, namespace)
                page = await self._call("GET", path, query=query, pool=self._list_pool)
                yield page["items"]
                if not (more := page["metadata"].get("continue")):
                    break
                query = {"limit": str(_PAGE), "continue": more}

    async def get_sync(self, namespace: str, name: str) -> Json:
        """The MetronomeSync as it is now."""
        return await self._call("GET", _path(SYNC_PLURAL, namespace, name))

    async def patch_status(self, namespace: str, name: str, status: Mapping[str, Any]) -> Json:
        """Merge `status` into the resource's status; returns the whole resource as it is then."""
        path = f"{_path(SYNC_PLURAL, namespace, name)}/status"
        return await self._patch(path, {"status": dict(status)})

    async def get_link(self, namespace: str, name: str) -> Json:
        """The CustomerLink as it is now."""
        return await self._call("GET", _path(LINK_PLURAL, namespace, name))

    async def patch_link_status(self, link: Json, status: Mapping[str, Any]) -> Json:
        """Merge `status` into that of a CustomerLink (its body); returns the whole resource.

        A conflict means that the link has changed since, or that another one has its name.
        """
        metadata = link["metadata"]
        path = f"{_path(LINK_PLURAL, metadata['namespace'], metadata['name'])}/status"
        # The server passes over a uid here, so the version has to tell.
        guard = {"resourceVersion": metadata["resourceVersion"]}
        return await self._patch(path, {"metadata": guard, "status": dict(status)})

    async def set_link_finalizers(self, link: Json, finalizers: Sequence[str]) -> Json:
        """Replace the finalizers of a CustomerLink (its body).

        A conflict means that it has changed since: lists are replaced whole, and may be others'.
        """
        metadata = link["metadata"]
        changed = {
            "resourceVersion": metadata["resourceVersion"],
            "uid": metadata["uid"],
            "finalizers": list(finalizers),
        }
        path = _path(LINK_PLURAL, metadata["namespace"], metadata["name"])
        return await self._patch(path, {"metadata": changed})

    async def _patch(self, path: str, body: Json) -> Json:
        kind = "application/merge-patch+json"
        return await self._call("PATCH", path, body=body, content_type=kind)

    async def get_core(self, plural: str, namespace: str, name: str) -> Json | None:
        """A Secret or ConfigMap (`plural`) as in a manifest, None if there is none."""
        path = f"/api/v1/namespaces/{quote(namespace)}/{plural}/{quote(name)}"
        return await self._find(path)

    async def get_lease(self, namespace: str, name: str, seconds: float) -> Json | None:
        """The Lease, None if there is none; `seconds` is the timeout."""
        return await self._find(_lease_path(namespace, name), seconds=seconds)

    async def create_lease(self, namespace: str, lease: Json, seconds: float) -> Json:
        """Create a Lease; a conflict means that somebody else was first."""
        return await self._call("POST", _lease_path(namespace), body=lease, seconds=seconds)

    async def replace_lease(self, namespace: str, lease: Json, seconds: float) -> Json:
        """Replace a Lease, guarded by its resourceVersion; a conflict means it has changed."""
        path = _lease_path(namespace, lease["metadata"]["name"])
        return await self._call("PUT", path, body=lease, seconds=seconds)

    async def post_event(
        self, about: Mapping[str, Any], kind: str, reason: str, message: str
    ) -> None:
        """Record an Event about a resource (its body); `kind` is Normal or Warning."""
        metadata = about["metadata"]
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        cut = message if len(message) <= _EVENT_LENGTH else message[: _EVENT_LENGTH - 1] + "…"
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "generateName": f"{metadata['name'][:200]}.",
                "namespace": metadata["namespace"],
            },
            "type": kind,
            "reason": reason,
            "message": cut,
            "involvedObject": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
                "resourceVersion": metadata.get("resourceVersion"),
            },
            "source": {"component": _COMPONENT},
            "count": 1,
            "firstTimestamp": now,
            "lastTimestamp": now,
        }
        path = f"/api/v1/namespaces/{quote(metadata['namespace'])}/events"
        await self._call("POST", path, body=event)

    @property
    def server(self) -> str:
        """The address of the API server."""
        return str(self._configuration.host)

    async def version(self) -> str:
        """The API server's version, such as v1.36.2."""
        return str((await self._call("GET", "/version"))["gitVersion"])

    async def served_plurals(self) -> frozenset[str]:
        """The plural names of our own resources that the API serves in our version."""
        found = await self._find(f"/apis/{API_VERSION}")
        return frozenset(one["name"] for one in (found or {}).get("resources", ()))

    async def find_definition(self, plural: str) -> Json | None:
        """The CustomResourceDefinition of one of our resources, None if there is none.

        By a list, which an operator of the whole cluster may have anyway; it has no right to get.
        """
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        chosen = {"fieldSelector": f"metadata.name={plural}.{GROUP}"}
        found: list[Json] = (await self._call("GET", path, query=chosen)).get("items") or []
        return found[0] if found else None

    async def own_username(self) -> str:
        """Who the API server takes us for; empty where it does not tell."""
        kind = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        try:
            answer = await self._call("POST", path, body=kind)
        except KubeError as error:
            if error.not_found or error.forbidden:
                return ""
            raise
        return str(answer.get("status", {}).get("userInfo", {}).get("username", ""))

    async def may(self, attributes: Mapping[str, str], account: tuple[str, str] | None) -> bool:
        """Whether we, or a ServiceAccount (namespace, name), may do something.

        `attributes` are those of a SubjectAccessReview: namespace, verb, group, resource,
        subresource, name. Asking writes nothing.
        """
        spec: Json = {"resourceAttributes": dict(attributes)}
        kind = "SelfSubjectAccessReview" if account is None else "SubjectAccessReview"
        if account is not None:
            namespace, name = account
            spec["user"] = f"system:serviceaccount:{namespace}:{name}"
            of_all = ["system:serviceaccounts", "system:authenticated"]
            spec["groups"] = [*of_all, f"system:serviceaccounts:{namespace}"]
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}
        path = f"/apis/authorization.k8s.io/v1/{kind.lower()}s"
        return bool((await self._call("POST", path, body=body))["status"].get("allowed"))

    def close(self) -> None:
        """End the threads; a call that hangs is left behind."""
        for pool in (self._pool, self._list_pool):
            pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    async def _find(self, path: str, *, seconds: float = _ANSWER_SECONDS) -> Json | None:
        try:
            return await self._call("GET", path, seconds=seconds)
        except KubeError as error:
            if error.not_found:
                return None
            raise

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Json | None = None,
        content_type: str = "application/json",
        seconds: float = _ANSWER_SECONDS,
        pool: ThreadPoolExecutor | None = None,
    ) -> Json:
        def send() -> Json:
            parameters = self._client.param_serialize(
                method=method,
                resource_path=path,
                query_params=list((query or {}).items()),
                header_params={"Accept": "application/json", "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
            )
            times = (min(_CONNECT_SECONDS, seconds), seconds)
            response = self._client.call_api(*parameters, _request_timeout=times)
            data = response.read()
            if response.status >= _FIRST_ERROR:
                raise KubeError(response.status, _sentence(response.status, data))
            return cast(Json, json.loads(data))

        try:
            return await asyncio.get_running_loop().run_in_executor(pool or self._pool, send)
        except (ApiException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            kind = type(error).__name__
            raise KubeError(None, f"no usable answer from the Kubernetes API: {kind}") from error


def _path(plural: str, namespace: str | None, name: str | None = None) -> str:
    place = f"/namespaces/{quote(namespace)}" if namespace is not None else ""
    end = f"/{quote(name)}" if name is not None else ""
    return f"/apis/{API_VERSION}{place}/{plural}{end}"


def _lease_path(namespace: str, name: str | None = None) -> str:
    end = f"/{quote(name)}" if name is not None else ""
    return f"/apis/coordination.k8s.io/v1/namespaces/{quote(namespace)}/leases{end}"


def _sentence(status: int, data: bytes) -> str:
    try:
        document = json.loads(data)
    except ValueError:
        document = None
    if isinstance(document, dict) and document.get("kind") == "Status":
        return f"HTTP {status}: {document.get('message', '')}"
    return f"HTTP {status}"
