"""Why a malformed request is refused: status and text by what the client sent, never a text of a library."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import http_exceptions
from google.rpc import code_pb2

# One line of the head: the request target, or a header with its name.
LINE_BYTES_MAX = 32_768
HEADERS_MAX = 128
HEAD_BYTES_MAX = 131_072
NAME = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", re.ASCII)
VERSION = re.compile(rb"HTTP/([0-9]{1,9})\.([0-9]{1,9})", re.ASCII)
SERVED = (b"HTTP/1.0", b"HTTP/1.1")
LENGTH, TRANSFER = b"content-length", b"transfer-encoding"
LENGTH_VALUE = re.compile(rb"[0-9]{1,18}", re.ASCII)
# The first bytes of a TLS handshake.
TLS = b"\x16\x03"


class MalformedRequestError(http_exceptions.HttpProcessingError):
    """What aiohttp passes to `handle_error`: HTTP status, gRPC code, and a text without any value of the client."""

    def __init__(self, text: str, status: int = HTTPStatus.BAD_REQUEST, code: int = code_pb2.INVALID_ARGUMENT) -> None:
        super().__init__(code=status, message=text)
        self.status, self.grpc_code = status, code


BAD_LINE = "malformed request: the request line"
BAD_BODY = "malformed request: the chunks of the body"
BAD_NAME = "malformed request: the name of a header"
FOLDED = "malformed request: a header that goes on in the next line"
# By exception class, the most specific first: everything that aiohttp.http_exceptions defines for a request.
TEXTS: Mapping[type[Exception], str] = {
    http_exceptions.InvalidHeader: "malformed request: a header",
    http_exceptions.InvalidURLError: "malformed request: the target",
    http_exceptions.BadStatusLine: BAD_LINE,
    http_exceptions.PayloadEncodingError: BAD_BODY,
}
DEFAULT_TEXT = "malformed request: it is not valid HTTP/1.1"


def reason_of(error: Exception, head: bytes) -> MalformedRequestError:
    """Return the error for a request that the parser refused, by the bytes of its head that have arrived."""
    refusal = reason_of_first_line(head) or reason_of_headers(head)
    if refusal is not None:
        return refusal
    if isinstance(error, http_exceptions.LineTooLong):
        return too_large("a header") if b"\n" in head.lstrip(b"\r\n")[:LINE_BYTES_MAX] else target_too_long()
    return MalformedRequestError(next((text for kind, text in TEXTS.items() if isinstance(error, kind)), DEFAULT_TEXT))


def reason_of_first_line(head: bytes) -> MalformedRequestError | None:
    """Return why a request line is refused; None when it is valid, or incomplete."""
    if head.startswith(TLS):
        return MalformedRequestError("malformed request: this port speaks HTTP, not HTTPS")
    head = head.lstrip(b"\r\n")
    line, ended, _rest = head.partition(b"\n")
    if len(line.partition(b" ")[2].partition(b" ")[0]) > LINE_BYTES_MAX:
        return target_too_long()
    if not ended:
        return None
    version = line.rstrip(b"\r").rpartition(b" ")[2]
    if version in SERVED:
        return None
    return bad_version() if VERSION.fullmatch(version) else MalformedRequestError(BAD_LINE)


def reason_of_headers(head: bytes) -> MalformedRequestError | None:
    """Return why headers are refused, without their values; None when their bytes do not show it."""
    lines, ended, _rest = head.partition(b"\r\n\r\n")
    headers = lines.split(b"\r\n")[1:]
    names = [line.partition(b":")[0] for line in headers]
    for name, line in zip(names, headers, strict=True):
        if len(line) > LINE_BYTES_MAX:
            return too_large(f"the header {name.decode()}" if NAME.fullmatch(name) else "a header")
    if len(headers) > HEADERS_MAX:
        return too_many_headers()
    named = [name.lower() for name in names]
    lengths = [
        line.partition(b":")[2].strip(b" \t") for name, line in zip(named, headers, strict=True) if name == LENGTH
    ]
    if len(lengths) > 1 or any(not LENGTH_VALUE.fullmatch(value) for value in lengths):
        return MalformedRequestError("malformed request: Content-Length must be one whole number")
    if ended and (bad := next((name for name in names if not NAME.fullmatch(name)), None)) is not None:
        return MalformedRequestError(FOLDED if bad[:1] in (b" ", b"\t") else BAD_NAME)
    if TRANSFER in named and (LENGTH in named or ended):
        return bad_framing()
    hosts = named.count(b"host")
    return bad_host() if hosts > 1 or (ended and not hosts) else None


def too_large(what: str) -> MalformedRequestError:
    """431 for one header."""
    text = f"{what} is longer than {LINE_BYTES_MAX} bytes"
    return MalformedRequestError(text, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, code_pb2.RESOURCE_EXHAUSTED)


def too_many_headers() -> MalformedRequestError:
    """431 for the number of headers."""
    text = f"the request has more than {HEADERS_MAX} headers"
    return MalformedRequestError(text, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, code_pb2.RESOURCE_EXHAUSTED)


def target_too_long() -> MalformedRequestError:
    """414 for a path with its query."""
    text = f"the request target is longer than {LINE_BYTES_MAX} bytes"
    return MalformedRequestError(text, HTTPStatus.REQUEST_URI_TOO_LONG, code_pb2.RESOURCE_EXHAUSTED)


def head_too_large() -> MalformedRequestError:
    """431 for the whole head."""
    text = f"the request line and the headers are longer than {HEAD_BYTES_MAX} bytes"
    return MalformedRequestError(text, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, code_pb2.RESOURCE_EXHAUSTED)


def bad_version() -> MalformedRequestError:
    """505 for another version of HTTP."""
    text = "HTTP/1.1 and HTTP/1.0 are served, no other version"
    return MalformedRequestError(text, HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, code_pb2.UNIMPLEMENTED)


def bad_host() -> MalformedRequestError:
    """400, as RFC 9112 section 3.2 requires."""
    return MalformedRequestError("malformed request: one Host header is needed, a host with an optional port")


def bad_framing() -> MalformedRequestError:
    """400: the end of the body is ambiguous, so the next request could be smuggled in it."""
    text = "malformed request: Transfer-Encoding must be `chunked` alone, under HTTP/1.1 and without Content-Length"
    return MalformedRequestError(text)
