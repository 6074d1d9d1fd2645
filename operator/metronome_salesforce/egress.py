"""How calls get out to the vendors: whom they trust, and what a proxy says that lets none through.

Both sides do the same: the public authorities, those of the operator's environment beside them, and
the proxies of HTTPS_PROXY, HTTP_PROXY and NO_PROXY, which their libraries read. A proxy's address
may hold a password, so no sentence has it.
"""

import os
import re
import ssl
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path

import certifi

FILE_VARIABLE, FOLDER_VARIABLE = "SSL_CERT_FILE", "SSL_CERT_DIR"

_REFUSALS = frozenset({
    HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.METHOD_NOT_ALLOWED,
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
})  # fmt: skip


class AuthoritiesError(Exception):
    """Certificate authorities cannot be used; the message says which, and what to do."""


def trusting(user: str, ca_bundle: str | None = None) -> ssl.SSLContext:
    """What a client trusts: public authorities, those of the environment, and `ca_bundle` (PEM).

    `user` is the library that gets it: each has its own, as some change what they are given. The
    environment's are the file SSL_CERT_FILE and the folder SSL_CERT_DIR, read anew when they
    change. Raises AuthoritiesError; a wrong `ca_bundle` is a ValueError.
    """
    file, folder = os.environ.get(FILE_VARIABLE), os.environ.get(FOLDER_VARIABLE)
    context = _context(user, ca_bundle, file or None, folder or None, _changed_at(file))
    if context is None:
        raise ValueError("no PEM certificates")
    return context


@lru_cache(maxsize=16)
def _context(
    _user: str, ca_bundle: str | None, file: str | None, folder: str | None, _changed: int
) -> ssl.SSLContext | None:
    # Shared: all public authorities take most of a megabyte, and sessions are kept for many orgs.
    context = ssl.create_default_context(cafile=certifi.where())
    if file is not None or folder is not None:
        try:
            context.load_verify_locations(cafile=file, capath=folder)
        except OSError:
            raise AuthoritiesError(
                f"what {FILE_VARIABLE} names cannot be read as PEM certificates; correct the "
                "operator's environment, or the file that is mounted there"
            ) from None
    if ca_bundle is not None:
        try:
            context.load_verify_locations(cadata=ca_bundle)
        except (ssl.SSLError, ValueError):
            return None
    return context


def _changed_at(file: str | None) -> int:
    try:
        return Path(file).stat().st_mtime_ns if file else 0
    except OSError:
        return 0


def proxy_status(text: str) -> int | None:
    """The status with which a proxy answered, in what the libraries say of it."""
    found = re.search(r"\b([1-5]\d\d)\b", text)
    return None if found is None else int(found[1])


def is_refusal(status: int | None) -> bool:
    """Whether a proxy will not let the call through, until a person changes something."""
    return status in _REFUSALS


def proxy_sentence(host: str, status: int | None) -> str:
    """What a proxy's answer means, and what to do."""
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return (
            f"the proxy wants a user and a password before it connects to {host} (407); put them "
            "into HTTPS_PROXY (http://user:password@proxy:port), or exempt the host with NO_PROXY"
        )
    if is_refusal(status):
        return (
            f"the proxy refuses to connect to {host} ({status}); have its administrator allow the "
            "host, or exempt it with NO_PROXY"
        )
    told = "" if status is None else f" ({status})"
    return f"the proxy cannot connect to {host}{told}; check the address, and what the proxy says"
