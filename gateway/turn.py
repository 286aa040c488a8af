"""One request on the fast lane, from its admission to the bytes of its response."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from time import perf_counter
from typing import Protocol

import structlog
from aiohttp.web import Response
from google.rpc.code_pb2 import OK

from common.logs import log_limited, logger
from gateway.app import Gateway
from gateway.errors import CallError, GatewayError, Pair
from gateway.http.head import new_request_id
from gateway.http.metadata import HTTP_CODE, NOT_FORWARDED, REQUEST_ID, request_metadata
from gateway.http.ordinary import OrdinaryHead
from gateway.http.responses import call_response, complete
from gateway.http.written import STARTS, json_answer, whole_answer
from gateway.memo import Memo
from gateway.relay.frames import metadata_field, metadata_fields
from gateway.reply import Reply
from gateway.tracing import RequestTrace, log_context

STATUSES: Mapping[str | bytes, int] = {str(status): status for status in STARTS}


class LaneConnection(Protocol):
    """What the lane needs of the connection that a request came from."""

    # The address of the client, and whether it is a trusted proxy; None before it is needed.
    lane_peer: tuple[str, bool] | None
    is_in_flight: bool

    def remote_address(self) -> str:
        """Return the address of the client, empty when it has none."""

    def hold(self) -> None:
        """Keep what arrives on the connection, until `finish`."""

    def is_last(self) -> bool:
        """Whether the client sends nothing more, so that the connection closes after the response."""

    def finish(self, response: bytes, *, is_last: bool) -> None:
        """Write the response, and go on with what has arrived; nothing is written when the client has disconnected."""


class Turn:
    """One request on the lane, from its admission to its response."""

    __slots__ = (
        "_began", "_bytes", "_called", "_client", "_connection", "_gateway", "_head", "_id", "_memo", "_peer", "_trace",
        "_unknown_fields",
    )  # fmt: skip

    def __init__(
        self, gateway: Gateway, connection: LaneConnection, head: OrdinaryHead, memo: Memo, peer: tuple[str, bool]
    ) -> None:
        self._began = perf_counter()
        # When the call was begun, 0 when it has not been or has its verdict.
        self._called = 0.0
        self._gateway = gateway
        self._connection = connection
        self._head = head
        self._memo = memo
        self._peer = peer
        self._client = head.client_behind_proxy if peer[1] else peer[0]
        self._id = head.given_id or new_request_id()
        # The bytes that the request has reserved, None before it is admitted and after its response.
        self._bytes: int | None = None
        self._unknown_fields: tuple[str, ...] = ()
        # The spans of a sampled request.
        self._trace: RequestTrace | None = None

    def large(self, body: bytes) -> bytes | None:
        """Return the message of a large body that is ordinary; None leaves it to the usual path, which has a thread."""
        head, match, admission = self._head, self._memo.match, self._gateway.admission
        if head.query or match.fields:
            return None
        try:
            admission.admit(self._client, len(body))
            try:
                return self._memo.api.transcoder.ordinary(match.route, body)
            finally:
                admission.release(self._client, len(body))
        except GatewayError:
            return None

    def call(self, body: bytes, message: bytes | None) -> None:
        """Decode the body unless it is decoded, and call the service; its answer goes to `answered` or `failed`."""
        gateway, head, memo = self._gateway, self._head, self._memo
        if gateway.tracing is not None:
            self._trace = gateway.tracing.begin(head.headers, head.method, memo.match.route.template.text, self._id)
        gateway.metrics.body_bytes.observe(len(body))
        gateway.admission.admit(self._client, len(body))
        self._bytes = len(body)
        self._connection.is_in_flight = True
        if message is None:
            decoded = memo.api.transcoder.request(memo.match, head.query, body, strict=head.strict)
            message, self._unknown_fields = decoded.message, decoded.unknown_fields
        gateway.admission.bytes.add(self._client, len(message) - len(body))
        self._bytes = len(message)
        self._called = perf_counter()
        gateway.backend.begin(memo.match.route.call, message, head.seconds, self)

    def metadata(self) -> list[Pair]:
        """Return the metadata of the call."""
        pairs = request_metadata(self._head.request(self._id, self._peer))
        return pairs if self._trace is None else self._trace.calling(self._memo.match.route.call, pairs)

    def metadata_fields(self, names: frozenset[str]) -> bytes:
        """Return the metadata of these names as fields of a relayed call."""
        if self._trace is not None:
            return metadata_fields(pair for pair in self.metadata() if pair[0] in names)
        kept = self._memo.kept(names, self._peer)
        if kept is None:
            # Without the id, which differs.
            kept = metadata_fields(pair for pair in self.metadata() if pair[0] in names and pair[0] != REQUEST_ID)
            self._memo.keep(self._peer, kept)
        return metadata_field(REQUEST_ID, self._id) + kept if REQUEST_ID in names else kept

    def answered(self, reply: Reply) -> None:
        """Write the response of a call that has succeeded."""
        try:
            self._gateway.metrics.call_seconds.observe(perf_counter() - self._called)
            self._called = 0.0
            if self._trace is not None:
                self._trace.called(OK)
            self._release()
            memo = self._memo
            body = memo.api.transcoder.answer(memo.match.route, reply.message)
            status = plain_status(reply) if not self._unknown_fields else None
            if status is None:
                self._gateway.metrics.unknown_fields.value += len(self._unknown_fields)
                with structlog.contextvars.bound_contextvars(**self._log_context()):
                    response = call_response(body, reply.initial, reply.trailing, self._unknown_fields)
                self._write(response)
                return
            self._log(status)
            is_last = self._connection.is_last()
            self._connection.finish(json_answer(status, self._id, memo.cors, body, is_last=is_last), is_last=is_last)
            self._end(status)
        except Exception as error:  # noqa: BLE001 -- the last resort, as in Gateway.handle
            self.failed(error)

    def failed(self, error: Exception) -> None:
        """Write the response of an error."""
        self._release()
        if self._called and isinstance(error, CallError):
            self._gateway.metrics.call_seconds.observe(perf_counter() - self._called)
            self._gateway.metrics.call_failed(error.code)
            if self._trace is not None:
                self._trace.called(error.code)
        request = self._head.request(self._id, self._peer)
        with structlog.contextvars.bound_contextvars(**self._log_context()):
            if not isinstance(error, GatewayError):
                log_limited(logging.ERROR, "a request failed", method=request.method, path=request.path, exc_info=error)
                error = GatewayError("internal error")
            response = self._gateway.error_response(error, request)
        self._write(response)

    def _write(self, response: Response) -> None:
        """Write a response that is made in the usual way."""
        complete(response, self._head.request(self._id, self._peer), self._gateway.cors)
        self._log(response.status)
        is_last = self._connection.is_last()
        self._connection.finish(whole_answer(response, is_last=is_last), is_last=is_last)
        self._end(response.status)

    def _end(self, status: int) -> None:
        """Count the request; its trace is the exemplar of its duration."""
        seconds, trace = perf_counter() - self._began, self._trace
        if trace is None:
            self._memo.durations[status].observe(seconds)
            return
        self._memo.durations[status].observe(seconds, trace.trace_id)
        trace.end(status)

    def _release(self) -> None:
        """Release what the request has reserved, the first time."""
        if self._bytes is not None:
            self._gateway.admission.release(self._client, self._bytes)
            self._bytes = None

    def _log(self, status: int) -> None:
        if logger().is_enabled_for(logging.DEBUG):
            head, context = self._head, self._log_context()
            logger().debug("answered", method=head.method, path=head.path, status=status, **context)

    def _log_context(self) -> dict[str, str]:
        return log_context(self._id, self._head.headers, self._trace)


def plain_status(reply: Reply) -> int | None:
    """Return the status of a success that has no other metadata to forward; None when it has."""
    if reply.initial and not all(name in NOT_FORWARDED for name, _value in reply.initial):
        return None
    status = HTTPStatus.OK.value
    for name, value in (*reply.initial, *reply.trailing):
        if name == HTTP_CODE:
            found = STATUSES.get(value)
            if found is None:
                return None
            status = found
        elif name not in NOT_FORWARDED:
            return None
    return status
