"""`package deploy`, `check`, `export` and `zip`: what people type, and what they read then."""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from metronome_salesforce.sandbox.salesforce import INTEGRATION
from tests.e2e.suite import (
    Company,
    company,
    references,
    run_cli,
    secret_manifest,
    sync_manifest,
)
from tests.e2e.test_cli_sync import FAILED, SUCCEEDED, USAGE, no_secret_in, written_to
from tests.package.versions import (
    BEFORE_VERSIONS,
    OWN_LOOKUP,
    changed,
    let_install,
    of_version,
    own_set,
)

READER = "rep@sandbox.example"
CHIEF = "ops@sandbox.example"


@pytest.fixture(name="bare")
def _bare() -> Iterator[Company]:
    """A company whose org lacks the package, and whose integration user may not install it."""
    with company(package=False) as one:
        yield one


@pytest.fixture(name="file")
def _file(bare: Company, tmp_path: Path) -> Path:
    """Its manifests, with the sign-in of an administrator among the Secrets."""
    bare.org.add_client_app("admin-app", "admin-secret", "admin@sandbox.example")
    admin = secret_manifest("admin", {"clientId": "admin-app", "clientSecret": "admin-secret"})
    documents = [*references(bare), admin, sync_manifest("acme", bare.spec("acme"))]
    return written_to(tmp_path / "acme.yaml", *documents)


def sets_of(one: Company, username: str) -> set[str]:
    """The permission sets that a user has."""
    user = one.org.users[username].id
    names = {found.id: found.name for found in one.org.state.permission_sets.values()}
    rows = one.org.rows("PermissionSetAssignment")
    return {names[row["PermissionSetId"]] for row in rows if row["AssigneeId"] == user}


def told(text: str) -> list[str]:
    """The lines with single blanks."""
    return [re.sub(r" +", " ", line).strip() for line in text.splitlines()]


# -- deploy ----------------------------------------------------------------------------------------


def test_an_administrator_deploys_and_gives_everybody_access(bare: Company, file: Path) -> None:
    for name in (READER, CHIEF):
        bare.org.add_user(name)
    words = ("package", "deploy", "-f", str(file), "--credentials", "admin")
    result = run_cli(*words, "--assign", CHIEF, "--assign-reader", READER)

    assert result.returncode == SUCCEEDED, result.stderr
    first, *rest = told(result.stdout)
    assert re.fullmatch(
        r"The org has the Metronome package 0\.1\.0: (\d+) components, of which \1 were new or "
        r"changed\.",
        first,
    )
    assert rest == [
        "Metronome_Integration is assigned to the integration user.",
        f"Metronome_User is assigned to {CHIEF}.",
        f"Metronome_Admin is assigned to {CHIEF}.",
        f"Metronome_User is assigned to {READER}.",
    ]
    assert sets_of(bare, INTEGRATION) == {"Metronome_Integration"}
    assert sets_of(bare, CHIEF) == {"Metronome_User", "Metronome_Admin"}
    assert sets_of(bare, READER) == {"Metronome_User"}
    assert no_secret_in(result)
    again = told(run_cli(*words).stdout)
    assert again[0].endswith("of which 0 were new or changed.")
    assert again[1:] == ["Metronome_Integration was assigned already to the integration user."]
    assert run_cli("sync", "-f", str(file)).returncode == SUCCEEDED


def test_who_may_not_deploy_is_told_which_right_it_takes(bare: Company, file: Path) -> None:
    result = run_cli("package", "deploy", "-f", str(file))

    assert result.returncode == FAILED
    assert '"Modify Metadata Through Metadata API Functions"' in result.stderr
    assert "Nothing was written." in result.stderr
    assert not bare.org.deploys


def test_one_command_fills_an_empty_org(tmp_path: Path) -> None:
    """`sync` with `install: IfMissing`, which is the default."""
    with company(package=False) as one:
        let_install(one.org)
        documents = [*references(one), sync_manifest("acme", one.spec("acme"))]
        file = written_to(tmp_path / "acme.yaml", *documents)
        result = run_cli("sync", "-f", str(file))

        assert result.returncode == SUCCEEDED, result.stderr
        assert one.org.count("Metronome_Invoice__c") > 0
        assert sets_of(one, INTEGRATION) == {"Metronome_Integration"}


