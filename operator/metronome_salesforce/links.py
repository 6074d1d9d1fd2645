"""Serve the CustomerLinks of one MetronomeSync: batch, run, tell.

A task beside that of the cycles. It looks at the links (`linkqueue`), moves the customers of those
that are due in one link run, and writes what became of each into its status (`linkstatus`). Besides
links it looks at customers: whom a person moved in Salesforce, whose link was deleted, who was
moved while a cycle ran. Nothing but retries is remembered here: a restarted operator finds what is
left to do in the resources and in the org.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Protocol

from metronome_salesforce import conditions, linkstatus
from metronome_salesforce.conditions import Event, Moment
from metronome_salesforce.errors import ConfigError, RetriableError
from metronome_salesforce.execution.lease import SharedLease
from metronome_salesforce.execution.linkruns import LinkRuns
from metronome_salesforce.kube import KubeError
from metronome_salesforce.linking import LinkReason, LinkVerdict
from metronome_salesforce.linkqueue import (
    Entry,
    LinkSet,
    Look,
    Turn,
    requests_of,
    start_at,
    take_batch,
    take_looks,
)
from metronome_salesforce.linkstatus import Hindrance
from metronome_salesforce.linkwatch import Watch
from metronome_salesforce.linkwriting import LinkWriter
from metronome_salesforce.logs import belonging_to
from metronome_salesforce.metrics import Key
from metronome_salesforce.planning import Place
from metronome_salesforce.references import read_inputs
from metronome_salesforce.relinking import LinkJob, LinkReport, failed_links
from metronome_salesforce.report import CycleReport, Outcome, Retry
from metronome_salesforce.runtime import (
    FIRST_BACK_OFF,
    LONGEST_BACK_OFF,
    GoneError,
    Runtime,
    jitter,
)
from metronome_salesforce.spec import MetronomeSync, parse_sync

logger = logging.getLogger(__name__)

Json = dict[str, Any]

_LONGEST_SLEEP = 60.0
_MERGING_SECONDS = 0.02  # events that come together are looked at together
_LEASE_PATIENCE = 5.0  # seconds of waiting for a Lease before it is worth a word
_TELLING_SECONDS = 0.5


class SyncSide(Protocol):
    """What the links need of their MetronomeSync's own task."""

    key: Key
    lease: SharedLease

    @property
    def body(self) -> Json:
        """The newest body."""

    async def show_links(self, make: Callable[[Json, Moment], Json]) -> None:
        """Patch the status with what `make` makes of the newest; raises GoneError, KubeError."""

    async def tell(self, events: Sequence[Event]) -> None:
        """Post Events about the MetronomeSync."""


@dataclass(slots=True)
class CycleLinks:
    """What a running cycle knows of the links, and is told meanwhile.

    `known` has uid and generation by name; `relinked` passes on where customers are moved;
    `looked_at` are those that have to be looked at again when it is over. `write_back`: it stores
    Account ids in Metronome.
    """

    requests: list[Json]
    retained: list[str]
    known: dict[str, tuple[str, int]]
    relinked: "asyncio.Queue[Mapping[str, Place]]"
    write_back: bool = False
    looked_at: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Batch:
    """What one run looks at; `leaving` are links that go once their customers have moved.

    `known` has uid and generation of all links by name, as the run knows them.
    """

    dirty: list[Entry]
    leaving: list[Entry]
    looks: dict[str, Look]
    known: dict[str, tuple[str, int]]
    cut_short: set[str]

    @property
    def customers(self) -> set[str]:
        """The customers that are known to be looked at."""
        ids = {entry.customer for entry in (*self.dirty, *self.leaving)}
        return {id_ for id_ in ids if id_ is not None} | self.looks.keys()


