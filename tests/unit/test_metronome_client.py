"""What the client asks for, page by page, and what it makes of the items."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from metronome_salesforce.errors import RetriableError
from metronome_salesforce.metronome.client import MetronomeClient
from metronome_salesforce.metronome.models import MalformedItem
from metronome_salesforce.metronome.paging import EndlessCursorError
from metronome_salesforce.metronome.retrying import CustomerGone, RetryPolicy
from tests.unit.metronome_server import Answer, Asked, ScriptedMetronome, page

KEY = "sk-correct-horse-battery-staple"
CUSTOMER = "0b9a3c1e-7a55-4c0e-9d0a-3f6b1f1f0001"
USD = {"id": "2714e483-4ff1-48e4-9e25-ac732e8f24f2", "name": "USD (cents)"}
JANUARY = datetime(2026, 1, 1, tzinfo=UTC)


def plan(number: int) -> dict[str, Any]:
    return {"id": f"plan-{number}", "name": f"Plan {number}", "description": ""}


def customer(number: int, **changes: Any) -> dict[str, Any]:
    document = {
        "id": f"customer-{number}",
        "external_id": f"c{number}",
        "ingest_aliases": [],
        "name": f"Customer {number}",
        "customer_config": {"salesforce_account_id": None},
        "custom_fields": {},
        "created_at": "2025-11-03T09:12:44Z",
        "updated_at": "2025-11-03T09:12:44Z",
    }
    return {**document, **changes}


def invoice(id_: str, **changes: Any) -> dict[str, Any]:
    document = {
        "id": id_,
        "customer_id": CUSTOMER,
        "type": "USAGE",
        "status": "DRAFT",
        "credit_type": USD,
        "total": 5000,
        "line_items": [],
    }
    return {**document, **changes}


def line(**changes: Any) -> dict[str, Any]:
    return {"name": "GPU hours", "type": "usage", "total": 5000, "credit_type": USD, **changes}


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback is reached directly, whatever the machine's proxy settings."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


async def _no_wait(_: float) -> None:
    await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def client_of(url: str, **settings: Any) -> AsyncIterator[MetronomeClient]:
    policy = RetryPolicy(attempts=2, sleep=_no_wait)
    async with MetronomeClient(base_url=url, api_key=KEY, retry=policy, **settings) as client:
        yield client


Call = Callable[[MetronomeClient], AsyncIterator[Any]]


@pytest.mark.parametrize(
    ("call", "method", "path", "query", "body"),
    [
        (lambda c: c.customers(), "GET", "/v1/customers", {"limit": "100"}, None),
        (
            lambda c: c.customers(archived=True),
            "GET",
            "/v1/customers",
            {"limit": "100", "only_archived": "true"},
            None,
        ),
        (lambda c: c.plans(), "GET", "/v1/plans", {"limit": "100"}, None),
        (
            lambda c: c.plan_customers("p-1"),
            "GET",
            "/v1/planDetails/p-1/customers",
            {"limit": "100", "status": "all"},
            None,
        ),
        (
            lambda c: c.invoices("c-1"),
            "GET",
            "/v1/customers/c-1/invoices",
            {"limit": "100", "sort": "date_desc"},
            None,
        ),
        (
            lambda c: c.invoices("c-1", status="DRAFT", sort="date_asc", limit=10),
            "GET",
            "/v1/customers/c-1/invoices",
            {"limit": "10", "sort": "date_asc", "status": "DRAFT"},
            None,
        ),
        (lambda c: c.credit_grants(), "POST", "/v1/credits/listGrants", {"limit": "100"}, {}),
        (
            lambda c: c.usage(
                starting_on=JANUARY, ending_before=JANUARY + timedelta(days=2), window_size="DAY"
            ),
            "POST",
            "/v1/usage",
            {},
            {
                "starting_on": "2026-01-01T00:00:00Z",
                "ending_before": "2026-01-03T00:00:00Z",
                "window_size": "DAY",
            },
        ),
        (lambda c: c.billable_metrics(), "GET", "/v1/billable-metrics", {"limit": "100"}, None),
        (
            lambda c: c.billable_metrics(archived=True),
            "GET",
            "/v1/billable-metrics",
            {"limit": "100", "include_archived": "true"},
            None,
        ),
    ],
)
async def test_each_list_asks_as_documented_and_hands_the_cursor_back(
    call: Call, method: str, path: str, query: dict[str, str], body: Any
) -> None:
    """The cursor goes into the query on GET and POST alike; everything else is repeated."""
    with ScriptedMetronome(page(cursor="b2Zmc2V0OjEwMA=="), page()) as server:
        async with client_of(server.url) as client:
            assert [item async for item in call(client)] == []
    assert [asked.method for asked in server.asked] == [method] * 2
    assert [asked.path for asked in server.asked] == [path] * 2
    assert [asked.query for asked in server.asked] == [
        query,
        {**query, "next_page": "b2Zmc2V0OjEwMA=="},
    ]
    for asked in server.asked:
        assert (json.loads(asked.body) if asked.body else None) == body
        assert asked.headers["Authorization"] == f"Bearer {KEY}"
        assert asked.headers["Accept"] == "application/json"
        assert "Idempotency-Key" not in asked.headers


async def test_a_path_prefix_of_the_base_url_is_kept() -> None:
    with ScriptedMetronome(page(), page()) as server:
        for base_url in [f"{server.url}/metronome", f"{server.url}/metronome/"]:
            async with client_of(base_url) as client:
                assert [item async for item in client.plans()] == []
    assert [asked.path for asked in server.asked] == ["/metronome/v1/plans"] * 2


@pytest.mark.parametrize(
    ("id_", "path"),
    [
        ("a/b", "/v1/customers/a%2Fb/invoices"),
        ("a?b#c", "/v1/customers/a%3Fb%23c/invoices"),
        ("ä", "/v1/customers/%C3%A4/invoices"),
        ("50%", "/v1/customers/50%25/invoices"),
        ("{id}", "/v1/customers/%7Bid%7D/invoices"),
    ],
)
async def test_an_id_stays_one_segment_of_the_path(id_: str, path: str) -> None:
    with ScriptedMetronome(page()) as server:
        async with client_of(server.url) as client:
            assert [item async for item in client.invoices(id_)] == []
    assert server.asked[0].path == path


@pytest.mark.parametrize("id_", ["", ".", ".."])
async def test_an_id_that_would_lead_elsewhere_is_refused(id_: str) -> None:
    with ScriptedMetronome() as server:
        async with client_of(server.url) as client:
            with pytest.raises(ValueError, match="not an id"):
                await anext(client.invoices(id_))
    assert server.asked == []


async def test_pages_are_followed_past_empty_ones_to_the_end() -> None:
    """An empty page with a cursor is not the end; a page without the key is."""
    answers = (
        page(plan(1), plan(2), cursor="a"),
        page(cursor="b"),
        Answer({"data": [plan(3)]}),
    )
    with ScriptedMetronome(*answers) as server:
        async with client_of(server.url) as client:
            assert [one.id async for one in client.plans()] == ["plan-1", "plan-2", "plan-3"]
    assert len(server.asked) == 3


async def test_an_empty_cursor_ends_the_list() -> None:
    with ScriptedMetronome(Answer({"data": [plan(1)], "next_page": ""})) as server:
        async with client_of(server.url) as client:
            assert [one.id async for one in client.plans()] == ["plan-1"]
    assert len(server.asked) == 1


async def test_who_stops_early_asks_for_no_further_page() -> None:
    """The second page is requested for its first item, the third never."""

    def endless(asked: Asked) -> Answer:
        number = int(asked.query.get("next_page", "0"))
        documents = [invoice(f"i-{number}-{position}") for position in range(3)]
        return page(*documents, cursor=str(number + 1))

    with ScriptedMetronome(by=endless) as server:
        async with client_of(server.url) as client:
            items = client.invoices(CUSTOMER)
            assert server.asked == []
            read = []
            async for item in items:
                read.append(item.id)
                if item.id == "i-1-0":
                    break
            await items.aclose()
    assert read == ["i-0-0", "i-0-1", "i-0-2", "i-1-0"]
    assert len(server.asked) == 2


@pytest.mark.parametrize("cursors", [["a", "a"], ["a", "b", "a"], ["a", "b", "c", "b"]])
async def test_a_list_in_circles_is_an_error(cursors: list[str]) -> None:
    answers = [page(plan(number), cursor=cursor) for number, cursor in enumerate(cursors)]
    with ScriptedMetronome(*answers) as server:
        async with client_of(server.url) as client:
            with pytest.raises(EndlessCursorError) as caught:
                _ = [one async for one in client.plans()]
    assert caught.value.reason == "EndlessCursor"
    assert isinstance(caught.value, RetriableError)
    assert len(server.asked) == len(cursors)


async def test_a_list_of_too_many_pages_is_an_error() -> None:
    def endless(asked: Asked) -> Answer:
        return page(cursor=asked.query.get("next_page", "") + "x")

    with ScriptedMetronome(by=endless) as server:
        async with client_of(server.url, max_pages=5) as client:
            with pytest.raises(EndlessCursorError, match="after 5 pages"):
                _ = [one async for one in client.plans()]
    assert len(server.asked) == 5


async def test_items_that_come_again_are_left_out_and_counted() -> None:
    """On the same page and on later ones; the first one counts."""
    renamed = {**plan(2), "name": "Renamed"}
    answers = page(plan(1), plan(1), plan(2), cursor="a"), page(renamed, plan(3))
    duplicates: Counter[str] = Counter()
    with ScriptedMetronome(*answers) as server:
        async with client_of(
            server.url, on_duplicate=lambda endpoint: duplicates.update([endpoint])
        ) as client:
            names = [one.name async for one in client.plans()]
    assert names == ["Plan 1", "Plan 2", "Plan 3"]
    assert duplicates == {"GET /v1/plans": 2}


async def test_the_same_customer_on_one_plan_twice_is_no_duplicate() -> None:
    """Assignments are told apart by their own id, usage by customer, metric and window."""
    details = {
        "customer_details": customer(1),
        "plan_details": {
            "id": "plan-1",
            "customer_plan_id": "cp-1",
            "name": "Growth",
            "starting_on": "2026-01-01T00:00:00Z",
            "custom_fields": {},
        },
    }
    again = {**details, "plan_details": {**details["plan_details"], "customer_plan_id": "cp-2"}}
    with ScriptedMetronome(page(details, again, details)) as server:
        async with client_of(server.url) as client:
            ids = [
                one.plan_details.customer_plan_id async for one in client.plan_customers("plan-1")
            ]
    assert ids == ["cp-1", "cp-2"]


@pytest.mark.parametrize(
    ("document", "path", "problem"),
    [
        (invoice("i-1", total="5000"), "data[1].total", "must be a number"),
        (invoice("i-1", total=True), "data[1].total", "must be a number"),
        (invoice("i-1", status=None), "data[1].status", "must not be empty"),
        (invoice("i-1", status=["SECRET"]), "data[1].status", "must be a string"),
        (invoice("i-1", line_items=None), "data[1].line_items", "must be a list"),
        (invoice("i-1", credit_type=None), "data[1].credit_type", "must be an object"),
        (invoice("i-1", issued_at="yesterday"), "data[1].issued_at", None),
        (invoice("i-1", issued_at=1767225600), "data[1].issued_at", None),
        (invoice("i-1", issued_at="2026-01-01T00:00:00"), "data[1].issued_at", None),
        (
            invoice("i-1", line_items=[line(), line(credit_type={"id": USD["id"]})]),
            "data[1].line_items[1].credit_type.name",
            "is missing",
        ),
        (
            invoice("i-1", line_items=[line(sub_line_items=[{"name": "SECRET", "quantity": 1}])]),
            "data[1].line_items[0].sub_line_items[0].subtotal",
            "is missing",
        ),
        (
            invoice("i-1", line_items=[line(pricing_group_values={"SECRET": 5})]),
            "data[1].line_items[0].pricing_group_values",
            "must be a string",
        ),
    ],
)
async def test_a_malformed_item_is_reported_by_its_path_and_the_others_are_read(
    document: dict[str, Any], path: str, problem: str | None
) -> None:
    reports: list[MalformedItem] = []
    with ScriptedMetronome(page(invoice("i-0"), document, invoice("i-2"))) as server:
        async with client_of(server.url, on_malformed=reports.append) as client:
            ids = [one.id async for one in client.invoices(CUSTOMER)]
    assert ids == ["i-0", "i-2"]
    (report,) = reports
    assert report.endpoint == "GET /v1/customers/{id}/invoices"
    assert report.path == path
    assert problem is None or report.problem == problem
    assert (report.item_id, report.customer_id) == ("i-1", CUSTOMER)
    assert "SECRET" not in repr(report)


@pytest.mark.parametrize("document", [None, 5, "text", [], {}, {"id": None}, {"id": "two words"}])
async def test_an_item_of_any_shape_ends_nothing(document: Any) -> None:
    """Where it belongs is still known if the list is a customer's own."""
    reports: list[MalformedItem] = []
    with ScriptedMetronome(page(document, invoice("i-2"))) as server:
        async with client_of(server.url, on_malformed=reports.append) as client:
            assert [one.id async for one in client.invoices(CUSTOMER)] == ["i-2"]
    (report,) = reports
    assert (report.item_id, report.customer_id) == (None, CUSTOMER)


