"""The three ways to prove who we are to Salesforce, as they stand in a Secret.

Values never appear in a `repr`: these objects pass through frames that a traceback may print.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from metronome_salesforce.errors import ConfigError


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

_CLIENT_SECRET = ("clientId", "clientSecret")
_PRIVATE_KEY = ("clientId", "username", "privateKey")
_PASSWORD = ("username", "password", "securityToken")
_SETS = (_CLIENT_SECRET, _PRIVATE_KEY, _PASSWORD)
_MAY_BE_EMPTY = frozenset({"securityToken"})
_ACCEPTED = "; ".join(" + ".join(names) for names in _SETS)


def parse_credentials(secret: Mapping[str, str]) -> Credentials:
    """The first complete set of keys of `secret`, in the order of the classes above.

    Line ends around a value are dropped: they come from `echo value | base64`. Other keys are
    ignored. Raises ConfigError("CredentialsIncomplete") that names keys, never values.
    """
    given = {name: value.strip("\r\n") for name, value in secret.items()}
    present = {name for name, value in given.items() if value or name in _MAY_BE_EMPTY}
    if present.issuperset(_CLIENT_SECRET):
        return ClientSecret(given["clientId"], given["clientSecret"])
    if present.issuperset(_PRIVATE_KEY):
        return PrivateKey(given["clientId"], given["username"], given["privateKey"])
    if present.issuperset(_PASSWORD):
        return Password(given["username"], given["password"], given["securityToken"])
    raise ConfigError("CredentialsIncomplete", _sentence(present))


def _sentence(present: set[str]) -> str:
    where = "the Secret that spec.salesforce.credentialsSecretRef names"
    held = [name for name in dict.fromkeys(sum(_SETS, ())) if name in present]
    if not held:
        return f"{where} holds no Salesforce credentials; it needs one of: {_ACCEPTED}"
    # The set of which most is there is the one that was meant.
    meant = max(_SETS, key=lambda names: (len(present.intersection(names)), -len(names)))
    missing = " and ".join(name for name in meant if name not in present)
    return (
        f"{where} lacks {missing} (missing or empty) beside {' and '.join(held)}; "
        f"accepted are: {_ACCEPTED}"
    )
