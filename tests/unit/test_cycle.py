"""The cycle over the smallest honest edges: what is written, deleted, moved, and refused."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metronome_salesforce.cycle import CycleSettings, Observers, Run, run_cycle
from metronome_salesforce.objects import BY_NAME
from metronome_salesforce.ports import Batch, CustomerInfo, Quota
from metronome_salesforce.report import CycleReport, Outcome, Retry, Trigger
from metronome_salesforce.rows import Operation
from tests.memory import MemorySource, MemoryTarget, row

NOW = datetime(2026, 3, 10, 6, 0, tzinfo=UTC)
A1 = "001000000000001AAA"
A2 = "001000000000002AAA"
EVERYTHING = frozenset(BY_NAME)


async def cycle(
    source: MemorySource, target: MemoryTarget, *, full: bool = False, **kwargs: object
) -> CycleReport:
    run_fields = {name: kwargs.pop(name) for name in ("dry_run", "last_success") if name in kwargs}
    return await run_cycle(
        CycleSettings(objects=EVERYTHING, **kwargs),  # type: ignore[arg-type]
        Run("r1", Trigger.SCHEDULE, NOW, full=full, **run_fields),  # type: ignore[arg-type]
        source,
        target,
        Observers(progress=lambda _stage, _done, _total: None),
    )


def customer(id_: str = "c1", account: str | None = None) -> CustomerInfo:
    return CustomerInfo(id_, archived=False, account_id=account)


def tenant(info: CustomerInfo, *batches: Batch) -> MemorySource:
    return MemorySource([info], [*batches, Batch([row("Customer", info.id, info.id, Name="Acme")])])


def invoice(key: str, status: str, **content: str) -> Batch:
    return Batch(
        [row("Invoice", key, "c1", Status__c=status, Metronome_Customer_ID__c="c1", **content)],
        covered=[("Invoice", "c1"), ("InvoiceLineItem", key)],
    )


DRAFT = {"Start__c": "2026-03-01", "End__c": "2026-04-01"}


async def test_first_cycle_creates_and_the_next_writes_nothing() -> None:
    source = tenant(customer(), invoice("i1", "Draft", **DRAFT))
    target = MemoryTarget()

    first = await cycle(source, target)
    writes = len(target.written)
    second = await cycle(source, target)

    assert first.outcome is Outcome.SUCCEEDED
    assert first.rows["Invoice"].created == 1
    assert target.records["Invoice"]["i1"]["Orphaned_Customer__c"] == "c1"
    assert target.records["Invoice"]["i1"]["Account__c"] is None
    assert len(target.written) == writes
    assert second.rows["Invoice"].unchanged == 1


async def test_a_vanished_draft_goes_and_a_vanished_finalized_invoice_stays() -> None:
    target = MemoryTarget()
    await cycle(
        tenant(customer(), invoice("i1", "Draft", **DRAFT), invoice("i2", "Finalized", **DRAFT)),
        target,
    )

    report = await cycle(
        tenant(customer(), Batch(covered=[("Invoice", "c1")])), target, last_success=NOW
    )

    assert report.rows["Invoice"].deleted == 1
    assert list(target.records["Invoice"]) == ["i2"]


async def test_nothing_is_deleted_where_the_fetch_was_not_complete() -> None:
    target = MemoryTarget()
    await cycle(tenant(customer(), invoice("i1", "Draft", **DRAFT)), target)

    await cycle(tenant(customer()), target, last_success=NOW)

    assert list(target.records["Invoice"]) == ["i1"]


async def test_what_is_still_there_when_asked_again_is_spared_with_its_parts() -> None:
    """A list that moved while it was read hid a draft: neither it nor its lines may go."""
    target = MemoryTarget()
    lines = Batch([row("InvoiceLineItem", "l1", "c1", Name="a", Invoice__c="i1")])
    await cycle(tenant(customer(), invoice("i1", "Draft", **DRAFT), lines), target)
    hidden = tenant(customer(), Batch(covered=[("Invoice", "c1")]))
    hidden.still_there = {"i1"}

    report = await cycle(hidden, target, last_success=NOW)

    assert sum(counts.deleted for counts in report.rows.values()) == 0
    assert list(target.records["Invoice"]) == ["i1"]
    assert list(target.records["InvoiceLineItem"]) == ["l1"]


async def test_prune_disabled_keeps_stale_rows() -> None:
    target = MemoryTarget()
    await cycle(tenant(customer(), invoice("i1", "Draft", **DRAFT)), target)

    await cycle(tenant(customer(), Batch(covered=[("Invoice", "c1")])), target, prune=False)

    assert list(target.records["Invoice"]) == ["i1"]


async def test_too_many_deletes_are_refused_and_nothing_is_written() -> None:
    target = MemoryTarget()
    grants = Batch(
        [
            row("CreditGrant", f"g{n}", "c1", Name="x", Metronome_Customer_ID__c="c1")
            for n in range(40)
        ]
    )
    await cycle(tenant(customer(), grants), target)
    before = len(target.written)

    report = await cycle(tenant(customer(), Batch(covered=[("CreditGrant", "c1")])), target)

    assert report.outcome is Outcome.REFUSED
    assert report.reason == "TooManyDeletes"
    assert "40 of 40 CreditGrant" in report.message
    assert len(target.written) == before


async def test_a_key_of_another_environment_is_refused() -> None:
    """All customers of the org unknown to Metronome: the plan would double the org."""
    target = MemoryTarget()
    infos = [customer(f"c{n}") for n in range(20)]
    rows = [row("Customer", info.id, info.id, Name="x") for info in infos]
    await cycle(MemorySource(infos, [Batch(rows)]), target)

    report = await cycle(tenant(customer("other")), target)

    assert (report.outcome, report.reason) == (Outcome.REFUSED, "CustomersVanished")
    assert "other" not in target.records["Customer"]


async def test_a_salesforce_id_in_metronome_links_all_rows_of_every_age() -> None:
    target = MemoryTarget(account_ids={A1})
    old = invoice("old", "Finalized", Start__c="2024-01-01", End__c="2024-02-01")
    await cycle(tenant(customer(), old, invoice("i1", "Draft", **DRAFT)), target)

    report = await cycle(
        tenant(customer(account=A1), invoice("i1", "Draft", **DRAFT)), target, last_success=NOW
    )

    for key in ("old", "i1"):
        assert target.records["Invoice"][key]["Account__c"] == A1
        assert target.records["Invoice"][key]["Orphaned_Customer__c"] is None
    record = target.records["Customer"]["c1"]
    assert (record["Account__c"], record["Linked_Account_ID__c"]) == (A1, A1)
    assert record["Link_Source__c"] == "Metronome"
    assert report.customers == {"total": 1, "linked": 1, "orphaned": 0, "archived": 0}
    assert target.written[-1].object == "Account"
    assert target.records["Account"][A1]["Metronome_Customer_ID__c"] == "c1"


async def test_the_link_counts_as_applied_only_after_every_row_has_moved() -> None:
    target = MemoryTarget(account_ids={A1})
    batches = [invoice("i1", "Draft", **DRAFT), invoice("i2", "Finalized", **DRAFT)]
    await cycle(tenant(customer(), *batches), target)
    target.rejects = {"i2"}

    report = await cycle(tenant(customer(account=A1), *batches), target, last_success=NOW)

    assert report.outcome is Outcome.PARTIALLY_FAILED
    assert [one.key for one in report.rejected] == ["i2"]
    assert target.records["Customer"]["c1"]["Linked_Account_ID__c"] is None

    target.rejects = set()
    await cycle(tenant(customer(account=A1), *batches), target, last_success=NOW)

    assert target.records["Invoice"]["i2"]["Account__c"] == A1
    assert target.records["Customer"]["c1"]["Linked_Account_ID__c"] == A1


async def test_two_accounts_swap_their_customers_although_the_id_is_unique() -> None:
    target = MemoryTarget(account_ids={A1, A2})

    def linked(first: str, second: str) -> MemorySource:
        infos = [customer("c1", first), customer("c2", second)]
        rows = [row("Customer", info.id, info.id, Name="x") for info in infos]
        return MemorySource(infos, [Batch(rows)])

    await cycle(linked(A1, A2), target)
    await cycle(linked(A2, A1), target)

    accounts = target.records["Account"]
    assert accounts[A1]["Metronome_Customer_ID__c"] == "c2"
    assert accounts[A2]["Metronome_Customer_ID__c"] == "c1"
    cleared = [one for one in target.written if one.fields == {"Metronome_Customer_ID__c": None}]
    assert {one.key for one in cleared} == {A1, A2}


async def test_an_account_without_customers_is_cleared() -> None:
    target = MemoryTarget(account_ids={A1})
    await cycle(tenant(customer(account=A1)), target)

    await cycle(tenant(customer()), target)

    assert target.records["Account"][A1]["Metronome_Customer_ID__c"] is None
    assert target.records["Customer"]["c1"]["Account__c"] is None


@pytest.mark.parametrize("readable", [True, False])
async def test_an_account_keeps_the_sums_of_a_customer_that_is_gone(readable: bool) -> None:
    """One that Metronome knows no more leaves its rows; an unreadable one is not gone at all."""
    target = MemoryTarget(account_ids={A1})
    await cycle(tenant(customer(account=A1)), target)
    gone = tenant(customer("c2"))
    gone.knows_all_customers = readable

    await cycle(gone, target, last_success=NOW)

    assert target.records["Account"][A1]["Metronome_Customer_ID__c"] == "c1"


async def test_a_malformed_salesforce_id_changes_nothing_and_is_reported() -> None:
    target = MemoryTarget(account_ids={A1})
    await cycle(tenant(customer(account=A1)), target)

    report = await cycle(tenant(customer(account="001-what")), target, last_success=NOW)

    assert target.records["Customer"]["c1"]["Account__c"] == A1
    assert [reason for reason, _ in report.events] == ["MalformedAccountId"]


async def test_an_edited_row_is_healed_or_left_as_asked() -> None:
    source = tenant(customer(), invoice("i1", "Finalized", **DRAFT))
    target = MemoryTarget()
    await cycle(source, target)
    target.records["Invoice"]["i1"]["Status__c"] = "Void"
    target.edited = {"i1"}

    for full in (False, True):
        await cycle(source, target, heal_edits=False, full=full, last_success=NOW)
        assert target.records["Invoice"]["i1"]["Status__c"] == "Void"

    await cycle(source, target, last_success=NOW)
    assert target.records["Invoice"]["i1"]["Status__c"] == "Finalized"


async def test_a_full_resync_that_heals_no_edits_writes_what_changed_in_metronome() -> None:
    target = MemoryTarget()
    await cycle(tenant(customer(), invoice("i1", "Finalized", **DRAFT)), target)
    target.records["Invoice"]["i1"]["Total__c"] = Decimal(7)
    void = tenant(customer(), invoice("i1", "Void", **DRAFT))

    report = await cycle(void, target, heal_edits=False, full=True, last_success=NOW)

    assert report.rows["Invoice"].updated == 1
    assert target.records["Invoice"]["i1"]["Status__c"] == "Void"


async def test_a_touched_row_that_is_as_it_should_be_is_left_alone() -> None:
    """Another integration user, or a save without a change, must not rewrite the org."""
    source = tenant(customer(), invoice("i1", "Finalized", **DRAFT))
    target = MemoryTarget()
    await cycle(source, target)
    target.edited = {"i1", "c1"}
    target.written.clear()

    await cycle(source, target, last_success=NOW)
    await cycle(source, target, full=True, last_success=NOW)

    assert target.written == []


async def test_rows_that_hang_on_nothing_find_their_parent_whatever_their_age() -> None:
    """Somebody deleted the Orphaned Customer; its record came back, its old rows did not."""
    target = MemoryTarget()
    old = invoice("old", "Finalized", Start__c="2024-01-01", End__c="2024-02-01")
    await cycle(tenant(customer(), old), target)
    target.records["Invoice"]["old"]["Orphaned_Customer__c"] = None

    await cycle(tenant(customer()), target, last_success=NOW)

    assert target.records["Invoice"]["old"]["Orphaned_Customer__c"] == "c1"


async def test_the_draft_of_a_customer_who_is_gone_does_not_hold_the_reach() -> None:
    target = MemoryTarget()
    await cycle(
        tenant(customer(), invoice("i1", "Draft", Start__c="2025-01-01", End__c="2025-02-01")),
        target,
    )
    other = tenant(customer("c2"))

    await cycle(other, target, last_success=NOW)

    assert str(other.scopes[0].invoices_from) == "2026-02-04"


async def test_a_full_resync_compares_content_even_if_the_fingerprint_agrees() -> None:
    """Somebody with the integration user's own credentials changed a value."""
    source = tenant(customer(), invoice("i1", "Finalized", **DRAFT))
    target = MemoryTarget()
    await cycle(source, target)
    target.records["Invoice"]["i1"]["Status__c"] = "Void"

    daily = await cycle(source, target, last_success=NOW)
    full = await cycle(source, target, full=True, last_success=NOW)

    assert daily.rows["Invoice"].updated == 0
    assert full.rows["Invoice"].updated == 1
    assert target.records["Invoice"]["i1"]["Status__c"] == "Finalized"


