"""What the emulated service refuses, with which status and body."""

from typing import Any

import httpx
import pytest

from metronome_salesforce.sandbox.metronome import READ_KEY, MetronomeSandbox, Tenant

DAY = {"starting_on": "2026-05-01T00:00:00Z", "ending_before": "2026-05-02T00:00:00Z"}
UNKNOWN = "00000000-0000-4000-8000-000000000000"


def outcome(answer: httpx.Response) -> tuple[int, list[str]]:
    """Return the status and the keys of the body."""
    return answer.status_code, list(answer.json())


def test_no_token_is_401_and_a_wrong_one_403(api: httpx.Client) -> None:
    path = "/v1/customers"

    assert outcome(httpx.get(f"{api.base_url}{path}")) == (401, ["message"])
    basic = api.get(path, headers={"Authorization": "Basic x"})
    assert outcome(basic) == (401, ["message"])
    assert outcome(api.get(path, headers={"Authorization": "Bearer no"})) == (403, ["message"])


def test_a_revoked_key_is_refused_at_once(sandbox: MetronomeSandbox, api: httpx.Client) -> None:
    assert api.get("/v1/plans").status_code == 200
    sandbox.api_keys.clear()
    assert api.get("/v1/plans").status_code == 403


def test_a_read_key_reads_by_post_but_writes_nothing(api: httpx.Client, tenant: Tenant) -> None:
    api.headers["Authorization"] = f"Bearer {READ_KEY}"
    customer = tenant.customers()[0]["id"]

    assert api.post("/v1/credits/listGrants", json={}).status_code == 200
    assert api.post("/v1/usage", json={**DAY, "window_size": "DAY"}).status_code == 200
    refused = api.post(
        f"/v1/customers/{customer}/updateConfig", json={"salesforce_account_id": "001"}
    )
    assert outcome(refused) == (403, ["message"])
    assert tenant.customer(customer)["customer_config"] == {"salesforce_account_id": None}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/nothing"),
        ("GET", "/v3/customers"),
        ("GET", "/v1/customers/"),
        ("DELETE", "/v1/customers"),
        ("GET", "/v1/usage"),
        ("GET", f"/v1/customers/{UNKNOWN}"),
        ("GET", f"/v1/customers/{UNKNOWN}/invoices"),
        ("GET", f"/v1/customers/{UNKNOWN}/plans"),
        ("GET", f"/v1/planDetails/{UNKNOWN}/customers"),
        ("GET", f"/v1/billable-metrics/{UNKNOWN}"),
        ("POST", f"/v1/customers/{UNKNOWN}/updateConfig"),
    ],
)
def test_unknown_routes_and_ids_are_404(api: httpx.Client, method: str, path: str) -> None:
    assert outcome(api.request(method, path)) == (404, ["message"])


def test_contracts_answer_400_with_a_code(api: httpx.Client, tenant: Tenant) -> None:
    unknown = api.post("/v2/contracts/list", json={"customer_id": UNKNOWN})
    assert outcome(unknown) == (400, ["code", "message"])
    assert unknown.json()["code"] == "CustomerNotFound"
    asked = {"customer_id": tenant.customers()[0]["id"], "contract_id": UNKNOWN}
    assert api.post("/v2/contracts/get", json=asked).json()["code"] == "ContractNotFound"


@pytest.mark.parametrize(
    "body",
    [
        {},
        DAY,
        {**DAY, "window_size": "WEEK"},
        {**DAY, "window_size": 1},
        {"starting_on": DAY["starting_on"], "window_size": "DAY"},
        {**DAY, "starting_on": "2026-05-01T06:00:00Z", "window_size": "DAY"},
        {**DAY, "ending_before": "2026-05-01T23:00:00Z", "window_size": "DAY"},
        {**DAY, "ending_before": DAY["starting_on"], "window_size": "DAY"},
        {**DAY, "starting_on": "2026-05-01", "window_size": "DAY"},
        {**DAY, "starting_on": "yesterday", "window_size": "DAY"},
        {**DAY, "window_size": "DAY", "customer_ids": "one"},
        {**DAY, "window_size": "DAY", "customer_ids": [1]},
        {**DAY, "window_size": "DAY", "billable_metrics": [{"key": "region"}]},
    ],
)
def test_malformed_usage_questions_are_400(api: httpx.Client, body: dict[str, Any]) -> None:
    assert outcome(api.post("/v1/usage", json=body)) == (400, ["message"])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/credits/listGrants", {"credit_grant_ids": [UNKNOWN], "customer_ids": [UNKNOWN]}),
        ("/v1/credits/listGrants", {"customer_ids": UNKNOWN}),
        ("/v1/credits/listGrants", {"effective_before": "soon"}),
        ("/v1/credits/listEntries", {"ending_before": "2027-01-01T00:00:00Z"}),
        ("/v1/customers", {"ingest_aliases": ["nameless"]}),
        ("/v1/customers", {"name": "A", "ingest_aliases": ["x" * 129]}),
        ("/v1/customers", {"name": "A", "custom_fields": {"undeclared": "1"}}),
        ("/v1/customers", {"name": "A", "custom_fields": {"tier": 1}}),
        ("/v1/customFields/setValues", {"entity": "customer", "entity_id": UNKNOWN}),
        ("/v1/invoices/void", {}),
        ("/v1/customers/archive", {"id": None}),
    ],
)
def test_malformed_bodies_are_400(api: httpx.Client, path: str, body: dict[str, Any]) -> None:
    assert outcome(api.post(path, json=body)) == (400, ["message"])


