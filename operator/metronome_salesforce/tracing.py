"""Traces of cycles and link runs for an OpenTelemetry collector; off unless the environment asks.

The only module with opentelemetry, which is imported when tracing starts and not before: without
it, a span is a call that does nothing. What spans say is chosen here and by their callers, name by
name: kinds of calls, counts, reasons, the names of MetronomeSyncs. Exceptions are told by their
reason or class, never by their text, and addresses not at all: an org's host is a customer's name.
"""

import importlib.metadata
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, cast

import requests

from metronome_salesforce.errors import ConfigError, ProductError
from metronome_salesforce.tracingsettings import wants_traces

if TYPE_CHECKING:
    from opentelemetry import trace as otel
    from opentelemetry.context import Context

logger = logging.getLogger(__name__)

Attributes = Mapping[str, str | int | float | bool]
"""By name, without the `metronome_salesforce.` that all of our own begin with in a trace."""

STOP_SECONDS = 2.0
"""How long an end waits for a collector, at most."""

_NAME = "metronome-salesforce-operator"
_COMPLAIN_EVERY = 600.0  # seconds
_STOP_SECONDS_IN_VAIN = 0.1  # where the last batch was not taken either


class Span(Protocol):
    """Something that takes time, and what is told of it."""

    @property
    def traceparent(self) -> str | None:
        """What another process continues the trace by (W3C Trace Context); None when off."""

    @property
    def log_fields(self) -> Mapping[str, str]:
        """What leads from a log line to the trace, for `logs.belonging_to`; empty when off."""

    def note(self, attributes: Attributes, /) -> None:
        """Add what is known by now."""

    def answered(self, status: int, /) -> None:
        """Note the HTTP status of an answer; from 400 up the call has failed."""

    def fail(self, reason: str, /) -> None:
        """Mark it as failed, for a reason in one word."""


