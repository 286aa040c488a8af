"""Trailers: the metadata that follows the service's message, sent to clients that accept it (`TE: trailers`)."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp.abc import AbstractStreamWriter
from aiohttp.web import BaseRequest, Response, ResponseKey, StreamResponse

from gateway.errors import Pair
from gateway.http.metadata import metadata_fields
from gateway.request import Request

PREFIX = "Grpc-Trailer-"
# The trailers of a response until it is sent.
TRAILERS = ResponseKey("trailers", list[tuple[str, str]])


def add_trailers(response: Response, metadata: Iterable[Pair]) -> None:
    """Attach the service's metadata to a response; `send` writes it, when the client accepts trailers."""
    response[TRAILERS] = [(f"{PREFIX}{name}", text) for name, text in metadata_fields(metadata)]


async def send(connection: BaseRequest, request: Request, response: StreamResponse) -> StreamResponse:
    """Return the response for aiohttp to send, or send it here when it has trailers.

    aiohttp writes chunks but no trailers, so the last chunk and the trailers are written here.
    """
    fields = response.get(TRAILERS)
    if not fields or not accepts_trailers(request) or request.is_http_1_0:
        return response
    if not isinstance(response, Response) or not isinstance(response.body, bytes):
        return response
    chunked = StreamResponse(status=response.status, headers=response.headers)
    for name in dict.fromkeys(name for name, _text in fields):
        chunked.headers.add("Trailer", name)
    chunked.enable_chunked_encoding()
    stop_chunking(await chunked.prepare(connection))
    chunk = b"%x\r\n%b\r\n" % (len(response.body), response.body) if response.body else b""
    lines = "".join(f"{name}: {text}\r\n" for name, text in fields)
    await chunked.write(chunk + b"0\r\n" + lines.encode("latin-1") + b"\r\n")
    await chunked.write_eof()
    return chunked


def accepts_trailers(request: Request) -> bool:
    """Whether the client of a request reads trailers."""
    return "trailers" in request.headers.get("TE", "").lower()


def stop_chunking(writer: AbstractStreamWriter | None) -> None:
    """Make a writer whose headers are written pass on what follows as it is."""
    setattr(writer, "chunked", False)  # noqa: B010 -- an attribute of aiohttp's own writer, not of its abstract class
