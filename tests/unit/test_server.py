"""The gRPC server around the servicer: what it takes beside a message."""

from __future__ import annotations

import grpc
from ugc.v1.ingest_service_pb2_grpc import IngestServiceStub

from services.ingest.debug import ClosedDebugServicer
from services.ingest.server import serving
from services.ingest.servicer import IngestServicer
from services.ingest.settings import IngestSettings
from services.ingest.validation import EventValidator, batch_limits
from services.runtime.settings import Address
from tests.support.calls import EVENT_BYTES_MAX, AcceptingPublisher
from tests.support.events import documented

COOKIE_CHARACTERS = 12_000
CALLS = 40


async def test_much_metadata() -> None:
    """Kilobytes of a browser's cookies are taken every time; the library alone would refuse some calls by chance."""
    settings = IngestSettings(ingest_listen=Address("127.0.0.1", 0), ingest_drain_seconds=0)
    servicer = IngestServicer(EventValidator(EVENT_BYTES_MAX), batch_limits(), AcceptingPublisher(), retry_seconds=1.0)
    metadata = (("grpcgateway-cookie", "c" * COOKIE_CHARACTERS), ("grpcgateway-referer", "r" * COOKIE_CHARACTERS))
    async with (
        serving(settings, servicer, ClosedDebugServicer(), lambda _seconds: None) as address,
        grpc.aio.insecure_channel(str(address)) as channel,
    ):
        stub = IngestServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        for _call in range(CALLS):
            assert (await stub.Produce(documented(), metadata=metadata)).event_id
