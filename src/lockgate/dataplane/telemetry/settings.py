"""What a gateway is told of whom to tell: its own settings, and OpenTelemetry's where the specification has some."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

METRICS, ACCESS_LOG = "LOCKGATE_GATEWAY_METRICS", "LOCKGATE_GATEWAY_ACCESS_LOG"
SAMPLE, PER_SECOND = "LOCKGATE_TRACES_SAMPLE", "LOCKGATE_TRACES_PER_SECOND"
OWN_SETTINGS = (METRICS, ACCESS_LOG, SAMPLE, PER_SECOND)
ACCESS_LOGS = ("off", "errors", "sampled", "all")
_PATH = "v1/traces"


@dataclass(frozen=True, kw_only=True, slots=True)
class TelemetrySettings:
    """Metrics, traces and the access log of one gateway worker."""

    #: Whether anybody may read /metrics, or only who may predict.
    metrics_open: bool = False
    #: Where spans go by OTLP over HTTP; empty for nowhere, and nothing is traced then.
    traces_endpoint: str = ""
    #: Share of the requests without a trace of their callers' that begin one.
    traces_sample: float = 0.01
    #: Most requests a second that are traced, whoever asked for it.
    traces_per_second: int = 100
    #: Empty when OTEL_RESOURCE_ATTRIBUTES has it.
    service_name: str = "lockgate-gateway"
    #: Of which requests a line is written: "off", "errors", "sampled" or "all".
    access_log: str = "off"

    @property
    def watches(self) -> bool:
        """Whether anything is told of single requests."""
        return bool(self.traces_endpoint) or self.access_log != "off"


DEFAULTS = TelemetrySettings()


def read_telemetry(env: Mapping[str, str], problems: list[str]) -> TelemetrySettings:
    """Read ``LOCKGATE_GATEWAY_METRICS``, ``LOCKGATE_GATEWAY_ACCESS_LOG``, ``LOCKGATE_TRACES_*`` and ``OTEL_*``.

    Endpoints are taken as the OpenTelemetry specification says; the exporter reads the other ``OTEL_EXPORTER_OTLP_*``
    (headers, time-out, compression, certificates) by itself. Problems are added to the list.
    """
    return TelemetrySettings(
        metrics_open=_word(env, METRICS, ("token", "open"), problems) == "open",
        access_log=_word(env, ACCESS_LOG, ACCESS_LOGS, problems),
        traces_endpoint=_endpoint(env, problems),
        traces_sample=_number(env, SAMPLE, 0.01, 1.0, problems),
        traces_per_second=int(_number(env, PER_SECOND, 100, 1e6, problems)),
        service_name=_service(env),
    )


def _endpoint(env: Mapping[str, str], problems: list[str]) -> str:
    if env.get("OTEL_SDK_DISABLED", "").lower() == "true" or env.get("OTEL_TRACES_EXPORTER", "otlp") == "none":
        return ""
    found = env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    if not found and (base := env.get("OTEL_EXPORTER_OTLP_ENDPOINT")):
        found = f"{base.rstrip('/')}/{_PATH}"
    if not found:
        return ""
    if not found.startswith(("http://", "https://")):
        problems.append(f"the OTLP endpoint {found!r} is no http:// or https:// address")
    protocol = env.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or env.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol not in (None, "", "http/protobuf"):
        problems.append(f"OTLP is spoken as http/protobuf, not as {protocol!r}")
    return found


def _service(env: Mapping[str, str]) -> str:
    name = env.get("OTEL_SERVICE_NAME")
    if name:
        return name
    pairs = env.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")
    return "" if any(pair.strip().startswith("service.name=") for pair in pairs) else "lockgate-gateway"


def _word(env: Mapping[str, str], name: str, words: tuple[str, ...], problems: list[str]) -> str:
    found = env.get(name) or words[0]
    if found not in words:
        problems.append(f"{name}={found!r} is none of {', '.join(words)}")
    return found


def _number(env: Mapping[str, str], name: str, default: float, most: float, problems: list[str]) -> float:
    text = env.get(name)
    if not text:
        return default
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= most:
        problems.append(f"{name}={text!r} is not a number from 0 to {most:g}")
        return default
    return found
