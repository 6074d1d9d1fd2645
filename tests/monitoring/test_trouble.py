"""What goes wrong for real raises its alert, in the real Prometheus, and for nobody else.

One operator serves a MetronomeSync for each kind of trouble, each with a company of its own. The
alerts' expressions are asked for, without the time for which they have to hold.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from metronome_salesforce.sandbox.kubernetes import KubernetesSandbox
from metronome_salesforce.sandbox.salesforce import INTEGRATION
from tests.e2e.suite import (
    GROUP,
    PERMISSION_SET,
    PLURAL,
    REQUESTED_AT,
    VERSION,
    Cluster,
    Company,
    Operator,
    Space,
    company,
    condition,
    eventually,
    secret_manifest,
    secret_value,
    sync_manifest,
)
from tests.e2e.suite_faults import right
from tests.e2e.suite_links import link_manifest, wait_link
from tests.monitoring.files import alerts, filled_in, panels
from tests.monitoring.server import Prometheus, prometheus
from tests.package.versions import let_install, of_version

pytestmark = [pytest.mark.monitoring, pytest.mark.timeout(300)]

EXPRESSIONS: dict[str, str] = {one["alert"]: one["expr"] for one in alerts()}
TROUBLE = {
    "MetronomeSyncNoSuccess": {"old"},
    "MetronomeSyncNotSucceeding": {"stalled"},
    "MetronomeSyncStalled": {"stalled"},
    "MetronomeSyncRefused": {"refused"},
    "MetronomeSyncRowsRejected": {"rejected"},
    "MetronomeSyncApiQuotaLow": {"quota"},
    "MetronomePackageOutdated": {"package"},
    "MetronomeLinkConflicts": {"links"},
    "MetronomeLinksFailed": {"links"},
    "MetronomeUnexpectedErrors": set[str](),
}
NAMES = (
    *("stalled", "refused", "rejected", "quota", "package", "links", "old"),
    *("suspended", "gone", "replaced"),
)

# Lists every other second, to see soon that a watch is behind.
_OPERATOR = """
import sys
from metronome_salesforce import logs
from metronome_salesforce.execution.lease import Timing
from metronome_salesforce.handlers import OperatorOptions, run
logs.configure("json", "debug")
sys.exit(run(OperatorOptions(
    host="127.0.0.1", port=int(sys.argv[1]), identity=sys.argv[2], recheck_every=2.0,
    resync_every=2.0, lease=Timing(renew_every=0.5, poll=0.5),
)))
"""


class _Operator(Operator):
    def _arguments(self) -> list[str]:
        return ["-c", _OPERATOR, str(self.port), self.identity]


@dataclass(frozen=True, slots=True)
class Ward:
    """A namespace full of trouble, and who watches it."""

    prometheus: Prometheus
    sandbox: KubernetesSandbox
    operator: Operator
    space: Space
    companies: dict[str, Company]

    def firing(self) -> dict[str, set[str]]:
        """The MetronomeSyncs that each alert about them is about."""
        return {
            name: {labels["name"] for labels, _ in self.prometheus.query(EXPRESSIONS[name])}
            for name in TROUBLE
        }

    def expect(self, wanted: dict[str, set[str]]) -> None:
        """Wait until the alerts are about these."""
        eventually(lambda: self.firing() == wanted, 60, told=self.firing)


@pytest.fixture(name="ward", scope="module")
def _ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    folder = tmp_path_factory.mktemp("trouble")
    sandbox = KubernetesSandbox()
    with ExitStack() as stack:
        served = stack.enter_context(sandbox.serve())
        kubeconfig = sandbox.write_kubeconfig(folder / "kubeconfig", served.url)
        cluster = Cluster("embedded", kubeconfig, folder)
        stack.callback(cluster.close)
        cluster.install_crds()
        companies = {
            name: stack.enter_context(company(customers=3, package=name != "package"))
            for name in NAMES
        }
        operator = stack.enter_context(_Operator(cluster, folder / "operator.log"))
        server = stack.enter_context(prometheus(folder, f"127.0.0.1:{operator.port}"))
        space = stack.enter_context(Space.new(cluster, operator, wait=False))
        ward = Ward(server, sandbox, operator, space, companies)
        _make_trouble(ward)
        yield ward


def _make_trouble(ward: Ward) -> None:
    space, companies = ward.space, ward.companies
    for name in ("stalled", "suspended", "gone"):
        _with_wrong_key(space, name, companies[name])
    companies["refused"].org.storage_full = True
    companies["rejected"].org.add_validation_rule(
        "Metronome_Usage__c", "Never", lambda _row: True, "No usage today."
    )
    companies["quota"].org.api_used = 75_000
    assert companies["package"].org.deploy(of_version("0.0.7")).success
    companies["package"].org.assign_permission_set(INTEGRATION, PERMISSION_SET)
    for name in ("refused", "rejected", "quota", "package", "links", "old", "replaced"):
        space.start(companies[name], name)
    for name in NAMES:
        space.wait(lambda status: status.get("lastRun"), name)
    space.request("once more", "stalled")
    space.patch({"suspend": True}, "suspended")
    ward.prometheus.scrape()
    space.kubectl("delete", "msync", "gone")
    _replace_in_a_cycle(space, "replaced", companies["replaced"])
    _contest(space, companies["links"])
    three_days_ago = datetime.now(UTC) - timedelta(days=3)
    _patch_status(space, "old", {"lastSuccessTime": f"{three_days_ago:%Y-%m-%dT%H:%M:%SZ}"})


def _with_wrong_key(space: Space, name: str, one: Company) -> None:
    wrong = secret_manifest(f"{name}-metronome", {"apiKey": secret_value("wrong-key")})
    space.apply(*{**right(name, one), "metronome": wrong}.values())


def _replace_in_a_cycle(space: Space, name: str, one: Company) -> None:
    """Delete and create it again while the first one is still ending, for its cycle's last call."""
    one.slow_down(3.0)
    space.annotate(REQUESTED_AT, "slow", name)
    space.wait(lambda status: condition(status, "Reconciling")[1] == "Running", name)
    before = sum(one.metronome.requests.values())
    eventually(lambda: sum(one.metronome.requests.values()) > before + 2)
    later = sync_manifest(name, one.spec(name, suspend=True))
    space.kubectl("replace", "--force", "--validate=false", "-f", "-", given=later)
    space.wait(lambda status: condition(status, "Reconciling")[1] == "Suspended", name)


