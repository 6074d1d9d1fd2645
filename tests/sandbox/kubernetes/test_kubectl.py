"""The real kubectl on the sandbox: what a person types in the demo."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from metronome_salesforce.sandbox.kubernetes import KubernetesSandbox
from tests.kubectl import kubectl_path
from tests.sandbox.kubernetes.conftest import Clock, widget

MANIFEST = """
apiVersion: example.com/v1
kind: Widget
metadata: {name: one}
spec: {size: 3, since: 2026-01-01}
"""

Kubectl = Callable[..., subprocess.CompletedProcess[str]]


def environment(kubeconfig: Path, tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "KUBECONFIG": str(kubeconfig), "PATH": "/usr/bin:/bin"}


@pytest.fixture(name="kubectl")
def _kubectl(kubeconfig: Path, tmp_path: Path) -> Kubectl:
    """Run kubectl with arguments and, perhaps, standard input."""

    def run(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [kubectl_path(), *arguments],
            input=given,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
            env=environment(kubeconfig, tmp_path),
        )

    return run


def told(result: subprocess.CompletedProcess[str]) -> str:
    """What it printed; it must have succeeded."""
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.parametrize("validate", ["--validate=false", "--validate=true"])
def test_apply_creates_configures_and_leaves_alone(
    kubectl: Kubectl, sandbox: KubernetesSandbox, validate: str
) -> None:
    def apply(text: str) -> str:
        return told(kubectl("apply", validate, "-f", "-", given=text)).rpartition(" ")[2]

    assert apply(MANIFEST) == "created"
    assert apply(MANIFEST) == "unchanged"
    assert apply(MANIFEST.replace("size: 3", "size: 4, label: x")) == "configured"
    assert apply(MANIFEST) == "configured"
    assert sandbox.get("widgets", "one")["spec"] == {
        "size": 3,
        "since": "2026-01-01",
        "color": "red",
        "nested": {"depth": 4},
    }


def test_apply_shows_what_is_wrong(kubectl: Kubectl) -> None:
    wrong = MANIFEST.replace("size: 3", "size: 0, color: pink")
    refused = kubectl("apply", "--validate=false", "-f", "-", given=wrong)

    assert refused.returncode == 1
    headline, *causes = refused.stderr.splitlines()
    assert "some validation rules were not checked" in min(causes)
    assert headline.strip() == 'The Widget "one" is invalid:'
    assert sorted(causes)[1:] == [
        '* spec.color: Unsupported value: "pink": supported values: "red", "green", "blue"',
        "* spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1",
    ]
    misspelt = kubectl("apply", "-f", "-", given=MANIFEST.replace("since", "sinse"))
    assert 'strict decoding error: unknown field "spec.sinse"' in misspelt.stderr


def test_server_side_apply(kubectl: Kubectl, sandbox: KubernetesSandbox) -> None:
    result = kubectl("apply", "--server-side", "-f", "-", given=MANIFEST)

    assert told(result) == "widget.example.com/one serverside-applied"
    assert sandbox.get("widgets", "one")["spec"]["size"] == 3


def test_get_shows_the_definition_s_columns(
    kubectl: Kubectl, sandbox: KubernetesSandbox, clock: Clock
) -> None:
    sandbox.create("widgets", widget("one", size=7))
    told(
        kubectl(
            "patch", "wd", "one", "--subresource=status", "--type=merge",
            '--patch={"status":{"conditions":[{"type":"Ready","status":"True"}]}}',
        )
    )  # fmt: skip
    clock.advance(3 * 86_400)

    def cells(*arguments: str) -> list[list[str]]:
        return [line.split() for line in told(kubectl("get", *arguments)).splitlines()]

    assert cells("wd") == [["NAME", "READY", "RAN", "AGE"], ["one", "True", "3d"]]
    assert cells("gadgets", "-o", "wide") == [
        ["NAME", "READY", "RAN", "SIZE", "AGE"],
        ["one", "True", "7", "3d"],
    ]
    assert cells("widgets", "-A") == [
        ["NAMESPACE", "NAME", "READY", "RAN", "AGE"],
        ["default", "one", "True", "3d"],
    ]
    assert cells("widget", "one", "-o", "jsonpath={.spec.size}") == [["7"]]
    assert cells("widget.example.com/one", "-o", "name") == [["widget.example.com/one"]]


def test_get_can_watch(kubeconfig: Path, tmp_path: Path, sandbox: KubernetesSandbox) -> None:
    sandbox.create("widgets", widget("one"))
    with subprocess.Popen(
        [kubectl_path(), "get", "wd", "-w"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(kubeconfig, tmp_path),
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().split()[0] for _ in range(2)]
        end = time.monotonic() + 10
        while not sandbox.open_watches("widgets"):
            assert time.monotonic() < end
            time.sleep(0.02)
        sandbox.create("widgets", widget("two"))
        lines.append(process.stdout.readline().split()[0])
        process.terminate()
    assert lines == ["NAME", "one", "two"]


def test_describe_shows_the_object_and_its_events(
    kubectl: Kubectl, sandbox: KubernetesSandbox
) -> None:
    item = sandbox.create("widgets", widget("one", size=7))
    sandbox.create(
        "events",
        {
            "metadata": {"name": "one.1"},
            "involvedObject": {
                "kind": "Widget",
                "name": "one",
                "namespace": "default",
                "uid": item["metadata"]["uid"],
            },
            "type": "Normal",
            "reason": "Made",
            "message": "made it",
            "firstTimestamp": "2026-03-01T12:00:00Z",
            "lastTimestamp": "2026-03-01T12:00:00Z",
        },
    )
    described = told(kubectl("describe", "wd", "one"))

    assert ["Size:", "7"] in [line.split() for line in described.splitlines()]
    last = described.splitlines()[-1].split()
    assert (last[:2], last[-2:]) == (["Normal", "Made"], ["made", "it"])
    listed = told(kubectl("get", "events")).splitlines()
    assert listed[1].split()[1:] == ["Normal", "Made", "widget/one", "made", "it"]


def test_annotate_label_and_patch(kubectl: Kubectl, sandbox: KubernetesSandbox) -> None:
    sandbox.create("widgets", widget("one"))
    told(kubectl("annotate", "wd", "one", "example.com/run=1"))
    told(kubectl("label", "wd", "one", "tier=a"))
    told(kubectl("patch", "wd", "one", "--type=merge", '--patch={"spec":{"size":5}}'))
    operations = '[{"op":"replace","path":"/spec/color","value":"blue"}]'
    told(kubectl("patch", "wd", "one", "--type=json", f"--patch={operations}"))

    item = sandbox.get("widgets", "one")
    assert item["metadata"]["annotations"]["example.com/run"] == "1"
    assert item["metadata"]["labels"] == {"tier": "a"}
    assert (item["spec"]["size"], item["spec"]["color"]) == (5, "blue")
    assert told(kubectl("get", "wd", "-l", "tier=a", "-o", "name")) == "widget.example.com/one"
    stale = '[{"op":"test","path":"/spec/size","value":1}]'
    refused = kubectl("patch", "wd", "one", "--type=json", f"--patch={stale}")
    assert "the server rejected our request" in refused.stderr


def test_delete_waits_for_finalizers(
    kubectl: Kubectl, kubeconfig: Path, tmp_path: Path, sandbox: KubernetesSandbox
) -> None:
    item = widget("one")
    item["metadata"]["finalizers"] = ["example.com/hold"]
    sandbox.create("widgets", item)
    with subprocess.Popen(
        [kubectl_path(), "delete", "wd", "one"],
        stdout=subprocess.PIPE,
        env=environment(kubeconfig, tmp_path),
    ) as process:
        end = time.monotonic() + 10
        while "deletionTimestamp" not in sandbox.get("widgets", "one")["metadata"]:
            assert time.monotonic() < end
            time.sleep(0.02)
        assert process.poll() is None
        told(
            kubectl(
                "patch", "wd", "one", "--type=merge", '--patch={"metadata":{"finalizers":null}}'
            )
        )
        assert process.wait(10) == 0
    assert sandbox.objects("widgets") == []


def test_built_in_kinds_are_created_and_described(
    kubectl: Kubectl, sandbox: KubernetesSandbox
) -> None:
    told(kubectl("create", "namespace", "team"))
    told(kubectl("create", "secret", "generic", "s", "-n", "team", "--from-literal=apiKey=k-1"))
    told(kubectl("create", "configmap", "c", "-n", "team", "--from-literal=a=b"))

    assert sandbox.get("secrets", "s", "team")["data"] == {"apiKey": "ay0x"}
    assert sandbox.get("configmaps", "c", "team")["data"] == {"a": "b"}
    assert "apiKey:  3 bytes" in told(kubectl("describe", "secret", "s", "-n", "team"))
    told(kubectl("delete", "namespace", "team"))
    assert kubectl("get", "namespace", "team").returncode == 1


def test_api_resources_and_waiting(kubectl: Kubectl, sandbox: KubernetesSandbox) -> None:
    sandbox.create("widgets", widget("one"))
    listed = [line.split() for line in told(kubectl("api-resources")).splitlines()]

    assert ["widgets", "wd", "example.com/v1", "true", "Widget"] in listed
    crd = "crd/widgets.example.com"
    told(kubectl("wait", "--for=condition=Established", crd, "--timeout=5s"))
    told(kubectl("wait", "--for=jsonpath={.spec.size}=1", "wd/one", "--timeout=5s"))
