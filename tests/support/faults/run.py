"""One run of a fault, with its own topic, database and processes, a load, and a verdict at the end.

    with faulty(stack, tmp_path, "etl killed after-plan", seed) as run:
        victim = run.etl("after-plan:kill@2")
        run.load()
        run.await_killed(victim)
        run.etl()

When the context ends, events must be stored again; then the load stops, everything is loaded, the processes stop, and
the oracle judges. The result is a line of the results file.
"""

from __future__ import annotations

import contextlib
import random
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from confluent_kafka import KafkaError, KafkaException

from common.settings import Address
from db.clickhouse.client import ClickHouse, connected
from db.clickhouse.schema import migrate
from db.errors import StoreError
from db.kafka.connection import admin
from db.kafka.layout import TopicLayout
from db.kafka.topics import OffsetReader, provision, topic_identity
from tests.support.faults.group import group_members
from tests.support.faults.oracle import Recreation, Verdict, breaches, judge, loaded, stored_events
from tests.support.faults.processes import Processes
from tests.support.faults.results import judged, record
from tests.support.load.ledger import read_ledger
from tests.support.processes.server_stack import ServerStack
from tests.support.processes.system import Deployment

LAYOUT = TopicLayout(partitions=3, replication_factor=1, min_insync_replicas=1, retention_hours=1)
DELETE_SECONDS_MAX = 30
PROGRESS_ROWS = 500
FAILURE_CHARACTERS_MAX = 2_000
# What the etl logs when the broker has lost its group, which ends the process.
GROUP_IS_GONE = "The group id does not exist"
# Small and frequent batches, so that a run of seconds has many, and short recoveries.
SETTINGS = {
    "UGC_ETL_FLUSH_SECONDS": "0.2",
    "UGC_ETL_FLUSH_ROWS": "500",
    "UGC_ETL_FENCE_SECONDS": "1.5",
    "UGC_ETL_RETRY_SECONDS_MAX": "0.5",
}


class Run(Processes):
    """A run: its processes, its tables, and its verdict."""

    def __init__(self, stack: ServerStack, deployment: Deployment, fault: str, seed: int, tables: ClickHouse) -> None:
        super().__init__(stack, deployment, random.Random(f"{fault}/{seed}"))
        self.fault = fault
        self.seed = seed
        self.tables = tables
        self.recreation: Recreation | None = None
        self.broker_restarts = 0
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """The duration of the run so far."""
        return time.monotonic() - self._began

    def await_progress(self, rows: int = PROGRESS_ROWS) -> None:
        """Wait until so many more rows are stored, or everything was sent."""
        before = self._rows()
        self.await_true(lambda: self._rows() >= before + rows or not self.is_loading(), "no more rows are stored")

    def await_loaded(self) -> None:
        """Wait until the load has ended, every message of the topic is a row, and its offset is committed."""
        self.await_load()
        topic_id = topic_identity(self.stack.bootstrap, self.deployment.topic)
        with contextlib.closing(
            OffsetReader(self.stack.bootstrap, self.deployment.topic, self.deployment.group)
        ) as reader:
            wanted = {each.partition: each.high for each in reader.read() if each.high}
            self.await_equal(lambda: self._loaded(topic_id), wanted)
            self.await_equal(lambda: sum(each.lag for each in reader.read()), 0)

    def await_committed(self) -> None:
        """Wait until the offsets that the topic has now are committed, while the load continues."""
        with contextlib.closing(
            OffsetReader(self.stack.bootstrap, self.deployment.topic, self.deployment.group)
        ) as reader:
            wanted = {each.partition: each.high for each in reader.read()}
            self.await_true(
                lambda: all(each.high - each.lag >= wanted[each.partition] for each in reader.read()),
                "the offsets are not committed",
            )

    def recreate_topic(self) -> None:
        """Delete the topic and create it again under its name."""
        began = time.time()
        delete_topic(self.stack.bootstrap, self.deployment.topic)
        # The name is free a moment after Kafka's answer.
        self.await_true(
            lambda: provision(self.stack.bootstrap, self.deployment.topic, LAYOUT), "the topic is still there"
        )
        self.recreation = Recreation(began, time.time())

    def finish(self) -> Verdict:
        """Wait until events are stored again and everything is loaded, stop the members, and judge."""
        try:
            self._await_everything()
        except AssertionError:
            if not self._broker_keeps_dead_members():
                raise
            self.broker_restarts += 1
            self.stack.kafka.restart()
            self._await_everything()
        for member in list(self.members):
            self.leave(member)
        return self.verdict()

    def _await_everything(self) -> None:
        self.await_progress()
        self.end_load()
        self.await_loaded()

    def _broker_keeps_dead_members(self) -> bool:
        """Whether the group has members that are no running process, long after their sessions have ended.

        Seen with Kafka 4.4.0 after kill -9 of a single broker: it answers that the group does not exist, which is fatal
        to the client, and then loads the group with its former members, whose sessions never end. Their partitions have
        no owner until the broker is restarted; no client can remove a member of such a group.
        """
        lost_group = any(GROUP_IS_GONE in each for each in self.restarts)
        return lost_group and len(group_members(self.stack.bootstrap, self.deployment.group)) > len(self.members)

    def verdict(self) -> Verdict:
        """Judge the rows that are stored now."""
        direct = replace(self.deployment, database=self.stack.url(self.deployment.topic))
        return judge(read_ledger(self.ledger), stored_events(self.tables), breaches(direct), self.recreation)

    def _rows(self) -> int:
        try:
            return sum(self.tables.rows("SELECT count() FROM events")[0])
        except StoreError:
            return 0

    def _loaded(self, topic_id: uuid.UUID) -> dict[int, int] | None:
        try:
            return loaded(self.tables, topic_id)
        except StoreError:
            return None


