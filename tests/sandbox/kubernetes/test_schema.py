"""What a definition's schema lets through, fills in and refuses.

The sentences are those that kube-apiserver 1.36 gave to the same requests.
"""

from typing import Any

import httpx
import pytest

from metronome_salesforce.sandbox.kubernetes import KubernetesSandbox
from tests.sandbox.kubernetes.conftest import WIDGETS_PATH, definition, refusal, widget

ONE = f"{WIDGETS_PATH}/one"
MERGE = {"Content-Type": "application/merge-patch+json"}
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.mark.parametrize(
    ("spec", "reason", "sentence"),
    [
        (
            {"size": 0},
            "FieldValueInvalid",
            "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1",
        ),
        (
            {"size": 101},
            "FieldValueInvalid",
            "spec.size: Invalid value: 101: spec.size in body should be less than or equal to 100",
        ),
        (
            {"code": "ABC"},
            "FieldValueInvalid",
            "spec.code: Invalid value: \"ABC\": spec.code in body should match '^[a-z]{3}$'",
        ),
        (
            {"parts": ["p", "p"]},
            "FieldValueDuplicate",
            'spec.parts[1]: Duplicate value: "p"',
        ),
        (
            {"owner": {}},
            "FieldValueInvalid",
            "spec.owner: Invalid value: exactly one of name or id",
        ),
        (
            {"owner": {"name": "a", "id": "b"}},
            "FieldValueInvalid",
            "spec.owner: Invalid value: exactly one of name or id",
        ),
        (
            {"parts": ["q"]},
            "FieldValueInvalid",
            "spec.parts: Invalid value: parts start with p",
        ),
        (
            {"lookback": "101d"},
            "FieldValueInvalid",
            "spec: Invalid value: at most 100 days",
        ),
    ],
)
def test_a_value_outside_the_schema_is_refused(
    http: httpx.Client, spec: dict[str, Any], reason: str, sentence: str
) -> None:
    response = http.post(WIDGETS_PATH, json=widget(**spec))

    message = f'Widget.example.com "one" is invalid: {sentence}'
    assert refusal(response) == (422, "Invalid", message)
    field, _, told = sentence.partition(": ")
    assert response.json()["details"] == {
        "name": "one",
        "group": "example.com",
        "kind": "Widget",
        "causes": [{"reason": reason, "message": told, "field": field}],
    }


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (
            {"size": "big"},
            (
                'spec.size: Invalid value: "string": spec.size in body must be of type integer: '
                '"string"'
            ),
        ),
        (
            {"color": "pink"},
            'spec.color: Unsupported value: "pink": supported values: "red", "green", "blue"',
        ),
        (
            {"since": "2026-02-30"},
            (
                'spec.since: Invalid value: "2026-02-30": spec.since in body must be of type '
                'date: "2026-02-30"'
            ),
        ),
        (
            {"at": "2026-02-01"},
            (
                'spec.at: Invalid value: "2026-02-01": spec.at in body must be of type '
                'date-time: "2026-02-01"'
            ),
        ),
        (
            {"url": "not a url"},
            (
                'spec.url: Invalid value: "not a url": spec.url in body must be of type uri: '
                '"not a url"'
            ),
        ),
        ({"label": "toolong"}, "spec.label: Too long: may not be more than 5 bytes"),
        ({"parts": ["pa", "pb", "pc", "pd"]}, "spec.parts: Too many: 4: must have at most 3 items"),
    ],
)
def test_a_value_of_the_wrong_shape_keeps_the_rules_from_running(
    http: httpx.Client, spec: dict[str, Any], sentence: str
) -> None:
    rest = (
        "<nil>: Invalid value: null: some validation rules were not checked because the object "
        "was invalid; correct the existing errors to complete validation"
    )

    assert refusal(http.post(WIDGETS_PATH, json=widget(owner={}, **spec)))[2] == (
        f'Widget.example.com "one" is invalid: [{sentence}, {rest}]'
    )


def test_a_null_that_is_not_allowed_counts_as_absent(http: httpx.Client) -> None:
    created = http.post(WIDGETS_PATH, json=widget(code=None, owner=None, color=None, label=None))

    assert created.json()["spec"] == {
        "size": 1,
        "color": "red",
        "label": None,
        "nested": {"depth": 4},
    }
    causes = http.post(WIDGETS_PATH, json=widget("two", size=None)).json()["details"]["causes"]
    assert (causes[0]["field"], causes[0]["reason"]) == ("spec.size", "FieldValueRequired")


def test_a_missing_field_is_required(http: httpx.Client) -> None:
    item = widget()
    del item["spec"]["size"]
    causes = http.post(WIDGETS_PATH, json=item).json()["details"]["causes"]

    assert causes[0] == {
        "reason": "FieldValueRequired",
        "message": "Required value",
        "field": "spec.size",
    }


