"""The dashboard Data: what events there are, and which were not taken, for what reason."""

from __future__ import annotations

from deploy.grafana.panels import Panel, graph, rate, sql_graph, sql_table

TEXT = (
    "What events are there, and which were not taken? From ClickHouse, and from metrics for what never was a message."
)
# On a cluster the table with the rows of all shards, which a single node does not have.
TABLE = (
    "SELECT name FROM system.tables WHERE database = currentDatabase() AND name IN ('{0}', '{0}_all') "
    "ORDER BY name DESC LIMIT 1"
)
EVENTS = TABLE.format("events")
REJECTED = TABLE.format("rejected_events")


def sections() -> dict[str, list[Panel]]:
    """Return the panels of each row."""
    return {"Events": events(), "Rejected by the etl": rejected(), "Refused by ingest and the gateway": refused()}


def events() -> list[Panel]:
    """Return what is stored."""
    return [
        sql_graph(
            "Events by kind",
            "Rows of `events` by the time of receipt.",
            "short",
            "SELECT $__timeInterval(received_at) AS time, toString(event) AS kind, count() AS events FROM ${events} "
            "WHERE $__timeFilter(received_at) GROUP BY time, kind ORDER BY time",
        ),
        sql_table(
            "Kinds",
            "Events and viewers of each kind.",
            "SELECT event, count() AS events, uniq(user_id) AS viewers, max(received_at) AS last FROM ${events} "
            "WHERE $__timeFilter(received_at) GROUP BY event ORDER BY events DESC LIMIT 20",
        ),
        sql_table(
            "Client programs",
            "Events of each version of a client, and how late they are sent: a wrong clock shows as a large delay.",
            "SELECT version, count() AS events, "
            "round(quantile(0.5)(dateDiff(millisecond, event_time, received_at) / 1000), 1) AS delay_seconds "
            "FROM ${events} WHERE $__timeFilter(received_at) GROUP BY version ORDER BY events DESC LIMIT 20",
        ),
    ]


def rejected() -> list[Panel]:
    """Return what the etl stored in `rejected_events`."""
    return [
        sql_graph(
            "Rejected by reason",
            "Rows of `rejected_events` by the time of the message. `duplicate` is normal when clients retry.",
            "short",
            "SELECT $__timeInterval(kafka_time) AS time, toString(reason) AS why, count() AS messages FROM ${rejected} "
            "WHERE $__timeFilter(kafka_time) GROUP BY time, why ORDER BY time",
        ),
        sql_table(
            "Errors",
            "What was wrong with messages that are not repetitions.",
            "SELECT reason, left(error, 200) AS error, count() AS messages, max(kafka_time) AS last FROM ${rejected} "
            "WHERE $__timeFilter(kafka_time) AND reason != 'duplicate' "
            "GROUP BY reason, error ORDER BY messages DESC LIMIT 20",
        ),
        sql_table(
            "Conservation",
            "By partition: offsets without a row, and offsets with more than one. Both are 0.",
            "SELECT kafka_partition, sum(missing) AS missing, sum(repeated) AS repeated FROM conservation "
            "GROUP BY kafka_partition ORDER BY kafka_partition",
        ),
        graph(
            "Refused rows",
            "Events that ClickHouse did not take; they can be replayed.",
            "ops",
            rate("ugc_etl_refused_rows_total", "instance", "{{instance}}"),
        ),
    ]


def refused() -> list[Panel]:
    """Return what never became a message of Kafka."""
    return [
        graph(
            "Invalid by field",
            "Events that break a rule of the contract, by the field.",
            "ops",
            rate("ugc_ingest_invalid_total", "field", "{{field}}"),
            is_stacked=True,
        ),
        graph(
            "Authentication",
            "Calls by the verdict on their token.",
            "ops",
            rate("ugc_ingest_auth_total", "verdict", "{{verdict}}"),
        ),
        graph(
            "Unknown fields of JSON",
            "Fields that the contract does not have, which the gateway leaves out.",
            "ops",
            rate("ugc_gateway_unknown_fields_total", "instance", "{{instance}}"),
        ),
    ]
