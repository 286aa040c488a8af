"""The dashboard Saturation: how close each process is to its limits, and where its time goes."""

from __future__ import annotations

from deploy.grafana.panels import Panel, Query, graph, quantiles, rate, used

TEXT = "How close is each process to its limits, and where does its time go?"


def sections() -> dict[str, list[Panel]]:
    """Return the panels of each row."""
    return {
        "Ingest": ingest(),
        "Kafka's clients": kafka(),
        "Gateway": gateway(),
        "etl": etl(),
        "Processes": processes(),
    }


def ingest() -> list[Panel]:
    """Return the limits of ingest."""
    return [
        graph(
            "Events in flight",
            "Handed to Kafka's client and not acknowledged. The limit follows the time that acknowledgements take.",
            "short",
            Query("ugc_ingest_events_in_flight", "in flight {{instance}}"),
            Query("ugc_ingest_events_in_flight_limit", "limit {{instance}}"),
        ),
        graph(
            "Events shed",
            "Events refused before validation, by reason.",
            "ops",
            rate("ugc_ingest_shed_total", "reason", "{{reason}}"),
            is_stacked=True,
        ),
        graph(
            "Acknowledgement by Kafka",
            "From the hand-over of an event to Kafka's client until its acknowledgement.",
            "s",
            *quantiles("ugc_ingest_kafka_ack_seconds"),
        ),
        graph(
            "Limits of ingest",
            "The share of each limit that is in use; at 100 % ingest refuses.",
            "percentunit",
            used("ugc_ingest_kafka_queue_events", "queue, events"),
            used("ugc_ingest_kafka_queue_bytes", "queue, bytes"),
            used("ugc_ingest_requests_in_work", "requests"),
            used("ugc_ingest_request_bytes_in_work", "bytes of requests"),
        ),
        graph(
            "Events of a batch",
            "Events of a call of BatchProduce.",
            "short",
            *quantiles("ugc_ingest_batch_events"),
        ),
    ]


def kafka() -> list[Panel]:
    """Return the state of the Kafka clients of ingest and the etl."""
    return [
        graph(
            "Round trips to brokers",
            "By process and broker. The etl's include the time for which a broker waits for messages.",
            "s",
            Query('ugc_kafka_client_rtt_seconds{statistic="p99"}', "p99 {{job}} broker {{broker}}"),
            Query('ugc_kafka_client_rtt_seconds{statistic="avg"}', "average {{job}} broker {{broker}}"),
        ),
        graph(
            "Wait in the client",
            "The time that a message waits before it is sent to a broker.",
            "s",
            Query('ugc_kafka_client_queue_wait_seconds{statistic="p99"}', "p99 {{job}} broker {{broker}}"),
            Query('ugc_kafka_client_queue_wait_seconds{statistic="avg"}', "average {{job}} broker {{broker}}"),
        ),
        graph(
            "Errors of the client",
            "By librdkafka's name.",
            "ops",
            rate("ugc_kafka_client_errors_total", "job, error", "{{job}} {{error}}"),
        ),
        graph(
            "Brokers connected",
            "1 is connected, by process and broker.",
            "short",
            Query("ugc_kafka_client_broker_up", "{{job}} {{instance}} broker {{broker}}"),
        ),
        graph(
            "Delay by quotas",
            "The delay that a broker imposes on a client that exceeds its quota.",
            "s",
            Query("ugc_kafka_client_throttle_seconds", "{{job}} broker {{broker}}"),
        ),
        graph(
            "Requests sent again, and without a response",
            "In the last five minutes, by process.",
            "short",
            Query("sum by (job) (clamp_min(delta(ugc_kafka_client_retries[5m]), 0))", "sent again {{job}}"),
            Query("sum by (job) (clamp_min(delta(ugc_kafka_client_timeouts[5m]), 0))", "without a response {{job}}"),
        ),
    ]


