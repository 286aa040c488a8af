"""Bodies that are small when sent and large in memory are stopped while they are read, with the limit in the error."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugc.v1.event_pb2 import EventBatch

from gateway.descriptors import load_schema
from gateway.errors import GatewayError, RequestError
from gateway.http.expansion import Allowance, gunzip
from gateway.json.limits import VALUES_MAX, VALUES_WITHOUT_LISTS_MAX, TooManyItemsError, values_of
from gateway.routing.routes import load_routes
from gateway.settings import GatewaySettings, product_descriptors
from gateway.transcoding import Transcoder
from local.processes.ports import free_port
from local.up.example import DOCUMENTED_EVENT
from tests.contract.endpoints import gateway, ingest, post

BODY_BYTES_MAX = GatewaySettings().gateway_body_bytes_max
PRODUCE, BATCH = "/api/v1/produce", "/api/v1/batch_produce"
TOO_MANY_EVENTS = "events: must have 1 to 10000 events, not "
TOO_MANY_VALUES = "JSON values"
LARGE = 5_600_000
# 16 MB each, 16 kB of gzip; and the error that stops them at BATCH.
BOMBS = {
    "objects": (b"[" + b"{}," * LARGE + b"{}]", TOO_MANY_EVENTS),
    "numbers": (b"[" + b"1," * LARGE + b"1]", TOO_MANY_EVENTS),
    "lists": (b"[" + b"[]," * LARGE + b"[]]", TOO_MANY_EVENTS),
    "texts": (b"[" + b'"",' * LARGE + b'""]', TOO_MANY_EVENTS),
    "payloads": (b"[" + b'{"payload":{}},' * (LARGE // 5) + b"{}]", TOO_MANY_EVENTS),
    "of one event": (b'[{"x":[' + b"1," * LARGE + b"1]}]", TOO_MANY_VALUES),
    "keys": (b"[{" + b'"x":1,' * (LARGE // 2) + b'"x":1}]', TOO_MANY_VALUES),
    "payload twice and more": (b"[{" + b'"payload":{},' * (LARGE // 4) + b'"payload":{}}]', TOO_MANY_VALUES),
    "deep": (b"[" * LARGE, TOO_MANY_VALUES),
    "deep objects": (b'{"a":' * LARGE, TOO_MANY_VALUES),
}


@pytest.fixture(scope="module")
def transcoder() -> Transcoder:
    return Transcoder(load_schema(product_descriptors().read_bytes()))


@pytest.fixture
async def url() -> AsyncIterator[str]:
    port = free_port()
    async with ingest(port), gateway(port, gateway_body_bytes_max=BODY_BYTES_MAX) as address:
        yield address


@pytest.mark.parametrize("name", BOMBS)
async def test_bombs_are_refused(url: str, name: str) -> None:
    """Too many values of any kind are refused with the limit in the message."""
    body, words = BOMBS[name]
    packed = gzip.compress(body)
    assert len(packed) < 100_000
    status, answer, _headers = await post(f"{url}{BATCH}", packed)
    assert (status, answer["code"]) == (400, 3)
    assert words in answer["message"]


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_stopped_early(name: str, transcoder: Transcoder) -> None:
    """Decompression stops where the values are too many: only a few MB of 16 are ever expanded."""
    found = load_routes(load_schema(product_descriptors().read_bytes())).match("POST", BATCH)
    limits = transcoder.limits(found.route)
    assert limits is not None
    packed, sizes = gzip.compress(BOMBS[name][0]), [0]
    with pytest.raises(RequestError):
        gunzip(packed, Allowance(BODY_BYTES_MAX, 100), limits.watch(), sizes.append)
    assert sizes[-1] < BODY_BYTES_MAX // 2


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("path", [BATCH, PRODUCE])
def test_bombs_take_little_memory(name: str, path: str, transcoder: Transcoder) -> None:
    """The largest plain body takes less than 100 MB of memory, whatever its values are."""
    found = load_routes(load_schema(product_descriptors().read_bytes())).match("POST", path)
    body = BOMBS[name][0][:BODY_BYTES_MAX]
    tracemalloc.start()
    try:
        with pytest.raises(GatewayError):
            transcoder.request(found, "", body, strict=False)
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("count", "is_refused"), [(1, False), (10_000, False), (10_001, True), (200_000, True)])
@pytest.mark.parametrize("item", ["{}", '{"event_id": "e", "x": 1}', '{"payload": {}}'])
def test_items_of_a_list(count: int, is_refused: bool, item: str, transcoder: Transcoder) -> None:
    """A list with one item too many is refused by both readers, with the text of the service."""
    found = load_routes(load_schema(product_descriptors().read_bytes())).match("POST", BATCH)
    body = b"[" + b",".join([item.encode()] * count) + b"]"
    if not is_refused:
        assert len(EventBatch.FromString(transcoder.request(found, "", body, strict=False).message).events) == count
        return
    with pytest.raises(TooManyItemsError) as caught:
        transcoder.request(found, "", body, strict=False)
    assert caught.value.message.startswith(TOO_MANY_EVENTS)
    assert [detail.type_url for detail in caught.value.details] == ["type.googleapis.com/google.rpc.BadRequest"]


@pytest.mark.parametrize("length", [10_001, 100_000, 1_000_000, 4_000_000])
@pytest.mark.parametrize("value", ["1", "null", '""', "[]", "{}", '{"a":1}', '"\\"[[[,,,"'])
def test_values_of_one_event(length: int, value: str, transcoder: Transcoder) -> None:
    """A message without lists has a much lower limit, which holds for values of unknown keys."""
    found = load_routes(load_schema(product_descriptors().read_bytes())).match("POST", PRODUCE)
    body = f'{{"x": [{",".join([value] * length)}]}}'.encode()
    with pytest.raises(RequestError, match=f"{VALUES_WITHOUT_LISTS_MAX} JSON values"):
        transcoder.request(found, "", body, strict=False)


@pytest.mark.parametrize("text", ["[1,{", ',"', "\\\\\\", '\\",[{', "{[,", "\\\\,", 'a\\"'])
def test_separators_in_texts_are_not_values(text: str, transcoder: Transcoder) -> None:
    """Commas and brackets in texts do not count as values."""
    found = load_routes(load_schema(product_descriptors().read_bytes())).match("POST", PRODUCE)
    body = json.dumps({"some_client_data": text * 200_000}).encode()
    assert transcoder.request(found, "", body, strict=False).message
    limits = transcoder.limits(found.route)
    assert limits is not None
    assert gunzip(gzip.compress(body), Allowance(BODY_BYTES_MAX, 1_000), limits.watch()) == body


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(alphabet='\\",[]{}ab\n'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet='\\",[]{}ab'), inner),
    max_leaves=50,
)


@given(json_values)
def test_values_are_counted(value: Any) -> None:
    """The count is an upper bound of the values, and does not count texts' content."""

    def count(one: Any) -> int:
        inner = one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        return 1 + sum(map(count, inner))

    def containers(one: Any) -> int:
        inner = one.values() if isinstance(one, dict) else one if isinstance(one, list) else None
        return 0 if inner is None else 1 + sum(map(containers, inner))

    counted = values_of(json.dumps(value).encode(), VALUES_MAX)
    assert count(value) <= counted <= count(value) + containers(value)


async def test_ten_thousand_documented_events_pass(url: str) -> None:
    """A batch of 10,000 documented events is accepted, plain and compressed to a two-hundredth."""
    body = b"[" + b",".join([DOCUMENTED_EVENT.encode()] * 10_000) + b"]"
    for sent in (body, gzip.compress(body)):
        status, answer, _headers = await post(f"{url}{BATCH}", sent)
        assert (status, answer["accepted"]) == (207, 10_000)
