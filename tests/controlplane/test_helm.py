"""The chart in a cluster, with Helm 3 and Helm 4: from an older version to the last trace of it.

The API server is real, and so are Helm, the operator and its rights; pods are processes with the
arguments, environment and account of their manifests (see `pods`).
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.render import CHART, documents
from tests.controlplane.launch import ControlPlane
from tests.controlplane.pods import Pod, kubeconfig_of
from tests.controlplane.release import NAMESPACE, OPERATOR, Release, previous_chart
from tests.e2e.suite import (
    GROUP,
    LINKS,
    PLURAL,
    Cluster,
    Company,
    Space,
    company,
    condition,
    content,
    eventually,
    references,
    sync_manifest,
)
from tests.helm import MAJORS

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

Json = dict[str, Any]
# What emulated services on loopback need of the operator.
LOOPBACK: Json = {
    "hosts": {"allowed": ["127.0.0.1", "localhost"]},
    "extraEnv": [{"name": "METRONOME_SALESFORCE_ALLOW_HTTP", "value": "true"}],
}
# For what Helm has no part in.
once = pytest.mark.parametrize("release", MAJORS[-1:], indirect=True, ids="helm{}".format)
HELM_3 = 3  # the last that does not apply on the server's side
SERVICE = f"http://{OPERATOR}.{NAMESPACE}.svc:8080"


@pytest.fixture(name="release", params=MAJORS, ids=lambda major: f"helm{major}")
def _release(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Release]:
    """Nothing is installed yet, in a cluster of the test's own."""
    with ControlPlane() as plane, closing(Cluster("real", plane.kubeconfig, tmp_path)) as cluster:
        yield Release(cluster, request.param, tmp_path)


@pytest.fixture(name="acme")
def _acme() -> Iterator[Company]:
    with company() as one:
        yield one


@contextmanager
def at_work(release: Release) -> Iterator[Space]:
    """The operator as the Deployment has it now, until it is stopped as a kubelet does."""
    folder = release.folder / "pod"
    folder.mkdir(exist_ok=True)
    with Pod(release.cluster, folder, NAMESPACE, release.pod()) as operator:
        yield Space(release.cluster, NAMESPACE, operator)
        assert operator.stop() == 0, operator.log_text()


def link(space: Space, one: Company) -> str:
    """Link the second customer to a new Account, and return the customer's id."""
    customer = one.tenant.customers()[1]["id"]
    account = one.org.insert("Account", {"Name": "Robotics"})
    spec = {
        "syncRef": {"name": "acme"},
        "customer": {"id": customer},
        "account": {"id": account},
    }
    about = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "CustomerLink"}
    space.apply({**about, "metadata": {"name": "robotics"}, "spec": spec})

    def ready() -> bool:
        status = json.loads(space.kubectl("get", "clink", "robotics", "-o", "json")).get("status")
        return condition(status or {}, "Ready") == ("True", "Linked")

    eventually(ready, told=space.operator.log_text)
    return str(customer)


def accounts_of(one: Company, customer: str) -> set[str | None]:
    """Where the customer's invoices hang."""
    return {
        row["Account__c"]
        for row in one.org.rows("Metronome_Invoice__c")
        if row["Metronome_Customer_ID__c"] == customer
    }


def crds(cluster: Cluster) -> set[str]:
    """The definitions of the operator's kinds that are there."""
    names = cluster.kubectl("get", "crd", "-o", "name").split()
    return {name.rpartition("/")[2].partition(".")[0] for name in names if GROUP in name}


