"""What the end-to-end suite plays with: a Kubernetes API, the operator's process, a company.

Everything goes through the real protocols, so that the same tests run on the embedded API and on
a real kube-apiserver: the operator is a process of its own, as in a cluster, and people's moves are
made with kubectl. Each test has its own namespace, tenant and org, and all secret values are made
up for the test, so that a search for them in logs and answers proves something.
"""

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self, TypeVar

from kubernetes import client, config

from metronome_salesforce.cycle import Observers, Run
from metronome_salesforce.execution.running import run_sync
from metronome_salesforce.inputs import SyncInputs
from metronome_salesforce.report import Outcome, Trigger
from metronome_salesforce.salesforce.package import package_zip
from metronome_salesforce.sandbox.certificates import CertificateAuthority
from metronome_salesforce.sandbox.kubernetes.faults import RequestLog
from metronome_salesforce.sandbox.metronome import MetronomeSandbox, Tenant
from metronome_salesforce.sandbox.salesforce import INTEGRATION, SalesforceOrg, SalesforceSandbox
from metronome_salesforce.spec import MetronomeSync
from tests.kubectl import kubectl_path

ROOT = Path(__file__).resolve().parents[2]
CRDS = ROOT / "crds"
GROUP, VERSION, PLURAL = "metronome-salesforce.dev", "v1alpha1", "metronomesyncs"
LINKS = "customerlinks"
REQUESTED_AT = f"{GROUP}/requested-at"
FULL_RESYNC = f"{GROUP}/full-resync"
API_VERSION = "66.0"
PERMISSION_SET = "Metronome_Integration"
SYNC_RUN = "Metronome_Sync_Run__c"
SETTINGS = {
    "METRONOME_SALESFORCE_ALLOWED_HOSTS": "127.0.0.1,localhost",
    "METRONOME_SALESFORCE_ALLOW_HTTP": "true",
}
# The external id of each object's rows.
KEYS = {
    "Metronome_Orphan_Customer__c": "Metronome_Customer_ID__c",
    "Metronome_Plan__c": "Metronome_Plan_ID__c",
    "Metronome_Customer_Plan__c": "Metronome_Customer_Plan_ID__c",
    "Metronome_Invoice__c": "Metronome_Invoice_ID__c",
    "Metronome_Invoice_Line_Item__c": "External_ID__c",
    "Metronome_Invoice_Sub_Line_Item__c": "External_ID__c",
    "Metronome_Invoice_Adjustment__c": "External_ID__c",
    "Metronome_Credit_Grant__c": "Metronome_Credit_Grant_ID__c",
    "Metronome_Usage__c": "External_ID__c",
}
# What two runs of the same content may differ in.
_STAMPS = frozenset({
    "Id", "OwnerId", "CreatedDate", "CreatedById", "LastModifiedDate", "LastModifiedById",
    "SystemModstamp", "Last_Synced__c", "Metronome_Last_Synced__c",
})  # fmt: skip
_NUMBERED = frozenset({("Metronome_Usage__c", "Name")})
"""Names that the org counts up."""
_REFERRING = frozenset({"MetronomeSync", "CustomerLink"})
_KUBECTL_SECONDS = 30
_STOP_SECONDS = 30.0
_CLI_SECONDS = 60

Json = dict[str, Any]
T = TypeVar("T")
Content = dict[str, dict[str, Json]]

made_up: list[str] = []
"""Every secret value of the session, right and wrong ones; none may be seen anywhere."""


def secret_value(what: str) -> str:
    """A value that stands nowhere else, remembered for the search."""
    value = f"{what}-{secrets.token_hex(12)}"
    made_up.append(value)
    return value


def eventually(check: Callable[[], T], seconds: float = 30.0, *, told: Any = None) -> T:
    """Ask again until the answer is true, and return it; fails with what `told` returns."""
    deadline = time.monotonic() + seconds
    while not (answer := check()):
        if time.monotonic() > deadline:
            detail = told() if told is not None else answer
            raise AssertionError(f"not so after {seconds:.0f} seconds: {detail}")
        time.sleep(0.05)
    return answer


