"""Assemble a cycle from a MetronomeSync's spec and its secrets, and run it.

The one place where both edges meet: the child process of the operator and `sync -f` run the very
same thing.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import datetime

from metronome_salesforce import tracing
from metronome_salesforce.cycle import (
    CycleSettings,
    Observers,
    Run,
    fail,
    new_report,
    run_cycle,
)
from metronome_salesforce.errors import ProductError
from metronome_salesforce.hosts import host_rules
from metronome_salesforce.inputs import SyncInputs
from metronome_salesforce.metronome.client import MetronomeClient
from metronome_salesforce.metronome.source import MetronomeSource, SourceSettings
from metronome_salesforce.planning import Place
from metronome_salesforce.relinking import LinkJob, LinkReport, failed_links, run_links
from metronome_salesforce.report import CycleReport
from metronome_salesforce.salesforce.credentials import parse_credentials
from metronome_salesforce.salesforce.failures import RetryPolicy
from metronome_salesforce.salesforce.session import Session
from metronome_salesforce.salesforce.target import SalesforceTarget
from metronome_salesforce.spec import MetronomeSync

logger = logging.getLogger(__name__)


async def run_sync(
    inputs: SyncInputs,
    run: Run,
    observers: Observers,
    *,
    environment: Mapping[str, str],
    stop: threading.Event | None = None,
) -> CycleReport:
    """Run one cycle and report; what keeps it from starting is in the report as well.

    `environment` is the process's: it may allow further hosts (see `hosts`). Raises
    CycleStoppedError when `stop` was set, and whatever is a bug.
    """
    with tracing.span("run cycle") as span:
        report = await _run_cycle(inputs, run, observers, environment, stop)
        span.note(report.trace_attributes())
        if report.failure is not None:
            span.fail(report.failure)
    return report


async def _run_cycle(
    inputs: SyncInputs,
    run: Run,
    observers: Observers,
    environment: Mapping[str, str],
    stop: threading.Event | None,
) -> CycleReport:
    try:
        source, target = await connect(inputs, run, observers, environment=environment)
    except ProductError as error:
        report = new_report(run)
        fail(report, error)
        return report
    try:
        return await run_cycle(
            _cycle_settings(inputs.sync), run, source, target, observers, stop=stop
        )
    finally:
        await source.close()
        target.close()


async def run_linking(
    inputs: SyncInputs,
    job: LinkJob,
    *,
    moving: Callable[[Mapping[str, Place]], None],
    environment: Mapping[str, str],
    resolved: Callable[[Mapping[str, str]], None] = lambda _customers: None,
    stop: threading.Event | None = None,
    session: Session | None = None,
) -> LinkReport:
    """Move customers as `relinking.run_links` says; what keeps it from starting is reported too.

    `session` is one that is kept and goes on to be used; without it one is opened for this run.
    """
    try:
        source = _source(inputs, job.now, environment=environment)
        target = await _target(inputs, source, session, environment=environment)
    except ProductError as error:
        return failed_links(error)
    try:
        return await run_links(
            _cycle_settings(inputs.sync),
            job,
            source,
            target,
            moving=moving,
            resolved=resolved,
            stop=stop,
        )
    finally:
        await source.close()
        if session is None:
            target.close()


def open_session(
    inputs: SyncInputs, *, environment: Mapping[str, str], policy: RetryPolicy | None = None
) -> Session:
    """A session with the org, not yet signed in. Raises ConfigError."""
    spec = inputs.sync.spec
    host_rules(environment).check(spec.salesforce.instance_url)
    return Session(
        spec.salesforce.instance_url,
        parse_credentials(inputs.credentials),
        spec.salesforce.api_version,
        namespace=spec.salesforce.namespace_prefix,
        ca_bundle=inputs.ca_bundle,
        policy=policy,
    )


def pending_links(session: Session) -> list[str]:
    """The customers whose Account somebody changed in the org; one query.

    Raises ConfigError and RetriableError.
    """
    return SalesforceTarget(session).pending_links()


async def connect(
    inputs: SyncInputs, run: Run, observers: Observers, *, environment: Mapping[str, str]
) -> tuple[MetronomeSource, SalesforceTarget]:
    """Both edges, ready and not yet connected. Raises ConfigError."""
    source = _source(
        inputs,
        run.now,
        environment=environment,
        progress=lambda done, total: observers.progress("fetch Invoice", done, total),
    )
    return source, await _target(inputs, source, None, environment=environment)


async def _target(
    inputs: SyncInputs,
    source: MetronomeSource,
    session: Session | None,
    *,
    environment: Mapping[str, str],
) -> SalesforceTarget:
    """The org's side of a run; closes the other side, `source`, where there can be no run."""
    try:
        return SalesforceTarget(session or open_session(inputs, environment=environment))
    except BaseException:
        await source.close()
        raise


def _source(
    inputs: SyncInputs,
    now: datetime,
    *,
    environment: Mapping[str, str],
    progress: Callable[[int, int], None] | None = None,
) -> MetronomeSource:
    spec = inputs.sync.spec
    host_rules(environment).check(spec.metronome.base_url)

    def client(source: MetronomeSource) -> MetronomeClient:
        return MetronomeClient(
            base_url=spec.metronome.base_url,
            api_key=inputs.api_key,
            max_concurrent_requests=spec.metronome.max_concurrent_requests,
            on_request=source.on_request,
            on_malformed=source.on_malformed,
            on_duplicate=source.on_duplicate,
        )

    return MetronomeSource.connect(
        SourceSettings(
            now=now,
            window_size=spec.window_size,
            salesforce_id_field=spec.metronome.salesforce_id_field,
            statuses=frozenset(status.upper() for status in spec.invoices.statuses),
            skip_zero=spec.usage.skip_zero,
            concurrency=spec.metronome.max_concurrent_requests,
        ),
        client,
        progress=progress,
    )


def _cycle_settings(sync: MetronomeSync) -> CycleSettings:
    spec = sync.spec
    return CycleSettings(
        objects=frozenset(spec.objects),
        sync=f"{sync.metadata.namespace}/{sync.metadata.name}",
        history_limit=spec.history_limit,
        install_package=spec.salesforce.package.install,
        window_size=spec.window_size,
        invoices_since=spec.invoices.since,
        usage_lookback=spec.usage.lookback,
        prune=spec.prune.enabled,
        max_delete_percent=spec.prune.max_delete_percent,
        heal_edits=spec.heal_edits,
        api_budget_percent=spec.salesforce.api_budget_percent,
        write_back=spec.linking.write_back,
    )
