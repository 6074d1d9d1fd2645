"""The life of one MetronomeSync in the operator: decide, wait, run a cycle, write its status.

Level-triggered: one task for each resource looks at the newest body, asks the schedule what to do,
and does it; an event only makes it look again. What it needs to know stands in the status, so a
restarted operator goes on where the old one was. Cycles run while the Lease is held and in a child
process; a cycle that runs is never disturbed by an edit, which counts once it is over. The
CustomerLinks have a task of their own (`links`), which works beside cycles.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from metronome_salesforce import conditions, schedule, tracing
from metronome_salesforce.conditions import Moment, Tokens
from metronome_salesforce.errors import ConfigError
from metronome_salesforce.execution.child import (
    Progress,
    failed_report,
    run_child,
)
from metronome_salesforce.execution.lease import LeaseLostError, SharedLease, SyncLease
from metronome_salesforce.execution.telling import Teller
from metronome_salesforce.health import is_newer
from metronome_salesforce.kube import KubeError
from metronome_salesforce.linkqueue import LinkSet
from metronome_salesforce.links import CycleLinks, LinkWorker
from metronome_salesforce.logs import belonging_to
from metronome_salesforce.references import REFERENCE_REASONS, read_inputs
from metronome_salesforce.report import CycleReport, Outcome, Retry, Trigger, ended
from metronome_salesforce.runtime import (
    BUG_PAUSE,
    FIRST_BACK_OFF,
    GoneError,
    Runtime,
    jitter,
    next_back_off,
)
from metronome_salesforce.series import Key
from metronome_salesforce.spec import ExecutionSpec, MetronomeSync, parse_sync

logger = logging.getLogger(__name__)

Json = dict[str, Any]

_LONGEST_SLEEP = 60.0  # then the clock is looked at again: a laptop may have slept, or been set
_KILL_SECONDS = 2.0  # kept back of a lost Lease's time, to kill what would not stop
_SHORTEST_GRACE = 0.5


class SyncWorker:
    """Serves one MetronomeSync (told by its uid) until it is gone; `run` is its task.

    `links` are the CustomerLinks that name it.
    """

    def __init__(self, body: Json, runtime: Runtime, links: LinkSet) -> None:
        metadata = body["metadata"]
        self.uid: str = metadata["uid"]
        self.key: Key = (metadata["namespace"], metadata["name"])
        self._runtime = runtime
        self._body = body
        self._parsed: tuple[Json, MetronomeSync] | None = None
        self._woken = asyncio.Event()
        self._writing = asyncio.Lock()
        self.lease = SharedLease(SyncLease(runtime.kube, body, runtime.identity, runtime.timing))
        self._links = LinkWorker(self, links, runtime)
        self._run_id: str | None = None
        self.deleted = False
        # Versions of the Secrets that the last failed run used; None: not known.
        self._used: tuple[str, ...] | None = None
        # Whether this operator has run no cycle of it yet: what changed before, it cannot know.
        self._is_first = True

    @property
    def body(self) -> Json:
        """The newest body that is known."""
        return self._body

    def sync(self) -> MetronomeSync:
        """The newest body as its model; raises ConfigError when it is invalid.

        Parsed once for each body: it is looked at several times a minute, and rarely another one.
        The model's status is empty: the newest one is the body's.
        """
        if self._parsed is None or self._parsed[0] is not self._body:
            document = {name: part for name, part in self._body.items() if name != "status"}
            self._parsed = (self._body, parse_sync(document))
        return self._parsed[1]

    def offer(self, body: Json) -> None:
        """Take a body if it is newer than the one known, and look again."""
        known = self._body["metadata"]["resourceVersion"]
        if is_newer(body["metadata"]["resourceVersion"], known):
            self._body = body
            self._woken.set()
            self._links.wake()

    async def run(self) -> None:
        """Serve until the resource is gone or the task is cancelled; then nothing is left."""
        linking = asyncio.create_task(self._links.run(), name=f"links {'/'.join(self.key)}")
        try:
            await self._run()
        finally:
            linking.cancel()
            await asyncio.gather(linking, return_exceptions=True)

    async def _run(self) -> None:
        wait = FIRST_BACK_OFF
        with belonging_to(sync="/".join(self.key)):
            try:
                while True:
                    try:
                        await self._step()
                        wait = FIRST_BACK_OFF
                    except KubeError as error:
                        logger.warning("the Kubernetes API failed: %s", error)
                        await asyncio.sleep(jitter(wait))
                        wait = next_back_off(wait, error)
                    except GoneError:
                        return
                    except Exception:
                        # A bug shows in log and metric, and must not end this resource's service.
                        logger.exception("unexpected error")
                        self._runtime.metrics.failed(self.key)
                        await asyncio.sleep(BUG_PAUSE)
            except asyncio.CancelledError:
                await self._leave()
                raise

    async def _leave(self) -> None:
        """Say that a cycle was cut short, if the resource is there to be told."""
        if self._run_id is None or self.deleted:
            return
        patch = conditions.interrupted(self._status, self._moment())
        with contextlib.suppress(KubeError, TimeoutError):
            async with asyncio.timeout(2):
                await self._runtime.kube.patch_status(*self.key, patch)

    # -- one look ------------------------------------------------------------------------------

    async def _step(self) -> None:
        """Look at the newest body and do what it asks for, or wait until it may ask for more."""
        self._woken.clear()
        self._show_metrics()
        try:
            sync = self.sync()
        except ConfigError as error:
            before = self._status
            await self._show(conditions.stalled(before, self._moment(), error))
            await self.tell(conditions.events(before, self._status))
            await self._wait(_LONGEST_SLEEP)
            return
        match self._decide(sync):
            case schedule.Run() as run:
                await self._run_when_free(run)
            case schedule.WaitUntil() as wait:
                await self._show(self._waiting(wait))
                await self._wait_or_recheck(sync, wait)
            case schedule.Suspended():
                await self._show(conditions.suspended(self._status, self._moment()))
                await self._wait(_LONGEST_SLEEP)

    def _decide(self, sync: MetronomeSync, status: Mapping[str, Any] | None = None) -> Any:
        return schedule.decide(
            sync.spec,
            schedule.history_of(self._status if status is None else status),
            sync.metadata.annotations,
            self._runtime.now(),
            generation=sync.metadata.generation,
        )

    def _waiting(self, wait: schedule.WaitUntil, status: Json | None = None) -> Json:
        return conditions.waiting(
            self._status if status is None else status,
            self._moment(),
            wait.at,
            retrying=wait.trigger is Trigger.RETRY,
        )

    async def _wait_or_recheck(self, sync: MetronomeSync, wait: schedule.WaitUntil) -> None:
        """Sleep until `wait` or an event; for a person who mends a Secret, look there meanwhile."""
        left = (wait.at - self._runtime.now()).total_seconds()
        last = self._status.get("lastRun") or {}
        broken = last.get("outcome") == Outcome.FAILED.value
        if not broken or last.get("retry") != Retry.AFTER_CHANGE.value:
            await self._wait(left)
            return
        if await self._wait(min(left, self._runtime.recheck_every)):
            return
        try:
            _, versions = await read_inputs(self._runtime.kube, self._runtime.rules, sync)
        except ConfigError:
            return
        never_read = self._used is None and last.get("reason") in REFERENCE_REASONS
        if never_read or self._used not in {None, versions}:
            run = schedule.Run(Trigger.RETRY, full=bool(last.get("full")))
            await self._run_when_free(run, anyway=True)
        elif self._used is None:
            self._used = versions

    async def _wait(self, seconds: float) -> bool:
        """Sleep, but not for long; True when there is something new to look at."""
        try:
            async with asyncio.timeout(max(0.0, min(seconds, _LONGEST_SLEEP))):
                return await self._woken.wait()
        except TimeoutError:
            return False

    # -- one cycle -----------------------------------------------------------------------------

    async def _run_when_free(self, run: schedule.Run, *, anyway: bool = False) -> None:
        """Run a cycle once there is a slot and the Lease; if that takes a while, look again.

        `anyway`: also when the schedule does not ask for it.
        """
        slots = self._runtime.slots
        if slots.locked():
            await self._show(conditions.queued(self._status, self._moment()))
        async with slots:
            holder = await self._acquire()
            if holder is None:
                try:
                    await self._run_with_lease(run, anyway=anyway)
                finally:
                    await asyncio.shield(self.lease.release())
                return
        await self._show(conditions.waiting_for_lease(self._status, self._moment(), holder))
        await asyncio.sleep(self._runtime.timing.poll)

    async def _acquire(self) -> str | None:
        """Try to get the Lease, and tell a person who must give the operator the right to it.

        That is tried again as all calls are, but without a cycle nobody would look into the log.
        """
        try:
            return await self.lease.try_acquire()
        except KubeError as error:
            if error.forbidden:
                before, (space, _) = self._status, self.key
                sentence = (
                    f"The operator may not get, create and update leases in namespace {space}, and"
                    " runs no cycle without its Lease; give its ServiceAccount these rights"
                    f" (coordination.k8s.io). The API server said: {error}"
                )
                told = ConfigError("LeaseForbidden", sentence)
                await self._show(conditions.stalled(before, self._moment(), told))
                await self.tell(conditions.events(before, self._status))
            raise

    async def _run_with_lease(self, run: schedule.Run, *, anyway: bool) -> None:
        # What is known here may be older than what the Lease's last holder has written.
        await self._read_again()
        sync = self.sync()
        decision = self._decide(sync)
        if isinstance(decision, schedule.WaitUntil) and anyway:
            decision = run
        if not isinstance(decision, schedule.Run):
            return
        moment = self._moment()
        self._run_id = _run_id(self._runtime.now())
        report: CycleReport | None = None
        told = {
            "sync": "/".join(self.key),
            "run": self._run_id,
            "trigger": decision.trigger.value,
            "full": decision.full,
            "dry_run": sync.spec.dry_run,
        }
        with (
            tracing.root("sync cycle", told) as span,
            belonging_to(run=self._run_id, **span.log_fields),
        ):
            try:
                report = await self._report(sync, decision, span.traceparent)
                span.note(report.trace_attributes())
                if report.failure is not None:
                    span.fail(report.failure)
                await self._conclude(sync, decision, report, moment)
            finally:
                self._runtime.metrics.running(self.key, now=False)
                # After its end is in the status: the first one is what links wait for.
                self._links.cycle_ended(report)

    async def _report(
        self, sync: MetronomeSync, run: schedule.Run, traceparent: str | None
    ) -> CycleReport:
        """Run the cycle, or report why it could not be run."""
        # What was reached with another org or for other objects is not what this run builds on.
        reached = (
            self._status
            if self._status.get("lastReachDigest") == schedule.reach_digest(sync.spec)
            else {}
        )
        request: Json = {
            "sync": _as_requested(self._body),
            "runId": self._run_id,
            "trigger": run.trigger.value,
            "full": run.full,
            "dryRun": sync.spec.dry_run,
            # Not the last success: one row that is always rejected would widen every look-back,
            # which goes no further than to the oldest rejected row.
            "lastSuccess": reached.get("lastReachTime"),
            "rejectedSince": reached.get("rejectedSince"),
            "details": False,
            "traceparent": traceparent,
        }
        started = datetime.now(UTC)
        before, self._used = self._used, None
        try:
            inputs, self._used = await read_inputs(self._runtime.kube, self._runtime.rules, sync)
        except ConfigError as error:
            report = failed_report(request, started, error.reason, error.message)
            report.retry = Retry.AFTER_CHANGE
            return report
        refusal = conditions.refusal(self._status, self._moment().generation)
        forgotten: Json = {}
        # Who asks may have mended what the org has refused the package for; with another Secret
        # somebody else may sign in. For good: the cycle may end before it comes to the package.
        asked = run.request or run.full_resync
        if refusal is not None and (asked or self._is_first or before not in {None, self._used}):
            refusal, forgotten = None, {"package": {"refused": None}}
        self._is_first = False
        request["refusal"] = refusal
        request["apiKey"] = inputs.api_key
        request["credentials"] = inputs.credentials
        request["caBundle"] = inputs.ca_bundle
        status, moment = self._status, self._moment()
        starting = conditions.running(status, moment, str(self._run_id), run.trigger)
        await self._show(starting | forgotten)
        self._runtime.metrics.running(self.key, now=True)
        logger.info("cycle starts (%s)", run.trigger.value, extra={"fields": {"full": run.full}})
        if asked:
            what = "a full resync" if run.full_resync else "a cycle"
            sentence = f"Cycle {self._run_id} starts: {what} was requested ({asked[:100]})."
            await self.tell([conditions.Event("Normal", run.trigger.value, sentence)])
        # Only now: whatever the links ask for from here on, the cycle is told.
        links = self._links.cycle_starts()
        request |= {"links": links.requests, "retained": links.retained}
        try:
            return await self._run_guarded(request, sync.spec.execution, links)
        except LeaseLostError as error:
            logger.warning("the cycle is stopped: %s", error)
            sentence = f"The cycle was stopped: {error}. It is tried again."
            return failed_report(request, started, "LeaseLost", sentence)
        except (asyncio.CancelledError, GoneError) as error:
            gone = self.deleted or isinstance(error, GoneError)
            why = "the MetronomeSync was deleted" if gone else "the operator ends"
            logger.info("cycle stopped: %s", why)
            raise

    async def _run_guarded(
        self, request: Json, execution: ExecutionSpec, links: CycleLinks
    ) -> CycleReport:
        """Run the child while the Lease is held; stop it when that is lost, and raise so."""
        timing, keeper = self._runtime.timing, self.lease.lost
        if keeper.done():  # while the inputs were read
            await keeper
        time_to_stop = timing.duration - timing.give_up - _KILL_SECONDS
        teller = Teller(self._show_progress, self._runtime.progress_every)
        child = asyncio.create_task(
            run_child(
                request,
                on_progress=teller.hear,
                relinked=links.relinked,
                deadline=execution.active_deadline.total_seconds(),
                command=self._runtime.command,
                grace=max(_SHORTEST_GRACE, min(self._runtime.grace, time_to_stop)),
            )
        )
        telling = asyncio.create_task(teller.run())
        try:
            tasks = {child, keeper, telling}
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if child in done:
                return child.result()
            await done.pop()  # neither of the other two ends but by an exception
            raise RuntimeError("a task that serves a cycle has ended")
        finally:
            for task in (child, telling):
                task.cancel()
            await asyncio.gather(child, telling, return_exceptions=True)
            await teller.settle()

    async def _conclude(
        self, sync: MetronomeSync, run: schedule.Run, report: CycleReport, moment: Moment
    ) -> None:
        """Write what became of a run, and when the next one is."""
        before = self._status
        finished = conditions.finished(
            before,
            Moment(self._runtime.now(), moment.generation),
            report,
            Tokens(run.request, run.full_resync),
            history_limit=sync.spec.history_limit,
            reach=schedule.reach_digest(sync.spec),
        )
        after = conditions.merged(before, finished)
        match self._decide(sync, after):
            case schedule.WaitUntil() as wait:
                finished |= self._waiting(wait, after)
        self._runtime.metrics.ran(self.key, report)
        level = logging.INFO if report.outcome is Outcome.SUCCEEDED else logging.WARNING
        logger.log(
            level,
            "cycle ended: %s",
            ended(report.outcome, report.reason, report.message),
            extra={"fields": {"seconds": report.duration}},
        )
        try:
            await self._show(finished)
        except KubeError as error:
            logger.error("the report was refused: %s", error)  # noqa: TRY400 -- the text says all
            self._runtime.metrics.failed(self.key)
            await self._show_essence(finished)
        self._run_id = None  # it is over: nothing after this can interrupt it
        await self.tell(conditions.events(before, self._status, report))

    async def _show_essence(self, finished: Json) -> None:
        """Write of a refused report what is needed to go on; its times, if it is not for them."""
        before, moment = self._status, self._moment()
        try:
            await self._show(conditions.essence(before, moment, finished, times=True))
        except KubeError as error:
            logger.error("its times were refused, too: %s", error)  # noqa: TRY400 -- the text says all
            await self._show(conditions.essence(before, moment, finished, times=False))

    # -- status and Events ---------------------------------------------------------------------

    @property
    def _status(self) -> Json:
        return self._body.get("status") or {}

    def _moment(self) -> Moment:
        return Moment(self._runtime.now(), self._body["metadata"].get("generation", 1))

    async def show_links(self, make: Callable[[Json, Moment], Json]) -> None:
        """Write what the links have to tell: what `make` makes of the newest status."""
        async with self._writing:
            patch = make(self._status, self._moment())
            patch = conditions.kept_apart(self._status, patch, conditions.OF_LINKS)
            if conditions.changes_nothing(self._status, patch):
                return
            try:
                self._take(await self._runtime.kube.patch_status(*self.key, patch))
            except KubeError as error:
                if error.not_found:
                    raise GoneError from error
                raise

    async def _show(self, patch: Json) -> None:
        """Write a patch of the status, for as long as it takes; one that changes nothing is not.

        Raises GoneError when the resource is gone, KubeError when the patch itself is refused.
        """
        wait = FIRST_BACK_OFF
        while True:
            try:
                async with self._writing:
                    patch = conditions.kept_apart(self._status, patch, conditions.OF_CYCLES)
                    if conditions.changes_nothing(self._status, patch):
                        return
                    self._take(await self._runtime.kube.patch_status(*self.key, patch))
            except KubeError as error:
                if error.not_found:
                    raise GoneError from error
                if error.refused:
                    raise
                logger.warning("status could not be written: %s", error)
                await asyncio.sleep(jitter(wait))
                wait = next_back_off(wait, error)
            else:
                return

    def _show_metrics(self) -> None:
        """Show what the newest body says, so that a restarted operator knows it at once."""
        try:
            spec = self.sync().spec
        except ConfigError:
            spec = None
        self._runtime.metrics.show(self.key, self._body, spec)

    async def _show_progress(self, progress: Progress) -> None:
        """Write how far the cycle is, if that works at once; the next one tells it anyway."""
        patch = conditions.progressed(progress.stage, progress.done, progress.total)
        try:
            self._take(await self._runtime.kube.patch_status(*self.key, patch))
        except KubeError as error:
            if error.not_found:
                raise GoneError from error

    async def _read_again(self) -> None:
        try:
            self._take(await self._runtime.kube.get_sync(*self.key))
        except KubeError as error:
            if error.not_found:
                raise GoneError from error
            raise

    def _take(self, body: Json) -> None:
        if body["metadata"]["uid"] != self.uid or "deletionTimestamp" in body["metadata"]:
            raise GoneError
        old, new = self._body["metadata"], body["metadata"]
        if is_newer(new["resourceVersion"], old["resourceVersion"]):
            self._body = body
            self._show_metrics()
            # The answer to our own write may be the first to tell of another's: the watch, which
            # comes later with the same version, brings nothing new then.
            if any(old.get(name) != new.get(name) for name in ("generation", "annotations")):
                self._woken.set()

    async def tell(self, events: Sequence[conditions.Event]) -> None:
        """Post Events; one that cannot be posted is only logged, as it is of no consequence."""
        for event in events:
            try:
                await self._runtime.kube.post_event(
                    self._body, event.kind, event.reason, event.message
                )
            except KubeError as error:
                logger.warning("Event %s could not be posted: %s", event.reason, error)


def _as_requested(body: Mapping[str, Any]) -> Json:
    """What of the resource a cycle needs: no status, no annotations of others."""
    metadata = {name: body["metadata"][name] for name in ("name", "namespace", "uid")}
    return {
        "apiVersion": body["apiVersion"],
        "kind": body["kind"],
        "metadata": metadata,
        "spec": body["spec"],
    }


def _run_id(now: datetime) -> str:
    """Sorts by time, and is unique also for two runs in one second."""
    return f"{now.astimezone(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
