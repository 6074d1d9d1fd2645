"""Bodies of the wrong shape: refused as the client's fault, with a Status, and nothing is kept."""

import json
from typing import Any

import httpx
import pytest

from metronome_salesforce.sandbox.kubernetes import KubernetesSandbox
from tests.sandbox.kubernetes.conftest import WIDGETS_PATH, definition, refusal, widget

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SCHEMA = "spec.versions.0.schema.openAPIV3Schema"
BODIES: list[Any] = [
    [],
    "text",
    1,
    [1],
    [{"op": "unknown", "path": "/spec"}],
    [{"op": "add", "path": "no-slash", "value": 1}],
    [{"op": "replace", "path": "", "value": 1}],
    [{"op": "add", "path": "/metadata", "value": 3}],
    {"metadata": [1]},
    {"metadata": {"finalizers": "text"}},
    {"spec": None},
    {"spec": [1]},
    {"spec": {"parts": [{}]}},
    {"spec": {"owner": "text"}},
    {"spec": {"extra": 3}},
]


@pytest.mark.parametrize("kind", ["json-patch+json", "merge-patch+json", "apply-patch+yaml"])
def test_a_malformed_patch_changes_nothing(
    http: httpx.Client, sandbox: KubernetesSandbox, kind: str
) -> None:
    before = sandbox.create("widgets", widget())
    for body in BODIES:
        response = http.patch(
            f"{WIDGETS_PATH}/one?fieldManager=test",
            content=json.dumps(body),
            headers={"Content-Type": f"application/{kind}"},
        )

        if (kind, body) == ("json-patch+json", []):
            assert response.status_code == 200  # a patch of no operations is a valid one
        else:
            assert refusal(response)[0] in {400, 422}, body
        assert sandbox.get("widgets", "one") == before, body


@pytest.mark.parametrize(
    ("plural", "body"),
    [
        ("secrets", {"data": 3}),
        ("secrets", {"stringData": ["text"]}),
        ("secrets", {"data": {"key": 3}}),
        ("configmaps", {"data": ["text"]}),
        ("configmaps", {"data": {"key": 1}}),
        ("configmaps", {"immutable": "yes"}),
        ("events", {"involvedObject": "text"}),
    ],
)
def test_a_built_in_object_of_wrong_types_is_a_bad_request(
    http: httpx.Client, plural: str, body: dict[str, Any]
) -> None:
    document = {"metadata": {"name": "x"}, **body}
    response = http.post(f"/api/v1/namespaces/default/{plural}", json=document)

    assert refusal(response)[:2] == (400, "BadRequest")


def test_a_built_in_object_has_no_unknown_fields(
    http: httpx.Client, sandbox: KubernetesSandbox
) -> None:
    path = "/api/v1/namespaces/default/secrets"
    document = {"metadata": {"name": "x"}, "stringdata": {"key": "v"}}

    assert (
        'unknown field "stringdata"'
        in refusal(http.post(f"{path}?fieldValidation=Strict", json=document))[2]
    )
    assert http.post(path, json=document).headers["Warning"] == (
        '299 - "unknown field \\"stringdata\\""'
    )
    assert "stringdata" not in sandbox.get("secrets", "x")


@pytest.mark.parametrize(
    "path",
    [
        "spec",
        "spec.group",
        "spec.names",
        "spec.versions",
        "spec.versions.0.schema",
        SCHEMA,
        f"{SCHEMA}.properties",
        f"{SCHEMA}.properties.spec",
        f"{SCHEMA}.properties.spec.properties.size.type",
        f"{SCHEMA}.properties.spec.properties.parts.items",
        f"{SCHEMA}.properties.spec.properties.extra.additionalProperties",
    ],
)
def test_a_definition_of_wrong_types_is_refused(
    sandbox: KubernetesSandbox, http: httpx.Client, path: str
) -> None:
    http.delete(f"{CRDS}/widgets.example.com")
    for value in (3, [3], "text", {"unknown": 1}):
        document: Any = definition()
        *parents, last = path.split(".")
        node = document
        for key in parents:
            node = node[int(key)] if key.isdigit() else node[key]
        node[last] = value
        response = http.post(CRDS, json=document, params={"fieldValidation": "Strict"})

        assert refusal(response)[0] in {400, 422}
    assert sandbox.objects("customresourcedefinitions") == []


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/", 404),
        ("/apis/x/v1/y", 404),
        ("/apis//v1/y", 404),
        ("/api/v2/secrets", 404),
        ("/api/v1/namespaces/default/secrets/a/b/c", 404),
        ("/api/v1/namespaces/default/secrets/a/status", 404),
        ("/api/v1/secrets?limit=x", 400),
        ("/api/v1/secrets?continue=x", 400),
        ("/api/v1/secrets?watch=1&resourceVersion=x", 400),
        ("/openapi/v2", 404),
    ],
)
def test_a_path_of_no_meaning_is_told_so(http: httpx.Client, path: str, code: int) -> None:
    assert refusal(http.get(path))[0] == code