@contextlib.contextmanager
def faulty(
    stack: ServerStack,
    folder: Path,
    fault: str,
    seed: int,
    settings: Mapping[str, str] | None = None,
    clickhouse: Address | None = None,
    *,
    ingest: bool = True,
) -> Iterator[Run]:
    """Create a run; when the context ends, judge it, write its result, and assert that it is clean.

    `clickhouse` is the address of a proxy in front of ClickHouse; without `ingest` the test starts ingest itself.
    """
    stack.heal()
    name = f"fault_{uuid.uuid4().hex}"
    assert provision(stack.bootstrap, name, LAYOUT)
    assert migrate(stack.url(name))
    deployment = Deployment(
        folder, stack.bootstrap, name, stack.url(name, clickhouse), {**SETTINGS, **(settings or {})}
    )
    deployment.ingest_port = stack.endpoints.ingest_port
    with connected(stack.url(name)) as tables:
        run = Run(stack, deployment, fault, seed, tables)
        try:
            if ingest:
                run.ingest()
            yield run
            verdict = run.finish()
        except BaseException as error:
            record(fault, seed, run.seconds, {"failed": f"{type(error).__name__}: {error}"[:FAILURE_CHARACTERS_MAX]})
            raise
        finally:
            run.end()
        numbers = {
            "restarts": run.restarts,
            "ingest_restarts": run.ingest_restarts,
            "broker_restarts": run.broker_restarts,
        }
        record(fault, seed, run.seconds, judged(verdict) | numbers)
        assert verdict.clean, str(verdict)
        assert run.broker_restarts or run.restarts == []
        assert all(GROUP_IS_GONE in each for each in run.restarts)
        assert verdict.acknowledged
        tables.rows(f"DROP DATABASE {name}")
        delete_topic(stack.bootstrap, name)


def delete_topic(bootstrap: str, topic: str) -> None:
    """Delete a topic if it exists."""
    # Kept until the answer arrives: a client that is garbage-collected cancels its requests.
    client = admin(bootstrap)
    try:
        client.delete_topics([topic])[topic].result(DELETE_SECONDS_MAX)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise
