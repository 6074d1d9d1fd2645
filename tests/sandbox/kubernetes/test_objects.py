"""Creating, changing and deleting objects, as the API server's own clients see it."""

import base64
from typing import Any

import httpx
import pytest

from metronome_salesforce.sandbox.kubernetes import KubernetesSandbox
from tests.sandbox.kubernetes.conftest import WIDGETS_PATH, Clock, refusal, widget

MERGE = {"Content-Type": "application/merge-patch+json"}
JSON_PATCH = {"Content-Type": "application/json-patch+json"}
APPLY = {"Content-Type": "application/apply-patch+yaml"}
ONE = f"{WIDGETS_PATH}/one"


def made(http: httpx.Client, name: str = "one", /, **spec: Any) -> dict[str, Any]:
    response = http.post(WIDGETS_PATH, json=widget(name, **spec))

    assert response.status_code == 201, response.text
    item: dict[str, Any] = response.json()
    return item


def test_creation_stamps_metadata_and_fills_in_defaults(http: httpx.Client) -> None:
    item = made(http)

    meta = item["metadata"]
    assert (meta["name"], meta["namespace"], meta["generation"]) == ("one", "default", 1)
    assert meta["creationTimestamp"] == "2026-03-01T12:00:00Z"
    assert len(meta["uid"]) == 36
    assert int(meta["resourceVersion"]) > 0
    assert item["spec"] == {"size": 1, "color": "red", "nested": {"depth": 4}}
    assert http.get(ONE).json() == item


def test_a_second_object_of_that_name_is_refused(http: httpx.Client) -> None:
    made(http)

    assert refusal(http.post(WIDGETS_PATH, json=widget())) == (
        409,
        "AlreadyExists",
        'widgets.example.com "one" already exists',
    )


def test_an_unknown_object_is_not_found(http: httpx.Client) -> None:
    response = http.get(f"{WIDGETS_PATH}/none")

    assert refusal(response) == (404, "NotFound", 'widgets.example.com "none" not found')
    assert response.json()["details"] == {
        "name": "none",
        "group": "example.com",
        "kind": "widgets",
    }


def test_an_unknown_resource_is_not_found(http: httpx.Client) -> None:
    assert refusal(http.get("/apis/example.com/v1/gadgets")) == (
        404,
        "NotFound",
        "the server could not find the requested resource",
    )


def test_creation_in_an_unknown_namespace_is_not_found(http: httpx.Client) -> None:
    path = "/apis/example.com/v1/namespaces/nowhere/widgets"

    assert refusal(http.post(path, json=widget()))[2] == 'namespaces "nowhere" not found'


def test_a_namespace_other_than_the_path_s_is_refused(http: httpx.Client) -> None:
    item = widget()
    item["metadata"]["namespace"] = "kube-system"

    assert refusal(http.post(WIDGETS_PATH, json=item))[:2] == (400, "BadRequest")


def test_a_kind_other_than_the_path_s_is_refused(http: httpx.Client) -> None:
    assert refusal(http.post(WIDGETS_PATH, json={**widget(), "kind": "Gadget"})) == (
        422,
        "Invalid",
        'Gadget.example.com "one" is invalid: kind: Invalid value: "Gadget": must be Widget',
    )


def test_a_body_that_is_no_json_is_refused(http: httpx.Client) -> None:
    response = http.post(WIDGETS_PATH, content=b"{", headers={"Content-Type": "application/json"})

    assert refusal(response)[:2] == (400, "BadRequest")


@pytest.mark.parametrize("name", ["Bad", "under_score", "-x", "x" * 254, ""])
def test_a_name_must_be_a_subdomain(http: httpx.Client, name: str) -> None:
    response = http.post(WIDGETS_PATH, json=widget(name))

    assert refusal(response)[:2] == (422, "Invalid")
    assert response.json()["details"]["causes"][0]["field"] == "metadata.name"


