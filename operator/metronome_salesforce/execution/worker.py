"""Run one cycle in a child process: the child's side (see `child` for the conversation).

The child ends when its parent does: standard input is a lifeline, and its end is the parent's. To
stop at once is safe, because every write can be repeated and the org alone holds the state. Until
then its lines tell of customers that the parent moves while this cycle runs.
"""

import asyncio
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import IO, Any

from metronome_salesforce import tracing
from metronome_salesforce.cycle import Observers, Run
from metronome_salesforce.errors import ConfigError
from metronome_salesforce.execution.running import run_sync
from metronome_salesforce.inputs import SyncInputs
from metronome_salesforce.linking import LinkRequest
from metronome_salesforce.planning import Place
from metronome_salesforce.ports import Refusal
from metronome_salesforce.report import CycleReport, Trigger
from metronome_salesforce.spec import MetronomeSync
from metronome_salesforce.stepping import CycleStoppedError

logger = logging.getLogger(__name__)

_ORPHANED = 3
_STOPPED = 128 + signal.SIGTERM
_PART = 1 << 20
_STOP_SECONDS = 0.5  # for the last spans of a cycle that is to stop: its operator waits
_TELL_EVERY = 0.2
"""Seconds between two lines of progress within one stage."""


def main() -> int:
    """Read the request from standard input, run, write the report to standard output.

    The exit code is 0 when a report was written, whatever it says.
    """
    # What libraries print must not garble the conversation.
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    sys.stdout = sys.stderr
    lines = _lines(sys.stdin.fileno())
    request = json.loads(next(lines))
    stop, news = threading.Event(), _News()
    threading.Thread(target=_listen, args=(lines, news), name="lifeline", daemon=True).start()
    _start_tracing()
    try:
        with tracing.within(request.get("traceparent")):
            report = asyncio.run(_run(request, channel, stop, news))
        # Before the last spans are sent, which may take a moment.
        _tell(channel, {"report": report.to_json()})
    except (CycleStoppedError, asyncio.CancelledError):
        tracing.stop(_STOP_SECONDS)
        return _STOPPED
    finally:
        tracing.stop()
    return 0


def _start_tracing() -> None:
    try:
        tracing.start(os.environ)
    except ConfigError as error:  # the operator has started with the same: since then it changed
        logger.warning("no traces of this cycle: %s", error)


async def _run(
    request: Mapping[str, Any], channel: IO[str], stop: threading.Event, news: "_News"
) -> CycleReport:
    inputs = SyncInputs(
        sync=MetronomeSync.model_validate(request["sync"]),
        api_key=request["apiKey"],
        credentials=request["credentials"],
        ca_bundle=request["caBundle"],
    )
    last_success, rejected_since = request["lastSuccess"], request.get("rejectedSince") or {}
    run = Run(
        id=request["runId"],
        trigger=Trigger(request["trigger"]),
        now=datetime.now(UTC),
        full=request["full"],
        dry_run=request["dryRun"],
        last_success=None if last_success is None else datetime.fromisoformat(last_success),
        rejected_since={what: date.fromisoformat(day) for what, day in rejected_since.items()},
        links=_links(request.get("links")),
        retained=frozenset(request.get("retained") or ()),
        refusal=Refusal(**refusal) if (refusal := request.get("refusal")) else None,
    )
    observers = Observers(_Teller(channel).progress, relinked=news.take)
    cycle = asyncio.ensure_future(
        run_sync(inputs, run, observers, environment=os.environ, stop=stop)
    )

    def end() -> None:
        # Both: the event ends a row of blocking calls, the cancellation a wait for Metronome.
        stop.set()
        cycle.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    return await cycle


def _links(given: Sequence[Mapping[str, Any]] | None) -> list[LinkRequest] | None:
    """The CustomerLinks of the request, None when they are not known there."""
    if given is None:
        return None
    return [
        LinkRequest(**{**one, "external_id": tuple(one["external_id"])})
        if one["external_id"] is not None
        else LinkRequest(**one)
        for one in given
    ]


class _News:
    """The customers that were moved while this cycle runs; told by one thread, taken by another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places: dict[str, Place] = {}

    def tell(self, places: Mapping[str, Place]) -> None:
        with self._lock:
            self._places.update(places)

    def take(self) -> dict[str, Place]:
        """What was told since this was last asked."""
        with self._lock:
            places, self._places = self._places, {}
        return places


class _Teller:
    """Writes progress lines, not more of them than anybody can read."""

    def __init__(self, channel: IO[str]) -> None:
        self._channel = channel
        self._stage = ""
        self._next = 0.0

    def progress(self, stage: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if stage == self._stage and now < self._next and done != total:
            return
        self._stage, self._next = stage, now + _TELL_EVERY
        _tell(self._channel, {"progress": {"stage": stage, "done": done, "total": total}})


def _tell(channel: IO[str], document: Mapping[str, Any]) -> None:
    # A parent that is gone reads nothing; the lifeline ends this process in a moment.
    with suppress(BrokenPipeError):
        channel.write(json.dumps(document) + "\n")
        channel.flush()


def _lines(descriptor: int) -> Iterator[bytes]:
    """The lines that come in, to the last that is whole.

    Read without a file object: the interpreter locks those on its way out, and aborts when a thread
    still reads from one.
    """
    rest = b""
    while part := os.read(descriptor, _PART):
        *whole, rest = (rest + part).split(b"\n")
        yield from whole


def _listen(lines: Iterator[bytes], news: _News) -> None:
    """Take the parent's lines until there are no more, which is the end of it."""
    for line in lines:
        try:
            relinked = json.loads(line)["relinked"]
            news.tell({id_: (account, source) for id_, (account, source) in relinked.items()})
        except (ValueError, TypeError, KeyError):  # a parent that was killed in the middle of it
            logger.warning("a line of the operator could not be read")
    logger.warning("the operator is gone; this cycle ends and the next one goes on from here")
    os._exit(_ORPHANED)
