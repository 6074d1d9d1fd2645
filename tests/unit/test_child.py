"""A cycle's child process, played by small scripts that behave and misbehave."""

import asyncio
import json
import logging
import signal
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metronome_salesforce import logs
from metronome_salesforce.execution.child import Progress, run_child
from metronome_salesforce.report import CycleReport, Outcome, Retry

API_KEY = "metronome-s3cr3t"
PRIVATE_KEY = "-----BEGIN KEY-----\nline-s3cr3t\n-----END KEY-----\n"
REQUEST: dict[str, Any] = {
    "sync": {"metadata": {"name": "acme", "namespace": "default"}},
    "apiKey": API_KEY,
    "credentials": {"privateKey": PRIVATE_KEY},
    "runId": "run-1",
    "trigger": "Schedule",
    "full": False,
}
REPORT = """
report = dict(id="run-1", trigger="Schedule", started_at="2026-03-05T06:00:00Z",
    outcome="Succeeded", reason="Succeeded", message="", retry="no", retry_after=None,
    finished_at="2026-03-05T06:00:01Z", duration=1.0, full=False, rows={}, api_requests={},
    api_calls=[], rejected=[], rejected_codes={}, customers={}, notes={}, events=[],
    quota=None, links={})
"""
PRELUDE = f"import json, os, signal, sys, time\n{REPORT}"


async def until(check: Callable[[], bool]) -> None:
    """Wait until `check` is true; fails after ten seconds."""
    for _ in range(500):
        if check():
            return
        await asyncio.sleep(0.02)
    pytest.fail("this never happened")


def is_gone(pid: int) -> bool:
    """Whether a process has ended; a zombie has, too: in a container nobody may collect it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


class Script:
    """A child program with what it was seen to say."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.progress: list[Progress] = []

    async def run(self, code: str, **options: Any) -> CycleReport:
        path = self.folder / "child.py"
        path.write_text(PRELUDE + textwrap.dedent(code))
        command = (sys.executable, str(path), str(self.folder))
        given: dict[str, Any] = {"command": command, "grace": 0.5, **options}
        return await run_child(REQUEST, on_progress=self.progress.append, **given)

    async def pid(self) -> int:
        """What the child wrote into the file `pid`."""
        path = self.folder / "pid"
        await until(lambda: path.exists() and path.read_text() != "")
        return int(path.read_text())


@pytest.fixture(name="script")
def _script(tmp_path: Path) -> Script:
    return Script(tmp_path)


async def test_a_child_reads_one_line_and_reports(script: Script) -> None:
    report = await script.run("""
        request = json.loads(sys.stdin.readline())
        print(json.dumps({"progress": {"stage": "fetch", "done": 1, "total": None}}))
        print(json.dumps({"progress": {"stage": "write", "done": 2, "total": 5}}))
        report["message"] = request["apiKey"][::-1] + str(len(sys.argv))
        print(json.dumps({"report": report}))
    """)
    assert report.outcome is Outcome.SUCCEEDED
    assert report.message == API_KEY[::-1] + "2"
    assert script.progress == [Progress("fetch", 1, None), Progress("write", 2, 5)]


async def test_credentials_are_in_no_argument_and_no_variable(script: Script) -> None:
    report = await script.run("""
        seen = open("/proc/self/cmdline").read() + open("/proc/self/environ").read()
        report["message"] = str("s3cr3t" in seen)
        print(json.dumps({"report": report}))
    """)
    assert report.message == "False"


async def test_an_exit_without_a_report_is_a_crash(script: Script) -> None:
    report = await script.run("print('{}', file=sys.stderr); sys.exit(3)")
    assert (report.outcome, report.reason) == (Outcome.FAILED, "CycleCrashed")
    assert report.retry is Retry.LATER
    assert "exit code 3" in report.message
    assert (report.id, report.full) == ("run-1", False)


async def test_a_signal_is_named(script: Script) -> None:
    report = await script.run("os.kill(os.getpid(), signal.SIGKILL)")
    assert "SIGKILL (out of memory, perhaps)" in report.message


async def test_what_a_crashing_child_says_is_not_in_its_report(script: Script) -> None:
    report = await script.run("print('customer Jane', flush=True); raise ValueError('Jane')")
    assert report.reason == "CycleCrashed"
    assert "Jane" not in json.dumps(report.to_json())


async def test_a_report_of_another_shape_is_a_crash(script: Script) -> None:
    report = await script.run("""print(json.dumps({"report": {"outcome": "Fine"}}))""")
    assert report.reason == "CycleCrashed"
    assert "could not be read" in report.message


