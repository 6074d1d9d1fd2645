"""`metronome-salesforce links`: the table, suggestions, manifests, and what goes wrong.

The org's records are put there by hand: what is tested is how they are shown.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from metronome_salesforce.manifests import load
from metronome_salesforce.sandbox.kubernetes import KubernetesSandbox
from metronome_salesforce.sandbox.salesforce import INTEGRATION
from tests.e2e.suite import (
    GROUP,
    VERSION,
    Cluster,
    Company,
    Json,
    company,
    references,
    run_cli,
    secret_manifest,
    secret_value,
    sync_manifest,
)

SUCCEEDED, FAILED, USAGE = 0, 1, 2
CUSTOMER, ACCOUNT = "Metronome_Orphan_Customer__c", "Account"


class Org:
    """A company whose org has the customers that a test puts there, and its manifests."""

    def __init__(self, one: Company, folder: Path) -> None:
        self.one = one
        self.folder = folder
        self.file = self.written("acme.yaml", sync_manifest("acme", one.spec()), *references(one))
        self._count = 0

    def written(self, name: str, *documents: Json) -> str:
        """A file with these documents."""
        path = self.folder / name
        path.write_text(yaml.safe_dump_all(documents), encoding="utf-8")
        return str(path)

    def account(self, name: str) -> str:
        """Create an Account."""
        return self.one.org.insert(ACCOUNT, {"Name": name})

    def customer(self, name: str, account: str | None = None, **fields: Any) -> str:
        """Create a customer's record as a cycle writes it; the id in Metronome."""
        self._count += 1
        id_ = f"{self._count:08x}-7a55-4c0e-9d0a-3f6b1f1f0001"
        source = "Metronome" if account else None
        self.one.org.insert(CUSTOMER, {
            "Metronome_Customer_ID__c": id_, "Name": name[:80], "Full_Name__c": name,
            "Account__c": account, "Linked_Account_ID__c": account, "Link_Source__c": source,
            **fields,
        }, username=INTEGRATION)  # fmt: skip
        return id_

    def run(self, *arguments: str, code: int = SUCCEEDED) -> str:
        """What `links` printed with the manifests; its exit code must be this one."""
        result = run_cli("links", "-f", self.file, *arguments)
        assert (result.returncode, result.stderr) == (code, ""), result.stdout
        return result.stdout

    def customers(self, *arguments: str) -> dict[str, Json]:
        """What it says of each customer, by name."""
        told = json.loads(self.run("--output", "json", *arguments))
        return {one["name"]: one for one in told["customers"]}


@pytest.fixture(name="org")
def _org(tmp_path: Path) -> Iterator[Org]:
    with company(customers=1) as one:
        yield Org(one, tmp_path)


def link(name: str, customer: Json, account: str, **metadata: str) -> Json:
    """A CustomerLink of the company's MetronomeSync."""
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "CustomerLink",
        "metadata": {"name": name, **metadata},
        "spec": {"syncRef": {"name": "acme"}, "customer": customer, "account": {"id": account}},
    }


def cells(text: str) -> dict[str, list[str]]:
    """The cells of the printed table by customer, lines of one cell joined."""
    lines = text.partition("\n\n")[0].splitlines()
    widths = [len(dashes) for dashes in lines[1].split("  ")]
    rows: list[list[str]] = []
    for line in lines[2:]:
        row, start = [], 0
        for width in widths:
            row.append(line[start : start + width].strip())
            start += width + 2
        if row[0]:
            rows.append(row)
        else:
            rows[-1] = [" / ".join(filter(None, pair)) for pair in zip(rows[-1], row, strict=True)]
    return {row[0]: row[1:] for row in rows}


# -- the table -------------------------------------------------------------------------------------


