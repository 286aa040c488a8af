"""Sends one event by gRPC.

.venv/bin/python docs/examples/send_by_grpc.py localhost:50051
"""

import sys
import time
import uuid

import grpc
from ugc.v1.event_pb2 import Event, Payload
from ugc.v1.ingest_service_pb2_grpc import IngestServiceStub

MOVIE, VIEWER = "1ec4cd73-2fd5-4f25-af68-b6595d279af2", "5f0c6a1e-3b1d-4f7e-9a53-0d6f2b8c4e11"
# gRPC itself sends the call again while ingest is away or has no room: safe, because the event has an event_id.
RETRIES = """{"methodConfig": [{"name": [{"service": "ugc.v1.IngestService"}], "retryPolicy": {"maxAttempts": 5,
  "initialBackoff": "1s", "maxBackoff": "10s", "backoffMultiplier": 2,
  "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]}}]}"""

payload = Payload(movie_id=MOVIE, user_id=VIEWER, event="like", event_timestamp=int(time.time()))
event = Event(payload=payload, event_id=str(uuid.uuid4()), version="example-1")
with grpc.insecure_channel(sys.argv[1], options=[("grpc.service_config", RETRIES)]) as channel:
    answer = IngestServiceStub(channel).Produce(event, timeout=15)
print("stored:", answer.event_id)
