"""`demo` and `sandbox`: the real operator on an emulated tenant, org and cluster, on a laptop.

Everything is on loopback, in one folder, and ends with the command. The operator is a process of
its own, started as in a cluster; the emulators run here, so that the story can be told with what
they counted and hold, not with what the operator says of itself.
"""

import os
import sys
import tempfile
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from metronome_salesforce.demo.stage import DemoError, set_up
from metronome_salesforce.demo.staying import print_addresses, wait_for_interrupt
from metronome_salesforce.demo.story import tell

# Two days, because usage is synced for days that are over.
_DEMO_LAG = timedelta(days=2)
_SANDBOX_LAG = timedelta(days=7)


def main(*, customers: int, stay: bool, folder: Path | None = None) -> int:
    """Tell the story; with `stay`, keep everything up until ctrl-C. The exit code.

    Kubeconfig, manifests and the operator's log go to `folder`, by default to one that is removed
    at the end.
    """
    # Everything is on this machine, where no proxy leads to.
    for name in ("NO_PROXY", "no_proxy"):
        given = os.environ.get(name)
        os.environ[name] = ",".join([*([given] if given else []), "127.0.0.1", "localhost"])
    with ExitStack() as stack:
        if folder is None:
            made = tempfile.TemporaryDirectory(prefix="metronome-salesforce-")
            folder = Path(stack.enter_context(made))
        try:
            lag = _SANDBOX_LAG if stay else _DEMO_LAG
            stage = stack.enter_context(set_up(folder, customers, lag=lag))
            tell(stage)
            if stay:
                print_addresses(stage)
                wait_for_interrupt(stage)
        except DemoError as error:
            print(f"\n{error}", file=sys.stderr)  # noqa: T201 -- a command line prints
            return 1
    return 0