def free_port() -> int:
    """A port of loopback on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# -- the Kubernetes API ----------------------------------------------------------------------------


class Cluster:
    """A Kubernetes API with the CRDs, as a person with kubectl and a program see it.

    `requests` are those that the API got, where that is known.
    """

    def __init__(
        self, kind: str, kubeconfig: Path, home: Path, requests: RequestLog | None = None
    ) -> None:
        self.kind = kind
        self.requests = requests
        self.kubeconfig = kubeconfig
        self.environment = {
            "HOME": str(home),  # kubectl keeps what it discovered there
            "KUBECONFIG": str(kubeconfig),
            "PATH": os.environ["PATH"],
        }
        # mypy: the client has no types
        self._api = config.new_client_from_config(str(kubeconfig))  # type: ignore[no-untyped-call]
        self.core: Any = client.CoreV1Api(self._api)
        self.custom: Any = client.CustomObjectsApi(self._api)
        self._left: list[str] = []

    def close(self) -> None:
        """Close the program's connections."""
        self._api.rest_client.pool_manager.clear()
        self._api.close()

    def try_kubectl(self, *arguments: str, given: Any = "") -> subprocess.CompletedProcess[str]:
        """Run kubectl, whatever comes of it; `given` goes to its standard input."""
        return subprocess.run(
            [kubectl_path(), *arguments],
            input=given if isinstance(given, str) else json.dumps(given),
            capture_output=True,
            text=True,
            timeout=_KUBECTL_SECONDS,
            check=False,
            env=self.environment,
        )

    def kubectl(self, *arguments: str, given: Any = "") -> str:
        """What kubectl printed; it must have succeeded."""
        result = self.try_kubectl(*arguments, given=given)
        assert result.returncode == 0, f"kubectl {' '.join(arguments)}: {result.stderr}"
        return result.stdout

    def leave(self, namespace: str) -> None:
        """Delete all MetronomeSyncs and CustomerLinks of a namespace, without waiting for it.

        A link goes a second after its MetronomeSync, and later if a call is under way just then.
        """
        for plural in (PLURAL, LINKS):
            self.custom.delete_collection_namespaced_custom_object(
                GROUP, VERSION, namespace, plural
            )
        self._left.append(namespace)

    def expect_left(self, told: Callable[[], str]) -> None:
        """Check that nothing hangs in what was left, while an operator runs; delete namespaces."""
        for namespace in self._left:
            for plural in (PLURAL, LINKS):
                eventually(partial(self._is_empty, namespace, plural), 20, told=told)
            self.core.delete_namespace(namespace)
        self._left.clear()

    def _is_empty(self, namespace: str, plural: str) -> bool:
        listed = self.custom.list_namespaced_custom_object(GROUP, VERSION, namespace, plural)
        return not listed["items"]

    def install_crds(self) -> None:
        """Apply the CRDs as the README says, and wait until they are served."""
        self.kubectl("apply", "--validate=false", "-f", str(CRDS))
        self.wait_for_crds()

    def wait_for_crds(self) -> None:
        """Wait until both kinds are served."""
        names = [f"crd/{plural}.{GROUP}" for plural in (PLURAL, LINKS)]
        wait = ("wait", "--for=condition=Established", *names, "--timeout=20s")
        # A definition that has no conditions at all yet is an error to kubectl.
        eventually(lambda: self.try_kubectl(*wait).returncode == 0, 20)


# -- the operator ----------------------------------------------------------------------------------

# What the command `operator` does, but Secrets that are wrong, and Leases, are looked at more often
# than there are words on the command line for. How long a Lease counts is as always: shorter, it
# would be lost on a busy machine.
_QUICK_OPERATOR = """
import sys
from metronome_salesforce import logs
from metronome_salesforce.execution.lease import Timing
from metronome_salesforce.handlers import OperatorOptions, run
logs.configure("json", "debug")
port, identity = sys.argv[1:]
sys.exit(run(OperatorOptions(
    host="127.0.0.1", port=int(port), identity=identity, progress_every=0.2, recheck_every=4.0,
    lease=Timing(renew_every=0.5, poll=0.5),
)))
"""


