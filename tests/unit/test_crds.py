"""The CRDs say what they should, and the models in spec.py take and refuse the same resources.

One list of good and one of bad resources is put to three judges: the models, the embedded
Kubernetes API and, in `make test-cluster`, a real API server.
"""

import copy
import json
import subprocess
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from metronome_salesforce.errors import ConfigError
from metronome_salesforce.fieldtypes import parse_duration
from metronome_salesforce.objects import OBJECTS
from metronome_salesforce.report import CycleReport, Outcome, Rejected, Retry, Trigger
from metronome_salesforce.sandbox.kubernetes.exceptions import ApiError
from metronome_salesforce.sandbox.kubernetes.server import KubernetesSandbox
from metronome_salesforce.spec import (
    NEEDS,
    CustomerLinkSpec,
    MetronomeSyncSpec,
    parse_link,
    parse_sync,
)
from tests.controlplane.launch import ControlPlane
from tests.kubectl import kubectl_path

CRDS = Path(__file__).resolve().parents[2] / "crds"
GROUP = "metronome-salesforce.dev"
DELETE = object()

Json = dict[str, Any]

SYNC: Json = {
    "apiVersion": f"{GROUP}/v1alpha1",
    "kind": "MetronomeSync",
    "metadata": {"name": "production", "namespace": "default"},
    "spec": {
        "metronome": {"apiKeySecretRef": {"name": "metronome"}},
        "salesforce": {
            "instanceUrl": "https://acme.my.salesforce.com",
            "credentialsSecretRef": {"name": "salesforce"},
        },
    },
}
LINK: Json = {
    "apiVersion": f"{GROUP}/v1alpha1",
    "kind": "CustomerLink",
    "metadata": {"name": "acme", "namespace": "default"},
    "spec": {
        "syncRef": {"name": "production"},
        "customer": {"id": "0b9a3c1e-7a55-4c0e-9d0a-3f6b1f1f0001"},
        "account": {"id": "001000000000001AAA"},
    },
}

GOOD_SYNCS: list[tuple[str, Any]] = [
    ("suspend", True),
    ("suspend", None),
    ("schedule", "*/15 * * * *"),
    ("schedule", "0,30 6-18/2 1,15 JAN-MAR mon-fri"),
    ("schedule", "5 4 * * sun"),
    ("schedule", "0  6  *  *  7"),
    ("schedule", "59 23 31 12 0-7"),
    ("schedule", "0 06 01 01 *"),
    ("schedule", "9-10 8-9 9-10 9-10 5-7"),
    ("timeZone", "America/Argentina/Buenos_Aires"),
    ("timeZone", "UTC"),
    ("timeZone", "Etc/GMT+5"),
    ("startingDeadline", "1h30m"),
    ("windowSize", "None"),
    ("windowSize", "Hour"),
    ("metronome.apiKeySecretRef.key", "api_key.txt"),
    ("metronome.apiKeySecretRef.name", "a.b-c.9"),
    ("metronome.baseUrl", "http://127.0.0.1:8080"),
    ("metronome.baseUrl", "https://api.metronome.com/"),
    ("metronome.maxConcurrentRequests", 32),
    ("metronome.salesforceIdField", "customFields.sfdc_account_id"),
    ("salesforce.instanceUrl", "https://acme--dev.sandbox.my.salesforce.com"),
    ("salesforce.apiVersion", "58.0"),
    ("salesforce.caBundleConfigMapRef", {"name": "ca"}),
    ("salesforce.apiBudgetPercent", 1),
    ("objects", ["Customer"]),
    ("objects", ["Usage", "Invoice", "InvoiceLineItem", "InvoiceSubLineItem", "Customer"]),
    ("invoices", {"since": "2024-02-29", "statuses": ["Draft"]}),
    ("invoices", None),
    ("usage", {"lookback": "9999d9999h99999m999999s", "skipZero": False}),
    ("usage.lookback", "1d"),
    ("usage.lookback", "0034d"),
    ("usage.lookback", "10d1s"),
    ("usage.lookback", "24h"),
    ("usage.lookback", "0d23h60m"),
    ("usage.lookback", "86400s"),
    ("prune", {"enabled": False, "maxDeletePercent": 0}),
    ("fullResyncEvery", "90s"),
    ("healEdits", False),
    ("historyLimit", 50),
    ("dryRun", True),
    ("execution.activeDeadline", "1d"),
]

