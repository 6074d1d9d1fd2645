"""How the operator and the commands get out: proxies, what they refuse, and extra authorities.

The proxy is a process, both vendors speak https, and the commands are processes with the
environment that a Deployment would give them.
"""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from metronome_salesforce.sandbox.certificates import CertificateAuthority
from metronome_salesforce.sandbox.kubernetes import KubernetesSandbox
from tests.e2e.suite import (
    CRDS,
    SETTINGS,
    Cluster,
    Company,
    Operator,
    Space,
    company,
    references,
    run_cli,
    sync_manifest,
)
from tests.e2e.test_cli_sync import written_to
from tests.proxy import proxy_process

SUCCEEDED, FAILED = 0, 1
PASSWORD = f"proxy-password-{secrets.token_hex(8)}"
USER = f"operator:{PASSWORD}"


@dataclass(slots=True)
class Https:
    """A company whose Metronome is served by https as its org is, and the file of its authority."""

    one: Company
    metronome_url: str
    authority: Path
    folder: Path

    def manifest(self, *, own_bundle: bool = False) -> Path:
        """Its manifests; `own_bundle`: the MetronomeSync names the ConfigMap with the authority."""
        spec = self.one.spec(metronome={"baseUrl": self.metronome_url})
        if not own_bundle:
            del spec["salesforce"]["caBundleConfigMapRef"]
        return written_to(
            self.folder / "acme.yaml", *references(self.one), sync_manifest("acme", spec)
        )

    @property
    def trusted(self) -> dict[str, str]:
        """The environment in which the authority is trusted."""
        return {"SSL_CERT_FILE": str(self.authority)}

    @property
    def tunnels(self) -> set[tuple[str, str, str]]:
        """What a proxy is asked for by a cycle."""
        both = (self.metronome_url, self.one.salesforce_url)
        return {("200", "CONNECT", urlsplit(url).netloc) for url in both}


@pytest.fixture(name="https")
def _https(tmp_path: Path) -> Iterator[Https]:
    with company() as one, one.metronome.serve(tls=one.authority) as served:
        yield Https(one, served.url, one.authority.write(tmp_path), tmp_path)


def run(
    https: Https, *words: str, environment: Mapping[str, str]
) -> "subprocess.CompletedProcess[str]":
    """Run a command at debug level, whose output must not have the proxy's password."""
    options = (
        "--log-level",
        "debug",
        "--log-level",
        "httpcore=debug",
        "--log-level",
        "httpx=debug",
    )
    libraries = ("--log-level", "urllib3=debug")
    given = {**SETTINGS, **environment}
    result = run_cli(*options, *libraries, *words, environment=given)
    assert PASSWORD not in result.stdout + result.stderr
    assert https.one.api_key not in result.stdout + result.stderr
    return result


# -- proxies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["", USER], ids=["open", "password"])
def test_both_vendors_are_reached_through_the_proxy(https: Https, user: str) -> None:
    """By CONNECT, so that it sees hosts and nothing else; its password is in no log line."""
    with proxy_process(https.folder, user=user) as proxy:
        environment = {**https.trusted, **proxy.environment()}
        result = run(https, "sync", "-f", str(https.manifest()), environment=environment)
        asked = proxy.asked()

    assert result.returncode == SUCCEEDED, result.stdout
    assert asked == https.tunnels


def test_no_proxy_names_hosts_that_are_reached_directly(https: Https) -> None:
    with proxy_process(https.folder) as proxy:
        environment = {**https.trusted, **proxy.environment("localhost")}
        result = run(https, "sync", "-f", str(https.manifest()), environment=environment)
        asked = proxy.asked()

    assert result.returncode == SUCCEEDED, result.stdout
    assert asked == set()


WANTS_USER = (
    "the proxy wants a user and a password before it connects to localhost (407); put them into "
    "HTTPS_PROXY (http://user:password@proxy:port), or exempt the host with NO_PROXY"
)
FORBIDS = (
    "the proxy refuses to connect to localhost (403); have its administrator allow the host, or "
    "exempt it with NO_PROXY"
)


@pytest.mark.parametrize(("refuse", "sentence"), [(0, WANTS_USER), (403, FORBIDS)])
def test_a_proxy_that_refuses_is_told_as_such(https: Https, refuse: int, sentence: str) -> None:
    """Of either vendor, at once; a person has to act."""
    user = USER if not refuse else ""
    with proxy_process(https.folder, user=user, refuse=refuse) as proxy:
        wrong = f"http://operator:{PASSWORD}x@{proxy.address}" if user else proxy.url
        environment = {**https.trusted, **proxy.environment(url=wrong)}
        synced = run(
            https, "sync", "-f", str(https.manifest()), "--output", "json", environment=environment
        )
        looked = run(
            https, "doctor", "-f", str(https.manifest()), "--output", "json",
            environment=environment,
        )  # fmt: skip

    report = json.loads(synced.stdout)
    assert (synced.returncode, report["outcome"]) == (FAILED, "Failed")
    assert (report["reason"], report["message"]) == ("SalesforceProxyRefused", sentence)
    assert report["retry"] == "afterChange"
    assert report["api_requests"]["salesforce"] == 1
    broken = {
        one["area"]: one for one in json.loads(looked.stdout)["checks"] if one["result"] == "failed"
    }
    found = {one["check"] for one in broken.values()}
    assert (set(broken), found) == ({"Metronome", "Salesforce"}, {"reachable"})
    begin, _, end = sentence.partition("; ")
    for one in broken.values():
        assert one["found"].lower() == f"{begin}.".lower()
        assert one["remedy"].lower() == f"{end}.".lower()


