"""What `helm uninstall` runs before it removes the CRDs, so that nothing hangs in them.

A CRD goes when all resources of its kind have gone, and CustomerLinks have a finalizer that only a
running operator takes off. So they are deleted while it still runs: the MetronomeSyncs first, then
nothing changes in Salesforce and linked customers stay where they are. What an operator has not let
go within the time given as argument (seconds) is let go here.
"""

import sys
import time
from typing import Any

from kubernetes import client, config

GROUP, VERSION = "metronome-salesforce.dev", "v1alpha1"
SYNCS, LINKS = "metronomesyncs", "customerlinks"
NOT_FOUND = 404


def found(api: Any, plural: str) -> list[Any]:
    """The metadata of all resources of a kind in the cluster; none where it is not served."""
    try:
        listed = api.list_cluster_custom_object(GROUP, VERSION, plural)
    except client.ApiException as error:
        if error.status == NOT_FOUND:
            return []
        raise
    return [one["metadata"] for one in listed["items"]]


def delete_all(api: Any, plural: str) -> int:
    """Delete the resources of a kind, and return how many there were."""
    there = found(api, plural)
    for namespace in sorted({one["namespace"] for one in there}):
        api.delete_collection_namespaced_custom_object(GROUP, VERSION, namespace, plural)
    return len(there)


def let_go(api: Any, link: Any) -> None:
    """Take the finalizers off a CustomerLink, unless it has gone meanwhile."""
    try:
        api.patch_namespaced_custom_object(
            GROUP,
            VERSION,
            link["namespace"],
            LINKS,
            link["name"],
            {"metadata": {"finalizers": None}},
        )
    except client.ApiException as error:
        if error.status != NOT_FOUND:
            raise


def main(seconds: str) -> int:
    """Delete all, wait for the operator, and do what it did not."""
    config.load_config()
    api = client.CustomObjectsApi()
    for plural in (SYNCS, LINKS):
        sys.stdout.write(f"{delete_all(api, plural)} {plural} deleted\n")
    deadline = time.monotonic() + float(seconds)
    while (left := found(api, LINKS)) and time.monotonic() < deadline:
        time.sleep(0.5)
    for link in left:
        let_go(api, link)
    sys.stdout.write(f"{len(left)} {LINKS} let go without the operator\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
