"""What the demo tells of linking beside cycles: by a CustomerLink, and by a person.

What it says of kubectl it does by the same calls: nobody needs to have one.
"""

import json
import time
from collections.abc import Callable
from typing import Any

import yaml
from kubernetes import client

from metronome_salesforce.demo.stage import NAMESPACE, DemoError, Stage
from metronome_salesforce.demo.tables import account_text, orphan_text, record_of
from metronome_salesforce.printing import put
from metronome_salesforce.spec import API_VERSION, GROUP, LINK_PLURAL, VERSION

_PATIENCE = 30.0
_POLL = 0.05
_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
_NOT_FOUND = 404
_GAP = "   "

Json = dict[str, Any]

# The client is typed in parts only.
_client: Any = client


def tell_of_links(stage: Stage) -> None:
    """Link an orphan and let it go again, then link one in Salesforce; raises DemoError."""
    accounts: dict[str, str] = {}
    for customer_id in (stage.asked, stage.chosen):
        if customer_id is not None and customer_id not in accounts:
            accounts[customer_id] = stage.add_account(customer_id)
    if stage.asked is not None:
        _tell_of_manifest(stage, stage.asked, accounts[stage.asked])
    if stage.chosen is not None:
        _tell_of_person(stage, stage.chosen, accounts[stage.chosen])


def _tell_of_manifest(stage: Stage, customer_id: str, account_id: str) -> None:
    api = _client.CustomObjectsApi()
    kind = (GROUP, VERSION, NAMESPACE, LINK_PLURAL)
    path = stage.write_link(customer_id, account_id)
    link = yaml.safe_load(path.read_text("utf-8"))
    name = path.stem
    where = path.relative_to(stage.folder)
    _say(f"\nSales creates the Account {stage.name_of(customer_id)}; a CustomerLink names both.")
    api.create_namespaced_custom_object(*kind, link)
    seconds = _wait(stage, "link", lambda: _is_ready(api.get_namespaced_custom_object(*kind, name)))
    _say(f"kubectl apply -f {where}: Ready after {seconds:.1f} s, without a cycle")
    _say(account_text(stage.org, customer_id))
    _say("kubectl get clink:")
    _say(_clinks())
    api.delete_namespaced_custom_object(*kind, name)
    seconds = _wait(stage, "deleted link", lambda: _is_gone(api, *kind, name))
    _say(f"kubectl delete clink {name}: gone after {seconds:.1f} s")
    _say(orphan_text(stage.org, customer_id, account_id))


def _tell_of_person(stage: Stage, customer_id: str, account_id: str) -> None:
    name = stage.name_of(customer_id)
    _say(f"\nIn Salesforce, somebody sets the Account on the Orphaned Customer record of {name}.")
    stage.choose(record_of(stage.org, customer_id)["Id"], account_id)

    def has_moved() -> bool:
        # The rows, then the record, and last the sums on the Account.
        if record_of(stage.org, customer_id)["Linked_Account_ID__c"] != account_id:
            return False
        account = next(row for row in stage.org.rows("Account") if row["Id"] == account_id)
        summed: bool = account["Metronome_Customer_ID__c"] == customer_id
        return summed

    seconds = _wait(stage, "choice in Salesforce", has_moved)
    _say(f"Noticed and done after {seconds:.1f} s")
    _say(account_text(stage.org, customer_id))


def _wait(stage: Stage, what: str, is_done: Callable[[], bool]) -> float:
    """Wait until it is so; how many seconds that took."""
    started = time.monotonic()
    while not is_done():
        if time.monotonic() - started > _PATIENCE:
            raise DemoError(
                f"the {what} was not followed within {_PATIENCE:.0f} s; the operator's log says:\n"
                f"{stage.log_tail()}"
            )
        time.sleep(_POLL)
    return time.monotonic() - started


def _is_ready(link: Json) -> bool:
    conditions = (link.get("status") or {}).get("conditions", ())
    return any((one["type"], one["status"]) == ("Ready", "True") for one in conditions)


def _is_gone(api: Any, *place: str) -> bool:
    try:
        api.get_namespaced_custom_object(*place)
    except _client.ApiException as error:
        if error.status != _NOT_FOUND:
            raise
        return True
    return False


def _clinks() -> str:
    """The CustomerLinks as the API has kubectl print them."""
    api = _client.ApiClient()
    path = f"/apis/{API_VERSION}/namespaces/{NAMESPACE}/{LINK_PLURAL}"
    parameters = api.param_serialize(
        method="GET",
        resource_path=path,
        header_params={"Accept": _TABLE},
        auth_settings=["BearerToken"],
    )
    table = json.loads(api.call_api(*parameters).read())
    shown = [place for place, one in enumerate(table["columnDefinitions"]) if one["priority"] == 0]
    lines = [[table["columnDefinitions"][place]["name"].upper() for place in shown]]
    lines += [[str(row["cells"][place]) for place in shown] for row in table["rows"]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  " + _GAP.join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _say(text: str) -> None:
    put(text, flush=True)