async def test_a_malformed_item_of_all_customers_names_its_owner() -> None:
    """So that what the org holds of that customer is not taken for vanished."""
    reports: list[MalformedItem] = []
    usage = {"customer_id": "c-7", "billable_metric_id": "m-1", "value": "12"}
    grant = {"id": "g-1", "customer_id": "c-8"}
    assignment = {
        "customer_details": {"id": "c-9"},
        "plan_details": {"customer_plan_id": "cp-1"},
    }
    answers = page(usage), page(grant), page(assignment), page(customer(4, name=7))
    with ScriptedMetronome(*answers) as server:
        async with client_of(server.url, on_malformed=reports.append) as client:
            day = JANUARY + timedelta(days=1)
            for items in (
                client.usage(starting_on=JANUARY, ending_before=day, window_size="DAY"),
                client.credit_grants(),
                client.plan_customers("p-1"),
                client.customers(),
            ):
                assert [item async for item in items] == []
    assert [(one.item_id, one.customer_id) for one in reports] == [
        (None, "c-7"),
        ("g-1", "c-8"),
        ("cp-1", "c-9"),
        ("customer-4", "customer-4"),
    ]


async def test_malformed_items_are_logged_by_default(caplog: pytest.LogCaptureFixture) -> None:
    with ScriptedMetronome(page({"id": "plan-1", "name": ["SECRET"], "description": ""})) as server:
        async with client_of(server.url) as client:
            assert [one async for one in client.plans()] == []
    assert "GET /v1/plans: item left out: data[0].name must be a string" in caplog.messages
    assert "SECRET" not in caplog.text


