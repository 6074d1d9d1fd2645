"""`metronome-salesforce doctor`: everything in order, who asks, and what is neither good nor bad.

Expected sentences stand here.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from metronome_salesforce.sandbox.salesforce import INTEGRATION
from tests.e2e.suite import (
    PERMISSION_SET,
    Company,
    Space,
    company,
    free_port,
    references,
    run_cli,
    sync_manifest,
)
from tests.e2e.suite_doctor import (
    ACCOUNT,
    BROKEN,
    FAILED,
    NO_SYNC,
    OK,
    SUCCEEDED,
    UNKNOWN,
    USAGE,
    WAITING,
    Result,
    Ward,
    assert_nothing_written,
    named,
    of_result,
    slow_clock,
)
from tests.package.versions import RIGHTS, let_install, own_set

# -- all is well -----------------------------------------------------------------------------------

ALL_FINE = {
    ("Kubernetes", "API server"): r"http://127\.0\.0\.1:\d+ answers, version v1\.36\.2\.",
    ("Kubernetes", "CRDs"): r"Both are served, with every field of this version\.",
    ("Kubernetes", "MetronomeSync"): r"acme in namespace default is valid\.",
    ("operator", "rights"): rf"{ACCOUNT} may do all 18 things that it needs\.",
    ("operator", "at work"): (
        r"An operator has taken up the newest spec; the next cycle is due 20\d\d-[\d:TZ-]+\."
    ),
    ("operator", "Lease"): r"Nobody holds it: no cycle runs and no customer is moved just now\.",
    ("references", "settings"): (
        r"The default hosts, and 127\.0\.0\.1, localhost may be called; plain http is allowed, "
        r"which is for sandboxes only\."
    ),
    ("references", "Metronome's Secret"): r"acme-metronome has the key apiKey\.",
    ("references", "Salesforce's Secret"): r"acme-salesforce has clientId, clientSecret\.",
    ("references", "CA ConfigMap"): r"acme-ca has the key ca\.crt\.",
    ("Metronome", "allowed host"): (
        r"127\.0\.0\.1:\d+ may be called, by the environment of this command\."
    ),
    ("Metronome", "reachable"): r"127\.0\.0\.1:\d+ answers, by plain http\.",
    ("Metronome", "clock"): r"It differs from this machine's by 0 s or less\.",
    ("Metronome", "API key"): r"Metronome takes it, and it may read customers\.",
    ("Salesforce", "allowed host"): (
        r"localhost:\d+ may be called, by the environment of this command\."
    ),
    ("Salesforce", "reachable"): r"localhost:\d+ answers, its certificate is trusted\.",
    ("Salesforce", "clock"): r"It differs from this machine's by 0 s or less\.",
    ("Salesforce", "API version"): r"66\.0; the org offers 31\.0 to 68\.0\.",
    ("Salesforce", "sign-in"): r"The org opens a session\.",
    ("Salesforce", "API calls"): r"\d+ of 100,000 used in 24 hours; cycles stop at 80,000\.",
    ("Salesforce", "data storage"): r"1,02\d of 1,024 MB are left\.",
    ("Salesforce", "package"): r"0\.1\.0, as the operator brings it\.",
    ("Salesforce", "permission sets"): (
        r"All are there, and Metronome_Integration is assigned to the integration user\."
    ),
    ("Salesforce", "objects"): r"All are there, and may be read and written\.",
    ("Salesforce", "fields"): r"All are there\.",
    ("Salesforce", "field access"): r"All may be read, and written where the operator writes\.",
    ("Salesforce", "rights to install"): (
        r"The integration user may deploy the package, and assign its sets\."
    ),
    ("cycles", "last run"): r"Succeeded 3 h ago\.",
}


def test_all_is_well_and_nothing_is_written_anywhere(ward: Ward) -> None:
    checks = ward.checks()

    assert list(checks) == list(ALL_FINE)
    for key, pattern in ALL_FINE.items():
        assert (checks[key]["result"], checks[key]["remedy"]) == (OK, ""), checks[key]
        assert re.fullmatch(pattern, checks[key]["found"]), checks[key]
    assert_nothing_written(ward.one)
    reviews = {"selfsubjectaccessreviews", "selfsubjectreviews"}
    verbs = {(call.verb, call.resource) for call in ward.api.requests.calls()}
    asked = {("create", one) for one in reviews} | {("list", "customresourcedefinitions")}
    assert {one for one in verbs if one[0] != "get"} == asked


def test_the_table_is_for_people(ward: Ward) -> None:
    """Marks, areas once, remedies beside, and what is left out says why."""
    ward.secret("acme-metronome", other="x")
    result = ward.run()

    assert result.returncode == FAILED
    lines = [re.sub(r"\s+", " ", line).strip() for line in result.stdout.splitlines()]
    assert lines[0] == "area check found what to do"
    assert lines[2].startswith("✔ Kubernetes API server http://127.0.0.1:")
    assert (
        "✘ Metronome's Secret Secret acme-metronome in namespace default has no key Put"
        in " ".join(line for line in lines if line.startswith("✘"))
    )
    assert any(
        line.startswith("- API key not looked at: references: Metronome's Secret comes first")
        for line in lines
    )
    assert lines[-1] == ("28 checks: 26 in order (✔), 1 not in order (✘), 1 not looked at (-)")


# -- the package -----------------------------------------------------------------------------------


def test_a_package_that_nobody_was_given_is_to_be_assigned(ward: Ward) -> None:
    """Many findings, in four lines."""
    ward.one.org.revoke_permission_set(INTEGRATION, PERMISSION_SET)
    ward.one.org.statistics.reset()
    checks = ward.checks()

    broken = of_result(checks, BROKEN)
    assert broken == named("Salesforce", "permission sets", "objects")
    assert of_result(checks, UNKNOWN) == named("Salesforce", "fields", "field access")
    objects = checks["Salesforce", "objects"]
    assert re.fullmatch(
        r"Metronome_\w+ is closed to the integration user; Metronome_\w+ is closed to the "
        r"integration user; Metronome_\w+ is closed to the integration user; and \d+ more\.",
        objects["found"],
    )
    assign = (
        "Assign Metronome_Integration to the integration user; package check lists everything, "
        "with the command."
    )
    assert {checks[key]["remedy"] for key in broken} == {assign}
    sets = checks["Salesforce", "permission sets"]["found"]
    assert sets == "Metronome_Integration is not assigned to the integration user."
    assert_nothing_written(ward.one)


@pytest.mark.parametrize("sees_sets", [True, False])
@pytest.mark.parametrize("policy", ["IfMissing", "Always"])
def test_access_by_a_set_of_the_org_s_own_does_not_fail(
    ward: Ward, policy: str, *, sees_sets: bool
) -> None:
    """A cycle goes on with it, and installs nothing."""
    org = ward.one.org
    ward.sync({"spec": {"salesforce": {"package": {"install": policy}}}})
    assert (deployed := org.deploy(own_set())).success, deployed.problems
    org.revoke_permission_set(INTEGRATION, PERMISSION_SET)
    org.assign_permission_set(INTEGRATION, "Ours")
    for right in RIGHTS:
        if right != "ViewSetup" or not sees_sets:
            org.revoke_permission(INTEGRATION, right)
    checks = ward.checks()

    assert of_result(checks, BROKEN) == set()
    package = checks["Salesforce", "package"]
    assert package["result"] == UNKNOWN
    assert "does not see of which version" in package["found"]
    assert checks["Salesforce", "rights to install"]["found"].startswith("Not needed: ")
    sets = checks["Salesforce", "permission sets"]
    assert "is assigned to the integration user" not in sets["found"]
    assert sets["result"] == (OK if sees_sets else UNKNOWN)


def test_an_org_without_the_package_tells_who_may_install_it(tmp_path: Path) -> None:
    """From files, where there is no cluster to be looked at."""
    with company(package=False) as one:
        documents = [*references(one), sync_manifest("acme", one.spec())]
        file = tmp_path / "acme.yaml"
        file.write_text(yaml.safe_dump_all(documents), "utf-8")

        def checks() -> Result:
            result = run_cli("doctor", "-f", str(file), "--output", "json")
            assert result.returncode == FAILED
            return {(one["area"], one["check"]): one for one in json.loads(result.stdout)["checks"]}

        let_install(one.org)
        able = checks()
        one.org.revoke_permission(INTEGRATION, "ModifyMetadata")
        unable = checks()
        assert_nothing_written(one)

    areas = ("references", "Metronome", "Salesforce")
    assert list(able) == [key for key in ALL_FINE if key[0] in areas]
    assert of_result(able, BROKEN) == named("Salesforce", "package", "permission sets", "objects")
    deploy = "Run metronome-salesforce package deploy; package check lists everything."
    assert able["Salesforce", "package"]["found"] == (
        "It is not there, or not to be seen; the operator brings 0.1.0."
    )
    assert able["Salesforce", "package"]["remedy"] == deploy
    assert able["Salesforce", "rights to install"]["result"] == OK
    rights = unable["Salesforce", "rights to install"]
    assert (rights["result"], rights["found"]) == (
        BROKEN,
        'The integration user lacks "Modify Metadata Through Metadata API Functions".',
    )
    assert rights["remedy"].startswith("Give the user these, or let an administrator run ")


@pytest.mark.parametrize(
    ("policy", "result"), [("IfMissing", OK), ("Always", UNKNOWN), ("Never", None)]
)
def test_rights_to_install_matter_where_something_is_to_be_installed(
    ward: Ward, policy: str, result: str | None
) -> None:
    ward.one.org.revoke_permission(INTEGRATION, "AssignPermissionSets")
    ward.sync({"spec": {"salesforce": {"package": {"install": policy}}}})
    told = ward.checks().get(("Salesforce", "rights to install"))

    assert (told and told["result"]) == result


def test_a_clock_that_is_wrong_is_told_beside_the_sign_in_that_it_spoils(ward: Ward) -> None:
    """By JWT: the assertion is out of date for the org."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    ward.one.org.add_jwt_app("jwt-app", public.decode(), {INTEGRATION})
    values = {"clientId": "jwt-app", "username": INTEGRATION, "privateKey": private}
    ward.secret("acme-salesforce", **values)
    assert of_result(ward.checks(), BROKEN) == set()
    slow_clock(ward)
    result = ward.run("--output", "json")

    told = {one["check"]: one for one in json.loads(result.stdout)["checks"]}
    assert {name for name, one in told.items() if one["result"] == BROKEN} == {"clock", "sign-in"}
    assert told["sign-in"]["remedy"] == "Check the clock of the machine."
    assert private.splitlines()[3] not in result.stdout


