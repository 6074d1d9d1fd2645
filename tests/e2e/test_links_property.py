"""Random lives of customers between links, people, Metronome, cycles and failures.

The model (`linkmodel`) is the table of link rules and nothing else. Runs break off anywhere, and
nobody comes back to them at once; in between, everybody may say something else. Whatever happens, a
run that is let through ends in what the table demands for all rows of every age, with exactly one
parent for each; no row is lost; and a record that shows no move under way tells the truth.

`make test` lives the same few lives each time. More and other ones, 500 of 40 steps of each class:

    LINK_LIVES=500 .venv/bin/python -m pytest --timeout 0 tests/e2e/test_links_property.py

With LINK_SHRINK=1 beside it a failure is made smaller, which may take half an hour.
"""

import asyncio
import os
import sqlite3
from collections import Counter
from collections.abc import Coroutine, Iterator, Mapping
from typing import Any, ClassVar, Literal, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from metronome_salesforce.linking import LinkRequest
from metronome_salesforce.relinking import LinkReport
from metronome_salesforce.report import CycleReport, Outcome
from tests.expectation import ACCOUNT, CUSTOMER, LINE, PLACED
from tests.linkmodel import LINK, Accounts, Place, Told
from tests.linkstage import UNKNOWN
from tests.stage import Stage

CUSTOMERS = 2
ACCOUNTS = ("A", "B", "C", "D")
STORING = "POST /v1/customers/*/updateConfig"
Drop = Literal["before", "after_commit"]
Report = TypeVar("Report", LinkReport, CycleReport)

customers = st.integers(0, CUSTOMERS - 1)
drops: st.SearchStrategy[Drop] = st.sampled_from(("before", "after_commit"))
numbers = st.integers(0, len(ACCOUNTS) - 1)
mostly = st.sampled_from((True, True, True, False))


class World:
    """A stage with rows of every age, of which a daily cycle sees the newest; made once."""

    def __init__(self) -> None:
        self.stage = Stage(customers=CUSTOMERS, months=3, lookback=6)
        try:
            self.accounts = [self.stage.account(name) for name in ACCOUNTS]
            self.clerk = self.stage.clerk()
            report = asyncio.run(self.stage.cycle(full=True))
            assert report.outcome is Outcome.SUCCEEDED, report
        except BaseException:
            self.close()
            raise
        self.stage.lookback = 2
        self.ids = [one["id"] for one in self.stage.tenant.customers()][:CUSTOMERS]
        _, self.rows = self.look()
        self._saved = sqlite3.connect(":memory:")
        self._database.backup(self._saved)

    @property
    def _database(self) -> sqlite3.Connection:
        return self.stage.org.state.storage.connection

    def reset(self, *, write_back: bool) -> None:
        """Let everything be as it was in the beginning."""
        stage = self.stage
        self._saved.backup(self._database)
        stage.org.state.deletions.clear()
        stage.org.api_used = 0
        stage.salesforce.faults.clear()
        stage.metronome.faults.clear()
        for id_ in self.ids:
            stage.tenant.set_salesforce_account(id_, None)
        stage.links, stage.retained = [], frozenset()
        stage.spec = {"linking": {"writeBack": write_back}}

    def look(self) -> tuple[dict[str, set[str | None]], Counter[tuple[str, str]]]:
        """Where rows hang, by customer, and how many there are by sObject and customer or invoice.

        None stands for the customer's own record. No row may hang on both, or on another's record;
        one whose Account was deleted hangs on neither ("").
        """
        records = {row["Id"]: row["Metronome_Customer_ID__c"] for row in self.rows_of(CUSTOMER)}
        found: dict[str, set[str | None]] = {id_: set() for id_ in records.values()}
        count = Counter((CUSTOMER, id_) for id_ in records.values())
        for sobject in PLACED:
            for row in self.rows_of(sobject):
                id_ = row["Metronome_Customer_ID__c"]
                account, orphan = row["Account__c"], row["Orphaned_Customer__c"]
                assert account is None or orphan is None, row
                assert orphan is None or records[orphan] == id_, row
                found[id_].add(account if account or orphan else "")
                count[sobject, id_] += 1
        count.update((LINE, row["Invoice__c"]) for row in self.rows_of(LINE))
        return found, count

    def rows_of(self, sobject: str) -> list[dict[str, Any]]:
        """The org's rows of an object."""
        return self.stage.org.rows(sobject)

    def close(self) -> None:
        self.stage.__exit__(None, None, None)