def test_the_table_shows_where_each_hangs_and_who_decided(org: Org) -> None:
    """As text and as JSON; control characters in names do not reach the terminal."""
    acme, clerk = org.account("Acme"), org.account("Chosen\x1b[31m")
    ids = {
        "Metronomed": org.customer("Metronomed", acme, Current_Spend__c=12345.6, Currency__c="USD"),
        "Linked": org.customer("Linked", acme, Link_Source__c="CustomerLink"),
        "Elsewhere": org.customer("Elsewhere", acme, Link_Source__c="CustomerLink"),
        "Chosen": org.customer("Chosen", clerk, Link_Source__c="Salesforce"),
        "Changed": org.customer("Changed", acme, Linked_Account_ID__c=clerk),
        "Orphan": org.customer("Orphan", Current_Spend__c=0, Currency__c="Credits"),
        "Waiting": org.customer("Waiting", Ingest_Aliases__c="other\nwaiting-1"),
        "Gone": org.customer("Gone", Archived__c=True),
    }
    org.file = org.written(
        "all.yaml",
        *yaml.safe_load_all(Path(org.file).read_text("utf-8")),
        link("the-link", {"id": ids["Linked"]}, acme),
        link("to-come", {"ingestAlias": "waiting-1"}, acme),
        link("nobody", {"id": "ffffffff-7a55-4c0e-9d0a-3f6b1f1f0001"}, acme),
        link("other-namespace", {"id": ids["Orphan"]}, acme, namespace="other"),
    )
    text = run_cli("links", "-f", org.file).stdout
    told = {name: row[1:4] for name, row in cells(text).items()}
    at_acme, waits = f"Acme ({acme})", "a person in Salesforce (not applied yet)"
    assert told == {
        "Changed": [at_acme, waits, ""],
        "Chosen": [f"Chosen [31m ({clerk})", "Salesforce", ""],
        "Elsewhere": [at_acme, "CustomerLink", ""],
        "Gone (archived)": ["orphaned", "", ""],
        "Linked": [at_acme, "CustomerLink the-link", ""],
        "Metronomed": [at_acme, "Metronome", "12,345.60 USD"],
        "Orphan": ["orphaned", "", "0.00 Credits"],
        "Waiting": ["orphaned", "CustomerLink to-come (not applied)", ""],
    }
    assert {row[0] for row in cells(text).values()} == set(ids.values())
    assert "\ncustomers: 8, of which 5 linked and 3 orphaned; suggestions for 0\n" in text
    assert "\nCustomerLinks for customers that are not in Salesforce: nobody\n" in text
    assert "\x1b" not in text

    result = run_cli("links", "-f", org.file, "--orphans", "--output", "json")
    document = json.loads(result.stdout)
    assert document["sync"] == {"namespace": "default", "name": "acme"}
    assert [one["name"] for one in document["customers"]] == ["Gone", "Orphan", "Waiting"]
    assert document["notSynced"] == ["nobody"]
    assert document["customers"][1] == {
        "id": ids["Orphan"], "name": "Orphan", "account": None, "decidedBy": None,
        "customerLink": None, "pending": False, "archived": False, "currentSpend": "0.00",
        "unit": "Credits", "suggestions": [], "allCompared": True,
    }  # fmt: skip
    assert result.stderr.startswith("CustomerLink other-namespace is left aside: ")
    assert org.one.org.statistics.total_rows == len(ids) + 2  # those that are put there here


def test_an_org_without_customers(org: Org) -> None:
    assert org.run("--write", str(org.folder / "new")).splitlines()[0] == (
        "customers: 0, of which 0 linked and 0 orphaned; suggestions for 0"
    )
    assert org.one.metronome.requests == {}


# -- suggestions -----------------------------------------------------------------------------------


def test_suggestions_for_orphans(org: Org) -> None:
    """By name, as people spell it; archived, linked and waiting customers get none."""
    accounts = {
        name: org.account(name)
        for name in (
            "Exact Match", "LEGAL FORM INCORPORATED", "Muller und Sohne", "Neer Miss", "Twice Ltd",
            "Twice Limited", "Other Form Inc", "The Article", "Parent", "Archived", "Linked",
        )
    }  # fmt: skip
    for name in (
        "Exact Match", "Legal Form, Inc.", "Müller und Söhne GmbH", "Near Miss", "Twice",
        "Other Form GmbH", "Article", "Parent Subsidiary Europe", "Nobody At All",
        "O'Neil \\ 100%_",
    ):  # fmt: skip
        org.customer(name)
    org.customer("Archived", Archived__c=True)
    org.customer("Linked", accounts["Parent"])
    told = {
        name: [(one["account_name"], one["score"]) for one in customer["suggestions"]]
        for name, customer in org.customers("--min-score", "80").items()
    }
    near = told.pop("Near Miss")
    assert [name for name, _ in near] == ["Neer Miss"]
    assert 80 <= near[0][1] < 100
    assert told == {
        "Archived": [],
        "Article": [("The Article", 100)],
        "Exact Match": [("Exact Match", 100)],
        "Legal Form, Inc.": [("LEGAL FORM INCORPORATED", 100)],
        "Linked": [],
        "Müller und Söhne GmbH": [("Muller und Sohne", 99)],
        "Nobody At All": [],
        "O'Neil \\ 100%_": [],
        "Other Form GmbH": [("Other Form Inc", 85)],
        "Parent Subsidiary Europe": [],
        "Twice": [("Twice Limited", 99), ("Twice Ltd", 99)],
    }
    text = cells(org.run())
    assert text["Exact Match"][-1] == f"100 Exact Match ({accounts['Exact Match']})"
    assert text["Other Form GmbH"][-1] == ""
    assert text["Twice"][-1] == " / ".join(
        f"99 {name} ({accounts[name]})" for name in ("Twice Limited", "Twice Ltd")
    )


