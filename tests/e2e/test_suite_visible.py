"""What people and monitoring see: kubectl's columns and descriptions, refusals, metrics, probes.

The sentences of refusals are the same on both Kubernetes APIs, and name the field.
"""

import json
import re
import subprocess
import time

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.suite import (
    CRDS,
    GROUP,
    VERSION,
    Company,
    Json,
    Space,
    eventually,
    merged,
    secret_manifest,
    sync_manifest,
)
from tests.kubectl import kubectl_path

SYNC: Json = {
    "metronome": {"apiKeySecretRef": {"name": "metronome"}},
    "salesforce": {
        "instanceUrl": "https://acme.my.salesforce.com",
        "credentialsSecretRef": {"name": "salesforce"},
    },
}
LINK: Json = {
    "syncRef": {"name": "acme"},
    "customer": {"id": "0b9a4c7e-1111-4222-8333-444455556666"},
    "account": {"id": "001000000000001AAA"},
}
CRON = (
    "schedule must be five cron fields: minute (0-59), hour (0-23), day of month (1-31), month"
    " (1-12 or JAN-DEC) and day of week (0-7 or SUN-SAT), each a *, a value, a range, a step or a"
    " list of these, such as 0 6 * * MON-FRI"
)
DURATION = (
    "must be a duration above zero of days, hours, minutes and seconds in that order, such as 34d,"
    " 6h or 1h30m"
)
LOOKBACK = (
    "must be a duration of at least 1d: days, hours, minutes and seconds in that order, such as"
    " 34d or 36h"
)
ACCOUNT = (
    "account.id must be the id of an Account in 15 or 18 letters and digits that begin with 001"
)
# What is laid over the good spec, and what kubectl then says.
BAD_SYNCS: list[tuple[Json, str]] = [
    (
        {"windowSize": "Week"},
        'spec.windowSize: Unsupported value: "Week": supported values: "Day", "Hour", "None"',
    ),
    ({"schedule": "every day"}, f'spec.schedule: Invalid value: "every day": {CRON}'),
    ({"schedule": "61 6 * * *"}, f'spec.schedule: Invalid value: "61 6 * * *": {CRON}'),
    (
        {"schedule": "0 6 * * FRI-MON"},
        (
            'spec.schedule: Invalid value: "0 6 * * FRI-MON": schedule has a range that ends before'
            " it begins; a week starts with SUN, so write FRI-SAT,SUN instead of FRI-SUN"
        ),
    ),
    (
        {"timeZone": "Mars Colony"},
        (
            'spec.timeZone: Invalid value: "Mars Colony": timeZone must be the IANA name of a time'
            " zone, such as Europe/Berlin or Etc/UTC"
        ),
    ),
    (
        {"metronome": {"apiKeySecretRef": None}},
        "spec.metronome.apiKeySecretRef: Required value",
    ),
    (
        {"metronome": {"baseUrl": "api.metronome.com"}},
        (
            'spec.metronome.baseUrl: Invalid value: "api.metronome.com": metronome.baseUrl must be'
            " https:// and a host name, without user, path or query, such as https://api.metronome.com"
        ),
    ),
    (
        {"objects": ["Plan"]},
        "spec.objects: Invalid value: objects must contain Customer",
    ),
    (
        {"usage": {"lookback": "34 days"}},
        f'spec.usage.lookback: Invalid value: "34 days": usage.lookback {LOOKBACK}',
    ),
    (
        {"usage": {"lookback": "6h"}},
        f'spec.usage.lookback: Invalid value: "6h": usage.lookback {LOOKBACK}',
    ),
    (
        {"fullResyncEvery": "weekly"},
        f'spec.fullResyncEvery: Invalid value: "weekly": fullResyncEvery {DURATION}',
    ),
    (
        {"prune": {"maxDeletePercent": 101}},
        (
            "spec.prune.maxDeletePercent: Invalid value: 101: spec.prune.maxDeletePercent in body"
            " should be less than or equal to 100"
        ),
    ),
    (
        {"suspend": "no"},
        (
            'spec.suspend: Invalid value: "string": spec.suspend in body must be of type boolean:'
            ' "string"'
        ),
    ),
]
BAD_LINKS: list[tuple[Json, str]] = [
    (
        {"customer": {"ingestAlias": "acme"}},
        "spec.customer: Invalid value: customer must have exactly one of id and ingestAlias",
    ),
    (
        {"customer": {"id": None}},
        "spec.customer: Invalid value: customer must have exactly one of id and ingestAlias",
    ),
    (
        {"account": {"externalId": {"field": "ERP_Number__c", "value": "1"}}},
        "spec.account: Invalid value: account must have exactly one of id and externalId",
    ),
    (
        {"account": {"id": None}},
        "spec.account: Invalid value: account must have exactly one of id and externalId",
    ),
    (
        {"customer": {"id": "not-a-uuid"}},
        (
            'spec.customer.id: Invalid value: "not-a-uuid": customer.id must be the customer\'s id'
            " in Metronome, a UUID such as 0b9a3c1e-7a55-4c0e-9d0a-3f6b1f1f0001"
        ),
    ),
    ({"account": {"id": "001x"}}, f'spec.account.id: Invalid value: "001x": {ACCOUNT}'),
    (
        {"account": {"id": "003000000000001AAA"}},
        f'spec.account.id: Invalid value: "003000000000001AAA": {ACCOUNT}',
    ),
    (
        {"account": {"id": "001000000000001AAB"}},
        (
            'spec.account.id: Invalid value: "001000000000001AAB": account.id has a last part'
            " (characters 16 to 18) that does not fit the others: copy the id again, with upper and"
            " lower case as they are"
        ),
    ),
]
LABELS: dict[str, set[str]] = {
    "created_timestamp_seconds": set(),
    "suspended": set(),
    "dry_run": set(),
    "success_due_timestamp_seconds": set(),
    "waiting": set(),
    "package": {"state"},
    "last_run_outcome": {"outcome"},
    "last_run_timestamp_seconds": set(),
    "last_run_duration_seconds": set(),
    "unsuccessful_runs": set(),
    "rejected_rows": {"object"},
    "current_spend": {"state", "currency"},
    "api_budget_ratio": set(),
    "link_runs": {"outcome"},
    "noticed_edits": set(),
    "unexpected_errors": set(),
    "last_success_timestamp_seconds": set(),
    "next_run_timestamp_seconds": set(),
    "running": set(),
    "ready": set(),
    "stalled": set(),
    "runs": {"outcome", "trigger"},
    "run_duration_seconds": {"le"},
    "rows": {"object", "operation", "outcome"},
    "api_requests": {"system", "family", "status"},
    "customers": {"state"},
    "links": {"state"},
    "link_conflicts": set(),
    "api_quota_used": set(),
    "api_quota_max": set(),
    "api_quota_remaining": set(),
}
"""The metrics of a MetronomeSync that has run, with their labels beside namespace and name."""


