"""Finds the events that wait for a broker which does not answer, while other brokers of the cluster do. Pure.

Such events are acknowledged when another broker leads their partitions, or fail by their timeout. Until then they are
no measure of how many events the other brokers take.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

CONNECTED = "UP"
NO_LEADER = -1
# librdkafka's partition for messages that have no partition yet.
UNASSIGNED = "-1"


class Stuck(NamedTuple):
    """What waits for brokers that do not answer: the events, and their part of the partitions; 0 if all or none do."""

    events: int
    share: float


NOTHING = Stuck(0, 0.0)


class StuckBrokers:
    """Compares the statistics of Kafka's client with the ones before."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        # The responses that each broker had sent.
        self._responses: dict[int, int] = {}

    def find(self, statistics: Mapping[str, Any]) -> Stuck:
        """Return what waits for brokers that are not connected, or have not responded since the last call."""
        brokers = {each["nodeid"]: each for each in statistics["brokers"].values() if each["nodeid"] >= 0}
        silent = {number for number, each in brokers.items() if self._is_silent(number, each)}
        self._responses = {number: each["rx"] for number, each in brokers.items()}
        found = statistics["topics"].get(self._topic, {"partitions": {}})["partitions"]
        partitions = [each for number, each in found.items() if number != UNASSIGNED]
        waiting = [each for each in partitions if messages(each)]
        # A broker that nothing waits for may be unconnected for lack of work.
        stuck_leaders = {each["leader"] for each in waiting if each["leader"] in silent or each["leader"] == NO_LEADER}
        stuck = [each for each in partitions if each["leader"] in stuck_leaders]
        if not stuck or len(stuck) == len(partitions):
            return NOTHING
        return Stuck(sum(map(messages, stuck)), len(stuck) / len(partitions))

    def _is_silent(self, number: int, broker: Mapping[str, Any]) -> bool:
        if broker["state"] != CONNECTED:
            return True
        return bool(broker["waitresp_cnt"]) and broker["rx"] == self._responses.get(number)


def messages(partition: Mapping[str, Any]) -> int:
    """Return how many messages of a partition are not acknowledged."""
    return int(partition["msgq_cnt"] + partition["xmit_msgq_cnt"] + partition["msgs_inflight"])