class _Off:
    """No span: of no cost, and the same for all."""

    __slots__ = ()
    traceparent: str | None = None
    log_fields: Mapping[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return

    def note(self, _attributes: Attributes, /) -> None:
        return

    def answered(self, _status: int, /) -> None:
        return

    def fail(self, _reason: str, /) -> None:
        return


_OFF = _Off()
_tracer: "_Tracer | None" = None


# -- what others use -------------------------------------------------------------------------------


def start(environment: Mapping[str, str]) -> None:
    """Start tracing, if the environment (the process's own) names a collector.

    Raises ConfigError `InvalidSettings` for what cannot work.
    """
    global _tracer  # noqa: PLW0603 -- tracing is the process's, as logging is
    if _tracer is None and wants_traces(environment):
        _tracer = _Tracer(environment)


def stop(seconds: float = STOP_SECONDS) -> None:
    """Hand over what is left, for so long at most, and be off; nothing if tracing is off."""
    global _tracer
    tracer, _tracer = _tracer, None
    if tracer is not None:
        tracer.close(seconds)


def root(
    name: str, attributes: Attributes, parent: str | None = None
) -> AbstractContextManager[Span]:
    """The first span of a trace of its own, or of that which `parent` (a traceparent) belongs to.

    A parent that cannot be read counts as none.
    """
    return _OFF if _tracer is None else _tracer.root(name, attributes, parent)


def within(parent: str | None) -> AbstractContextManager[object]:
    """Go on with the trace of another process: spans inside belong to `parent`, a traceparent."""
    return _OFF if _tracer is None or parent is None else _tracer.within(parent)


def span(name: str) -> AbstractContextManager[Span]:
    """A span within the one that is current in this task or thread."""
    return _OFF if _tracer is None else _tracer.span(name)


def call(system: str, family: str, method: str) -> AbstractContextManager[Span]:
    """One HTTP request to a vendor; none outside of a trace, as when an org is only watched."""
    return _OFF if _tracer is None else _tracer.call(system, family, method)


def retried(attempt: int, reason: str, pause: float) -> None:
    """Note on the current span that an attempt has failed; the next is `pause` seconds away."""
    if _tracer is not None:
        _tracer.event("retry", {"attempt": attempt, "reason": reason, "pause": round(pause, 3)})


class Stages:
    """Spans that follow each other within the current one: each ends where the next begins.

    A context manager; for one task.
    """

    def __init__(self) -> None:
        self._name = ""
        self._open: _Span | None = None

    def begin(self, name: str) -> None:
        """Begin a stage; nothing if it is the one that is under way."""
        if _tracer is None or name == self._name:
            return
        self._end(None)
        self._name = name
        self._open = _tracer.span(name)
        self._open.__enter__()

    def fail(self, reason: str) -> None:
        """Mark the stage that is under way as failed."""
        if self._open is not None:
            self._open.fail(reason)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        if self._open is not None:
            self._open.__exit__(None, error, None)
        self._open, self._name = None, ""


# -- OpenTelemetry ---------------------------------------------------------------------------------


class _Tracer:
    """OpenTelemetry's SDK, ready; raises ConfigError where it is not installed or refuses."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        # What it logs quotes settings, headers with a token among them, and comes with every batch
        # that fails: `_Exporter` tells what is worth it.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
        try:
            # Here, because they take a moment to import, and need not be installed.
            from opentelemetry import context, trace  # noqa: PLC0415
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
                OTLPSpanExporter,
            )
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
            from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
                TraceContextTextMapPropagator,
            )
        except ImportError:
            raise ConfigError(
                "InvalidSettings",
                "OTEL_EXPORTER_OTLP_ENDPOINT asks for traces, and OpenTelemetry is not installed;"
                f" install it with: pip install '{_NAME}[otel]', or unset the variable.",
            ) from None
        self._context, self._trace = context, trace
        self._propagator = TraceContextTextMapPropagator()
        self._lock = threading.Lock()
        self._ended = 0
        session = _Session()
        try:
            self._exporter = _Exporter(OTLPSpanExporter(session=session), session)
            self._provider: TracerProvider = TracerProvider(
                resource=_resource(environment),
                shutdown_on_exit=False,  # that would wait for half a minute
            )
            self._provider.add_span_processor(BatchSpanProcessor(cast("Any", self._exporter)))
        except ValueError:
            raise ConfigError(
                "InvalidSettings",
                "one of OpenTelemetry's variables of the environment (OTEL_…) has a value that it"
                " does not take; correct or unset it.",
            ) from None
        version = importlib.metadata.version(_NAME)
        # Not made the process's own: libraries that look for one find none, and tell nothing.
        self._tracer = self._provider.get_tracer("metronome_salesforce", version)

    def root(self, name: str, attributes: Attributes, parent: str | None) -> "_Span":
        return self._opened(name, _ours(attributes), context=self._remote(parent))

    @contextmanager
    def within(self, parent: str) -> Iterator[None]:
        token = self._context.attach(self._remote(parent))
        try:
            yield
        finally:
            self._context.detach(token)

    def span(self, name: str) -> "_Span":
        return self._opened(name)

    def call(self, system: str, family: str, method: str) -> "_Span | _Off":
        if not self._trace.get_current_span().get_span_context().is_valid:
            return _OFF
        # `peer.service` is what backends draw the map of services from. No address, no URL.
        attributes = {"http.request.method": method, "peer.service": system}
        return self._opened(f"{system} {family}", attributes, kind=self._trace.SpanKind.CLIENT)

    def event(self, name: str, attributes: Attributes) -> None:
        self._trace.get_current_span().add_event(name, _ours(attributes))

    def attach(self, one: "otel.Span") -> Any:
        """Make a span the current one of this task or thread; what `detach` needs."""
        return self._context.attach(self._trace.set_span_in_context(one))

    def detach(self, token: Any) -> None:
        self._context.detach(token)

    def failed(self, one: "otel.Span", reason: str) -> None:
        one.set_attribute("error.type", reason)
        one.set_status(self._trace.Status(self._trace.StatusCode.ERROR, reason))

    def ended(self, one: "otel.Span") -> None:
        one.end()
        if one.get_span_context().trace_flags.sampled:
            with self._lock:
                self._ended += 1

    def close(self, seconds: float) -> None:
        """Hand over what is left; the threads that cannot are left behind."""
        exporter = self._exporter
        # Its own shutdown has no time limit of ours: it waits for half a minute.
        closing = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(_STOP_SECONDS_IN_VAIN if exporter.failing else seconds)
        exporter.silent = True
        if exporter.failing:
            return
        if closing.is_alive():
            logger.warning(
                "traces: the collector did not take the last spans in %.0f s; they are lost",
                seconds,
            )
        elif (dropped := self._ended - exporter.handed) > 0:
            logger.warning(
                "traces: %d of %d spans came faster than they could be sent, and are lost; raise"
                " OTEL_BSP_MAX_QUEUE_SIZE, or trace fewer cycles with OTEL_TRACES_SAMPLER",
                dropped,
                self._ended,
            )

    def _remote(self, parent: str | None) -> "Context":
        """A context of its own with the span of another process in it, if there is one."""
        context = self._context.Context()
        if parent is None:
            return context
        return self._propagator.extract({"traceparent": parent}, context)

    def _opened(
        self,
        name: str,
        attributes: Attributes | None = None,
        *,
        context: "Context | None" = None,
        kind: "otel.SpanKind | None" = None,
    ) -> "_Span":
        one = self._tracer.start_span(
            name,
            context,
            kind or self._trace.SpanKind.INTERNAL,
            dict(attributes or {}),
            # Both would tell the exception's text.
            record_exception=False,
            set_status_on_exception=False,
        )
        return _Span(self, one)


class _Span:
    """A span that is told to the collector when it ends."""

    __slots__ = ("_one", "_token", "_tracer")

    def __init__(self, tracer: _Tracer, one: "otel.Span") -> None:
        self._tracer = tracer
        self._one = one
        self._token: Any = None

    @property
    def traceparent(self) -> str | None:
        context = self._one.get_span_context()
        flags = int(context.trace_flags)
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{flags:02x}"

    @property
    def log_fields(self) -> Mapping[str, str]:
        context = self._one.get_span_context()
        # One that is not sampled is nowhere to be found.
        return {"trace_id": f"{context.trace_id:032x}"} if context.trace_flags.sampled else {}

    def __enter__(self) -> Self:
        self._token = self._tracer.attach(self._one)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self.fail(error.reason if isinstance(error, ProductError) else type(error).__name__)
        self._tracer.detach(self._token)
        self._tracer.ended(self._one)

    def note(self, attributes: Attributes, /) -> None:
        self._one.set_attributes(_ours(attributes))

    def answered(self, status: int, /) -> None:
        self._one.set_attribute("http.response.status_code", status)
        if status >= HTTPStatus.BAD_REQUEST:
            self.fail(str(status))

    def fail(self, reason: str, /) -> None:
        self._tracer.failed(self._one, reason)


def _ours(attributes: Attributes) -> dict[str, str | int | float | bool]:
    return {f"metronome_salesforce.{name}": value for name, value in attributes.items()}


def _resource(environment: Mapping[str, str]) -> Any:
    """Who tells: what the environment says counts, then our own name, version and pod."""
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 -- as above

    ours = {"service.name": _NAME, "service.version": importlib.metadata.version(_NAME)}
    if pod := environment.get("POD_NAME"):
        ours["k8s.pod.name"] = pod
    given = Resource.create()
    # The name that it makes up where none is given.
    made_up = str(given.attributes.get("service.name", "")).startswith("unknown_service")
    known = {name for name in given.attributes if not (made_up and name == "service.name")}
    return given.merge(Resource({name: ours[name] for name in ours if name not in known}))


class _Session(requests.Session):
    """Sends to the collector, and knows what came of it: "HTTP 503", or an exception's class."""

    told = ""

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        try:
            answer = super().send(request, **options)
        except requests.RequestException as error:
            self.told = type(error).__name__
            raise
        self.told = f"HTTP {answer.status_code}"
        return answer


class _Exporter:
    """OpenTelemetry's exporter, of which only every so often is told that it fails."""

    def __init__(self, inner: Any, session: _Session) -> None:
        self._inner = inner
        self._session = session
        self._complain_at = 0.0
        self._lost = 0
        self.handed = 0
        self.failing = False
        self.silent = False

    def export(self, spans: Any) -> Any:
        self.handed += len(spans)
        self._session.told = "not sent"
        result = self._inner.export(spans)
        # It takes a redirect, which it does not follow, for an answer.
        self.failing = not self._session.told.startswith("HTTP 2")
        if self.failing:
            self._lost += len(spans)
            self._complain()
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return bool(self._inner.force_flush(timeout_millis))

    def _complain(self) -> None:
        now = time.monotonic()
        if self.silent or now < self._complain_at:
            return
        self._complain_at = now + _COMPLAIN_EVERY
        logger.warning(
            "traces: the collector has not taken %d spans (%s), which are lost; everything else"
            " goes on. Check OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_HEADERS and network"
            " policies",
            self._lost,
            self._session.told,
        )
        self._lost = 0
