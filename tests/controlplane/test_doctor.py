"""`doctor` inside the operator's pod: with its ServiceAccount's token, and the rights of that.

On the real API server, whose audit log tells what the command asked for.
"""

import json
from pathlib import Path

import pytest

from metronome_salesforce.doctorcluster import rights_for, rights_in_cluster
from metronome_salesforce.spec import MetronomeSync
from tests.controlplane.launch import ControlPlane
from tests.controlplane.test_rights import (
    NAMESPACE,
    SYNC,
    USER,
    Right,
    chart_for_the_cluster,
    example_for_one_namespace,
    filled_in,
    installed,
    requests_of,
)
from tests.e2e.suite import Json, company, eventually, run_cli

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

REVIEWS = {"selfsubjectaccessreviews", "selfsubjectreviews"}
FAILED = 1


def checks_of(kubeconfig: Path, *more: str, code: int = 0) -> dict[tuple[str, str], Json]:
    """What `doctor` says, with this kubeconfig."""
    result = run_cli(
        *("doctor", "--sync", SYNC, "--namespace", NAMESPACE, "--output", "json"),
        *("--kubeconfig", str(kubeconfig), *more),
    )
    assert result.returncode == code, result.stdout + result.stderr
    return {(one["area"], one["check"]): one for one in json.loads(result.stdout)["checks"]}


def test_in_the_operator_s_pod_all_is_told_with_the_operator_s_rights(tmp_path: Path) -> None:
    installation = example_for_one_namespace()
    with (
        ControlPlane(audit=True) as plane,
        company() as acme,
        installed(plane, installation, tmp_path) as space,
    ):
        documents = filled_in(acme)
        space.apply(*documents)
        space.wait_for_run(name=SYNC, outcome="Succeeded")
        assert space.operator.stop() == 0
        before = len(requests_of(plane, USER))
        own = checks_of(tmp_path / "kubeconfig-pod")
        eventually(lambda: len(requests_of(plane, USER)) > before)
        asked = requests_of(plane, USER)[before:]
        account = "/".join([NAMESPACE, USER.rpartition(":")[2]])
        of_admin = checks_of(plane.kubeconfig, "--as-service-account", account)

        # A right is taken away, and each of the two says which.
        role = installation.only("Role")
        role["rules"] = [rule for rule in role["rules"] if rule["resources"] != ["events"]]
        space.cluster.kubectl("apply", "-f", "-", given=role)
        lacking = checks_of(tmp_path / "kubeconfig-pod", code=FAILED)
        lacking_of_admin = checks_of(plane.kubeconfig, "--as-service-account", account, code=FAILED)

    # A namespaced role does not read definitions, nor the integration user permission sets.
    sets, definitions = ("Salesforce", "permission sets"), ("Kubernetes", "CRDs")
    told = {key: one["result"] for key, one in own.items() if one["result"] != "ok"}
    assert told == {definitions: "unknown", sets: "unknown"}
    assert own["operator", "rights"]["found"] == f"{USER} may do all 16 things that it needs."
    assert {key for key, one in of_admin.items() if one["result"] != "ok"} == {sets}
    assert of_admin["operator", "rights"]["found"] == own["operator", "rights"]["found"]
    missing = f"{USER} may not create events in namespace {NAMESPACE}."
    assert lacking["operator", "rights"]["found"] == missing
    assert lacking_of_admin["operator", "rights"]["found"] == missing

    reads = {(one["verb"], one.get("objectRef", {}).get("resource")) for one in asked}
    listed = {("list", "customresourcedefinitions")}
    assert {one for one in reads if one[0] != "get"} <= listed | {
        ("create", one) for one in REVIEWS
    }
    # What is asked for is what the example grants.
    (sync,) = (one for one in documents if one["kind"] == "MetronomeSync")
    needed = {
        Right(one.group, one.resource, one.verb, one.name)
        for one in rights_for(MetronomeSync.model_validate(sync))
    }
    assert needed == example_for_one_namespace().rights()


def test_in_the_pod_of_the_chart_the_crds_age_is_told(tmp_path: Path) -> None:
    """With its default rights, which serve the whole cluster; without those for CRDs it says so."""
    installation = chart_for_the_cluster()
    with (
        ControlPlane(audit=True) as plane,
        company() as acme,
        installed(plane, installation, tmp_path) as space,
    ):
        documents = filled_in(acme)
        space.apply(*documents)
        space.wait_for_run(name=SYNC, outcome="Succeeded")
        assert space.operator.stop() == 0
        own = checks_of(tmp_path / "kubeconfig-pod")

        name = USER.rpartition(":")[2]
        (role,) = (
            one for one in installation.all("ClusterRole") if one["metadata"]["name"] == name
        )
        groups = ["apiextensions.k8s.io"]
        role["rules"] = [rule for rule in role["rules"] if rule["apiGroups"] != groups]
        space.cluster.kubectl("apply", "-f", "-", given=role)
        lacking = checks_of(tmp_path / "kubeconfig-pod", code=FAILED)

    definitions = own["Kubernetes", "CRDs"]
    assert definitions["found"] == "Both are served, with every field of this version."
    assert own["operator", "rights"]["found"] == f"{USER} may do all 18 things that it needs."
    assert lacking["Kubernetes", "CRDs"]["result"] == "unknown"
    assert lacking["operator", "rights"]["found"] == (
        f"{USER} may not list customresourcedefinitions, watch customresourcedefinitions in "
        "the whole cluster."
    )
    # What is asked for is what the chart grants; it names no Secrets and no ConfigMaps.
    (sync,) = (one for one in documents if one["kind"] == "MetronomeSync")
    rights = [*rights_for(MetronomeSync.model_validate(sync)), *rights_in_cluster()]
    granted = {Right(one.group, one.resource, one.verb) for one in rights}
    assert granted == chart_for_the_cluster().rights()
