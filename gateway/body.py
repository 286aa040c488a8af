"""A request's body: read within a time and a size, decompressed within the same size."""

from __future__ import annotations

import asyncio
import zlib

from aiohttp.web import BaseRequest

from gateway.errors import BodyEncodingError, BodyTooLargeError, BodyTooSlowError, RequestError
from gateway.quoting import quoted

GZIP_MAGIC = b"\x1f\x8b"
# Each costs a copy of what follows it; one is usual.
GZIP_MEMBERS_MAX = 64
GZIP_WINDOW = 16 + zlib.MAX_WBITS
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
PLAIN_ENCODINGS = ("", "identity")
GZIP_ENCODINGS = ("gzip", "x-gzip")


async def read_body(request: BaseRequest, bytes_max: int, seconds_max: float) -> bytes:
    """Return the body as the client meant it; GatewayError when it is too slow, too large or not decodable."""
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in (*PLAIN_ENCODINGS, *GZIP_ENCODINGS):
        text = f'Content-Encoding "{quoted(encoding)}" is not supported: use gzip or none'
        raise BodyEncodingError(text, {"Accept-Encoding": "gzip"})
    body = await receive(request, bytes_max, seconds_max)
    # By its first bytes too: no JSON begins so, and a browser's sendBeacon cannot set the header.
    if encoding in GZIP_ENCODINGS or body.startswith(GZIP_MAGIC):
        return gunzip(body, bytes_max) if body else body
    return body


async def receive(request: BaseRequest, bytes_max: int, seconds_max: float) -> bytes:
    """Read the bytes that were sent."""
    if request.content_length is not None and request.content_length > bytes_max:
        raise BodyTooLargeError(bytes_max)
    if "Expect" in request.headers:  # only now: what is too large need not be sent
        await request.writer.write(CONTINUE)
        request.writer.output_size = 0  # nothing of the answer has gone out
    received = bytearray()
    try:
        async with asyncio.timeout(seconds_max):
            while chunk := await request.content.readany():
                received += chunk
                if len(received) > bytes_max:
                    raise BodyTooLargeError(bytes_max)
    except TimeoutError as error:
        raise BodyTooSlowError(f"the body did not arrive within {seconds_max:g} s") from error
    return bytes(received)


def gunzip(data: bytes, bytes_max: int) -> bytes:
    """Decompress one gzip member after another, never more than the limit."""
    whole = bytearray()
    for _member in range(GZIP_MEMBERS_MAX):
        if not data:
            return bytes(whole)
        member = zlib.decompressobj(GZIP_WINDOW)
        try:
            # One byte more than allowed is enough to know.
            whole += member.decompress(data, bytes_max + 1 - len(whole))
        except zlib.error as error:
            raise RequestError(f"the body is not valid gzip: {error}") from error
        if len(whole) > bytes_max:
            raise BodyTooLargeError(bytes_max)
        if not member.eof:
            raise RequestError("the body is not valid gzip: it ends early")
        data = member.unused_data
    raise RequestError(f"the body has more than {GZIP_MEMBERS_MAX} gzip members")
