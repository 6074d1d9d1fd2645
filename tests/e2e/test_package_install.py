"""The package and cycles: an empty org is filled in one go, an older package is upgraded."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from metronome_salesforce.linking import LinkRequest
from metronome_salesforce.report import CycleReport, Outcome
from metronome_salesforce.salesforce import deploying
from metronome_salesforce.sandbox.salesforce import INTEGRATION
from metronome_salesforce.stepping import CycleStoppedError
from tests.expectation import ACCOUNT, SOBJECTS, USAGE, differences
from tests.package.versions import (
    BEFORE_VERSIONS,
    OWN_LOOKUP,
    RIGHTS,
    changed,
    let_install,
    of_version,
    own_set,
    unzipped,
    without,
    zipped,
)
from tests.sandbox.salesforce import metadata_zip as md
from tests.stage import PERMISSION_SET, Stage

ALWAYS = {"salesforce": {"package": {"install": "Always"}}}
NEVER = {"salesforce": {"package": {"install": "Never"}}}
INVOICES = "objects/Metronome_Invoice__c.object"
OWN_VIEW = (
    "<listViews><fullName>Ours</fullName><columns>NAME</columns>"
    "<filterScope>Everything</filterScope><label>Ours</label></listViews>"
)
OWN_FIELD = md.package_zip(
    {
        "objects/Metronome_Invoice__c.object": md.standard_fields(
            md.text("Cost_Centre__c", 20) + OWN_VIEW
        ),
        "permissionsets/Own.permissionset": md.permission_set(
            {"Metronome_Invoice__c": "ru"}, {"Metronome_Invoice__c.Cost_Centre__c": "rw"}
        ),
    },
    {
        "CustomField": ["Metronome_Invoice__c.Cost_Centre__c"],
        "ListView": ["Metronome_Invoice__c.Ours"],
        "PermissionSet": ["Own"],
    },
)
"""A field, a list view and a permission set of the org's own on one of the package's objects."""


def copy_rows(source: Stage, target: Stage) -> None:
    """Write the rows of one org to another as its integration user, with what that one stores."""
    known: dict[str, str] = {}
    for sobject in SOBJECTS:
        fields = target.org.state.schema.objects[sobject.lower()].fields.values()
        wanted = [one.name for one in fields if one.custom and not one.calculated]
        for row in source.org.rows(sobject):
            values = {name: row[name] for name in wanted if row[name] is not None}
            values |= {"Name": row["Name"]} if sobject != USAGE else {}
            values = {
                name: known.get(value, value) if isinstance(value, str) else value
                for name, value in values.items()
            }
            if sobject == ACCOUNT:
                known[row["Id"]] = target.org.insert(sobject, {"Name": row["Name"]})
                continue
            known[row["Id"]] = target.org.insert(sobject, values, username=INTEGRATION)


@pytest.fixture(name="bare")
def _bare() -> Iterator[Stage]:
    """An org without the package, whose integration user may install it."""
    with Stage(customers=3, months=2, package=False) as stage:
        let_install(stage.org)
        yield stage


@pytest.fixture(name="busy")
def _busy() -> Iterator[Stage]:
    """The same, with an org that is not done with a deploy at the first look."""
    with Stage(customers=2, months=1, package=False, fast=False) as stage:
        let_install(stage.org)
        yield stage


@pytest.fixture(name="stage")
def _stage() -> Iterator[Stage]:
    """An org with it."""
    with Stage(customers=3, months=2) as stage:
        yield stage


def without_field(content: bytes, sobject: str, name: str) -> bytes:
    """A package without one of its fields."""
    files = unzipped(content)
    file = f"objects/{sobject}.object"
    files[file] = without(files[file], rf"<fullName>{name}</fullName>", "fields")
    for path in files:
        if path.startswith("permissionsets/"):
            files[path] = without(
                files[path], rf"<field>{sobject}\.{name}</field>", "fieldPermissions"
            )
    return zipped(files)


def version(stage: Stage) -> str | None:
    """The version that the org's own record tells."""
    if "metronome_package__mdt" not in stage.org.state.schema.objects:
        return None
    [row] = stage.org.rows("Metronome_Package__mdt")
    found: str = row["Version__c"]
    return found