@pytest.mark.parametrize("raw", [b"{", b"[]", b'"text"', b"\xff"])
def test_bodies_that_are_no_json_object_are_400(api: httpx.Client, raw: bytes) -> None:
    assert outcome(api.post("/v1/credits/listGrants", content=raw)) == (400, ["message"])


@pytest.mark.parametrize(
    "query",
    [
        "status=PENDING",
        "type=ODD",
        "sort=newest",
        "starting_on=2026-05-01",
        "skip_zero_qty_line_items=yes",
        "status=DRAFT&status=VOID",
    ],
)
def test_malformed_invoice_questions_are_400(api: httpx.Client, tenant: Tenant, query: str) -> None:
    customer = tenant.customers()[0]["id"]

    assert outcome(api.get(f"/v1/customers/{customer}/invoices?{query}")) == (400, ["message"])


def test_at_most_a_hundred_ids(api: httpx.Client) -> None:
    assert api.get("/v1/customers?customer_ids=" + ",".join(map(str, range(100)))).is_success
    too_many = api.get("/v1/customers?customer_ids=" + ",".join(map(str, range(101))))
    assert too_many.status_code == 400


def test_ended_with_upcoming_is_refused(api: httpx.Client, tenant: Tenant) -> None:
    path = f"/v1/planDetails/{tenant.plans()[0]['id']}/customers"

    assert api.get(f"{path}?status=active,ended").is_success
    assert api.get(f"{path}?status=ended,upcoming").status_code == 400
    assert api.get(f"{path}?status=paused").status_code == 400


def test_arrays_are_joined_by_commas_or_repeated_and_words_have_any_case(
    api: httpx.Client, tenant: Tenant
) -> None:
    one, two = (customer["id"] for customer in tenant.customers()[:2])

    joined = api.get(f"/v1/customers?customer_ids={one},{two}").json()
    repeated = api.get(f"/v1/customers?customer_ids={one}&customer_ids={two}").json()
    assert len(joined["data"]) == 2
    assert joined == repeated
    upper = api.get(f"/v1/customers/{one}/invoices?status=DRAFT&sort=DATE_DESC").json()
    lower = api.get(f"/v1/customers/{one}/invoices?status=draft&sort=date_desc").json()
    assert upper["data"]
    assert upper == lower


def test_a_result_without_content_is_an_empty_200(api: httpx.Client, tenant: Tenant) -> None:
    customer = tenant.customers()[0]["id"]

    for path, body in (
        (f"/v1/customers/{customer}/updateConfig", {"salesforce_account_id": None}),
        (f"/v1/customers/{customer}/setIngestAliases", {"ingest_aliases": []}),
        (
            "/v1/customFields/setValues",
            {"entity": "customer", "entity_id": customer, "custom_fields": {}},
        ),
    ):
        answer = api.post(path, json=body)
        assert (answer.status_code, answer.content) == (200, b"")


def test_an_idempotency_key_replays_a_stale_answer(api: httpx.Client, tenant: Tenant) -> None:
    """So a client that sends one on reads would never see news."""
    headers = {"Idempotency-Key": "k1"}
    first = api.post("/v1/credits/listGrants", json={}, headers=headers).json()
    tenant.void_grant(first["data"][0]["id"])

    again = api.post("/v1/credits/listGrants", json={}, headers=headers).json()
    fresh = api.post("/v1/credits/listGrants", json={}).json()
    other = api.post("/v1/credits/listGrants", json={"customer_ids": []}, headers=headers)

    assert again == first
    assert fresh != first
    assert other.status_code == 409