# Nulls where there is no default: the API server drops them.
NULLS: list[tuple[str, Any]] = [
    ("startingDeadline", None),
    ("salesforce.caBundleConfigMapRef", None),
    ("invoices.since", None),
]

# field, value, what both messages must contain beside the field
BAD_SYNCS: list[tuple[str, Any, str]] = [
    ("suspend", "yes", ""),
    ("schedule", "", ""),
    ("schedule", "@daily", "five cron fields"),
    ("schedule", "daily", "five cron fields"),
    ("schedule", "0 6 * *", "five cron fields"),
    ("schedule", "0 0 6 * * *", "five cron fields"),
    ("schedule", "60 6 * * *", "five cron fields"),
    ("schedule", "0 24 * * *", "five cron fields"),
    ("schedule", "0 6 0 * *", "five cron fields"),
    ("schedule", "0 6 32 * *", "five cron fields"),
    ("schedule", "0 6 * 13 *", "five cron fields"),
    ("schedule", "0 6 * * 8", "five cron fields"),
    ("schedule", "0 6 * * MOON", "five cron fields"),
    ("schedule", "0 6 * * JAN", "five cron fields"),
    ("schedule", "0 6 * MON *", "five cron fields"),
    ("schedule", "MON 6 * * *", "five cron fields"),
    ("schedule", "*/0 6 * * *", "five cron fields"),
    ("schedule", "0 6 * * ,", "five cron fields"),
    ("schedule", "0 6 L * *", "five cron fields"),
    ("schedule", "0 6 * * MON#1", "five cron fields"),
    ("schedule", "CRON_TZ=UTC 0 6 * * *", "five cron fields"),
    ("schedule", " 0 6 * * *", "five cron fields"),
    ("schedule", "0 6 * * *\n", "five cron fields"),
    ("schedule", "0 18-6 * * *", "ends before it begins"),
    ("schedule", "0 10-9 * * *", "ends before it begins"),
    ("schedule", "0 6 * * FRI-SUN", "ends before it begins"),
    ("schedule", "0 6 * nov-feb *", "ends before it begins"),
    ("schedule", "1,2,5-3/2 6 * * *", "ends before it begins"),
    ("schedule", "0 6 * * " + ",".join(["1"] * 60), ""),
    ("timeZone", "Mars Base", "IANA name"),
    ("timeZone", "../../etc/passwd", "IANA name"),
    ("timeZone", "+02:00", "IANA name"),
    ("startingDeadline", "2 hours", "duration"),
    ("startingDeadline", "1m1h", "duration"),
    ("startingDeadline", "0s", "duration"),
    ("startingDeadline", 3600, ""),
    ("windowSize", "Week", ""),
    ("windowSize", "day", ""),
    ("metronome", DELETE, ""),
    ("metronome.apiKeySecretRef", DELETE, ""),
    ("metronome.apiKeySecretRef.name", DELETE, ""),
    ("metronome.apiKeySecretRef.name", None, ""),
    ("metronome.apiKeySecretRef.name", "Metronome", "lower case letters"),
    ("metronome.apiKeySecretRef.name", "a..b", "lower case letters"),
    ("metronome.apiKeySecretRef.key", "a/b", "letters, digits"),
    ("metronome.baseUrl", "api.metronome.com", "host name"),
    ("metronome.baseUrl", "ftp://api.metronome.com", "host name"),
    ("metronome.baseUrl", "https://api.metronome.com/v1", "host name"),
    ("metronome.baseUrl", "https://api.metronome.com?x=1", "host name"),
    ("metronome.baseUrl", "https://user:pw@api.metronome.com", "host name"),
    ("metronome.baseUrl", "https://api.metronome.com\n", "host name"),
    ("metronome.baseUrl", "https://", "host name"),
    ("metronome.maxConcurrentRequests", 0, ""),
    ("metronome.maxConcurrentRequests", 33, ""),
    ("metronome.maxConcurrentRequests", "4", ""),
    ("metronome.salesforceIdField", "custom_fields.x", "customFields"),
    ("metronome.salesforceIdField", "customFields.", "customFields"),
    ("salesforce.instanceUrl", DELETE, ""),
    ("salesforce.instanceUrl", "https://acme.lightning.force.com", "My Domain"),
    ("salesforce.instanceUrl", "https://acme.my.salesforce.com/lightning/page", "host name"),
    ("salesforce.credentialsSecretRef", DELETE, ""),
    ("salesforce.credentialsSecretRef.name", "a b", "lower case letters"),
    ("salesforce.apiVersion", "v66.0", "58.0"),
    ("salesforce.apiVersion", "57.0", "58.0"),
    ("salesforce.apiVersion", "66", "58.0"),
    ("salesforce.apiVersion", 66.0, ""),
    ("salesforce.caBundleConfigMapRef", {}, ""),
    ("salesforce.apiBudgetPercent", 101, ""),
    ("objects", [], ""),
    ("objects", ["Invoice"], "Customer"),
    ("objects", ["Customer", "CustomerPlan"], "CustomerPlan needs Plan"),
    ("objects", ["Customer", "InvoiceLineItem"], "InvoiceLineItem needs Invoice"),
    ("objects", ["Customer", "InvoiceAdjustment"], "InvoiceAdjustment needs Invoice"),
    (
        "objects",
        ["Customer", "Invoice", "InvoiceSubLineItem"],
        "InvoiceSubLineItem needs InvoiceLineItem",
    ),
    ("objects", ["Customer", "Customer"], ""),
    ("objects", ["Customer", "Contract"], ""),
    ("objects", "Customer", ""),
    ("invoices.since", "2024-02-30", ""),
    ("invoices.since", "01.02.2024", ""),
    ("invoices.since", "2024-01-01T00:00:00Z", ""),
    ("invoices.statuses", [], ""),
    ("invoices.statuses", ["Draft", "Draft"], ""),
    ("invoices.statuses", ["DRAFT"], ""),
    ("usage.lookback", "10000d", "must be a duration of at least 1d: days, hours"),
    ("usage.lookback", "34 days", "must be a duration of at least 1d: days, hours"),
    ("usage.lookback", "1h", "must be a duration of at least 1d: days, hours"),
    ("usage.lookback", "23h59m59s", "must be a duration of at least 1d: days, hours"),
    ("usage.lookback", "00d10h", "must be a duration of at least 1d: days, hours"),
    ("usage.lookback", "0d", "must be a duration of at least 1d: days, hours"),
    ("usage.lookback", "d", "must be a duration of at least 1d: days, hours"),
    ("usage.skipZero", 1, ""),
    ("prune.maxDeletePercent", 101, ""),
    ("prune.maxDeletePercent", -1, ""),
    ("prune.maxDeletePercent", 9.5, ""),
    ("fullResyncEvery", "weekly", "duration"),
    ("historyLimit", 0, ""),
    ("historyLimit", 51, ""),
    ("execution.activeDeadline", "1w", "duration"),
    ("execution.activeDeadline", "", ""),
]

