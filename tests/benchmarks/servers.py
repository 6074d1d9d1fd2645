"""One emulated service in a process of its own, so that it takes no time from the cycle's.

    python -m tests.benchmarks.servers metronome|salesforce CUSTOMERS

Says its URL on a line of standard output, answers one line of JSON to each line of JSON, and ends
with its standard input.
"""

import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from metronome_salesforce.salesforce.metadata import package_zip
from metronome_salesforce.sandbox.metronome import MetronomeSandbox, Tenant
from metronome_salesforce.sandbox.salesforce import INTEGRATION, SalesforceOrg, SalesforceSandbox
from metronome_salesforce.sandbox.serving import Served

_LIMITS = ("DailyApiRequests", "DataStorageMB")


def main(service: str, customers: int) -> None:
    """Serve until standard input ends."""
    answer, served = metronome(customers) if service == "metronome" else salesforce()
    with served:
        _say({"url": served.url})
        for line in sys.stdin:
            _say(answer(json.loads(line)))


def metronome(customers: int) -> tuple[Any, Served]:
    """A light tenant whose clock is one day behind, so that a day can pass for the child.

    It stands at the first half hour of yesterday (UTC): nothing of that day is used yet.
    """
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    tenant = Tenant.generate(
        customers=customers, now=midnight - timedelta(hours=23, minutes=30), scale="light"
    )

    def answer(command: dict[str, float]) -> dict[str, Any]:
        tenant.advance(timedelta(days=command["days"]))
        return {"now": tenant.now.isoformat()}

    return answer, MetronomeSandbox(tenant).serve()


def salesforce() -> tuple[Any, Served]:
    """An org with the package; its answer is what was written since the last question."""
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

    def answer(_command: object) -> dict[str, Any]:
        written = {f"{name} {kind}": n for (name, kind), n in org.statistics.rows.items()}
        org.statistics.reset()
        app = org.client_credentials
        return {
            "written": written,
            "credentials": {"clientId": app.client_id, "clientSecret": app.client_secret},
        }

    return answer, sandbox.serve()


def _say(document: object) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
