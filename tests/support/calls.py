"""A gRPC call for tests and benchmarks that run the servicer without a server, and a publisher that stores nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import grpc

from services.ingest.call import Context
from services.ingest.records import Headers, Record


class AbortedError(Exception):
    """The servicer has ended the call with an error."""

    def __init__(self, status: Any) -> None:
        super().__init__(status.code, status.details)
        self.code: grpc.StatusCode = status.code


class FakeContext:
    """What the servicer uses of grpc.aio's context."""

    def __init__(self, metadata: Sequence[tuple[str, str]] = ()) -> None:
        self.metadata = metadata
        self.initial: Sequence[tuple[str, str]] = ()

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        return self.metadata

    async def send_initial_metadata(self, metadata: Sequence[tuple[str, str]]) -> None:
        self.initial = metadata

    async def abort_with_status(self, status: Any) -> None:
        raise AbortedError(status)


def fake_context(*metadata: tuple[str, str]) -> Context:
    """Return a context with the given metadata."""
    return cast("Context", FakeContext(metadata))


class AcceptingPublisher:
    """Acknowledges everything at once; keeps the last request's records."""

    def __init__(self) -> None:
        self.records: Sequence[Record] = ()

    async def publish(self, records: Sequence[Record], headers: Headers | None = None) -> dict[int, str]:  # noqa: ARG002
        self.records = records
        return {}
