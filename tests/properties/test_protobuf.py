"""Structured Protobuf messages through ingest, both parsers and the recovery: each accepted event becomes a row.

UGC_TEST_MESSAGES is how many messages; a million takes a few minutes.
"""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
import pytest
from google.protobuf.message import DecodeError
from ugc.v1.event_pb2 import EventRecord

from etl.clickhouse.client import encode
from etl.clickhouse.wire import WIRE
from etl.events.duplicates import DuplicateWindow
from etl.events.rows import DUPLICATE, UNDECODABLE, Message, Rejected, Rows, decode, without_duplicates
from etl.plan import Coordinates, Plan, Topic, events_block, rejected_block
from services.ingest.events.records import keys_of, stamp
from services.ingest.events.validation import EventValidator
from services.ingest.events.wire import split_batch
from tests.support.clients.calls import EVENT_BYTES_MAX
from tests.support.inputs.messages import FakeMessage
from tests.support.inputs.protobuf_messages import MessageMaker, length_delimited

MESSAGES = int(os.environ.get("UGC_TEST_MESSAGES", "30000"))
SEED = int(os.environ.get("UGC_TEST_SEED", "20261127"))
BATCH = 100
AT = Coordinates(Topic("ugc.events", "0d6be9f0-7c1f-4f5e-9f0f-3d2a6c1b8e55", "cluster"), 0)
PLAN = Plan(AT.topic.identity, 0, 1, 1, "", 0)
Row = tuple[object, ...]


@pytest.fixture(autouse=True)
def short_panics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevent Rust from printing a stack for each panic of the decoder."""
    monkeypatch.setenv("RUST_BACKTRACE", "0")


def test_structured_messages() -> None:
    """No message raises, each is one row; the etl decodes what ingest or upb accepts to equal values, and finds it."""
    counts = run(MESSAGES, SEED)

    assert counts["events"] + counts["rejected"] == counts["messages"] >= MESSAGES
    # None is rare, so all cases were covered; and the parsers disagree sometimes.
    assert min(counts["accepted"], counts["rejected"], counts["events"] - counts["accepted"]) > MESSAGES / 20, counts
    assert min(counts["accepted by ptars alone"], counts["repeats"]) > MESSAGES / 1_000, counts


# Any time of receipt.
NOW = 1_700_000_000_000


def run(messages: int, seed: int) -> Counter[str]:
    """Make messages and check all of the above; return the number of each outcome."""
    maker, rules, counts = MessageMaker(seed), EventValidator(EVENT_BYTES_MAX), Counter[str]()
    for _ in range(0, messages, BATCH):
        events = list(maker.events(BATCH))
        checked = [rules.check(event) for event in events]
        accepted = [index for index, (_, violations) in enumerate(checked) if not violations]
        batch_agrees(rules, events, accepted)
        records = stamp([events[index] for index in accepted], keys_of(checked[index][0] for index in accepted), NOW)
        values = [maker.record(event) for event in events]
        for index, stamped in zip(accepted, records, strict=True):
            values[index] = stamped.value
        counts["accepted"] += len(accepted)
        counts.update(loaded(values, set(accepted)))
    return counts


def batch_agrees(rules: EventValidator, events: Sequence[bytes], accepted: Sequence[int]) -> None:
    """Check that a batch of events is valid exactly if each of its events is."""
    good = [events[index] for index in accepted]
    request = b"".join(length_delimited(1, event) for event in good)
    if good:
        assert list(split_batch(request)) == good
        assert rules.check_part(request, len(good), max(map(len, good))) is not None
    bad = next((event for index, event in enumerate(events) if index not in accepted), None)
    if bad is not None and len(bad) <= EVENT_BYTES_MAX:
        assert rules.check_part(request + length_delimited(1, bad), len(good) + 1, EVENT_BYTES_MAX) is None
        assert not rules.check_validity(bad)[1]
    assert all(rules.check_validity(event)[1] for event in good)


def loaded(values: Sequence[bytes], accepted: set[int]) -> Counter[str]:
    """Load messages, load their repeats as the same owner and as the next one, and compare all with upb."""
    messages = [FakeMessage(value, at=at) for at, value in enumerate(values)]
    window = DuplicateWindow(10 * BATCH)
    rows = without_duplicates(decode(messages), messages, window)
    found = by_offset(rows)
    undecodable = {each.offset: each for each in rows.rejected if each.reason == UNDECODABLE}
    counts = Counter(messages=len(values), events=len(found), rejected=len(rows.rejected))
    assert sorted([*found, *(each.offset for each in rows.rejected)]) == list(range(len(values)))
    assert accepted.isdisjoint(undecodable)
    repeats = {each.offset: each.event_id + each.user_id for each in rows.rejected if each.reason == DUPLICATE}
    counts["repeats"] = len(repeats)
    for offset, value in enumerate(values):
        try:
            expected = reference(EventRecord.FromString(value))
        except DecodeError:
            counts["accepted by ptars alone"] += offset in found
        else:
            assert found.get(offset, expected) == expected
            assert repeats.get(offset, expected[-1]) == expected[-1]
            assert offset not in undecodable or "failed to decode" not in undecodable[offset].error
    insertable(rows)
    repeats_are_found(messages, rows, window, undecodable)
    return counts


def by_offset(rows: Rows) -> dict[int, Row]:
    """Return the values of the events in the order of the table's columns, and their identities."""
    columns = [column.to_pylist() if isinstance(column, pa.Array) else column for column in rows.columns]
    return dict(zip(rows.offsets, zip(*columns[:-1], rows.identities, strict=True), strict=True))