class LinkWorker:
    """Serves the links of one MetronomeSync; `run` is its task."""

    def __init__(self, side: SyncSide, links: LinkSet, runtime: Runtime) -> None:
        self._side = side
        self._links = links
        self._runtime = runtime
        self._writer = LinkWriter(links, runtime)
        self._runs = LinkRuns(runtime.threads, os.environ)
        self._watch = Watch(side.key, self._runs, runtime)
        self._woken = asyncio.Event()
        self._looks: dict[str, Look] = {}
        self._seen: frozenset[tuple[str, str | None]] = frozenset()
        self._told: frozenset[tuple[str, str]] = frozenset()
        self._cycle: CycleLinks | None = None
        self._moving: dict[str, Place] = {}
        self._contradictions: dict[str, LinkVerdict] = {}
        self._stored: CycleReport | None = None
        self._not_before = 0.0
        self._lease_since: float | None = None
        # What a run that a person has to mend was given, and when to see whether that changed.
        self._broken: tuple[str, ...] | None = None
        self._recheck_at = 0.0
        self._generation: int | None = None

    def wake(self) -> None:
        """Look again: a link or the MetronomeSync has changed."""
        self._woken.set()

    async def run(self) -> None:
        """Serve until the MetronomeSync is gone or the task is cancelled."""
        wait = FIRST_BACK_OFF
        self._links.serve(self.wake)
        with belonging_to(sync="/".join(self._side.key)):
            try:
                while True:
                    try:
                        await self._wait(await self._step())
                        wait = FIRST_BACK_OFF
                    except KubeError as error:
                        logger.warning("the Kubernetes API failed: %s", error)
                        await asyncio.sleep(jitter(wait))
                        wait = min(wait * 2, LONGEST_BACK_OFF)
                    except GoneError:
                        return
                    except Exception:
                        # A bug shows in log and metric, and must not end the service.
                        logger.exception("unexpected error")
                        self._runtime.metrics.failed(self._side.key)
                        await asyncio.sleep(LONGEST_BACK_OFF)
            finally:
                self._links.leave()
                self._runs.drop()

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(seconds, _LONGEST_SLEEP))):
                await self._woken.wait()
                await asyncio.sleep(_MERGING_SECONDS)

    # -- beside a cycle ------------------------------------------------------------------------

    def cycle_starts(self) -> CycleLinks:
        """What a cycle that starts now has to know; from here on it is told of every move."""
        sync, _ = self._sync_now()
        cycle = CycleLinks(
            requests=[asdict(one) for one in requests_of(self._links)],
            retained=sorted(self._retained),
            known=self._known(),
            relinked=asyncio.Queue(),
            write_back=sync is not None and sync.spec.linking.write_back,
        )
        if self._moving:
            cycle.relinked.put_nowait(dict(self._moving))
            cycle.looked_at |= self._moving.keys()
        self._cycle = cycle
        return cycle

    def cycle_ended(self, report: CycleReport | None) -> None:
        """See what a cycle (None: it was cut short) leaves to be done."""
        cycle, self._cycle = self._cycle, None
        if cycle is not None:
            for id_ in cycle.looked_at:
                self._look(id_, swept=True)
            if report is not None and report.outcome not in {Outcome.FAILED, Outcome.PLANNED}:
                self._compare(cycle, report)
            if report is not None and cycle.write_back and _tells_of_storing(report):
                self._stored = report
        # Also when it could not even start: that keeps links waiting.
        self.wake()

    def _compare(self, cycle: CycleLinks, report: CycleReport) -> None:
        """Look again at links of which the cycle says something else than their status."""
        for name, verdict in report.links.items():
            entry = self._links.entries.get(name)
            if entry is None or entry.deleting or cycle.known.get(name) != _identity(entry):
                # It was followed as it was when the cycle started.
                if verdict.customer_id is not None:
                    self._look(verdict.customer_id, swept=True, unlinked=True)
            elif verdict.customer_id in cycle.looked_at:
                continue  # a link run knew better
            elif not linkstatus.agrees(entry.body, verdict):
                entry.turn.again(_now())
            elif verdict.reason is LinkReason.LINKED and report.outcome is Outcome.SUCCEEDED:
                self._contradictions[name] = verdict
        for entry in self._entries():
            # Whatever else it waits for, the cycle may have brought it.
            if entry.turn.due is not None and entry.name not in report.links:
                entry.turn.again(_now())

    async def _tell_cycle(self, places: Mapping[str, Place]) -> None:
        """Let the cycle that runs follow where customers are being moved."""
        self._moving = dict(places)
        if self._cycle is None:
            return
        self._cycle.looked_at |= places.keys()
        self._cycle.relinked.put_nowait(places)
        # It may not have started yet, or be over; what it did is looked at again anyway.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_TELLING_SECONDS):
                await self._cycle.relinked.join()

    # -- one look ------------------------------------------------------------------------------

    async def _step(self) -> float:
        """Do what is due, and say how many seconds there is nothing more to do."""
        self._woken.clear()
        self._show_metrics()
        sync, why = self._sync_now()
        await self._let_go()
        await self._show_contradictions()
        await self._show_stored(sync)
        if sync is None or why is not None:
            await self._hinder(why or linkstatus.SYNC_INVALID)
            self._watch.rest()
            return self._until_let_go()
        self._note_spec(sync)
        await self._recheck(sync)
        start = start_at(self._links, [look.turn for look in self._looks.values()])
        start = None if start is None else max(start, self._not_before)
        if start is not None and start <= _now():
            await self._apply(sync)
            return 0.0
        if self._watch.due(sync) <= _now():
            for id_ in await self._watch.look(sync):
                if id_ not in self._looks:
                    self._look(id_)
            return 0.0
        times = [self._watch.due(sync), start, None if self._broken is None else self._recheck_at]
        return min(at - _now() for at in times if at is not None)

    def _sync_now(self) -> tuple[MetronomeSync | None, Hindrance | None]:
        """The MetronomeSync as it is, and why its links cannot be applied now, if so."""
        try:
            sync = parse_sync(self._side.body)
        except ConfigError:
            return None, linkstatus.SYNC_INVALID
        if sync.spec.suspend:
            return sync, linkstatus.SUSPENDED
        if sync.spec.dry_run:
            return sync, linkstatus.DRY_RUN
        if not self._status.get("lastReachTime"):
            return sync, linkstatus.before_first_cycle(self._status)
        return sync, None

    def _note_spec(self, sync: MetronomeSync) -> None:
        """A changed spec may have mended what failed, and may ask for ids in Metronome."""
        if self._generation == sync.metadata.generation:
            return
        first, self._generation = self._generation is None, sync.metadata.generation
        self._broken = None
        if not first:
            self._try_again()
        for id_ in self._retained:
            self._look(id_)
        stored = conditions.state_of(self._status, conditions.WRITE_BACK)[0] == "True"
        if sync.spec.linking.write_back and not stored:
            for entry in self._entries():
                if entry.customer is not None and not entry.deleting:
                    self._look(entry.customer)

    def _try_again(self) -> None:
        """Try what failed at once."""
        turns = [
            *(one.turn for one in self._entries()),
            *(one.turn for one in self._looks.values()),
        ]
        for turn in turns:
            if turn.due is not None:
                turn.again(_now())
        self._watch.rest()

    async def _recheck(self, sync: MetronomeSync) -> None:
        """See whether somebody has mended the Secrets with which the last run failed."""
        if self._broken is None or _now() < self._recheck_at:
            return
        self._recheck_at = _now() + jitter(self._runtime.recheck_every)
        try:
            _, versions = await read_inputs(self._runtime.kube, self._runtime.rules, sync)
        except ConfigError:
            self._broken = ()
            return
        if versions != self._broken:
            self._broken = None
            self._try_again()

    async def _hinder(self, why: Hindrance, *, now_only: bool = False) -> None:
        """Say at every link that waits why it does, `now_only`: if it is its turn.

        One that waits for something else, as for the end of a conflict, goes on to say so.
        """

        def show(entry: Entry) -> Any:
            reason = _invalid(entry.problem) if entry.problem and not entry.deleting else why
            patch = partial(linkstatus.hindered, why=reason, deleting=entry.deleting)
            return self._writer.show(entry, patch)

        waiting = [one for one in self._entries() if one.turn.due is not None and _waits(one)]
        await self._writer.all(
            show(entry) for entry in waiting if not now_only or _is_due(entry.turn)
        )

    async def _show_contradictions(self) -> None:
        found, self._contradictions = self._contradictions, {}
        entries = [entry for entry in self._entries() if entry.name in found]
        await self._writer.all(
            self._writer.show(entry, partial(linkstatus.contradicted, verdict=found[entry.name]))
            for entry in entries
            if linkstatus.is_ready(entry.body)
        )

    async def _show_stored(self, sync: MetronomeSync | None) -> None:
        """Show whether the last cycle could store Account ids in Metronome, where it has to."""
        report = self._stored
        if sync is None:
            return
        if not sync.spec.linking.write_back:
            self._stored = None
            if conditions.state_of(self._status, conditions.WRITE_BACK)[0]:
                await self._side.show_links(conditions.without_write_back)
        elif report is not None:
            problem = report.write_back
            await self._side.show_links(partial(conditions.write_back, problem=problem))
            if self._stored is report:
                self._stored = None

    # -- links that go -------------------------------------------------------------------------

    async def _let_go(self) -> None:
        """Let go of deleted links that leave nothing to be moved; note whom the others leave."""
        while self._links.gone:
            entry = self._links.gone[-1]
            if entry.customer is not None and entry.retains:
                await self._retain([entry.customer])
                self._look(entry.customer)
            elif entry.customer is not None:
                self._look(entry.customer, unlinked=True, swept=self._cycle is not None)
            self._links.gone.remove(entry)
        going = [one for one in self._entries() if _goes_at_once(one) and _is_due(one.turn)]
        staying = [one for one in going if _has_moved(one)]
        # Noted first: neither a crash nor an outage must orphan them.
        await self._retain(one.customer for one in staying)
        idle = [one for one in going if not _has_moved(one)]
        for entry in idle:
            if entry.customer is not None and self._cycle is not None:
                self._look(entry.customer, unlinked=True, swept=True)
        calls = [self._writer.let_go(one, linkstatus.RETAINED) for one in staying]
        calls += [self._writer.let_go(one, None) for one in idle]
        for entry, gone in zip([*staying, *idle], await self._writer.all(calls), strict=True):
            if not gone:
                entry.turn.later(_now(), passing=True)
            elif entry.customer in self._retained:
                self._look(entry.customer)  # which is retained until it has been looked at now

    async def _retain(self, customers: Iterable[str | None]) -> None:
        """Note whose rows stay on the Account that a deleted link leaves behind."""
        ids = {id_ for id_ in customers if id_ is not None}
        if not ids:
            return

        def make(status: Json, _moment: Moment) -> Json:
            return {"retained": sorted({*status.get("retained", ()), *ids})}

        news = ids - self._retained
        await self._side.show_links(make)
        for id_ in news:
            self._look(id_)

    def _until_let_go(self) -> float:
        """How many seconds there is no link to be let go of; at most the longest sleep."""
        turns = [one.turn for one in self._entries() if _goes_at_once(one)]
        times = [turn.due - _now() for turn in turns if turn.due is not None]
        return min([*times, _LONGEST_SLEEP])

    @property
    def _retained(self) -> set[str]:
        return set(self._status.get("retained") or ())

    # -- one run -------------------------------------------------------------------------------

    async def _apply(self, sync: MetronomeSync) -> None:
        """Look at all that is due, once we hold the Lease; if we do not get it, a little later."""
        holder = await self._side.lease.try_acquire()
        if holder is not None:
            now = _now()
            self._not_before = now + self._runtime.timing.poll
            self._lease_since = self._lease_since or now
            if now - self._lease_since > _LEASE_PATIENCE:
                await self._hinder(linkstatus.waiting_for_lease(holder), now_only=True)
            return
        self._lease_since = None
        try:
            await self._run(sync)
        finally:
            await asyncio.shield(self._side.lease.release())

    async def _run(self, sync: MetronomeSync) -> None:
        batch = await self._take_batch()
        job = self._job(sync, batch)
        report: LinkReport | None
        versions: tuple[str, ...] = ()
        try:
            inputs, versions = await read_inputs(self._runtime.kube, self._runtime.rules, sync)
        except ConfigError as error:
            report = failed_links(error)
        else:
            if self._cycle is not None:
                self._cycle.looked_at |= batch.customers
            try:
                report = await self._runs.run(
                    inputs,
                    (sync.metadata.generation, *versions),
                    job,
                    moving=self._tell_cycle,
                    resolved=partial(self._note_customers, batch),
                    lost=self._side.lease.lost,
                )
            finally:
                self._moving = {}
        self._watch.used(versions)
        self._runtime.metrics.linked(self._side.key, report)
        self._runtime.metrics.requested(self._side.key, self._runs.take_calls())
        if report is None:
            logger.warning("a link run was stopped: the Lease is lost; it is tried again")
            self._not_before = _now() + self._runtime.timing.poll
            return
        self._log(batch, report)
        await self._conclude(sync, batch, report, versions)

    async def _note_customers(self, batch: _Batch, customers: Mapping[str, str]) -> None:
        """Write which customers ingest aliases stand for, by the links' names.

        Raises RetriableError when that does not stand at each of the links afterwards.
        """
        entries = [
            one for one in self._entries() if one.name in customers and _is_known(one, batch.known)
        ]
        for entry in entries:
            if entry.customer is not None:
                self._look(entry.customer, unlinked=True, swept=True)  # the alias was another's
        calls = [self._writer.note_customer(one, customers[one.name]) for one in entries]
        if len(entries) < len(customers) or not all(await self._writer.all(calls)):
            raise RetriableError(
                "StatusNotWritten",
                "The customers whom ingest aliases stand for could not be written to the status of"
                " their CustomerLinks, so no rows were moved; it is tried again.",
            )

    async def _take_batch(self) -> _Batch:
        """What is due, with our finalizer on each link that is to be applied."""
        taken = take_batch(self._links, _now())
        for entry in taken:
            if entry.problem is not None and not entry.deleting:
                why = _invalid(entry.problem)
                await self._writer.show(entry, partial(linkstatus.hindered, why=why))
                entry.turn.done()
        dirty = [one for one in taken if not one.deleting and one.request is not None]
        # Those that a run may have left half moved.
        cut_short = {
            one.customer
            for one in dirty
            if one.held and not linkstatus.was_judged(one.status) and one.customer is not None
        }
        held = await self._writer.all(self._writer.hold(one) for one in dirty)
        for entry, done in zip(dirty, held, strict=True):
            if not done:
                entry.turn.later(_now(), passing=True)
        names = {entry.name for entry, done in zip(dirty, held, strict=True) if done}
        return _Batch(
            # As they are now: a finalizer makes a new version, and somebody may have deleted them.
            dirty=[one for one in self._entries() if one.name in names and not one.deleting],
            leaving=[one for one in taken if one.deleting and one.held and not _goes_at_once(one)],
            looks=take_looks(self._looks, _now()),
            known=self._known(),
            cut_short=cut_short,
        )

    def _job(self, sync: MetronomeSync, batch: _Batch) -> LinkJob:
        leaving = {one.customer for one in batch.leaving if one.customer is not None}
        looks = batch.looks
        swept = {id_ for id_, look in looks.items() if look.swept} | leaving | batch.cut_short
        if self._cycle is not None:
            # It may be about to move them as it knew them.
            swept |= batch.customers
        return LinkJob(
            now=self._runtime.now(),
            links=tuple(requests_of(self._links)),
            dirty=frozenset(one.name for one in batch.dirty),
            customers=frozenset(looks.keys() | leaving),
            retained=frozenset(self._retained),
            unlinked=frozenset(leaving | {id_ for id_, look in looks.items() if look.unlinked}),
            swept=frozenset(swept),
            seen=self._seen,
            write_back=sync.spec.linking.write_back,
        )

    # -- what became of it ---------------------------------------------------------------------

    async def _conclude(
        self, sync: MetronomeSync, batch: _Batch, report: LinkReport, versions: tuple[str, ...]
    ) -> None:
        failed = report.outcome is Outcome.FAILED
        # Metronome is only asked; that it did not answer left out who needs it, and no others.
        whole = not failed or report.reason.startswith("Metronome")
        settled = report.places.keys() - report.unsettled if whole else set()
        if not failed:
            # Customers without a record have nothing to be moved.
            settled |= batch.customers - report.places.keys()
        mended = failed and report.retry is Retry.AFTER_CHANGE
        self._broken = versions if mended else None
        self._recheck_at = _now() + jitter(self._runtime.recheck_every)
        self._conclude_looks(batch, report, settled)
        await self._conclude_links(batch, report, settled)
        await self._conclude_sync(sync, batch, report, settled)
        if not failed:
            looked_at = {one.uid for one in (*batch.dirty, *batch.leaving)}
            for entry in self._entries():
                # What failed before for a reason of the whole run may work now.
                judged = linkstatus.was_judged(entry.status)
                if judged or entry.uid in looked_at or _goes_at_once(entry):
                    continue
                if entry.turn.due is not None:
                    entry.turn.again(_now())

    def _conclude_looks(self, batch: _Batch, report: LinkReport, settled: set[str]) -> None:
        for id_, look in batch.looks.items():
            if self._looks.get(id_) is not look:
                continue  # it was asked for again meanwhile
            if id_ in settled and report.write_back is None:
                del self._looks[id_]
            else:
                look.turn.later(
                    _now(), passing=report.retry is Retry.LATER, wish=report.retry_after
                )
        news = report.noticed - self._seen
        self._runtime.metrics.noticed(self._side.key, len(news))
        self._seen = frozenset(
            pair for pair in self._seen | report.noticed if pair[0] not in settled
        )

    async def _conclude_links(self, batch: _Batch, report: LinkReport, settled: set[str]) -> None:
        calls = []
        dirty = {one.uid for one in batch.dirty}
        for entry in self._entries():
            if not _is_known(entry, batch.known) or entry.deleting:
                continue  # it has changed since, and is looked at again
            verdict = report.verdicts.get(entry.name)
            if verdict is not None:
                calls.append(self._judge(entry, verdict, report))
            elif entry.uid in dirty:
                calls.append(self._fail(entry, report))
        for entry in batch.leaving:
            if entry.customer is None or entry.customer in settled:
                place = report.places.get(entry.customer or "")
                calls.append(self._part(entry, linkstatus.unlinked(place)))
            else:
                calls.append(self._fail(entry, report))
        await self._writer.all(calls)

    async def _judge(self, entry: Entry, verdict: LinkVerdict, report: LinkReport) -> bool:
        place = report.places.get(verdict.customer_id or "")
        judged = partial(linkstatus.judged, verdict=verdict, place=place)
        if verdict.reason in {LinkReason.LINKED, LinkReason.CONFLICT}:
            entry.turn.done()  # the end of a conflict is looked for by who looks at the winner
        else:
            entry.turn.later(_now())
        if written := await self._writer.show(entry, judged):
            return written
        entry.turn.later(_now(), passing=True)
        return False

    async def _fail(self, entry: Entry, report: LinkReport) -> bool:
        """No verdict: the run failed, or could not look at this link."""
        acting = report.outcome is Outcome.FAILED and report.retry is Retry.AFTER_CHANGE
        why = Hindrance(report.reason, report.message, acting=acting)
        entry.turn.later(_now(), passing=not acting, wish=report.retry_after)
        if not entry.deleting and linkstatus.is_ready(entry.body):
            return True
        show = partial(linkstatus.hindered, why=why, deleting=entry.deleting)
        return await self._writer.show(entry, show)

    async def _part(self, entry: Entry, event: Event) -> bool:
        entry.turn.later(_now(), passing=True)  # unless it goes now
        return await self._writer.let_go(entry, event)

    async def _conclude_sync(
        self, sync: MetronomeSync, batch: _Batch, report: LinkReport, settled: set[str]
    ) -> None:
        # As long as the link is there, its end is not over.
        ending = {one.customer for one in self._entries() if one.retains and _goes_at_once(one)}
        kept = {id_ for id_ in self._retained if id_ not in settled or id_ in ending}

        def make(status: Json, moment: Moment) -> Json:
            patch: Json = {}
            if not sync.spec.linking.write_back:
                patch = conditions.without_write_back(status, moment)
            elif report.write_back is not None or settled:
                patch = conditions.write_back(status, moment, report.write_back)
            if kept != set(status.get("retained") or ()):
                patch["retained"] = sorted(kept) or None
            return patch

        await self._side.show_links(make)
        if report.write_back is not None:
            for id_ in batch.customers - self._looks.keys():
                self._looks[id_] = look = Look()
                look.turn.later(_now())
        await self._side.tell(
            [Event("Warning", *one) for one in report.events if one not in self._told]
        )
        self._told = frozenset(report.events) if report.unsettled or not settled else frozenset()

    # -- plumbing ------------------------------------------------------------------------------

    @property
    def _status(self) -> Json:
        return self._side.body.get("status") or {}

    def _entries(self) -> list[Entry]:
        return list(self._links.entries.values())

    def _known(self) -> dict[str, tuple[str, int]]:
        return {entry.name: _identity(entry) for entry in self._entries()}

    def _look(self, id_: str, *, unlinked: bool = False, swept: bool = False) -> None:
        """Look at a customer at once; what was known of why it has to be, stays."""
        old = self._looks.get(id_, Look())
        look = Look(unlinked=old.unlinked or unlinked, swept=old.swept or swept)
        look.turn.again(_now())
        self._looks[id_] = look

    def _show_metrics(self) -> None:
        states = {"ready": 0, "conflict": 0, "failed": 0, "waiting": 0}
        conflicts = 0
        for entry in self._entries():
            states[linkstatus.summary(entry.body)] += 1
            conflicts += linkstatus.has_conflict(entry.status)
        self._runtime.metrics.show_links(self._side.key, states, conflicts)

    def _log(self, batch: _Batch, report: LinkReport) -> None:
        level = logging.INFO if report.outcome is Outcome.SUCCEEDED else logging.WARNING
        logger.log(
            level,
            "links looked at: %s (%s) %s",
            report.outcome.value,
            report.reason,
            report.message,
            extra={
                "fields": {
                    "links": len(batch.dirty) + len(batch.leaving),
                    "customers": len(report.places),
                    "moved": sum(report.moved.values()),
                }
            },
        )