@pytest.mark.parametrize(
    "spec",
    [
        {"label": None},
        {"port": 80},
        {"port": "http"},
        {"lookback": "34d"},
        {"lookback": "1h30m"},
        {"since": "2028-02-29"},
        {"at": "2026-02-01T00:00:00.5+01:00"},
        {"url": "https://example.com/x"},
        {"free": {"any": {"thing": 1}}},
        {"extra": {"a": "b"}},
        {"owner": {"id": "1"}},
        {"parts": ["pa", "pb"]},
    ],
)
def test_a_value_within_the_schema_is_kept(http: httpx.Client, spec: dict[str, Any]) -> None:
    response = http.post(WIDGETS_PATH, json=widget(**spec))

    assert response.status_code == 201, response.text
    assert response.json()["spec"].items() >= spec.items()


@pytest.mark.parametrize(
    "spec", [{"port": 1.5}, {"extra": {"a": 1}}, {"lookback": "soon"}, {"nested": {"depth": "x"}}]
)
def test_a_nested_value_is_checked_too(http: httpx.Client, spec: dict[str, Any]) -> None:
    assert refusal(http.post(WIDGETS_PATH, json=widget(**spec)))[:2] == (422, "Invalid")


def test_unknown_fields_are_dropped_with_a_warning(http: httpx.Client) -> None:
    response = http.post(WIDGETS_PATH, json=widget(sise=2, nested={"deep": 1}))

    assert response.json()["spec"] == {"size": 1, "color": "red", "nested": {"depth": 4}}
    assert response.headers.get_list("Warning") == [
        '299 - "unknown field \\"spec.nested.deep\\""',
        '299 - "unknown field \\"spec.sise\\""',
    ]


def test_unknown_fields_are_refused_under_strict_validation(http: httpx.Client) -> None:
    path = f"{WIDGETS_PATH}?fieldValidation=Strict"

    assert refusal(http.post(path, json=widget(sise=2))) == (
        400,
        "BadRequest",
        (
            'Widget in version "v1" cannot be handled as a Widget: strict decoding error: unknown '
            'field "spec.sise"'
        ),
    )
    assert http.post(path, json=widget()).status_code == 201
    response = http.patch(
        f"{ONE}?fieldValidation=Strict", json={"spec": {"sise": 1}}, headers=MERGE
    )
    code, _, message = refusal(response)
    assert code == 422
    assert message.startswith(' "" is invalid: patch: Invalid value: ')
    assert message.endswith('strict decoding error: unknown field "spec.sise"')


def test_a_transition_rule_holds_once_there_is_an_old_value(http: httpx.Client) -> None:
    http.post(WIDGETS_PATH, json=widget())

    assert http.patch(ONE, json={"spec": {"fixed": "a"}}, headers=MERGE).status_code == 200
    assert refusal(http.patch(ONE, json={"spec": {"fixed": "b"}}, headers=MERGE))[2] == (
        'Widget.example.com "one" is invalid: spec.fixed: Invalid value: "b": fixed is immutable'
    )
    assert http.patch(ONE, json={"spec": {"size": 2}}, headers=MERGE).status_code == 200


def test_an_old_value_may_stay_when_the_schema_narrows(
    http: httpx.Client, sandbox: KubernetesSandbox
) -> None:
    """Ratcheting: only what an update touches is checked again."""
    http.post(WIDGETS_PATH, json=widget(color="blue", owner={"id": "1"}))
    document = definition()
    properties = document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    fields = properties["spec"]["properties"]
    fields["color"]["enum"] = ["red", "green"]
    fields["owner"]["x-kubernetes-validations"] = [{"rule": "has(self.name)"}]
    sandbox.install_crd(document)

    assert http.patch(ONE, json={"spec": {"size": 2}}, headers=MERGE).status_code == 200
    assert http.patch(ONE, json={"spec": {"owner": {"id": "2"}}}, headers=MERGE).status_code == 422
    assert http.post(WIDGETS_PATH, json=widget("two", color="blue")).status_code == 422


def test_true_is_not_one(http: httpx.Client) -> None:
    http.post(WIDGETS_PATH, json=widget())

    assert http.patch(ONE, json={"spec": {"size": True}}, headers=MERGE).status_code == 422


# Definitions


def test_a_definition_serves_its_resource_until_it_is_deleted(
    http: httpx.Client, sandbox: KubernetesSandbox
) -> None:
    document = definition()
    document["metadata"]["name"] = "gears.example.com"
    document["spec"]["names"] = {"plural": "gears", "kind": "Gear"}
    path = "/apis/example.com/v1/namespaces/default/gears"
    gear = {**widget(), "kind": "Gear"}

    assert http.post(path, json=gear).status_code == 404
    status = http.post(CRDS, json=document).json()["status"]
    assert {c["type"]: c["status"] for c in status["conditions"]} == {
        "NamesAccepted": "True",
        "Established": "True",
    }
    assert http.post(path, json=gear).status_code == 201
    assert http.delete(f"{CRDS}/gears.example.com").status_code == 200
    assert http.get(path).status_code == 404
    http.post(CRDS, json=document)
    assert sandbox.objects("gears") == []