def custom(kind: str, name: str, spec: Json) -> Json:
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [("MetronomeSync", SYNC, BAD_SYNCS), ("CustomerLink", LINK, BAD_LINKS)],
)
def test_the_schema_refuses_and_names_the_field(
    space: Space, kind: str, good: Json, bad: list[tuple[Json, str]]
) -> None:
    items = [
        custom(kind, f"bad-{index}", merged(good, over)) for index, (over, _) in enumerate(bad)
    ]
    given = {"apiVersion": "v1", "kind": "List", "items": items}
    refused = space.cluster.try_kubectl(
        "-n", space.namespace, "create", "--validate=false", "-f", "-", given=given
    )
    assert refused.returncode == 1
    said = re.findall(
        rf'{kind}\.{GROUP} "bad-(\d+)" is invalid: \[?(.*)$', refused.stderr, re.MULTILINE
    )
    assert [int(index) for index, _ in said] == list(range(len(bad)))
    for (_, expected), (_, sentence) in zip(bad, said, strict=True):
        # Where a type is wrong, the API server adds that it has not looked at everything.
        assert sentence.removesuffix("]").partition(", <nil>: ")[0] == expected
    assert space.kubectl("get", kind, "-o", "name") == ""


def test_a_link_cannot_be_moved_to_another_customer(space: Space) -> None:
    space.apply(custom("CustomerLink", "link", LINK))
    change = {"customer": {"id": None, "ingestAlias": "acme"}, "syncRef": {"name": "other"}}
    refused = space.cluster.try_kubectl(
        *("-n", space.namespace, "patch", "clink", "link", "--type=merge"),
        *("-p", json.dumps({"spec": change})),
    )
    for field in ("customer", "syncRef"):
        assert f"{field} cannot be changed; delete this CustomerLink and create another" in (
            refused.stderr
        )


