"""Decides by columns that all events of a part of a batch are valid, and reads their keys and identities. Pure.

What it does not decide is validated by protovalidate, with the same verdict for each event.
"""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Sequence
from operator import attrgetter

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, EncodeError, Message

from services.ingest.events.column_classes import merged_class, presence_class
from services.ingest.events.column_rules import CompiledRules, UnsupportedRuleError, compile_rules, uuid_lines
from services.ingest.events.common_texts import CommonTexts
from services.ingest.events.identity import IDENTITY_BYTES, cut, parse_identity
from services.ingest.events.records import EventKeys


class ColumnValidator:
    """Validates parts of batches by columns; keeps the compiled rules, so one instance serves a process."""

    def __init__(self, rules: CompiledRules, user: str, identity: str) -> None:
        """`user` and `identity` are the paths of two UUIDs; UnsupportedRuleError unless all events have the first."""
        columns = [rule.column for rule in rules.columns]
        paths = {".".join((*rule.column.path, rule.column.field.name)): rule for rule in rules.columns}
        required = {tuple(path.split(".")) for path, rule in paths.items() if rule.is_required}
        required |= {path for path, is_required in rules.messages.items() if is_required}
        needed = [tuple(user.split(".")[:length]) for length in range(1, user.count(".") + 2)]
        if not (paths[user].is_uuid and paths[identity].is_uuid and required.issuperset(needed)):
            raise UnsupportedRuleError(f"{user} is not a required UUID, or {identity} is not a UUID")
        self._merged = merged_class(rules.events, columns, list(rules.messages))
        # An event has at least one value of each required field if the batch is initialized.
        tracked = [rule.column for path, rule in paths.items() if rule.is_required or path == identity]
        self._present = presence_class(rules.events, tracked, required)
        self._all_identified = presence_class(rules.events, tracked, {*required, tuple(identity.split("."))})
        self._user, self._identity = attrgetter(user), attrgetter(identity)
        self._uuids = [
            attrgetter(path) for path, rule in paths.items() if rule.is_uuid and path not in (user, identity)
        ]
        event = rules.events.message_type
        assert event is not None  # noqa: S101 -- a field of messages
        self._common = CommonTexts(event, rules.columns)
        self._checks = [
            (attrgetter(path), rule.check)
            for path, rule in paths.items()
            if rule.check is not None and path not in self._common.fields
        ]

    def keys(self, batch: bytes, count: int, largest: int) -> EventKeys | None:
        """Return the keys of the `count` events of an encoded batch if all are valid, None if that is not decided.

        `largest` is the size of the largest event in bytes.
        """
        try:
            events = self._merged.FromString(batch).events  # type: ignore[attr-defined]  # see merged_class
            # As many users as events, of which each has at least one by the presence below: exactly one each, in order.
            users = self._user(events)[:]
            if len(users) != count or (lines := uuid_lines(users)) is None or not self._are_valid(events, largest):
                return None
            identities = self._identity(events)[:]
            if not self._common.are_valid(events, count, largest):
                return None
            kind = self._all_identified if len(identities) == count else self._present
            present = kind.FromString(batch)
            # EncodeError if it is not initialized, at a lower cost than IsInitialized.
            present.SerializeToString()
        except (DecodeError, EncodeError):
            return None
        chosen = self._chosen(identities, count, present)
        if chosen is None:
            return None
        lower = lines.lower()
        return EventKeys(users if lower == lines else lower.split(b"\n"), chosen)

    def _are_valid(self, events: Message, largest: int) -> bool:
        """Return whether the values of all other fields are valid; every event's value is one of them."""
        for values_of, check in self._checks:
            values = values_of(events)
            if values and not check(values, largest):
                return False
        for values_of in self._uuids:
            values = values_of(events)
            if values and uuid_lines(values) is None:
                return False
        return True

    def _chosen(self, identities: Sequence[bytes], count: int, present: Message) -> list[bytes] | None:
        """Return the identities that the clients have chosen, None if one is not a UUID."""
        if not identities:
            return [b""] * count
        lines = uuid_lines(identities)
        if lines is None:
            return None
        if len(identities) == count:
            # Every event has one, so they are in order.
            return cut(unhexlify(lines.translate(None, b"-\n")), IDENTITY_BYTES)
        texts = map(self._identity, present.events)  # type: ignore[attr-defined]  # see presence_class
        return [parse_identity(text.decode()) for text in texts]


def column_validator(batch: Descriptor, user: str, identity: str) -> ColumnValidator | None:
    """Return the validator of batches, None if the rules in their descriptors cannot be checked by columns.

    `user` and `identity` are the paths of two fields of an event.
    """
    try:
        return ColumnValidator(compile_rules(batch), user, identity)
    except UnsupportedRuleError:
        return None