# -- who asks --------------------------------------------------------------------------------------


def test_a_person_asks_for_the_rights_of_the_operator_s_account(ward: Ward) -> None:
    ward.api.username = "jane@example.com"
    own = ward.checks()["operator", "rights"]
    theirs = ward.checks("--as-service-account", "default/operator")["operator", "rights"]
    ward.forbid("get", "secrets", name="acme-salesforce")
    lacking = ward.checks("--as-service-account", "default/operator")

    assert (own["result"], own["found"]) == (
        UNKNOWN,
        "jane@example.com, who asks, may do all 18 things; what the operator may do was not asked.",
    )
    assert own["remedy"] == "Name its ServiceAccount: --as-service-account NAMESPACE/NAME"
    assert (theirs["result"], theirs["found"]) == (
        OK,
        f"{ACCOUNT} may do all 18 things that it needs.",
    )
    assert lacking["operator", "rights"]["found"] == (
        f"{ACCOUNT} may not get secrets acme-salesforce in namespace default."
    )
    secret = lacking["references", "Salesforce's Secret"]
    assert (secret["result"], secret["found"]) == (
        UNKNOWN,
        "You may not get secrets acme-salesforce.",
    )
    assert lacking["Salesforce", "sign-in"]["found"] == (
        "not looked at: references: Salesforce's Secret comes first"
    )
    ward.forbid("create", "subjectaccessreviews")
    unasked = ward.checks("--as-service-account", "default/operator")["operator", "rights"]
    assert unasked["result"] == UNKNOWN
    assert "subjectaccessreviews" in unasked["remedy"]