GOOD_LINKS: list[tuple[str, Any]] = [
    ("customer.id", "0B9A3C1E-7A55-4C0E-9D0A-3F6B1F1F0001"),
    ("customer", {"ingestAlias": "acme prod/eu"}),
    ("customer", {"ingestAlias": "x" * 128}),
    ("account.id", "0015g00000ABCde"),
    # By hand: 001Hs has an upper case letter in place 3 (8: I), 00001 none (0: A), XyZab in
    # places 0 and 2 (1 + 4: F).
    ("account.id", "001Hs00001XyZabIAF"),
    ("account.id", "001A0000006Vm9rIAC"),
    ("account.id", "001ABCDEFGHIJKLY55"),
    ("account", {"externalId": {"field": "ERP_Number__c", "value": "é 42"}}),
    ("deletionPolicy", "Retain"),
]

BAD_LINKS: list[tuple[str, Any, str]] = [
    ("syncRef", DELETE, ""),
    ("syncRef.name", "No Name", "lower case letters"),
    ("customer", {}, "exactly one of id and ingestAlias"),
    ("customer.ingestAlias", "both", "exactly one of id and ingestAlias"),
    ("customer.id", "0b9a", "UUID"),
    ("customer.id", "0b9a3c1e-7a55-4c0e-9d0a-3f6b1f1f000g", "UUID"),
    ("customer", {"ingestAlias": ""}, ""),
    ("customer", {"ingestAlias": "x" * 129}, ""),
    ("account", {}, "exactly one of id and externalId"),
    (
        "account.externalId",
        {"field": "A__c", "value": "1"},
        "exactly one of id and externalId",
    ),
    ("account.id", "003000000000001AAA", "begin with 001"),
    ("account.id", "00100000000000", "begin with 001"),
    ("account.id", "0010000000000011", "begin with 001"),
    ("account.id", "001-00000000001", "begin with 001"),
    ("account.id", "001000000000001AAB", "characters 16 to 18"),
    ("account.id", "001hs00001XyZabIAC", "characters 16 to 18"),
    ("account", {"externalId": {"field": "No Field", "value": "1"}}, "API name"),
    ("account", {"externalId": {"field": "A__c", "value": ""}}, ""),
    ("account", {"externalId": {"field": "A__c"}}, ""),
    ("deletionPolicy", "Delete", ""),
]