def test_every_day_kubectl(space: Space, acme: Company) -> None:
    """Get, watch, describe, apply, annotate, patch and delete, as the README tells."""
    acme.slow_down(0.2)
    with subprocess.Popen(
        [kubectl_path(), "-n", space.namespace, "get", "msync", "-w", "-o", "wide"],
        stdout=subprocess.PIPE,
        text=True,
        env=space.cluster.environment,
    ) as watching:
        try:
            space.start(acme)
            space.wait_for_run()
            assert watching.stdout is not None
            head = watching.stdout.readline()
            lines = [watching.stdout.readline()]
            while "Salesforce equals Metronome." not in lines[-1]:
                lines.append(watching.stdout.readline())
        finally:
            watching.terminate()
    columns = "NAME READY OUTCOME LAST SYNC DURATION NEXT SYNC ORPHANED STATUS AGE"
    assert head.split() == columns.split()
    assert lines[0].split()[0] == "acme"
    assert any("The first cycle runs." in line for line in lines)

    status = space.status()
    run = status["lastRun"]
    row = re.split(r"\s{2,}", space.kubectl("get", "msync").splitlines()[1].strip())
    assert row[:3] == ["acme", "True", "Succeeded"]
    assert re.fullmatch(r"\d+s", row[3])
    assert row[4:7] == [
        run["duration"], status["nextRunTime"], str(status["customers"]["orphaned"]),
    ]  # fmt: skip
    assert space.kubectl("get", "metronome", "-o", "name").split() == [
        f"metronomesync.{GROUP}/acme"
    ]
    described = space.kubectl("describe", "msync", "acme")
    assert re.search(r"Message: +Salesforce equals Metronome\.", described)
    assert re.search(
        r"Normal +Succeeded +\S+ .*metronome-salesforce.* Salesforce equals Metronome\.", described
    )
    space.kubectl("wait", "msync/acme", "--for=condition=Ready", "--timeout=5s")

    changed = sync_manifest("acme", acme.spec(historyLimit=2))
    assert space.kubectl("apply", "--validate=false", "-f", "-", given=changed).endswith(
        "configured\n"
    )
    space.wait(lambda status: status["lastRun"]["trigger"] == "SpecChanged")
    space.patch({"suspend": True})
    space.kubectl("wait", "msync/acme", "--for=jsonpath={.spec.suspend}=true", "--timeout=5s")
    assert len(space.status()["history"]) == 2
    assert space.kubectl("delete", "msync", "acme", "--timeout=10s").startswith(
        f'metronomesync.{GROUP} "acme" deleted'
    )
    assert space.kubectl("get", "msync", "-o", "name") == ""


