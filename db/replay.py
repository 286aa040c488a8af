"""`ugc-replay`: puts rejected events back on the topic, chosen by reason and time, each at most once.

The guarantee, at most once: a run claims messages in `replayed_events`, durably, before it sends them, and sends only
those that nobody else has claimed. Of two runs that claim the same message at the same time at least one reads its
claims after both are written, sees the other's, and takes its own back; a claim that was taken back sends nothing, so
it binds nobody. What a run had claimed when it died, or Kafka did not acknowledge, stays claimed and is not sent again.

Exit status: 0 all sent, 1 some were not, 2 a bad setting or option, 3 a store does not answer, 130 or 143 interrupted.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime

from google.protobuf.message import DecodeError
from ugc.v1.event_pb2 import EventRecord

from common.lifecycle import interruptible
from common.settings import load
from db.clickhouse.client import connected
from db.clickhouse.replayed import Rejected, ReplayLedger, Selection
from db.errors import StoreError
from db.kafka.replayer import Replayer, replaying
from db.kafka.topics import topic_identity
from db.settings import ReplaySettings

EXIT_NOT_ALL, EXIT_STORE = 1, 3
# Claimed and sent together; what is lost to the topic when a run dies is at most so many.
BATCH_EVENTS = 500
ERRORS_SHOWN_MAX = 10


@dataclasses.dataclass
class Outcome:
    """What a run did.

    Of the `chosen`, some were `replayed` before, some `contested` by another run at the same time, and some `failed`.
    Those of the same reason `before` and `after` the chosen time are left out.
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
    """Replay what the options choose and print how many that were."""
    selection = Selection(options.reason, milliseconds(options.since), milliseconds(options.until))
    with interruptible("ugc-replay") as interruption:
        settings = load(ReplaySettings)
        try:
            outcome = replay(settings, selection, options.limit, dry_run=options.dry_run, uncut=interruption.held)
        except StoreError as error:
            sys.stderr.write(f"ugc-replay: {error}\n")
            sys.exit(EXIT_STORE)
        show(outcome, options)


def show(outcome: Outcome, options: argparse.Namespace) -> None:
    """Print what was done and what was left out, and end with the status that says it."""
    for problem in outcome.errors[:ERRORS_SHOWN_MAX]:
        sys.stderr.write(f"ugc-replay: not sent: {problem}\n")
    sys.stdout.write(
        f"covers messages from {options.since.isoformat()} until before {options.until.isoformat()}; left out, because "
        f"they are outside of that: {outcome.before + outcome.after} (earlier: {outcome.before}, later: "
        f"{outcome.after})\nchosen {outcome.chosen}, {'would send' if options.dry_run else 'sent'} {outcome.sent}, "
        f"skipped {outcome.replayed + outcome.contested} (replayed before: {outcome.replayed}, "
        f"another run was at them: {outcome.contested}), failed {outcome.failed}\n"
    )
    sys.exit(EXIT_NOT_ALL if outcome.failed or outcome.contested else 0)


def milliseconds(when: datetime) -> int:
    """Return the milliseconds since the Unix epoch."""
    return int(when.timestamp() * 1000)


def replay(
    settings: ReplaySettings,
    selection: Selection,
    limit: int = sys.maxsize,
    *,
    dry_run: bool = False,
    uncut: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Outcome:
    """Send what a selection chooses and nobody has sent; StoreError when a store does not answer.

    A batch that Kafka did not take whole is the last one: more claims would only be lost. For the same reason a batch
    is sent inside of `uncut`, where nothing interrupts it.
    """
    servers, topic = settings.kafka_bootstrap_servers, settings.kafka_topic
    # Before the first claim: a claim on what cannot be sent would be lost.
    topic_identity(servers, topic)
    run_id = uuid.uuid4()
    with connected(settings.clickhouse_url) as connection, replaying(servers, topic) as replayer:
        ledger = ReplayLedger(connection, cluster=bool(settings.clickhouse_cluster))
        outcome = Outcome(ledger.count(selection), replayed=ledger.count_claimed(selection))
        outcome.before, outcome.after = ledger.count_outside(selection)
        for batch in batches(ledger, selection, limit):
            if dry_run:
                outcome.sent += len(batch)
                continue
            with uncut():
                sent = send(ledger, replayer, run_id, batch, outcome)
            if not sent:
                break
    return outcome


def batches(ledger: ReplayLedger, selection: Selection, limit: int) -> Iterator[list[Rejected]]:
    """Read what nobody has claimed, a batch at a time."""
    after = None
    while limit > 0 and (batch := ledger.page(selection, after, min(BATCH_EVENTS, limit))):
        yield batch
        after = batch[-1].place
        limit -= len(batch)


def send(ledger: ReplayLedger, replayer: Replayer, run_id: uuid.UUID, batch: list[Rejected], outcome: Outcome) -> bool:
    """Claim a batch, send what no other run claims, and count; False when Kafka did not acknowledge all of it."""
    places = [each.place for each in batch]
    ledger.claim(run_id, places)
    contested = ledger.contested(run_id, places)
    if contested:
        ledger.withdraw(run_id, contested)
    uncontested = [each for each in batch if each.place not in contested]
    errors = replayer.send([(key_of(each), each.raw) for each in uncontested])
    outcome.contested += len(contested)
    outcome.failed += len(errors)
    outcome.sent += len(uncontested) - len(errors)
    outcome.errors += [f"{uncontested[index].place}: {error}" for index, error in errors.items()]
    return not errors


def key_of(rejected: Rejected) -> bytes | None:
    """Return the key that ingest gave the message, so that it meets its user's events; None when it cannot be read.

    What the etl has read is believed: its decoder takes messages that the parser here refuses.
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
