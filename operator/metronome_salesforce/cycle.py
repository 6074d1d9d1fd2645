"""One cycle: observe, desire, compare, guard, apply, report.

A pure comparison (`planning`) between two thin edges (`ports`). Nothing is written before the plan
is known whole and has passed its guards; every write can be repeated, so a crash at any point is
healed by the next cycle.
"""

import asyncio
import logging
import threading
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from time import perf_counter

from metronome_salesforce import spending
from metronome_salesforce.deciding import Decided, decide_all, facts, named_accounts, verdicts
from metronome_salesforce.errors import (
    ConfigError,
    ProductError,
    RetriableError,
    UnsafePlanError,
)
from metronome_salesforce.guards import Changes, Limits, ensure_budget, ensure_safe
from metronome_salesforce.linking import Accounts, Decision, LinkRequest, LinkSource
from metronome_salesforce.mapping import ObjectMapping, to_row
from metronome_salesforce.objects import ACCOUNT_SUMMARY, CUSTOMER, OBJECTS
from metronome_salesforce.planning import Place, Plan
from metronome_salesforce.ports import (
    Batch,
    CustomerInfo,
    Horizon,
    OrgState,
    PackageState,
    Refusal,
    Source,
    Summary,
    Target,
)
from metronome_salesforce.report import CycleReport, Outcome, Retry, Trigger
from metronome_salesforce.rows import Row, RowResult, Write
from metronome_salesforce.runrecords import RunRecords
from metronome_salesforce.scope import Scope
from metronome_salesforce.stepping import CycleStoppedError, Steps, stamped
from metronome_salesforce.tracing import Stages
from metronome_salesforce.writeback import WriteBack

logger = logging.getLogger(__name__)

_STOPPED = (
    "The run was stopped before its end: by a person, with its operator, after "
    "execution.activeDeadline, or as its MetronomeSync was deleted. What it wrote stands; the next "
    "run goes on from there."
)


@dataclass(frozen=True, slots=True)
class CycleSettings:
    """What of the spec steers the cycle itself; `objects` are names of OBJECTS.

    `sync` is "namespace/name" of the MetronomeSync, under which the org keeps the newest
    `history_limit` records of its runs; empty for no records.
    """

    objects: frozenset[str]
    sync: str = ""
    history_limit: int = 10
    install_package: str = "Never"
    window_size: str = "Day"
    invoices_since: date | None = None
    usage_lookback: timedelta = timedelta(days=34)
    prune: bool = True
    max_delete_percent: int = 10
    heal_edits: bool = True
    api_budget_percent: int = 80
    write_back: bool = False

    @property
    def limits(self) -> Limits:
        """What the guards allow."""
        return Limits(self.max_delete_percent, self.api_budget_percent)


@dataclass(frozen=True, slots=True)
class Run:
    """One run: why, when, and how far.

    `last_success` is the start of the newest run that reached every row (None: there was none); the
    look-back of a daily cycle begins there, or at `rejected_since`, the oldest days of which that
    run's "invoices" and "usage" were refused. `links` are the CustomerLinks that count; None when
    they are not known, so that what they decided before stays. Of the customers in `retained` one
    was deleted that leaves its Account behind. `refusal` is what the org has said of the package
    when it was sent last, None where it may be sent.
    """

    id: str
    trigger: Trigger
    now: datetime
    full: bool = False
    dry_run: bool = False
    details: bool = False
    last_success: datetime | None = None
    rejected_since: Mapping[str, date] = field(default_factory=dict)
    links: Sequence[LinkRequest] | None = None
    retained: frozenset[str] = frozenset()
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Observers:
    """Who is told while a cycle runs: of progress (stage, done, total), and of the final plan.

    And who tells: `relinked` gives the customers that somebody else has moved since it was last
    asked, with where they belong now.
    """

    progress: Callable[[str, int, int | None], None]
    plan: Callable[[Plan], None] | None = None
    relinked: Callable[[], Mapping[str, Place]] = dict


