"""`metronome-salesforce sync` and `plan` as a script runs them: a process, files, streams, codes.

Each test has its own tenant and org, over http and https; what was written is what the org holds.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.suite import (
    KEYS,
    SETTINGS,
    Company,
    Content,
    Json,
    company,
    content,
    eventually,
    made_up,
    references,
    rows_written,
    run_cli,
    secret_manifest,
    secret_value,
    start_cli,
    sync_manifest,
    undisturbed,
)

SUCCEEDED, FAILED, USAGE, PARTIALLY_FAILED, INTERRUPTED, NOBODY_READS = 0, 1, 2, 3, 130, 141
OBJECTS = {
    "Customer": "Metronome_Orphan_Customer__c",
    "Plan": "Metronome_Plan__c",
    "CustomerPlan": "Metronome_Customer_Plan__c",
    "Invoice": "Metronome_Invoice__c",
    "InvoiceLineItem": "Metronome_Invoice_Line_Item__c",
    "InvoiceSubLineItem": "Metronome_Invoice_Sub_Line_Item__c",
    "InvoiceAdjustment": "Metronome_Invoice_Adjustment__c",
    "CreditGrant": "Metronome_Credit_Grant__c",
    "Usage": "Metronome_Usage__c",
    "Account": "Account",
}


def manifests(one: Company, **spec: Any) -> list[Json]:
    """The documents of a company's MetronomeSync."""
    return [sync_manifest("acme", one.spec(**spec)), *references(one)]


def written_to(path: Path, *documents: Json) -> Path:
    """A file with these documents."""
    path.write_text(yaml.safe_dump_all(documents), encoding="utf-8")
    return path


@pytest.fixture(name="one")
def _one() -> Iterator[Company]:
    """A company whose org has the package."""
    with company() as one:
        yield one


@pytest.fixture(name="file")
def _file(one: Company, tmp_path: Path) -> Path:
    """Its manifests in a file."""
    return written_to(tmp_path / "acme.yaml", *manifests(one))


def no_secret_in(result: subprocess.CompletedProcess[str]) -> bool:
    return not any(value in result.stdout + result.stderr for value in made_up)


# -- sync ------------------------------------------------------------------------------------------


def counted(text: str) -> dict[str, list[int]]:
    """The numbers of a printed report by object."""
    found = re.findall(r"^(\w+)((?: +\d+){5})$", text, re.MULTILINE)
    return {name: [int(number) for number in numbers.split()] for name, numbers in found}


def test_plan_dry_run_and_sync_agree_and_only_sync_writes(one: Company, file: Path) -> None:
    planned = run_cli("plan", "-f", str(file), "--output", "json")
    tried = run_cli("sync", "-f", str(file), "--dry-run")
    assert (planned.returncode, tried.returncode) == (SUCCEEDED, SUCCEEDED)
    assert tried.stdout.startswith("Planned: Dry run: this is what would change")
    assert not rows_written(one.org)
    one.metronome.reset_counters()
    done = run_cli("sync", "-f", str(file))

    assert done.returncode == SUCCEEDED, done.stderr
    asked = sum(one.metronome.requests.values())
    assert content(one.org) == undisturbed(one)
    assert done.stdout.startswith("Succeeded: Salesforce equals Metronome.\n")
    rows = {name: [one.org.count(sobject), 0, 0, 0, 0] for name, sobject in OBJECTS.items()}
    rows["Account"] = [0, 1, 0, 0, 0]
    assert counted(done.stdout) == rows
    assert counted(tried.stdout) == counted(done.stdout)
    assert f"API requests: metronome {asked}, salesforce " in done.stdout
    document = json.loads(planned.stdout)
    assert document.keys() == {"report"}
    assert document["report"]["outcome"] == "Planned"
    told = {name: list(counts.values()) for name, counts in document["report"]["rows"].items()}
    assert told == rows
    assert all(no_secret_in(result) for result in (planned, tried, done))