def _contest(space: Space, one: Company) -> None:
    customers = [each["id"] for each in one.tenant.customers()]
    accounts = [one.org.insert("Account", {"Name": name}) for name in ("First", "Second")]
    # Of two from the same second, the name decides.
    space.apply(link_manifest("early", customers[1], accounts[0], "links"))
    wait_link(space, "early")
    space.apply(
        link_manifest("late", customers[1], accounts[1], "links"),
        link_manifest("lost", customers[2], "001000000000001AAA", "links"),
    )
    wait_link(space, "late", ("False", "Conflict"))
    wait_link(space, "lost", ("False", "AccountNotFound"))


def _patch_status(space: Space, name: str, status: dict[str, str]) -> None:
    space.cluster.custom.patch_namespaced_custom_object_status(
        GROUP, VERSION, space.namespace, PLURAL, name, {"status": status}
    )


def test_each_trouble_raises_its_alert_and_no_other(ward: Ward) -> None:
    ward.expect(TROUBLE)
    assert set(TROUBLE) == set(EXPRESSIONS) - {"MetronomeOperatorDown", "MetronomeWatchStalled"}


def test_calls_that_failed_are_shown(ward: Ward) -> None:
    (panel,) = (one for one in panels() if one.title == "API calls that failed")
    found = ward.prometheus.query(filled_in(panel.queries[0], "5m"))

    assert ("metronome", "403") in {(labels["system"], labels["status"]) for labels, _ in found}


def test_series_of_a_deleted_sync_are_gone(ward: Ward) -> None:
    found = ward.prometheus.query('{namespace!="", name="gone", __name__=~"metronome.*"}')

    assert found == []


def test_a_sync_has_no_series_of_one_that_had_its_name(ward: Ward) -> None:
    """The second one has not run yet: it is suspended."""
    found = ward.prometheus.query('{name="replaced", __name__=~"metronome_salesforce_last_run.*"}')
    assert found == []
    ((_, suspended),) = ward.prometheus.query('metronome_salesforce_suspended{name="replaced"}')
    assert suspended == 1


def test_a_restarted_operator_raises_and_ends_no_alert(ward: Ward) -> None:
    """But that of the quota, which is not known before the org is asked again; that is soon."""
    ward.expect(TROUBLE)
    runs = ward.space.status("refused")["lastRun"]["id"]
    ward.operator.stop()
    eventually(lambda: ward.prometheus.query(EXPRESSIONS["MetronomeOperatorDown"]))
    ward.operator.start()
    ward.prometheus.scrape(3)
    seen = ward.firing()
    for name in set(TROUBLE) - {"MetronomeSyncApiQuotaLow"}:
        assert seen[name] == TROUBLE[name], name

    assert ward.space.status("refused")["lastRun"]["id"] == runs
    assert ward.prometheus.query(EXPRESSIONS["MetronomeOperatorDown"]) == []


def test_a_watch_that_is_silent_is_seen(ward: Ward) -> None:
    """With another threshold than 100 s; that it is none without, the story shows."""
    (query,) = (EXPRESSIONS["MetronomeWatchStalled"],)
    assert query.count("> 100\n") == 1
    early = query.replace("> 100\n", "> 3\n")
    assert ward.prometheus.query(early) == []
    ward.sandbox.faults.freeze_watches()
    ward.space.kubectl("label", "msync", "links", "seen=not")
    eventually(lambda: ward.prometheus.query(early), 60)
    ward.sandbox.faults.clear()
    behind = 'metronome_salesforce_watch_lag_seconds{resource="metronomesyncs"}'
    eventually(lambda: ward.prometheus.value(behind) == 0, 100)


def test_what_is_mended_is_silent(ward: Ward) -> None:
    space, companies = ward.space, ward.companies
    companies["refused"].org.storage_full = False
    companies["rejected"].org.remove_validation_rule("Metronome_Usage__c", "Never")
    companies["quota"].org.api_used = 0
    let_install(companies["package"].org)
    space.patch({"salesforce": {"package": {"install": "Always"}}}, "package")
    space.apply(right("stalled", companies["stalled"])["metronome"])
    space.kubectl("delete", "clink", "late", "lost")
    for name in ("refused", "rejected", "quota", "old"):
        space.request("mended", name)

    ward.expect({name: set[str]() for name in TROUBLE})


def test_an_operator_that_is_gone_is_missed(ward: Ward) -> None:
    """The last test: nothing comes after it."""
    assert ward.prometheus.query(EXPRESSIONS["MetronomeOperatorDown"]) == []
    ward.operator.kill()

    found = eventually(lambda: ward.prometheus.query(EXPRESSIONS["MetronomeOperatorDown"]))
    assert [labels["job"] for labels, _ in found] == ["metronome-salesforce-operator"]
    # Alerts about what it knew would be about what nobody knows any more.
    ward.expect({name: set[str]() for name in TROUBLE})