async def test_a_command_that_does_not_exist_is_a_crash(script: Script) -> None:
    report = await script.run("", command=("/does/not/exist",))
    assert report.reason == "CycleCrashed"


async def test_a_child_that_takes_too_long_is_stopped(script: Script) -> None:
    started = time.monotonic()
    report = await script.run("time.sleep(60)", deadline=0.3)
    assert report.reason == "DeadlineExceeded"
    assert time.monotonic() - started < 5


async def test_a_child_that_ignores_sigterm_is_killed(script: Script) -> None:
    report = await script.run(
        """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open(sys.argv[1] + "/pid", "w").write(str(os.getpid()))
        time.sleep(60)
        """,
        deadline=1.0,
        grace=0.2,
    )
    assert report.reason == "DeadlineExceeded"
    assert is_gone(await script.pid())


async def test_cancelling_stops_the_child_and_what_it_started(script: Script) -> None:
    task = asyncio.create_task(
        script.run("""
            child = os.fork()
            if child:
                open(sys.argv[1] + "/pid", "w").write(str(child))
            time.sleep(60)
        """)
    )
    grandchild = await script.pid()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: is_gone(grandchild))


async def test_a_child_may_end_by_itself_in_its_grace(script: Script) -> None:
    """A report that comes in time counts, although the deadline is over."""
    report = await script.run(
        """
        def stop(*_):
            open(sys.argv[1] + "/clean", "w").write("yes")
            sys.exit(0)
        signal.signal(signal.SIGTERM, stop)
        print(json.dumps({"report": report}), flush=True)
        time.sleep(60)
        """,
        deadline=0.5,
        grace=5.0,
    )
    assert report.outcome is Outcome.SUCCEEDED
    assert (script.folder / "clean").read_text() == "yes"


async def test_the_lifeline_ends_with_the_parent(tmp_path: Path) -> None:
    """A parent that is killed closes the child's standard input, and the child can tell."""
    path = tmp_path / "orphan.py"
    path.write_text("""
import sys
sys.stdin.readline()
open(sys.argv[1], "w").write(str(__import__("os").getpid()))
sys.stdin.read()
open(sys.argv[1] + ".end", "w").write("orphaned")
""")
    note = tmp_path / "note"
    parent = f"""
import asyncio
from metronome_salesforce.execution.child import run_child
request = {REQUEST!r}
command = {(sys.executable, str(path), str(note))!r}
asyncio.run(run_child(request, on_progress=print, command=command))
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", parent)
    await until(note.exists)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    await until((tmp_path / "note.end").exists)


async def test_a_line_of_megabytes_is_no_trouble(script: Script) -> None:
    report = await script.run("""
        report["notes"] = {"cut": {"x" * 3_000_000: 1}}
        print(json.dumps({"report": report}))
    """)
    assert len(next(iter(report.notes["cut"]))) == 3_000_000


async def test_log_lines_keep_their_level_and_lose_their_secrets(
    script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await script.run("""
        request = json.loads(sys.stdin.readline())
        for line in (
            json.dumps({"level": "ERROR", "logger": "cycle", "message": "bad", "rows": 3}),
            "Traceback: key is " + request["apiKey"],
            json.dumps({"level": "INFO", "message": request["credentials"]["privateKey"]}),
            "ValueError: not a key: " + request["credentials"]["privateKey"],
            "y" * 100_000,
        ):
            print(line, file=sys.stderr)
        print(json.dumps({"report": report}))
    """)
    levels = [(record.name, record.levelname) for record in caplog.records]
    assert ("cycle", "ERROR") in levels
    assert "Traceback: key is ***" in caplog.text
    assert "s3cr3t" not in caplog.text
    assert max(len(record.getMessage()) for record in caplog.records) < 10_000


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "--log-level info"),
        (["debug"], "--log-level debug"),
        (["kopf=info", "warning"], "--log-level warning --log-level kopf=info"),
    ],
)
async def test_our_own_child_logs_as_we_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], expected: str
) -> None:
    """From the same levels up, and in the JSON by which its lines keep their level."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\n')
    python.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(logs, "_levels", logs.parse_levels(words))
    await run_child(REQUEST, on_progress=lambda _: None)

    options = f"--log-format json {expected}"
    assert (tmp_path / "arguments").read_text() == (
        f"-m metronome_salesforce {options} cycle-worker\n"
    )


async def test_a_child_that_reads_nothing_does_not_hang_the_parent(script: Script) -> None:
    report = await script.run("os.close(0); sys.exit(4)")
    assert "exit code 4" in report.message
