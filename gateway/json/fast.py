"""The fast path from JSON to the bytes of a message: msgspec, a compiled encoder, and a check by counting quotes.

The quotes of the values that were read are counted: two for a name, two for a string. The body has more quotes if and
only if a name was repeated or its value was null (a value never lowers the count). A body that the fast path refuses
is not wrong: the exact reader decides and explains.
"""

from __future__ import annotations

from typing import cast

import msgspec
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from gateway.json.encoders import compile_encoder
from gateway.json.limits import ItemRules, no_rule
from gateway.json.shapes import ShapeMaker
from gateway.json.wire import ENCODING, OutOfRangeError, utf8

# Errors of msgspec, of a text that is not UTF-8 and of a number out of range.
REFUSALS = (msgspec.MsgspecError, UnicodeError, OutOfRangeError, RecursionError)
ESCAPED_BACKSLASH = rb"\\"
ESCAPED_QUOTE = rb"\""
ESCAPED_CHARACTER = rb"\u"


class FastReader:
    """Reads the bodies of one message type, or of one field of it."""

    def __init__(self, kind: type[Message], body_field: str | None = None, rules: ItemRules = no_rule) -> None:
        """`body_field` is the name of the field that a body sets, None for the whole message."""
        descriptor, shapes = cast("Descriptor", kind.DESCRIPTOR), ShapeMaker(rules)
        shape = (
            shapes.message(descriptor)
            if body_field is None
            else shapes.field(descriptor.fields_by_name[body_field], (descriptor.full_name,))
        )
        if shape is not None:
            self._decoder = msgspec.json.Decoder(shape.typed)
            self._encode = compile_encoder(shape, any_text=False)
            self._encode_any = compile_encoder(shape, any_text=True)
        self._is_readable = shape is not None

    def read(self, body: bytes) -> bytes | None:
        """Return the bytes of the message, None when the exact reader must decide; TooManyItemsError by a rule."""
        if not self._is_readable:
            return None
        quotes, has_characters = body.count(b'"'), False
        try:
            if b"\\" in body:
                quotes, has_characters = escapes(body, quotes)
            if has_characters:
                text, counted = self._encode_any(self._decoder.decode(body), utf8)
            else:
                values = self._decoder.decode(body if body.isascii() else wire_json(body))
                try:
                    text, counted = self._encode(values, str)
                except IndexError:  # a string is longer than the tables of prefixes
                    text, counted = self._encode_any(values, str)
            return text.encode(ENCODING) if counted == quotes else None
        except REFUSALS:
            return None


def escapes(body: bytes, quotes: int) -> tuple[int, bool]:
    """Return how many of a body's quotes are not escaped, and whether characters are escaped by their numbers."""
    escaped = body.count(ESCAPED_QUOTE)
    if body.count(b"\\") == escaped:
        return quotes - escaped, False
    # In pairs from the left, as a parser reads them, so that a backslash that is left escapes what follows it.
    plain = body.replace(ESCAPED_BACKSLASH, b"")
    return quotes - plain.count(ESCAPED_QUOTE), ESCAPED_CHARACTER in plain


def wire_json(body: bytes) -> str:
    """Return a body as JSON of wire text, UnicodeError when it is not UTF-8; no character is escaped by its number."""
    body.decode()
    return body.decode(ENCODING)
