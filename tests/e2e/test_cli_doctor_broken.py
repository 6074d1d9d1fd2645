"""`metronome-salesforce doctor`: one thing out of order at a time, and nothing else told as such.

Expected sentences stand here.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml

from metronome_salesforce.sandbox.certificates import CertificateAuthority
from tests.e2e.suite import (
    CRDS,
    Json,
    free_port,
    secret_value,
)
from tests.e2e.suite_doctor import (
    ACCOUNT,
    BROKEN,
    NO_SYNC,
    UNKNOWN,
    WAITING,
    Ward,
    ago,
    assert_nothing_written,
    named,
    of_result,
    slow_clock,
)
from tests.package.versions import changed, of_version

SET = "permissionsets/Metronome_Integration.permissionset"
TOTAL = (
    "<editable>true</editable>\n        <field>Metronome_Invoice__c.Total__c</field>\n"
    "        <readable>true</readable>"
)


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


BEHIND_SIGN_IN = named(
    "Salesforce", "API calls", "data storage", "package", "permission sets", "objects", "fields",
    "field access", "rights to install",
)  # fmt: skip
BEHIND_METRONOME = named("Metronome", "clock", "API key")
BEHIND_SALESFORCE = named("Salesforce", "clock", "API version", "sign-in") | BEHIND_SIGN_IN


def _older_definition(ward: Ward, **metadata: Json) -> None:
    path = CRDS / "metronomesyncs.yaml"
    document = yaml.safe_load(path.read_text("utf-8"))
    (version,) = document["spec"]["versions"]
    del version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["linking"]
    document["metadata"] |= metadata
    ward.api.install_crd(document)


def _older_definition_of_a_release(ward: Ward) -> None:
    notes = {"release-name": "billing", "release-namespace": "platform"}
    _older_definition(
        ward,
        labels={"app.kubernetes.io/managed-by": "Helm"},
        annotations={f"meta.helm.sh/{key}": value for key, value in notes.items()},
    )


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
        "With Helm: helm upgrade with the chart of this version, and crds.enabled true. Only "
        "without Helm: kubectl apply -f crds/",
    ),
    "definition-old-of-a-release": Case(
        _older_definition_of_a_release, "Kubernetes", "CRDs",
        r"They are older than this version: no metronomesyncs spec\.linking, .+",
        "They are a Helm release's, so upgrade it with the chart of this version: helm upgrade "
        "billing CHART --namespace platform --reset-then-reuse-values",
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
        "With the chart: rbac.secretNames and rbac.configMapNames must have the names, and "
            "watchNamespaces the namespace. Else give its Role these rights, as "
            "examples/operator.yaml does.",
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
        slow_clock, "Salesforce", "clock", r"It is (59\d|60\d) s ahead of this machine's\.",
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
        r"Metronome_Invoice__c\.Total__c is not in the org, or no longer in the permission set\.",
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
