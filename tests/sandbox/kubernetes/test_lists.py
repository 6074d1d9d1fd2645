"""Lists, selectors, pages, Tables and discovery."""

from typing import Any

import httpx
import pytest

from metronome_salesforce.sandbox.kubernetes import KubernetesSandbox
from metronome_salesforce.sandbox.kubernetes.tables import age
from tests.sandbox.kubernetes.conftest import WIDGETS_PATH, Clock, refusal, widget

TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


@pytest.fixture(name="five")
def _five(sandbox: KubernetesSandbox) -> None:
    for index in range(5):
        item = widget(f"w{index}", size=index + 1)
        item["metadata"]["labels"] = {"tier": "ab"[index % 2], "n": str(index)}
        if index == 4:
            item["metadata"]["labels"] = {}
        sandbox.create("widgets", item)


def names(response: httpx.Response) -> list[str]:
    return [item["metadata"]["name"] for item in response.json()["items"]]


@pytest.mark.usefixtures("five")
def test_a_list_has_the_version_of_the_store(http: httpx.Client) -> None:
    document = http.get(WIDGETS_PATH).json()

    assert (document["kind"], document["apiVersion"]) == ("WidgetList", "example.com/v1")
    newest = max(int(item["metadata"]["resourceVersion"]) for item in document["items"])
    assert int(document["metadata"]["resourceVersion"]) == newest


@pytest.mark.usefixtures("five")
@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("tier=a", ["w0", "w2"]),
        ("tier==b", ["w1", "w3"]),
        ("tier!=a", ["w1", "w3", "w4"]),
        ("tier", ["w0", "w1", "w2", "w3"]),
        ("!tier", ["w4"]),
        ("n in (0, 3)", ["w0", "w3"]),
        ("n notin (0,3)", ["w1", "w2", "w4"]),
        ("tier=a,n!=0", ["w2"]),
        ("tier in (a,b),n in (1,2)", ["w1", "w2"]),
    ],
)
def test_labels_select(http: httpx.Client, selector: str, expected: list[str]) -> None:
    response = http.get(WIDGETS_PATH, params={"labelSelector": selector})

    assert names(response) == expected


@pytest.mark.usefixtures("five")
def test_fields_select_by_name_and_namespace_only(http: httpx.Client) -> None:
    def listed(selector: str) -> httpx.Response:
        return http.get("/apis/example.com/v1/widgets", params={"fieldSelector": selector})

    assert names(listed("metadata.name=w3")) == ["w3"]
    assert names(listed("metadata.name!=w3,metadata.namespace=default")) == ["w0", "w1", "w2", "w4"]
    assert refusal(listed("spec.size=1"))[:2] == (400, "BadRequest")


@pytest.mark.parametrize("selector", ["a in b", "=", "a b"])
def test_a_selector_that_cannot_be_read_is_refused(http: httpx.Client, selector: str) -> None:
    response = http.get(WIDGETS_PATH, params={"labelSelector": selector})

    assert refusal(response)[:2] == (400, "BadRequest")


@pytest.mark.usefixtures("five")
def test_pages_follow_on_with_a_token(http: httpx.Client, sandbox: KubernetesSandbox) -> None:
    first = http.get(WIDGETS_PATH, params={"limit": 2})
    meta = first.json()["metadata"]
    second = http.get(WIDGETS_PATH, params={"limit": 2, "continue": meta["continue"]})
    token = second.json()["metadata"]["continue"]
    third = http.get(WIDGETS_PATH, params={"limit": 2, "continue": token})

    assert meta["remainingItemCount"] == 3
    assert [names(page) for page in (first, second, third)] == [["w0", "w1"], ["w2", "w3"], ["w4"]]
    assert "continue" not in third.json()["metadata"]
    sandbox.compact()
    expired = http.get(WIDGETS_PATH, params={"limit": 2, "continue": token})
    assert refusal(expired)[:2] == (410, "Expired")


def test_a_version_from_the_future_times_out(http: httpx.Client) -> None:
    response = http.get(WIDGETS_PATH, params={"resourceVersion": "999999"})

    assert refusal(response)[:2] == (504, "Timeout")


# Tables


