"""`sync` and `plan`: one cycle from manifest files, in this process and without a cluster."""

import argparse
import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

from metronome_salesforce import tracing
from metronome_salesforce.choosing import UsageError, chosen
from metronome_salesforce.cycle import Observers, Run, fail, new_report
from metronome_salesforce.errors import ConfigError, ProductError
from metronome_salesforce.execution.running import run_sync
from metronome_salesforce.filelinks import links_of, links_text
from metronome_salesforce.heldlease import PATIENCE, HeldLease, LeaseOptions, held
from metronome_salesforce.inputs import SyncInputs, resolve
from metronome_salesforce.logs import belonging_to
from metronome_salesforce.manifests import Bundle
from metronome_salesforce.objects import ACCOUNT_SUMMARY, OBJECTS
from metronome_salesforce.planning import Plan
from metronome_salesforce.printing import (
    changes_json,
    changes_text,
    complain,
    put,
    report_text,
    show_progress,
)
from metronome_salesforce.report import CycleReport, Trigger
from metronome_salesforce.spec import MetronomeSync
from metronome_salesforce.stepping import CycleStoppedError

_STOP_SECONDS = 10.0
"""How long a call that is under way may take to end after ctrl-C."""


def sync(options: argparse.Namespace) -> CycleReport:
    """Run one cycle and print its report.

    Raises UsageError, InvalidManifest, and KeyboardInterrupt after a ctrl-C.
    """
    _start_tracing()
    if options.lease and options.dry_run:
        raise UsageError("--dry-run writes nothing and needs no Lease; leave out --lease")
    if not options.lease and (options.kubeconfig or options.lease_wait is not None):
        raise UsageError("--kubeconfig and --lease-wait are for --lease; leave them out without")
    sync, bundle = chosen(options)
    dry_run = options.dry_run or sync.spec.dry_run
    if sync.spec.suspend and not dry_run:
        complain("spec.suspend is true: that stops the operator, and not this command")
    if options.lease and dry_run:
        complain("spec.dryRun is true: nothing is written, and no Lease is taken")
    lease = _lease(sync, options) if options.lease and not dry_run else None
    report = _run(sync, bundle, options, dry_run=dry_run, full=options.full, lease=lease)
    if options.output == "json":
        put(json.dumps(report.to_json(), indent=2))
    else:
        put("\n".join([report_text(report), *links_text(report)]))
    return report


def _lease(sync: MetronomeSync, options: argparse.Namespace) -> AbstractContextManager[HeldLease]:
    wait = PATIENCE if options.lease_wait is None else options.lease_wait
    return held(sync, LeaseOptions(options.kubeconfig, wait), complain)


def plan(options: argparse.Namespace) -> CycleReport:
    """Print what a cycle would change; raises as `sync` does.

    While it is read: in memory, the changes of a large org are gigabytes.
    """
    _start_tracing()  # before anything is printed
    sync, bundle = chosen(options)
    as_json = options.output == "json"

    def show(plan: Plan) -> None:
        changes = plan.details([*OBJECTS, ACCOUNT_SUMMARY])
        lines = changes_json(changes) if as_json else changes_text(changes)
        for line in lines:
            put(line)

    if as_json:
        put('{"changes": [' if options.details else "{")
    report = _run(
        sync,
        bundle,
        options,
        dry_run=True,
        details=options.details,
        show_plan=show if options.details else None,
    )
    if as_json:
        end = "], " if options.details else ""
        put(f'{end}"report": {json.dumps(report.to_json(), indent=2)}}}')
    else:
        put("\n".join([report_text(report), *links_text(report)]))
    return report


def _start_tracing() -> None:
    try:
        tracing.start(os.environ)
    except ConfigError as error:
        raise UsageError(error.message) from None


def _run(
    sync: MetronomeSync,
    bundle: Bundle,
    options: argparse.Namespace,
    *,
    dry_run: bool,
    full: bool = False,
    details: bool = False,
    show_plan: Callable[[Plan], None] | None = None,
    lease: AbstractContextManager[HeldLease] | None = None,
) -> CycleReport:
    run = Run(
        id=uuid4().hex[:12],
        trigger=Trigger.FULL_RESYNC if full else Trigger.REQUESTED,
        now=datetime.now(UTC),
        full=full,
        dry_run=dry_run,
        details=details,
        last_success=options.last_success,
        links=links_of(sync, bundle),
    )
    show = sys.stderr.isatty()
    observers = Observers(show_progress if show else lambda *_: None, show_plan)
    name = f"{sync.metadata.namespace}/{sync.metadata.name}"
    told = {
        "sync": name,
        "run": run.id,
        "trigger": run.trigger.value,
        "full": run.full,
        "dry_run": run.dry_run,
    }
    try:
        with (
            # A script that is traced itself says so, and the cycle is part of its trace.
            tracing.root("sync cycle", told, os.environ.get("TRACEPARENT")) as span,
            belonging_to(sync=name, run=run.id, **span.log_fields),
        ):
            report = _report(sync, bundle, run, observers, lease)
            span.note(report.trace_attributes())
            if report.failure is not None:
                span.fail(report.failure)
    except (CycleStoppedError, asyncio.CancelledError):
        complain("stopped; what was written so far stands, and the next run goes on from here")
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if show:
            print(end="\r\x1b[K", file=sys.stderr)
        tracing.stop()
    return report


def _report(
    sync: MetronomeSync,
    bundle: Bundle,
    run: Run,
    observers: Observers,
    lease: AbstractContextManager[HeldLease] | None,
) -> CycleReport:
    """Run the cycle, or report why it could not be run."""
    try:
        inputs = resolve(sync, bundle)
        with lease or nullcontext() as held:
            run = replace(run, now=datetime.now(UTC))  # that of the Lease may have taken a while
            return asyncio.run(_until_stopped(inputs, run, observers, held))
    except ProductError as error:
        report = new_report(run)
        fail(report, error)
        return report


async def _until_stopped(
    inputs: SyncInputs, run: Run, observers: Observers, lease: HeldLease | None
) -> CycleReport:
    """Run the cycle; the first ctrl-C ends it after the call under way, the second at once.

    So does the loss of the Lease, with the error that says so.
    """
    stop = threading.Event()
    cycle = asyncio.ensure_future(
        run_sync(inputs, run, observers, environment=os.environ, stop=stop)
    )
    loop = asyncio.get_running_loop()

    def end() -> None:
        # Both: the event ends a row of blocking calls, the cancellation a wait for Metronome.
        stop.set()
        with suppress(RuntimeError):  # the run is over
            loop.call_soon_threadsafe(cycle.cancel)

    def interrupt(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        complain("\nstopping after the call that is under way; ctrl-C again stops at once")
        end()
        # Salesforce is called in threads, which cannot be cancelled and may wait for minutes.
        last = threading.Timer(_STOP_SECONDS, os.kill, (os.getpid(), signal.SIGINT))
        last.daemon = True
        last.start()

    # Not the loop's own handler, which would not be heard while the plan is computed or printed.
    signal.signal(signal.SIGINT, interrupt)
    if lease is not None:
        lease.when_lost(end)
    try:
        return await cycle
    except (CycleStoppedError, asyncio.CancelledError):
        if lease is not None and lease.lost is not None:
            raise lease.lost from None
        raise
