"""An operator on the embedded Kubernetes API, with a scripted program in place of a cycle.

The program writes down each request and then does what a file tells it, so a test can hold a cycle
back, let it crash, or report what it likes. Everything between is the real thing: kopf, the API
over HTTP, processes, signals.
"""

import contextlib
import json
import signal
import subprocess
import sys
import textwrap
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from metronome_salesforce.execution.lease import Timing
from metronome_salesforce.handlers import OperatorOptions, run
from metronome_salesforce.sandbox.kubernetes import KubernetesSandbox
from metronome_salesforce.sandbox.serving import Served

Json = dict[str, Any]
T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
CRDS = sorted((ROOT / "crds").glob("*.yaml"))
SECRET = "s3cr3t-api-key"
TIMING = Timing(duration=4.0, renew_every=0.5, give_up=2.0, poll=0.2)

_CHILD = """
    import datetime, json, os, pathlib, signal, sys, threading, time
    folder = pathlib.Path(sys.argv[1])
    request = json.loads(sys.stdin.readline())
    name = request["sync"]["metadata"]["name"]
    (folder / "started").mkdir(exist_ok=True)
    note = folder / "started" / f"{time.time_ns()}-{name}.json"
    note.with_suffix(".tmp").write_text(json.dumps({**request, "pid": os.getpid()}))
    note.with_suffix(".tmp").rename(note)
    def orphaned():
        sys.stdin.read()
        os._exit(7)
    threading.Thread(target=orphaned, daemon=True).start()
    def behave():
        path = folder / f"{name}.json"
        return json.loads(path.read_text()) if path.exists() else {}
    def say(what):
        print(json.dumps(what), flush=True)
    def utc():
        return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    started = utc()
    say({"progress": {"stage": "fetch", "done": 3, "total": 10}})
    while behave().get("hold"):
        time.sleep(0.02)
    how = behave()
    if "exit" in how:
        sys.exit(how["exit"])
    report = dict(
        id=request["runId"], trigger=request["trigger"], started_at=started, outcome="Succeeded",
        reason="Succeeded", message="Salesforce equals Metronome.", retry="no", retry_after=None,
        finished_at=utc(), duration=1.5, full=request["full"],
        rows={"Customer": dict(created=2, updated=0, unchanged=1, deleted=0, rejected=0)},
        api_requests={"metronome": 4, "salesforce": 5},
        api_calls=[["metronome", "customers", "200", 4]], rejected=[], rejected_codes={},
        customers={"total": 3, "linked": 1, "orphaned": 2, "archived": 0},
        notes={}, events=[], quota={"used": 100, "maximum": 15000}, links={})
    report.update(how.get("report", {}))
    say({"report": report})
"""

# Runs an operator in a process of its own, for tests that kill it.
_OPERATOR = """
import json, sys
from metronome_salesforce import logs
from metronome_salesforce.execution.lease import Timing
from metronome_salesforce.handlers import OperatorOptions, run
given = json.loads(sys.argv[1])
logs.configure("json")
options = OperatorOptions(
    kubeconfig=given["kubeconfig"], host="127.0.0.1", port=0, identity=given["identity"],
    progress_every=0.1, lease=Timing(**given["timing"]),
)
sys.exit(run(options, cycle_command=given["command"]))
"""


def eventually(check: Callable[[], T], seconds: float = 20.0) -> T:
    """Ask again until the answer is true, and return it; fails with the last answer."""
    deadline = time.monotonic() + seconds
    while not (answer := check()):
        assert time.monotonic() < deadline, f"still {answer!r} after {seconds} seconds"
        time.sleep(0.02)
    return answer


