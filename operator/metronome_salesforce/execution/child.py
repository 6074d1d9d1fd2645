"""Run one cycle in a child process: the parent's side.

A child process, because a cycle computes and blocks for minutes: the event loop, the probes and the
other resources must not wait for it, its memory goes back to the system when it ends, and it can be
killed. The two speak over the standard streams:

    stdin   the request, one line of JSON with the credentials; then {"relinked": {customer:
            [Account or null, source or null]}} for customers that are moved meanwhile. It stays
            open as a lifeline: when it ends, the parent is gone and the child exits at once
    stdout  lines of JSON: {"progress": {"stage", "done", "total"}} and at last {"report": {...}}
    stderr  log lines, which go to our log with the sync's name

Credentials go neither by argument nor by environment, which other processes can read.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from metronome_salesforce.logs import configured
from metronome_salesforce.planning import Place
from metronome_salesforce.report import CycleReport, Outcome, Retry, Trigger

logger = logging.getLogger(__name__)

GRACE_SECONDS = 10.0
"""How long a child has to stop by itself, between SIGTERM and SIGKILL."""

_LONGEST_LINE = 32 * 1024 * 1024  # a report is far smaller; a stream of garbage ends here
_LONGEST_LOG = 8 * 1024
_CHUNK = 64 * 1024
_SHORTEST_SECRET = 4  # shorter values would mask ordinary words
_SHORTEST_SECRET_LINE = 8
_EXIT_SECONDS = 30.0  # a child that has reported has nothing left to do

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the child is: `done` of `total` (None: not known) in a stage."""

    stage: str
    done: int
    total: int | None


def failed_report(
    request: Mapping[str, Any], started: datetime, reason: str, message: str
) -> CycleReport:
    """The report of a run that could not tell its own; worth another try later."""
    now = datetime.now(UTC)
    return CycleReport(
        id=request["runId"],
        trigger=Trigger(request["trigger"]),
        started_at=_timestamp(started),
        outcome=Outcome.FAILED,
        reason=reason,
        message=message,
        retry=Retry.LATER,
        finished_at=_timestamp(now),
        duration=round((now - started).total_seconds(), 3),
        full=bool(request["full"]),
    )


