"""Many MetronomeSyncs and CustomerLinks on a real API server, and a watch that sees what they do.

Made, changed and watched by the API itself, a few calls at a time: a kubectl for each would measure
the machine.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Any, Self

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from tests.e2e.suite import (
    GROUP,
    LINKS,
    PLURAL,
    VERSION,
    Cluster,
    condition,
    config_map_manifest,
    secret_manifest,
    sync_manifest,
)

NAMESPACES = 20
SYNCS_EACH = 10
LINKS_EACH = 10
"""Of each namespace, and of each MetronomeSync."""

SYNCS = [
    (f"team-{space:02}", f"company-{number}")
    for space in range(NAMESPACES)
    for number in range(SYNCS_EACH)
]
"""Namespace and name of each; those of a namespace are next to each other."""

_AT_ONCE = 8
_PATIENCE = 30.0
_WATCH_SECONDS = 3600
_PAUSE = 0.2
_PART = 1 << 16

Json = dict[str, Any]
Key = tuple[str, str]
"""Namespace and name."""
Check = Callable[[Json], object]


class Watch:
    """What a watch brings of all objects of a kind, and when; a context manager.

    Times are of `time.perf_counter`.
    """

    def __init__(self, cluster: Cluster, plural: str) -> None:
        self._open = partial(
            cluster.custom.list_cluster_custom_object,
            *(GROUP, VERSION, plural),
            watch=True,
            timeout_seconds=_WATCH_SECONDS,
            _preload_content=False,
        )
        self._answer = self._open()
        self._version = 0
        self._bodies: dict[Key, tuple[Json | None, float]] = {}
        self._changed = threading.Condition()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, name=f"watch {plural}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        while self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # it has just ended by itself
                self._answer.shutdown()
            self._thread.join(_PAUSE)
        self._answer.close()

    def wait(self, key: Key, check: Check, seconds: float = _PATIENCE) -> float:
        """When the object was seen to be as wished; one that is gone has an empty body."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                body, moment = self._bodies.get(key, (None, 0.0))
                if check(body or {}):
                    return moment
                left = deadline - time.monotonic()
                assert self._thread.is_alive(), "the watch has ended"
                assert left > 0, f"{key} is not so after {seconds:.0f} s: {json.dumps(body)}"
                self._changed.wait(left)

    def _listen(self) -> None:
        """Read on where a watch ended: the API server ends those of a new kind now and then."""
        while not self._over.is_set():
            with contextlib.suppress(HTTPError):
                self._read()
            if self._over.wait(_PAUSE):
                return
            self._answer.close()
            with contextlib.suppress(HTTPError, ApiException):
                self._answer = self._open(resource_version=str(self._version))

    def _read(self) -> None:
        rest = b""
        while part := self._answer.read1(_PART):
            *lines, rest = (rest + part).split(b"\n")
            moment = time.perf_counter()
            for line in lines:
                self._take(json.loads(line), moment)

    def _take(self, event: Json, moment: float) -> None:
        body = event["object"]
        key = (body["metadata"]["namespace"], body["metadata"]["name"])
        # The first ones, of what is there already, come in no order.
        self._version = max(self._version, int(body["metadata"]["resourceVersion"]))
        with self._changed:
            gone = event["type"] == "DELETED"
            self._bodies[key] = (None if gone else body, moment)
            self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class Fleet:
    """The resources, with what their companies answered (see `tests.benchmarks.companies`)."""

    cluster: Cluster
    companies: Json
    syncs: Watch
    links: Watch

    def create(self) -> None:
        """Create namespaces, what MetronomeSyncs refer to, and the MetronomeSyncs, all active."""
        services = self.companies
        for space in sorted({space for space, _ in SYNCS}):
            metadata = client.V1ObjectMeta(name=space)
            self.cluster.core.create_namespace(client.V1Namespace(metadata=metadata))
            documents = [
                secret_manifest("metronome", {"apiKey": services["metronome"]["apiKey"]}),
                secret_manifest("salesforce", services["credentials"]),
            ]
            for document in documents:
                self.cluster.core.create_namespaced_secret(space, document)
            authority = config_map_manifest("authority", {"ca.crt": services["authority"]})
            self.cluster.core.create_namespaced_config_map(space, authority)
        specs = [self._spec(org) for org in services["orgs"]]
        at_once(
            partial(self._post, PLURAL, space, sync_manifest(name, spec))
            for (space, name), spec in zip(SYNCS, specs, strict=True)
        )

    def settle(self, seconds: float) -> None:
        """Link the customers of each MetronomeSync after its first cycle, and wait for the end."""

        def link(key: Key) -> None:
            self.syncs.wait(key, is_idle, seconds)
            for number in range(LINKS_EACH):
                self.create_link(key, number)

        at_once(partial(link, key) for key in SYNCS)
        for key in SYNCS:
            for number in range(LINKS_EACH):
                self.links.wait(link_key(key, number), is_linked, seconds)
            self.syncs.wait(key, is_idle)

    def create_link(self, key: Key, number: int) -> None:
        """Create one of them."""
        self._post(LINKS, key[0], self._link(key, number))

    def delete_link(self, key: Key, number: int) -> None:
        """Delete one of them."""
        name = link_key(key, number)
        self.cluster.custom.delete_namespaced_custom_object(GROUP, VERSION, name[0], LINKS, name[1])

    def patch(self, plural: str, key: Key, patch: Json) -> Json:
        """Merge into an object; the whole as it is then."""
        body: Json = self.cluster.custom.patch_namespaced_custom_object(
            GROUP, VERSION, key[0], plural, key[1], patch
        )
        return body

    def _post(self, plural: str, space: str, body: Json) -> None:
        self.cluster.custom.create_namespaced_custom_object(GROUP, VERSION, space, plural, body)

    def _spec(self, org: str) -> Json:
        # Half a day from now, so that no cycle starts but those that are asked for.
        hour = (datetime.now(UTC).hour + 12) % 24
        return {
            "schedule": f"0 {hour} * * *",
            "metronome": {
                "apiKeySecretRef": {"name": "metronome"},
                "baseUrl": self.companies["metronome"]["url"],
            },
            "salesforce": {
                "instanceUrl": org,
                "credentialsSecretRef": {"name": "salesforce"},
                "caBundleConfigMapRef": {"name": "authority"},
            },
            "usage": {"lookback": "5d"},
        }

    def account(self, number: int, *, other: bool = False) -> str:
        """The Account of a link, or the one that it may be moved to."""
        accounts: list[str] = self.companies["accounts"]
        return accounts[number + (LINKS_EACH if other else 0)]

    def _link(self, key: Key, number: int) -> Json:
        return {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "CustomerLink",
            # As a GitOps tool leaves it.
            "metadata": {
                "name": link_key(key, number)[1],
                "labels": {"app.kubernetes.io/managed-by": "gitops"},
            },
            "spec": {
                "syncRef": {"name": key[1]},
                "customer": {"id": self.companies["customers"][number]},
                "account": {"id": self.account(number)},
            },
        }


def link_key(key: Key, number: int) -> Key:
    """Namespace and name of one of a MetronomeSync's links."""
    return key[0], f"{key[1]}-customer-{number}"


def at_once(calls: Iterable[Callable[[], object]]) -> None:
    """Make all these calls, a few at a time."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for done in [pool.submit(call) for call in calls]:
            done.result()


def is_idle(body: Json) -> object:
    """Whether a MetronomeSync has had its first cycle and waits for the next one."""
    status = body.get("status") or {}
    outcome = (status.get("lastRun") or {}).get("outcome")
    return outcome == "Succeeded" and condition(status, "Reconciling") == ("False", "Idle")


def is_linked(body: Json) -> object:
    """Whether a link has been carried out as its newest spec says."""
    status = body.get("status") or {}
    newest = body.get("metadata", {}).get("generation")
    return status.get("observedGeneration") == newest and (
        condition(status, "Ready") == ("True", "Linked")
    )