def fields(release: Release) -> set[str]:
    """The fields of a MetronomeSync's spec that the API server knows."""
    (version,) = release.get("crd", f"{PLURAL}.{GROUP}")["spec"]["versions"]
    return set(version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"])


def test_from_an_older_version_to_uninstalled(release: Release, acme: Company) -> None:
    """Install, upgrade, test, roll back, uninstall: the resources live on, nothing runs twice."""
    values = LOOPBACK | {"syncs": {"acme": {"spec": acme.spec()}}}
    customer = older_version(release, acme, values)
    linked = accounts_of(acme, customer)

    upgrade(release, values)

    # Back, and on again: still the same resources.
    uid = release.get("msync", "acme")["metadata"]["uid"]
    release.helm("rollback", release.name, "2")
    assert "dryRun" not in fields(release)
    with at_work(release) as space:
        space.request("after-rollback")
        assert len(space.status()["history"]) == 4
    assert uid == space.get()["metadata"]["uid"]
    release.upgrade(values)

    # Back to the first revision, which had no MetronomeSync because it brought the kind.
    release.helm("rollback", release.name, "1")
    assert uid == release.get("msync", "acme")["metadata"]["uid"]
    release.upgrade(values)
    assert uid == release.get("msync", "acme")["metadata"]["uid"]

    # Gone, with the definitions and what people made; and there again.
    release.helm("uninstall", release.name)
    assert crds(release.cluster) == {PLURAL, LINKS}
    assert release.cluster.try_kubectl("get", f"clusterrole/{OPERATOR}").returncode == 1
    assert "robotics" in space.kubectl("get", "clink")
    assert uid == release.get("msync", "acme")["metadata"]["uid"]
    assert accounts_of(acme, customer) == linked
    release.install(values)
    with at_work(release) as space:
        space.request("after-installing")
        assert accounts_of(acme, customer) == linked
        space.kubectl("delete", "clink", "robotics", "--timeout=30s")
    assert accounts_of(acme, customer) == {None}


def older_version(release: Release, one: Company, values: Json) -> str:
    """Install one, let it do its first cycle and link a customer, whose id is returned."""
    chart = previous_chart(release.folder)
    told = release.install(values, chart)
    assert "NOT CREATED YET: the MetronomeSyncs" in told
    release.cluster.wait_for_crds()
    assert "dryRun" not in fields(release)
    assert "NOT CREATED YET" not in release.upgrade(values, chart)
    assert "metronome-salesforce-operator-0.0.1" in release.helm("list")
    for document in references(one):
        release.cluster.kubectl("-n", NAMESPACE, "apply", "-f", "-", given=document)
    with at_work(release) as space:
        space.wait_for_run()
        return link(space, one)


def upgrade(release: Release, values: Json) -> None:
    """The new version: the definitions with it, and the resources as they were."""
    before = release.get("msync", "acme")
    release.upgrade(values | {"helmTest": {"syncs": ["acme"]}})
    after = release.get("msync", "acme")
    assert "dryRun" in fields(release)
    assert before["metadata"]["uid"] == after["metadata"]["uid"]
    assert before["status"] == after["status"]

    with at_work(release) as space:
        head, line = space.kubectl("get", "msync").splitlines()
        assert head.split()[:3] == ["NAME", "READY", "OUTCOME"]
        assert "ORPHANED" in head
        assert line.split()[:3] == ["acme", "True", "Succeeded"]
        head, line = space.kubectl("get", "clink").splitlines()
        assert head.split()[:2] == ["NAME", "READY"]
        assert line.split()[:2] == ["robotics", "True"]
        done, ran = release.test({SERVICE: f"http://127.0.0.1:{space.operator.port}"})
        assert done.returncode == 0, (done, ran)
        (printed,) = (one.stdout for one in ran)
        checks, _, doctor = printed.partition(f"\n{NAMESPACE}/acme:\n")
        assert [line[0] for line in checks.splitlines()] == ["✔"] * 4
        assert f"acme in namespace {NAMESPACE} is valid" in doctor
        space.patch({"dryRun": True})
        space.wait_for_run(2, outcome="Planned")
        space.patch({"dryRun": None})
        space.wait_for_run(3)


@once
def test_as_many_cycles_run_as_the_values_say(release: Release, acme: Company) -> None:
    """Which is what the memory limit is made for; and one logger says more than the others."""
    release.install(LOOPBACK | {"maxCycles": 1, "log": {"levels": {"httpx": "info"}}})
    release.cluster.wait_for_crds()
    acme.slow_down(2)
    with at_work(release) as space:
        space.start(acme)
        space.wait(lambda status: "progress" in status)
        space.apply(sync_manifest("second", acme.spec()))
        space.wait(lambda status: condition(status, "Reconciling") == ("True", "Queued"), "second")
        acme.metronome.faults.clear()
        space.wait_for_run(name="second")
        assert '"logger": "httpx"' in space.operator.log_text()


@once
def test_a_pod_that_is_stopped_in_a_cycle_ends_in_time(release: Release, acme: Company) -> None:
    """Well inside terminationGracePeriodSeconds; the next one need not wait for a Lease."""
    release.install(LOOPBACK)
    release.cluster.wait_for_crds()
    acme.slow_down(20)
    with at_work(release) as space:
        space.start(acme)
        space.wait(lambda status: condition(status, "Reconciling")[0] == "True")
        space.operator.only_child()
        began = time.monotonic()
        code = space.operator.stop()
        took = time.monotonic() - began
        acme.metronome.faults.clear()
        space.operator.start()
        space.wait(lambda status: status.get("lastSuccessTime"))

    assert code == 0
    assert took < release.pod()["terminationGracePeriodSeconds"] / 2
    assert "WaitingForLease" not in space.operator.log_text()


def test_uninstalled_with_its_crds(release: Release, acme: Company) -> None:
    """Nothing hangs in a finalizer, as the operator still runs; the org stays as it is."""
    with with_a_link(release, acme):
        told = uninstall_whole(release, acme, {})

    assert told[-1] == "0 customerlinks let go without the operator"


@once
def test_uninstalled_with_its_crds_without_operator(release: Release, acme: Company) -> None:
    """Nor where nobody is left to take finalizers off."""
    with with_a_link(release, acme):
        pass
    told = uninstall_whole(release, acme, {"60": "1"})

    assert told[-1] == "1 customerlinks let go without the operator"


@contextmanager
def with_a_link(release: Release, one: Company) -> Iterator[None]:
    """A release whose CRDs are to go with it, at work, with a linked customer."""
    release.install(LOOPBACK | {"crds": {"keep": False}})
    release.cluster.wait_for_crds()
    with at_work(release) as space:
        space.start(one)
        space.wait_for_run()
        link(space, one)
        yield


def uninstall_whole(release: Release, one: Company, replaced: Mapping[str, str]) -> list[str]:
    """Uninstall the release, and return what its Job said; nothing is left but the org's rows."""
    before = content(one.org)
    done, ran = release.uninstall(replaced)
    assert done.returncode == 0, done
    eventually(lambda: crds(release.cluster) == set(), told=lambda: crds(release.cluster))
    kinds = ("get", "sa,job,deploy,svc", "-n", NAMESPACE, "-o", "name")
    assert release.cluster.kubectl(*kinds) == ""
    roles = release.cluster.kubectl("get", "clusterroles,clusterrolebindings", "-o", "name")
    assert OPERATOR not in roles
    assert before == content(one.org)
    told = ran[0].stdout.splitlines()
    assert told[:2] == ["1 metronomesyncs deleted", "1 customerlinks deleted"]
    return told


@once
def test_a_broken_installation_fails_its_test(release: Release) -> None:
    """No operator, and a MetronomeSync that was to be there: both are told, and the test fails."""
    spec = {
        "metronome": {"apiKeySecretRef": {"name": "metronome"}},
        "salesforce": {
            "instanceUrl": "https://acme.my.salesforce.com",
            "credentialsSecretRef": {"name": "salesforce"},
        },
    }
    release.install({"syncs": {"production": {"spec": spec}}})
    release.cluster.wait_for_crds()

    done, ran = release.test({SERVICE: "http://127.0.0.1:9", "60": "1"})

    assert done.returncode == 1
    lines = ran[0].stdout.splitlines()
    assert [line[0] for line in lines] == ["✔", "✘", "✘", "✘"]
    assert "helm upgrade with the same values creates it" in lines[-1]


def test_a_team_installs_it_in_its_own_namespaces(release: Release, tmp_path: Path) -> None:
    """Who may do all in two namespaces, and nothing in the cluster, can install it there."""
    cluster = release.cluster
    cluster.install_crds()
    for namespace in (NAMESPACE, "billing"):
        cluster.kubectl("create", "namespace", namespace)
        cluster.kubectl(
            *("-n", namespace, "create", "rolebinding", "team", "--clusterrole=cluster-admin"),
            f"--serviceaccount={NAMESPACE}:team",
        )
    cluster.kubectl("-n", NAMESPACE, "create", "serviceaccount", "team")
    release.kubeconfig = kubeconfig_of(cluster, NAMESPACE, "team", tmp_path / "team")
    own: Json = {"watchNamespaces": ["billing"], "crds": {"enabled": False}}

    refused = release.try_helm("install", release.name, CHART, *release.values(own))
    assert refused.returncode == 1
    assert "clusterroles" in refused.stderr
    own["rbac"] = {"aggregateClusterRoles": False}
    release.helm("upgrade", "--install", release.name, CHART, *release.values(own))
    with at_work(release) as space:
        assert space.operator.probe("/readyz")[0] == 200
    release.helm("uninstall", release.name)

    assert cluster.kubectl("-n", "billing", "get", "roles", "-o", "name") == ""


def test_crds_that_were_applied_by_hand_are_taken_over(release: Release) -> None:
    """Not silently: with the option that says so; and Helm 4 takes fields with another only."""
    older = previous_chart(release.folder)
    release.cluster.kubectl("apply", "-f", str(older / "files" / "crds"))
    arguments = ("install", release.name, older, "--create-namespace")

    refused = release.try_helm(*arguments)
    assert refused.returncode == 1
    assert "invalid ownership metadata" in refused.stderr
    release.helm(*arguments, "--take-ownership")

    crd = release.get("crd", f"{PLURAL}.{GROUP}")
    assert crd["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"
    assert "dryRun" not in fields(release)

    newer: tuple[str | Path, ...] = ("upgrade", release.name, CHART)
    if release.major > HELM_3:
        refused = release.try_helm(*newer)
        assert refused.returncode == 1
        assert 'conflict with "kubectl-client-side-apply"' in refused.stderr
        newer = (*newer, "--force-conflicts")
    release.helm(*newer)
    assert "dryRun" in fields(release)


def test_crds_are_not_dropped_by_an_upgrade(release: Release) -> None:
    """Without crds.keep, a release that no longer has them would delete them, with everything."""
    release.install({"crds": {"keep": False}})
    release.cluster.wait_for_crds()

    for crds_ in ({"enabled": False, "keep": False}, {"enabled": False}):
        values = release.values({"crds": crds_})
        refused = release.try_helm("upgrade", release.name, CHART, *values)
        assert refused.returncode == 1
        assert "first upgrade with crds.enabled=true and crds.keep=true" in refused.stderr
    release.upgrade({"crds": {"keep": True}})
    release.upgrade({"crds": {"enabled": False}})

    assert crds(release.cluster) == {PLURAL, LINKS}


@once
def test_a_release_is_far_from_too_large(release: Release) -> None:
    """Helm keeps chart and manifests in one Secret, which ends at 1 MiB."""
    release.install({"monitoring": {"dashboard": {"enabled": True}}})

    found = release.get("secret", f"sh.helm.release.v1.{release.name}.v1")

    assert len(found["data"]["release"]) < 512 * 1024


@once
def test_pods_pass_the_strictest_pod_security(release: Release) -> None:
    """A namespace that enforces `restricted` takes the operator's pod and those of the hooks."""
    cluster = release.cluster
    cluster.kubectl("create", "namespace", NAMESPACE)
    label = "pod-security.kubernetes.io/enforce=restricted"
    cluster.kubectl("label", "namespace", NAMESPACE, label)
    values = release.values({"crds": {"keep": False}, "helmTest": {"syncs": ["production"]}})
    manifests = documents(release.helm("template", release.name, CHART, *values))

    pods = [one["spec"] for one in manifests if one["kind"] == "Pod"]
    pods += [
        one["spec"]["template"]["spec"] for one in manifests if "template" in one.get("spec", {})
    ]
    assert len(pods) == 3
    for pod in pods:
        document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": pod}
        for changed, taken in ((pod, True), (pod | {"hostNetwork": True}, False)):
            done = cluster.try_kubectl(
                *("-n", NAMESPACE, "create", "--dry-run=server", "-f", "-"),
                given=yaml.safe_dump(document | {"spec": changed}),
            )
            assert (done.returncode == 0) is taken, done.stderr


@once
def test_people_s_roles(release: Release) -> None:
    """Who may view sees both kinds and no more; who may edit writes them, but no status."""
    release.install({})
    release.cluster.wait_for_crds()
    for role in ("view", "edit"):
        release.cluster.kubectl(
            *("create", "clusterrolebinding", role, f"--user={role}"),
            f"--clusterrole={OPERATOR}-{role}",
        )

    def may(user: str, verb: str, *what: str) -> bool:
        answer = release.cluster.try_kubectl("auth", "can-i", verb, *what, f"--as={user}", "-A")
        return answer.stdout.strip() == "yes"

    for plural in (PLURAL, LINKS):
        resource = f"{plural}.{GROUP}"
        assert all(may("view", verb, resource) for verb in ("get", "list", "watch"))
        assert not any(may("view", verb, resource) for verb in ("create", "patch", "delete"))
        verbs = ("create", "update", "patch", "delete", "deletecollection")
        assert all(may("edit", verb, resource) for verb in verbs)
        assert may("edit", "patch", resource)
        assert not may("edit", "patch", resource, "--subresource=status")
    for to in ("view", "edit", "admin"):
        label = f"rbac.authorization.k8s.io/aggregate-to-{to}=true"
        labelled = release.cluster.kubectl("get", "clusterroles", "-o", "name", "-l", label)
        expected = {"view", "edit"} if to != "view" else {"view"}
        assert {one for one in ("view", "edit") if f"{OPERATOR}-{one}" in labelled} == expected
