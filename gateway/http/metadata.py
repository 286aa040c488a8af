"""HTTP headers to gRPC metadata and back, as grpc-gateway maps them."""

from __future__ import annotations

import base64
import logging
import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from common.logs import log_limited
from gateway.errors import HeadersTooLargeError, RequestError
from gateway.http.trace import TRACEPARENT, trace
from gateway.quoting import quoted

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
TRANSPORT = frozenset({"content-type", "user-agent", "te", "trailer", "date", "server", HTTP_CODE})
# What each answer carries anyway, without a prefix.
OWN = frozenset({"x-request-id"})
NOT_FORWARDED = TRANSPORT | OWN
PRINTABLE = re.compile(r"[ -~]*", re.ASCII)
FIELD_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,128}", re.ASCII)
TIMEOUT = re.compile(r"([0-9]{1,40})([HMSmun])", re.ASCII)
TIMEOUT_UNITS_MAX = 2**64 - 1
# Longer ones are as good as none; the library behind the channel would overflow.
TIMEOUT_SECONDS_MAX = 100_000_000.0
UNIT_SECONDS = {"H": 3_600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
# With leading zeros, as Go's Atoi reads it.
SUCCESS_CODE = re.compile(r"0{0,8}2[0-9]{2}", re.ASCII)
SECONDS = re.compile(r"[0-9]{1,9}", re.ASCII)

# Also without the prefix, as grpc-gateway.
AUTHORIZATION = "authorization"
REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}", re.ASCII)

# Of the client's headers that go on, names and values, and for a host and addresses that the gateway adds.
# Ingest takes 65,536 bytes, of which HTTP/2 counts 32 beside each pair.
METADATA_BYTES_MAX = 32_768
OWN_BYTES_MAX = 1_024
AUTHORIZATION_TWICE_BYTES_MAX = 8_192
PAIR_BYTES = 32
# What servers of gRPC send at most by default; proxies refuse an answer with much more.
ANSWER_METADATA_BYTES_MAX = 8_192

Pair = tuple[str, str | bytes]


@dataclass(frozen=True)
class Sender:
    """Where a request is from; what it says about other hosts is believed when `is_trusted`."""

    address: str
    host: str
    is_trusted: bool
    request_id: str


def request_metadata(headers: Iterable[tuple[str, str]], sender: Sender) -> list[Pair]:
    """Return the metadata of a call: permanent headers with a prefix, Authorization, the trace, and the sender.

    HeadersTooLargeError when that is more than a call can carry; RequestError when it is not clear who asks.
    """
    pairs: list[Pair] = [("x-request-id", sender.request_id)]
    given = [(name.lower(), value) for name, value in headers]
    names = dict(reversed(given))
    if names.get("pragma") == "no-cache" and "cache-control" not in names:
        given.append(("cache-control", "no-cache"))  # as Go's HTTP server, for clients of HTTP/1.0
    if sum(name == AUTHORIZATION for name, _value in given) > 1:
        raise RequestError("the request has more than one Authorization header")
    sent = 0
    for name, value in given:
        if name in FORWARDED and PRINTABLE.fullmatch(value):
            sent += len(name) + len(value)
            # Under its own name alone when it is long: twice would be more than a call can carry.
            is_long = name == AUTHORIZATION and len(value) > AUTHORIZATION_TWICE_BYTES_MAX
            if name == AUTHORIZATION:
                pairs.append((name, value))
            if not is_long:
                pairs.append((PREFIX + name, value))
    if TRACEPARENT in names:
        pairs += trace(given)
    forwarded = list(forwarding(given, sender))
    if sent + sum(len(value) for _name, value in forwarded) > METADATA_BYTES_MAX + OWN_BYTES_MAX:
        raise HeadersTooLargeError(METADATA_BYTES_MAX)
    return pairs + forwarded


def forwarding(headers: Iterable[tuple[str, str]], sender: Sender) -> Iterator[Pair]:
    """Yield who asked, and which host; the sender's own words about others count only where it is trusted."""
    said = [(name, value) for name, value in headers if sender.is_trusted and PRINTABLE.fullmatch(value)]
    host = next((value for name, value in said if name == "x-forwarded-host" and value), sender.host)
    if host and PRINTABLE.fullmatch(host):
        yield "x-forwarded-host", host
    addresses = [value for name, value in said if name == "x-forwarded-for"]
    if sender.address:
        addresses.append(sender.address)
    if addresses:
        yield "x-forwarded-for", ", ".join(addresses)


def request_id(given: str | None) -> str:
    """Return the id that a request came with, or a new one when it has none that could stand in a log."""
    return given if given is not None and REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def call_timeout(text: str | None) -> float | None:
    """Return the seconds of a Grpc-Timeout header, None when there is none or it is zero; RequestError if malformed."""
    if not text:
        return None
    match = TIMEOUT.fullmatch(text)
    if match is None or int(match[1]) > TIMEOUT_UNITS_MAX:
        raise RequestError(f"invalid grpc-timeout: {quoted(text)}")
    return min(int(match[1]) * UNIT_SECONDS[match[2]], TIMEOUT_SECONDS_MAX) or None


def response_headers(metadata: Iterable[Pair]) -> list[tuple[str, str]]:
    """Return the headers that carry the service's own metadata."""
    return [(f"Grpc-Metadata-{name}", text) for name, text in metadata_text(metadata)]


def metadata_text(metadata: Iterable[Pair]) -> list[tuple[str, str]]:
    """Return metadata as HTTP names and texts, without that of the transport; binary values as base64.

    What no HTTP header can hold is left out: the service has acted on the request, and its answer is to arrive.
    """
    texts = []
    size = 0
    for name, value in metadata:
        if name in NOT_FORWARDED or name.startswith(("grpc-", ":")):
            continue
        text = base64.b64encode(value).decode() if isinstance(value, bytes) and name.endswith("-bin") else value
        bytes_needed = len(name) + len(text) + PAIR_BYTES
        if not isinstance(text, str) or not PRINTABLE.fullmatch(text) or not FIELD_NAME.fullmatch(name):
            log_limited(logging.WARNING, "left metadata out of an answer: no header can hold it", name=name)
        elif size + bytes_needed > ANSWER_METADATA_BYTES_MAX:
            log_limited(logging.WARNING, "left metadata out of an answer: too many bytes", name=name)
        else:
            size += bytes_needed
            texts.append((name.title(), text))
    return texts


def http_code(metadata: Iterable[Pair]) -> int | None:
    """Return the success status that the service set through x-http-code, the last one that makes sense."""
    code = None
    for name, value in metadata:
        if name == HTTP_CODE and isinstance(value, str) and SUCCESS_CODE.fullmatch(value):
            code = int(value)
    return code


def retry_after(metadata: Iterable[Pair]) -> str | None:
    """Return the service's own Retry-After, in whole seconds."""
    for name, value in metadata:
        if name == RETRY_AFTER and isinstance(value, str) and SECONDS.fullmatch(value):
            return value
    return None