def test_a_dry_run_keeps_nothing(bare: Company, file: Path) -> None:
    words = ("package", "deploy", "-f", str(file), "--credentials", "admin", "--dry-run")
    result = run_cli(*words)

    assert result.returncode == SUCCEEDED, result.stderr
    assert "Nothing was kept of it." in result.stdout
    assert "metronome_invoice__c" not in bare.org.state.schema.objects
    assert sets_of(bare, INTEGRATION) == set()


def test_a_dry_run_as_the_integration_user_gives_it_nothing(bare: Company, file: Path) -> None:
    """The org's package is one from before versions, so that nobody sees a version of it."""
    assert bare.org.deploy(BEFORE_VERSIONS).success
    let_install(bare.org)
    result = run_cli("package", "deploy", "-f", str(file), "--dry-run")

    assert result.returncode == SUCCEEDED, result.stderr
    assert "Nothing was kept of it." in result.stdout
    assert sets_of(bare, INTEGRATION) == set()
    assert bare.org.statistics.total_rows == 0


def test_refused_components_are_shown_as_a_table(bare: Company, file: Path) -> None:
    assert bare.org.deploy(OWN_LOOKUP).success
    result = run_cli("package", "deploy", "-f", str(file), "--credentials", "admin")

    assert result.returncode == FAILED
    lines = told(result.stdout)
    assert lines[0] == ("The org refused the Metronome package (Failed); nothing of it was kept.")
    assert lines[1] == "type component file problem"
    row = next(line for line in lines if "Metronome_Invoice__c.Account__c" in line)
    assert row.startswith("CustomField Metronome_Invoice__c.Account__c objects/")
    assert "There is already a Child Relationship named Metronome_Invoices on" in result.stdout
    assert "metronome_invoice__c" not in bare.org.state.schema.objects


def test_a_newer_package_stays_and_access_is_given(bare: Company, file: Path) -> None:
    assert bare.org.deploy(of_version("1.2.0")).success
    # Who deploys sees the record of the version by its own rights.
    result = run_cli("package", "deploy", "-f", str(file), "--credentials", "admin")

    assert result.returncode == SUCCEEDED, result.stderr
    assert told(result.stdout) == [
        "The org has the Metronome package 1.2.0, newer than 0.1.0: it stays.",
        "Metronome_Integration is assigned to the integration user.",
    ]
    assert len(bare.org.deploys) == 1


def test_an_integration_user_that_does_not_see_the_version_downgrades_nothing(
    bare: Company, file: Path
) -> None:
    """Who may deploy the package sees its version; who may not is refused."""
    assert bare.org.deploy(of_version("1.2.0")).success
    let_install(bare.org)
    bare.org.revoke_permission(INTEGRATION, "CustomizeApplication")
    result = run_cli("package", "deploy", "-f", str(file))

    assert result.returncode == FAILED
    assert '"Customize Application"' in result.stderr
    assert sets_of(bare, INTEGRATION) == set()
    [version] = bare.org.rows("Metronome_Package__mdt")
    assert version["Version__c"] == "1.2.0"


def test_an_unknown_user_is_named(bare: Company, file: Path) -> None:
    words = ("package", "deploy", "-f", str(file), "--credentials", "admin")
    result = run_cli(*words, "--assign", "nobody@sandbox.example")

    assert result.returncode == FAILED
    assert "no active user with the username nobody@sandbox.example" in result.stderr
    assert not bare.org.deploys, "who is to get access is looked up first"


def test_a_secret_that_is_not_there_is_named(file: Path) -> None:
    result = run_cli("package", "deploy", "-f", str(file), "--credentials", "boss")

    assert result.returncode == FAILED
    assert "Secret boss with the sign-in to Salesforce does not exist" in result.stderr


def test_a_package_with_a_namespace_is_not_deployed(bare: Company, tmp_path: Path) -> None:
    spec = bare.spec("acme", salesforce={"namespacePrefix": "acme"})
    file = written_to(tmp_path / "named.yaml", *references(bare), sync_manifest("acme", spec))
    result = run_cli("package", "deploy", "-f", str(file))

    assert result.returncode == FAILED
    assert "spec.salesforce.namespacePrefix is set" in result.stderr