async def run_child(
    request: Json,
    *,
    on_progress: Callable[[Progress], None],
    relinked: "asyncio.Queue[Mapping[str, Place]] | None" = None,
    deadline: float | None = None,
    command: Sequence[str] | None = None,
    grace: float = GRACE_SECONDS,
) -> CycleReport:
    """Run one cycle and return its report; `deadline` and `grace` are seconds.

    What comes into `relinked` meanwhile is passed on to the child, and is done there once it has
    been sent.

    A child that ends without a report gives outcome Failed with reason `CycleCrashed`, one that
    takes longer than `deadline` is stopped and gives `DeadlineExceeded`. When the caller is
    cancelled, the child is stopped before CancelledError goes on.
    """
    started = datetime.now(UTC)
    try:
        process = await asyncio.create_subprocess_exec(
            *(command or _own_command()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            # Ctrl-C in a terminal must reach the operator alone, which then stops its children.
            start_new_session=True,
        )
    except OSError as error:  # no memory, too many processes or open files
        sentence = f"The cycle's process could not be started: {error.strerror}. It is tried again."
        return failed_report(request, started, "CycleCrashed", sentence)
    conversation = _Conversation(process, request, on_progress, relinked or asyncio.Queue())
    late = False
    try:
        async with asyncio.timeout(deadline):
            await conversation.run()
    except TimeoutError:
        late = True
    finally:
        await _finish(process, conversation, grace)
    if conversation.report is not None:
        return conversation.report
    if late:
        sentence = (
            f"The cycle did not end within {deadline:.0f} seconds (execution.activeDeadline)"
            " and was stopped; the next one goes on from what was written."
        )
        return failed_report(request, started, "DeadlineExceeded", sentence)
    sentence = _epitaph(process.returncode, conversation.garbled)
    return failed_report(request, started, "CycleCrashed", sentence)


def _own_command() -> Sequence[str]:
    """This very program, logging from our levels up and so that `_log` can read it."""
    options = ("--log-format", "json", *configured().words())
    return (sys.executable, "-m", "metronome_salesforce", *options, "cycle-worker")


class _Conversation:
    """What is said to and by one child."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        request: Json,
        on_progress: Callable[[Progress], None],
        relinked: "asyncio.Queue[Mapping[str, Place]]",
    ) -> None:
        self.report: CycleReport | None = None
        self.garbled = False
        self._process = process
        self._request = request
        self._on_progress = on_progress
        self._secrets = _secrets(request)
        self._relinked = relinked
        self._logging = asyncio.create_task(self._pass_logs())
        self._telling: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Send the request and listen until the child has reported or closed its output."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the child was started without pipes")
        # A child that dies before it has read everything tells so by its exit code.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            stdin.write(json.dumps(self._request).encode() + b"\n")
            await stdin.drain()
        self._telling = asyncio.create_task(self._tell_relinked(stdin))
        async for line in _lines(stdout, _LONGEST_LINE):
            if self._hear(line):
                break
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_EXIT_SECONDS if self.report else None):
                await self._process.wait()

    async def end(self) -> None:
        """Read the log to its end; for when the child is gone."""
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.gather(self._telling, return_exceptions=True)
        # A grandchild may hold stderr open for ever; nothing of ours starts one.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self._logging
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def _tell_relinked(self, stdin: asyncio.StreamWriter) -> None:
        while True:
            places = await self._relinked.get()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                stdin.write(json.dumps({"relinked": dict(places)}).encode() + b"\n")
                await stdin.drain()
            self._relinked.task_done()

    def _hear(self, line: bytes) -> bool:
        """Take one line of the child's output; True when that was the report."""
        try:
            document = json.loads(line)
            match document:
                case {"report": dict(report)}:
                    self.report = CycleReport.from_json(report)
                    return True
                case {"progress": {"stage": str(stage), "done": int(done), "total": total}}:
                    self._on_progress(Progress(stage, done, total))
                case _:
                    self.garbled = True
        except (ValueError, TypeError, KeyError):
            self.garbled = True
        return False

    async def _pass_logs(self) -> None:
        stderr = self._process.stderr
        if stderr is None:
            raise RuntimeError("the child was started without pipes")
        async for line in _lines(stderr, _LONGEST_LOG):
            text = line.decode(errors="replace")
            for secret in self._secrets:
                text = text.replace(secret, "***")
            _log(text)


async def _lines(stream: asyncio.StreamReader, longest: int) -> AsyncIterator[bytes]:
    """Yield lines without their ends; one that is longer than `longest` bytes is cut there.

    `StreamReader.readline` raises on long lines and then loses its place.
    """
    rest = b""
    skipping = False
    while chunk := await stream.read(_CHUNK):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if not skipping and line:
                yield line[:longest]
            skipping = False
        if len(rest) > longest:
            if not skipping:
                yield rest[:longest]
            rest, skipping = b"", True
    if rest and not skipping:
        yield rest


def _log(text: str) -> None:
    """Pass one line of a child's log on; JSON lines keep their level and their fields."""
    try:
        record = json.loads(text)
    except ValueError:
        record = None
    if not isinstance(record, dict) or "message" not in record:
        logger.warning("%s", text)
        return
    level = logging.getLevelNamesMapping().get(str(record.get("level", "")).upper(), logging.INFO)
    origin = logging.getLogger(str(record.get("logger") or __name__))
    known = {"message", "level", "logger", "time", "sync", "run"}
    fields = {key: value for key, value in record.items() if key not in known}
    origin.log(level, "%s", record["message"], extra={"fields": fields})


async def _finish(
    process: asyncio.subprocess.Process, conversation: _Conversation, grace: float
) -> None:
    """Make sure that the child and all that it started are gone, even while being cancelled."""
    stopping = asyncio.ensure_future(_stop(process, conversation.end, grace))
    cancelled: asyncio.CancelledError | None = None
    while not stopping.done():
        try:
            await asyncio.shield(stopping)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    stopping.result()


async def _stop(
    process: asyncio.subprocess.Process, end: Callable[[], Awaitable[None]], grace: float
) -> None:
    if process.returncode is None:
        _signal(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await process.wait()
    # The group outlives its leader; an empty one is no error.
    _signal(process.pid, signal.SIGKILL)
    await process.wait()
    await end()


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _epitaph(code: int | None, garbled: bool) -> str:
    """Why there is no report, without a word of the child's output: it may quote a customer."""
    if code is not None and code < 0:
        try:
            how = f"was killed by {signal.Signals(-code).name}"
        except ValueError:
            how = f"was killed by signal {-code}"
        if -code == signal.SIGKILL:
            how += " (out of memory, perhaps)"
    else:
        how = f"ended with exit code {code}"
    what = "a report that could not be read" if garbled else "no report"
    return f"The cycle's process {how} and left {what}; see the operator's log. It is tried again."


def _secrets(request: Mapping[str, Any]) -> list[str]:
    """The secret values of a request, as they may appear in text, longest first."""
    values = [request.get("apiKey"), *(request.get("credentials") or {}).values()]
    texts = [value for value in values if isinstance(value, str)]
    found = set(texts)
    # The log is read line by line, where a key of many lines is never whole.
    lines = (line.strip() for text in texts for line in text.splitlines())
    found |= {line for line in lines if len(line) >= _SHORTEST_SECRET_LINE}
    # Inside a JSON line a key's line ends are escaped.
    found |= {json.dumps(value)[1:-1] for value in found}
    return sorted((one for one in found if len(one) >= _SHORTEST_SECRET), key=len, reverse=True)


def _timestamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