def test_a_full_resync_reports_as_json_for_scripts(one: Company, file: Path) -> None:
    """It heals a row that was deleted by hand, and writes no other one."""
    run_cli("sync", "-f", str(file))
    before = content(one.org)
    row = one.org.rows("Metronome_Credit_Grant__c")[0]
    one.org.delete("Metronome_Credit_Grant__c", row["Id"])
    one.org.statistics.reset()
    one.metronome.reset_counters()
    result = run_cli("sync", "-f", str(file), "--full", "--output", "json")

    assert content(one.org) == before
    assert rows_written(one.org) == {("Metronome_Credit_Grant__c", "insert"): 1}
    report = json.loads(result.stdout)
    assert report.keys() == {
        "id", "trigger", "started_at", "outcome", "reason", "message", "retry", "retry_after",
        "finished_at", "duration", "full", "rows", "api_requests", "api_calls", "rejected",
        "rejected_codes", "rejected_operations", "rejected_since", "customers", "spend", "notes",
        "events", "quota", "links", "write_back", "package",
    }  # fmt: skip
    ended = [report[key] for key in ("outcome", "reason", "trigger", "full", "rejected")]
    assert ended == ["Succeeded", "Succeeded", "FullResync", True, []]
    for name, sobject in OBJECTS.items():
        created = int(name == "CreditGrant")
        assert report["rows"][name] == {
            "created": created, "updated": 0, "unchanged": one.org.count(sobject) - created,
            "deleted": 0, "rejected": 0,
        }  # fmt: skip
    asked = sum(one.metronome.requests.values())
    assert report["api_requests"]["metronome"] == asked
    assert sum(call[3] for call in report["api_calls"] if call[0] == "metronome") == asked
    started, finished = (
        datetime.fromisoformat(report[name]) for name in ("started_at", "finished_at")
    )
    assert timedelta(0) <= finished - started < timedelta(minutes=1)


def test_rejected_rows_give_code_3_and_are_named(one: Company, file: Path) -> None:
    """All other rows are written."""
    one.org.add_validation_rule(
        "Metronome_Plan__c", "No_Plans", lambda _row: True, "Plans are not wanted here."
    )
    result = run_cli("sync", "-f", str(file))

    assert result.returncode == PARTIALLY_FAILED
    assert result.stdout.startswith("PartiallyFailed (RowsRejected): Salesforce refused ")
    assert "FIELD_CUSTOM_VALIDATION_EXCEPTION" in result.stdout
    assert one.org.count("Metronome_Plan__c") == 0
    assert one.org.count("Metronome_Invoice__c") > 0
    one.org.remove_validation_rule("Metronome_Plan__c", "No_Plans")
    assert run_cli("sync", "-f", str(file)).returncode == SUCCEEDED
    assert content(one.org) == undisturbed(one)


def test_a_wrong_key_gives_code_1_and_a_sentence(one: Company, tmp_path: Path) -> None:
    sync, metronome, *others = manifests(one)
    metronome = secret_manifest("acme-metronome", {"apiKey": secret_value("wrong")})
    result = run_cli("sync", "-f", str(written_to(tmp_path / "a.yaml", sync, metronome, *others)))

    assert result.returncode == FAILED
    assert result.stdout.startswith(
        "Failed (MetronomePermissionDenied): GET /v1/customers was refused (403): the key is wrong"
    )
    assert no_secret_in(result)


def test_a_refused_plan_gives_code_1(one: Company, tmp_path: Path) -> None:
    result = run_cli("sync", "-f", str(refused(one, tmp_path)))

    assert result.returncode == FAILED
    assert result.stdout.startswith("Refused (TooManyDeletes): The plan deletes ")
    assert "spec.prune.maxDeletePercent" in result.stdout
    assert not rows_written(one.org)


def test_a_missing_secret_is_named(one: Company, tmp_path: Path) -> None:
    sync, _, *others = manifests(one)
    result = run_cli("sync", "-f", str(written_to(tmp_path / "acme.yaml", sync, *others)))

    assert result.returncode == FAILED
    assert result.stdout.splitlines()[0] == (
        "Failed (SecretNotFound): Secret acme-metronome with Metronome's API key does not exist in"
        " namespace default; create it."
    )
    assert one.metronome.requests == {}


def test_hosts_are_limited_as_in_the_cluster(one: Company, file: Path) -> None:
    result = run_cli("sync", "-f", str(file), environment={})

    assert result.returncode == FAILED
    assert result.stdout.startswith(
        "Failed (HostNotAllowed): The operator may not call the host 127.0.0.1."
    )
    assert one.metronome.requests == {}


# -- files -----------------------------------------------------------------------------------------


def test_a_folder_and_standard_input_are_read(one: Company, tmp_path: Path) -> None:
    """The Secrets from a folder, as a checkout has them, and the sync from a pipe."""
    sync, *others = manifests(one)
    for number, document in enumerate(others):
        written_to(tmp_path / f"{number}.yaml", document)
    result = run_cli("sync", "-f", str(tmp_path), "-f", "-", given=yaml.safe_dump(sync))

    assert result.returncode == SUCCEEDED, result.stdout
    assert content(one.org) == undisturbed(one)