@pytest.mark.parametrize(
    ("key", "pairs"),
    [
        ("labels", {"a b": "x"}),
        ("labels", {"a": "x y"}),
        ("labels", {"a": "x" * 64}),
        ("annotations", {"a/b/c": "x"}),
        ("annotations", {"a": "x" * 262_144}),
    ],
)
def test_labels_and_annotations_are_checked(
    http: httpx.Client, key: str, pairs: dict[str, str]
) -> None:
    item = widget()
    item["metadata"][key] = pairs
    response = http.post(WIDGETS_PATH, json=item)

    assert refusal(response)[:2] == (422, "Invalid")
    assert response.json()["details"]["causes"][0]["field"] == f"metadata.{key}"


def test_an_annotation_that_is_no_string_is_refused(http: httpx.Client) -> None:
    made(http)
    response = http.patch(ONE, json={"metadata": {"annotations": {"a": 1}}}, headers=MERGE)

    assert refusal(response)[:2] == (422, "Invalid")
    item = widget("two")
    item["metadata"]["annotations"] = {"a": 1}
    assert refusal(http.post(WIDGETS_PATH, json=item))[:2] == (400, "BadRequest")


def test_generate_name_makes_names_of_its_own(http: httpx.Client) -> None:
    item = widget()
    item["metadata"] = {"generateName": "auto-"}
    names = {http.post(WIDGETS_PATH, json=item).json()["metadata"]["name"] for _ in range(3)}

    assert len(names) == 3
    assert all(name.startswith("auto-") and len(name) == 10 for name in names)


def test_dry_run_checks_but_keeps_nothing(http: httpx.Client) -> None:
    assert http.post(f"{WIDGETS_PATH}?dryRun=All", json=widget()).status_code == 201
    assert http.post(f"{WIDGETS_PATH}?dryRun=All", json=widget(size=0)).status_code == 422
    assert http.get(WIDGETS_PATH).json()["items"] == []
    before = made(http)

    changed = http.patch(f"{ONE}?dryRun=All", json={"spec": {"size": 2}}, headers=MERGE)
    assert changed.json()["spec"]["size"] == 2
    assert http.delete(f"{ONE}?dryRun=All").status_code == 200
    assert http.get(ONE).json() == before


# Changing


def test_put_replaces_and_needs_the_current_version(http: httpx.Client) -> None:
    item = made(http, label="x")
    del item["spec"]["label"]
    changed = http.put(ONE, json=item).json()

    assert "label" not in changed["spec"]
    assert changed["metadata"]["generation"] == 2
    assert refusal(http.put(ONE, json=item)) == (
        409,
        "Conflict",
        (
            'Operation cannot be fulfilled on widgets.example.com "one": the object has been '
            "modified; please apply your changes to the latest version and try again"
        ),
    )
    response = http.put(ONE, json=widget())
    assert refusal(response)[:2] == (422, "Invalid")
    assert response.json()["details"]["causes"][0]["field"] == "metadata.resourceVersion"


def test_put_of_an_object_that_does_not_exist_is_not_found(http: httpx.Client) -> None:
    assert http.put(ONE, json=widget()).status_code == 404


def test_merge_patch_merges_and_null_removes(http: httpx.Client) -> None:
    made(http, label="x", extra={"a": "1", "b": "2"})
    patch = {"spec": {"label": None, "extra": {"b": None, "c": "3"}}}
    changed = http.patch(ONE, json=patch, headers=MERGE).json()

    # `label` is nullable but has no default, so null in a merge patch just removes it.
    assert changed["spec"]["extra"] == {"a": "1", "c": "3"}
    assert "label" not in changed["spec"]


def test_a_merge_patch_with_a_stale_version_is_a_conflict(http: httpx.Client) -> None:
    version = made(http)["metadata"]["resourceVersion"]
    http.patch(ONE, json={"spec": {"size": 2}}, headers=MERGE)
    patch = {"metadata": {"resourceVersion": version}, "spec": {"size": 3}}

    assert refusal(http.patch(ONE, json=patch, headers=MERGE))[:2] == (409, "Conflict")
    assert http.get(ONE).json()["spec"]["size"] == 2


