"""The control plane answers the real kubectl as a Kubernetes API does, and refuses what it must."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.controlplane.launch import ControlPlane
from tests.kubectl import kubectl_path

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "lanterns.launch.test"},
    "spec": {
        "group": "launch.test",
        "names": {"kind": "Lantern", "plural": "lanterns", "singular": "lantern"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {
                                    "colour": {"type": "string", "enum": ["Red", "Green"]},
                                    "oil": {"type": "integer", "default": 3},
                                    "wick": {"type": "integer"},
                                },
                                "x-kubernetes-validations": [
                                    {
                                        "rule": "!has(self.wick) || self.wick <= self.oil",
                                        "message": "wick must not be longer than oil is deep",
                                    }
                                ],
                            },
                            "status": {
                                "type": "object",
                                "properties": {"lit": {"type": "boolean"}},
                            },
                        },
                    }
                },
            }
        ],
    },
}


def lantern(**spec: object) -> dict[str, Any]:
    return {
        "apiVersion": "launch.test/v1",
        "kind": "Lantern",
        "metadata": {"name": f"lantern-{uuid4().hex[:8]}", "namespace": "default"},
        "spec": spec,
    }


def kubectl(
    kubeconfig: Path, *arguments: str, document: object = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [kubectl_path(), f"--kubeconfig={kubeconfig}", *arguments],
        input=json.dumps(document),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture(name="kubeconfig", scope="module")
def _kubeconfig() -> Iterator[Path]:
    """A cluster with the CRD of these tests, which is removed from it afterwards."""
    with ControlPlane() as plane:
        applied = kubectl(plane.kubeconfig, "apply", "-f", "-", document=CRD)
        assert applied.returncode == 0, applied.stderr
        kubectl(plane.kubeconfig, "wait", "--for=condition=Established", "crd/lanterns.launch.test")
        yield plane.kubeconfig
        kubectl(plane.kubeconfig, "delete", "crd", "lanterns.launch.test", "--wait=false")


def test_custom_resource_is_stored_with_defaults(kubeconfig: Path) -> None:
    resource = lantern(colour="Red")

    applied = kubectl(kubeconfig, "apply", "-f", "-", "-o", "json", document=resource)

    assert applied.returncode == 0, applied.stderr
    stored = json.loads(applied.stdout)
    assert stored["spec"] == {"colour": "Red", "oil": 3}
    assert stored["metadata"]["generation"] == 1
    assert stored["metadata"]["uid"]


def test_enum_is_refused_by_name(kubeconfig: Path) -> None:
    applied = kubectl(kubeconfig, "apply", "-f", "-", document=lantern(colour="Blue"))

    assert applied.returncode == 1
    assert 'spec.colour: Unsupported value: "Blue": supported values: "Red", "Green"' in (
        applied.stderr
    )


def test_cel_rule_is_refused_with_its_message(kubeconfig: Path) -> None:
    """The rule sees the default of a field that was not given."""
    applied = kubectl(kubeconfig, "apply", "-f", "-", document=lantern(wick=4))

    assert applied.returncode == 1
    assert "wick must not be longer than oil is deep" in applied.stderr


def test_status_is_isolated_from_spec(kubeconfig: Path) -> None:
    resource = lantern(oil=5) | {"status": {"lit": True}}
    assert kubectl(kubeconfig, "create", "-f", "-", document=resource).returncode == 0
    name = f"lantern/{resource['metadata']['name']}"
    patch = json.dumps({"spec": {"oil": 9}, "status": {"lit": False}})

    patched = kubectl(
        kubeconfig, "patch", name, "--subresource=status", "--type=merge", "-p", patch, "-o", "json"
    )

    assert patched.returncode == 0, patched.stderr
    stored = json.loads(patched.stdout)
    assert (stored["spec"], stored["status"]) == ({"oil": 5}, {"lit": False})


def test_rbac_refuses_an_account_without_a_role(kubeconfig: Path) -> None:
    account = "--as=system:serviceaccount:default:nobody"

    listed = kubectl(kubeconfig, "get", "lanterns", account)

    assert listed.returncode == 1
    assert 'cannot list resource "lanterns" in API group "launch.test"' in listed.stderr