class Lives(RuleBasedStateMachine):
    """One org and one tenant, what was said of each customer, and what an operator remembers.

    `dirty` links have to be looked at, `unlinked` customers because of a deletion, and `looks`
    because a run did not get through with them. `status` has of each link the verdict (or that
    there was none) and the Account where rows may hang because of it.
    """

    world: ClassVar[World]
    write_back: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.stage = self.world.stage
        self.world.reset(write_back=self.write_back)
        self.accounts = Accounts(list(self.world.accounts))
        self.told = {id_: Told(self.accounts, self.write_back) for id_ in self.world.ids}
        self.made = 0
        self.dirty: set[str] = set()
        self.unlinked: set[str] = set()
        self.looks: set[str] = set()
        self.status: dict[str, tuple[str | None, str | None]] = {}

    # -- what the sides say ------------------------------------------------------------------------

    @rule(customer=customers, number=numbers, valid=mostly)
    def apply_link(self, customer: int, number: int, valid: bool) -> None:
        self.made += 1
        name = f"link-{self.made:03}"
        account = self.world.accounts[number] if valid else UNKNOWN
        self.told[self.world.ids[customer]].links[name] = account
        self.dirty.add(name)
        self.status[name] = (None, None)

    @precondition(lambda self: self.links())
    @rule(data=st.data(), number=numbers, valid=mostly)
    def change_link(self, data: st.DataObject, number: int, valid: bool) -> None:
        customer, name = data.draw(st.sampled_from(self.links()))
        self.told[customer].links[name] = self.world.accounts[number] if valid else UNKNOWN
        self.dirty.add(name)

    @precondition(lambda self: self.links())
    @rule(data=st.data(), retain=st.booleans())
    def delete_link(self, data: st.DataObject, retain: bool) -> None:
        """As the operator does: what never moved a row is let go, and Retain is noted."""
        customer, name = data.draw(st.sampled_from(self.links()))
        del self.told[customer].links[name]
        self.dirty.discard(name)
        reason, account = self.status.pop(name)
        if reason is None or account is not None:
            if retain:
                self.told[customer].retained = True
                self.looks.add(customer)
            else:
                self.unlinked.add(customer)

    @rule(customer=customers, number=numbers, text=st.sampled_from("aaa-x?"))
    def say_in_metronome(self, customer: int, number: int, text: str) -> None:
        id_ = self.world.ids[customer]
        texts = {"a": self.world.accounts[number], "x": UNKNOWN, "?": "Acme GmbH", "-": None}
        self.told[id_].says(texts[text])
        self.stage.tenant.set_salesforce_account(id_, texts[text])

    @rule(customer=customers, number=st.integers(0, len(ACCOUNTS)))
    def edit_the_record(self, customer: int, number: int) -> None:
        id_ = self.world.ids[customer]
        account = [*self.accounts.alive, None][min(number, len(self.accounts.alive))]
        self.told[id_].record = account
        self.stage.org.update(
            CUSTOMER, self._record(id_)["Id"], {"Account__c": account}, username=self.world.clerk
        )

    @precondition(lambda self: len(self.accounts.alive) > 2)
    @rule(master=numbers, loser=numbers)
    def merge_accounts(self, master: int, loser: int) -> None:
        alive = self.accounts.alive
        into, gone = alive[master % len(alive)], alive[loser % len(alive)]
        if into == gone:
            return
        self.stage.org.merge_accounts(into, gone)
        alive.remove(gone)
        self.accounts.masters[gone] = into
        for told in self.told.values():
            told.merge(into, gone)

    @precondition(lambda self: len(self.accounts.alive) > 2)
    @rule(number=numbers)
    def delete_account(self, number: int) -> None:
        gone = self.accounts.alive.pop(number % len(self.accounts.alive))
        self.stage.org.delete(ACCOUNT, gone)
        for told in self.told.values():
            told.lose(gone)

    # -- what the operator does --------------------------------------------------------------------

    @rule()
    def restart(self) -> None:
        """An operator that starts again finds what is left to do in the resources and the org."""
        self.looks -= {id_ for id_, told in self.told.items() if not told.retained}

    @rule()
    def link_now(self) -> None:
        """What changed, what was deleted, what people edited."""
        touched = self._touched()
        report = self._link()
        assert report.outcome is Outcome.SUCCEEDED, report
        assert self.dirty <= report.verdicts.keys()
        self._expect_verdicts(report.verdicts)
        self._expect(touched)
        self._conclude(report, touched)

    @rule(known=mostly)
    def cycle(self, known: bool) -> None:
        """One in four does not know the links."""
        report = self._cycle(known=known)
        assert report.outcome is Outcome.SUCCEEDED, report
        if known:
            self._expect_verdicts(report.links)
            self.dirty.clear()
            self._conclude_verdicts(report.links)
        self._expect(set(self.told), links_known=known)
        self._expect_sums()

    @rule(after=st.integers(0, 7), drop=drops)
    def break_off_linking(self, after: int, drop: Drop) -> None:
        """The connection breaks for good at some write."""
        touched = self._touched()
        self.stage.salesforce.faults.add("PATCH *", drop=drop, after=after)
        report = self._link()
        self._expect(touched, through=False)
        self._conclude(report, touched)

    @rule(after=st.integers(0, 8), drop=drops, known=mostly)
    def break_off_a_cycle(self, after: int, drop: Drop, known: bool) -> None:
        self.stage.salesforce.faults.add("PATCH *", drop=drop, after=after)
        self._cycle(known=known)
        self._expect(set(self.told), links_known=known, through=False)

    @rule(every=st.integers(1, 3), sobject=st.sampled_from((CUSTOMER, *PLACED)), data=st.data())
    def refuse_rows(self, every: int, sobject: str, data: st.DataObject) -> None:
        """Some rows cannot be written, by a link run or a cycle."""
        code = data.draw(
            st.sampled_from(("UNABLE_TO_LOCK_ROW", "FIELD_CUSTOM_VALIDATION_EXCEPTION"))
        )
        self.stage.salesforce.faults.row(sobject, every=every, status_code=code)
        self._let_some_through(data)

    @rule()
    def link_without_metronome(self) -> None:
        """Who has a link that can be followed needs nobody else."""
        touched = self._touched()
        named = {id_ for id_ in touched if self.told[id_].followed() is not None}
        report = self._link(api_key="wrong")
        assert report.undecided == touched - named
        self._expect(named, through=not self.write_back, stored=False)
        self._conclude(report, touched)

    # -- plumbing ----------------------------------------------------------------------------------

    def links(self) -> list[tuple[str, str]]:
        """Customers and names of all links."""
        return [(id_, name) for id_, told in self.told.items() for name in told.links]

    def _let_some_through(self, data: st.DataObject) -> None:
        if data.draw(st.booleans()):
            touched = self._touched()
            report = self._link()
            self._expect(touched, through=False)
            self._conclude(report, touched)
        else:
            self._cycle(known=True)
            self._expect(set(self.told), through=False)

    def _touched(self) -> set[str]:
        """Whom a link run looks at."""
        dirty = {id_ for id_, told in self.told.items() if self.dirty & told.links.keys()}
        pending = {id_ for id_, told in self.told.items() if told.pending}
        return dirty | pending | self.unlinked | self.looks

    def _link(self, **how: Any) -> LinkReport:
        names = {id_: told.links.keys() & self.dirty for id_, told in self.told.items()}
        cut_short = {
            id_ for id_, some in names.items() if any(self.status[one][0] is None for one in some)
        }
        return self._run(
            self.stage.link(
                dirty=frozenset(self.dirty),
                customers=frozenset(self.unlinked | self.looks),
                retained=frozenset(id_ for id_, told in self.told.items() if told.retained),
                swept=frozenset(self.unlinked | cut_short),
                watch=True,
                write_back=self.write_back,
                **how,
            )
        )

    def _cycle(self, *, known: bool) -> CycleReport:
        return self._run(self.stage.cycle(), known=known)

    def _run(self, run: Coroutine[Any, Any, Report], *, known: bool = True) -> Report:
        retained = (id_ for id_, told in self.told.items() if told.retained)
        self.stage.retained = frozenset(retained if known else ())
        self.stage.links = None
        if known:
            self.stage.links = [
                LinkRequest(name, name, id_, account_id=self.told[id_].links[name])
                for id_, name in self.links()
            ]
        try:
            return asyncio.run(run)
        finally:
            self.stage.salesforce.faults.clear()
            self.stage.metronome.faults.clear()

    def _conclude(self, report: LinkReport, touched: set[str]) -> None:
        """Remember what is left to do, as the operator does after a link run."""
        failed = report.outcome is Outcome.FAILED
        settled: set[str] = set()
        if not failed or report.reason.startswith("Metronome"):
            settled = report.places.keys() - report.unsettled
        self.looks |= touched
        if report.write_back is None:
            self.looks -= settled
        self.unlinked -= settled
        for id_ in settled:
            self.told[id_].retained = False
        for name in self.dirty - report.verdicts.keys():
            self.status[name] = (None, self.status[name][1])
        self._conclude_verdicts(report.verdicts, report.places)

    def _conclude_verdicts(
        self, verdicts: Mapping[str, Any], places: Mapping[str, Place] | None = None
    ) -> None:
        for name, verdict in verdicts.items():
            reason = verdict.reason.value
            account = self.status[name][1]
            if reason in {"Linked", "RowsRejected"}:
                account = verdict.account_id
            elif reason == "Conflict":
                account = None
            elif places is not None and (place := places.get(verdict.customer_id)) is not None:
                account = place[0] if place[1] == LINK else None
            self.status[name] = (reason, account)
            if reason in {"Linked", "Conflict"}:
                self.dirty.discard(name)

    # -- what must be so ---------------------------------------------------------------------------

    def _expect(
        self,
        looked_at: set[str],
        *,
        links_known: bool = True,
        through: bool = True,
        stored: bool = True,
    ) -> None:
        """See where everybody is; of a run that did not get `through`, what it says is true."""
        found, rows = self.world.look()
        assert rows == self.world.rows, "rows were lost or made"
        hang = {id_: found[id_] for id_ in self.told}
        for id_, told in self.told.items():
            row, before = self._record(id_), told.shown
            shown = (row["Account__c"], row["Linked_Account_ID__c"], row["Link_Source__c"])
            text = self.stage.tenant.customer(id_)["customer_config"]["salesforce_account_id"]
            if id_ not in looked_at:
                assert shown == before, "nobody was to touch it"
                assert text == told.text
            else:
                place = told.decided(links_known=links_known)
                wanted = (place[0], *place)
                to_be_stored = told.to_be_stored(place)
                if through:
                    assert shown == wanted, (before, told)
                    assert not row["Relinking__c"]
                    assert hang[id_] == {place[0]}, told
                assert shown in {before, wanted}, told
                if through and stored:
                    assert text == to_be_stored, told
                assert text in {told.text, to_be_stored, None if not through else to_be_stored}, (
                    told
                )
                if text != told.text:
                    told.text, told.ours = text, text is not None
                if shown == wanted:
                    told.settle(place)
            assert row["Link_Pending__c"] == told.pending
            if not told.pending and not row["Relinking__c"]:
                assert hang[id_] == {told.record}, "no move is under way, they say"

    def _expect_verdicts(self, verdicts: Mapping[str, Any]) -> None:
        for id_, name in self.links():
            if name in verdicts:
                assert verdicts[name].reason.value == self.told[id_].verdict(name), verdicts[name]

    def _expect_sums(self) -> None:
        """An Account shows the first customer that hangs there."""
        of_account: dict[str, list[str]] = {}
        for id_, told in self.told.items():
            if told.record is not None:
                of_account.setdefault(told.record, []).append(id_)
        for row in self.stage.org.rows(ACCOUNT):
            assert row["Metronome_Customer_ID__c"] == min(
                of_account.get(row["Id"], []), default=None
            )

    def _record(self, id_: str) -> dict[str, Any]:
        (row,) = [
            one for one in self.stage.org.rows(CUSTOMER) if one["Metronome_Customer_ID__c"] == id_
        ]
        return row


