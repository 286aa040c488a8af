"""Limits of the JSON in a body, checked before it is parsed: values in total, and items of lists with a rule.

A value costs up to a microsecond and hundreds of bytes of memory, but only two bytes of JSON, and even less of gzip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import msgspec
from google.protobuf import any_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.rpc.error_details_pb2 import BadRequest

from gateway.errors import RequestError
from gateway.json.well_known import SPECIAL_TYPES

VALUES_MAX = 250_000
# For a message without lists: hundreds of times its fields, because unknown keys are accepted.
VALUES_WITHOUT_LISTS_MAX = 10_000
# The shortest value, with its separator.
VALUE_BYTES_MIN = 2
# A value and its key have at most this many quotes.
QUOTES_OF_A_VALUE_MAX = 4
# A prefix of the body in which a list that is too long exceeds its limit.
PREFIX_BYTES = 524_288
ITEMS_DECODER = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True)
class ItemRule:
    """How many items a list may have."""

    name: str
    items_min: int
    items_max: int

    def check(self, values: Sequence[object]) -> None:
        """Refuse a list that is too long; the service refuses one that is too short."""
        if len(values) > self.items_max:
            raise TooManyItemsError(self, str(len(values)))


ItemRules = Callable[[FieldDescriptor], ItemRule | None]


def no_rule(_field: FieldDescriptor) -> None:
    """Return no rule, for messages without rules."""
    return


class TooManyItemsError(RequestError):
    """A list has more items than its rule allows; the text is that of the service."""

    def __init__(self, rule: ItemRule, count: str) -> None:
        self.field = rule.name
        self.problem = f"must have {rule.items_min} to {rule.items_max} {rule.name}, not {count}"
        super().__init__(f"{self.field}: {self.problem}")

    @property
    def details(self) -> Sequence[any_pb2.Any]:
        """The violated field and its rule."""
        packed = any_pb2.Any()
        packed.Pack(
            BadRequest(field_violations=[BadRequest.FieldViolation(field=self.field, description=self.problem)])
        )
        return [packed]


class BodyLimits:
    """The limits of the bodies of one route."""

    def __init__(
        self, message: Descriptor, body_field: FieldDescriptor | None, rules: ItemRules, values_max: int
    ) -> None:
        """`body_field` is the field that a body sets, None for the whole message."""
        self._list = rules(body_field) if body_field is not None and body_field.is_repeated else None
        has_lists = has_list(body_field) if body_field is not None else any(map(has_list, message.fields))
        self.values_max = values_max if has_lists else min(values_max, VALUES_WITHOUT_LISTS_MAX)

    def check(self, body: bytes, *, is_whole: bool = True) -> None:
        """Refuse a body, or a prefix of one, with too many values."""
        if len(body) <= VALUE_BYTES_MIN * self.values_max or separators(body) <= self.values_max:
            return
        if values_of(body, self.values_max) > self.values_max:
            self.check_items(body, is_whole=is_whole)
            raise RequestError(f"the body has more than {self.values_max} JSON values: send it in parts")

    def check_items(self, body: bytes, *, is_whole: bool = True) -> None:
        """Refuse a list with too many items, as far as a prefix of it shows them."""
        rule = self._list
        if rule is None or len(body) <= VALUE_BYTES_MIN * rule.items_max:
            return
        whole = is_whole and len(body) <= PREFIX_BYTES
        for part in (body,) if whole else prefixes(body):
            try:
                count = len(ITEMS_DECODER.decode(part))
            except (msgspec.MsgspecError, UnicodeError, RecursionError):
                continue  # cut within an item, or not a list: the JSON reader decides
            if count > rule.items_max:
                raise TooManyItemsError(rule, str(count) if whole else "more")

    def watch(self) -> Callable[[Sequence[bytes]], None]:
        """Return a function that checks a body after each of its pieces."""
        size, counted, seen, check_at = 0, 0, 1, self.values_max

        def check_pieces(pieces: Sequence[bytes]) -> None:
            nonlocal size, counted, seen, check_at
            size += len(pieces[-1])
            if size <= VALUE_BYTES_MIN * self.values_max:
                return
            seen += sum(map(separators, pieces[counted:]))
            counted = len(pieces)
            if seen > check_at:
                self.check(b"".join(pieces), is_whole=False)
                check_at = 2 * seen  # most of them are in texts: a check after each piece would take quadratic time

        return check_pieces


def prefixes(body: bytes) -> Iterator[bytes]:
    """Yield prefixes that may be whole items of a list: up to its last two objects, and up to its last comma."""
    prefix = body[:PREFIX_BYTES]
    last = prefix.rfind(b"},")
    for end in (last + 1, prefix.rfind(b"},", 0, max(last, 0)) + 1, prefix.rfind(b",")):
        if end > 0:
            yield prefix[:end] + b"]"


def separators(body: bytes) -> int:
    """Return an upper bound of the number of values: each follows a comma or a bracket, or is the first."""
    return 1 + body.count(b",") + body.count(b"[") + body.count(b"{")


def values_of(body: bytes, enough: int) -> int:
    """Return an upper bound of the number of values outside of texts; a rough one when it exceeds `enough`."""
    plain = body.replace(rb"\\", b"").replace(rb"\"", b"") if b"\\" in body else body
    quotes = plain.count(b'"')
    if quotes > QUOTES_OF_A_VALUE_MAX * enough:
        return quotes // QUOTES_OF_A_VALUE_MAX + 1
    return separators(b"".join(plain.split(b'"')[::2]))


def has_list(field: FieldDescriptor, seen: set[str] | None = None) -> bool:
    """Whether a field, or a field inside it, can hold any number of values; `seen` are types already looked at."""
    seen = set() if seen is None else seen
    message = field.message_type
    if field.is_repeated:
        return True
    if message is None or message.full_name in seen:
        return False
    seen.add(message.full_name)
    return message.full_name in SPECIAL_TYPES or any(has_list(inner, seen) for inner in message.fields)
