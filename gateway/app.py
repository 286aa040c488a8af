"""The HTTP server: finds the route, reads the body, calls the service, writes its answer or the error."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass

import structlog
from aiohttp import HttpVersion11
from aiohttp.web import BaseRequest, BaseSite, Response, ResponseKey, ServerRunner, SockSite, StreamResponse, TCPSite
from google.rpc import code_pb2

from common.logs import log_limited, logger
from common.settings import Address
from gateway.admission import Admission
from gateway.backend import Backend
from gateway.errors import (
    JSON,
    CallError,
    ExpectationError,
    GatewayError,
    MalformedBodyError,
    Metadata,
    OverloadedError,
    WrongMethodError,
    error_body,
    error_headers,
    status_of,
)
from gateway.http import trailers
from gateway.http.connections import Connections, descriptors_for
from gateway.http.cors import Cors
from gateway.http.metadata import call_timeout, http_code, request_id, request_metadata, response_headers
from gateway.http.sender import client_of, sender_of
from gateway.http.server import OF_EVERY_ANSWER, StatusServer, in_work
from gateway.incoming import Asked, Incoming
from gateway.openapi.page import Page
from gateway.routing import forms
from gateway.routing.routes import Found, Routes
from gateway.routing.templates import decode_path
from gateway.settings import GatewaySettings
from gateway.transcoding import Transcoder, to_json

CONTINUE = "100-continue"
UNKNOWN_FIELDS = "X-Unknown-Fields"
HEADER_NAME_CHARACTERS_MAX = 100
REQUEST_ID = "X-Request-Id"
# What an answer carries until it is sent.
TRAILERS = ResponseKey("trailers", list[tuple[str, str]])
# How long the rest of a body that was refused is read, so that its client can read why.
LINGER_SECONDS = 2.0
# The library takes no time for any time.
STOP_SECONDS_MIN = 0.001
# Connections that the system keeps until they are accepted.
BACKLOG = 1_024
ANY_ADDRESS = "::"
OWN_METHODS = ("GET", "HEAD")

Handler = Callable[[], Awaitable[StreamResponse]]


@dataclass
class Gateway:
    """Answers every request; `draining` makes it unready before it stops."""

    settings: GatewaySettings
    routes: Routes
    transcoder: Transcoder
    backend: Backend
    page: Page
    draining: bool = False

    def __post_init__(self) -> None:
        settings = self.settings
        self.cors = Cors(settings.gateway_cors_origins, settings.gateway_cors_seconds_max)
        self.incoming = Incoming(settings, self.transcoder)
        self.admission = Admission(
            settings.gateway_concurrency_max, settings.gateway_bytes_in_flight_max, settings.gateway_client_ratio_max
        )

    async def handle(self, request: BaseRequest) -> StreamResponse:
        """Answer one request; whatever happens, with a status of its own and no stack trace."""
        identity = request_id(request.headers.get(REQUEST_ID))
        with structlog.contextvars.bound_contextvars(request_id=identity):
            try:
                answer = await self.answer(request, identity)
            except GatewayError as error:
                answer = self.refuse(error, has_token="Authorization" in request.headers)
            except ConnectionError:
                raise  # the client is gone: there is nobody to answer
            except Exception:  # noqa: BLE001 -- the last line: a bug is logged whole and told in one word
                path = request.rel_url.raw_path
                log_limited(logging.ERROR, "a request failed", method=request.method, path=path, exc_info=True)
                answer = self.refuse(CallError(status_of(code_pb2.INTERNAL, "internal error", None)))
            logger().debug("answered", method=request.method, path=request.rel_url.raw_path, status=answer.status)
        answer.headers.update(OF_EVERY_ANSWER)
        answer.headers[REQUEST_ID] = identity
        for name, value in self.cors.headers(request.headers).items():
            answer.headers.setdefault(name, value)
        fields = answer.get(TRAILERS)
        if fields and trailers.accepted(request.headers) and isinstance(answer, Response):
            return await trailers.send(request, answer, fields)
        return answer

    async def answer(self, request: BaseRequest, identity: str) -> StreamResponse:
        """Answer from our own pages, else by a call."""
        path = decode_path(raw_target(request)[0])
        own = self.own_pages().get(path)
        if self.cors.is_preflight(request.method, request.headers):
            methods = OWN_METHODS if own is not None else self.routes.methods(path)
            return Response(status=204, headers=self.cors.preflight(request.headers, methods))
        if own is not None:
            return await self.own_page(own, request.method)
        expect = request.headers.get("Expect", "").lower()
        if expect not in ("", CONTINUE) and request.version >= HttpVersion11:
            raise ExpectationError("Expect takes 100-continue alone")
        found = self.routes.find(forms.meant_method(request, self.routes, path), path)
        return await self.transcode(request, found, identity)

    async def own_page(self, page: Handler, method: str) -> StreamResponse:
        """Answer from one of our own pages."""
        if method not in OWN_METHODS:
            raise WrongMethodError(OWN_METHODS)
        return await page()

    def own_pages(self) -> Mapping[str, Handler]:
        """Map the paths that no descriptor names."""
        return {**self.page.handlers, "/healthz": self.alive, "/readyz": self.ready}

    async def transcode(self, request: BaseRequest, found: Found, identity: str) -> Response:
        """Translate a request, call, translate the answer."""
        timeout = call_timeout(request.headers.get("Grpc-Timeout"))
        sender = sender_of(request, self.settings.gateway_trusted_networks, identity)
        client = client_of(sender, request)
        with self.admission.holding(client) as held:
            body = await self.incoming.receive(request, found, held)
            is_form, is_strict = forms.is_query(request, found), is_true(request.headers.get("X-Strict"))
            incoming = Asked(found, raw_target(request)[1], body, is_form, is_strict, client)
            with self.admission.work(client), in_work(request):
                try:
                    asked = await self.incoming.message(incoming, request)
                    held.replace(len(asked.message))
                    metadata = request_metadata(request.headers.items(), sender)
                    given = await self.backend.call(found.route.call, asked.message, metadata, timeout)
                except GatewayError as error:
                    self.incoming.refused(incoming, error)
                    raise
        answer = Response(
            body=self.transcoder.answer(found.route, given.message),
            status=http_code(given.trailing) or http_code(given.initial) or 200,
            content_type=JSON,
        )
        add_metadata(answer, given.initial, given.trailing)
        if asked.unknown_fields:
            answer.headers[UNKNOWN_FIELDS] = ", ".join(map(header_name, asked.unknown_fields))
        return answer

    def refuse(self, error: GatewayError, *, has_token: bool = False) -> Response:
        """Return an error's answer; one to a client without a token does not speak of tokens."""
        if isinstance(error, OverloadedError):
            error.retry_seconds = self.settings.gateway_retry_seconds
        headers = error_headers(error, self.settings.gateway_retry_seconds, has_token=has_token)
        body = error_body(error, self.transcoder.detail)
        answer = Response(body=body, status=error.status, headers=headers, content_type=JSON)
        if isinstance(error, MalformedBodyError):
            answer.force_close()
        if isinstance(error, CallError):
            add_metadata(answer, error.initial, error.trailing)
        return answer

    async def alive(self) -> Response:
        """Answer that the process runs."""
        return Response(body=to_json({"status": "alive"}), content_type=JSON)

    async def ready(self) -> Response:
        """Answer whether the service behind us is reachable and serving."""
        if self.draining or not await self.backend.is_serving():
            raise OverloadedError("stopping" if self.draining else "the service behind the gateway is not serving")
        return Response(body=to_json({"status": "ready"}), content_type=JSON)


