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
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from metronome_salesforce import conditions, linkstatus, tracing
from metronome_salesforce.errors import ConfigError
from metronome_salesforce.execution.linkruns import LinkRuns
from metronome_salesforce.kube import KubeError
from metronome_salesforce.linkbatch import Batch, gather, job_of, note_customers
from metronome_salesforce.linkdesk import LinkDesk, SyncSide, identity, invalid, is_due, now
from metronome_salesforce.linking import LinkReason, LinkVerdict
from metronome_salesforce.linkleaving import let_go, until_let_go
from metronome_salesforce.linkoutcome import LinkOutcome
from metronome_salesforce.linkqueue import (
    Entry,
    LinkSet,
    requests_of,
    start_at,
)
from metronome_salesforce.linkstatus import Hindrance
from metronome_salesforce.linkwatch import Watch
from metronome_salesforce.logs import belonging_to
from metronome_salesforce.planning import Place
from metronome_salesforce.references import read_inputs
from metronome_salesforce.relinking import LinkReport, failed_links
from metronome_salesforce.report import CycleReport, Outcome, Retry, ended
from metronome_salesforce.runtime import (
    BUG_PAUSE,
    FIRST_BACK_OFF,
    GoneError,
    Runtime,
    jitter,
    next_back_off,
)
from metronome_salesforce.spec import MetronomeSync

logger = logging.getLogger(__name__)

Json = dict[str, Any]

_LONGEST_SLEEP = 60.0
_MERGING_SECONDS = 0.02  # events that come together are looked at together
_LEASE_PATIENCE = 5.0  # seconds of waiting for a Lease before it is worth a word
_TELLING_SECONDS = 0.5


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


