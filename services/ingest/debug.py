"""DebugService: creates random valid events for developers and stores them as BatchProduce does."""

from __future__ import annotations

import random
import time
import uuid

from google.protobuf.message import DecodeError
from ugc.v1.debug_service_pb2 import RandomBatchProduceRequest
from ugc.v1.event_pb2 import Event, EventBatch, Payload

from services.ingest.call import Call, Response, StatusError
from services.ingest.errors import invalid_argument, not_found
from services.ingest.events.validation import EventValidator
from services.ingest.servicer import IngestServicer, violation

EVENTS_DEFAULT = 500
PAST_SECONDS_MAX = 86_400
MOVIE_SECONDS_MAX = 7_200
KINDS = ("like", "dislike", "comment", "pause", "play", "watch-progress", "bookmark", "rating")
LOCALES = (("RU", "Europe/Moscow"), ("en-GB", "Europe/London"), ("de", "Europe/Berlin"), ("ja", "Asia/Tokyo"))
VERSIONS = ("1.0", "1.1", "2.0-beta")


class DebugServicer:
    """DebugService, enabled."""

    def __init__(self, ingest: IngestServicer, validator: EventValidator) -> None:
        self._ingest = ingest
        self._validator = validator

    async def random_batch_produce(self, request: bytes, call: Call) -> Response:
        """Create random events and store them; of the caller's user if its token is bound to one."""
        user = self._ingest.authorized_user(call)
        try:
            parsed = RandomBatchProduceRequest.FromString(request)
        except DecodeError:
            problem = "is not the Protobuf of a ugc.v1.RandomBatchProduceRequest"
            raise StatusError(invalid_argument([violation("batch_count", problem)])) from None
        if violations := self._validator.violations(parsed):
            raise StatusError(invalid_argument(violations))
        count = parsed.batch_count if parsed.HasField("batch_count") else EVENTS_DEFAULT
        batch = random_batch(count, int(time.time()), random.Random(), user)  # noqa: S311 -- no secret
        return await self._ingest.produce_batch(call, batch.SerializeToString(), user)


class DisabledDebugServicer:
    """DebugService, disabled."""

    async def random_batch_produce(self, _request: bytes, _call: Call) -> Response:
        """Fail the call with the setting that enables the service."""
        raise StatusError(not_found("the debug service is disabled; UGC_INGEST_DEBUG=true enables it"))


def random_batch(count: int, now_seconds: int, chance: random.Random, user: str | None = None) -> EventBatch:
    """Return `count` valid events of the day before `now_seconds`, of random users or of `user`."""
    return EventBatch(events=[random_event(now_seconds, chance, user) for _ in range(count)])


def random_event(now_seconds: int, chance: random.Random, user: str | None) -> Event:
    """Return one valid event."""
    language, timezone = chance.choice(LOCALES)
    return Event(
        payload=Payload(
            movie_id=random_uuid(chance),
            user_id=user or random_uuid(chance),
            event=chance.choice(KINDS),
            event_data=f'{{"second": {chance.randrange(MOVIE_SECONDS_MAX)}}}',
            event_timestamp=now_seconds - chance.randrange(PAST_SECONDS_MAX),
        ),
        language=language,
        timezone=timezone,
        # From the network reserved for documentation (RFC 5737).
        ip=f"203.0.113.{chance.randrange(256)}",
        version=chance.choice(VERSIONS),
        some_client_data="random",
    )


def random_uuid(chance: random.Random) -> str:
    """Return a UUID of version 4."""
    return str(uuid.UUID(int=chance.getrandbits(128), version=4))