def test_documents_of_other_kinds_are_told_in_one_line(one: Company, tmp_path: Path) -> None:
    """A folder as a checkout has it, with the operator's own manifests beside."""
    others = [
        {"apiVersion": version, "kind": kind, "metadata": {"name": "operator"}}
        for version, kind in (
            ("v1", "Namespace"), ("v1", "ServiceAccount"), ("apps/v1", "Deployment"),
        )
    ]  # fmt: skip
    file = written_to(tmp_path / "all.yaml", *others, *manifests(one, objects=["Customer"]))
    result = run_cli("plan", "-f", str(file))

    assert result.returncode == SUCCEEDED
    assert result.stderr.splitlines() == [
        f"{file}:1: Namespace (v1) is of no use here; ignored, as are 2 other documents"
    ]


def test_of_several_syncs_one_must_be_named(one: Company, tmp_path: Path) -> None:
    sync, *others = manifests(one)
    other = sync_manifest("globex", {**sync["spec"], "objects": ["Customer"]})
    file = str(written_to(tmp_path / "both.yaml", sync, other, *others))
    result = run_cli("sync", "-f", file)
    assert result.returncode == USAGE
    assert result.stderr.strip() == (
        "the files hold several MetronomeSyncs (acme, globex): name one with --sync"
    )
    result = run_cli("sync", "-f", file, "--sync", "initech")
    assert (result.returncode, result.stderr.strip()) == (
        USAGE, "there is no MetronomeSync named initech in the files; they hold acme, globex",
    )  # fmt: skip
    assert one.metronome.requests == {}

    assert run_cli("sync", "-f", file, "--sync", "globex").returncode == SUCCEEDED
    assert one.org.count("Metronome_Orphan_Customer__c") > 0
    assert one.org.count("Metronome_Plan__c") == 0


BAD = """\
apiVersion: metronome-salesforce.dev/v1alpha1
kind: MetronomeSync
metadata:
  name: acme
spec:
  windowSize: Week
  schedule: every day
  metronome:
    apiKeySecretRef: {name: metronome}
    apiKey: s3cr3t-in-the-wrong-place
  salesforce:
    instanceUrl: https://acme.lightning.force.com
    credentialsSecretRef: {name: salesforce}
---
apiVersion: metronome-salesforce.dev/v1alpha1
kind: CustomerLink
metadata:
  name: acme
spec:
  syncRef: {name: acme}
  customer: {id: 0b9a4c7e-1111-4222-8333-444455556666, ingestAlias: acme}
  account: {}
"""


def test_an_invalid_manifest_is_told_by_file_line_and_field(tmp_path: Path) -> None:
    """All that is wrong at once, and no value is repeated: any may be a secret."""
    file = tmp_path / "bad.yaml"
    file.write_text(BAD, encoding="utf-8")
    result = run_cli("plan", "-f", str(file))

    assert result.returncode == USAGE
    assert result.stdout == ""
    told = re.findall(rf"^{re.escape(str(file))}:(\d+): ([\w.]+): \S", result.stderr, re.MULTILINE)
    assert sorted(told, key=lambda place: int(place[0])) == [
        ("6", "spec.windowSize"),
        ("7", "spec.schedule"),
        ("10", "spec.metronome.apiKey"),
        ("12", "spec.salesforce.instanceUrl"),
        ("21", "spec.customer"),
        ("22", "spec.account"),
    ]
    assert len(result.stderr.splitlines()) == len(told)
    assert "s3cr3t" not in result.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind: [", "bad.yaml:1: is not YAML"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n", "there is no MetronomeSync"),
        (None, "bad.yaml: cannot be read: No such file or directory"),
    ],
)
def test_files_without_a_sync_are_wrong_usage(tmp_path: Path, text: str | None, told: str) -> None:
    file = tmp_path / "bad.yaml"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    result = run_cli("sync", "-f", str(file))

    assert result.returncode == USAGE
    assert told in result.stderr
    assert "Traceback" not in result.stderr


# -- plan ------------------------------------------------------------------------------------------


def applied(before: Content, after: Content) -> dict[tuple[str, str], str]:
    """What became of each row, by object and key."""
    changes = {}
    for name, sobject in OBJECTS.items():
        old, new = before[sobject], after[sobject]
        changes.update({(name, key): "create" for key in new.keys() - old.keys()})
        changes.update({(name, key): "delete" for key in old.keys() - new.keys()})
        changes.update(
            {(name, key): "update" for key in new.keys() & old.keys() if new[key] != old[key]}
        )
    return changes


