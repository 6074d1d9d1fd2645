"""The three ways to prove who we are to Salesforce, as they stand in a Secret.

Values never appear in a `repr`: these objects pass through frames that a traceback may print.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from metronome_salesforce.errors import ConfigError
from metronome_salesforce.inputs import CREDENTIALS, credential_keys


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """OAuth client credentials: the app's Run As user is who we are. The simplest choice."""

    client_id: str = field(repr=False)
    client_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """OAuth JWT bearer: `private_key` is PEM and matches the certificate uploaded to the app."""

    client_id: str = field(repr=False)
    username: str = field(repr=False)
    private_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Password:
    """SOAP login. Salesforce retires it in Summer '27, and new orgs have it switched off.

    `security_token` may be empty where the org trusts the address we call from.
    """

    username: str = field(repr=False)
    password: str = field(repr=False)
    security_token: str = field(repr=False)


Credentials = ClientSecret | PrivateKey | Password

_KINDS: dict[tuple[str, ...], Callable[..., Credentials]] = dict(
    zip(CREDENTIALS, (ClientSecret, PrivateKey, Password), strict=True)
)
_ACCEPTED = "; ".join(" + ".join(names) for names in CREDENTIALS)


def parse_credentials(secret: Mapping[str, str]) -> Credentials:
    """The first complete set of keys of `secret` (see `inputs.CREDENTIALS`).

    Line ends around a value are dropped: they come from `echo value | base64`. Other keys are
    ignored. Raises ConfigError("CredentialsIncomplete") that names keys, never values.
    """
    given = {name: value.strip("\r\n") for name, value in secret.items()}
    keys, missing = credential_keys(given)
    if not missing:
        return _KINDS[keys](*(given[key] for key in keys))
    where = "the Secret that spec.salesforce.credentialsSecretRef names"
    held = [key for key in keys if key not in missing]
    if not held:
        sentence = f"{where} holds no Salesforce credentials; it needs one of: {_ACCEPTED}"
    else:
        sentence = (
            f"{where} lacks {' and '.join(missing)} (missing or empty) beside "
            f"{' and '.join(held)}; accepted are: {_ACCEPTED}"
        )
    raise ConfigError("CredentialsIncomplete", sentence)
