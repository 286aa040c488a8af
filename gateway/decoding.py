"""From a received request to the method's message: its body expanded and translated, within limits at every step."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import TypeVar

from gateway.errors import BodyTooLargeError, CallError, GatewayError, OverloadedError
from gateway.http.body import Body
from gateway.http.expansion import ClientBuckets, gunzip
from gateway.request import Request
from gateway.routing.forms import joined_query, stands_for_query
from gateway.routing.routes import Match
from gateway.settings import GatewaySettings
from gateway.transcoding import CallMessage, Transcoder

T = TypeVar("T")

# A larger body is decoded on a thread: the exact reader needs several milliseconds for this one.
LARGE_BODY_BYTES = 131_072
# An ordinary body, of up to 750 documented events, takes a millisecond.
ORDINARY_BODY_BYTES_MAX = 262_144
# The errors that the content of a body causes; other errors cost no work, such as that of a client without a token.
CHARGED_STATUSES = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE})


class RequestDecoder:
    """Decodes requests; large bodies on a thread of their own, so that the event loop can serve other requests."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._body_bytes_max = settings.gateway_body_bytes_max
        self._form_bytes_max = settings.gateway_form_bytes_max
        self._ratio_max = settings.gateway_expansion_ratio_max
        self._large = LargeBodyQueue(settings.gateway_large_bodies_max, settings.gateway_timeout_seconds)
        self._buckets = ClientBuckets()

    async def decode(
        self,
        transcoder: Transcoder,
        request: Request,
        match: Match,
        body: Body,
        is_disconnected: Callable[[], bool],
    ) -> CallMessage:
        """Return the message of a call; GatewayError names what is wrong with the request."""
        bytes_max = self.bytes_max(request, match)
        if body.estimated_bytes <= LARGE_BODY_BYTES:
            try:
                return self._decode(transcoder, request, match, body, min(bytes_max, LARGE_BODY_BYTES))
            except BodyTooLargeError:
                if bytes_max <= LARGE_BODY_BYTES:
                    raise
        elif (ordinary := self._ordinary(transcoder, request, match, body)) is not None:
            return ordinary
        work = partial(self._decode, transcoder, request, match, body, bytes_max)
        return await self._large.run(work, is_disconnected)

    def _ordinary(self, transcoder: Transcoder, request: Request, match: Match, body: Body) -> CallMessage | None:
        """Return the message of a large body when it is ordinary and all of the request."""
        is_more = body.is_gzip or match.fields or request.query or stands_for_query(request, match)
        if is_more or len(body.sent) > ORDINARY_BODY_BYTES_MAX:
            return None
        message = transcoder.ordinary(match.route, body.sent)
        return None if message is None else CallMessage(message, ())

    def bytes_max(self, request: Request, match: Match) -> int:
        """Return the limit of a body after decompression."""
        return self._form_bytes_max if stands_for_query(request, match) else self._body_bytes_max

    @contextlib.contextmanager
    def charging(self, request: Request, body: Body) -> Iterator[None]:
        """Charge the client for a compressed body whose content turns out to be refused, here or by the service."""
        try:
            yield
        except GatewayError as error:
            if body.is_gzip and error.status in CHARGED_STATUSES:
                by_service = isinstance(error, CallError)
                self._buckets.charge(request.client, len(body.sent), body.expanded_bytes, by_service=by_service)
            raise

    def close(self) -> None:
        """Take no more large bodies."""
        self._large.close()

    def _decode(
        self, transcoder: Transcoder, request: Request, match: Match, body: Body, bytes_max: int
    ) -> CallMessage:
        """Expand the body and translate the request."""
        query, is_query = request.query, stands_for_query(request, match)
        limits = None if is_query else transcoder.limits(match.route)
        content = body.sent
        if body.is_gzip:
            allowance = self._buckets.allowance(request.client, bytes_max, self._ratio_max)
            watch = limits.watch() if limits is not None else None
            content = gunzip(body.sent, allowance, watch, body.note_expanded)
        if is_query:
            query, content = joined_query(content, query), b""
        return transcoder.request(match, query, content, strict=request.is_strict)


@dataclass
class LargeBodyQueue:
    """Decodes one large body at a time, because its values may take many times its bytes; the queue is bounded."""

    waiting_max: int
    wait_seconds_max: float
    waiting: int = field(default=0, init=False)
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "large-body"), init=False)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def run(self, work: Callable[[], T], is_disconnected: Callable[[], bool]) -> T:
        """Return what `work` returns; OverloadedError when too many wait or this one would wait for too long.

        The body of a client that has disconnected is not decoded: ConnectionResetError.
        """
        if self.waiting >= self.waiting_max:
            raise OverloadedError("too many large bodies are waiting, retry later", "large_bodies")
        self.waiting += 1
        try:
            async with asyncio.timeout(self.wait_seconds_max):
                await self._turn.acquire()
        except TimeoutError as error:
            raise OverloadedError(
                f"a large body waited {self.wait_seconds_max:g} s for its turn, retry later", "large_bodies"
            ) from error
        finally:
            self.waiting -= 1
        try:
            if is_disconnected():
                raise ConnectionResetError("the client has disconnected")
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            self._turn.release()

    def close(self) -> None:
        """Take no more work."""
        self._thread.shutdown(wait=False)
