"""Watches, twice a second, how far the topic and each replica are: which rows are late, and for how long."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaException, TopicPartition

from tests.support.cluster.cluster import TOPIC, Cluster
from tests.support.cluster.layout import CLICKHOUSE, Member, shard_of
from tests.support.cluster.queries import QueryError, rows
from tests.support.processes.system import await_equal

PARTITIONS = range(6)
POLL_SECONDS = 0.5
ANSWER_SECONDS_MAX = 2.0
# A row is late when the message is older than this and no replica holds it: ordinary rows take 1 to 3 s.
LATE_SECONDS = 6.0
HISTORY_MAX = 10_000
AWAIT_SECONDS_MAX = 150.0
# The largest offset of each partition that a replica holds.
LARGEST = """
SELECT kafka_partition, max(kafka_offset) FROM
(
    SELECT kafka_partition, kafka_offset FROM events WHERE kafka_offset >= {floor}
    UNION ALL SELECT kafka_partition, kafka_offset FROM rejected_events WHERE kafka_offset >= {floor}
)
GROUP BY kafka_partition
"""
Offsets = Mapping[int, int]


@dataclass(frozen=True)
class Sample:
    """At a moment, the age of each partition's oldest message that no replica holds."""

    at: float
    delays: Mapping[int, float]

    @property
    def worst(self) -> float:
        """The age of the oldest message of all."""
        return max(self.delays.values(), default=0.0)


@dataclass
class Watch:
    """The ends of the partitions, what each replica holds of them, and the samples so far."""

    cluster: Cluster
    ends: dict[int, int] = field(default_factory=dict)
    held: dict[str, dict[int, int]] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    history: deque[tuple[float, Offsets]] = field(default_factory=lambda: deque(maxlen=HISTORY_MAX))
    stop: threading.Event = field(default_factory=threading.Event)

    def stored(self, shard: int | None = None) -> dict[int, int]:
        """Return the largest offset of each partition that any replica holds, of one shard or of all."""
        found: dict[int, int] = {}
        for name, offsets in list(self.held.items()):
            if shard in (None, shard_of(name)):
                for partition, offset in offsets.items():
                    found[partition] = max(found.get(partition, -1), offset)
        return found

    def partitions_of(self, shard: int) -> list[int]:
        """Return the partitions whose newest rows are on a shard."""
        everywhere, here = self.stored(), self.stored(shard)
        return [partition for partition, offset in sorted(everywhere.items()) if here.get(partition) == offset]

    def await_flow(self, partitions: Collection[int] = PARTITIONS, seconds_max: float = AWAIT_SECONDS_MAX) -> None:
        """Wait until what is sent from now on to some partitions, under a load, is stored.

        The ends must advance first: without it, a partition that is at a standstill would pass.
        """
        begin = dict(self.ends)
        await_equal(lambda: [each for each in partitions if self.ends[each] <= begin[each]], [], seconds_max)
        wanted = dict(self.ends)
        await_equal(
            lambda: {each: wanted[each] - 1 for each in partitions if self.stored().get(each, -1) < wanted[each] - 1},
            {},
            seconds_max,
        )

    def late_until(self, begin: float) -> float | None:
        """Return for how long after a moment rows were late; None if they never were."""
        late = [each.at - begin for each in list(self.samples) if each.at >= begin and each.worst > LATE_SECONDS]
        return max(late, default=None)

    def worst(self, begin: float) -> float:
        """Return the age of the oldest row that was not stored since a moment."""
        return max((each.worst for each in list(self.samples) if each.at >= begin), default=0.0)

    def follow_replica(self, member: Member) -> None:
        """Read what a replica holds, until stopped; while it does not answer, what it held last counts."""
        offsets = self.held.setdefault(member.name, {})
        while not self.stop.wait(POLL_SECONDS):
            floor = min((offsets.get(each, 0) for each in PARTITIONS), default=0)
            with contextlib.suppress(QueryError):
                for partition, offset in rows(member, LARGEST.format(floor=floor), ANSWER_SECONDS_MAX):
                    offsets[int(partition)] = int(offset)

    def follow_topic(self) -> None:
        """Read the ends of the partitions, and take a sample each time, until stopped."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.cluster.layout.bootstrap,
                "group.id": "cluster-watch",
                "log_level": 0,
                "error_cb": lambda _error: None,
                "socket.timeout.ms": 3_000,
            }
        )
        with contextlib.closing(consumer):
            while not self.stop.wait(POLL_SECONDS):
                with contextlib.suppress(KafkaException):
                    # The client otherwise goes on asking a leader that has died.
                    consumer.list_topics(TOPIC, timeout=ANSWER_SECONDS_MAX)
                for partition in PARTITIONS:
                    with contextlib.suppress(KafkaException):
                        at = TopicPartition(TOPIC, partition)
                        _, self.ends[partition] = consumer.get_watermark_offsets(at, timeout=ANSWER_SECONDS_MAX)
                now = time.time()
                self.history.append((now, dict(self.ends)))
                self.samples.append(Sample(now, delays(self.history, self.stored(), now)))


def delays(history: Sequence[tuple[float, Offsets]], stored: Offsets, now: float) -> dict[int, float]:
    """Return the age of each partition's oldest message that is not stored; 0 if everything is."""
    if not history:
        return {}
    _, ends = history[-1]
    found = {}
    for partition, end in ends.items():
        following = stored.get(partition, -1) + 1
        since = now if end <= following else next(at for at, then in history if then.get(partition, 0) > following)
        found[partition] = now - since
    return found


@contextlib.contextmanager
def watching(cluster: Cluster) -> Iterator[Watch]:
    """Watch the cluster until the context ends."""
    watch = Watch(cluster)
    threads = [threading.Thread(target=watch.follow_topic, name="watch-topic")]
    threads += [
        threading.Thread(target=watch.follow_replica, args=(member,), name=f"watch-{member.name}")
        for member in cluster.layout.of(CLICKHOUSE)
    ]
    for thread in threads:
        thread.start()
    try:
        await_equal(lambda: len(watch.ends), len(PARTITIONS))
        yield watch
    finally:
        watch.stop.set()
        for thread in threads:
            thread.join()
