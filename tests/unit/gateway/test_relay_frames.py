"""Frames of the relay: what the gateway writes and reads is what the generated classes write and read."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pb2
from hypothesis import given
from hypothesis import strategies as st
from ugc.relay.v1 import relay_service_pb2
from ugc.relay.v1.relay_service_pb2 import Answer, Call, Declaration, RelayRequest, RelayResponse

from gateway.relay.frames import (
    ID_MAX,
    RELAY_CALL,
    TIMEOUT_MAX,
    ResponseFrame,
    call_field,
    cancelled_field,
    declaration_of,
    metadata_fields,
    method_field,
    pairs_of,
    varint,
)

IDS = st.integers(1, ID_MAX)
NAMES = st.text("abcxyz-", min_size=1, max_size=300)
VALUES = st.one_of(st.binary(max_size=300), st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=300))
CALLS = st.tuples(
    IDS, NAMES, st.binary(max_size=40_000), st.lists(st.tuples(NAMES, VALUES), max_size=4), st.integers(0, TIMEOUT_MAX)
)


@given(st.lists(CALLS, max_size=4), st.lists(IDS, max_size=50))
def test_requests_are_read_by_the_generated_class(
    calls: list[tuple[int, str, bytes, list[tuple[str, str | bytes]], int]], cancelled: list[int]
) -> None:
    """The generated class reads calls and cancelled ids as they were given."""
    fields = [
        call_field(identity, method_field(method), message, metadata_fields(pairs), milliseconds)
        for identity, method, message, pairs, milliseconds in calls
    ]
    read = RelayRequest.FromString(b"".join([*fields, cancelled_field(cancelled)]))

    expected = RelayRequest(cancelled=cancelled)
    for identity, method, message, pairs, milliseconds in calls:
        flat = [part.encode() if isinstance(part, str) else part for pair in pairs for part in pair]
        expected.calls.append(
            Call(id=identity, method=method, message=message, metadata=flat, timeout_milliseconds=milliseconds)
        )
    assert read == expected


@given(st.integers(0, 2**32 - 1))
def test_numbers(number: int) -> None:
    """A number of any size has Protobuf's form."""
    assert Call(id=number).SerializeToString() == (b"\x08" + varint(number) if number else b"")


@pytest.mark.parametrize("name", ["RelayResponse", "Answer", "Declaration"])
def test_responses_have_the_fields_of_the_contract(name: str) -> None:
    """The gateway's own descriptors have the fields of the published ones, with the same numbers and types."""
    mine, published = descriptor_pb2.DescriptorProto(), descriptor_pb2.DescriptorProto()
    ResponseFrame.DESCRIPTOR.file.message_types_by_name[name].CopyToProto(mine)  # type: ignore[attr-defined]  # a message
    relay_service_pb2.DESCRIPTOR.message_types_by_name[name].CopyToProto(published)
    rows = [
        [
            (field.name, field.number, field.type, field.label, field.type_name.rpartition(".")[2])
            for field in each.field
        ]
        for each in (mine, published)
    ]
    assert rows[0] == rows[1]


def test_a_response_is_read() -> None:
    """Declaration, answers and the end of a stream are read."""
    sent = RelayResponse(
        declaration=Declaration(
            metadata_names=["a", "b"],
            methods=["/c"],
            calls_max=1,
            frame_bytes_max=2,
            message_bytes_max=3,
            server="d",
            servers=4,
        ),
        answers=[
            Answer(
                id=7,
                message=b"m",
                status_code=3,
                status_message="\u0436",
                metadata=[b"a", b"b"],
                not_processed=True,
                initial_metadata=[b"c", b"d"],
            )
        ],
        draining=True,
    )
    read = ResponseFrame.FromString(sent.SerializeToString())

    assert declaration_of(read) == (frozenset({"a", "b"}), frozenset({"/c"}), 1, 2, 3, "d", 4)
    assert read.draining
    answer = read.answers[0]
    assert (answer.id, answer.message, answer.status_code, answer.status_message) == (7, b"m", 3, "\u0436")
    assert (list(answer.metadata), answer.not_processed) == ([b"a", b"b"], True)
    assert list(answer.initial_metadata) == [b"c", b"d"]


def test_metadata_of_an_answer() -> None:
    """Values of names that end in `-bin` are bytes; a name without a value is left out."""
    assert list(pairs_of([b"a", b"b", b"c-bin", b"\xff", b"d", b"\xff", b"e"])) == [
        ("a", "b"), ("c-bin", b"\xff"), ("d", "\xff"),
    ]  # fmt: skip


def test_the_method_of_the_contract() -> None:
    """The stream has the name of the published service."""
    service = relay_service_pb2.DESCRIPTOR.services_by_name["RelayService"]
    assert f"/{service.full_name}/{service.methods[0].name}" == RELAY_CALL
