"""The settings of traces, and whether the packages that they need are installed."""

from __future__ import annotations

import importlib.util
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from common.settings import Documented, Settings, host_and_port

PACKAGES = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.grpc")
SCHEMES = ("http", "https")


def check_endpoint(url: str) -> str:
    """Validate the URL of a collector; raise ValueError with the reason, also when the packages are missing."""
    if not url:
        return url
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or parts.path not in ("", "/") or parts.query or parts.username is not None:
        raise ValueError(f"must be http://host:port or https://host:port, not {url!r}")
    host_and_port(parts.netloc, port_min=1)
    if not are_installed():
        raise ValueError("needs the packages of the extra `traces`: install ugc-events[traces]")
    return url


def are_installed() -> bool:
    """Whether the packages of the extra `traces` are installed."""
    try:
        return all(importlib.util.find_spec(package) for package in PACKAGES)
    except ModuleNotFoundError:
        return False


class TraceSettings(Settings):
    """Traces of a process; without an endpoint it makes no spans."""

    trace_endpoint: Annotated[str, AfterValidator(check_endpoint), Documented("URL")] = ""
    """Collector that receives the spans of sampled requests by OTLP over gRPC, as `http://host:port`, or with TLS as
    `https://host:port`; empty for no traces. Needs the packages of the extra `traces`."""


class HeadSamplingSettings(TraceSettings):
    """Traces of the process at which requests enter the system."""

    trace_ratio: float = Field(default=0.0, ge=0, le=1)
    """Share of the requests without a traceparent that are traced; a client's traceparent decides for all others."""

    @field_validator("trace_ratio")
    @classmethod
    def _needs_an_endpoint(cls, ratio: float, info: ValidationInfo) -> float:
        if ratio and not info.data.get("trace_endpoint", "-"):
            raise ValueError("needs UGC_TRACE_ENDPOINT")
        return ratio