def test_a_large_org_is_searched_and_not_read(org: Org) -> None:
    """Many orphans share a query; where names begin alike too often, that is told."""
    orgs = org.one.org
    for number in range(12_000):
        orgs.insert(ACCOUNT, {"Name": f"Popular {number:05}"})
    org.account("Popular")
    org.account("Rare Robotics")
    org.customer("Popular")
    for number in range(60):
        org.customer(f"Orphan {chr(97 + number % 26) * 5} {number}")
    org.customer("Rare Robotics")
    text = run_cli("links", "-f", org.file, "--write", str(org.folder / "new")).stdout

    shown = cells(text)
    assert shown["Rare Robotics"][-1].startswith("100 Rare Robotics (")
    first, second = shown["Popular"][-1].split(" / ")
    assert first.startswith("100 Popular (")
    assert second.startswith("(there are too many Accounts")
    assert [path.name.partition("-0")[0] for path in (org.folder / "new").iterdir()] == [
        "rare-robotics"
    ]
    calls = int(text.split("API requests: salesforce ")[1].split()[0])
    assert calls < 30


# -- manifests -------------------------------------------------------------------------------------


def test_manifests_are_written_for_what_is_beyond_doubt(org: Org, cluster: Cluster) -> None:
    """The API server takes them, they link what was suggested, and nothing was applied."""
    accounts = {name: org.account(name) for name in ("Sure AG", "Doubt", "Doubt Ltd", "Same")}
    sure = org.customer("Sûre AG")
    org.customer("Doubt")
    same = [org.customer("Same"), org.customer("Same")]
    folder = org.folder / "new" / "links"
    text = org.run("--write", str(folder))

    files = sorted(path.name for path in folder.iterdir())
    assert files == sorted([
        f"sure-{sure[:8]}.yaml", *(f"same-{id_[:8]}.yaml" for id_ in same),
    ])  # fmt: skip
    assert [line for line in text.splitlines() if line.startswith("written: ")] == [
        f"written: {folder / name}" for name in files
    ]
    bundle = load([str(folder)])
    assert {
        link.spec.customer.id: (link.spec.account.id, link.spec.sync_ref.name)
        for link in bundle.links
    } == {
        sure: (accounts["Sure AG"], "acme"),
        **dict.fromkeys(same, (accounts["Same"], "acme")),
    }
    cluster.kubectl("apply", "--validate=false", "--dry-run=server", "-f", str(folder))
    assert all(row["Account__c"] is None for row in org.one.org.rows(CUSTOMER))

    again = org.run("-f", str(folder), "--write", str(folder))
    assert "no manifest is written" in again  # they are linked by the very manifests
    assert sorted(path.name for path in folder.iterdir()) == files


def test_names_cannot_break_out_of_a_comment(org: Org) -> None:
    org.account("Break\x85spec: {}\u2028--- #")
    org.customer("Break\nspec: {}\n--- #")
    folder = org.folder / "new"
    org.run("--write", str(folder))

    (file,) = folder.iterdir()
    (written,) = load([str(file)]).links
    assert written.spec.customer.id is not None


def test_files_of_others_are_left_alone(org: Org) -> None:
    """Ours are written again as long as nobody edited them."""
    org.account("Kept")
    account = org.account("Ours")
    kept, ours = org.customer("Kept"), org.customer("Ours")
    folder = org.folder / "new"
    first = json.loads(org.run("--output", "json", "--write", str(folder)))
    paths = {Path(one["path"]).name.split("-")[0]: Path(one["path"]) for one in first["manifests"]}
    assert {one["state"] for one in first["manifests"]} == {"written"}
    assert (paths["kept"].stem, paths["ours"].stem) == (f"kept-{kept[:8]}", f"ours-{ours[:8]}")
    edited = paths["kept"].read_text("utf-8").replace("spec:", "spec: # checked", 1)
    paths["kept"].write_text(edited, "utf-8")
    before = paths["ours"].read_text("utf-8")

    second = org.run("--write", str(folder))
    assert f"unchanged: {paths['ours']}\n" in second
    assert f"left alone: {paths['kept']}\n" in second
    org.one.org.delete(ACCOUNT, account)
    other = org.account("Ours")
    third = org.run("--write", str(folder))
    assert f"written: {paths['ours']}\n" in third
    assert paths["ours"].read_text("utf-8") == before.replace(account, other).replace(
        before.splitlines()[-1], paths["ours"].read_text("utf-8").splitlines()[-1]
    )
    assert paths["kept"].read_text("utf-8") == edited