class Operator:
    """The operator's process, which tests may kill and start again under the same name.

    Started as in a cluster, or `quick`: it looks every few seconds at what it else looks at every
    half a minute. `environment` is beside that of the tests.
    """

    def __init__(
        self,
        cluster: Cluster,
        log: Path,
        identity: str = "suite-operator",
        *,
        quick: bool = False,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.log = log
        self.identity = identity
        self._more = {**SETTINGS, **environment}
        self._quick = quick
        self.port = free_port()
        self._cluster = cluster
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """The process id; there must be a process."""
        assert self._process is not None
        assert self._process.poll() is None, f"the operator ended:\n{self.log_text()[-4000:]}"
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it is ready."""
        with self.log.open("ab") as stream:
            self._process = subprocess.Popen(
                [sys.executable, *self._arguments()],
                env={
                    **os.environ,
                    **self._more,
                    "KUBECONFIG": str(self._cluster.kubeconfig),
                },
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        eventually(lambda: self.pid and self.probe("/readyz")[0] == 200, told=self.log_text)

    def _arguments(self) -> list[str]:
        if self._quick:
            return ["-c", _QUICK_OPERATOR, str(self.port), self.identity]
        return [
            *("-m", "metronome_salesforce", "--log-level", "debug"),
            *("operator", "--host", "127.0.0.1", "--port", str(self.port)),
            *("--identity", self.identity, "--progress-every", "0.2"),
        ]

    def stop(self) -> int:
        """End it as the kubelet does; the exit code."""
        os.kill(self.pid, signal.SIGTERM)
        assert self._process is not None
        return self._process.wait(_STOP_SECONDS)

    def kill(self) -> None:
        """End it as a crash does; nothing if it has ended."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def only_child(self) -> int:
        """The process that runs a cycle, once there is no other one."""

        def children() -> list[int]:
            return [pid for pid in living_processes() if parent_of(pid) == self.pid]

        return eventually(lambda: found[0] if len(found := children()) == 1 else 0, told=children)

    def probe(self, path: str) -> tuple[int, str]:
        """Status and text of /healthz, /readyz or /metrics; (0, "") when nobody listens."""
        try:
            url = f"http://127.0.0.1:{self.port}{path}"
            with urllib.request.urlopen(url, timeout=5) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except (urllib.error.URLError, OSError):
            return 0, ""

    def log_text(self) -> str:
        """All that it has ever logged, at debug level, its cycles' lines included."""
        return self.log.read_text("utf-8", "replace")


def living_processes() -> list[int]:
    """The ids of all processes that are not zombies."""
    return [
        int(folder.name)
        for folder in Path("/proc").iterdir()
        if folder.name.isdecimal() and parent_of(int(folder.name)) >= 0
    ]


def parent_of(pid: int) -> int:
    """The parent's id; -1 when the process is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return -1
    state, parent = stat.rpartition(")")[2].split()[:2]
    return -1 if state in "ZX" else int(parent)


# -- a company: its Metronome tenant and its Salesforce org ----------------------------------------


@dataclass(slots=True)
class Company:
    """One company's two services, running, with the keys to them."""

    tenant: Tenant
    metronome: MetronomeSandbox
    metronome_url: str
    api_key: str
    org: SalesforceOrg
    salesforce: SalesforceSandbox
    salesforce_url: str
    authority: CertificateAuthority
    client_id: str
    client_secret: str
    servers: ExitStack = field(repr=False)

    @property
    def credentials(self) -> dict[str, str]:
        """What the Secret for Salesforce holds."""
        return {"clientId": self.client_id, "clientSecret": self.client_secret}

    @property
    def ca_pem(self) -> str:
        """The authority that certified the org."""
        return self.authority.ca_pem.decode()

    def spec(self, name: str = "acme", **more: Any) -> Json:
        """A spec with addresses and references, and what else is given laid over it.

        It refers to Secrets and a ConfigMap that are named after the MetronomeSync.
        """
        return merged(
            {
                "metronome": {
                    "apiKeySecretRef": {"name": f"{name}-metronome"},
                    "baseUrl": self.metronome_url,
                },
                "salesforce": {
                    "instanceUrl": self.salesforce_url,
                    "credentialsSecretRef": {"name": f"{name}-salesforce"},
                    "caBundleConfigMapRef": {"name": f"{name}-ca"},
                },
            },
            more,
        )

    def also_serve(self, port: int) -> None:
        """Let the org answer at this port, too."""
        self.servers.enter_context(self.salesforce.serve(port, tls=self.authority))

    def session_tokens(self) -> list[str]:
        """The tokens that the org has handed out and that are good still."""
        return list(self.org.sessions._open)

    def slow_down(self, seconds: float, match: str = "GET /v1/customers/*/invoices") -> None:
        """Let Metronome take so long for each of these requests."""
        self.metronome.faults.add(match, delay=seconds)


@contextmanager
def company(*, customers: int = 3, package: bool = True) -> Iterator[Company]:
    """Found a company whose tenant's clock is two days behind ours; everything ends with it."""
    tenant = Tenant.generate(
        customers=customers, seed=1, months=2, now=datetime.now(UTC) - timedelta(days=2)
    )
    api_key, client_secret = secret_value("api-key"), secret_value("client-secret")
    metronome = MetronomeSandbox(tenant, api_keys={api_key: "read"})
    org, salesforce = _org(tenant, package=package)
    client_id = org.add_client_app("consumer", client_secret, INTEGRATION).client_id
    authority = CertificateAuthority()
    with ExitStack() as stack:
        yield Company(
            tenant=tenant,
            metronome=metronome,
            metronome_url=stack.enter_context(metronome.serve()).url,
            api_key=api_key,
            org=org,
            salesforce=salesforce,
            salesforce_url=stack.enter_context(salesforce.serve(tls=authority)).url,
            authority=authority,
            client_id=client_id,
            client_secret=client_secret,
            servers=stack,
        )


def _org(tenant: Tenant, *, package: bool) -> tuple[SalesforceOrg, SalesforceSandbox]:
    """An org with one Account, which the tenant's first customer belongs to."""
    org = SalesforceOrg(now=lambda: datetime.now(UTC))
    account = org.insert("Account", {"Name": "Acme Corporation"})
    tenant.set_salesforce_account(tenant.customers()[0]["id"], account)
    if package:
        deploy_package(org)
    org.statistics.reset()
    return org, SalesforceSandbox(org)


def rows_written(org: SalesforceOrg) -> Counter[tuple[str, str]]:
    """What the org has counted, by object and operation, without the records of the runs."""
    return Counter({key: n for key, n in org.statistics.rows.items() if key[0] != SYNC_RUN})


def deploy_package(org: SalesforceOrg) -> None:
    """Install the Metronome app and let the integration user see it."""
    result = org.deploy(package_zip(API_VERSION))
    assert result.success, result.problems
    org.assign_permission_set(INTEGRATION, PERMISSION_SET)


@contextmanager
def second_org(one: Company) -> Iterator[tuple[SalesforceOrg, str]]:
    """Another, empty org of the company, and its address; the same Secrets sign in to it."""
    org, salesforce = _org(one.tenant, package=True)
    org.add_client_app(one.client_id, one.client_secret, INTEGRATION)
    with salesforce.serve(tls=one.authority) as served:
        yield org, served.url


def undisturbed(one: Company) -> Content:
    """What a second org of the company holds after one cycle that nothing disturbs."""
    org, salesforce = _org(one.tenant, package=True)
    app = org.client_credentials
    with salesforce.serve() as served:
        document = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "MetronomeSync",
            "metadata": {"name": "undisturbed"},
            "spec": one.spec(salesforce={"instanceUrl": served.url, "caBundleConfigMapRef": None}),
        }
        inputs = SyncInputs(
            MetronomeSync.model_validate(document),
            one.api_key,
            {"clientId": app.client_id, "clientSecret": app.client_secret},
            None,
        )
        run = Run(id="undisturbed", trigger=Trigger.CREATED, now=datetime.now(UTC))
        observers = Observers(lambda *_: None)
        report = asyncio.run(run_sync(inputs, run, observers, environment=SETTINGS))
    assert report.outcome == Outcome.SUCCEEDED, report.message
    return content(org)


