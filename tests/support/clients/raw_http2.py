"""Hand-written HTTP/2 frames, for what gRPC clients do not send: illegal headers, frequent pings, endless streams."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from common.settings import Address

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
CONTINUATION = 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
PADDED, PRIORITY = 8, 0x20
FRAME_BYTES_MAX = 16_384
# The static table of HPACK (RFC 7541, appendix A); `-` stands for an empty value.
STATIC_TEXT = """:authority - :method GET :method POST :path / :path /index.html :scheme http :scheme https :status 200
:status 204 :status 206 :status 304 :status 400 :status 404 :status 500 accept-charset - accept-encoding gzip,deflate
accept-language - accept-ranges - accept - access-control-allow-origin - age - allow - authorization - cache-control -
content-disposition - content-encoding - content-language - content-length - content-location - content-range -
content-type - cookie - date - etag - expect - expires - from - host - if-match - if-modified-since - if-none-match -
if-range - if-unmodified-since - last-modified - link - location - max-forwards - proxy-authenticate -
proxy-authorization - range - referer - refresh - retry-after - server - set-cookie - strict-transport-security -
transfer-encoding - user-agent - vary - via - www-authenticate -"""
STATIC = [b"" if word == "-" else word.encode() for word in STATIC_TEXT.split()]
TABLE = list(zip(STATIC[::2], STATIC[1::2], strict=True))
Header = tuple[bytes, bytes]


class Frame(NamedTuple):
    """One frame of HTTP/2."""

    kind: int
    flags: int
    stream: int
    payload: bytes


@dataclass
class Answer:
    """The frames received on a stream, with the error code if it was reset."""

    headers: list[Header] = field(default_factory=list)
    data: bytes = b""
    reset: int | None = None

    def last(self, name: bytes) -> bytes | None:
        """Return the last value of a header or trailer."""
        return dict(self.headers).get(name)


class RawConnection:
    """A connection on which arbitrary frames can be sent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.table: list[Header] = []
        self._next_stream = 1

    def frame(self, kind: int, flags: int, stream: int, payload: bytes = b"") -> None:
        """Queue a frame to be sent."""
        self.writer.write(
            struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload
        )

    def open(self, path: str, headers: Sequence[Header] = ()) -> int:
        """Queue the headers of a gRPC call without its message; return the stream's number."""
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        fixed = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", path.encode()), (b":authority", b"localhost"))
        grpc = ((b"content-type", b"application/grpc"), (b"te", b"trailers"))
        block = b"".join(literal(name, value) for name, value in (*fixed, *grpc, *headers))
        first, *rest = [block[at : at + FRAME_BYTES_MAX] for at in range(0, len(block), FRAME_BYTES_MAX)]
        self.frame(HEADERS, 0 if rest else END_HEADERS, stream, first)
        for position, part in enumerate(rest, 1):
            self.frame(CONTINUATION, END_HEADERS if position == len(rest) else 0, stream, part)
        return stream

    async def call(self, path: str, message: bytes, headers: Sequence[Header] = ()) -> Answer:
        """Make a call with a message and wait for its end."""
        stream = self.open(path, headers)
        self.frame(DATA, END_STREAM, stream, b"\0" + struct.pack(">I", len(message)) + message)
        await self.writer.drain()
        return await self.answer(stream)

    async def answer(self, stream: int) -> Answer:
        """Read until a stream has ended; raise ConnectionError if the connection ends before."""
        answer = Answer()
        while True:
            frame = await self.next_frame()
            if frame.kind == HEADERS:
                found = self._decode(frame)
                answer.headers += found if frame.stream == stream else []
            if frame.stream != stream:
                continue
            if frame.kind == DATA:
                answer.data += frame.payload
            if frame.kind == RST_STREAM:
                answer.reset = struct.unpack(">I", frame.payload)[0]
            if frame.kind == RST_STREAM or (frame.kind in (DATA, HEADERS) and frame.flags & END_STREAM):
                return answer

    async def next_frame(self) -> Frame:
        """Read a frame, and acknowledge settings and pings; raise ConnectionError if the connection has ended."""
        try:
            head = await self.reader.readexactly(9)
            payload = await self.reader.readexactly(int.from_bytes(head[:3], "big"))
        except asyncio.IncompleteReadError as error:
            raise ConnectionError("the server has closed the connection") from error
        frame = Frame(head[3], head[4], int.from_bytes(head[5:], "big"), payload)
        if frame.kind in (SETTINGS, PING) and not frame.flags & ACK:
            self.frame(frame.kind, ACK, 0, payload if frame.kind == PING else b"")
        return frame

    def _decode(self, frame: Frame) -> list[Header]:
        """Decode a header block; values with Huffman coding are not decoded."""
        assert frame.flags & END_HEADERS
        block = memoryview(frame.payload)[5 if frame.flags & PRIORITY else 0 :]
        found: list[Header] = []
        while block:
            first = block[0]
            if first & 0x80:
                number, block = integer(block, 7)
                found.append(self._known(number))
                continue
            if first & 0xE0 == 0x20:
                _size, block = integer(block, 5)
                continue
            number, block = integer(block, 6 if first & 0x40 else 4)
            name, block = (self._known(number)[0], block) if number else text(block)
            value, block = text(block)
            found.append((name, value))
            if first & 0x40:
                self.table.insert(0, (name, value))
        return found

    def _known(self, number: int) -> Header:
        return TABLE[number - 1] if number <= len(TABLE) else self.table[number - len(TABLE) - 1]


def literal(name: bytes, value: bytes) -> bytes:
    """Encode a header that is not indexed, whatever its bytes."""
    return b"\0" + length(name) + name + length(value) + value


def length(value: bytes) -> bytes:
    """Encode a length with a prefix of seven bits."""
    if len(value) < 0x7F:
        return bytes((len(value),))
    rest, encoded = len(value) - 0x7F, bytearray((0x7F,))
    while rest > 0x7F:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes((*encoded, rest))


def integer(block: memoryview, bits: int) -> tuple[int, memoryview]:
    """Decode an integer whose prefix is in the low bits of a byte."""
    full = (1 << bits) - 1
    number, at, shift = block[0] & full, 1, 0
    while number >= full and (at == 1 or block[at - 1] & 0x80):
        number += (block[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return number, block[at:]


def text(block: memoryview) -> tuple[bytes, memoryview]:
    """Decode a name or a value."""
    size, block = integer(block, 7)
    return bytes(block[:size]), block[size:]


@contextlib.asynccontextmanager
async def raw_connection(address: Address) -> AsyncIterator[RawConnection]:
    """Connect, and send the connection preface."""
    reader, writer = await asyncio.open_connection(*address)
    connection = RawConnection(reader, writer)
    writer.write(PREFACE)
    connection.frame(SETTINGS, 0, 0)
    try:
        yield connection
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