async def test_amounts_arrive_to_the_last_digit() -> None:
    """As they stand on the wire; a float would have lost the end of each."""
    raw = b"""{"data": [{"id": "i-1", "customer_id": "c-1", "type": "USAGE", "status": "DRAFT",
        "credit_type": {"id": "x", "name": "EUR"}, "total": 12345678901234.567891,
        "subtotal": 90071992547409931, "line_items": [
            {"name": "a", "type": "usage", "credit_type": {"id": "x", "name": "EUR"}, "total": 0.1,
             "unit_price": 1.5e-9, "quantity": 1.0}]}]}"""
    with ScriptedMetronome(Answer(raw=raw)) as server:
        async with client_of(server.url) as client:
            (read,) = [one async for one in client.invoices("c-1")]
    assert read.total == Decimal("12345678901234.567891")
    assert read.subtotal == Decimal(90071992547409931)
    (item,) = read.line_items
    assert item.total == Decimal("0.1")
    assert item.unit_price == Decimal("0.0000000015")
    assert item.quantity == Decimal(1)


@pytest.mark.parametrize(
    "number", ["NaN", "-Infinity", "1e99999999999999999999", "1e999999", "1e-999999", "9" * 5000]
)
async def test_a_number_beyond_reason_harms_only_its_item(number: str) -> None:
    """One that is not JSON at all included: Python's own parser lets NaN pass."""
    good, bad = json.dumps(invoice("i-1")), json.dumps(invoice("i-2", total="N"))
    raw = f'{{"data": [{good}, {bad}]}}'.replace('"N"', number).encode()
    reports: list[MalformedItem] = []
    with ScriptedMetronome(Answer(raw=raw)) as server:
        async with client_of(server.url, on_malformed=reports.append) as client:
            assert [one.id async for one in client.invoices(CUSTOMER)] == ["i-1"]
    assert [report.path for report in reports] == ["data[1].total"]


