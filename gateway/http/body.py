"""A request's body as it was sent: received within a size, a time, a rate, and the bytes that the process holds."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aiohttp import HttpVersion11
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import BaseRequest, RequestPayloadError

from gateway.admission import Held
from gateway.errors import BodyEncodingError, BodyTooLargeError, BodyTooSlowError, MalformedBodyError
from gateway.http.expansion import GZIP_MAGIC
from gateway.quoting import quoted

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
PLAIN_ENCODINGS = ("", "identity")
# At the end of gzip, in little-endian order.
GZIP_SIZE_BYTES = 4
GZIP_ENCODINGS = ("gzip", "x-gzip")


@dataclass(frozen=True)
class Pace:
    """How slowly a body may come: `seconds_max` in all; after `grace_seconds` at so many bytes a second on average."""

    seconds_max: float
    grace_seconds: float
    bytes_per_second_min: int

    def seconds_for(self, received: int) -> float:
        """Return the seconds from the beginning in which more than so many bytes must be there."""
        return min(self.seconds_max, self.grace_seconds + received / self.bytes_per_second_min)


@dataclass
class Body:
    """What was sent, and how many bytes it has become so far."""

    sent: bytes
    is_gzip: bool
    expanded: int = 0

    @property
    def size_at_least(self) -> int:
        """What it seems to be when expanded: gzip ends with a size, which need not be true."""
        sent = len(self.sent)
        return max(sent, int.from_bytes(self.sent[-GZIP_SIZE_BYTES:], "little")) if self.is_gzip else sent

    def note(self, size: int) -> None:
        """Note how far it has expanded."""
        self.expanded = size


async def receive_body(request: BaseRequest, bytes_max: int, pace: Pace, held: Held) -> Body:
    """Return the body; GatewayError when it is too slow, too large, or there is no room for it."""
    # Several lines are one list, and no list is read.
    encoding = ", ".join(request.headers.getall("Content-Encoding", ())).strip().lower()
    if encoding not in (*PLAIN_ENCODINGS, *GZIP_ENCODINGS):
        text = f'Content-Encoding "{quoted(encoding)}" is not supported: use gzip or none'
        raise BodyEncodingError(text, {"Accept-Encoding": "gzip"})
    sent = await receive(request, bytes_max, pace, held)
    # By its first bytes too: no JSON begins so, and a browser's sendBeacon cannot set the header.
    return Body(sent, bool(sent) and (encoding in GZIP_ENCODINGS or sent.startswith(GZIP_MAGIC)))


async def receive(request: BaseRequest, bytes_max: int, pace: Pace, held: Held) -> bytes:
    """Read the bytes that were sent."""
    if request.content_length is not None:
        if request.content_length > bytes_max:
            raise BodyTooLargeError(bytes_max)
        held.check(request.content_length)
    # Only now: what is refused need not be sent. HTTP/1.0 knows no answer before the answer.
    if "Expect" in request.headers and request.version >= HttpVersion11:
        await request.writer.write(CONTINUE)
        request.writer.output_size = 0  # nothing of the answer has gone out
    pieces: list[bytes] = []
    size, began = 0, asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout_at(began + pace.seconds_for(0)) as limit:
            while piece := await request.content.readany():
                size += len(piece)
                if size > bytes_max:
                    raise BodyTooLargeError(bytes_max)
                held.add(len(piece))
                pieces.append(piece)
                limit.reschedule(began + pace.seconds_for(size))
    except (RequestPayloadError, HttpProcessingError) as error:
        raise MalformedBodyError from error
    except TimeoutError as error:
        seconds = pace.seconds_for(size)
        raise BodyTooSlowError(
            f"only {size} bytes of the body arrived within {seconds:g} s: it must arrive within {pace.seconds_max:g} s,"
            f" after {pace.grace_seconds:g} s at {pace.bytes_per_second_min} bytes a second or more"
        ) from error
    except OSError as error:  # whatever the network has to say of it
        raise ConnectionError("the client left before the end of its body") from error
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
