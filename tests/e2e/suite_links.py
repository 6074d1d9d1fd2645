"""What the tests of CustomerLinks share: a manifest, a look at one, and where rows hang."""

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from kubernetes.client.exceptions import ApiException

from tests.e2e.suite import (
    GROUP,
    LINKS,
    PERMISSION_SET,
    VERSION,
    Company,
    Json,
    Space,
    condition,
    eventually,
    message,
)

CUSTOMER, USAGE = "Metronome_Orphan_Customer__c", "Metronome_Usage__c"
PLACED = (
    "Metronome_Customer_Plan__c",
    "Metronome_Invoice__c",
    "Metronome_Credit_Grant__c",
    USAGE,
)
READY = ("True", "Linked")


def link_manifest(
    name: str, customer: str | Json, account: str | Json, sync: str = "acme", **more: Any
) -> Json:
    """A CustomerLink as a person writes it; texts are ids."""
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "CustomerLink",
        "metadata": {"name": name},
        "spec": {
            "syncRef": {"name": sync},
            "customer": {"id": customer} if isinstance(customer, str) else customer,
            "account": {"id": account} if isinstance(account, str) else account,
            **more,
        },
    }


def get_link(space: Space, name: str) -> Json:
    """The CustomerLink, empty when there is none."""
    try:
        body: Json = space.cluster.custom.get_namespaced_custom_object(
            GROUP, VERSION, space.namespace, LINKS, name
        )
    except ApiException as error:
        if error.status != 404:
            raise
        return {}
    return body


def link_status(space: Space, name: str) -> Json:
    """Its status, empty at first."""
    return get_link(space, name).get("status") or {}


def state(space: Space, name: str) -> tuple[str, str]:
    """Status and reason of its Ready condition, if that speaks of the newest spec."""
    body = get_link(space, name)
    status = body.get("status") or {}
    if not body or status.get("observedGeneration") != body["metadata"]["generation"]:
        return "", ""
    return condition(status, "Ready")


def wait_link(
    space: Space, name: str, wanted: tuple[str, str] = READY, seconds: float = 30.0
) -> Json:
    """Its status once it is as wished."""

    def told() -> str:
        tail = "\n".join(space.operator.log_text().splitlines()[-15:])
        return f"{json.dumps(link_status(space, name), indent=1)}\n{tail}"

    eventually(lambda: state(space, name) == wanted, seconds, told=told)
    return link_status(space, name)


def delete_link(space: Space, name: str) -> None:
    """Delete it and wait until it is gone."""
    space.kubectl("delete", "clink", name, "--timeout=20s")


def why(space: Space, name: str) -> str:
    """The sentence of its Ready condition."""
    return message(link_status(space, name), "Ready")


def rows_of(one: Company, customer: str) -> list[Mapping[str, Any]]:
    """All rows of the customer that hang on an Account or on its record."""
    return [
        row
        for sobject in PLACED
        for row in one.org.rows(sobject)
        if row["Metronome_Customer_ID__c"] == customer
    ]


def hang(one: Company, customer: str) -> set[tuple[str | None, bool]]:
    """Where the customer's rows hang: (Account, whether on the orphan's record)."""
    return {
        (row["Account__c"], row["Orphaned_Customer__c"] is not None)
        for row in rows_of(one, customer)
    }


def record(one: Company, customer: str) -> dict[str, Any]:
    """The Orphaned Customer record."""
    return next(
        dict(row) for row in one.org.rows(CUSTOMER) if row["Metronome_Customer_ID__c"] == customer
    )


def shown(one: Company, customer: str) -> tuple[Any, Any, Any]:
    """Account, applied Account and who decided, as the record shows it."""
    row = record(one, customer)
    return row["Account__c"], row["Linked_Account_ID__c"], row["Link_Source__c"]


def orphans(one: Company) -> list[str]:
    """The active customers that nothing links, those with the most rows first."""
    counts = Counter(row["Metronome_Customer_ID__c"] for s in PLACED for row in one.org.rows(s))
    active = {customer["id"] for customer in one.tenant.customers()}
    free = [id_ for id_ in active if shown(one, id_)[0] is None]
    return sorted(free, key=lambda id_: -counts[id_])


def account(one: Company, name: str) -> str:
    """Create an Account."""
    made: str = one.org.insert("Account", {"Name": name})
    return made


def edit(one: Company, customer: str, target: str | None) -> None:
    """Change the Account on the Orphaned Customer record, as a person in Salesforce does."""
    clerk = "clerk@sandbox.example"
    if clerk not in one.org.users:
        one.org.add_user(clerk)
        one.org.assign_permission_set(clerk, PERMISSION_SET)
    one.org.update(CUSTOMER, record(one, customer)["Id"], {"Account__c": target}, username=clerk)


def metric(space: Space, name: str, **labels: str) -> float:
    """The sum of a metric's values for a MetronomeSync of the space."""
    wanted = {"namespace": space.namespace, **labels}
    total = 0.0
    for line in space.operator.probe("/metrics")[1].splitlines():
        found = line.partition("{")
        if found[0] == f"metronome_salesforce_{name}" and all(
            f'{key}="{value}"' in line for key, value in wanted.items()
        ):
            total += float(line.rpartition(" ")[2])
    return total


def in_a_cycle(space: Space, one: Company, check: Callable[[], object]) -> None:
    """Do something while a cycle has read the org and not written yet; then wait for its end."""
    one.slow_down(4)
    token = f"cycle-{time.monotonic_ns()}"
    space.annotate(f"{GROUP}/requested-at", token)
    space.wait(lambda status: status.get("progress", {}).get("stage", "").startswith("fetch"))
    check()
    assert space.status().get("lastHandledRequest") != token, "the cycle was over before"
    one.metronome.faults.clear()
    status = space.wait(lambda status: status.get("lastHandledRequest") == token)
    assert status["lastRun"]["outcome"] == "Succeeded"
