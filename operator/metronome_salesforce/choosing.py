"""Which MetronomeSync a command is about, by what was typed: one in files, or one in a cluster."""

import argparse
import os
from typing import TYPE_CHECKING

from metronome_salesforce.filelinks import left_aside
from metronome_salesforce.manifests import Bundle, load
from metronome_salesforce.printing import complain
from metronome_salesforce.spec import MetronomeSync

if TYPE_CHECKING:
    from metronome_salesforce.commandsync import CommandSync


class UsageError(Exception):
    """What the person typed cannot be done; the message says what to type instead."""


def chosen(options: argparse.Namespace) -> tuple[MetronomeSync, Bundle]:
    """The MetronomeSync of the files, and all that they hold; raises UsageError."""
    bundle = load(options.filename)
    if bundle.notes:
        others = len(bundle.notes) - 1
        more = f", as {'is' if others == 1 else 'are'} {others} other document"
        complain(bundle.notes[0] + (f"{more}{'' if others == 1 else 's'}" if others else ""))
    for note in left_aside(bundle):
        complain(note)
    names = [sync.metadata.name for sync in bundle.syncs]
    wanted = [sync for sync in bundle.syncs if options.sync in (None, sync.metadata.name)]
    if not wanted:
        listed = f"; they hold {', '.join(names)}" if names else ""
        raise UsageError(
            "there is no MetronomeSync "
            + (f"named {options.sync} " if options.sync else "")
            + f"in the files{listed}"
        )
    if len(wanted) > 1:
        raise UsageError(
            f"the files hold several MetronomeSyncs ({', '.join(names)}): name one with --sync"
        )
    return wanted[0], bundle


def command_sync(options: argparse.Namespace, credentials: str | None = None) -> "CommandSync":
    """The MetronomeSync of the files or the cluster; raises UsageError and CommandError."""
    # Imported here: a cycle's process needs no Kubernetes client.
    from metronome_salesforce import commandsync  # noqa: PLC0415

    check_sync_options(options)
    if options.filename is not None:
        return commandsync.from_files(*chosen(options), credentials)
    space = options.namespace or "default"
    return commandsync.from_cluster(
        space, options.sync, options.kubeconfig, os.environ, credentials
    )


def check_sync_options(options: argparse.Namespace) -> None:
    """Raise UsageError unless they name a MetronomeSync, in files or in a cluster."""
    in_cluster = options.filename is None
    if in_cluster and options.sync is None:
        raise UsageError(
            "name the MetronomeSync: -f FILE for one in files, --sync NAME for one in a cluster"
        )
    if not in_cluster and (options.namespace or options.kubeconfig):
        raise UsageError("--namespace and --kubeconfig are for a cluster; leave them out with -f")
