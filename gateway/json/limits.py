"""How much JSON a body may hold, found before it is made: values in all, and items of the lists that have a rule.

A value costs up to a microsecond and hundreds of bytes but only two bytes of JSON, and of gzip next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.descriptor import FieldDescriptor
from google.rpc.error_details_pb2 import BadRequest

from gateway.dynamic import Dynamic
from gateway.errors import RequestError
from gateway.json.well_known import READERS

VALUES_MAX = 250_000
# Of a message without lists: hundreds of times its fields, for keys that it does not have.
VALUES_WITHOUT_LISTS_MAX = 10_000
# A value takes at least so many bytes: itself and what separates it from the next.
VALUE_BYTES_MIN = 2
# Keys and texts of so many values have at most so many quotes.
QUOTES_OF_A_VALUE_MAX = 4
# A beginning in which a list that is too long shows that it is.
BEGINNING_BYTES = 524_288
ANY_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True)
class ItemRule:
    """How many items a list may have."""

    name: str
    items_min: int
    items_max: int

    def check(self, values: Sequence[object]) -> None:
        """Refuse a list that is too long; that it is too short, the service finds out."""
        if len(values) > self.items_max:
            raise TooManyItemsError(self, str(len(values)))


ItemRules = Callable[[FieldDescriptor], ItemRule | None]


def no_rule(_field: FieldDescriptor) -> None:
    """Know no rule, for messages that have none."""
    return


class TooManyItemsError(RequestError):
    """A list has more items than its rule allows; the words are those of the service."""

    def __init__(self, rule: ItemRule, count: str) -> None:
        self.field = rule.name
        self.problem = f"must have {rule.items_min} to {rule.items_max} {rule.name}, not {count}"
        super().__init__(f"{self.field}: {self.problem}")

    @property
    def details(self) -> Sequence[Any]:
        """The field and its rule."""
        packed = Packed()
        packed.Pack(
            BadRequest(field_violations=[BadRequest.FieldViolation(field=self.field, description=self.problem)])
        )
        return [packed]


class BodyLimits:
    """The limits of the bodies of one route."""

    def __init__(self, message: Dynamic, body_field: Dynamic, rules: ItemRules, values_max: int) -> None:
        """`body_field` is the field that a body stands for, None when it is the whole message."""
        self._list = rules(body_field) if body_field is not None and body_field.is_repeated else None
        has_lists = has_list(body_field) if body_field is not None else any(map(has_list, message.fields))
        self.values_max = values_max if has_lists else min(values_max, VALUES_WITHOUT_LISTS_MAX)

    def check(self, body: bytes, *, is_whole: bool = True) -> None:
        """Refuse a body with too many values, or the beginning of one."""
        if len(body) <= VALUE_BYTES_MIN * self.values_max or separators(body) <= self.values_max:
            return
        if values_of(body, self.values_max) > self.values_max:
            self.check_items(body, is_whole=is_whole)
            raise RequestError(f"the body has more than {self.values_max} JSON values: send it in parts")

    def check_items(self, body: bytes, *, is_whole: bool = True) -> None:
        """Refuse a list with too many items, as far as its beginning shows it."""
        rule = self._list
        if rule is None or len(body) <= VALUE_BYTES_MIN * rule.items_max:
            return
        whole = is_whole and len(body) <= BEGINNING_BYTES
        for part in (body,) if whole else beginnings(body):
            try:
                count = len(ANY_ITEMS.decode(part))
            except (msgspec.MsgspecError, UnicodeError, RecursionError):
                continue  # cut within an item, or no list: others decide
            if count > rule.items_max:
                raise TooManyItemsError(rule, str(count) if whole else "more")

    def watch(self) -> Callable[[Sequence[bytes]], None]:
        """Return what looks at a body that comes in pieces, after each of them."""
        size, counted, seen, look_at = 0, 0, 1, self.values_max

        def look(pieces: Sequence[bytes]) -> None:
            nonlocal size, counted, seen, look_at
            size += len(pieces[-1])
            if size <= VALUE_BYTES_MIN * self.values_max:
                return
            seen += sum(map(separators, pieces[counted:]))
            counted = len(pieces)
            if seen > look_at:
                self.check(b"".join(pieces), is_whole=False)
                look_at = 2 * seen  # most of them stand in texts: to look at every piece again would be quadratic

        return look


def beginnings(body: bytes) -> Iterator[bytes]:
    """Yield what may be the first items of a list: cut after an object, the one before it, and before any comma."""
    beginning = body[:BEGINNING_BYTES]
    last = beginning.rfind(b"},")
    for end in (last + 1, beginning.rfind(b"},", 0, max(last, 0)) + 1, beginning.rfind(b",")):
        if end > 0:
            yield beginning[:end] + b"]"


def separators(body: bytes) -> int:
    """Return a number that the body's values do not exceed: each follows a comma or a bracket, or is the first."""
    return 1 + body.count(b",") + body.count(b"[") + body.count(b"{")


def values_of(body: bytes, enough: int) -> int:
    """Return the number of values, without what looks like some in texts; not more exactly than `enough`."""
    plain = body.replace(rb"\\", b"").replace(rb"\"", b"") if b"\\" in body else body
    quotes = plain.count(b'"')
    if quotes > QUOTES_OF_A_VALUE_MAX * enough:
        return quotes // QUOTES_OF_A_VALUE_MAX + 1
    return separators(b"".join(plain.split(b'"')[::2]))


def has_list(field: FieldDescriptor, within: frozenset[str] = frozenset()) -> bool:
    """Whether a field, or one in it, can hold any number of values."""
    message = field.message_type
    if field.is_repeated:
        return True
    if message is None or message.full_name in within:
        return False
    inside = within | {message.full_name}
    return message.full_name in READERS or any(has_list(inner, inside) for inner in message.fields)
