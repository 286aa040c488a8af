"""A service of raw HTTP/2 frames, for responses that no library can send."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable, Sequence

FRAME = struct.Struct(">BHBBI")
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
ACK, END_STREAM, END_HEADERS = 1, 1, 4
PREFACE_BYTES = 24

# Writes the response to the call of a stream; may close or abort the connection.
Answer = Callable[[int, asyncio.StreamWriter], None]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return one frame."""
    return FRAME.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


def text(value: bytes) -> bytes:
    """Return a string of HPACK, whose length has a 7-bit prefix."""
    if len(value) < 127:
        return bytes([len(value)]) + value
    rest, prefix = len(value) - 127, bytearray([127])
    while rest >= 128:
        prefix.append(rest % 128 + 128)
        rest //= 128
    return bytes([*prefix, rest]) + value


def fields(*pairs: tuple[bytes, bytes]) -> bytes:
    """Return header fields of HPACK, none of them indexed or compressed."""
    return b"".join(b"\0" + text(name) + text(value) for name, value in pairs)


def answered(
    message: bytes, initial: Sequence[tuple[bytes, bytes]], trailing: Sequence[tuple[bytes, bytes]], status: int = 0
) -> Answer:
    """Answer with a message, and metadata before and after it."""
    head = fields((b":status", b"200"), (b"content-type", b"application/grpc"), *initial)
    tail = fields((b"grpc-status", str(status).encode()), *trailing)

    def write(stream: int, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(HEADERS, END_HEADERS, stream, head))
        if not status:
            writer.write(frame(DATA, 0, stream, b"\0" + struct.pack(">I", len(message)) + message))
        writer.write(frame(HEADERS, END_HEADERS | END_STREAM, stream, tail))

    return write


def reset(code: int) -> Answer:
    """Reset the stream."""
    return lambda stream, writer: writer.write(frame(RST_STREAM, 0, stream, struct.pack(">I", code)))


def http_status(code: int) -> Answer:
    """Answer as a proxy without a gRPC server behind it."""
    head = fields((b":status", str(code).encode()))
    return lambda stream, writer: writer.write(frame(HEADERS, END_HEADERS | END_STREAM, stream, head))


def go_away(last: int, code: int, debug: bytes = b"") -> Answer:
    """End the connection; calls above the last stream were not processed."""

    def write(_stream: int, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(GOAWAY, 0, 0, struct.pack(">II", last, code) + debug))
        writer.close()

    return write


def garbage(_stream: int, writer: asyncio.StreamWriter) -> None:
    """Send what is not HTTP/2."""
    writer.write(b"\xff" * 100)


def closed(_stream: int, writer: asyncio.StreamWriter) -> None:
    """Close the connection."""
    writer.close()


def aborted(_stream: int, writer: asyncio.StreamWriter) -> None:
    """Reset the connection."""
    writer.transport.abort()


@contextlib.asynccontextmanager
async def raw_service(answer: Answer) -> AsyncIterator[int]:
    """Serve on the port yielded; every call gets the same response."""
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError), contextlib.closing(writer):
            await reader.readexactly(PREFACE_BYTES)
            writer.write(frame(SETTINGS, 0, 0))
            while True:
                high, low, kind, flags, stream = FRAME.unpack(await reader.readexactly(FRAME.size))
                await reader.readexactly(high << 16 | low)
                if kind == SETTINGS and not flags & ACK:
                    writer.write(frame(SETTINGS, ACK, 0))
                if kind == DATA and flags & END_STREAM:
                    answer(stream, writer)
                await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        # They end, because the gateway has closed its channel.
        await asyncio.gather(*connections)
        await asyncio.sleep(0)
