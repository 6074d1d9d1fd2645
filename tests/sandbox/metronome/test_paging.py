"""The pagination styles, as a client meets them on the wire."""

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from metronome_salesforce.sandbox.metronome import MetronomeSandbox, PageLimits, Tenant

SPAN = {
    "starting_on": "2026-05-01T00:00:00Z",
    "ending_before": "2026-05-04T00:00:00Z",
    "window_size": "day",
}


def pages(api: httpx.Client, method: str, path: str, **request: Any) -> Iterator[Any]:
    """Follow query cursors, whatever the method, and yield the pages."""
    params = dict(request.pop("params", {}))
    while True:
        answer = api.request(method, path, params=params, **request)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        yield page
        if not page["next_page"]:
            return
        params["next_page"] = page["next_page"]


@pytest.mark.parametrize(
    ("method", "path", "request_"),
    [
        ("GET", "/v1/customers", {"params": {"limit": 3}}),
        ("GET", "/v1/plans", {"params": {"limit": 1}}),
        ("GET", "/v1/credit-types/list", {"params": {"limit": 6}}),
        ("GET", "/v1/billable-metrics", {"params": {"limit": 2}}),
        ("POST", "/v1/credits/listGrants", {"params": {"limit": 2}, "json": {}}),
        ("POST", "/v1/credits/listGrants", {"params": {"limit": 2}, "content": b""}),
        ("POST", "/v1/credits/listEntries", {"json": {}}),
        ("POST", "/v1/customFields/listKeys", {"content": b""}),
        ("POST", "/v1/usage", {"json": SPAN}),
    ],
)
def test_pages_cover_the_list_without_repeats(
    sandbox: MetronomeSandbox,
    api: httpx.Client,
    method: str,
    path: str,
    request_: dict[str, Any],
) -> None:
    whole_list = [
        str(item)
        for page in pages(
            api,
            method,
            path,
            **{**request_, "params": {"limit": 100} if "params" in request_ else {}},
        )
        for item in page["data"]
    ]
    sandbox.page_limits = PageLimits(usage=40, entries=2, keys=3)

    found = list(pages(api, method, path, **request_))

    assert len(found) > 1
    assert [str(item) for page in found for item in page["data"]] == whole_list
    assert len(set(whole_list)) == len(whole_list)
    assert found[-1]["next_page"] is None


def test_pages_are_full_but_the_last(api: httpx.Client, tenant: Tenant) -> None:
    total = len(tenant.customers())
    sizes = [len(page["data"]) for page in pages(api, "GET", "/v1/customers", params={"limit": 4})]

    assert sizes == [4] * (total // 4) + [total % 4] * (total % 4 > 0)


@pytest.mark.parametrize("limit", ["0", "101", "-1", "ten", "", "1.5"])
def test_a_limit_out_of_range_is_refused(api: httpx.Client, limit: str) -> None:
    answer = api.get(f"/v1/customers?limit={limit}")

    assert (answer.status_code, list(answer.json())) == (400, ["message"])


def test_a_cursor_belongs_to_its_question(api: httpx.Client) -> None:
    cursor = api.get("/v1/customers?limit=2").json()["next_page"]
    same = {"limit": 2, "next_page": cursor}

    assert api.get("/v1/customers", params=same).status_code == 200
    for path, params in (
        ("/v1/customers", {**same, "only_archived": "true"}),
        ("/v1/customers", {"next_page": cursor}),
        ("/v1/plans", same),
    ):
        assert api.get(path, params=params).status_code == 400


def test_a_cursor_of_a_post_belongs_to_its_body(
    sandbox: MetronomeSandbox, api: httpx.Client
) -> None:
    sandbox.page_limits = PageLimits(usage=5)
    cursor = api.post("/v1/usage", json=SPAN).json()["next_page"]
    params = {"next_page": cursor}

    assert api.post("/v1/usage", json=SPAN, params=params).status_code == 200
    other = {**SPAN, "ending_before": "2026-05-05T00:00:00Z"}
    assert api.post("/v1/usage", json=other, params=params).status_code == 400


@pytest.mark.parametrize("cursor", ["nonsense", "%00", base64.urlsafe_b64encode(b"1:2:3").decode()])
def test_a_made_up_cursor_is_refused(api: httpx.Client, cursor: str) -> None:
    assert api.get(f"/v1/customers?next_page={cursor}").status_code == 400


def test_contracts_page_by_the_body(api: httpx.Client, tenant: Tenant) -> None:
    customer = tenant.customers()[0]["id"]

    answer = api.post("/v2/contracts/list", json={"customer_id": customer, "limit": 20})

    assert answer.json() == {"data": [], "cursor": None}
    too_many = api.post("/v2/contracts/list", json={"customer_id": customer, "limit": 21})
    assert too_many.status_code == 400


def test_a_customer_deleted_while_we_page_makes_us_miss_another(
    sandbox: MetronomeSandbox, api: httpx.Client, tenant: Tenant
) -> None:
    """Positions are live: what a real client must survive, and repair in the next cycle."""
    before = [one["id"] for one in tenant.customers()]
    asked = iter(range(10))

    def delete_the_first(method: str, path: str) -> None:
        del method, path
        if next(asked) == 1:
            tenant.delete_customer(before[0])

    sandbox.on_request = delete_the_first
    found = [
        one["id"]
        for page in pages(api, "GET", "/v1/customers", params={"limit": 5})
        for one in page["data"]
    ]

    assert found == [*before[:5], *before[6:]]


def test_a_customer_deleted_while_we_page_usage_shifts_it(
    sandbox: MetronomeSandbox, api: httpx.Client, tenant: Tenant
) -> None:
    sandbox.page_limits = PageLimits(usage=60)
    first = api.post("/v1/usage", json=SPAN).json()
    tenant.delete_customer(tenant.customers()[0]["id"])

    second = api.post("/v1/usage", json=SPAN, params={"next_page": first["next_page"]})

    assert second.status_code == 200
    left = [one["id"] for one in tenant.customers() + tenant.customers(archived=True)]
    assert {one["customer_id"] for one in second.json()["data"]} <= set(left)


def test_an_invoice_that_appears_while_we_page_repeats_another(
    sandbox: MetronomeSandbox, api: httpx.Client, tenant: Tenant
) -> None:
    customer = tenant.customers()[0]["id"]
    before = [one["id"] for one in tenant.invoices(customer)]
    asked = iter(range(10))

    def add_an_older_one(method: str, path: str) -> None:
        del method, path
        if next(asked) == 1:
            tenant.add_invoice(customer, {"id": "older", "issued_at": "2020-01-01T00:00:00Z"})

    sandbox.on_request = add_an_older_one
    found = [
        one["id"]
        for page in pages(api, "GET", f"/v1/customers/{customer}/invoices", params={"limit": 2})
        for one in page["data"]
    ]

    assert found == [*before[:2], before[1], *before[2:]]