@contextlib.asynccontextmanager
async def serving(gateway: Gateway) -> AsyncIterator[Address]:
    """Serve at the address yielded; at the end become unready, give balancers a moment, let requests in work end."""
    settings = gateway.settings
    connections_max = descriptors_for(settings.gateway_connections_max)
    if connections_max < settings.gateway_connections_max:
        logger().warning("fewer connections than set, by the limit of descriptors", connections=connections_max)
    connections = Connections(connections_max, settings.gateway_head_seconds_max)
    server = StatusServer(
        gateway.handle,
        connections,
        access_log=None,
        auto_decompress=False,
        keepalive_timeout=settings.gateway_keepalive_seconds,
        answer_seconds_max=settings.gateway_answer_seconds_max,
        lingering_time=LINGER_SECONDS,
    )
    runner = ServerRunner(server, shutdown_timeout=max(settings.gateway_stop_seconds_max, STOP_SECONDS_MIN))
    await runner.setup()
    try:
        host, port = settings.gateway_listen
        site: BaseSite = TCPSite(runner, host, port, backlog=BACKLOG, reuse_port=False)
        if host == ANY_ADDRESS:  # of IPv4 too, which the event loop would leave out
            listening = socket.create_server((host, port), family=socket.AF_INET6, dualstack_ipv6=True)
            site = SockSite(runner, listening, backlog=BACKLOG)
        await site.start()
        async with connections.swept():
            yield Address(host, runner.addresses[0][1])
            gateway.draining = True
            await asyncio.sleep(settings.gateway_drain_seconds)
    finally:
        await runner.cleanup()
        gateway.incoming.large.close()


def add_metadata(answer: Response, initial: Metadata, trailing: Metadata) -> None:
    """Tell the client what the service said in metadata; what followed the message waits for `handle`."""
    for name, value in response_headers(initial):
        answer.headers.add(name, value)
    answer[TRAILERS] = trailers.trailers(trailing)


def raw_target(request: BaseRequest) -> tuple[str, str]:
    """Return path and query as the client wrote them, also from an absolute request target."""
    target = request.raw_path
    if not target.startswith("/"):
        target = request.rel_url.raw_path_qs
    path, _, query = target.partition("?")
    return path, query


def is_true(text: str | None) -> bool:
    """Whether a header switches something on."""
    return text is not None and text.strip().lower() in ("1", "true", "yes")


def header_name(name: str) -> str:
    """Return a JSON name as it can stand in a list in a header, which clients and proxies refuse when it is long."""
    printable = name.encode("ascii", "backslashreplace").decode()
    shown = "".join(letter if " " < letter <= "~" and letter != "," else "?" for letter in printable)
    return shown if len(shown) <= HEADER_NAME_CHARACTERS_MAX else shown[:HEADER_NAME_CHARACTERS_MAX] + "..."