async def run_cycle(
    settings: CycleSettings,
    run: Run,
    source: Source,
    target: Target,
    observers: Observers,
    *,
    stop: threading.Event | None = None,
) -> CycleReport:
    """Make the org equal to Metronome and report.

    Failures that a person or time can mend end in the report (outcome Failed or Refused); bugs
    propagate. `stop` is looked at between calls: when set, the run ends with CycleStoppedError.
    """
    started = perf_counter()
    report, stop = new_report(run), stop or threading.Event()
    stopped: BaseException | None = None
    with Stages() as stages:
        cycle = _Cycle(settings, run, source, target, observers, stop, stages, report)
        try:
            await cycle.run()
        except ProductError as error:
            fail(report, error)
            stages.fail(error.reason)
        except (CycleStoppedError, asyncio.CancelledError) as error:
            stopped = error
            fail(report, RetriableError("Stopped", _STOPPED))
            stages.fail("Stopped")
        finally:
            cycle.tell()
            cycle.plan.close()
        report.duration = round(perf_counter() - started, 3)
        report.finished_at = _timestamp(run.now + timedelta(seconds=report.duration))
        stages.begin("report")
        if stopped is None:
            await cycle.records.close(report)
        else:
            await cycle.records.close_at_once(report)
    if stopped is not None:
        raise stopped
    cycle.count_calls()
    return report


def new_report(run: Run) -> CycleReport:
    """The empty report of a run that has just begun."""
    now = _timestamp(run.now)
    return CycleReport(
        id=run.id, trigger=run.trigger, started_at=now, finished_at=now, full=run.full
    )


def fail(report: CycleReport, error: ProductError) -> None:
    """Set outcome, reason and what has to happen next by the kind of error."""
    report.outcome, report.retry = Outcome.FAILED, Retry.AFTER_CHANGE
    report.reason, report.message = error.reason, error.message
    if isinstance(error, UnsafePlanError):
        report.outcome = Outcome.REFUSED
    elif isinstance(error, RetriableError):
        report.retry, report.retry_after = Retry.LATER, error.after


