"""Wrong values are refused before anything is installed, with a message that says which."""

from typing import Any

import pytest
import yaml

from metronome_salesforce.spec import parse_link, parse_sync
from tests.chart.generate import CHART
from tests.chart.render import NAMESPACE, RELEASE, documents, helm, only, template
from tests.chart.test_render import SYNC, environment, pod_of
from tests.helm import MAJORS

Json = dict[str, Any]


def nested(path: str, value: Any) -> Json:
    """`a.b` and a value as the mapping that values.yaml would have."""
    for name in reversed(path.split(".")):
        value = {name: value}
    return value  # type: ignore[no-any-return]


def synced(**changes: Any) -> Json:
    """Values with one MetronomeSync, whose spec is changed."""
    return {"syncs": {"production": {"spec": SYNC | changes}}}


REFUSED: list[tuple[Json, str]] = [
    # Names that are not there, at every depth.
    ({"imge": {}}, "at '': additional properties 'imge' not allowed"),
    (nested("image.repo", "x"), "at '/image': additional properties 'repo' not allowed"),
    (
        nested("networkPolicy.allow", True),
        "at '/networkPolicy': additional properties 'allow' not allowed",
    ),
    (
        nested("tolerations", [{"keys": "x"}]),
        "at '/tolerations/0': additional properties 'keys' not allowed",
    ),
    # One operator.
    (nested("replicas", 2), "at '/replicas': value must be one of 0, 1"),
    (nested("replicaCount", 1), "at '': additional properties 'replicaCount' not allowed"),
    # Words and texts of the wrong form.
    (
        nested("image.repository", "registry.example.com/operator:1.0"),
        "at '/image/repository': 'registry.example.com/operator:1.0' does not match pattern",
    ),
    (
        nested("image.digest", "sha256:abc"),
        "at '/image/digest': 'sha256:abc' does not match pattern",
    ),
    (
        nested("image.pullPolicy", "Sometimes"),
        "at '/image/pullPolicy': value must be one of 'Always', 'IfNotPresent', 'Never'",
    ),
    (
        nested("watchNamespaces", ["Billing"]),
        "at '/watchNamespaces/0': 'Billing' does not match pattern",
    ),
    (nested("watchNamespaces", ["a", "a"]), "at '/watchNamespaces': items at 0 and 1 are equal"),
    (nested("watchNamespaces", "billing"), "at '/watchNamespaces': got string, want array"),
    (
        nested("log.level", "loud"),
        "at '/log/level': value must be one of 'debug', 'info', 'warning', 'error'",
    ),
    (
        nested("tracing.endpoint", "https://user:pass@collector:4318"),
        "at '/tracing/endpoint': 'https://user:pass@collector:4318' does not match pattern",
    ),
    (
        nested("tracing.endpoint", "collector:4317"),
        "at '/tracing/endpoint': 'collector:4317' does not match pattern",
    ),
    (nested("tracing.sampleRatio", 10), "at '/tracing/sampleRatio': maximum: got 10, want 1"),
    (nested("tracing.sampleRatio", "half"), "at '/tracing/sampleRatio': 'half' does not match"),
    (
        nested("tracing.headers", "x"),
        "at '/tracing': additional properties 'headers' not allowed",
    ),
    (
        nested("log.levels", {"httpx": "loud"}),
        "at '/log/levels/httpx': value must be one of 'debug', 'info', 'warning', 'error'",
    ),
    (nested("log.levels", {"a=b": "info"}), "at '/log/levels': additional properties 'a=b' not"),
    (nested("maxCycles", 0), "at '/maxCycles': minimum: got 0, want 1"),
    (
        nested("hosts.allowed", ["https://api.metronome.com"]),
        "at '/hosts/allowed/0': 'https://api.metronome.com' does not match pattern",
    ),
    (nested("hosts.allowed", ["a,b"]), "at '/hosts/allowed/0': 'a,b' does not match pattern"),
    (
        nested("terminationGracePeriodSeconds", 5),
        "at '/terminationGracePeriodSeconds': minimum: got 5, want 30",
    ),
    (nested("tmp.sizeLimit", "much"), "at '/tmp/sizeLimit': 'much' does not match pattern"),
    (nested("service.port", 70000), "at '/service/port': maximum: got 70,000, want 65,535"),
    (
        nested("networkPolicy.dnsPorts", []),
        "at '/networkPolicy/dnsPorts': minItems: got 0, want 1",
    ),
    (
        nested("monitoring.serviceMonitor.interval", "often"),
        "at '/monitoring/serviceMonitor/interval': 'often' does not match pattern",
    ),
    (nested("helmTest.syncs", ["a/b/c"]), "at '/helmTest/syncs/0': 'a/b/c' does not match pattern"),
    # Secrets: there is no place for one.
    (
        nested("proxy.https", "http://user:pass@proxy:3128"),
        "at '/proxy/https': 'http://user:pass@proxy:3128' does not match pattern",
    ),
    (
        nested("extraObjects", [{"apiVersion": "v1", "kind": "Secret", "metadata": {}}]),
        "at '/extraObjects/0/kind': 'not' failed",
    ),
    (
        synced(metronome={"apiKey": "k"}),
        "at '/syncs/production/spec/metronome': additional properties 'apiKey' not allowed",
    ),
    (
        synced(metronome={"apiKeySecretRef": {"name": "metronome", "value": "k"}}),
        "at '/syncs/production/spec/metronome/apiKeySecretRef': additional properties 'value' not",
    ),
    (
        synced(salesforce=SYNC["salesforce"] | {"clientSecret": "s"}),
        "at '/syncs/production/spec/salesforce': additional properties 'clientSecret' not allowed",
    ),
    # A MetronomeSync as its CRD has it.
    (
        {"syncs": {"production": {"spec": {}}}},
        "at '/syncs/production/spec': missing properties 'metronome', 'salesforce'",
    ),
    (
        {"syncs": {"Production": {"spec": SYNC}}},
        "at '/syncs': additional properties 'Production' not allowed",
    ),
    (
        synced(windowSize="Week"),
        "at '/syncs/production/spec/windowSize': value must be one of 'Day', 'Hour', 'None'",
    ),
    (
        synced(historyLimit="many"),
        "at '/syncs/production/spec/historyLimit': got string, want integer",
    ),
    (
        synced(prune={"maxDeletePercent": 101}),
        "at '/syncs/production/spec/prune/maxDeletePercent': maximum: got 101, want 100",
    ),
]