def same(told: Any, held: Any, account: Json) -> bool:
    """Whether a value of the plan is the one that the org holds."""
    if held == f"Account {account['Name']}":
        return bool(told == account["Id"])
    if isinstance(held, float):
        return told is not None and Decimal(told) == Decimal(str(held))
    if isinstance(held, str) and held.startswith("Metronome_"):
        return bool(told == held.partition(" ")[2])  # a lookup, told by its external id
    if isinstance(held, str) and re.match(r"\d{4}-\d\d-\d\dT", held):
        return datetime.fromisoformat(told) == datetime.fromisoformat(held)
    return bool(told == held)


def computed(one: Company, sobject: str) -> set[str]:
    """Fields that the org works out, and the fingerprint that goes with any change."""
    fields = one.org.state.schema.objects[sobject.lower()].fields.values()
    return {field.name for field in fields if field.formula} | {"Sync_Hash__c"}


def test_a_plan_s_details_are_what_the_sync_then_writes(one: Company, file: Path) -> None:
    """Row by row and field by field, old and new, after a day in Metronome and a hand's edit."""
    run_cli("sync", "-f", str(file))
    one.tenant.advance(timedelta(days=1))
    plan_row = one.org.rows("Metronome_Plan__c")[0]
    one.org.update("Metronome_Plan__c", plan_row["Id"], {"Name": "Edited by hand"})
    since = ("--last-success", datetime.now(UTC).isoformat())
    before = content(one.org)
    one.org.statistics.reset()
    as_text = run_cli("plan", "-f", str(file), "--details", *since)
    as_json = run_cli("plan", "-f", str(file), "--details", "--output", "json", *since)
    assert (as_text.returncode, as_json.returncode) == (SUCCEEDED, SUCCEEDED)
    assert not rows_written(one.org)
    assert run_cli("sync", "-f", str(file), *since).returncode == SUCCEEDED
    after = content(one.org)

    changes = json.loads(as_json.stdout)["changes"]
    told = {(row["object"], row["key"]): row["operation"] for row in changes}
    assert len(told) == len(changes)
    (account,) = one.org.rows("Account")  # told by its id, as it has no external one
    before["Account"] = {account["Id"]: before["Account"][account["Name"]]}
    after["Account"] = {account["Id"]: after["Account"][account["Name"]]}
    assert told == applied(before, after)
    assert {"create", "update"} <= set(told.values())
    assert told["Account", account["Id"]] == "update"
    for row in changes:
        sobject = OBJECTS[row["object"]]
        old, new = before[sobject].get(row["key"], {}), after[sobject].get(row["key"], {})
        for field, values in row["fields"].items():
            assert same(values["old"], old.get(field), account), (row, field, old.get(field))
            assert same(values["new"], new.get(field), account), (row, field, new.get(field))
        if row["operation"] == "update":
            different = {name for name in new if new[name] != old[name]}
            assert different - computed(one, sobject) == row["fields"].keys() - {"Sync_Hash__c"}

    key = plan_row[KEYS["Metronome_Plan__c"]]
    lines = as_text.stdout.splitlines()
    at = lines.index(f"~ Plan {key}")
    assert lines[at + 1] == f'    Name: "Edited by hand" → "{plan_row["Name"]}"'
    marks = {"create": "+", "update": "~", "delete": "-"}
    assert sorted(line for line in lines if line[:2] in {"+ ", "~ ", "- "}) == sorted(
        f"{marks[what]} {name} {key}" for (name, key), what in told.items()
    )


def refused(one: Company, tmp_path: Path) -> Path:
    """Manifests of a sync whose next plan is refused: all drafts are gone, and no row may go."""
    assert run_cli("sync", "-f", str(written_to(tmp_path / "a.yaml", *manifests(one)))).stdout
    one.org.statistics.reset()
    for customer in one.tenant.customers():
        for invoice in one.tenant.invoices(customer["id"]):
            if invoice["status"] == "DRAFT":
                one.tenant.delete_draft_invoice(invoice["id"])
    careful = manifests(one, prune={"maxDeletePercent": 0})
    return written_to(tmp_path / "careful.yaml", *careful)


