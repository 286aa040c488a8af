"""What a client is told about a broken rule: the field's path, what it must be, and what came instead.

No rule is repeated here: every limit in a text is the library's, which read it from the proto.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import protovalidate
from google.rpc.error_details_pb2 import BadRequest

ECHO_CHARACTERS_MAX = 40
# One that is not ASCII is written as up to ten.
ECHO_ESCAPED_CHARACTERS_MAX = 8
# A number above this is no date in seconds of this or the next centuries; it is the present in milliseconds or finer.
SECONDS_PLAUSIBLE_MAX = 100_000_000_000
# The path of a fault that is of the event as a whole.
WHOLE = "event"
FieldViolation: TypeAlias = BadRequest.FieldViolation


def explain(violation: protovalidate.Violation) -> FieldViolation:
    """Turn the library's verdict into the field's path and words that say what to send."""
    proto = violation.proto
    path = ".".join(element.field_name for element in proto.field.elements) if proto.field else WHOLE
    words = WORDS.get(proto.rule_id, plain)
    return FieldViolation(field=path, description=words(proto.message, violation.field_value))


def plain(message: str, _value: object) -> str:
    """Keep the library's words."""
    return message


def required(_message: str, value: object) -> str:
    """Say that the field must be there; in proto3 an empty text is absent, and so is a zero, which some would send."""
    return "is required and must not be 0" if isinstance(value, int) else "is required"


def uuid_wanted(_message: str, value: str) -> str:
    """Show what a UUID looks like."""
    return f"must be a UUID such as 1ec4cd73-2fd5-4f25-af68-b6595d279af2, not {echo(value)}"


def pattern_wanted(message: str, value: str) -> str:
    """Quote the pattern from the library's `does not match regex pattern ...`."""
    return f"must match {message.rpartition(' ')[2]}, not {echo(value)}"


def seconds_wanted(message: str, value: int) -> str:
    """Say what a timestamp must be; the commonest mistake is milliseconds."""
    if value > SECONDS_PLAUSIBLE_MAX:
        return f"must be Unix time in seconds; {value} looks like milliseconds or finer, divide it"
    return f"must be Unix time in seconds, {message.removeprefix('must be ')}, not {value}"


def bytes_wanted(message: str, value: str) -> str:
    """Say how long a text may be and is, in UTF-8."""
    return f"{message}, not {len(value.encode())}"


def characters_wanted(message: str, value: str) -> str:
    """Say how long a text may be and is."""
    return f"{message}, not {len(value)}"


def number_wanted(message: str, value: int) -> str:
    """Say between what a number must be."""
    return f"{message}, not {value}"


WORDS: dict[str, Callable[[str, Any], str]] = {
    "required": required,
    "string.uuid": uuid_wanted,
    "string.pattern": pattern_wanted,
    "string.max_bytes": bytes_wanted,
    "string.max_len": characters_wanted,
    "int32.gte_lte": number_wanted,
    # The one int64 with a range is a time.
    "int64.gte_lte": seconds_wanted,
}


def echo(value: object) -> str:
    """Quote a client's value in ASCII, cut to a length that fits a header."""
    text = str(value)
    most = ECHO_CHARACTERS_MAX if text.isascii() else ECHO_ESCAPED_CHARACTERS_MAX
    return ascii(text if len(text) <= most else text[:most] + "...")
