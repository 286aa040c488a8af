"""A call of a client, alone or relayed: its metadata, its two ways to end, and its line in the log."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Collection
from typing import NamedTuple, TypeAlias

import grpc
from google.rpc.code_pb2 import CANCELLED, DEADLINE_EXCEEDED, INTERNAL, Code
from google.rpc.status_pb2 import Status

from common.logs import log_limited, logger
from common.trace_context import trace_id_of
from services.ingest.kafka.errors import DeliveryFailure
from services.ingest.limits.callers import CallerNames
from services.ingest.metadata import REQUEST_ID, CallMetadata
from services.ingest.tracing import CallSpan

Context: TypeAlias = grpc.aio.ServicerContext[bytes, bytes]
Pairs: TypeAlias = tuple[tuple[str, str | bytes], ...]
REQUEST_ID_BYTES = 16
# With this response metadata a service sets a success status other than 200, as in grpc-gateway.
HTTP_CODE = "x-http-code"
CREATED, MULTI_STATUS = "201", "207"
STATUS_DETAILS = "grpc-status-details-bin"
UNEXPECTED = "an unexpected error inside the server"
# A client cancels a call at its deadline by its own clock, and the cancellation may arrive before the deadline here.
EXPIRED_SECONDS = 0.1


class StatusError(Exception):
    """The call ends with a google.rpc.Status other than OK."""

    def __init__(self, status: Status) -> None:
        assert status.code  # noqa: S101 -- OK is not an error
        super().__init__(status.message)
        self.status = status


class Failure(NamedTuple):
    """The end of a call with an error: the code (of google.rpc.Code), the message, and the trailing metadata."""

    code: int
    message: str
    metadata: Pairs


class Response(NamedTuple):
    """The end of a call with OK: the encoded response, and the HTTP status for the gateway."""

    message: bytes
    http_code: str


class Call:
    """The metadata of a call. A method returns a Response or raises StatusError."""

    __slots__ = (
        "_metadata", "_peer", "_until", "are_events_counted", "authorizations", "headers", "request_id", "span",
        "subject", "traceparent",
    )  # fmt: skip

    def __init__(self, metadata: CallMetadata, peer: str = "", until: float | Context = math.inf) -> None:
        """`peer` is the name of the connection, `until` the deadline by the monotonic clock or what has it."""
        # Whether each event of the call has its outcome, or gets it when Kafka's report comes.
        self.are_events_counted = False
        self.request_id = metadata.request_id or os.urandom(REQUEST_ID_BYTES).hex()
        # Kafka gets only the client's own headers, as each costs time and space; a generated id is in log and answer.
        self.headers = metadata.headers
        self.authorizations = metadata.authorizations
        # The client of the caller's token, once it is verified.
        self.subject = ""
        self._metadata = metadata
        self._peer = peer
        self._until = until
        self.traceparent = metadata.traceparent
        # That of a sampled call, where traces are enabled.
        self.span: CallSpan | None = None

    def caller(self, names: CallerNames) -> str:
        """Return the name of the caller for the limits."""
        return self.subject or names.name(self._peer, self._metadata.forwarded_for)

    @property
    def is_low_priority(self) -> bool:
        """Whether the events of the call can wait."""
        return self._metadata.is_low_priority

    def seconds_left(self) -> float:
        """Return the time until the deadline of the call, infinite if there is none."""
        if isinstance(self._until, float):
            return self._until - time.monotonic()
        left = self._until.time_remaining()
        return math.inf if left is None else left

    def cancelled_code(self) -> int:
        """Return the code of a cancelled call, which is another one if its deadline has come."""
        return int(DEADLINE_EXCEEDED if self.seconds_left() < EXPIRED_SECONDS else CANCELLED)

    @property
    def trace_id(self) -> str:
        """The id of the caller's trace, sampled or not; empty if there is none."""
        return trace_id_of(self.traceparent)

    def accepted(self, message: bytes, accepted: int, rejected: int = 0) -> Response:
        """Return the response of a call that has stored events."""
        if logger().is_enabled_for(logging.DEBUG):
            ids = {"request_id": self.request_id, "trace_id": self.trace_id}
            logger().debug("accepted", events=accepted, rejected=rejected, **ids)
        return Response(message, MULTI_STATUS if rejected else CREATED)

    def success_metadata(self, http_code: str) -> Pairs:
        """Return the trailing metadata of an OK response."""
        return (HTTP_CODE, http_code), (REQUEST_ID, self.request_id)

    def failure(self, status: Status) -> Failure:
        """Log the end of the call with an error, and return it."""
        code, ids = Code.Name(status.code), {"request_id": self.request_id, "trace_id": self.trace_id}
        logger().debug("refused", code=code, reason=status.message, **ids)
        log_limited(logging.INFO, f"calls are refused with {code}", reason=status.message, **ids)
        details = (STATUS_DETAILS, status.SerializeToString())
        return Failure(status.code, status.message, (details, (REQUEST_ID, self.request_id)))

    def unexpected(self, error: Exception) -> Failure:
        """Log an unexpected error, and return INTERNAL with the request id of the log line."""
        ids = {"request_id": self.request_id, "trace_id": self.trace_id}
        log_limited(logging.ERROR, "a call failed unexpectedly", exc_info=error, **ids)
        return Failure(INTERNAL, UNEXPECTED, ((REQUEST_ID, self.request_id),))

    def unacknowledged(self, failures: Collection[DeliveryFailure], total: int) -> None:
        """Log that events of the call were not acknowledged, rate-limited."""
        values = {"events": len(failures), "of": total, "reason": next(iter(failures)).reason}
        ids = {"request_id": self.request_id, "trace_id": self.trace_id}
        log_limited(logging.WARNING, "events were not acknowledged", **values, **ids)
