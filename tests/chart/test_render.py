"""The chart as both Helms render it: golden files, and what holds whatever the values."""

import ipaddress
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from tests.chart.generate import CRDS
from tests.chart.render import (
    CHART,
    SETS,
    documents,
    goldens,
    helm,
    only,
    template,
    without_crds,
)
from tests.helm import KUBERNETES, MAJORS, definitions

Json = dict[str, Any]
AGAIN = "make chart"
# Kinds that are no part of Kubernetes: our own, and the Prometheus Operator's.
FOREIGN = {"metronome-salesforce.dev", "monitoring.coreos.com"}
SYNC: Json = {
    "metronome": {"apiKeySecretRef": {"name": "metronome"}},
    "salesforce": {
        "instanceUrl": "https://acme.my.salesforce.com",
        "credentialsSecretRef": {"name": "salesforce"},
    },
}


def pod_of(manifests: list[Json]) -> Json:
    """The operator's pod."""
    spec: Json = only(manifests, "Deployment")["spec"]["template"]["spec"]
    return spec


def environment(pod: Json) -> Json:
    """The environment of its container, by name."""
    return {
        one["name"]: one.get("value", one.get("valueFrom")) for one in pod["containers"][0]["env"]
    }


@pytest.mark.parametrize("major", MAJORS)
@pytest.mark.parametrize("values", SETS, ids=lambda path: path.stem)
def test_rendering_is_as_it_was(values: Path, major: int) -> None:
    """A change of what is installed is seen in a diff; `make chart` writes the files again."""
    expected = (Path(__file__).parent / "golden" / values.name).read_text("utf-8")

    assert expected == without_crds(template(values, major=major)), f"if it is right: {AGAIN}"


def test_every_golden_file_has_its_values() -> None:
    there = set((Path(__file__).parent / "golden").glob("*.yaml"))

    assert set(goldens()) == there


@pytest.mark.parametrize("major", MAJORS)
@pytest.mark.parametrize("values", SETS, ids=lambda path: path.stem)
def test_lint_finds_nothing(values: Path, major: int) -> None:
    done = helm(major, "lint", "--strict", "--values", values, CHART)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("major", MAJORS)
def test_a_packaged_chart_is_the_same(major: int, tmp_path: Path) -> None:
    """Nothing that it needs is left out of the package."""
    done = helm(major, "package", CHART, "--destination", tmp_path)
    assert done.returncode == 0, done.stderr
    (package,) = tmp_path.glob("*.tgz")
    values = {"monitoring": {name: {"enabled": True} for name in ("prometheusRule", "dashboard")}}

    assert template(values, major=major) == template(values, major=major, chart=package)


@pytest.mark.parametrize("major", MAJORS)
def test_crds_are_those_of_the_project_with_labels(major: int) -> None:
    """Not parsed and written again: as text, all but labels and annotations is as it was."""
    rendered = template({"crds": {"keep": True}}, "--show-only=templates/crds.yaml", major=major)
    parts = [part.partition("\n")[2] for part in rendered.split("---\n")[1:]]

    assert len(parts) == len(list(CRDS.glob("*.yaml")))
    for part, path in zip(parts, sorted(CRDS.glob("*.yaml")), strict=True):
        before, _, rest = part.partition("\nmetadata:\n")
        added, _, after = rest.partition("\n  name: ")
        metadata = yaml.safe_load(f"{added}\n")
        assert {"labels", "annotations"} == set(metadata)
        assert metadata["annotations"] == {"helm.sh/resource-policy": "keep"}
        assert f"{before}\nmetadata:\n  name: {after}" == path.read_text("utf-8")


@pytest.mark.parametrize("major", MAJORS)
def test_a_chart_above_switches_it_on_and_off(major: int, tmp_path: Path) -> None:
    """By the usual condition, a value that this chart is handed too."""
    above = tmp_path / "above"
    name = CHART.name
    shutil.copytree(CHART, above / "charts" / name)
    part = {"name": name, "version": ">=0", "condition": f"{name}.enabled"}
    about = {"apiVersion": "v2", "name": "above", "version": "1.0.0", "dependencies": [part]}
    (above / "Chart.yaml").write_text(yaml.safe_dump(about))

    def kinds(enabled: bool) -> set[str]:
        values = {name: {"enabled": enabled, "maxCycles": 7}}
        return {one["kind"] for one in documents(template(values, major=major, chart=above))}

    assert "Deployment" in kinds(enabled=True)
    assert kinds(enabled=False) == set()


def test_crds_that_are_to_go_are_not_kept() -> None:
    for crd in documents(template({"crds": {"keep": False}})):
        assert "helm.sh/resource-policy" not in crd["metadata"].get("annotations", {})


