"""One request through the gateway: read its head, route it, decode it, call the service, write the response."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

import structlog
from aiohttp.web import BaseRequest, Response, StreamResponse
from google.rpc.code_pb2 import OK

from common.logs import log_limited, logger
from gateway.admission import Admission
from gateway.backend import Backend
from gateway.decoding import RequestDecoder
from gateway.errors import CLIENT_CLOSED_REQUEST, GatewayError, OverloadedError
from gateway.http.body import BodyRate, receive_body
from gateway.http.connection import in_flight
from gateway.http.cors import Cors
from gateway.http.error_responses import error_response
from gateway.http.head import HeadReader, check_expectation
from gateway.http.metadata import call_timeout, request_metadata
from gateway.http.responses import call_response, complete
from gateway.http.trailers import send
from gateway.metrics import UNMATCHED, GatewayMetrics, RequestTime
from gateway.pages import PAGE_METHODS, Health, Pages, page_response
from gateway.request import Request
from gateway.routing.forms import effective_method
from gateway.routing.routes import Match, Routes
from gateway.routing.templates import decode_path
from gateway.settings import GatewaySettings
from gateway.tracing import RequestTrace, RequestTracing, log_context
from gateway.transcoding import Transcoder


@dataclass(frozen=True)
class Api:
    """What a descriptor set makes the gateway serve; replaced as a whole when the descriptors change."""

    routes: Routes
    transcoder: Transcoder
    pages: Pages


class Gateway:
    """Answers every request."""

    def __init__(
        self,
        settings: GatewaySettings,
        api: Api,
        backend: Backend,
        health: Health,
        metrics: GatewayMetrics,
        tracing: RequestTracing | None = None,
    ) -> None:
        self.settings = settings
        self.tracing = tracing
        self.metrics = metrics
        self.api = api
        self.health = health
        self.backend = backend
        self.heads = HeadReader(settings.gateway_trusted_networks)
        self.cors = Cors(settings.gateway_cors_origins, settings.gateway_cors_seconds_max)
        self._decoder = RequestDecoder(settings)
        self.admission = Admission(
            settings.gateway_concurrency_max, settings.gateway_bytes_in_flight_max, settings.gateway_client_ratio_max
        )
        metrics.requests_in_work.reads(lambda: self.admission.requests.in_use)
        metrics.requests_in_work_limit.reads(lambda: self.admission.requests.maximum)
        metrics.bytes_in_flight.reads(lambda: self.admission.bytes.in_use)
        metrics.bytes_in_flight_limit.reads(lambda: self.admission.bytes.maximum)
        self._body_rate = BodyRate(
            settings.gateway_body_seconds_max,
            settings.gateway_body_grace_seconds,
            settings.gateway_body_bytes_per_second_min,
        )

    async def handle(self, connection: BaseRequest) -> StreamResponse:
        """Answer one request; every failure becomes a response with a status of its own and no stack trace."""
        request = self.heads.read(connection)
        time = self.metrics.request(request.method)
        with structlog.contextvars.bound_contextvars(**log_context(request.id, request.headers, None)):
            try:
                response = await self._respond(connection, request, time)
            except GatewayError as error:
                if time.trace is not None:
                    time.trace.called(error.code)
                response = self.error_response(error, request)
            except (ConnectionError, asyncio.CancelledError):
                time.end(CLIENT_CLOSED_REQUEST)
                raise  # the client has disconnected: there is nobody to answer
            except Exception:  # noqa: BLE001 -- the last resort: a bug is logged whole, and the client gets a 500
                log_limited(logging.ERROR, "a request failed", method=request.method, path=request.path, exc_info=True)
                response = self.error_response(GatewayError("internal error"), request)
            logger().debug("answered", method=request.method, path=request.path, status=response.status)
            time.end(response.status)
        complete(response, request, self.cors)
        return await send(connection, request, response)

    async def _respond(self, connection: BaseRequest, request: Request, time: RequestTime) -> StreamResponse:
        """Return the response of a page, a CORS preflight or a call; note the route."""
        api, path = self.api, decode_path(request.path)
        page = api.pages.get(path)
        if page is not None:
            time.route = path
        if self.cors.is_preflight(request.method, request.headers):
            time.route = path if page is not None else api.routes.template(path) or UNMATCHED
            methods = PAGE_METHODS if page is not None else api.routes.methods(path)
            return Response(status=204, headers=self.cors.preflight(request.headers, methods))
        if page is not None:
            return await page_response(page, request.method)
        check_expectation(request)
        match = api.routes.match(effective_method(request, api.routes, path), path)
        time.route = match.route.template.text
        if self.tracing is not None:
            time.trace = self.tracing.begin(request.headers, request.method, time.route, request.id)
        return await self._call(connection, request, api.transcoder, match, time.trace)

    async def _call(
        self,
        connection: BaseRequest,
        request: Request,
        transcoder: Transcoder,
        match: Match,
        trace: RequestTrace | None,
    ) -> StreamResponse:
        """Receive and decode the body, call the method, return its response."""
        timeout = call_timeout(request.headers.get("Grpc-Timeout"))
        with self.admission.reserving(request.client) as memory:
            bytes_max = self._decoder.bytes_max(request, match)
            body = await receive_body(connection, request, bytes_max, self._body_rate, memory)
            self.metrics.body_bytes.observe(len(body.sent))
            with (
                self.admission.in_flight(request.client),
                in_flight(connection),
                self._decoder.charging(request, body),
            ):
                call = await self._decoder.decode(
                    transcoder, request, match, body, lambda: connection.transport is None
                )
                memory.resize(len(call.message))
                metadata = request_metadata(request)
                if trace is not None:
                    metadata = trace.calling(match.route.call, metadata)
                reply = await self.backend.call(match.route.call, call.message, metadata, timeout)
                if trace is not None:
                    trace.called(OK)
        self.metrics.unknown_fields.value += len(call.unknown_fields)
        answer = transcoder.answer(match.route, reply.message)
        return call_response(answer, reply.initial, reply.trailing, call.unknown_fields)

    def error_response(self, error: GatewayError, request: Request) -> Response:
        """Return the response of an error, which is counted when a limit is its reason."""
        if isinstance(error, OverloadedError) and error.reason:
            self.metrics.shed.child(error.reason).value += 1
        retry_seconds, has_token = self.settings.gateway_retry_seconds, "Authorization" in request.headers
        return error_response(error, self.api.transcoder.detail, retry_seconds, has_token=has_token)

    def close(self) -> None:
        """Release what the gateway holds."""
        self._decoder.close()
