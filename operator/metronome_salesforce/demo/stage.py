"""What the demo plays on: emulated services, the operator's process, manifests that fit them."""

import io
import os
import re
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any
from xml.etree import ElementTree as ET

import yaml
from kubernetes import client, config

from metronome_salesforce.hosts import DEFAULTS_VARIABLE, HOSTS_VARIABLE, HTTP_VARIABLE
from metronome_salesforce.printing import put
from metronome_salesforce.salesforce.package import NAMESPACE as NAMESPACE_OF_METADATA
from metronome_salesforce.salesforce.package import package_files
from metronome_salesforce.sandbox.certificates import CertificateAuthority
from metronome_salesforce.sandbox.kubernetes import KubernetesSandbox
from metronome_salesforce.sandbox.metronome import API_KEY, MetronomeSandbox, Tenant
from metronome_salesforce.sandbox.salesforce import (
    ADMIN,
    INTEGRATION,
    SalesforceOrg,
    SalesforceSandbox,
)
from metronome_salesforce.spec import API_VERSION, GROUP, SYNC_PLURAL, VERSION

SYNC = "production"
NAMESPACE = "default"
SETTINGS = MappingProxyType(
    {
        HOSTS_VARIABLE: "127.0.0.1,localhost",
        # Whatever is applied to it, the sandbox calls nobody but itself.
        DEFAULTS_VARIABLE: "false",
        HTTP_VARIABLE: "true",
    }
)
"""The environment of an operator, or of `sync -f`, that works on the sandbox."""

ORPHANS = "Metronome_Orphan_Customer__c"

_FOLDER = "dashboards/Metronome-meta.xml"
_PERSON_SET = "Metronome_Admin"
_PERSON = "sales@sandbox.example"
_WATCH_EVERY = "2s"
_STOP_SECONDS = 20.0
_LOG_TAIL = 30
_LINKED = 2
_OTHERS = 3
_PLAIN_NAME = 40

Json = dict[str, Any]


class DemoError(Exception):
    """The demo did not go as it should; the message says what to look at."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that runs, and where what it writes is.

    `newcomer` is the id of the customer that gets an Account on the second day by Metronome, if
    there is one, `asked` of the one that gets one by a CustomerLink, `chosen` by a person in
    Salesforce.
    """

    tenant: Tenant
    metronome_url: str
    org: SalesforceOrg
    org_url: str
    org_http_url: str
    folder: Path
    operator: subprocess.Popen[bytes]
    operator_url: str
    newcomer: str | None
    asked: str | None
    chosen: str | None

    @property
    def kubeconfig(self) -> Path:
        """What kubectl needs."""
        return self.folder / "kubeconfig"

    @property
    def manifests(self) -> Path:
        """The folder with the MetronomeSync and all that it refers to."""
        return self.folder / "manifests"

    @property
    def links(self) -> Path:
        """The folder with CustomerLinks: below the manifests, so that these do not apply them."""
        return self.manifests / "links"

    @property
    def operator_log(self) -> Path:
        """What the operator logs."""
        return self.folder / "operator.log"

    def log_tail(self) -> str:
        """The last lines of the operator's log."""
        text = self.operator_log.read_text("utf-8", "replace")
        return "\n".join(text.splitlines()[-_LOG_TAIL:])

    def name_of(self, customer_id: str) -> str:
        """The customer's name in Metronome."""
        name: str = self.tenant.customer(customer_id)["name"]
        return name

    def add_account(self, customer_id: str) -> str:
        """Let sales create the Account of a customer; its id."""
        return self.org.insert("Account", {"Name": self.name_of(customer_id)})

    def choose(self, record_id: str, account_id: str) -> None:
        """Let a person set the Account on an Orphaned Customer record."""
        self.org.update(ORPHANS, record_id, {"Account__c": account_id}, username=_PERSON)

    def give_access(self) -> None:
        """Let an administrator give people access to the app, once it is installed."""
        # Of the fields that were deployed, an administrator sees none without it either.
        for username in (_PERSON, ADMIN):
            self.org.assign_permission_set(username, _PERSON_SET)
        shared = self.org.deploy(_dashboard_folder())
        if not shared.success:
            raise DemoError(f"the dashboards could not be shared: {'; '.join(shared.problems)}")

    def link_path(self, customer_id: str) -> Path:
        """The file of the customer's CustomerLink, if one was written, called as the link."""
        name = re.sub(r"[^a-z0-9]+", "-", self.name_of(customer_id).lower()).strip("-")
        return self.links / f"{name}.yaml"

    def write_link(self, customer_id: str, account_id: str) -> Path:
        """Write a CustomerLink to its file; raises DemoError."""
        path = self.link_path(customer_id)
        document = {
            "apiVersion": API_VERSION,
            "kind": "CustomerLink",
            "metadata": {"name": path.stem},
            "spec": {
                "syncRef": {"name": SYNC},
                "customer": {"id": customer_id},
                "account": {"id": account_id},
            },
        }
        try:
            path.parent.mkdir(exist_ok=True)
            path.write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")
        except OSError as error:
            raise DemoError(f"cannot write to {path.parent}: {error.strerror}") from None
        return path


