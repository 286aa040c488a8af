"""Asks Kafka periodically where the log of each owned partition ends, and how many partitions the topic has.

Kafka's client has an end only for partitions that it fetches, and not the time at which that was the end.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # documented, but not exported

from common.logs import logger
from etl.progress import LogEnd

ASK_SECONDS = 1.0
# The number of partitions changes rarely; it is asked for once in so many times.
TOPIC_EVERY = 10


class KafkaLogEnds:
    """The ends of the logs, and the number of the topic's partitions, 0 until Kafka has answered.

    A thread replaces them; other threads read them.
    """

    def __init__(
        self,
        admin: AdminClient,
        topic: str,
        seconds_max: float,
        ask_more: Callable[[], None] = lambda: None,
    ) -> None:
        """`ask_more` is called each time too, in the same thread."""
        self._admin = admin
        self._ask_more = ask_more
        self._topic = topic
        self._seconds_max = seconds_max
        self._ends: dict[int, LogEnd] = {}
        self.partitions = 0

    def of(self, partition: int) -> LogEnd | None:
        """Return the end that Kafka last reported; None if it has not reported one."""
        return self._ends.get(partition)

    @contextlib.contextmanager
    def asked(self, owned: Callable[[], Iterable[int]]) -> Iterator[None]:
        """Ask in a thread until the block ends; `owned` returns the partitions."""
        ended = threading.Event()
        # A daemon, because a call of Kafka's client may exceed its timeout.
        thread = threading.Thread(target=self._ask_until, args=(ended, owned), name="log-ends", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()

    def _ask_until(self, ended: threading.Event, owned: Callable[[], Iterable[int]]) -> None:
        count = 0
        while not ended.wait(ASK_SECONDS):
            self._ask_more()
            try:
                self.ask(list(owned()))
                if not self.partitions or count % TOPIC_EVERY == 0:
                    self.count_partitions()
            except (KafkaException, TimeoutError) as error:
                # The consumer logs an outage; until it ends, the last answers stay.
                logger().debug("Kafka does not answer where the log ends", error=str(error))
            count += 1

    def ask(self, partitions: Iterable[int]) -> None:
        """Ask for the ends of these partitions; others are forgotten, and the old end stays where Kafka has none."""
        asked_at = time.time()
        latest: dict[TopicPartition, OffsetSpec] = {
            TopicPartition(self._topic, number): OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the library's
            for number in partitions
        }
        answers = self._admin.list_offsets(latest, request_timeout=self._seconds_max)
        ends: dict[int, LogEnd] = {}
        for at, answer in answers.items():
            try:
                ends[at.partition] = LogEnd(answer.result(2 * self._seconds_max).offset, asked_at)
            except KafkaException as error:
                logger().debug("Kafka has no end of a partition", partition=at.partition, error=str(error))
                if at.partition in self._ends:
                    ends[at.partition] = self._ends[at.partition]
        self._ends = ends

    def count_partitions(self) -> None:
        """Ask how many partitions the topic has."""
        found = self._admin.list_topics(self._topic, timeout=self._seconds_max).topics[self._topic]
        if found.error is None:
            before, self.partitions = self.partitions, len(found.partitions)
            if before and self.partitions > before:
                logger().warning("partitions were added to the topic", before=before, partitions=self.partitions)
