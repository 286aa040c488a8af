"""The body of a request as it was sent, received within limits: its size, its rate, and the memory of the process."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import BaseRequest, RequestPayloadError

from gateway.admission import Reservation
from gateway.errors import BodyEncodingError, BodyTooLargeError, BodyTooSlowError, MalformedBodyError, quoted
from gateway.http.expansion import GZIP_MAGIC
from gateway.request import Request

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
IDENTITY_ENCODINGS = ("", "identity")
GZIP_ENCODINGS = ("gzip", "x-gzip")
# The size of the expanded body at the end of gzip, in little-endian order.
GZIP_SIZE_BYTES = 4
CLIENT_LEFT = "the client left before the end of its body"


@dataclass(frozen=True)
class BodyRate:
    """The slowest a body may arrive: `seconds_max` in total; after `grace_seconds` at this average rate or faster."""

    seconds_max: float
    grace_seconds: float
    bytes_per_second_min: int

    def deadline(self, received: int) -> float:
        """Return within how many seconds from the start more than `received` bytes must have arrived."""
        return min(self.seconds_max, self.grace_seconds + received / self.bytes_per_second_min)


@dataclass
class Body:
    """The bytes that were sent, and the size to which they have been expanded so far."""

    sent: bytes
    is_gzip: bool
    expanded_bytes: int = 0

    @property
    def estimated_bytes(self) -> int:
        """The size when expanded: gzip ends with it, but a client can make that up."""
        sent = len(self.sent)
        return max(sent, int.from_bytes(self.sent[-GZIP_SIZE_BYTES:], "little")) if self.is_gzip else sent

    def note_expanded(self, size: int) -> None:
        """Record the size to which it has been expanded."""
        self.expanded_bytes = size


async def receive_body(
    connection: BaseRequest, request: Request, bytes_max: int, rate: BodyRate, memory: Reservation
) -> Body:
    """Return the body; GatewayError when it is too slow or too large, or there is no memory for it."""
    # Several lines are one list, and lists are not supported.
    encoding = ", ".join(request.headers.getall("Content-Encoding", ())).strip().lower()
    if encoding not in (*IDENTITY_ENCODINGS, *GZIP_ENCODINGS):
        text = f'Content-Encoding "{quoted(encoding)}" is not supported: use gzip or none'
        raise BodyEncodingError(text, {"Accept-Encoding": "gzip"})
    if (length := request.content_length) is not None:
        if length > bytes_max:
            raise BodyTooLargeError(bytes_max)
        memory.check(length)
    await send_continue(connection, request)
    sent = await read(connection, bytes_max, rate, memory)
    # Recognized by its first bytes too: no JSON starts with them, and a browser's sendBeacon cannot set the header.
    return Body(sent, bool(sent) and (encoding in GZIP_ENCODINGS or sent.startswith(GZIP_MAGIC)))


async def send_continue(connection: BaseRequest, request: Request) -> None:
    """Ask a client that waits for it to send its body, which it need not do for a request that is refused."""
    if "Expect" in request.headers and not request.is_http_1_0:
        await connection.writer.write(CONTINUE)
        connection.writer.output_size = 0  # the final response has not begun


async def read(connection: BaseRequest, bytes_max: int, rate: BodyRate, memory: Reservation) -> bytes:
    """Return the bytes that were sent."""
    pieces: list[bytes] = []
    size, start = 0, asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout_at(start + rate.deadline(0)) as limit:
            while piece := await connection.content.readany():
                size += len(piece)
                if size > bytes_max:
                    raise BodyTooLargeError(bytes_max)
                memory.add(len(piece))
                pieces.append(piece)
                limit.reschedule(start + rate.deadline(size))
    except (RequestPayloadError, HttpProcessingError) as error:
        raise MalformedBodyError from error
    except TimeoutError as error:
        raise BodyTooSlowError(
            f"only {size} bytes of the body arrived within {rate.deadline(size):g} s: it must arrive within"
            f" {rate.seconds_max:g} s, after {rate.grace_seconds:g} s at {rate.bytes_per_second_min} bytes a second"
            " or more"
        ) from error
    except OSError as error:  # any error of the network
        raise ConnectionError(CLIENT_LEFT) from error
    except RuntimeError as error:
        # aiohttp's error for a client that disconnected before its body was read.
        if connection.transport is not None:
            raise
        raise ConnectionError(CLIENT_LEFT) from error
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
