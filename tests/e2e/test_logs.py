"""What an operator logs on bad days: by run, without a secret, without a customer above debug.

Its log is kept at debug level. Rows are refused with texts that quote customers, both vendors fail,
links contradict each other, and a cycle is killed.
"""

import json
import os
import re
import signal
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from metronome_salesforce.sandbox.kubernetes import KubernetesSandbox
from tests.e2e.suite import (
    SETTINGS,
    SYNC_RUN,
    Cluster,
    Company,
    Json,
    Operator,
    Space,
    company,
    made_up,
    references,
    run_cli,
    secret_manifest,
    secret_value,
    sync_manifest,
)
from tests.e2e.suite_links import link_manifest, wait_link
from tests.e2e.test_cli_sync import written_to

INVOICE, ORPHAN = "Metronome_Invoice__c", "Metronome_Orphan_Customer__c"
ACCOUNT_NAMES = ("Kestrel Freight Holding", "Osprey Rail Holding")


@dataclass(frozen=True, slots=True)
class BadDays:
    """What was logged, and what was not to be."""

    log: str
    lines: list[Json]
    content: set[str]
    run_ids: list[str]
    tokens: list[str]


def content_of(one: Company) -> set[str]:
    """Customers' names and aliases, Accounts' names, and amounts that stand for themselves."""
    customers = one.tenant.customers()
    names = {customer["name"] for customer in customers}
    aliases = {alias for customer in customers for alias in customer["ingest_aliases"]}
    totals = {
        text
        for row in one.org.rows(INVOICE)
        for value in (row["Total__c"], row["Subtotal__c"])
        if value and len(text := str(Decimal(str(value)).normalize())) > 5
    }
    found = names | {alias for alias in aliases if len(alias) > 8} | totals | set(ACCOUNT_NAMES)
    assert len(totals) > 1
    assert len(names) == len(customers)
    return found


@pytest.fixture(name="days", scope="module")
def _days(tmp_path_factory: pytest.TempPathFactory) -> BadDays:
    folder = tmp_path_factory.mktemp("logs")
    sandbox = KubernetesSandbox()
    with company() as acme, sandbox.serve() as served:
        kubeconfig = sandbox.write_kubeconfig(folder / "kubeconfig", served.url)
        cluster = Cluster("embedded", kubeconfig, folder, sandbox.requests)
        cluster.install_crds()
        with Operator(cluster, folder / "log", quick=True) as operator:
            with Space.new(cluster, operator) as space:
                _live_through(space, acme)
                run_ids = [row["Run_ID__c"] for row in acme.org.rows(SYNC_RUN)]
                content, tokens = content_of(acme), acme.session_tokens()
            assert operator.stop() == 0
        cluster.close()
        log = operator.log_text()
    return BadDays(log, [json.loads(line) for line in log.splitlines()], content, run_ids, tokens)


def _live_through(space: Space, acme: Company) -> None:
    first, second, third = acme.tenant.customers()
    one, other = (acme.org.insert("Account", {"Name": name}) for name in ACCOUNT_NAMES)

    # Some rows are refused, with the vendor's text that quotes them; some meet a lock.
    name = first["name"]
    acme.salesforce.faults.row(
        INVOICE, every=3, status_code="FIELD_CUSTOM_VALIDATION_EXCEPTION",
        message=f"{name} may not have {first['ingest_aliases'][0]}",
    )  # fmt: skip
    acme.salesforce.faults.row("Metronome_Usage__c", every=50, times=3)
    acme.metronome.faults.add("GET /v1/customers/*/invoices", status=500, times=2)
    acme.metronome.faults.add("GET /v1/plans", status=429, times=1)
    space.start(acme)
    space.wait_for_run(outcome="PartiallyFailed")

    # Links: one that is followed, one that contradicts it, one to an Account that is not there.
    space.apply(link_manifest("followed", first["id"], one))
    wait_link(space, "followed")
    space.apply(
        link_manifest("late", first["id"], other),
        link_manifest("nowhere", second["id"], "001Hs00000ZZZZZ"),
        link_manifest("by-alias", {"ingestAlias": third["ingest_aliases"][0]}, other),
    )
    wait_link(space, "by-alias")

    # Both vendors answer with pages that quote; then the key is wrong.
    acme.salesforce.faults.clear()
    acme.salesforce.faults.add(
        "GET /services/data/*/query*", status=400, error_code="MALFORMED_QUERY",
        message=f"unexpected token: {name}",
    )  # fmt: skip
    space.request("quoted")
    acme.salesforce.faults.clear()
    acme.metronome.faults.add("GET /v1/customers", status=400, body={"message": name})
    space.request("refused")
    acme.metronome.faults.clear()
    space.apply(secret_manifest("acme-metronome", {"apiKey": secret_value("wrong-key")}))
    space.request("wrong-key")
    space.apply(secret_manifest("acme-metronome", {"apiKey": acme.api_key}))

    # A cycle is killed, and one goes well.
    acme.metronome.faults.clear()
    acme.slow_down(3.0)
    space.annotate("metronome-salesforce.dev/requested-at", "killed")
    os.kill(space.operator.only_child(), signal.SIGKILL)
    space.wait(lambda status: status.get("lastHandledRequest") == "killed")
    acme.metronome.faults.clear()
    space.request("well")
    space.wait(lambda status: status["lastRun"]["outcome"] == "Succeeded")


