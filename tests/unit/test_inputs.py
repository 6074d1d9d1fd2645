"""What a MetronomeSync refers to is found, and what is missing is named without showing values."""

import base64
import io
from typing import Any

import pytest

from metronome_salesforce.errors import ConfigError
from metronome_salesforce.inputs import resolve, secret_texts
from metronome_salesforce.manifests import Bundle, load
from metronome_salesforce.salesforce.credentials import Password, parse_credentials
from metronome_salesforce.spec import MetronomeSync

SYNC = """\
apiVersion: metronome-salesforce.dev/v1alpha1
kind: MetronomeSync
metadata:
  name: production
spec:
  invoices:
    since: 2024-01-01
  metronome:
    apiKeySecretRef: {name: metronome}
  salesforce:
    instanceUrl: https://acme.my.salesforce.com
    credentialsSecretRef: {name: salesforce}
    caBundleConfigMapRef: {name: ca}
"""
SECRETS = f"""\
apiVersion: v1
kind: Secret
metadata: {{name: metronome}}
stringData: {{apiKey: "key-1"}}
---
apiVersion: v1
kind: Secret
metadata: {{name: salesforce, namespace: default}}
type: Opaque
data:
  clientId: {base64.b64encode(b"id-1").decode()}
  clientSecret: {base64.b64encode(b"secret-1" + bytes([10])).decode()}
  other: {base64.b64encode(b"other").decode()}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: ca}}
data: {{ca.crt: PEM}}
"""


def inputs_of(text: str) -> tuple[MetronomeSync, Bundle]:
    bundle = load(["-"], stdin=io.StringIO(text))
    return bundle.syncs[0], bundle


def test_inputs_are_resolved() -> None:
    sync, bundle = inputs_of(f"{SYNC}---\n{SECRETS}")
    inputs = resolve(sync, bundle)

    assert inputs.sync is sync
    assert inputs.api_key == "key-1"
    assert inputs.credentials == {"clientId": "id-1", "clientSecret": "secret-1"}
    assert inputs.ca_bundle == "PEM"
    for secret in ("key-1", "secret-1", "id-1"):
        assert secret not in repr(inputs) + repr(bundle)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (["clientId", "clientSecret", "username", "password"], ["clientId", "clientSecret"]),
        (["clientId", "username", "privateKey"], ["clientId", "username", "privateKey"]),
        (["username", "password", "securityToken"], ["username", "password", "securityToken"]),
    ],
)
def test_one_way_of_signing_in_is_taken(given: list[str], taken: list[str]) -> None:
    sync, bundle = inputs_of(SYNC)
    bundle = Bundle(
        secrets={
            ("default", "metronome"): {"apiKey": "k"},
            ("default", "salesforce"): dict.fromkeys(given, "x"),
        },
        config_maps={("default", "ca"): {"ca.crt": "PEM"}},
    )

    assert list(resolve(sync, bundle).credentials) == taken


def test_a_security_token_may_be_empty() -> None:
    """An org that trusts the operator's address wants none (Salesforce, trusted IP ranges)."""
    sync, _ = inputs_of(SYNC)
    password = {"username": "u", "password": "p", "securityToken": ""}
    bundle = Bundle(
        secrets={("default", "metronome"): METRONOME, ("default", "salesforce"): password},
        config_maps={("default", "ca"): CA},
    )

    credentials = resolve(sync, bundle).credentials

    assert credentials == password
    assert parse_credentials(credentials) == Password("u", "p", "")


METRONOME = {"apiKey": "k"}
SALESFORCE = {"clientId": "i", "clientSecret": "s"}
CA = {"ca.crt": "PEM"}


@pytest.mark.parametrize(
    ("metronome", "salesforce", "ca", "reason", "words"),
    [
        (None, SALESFORCE, CA, "SecretNotFound", ["Secret metronome", "namespace default"]),
        ({}, SALESFORCE, CA, "SecretKeyMissing", ["Secret metronome", "key apiKey"]),
        ({"apiKey": " "}, SALESFORCE, CA, "SecretKeyMissing", ["key apiKey", "empty"]),
        ({"apiKey": "hunter 2"}, SALESFORCE, CA, "SecretKeyInvalid", ["Key apiKey"]),
        ({"apiKey": "hunter\n2"}, SALESFORCE, CA, "SecretKeyInvalid", ["Key apiKey"]),
        ({"apiKey": "hünter"}, SALESFORCE, CA, "SecretKeyInvalid", ["Key apiKey"]),
        (METRONOME, None, CA, "SecretNotFound", ["Secret salesforce", "sign-in"]),
        (METRONOME, {}, CA, "SecretKeyMissing", ["clientId", "privateKey", "securityToken"]),
        (
            METRONOME,
            {"clientId": "hunter"},
            CA,
            "SecretKeyMissing",
            ["Secret salesforce in namespace default has no key clientSecret,"],
        ),
        (
            METRONOME,
            {"username": "hunter", "password": "hunter"},
            CA,
            "SecretKeyMissing",
            ["has no key securityToken"],
        ),
        (
            METRONOME,
            {"clientId": "hunter", "username": "hunter", "privateKey": " "},
            CA,
            "SecretKeyMissing",
            ["has no key privateKey, or it is empty"],
        ),
        (METRONOME, SALESFORCE, None, "ConfigMapNotFound", ["ConfigMap ca", "namespace default"]),
        (METRONOME, SALESFORCE, {}, "ConfigMapKeyMissing", ["ConfigMap ca", "key ca.crt"]),
    ],
)
def test_what_is_missing_is_named(
    metronome: dict[str, str] | None,
    salesforce: dict[str, str] | None,
    ca: dict[str, str] | None,
    reason: str,
    words: list[str],
) -> None:
    sync, _ = inputs_of(SYNC)
    secrets = {("default", "metronome"): metronome, ("default", "salesforce"): salesforce}
    bundle = Bundle(
        secrets={name: texts for name, texts in secrets.items() if texts is not None},
        config_maps={} if ca is None else {("default", "ca"): ca},
    )

    with pytest.raises(ConfigError) as caught:
        resolve(sync, bundle)

    assert caught.value.reason == reason
    for word in words:
        assert word in caught.value.message
    assert "hunter" not in caught.value.message.replace("hunter2", "")


def test_secret_of_another_namespace_is_not_taken() -> None:
    sync, _ = inputs_of(SYNC)
    bundle = Bundle(secrets={("other", "metronome"): METRONOME})

    with pytest.raises(ConfigError, match="does not exist in namespace default"):
        resolve(sync, bundle)


@pytest.mark.parametrize(
    ("document", "texts"),
    [
        ({}, {}),
        ({"data": None}, {}),
        ({"data": {"a": "eA=="}}, {"a": "x"}),
        ({"data": {"a": "eHh4\neHh4\n"}}, {"a": "xxxxxx"}),
        ({"data": {"a": "eA0KCg=="}}, {"a": "x"}),
        ({"data": {"a": "eA=="}, "stringData": {"a": " y \n"}}, {"a": " y "}),
        ({"data": {"a": "/w==", "b": ""}}, {"b": ""}),
    ],
)
def test_secret_is_decoded(document: dict[str, Any], texts: dict[str, str]) -> None:
    """Line breaks at the end go, blanks stay: a password may end in one."""
    assert secret_texts(document) == texts
