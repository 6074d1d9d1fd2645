"""`sync -f` and `plan -f` with CustomerLinks among the files: followed, told, and their exit code.

Each test has its own tenant and org; where rows hang is what the org holds.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.suite import GROUP, VERSION, Company, Json, company, references, run_cli
from tests.e2e.suite import sync_manifest as sync_document

SUCCEEDED, PARTIALLY_FAILED = 0, 3
CUSTOMER, ACCOUNT = "Metronome_Orphan_Customer__c", "Account"
PLACED = (
    "Metronome_Customer_Plan__c",
    "Metronome_Invoice__c",
    "Metronome_Credit_Grant__c",
    "Metronome_Usage__c",
)


@pytest.fixture(name="one")
def _one() -> Iterator[Company]:
    """A company of which the first customer hangs on an Account by its id in Metronome."""
    with company() as one:
        yield one


@pytest.fixture(name="base")
def _base(one: Company, tmp_path: Path) -> str:
    """A file with the MetronomeSync and what it refers to."""
    return written(tmp_path / "acme.yaml", sync_document("acme", one.spec()), *references(one))


def written(path: Path, *documents: Json) -> str:
    path.write_text(yaml.safe_dump_all(documents), encoding="utf-8")
    return str(path)


def link(name: str, customer: Json, account: Json, **more: Any) -> Json:
    """A CustomerLink as a person writes it."""
    metadata = {"name": name, **more.pop("metadata", {})}
    spec = {"syncRef": {"name": "acme"}, "customer": customer, "account": account, **more}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "CustomerLink",
        "metadata": metadata,
        "spec": spec,
    }


def customer_of(one: Company, number: int) -> Json:
    """One of the tenant's customers, as Metronome tells it."""
    found: Json = one.tenant.customers()[number]
    return found


def places(one: Company, customer: str) -> set[str | None]:
    """The Accounts that a customer's rows hang on; there must be rows, each in one place."""
    rows = [
        row
        for sobject in PLACED
        for row in one.org.rows(sobject)
        if row["Metronome_Customer_ID__c"] == customer
    ]
    assert rows
    assert all((row["Account__c"] is None) != (row["Orphaned_Customer__c"] is None) for row in rows)
    return {row["Account__c"] for row in rows}


def test_links_among_the_files_are_followed(one: Company, base: str, tmp_path: Path) -> None:
    """A plan tells the same and writes nothing."""
    customer = customer_of(one, 1)
    account = one.org.insert(ACCOUNT, {"Name": "Acme Europe"})
    links = written(
        tmp_path / "link.yaml",
        link("europe", {"ingestAlias": customer["ingest_aliases"][0]}, {"id": account[:15]}),
    )
    planned = run_cli("plan", "-f", base, "-f", links)
    assert planned.returncode == SUCCEEDED, planned.stdout
    assert "customers: 3, of which 2 linked and 1 orphaned" in planned.stdout
    assert "All rows of the customer will hang on the Account." in planned.stdout
    for command in (("plan",), ("sync", "--dry-run")):
        result = json.loads(run_cli(*command, "-f", base, "-f", links, "--output", "json").stdout)
        verdict = result.get("report", result)["links"]["europe"]
        assert verdict["message"] == "All rows of the customer will hang on the Account."
    assert one.org.count(CUSTOMER) == 0

    done = run_cli("sync", "-f", base, "-f", links)
    assert (done.returncode, done.stderr) == (SUCCEEDED, "")
    assert places(one, customer["id"]) == {account}
    (told,) = (line for line in done.stdout.splitlines() if line.startswith("europe"))
    assert told.split()[1] == "Linked"
    assert f"{customer['name']} ({customer['id']})" in told
    assert account in told
    assert told.endswith("All rows of the customer hang on the Account.")

    again = run_cli("sync", "-f", base, "-f", links, "--output", "json")
    verdict = json.loads(again.stdout)["links"]["europe"]
    assert (verdict["reason"], verdict["customer_id"], verdict["account_id"]) == (
        "Linked", customer["id"], account,
    )  # fmt: skip
    assert verdict["message"] == "All rows of the customer hang on the Account."


def test_a_plan_says_into_which_account_one_was_merged(
    one: Company, base: str, tmp_path: Path
) -> None:
    """As a run says it afterwards, of what will be."""
    customer = customer_of(one, 1)
    master, loser = (one.org.insert(ACCOUNT, {"Name": name}) for name in ("Acme Europe", "ACME"))
    one.org.merge_accounts(master, loser)
    links = written(tmp_path / "link.yaml", link("europe", {"id": customer["id"]}, {"id": loser}))
    sentence = f"on Account {master}, into which {loser} was merged; set spec.account.id to it."
    planned = run_cli("plan", "-f", base, "-f", links)
    assert f"All rows of the customer will hang {sentence}" in planned.stdout
    done = run_cli("sync", "-f", base, "-f", links)
    assert f"All rows of the customer hang {sentence}" in done.stdout