def package(report: CycleReport) -> tuple[bool | None, str, str | None, bool]:
    """What a report says of the package."""
    state = report.package
    assert state is not None
    return state.installed, state.reason, state.version, state.changed


def ids(stage: Stage) -> dict[str, list[str]]:
    """The record ids by object."""
    return {one: sorted(row["Id"] for row in stage.org.rows(one)) for one in SOBJECTS}


async def test_an_empty_org_is_full_after_one_cycle(bare: Stage) -> None:
    report = await bare.cycle()

    assert report.outcome is Outcome.SUCCEEDED, report.message
    assert differences(bare.expected(), bare.org) == []
    assert package(report) == (True, "Installed", "0.1.0", True)
    assert [reason for reason, _ in report.events] == ["PackageInstalled"]
    assert version(bare) == "0.1.0"
    again = await bare.cycle()
    assert again.outcome is Outcome.SUCCEEDED
    assert package(again) == (True, "Installed", "0.1.0", False)
    assert len(bare.org.deploys) == 1
    stages = [stage for stage, _, _ in bare.progress if stage.startswith("install package")]
    assert stages[-1] == "install package (Succeeded)"


async def test_a_user_who_may_not_install_is_told_what_is_missing(bare: Stage) -> None:
    bare.org.revoke_permission(INTEGRATION, "ModifyMetadata")
    report = await bare.cycle()

    assert (report.outcome, report.reason) == (Outcome.FAILED, "PackageMissing")
    assert '"Modify Metadata Through Metadata API Functions"' in report.message
    assert "metronome-salesforce package deploy" in report.message
    assert package(report) == (False, "PackageMissing", None, False)
    assert not bare.org.deploys
    assert bare.org.statistics.total_rows == 0


async def test_a_user_who_may_not_assign_is_told_who_must(bare: Stage) -> None:
    bare.org.revoke_permission(INTEGRATION, "AssignPermissionSets")
    report = await bare.cycle()

    assert report.outcome is Outcome.FAILED
    assert PERMISSION_SET in report.message
    assert '"Assign Permission Sets"' in report.message
    assert bare.org.statistics.total_rows == 0
    bare.org.assign_permission_set(INTEGRATION, PERMISSION_SET)
    assert (await bare.cycle()).outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize("dry_run", [True, False])
async def test_never_and_a_dry_run_install_nothing(bare: Stage, *, dry_run: bool) -> None:
    report = await bare.cycle(spec=None if dry_run else NEVER, dry_run=dry_run)

    assert (report.outcome, report.reason) == (Outcome.FAILED, "PackageMissing")
    assert not bare.org.deploys
    assert bare.org.statistics.total_rows == 0


async def test_a_package_that_nobody_was_given_is_assigned_only(bare: Stage) -> None:
    """What the org has is not deployed over: somebody may have changed it on purpose."""
    assert bare.org.deploy(changed(INVOICES, ">Metronome Invoices<", ">Usage Invoices<")).success
    report = await bare.cycle()

    assert report.outcome is Outcome.SUCCEEDED, report.message
    assert len(bare.org.deploys) == 1
    assert bare.org.state.schema.objects["metronome_invoice__c"].plural == "Usage Invoices"


async def test_an_older_package_stays_unless_it_is_to_be_upgraded(bare: Stage) -> None:
    assert bare.org.deploy(of_version("0.0.9")).success
    bare.org.assign_permission_set(INTEGRATION, PERMISSION_SET)
    report = await bare.cycle()
    assert report.outcome is Outcome.SUCCEEDED
    assert package(report) == (True, "Outdated", "0.0.9", False)
    report = await bare.cycle(spec=ALWAYS)

    assert report.outcome is Outcome.SUCCEEDED
    assert package(report) == (True, "Installed", "0.1.0", True)
    assert report.events == [
        ("PackageInstalled", "The Metronome package was upgraded from 0.0.9 to 0.1.0.")
    ]
    assert version(bare) == "0.1.0"


async def test_a_newer_package_is_left_alone(bare: Stage) -> None:
    assert bare.org.deploy(of_version("0.10.0")).success
    bare.org.assign_permission_set(INTEGRATION, PERMISSION_SET)
    report = await bare.cycle(spec=ALWAYS)

    assert report.outcome is Outcome.SUCCEEDED
    assert package(report) == (True, "Newer", "0.10.0", False)
    assert len(bare.org.deploys) == 1


