"""Clients whose messages arrive slowly: many are served while the process has memory for their messages."""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from pathlib import Path

from common.settings import parse_address
from local.processes.program import running
from services.ingest.limits.message_reader import TICK_SECONDS
from tests.support.clients.calls import AcceptingPublisher
from tests.support.clients.raw_http2 import DATA, END_STREAM, FRAME_BYTES_MAX, SETTINGS, RawConnection, raw_connection
from tests.support.inputs.events import numbered
from tests.support.processes.ingest_server import ingest_server
from tests.support.processes.system import Deployment

BATCH_PRODUCE = "/ugc.v1.IngestService/BatchProduce"
SENDERS = 60
PIECES = 10
SECONDS_MAX = 60.0
OK = b"0"
# HTTP/2: a frame type, a setting, and the initial window of both sides.
WINDOW_UPDATE, INITIAL_WINDOW_SIZE, WINDOW_BYTES = 8, 4, 65_535
# The tag and length of each event of a batch.
EVENT = numbered(1).SerializeToString()
BATCH = (b"\x0a" + bytes((len(EVENT) & 0x7F | 0x80, len(EVENT) >> 7)) + EVENT) * 100
MEBIBYTE = 1_048_576


async def send_slowly(address: str) -> bytes | None:
    """Send a batch in pieces; return the status of the answer."""
    message = b"\0" + struct.pack(">I", len(BATCH)) + BATCH
    size = len(message) // PIECES + 1
    async with raw_connection(parse_address(address)) as connection:
        stream = connection.open(BATCH_PRODUCE)

        async def send() -> None:
            for at in range(0, len(message), size):
                await asyncio.sleep(TICK_SECONDS)
                connection.frame(DATA, 0 if at + size < len(message) else END_STREAM, stream, message[at : at + size])

        sending = asyncio.create_task(send())
        answer = await connection.answer(stream)
        sending.cancel()
        return answer.last(b"grpc-status")


async def test_many_slow_messages() -> None:
    """A batch that takes a second to arrive is accepted, also while many others take as long."""
    async with asyncio.timeout(SECONDS_MAX), ingest_server(AcceptingPublisher()) as address:
        found = await asyncio.gather(*(send_slowly(address) for _ in range(SENDERS)))
    assert Counter(found) == {OK: SENDERS}


async def fill(connection: RawConnection, stream: int, size: int) -> None:
    """Send the beginning of a message as fast as the server reads it; return when the call has ended."""
    connection.frame(DATA, 0, stream, b"\0" + struct.pack(">I", size + 1))
    windows = {0: WINDOW_BYTES - 5, stream: WINDOW_BYTES - 5}
    initial = WINDOW_BYTES
    while True:
        while size and (part := min(FRAME_BYTES_MAX, size, *windows.values())) > 0:
            connection.frame(DATA, 0, stream, bytes(part))
            windows = {each: window - part for each, window in windows.items()}
            size -= part
        await connection.writer.drain()
        frame = await connection.next_frame()
        if frame.kind == WINDOW_UPDATE:
            windows[frame.stream] += int.from_bytes(frame.payload, "big")
        elif frame.kind == SETTINGS:
            for name, value in struct.iter_unpack(">HI", frame.payload):
                if name == INITIAL_WINDOW_SIZE:
                    windows[stream] += value - initial
                    initial = value
        elif frame.stream == stream and frame.flags & END_STREAM:
            return


async def send_all_but_the_end(address: str, size: int) -> None:
    """Send a message without its last byte, and wait until the call has ended."""
    async with raw_connection(parse_address(address)) as connection:
        await fill(connection, connection.open(BATCH_PRODUCE), size)


async def test_full_memory(tmp_path: Path, kafka: str, topic: str, database: str) -> None:
    """Incomplete messages that fill the memory are ended for their number, long before their timeout."""
    # A process of its own, as this process has memory in use from other tests.
    request, budget = 4 * MEBIBYTE, 16 * MEBIBYTE
    limits = {
        "UGC_INGEST_REQUEST_BYTES_MAX": str(request),
        "UGC_INGEST_BYTES_IN_FLIGHT_MAX": str(budget),
        "UGC_INGEST_MESSAGE_SECONDS_MAX": "300",
    }
    deployment = Deployment(tmp_path, kafka, topic, database, limits)
    with running(deployment.ingest()):
        calls = [
            asyncio.create_task(send_all_but_the_end(deployment.ingest_address, 3 * MEBIBYTE)) for _ in range(SENDERS)
        ]
        ended = 0
        async with asyncio.timeout(2 * SECONDS_MAX):
            for call in asyncio.as_completed(calls):
                await call
                ended += 1
                if ended == SENDERS - budget // request:
                    break
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
