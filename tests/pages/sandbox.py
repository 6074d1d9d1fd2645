"""The `sandbox` command, as a person starts it: a tenant synced by the real operator."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ADDRESS = re.compile(r"(http://127\.0\.0\.1:\d+)/app\b")
_START_SECONDS = 180.0
_STOP_SECONDS = 30.0
_POLL = 0.1


@contextmanager
def running_sandbox(folder: Path, *, customers: int) -> Iterator[str]:
    """Start it and wait for what it prints; the base address of the org's pages."""
    output = folder / "output"
    with output.open("wb") as written:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "metronome_salesforce", "sandbox",
                "--folder", str(folder / "sandbox"), "--customers", str(customers),
            ],
            stdout=written, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        yield _wait_for_address(process, output)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_address(process: subprocess.Popen[bytes], output: Path) -> str:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        text = output.read_text("utf-8", "replace")
        found = _ADDRESS.search(text)
        if found is not None:
            return found.group(1)
        if process.poll() is not None:
            break
        time.sleep(_POLL)
    raise AssertionError(f"the sandbox printed no address of its pages:\n{text[-4000:]}")