def content(org: SalesforceOrg) -> Content:
    """All rows by object and external id, without what the org makes up; lookups name keys.

    Accounts are among them, by name. Two rows with one external id fail here.
    """
    keys = {**KEYS, "Account": "Name"}
    rows = {sobject: org.rows(sobject) for sobject in keys}
    names = {
        row["Id"]: f"{sobject} {row[key]}" for sobject, key in keys.items() for row in rows[sobject]
    }
    result: Content = {}
    for sobject, key in keys.items():
        found = {
            row[key]: {
                name: names.get(value, value) if isinstance(value, str) else value
                for name, value in row.items()
                if name not in _STAMPS and (sobject, name) not in _NUMBERED
            }
            for row in rows[sobject]
        }
        assert len(found) == len(rows[sobject]), f"{sobject} has rows twice"
        result[sobject] = found
    return result


def merged(document: Mapping[str, Any], over: Mapping[str, Any]) -> Json:
    """`document` with `over` laid over it; None takes a field away."""
    result = dict(document)
    for key, value in over.items():
        old = result.get(key)
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(old, Mapping):
            result[key] = merged(old, value)
        else:
            result[key] = value
    return result


# -- the command line ------------------------------------------------------------------------------


@contextmanager
def start_cli(
    *arguments: str, environment: Mapping[str, str] = MappingProxyType(SETTINGS)
) -> Iterator[subprocess.Popen[str]]:
    """Start a command in a process, which is killed if it is still there at the end."""
    inherited = {key: value for key, value in os.environ.items() if key not in SETTINGS}
    with subprocess.Popen(
        [sys.executable, "-m", "metronome_salesforce", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**inherited, **environment},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def run_cli(
    *arguments: str, given: Any = "", environment: Mapping[str, str] = MappingProxyType(SETTINGS)
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; `given` goes to its standard input."""
    text = given if isinstance(given, str) else json.dumps(given)
    with start_cli(*arguments, environment=environment) as process:
        out, err = process.communicate(text, timeout=_CLI_SECONDS)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


# -- what a person does in one namespace -----------------------------------------------------------


def sync_manifest(name: str, spec: Json) -> Json:
    """A MetronomeSync as a person writes it."""
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "MetronomeSync",
        "metadata": {"name": name},
        "spec": spec,
    }


def secret_manifest(name: str, values: Mapping[str, str]) -> Json:
    """A Secret as a person writes it."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "stringData": dict(values),
    }


def config_map_manifest(name: str, values: Mapping[str, str]) -> Json:
    """A ConfigMap as a person writes it."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": dict(values),
    }


def references(one: Company, name: str = "acme") -> list[Json]:
    """The two Secrets and the ConfigMap that a company's MetronomeSync refers to."""
    return [
        secret_manifest(f"{name}-metronome", {"apiKey": one.api_key}),
        secret_manifest(f"{name}-salesforce", one.credentials),
        config_map_manifest(f"{name}-ca", {"ca.crt": one.ca_pem}),
    ]


@dataclass(slots=True)
class Space:
    """One namespace, seen and changed as a person with kubectl does."""

    cluster: Cluster
    namespace: str
    operator: Operator = field(repr=False)

    @classmethod
    @contextmanager
    def new(cls, cluster: Cluster, operator: Operator, *, wait: bool = True) -> Iterator[Self]:
        """A namespace that goes with all that is in it, and with every cycle.

        Without `wait` it is only left, and `Cluster.expect_left` is to be called later.
        """
        name = f"suite-{secrets.token_hex(4)}"
        metadata = client.V1ObjectMeta(name=name)
        cluster.core.create_namespace(client.V1Namespace(metadata=metadata))
        yield cls(cluster, name, operator)
        cluster.leave(name)
        if wait:
            cluster.expect_left(operator.log_text)

    def kubectl(self, *arguments: str, given: Any = "") -> str:
        """What kubectl printed for this namespace; it must have succeeded."""
        return self.cluster.kubectl("-n", self.namespace, *arguments, given=given)

    def apply(self, *documents: Json) -> None:
        """Create or change these documents, those that others refer to first."""
        items = sorted(documents, key=lambda document: document["kind"] in _REFERRING)
        given = {"apiVersion": "v1", "kind": "List", "items": items}
        self.kubectl("apply", "--validate=false", "-f", "-", given=given)

    def start(self, one: Company, name: str = "acme", **more: Any) -> None:
        """Create a company's MetronomeSync and all that it refers to."""
        self.apply(*references(one, name), sync_manifest(name, one.spec(name, **more)))

    def annotate(self, key: str, token: str, name: str = "acme") -> None:
        """Ask for something by annotation."""
        self.kubectl("annotate", "--overwrite", "msync", name, f"{key}={token}")

    def request(self, token: str, name: str = "acme", key: str = REQUESTED_AT) -> Json:
        """Ask for a cycle by annotation and wait until it is over; its status."""
        self.annotate(key, token, name)
        echo = "lastHandledRequest" if key == REQUESTED_AT else "lastHandledFullResync"
        return self.wait(lambda status: status.get(echo) == token, name)

    def patch(self, spec: Json, name: str = "acme") -> None:
        """Change fields of the spec."""
        self.kubectl("patch", "msync", name, "--type=merge", "-p", json.dumps({"spec": spec}))

    # -- what is to be seen ------------------------------------------------------------------------

    def get(self, name: str = "acme") -> Json:
        """The whole resource."""
        body: Json = self.cluster.custom.get_namespaced_custom_object(
            GROUP, VERSION, self.namespace, PLURAL, name
        )
        return body

    def status(self, name: str = "acme") -> Json:
        """The status, empty at first."""
        return self.get(name).get("status") or {}

    def wait(self, check: Callable[[Json], Any], name: str = "acme", seconds: float = 60.0) -> Json:
        """The status once it is as wished."""

        def look() -> Json | None:
            status = self.status(name)
            return status if check(status) else None

        return eventually(look, seconds, told=lambda: self._told(name)) or {}

    def wait_for_run(
        self, number: int = 1, name: str = "acme", *, outcome: str = "Succeeded"
    ) -> Json:
        """The status once so many runs are over; the last one must have ended like this."""
        status = self.wait(lambda status: len(status.get("history", ())) >= number, name)
        ended = len(status["history"]), status["lastRun"]["outcome"]
        assert ended == (number, outcome), self._told(name)
        return status

    def events(self, name: str = "acme") -> list[tuple[str, str, str]]:
        """Type, reason and message of the Events about a MetronomeSync, oldest first."""
        listed = self.cluster.core.list_namespaced_event(self.namespace).items
        about = [event for event in listed if event.involved_object.name == name]
        about.sort(key=lambda event: int(event.metadata.resource_version))
        return [(event.type, event.reason, event.message) for event in about]

    def _told(self, name: str) -> str:
        tail = "\n".join(self.operator.log_text().splitlines()[-20:])
        return f"{json.dumps(self.status(name), indent=1)}\n{tail}"


def condition(status: Mapping[str, Any], kind: str) -> tuple[str, str]:
    """Status and reason of a condition; empty texts when it is not there."""
    for one in status.get("conditions", ()):
        if one["type"] == kind:
            return one["status"], one["reason"]
    return "", ""


def message(status: Mapping[str, Any], kind: str) -> str:
    """The sentence of a condition."""
    return next((one["message"] for one in status["conditions"] if one["type"] == kind), "")
