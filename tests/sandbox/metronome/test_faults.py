"""Faults, counters, the hook and the demo's switch."""

import threading
from datetime import timedelta

import httpx
import pytest
from metronome import Metronome

from metronome_salesforce.sandbox.metronome import API_KEY, MetronomeSandbox, Tenant
from metronome_salesforce.sandbox.metronome.faults import Faults

CUSTOMERS = ("GET", "/v1/customers")


def test_throttling_as_documented(sandbox: MetronomeSandbox, api: httpx.Client) -> None:
    sandbox.faults.add("GET /v1/plans", status=429, times=2)

    first, second, third = (api.get("/v1/plans") for _ in range(3))

    assert [one.status_code for one in (first, second, third)] == [429, 429, 200]
    assert first.headers["X-Metronome-Rate-Limit-Type"] == "client"
    assert "Retry-After" not in first.headers
    assert first.json() == {"message": "Rate limit exceeded"}


def test_a_token_bucket_throttles_one_family_only(
    sandbox: MetronomeSandbox, api: httpx.Client
) -> None:
    sandbox.faults.limit("GET /v1/customers*", per_second=0.001, burst=2)

    assert [api.get("/v1/customers").status_code for _ in range(3)] == [200, 200, 429]
    assert api.get("/v1/plans").status_code == 200
    sandbox.faults.clear()
    assert api.get("/v1/customers").status_code == 200


def test_a_token_bucket_fills_again_with_time() -> None:
    moment = [100.0]
    faults = Faults(clock=lambda: moment[0])
    faults.limit("GET *", per_second=2, burst=1)

    assert faults.take("GET", "/x") is None
    assert faults.take("GET", "/x") is not None
    moment[0] += 0.5
    assert faults.take("GET", "/x") is None


def test_headers_and_bodies_of_a_test_replace_the_usual_ones(
    sandbox: MetronomeSandbox, api: httpx.Client
) -> None:
    headers = {"Retry-After": "1", "X-Metronome-Rate-Limit-Type": "customer"}
    sandbox.faults.add("* /v1/*", status=429, headers=headers, body="slow down")

    answer = api.get("/v1/plans")

    assert answer.text == "slow down"
    assert answer.headers["Retry-After"] == "1"
    assert answer.headers["X-Metronome-Rate-Limit-Type"] == "customer"


def test_a_gateway_does_not_speak_json(sandbox: MetronomeSandbox, api: httpx.Client) -> None:
    sandbox.faults.add(status=502, times=1)
    sandbox.faults.add(status=500, times=1)

    html, json = api.get("/v1/plans"), api.get("/v1/plans")

    assert html.headers["Content-Type"] == "text/html"
    assert "<html>" in html.text
    assert (json.status_code, list(json.json())) == (500, ["message"])


def test_a_pattern_meets_its_routes_only_and_can_spare_the_first(
    sandbox: MetronomeSandbox, api: httpx.Client, tenant: Tenant
) -> None:
    path = f"/v1/customers/{tenant.customers()[0]['id']}/invoices"
    sandbox.faults.add("GET /v1/customers/*/invoices", status=500, after=1)

    assert api.get("/v1/customers").status_code == 200
    assert [api.get(path).status_code for _ in range(3)] == [200, 500, 500]
    sandbox.faults.clear()
    assert api.get(path).status_code == 200


def test_a_dropped_connection(sandbox: MetronomeSandbox, api: httpx.Client) -> None:
    sandbox.faults.add("GET /v1/customers", drop=True, times=1)

    with pytest.raises(httpx.TransportError):
        api.get("/v1/customers")
    assert api.get("/v1/customers").status_code == 200
    assert sandbox.requests[*CUSTOMERS, 0] == 1


def test_a_truncated_answer(sandbox: MetronomeSandbox, api: httpx.Client) -> None:
    sandbox.faults.add("GET /v1/customers", truncate=True, times=1)

    with pytest.raises(httpx.RemoteProtocolError):
        api.get("/v1/customers")
    assert api.get("/v1/customers").status_code == 200


def test_a_slow_answer_times_out(sandbox: MetronomeSandbox, api: httpx.Client) -> None:
    sandbox.faults.add("GET /v1/customers", delay=0.5, times=1)

    with pytest.raises(httpx.ReadTimeout):
        api.get("/v1/customers", timeout=0.05)
    assert api.get("/v1/customers").status_code == 200


def test_the_vendors_client_gets_through_short_trouble(
    sandbox: MetronomeSandbox, api: httpx.Client
) -> None:
    sandbox.faults.add("GET /v1/plans", status=503, times=1)

    with Metronome(bearer_token=API_KEY, base_url=str(api.base_url)) as client:
        assert list(client.v1.plans.list())
    assert sandbox.requests["GET", "/v1/plans", 503] == 1
    assert sandbox.requests["GET", "/v1/plans", 200] == 1


def test_requests_are_counted_by_template(
    sandbox: MetronomeSandbox, api: httpx.Client, tenant: Tenant
) -> None:
    for customer in tenant.customers()[:3]:
        api.get(f"/v1/customers/{customer['id']}/invoices")
    api.get("/v1/nowhere")

    assert sandbox.requests["GET", "/v1/customers/{customer_id}/invoices", 200] == 3
    assert sandbox.requests["GET", "(unknown)", 404] == 1
    assert sandbox.max_concurrency["invoices"] == 1
    sandbox.reset_counters()
    assert not sandbox.requests
    assert not sandbox.max_concurrency


def test_concurrency_is_seen_by_family(sandbox: MetronomeSandbox, api: httpx.Client) -> None:
    sandbox.faults.add("GET /v1/plans", delay=0.3)
    threads = [threading.Thread(target=api.get, args=("/v1/plans",)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sandbox.max_concurrency["plans"] == 3
    assert sandbox.max_concurrency["customers"] == 0


def test_the_hook_sees_every_request_before_it_is_answered(
    sandbox: MetronomeSandbox, api: httpx.Client, tenant: Tenant
) -> None:
    customer = tenant.customers()[0]["id"]
    seen: list[tuple[str, str]] = []

    def rename(method: str, path: str) -> None:
        seen.append((method, path))
        tenant.rename_customer(customer, "Renamed just in time")

    sandbox.on_request = rename

    assert api.get(f"/v1/customers/{customer}").json()["data"]["name"] == "Renamed just in time"
    assert seen == [("GET", f"/v1/customers/{customer}")]


def test_people_can_advance_a_running_sandbox(api: httpx.Client, tenant: Tenant) -> None:
    before = tenant.now

    answer = api.post("/_sandbox/advance", json={"days": 2})
    api.post("/_sandbox/advance")

    assert answer.json() == {"now": (before + timedelta(days=2)).isoformat()}
    assert tenant.now == before + timedelta(days=3)
    assert api.post("/_sandbox/advance", json={"days": "many"}).status_code == 400
    assert api.post("/_sandbox/advance", json={"days": -1}).status_code == 400
