"""Decides by columns that all events of a part of a batch are valid, and reads their keys and identities. Pure.

What it does not decide is validated by protovalidate, with the same verdict for each event.
"""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Sequence
from operator import attrgetter

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, EncodeError, Message

from services.ingest.events.column_classes import Path, merged_class, presence_class
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
        others = [rule for path, rule in paths.items() if path not in (user, identity)]
        # Those of a message before those of the message that contains it.
        self._common = [
            CommonTexts(path, message_at(rules.events, path), others)
            for path in sorted({(), *rules.messages}, key=len, reverse=True)
        ]
        common = {name for texts in self._common for name in texts.paths}
        self._checks = [
            (attrgetter(path), rule.check)
            for path, rule in paths.items()
            if rule in others and rule.check is not None and path not in common
        ]

    def keys(self, batch: bytes, count: int, largest: int) -> EventKeys | None:
        """Return the keys of the `count` events of an encoded batch if all are valid, None if that is not decided.

        `largest` is the size of the largest event in bytes.
        """
        try:
            events = self._merged.FromString(batch).events  # type: ignore[attr-defined]  # see merged_class
            # As many users as events, of which each has at least one by the presence below: exactly one each, in order.
            if len(self._user(events)) != count:
                return None
            users, identities = self._user(events)[:], self._identity(events)[:]
            if (lines := uuid_lines(users)) is None or not self._are_valid(events, count, largest):
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

    def _are_valid(self, events: Message, count: int, largest: int) -> bool:
        """Return whether all values of all fields but the two are valid; every event's value is one of them.

        The merged message has lost its fields afterwards.
        """
        for values_of, check in self._checks:
            values = values_of(events)
            if values and not check(values, largest):
                return False
        return all(texts.are_valid(events, count, largest) for texts in self._common)

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


def message_at(events: FieldDescriptor, path: Path) -> Descriptor:
    """Return the message in an event that a path leads to."""
    found = events.message_type
    for name in path:
        assert found is not None  # noqa: S101 -- a path of messages
        found = found.fields_by_name[name].message_type
    assert found is not None  # noqa: S101 -- see above
    return found


def column_validator(batch: Descriptor, user: str, identity: str) -> ColumnValidator | None:
    """Return the validator of batches, None if the rules in their descriptors cannot be checked by columns.

    `user` and `identity` are the paths of two fields of an event.
    """
    try:
        return ColumnValidator(compile_rules(batch), user, identity)
    except UnsupportedRuleError:
        return None
