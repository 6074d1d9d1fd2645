"""The official Python client on the sandbox."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException

from metronome_salesforce.sandbox.kubernetes import KubernetesSandbox
from tests.sandbox.kubernetes.conftest import widget

CUSTOM = ("example.com", "v1", "default", "widgets")


@pytest.fixture(name="api")
def _api(kubeconfig: Path) -> Iterator[client.ApiClient]:
    new_client: Any = config.new_client_from_config  # its types are loose, as are the models'
    with new_client(str(kubeconfig)) as api:
        yield api


def test_secrets_and_config_maps(api: client.ApiClient) -> None:
    core = client.CoreV1Api(api)
    body = client.V1Secret(
        metadata=client.V1ObjectMeta(name="s", labels={"app": "x"}), string_data={"key": "v"}
    )
    core.create_namespaced_secret("default", body)

    assert core.read_namespaced_secret("s", "default").data == {"key": "dg=="}
    found: Any
    (found,) = core.list_secret_for_all_namespaces(label_selector="app=x").items
    assert found.metadata.creation_timestamp.isoformat() == "2026-03-01T12:00:00+00:00"
    core.patch_namespaced_secret("s", "default", {"stringData": {"key": "w"}})
    assert core.read_namespaced_secret("s", "default").data == {"key": "dw=="}
    core.delete_namespaced_secret("s", "default")
    with pytest.raises(ApiException) as failure:
        core.read_namespaced_secret("s", "default")
    assert failure.value.status == 404


def test_a_lease_is_taken_and_renewed(api: client.ApiClient) -> None:
    leases = client.CoordinationV1Api(api)
    spec = client.V1LeaseSpec(holder_identity="a", lease_duration_seconds=15)
    body = client.V1Lease(metadata=client.V1ObjectMeta(name="leader"), spec=spec)
    lease: Any = leases.create_namespaced_lease("default", body)
    lease.spec.holder_identity = "b"
    renewed: Any = leases.replace_namespaced_lease("leader", "default", lease)

    assert renewed.spec.holder_identity == "b"
    with pytest.raises(ApiException) as failure:
        leases.replace_namespaced_lease("leader", "default", lease)
    assert failure.value.status == 409


def test_custom_objects_and_their_status(api: client.ApiClient, sandbox: KubernetesSandbox) -> None:
    custom = client.CustomObjectsApi(api)
    custom.create_namespaced_custom_object(*CUSTOM, widget())
    custom.patch_namespaced_custom_object_status(*CUSTOM, "one", {"status": {"phase": "Up"}})
    custom.patch_namespaced_custom_object(*CUSTOM, "one", {"spec": {"size": 3}})

    shown: Any = custom.get_namespaced_custom_object(*CUSTOM, "one")
    assert (shown["spec"]["size"], shown["status"]) == (3, {"phase": "Up"})
    assert shown == sandbox.get("widgets", "one")
    with pytest.raises(ApiException) as failure:
        custom.create_namespaced_custom_object(*CUSTOM, widget(size=0))
    assert failure.value.status == 422


def test_a_watch_resumes_and_ends(api: client.ApiClient, sandbox: KubernetesSandbox) -> None:
    custom = client.CustomObjectsApi(api)
    sandbox.create("widgets", widget("one"))
    later = threading.Timer(0.2, lambda: sandbox.create("widgets", widget("two")))
    later.start()
    stream: Any = watch.Watch  # as above
    seen = [
        (event["type"], event["object"]["metadata"]["name"])
        for event in stream().stream(
            custom.list_namespaced_custom_object, *CUSTOM, timeout_seconds=1
        )
    ]
    later.join()

    assert seen == [("ADDED", "one"), ("ADDED", "two")]


def test_definitions_are_objects(api: client.ApiClient) -> None:
    found: Any
    (found,) = client.ApiextensionsV1Api(api).list_custom_resource_definition().items

    assert found.spec.names.kind == "Widget"
    assert {c.type: c.status for c in found.status.conditions}["Established"] == "True"


def test_events_are_posted_and_found(api: client.ApiClient) -> None:
    core = client.CoreV1Api(api)
    reference = client.V1ObjectReference(kind="Widget", name="one", namespace="default")
    core.create_namespaced_event(
        "default",
        client.CoreV1Event(
            metadata=client.V1ObjectMeta(generate_name="e-"),
            involved_object=reference,
            reason="Made",
            message="made it",
            type="Normal",
        ),
    )
    (found,) = core.list_namespaced_event("default", field_selector="involvedObject.name=one").items

    assert (found.reason, found.message) == ("Made", "made it")
