"""One emulated service in a process of its own, so that it takes nothing from what is measured.

    python -m tests.benchmarks.servers metronome|salesforce|kubernetes CUSTOMERS

Says its URL on a line of standard output, answers one line of JSON to each line of JSON, and ends
with its standard input. Each answer tells the `calls` since the last one.
"""

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from metronome_salesforce.salesforce.metadata import package_zip
from metronome_salesforce.sandbox.kubernetes import KubernetesSandbox
from metronome_salesforce.sandbox.metronome import MetronomeSandbox, Tenant
from metronome_salesforce.sandbox.salesforce import INTEGRATION, SalesforceOrg, SalesforceSandbox
from metronome_salesforce.sandbox.serving import Served

USER_AGENT = "benchmark"
"""Under which the benchmark itself asks the Kubernetes API; its calls are not counted."""
PROBED = "probed"
"""The MetronomeSync that is there to be probed; what is done for it is not counted either."""

_CRDS = Path(__file__).resolve().parents[2] / "crds"
_LIMITS = ("DailyApiRequests", "DataStorageMB")

Json = dict[str, Any]
Answer = Callable[[Json], Json]


def main(service: str, customers: int) -> None:
    """Serve until standard input ends."""
    make = {"metronome": metronome, "salesforce": salesforce, "kubernetes": kubernetes}[service]
    answer, served = make(customers)
    with served:
        _say({"url": served.url})
        for line in sys.stdin:
            _say(answer(json.loads(line)))


def metronome(customers: int) -> tuple[Answer, Served]:
    """A light tenant whose clock is one day behind, so that a day can pass for the child.

    It stands at the first half hour of yesterday (UTC): nothing of that day is used yet.
    """
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    tenant = Tenant.generate(
        customers=customers, now=midnight - timedelta(hours=23, minutes=30), scale="light"
    )
    sandbox = MetronomeSandbox(tenant)

    def answer(command: Json) -> Json:
        tenant.advance(timedelta(days=command.get("days", 0)))
        calls = sandbox.requests.total()
        sandbox.reset_counters()
        return {"calls": calls}

    return answer, sandbox.serve()


def salesforce(_customers: int) -> tuple[Answer, Served]:
    """An org with the package; it also answers what was written since the last question."""
    org = SalesforceOrg(now=lambda: datetime.now(UTC))
    org.api_limit = 10_000_000
    result = org.deploy(package_zip("66.0"))
    if not result.success:
        raise RuntimeError(f"the package does not deploy: {result.problems}")
    org.assign_permission_set(INTEGRATION, "Metronome_Integration")
    org.statistics.reset()
    sandbox = SalesforceSandbox(org)
    # The sandbox is a Developer Edition of 1 GB, and the cycle would rightly refuse to fill it.
    limits = {name: {"Max": 10**7, "Remaining": 10**7} for name in _LIMITS}
    sandbox.faults.add("GET */limits", status=200, body=limits)

    def answer(_command: Json) -> Json:
        written = {f"{name} {kind}": n for (name, kind), n in org.statistics.rows.items()}
        calls = org.statistics.total_calls
        org.statistics.reset()
        app = org.client_credentials
        return {
            "written": written,
            "calls": calls,
            "credentials": {"clientId": app.client_id, "clientSecret": app.client_secret},
        }

    return answer, sandbox.serve()


def kubernetes(_customers: int) -> tuple[Answer, Served]:
    """A Kubernetes API with the CRDs; it also answers the kubeconfig."""
    sandbox = KubernetesSandbox(crds=sorted(_CRDS.glob("*.yaml")))
    served = sandbox.serve()

    def answer(_command: Json) -> Json:
        calls = [
            call
            for call in sandbox.requests.calls()
            if call.user_agent != USER_AGENT and call.name != PROBED
        ]
        sandbox.requests.clear()
        return {"calls": len(calls), "kubeconfig": sandbox.kubeconfig(served.url)}

    return answer, served


def _say(document: object) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
