"""The heads of ordinary requests, read from received bytes without the parser, and kept for requests with the same.

What is read here is a narrow part of HTTP/1.1, in which no two parsers differ: one request line with a plain target,
headers of printable ASCII that occur once each, and a body of announced length that has arrived. Everything else is
left to the parser. Most heads differ from earlier ones in their Content-Length alone, so they are kept without it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from multidict import CIMultiDict, CIMultiDictProxy

from gateway.errors import RequestError
from gateway.http.head import FORWARDED_FOR, REQUEST_ID, client_of, request_id
from gateway.http.metadata import call_timeout
from gateway.http.parser import is_host
from gateway.request import FORM_MEDIA_TYPE, Peer, Request

HEAD_BYTES_MAX = 4_096
# Heads kept, twice: those used since the last time that so many were kept, and those used before.
HEADS_MAX = 256
HEADERS_MAX = 40
END, LINE_END = b"\r\n\r\n", b"\r\n"
# The spellings that clients use.
LENGTHS = (b"\r\nContent-Length: ", b"\r\ncontent-length: ")
LENGTH_BYTES = len(LENGTHS[0])
LENGTH_DIGITS_MAX = 9
# Without percent-encoding in the path, which would have to be decoded.
FIRST_LINE = re.compile(
    rb"(GET|POST|PUT|PATCH|DELETE) (/[A-Za-z0-9/_.~:@!$&'()*+,;=-]*)(?:\?([A-Za-z0-9/_.~:@!$&'()*+,;=?%-]*))? HTTP/1\.1"
)
HEADER = re.compile(rb"([A-Za-z][A-Za-z0-9-]{0,99}): ([!-~](?:[ -~]*[!-~])?)")
# Headers that change how a request is read or answered, beyond what is read here.
UNUSUAL = frozenset({
    "connection", "content-encoding", "content-length", "expect", "http2-settings", "proxy-connection",
    "sec-websocket-key1", "te", "trailer", "transfer-encoding", "upgrade", "x-http-method-override",
})  # fmt: skip
CONNECTION, KEEP_ALIVE = "connection", "keep-alive"


class OrdinaryHead:
    """The head of an ordinary request, without its Content-Length; `memo` is for what its user computes of it."""

    __slots__ = ("client_behind_proxy", "given_id", "headers", "memo", "method", "path", "query", "seconds", "strict")

    def __init__(self, method: str, path: str, query: str, headers: CIMultiDictProxy[str]) -> None:
        """RequestError when the Grpc-Timeout is malformed."""
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        given = headers.get(REQUEST_ID)
        # The id that the request came with, None when it has none that can be used.
        self.given_id = given if given is not None and request_id(given) == given else None
        self.seconds = call_timeout(headers.get("Grpc-Timeout"))
        self.client_behind_proxy = client_of(Peer("", True, ""), headers.getall(FORWARDED_FOR, ()))  # noqa: FBT003 -- a trusted peer
        self.strict = self.request("", ("", False)).is_strict
        self.memo: object = None

    def request(self, identity: str, peer: tuple[str, bool]) -> Request:
        """Return the plain value of the request with an id, of a peer with an address that is trusted or not."""
        client = self.client_behind_proxy if peer[1] else peer[0]
        whole = Peer(*peer, self.headers["Host"])
        return Request(identity, self.method, self.path, self.query, self.headers, whole, client, is_http_1_0=False)


class OrdinaryHeads:
    """Reads heads, and keeps those read last."""

    def __init__(self) -> None:
        self._recent: dict[bytes, OrdinaryHead] = {}
        self._older: dict[bytes, OrdinaryHead] = {}

    def read(self, data: bytes) -> tuple[OrdinaryHead, bytes] | None:
        """Return head and body when the data is one ordinary request and nothing else, None otherwise."""
        found = split(data)
        if found is None or found.size != len(data):
            return None
        head = self._head(found.key)
        return None if head is None else (head, data[found.body_start :])

    def announced(self, data: bytes) -> tuple[OrdinaryHead, int] | None:
        """Return head and size of the ordinary request that the data begins with when a part of its body is missing."""
        found = split(data)
        if found is None or found.size <= len(data):
            return None
        head = self._head(found.key)
        return None if head is None else (head, found.size)

    def _head(self, key: bytes) -> OrdinaryHead | None:
        """Return the head without its Content-Length; None when it is not ordinary."""
        head = self._recent.get(key)
        if head is None:
            head = self._older.pop(key, None) or parsed(key)
            if head is None:
                return None
            if len(self._recent) >= HEADS_MAX:
                self._older, self._recent = self._recent, {}
            self._recent[key] = head
        return head


class Split(NamedTuple):
    """Where a request is split: its head without Content-Length, where its body starts, and its size."""

    key: bytes
    body_start: int
    size: int


def split(data: bytes) -> Split | None:
    """Split a request that the data begins with; None when its head is long, incomplete, or has a malformed length."""
    end = data.find(END, 0, HEAD_BYTES_MAX)
    if end < 0:
        return None
    start = data.find(LENGTHS[0], 0, end)
    if start < 0:
        start = data.find(LENGTHS[1], 0, end)
    body_start = end + len(END)
    if start < 0:
        return Split(data[:end], body_start, body_start)
    stop = data.find(LINE_END, start + LENGTH_BYTES, end + len(LINE_END))
    digits = data[start + LENGTH_BYTES : stop]
    if not digits.isdigit() or len(digits) > LENGTH_DIGITS_MAX:
        return None
    return Split(data[:start] + data[stop:end], body_start, body_start + int(digits))


def parsed(head: bytes) -> OrdinaryHead | None:
    """Return a head of which the Content-Length has been cut out; None when it is not ordinary."""
    line, *lines = head.split(LINE_END)
    first = FIRST_LINE.fullmatch(line)
    headers = headers_of(lines)
    if first is None or headers is None:
        return None
    method, path, query = (part.decode("ascii") for part in (first[1], first[2], first[3] or b""))
    try:
        found = OrdinaryHead(method, path, query, headers)
    except RequestError:
        return None
    return None if found.request("", ("", False)).media_type == FORM_MEDIA_TYPE else found


def headers_of(lines: list[bytes]) -> CIMultiDictProxy[str] | None:
    """Return ordinary headers, each of which occurs once; None when one is not ordinary."""
    headers: CIMultiDict[str] = CIMultiDict()
    if len(lines) > HEADERS_MAX:
        return None
    for line in lines:
        found = HEADER.fullmatch(line)
        if found is None:
            return None
        name, value = found[1].decode("ascii"), found[2].decode("ascii")
        lower = name.lower()
        if name in headers or (lower in UNUSUAL and (lower, value.lower()) != (CONNECTION, KEEP_ALIVE)):
            return None
        headers[name] = value
    return CIMultiDictProxy(headers) if is_host(headers.get("Host", " ")) else None
