"""What the tests of `doctor` share: a MetronomeSync in an embedded cluster, healthy at first.

The command is a process, its cluster the embedded API, its vendors the sandboxes; what it may write
is told by those who would have been written to.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from metronome_salesforce.sandbox.kubernetes import KubernetesSandbox, Match
from tests.e2e.suite import (
    CRDS,
    SETTINGS,
    Company,
    Json,
    company,
    made_up,
    references,
    run_cli,
    secret_manifest,
    sync_manifest,
)
from tests.kubectl import kubectl_path
from tests.package.versions import let_install

SUCCEEDED, FAILED, USAGE = 0, 1, 2
LEASE = "metronome-sync-acme"
ACCOUNT = "system:serviceaccount:default:operator"
OK, BROKEN, UNKNOWN, WAITING = "ok", "failed", "unknown", "notLookedAt"
Result = dict[tuple[str, str], Json]


def ago(**age: float) -> str:
    """A time as the operator writes it."""
    return (datetime.now(UTC) - timedelta(**age)).strftime("%Y-%m-%dT%H:%M:%SZ")


def healthy_status() -> Json:
    """The status after a cycle that went well."""
    conditions = [
        {
            "type": kind, "status": status, "reason": "Succeeded", "message": "As it should be.",
            "lastTransitionTime": ago(hours=3), "observedGeneration": 1,
        }
        for kind, status in (("Ready", "True"), ("Stalled", "False"), ("Reconciling", "False"))
    ]  # fmt: skip
    return {
        "observedGeneration": 1,
        "conditions": conditions,
        "nextRunTime": ago(hours=-5),
        "lastSuccessTime": ago(hours=3),
        "lastRun": {
            "id": "20261122-194418-3fe6", "trigger": "Schedule", "generation": 1,
            "outcome": "Succeeded", "reason": "Succeeded", "message": "As it should be.",
            "retry": "no", "full": False, "startedAt": ago(hours=3), "finishedAt": ago(hours=3),
            "duration": "12s",
        },
    }  # fmt: skip


@dataclass(slots=True)
class Ward:
    """A company whose MetronomeSync is in an embedded cluster, served by an operator so far."""

    one: Company
    api: KubernetesSandbox
    kubeconfig: Path
    folder: Path

    # -- what a test breaks ------------------------------------------------------------------------

    def sync(self, over: Json, *, taken_up: bool = True) -> None:
        """Change the MetronomeSync; an operator notices."""
        self._replace("metronomesyncs", "acme", over)
        if taken_up:
            generation = self.api.get("metronomesyncs", "acme")["metadata"]["generation"]
            self.status({"observedGeneration": generation})

    def status(self, over: Json) -> None:
        """Change the status, as an operator does."""
        self._replace("metronomesyncs", "acme", {"status": over}, "/status")

    def secret(self, name: str, **values: str) -> None:
        """Put other values into a Secret."""
        self.kubectl("delete", "secret", name)
        self.apply(secret_manifest(name, values))

    def _replace(self, plural: str, name: str, over: Json, sub: str = "") -> None:
        arguments = ["patch", plural, name, "--type=merge", "-p", json.dumps(over)]
        self.kubectl(*arguments, *(["--subresource=status"] if sub else []))

    def apply(self, document: Json) -> None:
        self.kubectl("apply", "--validate=false", "-f", "-", given=json.dumps(document))

    def kubectl(self, *arguments: str, given: str = "") -> None:
        result = subprocess.run(
            [kubectl_path(), *arguments],
            input=given, capture_output=True, text=True, timeout=30, check=False,
            env={"KUBECONFIG": str(self.kubeconfig), "HOME": str(self.folder), "PATH": "/bin"},
        )  # fmt: skip
        assert result.returncode == 0, result.stderr

    def lease(self, holder: str | None, **age: float) -> None:
        """The Lease of the MetronomeSync."""
        renewed = (datetime.now(UTC) - timedelta(**age)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec: Json = {"leaseDurationSeconds": 30, "renewTime": renewed}
        if holder:
            spec["holderIdentity"] = holder
        self.api.create("leases", {"metadata": {"name": LEASE}, "spec": spec})

    def forbid(self, verb: str, resource: str, **more: str) -> None:
        """Take a right away, and so does who reviews it."""
        self.api.faults.add(Match(verb=verb, resource=resource, **more), status=403)

    # -- what is asked and told --------------------------------------------------------------------

    def run(self, *more: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        words = ("doctor", "--sync", "acme", "--kubeconfig", str(self.kubeconfig), *more)
        result = run_cli(*words, environment={**SETTINGS, **environment})
        assert not [value for value in made_up if value in result.stdout + result.stderr]
        return result

    def checks(self, *more: str, **environment: str) -> Result:
        """The checks by area and name; the exit code must fit them, and nothing was written."""
        result = self.run("--output", "json", *more, **environment)
        assert result.stdout, result.stderr
        document = json.loads(result.stdout)
        found = {(one["area"], one["check"]): one for one in document["checks"]}
        assert len(found) == len(document["checks"])
        broken = any(one["result"] == BROKEN for one in found.values())
        assert document["healthy"] is not broken
        assert result.returncode == (FAILED if broken else SUCCEEDED)
        return found


@contextmanager
def healthy(folder: Path) -> Iterator[Ward]:
    """Everything in order."""
    with company() as one:
        api = KubernetesSandbox(crds=sorted(CRDS.glob("*.yaml")))
        api.username = ACCOUNT
        with api.serve() as served:
            kubeconfig = api.write_kubeconfig(folder / "kubeconfig", served.url)
            ward = Ward(one, api, kubeconfig, folder)
            for document in (*references(one), sync_manifest("acme", one.spec())):
                ward.apply(document)
            ward.status(healthy_status())
            let_install(one.org)
            api.requests.clear()
            yield ward


def of_result(checks: Result, result: str) -> set[tuple[str, str]]:
    return {key for key, one in checks.items() if one["result"] == result}


def assert_nothing_written(one: Company) -> None:
    """The vendors had reads, and a sign-in."""
    assert one.org.statistics.total_rows == 0
    writes = [call for call in one.salesforce.requests if call.method != "GET"]
    assert {call.path for call in writes} <= {"/services/oauth2/token"}
    assert {call[:2] for call in one.metronome.requests} <= {("GET", "/v1/customers")}


def named(area: str, *names: str) -> frozenset[tuple[str, str]]:
    return frozenset((area, name) for name in names)


NO_SYNC = named("operator", "all of it") | named("Metronome", "all of it") | named(
    "Salesforce", "all of it"
) | named("cycles", "last run")  # fmt: skip


def slow_clock(ward: Ward) -> None:
    """The org's clock is ahead, so ours is behind: its assertions would be out of date."""
    ward.one.org.state.now = lambda: datetime.now(UTC) + timedelta(minutes=10)
