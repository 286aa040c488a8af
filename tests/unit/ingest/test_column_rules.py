"""The checks of columns follow the rules in the descriptors; a rule without a check leaves all to protovalidate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from buf.validate import validate_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import Descriptor
from ugc.v1 import event_pb2
from ugc.v1.event_pb2 import EventBatch

from services.ingest.events.column_rules import VALUES_REMEMBERED_MAX, Check, UnsupportedRuleError, compile_rules
from services.ingest.events.columns import ColumnValidator, column_validator
from services.ingest.events.validation import BATCH, IDENTITY_PATH, USER_PATH
from tests.support.inputs.events import valid

File = descriptor_pb2.FileDescriptorProto
Field = descriptor_pb2.FieldDescriptorProto
EVENT, PAYLOAD, EVENTS = "Event", "Payload", "EventBatch"


def rules(file: File, message: str, field: str) -> Any:
    """Return the rules of a field, to be changed."""
    found = next(each for each in file.message_type if each.name == message)
    options = next(each for each in found.field if each.name == field).options
    return options.Extensions[cast("Any", validate_pb2.field)]


def message_of(file: File, message: str) -> descriptor_pb2.DescriptorProto:
    """Return a message of the file."""
    return next(each for each in file.message_type if each.name == message)


def changed(change: Callable[[File], object]) -> Descriptor:
    """Return the batch of the contract after a change of its file."""
    file = File()
    event_pb2.DESCRIPTOR.CopyToProto(file)
    change(file)
    pool = descriptor_pool.DescriptorPool()
    for each in (descriptor_pb2.DESCRIPTOR, *validate_pb2.DESCRIPTOR.dependencies, validate_pb2.DESCRIPTOR):
        pool.AddSerializedFile(each.serialized_pb)
    pool.Add(file)
    return pool.FindMessageTypeByName("ugc.v1.EventBatch")


def decides(batch: Descriptor, **values: object) -> bool:
    """Return whether the columns call a batch of one event valid."""
    validator = column_validator(batch, USER_PATH, IDENTITY_PATH)
    assert isinstance(validator, ColumnValidator)
    event = valid(**values)
    encoded = EventBatch(events=[event]).SerializeToString()
    return validator.keys(encoded, 1, event.ByteSize()) is not None


def test_contract() -> None:
    """All rules of the contract have checks, and an ordinary event is decided by them."""
    assert decides(BATCH)
    assert decides(changed(lambda _file: None))


@pytest.mark.parametrize(
    ("change", "good", "bad"),
    [
        (lambda file: setattr(rules(file, EVENT, "language").string, "max_len", 3), "abc", "abcd"),
        (lambda file: setattr(rules(file, EVENT, "language").string, "max_bytes", 3), "abc", "abcd"),
        (lambda file: setattr(rules(file, EVENT, "language").string, "pattern", "^[a-c]{2}$"), "ab", "ad"),
        (lambda file: setattr(rules(file, EVENT, "language"), "required", True), "abc", ""),
        (lambda file: rules(file, EVENT, "language").string.Clear(), "x" * 100, None),
    ],
)
def test_changed_rule(change: Callable[[File], object], good: str, bad: str | None) -> None:
    """A rule that is changed in the proto changes the check."""
    batch = changed(change)

    assert decides(batch, language=good)
    assert bad is None or not decides(batch, language=bad)


def test_changed_range() -> None:
    """The same for the range of a number, of which one end may be open, and zero may be in it."""

    def change(file: File) -> None:
        number = rules(file, PAYLOAD, "event_timestamp")
        number.required = False
        number.int64.Clear()
        number.int64.lte = 5

    batch = changed(change)
    assert [decides(batch, event_timestamp=value) for value in (-(1 << 63), 0, 5, 6)] == [True, True, True, False]


def test_zero_that_is_not_allowed() -> None:
    """A field that is not required must be there if its rule does not allow the value of an absent one."""

    def change(file: File) -> None:
        rules(file, PAYLOAD, "event_timestamp").required = False

    assert not decides(changed(change), event_timestamp=0)
    assert not decides(changed(lambda file: rules(file, EVENT, "event_id").ClearField("ignore")), event_id="")


def test_message_that_is_not_required() -> None:
    """A rule holds in a message only if the message is there; then no event needs a user, and none is decided."""
    batch = changed(lambda file: setattr(rules(file, EVENT, "payload"), "required", False))

    assert column_validator(batch, USER_PATH, IDENTITY_PATH) is None


def add_cel(file: File) -> None:
    rules(file, EVENT, "ip").cel.add(id="ip", expression="this != ''")


def add_message_rule(file: File) -> None:
    options = message_of(file, PAYLOAD).options.Extensions[cast("Any", validate_pb2.message)]
    options.cel.add(id="both", expression="this.movie_id != this.user_id")


def add_repeated(file: File) -> None:
    message_of(file, EVENT).field.add(name="tags", number=20, label=Field.LABEL_REPEATED, type=Field.TYPE_STRING)


def add_number(file: File) -> None:
    message_of(file, EVENT).field.add(name="size", number=20, label=Field.LABEL_OPTIONAL, type=Field.TYPE_INT32)


def add_oneof(file: File) -> None:
    event = message_of(file, EVENT)
    event.oneof_decl.add(name="kind")
    event.field.add(name="kind_name", number=20, label=Field.LABEL_OPTIONAL, type=Field.TYPE_STRING, oneof_index=0)


def add_recursion(file: File) -> None:
    message_of(file, PAYLOAD).field.add(
        name="event_again", number=20, label=Field.LABEL_OPTIONAL, type=Field.TYPE_MESSAGE, type_name=".ugc.v1.Event"
    )


def add_unknown_rule(file: File) -> None:
    rules(file, EVENT, "ip").string.MergeFromString(b"\xf8\x3f\x01")


def add_second_list(file: File) -> None:
    message_of(file, EVENTS).field.add(name="note", number=2, label=Field.LABEL_OPTIONAL, type=Field.TYPE_STRING)


def user_is_optional(file: File) -> None:
    user = rules(file, PAYLOAD, "user_id")
    user.required, user.ignore = False, validate_pb2.IGNORE_IF_ZERO_VALUE


@pytest.mark.parametrize(
    "change",
    [
        add_cel,
        add_message_rule,
        add_repeated,
        add_number,
        add_oneof,
        add_recursion,
        add_unknown_rule,
        add_second_list,
        lambda file: setattr(rules(file, EVENT, "ip").string, "min_len", 1),
        lambda file: setattr(rules(file, EVENT, "ip").string, "ip", True),
        lambda file: setattr(rules(file, EVENT, "ip").string, "const", "1.1.1.1"),
        lambda file: setattr(rules(file, EVENT, "ip"), "ignore", validate_pb2.IGNORE_ALWAYS),
        lambda file: setattr(rules(file, PAYLOAD, "movie_id").string, "max_len", 36),
        lambda file: setattr(rules(file, PAYLOAD, "event").string, "pattern", "^(a|b)$"),
        lambda file: setattr(rules(file, PAYLOAD, "event").string, "pattern", "[a-z]"),
        lambda file: setattr(rules(file, PAYLOAD, "event").string, "pattern", r"^\w+$"),
        lambda file: setattr(rules(file, PAYLOAD, "event_timestamp").int64, "gt", 5),
        lambda file: setattr(rules(file, PAYLOAD, "event_timestamp").int64, "lte", 0),
        user_is_optional,
        lambda file: setattr(rules(file, PAYLOAD, "user_id").string, "max_len", 36),
        lambda file: rules(file, EVENT, "event_id").string.Clear(),
        lambda file: setattr(rules(file, EVENTS, "events").repeated, "unique", True),
        lambda file: setattr(rules(file, EVENTS, "events").repeated.items, "required", True),
    ],
)
def test_rule_without_check(change: Callable[[File], object]) -> None:
    """A rule or a field that no check covers leaves the decision to protovalidate."""
    assert column_validator(changed(change), USER_PATH, IDENTITY_PATH) is None


def test_paths() -> None:
    """The key of the messages has to be a required UUID, the identity a UUID."""
    assert column_validator(BATCH, "payload.event", IDENTITY_PATH) is None
    assert column_validator(BATCH, IDENTITY_PATH, IDENTITY_PATH) is None
    assert column_validator(BATCH, USER_PATH, "language") is None


def test_values_that_are_remembered() -> None:
    """A check remembers a limited number of values, and a value that does not match is never remembered."""
    compiled = compile_rules(BATCH)
    (rule,) = (each for each in compiled.columns if each.column.field.name == "event")
    check: Check | None = rule.check
    assert check is not None

    (remembered,) = (
        cell.cell_contents for cell in cast("Any", check).__closure__ if isinstance(cell.cell_contents, set)
    )
    for start in range(0, 5 * VALUES_REMEMBERED_MAX, 100):
        assert check([f"like{number}" for number in range(start, start + 100)], 1)
        assert 0 < len(remembered) <= VALUES_REMEMBERED_MAX
    assert check([f"all{number}" for number in range(2 * VALUES_REMEMBERED_MAX)], 1)
    assert len(remembered) <= VALUES_REMEMBERED_MAX
    for _ in range(2):
        assert not check(["like", "-like"], 1)
        assert not check(["like\n"], 1)


def test_reason() -> None:
    """The error names the field and the rule that has no check."""
    with pytest.raises(UnsupportedRuleError, match=r"^ugc\.v1\.Event\.ip: cel$"):
        compile_rules(changed(add_cel))
