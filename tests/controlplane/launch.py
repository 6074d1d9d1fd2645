"""A real Kubernetes API for the tests: etcd and kube-apiserver on loopback, gone afterwards.

There is no controller manager and no kubelet: nothing is garbage collected, a deleted namespace
stays Terminating, and Jobs and Deployments start nothing. What the API server itself does is real:
validation, CEL, defaulting, conflicts, watches, RBAC, server-side apply.
"""

import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.controlplane import build
from tests.controlplane.build import ControlPlaneError

START_SECONDS = 60
STOP_SECONDS = 15
# A free port can be taken between our look and the server's bind.
START_TRIES = 3

# One entry per request and only when it has been answered: who, what, and was it allowed.
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [{"level": "Metadata"}],
}


class ControlPlane:
    """A running control plane, as a context manager.

    With `TEST_USE_KUBECONFIG=1` it is the cluster in `KUBECONFIG`, used as it is (`owned` is
    False); else one of its own. Entering raises ControlPlaneError, with a sentence that says what
    to do, when there is no such cluster or program or when it does not become ready.
    """

    def __init__(self, *, audit: bool = False) -> None:
        self.owned = os.environ.get("TEST_USE_KUBECONFIG") != "1"
        self.kubeconfig = Path()
        self._audit = audit
        self._folder = Path()
        self._token = secrets.token_urlsafe(24)
        self._etcd: subprocess.Popen[bytes] | None = None
        self._apiserver: subprocess.Popen[bytes] | None = None
        self._etcd_url = ""
        self._port = 0

    def __enter__(self) -> Self:
        if not self.owned:
            self.kubeconfig = _foreign_kubeconfig()
            return self
        programs = build.find()
        self._folder = Path(tempfile.mkdtemp(prefix="controlplane-"))
        try:
            self._write_inputs()
            self._first_start(programs)
            self._write_kubeconfig()
        except BaseException:
            self._clean()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.owned:
            self._clean()

    @property
    def url(self) -> str:
        """The address of the API server, `https://127.0.0.1:PORT`; only for one of our own."""
        self._must_be_owned()
        return f"https://127.0.0.1:{self._port}"

    def kill_apiserver(self) -> None:
        """Kill the API server as a crash would; clients see refused connections."""
        self._must_be_owned()
        if self._apiserver is not None:
            self._apiserver.kill()
            self._apiserver.wait()

    def restart_apiserver(self) -> None:
        """Stop the API server unless it is dead, start it on the same port, wait until ready."""
        self._must_be_owned()
        _stop(self._apiserver)
        self._start_apiserver(build.find())

    def audit_events(self) -> list[dict[str, Any]]:
        """Return the audit events so far (audit.k8s.io/v1 Event), oldest first.

        Each tells the user, verb, resource and response code of one request. Raises
        ControlPlaneError without `audit=True`.
        """
        self._must_be_owned()
        if not self._audit:
            raise ControlPlaneError("There is no audit log: start with ControlPlane(audit=True).")
        lines = (self._folder / "audit.log").read_text().splitlines(keepends=True)
        # The last line may be half written.
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def _must_be_owned(self) -> None:
        if not self.owned:
            raise ControlPlaneError(
                "This test stops or inspects the API server itself, which it must not do to the"
                " cluster in KUBECONFIG: run it without TEST_USE_KUBECONFIG."
            )

    def _write_inputs(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        # The API server reads the public half out of the private key.
        (self._folder / "service-accounts.key").write_bytes(private)
        (self._folder / "tokens.csv").write_text(f'{self._token},admin,admin,"system:masters"\n')
        (self._folder / "audit-policy.json").write_text(json.dumps(AUDIT_POLICY))

    def _first_start(self, programs: build.Programs) -> None:
        for left in reversed(range(START_TRIES)):
            try:
                self._start_etcd(programs)
                self._port = _free_port()
                self._start_apiserver(programs)
            except ControlPlaneError:
                self._stop_both()
                if left == 0:
                    raise
            else:
                return

    def _start_etcd(self, programs: build.Programs) -> None:
        self._etcd_url = f"http://127.0.0.1:{_free_port()}"
        peer = f"http://127.0.0.1:{_free_port()}"
        shutil.rmtree(self._folder / "etcd", ignore_errors=True)
        self._etcd = self._start(
            *programs.etcd,
            f"--data-dir={self._folder / 'etcd'}",
            f"--listen-client-urls={self._etcd_url}",
            f"--advertise-client-urls={self._etcd_url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",  # the data dies with the test anyway
            "--log-level=warn",
            log="etcd.log",
        )
        self._wait("etcd.log", self._etcd, lambda: _answers(f"{self._etcd_url}/health"))

    def _start_apiserver(self, programs: build.Programs) -> None:
        folder = self._folder
        audit = [
            f"--audit-policy-file={folder / 'audit-policy.json'}",
            f"--audit-log-path={folder / 'audit.log'}",
        ]
        self._apiserver = self._start(
            *programs.apiserver,
            f"--etcd-servers={self._etcd_url}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._port}",
            f"--cert-dir={folder / 'certificates'}",  # it makes its own, and keeps them there
            f"--token-auth-file={folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={folder / 'service-accounts.key'}",
            f"--service-account-signing-key-file={folder / 'service-accounts.key'}",
            "--service-cluster-ip-range=10.0.0.0/24",
            # A loopback address is no valid endpoint of the service "kubernetes".
            "--endpoint-reconciler-type=none",
            # It refuses every Pod until a controller manager has made the default account.
            "--disable-admission-plugins=ServiceAccount",
            *(audit if self._audit else []),
            log="kube-apiserver.log",
        )
        self._wait("kube-apiserver.log", self._apiserver, self._is_ready)

    def _is_ready(self) -> bool:
        certificate = self._folder / "certificates" / "apiserver.crt"
        if not certificate.exists():
            return False
        try:
            context = ssl.create_default_context(cafile=certificate)
        except ssl.SSLError:  # it is being written
            return False
        # Ready is not enough: the API server makes its own namespaces a moment later.
        paths = ("/readyz", "/api/v1/namespaces/default")
        return all(
            _answers(f"https://127.0.0.1:{self._port}{path}", token=self._token, context=context)
            for path in paths
        )

    def _start(self, *command: str, log: str) -> subprocess.Popen[bytes]:
        with (self._folder / log).open("ab") as output:
            return subprocess.Popen(
                command,
                # Never written to: it closes when this process dies, however it dies, and a binary
                # of our own then exits (see main.go); others ignore it.
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=os.environ | {"CONTROLPLANE_EXIT_WITH_STDIN": "1"},
                # Ctrl-C is for the test run, which then stops the servers in order.
                start_new_session=True,
            )

    def _wait(self, log: str, process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                state = f"still starting after {START_SECONDS} s"
                if process.returncode is not None:
                    state = f"exited with {process.returncode}"
                tail = "\n".join(
                    (self._folder / log).read_text(errors="replace").splitlines()[-20:]
                )
                raise ControlPlaneError(f"{Path(log).stem} {state}; its last lines:\n{tail}")
            time.sleep(0.05)

    def _write_kubeconfig(self) -> None:
        certificate = self._folder / "certificates" / "apiserver.crt"
        self.kubeconfig = self._folder / "kubeconfig"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "test",
                    "cluster": {"server": self.url, "certificate-authority": str(certificate)},
                }
            ],
            "users": [{"name": "admin", "user": {"token": self._token}}],
            "contexts": [
                {
                    "name": "test",
                    "context": {"cluster": "test", "user": "admin", "namespace": "default"},
                }
            ],
            "current-context": "test",
        }
        self.kubeconfig.write_text(yaml.safe_dump(config))
        self.kubeconfig.chmod(0o600)

    def _stop_both(self) -> None:
        # The API server first: without etcd it would spend its grace period retrying.
        _stop(self._apiserver)
        _stop(self._etcd)

    def _clean(self) -> None:
        self._stop_both()
        shutil.rmtree(self._folder, ignore_errors=True)


def _stop(process: subprocess.Popen[bytes] | None) -> None:
    if process is None:
        return
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(url: str, *, token: str = "", context: ssl.SSLContext | None = None) -> bool:
    request = urllib.request.Request(url)  # noqa: S310 -- only our own loopback addresses
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    # Proxies of the environment must not see loopback requests.
    handlers = [urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)]
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _foreign_kubeconfig() -> Path:
    # KUBECONFIG may be a list, as kubectl reads it; the first file is the one in use.
    first = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    if not Path(first).is_file():
        raise ControlPlaneError(
            f"TEST_USE_KUBECONFIG=1 needs KUBECONFIG to name a file, and {first!r} is none."
        )
    return Path(first).resolve()