def test_a_changed_definition_is_in_force_at_once(
    http: httpx.Client, sandbox: KubernetesSandbox
) -> None:
    document = definition()
    properties = document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    properties["spec"]["properties"]["weight"] = {"type": "integer"}
    sandbox.install_crd(document)

    assert http.post(WIDGETS_PATH, json=widget(weight=3)).json()["spec"]["weight"] == 3


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"description": "no type"}, ".type"),
        ({"type": "text"}, ".type"),
        ({"type": "string", "pattern": "(?=x)"}, ".pattern"),
        ({"type": "array"}, ".items"),
        ({"type": "array", "items": {"type": "string"}, "uniqueItems": True}, ".uniqueItems"),
        (
            {"type": "object", "properties": {"a": {"type": "string"}},
             "additionalProperties": {"type": "string"}},
            ".additionalProperties",
        ),
        ({"type": "string", "enum": ["a"], "default": "b"}, ".default"),
        ({"type": "object", "default": {"b": 1}, "properties": {}}, ".default"),
        ({"type": "object", "oneOf": [{"required": ["a"], "type": "object"}]}, ".oneOf[0].type"),
        (
            {"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "map"},
            ".x-kubernetes-list-map-keys",
        ),
        (
            {"type": "string", "x-kubernetes-validations": [{"rule": "self =="}]},
            ".x-kubernetes-validations[0].rule",
        ),
        (
            {"type": "string", "x-kubernetes-validations": [{"rule": "other == 'a'"}]},
            ".x-kubernetes-validations[0].rule",
        ),
        (
            {"type": "string", "x-kubernetes-validations": [{"rule": "self.isNice()"}]},
            ".x-kubernetes-validations[0].rule",
        ),
        (
            {"type": "object", "properties": {"a": {"type": "string"}},
             "x-kubernetes-validations": [{"rule": "has(self.a) && has(self.b)"}]},
            ".x-kubernetes-validations[0].rule",
        ),
        (
            {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}},
             "x-kubernetes-validations": [{"rule": "self.all(x, x.a != x.c)"}]},
            ".x-kubernetes-validations[0].rule",
        ),
        (
            {"type": "array", "items": {"type": "string", "x-kubernetes-validations": [
                {"rule": "self == oldSelf"}]}},
            ".items.x-kubernetes-validations[0].rule",
        ),
    ],
)  # fmt: skip
def test_a_schema_that_is_not_structural_is_refused(
    http: httpx.Client, change: dict[str, Any], field: str
) -> None:
    """The field of the first cause names the place, as far as the keyword."""
    document = definition()
    document["metadata"]["name"] = "gears.example.com"
    document["spec"]["names"] = {"plural": "gears", "kind": "Gear"}
    version = document["spec"]["versions"][0]
    version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["new"] = change
    response = http.post(CRDS, json=document)

    assert refusal(response)[:2] == (422, "Invalid")
    start = "spec.validation.openAPIV3Schema.properties[spec].properties[new]"
    assert response.json()["details"]["causes"][0]["field"].startswith(start + field)


def test_a_misspelt_keyword_is_refused_under_strict_validation(http: httpx.Client) -> None:
    """Else it is dropped with a warning, as the real server does."""
    document = definition()
    version = document["spec"]["versions"][0]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["extra"]["additionalProperties"]["patern"] = "x"
    http.delete(f"{CRDS}/widgets.example.com")
    place = "openAPIV3Schema.properties.spec.properties.extra.additionalProperties.patern"
    sentence = f'unknown field "spec.versions[0].schema.{place}"'

    strict = http.post(CRDS, json=document, params={"fieldValidation": "Strict"})
    assert refusal(strict)[0] == 400
    assert sentence in refusal(strict)[2]
    quoted = sentence.replace('"', '\\"')
    assert http.post(CRDS, json=document).headers["Warning"] == f'299 - "{quoted}"'


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "gadgets.example.com"),
        ("spec.scope", "Global"),
        ("spec.group", "example"),
        ("spec.names.plural", ""),
        ("spec.versions.0.storage", False),
        ("spec.versions.0.name", "V1"),
        ("spec.versions.0.schema", {}),
        ("spec.versions.0.additionalPrinterColumns.0.jsonPath", "status"),
        ("spec.versions.0.additionalPrinterColumns.0.type", "time"),
    ],
)
def test_a_definition_with_wrong_names_is_refused(
    http: httpx.Client, path: str, value: object
) -> None:
    document: Any = definition()
    *parents, last = path.split(".")
    node = document
    for key in parents:
        node = node[int(key)] if key.isdigit() else node[key]
    node[last] = value
    http.delete(f"{CRDS}/widgets.example.com")

    assert refusal(http.post(CRDS, json=document))[:2] == (422, "Invalid")
