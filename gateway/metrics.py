"""The metrics of the gateway, each declared once."""

from __future__ import annotations

from time import perf_counter

from google.rpc import code_pb2

from common.metrics import OTHER, Histogram, Metrics, Observations
from gateway.tracing import RequestTrace

# The methods of HTTP by RFC 9110 and RFC 5789, and the value for all others, as OpenTelemetry names it.
OTHER_METHOD = "_OTHER"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", OTHER_METHOD)
# The route of a request that no page and no template matches.
UNMATCHED = "unmatched"
ROUTES_MAX, STATUSES_MAX = 1_000, 100
# Why a request was refused that can be sent again: a limit of all, a limit of one client, memory, the queue of large
# bodies, and that the gateway has not learned yet what it serves.
SHED_REASONS = ("limit", "caller", "memory", "large_bodies", "not_learned")
DURATION_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BODY_BOUNDS = (256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216)
CODES = (*code_pb2.Code.keys(), OTHER)


class GatewayMetrics(Metrics):
    """The metrics of one process."""

    def __init__(self) -> None:
        super().__init__()
        self.durations = self.histogram(
            "http_server_request_duration_seconds",
            "Time from the head of a request to its response, by the template of its route or the path of its page; "
            "status 499 when the client left before.",
            DURATION_BOUNDS,
            http_request_method=METHODS,
            http_route=ROUTES_MAX,
            http_response_status_code=STATUSES_MAX,
        )
        self._durations: dict[tuple[str, str], DurationsByStatus] = {}
        self.body_bytes = self.histogram(
            "ugc_gateway_body_bytes", "Size of the body of a request to a method, as it was sent.", BODY_BOUNDS
        ).child()
        self.unknown_fields = self.counter(
            "ugc_gateway_unknown_fields",
            "JSON names in bodies that the message does not have; at most 20 of a request.",
        ).child()
        self.shed = self.counter(
            "ugc_gateway_shed", "Requests refused at a limit, which can be sent again.", reason=SHED_REASONS
        )
        self._declare_calls()
        self._declare_limits()

    def _declare_calls(self) -> None:
        """Declare what describes the calls to the service."""
        self.call_seconds = self.histogram(
            "ugc_gateway_ingest_call_seconds", "Time from a call to the service to its verdict.", DURATION_BOUNDS
        ).child()
        self.call_failures = self.counter(
            "ugc_gateway_call_failures", "Calls that failed, by the gRPC code that the client gets.", code=CODES
        )
        self.calls_in_flight = self.gauge("ugc_gateway_calls_in_flight", "Calls to the service without a verdict.")
        self.calls_in_flight_limit = self.gauge(
            "ugc_gateway_calls_in_flight_limit",
            "Calls that the open relay streams take at once; further calls are unary.",
        )
        self.relay_streams = self.gauge("ugc_gateway_relay_streams", "Open relay streams to the service.")
        self.replicas = self.gauge(
            "ugc_gateway_replicas", "Replicas of the service by UGC_INGEST_TARGET: addresses that calls go to in turn."
        )
        self.replicas_available = self.gauge(
            "ugc_gateway_replicas_available", "Those of ugc_gateway_replicas that are connected and serving."
        )
        self.calls_moved = self.counter(
            "ugc_gateway_calls_moved",
            "Unary calls that a replica had not processed, and that another one got.",
        ).child()
        self.ingest_serving = self.gauge(
            "ugc_gateway_ingest_serving", "Whether the service behind the gateway is serving: 1 or 0."
        )

    def _declare_limits(self) -> None:
        """Declare what has a limit, and the limits."""
        self.requests_in_work = self.gauge(
            "ugc_gateway_requests_in_work", "Requests from the end of their body to their response."
        )
        self.requests_in_work_limit = self.gauge(
            "ugc_gateway_requests_in_work_limit", "Limit of ugc_gateway_requests_in_work."
        )
        self.bytes_in_flight = self.gauge(
            "ugc_gateway_bytes_in_flight", "Bytes of bodies and messages in memory, bodies that arrive included."
        )
        self.bytes_in_flight_limit = self.gauge(
            "ugc_gateway_bytes_in_flight_limit", "Limit of ugc_gateway_bytes_in_flight."
        )
        self.connections = self.gauge("ugc_gateway_connections", "Open connections of clients.")
        self.connections_limit = self.gauge(
            "ugc_gateway_connections_limit", "Open connections at which the longest silent one is closed."
        )

    def durations_of(self, method: str, route: str) -> DurationsByStatus:
        """Return the durations of the requests with a method and a route; hot code keeps them."""
        known = method if method in METHODS else OTHER_METHOD
        found = self._durations.get((known, route))
        if found is None and len(self._durations) >= ROUTES_MAX:
            found = self._durations.get((OTHER_METHOD, OTHER))
            known, route = OTHER_METHOD, OTHER
        if found is None:
            found = self._durations[known, route] = DurationsByStatus(self.durations, known, route)
        return found

    def request(self, method: str) -> RequestTime:
        """Return the time of a request that begins now."""
        return RequestTime(self, method)

    def call_failed(self, code: int) -> None:
        """Count a failed call."""
        name = code_pb2.Code.Name(code) if code in code_pb2.Code.values() else OTHER
        self.call_failures.child(name).value += 1


class DurationsByStatus(dict[int, Observations]):
    """The durations of requests with one method and route, by the status of their response."""

    def __init__(self, family: Histogram, method: str, route: str) -> None:
        super().__init__()
        self._family, self._method, self._route = family, method, route

    def __missing__(self, status: int) -> Observations:
        found = self[status] = self._family.child(self._method, self._route, str(status))
        return found


class RequestTime:
    """The time of a request, which is counted when it ends."""

    def __init__(self, metrics: GatewayMetrics, method: str) -> None:
        self._metrics, self._method = metrics, method
        self._began = perf_counter()
        # The template of its route, or the path of its page.
        self.route = UNMATCHED
        # Its spans, when it is sampled.
        self.trace: RequestTrace | None = None

    def end(self, status: int) -> None:
        """Count the request with the status of its response, with its trace as exemplar, and end its spans."""
        seconds, durations = perf_counter() - self._began, self._metrics.durations_of(self._method, self.route)
        durations[status].observe(seconds, self.trace.trace_id if self.trace is not None else "")
        if self.trace is not None:
            self.trace.end(status)
