"""Opens the channels to the replicas of the service, in plaintext or by TLS."""

from __future__ import annotations

import grpc

from common.tls.files import TlsMaterial
from gateway.balancing.resolving import Endpoint
from gateway.settings import GatewaySettings

RECONNECT_FIRST_MS = 100
# Otherwise the channels to one address share a connection.
OWN_CONNECTION = ("grpc.use_local_subchannel_pool", 1)
# What a frame of relayed responses may have beside one of the largest: other responses, and metadata.
FRAME_BYTES_ADDED = 2_097_152
# Limit of the metadata of one response, which includes the details of an error.
ANSWER_METADATA_BYTES_MAX = 262_144


def open_channel(
    settings: GatewaySettings, tls: grpc.ChannelCredentials | None, endpoint: Endpoint
) -> grpc.aio.Channel:
    """Open a channel with a connection of its own to a replica.

    With `tls` the replica is verified, and gets a certificate if there is one. While the replica is away the channel
    reconnects, with a pause that grows to the setting.
    """
    pause_ms = milliseconds(settings.gateway_reconnect_seconds_max)
    options: list[tuple[str, str | int]] = [
        OWN_CONNECTION,
        ("grpc.initial_reconnect_backoff_ms", RECONNECT_FIRST_MS),
        # Despite its name this limits how long one attempt may take.
        ("grpc.min_reconnect_backoff_ms", pause_ms),
        ("grpc.max_reconnect_backoff_ms", pause_ms),
        # A replica that hangs or vanishes closes no connection. Pings are sent when nothing arrives.
        ("grpc.keepalive_time_ms", milliseconds(settings.gateway_ping_seconds)),
        ("grpc.keepalive_timeout_ms", milliseconds(settings.gateway_ping_seconds_max)),
        # The library waits for as long as the larger of both; the default of this one is 60 s.
        ("grpc.http2.ping_timeout_ms", milliseconds(settings.gateway_ping_seconds_max)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # What the gateway itself does not check; it is larger than any setting for responses, so that a frame of many
        # responses and those of reflection arrive.
        ("grpc.max_receive_message_length", received_bytes_max(settings)),
        # By default the library refuses responses with more than 8 KiB, which includes details of errors.
        ("grpc.max_metadata_size", ANSWER_METADATA_BYTES_MAX),
        ("grpc.absolute_max_metadata_size", ANSWER_METADATA_BYTES_MAX),
        # The service has its own limit, whose error is returned to the client.
        ("grpc.max_send_message_length", -1),
        # Without a retry policy the library only retries calls that the service has not seen, as on a GOAWAY.
        ("grpc.enable_retries", 1),
        ("grpc.service_config_disable_resolution", 1),
        # Proxies of the environment are for external hosts.
        ("grpc.enable_http_proxy", 0),
    ]
    if endpoint.authority:
        options.append(("grpc.default_authority", endpoint.authority))
    if tls is None:
        return grpc.aio.insecure_channel(endpoint.target, options=options)
    # An address that was found by a name is verified by the name.
    name = settings.ingest_target_tls_server_name
    if name:
        options.append(("grpc.ssl_target_name_override", name))
    return grpc.aio.secure_channel(endpoint.target, tls, options=options)


def credentials(tls: TlsMaterial) -> grpc.ChannelCredentials:
    """Return credentials that accept certificates of the authorities alone."""
    return grpc.ssl_channel_credentials(tls.authorities, tls.key or None, tls.certificate or None)


def received_bytes_max(settings: GatewaySettings) -> int:
    """Return the limit of one message: a response, a frame of them, or a response of reflection."""
    return max(settings.gateway_answer_bytes_max + FRAME_BYTES_ADDED, settings.gateway_reflection_bytes_max)


def milliseconds(seconds: float) -> int:
    """Return seconds as whole milliseconds."""
    return round(seconds * 1_000)
