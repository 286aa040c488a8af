"""Compressed requests: gRPC decompresses them before any limit applies, so they are for trusted callers only."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from ugc.v1.event_pb2 import EventBatch

from local.processes.program import running
from tests.support.clients.calls import AcceptingPublisher
from tests.support.inputs.events import documented
from tests.support.processes.ingest_server import connection, ingest_server
from tests.support.processes.system import Deployment

METHODS = ("/ugc.v1.IngestService/Produce", "/ugc.v1.IngestService/BatchProduce")
ALGORITHMS = (grpc.Compression.Gzip, grpc.Compression.Deflate)
BATCH = EventBatch(events=[documented()] * 100)
MESSAGES = dict(zip(METHODS, (documented().SerializeToString(), BATCH.SerializeToString()), strict=True))
SECONDS_MAX = 60.0
REFUSED_CALLS = 50


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.name)
@pytest.mark.parametrize("method", METHODS)
async def test_compressed_requests(method: str, algorithm: grpc.Compression) -> None:
    """A compressed request is UNIMPLEMENTED unless the operator has allowed it; others are always accepted."""
    for is_allowed in (False, True):
        async with (
            ingest_server(AcceptingPublisher(), ingest_compression=is_allowed) as address,
            connection(address) as channel,
        ):
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
            if is_allowed:
                assert await call(MESSAGES[method], timeout=SECONDS_MAX, compression=algorithm)
            else:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call(MESSAGES[method], timeout=SECONDS_MAX, compression=algorithm)
                assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
                assert "ompression" in (caught.value.details() or "")
            assert await call(MESSAGES[method], timeout=SECONDS_MAX)


async def test_rejections_write_nothing(tmp_path: Path, kafka: str, topic: str, database: str) -> None:
    """A client that keeps sending compressed requests does not fill the log."""
    deployment = Deployment(tmp_path, kafka, topic, database)
    with running(deployment.ingest()):
        before = len(deployment.log("ingest"))
        async with connection(deployment.ingest_address) as channel:
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHODS[0])
            for _ in range(REFUSED_CALLS):
                with pytest.raises(grpc.aio.AioRpcError):
                    await call(MESSAGES[METHODS[0]], timeout=SECONDS_MAX, compression=grpc.Compression.Gzip)

        assert len(deployment.log("ingest")) - before < 1_000
