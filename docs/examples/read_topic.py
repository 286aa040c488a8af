"""Prints the events of the topic from its beginning, as a consumer group of its own, until none has come for 5 seconds.

.venv/bin/python docs/examples/read_topic.py localhost:9092
"""

import sys
import uuid
from datetime import UTC, datetime

from confluent_kafka import Consumer
from google.protobuf.message import DecodeError
from ugc.v1.event_pb2 import EventRecord

consumer = Consumer(
    {
        "bootstrap.servers": sys.argv[1],
        # Never the group of the etl (UGC_ETL_GROUP): a second member of it would take partitions from it.
        "group.id": "example-reader",
        "group.protocol": "consumer",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }
)
consumer.subscribe(["ugc.events"])
seen = set()
while (message := consumer.poll(5)) is not None:
    if message.error():
        sys.exit(str(message.error()))
    try:
        record = EventRecord.FromString(message.value() or b"")
    except DecodeError:
        continue  # the etl stores it in rejected_events
    payload = record.event.payload
    # A client may have sent an event twice: both messages are in the topic, in the same partition.
    if (identity := (record.event_id, payload.user_id.lower())) in seen:
        continue
    seen.add(identity)
    received = datetime.fromtimestamp(record.received_at / 1000, UTC)
    print(received.isoformat(timespec="seconds"), uuid.UUID(bytes=record.event_id), payload.event, payload.user_id)
consumer.close()