def test_a_proxy_s_address_that_is_none_is_told_without_it(https: Https) -> None:
    url = f"ftp://{USER}@127.0.0.1:3128"
    environment = dict.fromkeys(("HTTPS_PROXY", "https_proxy"), url) | https.trusted
    result = run(https, "doctor", "-f", str(https.manifest()), environment=environment)

    assert result.returncode == FAILED
    assert "HTTPS_PROXY" in result.stdout


def test_an_operator_serves_behind_a_proxy(https: Https) -> None:
    """Its own API server is named in NO_PROXY; the vendors are reached through the proxy."""
    authority = CertificateAuthority()
    sandbox = KubernetesSandbox(crds=sorted(CRDS.glob("*.yaml")))
    with (
        sandbox.serve(tls=authority.server_context()) as served,
        proxy_process(https.folder, user=USER) as proxy,
    ):
        # The vendors are at localhost, the API server at 127.0.0.1.
        server = f"https://127.0.0.1:{served.port}"
        path = https.folder / "kubeconfig"
        kubeconfig = sandbox.write_kubeconfig(path, server, ca=authority.ca_pem)
        cluster = Cluster("embedded", kubeconfig, https.folder)
        environment = {**https.trusted, **proxy.environment("127.0.0.1")}
        with _Behind(cluster, https.folder / "log", environment) as operator:
            with Space.new(cluster, operator) as space:
                spec = https.one.spec(metronome={"baseUrl": https.metronome_url})
                space.apply(*references(https.one), sync_manifest("acme", spec))
                space.wait_for_run()
            assert operator.stop() == 0
        cluster.close()
        asked = proxy.asked()
    assert asked == https.tunnels
    assert PASSWORD not in operator.log_text()


class _Behind(Operator):
    """An operator with more in its environment."""

    def __init__(self, cluster: Cluster, log: Path, environment: Mapping[str, str]) -> None:
        super().__init__(cluster, log)
        self._environment = environment

    def start(self) -> None:
        before = {name: os.environ.get(name) for name in self._environment}
        os.environ.update(self._environment)
        try:
            # Popen takes them; this process asks the probes on loopback.
            super().start()
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


# In its pod, the operator finds the API server by these; no proxy leads there.
_IN_POD = """
import asyncio, sys
from kubernetes.config import incluster_config
token, ca = sys.argv[1:]
incluster_config.SERVICE_TOKEN_FILENAME = token
incluster_config.SERVICE_CERT_FILENAME = ca
from metronome_salesforce.kube import Kube
kube = Kube()
print(asyncio.run(kube.version()), kube.connection().through_proxies)
kube.close()
"""


def test_in_a_pod_the_api_server_is_reached_without_the_proxy(tmp_path: Path) -> None:
    """Whatever NO_PROXY says: it is in the cluster."""
    authority = CertificateAuthority()
    (tmp_path / "token").write_text("token", "ascii")
    with (
        KubernetesSandbox().serve(tls=authority.server_context()) as served,
        proxy_process(tmp_path, refuse=403) as proxy,
    ):
        pod = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(served.port)}
        result = subprocess.run(
            [sys.executable, "-c", _IN_POD, str(tmp_path / "token"), authority.write(tmp_path)],
            capture_output=True, text=True, timeout=30, check=False,
            env={**os.environ, **proxy.environment(), **pod},
        )  # fmt: skip
        asked = proxy.asked()
    assert result.stdout == "v1.36.2 False\n", result.stderr
    assert asked == set()


# -- authorities -----------------------------------------------------------------------------------


def test_the_environment_s_authorities_are_trusted_by_both(https: Https) -> None:
    """Beside the MetronomeSync's own, which is for Salesforce."""
    without = run(https, "doctor", "-f", str(https.manifest()), environment={})
    its_own = run(https, "doctor", "-f", str(https.manifest(own_bundle=True)), environment={})
    both = run(https, "sync", "-f", str(https.manifest()), environment=https.trusted)

    assert without.returncode == FAILED
    assert " ".join(without.stdout.split()).count("certificate of localhost cannot be") == 2
    assert its_own.returncode == FAILED
    assert " ".join(its_own.stdout.split()).count("certificate of localhost cannot be") == 1
    assert both.returncode == SUCCEEDED, both.stdout


def test_public_authorities_stay_trusted_beside_it(https: Https) -> None:
    """The file adds to them: a proxy may inspect one host and not the other."""
    code = (
        "from metronome_salesforce.egress import trusting\nprint(len(trusting('a').get_ca_certs()))"
    )

    def count(**environment: str) -> int:
        result = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True, text=True, check=True, env={**os.environ, **environment},
        )  # fmt: skip
        return int(result.stdout)

    assert count(**https.trusted) == count(SSL_CERT_FILE="") + 1


@pytest.mark.parametrize("content", ["no certificate", None])
def test_a_file_that_holds_none_is_told_by_both(https: Https, content: str | None) -> None:
    https.authority.unlink()
    if content is not None:
        https.authority.write_text(content, "ascii")
    result = run(
        https, "doctor", "-f", str(https.manifest()), "--output", "json", environment=https.trusted
    )

    broken = [one for one in json.loads(result.stdout)["checks"] if one["result"] == "failed"]
    assert [one["area"] for one in broken] == ["Metronome", "Salesforce"]
    assert {one["found"] for one in broken} == {
        "What SSL_CERT_FILE names cannot be read as PEM certificates."
    }
