"""One emulated service in a process of its own, so that it takes nothing from what is measured.

    python -m tests.benchmarks.servers metronome|salesforce|kubernetes CUSTOMERS
    python -m tests.benchmarks.servers companies COUNT

Says its URL on a line of standard output, answers one line of JSON to each line of JSON, and ends
with its standard input. Each answer tells the `calls` since the last one.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from metronome_salesforce.salesforce.package import package_zip
from metronome_salesforce.sandbox.kubernetes import Call, KubernetesSandbox
from metronome_salesforce.sandbox.metronome import MetronomeSandbox, Tenant
from metronome_salesforce.sandbox.salesforce import INTEGRATION, SalesforceOrg, SalesforceSandbox
from metronome_salesforce.sandbox.serving import Served
from tests.benchmarks.companies import Companies
from tests.expectation import CUSTOMER, PLACED

USER_AGENT = "benchmark"
"""Under which the benchmark itself asks the Kubernetes API; its calls are not counted."""
PROBED = "probed"
"""The MetronomeSync that is there to be probed; what is done for it is not counted either."""

_CRDS = Path(__file__).resolve().parents[2] / "crds"
_CUSTOMER_ID = "Metronome_Customer_ID__c"
_SHOWN = "patch customerlinks/status"
_FIRST_ERROR = 400
_LIMITS = ("DailyApiRequests", "DataStorageMB")

Json = dict[str, Any]
Answer = Callable[[Json], Json]


def main(service: str, count: int) -> None:
    """Serve until standard input ends."""
    make: dict[str, Callable[[int], tuple[Answer, Served | Companies]]] = {
        "metronome": metronome,
        "salesforce": salesforce,
        "kubernetes": kubernetes,
        "companies": companies,
    }
    answer, served = make[service](count)
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
        calls, families = sandbox.requests.total(), _counts(sandbox.requests)
        sandbox.reset_counters()
        return {"calls": calls, "families": families}

    return answer, sandbox.serve()


def salesforce(_customers: int) -> tuple[Answer, Served]:
    """An org with the package; it also answers what was written since the last question.

    `accounts` makes so many Accounts, `customers` (true) tells where all customers' rows hang; what
    that takes is not counted.
    """
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

    def answer(command: Json) -> Json:
        statistics, app = org.statistics, org.client_credentials
        told: Json = {
            "written": _counts(_synced(statistics.rows)),
            "calls": statistics.total_calls,
            "families": _counts(statistics.calls),
            "credentials": {"clientId": app.client_id, "clientSecret": app.client_secret},
        }
        if count := command.get("accounts"):
            names = [f"Account {number}" for number in range(count)]
            told["accounts"] = [org.insert("Account", {"Name": name}) for name in names]
        if command.get("customers"):
            told["customers"] = _where_rows_hang(org)
        statistics.reset()
        return told

    return answer, sandbox.serve()


def kubernetes(_customers: int) -> tuple[Answer, Served]:
    """A Kubernetes API with the CRDs; it also answers the kubeconfig.

    Of the calls it tells verb and resource, how many failed, and the most patches of one
    CustomerLink's status.
    """
    sandbox = KubernetesSandbox(crds=sorted(_CRDS.glob("*.yaml")))
    served = sandbox.serve()

    def answer(_command: Json) -> Json:
        calls = [
            call
            for call in sandbox.requests.calls()
            if not call.user_agent.startswith((USER_AGENT, "kubectl")) and call.name != PROBED
        ]
        sandbox.requests.clear()
        shown = Counter(call.name for call in calls if _kind(call) == _SHOWN)
        return {
            "calls": len(calls),
            "verbs": dict(Counter(map(_kind, calls))),
            "failed": dict(Counter(_kind(call) for call in calls if call.status >= _FIRST_ERROR)),
            "most_status_patches": max(shown.values(), default=0),
            "kubeconfig": sandbox.kubeconfig(served.url),
        }

    return answer, served


def companies(count: int) -> tuple[Answer, Companies]:
    """Many small companies at once; see there."""
    served = Companies(count)
    return served.answer, served


def _where_rows_hang(org: SalesforceOrg) -> Json:
    """What each Orphaned Customer record says, and its rows: all, on its Account, on itself.

    By the customer's id in Metronome; rows of the first level only, others follow their invoice. A
    row with both parents, or with those of another customer, is on neither.
    """
    records = {row[_CUSTOMER_ID]: row for row in org.rows(CUSTOMER)}
    rows = dict.fromkeys(records, 0)
    on_account, on_record = dict(rows), dict(rows)
    for sobject in PLACED:
        for row in org.rows(sobject):
            record = records[row[_CUSTOMER_ID]]
            parents = (row["Account__c"], row["Orphaned_Customer__c"])
            rows[row[_CUSTOMER_ID]] += 1
            on_account[row[_CUSTOMER_ID]] += parents == (record["Account__c"] or "", None)
            on_record[row[_CUSTOMER_ID]] += parents == (None, record["Id"])
    return {
        id_: {
            "account": record["Account__c"],
            "linked": record["Linked_Account_ID__c"],
            "source": record["Link_Source__c"],
            "pending": record["Link_Pending__c"],
            "rows": rows[id_],
            "on_account": on_account[id_],
            "on_record": on_record[id_],
        }
        for id_, record in records.items()
    }


def _kind(call: Call) -> str:
    return f"{call.verb} {call.resource}{'/' if call.subresource else ''}{call.subresource}"


def _synced(rows: Counter[tuple[str, str]]) -> Counter[tuple[str, str]]:
    """Without the records that runs leave of themselves."""
    return Counter({key: n for key, n in rows.items() if key[0] != "Metronome_Sync_Run__c"})


def _counts(counter: Mapping[tuple[Any, ...], int]) -> dict[str, int]:
    return {" ".join(map(str, key)): count for key, count in sorted(counter.items())}


def _say(document: object) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
