"""The spans of a request: one from its head to its response, and in it that of the call to the service."""

from __future__ import annotations

import random
from collections.abc import Iterable

from google.rpc import code_pb2
from multidict import CIMultiDictProxy

from common.trace_context import TRACEPARENT, is_sampled, trace_id_of
from common.tracing import Span, Tracing
from gateway.errors import Pair
from gateway.http.trace import traceparent_of

SERVER_ERROR = 500


def log_context(request_id: str, headers: CIMultiDictProxy[str], trace: RequestTrace | None) -> dict[str, str]:
    """Return the keys of the log lines of a request: its id, and that of its trace, sampled or not."""
    trace_id = trace.trace_id if trace is not None else TRACEPARENT in headers and trace_id_of(traceparent_of(headers))
    return {"request_id": request_id, "trace_id": trace_id} if trace_id else {"request_id": request_id}


class RequestTracing:
    """Opens the spans of sampled requests: those whose client has decided so, and a share of those without a trace."""

    def __init__(self, tracing: Tracing, ratio: float, target: str) -> None:
        """`ratio` is the share of the requests without a traceparent; `target` is the address of the service."""
        self._tracing = tracing
        self._ratio = ratio
        self._target = target
        self._chance = random.Random()  # noqa: S311 -- no secret

    def begin(self, headers: CIMultiDictProxy[str], method: str, route: str, request_id: str) -> RequestTrace | None:
        """Open the span of a request; None when it is not sampled."""
        parent = ""
        if TRACEPARENT in headers:
            parent = traceparent_of(headers)
            if not is_sampled(parent):
                return None
        elif not self._ratio or self._chance.random() >= self._ratio:
            return None
        attributes = {"http.request.method": method, "http.route": route, "ugc.request_id": request_id}
        span = self._tracing.span(f"{method} {route}", "server", parent, attributes)
        return RequestTrace(span, self._target)


class RequestTrace:
    """The open spans of a request."""

    __slots__ = ("_call", "_span", "_target", "trace_id")

    def __init__(self, span: Span, target: str) -> None:
        self._span = span
        self._target = target
        self._call: Span | None = None
        self.trace_id = span.trace_id

    def calling(self, path: str, metadata: Iterable[Pair]) -> list[Pair]:
        """Open the span of the call to a method of the service; return its metadata with the traceparent of the span.

        A client's tracestate stays. A call that is made again, because a stream has not taken it, keeps its span.
        """
        if self._call is None:
            method = path.removeprefix("/")
            attributes = {"rpc.system.name": "grpc", "rpc.method": method, "server.address": self._target}
            self._call = self._span.child(method, "client", attributes)
        return [*(pair for pair in metadata if pair[0] != TRACEPARENT), (TRACEPARENT, self._call.traceparent)]

    def called(self, code: int) -> None:
        """End the span of the call with its gRPC code."""
        if self._call is None:
            return
        name = code_pb2.Code.Name(code) if code in code_pb2.Code.values() else str(code)
        self._call.set("rpc.response.status_code", name)
        self._call.end("" if code == code_pb2.OK else name)
        self._call = None

    def end(self, status: int) -> None:
        """End the span of the request with the status of its response, and that of a call without a verdict."""
        self.called(code_pb2.CANCELLED)
        self._span.set("http.response.status_code", status)
        self._span.end(str(status) if status >= SERVER_ERROR else "")
