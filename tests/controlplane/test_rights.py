"""The operator lives on the rights it is given: they are enough, and none is idle.

Given by the chart, and by examples/operator.yaml: both for the whole cluster and for namespaces.
The examples are applied as they are, with the addresses and keys of an emulated company put in. The
operator is the real process, with arguments and environment of the Deployment and the token of its
ServiceAccount. What it asked for, and what allowed it, is read from the API server's audit log.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.render import documents, template
from tests.controlplane.launch import ControlPlane
from tests.controlplane.pods import Pod, run_to_end
from tests.e2e.suite import (
    GROUP,
    ROOT,
    SETTINGS,
    VERSION,
    Cluster,
    Company,
    Json,
    Space,
    company,
    condition,
    eventually,
    merged,
)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

EXAMPLES = ROOT / "examples"
NAMESPACE = "metronome-salesforce"
USER = f"system:serviceaccount:{NAMESPACE}:metronome-salesforce-operator"
SYNC, LINK = "production", "acme-robotics"
_FORBIDDEN = 403
_CONFLICT = 409


# -- what is granted -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One verb on one resource (`plural` or `plural/subresource`); a name only where one counts."""

    group: str
    resource: str
    verb: str
    name: str = ""

    def covers(self, use: "Right") -> bool:
        """Whether a request was one of those that this right is for."""
        return self in {use, Right(use.group, use.resource, use.verb)}


@dataclass(frozen=True, slots=True)
class Installation:
    """What a person applies to install the operator."""

    documents: list[Json]

    def all(self, *kinds: str) -> list[Json]:
        """The documents of these kinds."""
        return [one for one in self.documents if one["kind"] in kinds]

    def only(self, *kinds: str) -> Json:
        """The one document of these kinds."""
        (document,) = self.all(*kinds)
        return document

    def pod(self) -> Json:
        """The operator's."""
        spec: Json = self.only("Deployment")["spec"]["template"]["spec"]
        return spec

    def bindings(self) -> list[Json]:
        """Those that bind the operator's account."""
        name = self.pod()["serviceAccountName"]
        account = {"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}
        bindings = self.all("RoleBinding", "ClusterRoleBinding")
        assert all(one["subjects"] == [account] for one in bindings)
        return bindings

    def rights(self) -> set[Right]:
        """Every single right of its roles; a wildcard counts as a right that nothing uses."""
        roles = [
            role
            for binding in self.bindings()
            for role in self.all(binding["roleRef"]["kind"])
            if role["metadata"]["name"] == binding["roleRef"]["name"]
            and role["metadata"].get("namespace") == binding["metadata"].get("namespace")
        ]
        assert len(roles) == len(self.bindings())
        return rights_in(roles)


def rights_in(roles: list[Json]) -> set[Right]:
    """Every single right of these roles."""
    return {
        Right(*one)
        for role in roles
        for rule in role["rules"]
        for one in product(
            rule["apiGroups"], rule["resources"], rule["verbs"], rule.get("resourceNames", [""])
        )
    }


def example_for_one_namespace() -> Installation:
    """The example as it is."""
    documents_ = list(yaml.safe_load_all((EXAMPLES / "operator.yaml").read_text()))
    example_ = Installation(documents_)
    settings = [{"name": name, "value": value} for name, value in SETTINGS.items()]
    example_.pod()["containers"][0]["env"] += settings
    return example_


def example_for_the_cluster() -> Installation:
    """The example changed as its first lines say for the whole cluster."""
    example_ = example_for_one_namespace()
    role, binding = example_.only("Role"), example_.only("RoleBinding")
    role["kind"], binding["kind"] = "ClusterRole", "ClusterRoleBinding"
    binding["roleRef"]["kind"] = "ClusterRole"
    for document in (role, binding):
        del document["metadata"]["namespace"]
    for rule in role["rules"]:
        rule.pop("resourceNames", None)
    role["rules"].append(
        {
            "apiGroups": ["apiextensions.k8s.io"],
            "resources": ["customresourcedefinitions"],
            "verbs": ["list", "watch"],
        }
    )
    arguments = example_.pod()["containers"][0]["args"]
    at = arguments.index("--namespace")
    del arguments[at : at + 2]
    return example_


def chart(**values: Any) -> Installation:
    """The chart, with what emulated services on loopback need; hooks are not applied."""
    needed = {
        "fullnameOverride": USER.rpartition(":")[2],
        "hosts": {"allowed": SETTINGS["METRONOME_SALESFORCE_ALLOWED_HOSTS"].split(",")},
        "extraEnv": [{"name": "METRONOME_SALESFORCE_ALLOW_HTTP", "value": "true"}],
    }
    rendered = documents(template(needed | values, "--no-hooks"))
    served = [NAMESPACE, *values.get("watchNamespaces", [])]
    spaces = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        for name in dict.fromkeys(served)
    ]
    return Installation([*spaces, *rendered])


