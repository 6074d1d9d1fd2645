"""The command line.

Exit codes: 0 done (Succeeded, Planned), 1 Failed or Refused, 2 wrong usage or an invalid manifest,
3 PartiallyFailed: some rows were rejected, or a CustomerLink cannot be followed, 130 stopped with
ctrl-C, 141 nobody reads the output.
"""

import argparse
import asyncio
import json
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from pydantic import TypeAdapter, ValidationError

from metronome_salesforce import tracing
from metronome_salesforce.cycle import Observers, Run, fail, new_report
from metronome_salesforce.errors import ConfigError, ProductError
from metronome_salesforce.execution.running import run_sync
from metronome_salesforce.fieldtypes import SalesforceVersion
from metronome_salesforce.filelinks import all_followed, left_aside, links_of, links_text
from metronome_salesforce.inputs import SyncInputs, resolve
from metronome_salesforce.logs import LEVELS, Style, belonging_to, configure, parse_levels
from metronome_salesforce.manifests import Bundle, InvalidManifest, load
from metronome_salesforce.objects import ACCOUNT_SUMMARY, OBJECTS
from metronome_salesforce.planning import Plan
from metronome_salesforce.printing import (
    OutputError,
    changes_json,
    changes_text,
    flush_output,
    put,
    report_text,
)
from metronome_salesforce.report import CycleReport, Outcome, Trigger
from metronome_salesforce.spec import MetronomeSync, problems
from metronome_salesforce.stepping import CycleStoppedError

if TYPE_CHECKING:
    from metronome_salesforce.commandsync import CommandSync
    from metronome_salesforce.heldlease import HeldLease

SUCCEEDED, FAILED, USAGE, PARTIALLY_FAILED = 0, 1, 2, 3
_CODES = {
    Outcome.SUCCEEDED: SUCCEEDED,
    Outcome.PLANNED: SUCCEEDED,
    Outcome.FAILED: FAILED,
    Outcome.REFUSED: FAILED,
    Outcome.PARTIALLY_FAILED: PARTIALLY_FAILED,
}
_INTERRUPTED = 128 + signal.SIGINT
_NOBODY_READS = 128 + signal.SIGPIPE
_STOP_SECONDS = 10.0
"""How long a call that is under way may take to end after ctrl-C."""
_HIGHEST_SCORE = 100


def run(arguments: Sequence[str]) -> int:
    """Run one command; the exit code."""
    try:
        try:
            return _run_command(arguments)
        finally:
            flush_output()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except OutputError as error:
        # Else Python writes what is left when it ends, and complains.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.is_closed:
            return _NOBODY_READS
        _complain(str(error))
        return FAILED


