"""`metronome-salesforce doctor`: everything in order, and one thing out of order at a time.

The command is a process, its cluster the embedded API, its vendors the sandboxes; what it may write
is told by those who would have been written to. Expected sentences stand here.
"""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from metronome_salesforce.sandbox.certificates import CertificateAuthority
from metronome_salesforce.sandbox.kubernetes import KubernetesSandbox, Match
from metronome_salesforce.sandbox.salesforce import INTEGRATION
from tests.e2e.suite import (
    CRDS,
    PERMISSION_SET,
    SETTINGS,
    Company,
    Json,
    Space,
    company,
    free_port,
    made_up,
    references,
    run_cli,
    secret_manifest,
    secret_value,
    sync_manifest,
)
from tests.kubectl import kubectl_path
from tests.package.versions import changed, of_version

SUCCEEDED, FAILED, USAGE = 0, 1, 2
LEASE = "metronome-sync-acme"
ACCOUNT = "system:serviceaccount:default:operator"
SET = "permissionsets/Metronome_Integration.permissionset"
TOTAL = (
    "<editable>true</editable>\n        <field>Metronome_Invoice__c.Total__c</field>\n"
    "        <readable>true</readable>"
)
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


@pytest.fixture(name="ward")
def _ward(tmp_path: Path) -> Iterator[Ward]:
    with company() as one:
        api = KubernetesSandbox(crds=sorted(CRDS.glob("*.yaml")))
        api.username = ACCOUNT
        with api.serve() as served:
            kubeconfig = api.write_kubeconfig(tmp_path / "kubeconfig", served.url)
            ward = Ward(one, api, kubeconfig, tmp_path)
            for document in (*references(one), sync_manifest("acme", one.spec())):
                ward.apply(document)
            ward.status(healthy_status())
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


# -- all is well -----------------------------------------------------------------------------------

ALL_FINE = {
    ("Kubernetes", "API server"): r"http://127\.0\.0\.1:\d+ answers, version v1\.36\.2\.",
    ("Kubernetes", "CRDs"): r"Both are served, with every field of this version\.",
    ("Kubernetes", "MetronomeSync"): r"acme in namespace default is valid\.",
    ("operator", "rights"): rf"{ACCOUNT} may do all 16 things that it needs\.",
    ("operator", "at work"): (
        r"An operator has taken up the newest spec; the next cycle is due 20\d\d-[\d:TZ-]+\."
    ),
    ("operator", "Lease"): r"Nobody holds it: no cycle runs and no customer is moved just now\.",
    ("references", "settings"): (
        r"The default hosts, and 127\.0\.0\.1, localhost may be called; plain http is allowed, "
        r"which is for sandboxes only\."
    ),
    ("references", "Metronome's Secret"): r"acme-metronome has the key apiKey\.",
    ("references", "Salesforce's Secret"): r"acme-salesforce has clientId, clientSecret\.",
    ("references", "CA ConfigMap"): r"acme-ca has the key ca\.crt\.",
    ("Metronome", "allowed host"): (
        r"127\.0\.0\.1:\d+ may be called, by the environment of this command\."
    ),
    ("Metronome", "reachable"): r"127\.0\.0\.1:\d+ answers, by plain http\.",
    ("Metronome", "clock"): r"It differs from this machine's by 0 s or less\.",
    ("Metronome", "API key"): r"Metronome takes it, and it may read customers\.",
    ("Salesforce", "allowed host"): (
        r"localhost:\d+ may be called, by the environment of this command\."
    ),
    ("Salesforce", "reachable"): r"localhost:\d+ answers, its certificate is trusted\.",
    ("Salesforce", "clock"): r"It differs from this machine's by 0 s or less\.",
    ("Salesforce", "API version"): r"66\.0; the org offers 31\.0 to 68\.0\.",
    ("Salesforce", "sign-in"): r"The org opens a session\.",
    ("Salesforce", "API calls"): r"\d+ of 100,000 used in 24 hours; cycles stop at 80,000\.",
    ("Salesforce", "data storage"): r"1,02\d of 1,024 MB are left\.",
    ("Salesforce", "package"): r"0\.1\.0, as the operator brings it\.",
    ("Salesforce", "permission sets"): (
        r"All are there, and Metronome_Integration is assigned to the integration user\."
    ),
    ("Salesforce", "objects"): r"All are there, and may be read and written\.",
    ("Salesforce", "fields"): r"All are there\.",
    ("Salesforce", "field access"): r"All may be read, and written where the operator writes\.",
    ("Salesforce", "rights to install"): (
        r"The integration user may deploy the package, and assign its sets\."
    ),
    ("cycles", "last run"): r"Succeeded 3 h ago\.",
}


