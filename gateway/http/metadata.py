"""HTTP headers to gRPC metadata and back, as grpc-gateway maps them."""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import Iterable, Iterator

from common.logs import log_limited
from common.trace_context import TRACEPARENT
from gateway.errors import HeadersTooLargeError, Pair, RequestError, quoted
from gateway.http.trace import trace_metadata
from gateway.request import Peer, Request

# The permanent HTTP headers, which grpc-gateway forwards with its prefix.
FORWARDED = frozenset({
    "accept", "accept-charset", "accept-language", "accept-ranges", "authorization", "cache-control", "content-type",
    "cookie", "date", "expect", "from", "if-match", "if-modified-since", "if-none-match", "if-schedule-tag-match",
    "if-unmodified-since", "max-forwards", "origin", "pragma", "referer", "user-agent", "via", "warning",
})  # fmt: skip
PREFIX = "grpcgateway-"
HTTP_CODE = "x-http-code"
RETRY_AFTER = "retry-after"
REQUEST_ID = "x-request-id"
# The class of a request; services that know it refuse requests of the class `low` first.
PRIORITY = "x-ugc-priority"
PRIORITY_CHARACTERS_MAX = 32
FORWARDED_HOST, FORWARDED_FOR = "x-forwarded-host", "x-forwarded-for"
# What depends on the connection of a client, beside its request.
OF_THE_PEER = (FORWARDED_HOST, FORWARDED_FOR)
# Metadata of the transport between gateway and service.
TRANSPORT = frozenset({"content-type", "user-agent", "te", "trailer", "date", "server", HTTP_CODE})
# Every response carries the request id already, without a prefix.
NOT_FORWARDED = TRANSPORT | {REQUEST_ID}
PRINTABLE = re.compile(r"[ -~]*", re.ASCII)
FIELD_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,128}", re.ASCII)
TIMEOUT = re.compile(r"([0-9]{1,40})([HMSmun])", re.ASCII)
TIMEOUT_UNITS_MAX = 2**64 - 1
# A longer one has no effect, and would overflow in the gRPC library.
TIMEOUT_SECONDS_MAX = 100_000_000.0
UNIT_SECONDS = {"H": 3_600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
# With leading zeros, as Go's Atoi reads it.
SUCCESS_CODE = re.compile(r"0{0,8}2[0-9]{2}", re.ASCII)
SECONDS = re.compile(r"[0-9]{1,9}", re.ASCII)

# Forwarded without the prefix too, as by grpc-gateway.
AUTHORIZATION = "authorization"

# Limits of what is forwarded: names and values of the client's headers, and the host and addresses that are added.
# Ingest accepts 65,536 bytes of metadata, of which HTTP/2 counts 32 for each pair.
METADATA_BYTES_MAX = 32_768
OWN_BYTES_MAX = 1_024
AUTHORIZATION_TWICE_BYTES_MAX = 8_192
PAIR_BYTES = 32
# By default gRPC servers send at most this; proxies refuse a response with much more.
ANSWER_METADATA_BYTES_MAX = 8_192


def request_metadata(request: Request) -> list[Pair]:
    """Return the metadata of a call: permanent headers with a prefix, Authorization, the trace, and the peer.

    HeadersTooLargeError when that is more than a call can carry; RequestError for more than one Authorization.
    """
    pairs: list[Pair] = [(REQUEST_ID, request.id)]
    headers = [(name.lower(), value) for name, value in request.headers.items()]
    first_values = dict(reversed(headers))
    if first_values.get("pragma") == "no-cache" and "cache-control" not in first_values:
        headers.append(("cache-control", "no-cache"))  # as Go's HTTP server, for clients of HTTP/1.0
    if sum(name == AUTHORIZATION for name, _value in headers) > 1:
        raise RequestError("the request has more than one Authorization header")
    size = 0
    for name, value in headers:
        if name in FORWARDED and PRINTABLE.fullmatch(value):
            size += len(name) + len(value)
            if name == AUTHORIZATION:
                pairs.append((name, value))
                if len(value) > AUTHORIZATION_TWICE_BYTES_MAX:
                    continue  # without its prefixed copy, which would be more than a call can carry
            pairs.append((PREFIX + name, value))
    priority = first_values.get(PRIORITY, "")
    if priority and len(priority) <= PRIORITY_CHARACTERS_MAX and PRINTABLE.fullmatch(priority):
        pairs.append((PRIORITY, priority))
    if TRACEPARENT in first_values:
        pairs += trace_metadata(headers)
    forwarded = list(forwarded_metadata(headers, request.peer))
    if size + sum(len(value) for _name, value in forwarded) > METADATA_BYTES_MAX + OWN_BYTES_MAX:
        raise HeadersTooLargeError(METADATA_BYTES_MAX)
    return pairs + forwarded


def forwarded_metadata(headers: Iterable[tuple[str, str]], peer: Peer) -> Iterator[Pair]:
    """Yield the host and the addresses of a request; a trusted peer may name those of the original client."""
    trusted = [(name, value) for name, value in headers if peer.is_trusted and PRINTABLE.fullmatch(value)]
    host = next((value for name, value in trusted if name == FORWARDED_HOST and value), peer.host)
    if host and PRINTABLE.fullmatch(host):
        yield FORWARDED_HOST, host
    addresses = [value for name, value in trusted if name == FORWARDED_FOR]
    if peer.address:
        addresses.append(peer.address)
    if addresses:
        yield FORWARDED_FOR, ", ".join(addresses)


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
    return [(f"Grpc-Metadata-{name}", text) for name, text in metadata_fields(metadata)]


def metadata_fields(metadata: Iterable[Pair]) -> list[tuple[str, str]]:
    """Return metadata as names and values of HTTP fields, without that of the transport; binary values as base64.

    Metadata that no HTTP field can hold is left out: the service has acted, and its response must arrive.
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
    """Return the success status that the service set through x-http-code, the last valid one."""
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
