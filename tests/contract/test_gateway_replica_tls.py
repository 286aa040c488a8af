"""Replicas by TLS: an address that was found by a name is verified by the name."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from gateway.balancing.channels import credentials, open_channel
from gateway.balancing.resolving import Endpoint, Resolver
from gateway.settings import GatewaySettings
from tests.contract.endpoints import WAIT_SECONDS_MAX
from tests.contract.relayed_service import PRODUCE, Service
from tests.support.certificates import Certificates


@pytest.mark.parametrize(
    ("host", "is_verified"), [("127.0.0.1", True), ("localhost", True), ("other.example", False)]
)  # fmt: skip
async def test_the_name_of_a_replica(certificates: Certificates, host: str, is_verified: bool) -> None:
    """The certificate must have the host of UGC_INGEST_TARGET, also when its address is connected to."""
    pair, server = certificates.server, grpc.aio.server()
    server.add_generic_rpc_handlers((Service().handlers(),))
    files = [(pair.key.read_bytes(), pair.certificate.read_bytes())]
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(files))
    await server.start()
    settings = GatewaySettings(ingest_target_tls_ca_file=certificates.authority.file)
    assert settings.ingest_target_tls is not None
    endpoint = Endpoint(f"ipv4:127.0.0.1:{port}", "" if host == "127.0.0.1" else f"{host}:{port}")
    try:
        async with open_channel(settings, credentials(settings.ingest_target_tls.read()), endpoint) as channel:
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(PRODUCE)
            if is_verified:
                assert await call(b"", timeout=WAIT_SECONDS_MAX) == b""
            else:
                with pytest.raises(grpc.aio.AioRpcError, match="Hostname"):
                    await call(b"", timeout=WAIT_SECONDS_MAX)
    finally:
        await server.stop(0)


async def test_the_name_of_an_address_that_was_found() -> None:
    """The addresses of a name are called by the name."""
    resolver = Resolver("localhost:1", asyncio.get_running_loop())
    await resolver.refresh()

    assert {each.authority or each.target.removeprefix("dns:///") for each in resolver.endpoints()} == {"localhost:1"}
