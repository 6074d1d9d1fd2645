"""Cycles in an org that has the package as a managed one, with a namespace before its names."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from metronome_salesforce.linking import LinkRequest
from metronome_salesforce.report import Outcome
from metronome_salesforce.salesforce.package import package_files
from metronome_salesforce.sandbox.salesforce import INTEGRATION, SalesforceOrg
from tests.expectation import SOBJECTS, differences
from tests.package.versions import unzipped, without, zipped
from tests.sandbox.salesforce import metadata_zip as md
from tests.stage import PERMISSION_SET, Stage

PREFIX = "acme__"
RUN = f"{PREFIX}Metronome_Sync_Run__c"
NAMED = {"salesforce": {"namespacePrefix": "acme"}}
_NAME = re.compile(r"\b([A-Za-z]\w*?__(?:c|mdt))\b")
OWN_FIELD = md.package_zip(
    {
        "objects/Account.object": md.standard_fields(md.key("External_ID__c")),
        "permissionsets/Own.permissionset": md.permission_set({"Account": "r"}, {}),
    },
    {"CustomField": ["Account.External_ID__c"], "PermissionSet": ["Own"]},
)
"""A field of the org's own on Account, called as one of the package's on other objects."""


def managed_package() -> bytes:
    """The data model under the namespace, as Salesforce packages it.

    Without tabs, reports and the like, which the operator has nothing to do with.
    """
    files = {
        name: content.decode()
        for name, content in package_files().items()
        if name.partition("/")[0] in {"objects", "permissionsets", "customMetadata", "package.xml"}
    }
    files = {
        name: re.sub(
            r"<(tabSettings|applicationVisibilities|listViews|compactLayouts|searchLayouts)>"
            r".*?</\1>|<compactLayoutAssignment>.*?</compactLayoutAssignment>",
            "",
            text,
            flags=re.DOTALL,
        )
        for name, text in files.items()
    }
    manifest = files["package.xml"]
    for kind in re.findall(r"<name>(\w+)</name>", manifest):
        if kind not in {"CustomObject", "CustomField", "PermissionSet", "CustomMetadata"}:
            types = rf"<types>(?:(?!</types>).)*<name>{kind}</name>\s*</types>"
            manifest = re.sub(types, "", manifest, flags=re.DOTALL)
    files["package.xml"] = manifest
    named: dict[str, bytes] = {}
    for name, text in files.items():
        path = re.sub(r"(Metronome_\w+)(?=\.object$|\.Current)", rf"{PREFIX}\1", name)
        content = _NAME.sub(rf"{PREFIX}\1", text)
        content = content.replace(">Metronome_Package.", f">{PREFIX}Metronome_Package.")
        named[path] = content.encode()
    return zipped(named)


class Unprefixed:
    """The org's rows under the names without namespace."""

    def __init__(self, org: SalesforceOrg) -> None:
        self._org = org

    def rows(self, sobject: str) -> list[dict[str, Any]]:
        name = sobject if sobject == "Account" else PREFIX + sobject
        return [
            {key.removeprefix(PREFIX): value for key, value in row.items()}
            for row in self._org.rows(name)
        ]


@pytest.fixture(name="stage")
def _stage() -> Iterator[Stage]:
    """A stage whose org has the managed package."""
    with Stage(customers=3, months=2, package=False, spec=NAMED) as stage:
        installed = stage.org.install_managed(managed_package(), "acme")
        assert installed.success, installed.problems
        stage.org.assign_permission_set(INTEGRATION, PERMISSION_SET)
        stage.org.statistics.reset()
        yield stage


async def test_cycles_write_and_compare_under_the_namespace(stage: Stage) -> None:
    report = await stage.cycle()

    assert report.outcome is Outcome.SUCCEEDED, report.message
    assert report.package is not None
    assert (report.package.version, report.package.reason) == ("0.1.0", "Installed")
    assert differences(stage.expected(), Unprefixed(stage.org)) == []  # type: ignore[arg-type]
    assert not stage.org.deploys
    again = await stage.cycle()
    assert again.outcome is Outcome.SUCCEEDED
    assert {sobject for sobject, _ in stage.org.statistics.rows} == {RUN}
    full = await stage.cycle(full=True)
    assert full.outcome is Outcome.SUCCEEDED
    assert sum(counts.updated for counts in full.rows.values()) == 0
    [run] = Unprefixed(stage.org).rows("Metronome_Sync_Run__c")
    assert run["Outcome__c"] == "Succeeded"