async def test_an_upgrade_that_is_not_allowed_lets_the_cycle_go_on(bare: Stage) -> None:
    assert bare.org.deploy(of_version("0.0.9")).success
    bare.org.assign_permission_set(INTEGRATION, PERMISSION_SET)
    bare.org.revoke_permission(INTEGRATION, "ModifyMetadata")
    report = await bare.cycle(spec=ALWAYS)

    assert report.outcome is Outcome.SUCCEEDED
    assert package(report) == (True, "UpgradeNotAllowed", "0.0.9", False)


async def test_an_org_that_refuses_the_package_keeps_nothing_of_it(bare: Stage) -> None:
    """The organisation has a lookup of its own under one of our names."""
    assert bare.org.deploy(OWN_LOOKUP).success
    report = await bare.cycle()

    assert (report.outcome, report.reason) == (Outcome.FAILED, "PackageRefused")
    assert "Metronome_Invoices" in report.message
    assert version(bare) is None
    assert [one for one in bare.org.state.schema.objects if one.startswith("metronome")] == []
    assert bare.org.statistics.total_rows == 0


async def test_a_package_that_was_refused_is_not_sent_again(bare: Stage) -> None:
    """Until another one is, or a person asks; each deploy holds up all others of the org."""
    assert bare.org.deploy(OWN_LOOKUP).success
    first = await bare.cycle()
    assert first.package is not None
    refusal = first.package.refusal
    assert refusal is not None
    assert "sent again when a cycle is requested" in first.message
    again = await bare.cycle(refusal=refusal)

    assert (again.reason, again.message) == (first.reason, first.message)
    assert again.package == first.package
    assert len(bare.org.deploys) == 2
    await bare.cycle(refusal=replace(refusal, digest="of-another-package"))
    assert len(bare.org.deploys) == 3
    assert CycleReport.from_json(json.loads(json.dumps(first.to_json()))) == first


def cancelling(stage: Stage) -> None:
    """Somebody in the org cancels every deploy that is waited for."""

    def cancel(request: Any) -> None:
        if request.method == "GET" and "deployRequest" in request.path:
            for deploy in stage.org.deploys.values():
                deploy.cancel(("005", "Ada"))

    stage.salesforce.on_request = cancel


async def test_a_deploy_that_somebody_cancels_is_not_sent_again(busy: Stage) -> None:
    cancelling(busy)
    report = await busy.cycle()
    busy.salesforce.on_request = None

    assert (report.outcome, report.reason) == (Outcome.FAILED, "PackageDeployCanceled")
    assert report.package is not None
    again = await busy.cycle(refusal=report.package.refusal)
    assert again.package == report.package
    assert len(busy.org.deploys) == 1
    assert (await busy.cycle()).outcome is Outcome.SUCCEEDED


async def test_an_upgrade_that_is_not_taken_is_not_sent_again(busy: Stage) -> None:
    """And the cycles go on with the older package."""
    assert busy.org.deploy(of_version("0.0.9")).success
    busy.org.assign_permission_set(INTEGRATION, PERMISSION_SET)
    cancelling(busy)
    report = await busy.cycle(spec=ALWAYS)
    busy.salesforce.on_request = None

    assert report.outcome is Outcome.SUCCEEDED, report.message
    assert package(report) == (True, "PackageDeployCanceled", "0.0.9", False)
    assert report.package is not None
    again = await busy.cycle(spec=ALWAYS, refusal=report.package.refusal)
    assert again.outcome is Outcome.SUCCEEDED
    assert again.package == report.package
    assert len(busy.org.deploys) == 2


@pytest.mark.parametrize("policy", ["Never", "IfMissing", "Always without the right"])
async def test_a_new_operator_goes_on_with_an_old_package(bare: Stage, policy: str) -> None:
    """The one of before versions has no Sync Run object, so there are no records of runs."""
    assert bare.org.deploy(BEFORE_VERSIONS).success
    bare.org.assign_permission_set(INTEGRATION, PERMISSION_SET)
    install, _, restricted = policy.partition(" ")
    if restricted:
        bare.org.revoke_permission(INTEGRATION, "CustomizeApplication")
    report = await bare.cycle(spec={"salesforce": {"package": {"install": install}}})

    assert report.outcome is Outcome.SUCCEEDED, report.message
    assert differences(bare.expected(), bare.org) == []
    reason = "UpgradeNotAllowed" if restricted else "Outdated"
    assert package(report) == (True, reason, None, False)
    assert report.package is not None
    assert "metronome-salesforce package deploy" in report.package.message


