"""The processes of the benchmark: the operator, the services, and what Linux tells about them.

Every wait has a limit, and every process is ended by its own id, in order if it can be.
"""

import http.client
import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
PROBE_SECONDS = 10.0

_ANSWER_SECONDS = 600.0  # a large tenant is generated before its URL is told
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_SERVICE_STOP_SECONDS = 30.0
_PAGE = 1024
_TICKS = os.sysconf("SC_CLK_TCK")
_SETTINGS = {
    "METRONOME_SALESFORCE_ALLOWED_HOSTS": "127.0.0.1",
    "METRONOME_SALESFORCE_ALLOW_HTTP": "true",
}

Json = dict[str, Any]


class BenchmarkError(Exception):
    """The benchmark cannot go on; the text says why."""


class Service:
    """One emulated service; a context manager that ends its process."""

    def __init__(self, name: str, customers: int) -> None:
        self._name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.servers", name, str(customers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            start_new_session=True,  # ctrl-C is for us alone, who end the others in order
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._thread = threading.Thread(target=self._listen, name=name, daemon=True)
        self._thread.start()
        self.url = ""

    def __enter__(self) -> Self:
        try:
            self.url = self._read()["url"]
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def ask(self, **command: float) -> Json:
        """Send a command and return the answer; raises BenchmarkError if none comes."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise BenchmarkError(f"the emulated {self._name} has ended") from None
        return self._read()

    def _read(self) -> Json:
        try:
            line = self._lines.get(timeout=_ANSWER_SECONDS)
        except queue.Empty:
            raise BenchmarkError(f"the emulated {self._name} does not answer") from None
        if not line:
            raise BenchmarkError(f"the emulated {self._name} has ended")
        answer: Json = json.loads(line)
        return answer

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def _end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(_SERVICE_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join(_SERVICE_STOP_SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Seconds of CPU (user and system): a process's own, and of its children that have ended."""

    own: float
    children: float

    def __sub__(self, other: "CpuTime") -> "CpuTime":
        return CpuTime(self.own - other.own, self.children - other.children)


class Operator:
    """`metronome-salesforce operator` with its defaults, as the image starts it."""

    def __init__(self, folder: Path, kubeconfig: Path) -> None:
        self.log = folder / "operator.log"
        self.port = _free_port()
        environment = {**os.environ, **_SETTINGS, "KUBECONFIG": str(kubeconfig)}
        environment.pop("KUBERNETES_SERVICE_HOST", None)  # else a pod would use its own cluster
        command = (
            *(sys.executable, "-m", "metronome_salesforce", "--log-format", "json", "operator"),
            *("--host", "127.0.0.1", "--port", str(self.port), "--identity", "benchmark"),
        )
        with self.log.open("wb") as stream:
            self._process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        try:
            self._wait_until_ready()
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()

    @property
    def pid(self) -> int:
        """The process id; raises BenchmarkError when there is no process any more."""
        if (code := self._process.poll()) is not None:
            raise BenchmarkError(f"the operator ended with code {code}:\n{self.last_lines()}")
        return self._process.pid

    def stop(self) -> int:
        """End it as the kubelet does; the exit code. Raises BenchmarkError if it takes too long."""
        self._process.terminate()
        try:
            return self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise BenchmarkError("the operator does not stop") from None

    def probe(self, path: str) -> int:
        """The HTTP status, 0 when there is no answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PROBE_SECONDS)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def cpu(self) -> CpuTime:
        """CPU time so far; a child counts once it has ended and was waited for."""
        return cpu_of(self.pid)

    def peak(self) -> int:
        """The most resident memory (VmHWM) since it was started, in bytes."""
        return peak_of(self.pid)

    def child_peak(self) -> int:
        """The peak memory so far of the cycle that runs now, in bytes; 0 when none does."""
        tasks = Path(f"/proc/{self._process.pid}/task").glob("*/children")
        children = [pid for task in tasks for pid in _read_text(task).split()]
        # Before its exec a child still looks like the operator.
        cycles = [pid for pid in children if "cycle-worker" in _read_text(f"/proc/{pid}/cmdline")]
        return max(map(peak_of, cycles), default=0)

    def last_lines(self, count: int = 20) -> str:
        """The end of its log."""
        return "\n".join(_read_text(self.log).splitlines()[-count:])

    def link_runs(self) -> list[Json]:
        """The link runs of its log, with `time`, and the numbers of `links` and rows `moved`."""
        lines = [json.loads(line) for line in _read_text(self.log).splitlines() if "{" in line[:1]]
        return [one for one in lines if str(one.get("message", "")).startswith("links looked at")]

    def errors(self) -> list[str]:
        """What it has logged as errors, its cycles' lines included."""
        lines = _read_text(self.log).splitlines()
        return [line for line in lines if '"level": "ERROR"' in line]

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while self.pid and self.probe("/readyz") != http.HTTPStatus.OK:
            if time.monotonic() > deadline:
                raise BenchmarkError(f"the operator is not ready:\n{self.last_lines()}")
            time.sleep(0.1)

    def _kill(self) -> None:
        # Its cycle, if one runs, ends by itself when the operator is gone.
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def cpu_of(pid: int) -> CpuTime:
    """CPU time of a process so far; a child counts once it has ended and was waited for."""
    stat = _read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    user, system, child_user, child_system = (int(ticks) for ticks in stat[11:15])
    return CpuTime((user + system) / _TICKS, (child_user + child_system) / _TICKS)


def peak_of(pid: int | str) -> int:
    """The most resident memory (VmHWM) of a process since it was started, in bytes."""
    return _memory(pid, "VmHWM:")


def resident_of(pid: int) -> int:
    """The resident memory (VmRSS) of a process, in bytes."""
    return _memory(pid, "VmRSS:")


def _memory(pid: int | str, name: str) -> int:
    for line in _read_text(f"/proc/{pid}/status").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * _PAGE
    return 0


def _read_text(path: str | Path) -> str:
    try:
        return Path(path).read_text("utf-8", "replace")
    except OSError:  # it has just ended
        return ""
