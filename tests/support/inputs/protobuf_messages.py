"""Unusual Protobuf messages that generated code never writes: seeded, and fast enough to make a million."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from services.ingest.events.wire import varint
from tests.support.inputs.mutations import mutated
from tests.support.inputs.protobuf_mutations import PROTOBUF_MUTATIONS

VARINT, FIXED64, LENGTH_DELIMITED, START_GROUP, END_GROUP, FIXED32 = range(6)
WIRE_TYPES = (VARINT, FIXED64, LENGTH_DELIMITED, START_GROUP, END_GROUP, FIXED32, 6, 7)
UNKNOWN_FIELDS = (8, 15, 16, 100, 2_047, 2_048, 18_999, 19_000, 536_870_911)
BAD_FIELDS = (0, 536_870_912, 2**32)
DEPTHS = (1, 1, 2, 3, 10, 50, *range(95, 111))
LENGTHS = (0, 1, 127, 128, 16_384, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, *range(2**64 - 20, 2**64))
NUMBERS = (0, 1, 1_621_932_759, 4_102_444_799, 4_102_444_800, 2**31, 2**32, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
TEXTS = ["", "a", "RU", "x\0y", "\ud7ff", "\ue000", "\U0010ffff", "ы" * 40, "x" * 65, "\u202e\u2028", "9", " like"]
TEXTS += ["like\n", "watch-progress", "A" * 64, "A" * 65, "{}", "null"]
BAD_TEXTS = (b"\x80", b"a\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xff\xfe", b"\xe2\x82")
# How many unusual fields a message has, and how often its bytes are mutated in addition.
ODDITIES_EACH = (0, 0, 0, 0, 0, 0, 1, 1, 2, 5)
MUTATED_SHARE = 0.05
REPEATED_SHARE = 0.05


class MessageMaker:
    """Makes Events, and EventRecords as any producer might write them; the same seed gives the same messages."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._users = [uuid.UUID(int=self._chance.getrandbits(128)) for _ in range(50)]

    def events(self, count: int) -> Iterator[bytes]:
        """Make events, most of which are valid except for parts that a parser must skip."""
        event = b""
        for _ in range(count):
            if self._chance.random() >= REPEATED_SHARE:
                event = self._perhaps_mutated(self._event())
            yield event

    def record(self, event: bytes) -> bytes:
        """Wrap an event as a producer other than ingest might."""
        chance = self._chance
        parts = [self._embedded(1, event), length_delimited(2, chance.randbytes(16)), number(3, 1_700_000_000_123)]
        if chance.random() < 0.1:
            parts[1] = length_delimited(2, chance.randbytes(chance.choice((0, 15, 17, 40))))
        if chance.random() < 0.1:
            parts[2] = number(3, chance.choice(NUMBERS))
        return self._perhaps_mutated(self._joined(parts, (1, 2, 3)))

    def _perhaps_mutated(self, body: bytes) -> bytes:
        if self._chance.random() >= MUTATED_SHARE:
            return body
        (changed,) = mutated([body], PROTOBUF_MUTATIONS, 1, self._chance.getrandbits(32))
        return changed

    def _event(self) -> bytes:
        chance = self._chance
        parts = [self._payload()]
        parts += [self._text(field) for field in (2, 3, 4, 5, 6) if chance.random() < 0.5]
        if chance.random() < 0.5:
            parts.append(length_delimited(7, self._uuid().encode()))
        return self._joined(parts, range(1, 8))

    def _payload(self) -> bytes:
        """Return the payload field: whole, or in two parts that a parser must merge."""
        chance = self._chance
        parts = [
            length_delimited(1, self._uuid().encode()),
            length_delimited(2, self._uuid().encode()),
            length_delimited(3, b"like") if chance.random() < 0.9 else self._text(3),
            number(5, 1_621_932_759 if chance.random() < 0.95 else chance.choice(NUMBERS)),
        ]
        if chance.random() < 0.5:
            parts.append(self._text(4))
        return self._embedded(1, self._joined(parts, range(1, 6)), parts)

    def _embedded(self, field: int, whole: bytes, parts: Sequence[bytes] = ()) -> bytes:
        chance = self._chance
        if parts and chance.random() < 0.1:
            at = chance.randint(0, len(parts))
            return length_delimited(field, b"".join(parts[:at])) + length_delimited(field, b"".join(parts[at:]))
        if chance.random() < 0.05:
            # Merged with an empty payload, before or after.
            return length_delimited(field, b"") + length_delimited(field, whole) + length_delimited(field, b"")
        return length_delimited(field, whole)

    def _joined(self, parts: list[bytes], known: Sequence[int]) -> bytes:
        """Join fields in any order, with unusual ones among them."""
        chance = self._chance
        if chance.random() < 0.2:
            chance.shuffle(parts)
        whole = list(parts)
        for _ in range(chance.choice(ODDITIES_EACH)):
            odd = chance.choice(ODDITIES)(chance, known)
            whole.insert(chance.randint(0, len(whole)), odd)
        if chance.random() < 0.1:
            whole.append(chance.choice(parts))
        return b"".join(whole)

    def _uuid(self) -> str:
        user = str(self._chance.choice(self._users))
        dice = self._chance.random()
        if dice < 0.8:
            return user
        if dice < 0.99:
            return user.upper()
        return self._chance.choice(
            (user[:-1], user.replace("-", ""), f"{{{user}}}", f"{user}\n", f"urn:uuid:{user}", "")
        )

    def _text(self, field: int) -> bytes:
        text = "RU" if self._chance.random() < 0.8 else self._chance.choice(TEXTS)
        return length_delimited(field, text.encode())