async def test_a_dry_run_counts_and_writes_nothing() -> None:
    target = MemoryTarget()

    report = await cycle(tenant(customer(), invoice("i1", "Draft", **DRAFT)), target, dry_run=True)

    assert report.outcome is Outcome.PLANNED
    assert report.rows["Invoice"].created == 1
    assert target.written == []


async def test_budget_and_storage_are_guarded() -> None:
    tight = MemoryTarget(quota=Quota(used=81, maximum=100))
    full = MemoryTarget(storage_left_mb=0)
    grants = Batch([row("CreditGrant", f"g{n}", "c1", Name="x") for n in range(600)])

    over_budget = await cycle(tenant(customer()), tight)
    over_storage = await cycle(tenant(customer(), grants), full)

    assert (over_budget.outcome, over_budget.reason) == (Outcome.FAILED, "ApiBudgetExhausted")
    assert (over_budget.retry, over_budget.retry_after) == (Retry.LATER, 3600)
    assert over_storage.reason == "StorageInsufficient"
    assert tight.written == full.written == []


async def test_a_run_that_ends_early_knows_no_customers() -> None:
    """Zero would be a statement; the status keeps what an earlier run counted."""
    report = await cycle(tenant(customer()), MemoryTarget(quota=Quota(used=99, maximum=100)))

    assert report.customers == {}