def test_json_patch_applies_in_order(http: httpx.Client) -> None:
    made(http)
    operations = [
        {"op": "add", "path": "/metadata/finalizers", "value": ["example.com/hold"]},
        {"op": "replace", "path": "/spec/size", "value": 7},
    ]
    changed = http.patch(ONE, json=operations, headers=JSON_PATCH).json()

    assert changed["metadata"]["finalizers"] == ["example.com/hold"]
    assert changed["spec"]["size"] == 7


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/metadata/resourceVersion", "value": "0"},
        {"op": "remove", "path": "/spec/nothing"},
    ],
)
def test_a_json_patch_that_does_not_apply_is_unprocessable(
    http: httpx.Client, operation: dict[str, str]
) -> None:
    before = made(http)
    operations = [{"op": "replace", "path": "/spec/size", "value": 7}, operation]

    assert refusal(http.patch(ONE, json=operations, headers=JSON_PATCH)) == (
        422,
        "Invalid",
        "the server rejected our request due to an error in our request",
    )
    assert http.get(ONE).json() == before


def test_strategic_merge_is_for_built_in_kinds_only(http: httpx.Client) -> None:
    made(http)
    strategic = {"Content-Type": "application/strategic-merge-patch+json"}

    assert refusal(http.patch(ONE, json={}, headers=strategic))[:2] == (
        415,
        "UnsupportedMediaType",
    )
    http.post("/api/v1/namespaces/default/configmaps", json={"metadata": {"name": "c"}})
    patch = {"data": {"a": "1"}, "metadata": {"finalizers": ["x.io/a"]}}
    path = "/api/v1/namespaces/default/configmaps/c"
    http.patch(path, json=patch, headers=strategic)
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["x.io/a"]}}
    changed = http.patch(path, json=patch, headers=strategic).json()
    assert changed["data"] == {"a": "1"}
    assert "finalizers" not in changed["metadata"]


def test_server_side_apply_creates_then_merges(http: httpx.Client) -> None:
    body = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: one}\nspec: {size: 2}\n"

    assert http.patch(ONE, content=body, headers=APPLY).status_code == 422
    assert http.patch(f"{ONE}?fieldManager=test", content=body, headers=APPLY).status_code == 201
    changed = http.patch(
        f"{ONE}?fieldManager=test", content=body.replace("size: 2", "size: 5"), headers=APPLY
    )
    assert (changed.status_code, changed.json()["spec"]["size"]) == (200, 5)


def test_a_write_that_changes_nothing_keeps_the_version(http: httpx.Client) -> None:
    item = made(http)

    assert http.patch(ONE, json={"spec": {"size": 1}}, headers=MERGE).json() == item
    assert http.put(ONE, json=item).json() == item


def test_generation_counts_changes_of_the_spec_only(http: httpx.Client) -> None:
    made(http)

    def generation(path: str, patch: dict[str, Any]) -> int:
        number: int = http.patch(path, json=patch, headers=MERGE).json()["metadata"]["generation"]
        return number

    assert generation(ONE, {"metadata": {"labels": {"a": "b"}}}) == 1
    assert generation(f"{ONE}/status", {"status": {"phase": "Up"}}) == 1
    assert generation(ONE, {"spec": {"size": 2}}) == 2


def test_clients_cannot_change_what_the_server_sets(http: httpx.Client) -> None:
    meta = made(http)["metadata"]
    patch = {"metadata": {"generation": 9, "creationTimestamp": "2000-01-01T00:00:00Z"}}
    changed = http.patch(ONE, json=patch, headers=MERGE).json()["metadata"]

    assert changed == meta
    assert refusal(http.patch(ONE, json={"metadata": {"uid": "other"}}, headers=MERGE))[0] == 422
    assert refusal(http.patch(ONE, json={"metadata": {"name": "two"}}, headers=MERGE))[0] == 400