def changed(document: Json, field: str, value: Any) -> Json:
    """The document with one field of its spec set or deleted."""
    result = copy.deepcopy(document)
    part = result["spec"]
    *parents, last = field.split(".")
    for name in parents:
        part = part.setdefault(name, {})
    if value is DELETE:
        del part[last]
    else:
        part[last] = value
    return result


Judge = Callable[[Json], str]
"""Tells why a resource is refused; empty when it is taken."""


def by_model(document: Json) -> str:
    parse = parse_sync if document["kind"] == "MetronomeSync" else parse_link
    try:
        parse(document)
    except ConfigError as error:
        return f"{error.reason}: {error.message}"
    return ""


@pytest.fixture(name="sandbox", scope="module")
def _sandbox() -> KubernetesSandbox:
    return KubernetesSandbox(crds=sorted(CRDS.glob("*.yaml")))


@pytest.fixture(name="by_sandbox", scope="module")
def _by_sandbox(sandbox: KubernetesSandbox) -> Judge:
    numbers = iter(range(10_000))

    def judge(document: Json) -> str:
        plural = f"{document['kind'].lower()}s"
        named = copy.deepcopy(document)
        named["metadata"]["name"] += f"-{next(numbers)}"
        try:
            sandbox.create(plural, named)
        except ApiError as error:
            return str(error)
        return ""

    return judge


@pytest.fixture(name="kubeconfig", scope="module")
def _kubeconfig() -> Iterator[Path]:
    with ControlPlane() as plane:
        installed = _kubectl(plane.kubeconfig, "apply", "-f", str(CRDS))
        assert installed.returncode == 0, installed.stderr
        for kind in ("metronomesyncs", "customerlinks"):
            _kubectl(plane.kubeconfig, "wait", "--for=condition=Established", f"crd/{kind}.{GROUP}")
        yield plane.kubeconfig


