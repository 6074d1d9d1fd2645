"""The record of a run in the org itself: Running at its start, how it ended at its end.

For the people in Salesforce, who see neither status nor log. The record is about the run and not
part of what is synced: when it cannot be written, the run goes on, and the log says so.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import partial

from metronome_salesforce.canon import LongText, canon
from metronome_salesforce.errors import ProductError
from metronome_salesforce.objects import SYNC_RUN
from metronome_salesforce.ports import PastRun, Target
from metronome_salesforce.report import Counts, CycleReport, Outcome, Trigger
from metronome_salesforce.rows import Operation, RowResult, Value, Write
from metronome_salesforce.stepping import CycleStoppedError, Steps

logger = logging.getLogger(__name__)

RUNNING, UNKNOWN = "Running", "Unknown"

_WHATS = ("created", "updated", "deleted", "unchanged", "rejected")
_SUMMARY = LongText(32768)
_UNFINISHED = (
    "The end of this run was not recorded: its operator was killed, or the org did not take the "
    "record. What it wrote stands; the MetronomeSync and the operator's log know more."
)
_LONGEST_SYNC = 255
_LAST_SECONDS = 6.0
"""For the end of a run that was stopped; its process has ten in all (`execution.child`)."""


class RunRecords:
    """The records of one MetronomeSync's runs, `sync` being "namespace/name".

    `keep` is how many records stay, that of this run among them.
    """

    def __init__(self, steps: Steps, target: Target, *, sync: str, keep: int) -> None:
        self._steps = steps
        self._target = target
        self._sync = sync[:_LONGEST_SYNC]
        self._keep = keep
        self._open = False
        self._past: Sequence[PastRun] = ()

    async def open(self, report: CycleReport) -> None:
        """Say that the run has begun; close what a killed run left open."""
        if not self._sync:
            return
        try:
            past = await self._steps.blocking(partial(self._target.past_runs, self._sync))
            self._past = [one for one in past if one.run_id != report.id]
            left = [_left(one) for one in self._past if one.outcome == RUNNING or one.latest]
            self._open = True  # perhaps, if it is cancelled meanwhile
            self._open = await self._write([_record(report.id, self._start(report)), *left])
        except ProductError as error:
            self._open = False
            _complain(report.id, error.message)

    def _start(self, report: CycleReport) -> dict[str, Value]:
        return {
            "Sync__c": self._sync,
            "Trigger__c": report.trigger.value,
            "Outcome__c": RUNNING,
            "Started_At__c": report.started_at,
            "Is_Latest__c": True,
        }

    async def close(self, report: CycleReport) -> None:
        """Say how the run ended, and delete the records that are too many."""
        if not self._open:
            return
        try:
            # The whole record: somebody may have deleted it meanwhile.
            await self._write([_record(report.id, {**self._start(report), **_end(report)})])
            old = [_gone(one) for one in self._too_many(report)]
            size = self._target.chunk_size
            for start in range(0, len(old), size):
                chunk = old[start : start + size]
                delete = partial(self._target.delete, SYNC_RUN, chunk)
                self._told(await self._steps.blocking(delete), "deleted")
        except CycleStoppedError:
            await self.close_at_once(report)
        except asyncio.CancelledError:
            await self.close_at_once(report)
            raise
        except ProductError as error:
            _complain(report.id, error.message)

    async def close_at_once(self, report: CycleReport) -> None:
        """Say how the run ended, although it was stopped: in one call, and within seconds.

        There may be no next run to say it: the sync may be suspended or deleted by then.
        """
        if not self._open:
            return
        # Who has the Lease now may have a newer record: the mark of the newest is left alone.
        fields = {**self._start(report), **_end(report)}
        del fields["Is_Latest__c"]
        write = partial(self._target.write, SYNC_RUN, [_record(report.id, fields)])
        try:
            self._told(await self._steps.last_word(write, _LAST_SECONDS), "written")
        except TimeoutError:
            _complain(report.id, "the org does not answer in time")
        except ProductError as error:
            _complain(report.id, error.message)

    def _too_many(self, report: CycleReport) -> list[PastRun]:
        """The records that go: tries that fail alike share one, the newest, as in the status.

        Something that is missing is looked for again up to every hour, and must not push out what
        the last runs with another end have to tell.
        """
        kept: list[PastRun] = []
        repeated: list[PastRun] = []
        newer = (report.trigger.value, report.outcome.value)
        for past in self._past:
            trigger, outcome = newer
            again = trigger == Trigger.RETRY.value and _end_of(outcome) == _end_of(past.outcome)
            (repeated if again else kept).append(past)
            newer = (past.trigger, past.outcome)
        return [*repeated, *kept[max(self._keep - 1, 0) :]]

    async def _write(self, writes: Sequence[Write]) -> bool:
        """Whether the first record, that of this run, is in the org."""
        first = True
        for start in range(0, len(writes), self._target.chunk_size):
            chunk = writes[start : start + self._target.chunk_size]
            results = await self._steps.blocking(partial(self._target.write, SYNC_RUN, chunk))
            self._told(results, "written")
            first = first and (start > 0 or results[0].error is None)
        return first

    def _told(self, results: Sequence[RowResult], what: str) -> None:
        for one in results:
            if one.error is not None:
                logger.warning(
                    "Sync Run record %s is not %s (%s)", one.write.key, what, one.error.code
                )
                # It may quote what the record holds.
                logger.debug("Salesforce said: %s", one.error.message)


def summary_text(report: CycleReport) -> str:
    """What a person reads in the record: the sentence, counts per object, first rejected rows."""
    lines = [report.message or report.reason, ""]
    lines += [f"{name}: {_counts_text(counts)}" for name, counts in report.rows.items()]
    total = sum(counts.rejected for counts in report.rows.values())
    if report.rejected:
        lines += ["", f"Rejected rows ({len(report.rejected)} of {total}):"]
        lines += [
            f"{row.object} {row.key}, {row.operation}: {row.message} ({row.code})"
            for row in report.rejected
        ]
    return "\n".join(lines).strip()


def _counts_text(counts: Counts) -> str:
    return ", ".join(f"{getattr(counts, what)} {what}" for what in _WHATS)


def _end(report: CycleReport) -> dict[str, Value]:
    # The counts of a refused plan are of what would have been written.
    counts = [] if report.outcome is Outcome.REFUSED else list(report.rows.values())
    numbers: dict[str, Value] = {
        f"Rows_{what.title()}__c": Decimal(sum(getattr(one, what) for one in counts))
        for what in _WHATS
    }
    return {
        "Outcome__c": report.outcome.value,
        "Finished_At__c": report.finished_at,
        **numbers,
        "Salesforce_Requests__c": Decimal(report.api_requests.get("salesforce", 0)),
        "Metronome_Requests__c": Decimal(report.api_requests.get("metronome", 0)),
        "Summary__c": canon(_SUMMARY, summary_text(report)),
    }


def _end_of(outcome: str) -> str:
    """An outcome with which others count as alike: a run that was cut short has failed."""
    return Outcome.FAILED.value if outcome in {RUNNING, UNKNOWN} else outcome


def _left(past: PastRun) -> Write:
    """The record of an earlier run, now that there is a newer one."""
    end: dict[str, Value] = {"Outcome__c": UNKNOWN, "Summary__c": _UNFINISHED}
    return _record(past.run_id, {"Is_Latest__c": False, **(end if past.outcome == RUNNING else {})})


def _record(run_id: str, fields: Mapping[str, Value]) -> Write:
    return Write(SYNC_RUN.name, Operation.UPDATE, run_id, fields)


def _gone(past: PastRun) -> Write:
    return Write(SYNC_RUN.name, Operation.DELETE, past.run_id, {}, id=past.id)


def _complain(run_id: str, why: str) -> None:
    logger.warning("the Sync Run record of run %s cannot be written: %s", run_id, why)