def test_definitions_that_may_not_be_read_are_served_all_the_same(ward: Ward) -> None:
    ward.forbid("list", "customresourcedefinitions")
    told = ward.checks()

    assert of_result(told, UNKNOWN) == named("Kubernetes", "CRDs")
    assert told["Kubernetes", "CRDs"]["found"].startswith("Both are served.")


@pytest.mark.parametrize(
    ("act", "key", "result", "found"),
    [
        (
            lambda ward: ward.lease("operator-0", seconds=3), ("operator", "Lease"), OK,
            r"operator-0 holds it, renewed \d+ s ago\.",
        ),
        (
            lambda ward: ward.lease(None, seconds=300), ("operator", "Lease"), OK,
            r"Nobody holds it: .*",
        ),
        (
            lambda ward: ward.status({"lastRun": {"outcome": "Planned"}}), ("cycles", "last run"),
            UNKNOWN, r"Planned 3 h ago: a dry run\.",
        ),
        (
            lambda ward: ward.status({"lastRun": None}), ("cycles", "last run"), UNKNOWN,
            r"No cycle has run yet\.",
        ),
        (
            lambda ward: ward.sync({"spec": {"historyLimit": 3}}, taken_up=False),
            ("operator", "at work"), UNKNOWN,
            r"The last change of the spec has not been taken up yet\.",
        ),
        (
            lambda ward: ward.status({"conditions": None}), ("operator", "at work"), UNKNOWN,
            r"No operator has looked at it yet\.",
        ),
        (
            lambda ward: ward.sync({"spec": {"linking": {"writeBack": True}}}),
            ("Metronome", "write back"), UNKNOWN,
            r"Whether the key may change customers shows only when it does\.",
        ),
    ],
)  # fmt: skip
def test_what_is_neither_good_nor_bad_does_not_fail(
    ward: Ward, act: Callable[[Ward], Any], key: tuple[str, str], result: str, found: str
) -> None:
    act(ward)
    checks = ward.checks()

    assert of_result(checks, BROKEN) == set()
    assert checks[key]["result"] == result
    assert re.fullmatch(found, checks[key]["found"]), checks[key]["found"]


