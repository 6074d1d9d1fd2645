"""What `helm test` runs: whether the installation works, each point as a line with ✔ or ✘.

Arguments: the seconds that the operator has to come up, the address of its Service, then the
MetronomeSyncs of the values, as `namespace/name`, and after `--doctor` those that `doctor` examines
too. Ends with 1 if a point is missing.
"""

import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from functools import partial

from kubernetes import client, config

GROUP, VERSION = "metronome-salesforce.dev", "v1alpha1"
KINDS = {"metronomesyncs", "customerlinks"}
NOT_FOUND = 404

# The Service is in the cluster, where no proxy of the environment is to be asked.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def kinds_are_served() -> str:
    """The API server knows both kinds; everybody may ask it so."""
    listed = client.CustomObjectsApi().get_api_resources(GROUP, VERSION)
    missing = KINDS - {one.name for one in listed.resources}
    if missing:
        raise ValueError(f"not served: {', '.join(sorted(missing))}")
    return f"the API server serves {' and '.join(sorted(KINDS))}"


def operator_is_ready(address: str, deadline: float) -> str:
    """It has seen what there is to do, and can be reached through the Service."""
    read(f"{address}/readyz", deadline)
    return "the operator is ready"


def metrics_answer(address: str, deadline: float) -> str:
    """Prometheus will find something."""
    told = read(f"{address}/metrics", deadline)
    found = re.search(r'^metronome_salesforce_build_info\{version="(.+)"\} 1', told, re.MULTILINE)
    if found is None:
        raise ValueError("/metrics has no metronome_salesforce_build_info")
    return f"metrics are there, of version {found[1]}"


def sync_exists(sync: str) -> str:
    """It was created; a first installation cannot."""
    namespace, _, name = sync.partition("/")
    try:
        client.CustomObjectsApi().get_namespaced_custom_object(
            GROUP, VERSION, namespace, "metronomesyncs", name
        )
    except client.ApiException as error:
        again = "; helm upgrade with the same values creates it"
        hint = again if error.status == NOT_FOUND else ""
        raise ValueError(f"MetronomeSync {sync}: {error.reason}{hint}") from error
    return f"MetronomeSync {sync} is there"


def read(url: str, deadline: float) -> str:
    """The text at the address, asked for until the deadline (monotonic seconds)."""
    while True:
        try:
            with _opener.open(url, timeout=5) as response:
                text: str = response.read().decode()
                return text
        except (urllib.error.URLError, OSError) as error:
            if time.monotonic() > deadline:
                raise ValueError(f"{url}: {error}") from error
            time.sleep(1)


def examined(sync: str) -> bool:
    """Whether `doctor` finds all of its preconditions in order; it prints what it finds."""
    namespace, _, name = sync.partition("/")
    sys.stdout.write(f"\n{sync}:\n")
    sys.stdout.flush()
    doctor = [sys.executable, "-m", "metronome_salesforce", "doctor"]
    words = [*doctor, "--sync", name, "--namespace", namespace]
    return subprocess.run(words, check=False).returncode == 0  # noqa: S603 -- names that Helm checked


def main(seconds: str, address: str, *names: str) -> int:
    """Look at everything, however much is missing."""
    at = names.index("--doctor") if "--doctor" in names else len(names)
    syncs, patients = names[:at], names[at + 1 :]
    config.load_config()
    deadline = time.monotonic() + float(seconds)
    checks = [
        kinds_are_served,
        partial(operator_is_ready, address, deadline),
        partial(metrics_answer, address, deadline),
        *(partial(sync_exists, sync) for sync in syncs),
    ]
    failed = 0
    for check in checks:
        try:
            line = f"✔ {check()}"
        except (ValueError, OSError, client.ApiException) as error:
            failed += 1
            line = f"✘ {error}"
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    failed += sum(not examined(sync) for sync in patients)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
