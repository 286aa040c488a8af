"""A service that does the least that one would write first: FastAPI checks an event, aiokafka writes it.

`python naive.py PORT BOOTSTRAP_SERVERS TOPIC` serves /api/v1/produce and /api/v1/batch_produce in one process. It waits
for the acknowledgement of all replicas, and its producer is idempotent. It has no idempotency keys, authentication,
limits or metrics. The benchmark `api` compares the project with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import uuid
from collections.abc import AsyncIterator

import uvicorn
from aiokafka import AIOKafkaProducer
from fastapi import FastAPI
from pydantic import BaseModel

LINGER_MILLISECONDS = 2


class Payload(BaseModel):
    """What the user did."""

    movie_id: uuid.UUID
    user_id: uuid.UUID
    event: str
    event_data: str = ""
    event_timestamp: int


class Event(BaseModel):
    """An event as the documented clients send it."""

    payload: Payload
    language: str = ""
    timezone: str = ""
    ip: str = ""
    version: str = ""
    some_client_data: str = ""
    event_id: uuid.UUID | None = None


def application(bootstrap_servers: str, topic: str) -> FastAPI:
    """Return the service."""
    producers: list[AIOKafkaProducer] = []

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap_servers, acks="all", enable_idempotence=True, linger_ms=LINGER_MILLISECONDS
        )
        await producer.start()
        producers.append(producer)
        yield
        await producer.stop()

    async def send(event: Event) -> asyncio.Future[object]:
        event.event_id = event.event_id or uuid.uuid4()
        value, key = event.model_dump_json().encode(), event.payload.user_id.bytes
        sent: asyncio.Future[object] = await producers[0].send(topic, value, key)
        return sent

    async def produce(event: Event) -> dict[str, str]:
        await (await send(event))
        return {"event_id": str(event.event_id)}

    async def batch_produce(events: list[Event]) -> dict[str, int]:
        await asyncio.gather(*[await send(event) for event in events])
        return {"accepted": len(events)}

    service = FastAPI(lifespan=lifespan)
    service.add_api_route("/api/v1/produce", produce, methods=["POST"], status_code=201)
    service.add_api_route("/api/v1/batch_produce", batch_produce, methods=["POST"], status_code=201)
    return service


if __name__ == "__main__":
    port, servers, topic_name = sys.argv[1:]
    uvicorn.run(
        application(servers, topic_name),
        host="127.0.0.1",
        port=int(port),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
