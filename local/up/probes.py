"""Whether gateway and ingest answer at all: an error is an answer, silence is not."""

from __future__ import annotations

import grpc
from grpc_health.v1 import health_pb2

from common.settings import Address
from local.processes.direct import DIRECT_CHANNEL, status_http

ANSWER_SECONDS_MAX = 5.0
HEALTH_CALL = "/grpc.health.v1.Health/Check"
SILENCE = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)


def gateway_answers(gateway: Address) -> bool:
    """Ask for /healthz."""
    return status_http(f"http://{gateway}/healthz", ANSWER_SECONDS_MAX) is not None


def ingest_answers(ingest: Address) -> bool:
    """Ask for the health of ingest."""
    with grpc.insecure_channel(str(ingest), options=DIRECT_CHANNEL) as channel:
        check = channel.unary_unary(
            HEALTH_CALL,
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            check(health_pb2.HealthCheckRequest(), timeout=ANSWER_SECONDS_MAX)
        except grpc.RpcError as error:
            return error.code() not in SILENCE
    return True
