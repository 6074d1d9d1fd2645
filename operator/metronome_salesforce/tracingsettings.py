"""Whether the environment asks for traces, and what it asks for that cannot be had.

The variables are OpenTelemetry's own (OpenTelemetry Specification, "OpenTelemetry Protocol
Exporter" and "Environment Variable Specification").
"""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from metronome_salesforce.errors import ConfigError

_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
_PROTOCOL = "http/protobuf"
_SAMPLERS = frozenset({
    "always_on", "always_off", "traceidratio",
    "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio",
})  # fmt: skip


def wants_traces(environment: Mapping[str, str]) -> bool:
    """Whether there is to be tracing; raises ConfigError for settings that cannot work.

    No sentence has a value: addresses and headers may hold a password.
    """

    def value(name: str) -> str:
        return environment.get(name, "").strip()

    endpoint = value(_TRACES_ENDPOINT) or value(_ENDPOINT)
    exporter = value("OTEL_TRACES_EXPORTER").lower()
    if not endpoint or value("OTEL_SDK_DISABLED").lower() == "true" or exporter == "none":
        return False
    if exporter not in {"", "otlp"}:
        raise _invalid(
            "OTEL_TRACES_EXPORTER", "must be otlp, the only exporter that is known, or none"
        )
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if value(name) not in {"", _PROTOCOL}:
            raise _invalid(
                name,
                f"must be {_PROTOCOL}, the only protocol that is spoken, or be left out; collectors"
                " take it on port 4318 by default, and on 4317 grpc",
            )
        if value(name):
            break
    _check_endpoint(_TRACES_ENDPOINT if value(_TRACES_ENDPOINT) else _ENDPOINT, endpoint)
    sampler = value("OTEL_TRACES_SAMPLER").lower()
    if sampler and sampler not in _SAMPLERS:
        raise _invalid("OTEL_TRACES_SAMPLER", f"must be one of {', '.join(sorted(_SAMPLERS))}")
    if sampler.endswith("traceidratio") and not _is_ratio(value("OTEL_TRACES_SAMPLER_ARG")):
        raise _invalid("OTEL_TRACES_SAMPLER_ARG", "must be a number from 0 to 1, such as 0.1")
    for what in ("CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE"):
        for name in (f"OTEL_EXPORTER_OTLP_TRACES_{what}", f"OTEL_EXPORTER_OTLP_{what}"):
            if value(name) and not Path(value(name)).is_file():
                raise _invalid(name, "must name a file (PEM), and there is none")
    return True


def _check_endpoint(name: str, url: str) -> None:
    try:
        where = urlsplit(url)
        usable = where.scheme in {"http", "https"} and where.hostname and where.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise _invalid(name, "must be a URL such as http://collector.example.com:4318")


def _is_ratio(text: str) -> bool:
    try:
        return 0 <= float(text or 1) <= 1
    except ValueError:
        return False


def _invalid(name: str, what: str) -> ConfigError:
    return ConfigError("InvalidSettings", f"{name} {what}.")