def reference(record: EventRecord) -> Row:
    """Return the same for a message as upb decodes it; without an identity where it has none."""
    event, payload = record.event, record.event.payload
    movie, user = bytes_of(payload.movie_id), bytes_of(payload.user_id)
    identity = record.event_id + user if user else b""
    return (
        *(record.event_id, payload.event, movie, user, payload.event_data),
        *(payload.event_timestamp, event.language, event.timezone, event.ip, event.version, event.some_client_data),
        *(record.received_at, identity),
    )


def bytes_of(text: str) -> bytes:
    """Return the bytes of a UUID; empty if the text is not one."""
    try:
        return uuid.UUID(text).bytes
    except ValueError:
        return b""


def insertable(rows: Rows) -> None:
    """Encode everything as it is sent to ClickHouse."""
    blocks = [rejected_block(AT, PLAN, 1, rows.rejected)] if rows.rejected else []
    blocks += [events_block(AT, PLAN, 2, rows)] if rows.events else []
    for block in blocks:
        for column, (_, kind, _) in zip(block.columns, WIRE[block.table], strict=True):
            assert encode(column, kind)


def repeats_are_found(
    messages: Sequence[Message], rows: Rows, window: DuplicateWindow, undecodable: dict[int, Rejected]
) -> None:
    """Load the messages again twice: by their owner, and by one that has read the window back from the tables."""
    again = [FakeMessage(message.value(), at=message.offset() + BATCH) for message in messages]
    repeated = without_duplicates(decode(again), again, window)
    assert repeated.events == 0
    assert {each.offset - BATCH for each in repeated.rejected if each.reason == UNDECODABLE} == undecodable.keys()

    stored = {offset: event_id_and_user(row) for offset, row in by_offset(rows).items()}
    for each in (*rows.rejected, *repeated.rejected):
        if each.reason == DUPLICATE:
            stored[each.offset] = each.event_id + each.user_id
    taken_over = DuplicateWindow(10 * BATCH)
    taken_over.observe([stored[offset] for offset in sorted(stored)], sorted(stored))
    last = [FakeMessage(message.value(), at=message.offset() + 2 * BATCH) for message in messages]
    inherited, own = (without_duplicates(decode(last), last, each) for each in (taken_over, window))
    assert inherited.rejected == own.rejected
    assert (inherited.events, own.events) == (0, 0)


def event_id_and_user(row: Row) -> bytes:
    """Return the two columns as ClickHouse stores them."""
    event_id, user = row[0], row[3]
    assert isinstance(event_id, bytes)
    assert isinstance(user, bytes)
    return event_id + user