async def test_an_old_package_that_lacks_something_stops_cycles_and_says_so(bare: Stage) -> None:
    """Of an org whose older package has no field that the operator writes by now."""
    field = "Metronome_Customer_Plan__c"
    old = without_field(BEFORE_VERSIONS, field, "Customer_Name__c")
    assert (deployed := bare.org.deploy(old)).success, deployed.problems
    bare.org.assign_permission_set(INTEGRATION, PERMISSION_SET)
    report = await bare.cycle()

    assert (report.outcome, report.reason) == (Outcome.FAILED, "Outdated")
    assert "spec.salesforce.package.install to Always" in report.message
    assert bare.org.statistics.total_rows == 0
    assert (await bare.cycle(spec=ALWAYS)).outcome is Outcome.SUCCEEDED


async def test_access_by_a_permission_set_of_the_org_s_own_is_enough(bare: Stage) -> None:
    """And the operator does not widen it."""
    assert bare.org.deploy(of_version("0.1.0")).success
    assert (deployed := bare.org.deploy(own_set())).success, deployed.problems
    bare.org.assign_permission_set(INTEGRATION, "Ours")
    bare.org.revoke_permission(INTEGRATION, "CustomizeApplication")
    assignments = bare.org.count("PermissionSetAssignment")
    report = await bare.cycle()

    assert report.outcome is Outcome.SUCCEEDED, report.message
    assert package(report) == (True, "VersionUnknown", None, False)
    assert bare.org.count("PermissionSetAssignment") == assignments
    assert len(bare.org.deploys) == 2


HIDDEN = "Metronome_Usage__c.Value__c"


@pytest.fixture(name="ours")
def _ours(bare: Stage) -> Stage:
    """An org whose integration user has access by a set of the org's own, but for one field."""
    for right in RIGHTS:
        bare.org.revoke_permission(INTEGRATION, right)
    assert bare.org.deploy(of_version("0.1.0")).success
    assert (deployed := bare.org.deploy(own_set(HIDDEN))).success, deployed.problems
    bare.org.assign_permission_set(INTEGRATION, "Ours")
    return bare


@pytest.mark.parametrize("policy", ["Never", "IfMissing", "Always"])
@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_hidden_field_is_no_missing_package(
    ours: Stage, policy: str, *, dry_run: bool
) -> None:
    """Told to a user who sees neither permission sets nor the version."""
    spec = {"salesforce": {"package": {"install": policy}}}
    report = await ours.cycle(spec=spec, dry_run=dry_run)

    assert (report.outcome, report.reason) == (Outcome.FAILED, "FieldNotAccessible")
    assert report.message.startswith(f"the integration user cannot see {HIDDEN}")
    assert "metronome-salesforce package deploy" in report.message
    assert "package.install" not in report.message, "it would change nothing for this user"
    assert package(report) == (None, "FieldNotAccessible", None, False)
    assert not [one for one in ours.org.statistics.rows if one[0] in SOBJECTS]


@pytest.mark.parametrize("policy", ["Never", "IfMissing", "Always"])
async def test_a_hidden_field_is_named_to_who_sees_permission_sets(
    ours: Stage, policy: str
) -> None:
    ours.org.grant_permission(INTEGRATION, "ViewSetup")
    report = await ours.cycle(spec={"salesforce": {"package": {"install": policy}}})

    assert (report.outcome, report.reason) == (Outcome.FAILED, "FieldNotAccessible")
    assert report.message.startswith(f"the integration user cannot see {HIDDEN}")
    assert package(report) == (None, "FieldNotAccessible", None, False)


