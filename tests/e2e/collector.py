"""A collector of traces on loopback: takes OTLP over HTTP, and keeps what it was sent.

Told to, it refuses everything (`status`) or lets everybody wait (`delay`, in seconds, or
`hanging`), as collectors do on bad days.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

OK, ERROR = 1, 2
CLIENT = 3


@dataclass(frozen=True)
class Seen:
    """One span as it was sent; `resource` is who sent it, `error` why it failed, None if not."""

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    error: str | None
    attributes: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]]
    resource: dict[str, Any]
    start: int
    end: int


@dataclass(frozen=True)
class Trace:
    """The spans with one trace id."""

    spans: list[Seen]

    @cached_property
    def root(self) -> Seen:
        """The only span without a parent among them."""
        ids = {one.id for one in self.spans}
        (root,) = (one for one in self.spans if one.parent not in ids)
        return root

    def below(self, parent: Seen) -> list[Seen]:
        """Its children, by time."""
        found = [one for one in self.spans if one.parent == parent.id]
        return sorted(found, key=lambda one: one.start)

    def only(self, name: str) -> Seen:
        """The one span of that name."""
        (found,) = (one for one in self.spans if one.name == name)
        return found


class Collector:
    """A running one: `headers` are those of each request, `bodies` what was sent, as bytes."""

    def __init__(self) -> None:
        self.status = 200
        self.delay = 0.0
        self.hanging = threading.Event()
        self.released = threading.Event()
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.url = ""

    def environment(self, **more: str) -> dict[str, str]:
        """What a process needs to send here, quickly."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            **more,
        }

    def spans(self) -> list[Seen]:
        """All that has come so far."""
        return [one for body in list(self.bodies) for one in _spans(body)]

    def traces(self, root: str) -> list[Trace]:
        """Whole traces with a root of that name, oldest first."""
        by_id: dict[str, list[Seen]] = {}
        for one in self.spans():
            by_id.setdefault(one.trace, []).append(one)
        found = [Trace(spans) for spans in by_id.values() if any(s.name == root for s in spans)]
        return sorted(found, key=lambda one: min(span.start for span in one.spans))

    def wait(self, root: str, number: int = 1, seconds: float = 30.0) -> Trace:
        """The trace with that number, once its root is there: that ends last."""
        deadline = time.monotonic() + seconds
        while len(found := self.traces(root)) < number:
            assert time.monotonic() < deadline, [one.name for one in self.spans()]
            time.sleep(0.05)
        return found[number - 1]


@contextmanager
def collector() -> Iterator[Collector]:
    """Start one, which ends with the test."""
    one = Collector()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(one))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    one.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield one
    finally:
        one.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(one: Collector) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            one.headers.append({name.lower(): text for name, text in self.headers.items()})
            time.sleep(one.delay)
            if one.hanging.is_set():
                one.released.wait()
                return
            if one.status == 200 and self.path == "/v1/traces":
                one.bodies.append(body)
            self.send_response(one.status if self.path == "/v1/traces" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    return Handler


def _spans(body: bytes) -> Iterator[Seen]:
    for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = _attributes(of_resource.resource.attributes)
        for of_scope in of_resource.scope_spans:
            for one in of_scope.spans:
                yield Seen(
                    name=one.name,
                    trace=one.trace_id.hex(),
                    id=one.span_id.hex(),
                    parent=one.parent_span_id.hex(),
                    kind=one.kind,
                    error=one.status.message if one.status.code == ERROR else None,
                    attributes=_attributes(one.attributes),
                    events=[(event.name, _attributes(event.attributes)) for event in one.events],
                    resource=resource,
                    start=one.start_time_unix_nano,
                    end=one.end_time_unix_nano,
                )


_VALUES: dict[str, Callable[[Any], Any]] = {
    "string_value": str, "int_value": int, "double_value": float, "bool_value": bool,
}  # fmt: skip


def _attributes(given: Any) -> dict[str, Any]:
    found = {}
    for one in given:
        kind = one.value.WhichOneof("value")
        found[one.key] = _VALUES[kind](getattr(one.value, kind))
    return found