async def test_the_limit_of_each_family_is_reached_and_kept() -> None:
    """Nine calls of one family run three at a time; with nine of another, six at a time."""
    attempts: Counter[str] = Counter()

    async def exhaust(items: AsyncIterator[Any]) -> None:
        assert [item async for item in items] == []

    with ScriptedMetronome(by=lambda _: Answer({"data": []}, delay=0.1)) as server:
        async with client_of(
            server.url,
            max_concurrent_requests=3,
            on_request=lambda family, _status, _seconds: attempts.update([family]),
        ) as client:
            await asyncio.gather(*(exhaust(client.invoices(f"c-{n}")) for n in range(9)))
            assert server.most_running == 3
            await asyncio.gather(
                *(exhaust(client.invoices(f"c-{n}")) for n in range(9)),
                *(exhaust(client.plan_customers(f"p-{n}")) for n in range(9)),
            )
    assert server.most_running == 6
    assert attempts == {"invoices": 18, "plans": 9}


async def test_waiting_for_a_retry_holds_nobody_up() -> None:
    """With one slot, a second customer is read while the first one's retry waits."""
    backing_off, released = asyncio.Event(), asyncio.Event()

    async def sleep(_: float) -> None:
        backing_off.set()
        await released.wait()

    def script(asked: Asked) -> Answer:
        first = "c-1" in asked.path and not released.is_set()
        return Answer(status=500) if first else page(invoice("i-1"))

    with ScriptedMetronome(by=script) as server:
        async with MetronomeClient(
            base_url=server.url,
            api_key=KEY,
            max_concurrent_requests=1,
            retry=RetryPolicy(sleep=sleep),
        ) as client:
            waiting = asyncio.ensure_future(anext(client.invoices("c-1")))
            await asyncio.wait_for(backing_off.wait(), timeout=5)
            other = await asyncio.wait_for(anext(client.invoices("c-2")), timeout=5)
            assert not waiting.done()
            released.set()
            assert (await waiting).id == other.id == "i-1"