async def test_a_bare_user_of_a_package_without_a_version_is_told_who_upgrades(
    bare: Stage,
) -> None:
    """Its set is assigned, and no assignment would make it see more."""
    for right in RIGHTS:
        bare.org.revoke_permission(INTEGRATION, right)
    assert bare.org.deploy(BEFORE_VERSIONS).success
    bare.org.assign_permission_set(INTEGRATION, PERMISSION_SET)
    report = await bare.cycle(spec=ALWAYS)

    assert report.outcome is Outcome.SUCCEEDED
    assert package(report) == (True, "VersionUnknown", None, False)
    assert report.package is not None
    assert "let an administrator run metronome-salesforce package deploy" in report.package.message


@pytest.mark.parametrize("policy", ["IfMissing", "Always"])
async def test_an_older_package_is_given_to_the_user_and_used_at_once(
    bare: Stage, policy: str
) -> None:
    assert bare.org.deploy(of_version("0.0.9")).success
    report = await bare.cycle(spec={"salesforce": {"package": {"install": policy}}})

    assert report.outcome is Outcome.SUCCEEDED, report.message
    assert report.package is not None
    assert report.package.changed
    assert report.package.reason == ("Outdated" if policy == "IfMissing" else "Installed")
    [(reason, told)] = report.events
    assert reason == "PackageInstalled"
    assert told.startswith('The permission set "Metronome Integration" was assigned')
    assert ("upgraded from 0.0.9 to 0.1.0" in told) == (policy == "Always")


async def test_an_older_package_that_was_given_and_lacks_something_is_outdated(
    bare: Stage,
) -> None:
    old = without_field(of_version("0.0.9"), "Metronome_Usage__c", "Sync_Hash__c")
    assert (deployed := bare.org.deploy(old)).success, deployed.problems
    report = await bare.cycle()

    assert (report.outcome, report.reason) == (Outcome.FAILED, "Outdated")
    assert [reason for reason, _ in report.events] == ["PackageInstalled"]


async def test_a_link_in_an_org_without_the_package_says_so(bare: Stage) -> None:
    account = bare.account("Acme")
    customer = bare.tenant.customers()[0]["id"]
    bare.links = [LinkRequest("acme", customer_id=customer, account_id=account)]
    report = await bare.link()

    assert (report.outcome, report.reason) == (Outcome.FAILED, "PackageMissing")
    assert "metronome-salesforce package deploy" in report.message


async def test_a_bare_integration_user_needs_to_see_no_permission_sets(stage: Stage) -> None:
    report = await stage.cycle()

    assert report.outcome is Outcome.SUCCEEDED
    assert package(report) == (True, "Installed", "0.1.0", False)


@pytest.mark.parametrize(
    "missing",
    ["ModifyMetadata", "CustomizeApplication", "AssignPermissionSets", "ViewSetup and the last"],
)
async def test_whichever_right_is_missing_no_row_is_written(bare: Stage, missing: str) -> None:
    """Who may not assign can still deploy; then the package is there, and given to nobody.

    "View Setup" is never missing alone: the platform gives "Assign Permission Sets" only with it.
    """
    right, _, more = missing.partition(" and ")
    for each in (right, "AssignPermissionSets" if more else right):
        bare.org.revoke_permission(INTEGRATION, each)
    report = await bare.cycle()

    assert report.outcome is Outcome.FAILED
    assert "metronome-salesforce package deploy" in report.message
    assert bare.org.statistics.total_rows == 0
    assert bare.org.count("PermissionSetAssignment") == 0
    if missing == "AssignPermissionSets":
        assert report.reason == "PermissionSetNotAssigned"
        assert '"Assign Permission Sets"' in report.message
        assert version(bare) == "0.1.0"
    else:
        assert report.reason == "PackageMissing"
        assert '"Customize Application"' in report.message
        assert not bare.org.deploys
        assert "metronome_invoice__c" not in bare.org.state.schema.objects


async def test_a_dry_run_says_what_the_next_cycle_will_do(bare: Stage) -> None:
    report = await bare.cycle(dry_run=True)

    assert (report.outcome, report.reason) == (Outcome.FAILED, "PackageMissing")
    assert "A dry run installs nothing; the next cycle does" in report.message


async def test_an_unknown_api_version_is_told_as_such(bare: Stage) -> None:
    report = await bare.cycle(spec={"salesforce": {"apiVersion": "99.0"}})

    assert (report.outcome, report.reason) == (Outcome.FAILED, "SalesforceApiVersionUnknown")


