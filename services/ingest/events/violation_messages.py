"""Texts of violations for the client: the field's path, what the value must be, and what it is.

No limit is repeated here: the limits in the texts come from the library, which reads them from the proto.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, TypeAlias

import protovalidate
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest

ECHO_CHARACTERS_MAX = 40
# A character outside ASCII is escaped to up to ten characters.
ECHO_ESCAPED_CHARACTERS_MAX = 8
# A timestamp above this is not in seconds: it would be after the year 5000. It is in milliseconds or a smaller unit.
SECONDS_PLAUSIBLE_MAX = 100_000_000_000
# The path of a violation of the event as a whole.
WHOLE = "event"
FieldViolation: TypeAlias = BadRequest.FieldViolation


def explain(violation: protovalidate.Violation, message: Message) -> FieldViolation:
    """Return the path and the text of a violation that the library has found in a message without lists and maps."""
    proto = violation.proto
    names = [element.field_name for element in proto.field.elements] if proto.field else []
    text_of = TEXTS.get(proto.rule_id, library_text)
    # The library's own `field_value` parses the message again.
    value = reduce(getattr, names, message)
    return FieldViolation(field=".".join(names) or WHOLE, description=text_of(proto.message, value))


def library_text(message: str, _value: object) -> str:
    """Return the library's text."""
    return message


def required(_message: str, value: object) -> str:
    """Return the text of a missing field; proto3 does not distinguish a zero that a client sends from no value."""
    return "is required and must not be 0" if isinstance(value, int) else "is required"


def uuid_text(_message: str, value: str) -> str:
    """Return the text of an invalid UUID, with an example."""
    return f"must be a UUID such as 1ec4cd73-2fd5-4f25-af68-b6595d279af2, not {echo(value)}"


def pattern_text(message: str, value: str) -> str:
    """Return the pattern, which ends the library's `does not match regex pattern ...`."""
    return f"must match {message.rpartition(' ')[2]}, not {echo(value)}"


def seconds_text(message: str, value: int) -> str:
    """Return the text of an invalid timestamp; the most common mistake is milliseconds."""
    if value > SECONDS_PLAUSIBLE_MAX:
        return f"must be Unix time in seconds; {value} looks like milliseconds or finer, divide it"
    return f"must be Unix time in seconds, {message.removeprefix('must be ')}, not {value}"


def bytes_text(message: str, value: str) -> str:
    """Return the text of a string that has too many bytes of UTF-8."""
    return f"{message}, not {len(value.encode())}"


def characters_text(message: str, value: str) -> str:
    """Return the text of a string that has too many characters."""
    return f"{message}, not {len(value)}"


def number_text(message: str, value: int) -> str:
    """Return the text of a number that is out of range."""
    return f"{message}, not {value}"


# The rule determines the type of the value.
TEXTS: dict[str, Callable[[str, Any], str]] = {
    "required": required,
    "string.uuid": uuid_text,
    "string.pattern": pattern_text,
    "string.max_bytes": bytes_text,
    "string.max_len": characters_text,
    "int32.gte_lte": number_text,
    # The only int64 with a range is a timestamp.
    "int64.gte_lte": seconds_text,
}


def echo(value: object) -> str:
    """Return a client's value quoted in ASCII, shortened to fit into a header."""
    text = str(value)
    most = ECHO_CHARACTERS_MAX if text.isascii() else ECHO_ESCAPED_CHARACTERS_MAX
    return ascii(text if len(text) <= most else text[:most] + "...")