async def test_each_attempt_is_counted_by_family_and_outcome() -> None:
    attempts: list[tuple[str, str]] = []
    answers = Answer(status=429), page(plan(1)), Answer(drop=True), page()
    with ScriptedMetronome(*answers) as server:
        async with client_of(
            server.url, on_request=lambda family, status, _: attempts.append((family, status))
        ) as client:
            _ = [one async for one in client.plans()]
            _ = [one async for one in client.credit_grants()]
    assert attempts == [
        ("plans", "429"),
        ("plans", "200"),
        ("credits", "error"),
        ("credits", "200"),
    ]


async def test_families_follow_the_documented_buckets() -> None:
    families: list[str] = []
    with ScriptedMetronome(by=lambda _: page()) as server:
        async with client_of(
            server.url, on_request=lambda family, _status, _seconds: families.append(family)
        ) as client:
            day = JANUARY + timedelta(days=1)
            for items in (
                client.customers(),
                client.plans(),
                client.plan_customers("p"),
                client.invoices("c"),
                client.credit_grants(),
                client.usage(starting_on=JANUARY, ending_before=day, window_size="DAY"),
                client.billable_metrics(),
            ):
                assert [item async for item in items] == []
    expected = ["customers", "plans", "plans", "invoices", "credits", "usage", "billable-metrics"]
    assert families == expected


