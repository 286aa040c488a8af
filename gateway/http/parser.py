"""aiohttp's parser of requests, stricter in what it accepts, and with error texts of the gateway."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Protocol

from aiohttp import HttpVersion10, HttpVersion11, StreamReader, hdrs
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD

from gateway.errors import MalformedBodyError
from gateway.http.refusals import (
    BAD_BODY,
    HEAD_BYTES_MAX,
    HEADERS_MAX,
    LINE_BYTES_MAX,
    MalformedRequestError,
    bad_framing,
    bad_host,
    bad_version,
    head_too_large,
    reason_of,
    reason_of_first_line,
    too_many_headers,
)

HEAD_END = b"\r\n\r\n"
# The most frequent one first.
VERSIONS = (HttpVersion11, HttpVersion10)
Messages = Sequence[tuple[RawRequestMessage, StreamReader]]

# A host with an optional port: RFC 9112 section 3.2, RFC 3986 section 3.2.2.
HOST_NAME = r"(?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{2}){0,255}"
HOST = re.compile(rf"(?:{HOST_NAME}|\[([0-9A-Fa-f:.]{{2,45}})\])(?::([0-9]{{0,5}}))?", re.ASCII)
PORT_MAX = 65_535
# A name of 255 characters, each of which may be percent-encoded, and a port.
HOST_CHARACTERS_MAX = 3 * 255 + 6
HOSTS_CACHED = 256


class AiohttpParser(Protocol):
    """What the parsers of aiohttp, the one in C and the one in Python, have in common."""

    pause_reading: Callable[[], None]
    message_consumed: Callable[..., None]
    set_upgraded: Callable[[bool], None]

    def feed_data(self, data: bytes, /) -> tuple[Messages, bool, bytes]:
        """Return the requests that begin in `data`, whether the connection is upgraded, and what is left over."""


class StrictParser:
    """Wraps a parser of aiohttp, whose error texts may contain what a client sent."""

    def __init__(self, parser: AiohttpParser) -> None:
        self._parser = parser
        # The body that is being received, or the last one.
        self._body = EMPTY_PAYLOAD
        # The bytes of an incomplete head; only on a new connection are they known from the first one on.
        self._head = bytearray()
        self._is_new = True
        # Whether a request was refused: nothing that follows on the connection is read.
        self.is_broken = False
        # Whether the bytes that were fed end where a request ends. False when that is not certain: it stays so then.
        self.is_between = True
        # The bytes fed since that was certain, and how many the request that they begin has; 0 when that is unknown.
        self._fed_bytes = self._request_bytes = 0
        self.pause_reading = parser.pause_reading
        self.message_consumed = parser.message_consumed
        self.set_upgraded = parser.set_upgraded

    def feed_data(self, data: bytes) -> tuple[Messages, bool, bytes]:
        """Return the requests that begin in `data`; MalformedRequestError for HTTP that is not served here."""
        if self.is_between:
            self._fed_bytes = self._request_bytes = 0
        self.is_between = False
        try:
            fed = self._fed(data)
        except MalformedRequestError:
            self.is_broken = True
            raise
        if self._fed_bytes == 0:
            self._request_bytes = request_bytes(fed[0], data)
        self._fed_bytes += len(data)
        self.is_between = self._fed_bytes == self._request_bytes and self._body.is_eof()
        return fed

    def skip_request(self) -> None:
        """Note that a request on this connection was read without this parser."""
        self._is_new = False

    def is_in_body(self) -> bool:
        """Whether a body is incomplete; then its reader, who waits for the rest, gets an error."""
        if self._body.is_eof():
            return False
        self._body.set_exception(ConnectionResetError("the client sends nothing more"))
        self._body.feed_eof()
        return True

    def _fed(self, data: bytes) -> tuple[Messages, bool, bytes]:
        is_head = self._body.is_eof()
        try:
            messages, upgraded, tail = self._parser.feed_data(data)
        except Exception as error:  # noqa: BLE001 -- any error of the library: its text is not for clients
            raise self._refused(error, data, is_head=is_head) from None
        if messages:
            self._is_new = False
            self._head.clear()
            self._body = messages[-1][1]
            for message, _body in messages:
                check(message)
        elif is_head and data:
            self._head += data
            if len(self._head) > HEAD_BYTES_MAX:
                raise head_too_large()
            if self._is_new and (b"\n" in data or len(self._head) > LINE_BYTES_MAX):
                self._is_new = False
                if (refusal := reason_of_first_line(bytes(self._head))) is not None:
                    raise refusal
        return messages, upgraded, tail

    def _refused(self, error: Exception, data: bytes, *, is_head: bool) -> MalformedRequestError:
        """Return the error for the client; the reader of an incomplete body gets one at once."""
        if is_head:
            refusal = reason_of(error, bytes(self._head) + data)
            self._head.clear()
            return refusal
        self._body.set_exception(MalformedBodyError())
        self._body.feed_eof()
        return MalformedRequestError(BAD_BODY)


def request_bytes(messages: Messages, data: bytes) -> int:
    """Return how many bytes the request has that begins with `data`, 0 when its messages do not show it."""
    if len(messages) != 1 or messages[0][0].chunked or messages[0][0].upgrade:
        return 0
    head = data.find(HEAD_END)
    # A line that ends in another way would make another end of the head possible.
    if head < 0 or data.count(b"\n", 0, head) != data.count(b"\r\n", 0, head):
        return 0
    return head + len(HEAD_END) + int(messages[0][0].headers.get(hdrs.CONTENT_LENGTH) or 0)


def check(message: RawRequestMessage) -> None:
    """Raise MalformedRequestError for what the parsers accept and HTTP or this server does not."""
    version, headers = message.version, message.headers
    if version not in VERSIONS:
        raise bad_version()
    if len(headers) > HEADERS_MAX:
        raise too_many_headers()
    host = headers.get(hdrs.HOST)
    if not is_host(host) if host is not None else version == HttpVersion11:
        raise bad_host()
    # Only one coding: servers read a list of them in different ways, and HTTP/1.0 has none.
    if message.chunked and (
        version == HttpVersion10
        or [coding.lower() for coding in headers.getall(hdrs.TRANSFER_ENCODING, ())] != ["chunked"]
        or hdrs.CONTENT_LENGTH in headers
    ):
        raise bad_framing()


def is_host(text: str) -> bool:
    """Whether a text is a host with an optional port; an empty one is valid, for a target without an authority."""
    return len(text) <= HOST_CHARACTERS_MAX and is_short_host(text)


@lru_cache(HOSTS_CACHED)
def is_short_host(text: str) -> bool:
    """Whether a short text is a host; cached, because clients send few different ones."""
    match = HOST.fullmatch(text)
    if match is None or int(match[2] or 0) > PORT_MAX:
        return False
    return match[1] is None or is_ipv6(match[1])


def is_ipv6(text: str) -> bool:
    """Whether a text is an address of IPv6."""
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
