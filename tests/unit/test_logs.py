"""Log lines: two styles, levels by logger, and what a line belongs to."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from metronome_salesforce import logs
from metronome_salesforce.logs import Levels, belonging_to, configure, parse_levels

NAMES = ("", "kopf", "httpx", "here", "here.below", "there")


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Logging is the process's: leave it as it was."""
    root, before = logging.getLogger(), logs.configured()
    handlers, levels = list(root.handlers), {name: logging.getLogger(name).level for name in NAMES}
    yield
    configure("text", before, io.StringIO())
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def logged(stream: io.StringIO) -> list[Any]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_lines_say_when_how_grave_who_and_what() -> None:
    stream = io.StringIO()
    configure("json", "info", stream)
    with belonging_to(sync="default/acme"), belonging_to(run="r-1"):
        logging.getLogger("here").warning("two\nlines", extra={"fields": {"rows": 3}})
    logging.getLogger("here").info("outside")

    inside, outside = logged(stream)
    assert inside.pop("time").endswith("+00:00")
    assert inside == {
        "level": "WARNING", "logger": "here", "message": "two\nlines", "sync": "default/acme",
        "run": "r-1", "rows": 3,
    }  # fmt: skip
    assert outside.keys() == {"time", "level", "logger", "message"}


def test_text_is_one_line_for_people() -> None:
    stream = io.StringIO()
    configure("text", "info", stream)
    with belonging_to(run="r-1"):
        logging.getLogger("here").info("two\nlines %d", 7)

    line = stream.getvalue()
    assert line.count("\n") == 1
    assert line.endswith(" INFO    two\\nlines 7  run=r-1\n")


def test_one_logger_and_those_below_it_may_have_a_level_of_their_own() -> None:
    stream = io.StringIO()
    configure("json", parse_levels(["warning", "here=debug", "kopf=info"]), stream)
    for name in ("here", "here.below", "there", "kopf", "httpx"):
        logging.getLogger(name).debug("debug")
        logging.getLogger(name).info("info")
        logging.getLogger(name).warning("warning")
    told = {(line["logger"], line["message"]) for line in logged(stream)}

    assert told == {
        *((name, level) for name in ("here", "here.below") for level in ("debug", "info")),
        ("kopf", "info"),
        *((name, "warning") for name in ("here", "here.below", "there", "kopf", "httpx")),
    }
    configure("json", "info", stream)
    assert not logging.getLogger("here").isEnabledFor(logging.DEBUG)


def test_levels_go_to_another_process_as_words() -> None:
    levels = parse_levels(["error", "here=info", "debug", "here=warning"])

    assert levels == Levels("debug", {"here": "warning"})
    words = levels.words()
    assert words == ["--log-level", "debug", "--log-level", "here=warning"]
    assert parse_levels(words[1::2]) == levels


@pytest.mark.parametrize("word", ["loud", "", "=debug", "here=", "here=loud", "DEBUG"])
def test_a_level_that_is_none_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match=f"^{word}$"):
        parse_levels([word])
