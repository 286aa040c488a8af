"""Checks texts that the events of a batch often have in common, such as the language of a client. Pure.

Serialized, a column is a repetition of one value if all events have the same. Then one value is read instead of all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from services.ingest.events.column_classes import Path
from services.ingest.events.column_rules import Check, ColumnRule
from services.ingest.events.wire import LENGTH_DELIMITED, varint

# From this number of events on, serializing costs less than reading all values.
EVENTS_MIN = 32


class TextColumn(NamedTuple):
    """A column of texts, with the tag that precedes each value."""

    name: str
    tag: bytes
    check: Check


class CommonTexts:
    """Checks the columns of one message whose texts are read by their checks."""

    def __init__(self, path: Path, message: Descriptor, rules: Sequence[ColumnRule]) -> None:
        """`path` leads from the event to the message."""
        self._names = path
        self._columns = [
            TextColumn(rule.column.field.name, varint(rule.column.field.number << 3 | LENGTH_DELIMITED), rule.check)
            for rule in sorted(rules, key=lambda rule: rule.column.field.number)
            if rule.column.path == path and rule.is_each_text_read and rule.check is not None
        ]
        names = [column.name for column in self._columns]
        self.paths = {".".join((*path, name)) for name in names}
        self._others = [field.name for field in message.fields if field.name not in names]

    def are_valid(self, events: Message, count: int, largest: int) -> bool:
        """Return whether all values in the merged message of `count` events are valid; drops the other fields."""
        message = events
        for name in self._names:
            message = getattr(message, name)
        left = deque((column, values) for column in self._columns if (values := getattr(message, column.name)))
        if count < EVENTS_MIN:
            return all(column.check(values, largest) for column, values in left)
        if left:
            for name in self._others:
                message.ClearField(name)
            # What a client adds to its events could look like a column.
            message.DiscardUnknownFields()
        while left:
            # The columns in the order of their numbers. They are compared from the first one on only: what precedes the
            # end of a column may be the text of its last value.
            encoded, start = message.SerializeToString(), 0
            while left and (size := common_bytes(encoded, start, *left[0])):
                start += size
                column, values = left.popleft()
                if not column.check(values[:1], largest):
                    return False
                message.ClearField(column.name)
            if left:
                column, values = left.popleft()
                if not column.check(values, largest):
                    return False
                message.ClearField(column.name)
        return True


def common_bytes(encoded: bytes, start: int, column: TextColumn, values: Sequence[str] | Sequence[bytes]) -> int:
    """Return how many bytes a column takes from a position on if all its values are the first one, 0 if not."""
    first = values[0]
    text = first.encode() if isinstance(first, str) else first
    one = column.tag + varint(len(text)) + text
    size = len(one) * len(values)
    # Compared with the size first: events may have a field many times, so that the repetition would take gigabytes.
    return size if size <= len(encoded) - start and encoded.startswith(one * len(values), start) else 0
