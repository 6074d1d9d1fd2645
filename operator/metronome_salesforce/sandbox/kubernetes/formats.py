"""The string formats that the API server checks; any other `format` is accepted and ignored.

Source: Kubernetes documentation, "Specifying a structural schema", and the list of
k8s.io/kube-openapi/pkg/validation/strfmt.
"""

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from datetime import date, timedelta

_DATE_TIME = re.compile(
    r"^(\d{4}-\d{2}-\d{2})t([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?(z|[+-]\d{2}:\d{2})$"
)
_GO_DURATION = re.compile(r"^[+-]?((\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h))+$")
_WORDS = re.compile(r"(\d+)\s*([A-Za-zµ]+)")
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_URI = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:[^\s\x00-\x1f\x7f]*$")
_HOST = re.compile(
    r"^(?=.{1,253}$)([A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?)(\.[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?)*$"
)
_EMAIL = re.compile(r"^[^@\s<>]+@[^@\s<>.]+(\.[^@\s<>.]+)*$")
_UUID = re.compile(r"^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$", re.IGNORECASE)
_MAC = re.compile(r"^([0-9a-f]{2}[:-]){5}[0-9a-f]{2}$", re.IGNORECASE)

_SECONDS: dict[str, float] = {
    "ns": 1e-9, "nano": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "micro": 1e-6,
    "ms": 1e-3, "milli": 1e-3, "s": 1, "sec": 1, "m": 60, "min": 60,
    "h": 3600, "hr": 3600, "hour": 3600, "d": 86400, "day": 86400,
    "w": 604800, "wk": 604800, "week": 604800,
}  # fmt: skip


def duration(text: str) -> timedelta:
    """A Go duration (`1h30m`), or numbers with units up to weeks (`34d`, `1d12h`); else ValueError.

    The server looks for these numbers anywhere in the text, so odd characters between them pass.
    """
    if text in ("0", "+0", "-0"):
        return timedelta()
    if _GO_DURATION.match(text):
        total = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
        return timedelta(seconds=-total if text.startswith("-") else total)
    parts = [
        int(number) * seconds
        for number, unit in _WORDS.findall(text)
        if (seconds := _seconds(unit.lower())) is not None
    ]
    if not parts:
        raise ValueError(text)
    return timedelta(seconds=sum(parts))


def _seconds(unit: str) -> float | None:
    long = ("nano", "micro", "milli", "sec", "min", "hour", "day", "week")
    for name in long:
        if unit.startswith(name):
            return _SECONDS[name]
    return _SECONDS.get(unit)


def _is_date(text: str) -> bool:
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        return False
    date.fromisoformat(text)
    return True


def _is_date_time(text: str) -> bool:
    found = _DATE_TIME.match(text.lower())
    return found is not None and _is_date(found[1])


def _is_duration(text: str) -> bool:
    duration(text)
    return True


def _is_uri(text: str) -> bool:
    return text.startswith("/") or _URI.match(text) is not None


def _is_address(version: int) -> Callable[[str], bool]:
    return lambda text: ipaddress.ip_address(text).version == version


def _is_network(text: str) -> bool:
    ipaddress.ip_network(text, strict=False)
    return "/" in text


def _is_base64(text: str) -> bool:
    base64.b64decode(text, validate=True)
    return True


_CHECKS: dict[str, Callable[[str], bool]] = {
    "date": _is_date,
    "date-time": _is_date_time,
    "datetime": _is_date_time,
    "duration": _is_duration,
    "uri": _is_uri,
    "hostname": lambda text: _HOST.match(text) is not None,
    "email": lambda text: _EMAIL.match(text) is not None,
    "uuid": lambda text: _UUID.match(text) is not None,
    "mac": lambda text: _MAC.match(text) is not None,
    "ipv4": _is_address(4),
    "ipv6": _is_address(6),
    "cidr": _is_network,
    "byte": _is_base64,
}
_INTEGER_BITS = {"int32": 31, "int64": 63}


def accepts(name: str, value: object) -> bool:
    """Whether a value of the right type satisfies the format."""
    if isinstance(value, int) and name in _INTEGER_BITS:
        limit = 1 << _INTEGER_BITS[name]
        return -limit <= value < limit
    check = _CHECKS.get(name)
    if check is None or not isinstance(value, str):
        return True
    try:
        return check(value)
    except (ValueError, binascii.Error):
        return False
