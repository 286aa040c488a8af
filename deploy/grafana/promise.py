"""The dashboard Promise: whether events are accepted, become rows, and how late."""

from __future__ import annotations

from deploy.grafana.panels import Panel, Query, graph, number, quantiles, rate

TEXT = "Are events accepted, do they become rows, and how late? Of 1,000 events of 30 days at most one may fail."
OBJECTIVE_MISSED = 0.001
LATE_SECONDS, VERY_LATE_SECONDS = 30, 120
RED, YELLOW = "red", "orange"


def sections() -> dict[str, list[Panel]]:
    """Return the panels of each row."""
    return {
        "Now": now(),
        "Are events accepted?": accepted(),
        "Are they rows?": stored(),
        "Does everything run?": running(),
    }


def now() -> list[Panel]:
    """Return the numbers that answer the questions at a glance."""
    return [
        number(
            "Events a second",
            "All events that arrive at ingest, whatever becomes of them.",
            "ops",
            Query("sum(rate(ugc_ingest_events_total[$__rate_interval]))"),
        ),
        number(
            "Failed, last 5 minutes",
            "The share of events that ingest answered with UNAVAILABLE or shed.",
            "percentunit",
            Query("ugc:events_failed:ratio_rate5m"),
            [(OBJECTIVE_MISSED, YELLOW), (14.4 * OBJECTIVE_MISSED, RED)],
        ),
        number(
            "Failed, last 3 days",
            "Above 0.1 % the error budget of 30 days will not last.",
            "percentunit",
            Query("ugc:events_failed:ratio_rate3d"),
            [(OBJECTIVE_MISSED, RED)],
        ),
        number(
            "ClickHouse is behind",
            "The age of the oldest acknowledged event that may not be a row yet.",
            "s",
            Query("ugc:complete_through_age_seconds:max"),
            [(LATE_SECONDS, YELLOW), (VERY_LATE_SECONDS, RED)],
        ),
        number(
            "Retention used up",
            "The age of the oldest event that may not be a row, as a share of the time for which Kafka keeps events.",
            "percentunit",
            Query("ugc:complete_through_age_seconds:max / min(ugc_ingest_topic_retention_seconds)"),
            [(0.1, YELLOW), (0.5, RED)],
        ),
        number(
            "Alerts",
            "Alerts that fire.",
            "short",
            Query('sum(ALERTS{alertstate="firing", alertname=~"Ugc.*"}) or vector(0)'),
            [(1, RED)],
        ),
    ]


def accepted() -> list[Panel]:
    """Return what clients see."""
    return [
        graph(
            "Events by outcome",
            "`unavailable` is a failure of the service, as is `shed` except for the reasons `caller` and `priority`; "
            "`invalid` and `denied` are failures of the caller, and `cancelled` are batches for which it did not wait.",
            "ops",
            rate("ugc_ingest_events_total", "outcome", "{{outcome}}"),
            is_stacked=True,
        ),
        graph(
            "Failed share of events",
            "The windows of the alerts on the error budget; the objective is 0.1 %.",
            "percentunit",
            Query("ugc:events_failed:ratio_rate5m", "5 minutes"),
            Query("ugc:events_failed:ratio_rate30m", "30 minutes"),
            Query("ugc:events_failed:ratio_rate1h", "1 hour"),
            Query("ugc:events_failed:ratio_rate6h", "6 hours"),
        ),
        graph(
            "Duration of gRPC calls",
            "From the head of a call to its status, by method.",
            "s",
            *quantiles("rpc_server_call_duration_seconds", "rpc_method", "{{rpc_method}}"),
        ),
        graph(
            "gRPC calls by status",
            "Calls of ingest, those that the gateway makes included.",
            "ops",
            rate(
                "rpc_server_call_duration_seconds_count",
                "rpc_method, rpc_response_status_code",
                "{{rpc_method}} {{rpc_response_status_code}}",
            ),
        ),
        graph(
            "Duration of HTTP requests",
            "Of the gateway, by route.",
            "s",
            *quantiles("http_server_request_duration_seconds", "http_route", "{{http_route}}"),
        ),
        graph(
            "HTTP requests by status",
            "Of the gateway, by route.",
            "ops",
            rate(
                "http_server_request_duration_seconds_count",
                "http_request_method, http_route, http_response_status_code",
                "{{http_request_method}} {{http_route}} {{http_response_status_code}}",
            ),
        ),
    ]


def stored() -> list[Panel]:
    """Return what becomes of accepted events."""
    return [
        graph(
            "Age of the oldest event that may not be a row",
            "By partition. A line that rises with the time is a partition that stands still.",
            "s",
            Query(
                "time() - max by (kafka_partition) (ugc_etl_complete_through_timestamp_seconds)",
                "partition {{kafka_partition}}",
            ),
        ),
        graph(
            "Messages that are not rows yet",
            "By partition: the end of the partition in Kafka less the next offset to store.",
            "short",
            Query("max by (kafka_partition) (ugc_etl_lag_messages)", "partition {{kafka_partition}}"),
            is_stacked=True,
        ),
        graph(
            "From receipt to row",
            "From the receipt of a batch's oldest event until ClickHouse acknowledges its row.",
            "s",
            *quantiles("ugc_etl_end_to_end_seconds"),
        ),
        graph(
            "Rows by table and reason",
            "The sum is the number of messages that the etl consumes: every message becomes one row.",
            "ops",
            rate("ugc_etl_rows_total", "table, reason", "{{table}} {{reason}}"),
            is_stacked=True,
        ),
        graph(
            "Partitions with an owner",
            "The two lines are one while every partition of the topic has an etl.",
            "short",
            Query("sum(ugc_etl_partitions_owned)", "owned"),
            Query("max(ugc_etl_topic_partitions)", "of the topic"),
        ),
        graph(
            "Recoveries and fenced inserts",
            "In the last five minutes. A recovery follows a kill, or an insert or a commit without an answer.",
            "short",
            Query("sum(increase(ugc_etl_recoveries_total[5m]))", "recoveries"),
            Query("sum(increase(ugc_etl_fenced_total[5m]))", "fenced inserts"),
        ),
    ]


def running() -> list[Panel]:
    """Return the state of the processes."""
    return [
        graph(
            "Readiness",
            "1 is ready: ingest reaches Kafka, the gateway reaches ingest, the etl has joined its group.",
            "short",
            Query("ugc_ingest_kafka_reachable", "ingest {{instance}} reaches Kafka"),
            Query("ugc_gateway_ingest_serving", "gateway {{instance}} reaches ingest"),
            Query("ugc_etl_joined", "etl {{instance}} has joined"),
        ),
        graph(
            "Versions",
            "Processes that run, by version.",
            "short",
            Query("count by (job, version) (ugc_build_info)", "{{job}} {{version}}"),
            is_stacked=True,
        ),
        graph(
            "Certificates",
            "Time until a TLS certificate expires; without TLS there is none.",
            "s",
            Query("ugc_tls_certificate_expiry_timestamp_seconds - time()", "{{role}} {{instance}}"),
        ),
        graph(
            "Lost spans",
            "Spans that were not sent: too many waited, or the collector did not take them. No event is lost.",
            "cps",
            Query("sum by (job) (rate(ugc_traces_dropped_total[$__rate_interval]))", "{{job}}"),
        ),
    ]
