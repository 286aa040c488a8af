"""Ingest's servicers for tests and benchmarks: on a real gRPC channel, or called with a fake context.

The publishers do not use Kafka.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import pytest
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status
from ugc.v1.event_pb2 import EventRecord

from services.ingest.auth.authentication import Authenticator
from services.ingest.call import Call
from services.ingest.call_acceptance import CallAcceptance
from services.ingest.debug import DebugServicer, DisabledDebugServicer
from services.ingest.events.records import Headers, Record, Records
from services.ingest.events.validation import EventValidator, batch_limits
from services.ingest.kafka.errors import DeliveryFailure
from services.ingest.metadata import read_metadata
from services.ingest.server import SERVICE, admission_interceptor, debug_handler, ingest_handlers
from services.ingest.servicer import IngestServicer, Publisher
from services.ingest.settings import IngestSettings

EVENT_BYTES_MAX = 65_536
RETRY_SECONDS = 1.5
# Timeout of waits that would otherwise hang a failing test.
SECONDS_MAX = 60.0


class BatchPublisher:
    """Publishes a single record as a batch of one; subclasses have `publish`."""

    def __init__(self) -> None:
        self._sending: set[asyncio.Task[None]] = set()

    async def publish(self, records: Records, headers: Headers | None = None) -> dict[int, DeliveryFailure]:
        raise NotImplementedError

    def send(
        self, record: Record, headers: Headers | None, on_report: Callable[[DeliveryFailure | None], None]
    ) -> None:
        async def publish() -> None:
            on_report((await self.publish(Records([record.key], [record.value]), headers)).get(0))

        task = asyncio.get_running_loop().create_task(publish())
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)


class FakePublisher(BatchPublisher):
    """Keeps its records; fails the events whose event_data is `fail`."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[Record] = []
        self.headers: Headers | None = None

    async def publish(self, records: Records, headers: Headers | None = None) -> dict[int, DeliveryFailure]:
        self.records += records
        self.headers = headers
        sent = [EventRecord.FromString(record.value).event for record in records]
        return {
            index: DeliveryFailure("Kafka: down")
            for index, event in enumerate(sent)
            if event.payload.event_data == "fail"
        }


class AcceptingPublisher(BatchPublisher):
    """Acknowledges everything at once; keeps the records of the last request."""

    def __init__(self) -> None:
        super().__init__()
        self.records = Records()

    async def publish(self, records: Records, headers: Headers | None = None) -> dict[int, DeliveryFailure]:  # noqa: ARG002 -- as the publisher has it
        self.records = records
        return {}


class BlockingPublisher(BatchPublisher):
    """Acknowledges once the test allows it."""

    def __init__(self) -> None:
        super().__init__()
        self.free = asyncio.Event()
        self.records: list[Record] = []
        self._began: asyncio.Queue[None] = asyncio.Queue()

    async def publish(self, records: Records, headers: Headers | None = None) -> dict[int, DeliveryFailure]:  # noqa: ARG002 -- as the publisher has it
        self.records += records
        self._began.put_nowait(None)
        await self.free.wait()
        return {}

    async def began(self, count: int) -> None:
        """Wait until as many more requests are in flight."""
        async with asyncio.timeout(SECONDS_MAX):
            for _ in range(count):
                await self._began.get()


@contextlib.asynccontextmanager
async def ingest_channel(
    publisher: Publisher, authenticator: Authenticator | None = None, *, debug: bool = True
) -> AsyncIterator[grpc.aio.Channel]:
    """Serve both services on a free port; yield a channel to them."""
    server, validator = grpc.aio.server(), EventValidator(EVENT_BYTES_MAX)
    servicer = IngestServicer(validator, batch_limits(), publisher, RETRY_SECONDS, authenticator)
    debug_servicer = DebugServicer(servicer, validator) if debug else DisabledDebugServicer()
    interceptor = admission_interceptor(IngestSettings())
    acceptance = CallAcceptance(server, SERVICE, ingest_handlers(servicer, interceptor))
    server.add_generic_rpc_handlers((debug_handler(debug_servicer, interceptor, servicer.metrics),))
    port = server.add_insecure_port("127.0.0.1:0")
    async with interceptor.reader.enforcing():
        await server.start()
        acceptance.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
        await server.stop(0)


async def failure(call: Awaitable[object]) -> Status:
    """Await a call that must fail; return its google.rpc.Status."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]  # it has the attributes of a Call that are used
    assert status is not None
    return status


def plain_call(*metadata: tuple[str, str]) -> Call:
    """Return a call with the given metadata."""
    return Call(read_metadata(metadata))