def test_a_table_has_the_definition_s_columns(
    http: httpx.Client, sandbox: KubernetesSandbox, clock: Clock
) -> None:
    sandbox.create("widgets", widget("new"))
    sandbox.create("widgets", widget("old", size=7))
    status: dict[str, Any] = {
        "ranAt": "2026-03-01T11:30:00Z",
        "conditions": [
            {"type": "Stalled", "status": "False"},
            {"type": "Ready", "status": "True"},
        ],
    }
    patch = {"Content-Type": "application/merge-patch+json"}
    http.patch(f"{WIDGETS_PATH}/old/status", json={"status": status}, headers=patch)
    clock.advance(100)
    table = http.get(WIDGETS_PATH, headers=TABLE).json()

    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    assert [(c["name"], c["type"], c["priority"]) for c in table["columnDefinitions"]] == [
        ("Name", "string", 0),
        ("Ready", "string", 0),
        ("Ran", "date", 0),
        ("Size", "integer", 1),
        ("Age", "date", 0),
    ]
    assert [row["cells"] for row in table["rows"]] == [
        ["new", None, None, 1, "100s"],
        ["old", "True", "31m", 7, "100s"],
    ]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    one = http.get(f"{WIDGETS_PATH}/old", headers=TABLE).json()
    assert [row["cells"][0] for row in one["rows"]] == ["old"]
    bare = http.get(WIDGETS_PATH, headers=TABLE, params={"includeObject": "None"}).json()
    assert "object" not in bare["rows"][0]


def test_a_secret_s_table_counts_its_keys(http: httpx.Client, sandbox: KubernetesSandbox) -> None:
    sandbox.create("secrets", {"metadata": {"name": "s"}, "stringData": {"a": "1", "b": "2"}})
    table = http.get("/api/v1/namespaces/default/secrets", headers=TABLE).json()

    assert [column["name"] for column in table["columnDefinitions"]] == [
        "Name",
        "Type",
        "Data",
        "Age",
    ]
    assert table["rows"][0]["cells"] == ["s", "Opaque", 2, "0s"]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (150, "2m30s"),
        (599, "9m59s"),
        (600, "10m"),
        (10_799, "179m"),
        (10_800, "3h"),
        (12_000, "3h20m"),
        (28_800, "8h"),
        (172_799, "47h"),
        (172_800, "2d"),
        (180_000, "2d2h"),
        (691_200, "8d"),
        (63_072_000, "2y"),
        (66_528_000, "2y40d"),
        (-10, "<invalid>"),
    ],
)
def test_ages_are_written_as_kubectl_users_know_them(seconds: int, expected: str) -> None:
    """The figures are those of k8s.io/apimachinery's HumanDuration."""
    assert age(seconds) == expected


@pytest.mark.usefixtures("five")
def test_only_metadata_is_sent_if_asked(http: httpx.Client) -> None:
    accept = {"Accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}
    document = http.get(WIDGETS_PATH, headers=accept).json()

    assert document["kind"] == "PartialObjectMetadataList"
    assert all("spec" not in item for item in document["items"])


# Discovery


def test_discovery_names_every_resource_once(http: httpx.Client) -> None:
    assert http.get("/api").json()["versions"] == ["v1"]
    groups = {group["name"] for group in http.get("/apis").json()["groups"]}
    assert groups == {
        "apiextensions.k8s.io",
        "coordination.k8s.io",
        "events.k8s.io",
        "example.com",
    }
    listed = http.get("/apis/example.com/v1").json()["resources"]
    assert [(r["name"], r["kind"], r["namespaced"]) for r in listed] == [
        ("widgets", "Widget", True),
        ("widgets/status", "Widget", True),
    ]
    assert (listed[0]["shortNames"], listed[0]["categories"]) == (["wd"], ["gadgets"])
    assert http.get("/apis/example.com").json()["preferredVersion"]["version"] == "v1"
    assert http.get("/apis/none.example.com").status_code == 404
    assert http.get("/version").json()["major"] == "1"


def test_aggregated_discovery_says_the_same(http: httpx.Client) -> None:
    response = http.get("/apis", headers={"Accept": AGGREGATED})

    assert "as=APIGroupDiscoveryList" in response.headers["Content-Type"]
    (group,) = (
        item for item in response.json()["items"] if item["metadata"]["name"] == "example.com"
    )
    (found,) = group["versions"][0]["resources"]
    assert found["resource"] == "widgets"
    assert found["responseKind"] == {"group": "example.com", "version": "v1", "kind": "Widget"}
    assert [sub["subresource"] for sub in found["subresources"]] == ["status"]


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz"])
def test_health_is_open(http: httpx.Client, sandbox: KubernetesSandbox, path: str) -> None:
    sandbox.tokens = {"only"}

    assert http.get(path).text == "ok"


def test_tokens_are_checked_once_they_are_given(
    http: httpx.Client, sandbox: KubernetesSandbox
) -> None:
    def code(token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return http.get("/api/v1/namespaces", headers=headers).status_code

    assert [code(""), code("any")] == [200, 200]
    sandbox.tokens = {"good"}
    assert [code(""), code("any"), code("good")] == [401, 401, 200]
