"""Which hosts the operator may call: what a resource asks for must be on the operator's own list.

Whoever may write a MetronomeSync decides where its Secrets are sent. The list keeps that inside
Metronome and Salesforce unless the operator's administrator says otherwise, so that a resource
cannot hand a Secret to another server, or reach into the cluster's network.
"""

import ipaddress
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from metronome_salesforce.errors import ConfigError

HOSTS_VARIABLE: Final = "METRONOME_SALESFORCE_ALLOWED_HOSTS"
DEFAULTS_VARIABLE: Final = "METRONOME_SALESFORCE_DEFAULT_HOSTS"
HTTP_VARIABLE: Final = "METRONOME_SALESFORCE_ALLOW_HTTP"

DEFAULT_HOSTS: Final = (
    "api.metronome.com",
    "*.my.salesforce.com",
    "login.salesforce.com",
    "test.salesforce.com",
)

_LABEL = r"[a-z0-9_]([-a-z0-9_]*[a-z0-9_])?"
_NAME = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*")
# Nothing else belongs in an address: no spaces, controls, quotes, backslashes or other scripts,
# over which two parsers could disagree about where the host ends.
_PLAIN = re.compile(r"[-A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%]+")


@dataclass(frozen=True, slots=True)
class HostRules:
    """The operator's settings: default hosts, hosts beside them, and whether http may be used."""

    extra_hosts: tuple[str, ...] = ()
    allow_http: bool = False
    default_hosts: tuple[str, ...] = DEFAULT_HOSTS

    def check(self, url: str) -> None:
        """Raise ConfigError `HostNotAllowed` unless `url` may be called."""
        check_url(
            url,
            extra_hosts=self.extra_hosts,
            allow_http=self.allow_http,
            default_hosts=self.default_hosts,
        )


def host_rules(environment: Mapping[str, str]) -> HostRules:
    """Read the rules from the environment; raises ConfigError `InvalidSettings`.

    METRONOME_SALESFORCE_ALLOWED_HOSTS is a list of names, IP addresses or `*.` patterns, separated
    by commas, that are added to the default; METRONOME_SALESFORCE_DEFAULT_HOSTS=false leaves that
    list alone. METRONOME_SALESFORCE_ALLOW_HTTP is true or false.
    """
    entries = [entry.strip() for entry in environment.get(HOSTS_VARIABLE, "").split(",")]
    hosts = tuple(_entry(entry) for entry in entries if entry)
    return HostRules(
        hosts,
        allow_http=_flag(environment, HTTP_VARIABLE, default=False),
        default_hosts=DEFAULT_HOSTS if _flag(environment, DEFAULTS_VARIABLE, default=True) else (),
    )


def _flag(environment: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = environment.get(name, "").strip().lower()
    if text not in ("", "true", "false"):
        raise ConfigError("InvalidSettings", f"{name} must be true or false.")
    return text == "true" if text else default


def _entry(text: str) -> str:
    host = text.lower()
    address = _address(host)
    if address:
        return address
    # All digits and dots, and no IP address: a slip, which would never match.
    if not _NAME.fullmatch(host) or re.fullmatch(r"[*.0-9]+", host):
        raise ConfigError(
            "InvalidSettings",
            f"{HOSTS_VARIABLE} has {text!r}; each entry must be a host name without scheme, port or"
            " path, an IP address, or a pattern such as *.example.com.",
        )
    return host


def check_url(
    url: str,
    *,
    extra_hosts: Collection[str] = (),
    allow_http: bool = False,
    default_hosts: Collection[str] = DEFAULT_HOSTS,
) -> None:
    """Raise ConfigError `HostNotAllowed` unless `url` may be called.

    The host must be in `default_hosts` or in `extra_hosts` (lower case names, IP addresses, or
    patterns such as `*.example.com`, which match at any depth below but not the name itself); an IP
    address must be listed as it is. Clients check every address they are about to call, also those
    they are redirected to.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").lower()
    except ValueError:
        parts = None
    if parts is None or not _PLAIN.fullmatch(url) or not host or port == 0:
        raise ConfigError("HostNotAllowed", "The address is not one of a host on the web.")
    if parts.username is not None or parts.password is not None:
        raise ConfigError(
            "HostNotAllowed", f"The address of {host} holds a user or password; take them out."
        )
    if parts.scheme not in ("https", "http"):
        raise ConfigError("HostNotAllowed", f"The address of {host} must begin with https://.")
    if not _is_allowed(host, (*default_hosts, *extra_hosts)):
        defaults = f"are {', '.join(default_hosts)} and" if default_hosts else "is only"
        raise ConfigError(
            "HostNotAllowed",
            f"The operator may not call the host {host}. Allowed {defaults} what the operator's"
            f" environment variable {HOSTS_VARIABLE} lists; correct the address, or have the"
            " operator's administrator add the host there.",
        )
    if parts.scheme == "http" and not allow_http:
        raise ConfigError(
            "HostNotAllowed",
            f"The address of {host} must begin with https://; plain http is for sandboxes, where"
            f" the operator's environment variable {HTTP_VARIABLE} is true.",
        )


def _is_allowed(host: str, allowed: Collection[str]) -> bool:
    address = _address(host)
    if address:
        return address in allowed
    return any(
        host.endswith(entry[1:]) and host != entry[1:] if entry.startswith("*.") else host == entry
        for entry in allowed
    )


def _address(host: str) -> str | None:
    """The one spelling of an IP address; None for a name."""
    try:
        return str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]")))
    except ValueError:
        return None