@pytest.mark.parametrize("major", MAJORS)
@pytest.mark.parametrize(("values", "said"), REFUSED)
def test_wrong_values_are_refused(values: Json, said: str, major: int) -> None:
    """The message names the place and what is wrong there."""
    done = helm(major, "template", "x", CHART, "--values", "-", given=yaml.safe_dump(values))

    assert done.returncode == 1
    assert "values don't meet the specifications of the schema" in done.stderr
    assert f"- {said}" in done.stderr


def test_a_sync_outside_the_served_namespaces_is_refused() -> None:
    """Nobody would serve it."""
    values = {"watchNamespaces": ["billing"], **synced()}
    done = helm(4, "template", "x", CHART, "-n", "other", "-f", "-", given=yaml.safe_dump(values))

    assert done.returncode == 1
    expected = (
        "syncs.production is for the namespace other, which is none of watchNamespaces (billing)"
    )
    assert expected in done.stderr


def refusal(values: Json) -> str:
    """What the templates have against values that the schema lets pass."""
    given = yaml.safe_dump(values)
    done = helm(4, "template", RELEASE, CHART, "-n", NAMESPACE, "-f", "-", given=given)
    assert done.returncode == 1
    return done.stderr


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({}, "NO_PROXY"),
        ({}, "POD_NAME"),
        ({"proxy": {"https": "http://proxy:3128"}}, "HTTPS_PROXY"),
        ({"hosts": {"allowed": ["127.0.0.1"]}}, "METRONOME_SALESFORCE_ALLOWED_HOSTS"),
        ({"caBundle": {"configMapName": "corporate-ca"}}, "SSL_CERT_FILE"),
        ({"tracing": {"endpoint": "http://c:4318"}}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
    ],
)
def test_a_variable_of_the_chart_s_is_not_set_twice(more: Json, name: str) -> None:
    """One of the two would be ignored, or all refused, by the API server and in its words."""
    said = refusal(more | {"extraEnv": [{"name": name, "value": "x"}]})

    assert f"extraEnv sets {name}, which is set already" in said
    assert "proxy.noProxy" in said


def test_a_variable_is_not_given_twice() -> None:
    twice = [{"name": "TZ", "value": value} for value in ("Etc/UTC", "Europe/Berlin")]

    assert "extraEnv sets TZ, which is set already" in refusal({"extraEnv": twice})


