"""What a person does with kubectl, and the probes that see whether the operator still reacts."""

import http.client
import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

from tests.benchmarks.processes import PROBE_SECONDS, BenchmarkError, Operator
from tests.benchmarks.servers import PROBED, USER_AGENT

SYNC = "benchmark"
GROUP = "metronome-salesforce.dev"

_SAMPLE_EVERY = 0.05
_HEALTH_EVERY = 0.2
_REACTION_EVERY = 1.0
_LOOK_EVERY = 0.01
_API_SECONDS = 30.0
_WATCH_SECONDS = 3600
_HEADERS = {"User-Agent": USER_AGENT, "Authorization": "Bearer any"}
_SYNCS = f"/apis/{GROUP}/v1alpha1/namespaces/default/metronomesyncs"
_LINKS = f"/apis/{GROUP}/v1alpha1/namespaces/default/customerlinks"
_SECRETS = "/api/v1/namespaces/default/secrets"
_LEASE = f"/apis/coordination.k8s.io/v1/namespaces/default/leases/metronome-sync-{SYNC}"

Json = dict[str, Any]


class Cluster:
    """The embedded Kubernetes API as its client sees it; every call has a limit."""

    def __init__(self, url: str) -> None:
        self._host = urlsplit(url).netloc

    def add_secret(self, name: str, values: dict[str, str]) -> None:
        """Create a Secret."""
        metadata = {"name": name}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values}
        self._call("POST", _SECRETS, body)

    def add_sync(self, name: str, spec: Json) -> None:
        """Create a MetronomeSync."""
        body = {
            "apiVersion": f"{GROUP}/v1alpha1",
            "kind": "MetronomeSync",
            "metadata": {"name": name},
            "spec": spec,
        }
        self._call("POST", _SYNCS, body)

    def patch_sync(self, name: str, patch: Json) -> Json:
        """Merge into a MetronomeSync; the whole as it is then."""
        return self._call("PATCH", f"{_SYNCS}/{name}", patch)

    def sync(self, name: str) -> Json:
        """The MetronomeSync."""
        return self._call("GET", f"{_SYNCS}/{name}")

    def add_link(self, name: str, customer_id: str, account_id: str) -> None:
        """Create a CustomerLink."""
        self._call("POST", _LINKS, link_manifest(name, customer_id, account_id))

    def link_events(self) -> Iterator[Json]:
        """What happens to CustomerLinks from now on: a watch, which ends after an hour."""
        version = self._call("GET", f"{_LINKS}?limit=1")["metadata"]["resourceVersion"]
        return self._watch(f"{_LINKS}?watch=1&resourceVersion={version}")

    def _watch(self, path: str) -> Iterator[Json]:
        connection = http.client.HTTPConnection(self._host, timeout=_WATCH_SECONDS)
        try:
            connection.request("GET", f"{path}&timeoutSeconds={_WATCH_SECONDS}", headers=_HEADERS)
            response = connection.getresponse()
            while line := response.readline():
                yield json.loads(line)
        finally:
            connection.close()

    def lease_is_free(self) -> bool:
        """Whether the last cycle's Lease was given back: then it is over altogether."""
        return not self._call("GET", _LEASE)["spec"].get("holderIdentity")

    def _call(self, method: str, path: str, body: Json | None = None) -> Json:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {**_HEADERS, "Content-Type": kind}
        connection = http.client.HTTPConnection(self._host, timeout=_API_SECONDS)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            answer: Json = json.loads(response.read())
        except OSError as error:
            raise BenchmarkError(f"the Kubernetes API does not answer: {error}") from error
        finally:
            connection.close()
        if response.status >= http.HTTPStatus.BAD_REQUEST:
            raise BenchmarkError(f"{method} {path}: {answer.get('message')}")
        return answer


def link_manifest(name: str, customer_id: str, account_id: str) -> Json:
    """A CustomerLink to the MetronomeSync."""
    return {
        "apiVersion": f"{GROUP}/v1alpha1",
        "kind": "CustomerLink",
        "metadata": {"name": name},
        "spec": {
            "syncRef": {"name": SYNC},
            "customer": {"id": customer_id},
            "account": {"id": account_id},
        },
    }


