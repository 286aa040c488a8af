"""Frames of the relay: what is encoded by hand equals the generated classes' encoding."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugc.relay.v1.relay_service_pb2 import Answer, RelayResponse

from services.ingest.call import CREATED, MULTI_STATUS, Call, Failure, Response
from services.ingest.metadata import CallMetadata, read_metadata
from services.ingest.relay import frames

IDS = st.integers(1, 2**32 - 1) | st.sampled_from([1, 127, 128, 16_383, 16_384, 2**21, 2**28])
MESSAGES = st.binary(max_size=300) | st.sampled_from([b"", b"x" * 127, b"x" * 128, b"x" * 20_000])
PAIRS = st.lists(st.tuples(st.text(max_size=40), st.text(max_size=40) | st.binary(max_size=40)), max_size=5)


@given(
    IDS, MESSAGES, st.text(st.sampled_from("abc-1"), min_size=1, max_size=200), st.sampled_from([CREATED, MULTI_STATUS])
)
def test_success(number: int, message: bytes, request_id: str, http_code: str) -> None:
    """A successful answer has the response, and the metadata of the same call alone."""
    call = Call(read_metadata([("x-request-id", request_id)]))
    pairs = call.success_metadata(http_code)
    flat = [each if isinstance(each, bytes) else each.encode() for pair in pairs for each in pair]
    expected = Answer(id=number, message=message, metadata=flat)

    encoded = frames.success(number, call, Response(message, http_code))
    assert RelayResponse.FromString(encoded) == RelayResponse(answers=[expected])


@given(IDS, st.integers(1, 16), st.text(max_size=300), PAIRS)
def test_failure(number: int, code: int, text: str, pairs: list[tuple[str, str | bytes]]) -> None:
    """A failed answer has code, text and metadata."""
    flat = [each if isinstance(each, bytes) else each.encode() for pair in pairs for each in pair]
    expected = Answer(id=number, status_code=code, status_message=text, metadata=flat)

    encoded = frames.failed(number, Failure(code, text, tuple(pairs)))
    assert RelayResponse.FromString(encoded) == RelayResponse(answers=[expected])


def test_fields_are_a_frame() -> None:
    """Encoded answers, the declaration and the announcement of the end can be joined to one frame."""
    failure = Failure(14, "away", ())
    encoded = frames.declaration(["/a/b"], 1, 2, 3, frames.Server("one", 4))
    encoded += frames.failed(1, failure) + frames.not_processed(2, failure)
    response = RelayResponse.FromString(encoded + frames.DRAINING)

    assert (list(response.declaration.methods), response.draining) == (["/a/b"], True)
    assert (response.declaration.server, response.declaration.servers) == ("one", 4)
    assert [(answer.id, answer.status_code, answer.not_processed) for answer in response.answers] == [
        (1, 14, False),
        (2, 14, True),
    ]


def test_metadata_of_a_call() -> None:
    """Names that ingest does not read, a value that is not UTF-8, and a name without a value are left out."""
    flat = [
        b"cookie",
        b"a",
        b"x-request-id",
        b"abc",
        b"traceparent",
        b"\xff",
        b"authorization",
        b"b",
        b"x-request-id",
    ]

    assert frames.read_metadata(flat) == CallMetadata("abc", [("x-request-id", b"abc")], ["b"])


@pytest.mark.parametrize("value", ["a", "A-1._:/+=@", "a" * 128, "a" * 129, "", "a b", "a\n", "\u0436"])
def test_request_id_alone(value: str) -> None:
    """A request id without other metadata, as most calls have it, is read as in a call of its own."""
    assert frames.read_metadata([b"x-request-id", value.encode()]) == read_metadata([("x-request-id", value)])


@pytest.mark.parametrize("addresses", ["203.0.113.7", "203.0.113.7, 127.0.0.1", "", "a", "\u0436", "x" * 5_000])
def test_address_of_the_client(addresses: str) -> None:
    """A request id and the address of the client, as most calls have them, are read as in a call of its own."""
    pairs = [("x-request-id", "abc"), ("x-forwarded-for", addresses)]
    flat = [each.encode() for pair in pairs for each in pair]

    assert frames.read_metadata(flat) == read_metadata(pairs)
    assert frames.read_metadata(flat).forwarded_for == addresses


@pytest.mark.parametrize(
    ("values", "is_low"), [(["low"], True), (["high"], False), ([], False), (["low", "low"], False)]
)
def test_priority(values: list[str], is_low: bool) -> None:
    """Exactly one value `low` is the low priority, alone and relayed."""
    pairs = [("x-ugc-priority", value) for value in values]

    assert read_metadata(pairs).is_low_priority == is_low
    assert frames.read_metadata([each.encode() for pair in pairs for each in pair]).is_low_priority == is_low