def _ranges_asked(server: ScriptedMetronome) -> list[tuple[str, str]]:
    bodies = [json.loads(asked.body) for asked in server.asked]
    return [(body["starting_on"][:10], body["ending_before"][:10]) for body in bodies]


@pytest.mark.parametrize("window_size", ["DAY", "HOUR"])
async def test_a_long_range_of_usage_is_asked_for_in_parts(window_size: Any) -> None:
    """80 days are 35, 35 and 10, and each part is paged to its end."""

    def two_pages(asked: Asked) -> Answer:
        return page() if "next_page" in asked.query else page(cursor="more")

    with ScriptedMetronome(by=two_pages) as server:
        async with client_of(server.url) as client:
            items = client.usage(
                starting_on=JANUARY,
                ending_before=JANUARY + timedelta(days=80),
                window_size=window_size,
            )
            assert [item async for item in items] == []
    parts = [
        ("2026-01-01", "2026-02-05"),
        ("2026-02-05", "2026-03-12"),
        ("2026-03-12", "2026-03-22"),
    ]
    assert _ranges_asked(server) == [part for part in parts for _ in range(2)]


async def test_one_value_for_the_whole_range_is_asked_for_at_once() -> None:
    """A maximum or a count of distinct values of two parts is not that of the whole."""
    with ScriptedMetronome(page()) as server:
        async with client_of(server.url) as client:
            items = client.usage(
                starting_on=JANUARY,
                ending_before=JANUARY + timedelta(days=80),
                window_size="NONE",
            )
            assert [item async for item in items] == []
    assert _ranges_asked(server) == [("2026-01-01", "2026-03-22")]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (JANUARY, JANUARY),
        (JANUARY + timedelta(days=1), JANUARY),
        (JANUARY + timedelta(hours=1), JANUARY + timedelta(days=1)),
        (JANUARY, JANUARY + timedelta(days=1, seconds=1)),
        (JANUARY.replace(tzinfo=None), JANUARY + timedelta(days=1)),
        (JANUARY.replace(tzinfo=timezone(timedelta(hours=1))), JANUARY + timedelta(days=1)),
    ],
)
async def test_usage_between_other_times_than_utc_midnights_is_refused(
    start: datetime, end: datetime
) -> None:
    """Metronome would refuse it too, but as a failure of the whole cycle."""
    with ScriptedMetronome() as server:
        async with client_of(server.url) as client:
            with pytest.raises(ValueError, match="usage is read"):
                await anext(client.usage(starting_on=start, ending_before=end, window_size="DAY"))
    assert server.asked == []


async def test_a_customer_that_vanishes_between_two_pages_is_told() -> None:
    answers = page(invoice("i-1"), cursor="a"), Answer({"message": "not found"}, status=404)
    with ScriptedMetronome(*answers) as server:
        async with client_of(server.url) as client:
            items = client.invoices(CUSTOMER)
            assert (await anext(items)).id == "i-1"
            with pytest.raises(CustomerGone):
                await anext(items)