def test_rights_go_to_an_account_that_is_named() -> None:
    """Else every pod of the namespace would have them."""
    said = refusal({"serviceAccount": {"create": False}})

    assert "serviceAccount.name must name the account" in said
    others = {"serviceAccount": {"create": False}, "rbac": {"create": False}}
    assert pod_of(documents(template(others)))["serviceAccountName"] == "default"


def test_a_network_policy_needs_the_api_server_s_addresses() -> None:
    """A default of everywhere would open what `vendors` leaves out."""
    said = refusal({"networkPolicy": {"enabled": True}})

    assert "networkPolicy.apiServerCidrs must name the API server's addresses" in said


def test_a_sync_s_manifest_is_valid() -> None:
    """By the operator's own model: the schema lets nothing through that it would not read."""
    manifest = only(documents(template(synced(dryRun=True))), "MetronomeSync")

    parsed = parse_sync(manifest)

    assert (parsed.metadata.namespace, parsed.metadata.name) == (NAMESPACE, "production")
    assert parsed.spec.dry_run


def test_examples_of_the_annotations_are_valid() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    sync, link = yaml.safe_load(chart["annotations"]["artifacthub.io/crdsExamples"])

    for manifest, parse in ((sync, parse_sync), (link, parse_link)):
        manifest["metadata"]["namespace"] = "default"
        assert parse(manifest).metadata.name == manifest["metadata"]["name"]


def test_the_kind_decides_whether_a_sync_can_be_there() -> None:
    """In a cluster that does not serve the kind yet, Helm would refuse all of the release."""
    live = ("--api-versions", "apps/v1/Deployment")
    kind = ("--api-versions", "metronome-salesforce.dev/v1alpha1/MetronomeSync")

    def has_sync(values: Json, *known: str) -> bool:
        return any(one["kind"] == "MetronomeSync" for one in documents(template(values, *known)))

    assert has_sync(synced())  # rendered without a cluster
    assert not has_sync(synced(), *live)
    assert has_sync(synced(), *live, *kind)
    assert has_sync(synced() | {"crds": {"enabled": False}}, *live)


def test_traces_are_of_the_operator_alone() -> None:
    """What the values have no word for is for extraEnv."""
    extra = [{"name": "OTEL_BSP_MAX_QUEUE_SIZE", "value": "4096"}]
    # As a text, which is what --set makes of it.
    values = {"tracing": {"endpoint": "http://c:4318", "sampleRatio": "0.5"}, "extraEnv": extra}
    manifests = documents(template(values))
    without = environment(pod_of(documents(template({"tracing": {"sampleRatio": 0.5}}))))
    whole = environment(pod_of(documents(template({"tracing": {"endpoint": "http://c:4318"}}))))

    assert environment(pod_of(manifests))["OTEL_TRACES_SAMPLER_ARG"] == "0.5"
    assert environment(pod_of(manifests))["OTEL_BSP_MAX_QUEUE_SIZE"] == "4096"
    assert [name for name in without if name.startswith("OTEL")] == []
    assert [name for name in whole if name.startswith("OTEL")] == ["OTEL_EXPORTER_OTLP_ENDPOINT"]
    pods = [one for one in manifests if one["kind"] == "Pod"]
    assert pods
    assert [one for one in pods if "OTEL_EXPORTER_OTLP_ENDPOINT" in str(one)] == []


def test_proxy_never_stands_before_the_cluster() -> None:
    """Also where the proxy's address comes from a Secret."""
    own = [{"name": "HTTPS_PROXY", "valueFrom": {"secretKeyRef": {"name": "p", "key": "k"}}}]
    for values in ({"proxy": {"https": "http://proxy:3128"}}, {"extraEnv": own}):
        hosts = environment(pod_of(documents(template(values))))["NO_PROXY"].split(",")

        assert {"$(KUBERNETES_SERVICE_HOST)", ".svc", ".cluster.local"} <= set(hosts)


def test_a_sync_s_own_annotations_go_before_the_policy() -> None:
    """By default it is kept; one that is to go with the release can say so itself."""

    def policy(**more: Any) -> Any:
        values = {"syncs": {"production": {"spec": SYNC, **more}}}
        metadata = only(documents(template(values)), "MetronomeSync")["metadata"]
        return metadata["annotations"]["helm.sh/resource-policy"]

    assert policy() == "keep"
    assert policy(annotations={"example.com/a": "b"}) == "keep"
    assert policy(annotations={"helm.sh/resource-policy": "delete"}) == "delete"
