"""Loads the topic with ClickHouse's Kafka engine and a materialized view into `events`, to compare with the etl."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

from db.clickhouse.client import ClickHouse
from local.settings import ROOT

SCHEMA = "backlog.proto"
# The server does not have protovalidate's proto: imports and options are removed, the fields stay.
OPTIONS = re.compile(r"\s*\[[^;]*\];", re.DOTALL)
LINES = re.compile(r"^import .*$|^\s*//.*$", re.MULTILINE)
QUEUE = """
CREATE TABLE queue
(
    `event_id` String, `received_at` Int64,
    `event.language` String, `event.timezone` String, `event.ip` String, `event.version` String,
    `event.some_client_data` String,
    `event.payload.movie_id` String, `event.payload.user_id` String, `event.payload.event` String,
    `event.payload.event_data` String, `event.payload.event_timestamp` Int64
)
ENGINE = Kafka
SETTINGS kafka_broker_list = %(servers)s, kafka_topic_list = %(topic)s, kafka_group_name = %(group)s,
    kafka_format = 'ProtobufSingle', kafka_schema = %(schema)s{settings}
"""
VIEW = """
CREATE MATERIALIZED VIEW load TO events AS
SELECT toUUID(UUIDNumToString(toFixedString(event_id, 16))) AS event_id, `event.payload.event` AS event,
    toUUID(`event.payload.movie_id`) AS movie_id, toUUID(`event.payload.user_id`) AS user_id,
    `event.payload.event_data` AS event_data,
    fromUnixTimestamp64Milli(`event.payload.event_timestamp` * 1000) AS event_time,
    `event.language` AS language, `event.timezone` AS timezone, `event.ip` AS ip, `event.version` AS version,
    `event.some_client_data` AS client_data, fromUnixTimestamp64Milli(received_at) AS received_at,
    toUUID('{topic_id}') AS kafka_topic_id, _partition AS kafka_partition, _offset AS kafka_offset
FROM queue
"""


def write_schema(format_schema_path: Path) -> None:
    """Write the messages of the contract into one file without imports; the folder need not exist."""
    format_schema_path.mkdir(parents=True, exist_ok=True)
    text = (ROOT / "proto" / "ugc" / "v1" / "event.proto").read_text()
    (format_schema_path / SCHEMA).write_text(OPTIONS.sub(";", LINES.sub("", text)))


def attach(database: ClickHouse, servers: str, topic: str, topic_id: uuid.UUID, settings: str = "") -> None:
    """Start to load with a new group, from the first message on."""
    database.rows(
        QUEUE.format(settings=settings),
        {"servers": servers, "topic": topic, "group": f"engine-{uuid.uuid4().hex}", "schema": f"{SCHEMA}:EventRecord"},
    )
    database.rows(VIEW.format(topic_id=topic_id))


def detach(database: ClickHouse) -> None:
    """Stop loading."""
    database.rows("DROP TABLE load SYNC")
    database.rows("DROP TABLE queue SYNC")
