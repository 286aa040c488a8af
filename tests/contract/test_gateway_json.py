"""The fast reader of JSON against the exact one: every body that the fast one accepts, both read alike."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.descriptors import Schema, load_schema
from gateway.errors import UndecodableError
from gateway.json.fast import FastReader
from gateway.json.message_types import MessageTypes
from gateway.json.reader import JsonReader
from gateway.json.text import parse
from tests.contract.conftest import Generated

# JSON values of every kind, valid and invalid.
TEXTS = [
    '""',
    '"a"',
    '"5"',
    '"\\""',
    '"\\\\"',
    '"a\\\\\\"b"',
    '"\\u0022"',
    '"\\ud83d\\ude00"',
    '"\\ud800"',
    '"\u2028"',
    '"{}"',
    '"LEVEL_INFO"',
    '"NOPE"',
    '"AQI="',
    '"1s"',
    '"2026-01-02T03:04:05Z"',
    '"a,b"',
    '"true"',
    '"\t"',
    '"x:\\"y\\""',
]
NUMBERS = [
    "0",
    "-0",
    "5",
    "5.0",
    "5e0",
    "1e400",
    "-1",
    "2147483647",
    "2147483648",
    "9223372036854775808",
    "1.5",
    "05",
    "NaN",
    "18446744073709551615",
    "99999999999999999999999",
    "1e-400",
    "Infinity",
    "-",
    "+1",
]
OTHERS = ["null", "true", "false", "{}", "[]", "[{}]", "[1,2]", '["a"]', '{"a":"b"}', "nul", ""]
NAMES = [
    "event",
    "mode",
    "eventId",
    "event_id",
    "count",
    "durationMs",
    "duration_ms",
    "level",
    "truth",
    "payload",
    "labels",
    "numbers",
    "opt",
    "text",
    "number",
    "attributes",
    "nickname",
    "score",
    "ratio",
    "ttl",
    "occurredAt",
    "nope",
    "events",
    "\\u006dode",
    "failFast",
]
SPACES = st.sampled_from(["", "", " ", "\n\t"])


def written(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Write arrays and objects of values; names may repeat."""
    pair = st.tuples(st.sampled_from(NAMES), SPACES, values).map(lambda found: f'"{found[0]}":{found[1]}{found[2]}')
    return st.lists(pair, max_size=5).map(lambda pairs: "{" + ",".join(pairs) + "}") | st.lists(values, max_size=3).map(
        lambda items: "[" + ", ".join(items) + "]"
    )


ANYTHING = st.recursive(st.sampled_from([*TEXTS, *NUMBERS, *OTHERS]), written, max_leaves=8)
STRINGS = ['"a"', '""', '"\\""', '"x:\\"y\\""', '"\\u0022"', '"\\ud83d\\ude00"', '"\u2028"', '"{}"']
INTEGERS = ["0", "-0", "5", "-1", "2147483647"]
GOOD = {
    "eventId": STRINGS,
    "page": STRINGS,
    "mode": STRINGS,
    "count": INTEGERS,
    "durationMs": INTEGERS,
    "opt": INTEGERS,
    "level": ['"LEVEL_INFO"', '"LEVEL_ERROR"'],
    "truth": ["true", "false"],
    "numbers": ["[]", "[1, 2]"],
}
PAIRS = st.sampled_from(sorted(GOOD)).flatmap(
    lambda name: st.sampled_from(GOOD[name]).map(lambda text: f'"{name}":{text}')
)
# Sometimes with a pair too many: a repeated name, an unknown one, a value of another type.
EXTRA: st.SearchStrategy[list[str]] = st.just([]) | st.lists(
    PAIRS | st.tuples(st.sampled_from(NAMES), ANYTHING).map(lambda found: f'"{found[0]}":{found[1]}'), max_size=1
)


def object_of(pairs: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Write an object whose names are mostly different."""
    several = st.lists(pairs, max_size=4, unique_by=lambda pair: pair.partition(":")[0])
    return st.tuples(several, EXTRA, SPACES).map(lambda found: "{" + f",{found[2]}".join(found[0] + found[1]) + "}")


EVENTS = object_of(PAIRS.filter(lambda pair: not pair.startswith('"mode"')))
REQUESTS = object_of(
    EVENTS.map(lambda event: f'"event":{event}') | st.sampled_from(STRINGS).map(lambda mode: f'"mode":{mode}')
)
LISTS = st.lists(EVENTS, max_size=3).map(lambda events: "[" + ",".join(events) + "]")
BODIES = (EVENTS | REQUESTS | LISTS | ANYTHING).map(str.encode)
BYTES = st.binary(max_size=3)


@pytest.fixture(scope="module")
def schema(events: Generated) -> Schema:
    return load_schema(events.descriptors.read_bytes())


def read_exactly(kind: type[Message], field: str | None, body: bytes) -> tuple[Message, dict[str, None]] | None:
    """Return the message of the exact reader, and its unknown names; None when it refuses."""
    message, reader = kind(), JsonReader(MessageTypes(), strict=False)
    try:
        value = parse(body)
        if field is None:
            reader.message(message, value)
        elif value is not None:
            reader.field(message, MessageTypes().of(message).by_name[field], value)
    except UndecodableError:
        return None
    return message, reader.unknown


@pytest.mark.parametrize(("name", "field_name"), [("ProduceRequest", None), ("BatchProduceRequest", "events")])
def test_the_fast_reader_agrees_with_the_exact_one(schema: Schema, name: str, field_name: str | None) -> None:
    """The exact reader makes the same message of every body that the fast one accepts, without unknown names."""
    kind = schema.message_class(schema.pool.FindMessageTypeByName(f"events.v1.{name}"))
    reader = FastReader(kind, field_name)
    plain = FastReader(schema.message_class(schema.pool.FindMessageTypeByName("events.v1.Event")))
    event = schema.message_class(schema.pool.FindMessageTypeByName("events.v1.Event"))

    @settings(max_examples=1_500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(BODIES, BYTES)
    def agree(body: bytes, noise: bytes) -> None:
        for given_body in (body, body + noise, body[: len(body) // 2] + noise + body[len(body) // 2 :]):
            for fast_reader, message_kind, body_field in ((reader, kind, field_name), (plain, event, None)):
                fast = fast_reader.read(given_body)
                if fast is not None:
                    exact = read_exactly(message_kind, body_field, given_body)
                    assert exact is not None
                    assert (exact[0].SerializeToString(), exact[1]) == (fast, {})

    agree()


def test_the_fast_reader_reads_what_clients_send(schema: Schema) -> None:
    """The fast reader accepts usual bodies, and leaves special cases to the exact one."""
    kind = schema.message_class(schema.pool.FindMessageTypeByName("events.v1.ProduceRequest"))
    reader = FastReader(kind)
    assert reader.read(b'{"mode": "a \\"b\\" \\u0022", "event": {"count": 5, "level": "LEVEL_INFO", "numbers": [1]}}')
    assert reader.read(b'{"mode": "a\\\\"}')
    for body in (
        b'{"mode": "a", "mode": "a"}',
        b'{"mode": "a", "nope": 1}',
        b'{"event": {"text": "a", "number": 1}}',
        b'{"event": {"eventId": "a", "event_id": "a"}}',
        b'{"event": {"count": "5"}}',
        b'{"mode": null}',
    ):
        assert reader.read(body) is None, body
