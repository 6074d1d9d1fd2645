"""What follows from a link run: statuses, Events, finalizers, and what is to be tried again."""

from functools import partial
from typing import Any

from metronome_salesforce import conditions, linkstatus
from metronome_salesforce.conditions import Event, Moment
from metronome_salesforce.linkbatch import Batch
from metronome_salesforce.linkdesk import LinkDesk, goes_at_once, is_known, now
from metronome_salesforce.linking import LinkReason, LinkVerdict
from metronome_salesforce.linkqueue import Entry, Look
from metronome_salesforce.linkstatus import Hindrance
from metronome_salesforce.relinking import LinkReport
from metronome_salesforce.report import Outcome, Retry
from metronome_salesforce.spec import MetronomeSync

Json = dict[str, Any]


class LinkOutcome:
    """Concludes the runs of one MetronomeSync.

    `seen` are the (customer, Account) pairs of people's changes that were counted and go on.
    """

    def __init__(self, desk: LinkDesk) -> None:
        self._desk = desk
        self.seen: frozenset[tuple[str, str | None]] = frozenset()
        self._told: frozenset[tuple[str, str]] = frozenset()

    async def conclude(self, sync: MetronomeSync, batch: Batch, report: LinkReport) -> None:
        """Write what became of a batch, and see what is to be tried again, and when."""
        failed = report.outcome is Outcome.FAILED
        # Metronome is only asked; that it did not answer left out who needs it, and no others.
        whole = not failed or report.reason.startswith("Metronome")
        settled = report.places.keys() - report.unsettled if whole else set()
        if not failed:
            # Customers without a record have nothing to be moved.
            settled |= batch.customers - report.places.keys()
        self._conclude_looks(batch, report, settled)
        await self._conclude_links(batch, report, settled)
        await self._conclude_sync(sync, batch, report, settled)
        if not failed:
            looked_at = {one.uid for one in (*batch.dirty, *batch.leaving)}
            for entry in self._desk.entries:
                # What failed before for a reason of the whole run may work now.
                judged = linkstatus.was_judged(entry.status)
                if judged or entry.uid in looked_at or goes_at_once(entry):
                    continue
                if entry.turn.due is not None:
                    entry.turn.again(now())

    def _conclude_looks(self, batch: Batch, report: LinkReport, settled: set[str]) -> None:
        for id_, look in batch.looks.items():
            if self._desk.looks.get(id_) is not look:
                continue  # it was asked for again meanwhile
            if id_ in settled and report.write_back is None:
                del self._desk.looks[id_]
            else:
                look.turn.later(now(), passing=report.retry is Retry.LATER, wish=report.retry_after)
        news = report.noticed - self.seen
        self._desk.runtime.metrics.noticed(self._desk.side.key, len(news))
        self.seen = frozenset(pair for pair in self.seen | report.noticed if pair[0] not in settled)

    async def _conclude_links(self, batch: Batch, report: LinkReport, settled: set[str]) -> None:
        calls = []
        dirty = {one.uid for one in batch.dirty}
        for entry in self._desk.entries:
            if not is_known(entry, batch.known) or entry.deleting:
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
        await self._desk.writer.all(calls)

    async def _judge(self, entry: Entry, verdict: LinkVerdict, report: LinkReport) -> bool:
        place = report.places.get(verdict.customer_id or "")
        judged = partial(linkstatus.judged, verdict=verdict, place=place)
        if verdict.reason in {LinkReason.LINKED, LinkReason.CONFLICT}:
            entry.turn.done()  # the end of a conflict is looked for by who looks at the winner
        else:
            entry.turn.later(now())
        if written := await self._desk.writer.show(entry, judged):
            return written
        entry.turn.later(now(), passing=True)
        return False

    async def _fail(self, entry: Entry, report: LinkReport) -> bool:
        """No verdict: the run failed, or could not look at this link."""
        acting = report.outcome is Outcome.FAILED and report.retry is Retry.AFTER_CHANGE
        why = Hindrance(report.reason, report.message, acting=acting)
        entry.turn.later(now(), passing=not acting, wish=report.retry_after)
        if not entry.deleting and linkstatus.is_ready(entry.body):
            return True
        show = partial(linkstatus.hindered, why=why, deleting=entry.deleting)
        return await self._desk.writer.show(entry, show)

    async def _part(self, entry: Entry, event: Event) -> bool:
        entry.turn.later(now(), passing=True)  # unless it goes now
        return await self._desk.writer.let_go(entry, event)

    async def _conclude_sync(
        self, sync: MetronomeSync, batch: Batch, report: LinkReport, settled: set[str]
    ) -> None:
        # As long as the link is there, its end is not over.
        ending = {one.customer for one in self._desk.entries if one.retains and goes_at_once(one)}
        kept = {id_ for id_ in self._desk.retained if id_ not in settled or id_ in ending}

        def make(status: Json, moment: Moment) -> Json:
            patch: Json = {}
            if not sync.spec.linking.write_back:
                patch = conditions.without_write_back(status, moment)
            elif report.write_back is not None or settled:
                patch = conditions.write_back(status, moment, report.write_back)
            if kept != set(status.get("retained") or ()):
                patch["retained"] = sorted(kept) or None
            return patch

        await self._desk.side.show_links(make)
        if report.write_back is not None:
            for id_ in batch.customers - self._desk.looks.keys():
                self._desk.looks[id_] = look = Look()
                look.turn.later(now())
        await self._desk.side.tell(
            [Event("Warning", *one) for one in report.events if one not in self._told]
        )
        self._told = frozenset(report.events) if report.unsettled or not settled else frozenset()
