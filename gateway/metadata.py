"""HTTP headers to gRPC metadata and back, as grpc-gateway maps them."""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.errors import RequestError

# The permanent HTTP headers, which grpc-gateway forwards with its prefix.
FORWARDED = frozenset({
    "accept", "accept-charset", "accept-language", "accept-ranges", "authorization", "cache-control", "content-type",
    "cookie", "date", "expect", "from", "if-match", "if-modified-since", "if-none-match", "if-schedule-tag-match",
    "if-unmodified-since", "max-forwards", "origin", "pragma", "referer", "user-agent", "via", "warning",
})  # fmt: skip
PREFIX = "grpcgateway-"
HTTP_CODE = "x-http-code"
RETRY_AFTER = "retry-after"
# What belongs to the transport between us and the service.
TRANSPORT = frozenset({"content-type", "user-agent", "te", "trailer", "date", "server", HTTP_CODE, RETRY_AFTER})
PRINTABLE = re.compile(r"[ -~]*", re.ASCII)
TIMEOUT = re.compile(r"([0-9]{1,18})([HMSmun])", re.ASCII)
UNIT_SECONDS = {"H": 3_600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
SUCCESS_CODES = range(200, 300)

# Authorization also without the prefix, as grpc-gateway; the trace, so that it does not end here.
AS_THEY_ARE = frozenset({"authorization", "traceparent", "tracestate"})
REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}", re.ASCII)

Pair = tuple[str, str | bytes]


@dataclass(frozen=True)
class Sender:
    """Where a request is from; what it says about other hosts is believed when `is_trusted`."""

    address: str
    host: str
    is_trusted: bool
    request_id: str


def request_metadata(headers: Iterable[tuple[str, str]], sender: Sender) -> list[Pair]:
    """Return the metadata of a call: permanent headers with a prefix, Authorization, the trace, and the sender."""
    pairs: list[Pair] = [("x-request-id", sender.request_id)]
    forwarded: list[str] = []
    host = sender.host
    for given, value in headers:
        name = given.lower()
        if not PRINTABLE.fullmatch(value):
            continue
        if name == "x-forwarded-for" and sender.is_trusted:
            forwarded.append(value)
        elif name == "x-forwarded-host" and sender.is_trusted:
            host = value
        if name in AS_THEY_ARE:
            pairs.append((name, value))
        if name in FORWARDED:
            pairs.append((PREFIX + name, value))
    if PRINTABLE.fullmatch(host) and host:
        pairs.append(("x-forwarded-host", host))
    if sender.address:
        forwarded.append(sender.address)
    if forwarded:
        pairs.append(("x-forwarded-for", ", ".join(forwarded)))
    return pairs


def request_id(given: str | None) -> str:
    """Return the id that a request came with, or a new one when it has none that could stand in a log."""
    return given if given is not None and REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def call_timeout(text: str | None) -> float | None:
    """Return the seconds of a Grpc-Timeout header, None when there is none or it is zero; RequestError if malformed."""
    if not text:
        return None
    match = TIMEOUT.fullmatch(text)
    if match is None:
        raise RequestError(f"invalid grpc-timeout: {text}")
    return int(match[1]) * UNIT_SECONDS[match[2]] or None


def response_headers(metadata: Sequence[Pair]) -> list[tuple[str, str]]:
    """Return the headers that carry the service's own metadata, without those of the transport."""
    return [
        (f"Grpc-Metadata-{name.title()}", base64.b64encode(value).decode() if isinstance(value, bytes) else value)
        for name, value in metadata
        if name not in TRANSPORT and not name.startswith(("grpc-", ":"))
    ]


def http_code(metadata: Iterable[Pair]) -> int | None:
    """Return the success status that the service set through x-http-code, the last one that makes sense."""
    code = None
    for name, value in metadata:
        if name == HTTP_CODE and isinstance(value, str) and value.isascii() and value.isdigit():
            code = int(value) if int(value[:4]) in SUCCESS_CODES else code
    return code


def retry_after(metadata: Iterable[Pair]) -> str | None:
    """Return the service's own Retry-After, in whole seconds."""
    for name, value in metadata:
        if name == RETRY_AFTER and isinstance(value, str) and value.isascii() and value.isdigit():
            return value
    return None