@contextmanager
def set_up(folder: Path, customers: int, *, lag: timedelta) -> Iterator[Stage]:
    """Start it all; the tenant's clock is behind by `lag`. Raises DemoError."""
    # The tenant starts in the past, so that it has days to be advanced by.
    now = datetime.now(UTC)
    put("Starting an emulated Metronome tenant, a Salesforce org and a Kubernetes API ...")
    tenant = Tenant.generate(customers=customers, seed=1, now=now - lag)
    org = SalesforceOrg(now=lambda: datetime.now(UTC))
    authority = CertificateAuthority()
    cluster = KubernetesSandbox()
    with ExitStack() as stack:
        metronome = stack.enter_context(MetronomeSandbox(tenant).serve())
        salesforce = SalesforceSandbox(org, person=_PERSON)
        https = stack.enter_context(salesforce.serve(tls=authority))
        http = stack.enter_context(salesforce.serve())
        kubernetes = stack.enter_context(cluster.serve())
        _let_install(org)
        to_link = _customers_to_link(tenant)
        for customer_id in to_link[:_LINKED]:
            tenant.set_salesforce_account(
                customer_id, org.insert("Account", {"Name": tenant.customer(customer_id)["name"]})
            )
        others = to_link[_LINKED:]
        kubeconfig = folder / "kubeconfig"
        try:
            _write_manifests(folder / "manifests", metronome.url, https.url, org, authority)
            cluster.write_kubeconfig(kubeconfig, kubernetes.url)
            log = (folder / "operator.log").open("wb")
        except OSError as error:
            raise DemoError(f"cannot write to {folder}: {error.strerror}") from None
        stack.enter_context(log)
        config.load_kube_config(str(kubeconfig))  # type: ignore[no-untyped-call]
        put("Installing the CRDs ...", flush=True)
        _install_crds()
        port = _free_port()
        yield Stage(
            tenant=tenant,
            metronome_url=metronome.url,
            org=org,
            org_url=https.url,
            org_http_url=http.url,
            folder=folder,
            operator=stack.enter_context(_operator(kubeconfig, log.fileno(), port)),
            operator_url=f"http://127.0.0.1:{port}",
            newcomer=next(iter(others), None),
            asked=next(iter(others[1:]), None),
            chosen=next(iter([*others[2:], *others[1:2]]), None),
        )


def _let_install(org: SalesforceOrg) -> None:
    """The integration user may do what an administrator does otherwise: install the package."""
    for right in ("ModifyMetadata", "CustomizeApplication", "AssignPermissionSets", "ViewSetup"):
        org.grant_permission(INTEGRATION, right)
    org.add_user(_PERSON, name="Sales User")