def _kubectl(
    kubeconfig: Path, *words: str, document: object = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [kubectl_path(), f"--kubeconfig={kubeconfig}", *words],
        input=json.dumps(document),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(("field", "value"), GOOD_SYNCS)
def test_good_sync_is_taken(field: str, value: Any, by_sandbox: Judge) -> None:
    document = changed(SYNC, field, value)

    assert by_sandbox(document) == ""
    assert by_model(document) == ""


@pytest.mark.parametrize(("field", "value"), NULLS)
def test_null_is_as_if_not_given(field: str, value: Any) -> None:
    assert by_model(changed(SYNC, field, value)) == ""


@pytest.mark.parametrize(("field", "value", "part"), BAD_SYNCS)
def test_bad_sync_is_refused_by_field(field: str, value: Any, part: str, by_sandbox: Judge) -> None:
    document = changed(SYNC, field, value)

    for refusal in (by_sandbox(document), by_model(document)):
        assert f"spec.{field}" in refusal
        assert part in refusal


CRON_PIECES = ["*", "0", "5", "07", "12", "23", "59", "60", "JAN", "dec", "Mon", "SUN", "SAT",
               "/", "/2", "/0", "-", "-5", ",", ",3", " ", "L", "@daily"]  # fmt: skip


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.lists(st.sampled_from(CRON_PIECES), min_size=1, max_size=3).map("".join),
        min_size=4,
        max_size=6,
    ).map(" ".join)
)
def test_schedules_are_judged_alike(by_sandbox: Judge, schedule: str) -> None:
    """The CRD's rules and the model are written apart; no text may fall between them."""
    document = changed(SYNC, "schedule", schedule)

    refusal = by_model(document)
    if "no such day" not in refusal:  # a day that no month has is beyond the CRD
        assert bool(by_sandbox(document)) == bool(refusal)


@pytest.mark.parametrize(("field", "value"), GOOD_LINKS)
def test_good_link_is_taken(field: str, value: Any, by_sandbox: Judge) -> None:
    document = changed(LINK, field, value)

    assert by_sandbox(document) == ""
    assert by_model(document) == ""


@pytest.mark.parametrize(("field", "value", "part"), BAD_LINKS)
def test_bad_link_is_refused_by_field(field: str, value: Any, part: str, by_sandbox: Judge) -> None:
    document = changed(LINK, field, value)

    for refusal in (by_sandbox(document), by_model(document)):
        # A rule over two fields is reported at what holds both.
        assert f"spec.{field}" in refusal or f"spec.{field.rsplit('.', 1)[0]}:" in refusal
        assert part in refusal


@pytest.mark.cluster
@pytest.mark.timeout(300)
def test_real_api_server_takes_and_refuses_the_same(kubeconfig: Path) -> None:
    """One kubectl for each list: the server judges every item of a List by itself."""
    good = [changed(SYNC, f, v) for f, v in [*GOOD_SYNCS, *NULLS]]
    good += [changed(LINK, f, v) for f, v in GOOD_LINKS]
    bad = [(changed(SYNC, f, v), f, part) for f, v, part in BAD_SYNCS]
    bad += [(changed(LINK, f, v), f, part) for f, v, part in BAD_LINKS]
    for number, document in enumerate([*good, *(document for document, _, _ in bad)]):
        document["metadata"]["name"] = f"judged-{number:03d}-end"
    dry = ("create", "--dry-run=server", "--validate=false", "-f", "-")

    taken = _kubectl(kubeconfig, *dry, document=_list(good))
    refused = _kubectl(kubeconfig, *dry, document=_list([document for document, _, _ in bad]))

    assert taken.returncode == 0, taken.stderr
    assert taken.stdout.count("created (server dry run)") == len(good)
    assert refused.stdout == ""
    for document, field, part in bad:
        name = document["metadata"]["name"]
        # Each refusal begins with the resource's name and ends where the next begins.
        said = refused.stderr.split(f'"{name}" is invalid:')[1].split(" is invalid:")[0]
        assert f"spec.{field}" in said or f"spec.{field.rsplit('.', 1)[0]}:" in said, said
        assert part in said


def _list(items: list[Json]) -> Json:
    return {"apiVersion": "v1", "kind": "List", "items": items}


