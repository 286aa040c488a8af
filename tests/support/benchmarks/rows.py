"""The rows of the benchmark of the APIs: what is sent, to which systems, and the aims."""

from __future__ import annotations

from dataclasses import dataclass

PRODUCE, BATCH_PRODUCE = "/ugc.v1.IngestService/Produce", "/ugc.v1.IngestService/BatchProduce"
CLOSED, SPACED, POISSON = "closed", "spaced", "poisson"
IDLE_PER_SECOND = 50.0
CPU, P50, P99, RATE = "CPU", "latency p50", "latency p99", "rate"
UNITS = {CPU: "us a call", P50: "ms", P99: "ms", RATE: "events/s"}
NAIVE, EMPTY_HTTP, EMPTY_GRPC = "naive", "empty_http", "empty_grpc"
PEER_TITLES = {
    NAIVE: "FastAPI and aiokafka",
    EMPTY_HTTP: "empty aiohttp handler",
    EMPTY_GRPC: "empty grpc.aio handler",
}


@dataclass(frozen=True)
class Row:
    """One kind of request; `peers` are measured beside the project.

    With `closed` arrivals the `slots` are always busy. With `spaced` ones the system is idle but for a request now and
    then. With `poisson` ones they come at half of the rate that the same system reached in the row `saturated`. Calls
    of gRPC are spread over `connections`.
    """

    name: str
    title: str
    protocol: str
    target: str
    events: int
    slots: int
    peers: tuple[str, ...]
    arrivals: str = CLOSED
    saturated: str = ""
    is_refused: bool = False
    connections: int = 1


@dataclass(frozen=True)
class Aim:
    """The project's quantity in `row` is at most `ratio` times that of `beside` in `beside_row`; None: no aim."""

    row: str
    quantity: str
    beside: str
    beside_row: str
    ratio: float | None


REST_ONE = ("http", "/api/v1/produce", 1)
GRPC_ONE = ("grpc", PRODUCE, 1)
REST_PEERS, GRPC_PEERS = (NAIVE, EMPTY_HTTP), (EMPTY_GRPC,)
ALL = (
    Row("rest-one", "REST, one event, 64 connections", *REST_ONE, 64, REST_PEERS),
    Row("grpc-one", "gRPC Produce, 64 in flight", *GRPC_ONE, 64, GRPC_PEERS),
    Row("rest-batch", "REST, batch of 500, 8 connections", "http", "/api/v1/batch_produce", 500, 8, (NAIVE,)),
    Row("grpc-batch", "gRPC BatchProduce of 100, 16 in flight", "grpc", BATCH_PRODUCE, 100, 16, GRPC_PEERS),
    Row("rest-idle", "REST, one event, one connection, idle system", *REST_ONE, 1, REST_PEERS, SPACED),
    Row("grpc-idle", "gRPC Produce, one at a time, idle system", *GRPC_ONE, 1, GRPC_PEERS, SPACED),
    Row("rest-half", "REST, one event, half of saturation", *REST_ONE, 64, REST_PEERS, POISSON, "rest-one"),
    Row("grpc-half", "gRPC Produce, half of saturation", *GRPC_ONE, 64, GRPC_PEERS, POISSON, "grpc-one"),
)
ROWS = {row.name: row for row in ALL}
AIMS = (
    Aim("rest-one", CPU, NAIVE, "rest-one", 0.4),
    Aim("rest-one", CPU, EMPTY_HTTP, "rest-one", None),
    Aim("grpc-one", CPU, EMPTY_GRPC, "grpc-one", 1.3),
    Aim("rest-batch", CPU, NAIVE, "rest-batch", 0.12),
    # The empty call carries a single event.
    Aim("grpc-batch", CPU, EMPTY_GRPC, "grpc-one", 2.5),
    Aim("rest-idle", P50, NAIVE, "rest-idle", 1.0),
    Aim("grpc-idle", P50, NAIVE, "rest-idle", 0.8),
    Aim("rest-half", P50, NAIVE, "rest-half", None),
    Aim("rest-half", P99, NAIVE, "rest-half", None),
)
