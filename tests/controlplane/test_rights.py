"""The operator lives on the rights in examples/operator.yaml: they are enough, and none is idle.

The examples are applied as they are, with the addresses and keys of an emulated company put in.
The operator is the real process, with the arguments of the Deployment and the token of its
ServiceAccount. What it asked for, and what allowed it, is read from the API server's audit log.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.controlplane.launch import ControlPlane
from tests.e2e.suite import (
    GROUP,
    ROOT,
    SETTINGS,
    VERSION,
    Cluster,
    Company,
    Json,
    Operator,
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
    """What a person applies to install the operator, and the arguments it is started with."""

    documents: list[Json]
    arguments: list[str]

    def only(self, *kinds: str) -> Json:
        """The one document of these kinds."""
        (document,) = (one for one in self.documents if one["kind"] in kinds)
        return document

    def rights(self) -> set[Right]:
        """Every single right of the role; a wildcard counts as a right that nothing uses."""
        return {
            Right(*one)
            for rule in self.only("Role", "ClusterRole")["rules"]
            for one in product(
                rule["apiGroups"], rule["resources"], rule["verbs"], rule.get("resourceNames", [""])
            )
        }


def one_namespace() -> Installation:
    """The example as it is."""
    documents = list(yaml.safe_load_all((EXAMPLES / "operator.yaml").read_text()))
    (deployment,) = (one for one in documents if one["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return Installation(documents, container["args"])


def whole_cluster() -> Installation:
    """The example changed as its first lines say for the whole cluster."""
    example = one_namespace()
    role, binding = example.only("Role"), example.only("RoleBinding")
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
    at = example.arguments.index("--namespace")
    del example.arguments[at : at + 2]
    return example


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


# -- the operator and the company ------------------------------------------------------------------


class Pod(Operator):
    """The operator as the Deployment starts it, with one ServiceAccount's token and no other."""

    def __init__(self, cluster: Cluster, folder: Path, arguments: list[str]) -> None:
        super().__init__(cluster, folder / "operator.log")
        self._command = arguments
        self._kubeconfig = _kubeconfig_of_account(cluster, folder / "operator-kubeconfig")

    def start(self) -> None:
        """Start it and wait until it is ready."""
        # Where the tests run in a pod, its account would go before KUBECONFIG.
        inherited = {key: os.environ[key] for key in os.environ if "KUBE" not in key}
        with self.log.open("ab") as stream:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "metronome_salesforce", *self._command),
                    *("--host", "127.0.0.1", "--port", str(self.port)),
                ],
                env=inherited
                | SETTINGS
                | {"KUBECONFIG": str(self._kubeconfig), "POD_NAME": "operator-0"},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        eventually(lambda: self.pid and self.probe("/readyz")[0] == 200, told=self.log_text)


def _kubeconfig_of_account(cluster: Cluster, path: Path) -> Path:
    """A kubeconfig for the same server that knows the operator's ServiceAccount only."""
    token = cluster.kubectl("-n", NAMESPACE, "create", "token", USER.rpartition(":")[2]).strip()
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
    assert len(config["users"]) == 1
    path.touch(0o600)
    path.write_text(yaml.safe_dump(config))
    return path


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
        cluster.kubectl("apply", "-f", "-", given=listed)
        operator = stack.enter_context(Pod(cluster, folder, installation.arguments))
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


@pytest.mark.parametrize("install", [one_namespace, whole_cluster])
def test_the_examples_rights_are_enough_and_none_is_idle(install: Any, tmp_path: Path) -> None:
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
    binding = installation.only("RoleBinding", "ClusterRoleBinding")
    place = [
        binding["metadata"][key] for key in ("name", "namespace") if key in binding["metadata"]
    ]
    assert reasons == {f'RBAC: allowed by {binding["kind"]} "{"/".join(place)}"'}