def _run_command(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    style: Style = options.log_format or ("text" if sys.stderr.isatty() else "json")
    try:
        levels = parse_levels(options.log_level or ())
    except ValueError as error:
        _complain(f"--log-level {error}: a level is one of {', '.join(LEVELS)}")
        return USAGE
    configure(style, levels)
    try:
        code: int = options.command(options)
    except InvalidManifest as error:
        _complain(error.message)
        return USAGE
    except _UsageError as error:
        _complain(str(error))
        return USAGE
    return code


class _UsageError(Exception):
    """What the person typed cannot be done; the message says what to type instead."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="metronome-salesforce",
        description="Keep Salesforce equal to Metronome: invoices, plans, credits, daily usage.",
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"%(prog)s {version('metronome-salesforce-operator')}",
    )
    parser.add_argument(
        "--log-format", choices=("json", "text"), help="default: text on a terminal, else json"
    )
    parser.add_argument(
        "--log-level",
        action="append",
        metavar="[LOGGER=]LEVEL",
        help="log lines from this level up (debug, info, warning, error), or those of one logger, "
        "such as metronome_salesforce.metronome=debug; repeat for several; default: info",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    operator = commands.add_parser("operator", help="run in a cluster and serve MetronomeSyncs")
    operator.add_argument(
        "--namespace", action="append", help="watch this namespace only; repeat for several"
    )
    operator.add_argument("--host", help="address to listen on; default: all, IPv4 and IPv6")
    operator.add_argument("--port", type=int, default=8080, help="of /metrics and the probes")
    operator.add_argument(
        "--identity",
        default=os.environ.get("POD_NAME"),
        help="what Leases are held under; default: the environment's POD_NAME",
    )
    operator.add_argument(
        "--progress-every", type=float, default=2.0, help="seconds between two status updates"
    )
    operator.add_argument(
        "--max-cycles",
        type=_count,
        default=10,
        help="cycles that run at once, each in a process of its own; others wait",
    )
    operator.set_defaults(command=_operator)

    sync = commands.add_parser("sync", help="run one cycle from manifest files, without a cluster")
    _add_manifest_options(sync)
    sync.add_argument("--dry-run", action="store_true", help="print the plan, write nothing")
    sync.add_argument(
        "--full", action="store_true", help="full resync: compare every row field by field"
    )
    sync.add_argument(
        "--lease",
        action="store_true",
        help="hold the Lease of the same MetronomeSync in a cluster, so that no operator writes "
        "meanwhile",
    )
    sync.add_argument(
        "--lease-wait",
        type=_seconds,
        metavar="SECONDS",
        help="how long to wait for who holds the Lease; default: 40",
    )
    sync.add_argument("--kubeconfig", help="of the cluster; default: as kubectl finds it")
    sync.set_defaults(command=_sync)

    plan = commands.add_parser("plan", help="show what a cycle would change")
    _add_manifest_options(plan)
    plan.add_argument("--details", action="store_true", help="row by row, field by field")
    plan.set_defaults(command=_plan)

    _add_links(commands.add_parser("links", help="show where customers hang, and suggest Accounts"))

    _add_package(commands.add_parser("package", help="the Metronome app for Salesforce"))

    _add_doctor(
        commands.add_parser("doctor", help="look at everything that a cycle needs, write nothing")
    )

    for name, help_ in (
        ("demo", "show the operator at work on an emulated tenant, org and cluster, and end"),
        ("sandbox", "the same, and stay up to be tried with kubectl"),
    ):
        sandbox = commands.add_parser(name, help=help_)
        sandbox.add_argument(
            "--customers", type=int, default=12, help="of the emulated tenant; default: 12"
        )
        if name == "sandbox":
            sandbox.add_argument(
                "--folder",
                type=Path,
                help="for kubeconfig, manifests and log; default: one that goes at the end",
            )
        sandbox.set_defaults(command=_sandbox, stay=name == "sandbox", folder=None)

    # Without help: the operator starts it, people do not.
    commands.add_parser("cycle-worker").set_defaults(command=_cycle_worker)
    return parser


def _add_manifest_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-f",
        "--filename",
        action="append",
        required=True,
        help="file or folder with MetronomeSync, CustomerLink, Secret and ConfigMap documents; "
        "- for stdin",
    )
    parser.add_argument("--sync", help="name of the MetronomeSync, if the files hold several")
    parser.add_argument("--output", choices=("text", "json"), default="text", help="default: text")
    parser.add_argument(
        "--last-success",
        type=_time,
        metavar="TIME",
        help="look back from this time (RFC 3339) as a daily cycle does; default: look at what a "
        "full resync looks at",
    )


def _api_version(text: str) -> str:
    try:
        return TypeAdapter(SalesforceVersion).validate_python(text)
    except ValidationError as error:
        (found,) = problems(error)
        raise argparse.ArgumentTypeError(found.message) from None


def _add_package(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    deploy = commands.add_parser(
        "deploy", help="install or upgrade it in an org, and assign its permission sets"
    )
    _add_sync_options(deploy)
    deploy.add_argument(
        "--credentials",
        metavar="SECRET",
        help="Secret with the sign-in of an administrator, who deploys and assigns; default: the "
        "integration user does",
    )
    deploy.add_argument(
        "--dry-run", action="store_true", help="let the org check the package, and keep nothing"
    )
    deploy.add_argument(
        "--assign",
        action="append",
        metavar="USER",
        help="username to give Metronome User and Metronome Admin; repeat for several",
    )
    deploy.add_argument(
        "--assign-reader",
        action="append",
        metavar="USER",
        help="username to give Metronome User only; repeat for several",
    )
    deploy.set_defaults(command=_package_deploy)

    check = commands.add_parser("check", help="say what an org lacks of it, and what mends that")
    _add_sync_options(check)
    check.add_argument("--output", choices=("text", "json"), default="text", help="default: text")
    check.set_defaults(command=_package_check)

    zip_ = commands.add_parser("zip", help="write the metadata to deploy as a zip file")
    zip_.add_argument("file", type=Path, metavar="FILE", help="the zip file to write")
    zip_.add_argument(
        "--api-version",
        type=_api_version,
        help="of Salesforce's Metadata API; default: 66.0",
    )
    zip_.set_defaults(command=_package_zip)

    export = commands.add_parser(
        "export", help="write the source as a project of the Salesforce CLI"
    )
    export.add_argument("folder", type=Path, metavar="DIR", help="a new or empty folder")
    export.set_defaults(command=_package_export)


def _add_sync_options(parser: argparse.ArgumentParser) -> None:
    """Which MetronomeSync it is about, one in files or one in a cluster."""
    parser.add_argument(
        "-f",
        "--filename",
        action="append",
        help="file or folder with MetronomeSync, CustomerLink, Secret and ConfigMap documents; "
        "- for stdin",
    )
    parser.add_argument("--sync", help="name of the MetronomeSync; without -f, of one in a cluster")
    parser.add_argument("--namespace", help="of the MetronomeSync in a cluster; default: default")
    parser.add_argument("--kubeconfig", help="of the cluster; default: as kubectl finds it")


def _add_links(parser: argparse.ArgumentParser) -> None:
    _add_sync_options(parser)
    parser.add_argument(
        "--orphans", action="store_true", help="show customers without Account only"
    )
    parser.add_argument(
        "--min-score",
        type=_score,
        default=90,
        help="suggest Accounts whose name is so alike, 0 to 100; default: 90",
    )
    parser.add_argument(
        "--write",
        type=Path,
        metavar="DIR",
        help="write a CustomerLink for each suggestion beyond doubt to this folder",
    )
    parser.add_argument("--output", choices=("text", "json"), default="text", help="default: text")
    parser.set_defaults(command=_links)


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    _add_sync_options(parser)
    parser.add_argument(
        "--as-service-account",
        type=_account,
        metavar="NAMESPACE/NAME",
        help="ask for the rights of the operator's ServiceAccount; default: for one's own, which "
        "is the operator's inside its pod",
    )
    parser.add_argument("--output", choices=("text", "json"), default="text", help="default: text")
    parser.set_defaults(command=_doctor)


def _account(text: str) -> tuple[str, str]:
    namespace, slash, name = text.partition("/")
    if not (namespace and slash and name) or "/" in name:
        raise argparse.ArgumentTypeError("must be NAMESPACE/NAME")
    return namespace, name


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number from 1 up")
    return int(text)


def _score(text: str) -> int:
    if not text.isdecimal() or int(text) > _HIGHEST_SCORE:
        raise argparse.ArgumentTypeError("must be a whole number from 0 to 100")
    return int(text)


def _seconds(text: str) -> float:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError("must be a whole number of seconds")
    return float(text)


def _time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("must be a time such as 2026-03-10T06:00:00Z") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


# -- sync and plan -------------------------------------------------------------------------------


def _sync(options: argparse.Namespace) -> int:
    if options.lease and options.dry_run:
        raise _UsageError("--dry-run writes nothing and needs no Lease; leave out --lease")
    if not options.lease and (options.kubeconfig or options.lease_wait is not None):
        raise _UsageError("--kubeconfig and --lease-wait are for --lease; leave them out without")
    sync, bundle = _chosen(options)
    dry_run = options.dry_run or sync.spec.dry_run
    if sync.spec.suspend and not dry_run:
        _complain("spec.suspend is true: that stops the operator, and not this command")
    if options.lease and dry_run:
        _complain("spec.dryRun is true: nothing is written, and no Lease is taken")
    lease = _lease(sync, options) if options.lease and not dry_run else None
    report = _run(sync, bundle, options, dry_run=dry_run, full=options.full, lease=lease)
    if options.output == "json":
        put(json.dumps(report.to_json(), indent=2))
    else:
        put("\n".join([report_text(report), *links_text(report)]))
    return _code(report)


def _lease(sync: MetronomeSync, options: argparse.Namespace) -> "AbstractContextManager[HeldLease]":
    from metronome_salesforce.heldlease import PATIENCE, LeaseOptions, held

    wait = PATIENCE if options.lease_wait is None else options.lease_wait
    return held(sync, LeaseOptions(options.kubeconfig, wait), _complain)


def _plan(options: argparse.Namespace) -> int:
    """Print the plan while it is read: in memory, the changes of a large org are gigabytes."""
    sync, bundle = _chosen(options)
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
    return _code(report)


def _code(report: CycleReport) -> int:
    code = _CODES[report.outcome]
    return PARTIALLY_FAILED if code == SUCCEEDED and not all_followed(report) else code


def _chosen(options: argparse.Namespace) -> tuple[MetronomeSync, Bundle]:
    bundle = load(options.filename)
    if bundle.notes:
        others = len(bundle.notes) - 1
        more = f", as {'is' if others == 1 else 'are'} {others} other document"
        _complain(bundle.notes[0] + (f"{more}{'' if others == 1 else 's'}" if others else ""))
    for note in left_aside(bundle):
        _complain(note)
    names = [sync.metadata.name for sync in bundle.syncs]
    wanted = [sync for sync in bundle.syncs if options.sync in (None, sync.metadata.name)]
    if not wanted:
        listed = f"; they hold {', '.join(names)}" if names else ""
        raise _UsageError(
            "there is no MetronomeSync "
            + (f"named {options.sync} " if options.sync else "")
            + f"in the files{listed}"
        )
    if len(wanted) > 1:
        raise _UsageError(
            f"the files hold several MetronomeSyncs ({', '.join(names)}): name one with --sync"
        )
    return wanted[0], bundle


def _run(
    sync: MetronomeSync,
    bundle: Bundle,
    options: argparse.Namespace,
    *,
    dry_run: bool,
    full: bool = False,
    details: bool = False,
    show_plan: Callable[[Plan], None] | None = None,
    lease: "AbstractContextManager[HeldLease] | None" = None,
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
    observers = Observers(_show_progress if show else lambda *_: None, show_plan)
    name = f"{sync.metadata.namespace}/{sync.metadata.name}"
    told = {
        "sync": name,
        "run": run.id,
        "trigger": run.trigger.value,
        "full": run.full,
        "dry_run": run.dry_run,
    }
    try:
        tracing.start(os.environ)
    except ConfigError as error:
        raise _UsageError(error.message) from None
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
        _complain("stopped; what was written so far stands, and the next run goes on from here")
        sys.exit(_INTERRUPTED)
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
    lease: "AbstractContextManager[HeldLease] | None",
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
    inputs: SyncInputs, run: Run, observers: Observers, lease: "HeldLease | None"
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
        _complain("\nstopping after the call that is under way; ctrl-C again stops at once")
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


def _show_progress(stage: str, done: int, total: int | None) -> None:
    of = "" if total is None else f" of {total}"
    print(
        f"\r\x1b[K{stage}" + (f": {done}{of}" if done else ""), end="", file=sys.stderr, flush=True
    )


# -- links ---------------------------------------------------------------------------------------


def _links(options: argparse.Namespace) -> int:
    # Imported here, because nothing else needs to know how alike names are.
    from metronome_salesforce import linkscommand
    from metronome_salesforce.commandsync import CommandError

    asked = linkscommand.LinksOptions(
        options.min_score, options.orphans, options.write, options.output == "json"
    )
    try:
        print(linkscommand.show(_command_sync(options), asked, os.environ))
    except CommandError as error:
        _complain(str(error))
        return FAILED
    return SUCCEEDED


def _command_sync(options: argparse.Namespace, credentials: str | None = None) -> "CommandSync":
    """The MetronomeSync of the files or the cluster; raises _UsageError and CommandError."""
    from metronome_salesforce import commandsync

    _check_sync_options(options)
    if options.filename is not None:
        return commandsync.from_files(*_chosen(options), credentials)
    space = options.namespace or "default"
    return commandsync.from_cluster(
        space, options.sync, options.kubeconfig, os.environ, credentials
    )


def _check_sync_options(options: argparse.Namespace) -> None:
    """Raise _UsageError unless they name a MetronomeSync, in files or in a cluster."""
    in_cluster = options.filename is None
    if in_cluster and options.sync is None:
        raise _UsageError(
            "name the MetronomeSync: -f FILE for one in files, --sync NAME for one in a cluster"
        )
    if not in_cluster and (options.namespace or options.kubeconfig):
        raise _UsageError("--namespace and --kubeconfig are for a cluster; leave them out with -f")


# -- package -------------------------------------------------------------------------------------


def _package_deploy(options: argparse.Namespace) -> int:
    from metronome_salesforce import packagecommand
    from metronome_salesforce.commandsync import CommandError

    try:
        asked = packagecommand.DeployOptions(
            dry_run=options.dry_run,
            readers=tuple(options.assign_reader or ()),
            others=tuple(options.assign or ()),
        )
        chosen = _command_sync(options, options.credentials)
        progress = _show_progress if sys.stderr.isatty() else lambda *_: None
        done = packagecommand.deploy(chosen, asked, progress, os.environ)
    except CommandError as error:
        _complain(str(error))
        return FAILED
    finally:
        if sys.stderr.isatty():
            print(end="\r\x1b[K", file=sys.stderr)
    put(done.text)
    return SUCCEEDED if done.succeeded else FAILED


def _package_check(options: argparse.Namespace) -> int:
    from metronome_salesforce import packagecommand
    from metronome_salesforce.commandsync import CommandError

    try:
        done = packagecommand.check(
            _command_sync(options),
            os.environ,
            where=_typed(options),
            as_json=options.output == "json",
        )
    except CommandError as error:
        _complain(str(error))
        return FAILED
    put(done.text)
    return SUCCEEDED if done.succeeded else FAILED


def _typed(options: argparse.Namespace) -> str:
    """The options that name the MetronomeSync, as they were typed."""
    named = [("-f", name) for name in options.filename or ()]
    named += [
        (f"--{name}", value)
        for name in ("sync", "namespace", "kubeconfig")
        if (value := getattr(options, name)) is not None
    ]
    return " ".join(f"{option} {shlex.quote(str(value))}" for option, value in named)


def _package_zip(options: argparse.Namespace) -> int:
    from metronome_salesforce.salesforce.package import package_zip

    try:
        options.file.write_bytes(package_zip(options.api_version))
    except OSError as error:
        raise _UsageError(f"cannot write {options.file}: {error.strerror}") from None
    put(
        f"{options.file} is written. Deploy it with: sf project deploy start "
        f"--metadata-dir {options.file} --single-package, then assign the permission set "
        "Metronome_Integration to the integration user and Metronome_User to the people."
    )
    return SUCCEEDED


def _package_export(options: argparse.Namespace) -> int:
    from metronome_salesforce.salesforce.package import export

    try:
        count = export(options.folder)
    except OSError as error:
        raise _UsageError(f"cannot write to {options.folder}: {error.strerror}") from None
    put(
        f"{count} files are written to {options.folder}. Deploy them from there with: sf project "
        "deploy start"
    )
    return SUCCEEDED


# -- doctor --------------------------------------------------------------------------------------


def _doctor(options: argparse.Namespace) -> int:
    from metronome_salesforce import doctor, doctorcommand
    from metronome_salesforce.doctorcluster import Place

    _check_sync_options(options)
    if options.filename is not None:
        if options.as_service_account is not None:
            raise _UsageError("--as-service-account is for a cluster; leave it out with -f")
        checks = doctorcommand.doctor_files(*_chosen(options), os.environ)
    else:
        place = Place(options.namespace or "default", options.sync, options.as_service_account)
        checks = doctorcommand.doctor_cluster(place, options.kubeconfig, os.environ)
    put(doctor.as_json(checks) if options.output == "json" else doctor.as_text(checks))
    return SUCCEEDED if doctor.is_healthy(checks) else FAILED


# -- the others ----------------------------------------------------------------------------------


def _operator(options: argparse.Namespace) -> int:
    # Imported here, because kopf configures its surroundings when it is imported.
    from metronome_salesforce import handlers

    return handlers.run(
        handlers.OperatorOptions(
            namespaces=tuple(options.namespace or ()),
            host=options.host,
            port=options.port,
            identity=options.identity,
            progress_every=options.progress_every,
            max_cycles=options.max_cycles,
        )
    )


def _cycle_worker(_options: argparse.Namespace) -> int:
    from metronome_salesforce.execution import worker

    return worker.main()


def _sandbox(options: argparse.Namespace) -> int:
    try:
        from metronome_salesforce import demo
    except ImportError:
        raise _UsageError(
            "the sandbox is not part of this installation; install it with: "
            "pip install 'metronome-salesforce-operator[sandbox]'"
        ) from None
    with suppress(KeyboardInterrupt):
        return demo.main(customers=options.customers, stay=options.stay, folder=options.folder)
    return _INTERRUPTED


def _complain(text: str) -> None:
    print(text, file=sys.stderr)