def test_all_is_well_and_nothing_is_written_anywhere(ward: Ward) -> None:
    checks = ward.checks()

    assert list(checks) == list(ALL_FINE)
    for key, pattern in ALL_FINE.items():
        assert (checks[key]["result"], checks[key]["remedy"]) == (OK, ""), checks[key]
        assert re.fullmatch(pattern, checks[key]["found"]), checks[key]
    assert_nothing_written(ward.one)
    reviews = {"selfsubjectaccessreviews", "selfsubjectreviews"}
    verbs = {(call.verb, call.resource) for call in ward.api.requests.calls()}
    assert {resource for verb, resource in verbs if verb != "get"} == reviews
    assert {verb for verb, _ in verbs} == {"get", "create"}


def test_the_table_is_for_people(ward: Ward) -> None:
    """Marks, areas once, remedies beside, and what is left out says why."""
    ward.secret("acme-metronome", other="x")
    result = ward.run()

    assert result.returncode == FAILED
    lines = [re.sub(r"\s+", " ", line).strip() for line in result.stdout.splitlines()]
    assert lines[0] == "area check found what to do"
    assert lines[2].startswith("✔ Kubernetes API server http://127.0.0.1:")
    assert (
        "✘ Metronome's Secret Secret acme-metronome in namespace default has no key Put"
        in " ".join(line for line in lines if line.startswith("✘"))
    )
    assert any(
        line.startswith("- API key not looked at: references: Metronome's Secret comes first")
        for line in lines
    )
    assert lines[-1] == ("28 checks: 26 in order (✔), 1 not in order (✘), 1 not looked at (-)")


# -- one thing is broken ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Case:
    """What is broken, what is told of it, and what cannot be looked at then."""

    act: Callable[[Ward], Any]
    area: str
    check: str
    found: str
    remedy: str
    waiting: frozenset[tuple[str, str]] = frozenset()
    unknown: frozenset[tuple[str, str]] = frozenset()
    environment: tuple[tuple[str, str], ...] = ()


def named(area: str, *names: str) -> frozenset[tuple[str, str]]:
    return frozenset((area, name) for name in names)


BEHIND_SIGN_IN = named(
    "Salesforce", "API calls", "data storage", "package", "permission sets", "objects", "fields",
    "field access", "rights to install",
)  # fmt: skip
NO_SYNC = named("operator", "all of it") | named("Metronome", "all of it") | named(
    "Salesforce", "all of it"
) | named("cycles", "last run")  # fmt: skip
BEHIND_METRONOME = named("Metronome", "clock", "API key")
BEHIND_SALESFORCE = named("Salesforce", "clock", "API version", "sign-in") | BEHIND_SIGN_IN


def _older_definition(ward: Ward) -> None:
    path = CRDS / "metronomesyncs.yaml"
    document = yaml.safe_load(path.read_text("utf-8"))
    (version,) = document["spec"]["versions"]
    del version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["linking"]
    ward.api.install_crd(document)


def _no_definition(ward: Ward) -> None:
    ward.kubectl("delete", "crd", "customerlinks.metronome-salesforce.dev")


def _other_authority(ward: Ward) -> None:
    pem = CertificateAuthority().ca_pem.decode()
    ward.kubectl(
        "patch", "cm", "acme-ca", "--type=merge", "-p", json.dumps({"data": {"ca.crt": pem}})
    )


def _edit_set(text: str) -> Callable[[Ward], None]:
    def act(ward: Ward) -> None:
        assert ward.one.org.deploy(changed(SET, TOTAL, text)).success

    return act


def _outdated(ward: Ward) -> None:
    assert ward.one.org.deploy(of_version("0.0.3")).success