# -- from a cluster --------------------------------------------------------------------------------


def test_the_sync_and_its_links_are_read_from_a_cluster(org: Org, tmp_path: Path) -> None:
    """Secrets, too; manifests name the namespace."""
    sandbox = KubernetesSandbox()
    account = org.account("Orphan")
    linked, orphan = (
        org.customer("Linked", account, Link_Source__c="CustomerLink"),
        org.customer("Orphan"),
    )
    with sandbox.serve() as served:
        kubeconfig = sandbox.write_kubeconfig(tmp_path / "kubeconfig", served.url)
        cluster = Cluster("embedded", kubeconfig, tmp_path)
        try:
            cluster.install_crds()
            cluster.kubectl("create", "namespace", "billing")
            items = [
                *references(org.one),
                sync_manifest("acme", org.one.spec()),
                link("the-link", {"id": linked}, account),
            ]
            given = {"apiVersion": "v1", "kind": "List", "items": items}
            cluster.kubectl("-n", "billing", "apply", "--validate=false", "-f", "-", given=given)
        finally:
            cluster.close()
        access = ("--sync", "acme", "--kubeconfig", str(kubeconfig))
        result = run_cli(
            "links", *access, "--namespace", "billing", "--write", str(tmp_path / "new")
        )
        missing = run_cli("links", *access)
    assert result.returncode == SUCCEEDED, result.stderr
    assert cells(result.stdout)["Linked"][2] == "CustomerLink the-link"
    (written,) = load([str(tmp_path / "new")]).links
    assert (written.metadata.namespace, written.spec.customer.id) == ("billing", orphan)
    assert (missing.returncode, missing.stdout) == (FAILED, "")
    assert missing.stderr.startswith(
        "cannot read MetronomeSync acme in namespace default: HTTP 404"
    )


# -- what goes wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "name the MetronomeSync: -f FILE for one in files, --sync NAME for one in a cluster"),
        (("-f", "a", "--namespace", "b"), "--namespace and --kubeconfig are for a cluster"),
        (("-f", "/nowhere.yaml"), "/nowhere.yaml: cannot be read: No such file or directory"),
        (("-f", "a", "--min-score", "101"), "must be a whole number from 0 to 100"),
        (("-f", "a", "--min-score", "much"), "must be a whole number from 0 to 100"),
    ],
)
def test_wrong_usage_gives_code_2(arguments: tuple[str, ...], told: str) -> None:
    result = run_cli("links", *arguments)

    assert (result.returncode, result.stdout) == (USAGE, "")
    assert told in result.stderr
    assert "Traceback" not in result.stderr


def failing(*arguments: str, environment: dict[str, str] | None = None) -> str:
    more = {} if environment is None else {"environment": environment}
    result = run_cli("links", *arguments, **more)
    assert (result.returncode, result.stdout) == (FAILED, "")
    assert len(result.stderr.splitlines()) == 1, result.stderr
    return result.stderr


def test_what_cannot_be_read_or_written_gives_code_1_and_a_sentence(org: Org) -> None:
    sync, metronome, _, *others = yaml.safe_load_all(Path(org.file).read_text("utf-8"))
    wrong = secret_manifest(
        "acme-salesforce", {"clientId": org.one.client_id, "clientSecret": secret_value("wrong")}
    )
    org.customer("Acme Corporation")
    file = org.folder / "file"
    file.write_text("not a folder", "utf-8")
    no_secret = org.written("b.yaml", sync, metronome, *others)
    no_entry = org.written("a.yaml", sync, metronome, wrong, *others)

    assert "Secret acme-salesforce" in failing("-f", no_secret)
    assert "refused the app's secret" in failing("-f", no_entry)
    assert "may not call the host localhost" in failing("-f", org.file, environment={})
    assert failing("-f", org.file, "--write", str(file)).startswith(f"cannot write to {file}: ")
    nowhere = str(org.folder / "nowhere")
    assert "no access to a Kubernetes API" in failing("--sync", "acme", "--kubeconfig", nowhere)
