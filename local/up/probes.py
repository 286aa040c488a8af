"""Readiness and liveness of the gateway and of ingest, over connections that use no proxy."""

from __future__ import annotations

import grpc
from grpc_health.v1 import health_pb2

from common.settings import Address
from local.processes.direct import DIRECT_CHANNEL, answers_http, status_http

READY_SECONDS_MAX = 2.0
ANSWER_SECONDS_MAX = 5.0
HEALTH_CALL = "/grpc.health.v1.Health/Check"
NO_ANSWER = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)


def gateway_is_ready(gateway: Address) -> bool:
    """Whether the gateway is ready: it then reaches ingest, and ingest reaches Kafka."""
    return answers_http(f"http://{gateway}/readyz", READY_SECONDS_MAX)


def gateway_answers(gateway: Address) -> bool:
    """Whether the gateway answers a request for /healthz, whatever the status."""
    return status_http(f"http://{gateway}/healthz", ANSWER_SECONDS_MAX) is not None


def ingest_answers(ingest: Address) -> bool:
    """Whether ingest answers a call of its health service, whatever the status."""
    with grpc.insecure_channel(str(ingest), options=DIRECT_CHANNEL) as channel:
        check = channel.unary_unary(
            HEALTH_CALL,
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            check(health_pb2.HealthCheckRequest(), timeout=ANSWER_SECONDS_MAX)
        except grpc.RpcError as error:
            return error.code() not in NO_ANSWER
    return True