def test_the_pod_of_helm_test_has_one_container() -> None:
    """Helm 3 fails to get the log of another, and with it `helm test --logs`."""
    syncs = {"helmTest": {"syncs": ["production", "billing/staging"]}}
    (pod,) = (one for one in documents(template(syncs)) if one["kind"] == "Pod")

    (container,) = pod["spec"]["containers"]
    asked = container["args"][container["args"].index("--doctor") + 1 :]
    assert asked == ["metronome-salesforce/production", "billing/staging"]


# -- the network -----------------------------------------------------------------------------------


def allowed(policy: Json, address: str, port: int) -> bool:
    """Whether the policy lets its pods reach an address outside the cluster's pods."""
    ip = ipaddress.ip_address(address)

    def within(network: str) -> bool:
        return ip in ipaddress.ip_network(network)

    return any(
        within(block["cidr"]) and not any(within(one) for one in block.get("except", ()))
        for rule in policy["spec"]["egress"]
        if port in {one["port"] for one in rule["ports"]}
        for block in (peer["ipBlock"] for peer in rule["to"] if "ipBlock" in peer)
    )


POLICY: Json = {"enabled": True, "apiServerCidrs": ["10.0.0.1/32"]}


@pytest.mark.parametrize(
    ("address", "port", "expected"),
    [
        ("10.0.0.1", 443, True),
        ("10.0.0.1", 6443, True),
        ("10.0.0.2", 443, False),
        ("192.168.1.1", 6443, False),
        ("169.254.169.254", 80, False),
        ("203.0.113.7", 443, True),
        ("203.0.113.7", 6443, False),
        ("2001:db8::1", 443, True),
        ("fd00::1", 443, False),
    ],
)
def test_the_network_policy_is_closed_to_private_networks(
    address: str, port: int, expected: bool
) -> None:
    """All rules together: what one of them leaves out, another may not let in."""
    policy = only(documents(template({"networkPolicy": POLICY})), "NetworkPolicy")

    assert allowed(policy, address, port) is expected


def test_the_network_policy_is_for_every_pod_of_the_chart() -> None:
    """Else `helm test` is green where the operator is blocked, or reaches nothing itself."""
    manifests = documents(template({"networkPolicy": POLICY, "crds": {"keep": False}}))
    chosen = only(manifests, "NetworkPolicy")["spec"]["podSelector"]
    (expression,) = chosen["matchExpressions"]
    pods = [one["metadata"] for one in manifests if one["kind"] == "Pod"]
    pods += [
        one["spec"]["template"]["metadata"]
        for one in manifests
        if "template" in one.get("spec", {})
    ]

    assert len(pods) == 3
    for pod in pods:
        assert chosen["matchLabels"].items() <= pod["labels"].items()
        assert pod["labels"][expression["key"]] in expression["values"]


# -- valid for Kubernetes --------------------------------------------------------------------------


@pytest.mark.parametrize("minor", KUBERNETES)
@pytest.mark.parametrize("values", SETS, ids=lambda path: path.stem)
def test_manifests_are_valid_in(values: Path, minor: str) -> None:
    """By the OpenAPI of that Kubernetes; unknown fields are refused."""
    manifests = documents(template(values))
    judged = [one for one in manifests if one["apiVersion"].partition("/")[0] not in FOREIGN]

    assert judged
    for manifest in judged:
        assert faults(manifest, minor) == []


def faults(manifest: Json, minor: str) -> list[str]:
    """What the OpenAPI of a minor version has against a manifest."""
    known = definitions(minor)
    group, _, version = manifest["apiVersion"].rpartition("/")
    wanted = {"group": group, "version": version, "kind": manifest["kind"]}
    names = [
        name
        for name, one in known.items()
        if wanted in one.get("x-kubernetes-group-version-kind", [])
    ]
    assert names, f"Kubernetes {minor} has no {wanted}"
    resource = Resource.from_contents(
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": known}
    )
    registry: Registry[Any] = Registry().with_resource("_definitions.json", resource)
    validator = Draft202012Validator(
        {"$ref": f"_definitions.json#/$defs/{names[0]}"}, registry=registry
    )
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(manifest)]


@pytest.mark.parametrize("minor", KUBERNETES)
def test_the_judge_refuses(minor: str) -> None:
    """Else the tests above would prove nothing."""
    deployment = only(documents(template()), "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["imagepullPolicy"] = "Always"
    deployment["spec"]["replicas"] = "one"

    assert [fault.partition(":")[0] for fault in sorted(faults(deployment, minor))] == [
        "$.spec.replicas",
        "$.spec.template.spec.containers[0]",
    ]
