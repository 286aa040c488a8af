"""Message classes that read a batch as columns, built from the descriptors of the batch. Pure.

Protobuf merges the occurrences of a singular message and appends those of a repeated field. So a class that has the
events as ONE message with repeated fields collects the values of each field over all events, without an object for each
event. The event of a value is lost; a second class, whose fields are required, shows that each event has them.

Both are parsed by the library that parses an EventBatch, with the same nesting: they accept no bytes that it rejects.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol, TypeAlias, cast

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

FIELD, FEATURES = descriptor_pb2.FieldDescriptorProto, descriptor_pb2.FeatureSet
PACKAGE = "ingest.columns"
# The names that lead to a field or message from the event, such as `("payload", "user_id")`.
Path: TypeAlias = tuple[str, ...]


class Column(NamedTuple):
    """A field whose values are read: where it is, and as what."""

    # The path of its message, such as `("payload",)`.
    path: Path
    field: FieldDescriptor
    # Text of which only the bytes are needed, as its rule allows ASCII only; other text is checked to be UTF-8.
    is_ascii: bool


class BatchClass(Protocol):
    """A class that parses a batch."""

    def FromString(self, encoded: bytes, /) -> Message:  # noqa: N802 -- the name of protobuf
        """Parse an encoded batch; raise DecodeError if it is not valid."""


def merged_class(events: FieldDescriptor, columns: Sequence[Column], messages: Sequence[Path]) -> BatchClass:
    """Return the class that collects the values of columns over all events; it has the events as one message.

    `messages` are the paths of all messages in an event, so that none is skipped as unknown.
    """
    return build(events, columns, messages, required=None)


def presence_class(events: FieldDescriptor, columns: Sequence[Column], required: Collection[Path]) -> BatchClass:
    """Return the class of batches that are initialized only if each event has the fields and messages `required`.

    `columns` has at least the required fields.
    """
    fields = {(*column.path, column.field.name) for column in columns}
    return build(events, columns, [path for path in required if path not in fields], required=required)


def build(
    events: FieldDescriptor,
    columns: Sequence[Column],
    paths: Sequence[Path],
    *,
    required: Collection[Path] | None,
) -> BatchClass:
    """Build one of the two classes in a descriptor pool of its own."""
    event = events.message_type
    assert event is not None  # noqa: S101 -- a field of messages
    file = descriptor_pb2.FileDescriptorProto(
        name="ingest/columns.proto", package=PACKAGE, syntax="editions", edition=descriptor_pb2.EDITION_2023
    )
    file.options.features.repeated_field_encoding = FEATURES.EXPANDED
    merged = required is None
    batch = file.message_type.add(name="Batch")
    batch.field.add(
        name="events",
        number=events.number,
        label=FIELD.LABEL_OPTIONAL if merged else FIELD.LABEL_REPEATED,
        type=FIELD.TYPE_MESSAGE,
        type_name=f".{PACKAGE}.Event",
    )
    messages: dict[Path, descriptor_pb2.DescriptorProto] = {(): file.message_type.add(name="Event")}
    for path in paths:
        container(file, messages, event, path, required or ())
    for column in columns:
        parent = container(file, messages, event, column.path, required or ())
        added = parent.field.add(
            name=column.field.name,
            number=column.field.number,
            label=FIELD.LABEL_REPEATED if merged else FIELD.LABEL_OPTIONAL,
            type=FIELD.TYPE_BYTES if column.is_ascii or (not merged and is_text(column.field)) else column.field.type,
        )
        if required is not None:
            mark(added, is_required=(*column.path, column.field.name) in required)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.Batch"))
    return cast("BatchClass", found)


def container(
    file: descriptor_pb2.FileDescriptorProto,
    messages: dict[Path, descriptor_pb2.DescriptorProto],
    event: Descriptor,
    path: Path,
    required: Collection[Path],
) -> descriptor_pb2.DescriptorProto:
    """Return the message at a path, and create it and those that lead to it."""
    if path in messages:
        return messages[path]
    parent = container(file, messages, event, path[:-1], required)
    descriptor = event
    for name in path[:-1]:
        inner = descriptor.fields_by_name[name].message_type
        assert inner is not None  # noqa: S101 -- a path of messages
        descriptor = inner
    message = messages[path] = file.message_type.add(name="_".join(("Message", *path)))
    added = parent.field.add(
        name=path[-1],
        number=descriptor.fields_by_name[path[-1]].number,
        label=FIELD.LABEL_OPTIONAL,
        type=FIELD.TYPE_MESSAGE,
        type_name=f".{PACKAGE}.{message.name}",
    )
    if path in required:
        mark(added, is_required=True)
    return message


def mark(field: descriptor_pb2.FieldDescriptorProto, *, is_required: bool) -> None:
    """Make a singular field required, or of implicit presence."""
    field.options.features.field_presence = FEATURES.LEGACY_REQUIRED if is_required else FEATURES.IMPLICIT


def is_text(field: FieldDescriptor) -> bool:
    """Return whether a field is a string."""
    return bool(field.type == FieldDescriptor.TYPE_STRING)
