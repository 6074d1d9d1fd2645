"""Move customers at once: what a CustomerLink, its deletion or a person's change asks for.

No second sync engine: the link rules decide (`linking`), the plan finds what hangs elsewhere
(`planning`), the target writes it. A run knows a few customers out of many and reads nothing of
Metronome but who they are. All links of a batch share its queries and its writes of 200 rows; each
customer's record, which says that all has moved, comes last, and is marked before the first row
moves. So a crash at any point leaves the record behind, and the next run goes on.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial

from metronome_salesforce.cycle import CycleSettings
from metronome_salesforce.errors import ProductError, RetriableError
from metronome_salesforce.guards import ensure_budget
from metronome_salesforce.linking import (
    Accounts,
    CustomerFacts,
    Decision,
    Followed,
    LinkReason,
    LinkRequest,
    LinkSource,
    LinkState,
    LinkVerdict,
    Problem,
    decide,
    follow,
    judge,
    noticed,
    of_alias,
    rejected,
)
from metronome_salesforce.mapping import ObjectMapping, to_row
from metronome_salesforce.objects import ACCOUNT_SUMMARY, CUSTOMER, OBJECTS
from metronome_salesforce.planning import Place, Plan
from metronome_salesforce.ports import Batch, CustomerInfo, Source, Summary, Target
from metronome_salesforce.report import Outcome, Retry
from metronome_salesforce.rows import ActualRow, Row, Write
from metronome_salesforce.stepping import Steps, stamped
from metronome_salesforce.tracing import Stages
from metronome_salesforce.writeback import WriteBack

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LinkJob:
    """What one run has to look at.

    `links` are all CustomerLinks of the MetronomeSync that are not being deleted, `dirty` the names
    of those to look at. `customers` are looked at too, as after a deletion; of these, `retained`
    keep the Account that a deleted link leaves behind, and of `swept` every row is looked at
    although their link has been applied.
    `watch`: look for records whose Account a person changed; `seen` are the (customer, Account)
    pairs of such changes that were counted before.
    """

    now: datetime
    links: Sequence[LinkRequest] = ()
    dirty: frozenset[str] = frozenset()
    customers: frozenset[str] = frozenset()
    retained: frozenset[str] = frozenset()
    swept: frozenset[str] = frozenset()
    watch: bool = False
    seen: frozenset[tuple[str, str | None]] = frozenset()
    write_back: bool = False


@dataclass(slots=True)
class LinkReport:
    """What a run found and did.

    `verdicts` is by the link's name; a link of the job that is missing there could not be judged
    now, or its record has to wait. `places` has the customers that were looked at and where they
    belong; `unsettled` those of them that have rows elsewhere still, or whose record waits;
    `undecided` are those about whom Metronome could not be asked. `noticed` are the people's
    changes that were found. `events` are (reason, sentence) pairs about the MetronomeSync.
    `write_back` says why Account ids could not be stored in Metronome. `moved` counts rows by
    object.
    """

    outcome: Outcome = Outcome.SUCCEEDED
    reason: str = "Succeeded"
    message: str = ""
    retry: Retry = Retry.NO
    retry_after: float | None = None
    verdicts: dict[str, LinkVerdict] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    unsettled: set[str] = field(default_factory=set)
    undecided: set[str] = field(default_factory=set)
    noticed: set[tuple[str, str | None]] = field(default_factory=set)
    overruled: set[str] = field(default_factory=set)
    moved: dict[str, int] = field(default_factory=dict)
    events: list[tuple[str, str]] = field(default_factory=list)
    write_back: tuple[str, str] | None = None
    api_requests: dict[str, int] = field(default_factory=dict)
    api_calls: list[tuple[str, str, str, int]] = field(default_factory=list)

    def trace_attributes(self) -> dict[str, str | int | bool]:
        """What a trace tells of the run: how it ended and how much of what, no content."""
        return {
            "outcome": self.outcome.value,
            "reason": self.reason,
            "customers.total": len(self.places),
            **{f"rows.{name}.moved": count for name, count in self.moved.items()},
        }

    def fail(self, error: ProductError) -> None:
        """Set outcome, reason and what has to happen next by the kind of error."""
        self.outcome, self.retry = Outcome.FAILED, Retry.AFTER_CHANGE
        self.reason, self.message = error.reason, error.message
        if isinstance(error, RetriableError):
            self.retry, self.retry_after = Retry.LATER, error.after


def failed_links(error: ProductError) -> LinkReport:
    """The report of a run that could not even start."""
    report = LinkReport()
    report.fail(error)
    return report


async def run_links(
    settings: CycleSettings,
    job: LinkJob,
    source: Source,
    target: Target,
    *,
    moving: Callable[[Mapping[str, Place]], None] = lambda _places: None,
    resolved: Callable[[Mapping[str, str]], None] = lambda _customers: None,
    stop: threading.Event | None = None,
) -> LinkReport:
    """Bring the customers of a job where they belong, with all their rows.

    `moving` is told, before the first row is read, where customers are being moved: a cycle that
    runs meanwhile must follow. `resolved` is told before that which customers the ingest aliases of
    links stand for that did not know it, by the links' names: should the run be cut short, nobody
    else could tell whose rows it moved. It may raise ProductError, and nothing is moved. Failures
    that a person or time can mend end in the report; `stop` ends the run with CycleStoppedError.
    """
    report, stop = LinkReport(), stop or threading.Event()
    with Stages() as stages:
        run = _LinkRun(settings, job, source, target, moving, resolved, stop, stages, report)
        try:
            await run.run()
        except ProductError as error:
            report.fail(error)
            stages.fail(error.reason)
        finally:
            run.plan.close()
    report.api_requests = {"metronome": source.requests, "salesforce": target.requests}
    report.api_calls = [*source.api_calls, *target.api_calls]
    return report


class _LinkRun(Steps):
    """The steps of one run and what they share."""

    def __init__(
        self,
        settings: CycleSettings,
        job: LinkJob,
        source: Source,
        target: Target,
        moving: Callable[[Mapping[str, Place]], None],
        resolved: Callable[[Mapping[str, str]], None],
        stop: threading.Event,
        stages: Stages,
        report: LinkReport,
    ) -> None:
        super().__init__(stop, stages)
        self.settings = settings
        self.job = job
        self.source = source
        self.target = target
        self.moving = moving
        self.resolved = resolved
        self.report = report
        self.plan = Plan()
        # Also of objects that are not synced (any more): all rows of a customer move.
        self.placed = [one for one in OBJECTS if one.placed]
        self.records: dict[str, ActualRow] = {}
        self.infos: dict[str, CustomerInfo] = {}
        self.unasked: ProductError | None = None
        self.accounts = Accounts()
        self.followed = Followed()
        self.decisions: dict[str, Decision] = {}
        self.write_back = WriteBack(source, self.check_stop)

    async def run(self) -> None:
        self.stages.begin("customers")
        requests, problems = await self._requests()
        dirty = [one for one in requests if one.name in self.job.dirty]
        customers = {one.customer_id for one in dirty if one.customer_id is not None}
        customers |= self.job.customers
        if self.job.watch:
            customers |= set(await self.blocking(self.target.pending_links))
        if not customers and not dirty:
            return
        # Others that want the same customers count as well: the oldest wins.
        concerned = [one for one in requests if one.customer_id in customers or one in dirty]
        self.stages.begin(f"observe {CUSTOMER.name}")
        await self._read_records(customers)
        self.stages.begin("customers")
        await self._ask_metronome(customers, concerned)
        await self._find_accounts(customers, concerned)
        self._follow(customers, concerned, problems)
        if self.followed.held - self.infos.keys():
            # Their link decides nothing, so Metronome may.
            await self._ask_metronome(self.followed.held & customers, ())
            await self._find_accounts(customers, concerned)
            self._follow(customers, concerned, problems)
        self._decide(customers)
        self.report.places = {id_: (one.account, one.source) for id_, one in self.decisions.items()}
        relinked = [id_ for id_ in self.decisions if self._is_relinked(id_)]
        moving = {*relinked, *(self.job.swept & self.decisions.keys())}
        if moving:
            if found := self._found_out(concerned, moving):
                self.resolved(found)
            self.moving({id_: self.report.places[id_] for id_ in moving})
            await self._move(sorted(moving))
        waiting = await self._clear_ids()
        if moving:
            await self._show_links(waiting)
        await self._store_ids()
        await self._sum_up(relinked)
        self._judge(concerned)
        if self.unasked is not None:
            self.report.fail(self.unasked)

    # -- who and where -------------------------------------------------------------------------

    async def _requests(self) -> tuple[list[LinkRequest], dict[str, Problem]]:
        """The links with their customers' ids, where an alias of a dirty one names just one."""
        unresolved = {
            one.ingest_alias
            for one in self.job.links
            if one.ingest_alias is not None
            and (one.name in self.job.dirty or one.customer_id is None)
        }
        problems: dict[str, Problem] = {}
        if not unresolved:
            return list(self.job.links), problems
        found: dict[str, list[CustomerInfo]] = {}
        try:
            for info in await self.source.find_customers([], sorted(unresolved)):
                self.infos[info.id] = info
                for held in info.ingest_aliases:
                    found.setdefault(held, []).append(info)
        except ProductError as error:
            self.unasked = error
        requests: list[LinkRequest] = []
        for one in self.job.links:
            alias = one.ingest_alias
            if alias is None or alias not in unresolved or self.unasked is not None:
                requests.append(one)
                continue
            holders = [(info.id, info.archived) for info in found.get(alias, ())]
            request, problem = of_alias(one, holders)
            requests.append(request)
            if problem is not None:
                problems[one.name] = problem
        return requests, problems

    async def _read_records(self, customers: Collection[str]) -> None:
        pages = self.target.read_of_customers(CUSTOMER, sorted(customers), content=True)
        async for page in self.pages(pages):
            self.records.update((row.key, row) for row in page)

    async def _ask_metronome(
        self, customers: Collection[str], concerned: Sequence[LinkRequest]
    ) -> None:
        """Look customers up in Metronome where the org does not tell enough.

        That is who is new, and whom no CustomerLink holds: Metronome's own id decides next.
        """
        linked = {one.customer_id for one in concerned}
        asked = {
            id_
            for id_ in customers
            if self.job.write_back or id_ not in self.records or id_ not in linked
        }
        asked -= self.infos.keys()
        if not asked or self.unasked is not None:
            return
        try:
            for info in await self.source.find_customers(sorted(asked)):
                self.infos[info.id] = info
        except ProductError as error:
            self.unasked = error

    async def _find_accounts(
        self, customers: Collection[str], concerned: Sequence[LinkRequest]
    ) -> None:
        states = [self._state(id_) for id_ in customers]
        ids = {one.account_id for one in concerned} | {
            id_ for state in states if state is not None for id_ in (state.account, state.linked)
        }
        ids |= {self.infos[id_].account_id for id_ in customers if id_ in self.infos}
        self.accounts = await self.blocking(
            partial(
                self.target.find_accounts,
                sorted(id_ for id_ in ids if id_ is not None),
                sorted({one.external_id for one in concerned if one.external_id is not None}),
            )
        )

    def _follow(
        self,
        customers: Collection[str],
        concerned: Sequence[LinkRequest],
        problems: Mapping[str, Problem],
    ) -> None:
        states = {id_: state for id_ in customers if (state := self._state(id_)) is not None}
        known = {
            id_: CustomerFacts(_full_name(row), archived=bool((row.content or {}).get(_ARCHIVED)))
            for id_, row in self.records.items()
        } | {info.id: CustomerFacts(info.name, info.archived) for info in self.infos.values()}
        judged = [
            one
            for one in concerned
            # Nobody can say that Metronome does not know them while it does not answer.
            if self.unasked is None or one.customer_id in known
        ]
        self.followed = follow(judged, self.accounts, known, states, problems)

    def _decide(self, customers: Collection[str]) -> None:
        for id_ in sorted(customers):
            state = self._state(id_)
            if state is None:
                continue
            link = self.followed.accounts.get(id_)
            info = self.infos.get(id_)
            if link is None and info is None and self.unasked is not None:
                self.report.undecided.add(id_)  # Metronome may say otherwise
                continue
            metronome = None if info is None else info.account_id
            if link is None and info is None and state.source == LinkSource.METRONOME:
                metronome = state.linked  # it knows the customer no more; what it said stays
            self.decisions[id_] = decide(
                record=state,
                metronome=metronome,
                resolve=self.accounts.resolve,
                link=link,
                held=id_ in self.followed.held,
                retained=id_ in self.job.retained,
                write_back=self.job.write_back,
            )
            self._tell(id_, state)
        self.plan.place((id_, one.account, one.source) for id_, one in self.decisions.items())

    def _tell(self, id_: str, state: LinkState) -> None:
        """Note what people did in the org, for metrics and Events."""
        found = noticed(id_, state, self.decisions[id_], self.accounts.resolve)
        if found is None:
            return
        change = (id_, state.account)
        if found.by_person:
            self.report.noticed.add(change)
        if found.overruled:
            self.report.overruled.add(id_)
        if found.sentence and not (found.by_person and change in self.job.seen):
            self.report.events.append((found.reason, found.sentence))

    def _is_relinked(self, id_: str) -> bool:
        row, decision = self.records[id_], self.decisions[id_]
        return row.relinking or (row.account, row.linked, row.link_source) != (
            decision.account,
            decision.account,
            decision.source,
        )

    def _found_out(
        self, concerned: Sequence[LinkRequest], moving: Collection[str]
    ) -> dict[str, str]:
        """The customers of `moving` that this run has found by ingest alias, by the link's name."""
        known = {one.name: one.customer_id for one in self.job.links}
        return {
            one.name: id_
            for one in concerned
            if (id_ := one.customer_id) is not None and id_ in moving and id_ != known[one.name]
        }

    # -- moving --------------------------------------------------------------------------------

    async def _move(self, customers: Sequence[str]) -> None:
        ensure_budget(self.target.quota, self.settings.limits, calls=1)
        for mapping in self.placed:
            self.stages.begin(f"move {mapping.name}")
            pages = self.target.read_of_customers(mapping, customers)
            async for page in self.pages(pages):
                self.plan.add_actual(page, in_scope=False)
        self.plan.add_actual((self.records[id_] for id_ in customers), in_scope=False)
        self.stages.begin("compare")
        self.plan.compare([*self.placed, CUSTOMER], heal_edits=False, prune=False)
        size = self.target.chunk_size
        calls = sum(
            -(-count // size) for one in self.plan.counts().values() for count in one.values()
        )
        ensure_budget(self.target.quota, self.settings.limits, calls=calls)
        for marks in self.plan.marks(size):
            self.stages.begin(f"write {CUSTOMER.name}")
            results = await self.blocking(partial(self.target.write, CUSTOMER, marks))
            self.plan.record_marks(results)
        for mapping in self.placed:
            await self._send(mapping, self.plan.upserts(mapping, size))

    async def _show_links(self, waiting: Collection[str]) -> None:
        """Write the records of customers all of whose rows have moved, but of those `waiting`."""
        for links in self.plan.links(self.target.chunk_size, without=waiting):
            self.stages.begin(f"write {CUSTOMER.name}")
            writes = stamped(CUSTOMER, links, self.job.now)
            write = partial(self.target.write, CUSTOMER, writes)
            self.plan.record_links(await self.blocking(write))
        self.report.unsettled = {*self.plan.stuck(), *waiting}
        for counts in self.plan.moved().values():
            for name, count in counts.items():
                self.report.moved[name] = self.report.moved.get(name, 0) + count
        if codes := self.plan.rejected_codes():
            listed = ", ".join(f"{code} ({count})" for code, count in sorted(codes.items()))
            self.report.outcome, self.report.reason = Outcome.PARTIALLY_FAILED, "RowsRejected"
            self.report.message = (
                f"Salesforce refused to move {sum(codes.values())} rows: {listed}."
            )
            self.report.retry = Retry.LATER

    async def _send(self, mapping: ObjectMapping, chunks: Iterator[list[Write]]) -> None:
        for chunk in chunks:
            self.stages.begin(f"write {mapping.name}")
            writes = stamped(mapping, chunk, self.job.now)
            self.plan.record(await self.blocking(partial(self.target.write, mapping, writes)))

    # -- what follows from it ------------------------------------------------------------------

    async def _sum_up(self, relinked: Collection[str]) -> None:
        """Show spend and balance on Accounts that gained or lost their one customer.

        Where several customers share an Account their sums need more than the records hold: they
        are left to the next cycle.
        """
        settled = [id_ for id_ in relinked if id_ not in self.report.unsettled]
        affected = {self.decisions[id_].account for id_ in settled}
        affected |= {self.accounts.resolve(self.records[id_].linked) for id_ in settled}
        wanted = sorted(id_ for id_ in affected if id_ is not None)
        if not wanted:
            return
        self.stages.begin(f"write {ACCOUNT_SUMMARY.name}")
        members: dict[str, list[ActualRow]] = {}
        async for page in self.pages(self.target.members(wanted)):
            for row in page:
                members.setdefault(row.account or "", []).append(row)
        summaries = [
            (id_, of_account[0] if of_account else None)
            for id_ in wanted
            if len(of_account := members.get(id_, [])) <= 1
        ]
        plan = Plan()
        try:
            keys = [id_ for id_, _ in summaries]
            async for page in self.pages(self.target.accounts(keys, linked=False)):
                plan.add_actual(page)
            plan.add_desired(Batch([_account_row(id_, member) for id_, member in summaries]))
            plan.compare([ACCOUNT_SUMMARY], heal_edits=False, prune=False)
            size = self.target.chunk_size
            for contested in plan.contested_account_ids(size):
                await self.blocking(partial(self.target.write, ACCOUNT_SUMMARY, contested))
            for chunk in plan.upserts(ACCOUNT_SUMMARY, size):
                writes = stamped(ACCOUNT_SUMMARY, chunk, self.job.now)
                results = await self.blocking(partial(self.target.write, ACCOUNT_SUMMARY, writes))
                refused = sorted({one.error.code for one in results if one.error is not None})
                if refused:
                    logger.warning("Salesforce refused sums of Accounts: %s", ", ".join(refused))
        finally:
            plan.close()

    async def _clear_ids(self) -> set[str]:
        """Clear former ids in Metronome, where wished; whose records have to wait for it."""
        if not self.job.write_back:
            return set()
        applied = {id_: one.linked for id_, one in self.records.items()}
        stuck = self.plan.stuck()
        infos = {id_: info for id_, info in self.infos.items() if id_ not in stuck}
        self.stages.begin("write back")
        await self.write_back.clear(infos, self.decisions, applied)
        if self.write_back.waiting and self.unasked is None:
            self.unasked = self.write_back.error
        # Of these nobody knows what Metronome keeps, and it may be what we stored.
        unknown = self.decisions.keys() - self.infos.keys() if self.unasked is not None else set()
        return self.write_back.waiting | {id_ for id_ in unknown if applied.get(id_) is not None}

    async def _store_ids(self) -> None:
        """Store the ids in Metronome that the records show now, where wished."""
        if self.job.write_back:
            self.stages.begin("write back")
            unsettled = self.report.unsettled
            await self.write_back.store(self.infos, self.decisions, without=unsettled)
            self.report.write_back = self.write_back.problem

    # -- telling it ----------------------------------------------------------------------------

    def _judge(self, concerned: Sequence[LinkRequest]) -> None:
        moved, stuck = self.plan.moved(), self.plan.stuck()
        for request in concerned:
            id_ = request.customer_id
            verdict = judge(
                request,
                self.followed,
                self.accounts,
                decision=None if id_ is None else self.decisions.get(id_),
                customer_name=None if id_ is None else self._name(id_),
            )
            if verdict is None:
                continue
            waits = id_ in self.report.unsettled and id_ not in stuck
            if waits and verdict.reason is LinkReason.LINKED:
                continue  # for Metronome, of which the report tells
            if id_ is not None and verdict.reason is LinkReason.LINKED:
                verdict = self._judge_rows(verdict, id_, moved.get(id_, {}), stuck.get(id_))
            self.report.verdicts[request.name] = verdict

    def _judge_rows(
        self, verdict: LinkVerdict, id_: str, moved: Mapping[str, int], stuck: str | None
    ) -> LinkVerdict:
        if id_ not in self.records:
            return replace(
                verdict,
                reason=LinkReason.CUSTOMER_NOT_SYNCED,
                message="The customer is new in Metronome; the next cycle brings it to Salesforce,"
                " to this Account.",
            )
        if stuck is not None:
            return replace(rejected(verdict, stuck), moved=moved)
        return replace(verdict, moved=moved)

    def _name(self, id_: str) -> str | None:
        if id_ in self.infos:
            return self.infos[id_].name
        return _full_name(self.records[id_]) if id_ in self.records else None

    def _state(self, id_: str) -> LinkState | None:
        row = self.records.get(id_)
        return None if row is None else LinkState(row.account, row.linked, row.link_source)


_ARCHIVED = "Archived__c"


def _full_name(row: ActualRow) -> str | None:
    name = (row.content or {}).get("Full_Name__c")
    return name if isinstance(name, str) else None


def _account_row(id_: str, member: ActualRow | None) -> Row:
    content = {} if member is None else (member.content or {})

    def number(name: str) -> Decimal | None:
        value = content.get(name)
        return value if isinstance(value, Decimal) else None

    end, unit = content.get("Last_Invoice_End__c"), content.get("Currency__c")
    summary = Summary(
        unit=unit if isinstance(unit, str) else None,
        current_spend=number("Current_Spend__c"),
        last_invoice_total=number("Last_Invoice_Total__c"),
        last_invoice_end=_moment(end) if isinstance(end, str) else None,
        credit_balance=number("Credit_Balance__c"),
    )
    return to_row(
        ACCOUNT_SUMMARY,
        {"customer_id": None if member is None else member.key, "summary": summary},
        key=id_,
        customer_id=None,
        owner=None,
        on_cut=lambda _object, _field: None,
    )


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