def _dashboard_folder() -> bytes:
    """The package's dashboard folder, shared with everybody in the org."""
    folder = ET.fromstring(package_files()[_FOLDER])  # noqa: S314 -- our own file
    shares = ET.Element("folderShares")
    for name, text in (
        ("accessLevel", "View"),
        ("sharedTo", "AllInternalUsers"),
        ("sharedToType", "Organization"),
    ):
        ET.SubElement(shares, name).text = text
    folder.insert(0, shares)
    manifest = (
        f'<Package xmlns="{NAMESPACE_OF_METADATA}"><types><members>Metronome</members>'
        "<name>Dashboard</name></types><version>66.0</version></Package>"
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("package.xml", manifest)
        archive.writestr(_FOLDER, ET.tostring(folder))
    return buffer.getvalue()


def _install_crds() -> None:
    api = client.ApiextensionsV1Api()
    for path in _crd_files():
        api.create_custom_resource_definition(yaml.safe_load(path.read_text("utf-8")))


def _crd_files() -> list[Path]:
    """The CRDs: inside an installed package, or beside the sources."""
    inside = Path(str(files("metronome_salesforce"))) / "crds"
    folder = inside if inside.is_dir() else Path(__file__).parents[3] / "crds"
    return sorted(folder.glob("*.yaml"))


def _customers_to_link(tenant: Tenant) -> list[str]:
    """Five customers, or as many as there are, about whom there is most to see."""
    plain = [one for one in tenant.customers() if len(one["name"]) <= _PLAIN_NAME]
    plain.sort(key=lambda one: len(tenant.invoices(one["id"])), reverse=True)
    return [one["id"] for one in plain[: _LINKED + _OTHERS]]


# -- manifests -----------------------------------------------------------------------------------


def _write_manifests(
    folder: Path,
    metronome_url: str,
    org_url: str,
    org: SalesforceOrg,
    authority: CertificateAuthority,
) -> None:
    app = org.client_credentials
    documents: dict[str, list[Json]] = {
        "secrets.yaml": [
            _core("Secret", "metronome", stringData={"apiKey": API_KEY}),
            _core(
                "Secret",
                "salesforce",
                stringData={"clientId": app.client_id, "clientSecret": app.client_secret},
            ),
        ],
        "ca.yaml": [_core("ConfigMap", "sandbox-ca", data={"ca.crt": authority.ca_pem.decode()})],
        "sync.yaml": [
            {
                "apiVersion": API_VERSION,
                "kind": "MetronomeSync",
                "metadata": {"name": SYNC},
                "spec": {
                    "metronome": {
                        "apiKeySecretRef": {"name": "metronome"},
                        "baseUrl": metronome_url,
                    },
                    "salesforce": {
                        "instanceUrl": org_url,
                        "credentialsSecretRef": {"name": "salesforce"},
                        "caBundleConfigMapRef": {"name": "sandbox-ca"},
                    },
                    "linking": {"watchSalesforceEvery": _WATCH_EVERY},
                },
            }
        ],
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, of_file in documents.items():
        (folder / name).write_text(yaml.safe_dump_all(of_file, sort_keys=False), "utf-8")


def _core(kind: str, name: str, **more: Json) -> Json:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **more}


def apply(stage: Stage) -> None:
    """Create in the cluster what the manifests hold, as `kubectl apply -f` would."""
    core = client.CoreV1Api()
    for name in ("ca.yaml", "secrets.yaml"):
        for document in yaml.safe_load_all((stage.manifests / name).read_text("utf-8")):
            if document["kind"] == "Secret":
                core.create_namespaced_secret(NAMESPACE, document)
            else:
                core.create_namespaced_config_map(NAMESPACE, document)
    sync = yaml.safe_load((stage.manifests / "sync.yaml").read_text("utf-8"))
    client.CustomObjectsApi().create_namespaced_custom_object(
        GROUP, VERSION, NAMESPACE, SYNC_PLURAL, sync
    )


# -- the operator --------------------------------------------------------------------------------


@contextmanager
def _operator(kubeconfig: Path, log: int, port: int) -> Iterator[subprocess.Popen[bytes]]:
    put("Starting the operator ...", flush=True)
    process = subprocess.Popen(  # noqa: S603 -- our own command
        [
            *(sys.executable, "-m", "metronome_salesforce", "operator"),
            *("--host", "127.0.0.1", "--port", str(port), "--progress-every", "0.5"),
        ],
        env={**os.environ, **SETTINGS, "KUBECONFIG": str(kubeconfig)},
        stdout=log,
        stderr=subprocess.STDOUT,
        # Its own group: ctrl-C is ours to pass on, in order.
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