@pytest.mark.parametrize("command", ["deploy", "check"])
def test_an_unknown_api_version_is_told_as_such(
    bare: Company, tmp_path: Path, command: str
) -> None:
    spec = bare.spec("acme", salesforce={"apiVersion": "99.0"})
    file = written_to(tmp_path / "version.yaml", *references(bare), sync_manifest("acme", spec))
    result = run_cli("package", command, "-f", str(file))

    assert result.returncode == FAILED
    assert "the org does not know API version 99.0" in result.stderr
    assert "deploy the Metronome package" not in result.stderr


def test_nothing_is_deployed_when_no_calls_are_left(bare: Company, file: Path) -> None:
    bare.org.api_used = bare.org.api_limit
    result = run_cli("package", "deploy", "-f", str(file), "--credentials", "admin")

    assert result.returncode == FAILED
    assert "used up its API calls" in result.stderr
    assert not bare.org.deploys


# -- check -----------------------------------------------------------------------------------------


def findings(file: Path) -> set[tuple[str, str, str]]:
    """What `check` finds, as (kind, name, problem)."""
    result = run_cli("package", "check", "-f", str(file), "--output", "json")
    document = json.loads(result.stdout)
    assert result.returncode == (FAILED if document["findings"] else SUCCEEDED)
    return {(one["kind"], one["name"], one["problem"]) for one in document["findings"]}


def commands(file: Path) -> list[str]:
    """What `check` says to type."""
    result = run_cli("package", "check", "-f", str(file), "--output", "json")
    found: list[str] = json.loads(result.stdout)["commands"]
    return found


def test_an_org_without_the_package_lacks_everything(bare: Company, file: Path) -> None:
    bare.org.grant_permission(INTEGRATION, "ViewSetup")
    found = findings(file)

    assert ("object", "Metronome_Invoice__c", "is not in the org") in found
    assert ("object", "Metronome_Sync_Run__c", "is not in the org") in found
    assert ("permission set", "Metronome_Admin", "is not in the org") in found
    assert ("object access", "Account", "is closed to the integration user") in found
    assert commands(file) == [f"metronome-salesforce package deploy -f {file}"]
    assert bare.org.statistics.total_rows == 0


def test_a_package_nobody_was_given_is_to_be_assigned(bare: Company, file: Path) -> None:
    bare.org.grant_permission(INTEGRATION, "ViewSetup")
    assert bare.org.deploy(of_version("0.1.0")).success
    found = findings(file)

    assert ("assignment", "Metronome_Integration", "is not assigned to the integration user") in (
        found
    )
    assert ("object access", "Metronome_Usage__c", "is closed to the integration user") in found
    assert not any(kind in {"object", "field", "permission set"} for kind, _, _ in found)
    assign = "sf org assign permset --name Metronome_Integration --on-behalf-of"
    assert commands(file)[0] == f"{assign} {INTEGRATION}"
    bare.org.assign_permission_set(INTEGRATION, "Metronome_Integration")
    assert findings(file) == set()
    text = run_cli("package", "check", "-f", str(file)).stdout
    assert told(text) == [
        "The org's Metronome package is 0.1.0; this operator brings 0.1.0.",
        "Every object, field and right that the operator needs is in order.",
    ]


READ_ONLY = "the integration user may not write it"
CLOSED = "is not in the org, or no longer in the permission set"
SET = "permissionsets/Metronome_Integration.permissionset"


def test_one_field_that_is_closed_or_read_only_is_named(bare: Company, file: Path) -> None:
    """Somebody has edited the permission set in the org."""
    entry = (
        "<editable>true</editable>\n        <field>Metronome_Invoice__c.Total__c</field>\n"
        "        <readable>true</readable>"
    )
    bare.org.grant_permission(INTEGRATION, "ViewSetup")
    for edited, problem in (
        (
            entry.replace("<editable>true", "<editable>false"),
            READ_ONLY,
        ),
        (entry.replace(">true<", ">false<"), CLOSED),
    ):
        assert bare.org.deploy(changed(SET, entry, edited)).success
        bare.org.assign_permission_set(INTEGRATION, "Metronome_Integration")
        kind = "field" if problem == CLOSED else "field access"
        assert findings(file) == {(kind, "Metronome_Invoice__c.Total__c", problem)}
        assert commands(file) == [f"metronome-salesforce package deploy -f {file}"]


