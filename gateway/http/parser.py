"""aiohttp's parser of requests, stricter in what it takes, and with every refusal in the gateway's own words."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import HttpVersion10, HttpVersion11, StreamReader, hdrs
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD

from gateway.dynamic import Dynamic
from gateway.errors import MalformedBodyError
from gateway.http.hosts import is_host
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

# The usual one first.
VERSIONS = (HttpVersion11, HttpVersion10)
Messages = Sequence[tuple[RawRequestMessage, StreamReader]]


class StrictParser:
    """Stands before a parser of aiohttp, the one in C or the one in Python, whose texts may hold what a client sent."""

    def __init__(self, parser: Dynamic) -> None:
        self._parser = parser
        # The body that is being received, or the last one.
        self._body = EMPTY_PAYLOAD
        # The bytes of a head that is not complete; known from its first byte on a new connection alone.
        self._head = bytearray()
        self._is_new = True
        # Whether a request was refused: nothing that follows on the connection is read.
        self.is_broken = False
        self.pause_reading = parser.pause_reading
        self.message_consumed = parser.message_consumed
        self.set_upgraded = parser.set_upgraded

    def feed_data(self, data: bytes) -> tuple[Messages, bool, bytes]:
        """Return the requests that begin in `data`; MalformedRequestError when it is not HTTP that is served here."""
        try:
            return self._fed(data)
        except MalformedRequestError:
            self.is_broken = True
            raise

    def is_in_body(self) -> bool:
        """Whether a body is not complete; whoever waits for the rest of it is not kept waiting."""
        if self._body.is_eof():
            return False
        self._body.set_exception(ConnectionResetError("the client sends nothing more"))
        self._body.feed_eof()
        return True

    def _fed(self, data: bytes) -> tuple[Messages, bool, bytes]:
        is_head = self._body.is_eof()
        try:
            messages, upgraded, tail = self._parser.feed_data(data)
        except Exception as error:  # noqa: BLE001 -- whatever a library raises: its text is no client's business
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
        """Return what the client is answered; whoever waits for the rest of a body is refused at once."""
        if is_head:
            refusal = reason_of(error, bytes(self._head) + data)
            self._head.clear()
            return refusal
        self._body.set_exception(MalformedBodyError())
        self._body.feed_eof()
        return MalformedRequestError(BAD_BODY)


def check(message: RawRequestMessage) -> None:
    """Refuse what parsers take and HTTP does not allow, or this server does not speak."""
    version, headers = message.version, message.headers
    if version not in VERSIONS:
        raise bad_version()
    if len(headers) > HEADERS_MAX:
        raise too_many_headers()
    host = headers.get(hdrs.HOST)
    if not is_host(host) if host is not None else version == HttpVersion11:
        raise bad_host()
    # One coding alone: a list of them is read in more than one way, and HTTP/1.0 has none.
    if message.chunked and (
        version == HttpVersion10
        or [coding.lower() for coding in headers.getall(hdrs.TRANSFER_ENCODING, ())] != ["chunked"]
        or hdrs.CONTENT_LENGTH in headers
    ):
        raise bad_framing()
