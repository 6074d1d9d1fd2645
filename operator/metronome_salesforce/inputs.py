"""What a MetronomeSync refers to: Secrets and a ConfigMap, looked up and checked before a run.

The same for resources from files and from a cluster: both come as plain texts by namespace and
name. Only the namespace of the MetronomeSync itself is looked into.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from metronome_salesforce.errors import ConfigError
from metronome_salesforce.spec import MetronomeSync

Name = tuple[str, str]
"""Namespace and name."""
Texts = Mapping[str, str]
"""The decoded content of a Secret or ConfigMap by key."""

CREDENTIALS: Final = (
    ("clientId", "clientSecret"),
    ("clientId", "username", "privateKey"),
    ("username", "password", "securityToken"),
)
"""The keys that sign in to Salesforce together: client credentials, JWT bearer, password."""
_MAY_BE_EMPTY: Final = frozenset({"securityToken"})
"""An org that trusts the address we call from wants none; the key says that this is meant."""


class Referable(Protocol):
    """What a MetronomeSync can refer to; a `Bundle` is one."""

    @property
    def secrets(self) -> Mapping[Name, Texts]:
        """Decoded Secrets (see `secret_texts`)."""

    @property
    def config_maps(self) -> Mapping[Name, Texts]:
        """ConfigMaps (see `config_map_texts`)."""


@dataclass(frozen=True, slots=True)
class SyncInputs:
    """A MetronomeSync with all that it refers to. Secret values stay out of its repr.

    `credentials` has the keys of one entry of `CREDENTIALS`, and no others; `ca_bundle` is PEM.
    """

    sync: MetronomeSync
    api_key: str = field(repr=False)
    credentials: dict[str, str] = field(repr=False)
    ca_bundle: str | None = field(repr=False)


def resolve(sync: MetronomeSync, bundle: Referable) -> SyncInputs:
    """Look up what `sync` refers to, in its own namespace only.

    Raises ConfigError with reason `SecretNotFound`, `SecretKeyMissing`, `SecretKeyInvalid`,
    `ConfigMapNotFound` or `ConfigMapKeyMissing`, naming object, key and namespace.
    """
    return SyncInputs(
        sync, api_key_of(sync, bundle), credentials_of(sync, bundle), ca_bundle_of(sync, bundle)
    )


def api_key_of(sync: MetronomeSync, bundle: Referable) -> str:
    """The key to Metronome; raises ConfigError as `resolve` does."""
    space = sync.metadata.namespace
    ref = sync.spec.metronome.api_key_secret_ref
    secret = _secret(bundle, space, ref.name, "Metronome's API key")
    api_key = secret.get(ref.key, "").strip()
    if not api_key:
        raise ConfigError(
            "SecretKeyMissing",
            f"Secret {ref.name} in namespace {space} has no key {ref.key}, or it is empty; put"
            " Metronome's API key there.",
        )
    # It goes into a header of each request, which holds nothing else.
    if not re.fullmatch(r"[!-~]+", api_key):
        raise ConfigError(
            "SecretKeyInvalid",
            f"Key {ref.key} of Secret {ref.name} in namespace {space} is not an API key: it has"
            " spaces, line breaks or other characters that API keys do not have.",
        )
    return api_key


def credentials_of(sync: MetronomeSync, bundle: Referable) -> dict[str, str]:
    """The sign-in to Salesforce by key; raises ConfigError as `resolve` does."""
    space = sync.metadata.namespace
    name = sync.spec.salesforce.credentials_secret_ref.name
    return _credentials(_secret(bundle, space, name, "the sign-in to Salesforce"), space, name)


def _secret(bundle: Referable, space: str, name: str, purpose: str) -> Texts:
    secret = bundle.secrets.get((space, name))
    if secret is None:
        raise ConfigError(
            "SecretNotFound",
            f"Secret {name} with {purpose} does not exist in namespace {space}; create it.",
        )
    return secret


def credential_keys(secret: Texts) -> tuple[tuple[str, ...], list[str]]:
    """The entry of `CREDENTIALS` that a Secret was meant to hold, and what it lacks of that.

    The first that is complete, else the one that lacks the least and of which most is there.
    """
    given = {key for key, text in secret.items() if text.strip() or key in _MAY_BE_EMPTY}

    def lacks(keys: tuple[str, ...]) -> list[str]:
        return [key for key in keys if key not in given]

    meant = min(CREDENTIALS, key=lambda keys: (len(lacks(keys)), -len(keys) if lacks(keys) else 0))
    return meant, lacks(meant)


def _credentials(secret: Texts, space: str, name: str) -> dict[str, str]:
    keys, missing = credential_keys(secret)
    if not missing:
        return {key: secret[key] for key in keys}
    ways = "; or ".join(", ".join(keys) for keys in CREDENTIALS)
    raise ConfigError(
        "SecretKeyMissing",
        f"Secret {name} in namespace {space} has no key {' and no key '.join(missing)}, or it is"
        f" empty; to sign in to Salesforce it must hold {ways}.",
    )


def ca_bundle_of(sync: MetronomeSync, bundle: Referable) -> str | None:
    """The authorities to trust for Salesforce as PEM, if any; raises ConfigError as `resolve`."""
    ref = sync.spec.salesforce.ca_bundle_config_map_ref
    if ref is None:
        return None
    space = sync.metadata.namespace
    config_map = bundle.config_maps.get((space, ref.name))
    if config_map is None:
        raise ConfigError(
            "ConfigMapNotFound",
            f"ConfigMap {ref.name} with the certificate authorities does not exist in namespace"
            f" {space}; create it.",
        )
    text = config_map.get(ref.key, "")
    if not text.strip():
        raise ConfigError(
            "ConfigMapKeyMissing",
            f"ConfigMap {ref.name} in namespace {space} has no key {ref.key}, or it is empty; put"
            " the certificate authorities (PEM) there.",
        )
    return text


def secret_texts(document: Mapping[str, Any]) -> dict[str, str]:
    """The content of a Secret, as a file or the API has it (`stringData` wins over `data`).

    Line breaks at the end of values are taken off: they come from `echo` and editors. Keys whose
    value is not base64 of UTF-8 text are left out, so that using one is reported as missing.
    """
    texts = {}
    for key, value in (document.get("data") or {}).items():
        text = decoded(value)
        if text is not None:
            texts[key] = text
    texts.update(document.get("stringData") or {})
    return {key: text.rstrip("\r\n") for key, text in texts.items()}


def config_map_texts(document: Mapping[str, Any]) -> dict[str, str]:
    """The text content of a ConfigMap, as a file or the API has it."""
    return dict(document.get("data") or {})


def decoded(value: object) -> str | None:
    """The text in a value of a Secret's `data`; None when it is not base64 of UTF-8 text."""
    try:
        # Kubernetes lets base64 be wrapped into lines.
        plain = re.sub(r"[\r\n]", "", str(value))
        return base64.b64decode(plain, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
