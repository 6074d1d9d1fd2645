"""The client against the emulated Metronome: all that the tenant has arrives, come what may."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from metronome_salesforce.errors import ConfigError
from metronome_salesforce.metronome.client import MetronomeClient
from metronome_salesforce.metronome.models import MalformedItem
from metronome_salesforce.metronome.retrying import CustomerGone, PlanGone, RetryPolicy
from metronome_salesforce.sandbox.metronome import (
    API_KEY,
    READ_KEY,
    MetronomeSandbox,
    PageLimits,
    Tenant,
)

NOW = datetime(2026, 3, 17, 9, 30, tzinfo=UTC)
MIDNIGHT = datetime(2026, 3, 17, tzinfo=UTC)
UNKNOWN = "00000000-0000-4000-8000-00000000dead"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback is reached directly, whatever the machine's proxy settings."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@pytest.fixture(name="sandbox")
def _sandbox() -> MetronomeSandbox:
    """The twelve customers that cover every oddity, on pages that a test can fill."""
    return MetronomeSandbox(Tenant.generate(now=NOW), page_limits=PageLimits(usage=100))


@pytest.fixture(name="url")
def _url(sandbox: MetronomeSandbox) -> Iterator[str]:
    with sandbox.serve() as served:
        yield served.url


class Kept:
    """What a client reported."""

    def __init__(self) -> None:
        self.malformed: list[MalformedItem] = []
        self.duplicates: list[str] = []


@pytest.fixture(name="kept")
def _kept() -> Kept:
    return Kept()


async def _no_wait(_: float) -> None:
    await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def client_of(
    url: str, kept: Kept, *, api_key: str = API_KEY, **settings: Any
) -> AsyncIterator[MetronomeClient]:
    async with MetronomeClient(
        base_url=url,
        api_key=api_key,
        retry=RetryPolicy(sleep=_no_wait),
        on_malformed=kept.malformed.append,
        on_duplicate=kept.duplicates.append,
        **settings,
    ) as client:
        yield client


async def everything(client: MetronomeClient) -> dict[str, list[BaseModel]]:
    """All lists of a full pass, invoices and assignments in the order of their owners."""
    read: dict[str, list[BaseModel]] = {
        "customers": [one async for one in client.customers()],
        "archived": [one async for one in client.customers(archived=True)],
        "plans": [one async for one in client.plans()],
        "grants": [one async for one in client.credit_grants()],
        "metrics": [one async for one in client.billable_metrics(archived=True)],
        "usage": [
            one
            async for one in client.usage(
                starting_on=MIDNIGHT - timedelta(days=50),
                ending_before=MIDNIGHT,
                window_size="DAY",
            )
        ],
        "assignments": [],
        "invoices": [],
    }
    for plan in read["plans"]:
        read["assignments"] += [one async for one in client.plan_customers(_id(plan))]
    for customer in read["customers"]:
        read["invoices"] += [
            one async for one in client.invoices(_id(customer), sort="date_asc", limit=3)
        ]
    return read


def all_documents(tenant: Tenant) -> dict[str, list[dict[str, Any]]]:
    """The same, straight from the tenant."""
    first = tenant.usage(MIDNIGHT - timedelta(days=50), MIDNIGHT - timedelta(days=15))
    return {
        "customers": tenant.customers(),
        "archived": tenant.customers(archived=True),
        "plans": tenant.plans(),
        "grants": tenant.credit_grants(),
        "metrics": tenant.billable_metrics(include_archived=True),
        "usage": first + tenant.usage(MIDNIGHT - timedelta(days=15), MIDNIGHT),
        "assignments": [
            one for plan in tenant.plans() for one in tenant.plan_customers(plan["id"])
        ],
        "invoices": [
            one for customer in tenant.customers() for one in tenant.invoices(customer["id"])
        ],
    }


def _id(item: BaseModel) -> str:
    id_: str = item.model_dump()["id"]
    return id_


def differences(wire: Any, value: Any, path: str = "") -> list[str]:
    """Where a value is not what the document says, key by key, unknown keys included.

    Times are compared as moments; an empty text stands for null, and what the document leaves out
    is empty in the value.
    """
    if isinstance(value, datetime):
        same = datetime.fromisoformat(wire) == value
    elif isinstance(wire, dict) and isinstance(value, dict):
        left_out = [key for key in value if key not in wire and value[key] not in (None, (), {})]
        found = [f"{path}.{key}: not in the document" for key in left_out]
        for key in wire:
            found += differences(wire[key], value.get(key, "absent"), f"{path}.{key}")
        return found
    elif isinstance(wire, list) and isinstance(value, list | tuple):
        if len(wire) != len(value):
            return [f"{path}: {len(value)} items instead of {len(wire)}"]
        return [
            difference
            for position, pair in enumerate(zip(wire, value, strict=True))
            for difference in differences(*pair, f"{path}[{position}]")
        ]
    else:
        same = wire == value or (wire is None and not value)
    return [] if same else [f"{path}: {value!r} instead of {wire!r}"]


def same_as_tenant(read: dict[str, list[BaseModel]], tenant: Tenant) -> list[str]:
    """Every difference between what was read and what the tenant has."""
    documents = all_documents(tenant)
    return [
        difference
        for name, items in read.items()
        for difference in differences(documents[name], [item.model_dump() for item in items], name)
    ]


async def test_everything_arrives_as_it_is(sandbox: MetronomeSandbox, url: str, kept: Kept) -> None:
    """Each field of each document of a tenant with every oddity, over several pages a list."""
    async with client_of(url, kept) as client:
        read = await everything(client)
    assert all(read.values())
    assert same_as_tenant(read, sandbox.tenant) == []
    assert (kept.malformed, kept.duplicates) == ([], [])


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 429, "times": 6},
        {"status": 429, "times": 6, "headers": {"Retry-After": "30"}},
        {"status": 500, "times": 6},
        {"status": 502, "times": 6},
        {"status": 408, "times": 6},
        {"drop": True, "times": 6},
        {"truncate": True, "times": 6},
        {"status": 200, "times": 6, "body": "<html>Please log in</html>"},
    ],
    ids=["429", "429 with Retry-After", "500", "502", "408", "drop", "truncate", "HTML"],
)
async def test_everything_arrives_in_spite_of_faults(
    fault: dict[str, Any], sandbox: MetronomeSandbox, url: str, kept: Kept
) -> None:
    """Six failures in a row, in the middle of the pass."""
    switch = sandbox.faults.add(after=4, **fault)
    async with client_of(url, kept) as client:
        read = await everything(client)
    assert switch.times == 0
    assert same_as_tenant(read, sandbox.tenant) == []
    assert (kept.malformed, kept.duplicates) == ([], [])


async def test_many_customers_come_on_pages_of_a_hundred(kept: Kept) -> None:
    tenant = Tenant.generate(now=NOW, customers=250, scale="light", months=1)
    sandbox = MetronomeSandbox(tenant)
    with sandbox.serve() as served:
        async with client_of(served.url, kept) as client:
            ids = [one.id async for one in client.customers()]
    assert ids == [document["id"] for document in tenant.customers()]
    assert len(ids) > 200
    assert sandbox.requests == {("GET", "/v1/customers", 200): 3}


async def test_invoices_by_status_newest_first(
    sandbox: MetronomeSandbox, url: str, kept: Kept
) -> None:
    statuses: tuple[Literal["DRAFT", "FINALIZED", "VOID"], ...] = ("DRAFT", "FINALIZED", "VOID")
    async with client_of(url, kept) as client:
        for customer in sandbox.tenant.customers():
            documents = sandbox.tenant.invoices(customer["id"])
            for status in statuses:
                read = [one async for one in client.invoices(customer["id"], status=status)]
                expected = {one["id"] for one in documents if one["status"] == status}
                assert {one.id for one in read} == expected
                issued = [one.issued_at for one in read if one.issued_at is not None]
                assert issued == sorted(issued, reverse=True)


async def test_who_stops_early_costs_one_request(
    sandbox: MetronomeSandbox, url: str, kept: Kept
) -> None:
    tenant = sandbox.tenant
    most = max(tenant.customers(), key=lambda one: len(tenant.invoices(one["id"])))
    assert len(tenant.invoices(most["id"])) > 3
    async with client_of(url, kept) as client:
        items = client.invoices(most["id"], limit=2)
        async for _ in items:
            break
        await items.aclose()
    assert sum(sandbox.requests.values()) == 1


@pytest.mark.parametrize("window_size", ["DAY", "HOUR", "NONE"])
async def test_usage_in_every_window(
    window_size: Literal["DAY", "HOUR", "NONE"],
    sandbox: MetronomeSandbox,
    url: str,
    kept: Kept,
) -> None:
    start = MIDNIGHT - timedelta(days=3)
    async with client_of(url, kept) as client:
        items = client.usage(starting_on=start, ending_before=MIDNIGHT, window_size=window_size)
        read = [one.model_dump() async for one in items]
    assert read
    assert differences(sandbox.tenant.usage(start, MIDNIGHT, window_size), read) == []


async def test_customers_are_found_by_ingest_alias_and_id(
    sandbox: MetronomeSandbox, url: str, kept: Kept
) -> None:
    document = next(one for one in sandbox.tenant.customers() if one["ingest_aliases"])
    async with client_of(url, kept) as client:
        for query in ({"ingest_alias": document["ingest_aliases"][0]}, {"ids": [document["id"]]}):
            assert [one.id async for one in client.customers(**query)] == [document["id"]]
        assert [one.id async for one in client.customers(ingest_alias="nobody")] == []


async def test_a_salesforce_id_is_stored_and_cleared(
    sandbox: MetronomeSandbox, url: str, kept: Kept
) -> None:
    """And a customer that nobody knows is gone."""
    id_ = sandbox.tenant.customers()[0]["id"]

    def stored() -> Any:
        (one,) = [each for each in sandbox.tenant.customers() if each["id"] == id_]
        return one["customer_config"]["salesforce_account_id"]

    async with client_of(url, kept) as client:
        for wanted in ("001000000000001AAA", None):
            await client.update_config(id_, salesforce_account_id=wanted)
            assert stored() == wanted
        with pytest.raises(CustomerGone):
            await client.update_config(UNKNOWN, salesforce_account_id=None)


async def test_a_customer_that_is_deleted_while_we_page_is_gone(
    sandbox: MetronomeSandbox, url: str, kept: Kept
) -> None:
    """The pages read before stay good, and other customers are not touched."""
    tenant = sandbox.tenant
    doomed, other = [
        one["id"] for one in tenant.customers() if len(tenant.invoices(one["id"])) > 1
    ][:2]
    async with client_of(url, kept) as client:
        items = client.invoices(doomed, limit=1)
        await anext(items)
        tenant.delete_customer(doomed)
        with pytest.raises(CustomerGone) as caught:
            await anext(items)
        assert caught.value.id == doomed
        assert [one async for one in client.invoices(other)]


async def test_an_unknown_plan_is_gone(url: str, kept: Kept) -> None:
    async with client_of(url, kept) as client:
        with pytest.raises(PlanGone):
            await anext(client.plan_customers(UNKNOWN))


async def test_a_surprising_invoice_is_left_out_and_the_others_arrive(
    sandbox: MetronomeSandbox, url: str, kept: Kept
) -> None:
    """Null totals and unknown words are taken; a total in words is not."""
    tenant = sandbox.tenant
    customer = tenant.customers()[0]["id"]
    before = [one["id"] for one in tenant.invoices(customer)]
    base = tenant.invoices(customer)[0]
    strange = {"total": None, "status": "PONDERING", "type": "\U0001f389" * 300}
    tenant.add_invoice(customer, {**base, "id": "a-1", **strange})
    tenant.add_invoice(customer, {**base, "id": "a-2", "total": "a lot"})
    async with client_of(url, kept) as client:
        read = {one.id: one async for one in client.invoices(customer)}
    assert set(read) == {*before, "a-1"}
    assert (read["a-1"].total, read["a-1"].status) == (None, "PONDERING")
    (report,) = kept.malformed
    assert (report.item_id, report.customer_id) == ("a-2", customer)
    assert report.path.endswith(".total")


async def test_a_key_that_may_read_is_enough(url: str, kept: Kept) -> None:
    """The lists that are asked for with POST included."""
    async with client_of(url, kept, api_key=READ_KEY) as client:
        assert all((await everything(client)).values())


async def test_a_key_that_is_revoked_in_mid_pass_stops_it(
    sandbox: MetronomeSandbox, url: str, kept: Kept
) -> None:
    async with client_of(url, kept) as client:
        assert [one async for one in client.plans()]
        sandbox.api_keys.clear()
        with pytest.raises(ConfigError) as caught:
            _ = [one async for one in client.customers()]
    assert caught.value.reason in {"MetronomeAuthenticationFailed", "MetronomePermissionDenied"}


async def test_a_family_never_has_more_requests_than_allowed(
    sandbox: MetronomeSandbox, url: str, kept: Kept
) -> None:
    """As the other side sees it."""
    sandbox.faults.add("GET /v1/customers/*/invoices", delay=0.05)
    async with client_of(url, kept, max_concurrent_requests=2) as client:

        async def count(customer_id: str) -> int:
            return len([one async for one in client.invoices(customer_id, limit=1)])

        ids = [one["id"] for one in sandbox.tenant.customers()]
        counts = await asyncio.gather(*(count(id_) for id_ in ids))
    assert counts == [len(sandbox.tenant.invoices(id_)) for id_ in ids]
    assert set(sandbox.max_concurrency.values()) == {2}
