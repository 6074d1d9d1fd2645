"""The command line.

Exit codes: 0 done (Succeeded, Planned), 1 Failed or Refused, 2 wrong usage or an invalid manifest,
3 PartiallyFailed: some rows were rejected, or a CustomerLink cannot be followed, 130 stopped with
ctrl-C, 141 nobody reads the output.
"""

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from metronome_salesforce.arguments import parser
from metronome_salesforce.choosing import (
    UsageError,
    check_sync_options,
    chosen,
    command_sync,
)
from metronome_salesforce.filelinks import all_followed
from metronome_salesforce.logs import LEVELS, Style, configure, parse_levels
from metronome_salesforce.manifests import InvalidManifest
from metronome_salesforce.printing import OutputError, complain, flush_output, put, show_progress
from metronome_salesforce.report import CycleReport, Outcome

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
        complain(str(error))
        return FAILED


def _run_command(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    style: Style = options.log_format or ("text" if sys.stderr.isatty() else "json")
    try:
        levels = parse_levels(options.log_level or ())
    except ValueError as error:
        complain(f"--log-level {error}: a level is one of {', '.join(LEVELS)}")
        return USAGE
    configure(style, levels)
    try:
        code = _COMMANDS[options.command](options)
    except InvalidManifest as error:
        complain(error.message)
        return USAGE
    except UsageError as error:
        complain(str(error))
        return USAGE
    return code


# -- sync and plan -------------------------------------------------------------------------------


def _sync(options: argparse.Namespace) -> int:
    from metronome_salesforce import synccommand

    return _code(synccommand.sync(options))


def _plan(options: argparse.Namespace) -> int:
    from metronome_salesforce import synccommand

    return _code(synccommand.plan(options))


def _code(report: CycleReport) -> int:
    code = _CODES[report.outcome]
    return PARTIALLY_FAILED if code == SUCCEEDED and not all_followed(report) else code


# -- links ---------------------------------------------------------------------------------------


def _links(options: argparse.Namespace) -> int:
    # Imported here, because nothing else needs to know how alike names are.
    from metronome_salesforce import linkscommand
    from metronome_salesforce.commandsync import CommandError

    asked = linkscommand.LinksOptions(
        options.min_score, options.orphans, options.write, options.output == "json"
    )
    try:
        print(linkscommand.show(command_sync(options), asked, os.environ))
    except CommandError as error:
        complain(str(error))
        return FAILED
    return SUCCEEDED


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
        chosen = command_sync(options, options.credentials)
        progress = show_progress if sys.stderr.isatty() else lambda *_: None
        done = packagecommand.deploy(chosen, asked, progress, os.environ)
    except CommandError as error:
        complain(str(error))
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
            command_sync(options),
            os.environ,
            where=_typed(options),
            as_json=options.output == "json",
        )
    except CommandError as error:
        complain(str(error))
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
        raise UsageError(f"cannot write {options.file}: {error.strerror}") from None
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
        raise UsageError(f"cannot write to {options.folder}: {error.strerror}") from None
    put(
        f"{count} files are written to {options.folder}. Deploy them from there with: sf project "
        "deploy start"
    )
    return SUCCEEDED


# -- doctor --------------------------------------------------------------------------------------


def _doctor(options: argparse.Namespace) -> int:
    from metronome_salesforce import doctor, doctorcommand
    from metronome_salesforce.doctorcluster import Place

    check_sync_options(options)
    if options.filename is not None:
        if options.as_service_account is not None:
            raise UsageError("--as-service-account is for a cluster; leave it out with -f")
        checks = doctorcommand.doctor_files(*chosen(options), os.environ)
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
        raise UsageError(
            "the sandbox is not part of this installation; install it with: "
            "pip install 'metronome-salesforce-operator[sandbox]'"
        ) from None
    with suppress(KeyboardInterrupt):
        return demo.main(customers=options.customers, stay=options.stay, folder=options.folder)
    return _INTERRUPTED


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "operator": _operator,
    "sync": _sync,
    "plan": _plan,
    "links": _links,
    "package deploy": _package_deploy,
    "package check": _package_check,
    "package zip": _package_zip,
    "package export": _package_export,
    "doctor": _doctor,
    "sandbox": _sandbox,
    "cycle-worker": _cycle_worker,
}