async def test_no_calls_left_means_no_deploy(bare: Stage) -> None:
    bare.org.api_used = bare.org.api_limit * 9 // 10
    report = await bare.cycle()

    assert report.reason == "ApiBudgetExhausted", report.message
    assert not bare.org.deploys


async def test_a_stop_is_heard_while_a_deploy_is_waited_for(busy: Stage) -> None:
    """The org is asked to give the deploy up, so that the next one does not wait behind it."""
    stop = threading.Event()
    busy.salesforce.on_request = lambda request: stop.set() if "Request/" in request.path else None
    with pytest.raises(CycleStoppedError):
        await busy.cycle(stop=stop)

    assert busy.org.count("PermissionSetAssignment") == 0
    assert [one.status for one in busy.org.deploys.values()] == ["Canceled"]
    busy.salesforce.on_request = None
    assert (await busy.cycle()).outcome is Outcome.SUCCEEDED


async def test_a_deploy_that_outlasts_its_cycle_is_met_by_the_next(busy: Stage) -> None:
    """The org does not hear that it shall give it up, and has the package by the next cycle."""
    stop = threading.Event()
    busy.salesforce.on_request = lambda request: stop.set() if "Request/" in request.path else None
    busy.salesforce.faults.add("PATCH *deployRequest*", status=409)
    with pytest.raises(CycleStoppedError):
        await busy.cycle(stop=stop)
    busy.salesforce.on_request = None
    [outlasting] = busy.org.deploys.values()
    assert outlasting.status == "Pending"
    outlasting.finish()
    report = await busy.cycle()

    assert report.outcome is Outcome.SUCCEEDED, report.message
    assert len(busy.org.deploys) == 1
    assert package(report)[1:3] == ("Installed", "0.1.0")


async def test_an_upgrade_that_takes_too_long_lets_the_cycle_go_on(
    busy: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an org that is busy with others' deploys."""
    monkeypatch.setattr(deploying, "_LONGEST", 0.0)
    assert busy.org.deploy(of_version("0.0.9")).success
    busy.org.assign_permission_set(INTEGRATION, PERMISSION_SET)
    report = await busy.cycle(spec=ALWAYS)

    assert report.outcome is Outcome.SUCCEEDED, report.message
    assert package(report) == (True, "PackageDeploySlow", "0.0.9", False)
    assert [one.status for one in busy.org.deploys.values()] == ["Succeeded", "Canceled"]
    assert differences(busy.expected(), busy.org) == []


async def test_an_upgrade_keeps_data_and_what_the_org_has_added(stage: Stage, bare: Stage) -> None:
    """From the package of before versions, with the rows of a cycle and additions of the org."""
    assert (await stage.cycle()).outcome is Outcome.SUCCEEDED
    assert bare.org.deploy(BEFORE_VERSIONS).success
    bare.org.assign_permission_set(INTEGRATION, PERMISSION_SET)
    copy_rows(stage, bare)
    own = bare.org.deploy(OWN_FIELD)
    assert own.success, own.problems
    first = bare.org.rows("Metronome_Invoice__c")[0]
    bare.org.assign_permission_set(INTEGRATION, "Own")
    bare.org.update(
        "Metronome_Invoice__c", first["Id"], {"Cost_Centre__c": "C-17"}, username=INTEGRATION
    )
    before = ids(bare)
    bare.metronome, bare.metronome_url = stage.metronome, stage.metronome_url
    bare.tenant = stage.tenant
    report = await bare.cycle(spec=ALWAYS)

    assert report.outcome is Outcome.SUCCEEDED, report.message
    assert package(report) == (True, "Installed", "0.1.0", True)
    assert ids(bare) == before
    assert {key: count for key, count in bare.written.items() if key[1] != "update"} == {}
    found = differences(bare.expected(), bare.org)
    assert [one for one in found if "Cost_Centre__c" not in one] == []
    again = next(r for r in bare.org.rows("Metronome_Invoice__c") if r["Id"] == first["Id"])
    assert again["Cost_Centre__c"] == "C-17"
    views = {name for kind, name in bare.org.state.components if kind == "ListView"}
    assert {"Metronome_Invoice__c.Ours", "Metronome_Invoice__c.Current_Draft"} <= views
