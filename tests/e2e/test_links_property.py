"""Random lives of customers between links, people, Metronome, cycles and crashes.

The model is the table of link rules and nothing else: it knows what each side said last and who
decided before. Whatever happens in between, a run that is let through ends in what the table
demands, with exactly one parent for each row.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from metronome_salesforce.linking import LinkReason, LinkRequest
from metronome_salesforce.report import Outcome
from tests.expectation import CUSTOMER, PLACED
from tests.stage import Stage

CUSTOMERS = 2
ACCOUNTS = ("A", "B", "C")


@dataclass
class Told:
    """What the sides say of one customer, and what was decided and applied last."""

    links: dict[str, str] = field(default_factory=dict)
    metronome: str | None = None
    record: str | None = None
    linked: str | None = None
    source: str | None = None

    def decided(self) -> tuple[str | None, str | None]:
        """The table of link rules, read from the top."""
        if self.links:
            return self.links[min(self.links)], "CustomerLink"  # names sort by age
        if self.metronome is not None:
            return self.metronome, "Metronome"
        if self.record != self.linked or self.source == "Salesforce":
            return self.record, None if self.record is None else "Salesforce"
        return None, None

    def settle(self) -> None:
        """What a run that comes to its end leaves behind."""
        account, source = self.decided()
        self.record = self.linked = account
        self.source = source


customers = st.integers(0, CUSTOMERS - 1)
accounts = st.sampled_from(ACCOUNTS)
maybe_accounts = st.sampled_from((*ACCOUNTS, None))


class Lives(RuleBasedStateMachine):
    """One org and one tenant, and what was said of each customer."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage(customers=CUSTOMERS, months=1, lookback=3)
        self.told = [Told() for _ in range(CUSTOMERS)]
        self.made = 0
        self.dirty: set[str] = set()
        self.unlinked: set[str] = set()

    @initialize()
    def fill(self) -> None:
        self.ids = [one["id"] for one in self.stage.tenant.customers()][:CUSTOMERS]
        self.accounts = {name: self.stage.account(name) for name in ACCOUNTS}
        self._through(self.stage.cycle(full=True))

    def teardown(self) -> None:
        self.stage.__exit__(None, None, None)

    # -- what the sides say ------------------------------------------------------------------------

    @rule(customer=customers, account=accounts)
    def apply_link(self, customer: int, account: str) -> None:
        self.made += 1
        name = f"link-{self.made:03}"
        self.told[customer].links[name] = account
        self.dirty.add(name)

    @precondition(lambda self: any(one.links for one in self.told))
    @rule(data=st.data(), account=accounts)
    def change_link(self, data: st.DataObject, account: str) -> None:
        customer, name = data.draw(st.sampled_from(self._links()))
        self.told[customer].links[name] = account
        self.dirty.add(name)

    @precondition(lambda self: any(one.links for one in self.told))
    @rule(data=st.data())
    def delete_link(self, data: st.DataObject) -> None:
        customer, name = data.draw(st.sampled_from(self._links()))
        del self.told[customer].links[name]
        self.dirty.discard(name)
        self.unlinked.add(self.ids[customer])

    @rule(customer=customers, account=maybe_accounts)
    def say_in_metronome(self, customer: int, account: str | None) -> None:
        self.told[customer].metronome = account
        id_ = None if account is None else self.accounts[account]
        self.stage.tenant.set_salesforce_account(self.ids[customer], id_)

    @rule(customer=customers, account=maybe_accounts)
    def edit_the_record(self, customer: int, account: str | None) -> None:
        self.told[customer].record = account
        id_ = None if account is None else self.accounts[account]
        row = next(one for one in self._records() if self._customer_of(one) == self.ids[customer])
        self.stage.org.update(CUSTOMER, row["Id"], {"Account__c": id_}, username=self.stage.clerk())

    # -- what the operator does --------------------------------------------------------------------

    @rule()
    def link_now(self) -> None:
        """As the operator does: what changed, what was deleted, what people edited."""
        touched = self._touched()
        report = self._through(self._link())
        for name, verdict in report.verdicts.items():
            reason = verdict.reason
            assert reason in {LinkReason.LINKED, LinkReason.CONFLICT}, (name, verdict)
        self._settled(touched)

    @rule()
    def cycle(self) -> None:
        self._through(self.stage.cycle())
        self._settled(set(range(CUSTOMERS)))

    @rule(after=st.integers(0, 7), drop=st.sampled_from(("before", "after_commit")))
    def crash_while_linking(self, after: int, drop: Any) -> None:
        """The connection breaks for good at some write; what was begun is not forgotten."""
        touched = self._touched()
        self._crash(self._link(), after, drop)
        # It says what it could not do; the operator asks again. As here:
        self._through(self._link())
        self._settled(touched)

    @rule(after=st.integers(0, 12), drop=st.sampled_from(("before", "after_commit")))
    def crash_in_a_cycle(self, after: int, drop: Any) -> None:
        self._crash(self.stage.cycle(), after, drop)
        self._through(self.stage.cycle())
        self._settled(set(range(CUSTOMERS)))

    # -- what must be so ---------------------------------------------------------------------------

    @invariant()
    def every_row_has_one_parent(self) -> None:
        for sobject in PLACED:
            for row in self.stage.org.rows(sobject):
                parents = [row["Account__c"], row["Orphaned_Customer__c"]]
                assert sum(one is not None for one in parents) == 1, (sobject, row)

    def _settled(self, touched: set[int]) -> None:
        for number in touched:
            self.told[number].settle()
        self.dirty.clear()
        self.unlinked.clear()
        names = {id_: name for name, id_ in self.accounts.items()} | {None: None}
        for number in touched:
            told, id_ = self.told[number], self.ids[number]
            row = next(one for one in self._records() if self._customer_of(one) == id_)
            shown = (names[row["Account__c"]], names[row["Linked_Account_ID__c"]])
            assert shown == (told.linked, told.linked)
            assert row["Link_Source__c"] == told.source
            for sobject in PLACED:
                for one in self.stage.org.rows(sobject):
                    if self._customer_of(one) == id_:
                        assert names[one["Account__c"]] == told.linked, sobject

    # -- plumbing ----------------------------------------------------------------------------------

    def _links(self) -> list[tuple[int, str]]:
        return [(number, name) for number, told in enumerate(self.told) for name in told.links]

    def _touched(self) -> set[int]:
        """Whom a link run looks at: by links, by deletions, by edits of the record."""
        return {
            number
            for number, told in enumerate(self.told)
            if self.dirty.intersection(told.links)
            or self.ids[number] in self.unlinked
            or told.record != told.linked
        }

    async def _link(self) -> Any:
        return await self.stage.link(
            dirty=frozenset(self.dirty), customers=frozenset(self.unlinked), watch=True
        )

    def _requests(self) -> list[LinkRequest]:
        return [
            LinkRequest(
                name,
                created=name,
                customer_id=self.ids[number],
                account_id=self.accounts[self.told[number].links[name]],
            )
            for number, name in self._links()
        ]

    def _through(self, run: Any) -> Any:
        self.stage.links = self._requests()
        report = asyncio.run(run)
        assert report.outcome is Outcome.SUCCEEDED, report
        return report

    def _crash(self, run: Any, after: int, drop: Any) -> None:
        self.stage.links = self._requests()
        self.stage.salesforce.faults.add("PATCH *", drop=drop, after=after)
        try:
            report = asyncio.run(run)
        finally:
            self.stage.salesforce.faults.clear()
        assert report.outcome in {Outcome.SUCCEEDED, Outcome.FAILED}, report

    def _records(self) -> list[dict[str, Any]]:
        return self.stage.org.rows(CUSTOMER)

    def _customer_of(self, row: dict[str, Any]) -> str:
        return str(row["Metronome_Customer_ID__c"])


@pytest.mark.usefixtures("no_pauses")
class TestLives(Lives.TestCase):  # type: ignore[misc, valid-type]
    """Bounded: some sequences of some steps; more by HYPOTHESIS_PROFILE or by hand."""

    settings = settings(
        max_examples=12,
        stateful_step_count=14,
        deadline=None,
        # A failure is told as it was found: making it smaller would run for an hour.
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
