"""The operator on bad days: lost events, an API server that fails, kills, a second operator."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from metronome_salesforce.sandbox.kubernetes import KubernetesSandbox, Match
from tests.e2e.operator_harness import CRDS, Bench, eventually, is_alive


@pytest.fixture(name="bench")
def _bench(tmp_path: Path) -> Iterator[Bench]:
    """A cluster with the CRDs and the Secrets; no operator yet."""
    cluster = KubernetesSandbox(crds=CRDS)
    with cluster.serve() as served:
        bench = Bench(tmp_path, cluster, served)
        bench.add_secrets()
        yield bench


def take_lease(bench: Bench, holder: str) -> None:
    """Write another holder into the Lease, as another operator would."""
    path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/metronome-sync-acme"
    spec = {
        "holderIdentity": holder,
        "leaseDurationSeconds": 1,
        "renewTime": "2026-03-05T06:00:00.000000Z",
    }
    bench.request("PATCH", path, {"spec": spec}, "application/merge-patch+json")


def test_the_probes_answer(bench: Bench) -> None:
    with bench.operating():
        eventually(lambda: bench.probe("/readyz") == (200, "ok\n"))
        assert bench.probe("/healthz") == (200, "ok\n")
        bench.add_sync()
        eventually(lambda: bench.ran(1))
        eventually(
            lambda: 'runs_total{name="acme",namespace="default"' in bench.probe("/metrics")[1]
        )


def test_it_is_not_ready_before_it_has_seen_the_syncs(bench: Bench) -> None:
    fault = bench.cluster.faults.add(Match(verb="list", resource="metronomesyncs"), status=503)
    with bench.operating():
        eventually(lambda: fault.hits)
        code, sentence = bench.probe("/readyz")
        assert (code, "not been listed" in sentence) == (503, True)
        assert bench.probe("/healthz")[0] == 200, "a restart would not help"
        bench.cluster.faults.clear()
        eventually(lambda: bench.probe("/readyz")[0] == 200)


def test_events_that_a_frozen_watch_loses_are_found_by_listing(bench: Bench) -> None:
    with bench.operating():
        bench.add_sync("seen")
        eventually(lambda: bench.ran(1, "seen"))
        bench.cluster.faults.freeze_watches()
        bench.add_sync("lost")
        eventually(lambda: bench.ran(1, "lost"))
        bench.behave("seen", hold=True)
        bench.annotate("seen", "requested-at", "1")
        eventually(lambda: len(bench.runs("seen")) == 2)
        pid = bench.runs("seen")[-1]["pid"]
        bench.delete("seen")
        eventually(lambda: not is_alive(pid))
        bench.cluster.faults.clear()


def test_links_that_a_frozen_watch_loses_are_found_by_listing(bench: Bench) -> None:
    """Created, and deleted: the finalizer of a link without a MetronomeSync does not hang."""
    path = "/apis/metronome-salesforce.dev/v1alpha1/namespaces/default/customerlinks"
    link = {
        "apiVersion": "metronome-salesforce.dev/v1alpha1",
        "kind": "CustomerLink",
        "metadata": {"name": "lost", "finalizers": ["metronome-salesforce.dev/finalizer"]},
        "spec": {
            "syncRef": {"name": "nowhere"},
            "customer": {"ingestAlias": "acme"},
            "account": {"id": "001Hs0000000003IAA"},
        },
    }

    def reason() -> str:
        status = bench.cluster.get("customerlinks", "lost").get("status") or {}
        return "".join(one["reason"] for one in status.get("conditions", ())[:1])

    with bench.operating():
        bench.add_sync("seen")
        eventually(lambda: bench.ran(1, "seen"))
        bench.cluster.faults.freeze_watches()
        bench.request("POST", path, link)
        eventually(lambda: reason() == "SyncNotFound")
        bench.request("DELETE", f"{path}/lost")
        eventually(lambda: not bench.cluster.objects("customerlinks"))
        bench.cluster.faults.clear()


def test_links_that_cannot_be_listed_hold_up_no_cycle(bench: Bench) -> None:
    """As long as the role does not allow it, or the definition is not there yet."""
    fault = bench.cluster.faults.add(Match(verb="list", resource="customerlinks"), status=403)
    with bench.operating():
        bench.add_sync()
        eventually(lambda: bench.ran(1))
        eventually(lambda: fault.hits)
        assert bench.probe("/readyz") == (200, "ok\n")


def test_a_closed_watch_is_opened_again(bench: Bench) -> None:
    with bench.operating(resync_every=600.0):
        bench.add_sync()
        eventually(lambda: bench.ran(1))
        bench.cluster.compact()
        bench.cluster.faults.close_watches()
        bench.annotate("acme", "requested-at", "1")
        eventually(lambda: bench.ran(2))


def test_an_api_server_that_fails_for_a_while_is_waited_for(bench: Bench) -> None:
    bench.add_sync()
    fault = bench.cluster.faults.add(status=503)
    with bench.operating():
        eventually(lambda: fault.hits > 3)
        bench.cluster.faults.clear()
        eventually(lambda: bench.ran(1))
    assert len(bench.runs()) == 1


@pytest.mark.parametrize("hits", [3, 5, 7, 9])
def test_an_operator_that_is_stopped_while_the_api_server_fails_ends_in_order(
    bench: Bench, hits: int
) -> None:
    """`operating` looks at its code: nothing that ends is taken for a failure."""
    fault = bench.cluster.faults.add(status=503)
    with bench.operating():
        eventually(lambda: fault.hits > hits)


def test_the_end_of_a_run_is_written_once_the_api_server_is_back(bench: Bench) -> None:
    """With one write whose answer got lost, and some that never arrived."""
    bench.behave("acme", hold=True)
    with bench.operating():
        bench.add_sync()
        eventually(lambda: "progress" in bench.status())
        matching = Match(verb="patch", resource="metronomesyncs", subresource="status")
        bench.cluster.faults.add(matching, status=500, times=2)
        bench.cluster.faults.add(matching, drop=True, after=True, times=1)
        bench.behave("acme")
        eventually(lambda: bench.ran(1))
        eventually(lambda: bench.condition("Ready") == ("True", "Succeeded"))
    assert len(bench.runs()) == 1
    assert len(bench.status()["history"]) == 1


def test_events_that_cannot_be_posted_disturb_nothing(bench: Bench) -> None:
    bench.cluster.faults.add(Match(verb="create", resource="events"), status=403)
    with bench.operating():
        bench.add_sync()
        eventually(lambda: bench.condition("Ready") == ("True", "Succeeded"))


def test_a_lease_of_another_operator_is_waited_for(bench: Bench) -> None:
    bench.add_sync(suspend=True)
    body = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "metronome-sync-acme"},
    }
    bench.request("POST", "/apis/coordination.k8s.io/v1/namespaces/default/leases", body)
    take_lease(bench, "laptop")
    with bench.operating():
        bench.patch("acme", {"spec": {"suspend": False}})
        eventually(lambda: bench.condition("Reconciling") == ("True", "WaitingForLease"))
        eventually(lambda: bench.ran(1))  # it is never renewed, so it expires
    assert bench.lease()["leaseTransitions"] == 1


def test_a_lost_lease_stops_the_cycle(bench: Bench) -> None:
    bench.behave("acme", hold=True)
    with bench.operating():
        bench.add_sync()
        pid = eventually(bench.runs)[0]["pid"]
        take_lease(bench, "laptop")
        eventually(lambda: not is_alive(pid))
        eventually(lambda: bench.condition("Ready") == ("Unknown", "LeaseLost"))
        assert bench.lease()["holderIdentity"] == "laptop", "what is not ours is not released"


def test_two_operators_run_each_cycle_once(bench: Bench) -> None:
    bench.behave("acme", hold=True)
    with bench.operator_process("pod-1"), bench.operator_process("pod-2"):
        bench.add_sync()
        eventually(lambda: bench.condition("Reconciling") == ("True", "WaitingForLease"), 15)
        bench.behave("acme")
        eventually(lambda: bench.ran(1))
        bench.annotate("acme", "requested-at", "1")
        eventually(lambda: bench.status().get("lastHandledRequest") == "1")
    assert [run["trigger"] for run in bench.runs()] == ["Created", "Requested"]


def test_a_killed_operator_takes_its_cycle_along_and_runs_it_again(bench: Bench) -> None:
    bench.behave("acme", hold=True)
    with bench.operator_process() as first:
        bench.add_sync()
        pid = eventually(bench.runs, 15)[0]["pid"]
        first.kill()
        eventually(lambda: not is_alive(pid))
    bench.behave("acme")
    with bench.operator_process():  # the same pod, restarted: its Lease need not expire
        eventually(lambda: bench.ran(2), 15)
    assert [run["trigger"] for run in bench.runs()] == ["Created", "Created"]
    assert len(bench.status()["history"]) == 1
    assert "progress" not in bench.status()


def test_sigterm_stops_the_cycle_and_gives_the_lease_back(bench: Bench) -> None:
    bench.behave("acme", hold=True)
    with bench.operator_process("pod-1") as first:
        bench.add_sync()
        pid = eventually(bench.runs, 15)[0]["pid"]
        first.send_signal(signal.SIGTERM)
        assert first.wait(15) == 0
        assert not is_alive(pid)
        assert "holderIdentity" not in bench.lease()
        assert bench.condition("Reconciling") == ("True", "Interrupted")
    bench.behave("acme")
    with bench.operator_process("pod-2"):
        eventually(lambda: bench.ran(2), 15)
    assert b"s3cr3t" not in (bench.folder / "operator.log").read_bytes()


def test_an_operator_with_bad_settings_says_so_and_ends(bench: Bench) -> None:
    (bench.folder / "kubeconfig").write_text("{}")
    with bench.operator_process() as process:
        assert process.wait(15) == 2
    assert b"no access to a Kubernetes API" in (bench.folder / "operator.log").read_bytes()


def test_a_report_that_the_api_server_refuses_still_ends_the_run(bench: Bench) -> None:
    """Else the run would be repeated for ever; and nothing false stays of the run before."""
    with bench.operating():
        bench.add_sync()
        eventually(lambda: bench.condition("Ready") == ("True", "Succeeded"))
        first = bench.status()
        bench.behave("acme", report={"notes": {"cut": {"Plan.Name": "many"}}})
        bench.annotate("acme", "requested-at", "1")
        eventually(lambda: bench.ran(2))
        eventually(lambda: "unexpected_errors_total" in bench.probe("/metrics")[1])
        eventually(lambda: bench.condition("Reconciling") == ("False", "Idle"))
        status = bench.status()
        assert bench.condition("Ready") == ("Unknown", "ReportRefused")
        assert bench.condition("Stalled") == ("False", "ReportRefused")
        sentence = next(one["message"] for one in status["conditions"] if one["type"] == "Ready")
        assert "Succeeded" in sentence
        assert "apply the CRDs of this operator's version" in sentence
        run = status["lastRun"]
        assert (run["outcome"], run["trigger"]) == ("Succeeded", "Requested")
        assert "rows" not in run, "they are those of the run before"
        assert status["lastHandledRequest"] == "1"
        assert status["lastReachTime"] == run["startedAt"]
        assert status["lastSuccessTime"] == run["finishedAt"]
        assert status["lastFullResyncTime"] == first["lastFullResyncTime"]
        assert "progress" not in status

        bench.behave("acme")
        bench.annotate("acme", "requested-at", "2")
        eventually(lambda: bench.condition("Ready") == ("True", "Succeeded"))
        eventually(lambda: bench.event_reasons()[-1] == "Recovered")
    assert "ReportRefused" in bench.event_reasons()
    assert [run["full"] for run in bench.runs()] == [True, False, False]


def test_a_report_whose_times_are_refused_still_ends_the_run(bench: Bench) -> None:
    """It is not taken for reach: nobody knows since when."""
    bench.behave("acme", report={"started_at": "before breakfast", "finished_at": "later"})
    with bench.operating():
        bench.add_sync()
        eventually(lambda: bench.ran(1))
        eventually(lambda: bench.condition("Ready") == ("Unknown", "ReportRefused"))
        eventually(lambda: bench.condition("Reconciling") == ("False", "Idle"))
    status = bench.status()
    assert status["lastRun"]["outcome"] == "Succeeded"
    assert not {"lastReachTime", "lastSuccessTime", "lastFullResyncTime"} & status.keys()
    assert len(bench.runs()) == 1


@pytest.mark.parametrize("verb", ["get", "create", "update"])
def test_rights_on_leases_that_are_missing_are_told(bench: Bench, verb: str) -> None:
    with bench.operating():
        bench.add_sync()
        eventually(lambda: bench.ran(1))
        if verb == "create":
            bench.request(
                "DELETE",
                "/apis/coordination.k8s.io/v1/namespaces/default/leases/metronome-sync-acme",
            )
        bench.cluster.faults.add(
            Match(verb=verb, resource="leases"), status=403, message=f"cannot {verb} leases"
        )
        bench.annotate("acme", "requested-at", "1")
        eventually(lambda: bench.condition("Stalled") == ("True", "LeaseForbidden"))
        assert bench.condition("Ready") == ("False", "LeaseForbidden")
        conditions = bench.status()["conditions"]
        sentence = next(one["message"] for one in conditions if one["type"] == "Stalled")
        assert "may not get, create and update leases in namespace default" in sentence
        assert f"cannot {verb} leases" in sentence, "the API server's own words"
        eventually(lambda: bench.event_reasons()[-1] == "LeaseForbidden")
        stalled = 'stalled{name="acme",namespace="default"} 1.0'
        eventually(lambda: stalled in bench.probe("/metrics")[1])

        bench.cluster.faults.clear()
        eventually(lambda: bench.ran(2))
        eventually(lambda: bench.event_reasons()[-1] == "Recovered")
        assert bench.condition("Stalled")[0] == "False"
    assert bench.event_reasons().count("LeaseForbidden") == 1


def test_credentials_that_no_longer_count_end_the_process(bench: Bench) -> None:
    """The kubelet restarts it; it must not live on without its watch."""
    with bench.operator_process() as process:
        bench.add_sync()
        eventually(lambda: bench.ran(1), 15)
        bench.cluster.tokens = {"another"}
        bench.cluster.faults.close_watches()
        assert process.wait(40) == 1


def test_definitions_that_come_later_are_served(tmp_path: Path) -> None:
    cluster = KubernetesSandbox()
    with cluster.serve() as served:
        bench = Bench(tmp_path, cluster, served)
        bench.add_secrets()
        with bench.operating():
            eventually(lambda: "not been listed" in bench.probe("/readyz")[1])
            for path in CRDS:
                cluster.install_crd(yaml.safe_load(path.read_text(encoding="utf-8")))
            bench.add_sync()
            eventually(lambda: bench.ran(1))
            eventually(lambda: bench.probe("/readyz")[0] == 200)


def test_an_operator_of_one_namespace_leaves_others_alone(bench: Bench) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}}
    bench.request("POST", "/api/v1/namespaces", namespace)
    with bench.operating(namespaces=("other",)):
        eventually(lambda: bench.probe("/readyz")[0] == 200)
        bench.add_sync()
        eventually(lambda: bench.cluster.open_watches("metronomesyncs"))
        asked = {
            (call.verb, call.resource, call.namespace)
            for call in bench.cluster.requests.calls()
            if call.user_agent != "Python-urllib/3.11" and call.resource
        }
    assert bench.status() == {}
    assert {namespace for _, _, namespace in asked if namespace != "default"} >= {"other"}
    assert not [
        verb
        for verb, resource, namespace in asked
        if verb in {"list", "watch"} and resource.startswith("metronome") and not namespace
    ]
