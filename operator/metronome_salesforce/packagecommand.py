"""`package deploy` and `package check`: the Metronome app in the org of one MetronomeSync."""

import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass

from tabulate import tabulate

from metronome_salesforce.commandsync import CommandError, CommandSync
from metronome_salesforce.errors import ProductError
from metronome_salesforce.execution.running import open_session
from metronome_salesforce.salesforce import installing
from metronome_salesforce.salesforce.access import org_state
from metronome_salesforce.salesforce.checking import PackageCheck, check_package, grouped
from metronome_salesforce.salesforce.deploying import DeployReport, Problem, Progress
from metronome_salesforce.salesforce.package import (
    ADMIN_SET,
    INTEGRATION_SET,
    USER_SET,
    package_version,
)
from metronome_salesforce.salesforce.session import Session

_WIDTH = 70


@dataclass(frozen=True, slots=True)
class DeployOptions:
    """What was asked for: usernames to give the set for readers, or that and the admins'."""

    dry_run: bool
    readers: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """What to print, and whether all is as it should be."""

    text: str
    succeeded: bool


def deploy(
    chosen: CommandSync,
    options: DeployOptions,
    progress: Callable[[str, int, int | None], None],
    environment: Mapping[str, str],
) -> Done:
    """Deploy the package and assign its permission sets; raises CommandError.

    A newer package than the operator's is left alone, but its permission sets are assigned.
    """
    if chosen.inputs.sync.spec.salesforce.namespace_prefix:
        raise CommandError(
            "spec.salesforce.namespacePrefix is set: a package with a namespace is installed from "
            "its own page in the org; this command deploys one without"
        )
    texts: list[str] = []
    try:
        with closing(open_session(chosen.admin or chosen.inputs, environment=environment)) as admin:
            admin.sign_in()
            # What is the matter with every call is not to be told of the first one.
            org_state(admin)
            people = _people(admin, options)
            refused = _deploy(admin, options, progress, texts)
            if refused is None and not options.dry_run:
                integration_user = _integration_user(chosen, admin, environment)
                texts.extend(_assigned(admin, integration_user, people))
    except ProductError as error:
        # What was done before it is not undone.
        raise CommandError("\n".join([*texts, error.message])) from None
    return refused or Done("\n".join(texts), succeeded=True)


def _deploy(
    admin: Session,
    options: DeployOptions,
    progress: Callable[[str, int, int | None], None],
    texts: list[str],
) -> Done | None:
    """Deploy, unless the org has a newer package, and add to `texts`; what to print if refused."""
    # Who may deploy sees the record of the version, by the permission Customize Application.
    ours, theirs = package_version(), installing.installed_version(admin)
    if theirs is not None and installing.is_older(ours, theirs):
        texts.append(f"The org has the Metronome package {theirs}, newer than {ours}: it stays.")
        return None
    report = installing.install(admin, check_only=options.dry_run, progress=_told(progress))
    if not report.succeeded:
        return Done(_refused_text(report), succeeded=False)
    texts.extend(_deployed_lines(report, theirs, dry_run=options.dry_run))
    return None


def _people(admin: Session, options: DeployOptions) -> list[tuple[str, str, str]]:
    """Who shall have which permission set, as (set, user id, username); looked up first."""
    found: list[tuple[str, str, str]] = []
    for username in dict.fromkeys((*options.others, *options.readers)):
        user_id = installing.user_id_of(admin, username)
        found.append((USER_SET, user_id, username))
        if username in options.others:
            found.append((ADMIN_SET, user_id, username))
    return found


def _told(progress: Callable[[str, int, int | None], None]) -> Progress:
    return lambda status, done, total: progress(f"deploy ({status})", done, total)


def _deployed_lines(report: DeployReport, theirs: str | None, *, dry_run: bool) -> Iterator[str]:
    ours = package_version()
    if report.problems:
        yield _problems_table(report.problems)
    if dry_run:
        yield (
            f"The org takes the Metronome package {ours}: {report.total} components. Nothing was "
            "kept of it."
        )
        return
    had = "" if theirs in {None, ours} else f", before {theirs}"
    yield (
        f"The org has the Metronome package {ours}{had}: {report.components} components, of which "
        f"{report.changed} were new or changed."
    )


