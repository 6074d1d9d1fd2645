"""Log lines that machines or people can read, with the sync and the run they belong to.

JSON lines for clusters, text for terminals. What a line belongs to is set once, for the task that
serves a MetronomeSync, and not passed along: it is in every line of that task, libraries' included.
"""

import contextlib
import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Literal, TextIO

Style = Literal["json", "text"]

_context: ContextVar[Mapping[str, str]] = ContextVar("log context", default=MappingProxyType({}))


@contextlib.contextmanager
def belonging_to(**fields: str) -> Iterator[None]:
    """Put these fields (`sync`, `run`) on every line logged inside, by this task and its own."""
    token = _context.set({**_context.get(), **fields})
    try:
        yield
    finally:
        _context.reset(token)


def configure(style: Style, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send all logs to `stream` (default: standard error) in one style, from `level` up."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_JsonFormatter() if style == "json" else _TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # They tell of each request or event; what matters of those is told by who made or took it.
    for name in ("httpx", "httpcore", "urllib3", "aiohttp.access", "asyncio", "kopf"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


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