class StoringLives(Lives):
    """The same where decided Account ids are stored in Metronome."""

    write_back = True

    @rule(data=st.data(), after=st.integers(0, 1), drop=st.booleans())
    def fail_to_store(self, data: st.DataObject, after: int, drop: bool) -> None:
        status = None if drop else 503
        self.stage.metronome.faults.add(STORING, after=after, status=status, drop=drop)
        self._let_some_through(data)


@pytest.fixture(scope="module", autouse=True)
def _world() -> Iterator[None]:
    Lives.world = World()
    yield
    Lives.world.close()


LIVES = int(os.environ.get("LINK_LIVES", "0"))
_PHASES = [Phase.explicit, Phase.reuse, Phase.generate]
if os.environ.get("LINK_SHRINK"):
    _PHASES.append(Phase.shrink)
STEPS = settings(
    max_examples=LIVES or 8,
    stateful_step_count=40 if LIVES else 16,
    derandomize=not LIVES,
    database=None,
    deadline=None,
    phases=_PHASES,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.usefixtures("no_pauses")
class TestLives(Lives.TestCase):  # type: ignore[misc, valid-type]
    """Without writing back."""

    settings = STEPS


@pytest.mark.usefixtures("no_pauses")
class TestStoringLives(StoringLives.TestCase):  # type: ignore[misc, valid-type]
    """With it."""

    settings = STEPS
