"""The story that the demo tells: a first cycle, a day with new Accounts, and a quiet day."""

import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from kubernetes import client

from metronome_salesforce.demo.linking import tell_of_links
from metronome_salesforce.demo.stage import NAMESPACE, SYNC, DemoError, Stage, apply
from metronome_salesforce.demo.tables import (
    account_text,
    customers_table,
    invoice_text,
    last_run_text,
    rows_written,
    written_table,
)
from metronome_salesforce.printing import put
from metronome_salesforce.spec import GROUP, SYNC_PLURAL, VERSION

REQUESTED_AT = f"{GROUP}/requested-at"
_PATIENCE = 180.0
_POLL = 0.2

Json = dict[str, Any]


def tell(stage: Stage) -> None:
    """Let two days pass on the stage and say what happens; raises DemoError."""
    _say("Applying a ConfigMap, two Secrets and a MetronomeSync ...")
    apply(stage)
    stage.org.statistics.reset()
    status = _follow(stage, lambda status: "finishedAt" in status.get("lastRun", {}))
    _expect_success(stage, status)
    _say(f"The org was empty. {_sentence(status, 'PackageInstalled')}")
    _say("\nThe first cycle is done. What the org counted:")
    _say(written_table(stage.org))
    _say("\nCustomers by current spend (- is none). The data of those without an Account hangs on")
    _say("an Orphaned Customer record:")
    _say(customers_table(stage.org))
    _say(invoice_text(stage.org))
    stage.give_access()
    _say("\nAn administrator assigns the permission set Metronome Admin to a person.")

    _say("\nA day passes in Metronome: new usage, recomputed drafts ...")
    stage.tenant.advance(timedelta(days=1))
    if stage.newcomer is not None:
        stage.tenant.set_salesforce_account(stage.newcomer, stage.add_account(stage.newcomer))
        name = stage.name_of(stage.newcomer)
        _say(f"Sales creates the Account {name} and puts its Salesforce id into Metronome.")
    _say("A cycle is requested.")
    stage.org.statistics.reset()
    status = _request(stage, "day-2")
    _expect_success(stage, status)
    _say("\nOnly what changed was written:")
    _say(written_table(stage.org))
    unchanged = sum(of.get("unchanged", 0) for of in status["lastRun"]["rows"].values())
    _say(f"  compared and left alone: {unchanged} rows")
    if stage.newcomer is not None:
        _say(account_text(stage.org, stage.newcomer))

    tell_of_links(stage)

    _say("\nNothing happens in Metronome, and another cycle is requested.")
    stage.org.statistics.reset()
    status = _request(stage, "quiet-day")
    _expect_success(stage, status)
    written = rows_written(stage.org)
    _say(f"\nRows written: {written}. {last_run_text(stage.org)}")
    if written:
        raise DemoError("a cycle without a change must not write; see the operator's log")


def _request(stage: Stage, token: str) -> Json:
    """Run a cycle now, as `kubectl annotate` would, and wait for its end."""
    client.CustomObjectsApi().patch_namespaced_custom_object(
        GROUP,
        VERSION,
        NAMESPACE,
        SYNC_PLURAL,
        SYNC,
        {"metadata": {"annotations": {REQUESTED_AT: token}}},
    )
    return _follow(stage, lambda status: status.get("lastHandledRequest") == token)


def _follow(stage: Stage, is_done: Callable[[Json], bool]) -> Json:
    """Print progress as it comes until the status is as wished; returns the status."""
    deadline = time.monotonic() + _PATIENCE
    shown = ""
    while time.monotonic() < deadline:
        if stage.operator.poll() is not None:
            raise DemoError(f"the operator ended unexpectedly; its log says:\n{stage.log_tail()}")
        status = _status()
        text = _progress_text(status.get("progress"))
        if text and text != shown:
            shown = text
            _say(f"  {text}")
        if is_done(status):
            return status
        time.sleep(_POLL)
    raise DemoError(
        f"the cycle did not end within {_PATIENCE:.0f} s; conditions: "
        f"{json.dumps(_status().get('conditions'))}; the operator's log says:\n{stage.log_tail()}"
    )


def _status() -> Json:
    sync: Json = client.CustomObjectsApi().get_namespaced_custom_object(  # type: ignore[assignment]
        GROUP, VERSION, NAMESPACE, SYNC_PLURAL, SYNC
    )
    status: Json = sync.get("status") or {}
    return status


def _sentence(status: Json, kind: str) -> str:
    """What a condition says."""
    return next((str(one["message"]) for one in status["conditions"] if one["type"] == kind), "")


def _progress_text(progress: Json | None) -> str:
    if not progress:
        return ""
    done, total = progress.get("done"), progress.get("total")
    count = f" {done} of {total}" if total else f" {done}" if done else ""
    return f"{progress['stage']}{count}"


def _expect_success(stage: Stage, status: Json) -> None:
    run = status["lastRun"]
    _say(f"  {run['outcome']}: {run.get('message', '')}")
    if run["outcome"] != "Succeeded":
        raise DemoError(f"the cycle should have succeeded; the log says:\n{stage.log_tail()}")


def _say(text: str) -> None:
    put(text, flush=True)