@pytest.mark.cluster
def test_real_api_server_keeps_a_link_s_customer_and_sync(kubeconfig: Path) -> None:
    document = copy.deepcopy(LINK)
    document["metadata"]["name"] = "immutable"
    assert _kubectl(kubeconfig, "create", "-f", "-", document=document).returncode == 0
    for patch, message in (
        ({"customer": {"id": "0b9a3c1e-7a55-4c0e-9d0a-3f6b1f1f0002"}}, "customer cannot be"),
        ({"syncRef": {"name": "other"}}, "syncRef cannot be"),
    ):
        patched = _kubectl(
            kubeconfig, "patch", "clink", "immutable", "--type=merge", "-p",
            json.dumps({"spec": patch}),
        )  # fmt: skip

        assert patched.returncode == 1
        assert message in patched.stderr


@pytest.mark.cluster
def test_real_api_server_takes_a_whole_status(kubeconfig: Path) -> None:
    """Nothing of it is pruned, and the columns show it."""
    document = copy.deepcopy(SYNC)
    document["metadata"]["name"] = "status"
    assert _kubectl(kubeconfig, "create", "-f", "-", document=document).returncode == 0

    patched = _kubectl(
        kubeconfig, "patch", "msync", "status", "--subresource=status", "--type=merge", "-p",
        json.dumps({"status": STATUS}), "-o", "json",
    )  # fmt: skip
    shown = _kubectl(kubeconfig, "get", "msync", "status", "-o", "wide", "--no-headers")

    assert patched.returncode == 0, patched.stderr
    assert json.loads(patched.stdout)["status"] == STATUS
    name, ready, outcome, _, duration, following, orphaned, *message, _ = shown.stdout.split()
    assert (name, ready, outcome, duration) == ("status", "True", "PartiallyFailed", "1m05s")
    assert (following, orphaned) == ("2026-02-03T06:00:00Z", "7")
    assert message == ["3", "rows", "rejected"]


ROWS = {"created": 1, "updated": 2, "unchanged": 3, "deleted": 4, "rejected": 5}
SHORT_RUN: Json = {
    "id": "r1",
    "trigger": "Schedule",
    "outcome": "PartiallyFailed",
    "reason": "RowsRejected",
    "full": False,
    "startedAt": "2026-02-02T06:00:00Z",
    "finishedAt": "2026-02-02T06:01:05Z",
    "duration": "1m05s",
    "rows": ROWS,
}
STATUS: Json = {
    "observedGeneration": 1,
    "conditions": [
        {
            "type": "Ready",
            "status": "True",
            "reason": "RowsRejected",
            "message": "3 rows rejected",
            "lastTransitionTime": "2026-02-02T06:01:05Z",
            "observedGeneration": 1,
        }
    ],
    "lastHandledRequest": "a",
    "lastHandledFullResync": "b",
    "nextRunTime": "2026-02-03T06:00:00Z",
    "lastSuccessTime": "2026-02-01T06:00:00Z",
    "lastFullResyncTime": "2026-02-01T06:00:00Z",
    "lastReachTime": "2026-02-02T06:00:00Z",
    "lastReachDigest": "0123456789abcdef",
    "rejectedSince": {"invoices": "2025-11-30", "usage": "2026-01-02"},
    "unsuccessfulRuns": 1,
    "failedAttempts": 0,
    "progress": {"stage": "Apply", "done": 1, "total": 2},
    "package": {
        "installedVersion": "0.1.0",
        "refused": {"digest": "0123", "generation": 1, "reason": "PackageRefused", "message": "m"},
    },
    "customers": {"total": 9, "linked": 2, "orphaned": 7, "archived": 1},
    "currentSpend": {"linked": {"USD": "12.50"}, "orphaned": {}},
    "lastRun": {
        **SHORT_RUN,
        "generation": 1,
        "message": "3 rows rejected",
        "retry": "no",
        "retryAfterSeconds": 1.5,
        "rows": {"Invoice": ROWS},
        "apiRequests": {"metronome": 1, "salesforce": 2},
        "rejected": [
            {
                "object": "Invoice",
                "key": "k",
                "operation": "upsert",
                "code": "C",
                "message": "m",
                "fields": ["Name"],
            }
        ],
        "notes": {"cut": {"Invoice.Name": 1}},
        "events": [{"reason": "CustomersGone", "message": "3 are gone."}],
    },
    "history": [SHORT_RUN],
}


