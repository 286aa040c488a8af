"""Sends the documented event over HTTP and over gRPC, and waits for its rows."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping

import grpc
from google.protobuf import json_format
from ugc.v1.event_pb2 import Event
from ugc.v1.ingest_service_pb2 import ProduceResponse

from common.settings import Address
from db.clickhouse.client import connected
from local.processes.direct import DIRECT, DIRECT_CHANNEL
from local.processes.errors import ProgramError
from local.up.example import DOCUMENTED_EVENT

CALL_SECONDS_MAX = 15
ROW_SECONDS_MAX = 60
POLL_SECONDS = 0.1
# The columns that show what the etl makes of an event, and where its message is.
QUERY = """
SELECT toString(event_id) AS event_id, event, toString(event_time) AS event_time, toString(received_at) AS received_at,
       toString(kafka_partition) AS partition, toString(kafka_offset) AS offset
FROM events WHERE event_id = %(id)s
"""


def send_by_rest(gateway: Address, authorization: str | None) -> str:
    """Post the documented event to the gateway; return its event_id, ProgramError when it is rejected."""
    headers = {"Content-Type": "application/json", **({"Authorization": authorization} if authorization else {})}
    request = urllib.request.Request(
        f"http://{gateway}/api/v1/produce", data=DOCUMENTED_EVENT.encode(), headers=headers
    )
    try:
        with DIRECT.open(request, timeout=CALL_SECONDS_MAX) as answer:
            identity: str = json.load(answer)["eventId"]
    except urllib.error.HTTPError as error:
        with error:
            reason = error.read().decode(errors="replace")
        raise ProgramError(f"the documented event sent by REST was answered with {error.code}: {reason}") from error
    except OSError as error:
        raise ProgramError(f"the documented event could not be sent by REST to {gateway}: {error}") from error
    return identity


def send_by_grpc(ingest: Address, authorization: str | None) -> str:
    """Call Produce with the documented event; return its event_id, ProgramError when it is rejected."""
    metadata = (("authorization", authorization),) if authorization else ()
    with grpc.insecure_channel(str(ingest), options=DIRECT_CHANNEL) as channel:
        call = channel.unary_unary(
            "/ugc.v1.IngestService/Produce",
            request_serializer=Event.SerializeToString,
            response_deserializer=ProduceResponse.FromString,
        )
        event = json_format.Parse(DOCUMENTED_EVENT, Event())
        try:
            answer: ProduceResponse = call(event, timeout=CALL_SECONDS_MAX, metadata=metadata)
        except grpc.RpcError as error:
            reason = f"{error.code().name}: {error.details()}"
            raise ProgramError(f"the documented event sent by gRPC was answered with {reason}") from error
    return answer.event_id


def await_row(url: str, identity: str, meanwhile: Callable[[], None]) -> Mapping[str, str]:
    """Wait for an event's row, calling `meanwhile` between the polls; return its main columns as text.

    ProgramError when the row is not there in time.
    """
    deadline = time.monotonic() + ROW_SECONDS_MAX
    with connected(url) as clickhouse:
        while time.monotonic() < deadline:
            rows = clickhouse.records(QUERY, {"id": identity})
            if rows:
                return rows[0]
            meanwhile()
            time.sleep(POLL_SECONDS)
    raise ProgramError(f"event {identity} was acknowledged, but is not a row in ClickHouse after {ROW_SECONDS_MAX} s")
