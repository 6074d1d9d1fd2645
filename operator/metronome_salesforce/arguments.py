"""What can be typed on the command line."""

import argparse
import os
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from metronome_salesforce.fieldtypes import SalesforceVersion
from metronome_salesforce.spec import problems

_HIGHEST_SCORE = 100


def parser() -> argparse.ArgumentParser:
    """The parser; what it finds has the name of the command in `command`."""
    whole = argparse.ArgumentParser(
        prog="metronome-salesforce",
        description="Keep Salesforce equal to Metronome: invoices, plans, credits, daily usage.",
    )
    whole.add_argument(
        "--version",
        action="version",
        version=f"%(prog)s {version('metronome-salesforce-operator')}",
    )
    whole.add_argument(
        "--log-format", choices=("json", "text"), help="default: text on a terminal, else json"
    )
    whole.add_argument(
        "--log-level",
        action="append",
        metavar="[LOGGER=]LEVEL",
        help="log lines from this level up (debug, info, warning, error), or those of one logger, "
        "such as metronome_salesforce.metronome=debug; repeat for several; default: info",
    )
    commands = whole.add_subparsers(required=True, metavar="COMMAND")

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
    operator.set_defaults(command="operator")

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
    sync.set_defaults(command="sync")

    plan = commands.add_parser("plan", help="show what a cycle would change")
    _add_manifest_options(plan)
    plan.add_argument("--details", action="store_true", help="row by row, field by field")
    plan.set_defaults(command="plan")

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
        sandbox.set_defaults(command="sandbox", stay=name == "sandbox", folder=None)

    # Without help: the operator starts it, people do not.
    commands.add_parser("cycle-worker").set_defaults(command="cycle-worker")
    return whole


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
    deploy.set_defaults(command="package deploy")

    check = commands.add_parser("check", help="say what an org lacks of it, and what mends that")
    _add_sync_options(check)
    check.add_argument("--output", choices=("text", "json"), default="text", help="default: text")
    check.set_defaults(command="package check")

    zip_ = commands.add_parser("zip", help="write the metadata to deploy as a zip file")
    zip_.add_argument("file", type=Path, metavar="FILE", help="the zip file to write")
    zip_.add_argument(
        "--api-version",
        type=_api_version,
        help="of Salesforce's Metadata API; default: 66.0",
    )
    zip_.set_defaults(command="package zip")

    export = commands.add_parser(
        "export", help="write the source as a project of the Salesforce CLI"
    )
    export.add_argument("folder", type=Path, metavar="DIR", help="a new or empty folder")
    export.set_defaults(command="package export")


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
    parser.set_defaults(command="links")


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
    parser.set_defaults(command="doctor")


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