def chart_for_namespaces() -> Installation:
    """Two namespaces, and Secrets and ConfigMaps by name."""
    installation = chart(
        watchNamespaces=[NAMESPACE, "billing"],
        rbac={"secretNames": ["metronome", "salesforce"], "configMapNames": ["corporate-ca"]},
    )
    cluster_wide = {one["metadata"]["name"] for one in installation.all("ClusterRole")}
    # Those are for people, and nobody is bound to them.
    assert {name.rpartition("-")[2] for name in cluster_wide} == {"view", "edit"}
    assert installation.all("ClusterRoleBinding") == []
    return installation


def chart_for_the_cluster() -> Installation:
    """As it is by default."""
    return chart()


# -- what is asked for -----------------------------------------------------------------------------


def requests_of(plane: ControlPlane, user: str) -> list[Json]:
    """What the audit log tells of a user's requests, oldest first."""
    return [event for event in plane.audit_events() if event["user"]["username"] == user]


def uses(requests: list[Json]) -> set[Right]:
    """The rights that these requests needed; discovery needs none but everybody's."""
    found = set()
    for request in requests:
        about = request.get("objectRef", {})
        if "resource" not in about:
            continue
        parts = [about["resource"], about.get("subresource")]
        resource = "/".join(part for part in parts if part)
        name = about.get("name", "")
        found.add(Right(about.get("apiGroup", ""), resource, request["verb"], name))
    return found


# -- the company and its namespace -----------------------------------------------------------------


def example(name: str) -> list[Json]:
    """The documents of an example."""
    return list(yaml.safe_load_all((EXAMPLES / name).read_text()))


def filled_in(one: Company) -> list[Json]:
    """Secrets, ConfigMap and MetronomeSync of the examples, with what is this company's in them."""
    values = {"metronome": {"apiKey": one.api_key}, "salesforce": one.credentials}
    filled = [
        merged(secret, {"stringData": values[secret["metadata"]["name"]]})
        for secret in example("secrets.yaml")
    ]
    (authority,) = example("ca-bundle.yaml")
    filled.append(merged(authority, {"data": {"ca.crt": one.ca_pem}}))
    (sync,) = example("sync.yaml")
    salesforce = {
        "instanceUrl": one.salesforce_url,
        "caBundleConfigMapRef": {"name": authority["metadata"]["name"]},
    }
    spec = {"metronome": {"baseUrl": one.metronome_url}, "salesforce": salesforce}
    return [*filled, merged(sync, {"spec": spec})]


@contextmanager
def installed(plane: ControlPlane, installation: Installation, folder: Path) -> Iterator[Space]:
    """The operator at work, and its namespace as a person with all rights sees it."""
    plane.audit_events()  # raises, before anything is applied, for a cluster that is not ours
    with ExitStack() as stack:
        cluster = Cluster("real", plane.kubeconfig, folder)
        stack.callback(cluster.close)
        cluster.install_crds()
        listed = {"apiVersion": "v1", "kind": "List", "items": installation.documents}
        cluster.kubectl("apply", "--server-side", "-f", "-", given=listed)
        operator = stack.enter_context(Pod(cluster, folder, NAMESPACE, installation.pod()))
        yield Space(cluster, NAMESPACE, operator)


def links(space: Space) -> list[Json]:
    """The CustomerLinks."""
    place = (GROUP, VERSION, NAMESPACE, "customerlinks")
    found: list[Json] = space.cluster.custom.list_namespaced_custom_object(*place)["items"]
    return found


def accounts_of(one: Company, customer: str) -> set[str | None]:
    """Where the customer's invoices hang."""
    return {
        row["Account__c"]
        for row in one.org.rows("Metronome_Invoice__c")
        if row["Metronome_Customer_ID__c"] == customer
    }


def link_and_let_go(space: Space, one: Company) -> None:
    """Link a customer, then delete the link while somebody else writes to it."""
    customer = one.tenant.customers()[1]["id"]
    account = one.org.insert("Account", {"Name": "Acme Robotics"})
    (link,) = example("link.yaml")
    assert link["metadata"]["name"] == LINK
    space.apply(merged(link, {"spec": {"customer": {"id": customer}, "account": {"id": account}}}))

    def ready() -> bool:
        (found,) = links(space)
        return condition(found.get("status", {}), "Ready") == ("True", "Linked")

    eventually(ready, told=lambda: (links(space), space.operator.log_text()[-4000:]))
    assert accounts_of(one, customer) == {account}

    # Somebody else goes on writing to the link while Salesforce takes its time: what the operator
    # knows is old when it takes its finalizer off, and so it must read the link again.
    one.salesforce.faults.add("* /services/data/*", delay=0.3)
    space.kubectl("delete", "customerlink", LINK, "--wait=false")

    def gone() -> bool:
        note = f"example.com/seen={time.monotonic_ns()}"
        annotate = ("annotate", "--overwrite", "customerlink", LINK, note)
        space.cluster.try_kubectl("-n", NAMESPACE, *annotate)
        return not links(space)

    eventually(gone, told=lambda: (links(space), space.operator.log_text()[-4000:]))
    assert accounts_of(one, customer) == {None}