def test_a_refused_plan_shows_what_would_go(one: Company, tmp_path: Path) -> None:
    """That is what the refusal sends people to look at."""
    file = refused(one, tmp_path)
    drafts = {
        row["Metronome_Invoice_ID__c"]
        for row in one.org.rows("Metronome_Invoice__c")
        if row["Status__c"] == "Draft"
    }
    as_text = run_cli("plan", "-f", str(file), "--details")
    as_json = run_cli("plan", "-f", str(file), "--details", "--output", "json")

    assert (as_text.returncode, as_json.returncode) == (FAILED, FAILED)
    gone = set(re.findall(r"^- Invoice (\S+)$", as_text.stdout, re.MULTILINE))
    assert drafts == gone
    assert "\nRefused (TooManyDeletes): The plan deletes " in as_text.stdout
    document = json.loads(as_json.stdout)
    assert drafts == {
        row["key"]
        for row in document["changes"]
        if (row["object"], row["operation"]) == ("Invoice", "delete")
    }
    assert document["report"]["reason"] == "TooManyDeletes"
    assert not rows_written(one.org)


# -- output that cannot be written -----------------------------------------------------------------


def test_a_reader_that_has_seen_enough_ends_a_plan_quietly(one: Company, file: Path) -> None:
    """As `| head` and the q of `| less` do."""
    with start_cli("plan", "-f", str(file), "--details") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("+ Customer ")
        process.stdout.close()
        said = process.stderr.read()
        process.wait(20)

    assert [line for line in said.splitlines() if not line.startswith("{")] == []
    assert process.returncode == NOBODY_READS
    assert not rows_written(one.org)


@pytest.mark.parametrize("arguments", [("plan", "--details"), ("sync", "--dry-run"), ("--help",)])
def test_a_full_disk_is_told(arguments: tuple[str, ...], file: Path) -> None:
    """Also by what is buffered until the end, as it is unless somebody asks for other."""
    command, *others = arguments
    given = () if command == "--help" else ("-f", str(file))
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "metronome_salesforce", command, *given, *others],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, **SETTINGS, "PYTHONUNBUFFERED": ""},
        )
    said = [line for line in result.stderr.splitlines() if not line.startswith("{")]
    assert said == ["cannot write the output: No space left on device"]
    assert result.returncode == FAILED


# -- ctrl-C ----------------------------------------------------------------------------------------


def test_ctrl_c_while_reading_ends_at_once_and_writes_nothing(one: Company, file: Path) -> None:
    one.slow_down(0.5)
    with start_cli("sync", "-f", str(file)) as process:
        eventually(lambda: "invoices" in str(one.metronome.requests))
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)

    assert process.returncode == INTERRUPTED
    assert said.splitlines()[-1] == (
        "stopped; what was written so far stands, and the next run goes on from here"
    )
    assert "Traceback" not in said
    assert not rows_written(one.org)


def test_ctrl_c_ends_the_waits_between_attempts(one: Company, file: Path) -> None:
    """Metronome does not answer; the pauses between the attempts are longer than anybody waits."""
    one.metronome.faults.add("GET /v1/customers", status=429, headers={"Retry-After": "60"})
    with start_cli("sync", "-f", str(file)) as process:
        eventually(lambda: one.metronome.requests)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        out, said = process.communicate(timeout=20)

    assert time.monotonic() - began < 2
    assert (process.returncode, out) == (INTERRUPTED, "")
    assert said.splitlines()[-1] == (
        "stopped; what was written so far stands, and the next run goes on from here"
    )
    assert "Traceback" not in said


def test_a_second_ctrl_c_ends_the_process(one: Company, file: Path) -> None:
    """Although Salesforce is in no hurry to answer the call that is under way."""
    one.salesforce.faults.add("GET /services/data/*", delay=6)
    with start_cli("sync", "-f", str(file)) as process:
        eventually(one.session_tokens)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        while "ctrl-C again" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        assert process.wait(3) == -signal.SIGINT


def test_ctrl_c_while_writing_ends_between_two_calls(one: Company, file: Path) -> None:
    """The call under way is finished, and the next run goes on."""
    one.salesforce.faults.add("* */composite/sobjects*", delay=0.3)
    with start_cli("sync", "-f", str(file)) as process:
        eventually(lambda: rows_written(one.org))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode == INTERRUPTED
    assert one.org.count("Metronome_Orphan_Customer__c") > 0
    assert one.org.count("Metronome_Usage__c") == 0
    [record] = one.org.rows("Metronome_Sync_Run__c")
    assert record["Outcome__c"] == "Failed"
    assert record["Summary__c"].startswith("The run was stopped before its end")
    one.salesforce.faults.clear()
    assert run_cli("sync", "-f", str(file)).returncode == SUCCEEDED
    assert content(one.org) == undisturbed(one)
