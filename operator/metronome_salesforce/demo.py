"""`demo` and `sandbox`: the real operator on an emulated tenant, org and cluster, on a laptop.

Everything is on loopback, in a temporary folder, and ends with the command. The operator is a
process of its own, started as in a cluster; the emulators run here, so that the story can be told
with what they counted and hold, not with what the operator says of itself.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from threading import Event
from typing import Any

import yaml
from kubernetes import client, config
from tabulate import tabulate

from metronome_salesforce.salesforce.metadata import package_zip
from metronome_salesforce.sandbox.certificates import CertificateAuthority
from metronome_salesforce.sandbox.kubernetes import KubernetesSandbox
from metronome_salesforce.sandbox.metronome import API_KEY, MetronomeSandbox, Tenant
from metronome_salesforce.sandbox.salesforce import INTEGRATION, SalesforceOrg, SalesforceSandbox
from metronome_salesforce.spec import GROUP, SYNC_PLURAL, VERSION

_API_VERSION = "66.0"
_NAMESPACE = "default"
_SYNC = "production"
_PATIENCE = 180.0
_POLL = 0.2
_STOP_SECONDS = 20.0
_LOG_TAIL = 30
_ROWS_SHOWN = 12
# Two days, because usage is synced for days that are over.
_DEMO_LAG = timedelta(days=2)
_SANDBOX_LAG = timedelta(days=7)
_REQUESTED_AT = f"{GROUP}/requested-at"

Json = dict[str, Any]


class DemoError(Exception):
    """The demo did not go as it should; the message says what to look at."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that runs, and where the operator's log is."""

    tenant: Tenant
    metronome_url: str
    org: SalesforceOrg
    org_url: str
    org_http_url: str
    ca_pem: str
    kubeconfig: Path
    operator: subprocess.Popen[bytes]
    operator_log: Path
    operator_url: str


def main(*, customers: int, stay: bool) -> int:
    """Tell the story; with `stay`, keep everything up until ctrl-C. The exit code."""
    with tempfile.TemporaryDirectory(prefix="metronome-salesforce-") as folder:
        try:
            with _stage(Path(folder), customers, lag=_SANDBOX_LAG if stay else _DEMO_LAG) as stage:
                _tell(stage)
                if stay:
                    _print_addresses(stage)
                    _wait_for_interrupt(stage)
        except DemoError as error:
            print(f"\n{error}", file=sys.stderr)
            return 1
    return 0


# -- the stage -----------------------------------------------------------------------------------


@contextmanager
def _stage(folder: Path, customers: int, *, lag: timedelta) -> Iterator[Stage]:
    # The tenant starts in the past, so that it has days to be advanced by.
    now = datetime.now(UTC)
    _say("Starting an emulated Metronome tenant, a Salesforce org and a Kubernetes API ...")
    tenant = Tenant.generate(customers=customers, seed=1, now=now - lag)
    org = SalesforceOrg(now=lambda: datetime.now(UTC))
    authority = CertificateAuthority()
    cluster = KubernetesSandbox()
    with ExitStack() as stack:
        metronome = stack.enter_context(MetronomeSandbox(tenant).serve())
        salesforce = SalesforceSandbox(org)
        https = stack.enter_context(salesforce.serve(tls=authority))
        http = stack.enter_context(salesforce.serve())
        kubernetes = stack.enter_context(cluster.serve())
        kubeconfig = folder / "kubeconfig"
        cluster.write_kubeconfig(kubeconfig, kubernetes.url)
        _say("Deploying the Metronome package to the org and installing the CRDs ...")
        _deploy_package(org)
        config.load_kube_config(str(kubeconfig))  # type: ignore[no-untyped-call]
        _install_crds()
        log = folder / "operator.log"
        port = _free_port()
        operator = stack.enter_context(_operator(kubeconfig, log, port))
        yield Stage(
            tenant=tenant,
            metronome_url=metronome.url,
            org=org,
            org_url=https.url,
            org_http_url=http.url,
            ca_pem=authority.ca_pem.decode(),
            kubeconfig=kubeconfig,
            operator=operator,
            operator_log=log,
            operator_url=f"http://127.0.0.1:{port}",
        )


