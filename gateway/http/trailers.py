"""Trailers: metadata that follows the service's message, sent on to clients that accept it (`TE: trailers`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from aiohttp import HttpVersion11
from aiohttp.web import BaseRequest, Response, StreamResponse

from gateway.dynamic import Dynamic
from gateway.http.metadata import Pair, metadata_text

PREFIX = "Grpc-Trailer-"


def accepted(headers: Mapping[str, str]) -> bool:
    """Whether a request says that its client reads trailers."""
    return "trailers" in headers.get("TE", "").lower()


def trailers(metadata: Iterable[Pair]) -> list[tuple[str, str]]:
    """Return the trailers that carry the service's own metadata."""
    return [(f"{PREFIX}{name}", text) for name, text in metadata_text(metadata)]


async def send(request: BaseRequest, answer: Response, fields: Sequence[tuple[str, str]]) -> StreamResponse:
    """Send an answer in one chunk and its trailers; aiohttp knows chunks but no trailers, so both are written here."""
    if request.version < HttpVersion11 or not isinstance(answer.body, bytes):
        return answer
    response = StreamResponse(status=answer.status, headers=answer.headers)
    for name in dict.fromkeys(name for name, _text in fields):
        response.headers.add("Trailer", name)
    response.enable_chunked_encoding()
    writer: Dynamic = await response.prepare(request)
    writer.chunked = False  # the headers are made: from here on, what is written goes out as it is
    chunk = b"%x\r\n%b\r\n" % (len(answer.body), answer.body) if answer.body else b""
    lines = "".join(f"{name}: {text}\r\n" for name, text in fields)
    await response.write(chunk + b"0\r\n" + lines.encode("latin-1") + b"\r\n")
    await response.write_eof()
    return response