# -- no cluster, wrong usage -----------------------------------------------------------------------


def test_without_a_cluster_the_rest_is_not_looked_at(ward: Ward) -> None:
    nobody = ward.folder / "nobody"
    ward.api.write_kubeconfig(nobody, f"http://127.0.0.1:{free_port()}")
    for kubeconfig, found, remedy in (
        (nobody, "no usable answer from the Kubernetes API: ", "Check the cluster that"),
        (ward.folder / "none", "no access to a Kubernetes API: ", "Name a kubeconfig with"),
    ):
        ward.kubeconfig = kubeconfig
        checks = ward.checks()
        assert of_result(checks, BROKEN) == named("Kubernetes", "API server")
        api = checks["Kubernetes", "API server"]
        assert api["found"].startswith(found)
        assert re.search(r"[^.]\.$", api["found"]), "one full stop"
        assert api["remedy"].startswith(remedy)
        assert of_result(checks, WAITING) == NO_SYNC | named("Kubernetes", "CRDs", "MetronomeSync")
    assert not ward.one.metronome.requests


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "name the MetronomeSync: -f FILE for one in files, --sync NAME for one in a cluster"),
        (("-f", "acme.yaml", "--namespace", "x"), "leave them out with -f"),
        (("-f", "{file}", "--as-service-account", "a/b"), "leave it out with -f"),
        (("--sync", "acme", "--as-service-account", "operator"), "must be NAMESPACE/NAME"),
        (("-f", "{missing}"), "missing.yaml"),
    ],
)
def test_wrong_usage_gives_code_2(words: tuple[str, ...], told: str, tmp_path: Path) -> None:
    file, missing = tmp_path / "acme.yaml", tmp_path / "missing.yaml"
    file.write_text(yaml.safe_dump(sync_manifest("acme", {
        "metronome": {"apiKeySecretRef": {"name": "a"}},
        "salesforce": {
            "instanceUrl": "https://a.my.salesforce.com", "credentialsSecretRef": {"name": "a"},
        },
    })), "utf-8")  # fmt: skip
    result = run_cli("doctor", *(word.format(file=file, missing=missing) for word in words))

    assert (result.returncode, result.stdout) == (USAGE, "")
    assert told in result.stderr


# -- with an operator ------------------------------------------------------------------------------


def test_what_an_operator_serves_is_in_order(space: Space, acme: Company) -> None:
    """On the embedded API and on a real one, where a person with all rights asks."""
    space.start(acme)
    space.wait_for_run()
    acme.org.statistics.reset()
    result = run_cli(
        *("doctor", "--sync", "acme", "--namespace", space.namespace, "--output", "json"),
        *("--kubeconfig", str(space.cluster.kubeconfig)),
    )

    checks = {(one["area"], one["check"]): one for one in json.loads(result.stdout)["checks"]}
    assert result.returncode == SUCCEEDED, result.stdout
    assert list(checks) == list(ALL_FINE)
    # A person asks, and the integration user has no more rights than it needs.
    unknown = named("operator", "rights") | named("Salesforce", "permission sets")
    assert of_result(checks, UNKNOWN) == unknown
    assert of_result(checks, OK) == set(ALL_FINE) - unknown
    assert checks["Salesforce", "rights to install"]["found"] == (
        "Not needed: the org has the package, and IfMissing upgrades nothing."
    )
    assert acme.org.statistics.total_rows == 0