def test_status_and_the_rest_are_written_apart(http: httpx.Client) -> None:
    created = http.post(WIDGETS_PATH, json={**widget(), "status": {"phase": "Born"}}).json()
    assert "status" not in created

    both = {
        "spec": {"size": 5},
        "status": {"phase": "Up"},
        "metadata": {"labels": {"a": "b"}},
    }
    by_status = http.patch(f"{ONE}/status", json=both, headers=MERGE).json()
    assert by_status["status"] == {"phase": "Up"}
    assert by_status["spec"]["size"] == 1
    assert "labels" not in by_status["metadata"]

    both["status"] = {"phase": "Down"}
    by_main = http.patch(ONE, json=both, headers=MERGE).json()
    assert by_main["status"] == {"phase": "Up"}
    assert by_main["spec"]["size"] == 5
    assert by_main["metadata"]["labels"] == {"a": "b"}

    by_main["status"] = {"phase": "Put"}
    assert http.put(f"{ONE}/status", json=by_main).json()["status"] == {"phase": "Put"}
    assert http.get(f"{ONE}/status").json()["status"] == {"phase": "Put"}


def test_status_is_checked_against_the_schema(http: httpx.Client) -> None:
    made(http)
    patch = {"status": {"conditions": [{"type": "Ready"}]}}

    response = http.patch(f"{ONE}/status", json=patch, headers=MERGE)

    assert refusal(response)[:2] == (422, "Invalid")
    assert response.json()["details"]["causes"][0] == {
        "reason": "FieldValueRequired",
        "message": "Required value",
        "field": "status.conditions[0].status",
    }


# Deleting


def test_deletion_answers_with_the_uid(http: httpx.Client) -> None:
    uid = made(http)["metadata"]["uid"]
    status = http.delete(ONE).json()

    assert status["status"] == "Success"
    assert status["details"] == {
        "name": "one",
        "group": "example.com",
        "kind": "widgets",
        "uid": uid,
    }
    assert http.delete(ONE).status_code == 404


def test_finalizers_hold_an_object_until_the_last_is_gone(http: httpx.Client, clock: Clock) -> None:
    made(http)
    http.patch(ONE, json={"metadata": {"finalizers": ["x.io/a", "x.io/b"]}}, headers=MERGE)
    clock.advance(60)
    marked = http.delete(ONE).json()
    assert marked["metadata"]["deletionTimestamp"] == "2026-03-01T12:01:00Z"
    assert http.delete(ONE).json() == marked

    added = {"metadata": {"finalizers": ["x.io/a", "x.io/b", "x.io/c"]}}
    assert (
        "no new finalizers can be added" in refusal(http.patch(ONE, json=added, headers=MERGE))[2]
    )

    http.patch(ONE, json={"metadata": {"finalizers": ["x.io/b"]}}, headers=MERGE)
    assert http.get(ONE).status_code == 200
    http.patch(ONE, json={"metadata": {"finalizers": []}}, headers=MERGE)
    assert http.get(ONE).status_code == 404


def test_preconditions_guard_a_deletion(http: httpx.Client) -> None:
    made(http)
    wrong = {"preconditions": {"uid": "other"}}

    assert refusal(http.request("DELETE", ONE, json=wrong))[:2] == (409, "Conflict")
    assert http.get(ONE).status_code == 200


def test_a_collection_is_deleted_by_selector(http: httpx.Client) -> None:
    for name, tier in (("one", "a"), ("two", "b"), ("three", "a")):
        item = widget(name)
        item["metadata"]["labels"] = {"tier": tier}
        http.post(WIDGETS_PATH, json=item)

    http.delete(f"{WIDGETS_PATH}?labelSelector=tier=a")
    assert [i["metadata"]["name"] for i in http.get(WIDGETS_PATH).json()["items"]] == ["two"]