def _refused_text(report: DeployReport) -> str:
    head = f"The org refused the Metronome package ({report.status}); nothing of it was kept."
    message = [report.message] if report.message else []
    table = [_problems_table(report.problems)] if report.problems else []
    hint = [text] if (text := installing.access_hint(report)) else []
    return "\n".join([head, *message, *table, *hint])


def _problems_table(problems: Sequence[Problem]) -> str:
    rows = [
        (one.type, one.name, f"{one.file}:{one.line}" if one.line else one.file, one.text)
        for one in problems
    ]
    return tabulate(
        rows,
        headers=("type", "component", "file", "problem"),
        disable_numparse=True,
        maxcolwidths=[None, _WIDTH, _WIDTH, _WIDTH],
    )


def _integration_user(chosen: CommandSync, admin: Session, environment: Mapping[str, str]) -> str:
    """The id of the user that the sync signs in as."""
    if chosen.admin is None:
        return admin.user_id or ""
    with closing(open_session(chosen.inputs, environment=environment)) as session:
        session.sign_in()
        return session.user_id or ""


def _assigned(
    admin: Session, integration_user: str, people: Sequence[tuple[str, str, str]]
) -> Iterator[str]:
    """Assign the permission sets, one after the other, and say so."""
    for name, user_id, who in (
        (INTEGRATION_SET, integration_user, "the integration user"),
        *people,
    ):
        new = installing.assign(admin, name, user_id)
        yield f"{name} {'is assigned' if new else 'was assigned already'} to {who}."


def check(
    chosen: CommandSync, environment: Mapping[str, str], *, where: str, as_json: bool
) -> Done:
    """Say what the org lacks, as the integration user sees it; raises CommandError.

    `where` are the options that name the MetronomeSync, for the commands that are shown.
    """
    try:
        with closing(open_session(chosen.inputs, environment=environment)) as session:
            found = check_package(session)
    except ProductError as error:
        raise CommandError(error.message) from None
    text = _check_json(found, where) if as_json else "\n".join(_check_lines(found, where))
    return Done(text, succeeded=not found.findings)


def _check_lines(found: PackageCheck, where: str) -> Iterator[str]:
    version = f"is {found.version}" if found.version else "is not there, or not to be seen"
    yield f"The org's Metronome package {version}; this operator brings {found.ours}."
    if not found.sets_visible:
        yield (
            "The integration user may not look at permission sets: whether the org has all of them "
            "is not told here."
        )
    if not found.findings:
        yield "Every object, field and right that the operator needs is in order."
        return
    rows = [(one.kind, one.name, one.problem) for one in grouped(found.findings)]
    yield tabulate(rows, headers=("what", "name", "problem"), disable_numparse=True)
    yield ""
    yield f"What mends {'it' if len(found.findings) == 1 else f'all {len(found.findings)}'}:"
    yield from _commands(found, where)


def _commands(found: PackageCheck, where: str) -> Iterator[str]:
    """What to type, in this order; a deploy assigns the integration's permission set as well."""
    if found.namespaced and any(one.remedy == "deploy" for one in found.findings):
        yield "  (install the managed package of that namespace from its own page in the org)"
    elif any(one.remedy == "deploy" for one in found.findings):
        yield f"  metronome-salesforce package deploy {where}"
        return
    if found.findings:
        user = shlex.quote(found.username or "USERNAME-OF-THE-INTEGRATION-USER")
        yield f"  sf org assign permset --name {INTEGRATION_SET} --on-behalf-of {user}"
        if not found.namespaced:
            yield f"or metronome-salesforce package deploy {where}"


def _check_json(found: PackageCheck, where: str) -> str:
    return json.dumps(
        {
            "installedVersion": found.version,
            "operatorVersion": found.ours,
            "findings": [asdict(one) for one in grouped(found.findings)],
            "commands": [line.removeprefix("or ").strip() for line in _commands(found, where)],
        },
        indent=2,
    )
