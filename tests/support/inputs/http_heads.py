"""Heads of HTTP requests as clients send them, and mutations of them."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tests.support.inputs.mutations import place

BODY = b'{"event_id": "018f5e2a-7b1c-7def-8abc-0123456789ab"}'
TRACEPARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CURL = b"Host: a\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\nContent-Length: %d\r\nContent-Type: application/json"
PROXY = (
    b"host: a\r\nx-forwarded-for: 203.0.113.7\r\nx-forwarded-host: b\r\ncontent-length: %d\r\nx-request-id: abc\r\n"
    b"authorization: Bearer a.b.c\r\ntraceparent: " + TRACEPARENT
)
# Each with a place for the length of its body.
CLIENTS = {
    "curl": CURL,
    "aiohttp": b"Host: a:8000\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\nUser-Agent: Python/3.11\r\n"
    b"Content-Length: %d\r\nContent-Type: application/octet-stream",
    "go": b"Host: a\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: %d\r\nAccept-Encoding: gzip",
    "a browser": b"Host: a\r\nConnection: keep-alive\r\nContent-Length: %d\r\nsec-ch-ua-mobile: ?0\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko\r\nContent-Type: application/json\r\nAccept: */*\r\n"
    b"Origin: https://cinema.example\r\nReferer: https://cinema.example/\r\nAccept-Language: en-GB,en;q=0.9\r\n"
    b"Cookie: a=b; c=d",
    "a proxy": PROXY,
}
# Each changes how a request is read, or is not valid.
ADDED = (
    b"Transfer-Encoding: chunked", b"Expect: 100-continue", b"Connection: close", b"Connection: upgrade",
    b"Upgrade: websocket", b"TE: trailers", b"Content-Length: 3", b"content-length: 3", b"CONTENT-LENGTH: 3",
    b"Host: b", b"Sec-WebSocket-Key1: a", b"Proxy-Connection: close", b"Content-Encoding: gzip", b"X-A:b", b"X-A : b",
    b" folded", b"X-A: ", b"X_A: b", b"X-A: \x01", b"X-A: b", b"X-B:  c", b"X-C: d ",
)  # fmt: skip
CHARACTERS = b" \t\r\n:;,\0\x7f\x80?#%/\\\"'0123456789Aa-"


def request_of(head: bytes, body: bytes = BODY, line: bytes = b"POST /api/v1/produce") -> bytes:
    """Return a request with the head of a client."""
    return line + b" HTTP/1.1\r\n" + head.replace(b"%d", str(len(body)).encode()) + b"\r\n\r\n" + body


def change_character(data: bytes, chance: random.Random, _good: Sequence[bytes]) -> bytes:
    """Replace a character by one that has a meaning in HTTP."""
    at = place(data, chance)
    return data[:at] + bytes([chance.choice(CHARACTERS)]) + data[at + 1 :]


def add_header(data: bytes, chance: random.Random, _good: Sequence[bytes]) -> bytes:
    """Add a header in any line but the first."""
    lines = data.split(b"\r\n")
    lines.insert(chance.randint(1, len(lines)), chance.choice(ADDED))
    return b"\r\n".join(lines)


def remove_line(data: bytes, chance: random.Random, _good: Sequence[bytes]) -> bytes:
    """Remove a line."""
    lines = data.split(b"\r\n")
    del lines[chance.randrange(len(lines))]
    return b"\r\n".join(lines)