def gateway() -> list[Panel]:
    """Return the limits of the gateway."""
    return [
        graph(
            "Limits of the gateway",
            "The share of each limit that is in use; at 100 % the gateway refuses.",
            "percentunit",
            used("ugc_gateway_requests_in_work", "requests"),
            used("ugc_gateway_bytes_in_flight", "bytes"),
            used("ugc_gateway_connections", "connections"),
            used("ugc_gateway_calls_in_flight", "calls"),
        ),
        graph(
            "Requests shed",
            "By reason.",
            "ops",
            rate("ugc_gateway_shed_total", "reason", "{{reason}}"),
            is_stacked=True,
        ),
        graph(
            "Calls to ingest",
            "From the call until its response.",
            "s",
            *quantiles("ugc_gateway_ingest_call_seconds"),
        ),
        graph(
            "Calls that failed",
            "Calls to ingest without a response, by the code of gRPC.",
            "ops",
            rate("ugc_gateway_call_failures_total", "code", "{{code}}"),
        ),
        graph("Bodies", "Size of the bodies of requests.", "bytes", *quantiles("ugc_gateway_body_bytes")),
        graph(
            "Relay streams",
            "Open streams to ingest in which calls travel together; 0 when calls are unary.",
            "short",
            Query("ugc_gateway_relay_streams", "{{instance}}"),
        ),
        graph(
            "Replicas of ingest",
            "Addresses that calls go to in turn, and those of them that are connected and serving.",
            "short",
            Query("ugc_gateway_replicas", "found {{instance}}"),
            Query("ugc_gateway_replicas_available", "serving {{instance}}"),
        ),
        graph(
            "Calls that another replica got",
            "Unary calls that a replica had not processed, and that were made again elsewhere.",
            "ops",
            rate("ugc_gateway_calls_moved_total", "instance", "{{instance}}"),
        ),
    ]


def etl() -> list[Panel]:
    """Return where the time of the etl goes."""
    return [
        graph(
            "Time by stage",
            "Seconds of each second that the etl spends in a stage.",
            "percentunit",
            rate("ugc_etl_stage_duration_seconds_sum", "stage", "{{stage}}"),
            is_stacked=True,
        ),
        graph(
            "Longest stages",
            "The 99th percentile of the duration of each stage.",
            "s",
            quantiles("ugc_etl_stage_duration_seconds", "stage", "{{stage}}")[1],
        ),
        graph("Rows of a batch", "Larger batches cost less per row.", "short", *quantiles("ugc_etl_batch_rows")),
        graph("Bytes of a batch", "Size of the messages of a batch.", "bytes", *quantiles("ugc_etl_batch_bytes")),
        graph(
            "Memory for messages",
            "The share of UGC_ETL_BUFFER_BYTES_MAX that is in use; the etl pauses its partitions when it is used up.",
            "percentunit",
            used("ugc_etl_buffered_bytes", "buffer"),
        ),
        graph(
            "Inserts by outcome",
            "`refused` and `fenced` inserts are made again in another way.",
            "ops",
            rate("ugc_etl_inserts_total", "outcome", "{{outcome}}"),
        ),
        graph(
            "Partitions by state",
            "Partitions of all processes in each state.",
            "short",
            Query("sum by (state) (ugc_etl_partition_state)", "{{state}}"),
            is_stacked=True,
        ),
        graph(
            "Rebalances",
            "Partitions assigned, revoked and lost, in the last five minutes.",
            "short",
            Query("sum by (kind) (increase(ugc_etl_rebalances_total[5m]))", "{{kind}}"),
        ),
        graph(
            "Time since the loop ran",
            "It grows while an insert runs; the alert fires above 60 s.",
            "s",
            Query("time() - ugc_etl_loop_timestamp_seconds", "{{instance}}"),
        ),
    ]


def processes() -> list[Panel]:
    """Return what each process uses of its machine."""
    return [
        graph(
            "CPU",
            "Cores that a process uses.",
            "short",
            Query('rate(process_cpu_seconds_total{job=~"ugc-.+"}[$__rate_interval])', "{{job}} {{instance}}"),
        ),
        graph(
            "Memory",
            "Resident memory.",
            "bytes",
            Query('process_resident_memory_bytes{job=~"ugc-.+"}', "{{job}} {{instance}}"),
        ),
        graph(
            "File descriptors",
            "The share of the limit that is open.",
            "percentunit",
            Query('process_open_fds{job=~"ugc-.+"} / process_max_fds', "{{job}} {{instance}}"),
        ),
    ]