def test_a_namespace_takes_its_objects_with_it(http: httpx.Client) -> None:
    """It stays Terminating while one of them has a finalizer, and takes nothing new."""
    http.post("/api/v1/namespaces", json={"metadata": {"name": "team"}})
    path = "/apis/example.com/v1/namespaces/team/widgets"
    http.post(path, json=widget("free"))
    held = widget("held")
    held["metadata"]["finalizers"] = ["x.io/a"]
    http.post(path, json=held)

    assert http.delete("/api/v1/namespaces/team").json()["status"]["phase"] == "Terminating"
    assert [i["metadata"]["name"] for i in http.get(path).json()["items"]] == ["held"]
    assert refusal(http.post(path, json=widget("late")))[:2] == (403, "Forbidden")
    http.patch(f"{path}/held", json={"metadata": {"finalizers": None}}, headers=MERGE)
    assert http.get("/api/v1/namespaces/team").status_code == 404


def test_default_cannot_be_deleted(http: httpx.Client) -> None:
    assert http.delete("/api/v1/namespaces/default").status_code == 403


# Built-in kinds


def test_a_secret_s_string_data_is_kept_as_base64(http: httpx.Client) -> None:
    path = "/api/v1/namespaces/default/secrets"
    created = http.post(
        path, json={"metadata": {"name": "s"}, "stringData": {"apiKey": "k-1"}}
    ).json()

    assert created["data"] == {"apiKey": base64.b64encode(b"k-1").decode()}
    assert "stringData" not in created
    assert created["type"] == "Opaque"
    response = http.post(path, json={"metadata": {"name": "t"}, "data": {"a": "not base64!"}})
    assert refusal(response)[:2] == (400, "BadRequest")


def test_an_immutable_config_map_stays_as_it_is(http: httpx.Client) -> None:
    path = "/api/v1/namespaces/default/configmaps"
    item = {"metadata": {"name": "c"}, "data": {"a": "1"}, "immutable": True}
    http.post(path, json=item)

    response = http.patch(f"{path}/c", json={"data": {"a": "2"}}, headers=MERGE)
    assert refusal(response)[0] == 422


def test_an_event_is_one_object_in_both_apis(
    http: httpx.Client, sandbox: KubernetesSandbox
) -> None:
    event = {
        "metadata": {"generateName": "e-"},
        "involvedObject": {"kind": "Widget", "name": "one", "namespace": "default"},
        "type": "Normal",
        "reason": "Made",
        "message": "made it",
        "reportingComponent": "test",
    }
    created = http.post("/api/v1/namespaces/default/events", json=event).json()
    shown = http.get("/apis/events.k8s.io/v1/namespaces/default/events").json()["items"]

    assert [(e["note"], e["regarding"]["name"]) for e in shown] == [("made it", "one")]
    assert shown[0]["reportingController"] == "test"
    assert sandbox.events_of("one", kind="Widget") == [created]
    query = "involvedObject.name=one,involvedObject.kind=Widget,type!=Warning"
    path = f"/api/v1/namespaces/default/events?fieldSelector={query}"
    assert len(http.get(path).json()["items"]) == 1
    assert http.get(path.replace("=one", "=two")).json()["items"] == []


def test_a_lease_is_guarded_by_its_version(http: httpx.Client) -> None:
    path = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    lease = {"metadata": {"name": "l"}, "spec": {"holderIdentity": "a"}}
    created = http.post(path, json=lease).json()
    created["spec"]["holderIdentity"] = "b"

    assert http.put(f"{path}/l", json=created).status_code == 200
    assert http.put(f"{path}/l", json=created).status_code == 409


def test_pods_and_nodes_are_empty_lists(http: httpx.Client) -> None:
    for path in ("/api/v1/pods", "/api/v1/nodes"):
        assert http.get(path).json()["items"] == []
    assert refusal(http.post("/api/v1/nodes", json={"metadata": {"name": "n"}}))[0] == 405