class LinkWorker:
    """Serves the links of one MetronomeSync; `run` is its task."""

    def __init__(self, side: SyncSide, links: LinkSet, runtime: Runtime) -> None:
        self._side = side
        self._links = links
        self._runtime = runtime
        self._desk = LinkDesk(side, links, runtime)
        self._outcome = LinkOutcome(self._desk)
        self._runs = LinkRuns(runtime.threads, os.environ)
        self._watch = Watch(side.key, self._runs, runtime)
        self._woken = asyncio.Event()
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
                        wait = next_back_off(wait, error)
                    except GoneError:
                        return
                    except Exception:
                        # A bug shows in log and metric, and must not end the service.
                        logger.exception("unexpected error")
                        self._runtime.metrics.failed(self._side.key)
                        await asyncio.sleep(BUG_PAUSE)
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
            retained=sorted(self._desk.retained),
            known=self._desk.known(),
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
                self._desk.look(id_, swept=True)
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
            if entry is None or entry.deleting or cycle.known.get(name) != identity(entry):
                # It was followed as it was when the cycle started.
                if verdict.customer_id is not None:
                    self._desk.look(verdict.customer_id, swept=True)
            elif verdict.customer_id in cycle.looked_at:
                continue  # a link run knew better
            elif not linkstatus.agrees(entry.body, verdict):
                entry.turn.again(now())
            elif verdict.reason is LinkReason.LINKED and report.outcome is Outcome.SUCCEEDED:
                self._contradictions[name] = verdict
        for entry in self._desk.entries:
            # Whatever else it waits for, the cycle may have brought it.
            if entry.turn.due is not None and entry.name not in report.links:
                entry.turn.again(now())

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
        await let_go(self._desk, in_cycle=self._cycle is not None)
        await self._show_contradictions()
        await self._show_stored(sync)
        if sync is None or why is not None:
            await self._hinder(why or linkstatus.SYNC_INVALID)
            self._watch.rest()
            return until_let_go(self._desk)
        self._note_spec(sync)
        await self._recheck(sync)
        start = start_at(self._links, [look.turn for look in self._desk.looks.values()])
        start = None if start is None else max(start, self._not_before)
        if start is not None and start <= now():
            await self._apply(sync)
            return 0.0
        if self._watch.due(sync) <= now():
            for id_ in await self._watch.look(sync):
                if id_ not in self._desk.looks:
                    self._desk.look(id_)
            return 0.0
        times = [self._watch.due(sync), start, None if self._broken is None else self._recheck_at]
        return min(at - now() for at in times if at is not None)

    def _sync_now(self) -> tuple[MetronomeSync | None, Hindrance | None]:
        """The MetronomeSync as it is, and why its links cannot be applied now, if so."""
        try:
            sync = self._side.sync()
        except ConfigError:
            return None, linkstatus.SYNC_INVALID
        if sync.spec.suspend:
            return sync, linkstatus.SUSPENDED
        if sync.spec.dry_run:
            return sync, linkstatus.DRY_RUN
        if not self._desk.status.get("lastReachTime"):
            return sync, linkstatus.before_first_cycle(self._desk.status)
        return sync, None

    def _note_spec(self, sync: MetronomeSync) -> None:
        """A changed spec may have mended what failed, and may ask for ids in Metronome."""
        if self._generation == sync.metadata.generation:
            return
        first, self._generation = self._generation is None, sync.metadata.generation
        self._broken = None
        if not first:
            self._try_again()
        for id_ in self._desk.retained:
            self._desk.look(id_)
        stored = conditions.state_of(self._desk.status, conditions.WRITE_BACK)[0] == "True"
        if sync.spec.linking.write_back and not stored:
            for entry in self._desk.entries:
                if entry.customer is not None and not entry.deleting:
                    self._desk.look(entry.customer)

    def _try_again(self) -> None:
        """Try what failed at once."""
        turns = [
            *(one.turn for one in self._desk.entries),
            *(one.turn for one in self._desk.looks.values()),
        ]
        for turn in turns:
            if turn.due is not None:
                turn.again(now())
        self._watch.rest()

    async def _recheck(self, sync: MetronomeSync) -> None:
        """See whether somebody has mended the Secrets with which the last run failed."""
        if self._broken is None or now() < self._recheck_at:
            return
        self._recheck_at = now() + jitter(self._runtime.recheck_every)
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
            reason = invalid(entry.problem) if entry.problem and not entry.deleting else why
            patch = partial(linkstatus.hindered, why=reason, deleting=entry.deleting)
            return self._desk.writer.show(entry, patch)

        waiting = [one for one in self._desk.entries if one.turn.due is not None and _waits(one)]
        await self._desk.writer.all(
            show(entry) for entry in waiting if not now_only or is_due(entry.turn)
        )

    async def _show_contradictions(self) -> None:
        found, self._contradictions = self._contradictions, {}
        writer = self._desk.writer
        await writer.all(
            writer.show(entry, partial(linkstatus.contradicted, verdict=found[entry.name]))
            for entry in self._desk.entries
            if entry.name in found and linkstatus.is_ready(entry.body)
        )

    async def _show_stored(self, sync: MetronomeSync | None) -> None:
        """Show whether the last cycle could store Account ids in Metronome, where it has to."""
        report = self._stored
        if sync is None:
            return
        if not sync.spec.linking.write_back:
            self._stored = None
            if conditions.state_of(self._desk.status, conditions.WRITE_BACK)[0]:
                await self._side.show_links(conditions.without_write_back)
        elif report is not None:
            problem = report.write_back
            await self._side.show_links(partial(conditions.write_back, problem=problem))
            if self._stored is report:
                self._stored = None

    # -- one run -------------------------------------------------------------------------------

    async def _apply(self, sync: MetronomeSync) -> None:
        """Look at all that is due, once we hold the Lease; if we do not get it, a little later."""
        holder = await self._side.lease.try_acquire()
        if holder is not None:
            at = now()
            self._not_before = at + self._runtime.timing.poll
            self._lease_since = self._lease_since or at
            if at - self._lease_since > _LEASE_PATIENCE:
                await self._hinder(linkstatus.waiting_for_lease(holder), now_only=True)
            return
        self._lease_since = None
        try:
            await self._run(sync)
        finally:
            await asyncio.shield(self._side.lease.release())

    async def _run(self, sync: MetronomeSync) -> None:
        with (
            tracing.root("link customers", {"sync": "/".join(self._side.key)}) as span,
            belonging_to(**span.log_fields),
        ):
            report = await self._run_traced(sync)
            if report is not None:
                span.note(report.trace_attributes())
            if report is None or report.outcome is Outcome.FAILED:
                span.fail("LeaseLost" if report is None else report.reason)

    async def _run_traced(self, sync: MetronomeSync) -> LinkReport | None:
        """One run and what follows from it; None when it lost its Lease."""
        batch = await gather(self._desk)
        job = job_of(
            self._desk, sync, batch, seen=self._outcome.seen, in_cycle=self._cycle is not None
        )
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
                    resolved=partial(note_customers, self._desk, batch),
                    lost=self._side.lease.lost,
                )
            finally:
                self._moving = {}
        self._watch.used(versions)
        self._runtime.metrics.linked(self._side.key, report)
        self._runtime.metrics.requested(self._side.key, self._runs.take_calls())
        self._runtime.metrics.show_quota(self._side.key, self._runs.quota)
        if report is None:
            logger.warning("a link run was stopped: the Lease is lost; it is tried again")
            self._not_before = now() + self._runtime.timing.poll
            return None
        self._log(batch, report)
        mended = report.outcome is Outcome.FAILED and report.retry is Retry.AFTER_CHANGE
        self._broken = versions if mended else None
        self._recheck_at = now() + jitter(self._runtime.recheck_every)
        await self._outcome.conclude(sync, batch, report)
        return report

    def _show_metrics(self) -> None:
        states = {"ready": 0, "conflict": 0, "failed": 0, "waiting": 0}
        conflicts = 0
        for entry in self._desk.entries:
            states[linkstatus.summary(entry.body)] += 1
            conflicts += linkstatus.has_conflict(entry.status)
        self._runtime.metrics.show_links(self._side.key, states, conflicts)

    def _log(self, batch: Batch, report: LinkReport) -> None:
        level = logging.INFO if report.outcome is Outcome.SUCCEEDED else logging.WARNING
        logger.log(
            level,
            "links looked at: %s",
            ended(report.outcome, report.reason, report.message),
            extra={
                "fields": {
                    "links": len(batch.dirty) + len(batch.leaving),
                    "customers": len(report.places),
                    "moved": sum(report.moved.values()),
                }
            },
        )


def _tells_of_storing(report: CycleReport) -> bool:
    """Whether a cycle got so far that it stored Account ids, or failed to."""
    wrote = report.outcome in {Outcome.SUCCEEDED, Outcome.PARTIALLY_FAILED}
    return wrote or report.write_back is not None


def _waits(entry: Entry) -> bool:
    return entry.held if entry.deleting else not linkstatus.is_ready(entry.body)
