"""The frames of a relay stream: parses those of the client, and encodes answers and the declaration.

Answers are encoded by hand, in a third of the time of the generated classes; a test compares both.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import NamedTuple

import grpc
from google.protobuf.message import DecodeError
from ugc.relay.v1.relay_service_pb2 import Answer, Declaration, RelayRequest, RelayResponse

from common.logs import log_limited
from services.ingest.call import CREATED, HTTP_CODE, MULTI_STATUS, Call, Failure, Pairs, Response
from services.ingest.error_interceptor import INVALID_METADATA
from services.ingest.events.wire import varint
from services.ingest.metadata import (
    FORWARDED_FOR,
    NAMES,
    REQUEST_ID,
    REQUEST_ID_PATTERN,
    CallMetadata,
    Given,
    validated,
)
from services.ingest.relay import limits

VARINT, LENGTH_DELIMITED = 0, 2
# Entries of a name and its value. Most calls carry a request id alone, or with the address of the client.
PAIR, TWO_PAIRS = 2, 4
REQUEST_ID_NAME, FORWARDED_FOR_NAME = REQUEST_ID.encode(), FORWARDED_FOR.encode()
REQUEST_ID_BYTES = re.compile(REQUEST_ID_PATTERN.pattern.encode())
NAMES_BY_BYTES = {name.encode(): name for name in NAMES}
# Encoded numbers below this are looked up.
SMALL_MAX = 16_384
SMALL_VARINTS = tuple(varint(number) for number in range(SMALL_MAX))


class Server(NamedTuple):
    """The process that serves a stream: a name of its own, and how many processes share its address."""

    name: str
    processes: int


class FrameError(Exception):
    """The client has sent a frame that breaks the protocol, which ends the stream with this status."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code


def encoded_number(number: int) -> bytes:
    """Return the varint of a non-negative number."""
    return SMALL_VARINTS[number] if number < SMALL_MAX else varint(number)


def tag(field: str, wire_type: int) -> bytes:
    """Return the tag of a field of Answer, which is one byte because the field numbers are below 16."""
    return bytes((Answer.DESCRIPTOR.fields_by_name[field].number << 3 | wire_type,))


def metadata_bytes(pairs: Pairs) -> bytes:
    """Return encoded metadata of an answer."""
    return b"".join(
        METADATA_TAG + encoded_number(len(each)) + each
        for name, value in pairs
        for each in (name.encode(), value if isinstance(value, bytes) else value.encode())
    )


ANSWERS_TAG = bytes((RelayResponse.DESCRIPTOR.fields_by_name["answers"].number << 3 | LENGTH_DELIMITED,))
ID_TAG = tag("id", VARINT)
MESSAGE_TAG = tag("message", LENGTH_DELIMITED)
METADATA_TAG = tag("metadata", LENGTH_DELIMITED)
# The metadata of a success up to the request id.
SUCCESS_METADATA = {
    code: metadata_bytes(((HTTP_CODE, code),)) + METADATA_TAG + encoded_number(len(REQUEST_ID)) + REQUEST_ID.encode()
    for code in (CREATED, MULTI_STATUS)
}
DRAINING = RelayResponse(draining=True).SerializeToString()


def success(number: int, call: Call, response: Response) -> bytes:
    """Return the field of a frame with the answer of a call that ended with OK."""
    message, request_id = response.message, call.request_id.encode()
    answer = b"".join(
        (
            ID_TAG,
            encoded_number(number),
            MESSAGE_TAG,
            encoded_number(len(message)),
            message,
            SUCCESS_METADATA[response.http_code],
            METADATA_TAG,
            encoded_number(len(request_id)),
            request_id,
        )
    )
    return b"".join((ANSWERS_TAG, encoded_number(len(answer)), answer))


def failed(number: int, failure: Failure) -> bytes:
    """Return the field of a frame with the answer of a call that ended with an error."""
    answer = Answer(id=number, status_code=failure.code, status_message=failure.message)
    return field_of(answer.SerializeToString() + metadata_bytes(failure.metadata))


def not_processed(number: int, failure: Failure) -> bytes:
    """Return the field of a frame with the answer of a call that was not examined."""
    answer = Answer(id=number, status_code=failure.code, status_message=failure.message, not_processed=True)
    return field_of(answer.SerializeToString())


def field_of(answer: bytes) -> bytes:
    """Return the field of a frame with an encoded answer."""
    return ANSWERS_TAG + encoded_number(len(answer)) + answer


def parse(frame: bytes) -> RelayRequest:
    """Parse a frame; raise FrameError if it is not valid or too large."""
    if len(frame) > limits.FRAME_BYTES_MAX:
        text = f"a frame must be at most {limits.FRAME_BYTES_MAX} bytes, not {len(frame)}"
        raise FrameError(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
    try:
        request = RelayRequest.FromString(frame)
    except DecodeError:
        raise FrameError(grpc.StatusCode.INVALID_ARGUMENT, "the frame is not a valid RelayRequest") from None
    if len(request.calls) > limits.CALLS_MAX or len(request.cancelled) > limits.CANCELLED_MAX:
        text = f"a frame must have at most {limits.CALLS_MAX} calls and {limits.CANCELLED_MAX} cancellations"
        raise FrameError(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
    return request


def declaration(
    methods: Sequence[str], calls_max: int, frame_bytes_max: int, message_bytes_max: int, server: Server
) -> bytes:
    """Return the first frame of a stream."""
    declared = Declaration(
        metadata_names=sorted(NAMES),
        methods=methods,
        calls_max=calls_max,
        frame_bytes_max=frame_bytes_max,
        message_bytes_max=message_bytes_max,
        server=server.name,
        servers=server.processes,
    )
    return RelayResponse(declaration=declared).SerializeToString()


def read_metadata(metadata: Sequence[bytes]) -> CallMetadata:
    """Read the metadata that ingest uses, as in a call of its own; a value that is not UTF-8 is left out."""
    count = len(metadata)
    if (
        (count == PAIR or (count == TWO_PAIRS and metadata[2] == FORWARDED_FOR_NAME and metadata[3].isascii()))
        and metadata[0] == REQUEST_ID_NAME
        and REQUEST_ID_BYTES.fullmatch(metadata[1])
    ):
        forwarded_for = metadata[3].decode() if count == TWO_PAIRS else ""
        return CallMetadata(metadata[1].decode(), [(REQUEST_ID, metadata[1])], (), forwarded_for)
    given: Given = {}
    for at in range(0, len(metadata) - 1, 2):
        name = NAMES_BY_BYTES.get(metadata[at])
        if name is not None:
            try:
                given.setdefault(name, []).append(metadata[at + 1].decode())
            except UnicodeDecodeError:
                log_limited(logging.INFO, INVALID_METADATA)
    return validated(given)
