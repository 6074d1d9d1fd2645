"""Log lines that machines or people can read, with the sync and the run they belong to.

From `info` up no line holds a secret, or content of customers: names of endpoints, counts, ids and
codes only.

JSON lines for clusters, text for terminals. What a line belongs to is set once, for the task that
serves a MetronomeSync, and not passed along: it is in every line of that task, libraries' included.
"""

import contextlib
import json
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Literal, TextIO

Style = Literal["json", "text"]

LEVELS = ("debug", "info", "warning", "error")

# They tell of each request or event; what matters of those is told by who made or took it.
_QUIET = (
    "httpx", "httpcore", "urllib3", "aiohttp.access", "asyncio", "kopf", "opentelemetry",
)  # fmt: skip

_context: ContextVar[Mapping[str, str]] = ContextVar("log context", default=MappingProxyType({}))


@contextlib.contextmanager
def belonging_to(**fields: str) -> Iterator[None]:
    """Put these fields (`sync`, `run`) on every line logged inside, by this task and its own."""
    token = _context.set({**_context.get(), **fields})
    try:
        yield
    finally:
        _context.reset(token)


@dataclass(frozen=True, slots=True)
class Levels:
    """From which level on lines are logged: in general, and by logger (and those below it)."""

    general: str = "info"
    by_logger: Mapping[str, str] = field(default_factory=dict)

    def words(self) -> list[str]:
        """The same for the command line of another process."""
        chosen = [self.general, *(f"{name}={level}" for name, level in self.by_logger.items())]
        return [word for one in chosen for word in ("--log-level", one)]


_levels = Levels()


def parse_levels(words: Iterable[str]) -> Levels:
    """Read `LEVEL` and `LOGGER=LEVEL` words, the last of each counts; raises ValueError."""
    general, by_logger = "info", {}
    for word in words:
        name, equals, level = word.rpartition("=")
        if level not in LEVELS or (equals and not name):
            raise ValueError(word)
        if equals:
            by_logger[name] = level
        else:
            general = level
    return Levels(general, by_logger)


def configured() -> Levels:
    """The levels that were configured last, for a process that is to log as this one does."""
    return _levels


def configure(style: Style, levels: Levels | str = "info", stream: TextIO | None = None) -> None:
    """Send all logs to `stream` (default: standard error) in one style, from `levels` up."""
    global _levels  # noqa: PLW0603 -- logging is the process's
    chosen = levels if isinstance(levels, Levels) else Levels(levels)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_JsonFormatter() if style == "json" else _TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(chosen.general.upper())
    for name in _levels.by_logger:  # of an earlier call
        logging.getLogger(name).setLevel(logging.NOTSET)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    for name, level in chosen.by_logger.items():
        logging.getLogger(name).setLevel(level.upper())
    _levels = chosen


def _fields(record: logging.LogRecord) -> dict[str, object]:
    extra = getattr(record, "fields", None)
    return {**_context.get(), **(extra if isinstance(extra, dict) else {})}


class _JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, then what the line belongs to."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class _TextFormatter(logging.Formatter):
    """`12:00:00 INFO  message  sync=default/acme run=…` for people."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        fields = "".join(f" {key}={value}" for key, value in _fields(record).items())
        # One record is one line, so that a name from outside cannot forge another.
        message = record.getMessage().replace("\n", "\\n")
        text = f"{time} {record.levelname:<7} {message}{' ' if fields else ''}{fields}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text