class Bench:
    """A cluster with an operator that a test can start, kill and look into."""

    def __init__(self, folder: Path, cluster: KubernetesSandbox, served: Served) -> None:
        self.folder = folder
        self.cluster = cluster
        self.url = served.url
        self.port = 0
        self.kubeconfig = cluster.write_kubeconfig(folder / "kubeconfig", served.url)
        script = folder / "child.py"
        script.write_text(textwrap.dedent(_CHILD))
        self.command = (sys.executable, str(script), str(folder))

    # -- what the test does --------------------------------------------------------------------

    def behave(self, name: str, **how: Any) -> None:
        """Tell the program what to do: hold=True, exit=N, report={...}."""
        path = self.folder / f"{name}.json"
        path.with_suffix(".new").write_text(json.dumps(how))
        path.with_suffix(".new").rename(path)

    def add_secrets(self) -> None:
        for name, data in (
            ("metronome", {"apiKey": SECRET}),
            ("salesforce", {"clientId": "consumer-id", "clientSecret": "consumer-s3cr3t"}),
        ):
            body = {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name},
                "stringData": data,
            }
            self.request("POST", "/api/v1/namespaces/default/secrets", body)

    def add_sync(self, name: str = "acme", **spec: Any) -> Json:
        body = {
            "apiVersion": "metronome-salesforce.dev/v1alpha1",
            "kind": "MetronomeSync",
            "metadata": {"name": name},
            "spec": {
                "schedule": "0 6 * * *",
                "metronome": {"apiKeySecretRef": {"name": "metronome"}},
                "salesforce": {
                    "instanceUrl": "https://acme.my.salesforce.com",
                    "credentialsSecretRef": {"name": "salesforce"},
                },
                **spec,
            },
        }
        return self.request("POST", self._path(), body)

    def patch(self, name: str, patch: Json) -> Json:
        return self.request("PATCH", self._path(name), patch, "application/merge-patch+json")

    def annotate(self, name: str, key: str, value: str) -> None:
        self.patch(name, {"metadata": {"annotations": {f"metronome-salesforce.dev/{key}": value}}})

    def delete(self, name: str) -> None:
        self.request("DELETE", self._path(name))

    def request(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> Json:
        """One call as any client makes it."""
        request = urllib.request.Request(  # noqa: S310 -- loopback
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": content_type, "Authorization": "Bearer test"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 -- loopback
            return json.loads(response.read())  # type: ignore[no-any-return]  # a JSON object

    def _path(self, name: str = "") -> str:
        base = "/apis/metronome-salesforce.dev/v1alpha1/namespaces/default/metronomesyncs"
        return f"{base}/{name}" if name else base

    # -- what the test sees --------------------------------------------------------------------

    def status(self, name: str = "acme") -> Json:
        return self.cluster.get("metronomesyncs", name).get("status") or {}

    def condition(self, kind: str, name: str = "acme") -> tuple[str, str]:
        """Status and reason of a condition."""
        for one in self.status(name).get("conditions", ()):
            if one["type"] == kind:
                return one["status"], one["reason"]
        return "", ""

    def runs(self, name: str = "acme") -> list[Json]:
        """The requests that cycles were started with, oldest first."""
        folder = self.folder / "started"
        return [json.loads(path.read_text()) for path in sorted(folder.glob(f"*-{name}.json"))]

    def ran(self, count: int, name: str = "acme") -> bool:
        """Whether so many cycles were started and the last one is in the status."""
        runs = self.runs(name)
        last = self.status(name).get("lastRun", {}).get("id")
        return len(runs) == count and runs[-1]["runId"] == last

    def event_reasons(self, name: str = "acme") -> list[str]:
        return [event["reason"] for event in self.cluster.events_of(name)]

    def lease(self, name: str = "acme") -> Json:
        """What the sync's Lease says."""
        return self.cluster.get("leases", f"metronome-sync-{name}")["spec"]  # type: ignore[no-any-return]  # a JSON object

    def probe(self, path: str) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    # -- the operator --------------------------------------------------------------------------

    @contextlib.contextmanager
    def operating(self, *, now: Any = None, **options: Any) -> Iterator[None]:
        """Run an operator in a thread; it must end with 0."""
        given: Json = {
            "kubeconfig": str(self.kubeconfig),
            "host": "127.0.0.1",
            "port": 0,
            "identity": "operator-1",
            "progress_every": 0.1,
            "resync_every": 0.5,
            "recheck_every": 0.3,
            "lease": TIMING,
        }
        stop = threading.Event()
        codes: list[int] = []

        def started(port: int) -> None:
            self.port = port

        def serve() -> None:
            code = run(
                OperatorOptions(**(given | options)),
                cycle_command=self.command,
                now=now,
                stop=stop,
                on_started=started,
            )
            codes.append(code)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            eventually(lambda: self.port)
            yield
        finally:
            stop.set()
            thread.join(20)
            self.port = 0
        assert codes == [0]

    @contextlib.contextmanager
    def operator_process(self, identity: str = "pod-1") -> Iterator[subprocess.Popen[bytes]]:
        """Run an operator in a process, which is killed at the end if it still runs."""
        given = {
            "kubeconfig": str(self.kubeconfig),
            "identity": identity,
            "command": self.command,
            "timing": {"duration": 4.0, "renew_every": 0.5, "give_up": 2.0, "poll": 0.2},
        }
        with (self.folder / "operator.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", _OPERATOR, json.dumps(given)], stdout=log, stderr=log
            )
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGKILL)
                process.wait(10)


def is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
