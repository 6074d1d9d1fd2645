"""The embedded Kubernetes API as one object: started, looked into and disturbed by tests.

Written on aiohttp rather than on kmock, kopf's own test server, because that one is a database over
HTTP: it validates nothing, knows no PUT, does not keep status apart, and has no selectors, watch
timeouts, bookmarks, expiry or Tables. What operators get wrong shows only against a server that
refuses.

Modelled: discovery (also aggregated), CRUD, the four patch types, dry run, optimistic locking,
generation, finalizers and deletion (of namespaces and definitions with their contents too), status
isolation, watches with bookmarks and expiry, selectors, pages, Tables, structural schemas with
pruning, defaults, validation and CEL rules, strict field validation, bearer tokens, reviews of
access (which say what faults forbid), faults.

Not modelled: authorization (RBAC), admission webhooks, field ownership and apply conflicts, garbage
collection by owner references, conversion between versions other than by renaming, the scale
subresource, the cost budget and operand types of CEL rules, quotas, and any controller
or kubelet: a Pod is never run. Whether an operator's RBAC suffices is for a real cluster to say.
"""

import base64
import copy
import ssl
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from metronome_salesforce.sandbox.kubernetes import manifests
from metronome_salesforce.sandbox.kubernetes.decoding import Options
from metronome_salesforce.sandbox.kubernetes.exceptions import ApiError, Json
from metronome_salesforce.sandbox.kubernetes.faults import Faults, RequestLog
from metronome_salesforce.sandbox.kubernetes.models import Store
from metronome_salesforce.sandbox.kubernetes.responses import Responses
from metronome_salesforce.sandbox.kubernetes.watches import Watches
from metronome_salesforce.sandbox.serving import Served

_STRICT = "Strict"
_TOKEN = "sandbox"  # noqa: S105 -- any token gets in


def _utc_now() -> datetime:
    return datetime.now(UTC)


class KubernetesSandbox:
    """A Kubernetes API in memory; usable from any thread.

    `crds` are YAML files with one or more CustomResourceDefinitions each. `now` gives the server's
    time (aware, UTC) for timestamps and ages. With `tokens`, only these bearer tokens get
    in; without, everyone does. `faults` and `requests` are for tests (see `faults.py`).
    """

    def __init__(
        self,
        *,
        crds: Iterable[Path] = (),
        now: Callable[[], datetime] | None = None,
        tokens: Iterable[str] | None = None,
    ) -> None:
        clock = now or _utc_now
        self._store = Store(clock)
        self._watches = Watches(self._store)
        self.faults = Faults(self._watches.close)
        self.requests = RequestLog()
        self._responses = Responses(self._store, self._watches, self.faults, self.requests, clock)
        self.tokens = tokens
        for path in crds:
            for document in manifests.documents(path.read_text(encoding="utf-8")):
                self.install_crd(document)

    @property
    def tokens(self) -> set[str] | None:
        """The accepted bearer tokens, None for any; may be changed while serving."""
        return self._responses.tokens

    @tokens.setter
    def tokens(self, tokens: Iterable[str] | None) -> None:
        self._responses.tokens = None if tokens is None else set(tokens)

    @property
    def username(self) -> str:
        """Who everybody is that gets in, as SelfSubjectReview tells; may be changed any time."""
        return self._responses.username

    @username.setter
    def username(self, username: str) -> None:
        self._responses.username = username

    def serve(self, port: int = 0, tls: ssl.SSLContext | None = None) -> Served:
        """Serve on loopback; the state outlives the server, so a restart keeps it."""
        return Served(self._responses.application, port=port, tls=tls)

    def kubeconfig(self, url: str, *, ca: bytes = b"", token: str = _TOKEN) -> Json:
        """A kubeconfig for the server at `url`; `ca` is the authority's PEM."""
        cluster: Json = {"server": url}
        if ca:
            cluster["certificate-authority-data"] = base64.b64encode(ca).decode()
        context = {"cluster": "sandbox", "user": "sandbox", "namespace": "default"}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "sandbox", "cluster": cluster}],
            "users": [{"name": "sandbox", "user": {"token": token}}],
            "contexts": [{"name": "sandbox", "context": context}],
            "current-context": "sandbox",
        }

    def write_kubeconfig(
        self, path: Path, url: str, *, ca: bytes = b"", token: str = _TOKEN
    ) -> Path:
        """Write `kubeconfig()` to a file that only its owner may read; returns the path."""
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(self.kubeconfig(url, ca=ca, token=token)), encoding="utf-8")
        return path

    def install_crd(self, document: Json) -> Json:
        """Create a definition, or replace the one of its name; strict. Raises ApiError."""
        definitions = self._store.find("apiextensions.k8s.io", "v1", "customresourcedefinitions")
        options = Options(field_validation=_STRICT)
        with self._store.lock:
            try:
                old = self._store.get(definitions, None, document["metadata"]["name"])
            except ApiError:
                return self._store.create(definitions, None, document, options)
            meta = {
                **document["metadata"],
                "resourceVersion": old["metadata"]["resourceVersion"],
            }
            return self._store.update(
                definitions, None, meta["name"], {**document, "metadata": meta}, options
            )

    # A direct view for tests: `plural` is `widgets`, or `widgets.example.com` if ambiguous.

    def objects(self, plural: str, namespace: str | None = None) -> list[Json]:
        """Copies of all objects of a type, by namespace and name; raises KeyError for no type."""
        return copy.deepcopy(self._store.selected(self._store.find_plural(plural), namespace))

    def get(self, plural: str, name: str, namespace: str | None = "default") -> Json:
        """A copy of one object; raises KeyError if it does not exist."""
        resource = self._store.find_plural(plural)
        try:
            return copy.deepcopy(
                self._store.get(resource, namespace if resource.namespaced else None, name)
            )
        except ApiError as error:
            raise KeyError(error.message) from error

    def create(self, plural: str, document: Json, namespace: str | None = "default") -> Json:
        """Create an object without the wire; raises ApiError."""
        resource = self._store.find_plural(plural)
        return copy.deepcopy(
            self._store.create(resource, namespace if resource.namespaced else None, document)
        )

    def events_of(
        self, name: str, namespace: str = "default", kind: str | None = None
    ) -> list[Json]:
        """The Events about an object, in order of creation."""
        found = [
            event
            for event in self.objects("events", namespace)
            if event["involvedObject"].get("name") == name
            and kind in (None, event["involvedObject"].get("kind"))
        ]
        return sorted(found, key=_version)

    def compact(self) -> None:
        """Forget the history: a watch from an earlier resourceVersion gets 410 Gone."""
        with self._store.lock:
            self._store.history.compact()

    def open_watches(self, plural: str | None = None) -> int:
        """How many watches are open now."""
        return self._watches.count(plural)


def _version(item: Any) -> int:
    return int(item["metadata"]["resourceVersion"])