# The rest looks at the files themselves.


def crd(name: str) -> Json:
    return yaml.safe_load((CRDS / f"{name}.yaml").read_text())  # type: ignore[no-any-return]


def schema_of(name: str) -> Json:
    version = crd(name)["spec"]["versions"][0]
    return version["schema"]["openAPIV3Schema"]["properties"]  # type: ignore[no-any-return]


def walk(schema: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    """Every property below a schema, with its path."""
    for name, inner in (schema.get("properties") or {}).items():
        yield f"{path}.{name}", inner
        yield from walk(inner, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from walk(schema[key], f"{path}[]")


@pytest.mark.parametrize("name", ["metronomesyncs", "customerlinks"])
def test_every_property_is_described(name: str) -> None:
    properties = schema_of(name)

    bare = [p for part in ("spec", "status") for p, s in walk(properties[part], part)
            if not s.get("description", "").endswith(".")]  # fmt: skip

    assert bare == []


@pytest.mark.parametrize("name", ["metronomesyncs", "customerlinks"])
def test_rules_name_their_field(name: str) -> None:
    """The message alone tells which field is meant, wherever it is shown."""
    for path, schema in walk(schema_of(name)["spec"]):
        for rule in schema.get("x-kubernetes-validations", ()):
            assert rule["message"].startswith(path.removeprefix("."))


@pytest.mark.parametrize("name", ["metronomesyncs", "customerlinks"])
def test_texts_and_lists_of_specs_are_bounded(name: str) -> None:
    """Without bounds the API server cannot estimate what a rule costs."""
    for path, schema in walk(schema_of(name)["spec"]):
        if schema["type"] == "string" and "enum" not in schema and "format" not in schema:
            assert "maxLength" in schema, path
        if schema["type"] == "array":
            assert "maxItems" in schema, path


def test_names_columns_and_category() -> None:
    sync, link = crd("metronomesyncs")["spec"], crd("customerlinks")["spec"]

    assert (sync["names"]["shortNames"], link["names"]["shortNames"]) == (["msync"], ["clink"])
    assert sync["names"]["categories"] == link["names"]["categories"] == ["metronome"]
    assert {sync["scope"], link["scope"]} == {"Namespaced"}
    assert [c["name"] for c in sync["versions"][0]["additionalPrinterColumns"]] == [
        "Ready", "Outcome", "Last sync", "Duration", "Next sync", "Orphaned", "Status", "Age",
    ]  # fmt: skip
    assert [c["name"] for c in link["versions"][0]["additionalPrinterColumns"]] == [
        "Ready", "Customer", "Account", "Linked at", "Age",
    ]  # fmt: skip


def test_nothing_is_declared_that_nothing_reads_yet() -> None:
    """Fields arrive with their behaviour."""
    spec = schema_of("metronomesyncs")["spec"]["properties"]

    assert set(spec["salesforce"]["properties"]).isdisjoint({"transport"})
    assert set(spec["usage"]["properties"]) == {"lookback", "skipZero"}
    assert set(spec["execution"]["properties"]) == {"activeDeadline"}


def test_objects_are_those_of_the_registry() -> None:
    objects = schema_of("metronomesyncs")["spec"]["properties"]["objects"]
    names = [mapping.name for mapping in OBJECTS]

    assert objects["items"]["enum"] == names
    assert objects["default"] == names
    assert objects["maxItems"] == len(names)
    parents = {
        m["message"].removeprefix("objects: ")
        for m in objects["x-kubernetes-validations"]
        if "needs" in m["message"]
    }
    assert parents == {f"{child} needs {parent}" for child, parent in NEEDS.items()}


def test_status_knows_the_words_of_the_report() -> None:
    status = schema_of("metronomesyncs")["status"]["properties"]
    run = status["lastRun"]["properties"]

    for part in (run, status["history"]["items"]["properties"]):
        assert part["outcome"]["enum"] == [outcome.value for outcome in Outcome]
        assert part["trigger"]["enum"] == [trigger.value for trigger in Trigger]
    assert run["retry"]["enum"] == [retry.value for retry in Retry]
    assert set(run["rejected"]["items"]["properties"]) == set(Rejected.__dataclass_fields__)
    assert {"id", "reason", "message", "full", "rows", "notes"} <= set(
        CycleReport.__dataclass_fields__
    ) & set(run)


MODELS: dict[str, type[BaseModel]] = {
    "metronomesyncs": MetronomeSyncSpec,
    "customerlinks": CustomerLinkSpec,
}


@pytest.mark.parametrize("name", MODELS)
def test_models_equal_the_crds(name: str) -> None:
    """Property names, required, types, defaults, enums and bounds, all the way down."""
    assert from_model(MODELS[name]) == from_schema(schema_of(name)["spec"])


def from_schema(schema: Json) -> Json:
    """What both sides must agree on, by property, from the CRD."""
    required = schema.get("required", [])
    return {
        name: _facts_of_schema(inner) | {"required": name in required}
        for name, inner in schema["properties"].items()
    }


def _facts_of_schema(schema: Json) -> Json:
    if schema["type"] == "object":
        return {"properties": from_schema(schema), "default": schema.get("default")}
    items = schema.get("items", {})
    is_duration = "days, hours" in str(schema.get("x-kubernetes-validations", ""))
    bounds = (
        schema.get("minLength", schema.get("minItems", schema.get("minimum"))),
        schema.get("maxLength", schema.get("maxItems", schema.get("maximum"))),
    )
    default = schema.get("default")
    return {
        "type": "duration" if is_duration else schema.get("format", schema["type"]),
        "enum": schema.get("enum") or items.get("enum"),
        "default": parse_duration(default) if is_duration and default else default,
        # Of durations the pattern bounds the length.
        "bounds": (None, None) if is_duration else bounds,
    }


def from_model(model: type[BaseModel]) -> Json:
    """The same from a model."""
    return {
        str(field.alias): _facts_of_field(field) | {"required": field.is_required()}
        for field in model.model_fields.values()
    }


_TYPES = {str: "string", bool: "boolean", int: "integer", date: "date", timedelta: "duration"}


def _facts_of_field(field: FieldInfo) -> Json:
    annotation, metadata = _unwrapped(field.annotation, list(field.metadata))
    default = None if field.is_required() else field.default
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if isinstance(default, BaseModel):
            # Equal to one made from nothing, which is what `default: {}` means.
            assert default == annotation()
            default = {}
        return {"properties": from_model(annotation), "default": default}
    enum = None
    kind = "string"
    if get_origin(annotation) is tuple:
        kind, annotation = "array", get_args(annotation)[0]
        default = list(default) if default else default
    if get_origin(annotation) is Literal:
        enum = list(get_args(annotation))
    elif kind != "array":
        kind = _TYPES[annotation]
    bounds = tuple(
        next((getattr(m, n) for m in metadata for n in names if hasattr(m, n)), None)
        for names in (("min_length", "ge"), ("max_length", "le"))
    )
    return {"type": kind, "enum": enum, "default": default, "bounds": bounds}


def _unwrapped(annotation: Any, metadata: list[Any]) -> tuple[Any, list[Any]]:
    """The type without Annotated and without None, and all that was said about it."""
    while True:
        arguments = get_args(annotation)
        if get_origin(annotation) is Annotated:
            annotation, metadata = arguments[0], [*arguments[1:], *metadata]
            for extra in list(metadata):
                metadata += extra.metadata if isinstance(extra, FieldInfo) else []
        elif type(None) in arguments:
            (annotation,) = (a for a in arguments if a is not type(None))
        else:
            return annotation, metadata
