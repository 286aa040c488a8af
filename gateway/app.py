"""The HTTP server: finds the route, reads the body, calls the service, writes its answer or the error."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import structlog
from aiohttp.web import BaseRequest, Response, ResponseKey, ServerRunner, StreamResponse, TCPSite
from google.rpc import code_pb2

from gateway import forms, trailers
from gateway.backend import Backend
from gateway.body import read_body
from gateway.cors import Cors
from gateway.errors import (
    JSON,
    CallError,
    ExpectationError,
    GatewayError,
    Metadata,
    OverloadedError,
    WrongMethodError,
    error_body,
    error_headers,
    status_of,
)
from gateway.http_server import StatusServer
from gateway.metadata import Sender, call_timeout, http_code, request_id, request_metadata, response_headers
from gateway.page import Page
from gateway.routes import Found, Routes
from gateway.settings import GatewaySettings
from gateway.templates import decode_path
from gateway.transcoding import Request, Transcoder, to_json
from services.runtime.logs import logger
from services.runtime.settings import Address

CONTINUE = "100-continue"
UNKNOWN_FIELDS = "X-Unknown-Fields"
HEADER_NAME_CHARACTERS_MAX = 100
# Hundreds of documented events; what they cost is a millisecond, but the same bytes may be millions of empty objects.
LARGE_BODY_BYTES = 131_072
REQUEST_ID = "X-Request-Id"
# What an answer carries until it is sent.
TRAILERS = ResponseKey("trailers", list[tuple[str, str]])
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
    in_work: int = field(default=0, init=False)
    # One at a time: the values of a large body may take a hundred times its bytes.
    large_bodies: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "large-body"), init=False)

    def __post_init__(self) -> None:
        self.cors = Cors(self.settings.gateway_cors_origins, self.settings.gateway_cors_seconds_max)

    async def handle(self, request: BaseRequest) -> StreamResponse:
        """Answer one request; whatever happens, with a status of its own and no stack trace."""
        identity = request_id(request.headers.get(REQUEST_ID))
        with structlog.contextvars.bound_contextvars(request_id=identity):
            try:
                answer = await self.answer(request, identity)
            except GatewayError as error:
                answer = self.refuse(error)
            except ConnectionError:
                raise  # the client is gone: there is nobody to answer
            except Exception:  # noqa: BLE001 -- the last line: a bug is logged whole and told in one word
                logger().exception("a request failed", method=request.method, path=request.rel_url.raw_path)
                answer = self.refuse(CallError(status_of(code_pb2.INTERNAL, "internal error", None)))
            logger().debug("answered", method=request.method, path=request.rel_url.raw_path, status=answer.status)
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
        if expect not in ("", CONTINUE):
            raise ExpectationError("Expect takes 100-continue alone")
        found = self.routes.find(forms.meant_method(request, self.routes, path), path)
        if self.in_work >= self.settings.gateway_concurrency_max:
            raise OverloadedError("too many requests in work, try again")
        self.in_work += 1
        try:
            return await self.transcode(request, found, identity)
        finally:
            self.in_work -= 1

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
        is_query = forms.is_query(request, found)
        bytes_max = self.settings.gateway_form_bytes_max if is_query else self.settings.gateway_body_bytes_max
        body = await read_body(request, bytes_max, self.settings.gateway_body_seconds_max)
        query = raw_target(request)[1]
        if is_query:
            query, body = forms.joined(body, query), b""
        asked = await self.read(found, query, body, strict=is_true(request.headers.get("X-Strict")))
        metadata = request_metadata(request.headers.items(), self.sender(request, identity))
        given = await self.backend.call(found.route.call, asked.message, metadata, timeout)
        answer = Response(
            body=self.transcoder.answer(found.route, given.message),
            status=http_code(given.trailing) or http_code(given.initial) or 200,
            content_type=JSON,
        )
        add_metadata(answer, given.initial, given.trailing)
        if asked.unknown_fields:
            answer.headers[UNKNOWN_FIELDS] = ", ".join(map(header_name, asked.unknown_fields))
        return answer

    async def read(self, found: Found, query: str, body: bytes, *, strict: bool) -> Request:
        """Return the message of a request; a large body is read beside the event loop, which has others to serve."""
        work = partial(self.transcoder.request, found, query, body, strict=strict)
        if len(body) <= LARGE_BODY_BYTES:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self.large_bodies, work)

    def sender(self, request: BaseRequest, identity: str) -> Sender:
        """Say where a request is from; the proxies of trusted networks may speak for others."""
        address = request.remote or ""
        try:
            known = ipaddress.ip_address(address)
        except ValueError:  # a Unix socket has no address
            return Sender("", request.host, is_trusted=True, request_id=identity)
        is_trusted = any(known in network for network in self.settings.gateway_trusted_networks)
        return Sender(address, request.host, is_trusted, identity)

    def refuse(self, error: GatewayError) -> Response:
        """Return an error's answer."""
        headers = error_headers(error, self.settings.gateway_retry_seconds)
        body = error_body(error, self.transcoder.detail)
        answer = Response(body=body, status=error.status, headers=headers, content_type=JSON)
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
    server = StatusServer(
        gateway.handle,
        access_log=None,
        auto_decompress=False,
        keepalive_timeout=settings.gateway_keepalive_seconds,
    )
    runner = ServerRunner(server, shutdown_timeout=settings.gateway_stop_seconds_max)
    await runner.setup()
    try:
        site = TCPSite(runner, settings.gateway_listen.host, settings.gateway_listen.port, reuse_port=False)
        await site.start()
        yield Address(settings.gateway_listen.host, runner.addresses[0][1])
        gateway.draining = True
        await asyncio.sleep(settings.gateway_drain_seconds)
    finally:
        await runner.cleanup()
        gateway.large_bodies.shutdown(wait=False)


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