async def test_provisional_rows_are_created_but_never_overwritten() -> None:
    target = MemoryTarget()
    half = Batch(
        [row("Customer", "c1", "c1", Name="Acme", Current_Spend__c=None)],
        provisional=[("Customer", "c1")],
    )
    await cycle(MemorySource([customer()], [half]), target)
    whole = Batch([row("Customer", "c1", "c1", Name="Acme", Current_Spend__c=Decimal(5))])
    await cycle(MemorySource([customer()], [whole]), target)

    await cycle(MemorySource([customer()], [half]), target, last_success=NOW)

    assert target.records["Customer"]["c1"]["Current_Spend__c"] == 5


@pytest.mark.parametrize(
    ("last_success", "expected"),
    [
        (NOW - timedelta(days=1), "2026-02-03"),
        (NOW - timedelta(days=90), "2025-11-06"),
    ],
)
async def test_an_outage_leaves_no_gap(last_success: datetime, expected: str) -> None:
    """The look-back of 34 days starts at the last success, not at today."""
    source = tenant(customer())

    await cycle(source, MemoryTarget(), last_success=last_success)

    assert str(source.scopes[0].usage_from) == expected
    assert str(source.scopes[0].invoices_from) == expected


async def test_the_oldest_draft_in_the_org_widens_the_reach() -> None:
    target = MemoryTarget()
    await cycle(
        tenant(customer(), invoice("i1", "Draft", Start__c="2025-01-01", End__c="2025-02-01")),
        target,
    )
    source = tenant(customer())

    await cycle(source, target, last_success=NOW)

    assert str(source.scopes[0].invoices_from) == "2025-01-01"


