"""From an HTTP request to a method's message: its body received, expanded and read, within limits at every step."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus

from aiohttp.web import BaseRequest

from gateway.admission import Held
from gateway.errors import BodyTooLargeError, CallError, GatewayError
from gateway.http.body import Body, Pace, receive_body
from gateway.http.expansion import Debts, gunzip
from gateway.large_bodies import LargeBodies
from gateway.routing import forms
from gateway.routing.routes import Found
from gateway.settings import GatewaySettings
from gateway.transcoding import Request, Transcoder

# Hundreds of documented events; what they cost is a millisecond.
LARGE_BODY_BYTES = 131_072
# What a body can be at fault for; a client that may not call or is too slow made nobody work.
CHARGED = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE})


@dataclass(frozen=True)
class Asked:
    """A request whose body is there: the route, the query, and the body, which may stand for more of the query."""

    found: Found
    query: str
    body: Body
    is_form: bool
    is_strict: bool
    client: str


@dataclass
class Incoming:
    """Reads requests."""

    settings: GatewaySettings
    transcoder: Transcoder
    debts: Debts = field(default_factory=Debts)

    def __post_init__(self) -> None:
        settings = self.settings
        self.large = LargeBodies(settings.gateway_large_bodies_max, settings.gateway_timeout_seconds)
        self._pace = Pace(
            settings.gateway_body_seconds_max,
            settings.gateway_body_grace_seconds,
            settings.gateway_body_bytes_per_second_min,
        )

    async def receive(self, request: BaseRequest, found: Found, held: Held) -> Body:
        """Return the body as it was sent."""
        return await receive_body(request, self.bytes_max(is_form=forms.is_query(request, found)), self._pace, held)

    async def message(self, asked: Asked, request: BaseRequest) -> Request:
        """Return the message of a call; a large body is read beside the event loop, which has others to serve."""
        bytes_max = self.bytes_max(is_form=asked.is_form)
        if asked.body.size_at_least <= LARGE_BODY_BYTES:
            try:
                return self.read(asked, min(bytes_max, LARGE_BODY_BYTES))
            except BodyTooLargeError:
                if bytes_max <= LARGE_BODY_BYTES:
                    raise
        work = partial(self.read, asked, bytes_max)
        return await self.large.run(work, lambda: request.transport is None)

    def bytes_max(self, *, is_form: bool) -> int:
        """Return the limit of a body after decompression."""
        return self.settings.gateway_form_bytes_max if is_form else self.settings.gateway_body_bytes_max

    def read(self, asked: Asked, bytes_max: int) -> Request:
        """Expand the body and translate the request."""
        body, query = self.expanded(asked, bytes_max), asked.query
        if asked.is_form:
            query, body = forms.joined(body, query), b""
        return self.transcoder.request(asked.found, query, body, strict=asked.is_strict)

    def expanded(self, asked: Asked, bytes_max: int) -> bytes:
        """Return the body as the client meant it."""
        body = asked.body
        if not body.is_gzip:
            return body.sent
        allowance = self.debts.allowance(asked.client, bytes_max, self.settings.gateway_expansion_ratio_max)
        limits = None if asked.is_form else self.transcoder.limits(asked.found.route)
        return gunzip(body.sent, allowance, limits.watch() if limits is not None else None, body.note)

    def refused(self, asked: Asked, error: GatewayError) -> None:
        """Note that a request was refused for what it holds."""
        if asked.body.is_gzip and error.status in CHARGED:
            sent, by_service = len(asked.body.sent), isinstance(error, CallError)
            self.debts.charge(asked.client, sent, asked.body.expanded, by_service=by_service)