@pytest.mark.parametrize(
    "install",
    [
        chart_for_the_cluster,
        chart_for_namespaces,
        example_for_the_cluster,
        example_for_one_namespace,
    ],
)
def test_the_rights_are_enough_and_none_is_idle(install: Any, tmp_path: Path) -> None:
    """A cycle, a link and its deletion: nothing is forbidden, and every right is used."""
    installation = install()
    with ControlPlane(audit=True) as plane, company() as acme:
        with installed(plane, installation, tmp_path) as space:
            space.apply(*filled_in(acme))
            space.wait_for_run(name=SYNC, outcome="Succeeded")
            link_and_let_go(space, acme)
            space.kubectl("get", "lease", f"metronome-sync-{SYNC}")
            events = {name: [one[1] for one in space.events(name)] for name in (SYNC, LINK)}
            # A watch is in the log when it ends.
            assert space.operator.stop() == 0

        assert events == {SYNC: ["Succeeded"], LINK: ["Linked", "Unlinked"]}
        granted = installation.rights()

        def idle() -> list[Right]:
            used = uses(requests_of(plane, USER))
            return sorted(one for one in granted if not any(one.covers(use) for use in used))

        eventually(lambda: not idle(), 10, told=lambda: f"nothing uses {idle()}")
        requests = requests_of(plane, USER)
    codes = [request["responseStatus"]["code"] for request in requests]
    assert _CONFLICT in codes, "nobody else wrote to the link in time"
    refused = [one for one in requests if one["responseStatus"]["code"] == _FORBIDDEN]
    assert refused == [], "the role lacks a right"
    # Nor does it live on what the API server allows everybody, but for discovery.
    reasons = {
        request["annotations"]["authorization.k8s.io/reason"].partition(" of ")[0]
        for request in requests
        if "resource" in request.get("objectRef", {})
    }
    assert reasons == {
        f'RBAC: allowed by {one["kind"]} "{place(one)}"' for one in installation.bindings()
    }


def place(binding: Json) -> str:
    """As the API server names a binding."""
    metadata = binding["metadata"]
    return "/".join(metadata[key] for key in ("name", "namespace") if key in metadata)


def test_the_rights_of_the_uninstall_are_enough_and_none_is_idle(tmp_path: Path) -> None:
    """Of the Job that empties the CRDs, here where no operator lets a link go."""
    hook = Installation(
        documents(template({"crds": {"keep": False}}, "--show-only=templates/uninstall.yaml"))
    )
    pod = hook.only("Job")["spec"]["template"]["spec"]
    user = f"system:serviceaccount:{NAMESPACE}:{pod['serviceAccountName']}"
    with ControlPlane(audit=True) as plane, company() as acme:
        plane.audit_events()  # raises, before anything is applied, for a cluster that is not ours
        with closing(Cluster("real", plane.kubeconfig, tmp_path)) as cluster:
            cluster.install_crds()
            cluster.kubectl("create", "namespace", NAMESPACE)
            (sync,) = (one for one in filled_in(acme) if one["kind"] == "MetronomeSync")
            (link,) = example("link.yaml")
            held = merged(link, {"metadata": {"finalizers": ["example.com/held"]}})
            rights = hook.all("ServiceAccount", "ClusterRole", "ClusterRoleBinding")
            listed = {"apiVersion": "v1", "kind": "List", "items": [*rights, sync, held]}
            cluster.kubectl("apply", "-f", "-", given=listed)
            (done,) = run_to_end(cluster, tmp_path, NAMESPACE, pod, {"60": "1"})
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "1 customerlinks let go without the operator"
        granted = rights_in(hook.all("ClusterRole"))

        def idle() -> list[Right]:
            used = uses(requests_of(plane, user))
            return sorted(one for one in granted if not any(one.covers(use) for use in used))

        eventually(lambda: not idle(), 10, told=lambda: f"nothing uses {idle()}")
        codes = [one["responseStatus"]["code"] for one in requests_of(plane, user)]

    assert granted
    assert _FORBIDDEN not in codes