def test_the_last_sync_is_not_the_last_failure(space: Space, acme: Company) -> None:
    """A column that a failing cycle keeps young would hide that nothing has arrived for days."""
    space.start(acme, dryRun=True, objects=["Customer"])
    space.wait_for_run(outcome="Planned")
    last_sync = ("get", "msync", "acme", "-o", f"jsonpath={{{column('Last sync')}}}")
    assert space.kubectl(*last_sync) == ""

    space.patch({"dryRun": False})
    synced = space.wait_for_run(2)["lastSuccessTime"]
    space.apply(secret_manifest("acme-metronome", {"apiKey": "not a key"}))
    status = space.request("again")
    assert status["lastRun"]["outcome"] == "Failed"
    assert space.kubectl(*last_sync) == synced


def column(name: str) -> str:
    """Where a column of kubectl is read from."""
    document = yaml.safe_load((CRDS / "metronomesyncs.yaml").read_text("utf-8"))
    columns = document["spec"]["versions"][0]["additionalPrinterColumns"]
    return next(str(one["jsonPath"]) for one in columns if one["name"] == name)


def samples(space: Space) -> list[tuple[str, dict[str, str], float]]:
    """Metric, labels and value of all samples about this namespace."""
    found = []
    for family in text_string_to_metric_families(space.operator.probe("/metrics")[1]):
        for sample in family.samples:
            if sample.labels.get("namespace") == space.namespace:
                name = family.name.removeprefix("metronome_salesforce_")
                found.append((name, sample.labels, sample.value))
    return found


def test_metrics_tell_of_the_run_without_ids(space: Space, acme: Company) -> None:
    space.start(acme)
    status = space.wait_for_run()
    run = status["lastRun"]
    metronome = sum(acme.metronome.requests.values())
    # The status is written while the Lease is still held; the run is over when it is given back.
    eventually(lambda: any((name, is_on) == ("running", 0) for name, _, is_on in samples(space)))
    seen = samples(space)

    labels: dict[str, set[str]] = {}
    for name, given, _ in seen:
        labels.setdefault(name, set()).update(given.keys() - {"namespace", "name"})
    assert labels == LABELS

    def value(name: str, **wanted: str) -> float:
        return sum(
            value for what, given, value in seen if what == name and wanted.items() <= given.items()
        )

    assert value("runs") == value("runs", outcome="Succeeded", trigger="Created") == 1
    assert (value("ready"), value("stalled"), value("running")) == (1, 0, 0)
    created = {"operation": "create", "outcome": "succeeded"}
    assert value("rows", object="Usage", **created) == acme.org.count("Metronome_Usage__c")
    assert value("rows", object="Invoice", **created) == acme.org.count("Metronome_Invoice__c")
    assert value("api_requests", system="metronome", status="200") == metronome
    assert value("api_requests", system="salesforce") == run["apiRequests"]["salesforce"]
    assert value("customers", state="orphaned") == status["customers"]["orphaned"]
    assert time.time() - 60 < value("last_success_timestamp_seconds") <= time.time()
    assert value("next_run_timestamp_seconds") > time.time()
    assert value("api_quota_remaining") == value("api_quota_max") - value("api_quota_used")
    ids = [one["id"] for one in acme.tenant.customers()]
    names = [one["name"] for one in acme.tenant.customers()]
    text = space.operator.probe("/metrics")[1]
    assert [one for one in [*ids, *names, run["id"]] if one in text] == []


def test_two_syncs_keep_their_metrics_apart(space: Space, acme: Company) -> None:
    """And runs are counted on. A dry run of few objects is enough to be counted."""
    few: Json = {"dryRun": True, "objects": ["Customer"]}
    space.start(acme, **few)
    space.apply(sync_manifest("other", acme.spec(**few)))
    space.wait_for_run(outcome="Planned")
    space.wait_for_run(name="other", outcome="Planned")
    space.request("again")

    def runs() -> dict[tuple[str, str], float]:
        return {
            (labels["name"], labels["trigger"]): value
            for name, labels, value in samples(space)
            if name == "runs" and value
        }

    expected = {("acme", "Created"): 1.0, ("acme", "Requested"): 1.0, ("other", "Created"): 1.0}
    eventually(lambda: runs() == expected, 5, told=runs)