async def test_a_link_by_a_field_of_the_org_s_own_moves_the_rows(stage: Stage) -> None:
    """That field has no namespace, although the package has one of the same name elsewhere."""
    await stage.cycle()
    assert stage.org.deploy(OWN_FIELD).success
    stage.org.assign_permission_set(INTEGRATION, "Own")
    account = stage.org.insert("Account", {"Name": "Acme", "External_ID__c": "A-1"})
    customer = stage.tenant.customers()[0]["id"]
    stage.links = [
        LinkRequest(
            name="acme",
            customer_id=customer,
            account_id=None,
            external_id=("External_ID__c", "A-1"),
        )
    ]
    await stage.link()

    of_customer = [
        row
        for row in Unprefixed(stage.org).rows("Metronome_Invoice__c")
        if row["Metronome_Customer_ID__c"] == customer
    ]
    assert of_customer
    assert {row["Account__c"] for row in of_customer} == {account}
    report = await stage.cycle()
    assert report.outcome is Outcome.SUCCEEDED, report.message
    assert set(report.links) == {"acme"}
    moved = [row for row in Unprefixed(stage.org).rows("Metronome_Usage__c") if row["Account__c"]]
    assert {row["Metronome_Customer_ID__c"] for row in moved} == {customer}


async def test_rejected_rows_name_fields_without_the_namespace(stage: Stage) -> None:
    stage.org.add_validation_rule(
        f"{PREFIX}Metronome_Invoice__c",
        "NoDrafts",
        lambda row: row[f"{PREFIX}Status__c"] == "Draft",
        "Drafts are not wanted here",
    )
    report = await stage.cycle()

    assert report.outcome is Outcome.PARTIALLY_FAILED
    assert {one.code for one in report.rejected} >= {"FIELD_CUSTOM_VALIDATION_EXCEPTION"}


async def test_without_that_package_nothing_is_deployed(stage: Stage) -> None:
    with Stage(customers=2, months=1, package=False, spec=NAMED) as bare:
        report = await bare.cycle()

        assert (report.outcome, report.reason) == (Outcome.FAILED, "PackageMissing")
        assert "spec.salesforce.namespacePrefix" in report.message
        assert not bare.org.deploys
    plain = await stage.cycle(spec={"salesforce": {"namespacePrefix": ""}})
    assert plain.outcome is Outcome.FAILED
    assert all(stage.org.count(PREFIX + one) == 0 for one in SOBJECTS if one != "Account")


async def test_a_hidden_field_of_a_managed_package_is_named() -> None:
    """To a user who sees neither the version nor permission sets."""
    files = unzipped(managed_package())
    path = f"permissionsets/{PERMISSION_SET}.permissionset"
    field = f"{PREFIX}Metronome_Usage__c.{PREFIX}Value__c"
    files[path] = without(files[path], f"<field>{field}</field>", "fieldPermissions")
    files[path] = without(files[path], "<enabled>true</enabled>", "customMetadataTypeAccesses")
    with Stage(customers=2, months=1, package=False, spec=NAMED) as stage:
        installed = stage.org.install_managed(zipped(files), "acme")
        assert installed.success, installed.problems
        stage.org.assign_permission_set(INTEGRATION, PERMISSION_SET)
        report = await stage.cycle()

        assert (report.outcome, report.reason) == (Outcome.FAILED, "FieldNotAccessible")
        assert "cannot see Metronome_Usage__c.Value__c" in report.message
        assert "from its own page in the org" in report.message


def test_names_with_a_namespace_come_by_installation_only(stage: Stage) -> None:
    refused = stage.org.deploy(managed_package())

    assert not refused.success
    assert any("two consecutive underscores" in problem for problem in refused.problems)
