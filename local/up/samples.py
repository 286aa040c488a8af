"""The documented event, sent through both doors, and its rows as ClickHouse returns them."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf import json_format
from ugc.v1.event_pb2 import Event
from ugc.v1.ingest_service_pb2 import ProduceResponse

from common.settings import Address
from db.clickhouse.client import connected
from local.processes.direct import DIRECT, DIRECT_CHANNEL
from local.processes.program import ProgramError
from local.up.documented import DOCUMENTED_EVENT

CALL_SECONDS_MAX = 15
ROW_SECONDS_MAX = 60
POLL_SECONDS = 0.1


def send_by_rest(gateway: Address, authorization: str | None) -> str:
    """Post the documented event to the gateway; return the event's identity, ProgramError when it is refused."""
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
        raise ProgramError(f"the documented event could not be sent by REST: {error}") from error
    return identity


def send_by_grpc(ingest: Address, authorization: str | None) -> str:
    """Call Produce with the documented event; return the event's identity, ProgramError when it is refused."""
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


def await_row(url: str, identity: str, meanwhile: Callable[[], None]) -> dict[str, Any]:
    """Wait for an event's row, by column; ProgramError when it has not come in time."""
    deadline = time.monotonic() + ROW_SECONDS_MAX
    with connected(url) as clickhouse:
        while time.monotonic() < deadline:
            rows = clickhouse.records("SELECT * FROM events WHERE event_id = %(id)s", {"id": identity})
            if rows:
                return rows[0]
            meanwhile()
            time.sleep(POLL_SECONDS)
    raise ProgramError(f"event {identity} was acknowledged, but is no row in ClickHouse after {ROW_SECONDS_MAX} s")


def printed(row: dict[str, Any]) -> str:
    """Lay a row out one column a line."""
    width = max(map(len, row))
    return "\n".join(f"    {name:<{width}}  {value}" for name, value in row.items())
