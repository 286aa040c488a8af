"""Opens the gateway's channels to the gRPC service, in plaintext or by TLS."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from common.tls.files import TlsMaterial
from gateway.settings import GatewaySettings

Options = Sequence[tuple[str, int | str]]


def open_channel(settings: GatewaySettings, tls: TlsMaterial | None, options: Options) -> grpc.aio.Channel:
    """Return a channel to the service, which verifies it by TLS and presents a certificate if `tls` has them."""
    if tls is None:
        return grpc.aio.insecure_channel(settings.ingest_target, options=tuple(options))
    name = settings.ingest_target_tls_server_name
    if name:
        options = (*options, ("grpc.ssl_target_name_override", name))
    return grpc.aio.secure_channel(settings.ingest_target, credentials(tls), options=tuple(options))


def credentials(tls: TlsMaterial) -> grpc.ChannelCredentials:
    """Return credentials that accept certificates of the authorities alone."""
    return grpc.ssl_channel_credentials(tls.authorities, tls.key or None, tls.certificate or None)
