"""What the sandbox offers to be tried by hand, until ctrl-C."""

import shlex
import signal
import sys
from pathlib import Path
from threading import Event

from metronome_salesforce.demo.stage import ORPHANS, SETTINGS, SYNC, DemoError, Stage
from metronome_salesforce.demo.story import REQUESTED_AT
from metronome_salesforce.printing import put
from metronome_salesforce.sandbox.metronome import API_KEY

_OFFERED = 3


def print_addresses(stage: Stage) -> None:
    """Say where everything is and what to type, and leave Accounts to try it with."""
    app = stage.org.client_credentials
    _offer_accounts(stage)
    put(
        f"""
Everything stays up until ctrl-C.

  Kubernetes  export KUBECONFIG={shlex.quote(str(stage.kubeconfig.resolve()))}
              kubectl get msync -w
              kubectl describe msync {SYNC}
              kubectl annotate --overwrite msync {SYNC} {REQUESTED_AT}="$(date)"
              kubectl delete msync {SYNC}
              kubectl apply --validate=false -f {_short(stage.manifests)}{_link_hints(stage)}
  Metronome   {stage.metronome_url}/v1/customers  (Authorization: Bearer {API_KEY})
              a day passes: curl -X POST -H 'Content-Type: application/json' \\
                -d '{{"days": 1}}' {stage.metronome_url}/_sandbox/advance
  Web page    {stage.org_http_url}/app shows the org as somebody in sales sees it: set the
              Account of an Orphaned Customer, and see the operator move the billing data
  Salesforce  {stage.org_url} and {stage.org_http_url}
              client id {app.client_id}, client secret {app.client_secret}
  Operator    {stage.operator_url}/metrics, /healthz, /readyz; log: {_short(stage.operator_log)}

Without the cluster, from the same manifests (sync instead of plan writes):

{_plan_command(stage)}
""",
        flush=True,
    )


def _offer_accounts(stage: Stage) -> None:
    """Let sales create Accounts that nothing is linked to yet, for the largest orphans."""
    unlinked = [row for row in stage.org.rows(ORPHANS) if not row["Account__c"]]
    unlinked.sort(key=lambda row: row["Current_Spend__c"] or 0, reverse=True)
    for row in unlinked[:_OFFERED]:
        stage.add_account(row["Metronome_Customer_ID__c"])


def _link_hints(stage: Stage) -> str:
    """What to type with the CustomerLink that the story wrote, if it did."""
    if stage.asked is None:
        return ""
    path, indent = stage.link_path(stage.asked), "\n" + " " * 14
    return (
        f"{indent}kubectl apply --validate=false -f {_short(path)}"
        f"{indent}kubectl get clink; kubectl delete clink {path.stem}"
    )


def _plan_command(stage: Stage) -> str:
    """A command for any shell, whatever its environment says."""
    program = Path(sys.executable).with_name("metronome-salesforce")
    words = [_short(program)] if program.exists() else [_short(Path(sys.executable)), "-m"]
    command = " ".join([*words, *(() if program.exists() else ("metronome_salesforce",))])
    parts = [
        *(f"{name}={value}" for name, value in SETTINGS.items()),
        f"{command} plan -f {_short(stage.manifests)} --details",
    ]
    return "env " + " \\\n  ".join(parts)


def _short(path: Path) -> str:
    """The path as a shell takes it, seen from here if it is below."""
    path = path.absolute()
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def wait_for_interrupt(stage: Stage) -> None:
    """Return after ctrl-C or SIGTERM; raises DemoError when the operator ends."""
    over = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    while not over.wait(1):
        if stage.operator.poll() is not None:
            raise DemoError(f"the operator ended; its log says:\n{stage.log_tail()}")
    put("Stopping ...", flush=True)
