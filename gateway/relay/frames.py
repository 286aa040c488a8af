"""The frames of ugc.relay.v1.RelayService.

Requests are written field by field, because that costs less than a message of the library. Responses are read by
the library, with the few fields that the gateway uses; tests hold both to the generated classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, cast

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field

from gateway.call_errors import text_of
from gateway.errors import Metadata, Pair

RELAY_CALL = "/ugc.relay.v1.RelayService/Relay"
PACKAGE = "relay"
# Of a field with a length: number << 3 | 2; of a number: number << 3.
CALLS, CANCELLED = b"\x0a", b"\x12"
ID, METHOD, MESSAGE, METADATA, TIMEOUT = b"\x08", b"\x12", b"\x1a", b"\x22", b"\x28"
# The largest id takes three bytes.
ID_MAX = 2**21 - 1
TIMEOUT_MAX = 2**32 - 1
SMALL = tuple(bytes([number]) for number in range(128))
# Name, number, type, whether it is repeated, name of the message type.
FieldRow = tuple[str, int, "Field.Type.ValueType", bool, str]
RESPONSE: Sequence[FieldRow] = (
    ("declaration", 1, Field.TYPE_MESSAGE, False, "Declaration"),
    ("answers", 2, Field.TYPE_MESSAGE, True, "Answer"),
    ("draining", 3, Field.TYPE_BOOL, False, ""),
)
ANSWER: Sequence[FieldRow] = (
    ("id", 1, Field.TYPE_UINT32, False, ""),
    ("message", 2, Field.TYPE_BYTES, False, ""),
    ("status_code", 3, Field.TYPE_UINT32, False, ""),
    ("status_message", 4, Field.TYPE_STRING, False, ""),
    ("metadata", 5, Field.TYPE_BYTES, True, ""),
    ("not_processed", 6, Field.TYPE_BOOL, False, ""),
    ("initial_metadata", 7, Field.TYPE_BYTES, True, ""),
)
DECLARATION: Sequence[FieldRow] = (
    ("metadata_names", 1, Field.TYPE_STRING, True, ""),
    ("methods", 2, Field.TYPE_STRING, True, ""),
    ("calls_max", 3, Field.TYPE_UINT32, False, ""),
    ("frame_bytes_max", 4, Field.TYPE_UINT32, False, ""),
    ("message_bytes_max", 5, Field.TYPE_UINT32, False, ""),
    ("server", 6, Field.TYPE_STRING, False, ""),
    ("servers", 7, Field.TYPE_UINT32, False, ""),
)
MESSAGES = {"RelayResponse": RESPONSE, "Answer": ANSWER, "Declaration": DECLARATION}


class Answer(Protocol):
    """The end of one call."""

    id: int
    message: bytes
    status_code: int
    status_message: str
    metadata: Sequence[bytes]
    not_processed: bool
    initial_metadata: Sequence[bytes]


class ServerDeclaration(Protocol):
    """What the server declares."""

    metadata_names: Sequence[str]
    methods: Sequence[str]
    calls_max: int
    frame_bytes_max: int
    message_bytes_max: int
    server: str
    servers: int


class Response(Protocol):
    """A frame of answers."""

    declaration: ServerDeclaration
    answers: Sequence[Answer]
    draining: bool

    def HasField(self, field_name: str) -> bool:  # noqa: N802 -- a method of protobuf
        """Whether a field is set."""

    @classmethod
    def FromString(cls, data: bytes) -> Response:  # noqa: N802 -- as above
        """Read a frame; DecodeError when it is not one."""


class Declaration(NamedTuple):
    """What the server of a stream offers."""

    names: frozenset[str]
    methods: frozenset[str]
    calls_max: int
    frame_bytes_max: int
    message_bytes_max: int
    # The process that serves the stream, and how many share its address.
    server: str = ""
    servers: int = 1


def response_class() -> type[Response]:
    """Return the class of response frames."""
    file = descriptor_pb2.FileDescriptorProto(name="relay.proto", package=PACKAGE, syntax="proto3")
    for name, rows in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, is_repeated, type_name in rows:
            label = Field.LABEL_REPEATED if is_repeated else Field.LABEL_OPTIONAL
            added = message.field.add(name=field, number=number, type=kind, label=label)
            if type_name:
                added.type_name = f".{PACKAGE}.{type_name}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    descriptor = pool.FindMessageTypeByName(f"{PACKAGE}.RelayResponse")
    return cast("type[Response]", message_factory.GetMessageClass(descriptor))


ResponseFrame = response_class()


def declaration_of(frame: Response) -> Declaration:
    """Return the declaration of the first frame."""
    given = frame.declaration
    names, methods = frozenset(given.metadata_names), frozenset(given.methods)
    return Declaration(
        names,
        methods,
        given.calls_max,
        given.frame_bytes_max,
        given.message_bytes_max,
        given.server,
        max(1, given.servers),
    )


def varint(number: int) -> bytes:
    """Return a number as Protobuf writes it."""
    if number < 0x80:
        return SMALL[number]
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    groups = []
    while number >= 0x80:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])


def method_field(method: str) -> bytes:
    """Return the field of a call that names its method."""
    name = method.encode()
    return METHOD + varint(len(name)) + name


def metadata_field(name: str, value: str | bytes) -> bytes:
    """Return the fields of one entry of metadata; the values of the gateway are ASCII or bytes."""
    key, data = name.encode(), value.encode() if isinstance(value, str) else value
    return METADATA + varint(len(key)) + key + METADATA + varint(len(data)) + data


def metadata_fields(pairs: Iterable[Pair]) -> bytes:
    """Return the fields of metadata."""
    return b"".join(metadata_field(name, value) for name, value in pairs)


def call_field(identity: int, method: bytes, message: bytes, metadata: bytes, milliseconds: int) -> bytes:
    """Return a call as a field of a frame, made of the fields of its method and metadata; 0: no timeout."""
    call = b"%b%b%b%b%b%b%b" % (
        ID, varint(identity), method, MESSAGE, varint(len(message)), message, metadata
    )  # fmt: skip
    if milliseconds:
        call += TIMEOUT + varint(min(milliseconds, TIMEOUT_MAX))
    return CALLS + varint(len(call)) + call


def cancelled_field(identities: Iterable[int]) -> bytes:
    """Return the ids of cancelled calls as a field of a frame."""
    packed = b"".join(map(varint, identities))
    return CANCELLED + varint(len(packed)) + packed


def pairs_of(metadata: Sequence[bytes]) -> Metadata:
    """Return the metadata of an answer: names followed by values, which are bytes when the name ends in `-bin`."""
    if not metadata:
        return ()
    entries = iter(metadata)
    named = [(text_of(name), value) for name, value in zip(entries, entries, strict=False)]
    return [(name, value if name.endswith("-bin") else text_of(value)) for name, value in named]
