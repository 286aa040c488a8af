"""One broker that does not answer leaves the events of the others their limit."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from common.networks import LOOPBACK
from services.ingest.kafka.stuck_brokers import NOTHING, Stuck, StuckBrokers
from services.ingest.limits.callers import CallerNames
from services.ingest.limits.event_admission import EventAdmission, ShedError

TOPIC = "ugc.events"


def broker(number: int, *, state: str = "UP", waiting: int = 0, responses: int = 0) -> dict[str, Any]:
    """Return a broker's part of the statistics."""
    return {"nodeid": number, "state": state, "waitresp_cnt": waiting, "rx": responses}


def partition(leader: int, queued: int = 0, sending: int = 0, sent: int = 0) -> dict[str, Any]:
    """Return a partition's part of the statistics."""
    return {"leader": leader, "msgq_cnt": queued, "xmit_msgq_cnt": sending, "msgs_inflight": sent}


def statistics(brokers: list[dict[str, Any]], partitions: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the statistics of Kafka's client."""
    numbered = {str(number): each for number, each in enumerate(partitions)} | {"-1": partition(-1)}
    found = {f"host-{each['nodeid']}": each for each in brokers} | {"bootstrap": broker(-1, state="DOWN")}
    return {"brokers": found, "topics": {TOPIC: {"partitions": numbered}}}


def test_broker_that_is_not_connected() -> None:
    """The events of a broker that is away are stuck, in the client's queues and sent."""
    given = statistics(
        [broker(1, state="DOWN"), broker(2), broker(3)],
        [partition(1, 5, 6, 7), partition(2, 9), partition(3), partition(1)],
    )

    assert StuckBrokers(TOPIC).find(given) == Stuck(18, 0.5)


def test_broker_that_does_not_respond() -> None:
    """A broker is stuck if requests wait for it and none was answered since the last statistics."""
    brokers = StuckBrokers(TOPIC)
    partitions = [partition(1, sent=4), partition(2, sent=4)]
    first = brokers.find(statistics([broker(1, waiting=1, responses=7), broker(2, waiting=1, responses=7)], partitions))
    second = brokers.find(
        statistics([broker(1, waiting=1, responses=7), broker(2, waiting=1, responses=8)], partitions)
    )

    assert first == NOTHING
    assert second == Stuck(4, 0.5)


def test_partition_without_leader() -> None:
    """A partition without a leader is stuck."""
    assert StuckBrokers(TOPIC).find(statistics([broker(2)], [partition(-1, 3), partition(2)])) == Stuck(3, 0.5)


@pytest.mark.parametrize(
    ("brokers", "partitions"),
    [
        ([broker(1, state="INIT"), broker(2)], [partition(1), partition(2, 5)]),
        ([broker(1, state="DOWN"), broker(2, state="DOWN")], [partition(1, 5), partition(2, 5)]),
        ([broker(1)], [partition(1, 5)]),
        ([], []),
    ],
    ids=["unconnected without work", "all brokers away", "a queue alone", "nothing known"],
)
def test_nothing_is_stuck(brokers: list[dict[str, Any]], partitions: list[dict[str, Any]]) -> None:
    """An outage of all of Kafka, a queue, and a broker without work are no reason to leave events out."""
    assert StuckBrokers(TOPIC).find(statistics(brokers, partitions)) == NOTHING


def test_topic_that_is_not_known() -> None:
    """Statistics before the topic is known have no partitions."""
    assert StuckBrokers(TOPIC).find({"brokers": {}, "topics": {}}) == NOTHING


class Call:
    """A call without a deadline."""

    is_low_priority = False

    def caller(self, _names: CallerNames) -> str:
        return "one"

    def seconds_left(self) -> float:
        return math.inf


class Cluster:
    """Three brokers, of which one does not answer for a while; the client reports its statistics once a second."""

    TICK, ACK_SECONDS, DELIVERY_SECONDS = 0.002, 0.005, 5.0

    def __init__(self, per_second: int, stuck: tuple[float, float], *, reports: bool = True) -> None:
        self.now = 0.0
        self.admission = EventAdmission(200, 200_000, 0.25, 1.0, CallerNames(LOOPBACK), lambda: self.now)
        # For each second, how many events were offered and acknowledged.
        self.acknowledged: dict[int, int] = {}
        self._per_second, self._stuck, self._reports = per_second, stuck, reports
        self._random = random.Random(1)
        self._answered: list[float] = []
        self._held: list[float] = []

    def run(self, seconds: float) -> None:
        """Offer single events."""
        owed, next_report = 0.0, 0.5
        while self.now < seconds:
            self.now += self.TICK
            is_stuck = self._stuck[0] <= self.now < self._stuck[1]
            owed += self._per_second * self.TICK
            while owed >= 1:
                owed -= 1
                self._offer(is_stuck=is_stuck)
            if not is_stuck:
                self._answered += [self.now + self.ACK_SECONDS] * len(self._held)
                self._held.clear()
            self._held = [each for each in self._held if self.now - each < self.DELIVERY_SECONDS]
            done = sum(each <= self.now for each in self._answered)
            self.acknowledged[int(self.now)] = self.acknowledged.get(int(self.now), 0) + done
            self._answered = [each for each in self._answered if each > self.now]
            if self._reports and self.now >= next_report:
                next_report += 1.0
                self.admission.meter.exclude(*(Stuck(len(self._held), 1 / 3) if is_stuck and self._held else NOTHING))
            self.admission.meter.on_poll(len(self._answered) + len(self._held), self.now)

    def _offer(self, *, is_stuck: bool) -> None:
        meter = self.admission.meter
        try:
            self.admission.check(1, Call())
        except ShedError:
            return
        meter.reserve(1)
        meter.hand_over(1)
        if is_stuck and not self._random.randrange(3):
            self._held.append(self.now)
        else:
            self._answered.append(self.now + self.ACK_SECONDS)

    def rate(self, since: int, until: int) -> float:
        """Return the events that were acknowledged a second."""
        return sum(self.acknowledged[second] for second in range(since, until)) / (until - since)


@pytest.mark.parametrize("per_second", [300, 3_000])
def test_events_of_the_other_brokers(per_second: int) -> None:
    """While one of three brokers does not answer, the events of the two others are acknowledged as before."""
    cluster = Cluster(per_second, stuck=(10, 20))
    cluster.run(26)

    assert cluster.rate(4, 9) >= 0.95 * per_second
    assert cluster.rate(12, 20) >= 0.9 * per_second * 2 / 3
    assert cluster.rate(23, 26) >= 0.95 * per_second


def test_without_statistics() -> None:
    """Without the statistics the limit would keep the others from sending, which is why they are read."""
    cluster = Cluster(3_000, stuck=(10, 20), reports=False)
    cluster.run(20)

    assert cluster.rate(12, 20) < 0.5 * 3_000 * 2 / 3