def test_an_older_package_is_to_be_deployed(bare: Company, file: Path) -> None:
    assert bare.org.deploy(of_version("0.0.3")).success
    bare.org.assign_permission_set(INTEGRATION, "Metronome_Integration")

    assert findings(file) == {("package", "Metronome", "is 0.0.3, the operator brings 0.1.0")}
    text = run_cli("package", "check", "-f", str(file)).stdout
    assert told(text)[-2:] == [
        "What mends it:",
        f"metronome-salesforce package deploy -f {file}",
    ]


def test_a_bare_integration_user_is_checked_by_what_it_sees(bare: Company, file: Path) -> None:
    """It may not look at permission sets; so nobody can tell what is missing and what closed."""
    found = findings(file)
    closed = "is not in the org, or closed to the integration user"
    assert ("object", "Metronome_Usage__c", closed) in found
    assert not any(kind == "permission set" for kind, _, _ in found)

    assert bare.org.deploy(of_version("0.1.0")).success
    bare.org.assign_permission_set(INTEGRATION, "Metronome_Integration")
    assert findings(file) == set()
    text = run_cli("package", "check", "-f", str(file)).stdout
    assert "may not look at permission sets" in text


@pytest.mark.parametrize("sees_sets", [True, False])
def test_access_by_a_set_of_the_org_s_own_is_in_order(
    bare: Company, file: Path, *, sees_sets: bool
) -> None:
    """A cycle goes on with it; nobody has to assign what is not needed."""
    assert bare.org.deploy(of_version("0.1.0")).success
    assert (deployed := bare.org.deploy(own_set())).success, deployed.problems
    bare.org.assign_permission_set(INTEGRATION, "Ours")
    if sees_sets:
        bare.org.grant_permission(INTEGRATION, "ViewSetup")

    assert findings(file) == set()


def test_a_missing_managed_package_is_not_to_be_deployed(bare: Company, tmp_path: Path) -> None:
    spec = bare.spec("acme", salesforce={"namespacePrefix": "acme"})
    file = written_to(tmp_path / "named.yaml", *references(bare), sync_manifest("acme", spec))

    assert findings(file)
    assert not any("package deploy" in command for command in commands(file))
    assert "managed package" in commands(file)[0]


# -- export and zip --------------------------------------------------------------------------------


def test_the_export_is_the_source_that_the_zip_is_made_of(tmp_path: Path) -> None:
    done = run_cli("package", "export", str(tmp_path / "app"))
    assert done.returncode == SUCCEEDED, done.stderr
    files = [path for path in (tmp_path / "app").rglob("*") if path.is_file()]
    assert done.stdout.startswith(f"{len(files)} files are written to {tmp_path / 'app'}.")
    project = json.loads((tmp_path / "app" / "sfdx-project.json").read_text("utf-8"))
    [directory] = project["packageDirectories"]
    source = tmp_path / "app" / directory["path"]
    assert run_cli("package", "zip", str(tmp_path / "app.zip")).returncode == SUCCEEDED
    with zipfile.ZipFile(tmp_path / "app.zip") as archive:
        names = set(archive.namelist())
        manifest = archive.read("package.xml").decode()
    assert f"<version>{project['sourceApiVersion']}</version>" in manifest
    for path in source.glob("*/*-meta.xml"):
        folder, name = path.parent.name, path.name.removesuffix("-meta.xml")
        is_folder = name.endswith(("reportFolder", "dashboardFolder"))
        member = f"{name.partition('.')[0]}-meta.xml" if is_folder else name
        assert f"{folder}/{member}" in names
    for path in (source / "objects").iterdir():
        assert f"objects/{path.name}.object" in names


def test_an_export_does_not_mix_with_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine", "utf-8")
    result = run_cli("package", "export", str(tmp_path))

    assert result.returncode == USAGE
    assert "it is not empty" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_the_zip_is_for_the_api_version_that_was_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "app.zip"
    assert run_cli("package", "zip", str(file), "--api-version", "62.0").returncode == SUCCEEDED
    with zipfile.ZipFile(io.BytesIO(file.read_bytes())) as archive:
        assert b"<version>62.0</version>" in archive.read("package.xml")