def test_files_without_links_leave_what_links_decided(
    one: Company, base: str, tmp_path: Path
) -> None:
    """Files with links say who is linked: who has none goes back to the orphans."""
    second, third = (customer_of(one, number)["id"] for number in (1, 2))
    account = one.org.insert(ACCOUNT, {"Name": "Acme Europe"})
    run_cli("sync", "-f", base, "-f", written(
        tmp_path / "a.yaml", link("second", {"id": second}, {"id": account}),
    ))  # fmt: skip
    assert places(one, second) == {account}

    alone = run_cli("sync", "-f", base)
    assert (alone.returncode, places(one, second)) == (SUCCEEDED, {account})
    assert "CustomerLink" not in alone.stdout

    other = written(tmp_path / "b.yaml", link("third", {"id": third}, {"id": account}))
    assert run_cli("sync", "-f", base, "-f", other).returncode == SUCCEEDED
    assert (places(one, second), places(one, third)) == ({None}, {account})


def test_a_link_that_cannot_be_followed_gives_code_3(
    one: Company, base: str, tmp_path: Path
) -> None:
    """Each with its reason; all else is synced, and who is linked wrongly stays where they are."""
    second, third = (customer_of(one, number)["id"] for number in (1, 2))
    account = one.org.insert(ACCOUNT, {"Name": "Acme Europe"})
    gone = one.org.insert(ACCOUNT, {"Name": "Gone"})
    one.org.delete(ACCOUNT, gone)
    links = written(
        tmp_path / "links.yaml",
        link("deleted", {"id": second}, {"id": gone}),
        link("nobody", {"ingestAlias": "nobody"}, {"id": account}),
        link("first", {"id": third}, {"id": account}),
        link("second", {"id": third}, {"id": account}),
        link("no-field", {"id": second}, {"externalId": {"field": "No__c", "value": "1"}}),
    )
    for command in (("plan",), ("sync",)):
        result = run_cli(*command, "-f", base, "-f", links)
        assert result.returncode == PARTIALLY_FAILED, result.stdout
        told = [line.split()[:2] for line in result.stdout.splitlines()]
        assert [line for line in told if line and line[0] in links_named(links)] == [
            ["deleted", "AccountNotFound"],
            ["first", "Linked"],
            ["no-field", "ExternalIdFieldInvalid"],
            ["nobody", "CustomerNotFound"],
            ["second", "Conflict"],
        ]
    assert result.stdout.startswith("Succeeded")
    assert places(one, second) == {None}
    assert places(one, third) == {account}


def links_named(file: str) -> set[str]:
    documents = yaml.safe_load_all(Path(file).read_text("utf-8"))
    return {document["metadata"]["name"] for document in documents}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"syncRef": {"name": "globex"}}, "no MetronomeSync globex in namespace default"),
        ({"metadata": {"namespace": "other"}}, "no MetronomeSync acme in namespace other"),
    ],
)
def test_a_link_to_a_sync_that_is_not_there_is_left_aside(
    one: Company, base: str, tmp_path: Path, changes: Json, told: str
) -> None:
    """Names count within one namespace, as in a cluster; who was linked before stays so."""
    second, third = (customer_of(one, number)["id"] for number in (1, 2))
    account = one.org.insert(ACCOUNT, {"Name": "Acme Europe"})
    before = written(tmp_path / "a.yaml", link("second", {"id": second}, {"id": account}))
    assert run_cli("sync", "-f", base, "-f", before).returncode == SUCCEEDED
    links = written(
        tmp_path / "link.yaml", link("aside", {"id": third}, {"id": account}, **changes)
    )
    result = run_cli("sync", "-f", base, "-f", links)

    assert result.returncode == SUCCEEDED
    assert result.stderr.strip() == f"CustomerLink aside is left aside: the files hold {told}"
    assert (places(one, second), places(one, third)) == ({account}, {None})


def test_links_of_another_sync_among_the_files_unlink_nobody(
    one: Company, base: str, tmp_path: Path
) -> None:
    """A sync that no link names keeps what links decided; one that a link names follows the files.

    Both MetronomeSyncs are run one after the other, each on the company's only org.
    """
    second, third = (customer_of(one, number)["id"] for number in (1, 2))
    account = one.org.insert(ACCOUNT, {"Name": "Acme Europe"})
    before = written(tmp_path / "a.yaml", link("second", {"id": second}, {"id": account}))
    assert run_cli("sync", "-f", base, "-f", before).returncode == SUCCEEDED
    globex = written(tmp_path / "globex.yaml", sync_document("globex", one.spec()))
    files = ["-f", base, "-f", globex, "-f", written(
        tmp_path / "b.yaml",
        link("third", {"id": third}, {"id": account}, syncRef={"name": "globex"}),
    )]  # fmt: skip

    acme = run_cli("sync", "--sync", "acme", *files)
    assert (acme.returncode, acme.stderr) == (SUCCEEDED, "")
    assert "CustomerLink" not in acme.stdout
    assert (places(one, second), places(one, third)) == ({account}, {None})

    assert run_cli("sync", "--sync", "globex", *files).returncode == SUCCEEDED
    assert (places(one, second), places(one, third)) == ({None}, {account})