def _deploy_package(org: SalesforceOrg) -> None:
    result = org.deploy(package_zip(_API_VERSION))
    if not result.success:
        raise DemoError("the sandbox org refused the package")
    org.assign_permission_set(INTEGRATION, "Metronome_Integration")


def _install_crds() -> None:
    api = client.ApiextensionsV1Api()
    for path in crd_files():
        api.create_custom_resource_definition(yaml.safe_load(path.read_text("utf-8")))


def crd_files() -> list[Path]:
    """The CRDs: inside an installed package, or beside the sources."""
    inside = Path(str(files("metronome_salesforce"))) / "crds"
    folder = inside if inside.is_dir() else Path(__file__).parents[2] / "crds"
    return sorted(folder.glob("*.yaml"))


@contextmanager
def _operator(kubeconfig: Path, log: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    _say("Starting the operator ...")
    environment = {
        **os.environ,
        "KUBECONFIG": str(kubeconfig),
        "METRONOME_SALESFORCE_ALLOWED_HOSTS": "127.0.0.1,localhost",
        "METRONOME_SALESFORCE_ALLOW_HTTP": "true",
    }
    with log.open("wb") as stream:
        process = subprocess.Popen(  # noqa: S603 -- our own command
            [
                *(sys.executable, "-m", "metronome_salesforce", "operator"),
                *("--host", "127.0.0.1", "--port", str(port), "--progress-every", "0.5"),
            ],
            env=environment,
            stdout=stream,
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


# -- the story -----------------------------------------------------------------------------------


def _tell(stage: Stage) -> None:
    _say("Applying a ConfigMap, two Secrets and a MetronomeSync ...")
    _apply(stage)
    stage.org.statistics.reset()
    status = _follow(stage, lambda status: "finishedAt" in status.get("lastRun", {}))
    _expect_success(stage, status)
    _say("\nThe first cycle is done. What the org counted:")
    _print_written(stage.org)
    _say("\nOrphaned customers (no Account yet), by current spend:")
    _print_orphans(stage.org)
    _print_invoice(stage.org)

    _say("\nA day passes in Metronome: new usage, recomputed drafts ... and a cycle is requested.")
    stage.tenant.advance(timedelta(days=1))
    stage.org.statistics.reset()
    status = _request(stage, "day-2")
    _expect_success(stage, status)
    _say("\nOnly what changed was written:")
    _print_written(stage.org, status["lastRun"]["rows"])

    _say("\nNothing happens in Metronome, and another cycle is requested.")
    stage.org.statistics.reset()
    status = _request(stage, "quiet-day")
    _expect_success(stage, status)
    written = stage.org.statistics.total_rows
    _say(f"\nRows written: {written}.")
    if written:
        raise DemoError("a cycle without a change must not write; see the operator's log")


def _apply(stage: Stage) -> None:
    core = client.CoreV1Api()
    app = stage.org.client_credentials
    for secret, values in (
        ("metronome", {"apiKey": API_KEY}),
        ("salesforce", {"clientId": app.client_id, "clientSecret": app.client_secret}),
    ):
        core.create_namespaced_secret(
            _NAMESPACE,
            client.V1Secret(metadata=client.V1ObjectMeta(name=secret), string_data=values),
        )
    core.create_namespaced_config_map(
        _NAMESPACE,
        client.V1ConfigMap(
            metadata=client.V1ObjectMeta(name="sandbox-ca"), data={"ca.crt": stage.ca_pem}
        ),
    )
    sync: Json = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "MetronomeSync",
        "metadata": {"name": _SYNC},
        "spec": {
            "metronome": {
                "apiKeySecretRef": {"name": "metronome"},
                "baseUrl": stage.metronome_url,
            },
            "salesforce": {
                "instanceUrl": stage.org_url,
                "credentialsSecretRef": {"name": "salesforce"},
                "caBundleConfigMapRef": {"name": "sandbox-ca"},
            },
        },
    }
    client.CustomObjectsApi().create_namespaced_custom_object(
        GROUP, VERSION, _NAMESPACE, SYNC_PLURAL, sync
    )


def _request(stage: Stage, token: str) -> Json:
    """Run a cycle now, as `kubectl annotate` would, and wait for its end."""
    client.CustomObjectsApi().patch_namespaced_custom_object(
        GROUP,
        VERSION,
        _NAMESPACE,
        SYNC_PLURAL,
        _SYNC,
        {"metadata": {"annotations": {_REQUESTED_AT: token}}},
    )
    return _follow(stage, lambda status: status.get("lastHandledRequest") == token)


def _follow(stage: Stage, is_done: Any) -> Json:
    """Print progress as it comes until the status is as wished; returns the status."""
    deadline = time.monotonic() + _PATIENCE
    shown = ""
    while time.monotonic() < deadline:
        if stage.operator.poll() is not None:
            raise DemoError(f"the operator ended unexpectedly; its log says:\n{_tail(stage)}")
        status = _status()
        text = _progress_text(status.get("progress"))
        if text and text != shown:
            shown = text
            _say(f"  {text}")
        if is_done(status):
            return status
        time.sleep(_POLL)
    raise DemoError(
        f"the cycle did not end within {_PATIENCE:.0f} s; conditions: "
        f"{json.dumps(_status().get('conditions'))}; the operator's log says:\n{_tail(stage)}"
    )


def _status() -> Json:
    sync: Json = client.CustomObjectsApi().get_namespaced_custom_object(  # type: ignore[assignment]
        GROUP, VERSION, _NAMESPACE, SYNC_PLURAL, _SYNC
    )
    status: Json = sync.get("status") or {}
    return status


def _progress_text(progress: Json | None) -> str:
    if not progress:
        return ""
    done, total = progress.get("done"), progress.get("total")
    count = f" {done} of {total}" if total else f" {done}" if done else ""
    return f"{progress['stage']}{count}"


def _expect_success(stage: Stage, status: Json) -> None:
    run = status["lastRun"]
    _say(f"  {run['outcome']}: {run.get('message', '')}")
    if run["outcome"] != "Succeeded":
        raise DemoError(f"the cycle should have succeeded; the log says:\n{_tail(stage)}")


def _tail(stage: Stage) -> str:
    text = stage.operator_log.read_text("utf-8", "replace")
    return "\n".join(text.splitlines()[-_LOG_TAIL:])


# -- tables --------------------------------------------------------------------------------------


def _print_written(org: SalesforceOrg, rows: Mapping[str, Mapping[str, int]] | None = None) -> None:
    """What the org counted and, beside it, how many rows the operator found unchanged."""
    counts: dict[str, Counter[str]] = {}
    for (sobject, operation), count in org.statistics.rows.items():
        counts.setdefault(sobject, Counter())[operation] += count
    table = [
        (sobject, of["insert"], of["update"], of["delete"], org.count(sobject))
        for sobject, of in sorted(counts.items())
    ]
    _table(table, ("object", "inserted", "updated", "deleted", "rows now"))
    if rows is not None:
        unchanged = sum(of.get("unchanged", 0) for of in rows.values())
        _say(f"  compared and left alone: {unchanged} rows")


def _print_orphans(org: SalesforceOrg) -> None:
    customers = sorted(
        (row for row in org.rows("Metronome_Orphan_Customer__c") if row["Account__c"] is None),
        key=lambda row: -float(row["Current_Spend__c"] or 0),
    )
    _table(
        [
            (
                row["Name"],
                _amount(row["Current_Spend__c"]),
                row["Currency__c"],
                _amount(row["Last_Invoice_Total__c"]),
                _amount(row["Credit_Balance__c"]),
            )
            for row in customers[:_ROWS_SHOWN]
        ],
        ("customer", "current spend", "unit", "last invoice", "credit balance"),
    )


def _print_invoice(org: SalesforceOrg) -> None:
    """One invoice with all that hangs on it: the one with the most charges and adjustments."""
    lines = _by(org, "Metronome_Invoice_Line_Item__c", "Invoice__c")
    charges = _by(org, "Metronome_Invoice_Sub_Line_Item__c", "Invoice_Line_Item__c")
    adjustments = _by(org, "Metronome_Invoice_Adjustment__c", "Invoice__c")
    invoice = max(
        org.rows("Metronome_Invoice__c"),
        key=lambda row: (
            len(adjustments.get(row["Id"], ()))
            + sum(len(charges.get(line["Id"], ())) for line in lines.get(row["Id"], ())),
            row["Name"],
        ),
    )
    _say(
        f"\nOne invoice: {invoice['Name']} ({invoice['Status__c']}), "
        f"total {_amount(invoice['Total__c'])} {invoice['Currency__c']}"
    )
    table: list[Sequence[Any]] = []
    for line in lines.get(invoice["Id"], ()):
        table.append(
            (
                *("line item", line["Name"], line["Quantity__c"]),
                *(_amount(line["Total__c"]), line["Credit_Type_Name__c"]),
            )
        )
        table.extend(
            ("  charge", charge["Name"], charge["Quantity__c"], _amount(charge["Subtotal__c"]), "")
            for charge in charges.get(line["Id"], ())
        )
    table.extend(
        ("adjustment", one["Name"], "", _amount(one["Total__c"]), one["Credit_Type__c"])
        for one in adjustments.get(invoice["Id"], ())
    )
    _table(table, ("", "name", "quantity", "amount", "unit"))


def _by(org: SalesforceOrg, sobject: str, parent: str) -> dict[str, list[Json]]:
    grouped: dict[str, list[Json]] = {}
    for row in org.rows(sobject):
        grouped.setdefault(row[parent], []).append(row)
    return grouped


def _amount(value: Any) -> str:
    return "" if value is None else f"{float(value):,.2f}"


def _table(rows: Sequence[Sequence[Any]], headers: Sequence[str]) -> None:
    text = tabulate(rows, headers=headers, disable_numparse=True)
    _say("\n".join(f"  {line}" for line in text.splitlines()))


# -- staying up ----------------------------------------------------------------------------------


def _print_addresses(stage: Stage) -> None:
    app = stage.org.client_credentials
    _say(
        f"""
Everything stays up until ctrl-C.

  Kubernetes  export KUBECONFIG={stage.kubeconfig}
              kubectl get msync -w
              kubectl describe msync {_SYNC}
              kubectl annotate --overwrite msync {_SYNC} {_REQUESTED_AT}="$(date)"
              kubectl apply --validate=false -f ... / delete msync {_SYNC}
  Metronome   {stage.metronome_url}/v1/customers  (Authorization: Bearer {API_KEY})
              a day passes: curl -X POST -H 'Content-Type: application/json' \\
                -d '{{"days": 1}}' {stage.metronome_url}/_sandbox/advance
  Salesforce  {stage.org_url} and {stage.org_http_url}
              client id {app.client_id}, client secret {app.client_secret}
  Operator    {stage.operator_url}/metrics, /healthz, /readyz; log: {stage.operator_log}
"""
    )


def _wait_for_interrupt(stage: Stage) -> None:
    over = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    while not over.wait(1):
        if stage.operator.poll() is not None:
            raise DemoError(f"the operator ended; its log says:\n{_tail(stage)}")
    _say("Stopping ...")


def _free_port() -> int:

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _say(text: str) -> None:
    print(text, flush=True)