def _slow_clock(ward: Ward) -> None:
    """The org's clock is ahead, so ours is behind: its assertions would be out of date."""
    ward.one.org.state.now = lambda: datetime.now(UTC) + timedelta(minutes=10)


def _metronome_clock(ward: Ward) -> None:
    date = (datetime.now(UTC) - timedelta(minutes=4)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    body: Json = {"data": [], "next_page": None}
    ward.one.metronome.faults.add(
        "GET /v1/customers", status=200, headers={"Date": date}, body=body
    )


def _lacking_rights(ward: Ward) -> None:
    ward.forbid("patch", "metronomesyncs", subresource="status")
    ward.forbid("create", "leases")


def _run(**changes: Any) -> Callable[[Ward], None]:
    return lambda ward: ward.status({"lastRun": changes})


CASES = {
    "definition-missing": Case(
        _no_definition, "Kubernetes", "CRDs",
        r"The cluster does not serve customerlinks\.metronome-salesforce\.dev in v1alpha1\.",
        "Apply the CRDs of this version: kubectl apply -f crds/",
    ),
    "definition-old": Case(
        _older_definition, "Kubernetes", "CRDs",
        r"They are older than this version: no metronomesyncs spec\.linking, metronomesyncs "
        r"spec\.linking\.watchSalesforceEvery, metronomesyncs spec\.linking\.writeBack\.",
        "Apply the CRDs of this version: kubectl apply -f crds/",
    ),
    "sync-missing": Case(
        lambda ward: ward.kubectl("delete", "msync", "acme"), "Kubernetes", "MetronomeSync",
        r"There is no acme in namespace default\.",
        "Name the right one with --sync and --namespace: kubectl get msync -A", NO_SYNC,
    ),
    "sync-invalid": Case(
        lambda ward: ward.sync({"spec": {"schedule": "0 6 30 2 *"}}), "Kubernetes", "MetronomeSync",
        r"spec\.schedule: .+", "Correct these fields.", NO_SYNC - named("cycles", "last run"),
    ),
    "secret-missing": Case(
        lambda ward: ward.kubectl("delete", "secret", "acme-metronome"),
        "references", "Metronome's Secret",
        r"Secret acme-metronome with Metronome's API key does not exist in namespace default\.",
        "Create it.", named("Metronome", "API key"),
    ),
    "secret-key-missing": Case(
        lambda ward: ward.secret("acme-salesforce", clientId="consumer"),
        "references", "Salesforce's Secret",
        r"Secret acme-salesforce in namespace default has no key clientSecret, or it is empty\.",
        "To sign in to Salesforce it must hold clientId, clientSecret; or clientId, username, "
        "privateKey; or username, password, securityToken.",
        named("Salesforce", "sign-in") | BEHIND_SIGN_IN,
    ),
    "configmap-missing": Case(
        lambda ward: ward.kubectl("delete", "cm", "acme-ca"), "references", "CA ConfigMap",
        r"ConfigMap acme-ca with the certificate authorities does not exist in namespace default\.",
        "Create it.", named("Salesforce", "reachable") | BEHIND_SALESFORCE,
    ),
    "right-missing": Case(
        _lacking_rights, "operator", "rights",
        rf"{ACCOUNT} may not patch metronomesyncs/status, create leases in namespace default\.",
        "Give its Role these rights, as examples/operator.yaml does.",
    ),
    "operator-gone": Case(
        lambda ward: ward.status({"nextRunTime": ago(hours=7)}), "operator", "at work",
        r"A cycle was due 7 h ago, and none runs\.",
        "Start an operator that watches namespace default, and see its log.",
    ),
    "lease-left-behind": Case(
        lambda ward: ward.lease("operator-0", minutes=5), "operator", "Lease",
        r"operator-0 holds it, last renewed 5 min ago: it ended in the middle of its work\.",
        "An operator that runs takes it over within half a minute: start one.",
    ),
    "settings-malformed": Case(
        lambda _: None, "references", "settings",
        r"METRONOME_SALESFORCE_ALLOW_HTTP must be true or false\.",
        "See InvalidSettings in the README, Troubleshooting.",
        named("Metronome", "all of it") | named("Salesforce", "all of it"),
        environment=(("METRONOME_SALESFORCE_ALLOW_HTTP", "perhaps"),),
    ),
    "host-not-allowed": Case(
        lambda _: None, "Salesforce", "allowed host",
        r"The operator may not call the host localhost\. Allowed are api\.metronome\.com, .+\.",
        "Correct the address, or have the operator's administrator add the host there.",
        named("Salesforce", "reachable") | BEHIND_SALESFORCE,
        environment=(("METRONOME_SALESFORCE_ALLOWED_HOSTS", "127.0.0.1"),),
    ),
    "metronome-unreachable": Case(
        lambda ward: ward.sync(
            {"spec": {"metronome": {"baseUrl": f"http://127.0.0.1:{free_port()}"}}}
        ),
        "Metronome", "reachable", r"127\.0\.0\.1 cannot be reached\.",
        "Check spec.metronome.baseUrl, DNS, the proxy and network policies.", BEHIND_METRONOME,
    ),
    "metronome-clock": Case(
        _metronome_clock, "Metronome", "clock", r"It is 2\d\d s behind this machine's\.",
        "Set this machine's clock (NTP): sign-ins by JWT are refused, and days begin at other "
        "times.",
    ),
    "metronome-key": Case(
        lambda ward: ward.secret("acme-metronome", apiKey=secret_value("wrong-key")),
        "Metronome", "API key",
        r"GET /v1/customers was refused \(403\): the key is wrong, or has no read access\.",
        "Put a valid Metronome API key into the Secret that spec.metronome.apiKeySecretRef names, "
        "or give its token read access.",
    ),
    "salesforce-certificate": Case(
        _other_authority, "Salesforce", "reachable",
        r"The certificate of localhost cannot be trusted \(.+\)\.",
        "Behind a proxy that inspects TLS, put its CA into a ConfigMap and name it in "
        "spec.salesforce.caBundleConfigMapRef, or give it to the operator (SSL_CERT_FILE).",
        BEHIND_SALESFORCE,
    ),
    "salesforce-clock": Case(
        _slow_clock, "Salesforce", "clock", r"It is (59\d|60\d) s ahead of this machine's\.",
        "Set this machine's clock (NTP): sign-ins by JWT are refused, and days begin at other "
        "times.",
    ),
    "api-version": Case(
        lambda ward: ward.sync({"spec": {"salesforce": {"apiVersion": "99.0"}}}),
        "Salesforce", "API version", r"The org does not offer 99\.0, but 31\.0 to 68\.0\.",
        "Set spec.salesforce.apiVersion to one of these.", BEHIND_SIGN_IN,
    ),
    "sign-in": Case(
        lambda ward: ward.secret(
            "acme-salesforce", clientId="consumer", clientSecret=secret_value("wrong-secret")
        ),
        "Salesforce", "sign-in", r"The org refused the app's secret\.",
        "Check clientId and clientSecret in the Secret that "
        "spec.salesforce.credentialsSecretRef names.",
        BEHIND_SIGN_IN,
    ),
    "api-calls": Case(
        lambda ward: setattr(ward.one.org, "api_used", 93_000), "Salesforce", "API calls",
        r"93,\d\d\d of 100,000 used in 24 hours; cycles stop at 80,000\.",
        "Wait, or see in Setup, Company Information, who uses them; or raise "
        "spec.salesforce.apiBudgetPercent.",
    ),
    "api-calls-none-left": Case(
        lambda ward: setattr(ward.one.org, "api_used", 100_000), "Salesforce", "API calls",
        r"The org has used up its API calls for the last 24 hours\.",
        "The sync goes on when calls become free again (Setup, Company Information, API Requests).",
        BEHIND_SIGN_IN - named("Salesforce", "API calls"),
    ),
    "storage": Case(
        lambda ward: setattr(ward.one.org, "storage_full", True), "Salesforce", "data storage",
        r"None of 1,024 MB is left\.", "Free or buy data storage.",
    ),
    "package-old": Case(
        _outdated, "Salesforce", "package", r"0\.0\.3; the operator brings 0\.1\.0\.",
        "Run metronome-salesforce package deploy; package check lists everything.",
    ),
    "field-read-only": Case(
        _edit_set(TOTAL.replace("<editable>true", "<editable>false")), "Salesforce", "field access",
        r"Metronome_Invoice__c\.Total__c the integration user may not write it\.",
        "Run metronome-salesforce package deploy; package check lists everything.",
    ),
    "field-missing": Case(
        _edit_set(TOTAL.replace(">true<", ">false<")), "Salesforce", "fields",
        r"Metronome_Invoice__c\.Total__c is not in the org\.",
        "Run metronome-salesforce package deploy; package check lists everything.",
    ),
    "last-run-failed": Case(
        _run(outcome="Failed", reason="CycleCrashed", message="It ended with exit code 3."),
        "cycles", "last run",
        r"Failed 3 h ago \(CycleCrashed\): It ended with exit code 3\. \(the last success was 3 h "
        r"ago\)",
        "See CycleCrashed in the README, Troubleshooting.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_one_thing_is_broken_and_nothing_else_is_told_as_such(name: str, ward: Ward) -> None:
    case = CASES[name]
    case.act(ward)
    ward.one.org.statistics.reset()
    checks = ward.checks(**dict(case.environment))

    assert of_result(checks, BROKEN) == {(case.area, case.check)}
    assert of_result(checks, WAITING) == case.waiting
    assert of_result(checks, UNKNOWN) == case.unknown
    check = checks[case.area, case.check]
    assert re.fullmatch(case.found, check["found"]), check["found"]
    assert check["remedy"] == case.remedy
    for key in case.waiting:
        assert checks[key]["found"].startswith("not looked at: ")
        assert checks[key]["found"].endswith(" comes first")
    assert_nothing_written(ward.one)


# -- the package -----------------------------------------------------------------------------------


def test_a_package_that_nobody_was_given_is_to_be_assigned(ward: Ward) -> None:
    """Many findings, in four lines."""
    ward.one.org.revoke_permission_set(INTEGRATION, PERMISSION_SET)
    ward.one.org.statistics.reset()
    checks = ward.checks()

    broken = of_result(checks, BROKEN)
    assert broken == named("Salesforce", "package", "permission sets", "objects")
    assert of_result(checks, UNKNOWN) == named("Salesforce", "fields", "field access")
    objects = checks["Salesforce", "objects"]
    assert re.fullmatch(
        r"Metronome_\w+ is closed to the integration user; Metronome_\w+ is closed to the "
        r"integration user; Metronome_\w+ is closed to the integration user; and \d+ more\.",
        objects["found"],
    )
    assign = (
        "Assign Metronome_Integration to the integration user; package check lists everything, "
        "with the command."
    )
    assert {checks[key]["remedy"] for key in broken} == {assign}
    sets = checks["Salesforce", "permission sets"]["found"]
    assert sets == "Metronome_Integration is not assigned to the integration user."
    assert_nothing_written(ward.one)


def test_an_org_without_the_package_tells_who_may_install_it(tmp_path: Path) -> None:
    """From files, where there is no cluster to be looked at."""
    with company(package=False) as one:
        documents = [*references(one), sync_manifest("acme", one.spec())]
        file = tmp_path / "acme.yaml"
        file.write_text(yaml.safe_dump_all(documents), "utf-8")

        def checks() -> Result:
            result = run_cli("doctor", "-f", str(file), "--output", "json")
            assert result.returncode == FAILED
            return {(one["area"], one["check"]): one for one in json.loads(result.stdout)["checks"]}

        able = checks()
        one.org.revoke_permission(INTEGRATION, "ModifyMetadata")
        unable = checks()
        assert_nothing_written(one)

    areas = ("references", "Metronome", "Salesforce")
    assert list(able) == [key for key in ALL_FINE if key[0] in areas]
    assert of_result(able, BROKEN) == named("Salesforce", "package", "permission sets", "objects")
    deploy = "Run metronome-salesforce package deploy; package check lists everything."
    assert able["Salesforce", "package"]["found"] == (
        "It is not there, or not to be seen; the operator brings 0.1.0."
    )
    assert able["Salesforce", "package"]["remedy"] == deploy
    assert able["Salesforce", "rights to install"]["result"] == OK
    rights = unable["Salesforce", "rights to install"]
    assert (rights["result"], rights["found"]) == (
        BROKEN,
        'The integration user lacks "Modify Metadata Through Metadata API Functions".',
    )
    assert rights["remedy"].startswith("Give the user these, or let an administrator run ")


@pytest.mark.parametrize(
    ("policy", "result"), [("IfMissing", UNKNOWN), ("Always", UNKNOWN), ("Never", None)]
)
def test_rights_to_install_matter_where_something_is_to_be_installed(
    ward: Ward, policy: str, result: str | None
) -> None:
    ward.one.org.revoke_permission(INTEGRATION, "AssignPermissionSets")
    ward.sync({"spec": {"salesforce": {"package": {"install": policy}}}})
    told = ward.checks().get(("Salesforce", "rights to install"))

    assert (told and told["result"]) == result


def test_a_clock_that_is_wrong_is_told_beside_the_sign_in_that_it_spoils(ward: Ward) -> None:
    """By JWT: the assertion is out of date for the org."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    ward.one.org.add_jwt_app("jwt-app", public.decode(), {INTEGRATION})
    values = {"clientId": "jwt-app", "username": INTEGRATION, "privateKey": private}
    ward.secret("acme-salesforce", **values)
    assert of_result(ward.checks(), BROKEN) == set()
    _slow_clock(ward)
    result = ward.run("--output", "json")

    told = {one["check"]: one for one in json.loads(result.stdout)["checks"]}
    assert {name for name, one in told.items() if one["result"] == BROKEN} == {"clock", "sign-in"}
    assert told["sign-in"]["remedy"] == "Check the clock of the machine."
    assert private.splitlines()[3] not in result.stdout


# -- who asks --------------------------------------------------------------------------------------


def test_a_person_asks_for_the_rights_of_the_operator_s_account(ward: Ward) -> None:
    ward.api.username = "jane@example.com"
    own = ward.checks()["operator", "rights"]
    theirs = ward.checks("--as-service-account", "default/operator")["operator", "rights"]
    ward.forbid("get", "secrets", name="acme-salesforce")
    lacking = ward.checks("--as-service-account", "default/operator")

    assert (own["result"], own["found"]) == (
        UNKNOWN,
        "jane@example.com, who asks, may do all 16 things; what the operator may do was not asked.",
    )
    assert own["remedy"] == "Name its ServiceAccount: --as-service-account NAMESPACE/NAME"
    assert (theirs["result"], theirs["found"]) == (
        OK,
        f"{ACCOUNT} may do all 16 things that it needs.",
    )
    assert lacking["operator", "rights"]["found"] == (
        f"{ACCOUNT} may not get secrets acme-salesforce in namespace default."
    )
    secret = lacking["references", "Salesforce's Secret"]
    assert (secret["result"], secret["found"]) == (
        UNKNOWN,
        "You may not get secrets acme-salesforce.",
    )
    assert lacking["Salesforce", "sign-in"]["found"] == (
        "not looked at: references: Salesforce's Secret comes first"
    )
    ward.forbid("create", "subjectaccessreviews")
    unasked = ward.checks("--as-service-account", "default/operator")["operator", "rights"]
    assert unasked["result"] == UNKNOWN
    assert "subjectaccessreviews" in unasked["remedy"]


def test_definitions_that_may_not_be_read_are_served_all_the_same(ward: Ward) -> None:
    ward.forbid("get", "customresourcedefinitions")
    told = ward.checks()

    assert of_result(told, UNKNOWN) == named("Kubernetes", "CRDs")
    assert told["Kubernetes", "CRDs"]["found"].startswith("Both are served.")


@pytest.mark.parametrize(
    ("act", "key", "result", "found"),
    [
        (
            lambda ward: ward.lease("operator-0", seconds=3), ("operator", "Lease"), OK,
            r"operator-0 holds it, renewed \d+ s ago\.",
        ),
        (
            lambda ward: ward.lease(None, seconds=300), ("operator", "Lease"), OK,
            r"Nobody holds it: .*",
        ),
        (
            lambda ward: ward.status({"lastRun": {"outcome": "Planned"}}), ("cycles", "last run"),
            UNKNOWN, r"Planned 3 h ago: a dry run\.",
        ),
        (
            lambda ward: ward.status({"lastRun": None}), ("cycles", "last run"), UNKNOWN,
            r"No cycle has run yet\.",
        ),
        (
            lambda ward: ward.sync({"spec": {"historyLimit": 3}}, taken_up=False),
            ("operator", "at work"), UNKNOWN,
            r"The last change of the spec has not been taken up yet\.",
        ),
        (
            lambda ward: ward.status({"conditions": None}), ("operator", "at work"), UNKNOWN,
            r"No operator has looked at it yet\.",
        ),
        (
            lambda ward: ward.sync({"spec": {"linking": {"writeBack": True}}}),
            ("Metronome", "write back"), UNKNOWN,
            r"Whether the key may change customers shows only when it does\.",
        ),
    ],
)  # fmt: skip
def test_what_is_neither_good_nor_bad_does_not_fail(
    ward: Ward, act: Callable[[Ward], Any], key: tuple[str, str], result: str, found: str
) -> None:
    act(ward)
    checks = ward.checks()

    assert of_result(checks, BROKEN) == set()
    assert checks[key]["result"] == result
    assert re.fullmatch(found, checks[key]["found"]), checks[key]["found"]


# -- no cluster, wrong usage -----------------------------------------------------------------------


def test_without_a_cluster_the_rest_is_not_looked_at(ward: Ward) -> None:
    nobody = ward.folder / "nobody"
    ward.api.write_kubeconfig(nobody, f"http://127.0.0.1:{free_port()}")
    for kubeconfig, found, remedy in (
        (nobody, "no usable answer from the Kubernetes API: ", "Check the cluster that"),
        (ward.folder / "none", "no access to a Kubernetes API: ", "Name a kubeconfig with"),
    ):
        ward.kubeconfig = kubeconfig
        checks = ward.checks()
        assert of_result(checks, BROKEN) == named("Kubernetes", "API server")
        api = checks["Kubernetes", "API server"]
        assert api["found"].startswith(found)
        assert api["remedy"].startswith(remedy)
        assert of_result(checks, WAITING) == NO_SYNC | named("Kubernetes", "CRDs", "MetronomeSync")
    assert not ward.one.metronome.requests


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "name the MetronomeSync: -f FILE for one in files, --sync NAME for one in a cluster"),
        (("-f", "acme.yaml", "--namespace", "x"), "leave them out with -f"),
        (("-f", "{file}", "--as-service-account", "a/b"), "leave it out with -f"),
        (("--sync", "acme", "--as-service-account", "operator"), "must be NAMESPACE/NAME"),
        (("-f", "{missing}"), "missing.yaml"),
    ],
)
def test_wrong_usage_gives_code_2(words: tuple[str, ...], told: str, tmp_path: Path) -> None:
    file, missing = tmp_path / "acme.yaml", tmp_path / "missing.yaml"
    file.write_text(yaml.safe_dump(sync_manifest("acme", {
        "metronome": {"apiKeySecretRef": {"name": "a"}},
        "salesforce": {
            "instanceUrl": "https://a.my.salesforce.com", "credentialsSecretRef": {"name": "a"},
        },
    })), "utf-8")  # fmt: skip
    result = run_cli("doctor", *(word.format(file=file, missing=missing) for word in words))

    assert (result.returncode, result.stdout) == (USAGE, "")
    assert told in result.stderr


# -- with an operator ------------------------------------------------------------------------------


def test_what_an_operator_serves_is_in_order(space: Space, acme: Company) -> None:
    """On the embedded API and on a real one, where a person with all rights asks."""
    space.start(acme)
    space.wait_for_run()
    acme.org.statistics.reset()
    result = run_cli(
        *("doctor", "--sync", "acme", "--namespace", space.namespace, "--output", "json"),
        *("--kubeconfig", str(space.cluster.kubeconfig)),
    )

    checks = {(one["area"], one["check"]): one for one in json.loads(result.stdout)["checks"]}
    assert result.returncode == SUCCEEDED, result.stdout
    assert list(checks) == list(ALL_FINE)
    assert of_result(checks, OK) == set(ALL_FINE) - named("operator", "rights")
    assert checks["operator", "rights"]["result"] == UNKNOWN
    assert acme.org.statistics.total_rows == 0
