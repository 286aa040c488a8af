"""`ugc-replay`: sends rejected events to the topic again, selected by reason and time, each at most once.

The guarantee, at most once: a run records its claims on messages durably in `replayed_events` before it sends them, and
sends only messages that no other run has claimed. When two runs claim the same message at the same time, at least one
of them reads the claims after both are written, finds the other claim and withdraws its own; a withdrawn claim does not
count. Messages that a run had claimed when it died, or that Kafka did not acknowledge, stay claimed: they are not sent
again.

Its command line and exit statuses are in commands.py.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from datetime import datetime

from google.protobuf.message import DecodeError
from ugc.v1.event_pb2 import EventRecord

from common.clickhouse_settings import server_urls
from common.commands import write_out
from common.lifecycle import interruptible
from common.settings import load
from db.clickhouse.client import connected
from db.clickhouse.replayed import Rejected, ReplayLedger, Selection
from db.errors import StoreError
from db.kafka.replayer import Replayer, replaying
from db.kafka.topics import topic_identity
from db.settings import ReplaySettings

EXIT_NOT_ALL, EXIT_STORE = 1, 3
# Messages that are claimed and sent together, and at most not sent when a run dies.
BATCH_EVENTS = 500
ERRORS_SHOWN_MAX = 10


@dataclasses.dataclass
class Outcome:
    """The result of a run, in numbers of messages.

    Of the `chosen`, some were `replayed` before, some `contested` by another run at the same time, and some `failed`.
    Messages of the same reason `before` and `after` the selected time are not among them.
    """

    chosen: int = 0
    sent: int = 0
    replayed: int = 0
    contested: int = 0
    failed: int = 0
    before: int = 0
    after: int = 0
    errors: list[str] = dataclasses.field(default_factory=list)


def main(options: argparse.Namespace) -> None:
    """Replay what the options select and print the counts."""
    selection = Selection(options.reason, milliseconds(options.since), milliseconds(options.until))
    with interruptible("ugc-replay") as interruption:
        settings = load(ReplaySettings)
        try:
            outcome = replay(
                settings, selection, options.limit, dry_run=options.dry_run, uninterrupted=interruption.deferred
            )
        except StoreError as error:
            sys.stderr.write(f"ugc-replay: {error}\n")
            sys.exit(EXIT_STORE)
        show(outcome, options)


def show(outcome: Outcome, options: argparse.Namespace) -> None:
    """Print the counts of a run and exit with its status."""
    for problem in outcome.errors[:ERRORS_SHOWN_MAX]:
        sys.stderr.write(f"ugc-replay: not sent: {problem}\n")
    outside = f"{outcome.before + outcome.after} (earlier: {outcome.before}, later: {outcome.after})"
    skipped = f"{outcome.replayed + outcome.contested} (replayed before: {outcome.replayed}, claimed by another run: "
    write_out(
        f"covers messages from {options.since.isoformat()} until before {options.until.isoformat()}; "
        f"outside of that: {outside}\n"
        f"chosen {outcome.chosen}, {'would send' if options.dry_run else 'sent'} {outcome.sent}, "
        f"skipped {skipped}{outcome.contested}), failed {outcome.failed}\n"
    )
    sys.exit(EXIT_NOT_ALL if outcome.failed or outcome.contested else 0)


def milliseconds(when: datetime) -> int:
    """Return a time in milliseconds since the Unix epoch."""
    return int(when.timestamp() * 1000)


def replay(
    settings: ReplaySettings,
    selection: Selection,
    limit: int = sys.maxsize,
    *,
    dry_run: bool = False,
    uninterrupted: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Outcome:
    """Send the messages of a selection that no run has sent; raise StoreError when a store does not answer.

    The run ends after a batch that Kafka did not acknowledge completely, because further claims would probably be lost.
    For the same reason a batch is sent inside of `uninterrupted`, which delays stop signals.
    """
    topic = settings.kafka_topic
    # Checked before the first claim, which would be lost if the message could not be sent.
    topic_identity(settings, topic, needs="WRITE")
    run_id = uuid.uuid4()
    cluster = bool(settings.clickhouse_cluster)
    with ExitStack() as stack:
        connection = stack.enter_context(connected(settings.clickhouse_url))
        urls = server_urls(settings.clickhouse_url) if cluster else ()
        servers = [stack.enter_context(connected(each)) for each in urls]
        replayer = stack.enter_context(replaying(settings, topic))
        ledger = ReplayLedger(connection, cluster=cluster, servers=servers)
        outcome = Outcome(ledger.count(selection), replayed=ledger.count_claimed(selection))
        outcome.before, outcome.after = ledger.count_outside(selection)
        for batch in batches(ledger, selection, limit):
            if dry_run:
                outcome.sent += len(batch)
                continue
            with uninterrupted():
                sent = send(ledger, replayer, run_id, batch, outcome)
            if not sent:
                break
    return outcome


def batches(ledger: ReplayLedger, selection: Selection, limit: int) -> Iterator[list[Rejected]]:
    """Yield the messages that no run has claimed, in batches."""
    after = None
    while limit > 0 and (batch := ledger.page(selection, after, min(BATCH_EVENTS, limit))):
        yield batch
        after = batch[-1].position
        limit -= len(batch)


def send(ledger: ReplayLedger, replayer: Replayer, run_id: uuid.UUID, batch: list[Rejected], outcome: Outcome) -> bool:
    """Claim a batch, send what no other run has claimed, and count; return whether Kafka acknowledged all of it."""
    positions = [each.position for each in batch]
    ledger.claim(run_id, positions)
    contested = ledger.contested(run_id, positions)
    if contested:
        ledger.withdraw(run_id, contested)
    uncontested = [each for each in batch if each.position not in contested]
    errors = replayer.send([(key_of(each), each.raw) for each in uncontested])
    outcome.contested += len(contested)
    outcome.failed += len(errors)
    outcome.sent += len(uncontested) - len(errors)
    outcome.errors += [f"{uncontested[index].position}: {error}" for index, error in errors.items()]
    return not errors


def key_of(rejected: Rejected) -> bytes | None:
    """Return the key that ingest gave the message, so that it goes to its user's partition; None if it is unknown.

    A user that the etl has read is used as it is, because its decoder accepts messages that this parser rejects.
    """
    if rejected.user_id is not None:
        return str(rejected.user_id).encode()
    try:
        user_id = EventRecord.FromString(rejected.raw).event.payload.user_id
    except DecodeError:
        return None
    return user_id.lower().encode() or None


if __name__ == "__main__":
    from db.commands import replay as command

    command()
