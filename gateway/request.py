"""The head of an HTTP request as a plain value, which every step of the gateway reads."""

from __future__ import annotations

from typing import NamedTuple

from multidict import CIMultiDictProxy

TRUE_TEXTS = ("1", "true", "yes")
FORM_MEDIA_TYPE = "application/x-www-form-urlencoded"


class Peer(NamedTuple):
    """Who sent a request: the address of the connection, and the Host that it named.

    `is_trusted` means that its X-Forwarded-* headers describe the original client.
    """

    address: str
    is_trusted: bool
    host: str


class Request(NamedTuple):
    """The head of a request; `path` and `query` are percent-encoded, as the client wrote them."""

    id: str
    method: str
    path: str
    query: str
    headers: CIMultiDictProxy[str]
    peer: Peer
    # Whom the limits for one client count: an address, or NO_CLIENT.
    client: str
    is_http_1_0: bool

    @property
    def media_type(self) -> str:
        """The Content-Type without its parameters, which have no meaning here."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @property
    def is_form(self) -> bool:
        """Whether the body is a form in URL encoding."""
        return self.media_type == FORM_MEDIA_TYPE

    @property
    def is_strict(self) -> bool:
        """Whether the client wants unknown JSON names refused."""
        return self.headers.get("X-Strict", "").strip().lower() in TRUE_TEXTS

    @property
    def content_length(self) -> int | None:
        """The announced size of the body in bytes, None when the body comes in chunks or there is none."""
        text = self.headers.get("Content-Length")
        return int(text) if text else None