class _Cycle(Steps):
    """The steps of one run and what they share."""

    def __init__(
        self,
        settings: CycleSettings,
        run: Run,
        source: Source,
        target: Target,
        observers: Observers,
        stop: threading.Event,
        stages: Stages,
        report: CycleReport,
    ) -> None:
        super().__init__(stop, stages)
        self.settings = settings
        self.run_ = run
        self.source = source
        self.target = target
        self.observers = observers
        self.report = report
        self.plan = Plan()
        self.mappings = [mapping for mapping in OBJECTS if mapping.name in settings.objects]
        # Rows of objects that are not synced (any more) follow their customer all the same.
        self.followers = [one for one in OBJECTS if one.placed and one not in self.mappings]
        self.write_back = WriteBack(source, self.check_stop)
        self.records = RunRecords(self, target, sync=settings.sync, keep=settings.history_limit)
        self.applied = False
        self.decided: Decided | None = None
        self.customers: dict[str, CustomerInfo] = {}
        self.decisions: dict[str, Decision] = {}
        self.moved_by_others: set[str] = set()

    async def run(self) -> None:
        state = await self._preflight()
        scope = await self._observe_and_desire()
        self._stage("compare")
        self.plan.compare(
            [*self.mappings, *self.followers, ACCOUNT_SUMMARY],
            heal_edits=self.settings.heal_edits,
            prune=self.settings.prune,
        )
        try:
            self._guard(state)
        except ProductError:
            # To be looked at all the more. What would go was not asked for once more: the guard
            # did not count on that either.
            self._show_plan()
            raise
        await self._confirm_deletes(scope)
        if self.run_.dry_run:
            self._judge_links()
            self._show_plan()
            self.report.outcome, self.report.reason = Outcome.PLANNED, "Planned"
            self.report.message = "Dry run: this is what would change; nothing was written."
            return
        self.applied = True
        await self._apply()
        self._judge_links()
        self._conclude()
        if self.write_back.error is not None and self.write_back.waiting:
            raise self.write_back.error

    def _guard(self, state: OrgState) -> None:
        ensure_safe(
            Changes(
                counts=self.plan.counts(),
                in_scope=self.plan.in_scope(),
                known_customers=self.plan.link_states().keys(),
            ),
            limits=self.settings.limits,
            customers=self.customers.keys(),
            state=replace(state, quota=self.target.quota),
            chunk_size=self.target.chunk_size,
        )

    def _show_plan(self) -> None:
        if self.run_.dry_run and self.observers.plan is not None:
            self.observers.plan(self.plan)

    # -- 1 preflight ---------------------------------------------------------------------------

    async def _preflight(self) -> OrgState:
        self._stage("preflight")
        state = await self.blocking(self.target.open)
        ensure_budget(state.quota, self.settings.limits, calls=1)
        lacking = await self._lacking(state)
        package = await self._prepare(lacking)
        if lacking is not None and package.changed:
            lacking = await self._lacking(state)
        # An org with all the objects has room for the record of a run that may not go on, too.
        if not self.run_.dry_run and (lacking is None or lacking.reason != "PackageMissing"):
            await self.records.open(self.report)
        if lacking is not None:
            # What the package lacks, or the user of it, is why.
            why = package if package.lacking else lacking
            raise ConfigError(why.reason, why.message)
        return state

    async def _lacking(self, state: OrgState) -> ConfigError | None:
        """What of the org the user does not see or may not do, if anything."""
        try:
            await self.blocking(
                partial(self.target.check, [*self.mappings, ACCOUNT_SUMMARY], state)
            )
        except ConfigError as error:
            return error
        return None

    async def _prepare(self, lacking: ConfigError | None) -> PackageState:
        """See which package the org has, and install it where that is wanted."""

        def progress(status: str, done: int, total: int) -> None:
            self.check_stop()
            self.observers.progress(f"install package ({status})", done, total)

        state = await self.blocking(
            lambda: self.target.prepare(
                self.settings.install_package,
                lacking,
                progress,
                dry_run=self.run_.dry_run,
                refusal=self.run_.refusal,
            )
        )
        self.report.package = state
        if state.changed:
            self.report.events.append(("PackageInstalled", state.message))
        return state

    # -- 2 observe, 3 desire -------------------------------------------------------------------

    async def _observe_and_desire(self) -> Scope:
        await self._observe([CUSTOMER], Scope(content=self._with_content))
        self._stage("customers")
        known = self.plan.link_states().keys()
        self.customers = {info.id: info for info in await self.source.customers(known)}
        await self._decide()
        scope = self._scope(await self.blocking(partial(self.target.horizon, self._lookback)))
        await self._observe([one for one in self.mappings if one is not CUSTOMER], scope)
        await self._observe_relinked()
        self._stage("fetch")
        linked = {id_ for id_, one in self.decisions.items() if one.account is not None}
        async for batch in self.source.fetch(scope, self.settings.objects, linked):
            self.check_stop()
            self.plan.add_desired(batch)
        self._desire_accounts()
        self.report.spend = spending.totals(
            (spending.ORPHANED if one.account is None else spending.LINKED, spend)
            for id_, one in self.decisions.items()
            if (spend := self.source.current_spend(id_))
        )
        return scope

    @property
    def _with_content(self) -> bool:
        return self.run_.full or self.run_.details

    def _scope(self, horizon: Horizon) -> Scope:
        """The reach of this cycle: see the README, "What a daily cycle looks at"."""
        run, settings, lookback = self.run_, self.settings, self._lookback
        usage_from = min(lookback, run.rejected_since.get("usage", lookback))
        if self._everything:
            usage_from = min(usage_from, horizon.oldest_usage or usage_from)
        if settings.window_size == "None":
            # One sum for the whole look-back: its start must not depend on earlier cycles.
            usage_from = _day(run.now - settings.usage_lookback)
        if self._everything:
            return Scope(settings.invoices_since, usage_from, self._with_content, full=True)
        # The draft of a customer who is gone or archived will never be anything else.
        waiting = [
            start
            for customer, start in horizon.old_drafts
            if customer in self.customers and not self.customers[customer].archived
        ]
        invoices_from = min([lookback, *waiting, run.rejected_since.get("invoices", lookback)])
        if settings.invoices_since is not None:
            invoices_from = max(invoices_from, settings.invoices_since)
        return Scope(invoices_from, usage_from, self._with_content)

    @property
    def _lookback(self) -> date:
        """The first day a daily cycle looks at: the look-back before the last success."""
        newest = min(self.run_.now, self.run_.last_success or self.run_.now)
        return _day(newest - self.settings.usage_lookback)

    @property
    def _everything(self) -> bool:
        """A full resync, or a first cycle, which has no earlier one to build on."""
        return self.run_.full or self.run_.last_success is None

    async def _observe(self, mappings: Sequence[ObjectMapping], scope: Scope) -> None:
        for mapping in mappings:
            seen, edited = 0, False
            self._stage(f"observe {mapping.name}")
            async for page in self.pages(self.target.read(mapping, scope)):
                self.plan.add_actual(page)
                seen += len(page)
                edited = edited or any(row.edited for row in page)
                self.observers.progress(f"observe {mapping.name}", seen, None)
            if edited and not scope.content and self.settings.heal_edits:
                # Touched is not changed: the fingerprint says what we wrote, not what is there.
                touched = replace(scope, content=True, edited=True)
                async for page in self.pages(self.target.read(mapping, touched)):
                    self.plan.add_actual(page, again=True)

    async def _decide(self) -> None:
        """Apply the link rules to every customer that Metronome knows."""
        states, links = self.plan.link_states(), self.run_.links
        wanted = named_accounts(self.customers, states, links or ())
        existing: set[str] = set()
        async for page in self.pages(self.target.accounts(sorted(wanted))):
            self.plan.add_actual(page)
            existing.update(row.key for row in page)
        self.decided = decide_all(
            self.customers,
            states,
            links,
            await self._accounts(wanted, existing, links or ()),
            retained=self.run_.retained,
            write_back=self.settings.write_back,
        )
        self.decisions = self.decided.decisions
        self.report.events.extend(facts(self.decided, states))
        self.plan.place((id_, one.account, one.source) for id_, one in self.decisions.items())
        self._take_relinked()

    async def _accounts(
        self, wanted: Collection[str], existing: Collection[str], links: Sequence[LinkRequest]
    ) -> Accounts:
        """What is known of the Accounts that are named: most were just read, some were merged."""
        missing = sorted(set(wanted) - set(existing))
        external_ids = sorted({one.external_id for one in links if one.external_id is not None})
        found = Accounts()
        if missing or external_ids:
            found = await self.blocking(partial(self.target.find_accounts, missing, external_ids))
            others = sorted(set(found.names) - set(existing))
            if others:
                async for page in self.pages(self.target.accounts(others, linked=False)):
                    self.plan.add_actual(page)
        return replace(found, names={**dict.fromkeys(existing), **found.names})

    def _judge_links(self) -> None:
        """Say what became of each CustomerLink, now that all is written that can be."""
        if self.decided is not None:
            self.report.links = {
                one.name: one
                for one in verdicts(
                    self.decided,
                    self.customers,
                    self.plan.stuck(),
                    written=not self.run_.dry_run,
                )
            }

    def _take_relinked(self) -> None:
        """Follow whoever moves customers while this cycle runs; their newer word counts."""
        places = self.observers.relinked()
        known = {id_: place for id_, place in places.items() if id_ in self.decisions}
        if not known:
            return
        self.moved_by_others |= known.keys()
        self.plan.relinked(known)
        self.plan.place((id_, *place) for id_, place in known.items())
        for id_, (account, source) in known.items():
            self.decisions[id_] = Decision(account, None if source is None else LinkSource(source))

    async def _observe_relinked(self) -> None:
        """Find all rows, of every age, of customers that belong elsewhere than before."""
        states, half_moved = self.plan.link_states(), self.plan.half_moved()
        # A record that vanished from the org took the lookups of its rows with it; on the very
        # first cycle there are no rows to look for.
        relinked = [
            id_
            for id_, decision in self.decisions.items()
            if (
                states[id_].linked != decision.account or id_ in half_moved
                if id_ in states
                else bool(states)
            )
        ]
        if relinked:
            for mapping in [*self.mappings, *self.followers]:
                if mapping.placed:
                    self._stage(f"move {mapping.name}")
                    async for page in self.pages(self.target.read_of_customers(mapping, relinked)):
                        self.plan.add_actual(page, in_scope=False)
        for mapping in self.mappings:
            if mapping.placed and states:
                async for page in self.pages(self.target.read_unplaced(mapping)):
                    self.plan.add_actual(page, in_scope=False)

    def _desire_accounts(self) -> None:
        """What the summary fields of Accounts should say; Accounts without customers: nothing."""
        of_account: dict[str, list[str]] = {}
        for id_ in sorted(self.customers):
            account = self.decisions[id_].account
            if account is not None:
                of_account.setdefault(account, []).append(id_)
        # Customers that Metronome knows no more leave their rows to the Account, and so their sums.
        states = self.plan.link_states()
        left_behind = {states[id_].linked for id_ in states.keys() - self.customers.keys()}
        rows: list[Row] = []
        for key in self.plan.account_keys():
            members = of_account.get(key, [])
            if key in left_behind and not (members and self.source.knows_all_customers):
                continue
            summary = self.source.account_summary(members) if members else Summary()
            if summary is not None:
                rows.append(
                    to_row(
                        ACCOUNT_SUMMARY,
                        {"customer_id": members[0] if members else None, "summary": summary},
                        key=key,
                        customer_id=None,
                        owner=None,
                        on_cut=lambda _object, _field: None,
                    )
                )
        self.plan.add_desired(Batch(rows))

    async def _confirm_deletes(self, scope: Scope) -> None:
        """Ask once more for what is to be deleted: a list that moved may have hidden it."""
        for mapping in self.mappings:
            doomed = self.plan.doomed(mapping)
            if doomed:
                self._stage(f"confirm {mapping.name}")
                gone = await self.source.confirm_gone(mapping.name, doomed, scope)
                self.plan.spare(mapping, [key for key, _ in doomed if key not in gone])

    # -- 6 apply -------------------------------------------------------------------------------

    async def _apply(self) -> None:
        total = sum(sum(operations.values()) for operations in self.plan.counts().values())
        done = 0
        size = self.target.chunk_size

        async def send(
            mapping: ObjectMapping,
            chunks: Iterator[list[Write]],
            call: Callable[[ObjectMapping, Sequence[Write]], list[RowResult]],
        ) -> None:
            nonlocal done
            for chunk in chunks:
                self.stages.begin(f"write {mapping.name}")
                self.plan.record(await self.blocking(partial(call, mapping, chunk)))
                done += len(chunk)
                self.observers.progress(f"write {mapping.name}", done, total)

        for marks in self._following(self.plan.marks(size)):
            self.stages.begin(f"write {CUSTOMER.name}")
            self.plan.record_marks(await self.blocking(partial(self.target.write, CUSTOMER, marks)))
        for mapping in [*self.mappings, *self.followers]:
            upserts = self._following(self.plan.upserts(mapping, size))
            chunks = (stamped(mapping, chunk, self.run_.now) for chunk in upserts)
            await send(mapping, chunks, self.target.write)
        for mapping in reversed(self.mappings):
            await send(mapping, self.plan.deletes(mapping, size), self.target.delete)
        if self.settings.write_back:
            self.stages.begin("write back")
            await self.write_back.clear(self._ours(), self.decisions, self._applied())
        # Last, because it says that all rows have moved: a crash before leaves the link pending.
        for links in self._following(self.plan.links(size, without=self.write_back.waiting)):
            self.stages.begin(f"write {CUSTOMER.name}")
            writes = stamped(CUSTOMER, links, self.run_.now)
            results = await self.blocking(partial(self.target.write, CUSTOMER, writes))
            self.plan.record_links(results)
        if self.settings.write_back:
            self.stages.begin("write back")
            waiting = self.write_back.waiting
            await self.write_back.store(self._ours(), self.decisions, without=waiting)
            self.report.write_back = self.write_back.problem
        for contested in self.plan.contested_account_ids(size):
            self.stages.begin(f"write {ACCOUNT_SUMMARY.name}")
            self._record_failures(
                await self.blocking(partial(self.target.write, ACCOUNT_SUMMARY, contested))
            )
        summaries = (
            stamped(ACCOUNT_SUMMARY, c, self.run_.now)
            for c in self.plan.upserts(ACCOUNT_SUMMARY, size)
        )
        await send(ACCOUNT_SUMMARY, summaries, self.target.write)

    def _ours(self) -> dict[str, CustomerInfo]:
        """The customers whose rows are where they belong, and whom nobody else moves meanwhile."""
        self._take_relinked()
        others = self.moved_by_others | self.plan.stuck().keys()
        return {id_: one for id_, one in self.customers.items() if id_ not in others}

    def _applied(self) -> dict[str, str | None]:
        """The Account that each record shows so far."""
        return {id_: one.linked for id_, one in self.plan.link_states().items()}

    def _following(self, chunks: Iterator[list[Write]]) -> Iterator[list[Write]]:
        """The chunks, each made when it is sent, with the newest word of where customers belong."""
        while True:
            self._take_relinked()
            chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk

    def _record_failures(self, results: Iterable[RowResult]) -> None:
        self.plan.record([result for result in results if result.error is not None])

    # -- 7 report ------------------------------------------------------------------------------

    def _conclude(self) -> None:
        codes = self.plan.rejected_codes()
        if not codes:
            self.report.outcome, self.report.reason = Outcome.SUCCEEDED, "Succeeded"
            left_out = sum(self.source.notes.malformed.values())
            self.report.message = "Salesforce equals Metronome" + (
                f", but for {left_out} items that could not be read; the log says which."
                if left_out
                else "."
            )
            return
        self.report.outcome, self.report.reason = Outcome.PARTIALLY_FAILED, "RowsRejected"
        listed = ", ".join(f"{code} ({count})" for code, count in sorted(codes.items()))
        self.report.message = (
            f"Salesforce refused {sum(codes.values())} rows: {listed}. Each cycle tries them "
            "again; status.lastRun.rejected names the first of them."
        )

    def tell(self) -> None:
        """Fill the counts of the report, whatever happened."""
        report, source = self.report, self.source
        if self.applied:
            report.rows = self.plan.outcome(planned=False)
        elif report.outcome in {Outcome.PLANNED, Outcome.REFUSED}:
            report.rows = self.plan.outcome(planned=True)
        report.rejected = self.plan.rejected()
        report.rejected_codes = self.plan.rejected_codes()
        report.rejected_operations = self.plan.rejected_operations()
        report.rejected_since = self.plan.rejected_since()
        self.count_calls()
        if self.decided is not None:  # else the run ended before the customers were known
            linked = sum(1 for one in self.decisions.values() if one.account is not None)
            report.customers = {
                "total": len(self.customers),
                "linked": linked,
                "orphaned": len(self.customers) - linked,
                "archived": sum(1 for info in self.customers.values() if info.archived),
            }
        notes = source.notes
        for what, count in notes.cut.items():
            logger.info("%d values of %s were cut to fit the field", count, what)
        report.notes = {
            name: counts
            for name, counts in (
                ("cut", notes.cut),
                ("malformed", notes.malformed),
                ("duplicates", notes.duplicates),
                ("customersGone", {"total": notes.customers_gone} if notes.customers_gone else {}),
            )
            if counts
        }
        gone = len(self.plan.link_states().keys() - self.customers.keys()) if self.customers else 0
        if gone:
            report.events.append(
                (
                    "CustomersGone",
                    f"Metronome no longer knows {gone} customers of this org; their rows stay.",
                )
            )

    def count_calls(self) -> None:
        """Fill in what the run has cost so far."""
        report, source, target = self.report, self.source, self.target
        report.api_requests = {"metronome": source.requests, "salesforce": target.requests}
        report.api_calls = [*source.api_calls, *target.api_calls]
        if target.quota is not None:
            report.quota = {"used": target.quota.used, "maximum": target.quota.maximum}

    # -- plumbing ------------------------------------------------------------------------------

    def _stage(self, stage: str) -> None:
        self.check_stop()
        self.stages.begin(stage)
        self.observers.progress(stage, 0, None)


def _day(moment: datetime) -> date:
    return moment.astimezone(UTC).date()


def _timestamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
