"""Mutated JSON bodies through the transcoder: each one becomes a message or is refused with 400.

UGC_TEST_MUTATIONS sets the number of bodies; the full number, 500,000, takes a few minutes.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from gateway.descriptors import load_schema
from gateway.errors import RequestError, UndecodableError
from gateway.json.message_types import MessageTypes
from gateway.json.reader import JsonReader
from gateway.json.text import is_blank, parse
from gateway.routing.routes import load_routes
from gateway.settings import product_descriptors
from gateway.transcoding import Transcoder
from local.up.example import DOCUMENTED_EVENT
from tests.support.inputs.json_mutations import JSON_MUTATIONS
from tests.support.inputs.mutations import mutated

BODIES = int(os.environ.get("UGC_TEST_MUTATIONS", "50000"))
SEED = 20_261_124
# Far above what one body needs on the slowest machine: it ends a hang, and measures nothing.
HANG_SECONDS = 120
EVENT = DOCUMENTED_EVENT.encode()
EVENTS = [
    EVENT,
    EVENT.replace(b"1621932759", b'"1621932759"').replace(b'"RU"', b"null"),
    b'{"payload": {"event": "a \\"quoted\\" \\u044b \xf0\x9f\x98\x80"}, "eventId": "e", "unknown": [1, {"x": null}]}',
    b"{}",
]
GOOD = {
    "/api/v1/produce": EVENTS,
    "/api/v1/batch_produce": [b"[" + b", ".join(EVENTS[:count]) + b"]" for count in range(5)],
}
SCHEMA = load_schema(product_descriptors().read_bytes())
TYPES = MessageTypes()


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """Raise TimeoutError for a body that hangs."""

    def hung(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"a body has taken more than {HANG_SECONDS} s")

    handler = signal.signal(signal.SIGALRM, hung)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, handler)


def exactly(route: Any, body: bytes) -> Any:
    """Return the message of the exact reader, without the fast one before it."""
    message = SCHEMA.message_class(route.method.input_type)()
    reader, value = JsonReader(TYPES, strict=False), None if is_blank(body) else parse(body)
    if route.body == "*":
        if not is_blank(body):
            reader.message(message, value)
    elif value is not None:
        reader.field(message, TYPES.of(message).by_name[route.body], value)
    return message.SerializeToString()


@pytest.mark.parametrize("path", list(GOOD))
def test_mutated_bodies(path: str) -> None:
    """Each body becomes the message of the exact reader, or is a RequestError (seeded)."""
    transcoder, match = Transcoder(SCHEMA), load_routes(SCHEMA).match("POST", path)
    outcomes: Counter[str] = Counter()
    for number, body in enumerate(mutated(GOOD[path], JSON_MUTATIONS, BODIES // 2, SEED)):
        signal.alarm(HANG_SECONDS)
        try:
            request = transcoder.request(match, "", body, strict=number % 3 == 0)
        except RequestError as error:
            outcomes[f"refused with {error.status}"] += 1
            if number % 3:
                with pytest.raises((UndecodableError, RecursionError)):
                    exactly(match.route, body)
        else:
            outcomes["accepted"] += 1
            assert request.message == exactly(match.route, body), body

    assert outcomes.keys() == {"accepted", "refused with 400"}
    assert sum(outcomes.values()) == BODIES // 2