@lru_cache(maxsize=1_024)
def tag(field: int, wire_type: int) -> bytes:
    """Return a field's tag."""
    return varint(field << 3 | wire_type)


def length_delimited(field: int, value: bytes) -> bytes:
    """Return a field of bytes, a string or a message."""
    return tag(field, LENGTH_DELIMITED) + varint(len(value)) + value


def number(field: int, value: int) -> bytes:
    """Return a varint field."""
    return tag(field, VARINT) + varint(value)


def overlong(value: int, chance: random.Random) -> bytes:
    """Encode a varint in more bytes than necessary, up to one more than allowed."""
    encoded = varint(value)
    more = chance.randint(1, 11 - min(len(encoded), 10))
    return encoded[:-1] + bytes((encoded[-1] | 0x80,)) + b"\x80" * (more - 1) + b"\x00"


def of_type(field: int, wire_type: int, chance: random.Random) -> bytes:
    """Return a field of a wire type, whatever its declared type is."""
    values = {
        VARINT: lambda: varint(chance.choice(NUMBERS)),
        FIXED64: lambda: chance.randbytes(8),
        LENGTH_DELIMITED: lambda: length_delimited(0, chance.randbytes(chance.randrange(20)))[1:],
        START_GROUP: lambda: tag(field, END_GROUP),
        FIXED32: lambda: chance.randbytes(4),
    }
    return tag(field, wire_type) + values.get(wire_type, lambda: b"")()


def any_field(chance: random.Random, known: Sequence[int]) -> int:
    """Choose a field number, known or unknown."""
    return chance.choice((*UNKNOWN_FIELDS, *known))


def unknown_field(chance: random.Random, _known: Sequence[int]) -> bytes:
    """Return a field that the contract does not have."""
    return of_type(chance.choice(UNKNOWN_FIELDS), chance.choice((0, 1, 2, 3, 5)), chance)


def bad_field(chance: random.Random, _known: Sequence[int]) -> bytes:
    """Return a field with an invalid number."""
    return of_type(chance.choice(BAD_FIELDS), chance.choice(WIRE_TYPES), chance)


def other_type(chance: random.Random, known: Sequence[int]) -> bytes:
    """Return a known field in any wire type, mostly not its own."""
    return of_type(chance.choice(known), chance.choice(WIRE_TYPES), chance)


def group(chance: random.Random, known: Sequence[int]) -> bytes:
    """Nest groups of one known or unknown number, with content in the innermost."""
    field, depth = any_field(chance, known), chance.choice(DEPTHS)
    middle = unknown_field(chance, known) if chance.random() < 0.3 else b""
    return b"".join((tag(field, START_GROUP) * depth, middle, tag(field, END_GROUP) * depth))


def broken_group(chance: random.Random, known: Sequence[int]) -> bytes:
    """Nest groups that are not closed, closed too often, or closed with another number."""
    field, depth = any_field(chance, known), chance.choice(DEPTHS)
    other = field + chance.randrange(2)
    return b"".join((tag(field, START_GROUP) * depth, tag(other, END_GROUP) * (depth + chance.randint(-1, 1))))


def nested_messages(chance: random.Random, known: Sequence[int]) -> bytes:
    """Nest messages in messages, which no schema has."""
    value, field = unknown_field(chance, known), chance.choice((*UNKNOWN_FIELDS, 1))
    for _ in range(chance.choice(DEPTHS)):
        value = length_delimited(field, value)
    return value


def overlong_varints(chance: random.Random, known: Sequence[int]) -> bytes:
    """Encode tags, lengths and numbers in more bytes than necessary."""
    field = any_field(chance, known)
    match chance.randrange(3):
        case 0:
            return overlong(field << 3, chance) + varint(chance.choice(NUMBERS))
        case 1:
            return tag(field, LENGTH_DELIMITED) + overlong(2, chance) + b"ok"
        case _:
            return tag(field, VARINT) + overlong(chance.choice(NUMBERS), chance)


def bad_text(chance: random.Random, known: Sequence[int]) -> bytes:
    """Return bytes that are not UTF-8, in a string field or an unknown one."""
    return length_delimited(any_field(chance, known), chance.choice(BAD_TEXTS))


def length_beyond_the_end(chance: random.Random, known: Sequence[int]) -> bytes:
    """Return a length that exceeds the message."""
    return tag(any_field(chance, known), LENGTH_DELIMITED) + varint(chance.choice(LENGTHS))


Oddity = Callable[[random.Random, Sequence[int]], bytes]
# Cases that a parser must skip are more frequent here than cases that it must reject.
ODDITIES: tuple[Oddity, ...] = (
    *(
        unknown_field,
        unknown_field,
        group,
        group,
        other_type,
        other_type,
        overlong_varints,
        overlong_varints,
        nested_messages,
    ),
    *(bad_field, broken_group, bad_text, length_beyond_the_end),
)