class LinkWatch:
    """Sees when CustomerLinks become Ready; a context manager.

    `ready` has the perf_counter of when each was seen to be Ready=True for its newest generation,
    `states` what the condition said last; by name.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.ready: dict[str, float] = {}
        self.states: dict[str, str] = {}
        self._events = cluster.link_events()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """The thread ends with the API's process."""

    def wait(self, names: set[str], seconds: float) -> set[str]:
        """Wait until all are Ready; those that are not after so long."""
        deadline = time.perf_counter() + seconds
        with self._changed:
            while missing := names - self.ready.keys():
                left = deadline - time.perf_counter()
                if left <= 0:
                    return missing
                self._changed.wait(left)
        return set()

    def _listen(self) -> None:
        for event in self._events:
            body = event["object"]
            name, status = body["metadata"]["name"], body.get("status") or {}
            of_type = {one["type"]: one for one in status.get("conditions", ())}
            ready = of_type.get("Ready", {"reason": "no status", "message": ""})
            newest = status.get("observedGeneration") == body["metadata"]["generation"]
            with self._changed:
                self.states[name] = f"{ready['reason']}: {ready['message']}"
                if newest and ready.get("status") == "True":
                    self.ready.setdefault(name, time.perf_counter())
                self._changed.notify_all()


@dataclass(slots=True)
class Latencies:
    """Seconds that answers took, and how many never came or said no."""

    seconds: list[float] = field(default_factory=list)
    failures: int = 0

    def to_json(self) -> Json:
        """Worst and median in seconds, and the counts."""
        return {
            "worst": round(max(self.seconds, default=0.0), 4),
            "median": round(statistics.median(self.seconds), 4) if self.seconds else 0.0,
            "probes": len(self.seconds),
            "failures": self.failures,
        }


class Watch:
    """Looks at the operator from outside while it works; a context manager.

    `child_peak` is the most memory of a cycle's process. `health` is /healthz, which a thread of
    the operator's own answers (it fails when the event loop stands still for half a minute), and
    so sees what keeps the interpreter. `reaction` goes through the operator's event loop: a
    suspended MetronomeSync is edited, and what counts is the time until its status follows. It
    needs the watch, the loop, a call to the API, and in between the API itself.
    """

    def __init__(self, operator: Operator, cluster: Cluster) -> None:
        self.child_peak = 0
        self.health = Latencies()
        self.reaction = Latencies()
        self._operator = operator
        self._cluster = cluster
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=job, daemon=True)
            for job in (
                (self._sample, _SAMPLE_EVERY),
                (self._probe_health, _HEALTH_EVERY),
                (self._probe_reaction, _REACTION_EVERY),
            )
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(2 * PROBE_SECONDS + _API_SECONDS)

    def _repeat(self, job: Callable[[], None], every: float) -> None:
        while True:
            job()
            if self._over.wait(every):
                return

    def _sample(self) -> None:
        self.child_peak = max(self.child_peak, self._operator.child_peak())

    def _probe_health(self) -> None:
        started = time.perf_counter()
        status = self._operator.probe("/healthz")
        self.health.seconds.append(time.perf_counter() - started)
        self.health.failures += status != http.HTTPStatus.OK

    def _probe_reaction(self) -> None:
        minute = len(self.reaction.seconds) % 60
        started = time.perf_counter()
        try:
            body = self._cluster.patch_sync(PROBED, {"spec": {"schedule": f"{minute} 6 1 1 *"}})
            wanted = body["metadata"]["generation"]
            while (body.get("status") or {}).get("observedGeneration") != wanted:
                if time.perf_counter() - started > PROBE_SECONDS:
                    self.reaction.failures += 1
                    break
                time.sleep(_LOOK_EVERY)
                body = self._cluster.sync(PROBED)
        except BenchmarkError:
            self.reaction.failures += 1
        self.reaction.seconds.append(time.perf_counter() - started)