def test_every_line_is_json_and_those_of_a_run_say_which(days: BadDays) -> None:
    """The same id is in the record in Salesforce, and in the lines of the cycle's own process."""
    for line in days.lines:
        assert {"time", "level", "logger", "message"} <= line.keys()
    ended = [line for line in days.lines if line["message"].startswith("cycle ended: ")]
    outcomes = [re.split(r"[: ]+", line["message"])[2] for line in ended]
    assert outcomes[0] == "PartiallyFailed"
    assert outcomes.count("Failed") >= 4
    assert outcomes[-1] == "Succeeded"
    runs = {line["run"] for line in ended}
    assert {line["sync"].partition("/")[2] for line in ended} == {"acme"}
    # Cycles that did not get so far have no record.
    assert days.run_ids
    assert set(days.run_ids) <= runs
    child = [line for line in days.lines if line["logger"].startswith(OF_CHILD)]
    assert child
    assert {line["run"] for line in child} <= runs


OF_CHILD = ("metronome_salesforce.metronome.", "metronome_salesforce.cycle")


def test_lines_about_links_say_the_outcome_once(days: BadDays) -> None:
    told = {line["message"] for line in days.lines}
    told = {one for one in told if one.startswith("links looked at")}

    assert "links looked at: Succeeded" in told
    assert not [one for one in told if one != one.rstrip() or "Succeeded (Succeeded)" in one]


def test_no_line_has_a_secret(days: BadDays) -> None:
    """At any level; nor a token that the org has handed out."""
    assert days.tokens
    assert [value for value in [*made_up, *days.tokens] if value in days.log] == []


def test_no_line_above_debug_has_a_customer(days: BadDays) -> None:
    """Names and amounts; ids of customers and keys of rows may be there, for who has to look."""
    told = [line for line in days.lines if line["level"] != "DEBUG"]

    assert len(told) > 10
    found = {
        (value, json.dumps(line))
        for line in told
        for value in days.content
        if value in json.dumps(line, ensure_ascii=False)
    }
    assert found == set()


def test_sync_from_files_logs_by_run_too(tmp_path: Path) -> None:
    """And by logger: what is asked for is there, and nothing else."""
    with company() as one:
        one.metronome.faults.add("GET /v1/plans", status=500, times=1)
        one.salesforce.faults.add("GET /services/data/*/limits", status=503, times=1)
        documents = [*references(one), sync_manifest("acme", one.spec())]
        file = written_to(tmp_path / "acme.yaml", *documents)
        options = ("--log-level", "error", "--log-level", "metronome_salesforce.salesforce=info")
        result = run_cli(
            *options, "sync", "-f", str(file), "--output", "json", environment=SETTINGS
        )

    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stderr.splitlines()]
    assert {line["logger"] for line in lines} == {"metronome_salesforce.salesforce.failures"}
    run = json.loads(result.stdout)["id"]
    assert {(line["sync"], line["run"]) for line in lines} == {("default/acme", run)}


def test_a_level_that_is_none_is_wrong_usage() -> None:
    result = run_cli("--log-level", "here=loud", "plan", "-f", "x")

    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.strip() == (
        "--log-level here=loud: a level is one of debug, info, warning, error"
    )