def _identity(entry: Entry) -> tuple[str, int]:
    return entry.uid, entry.generation


def _is_known(entry: Entry, known: Mapping[str, tuple[str, int]]) -> bool:
    """Whether the link is the very one, with the very spec, that a run knows."""
    return known.get(entry.name) == _identity(entry)


def _tells_of_storing(report: CycleReport) -> bool:
    """Whether a cycle got so far that it stored Account ids, or failed to."""
    wrote = report.outcome in {Outcome.SUCCEEDED, Outcome.PARTIALLY_FAILED}
    return wrote or report.write_back is not None


def _waits(entry: Entry) -> bool:
    return entry.held if entry.deleting else not linkstatus.is_ready(entry.body)


def _has_moved(entry: Entry) -> bool:
    """Whether the customer of a held link may hang on an Account because of it."""
    return entry.customer is not None and linkstatus.may_have_moved(entry.status)


def _goes_at_once(entry: Entry) -> bool:
    """Whether a deleted link that we hold leaves nothing to be moved."""
    return entry.deleting and entry.held and (entry.retains or not _has_moved(entry))


def _is_due(turn: Turn) -> bool:
    return turn.due is not None and (turn.fresh or turn.due <= _now())


def _invalid(problem: ConfigError) -> Hindrance:
    return Hindrance(linkstatus.INVALID_SPEC, problem.message, acting=True)


def _now() -> float:
    return asyncio.get_running_loop().time()