_KEYS = st.integers(0, 5).map(lambda n: f"g{n}")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(_KEYS, st.text(max_size=3), max_size=6), min_size=1, max_size=4))
async def test_the_org_equals_the_tenant_after_every_cycle(states: list[dict[str, str]]) -> None:
    target = MemoryTarget()
    for state in states:
        batch = Batch(
            [
                row("CreditGrant", key, "c1", Name=name, Metronome_Customer_ID__c="c1")
                for key, name in state.items()
            ],
            covered=[("CreditGrant", "c1")],
        )
        await cycle(tenant(customer(), batch), target)

        held = {key: one["Name"] for key, one in target.records["CreditGrant"].items()}
        assert held == state

        before = len(target.written)
        await cycle(tenant(customer(), batch), target)
        assert len(target.written) == before


async def test_deletes_come_after_the_upserts_and_children_first() -> None:
    target = MemoryTarget()
    lines = Batch(
        [
            row("InvoiceLineItem", "l1", "c1", Name="a", Invoice__c="i1"),
        ]
    )
    await cycle(tenant(customer(), invoice("i1", "Draft", **DRAFT), lines), target)
    target.written.clear()

    await cycle(tenant(customer(), Batch(covered=[("Invoice", "c1")])), target, last_success=NOW)

    deletes = [one.object for one in target.written if one.operation is Operation.DELETE]
    assert deletes == ["InvoiceLineItem", "Invoice"]
