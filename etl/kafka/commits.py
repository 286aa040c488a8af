"""Commits to Kafka, one after the other, with a limit outside of the callbacks of a rebalance."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from typing import Any

from confluent_kafka import KafkaException, TopicPartition

from common.logs import logger
from etl.aside import in_thread
from etl.errors import SourceError


class Committer:
    """Sends synchronous commits from a thread, because Kafka's client itself waits for their answers without a limit.

    The client repeats a commit whose answer does not come, so that one may be applied long after its caller has given
    it up.
    """

    def __init__(self, send: Callable[[TopicPartition], Any], seconds_max: float) -> None:
        self._send = send
        self._seconds_max = seconds_max
        self._last: Future[Any] = Future()
        self._last.set_result(None)

    def commit(self, place: TopicPartition) -> None:
        """Commit and wait for the answer; SourceError unless Kafka says that it is done."""
        self._refuse_second()
        self._last = in_thread(lambda: self._send(place))
        try:
            checked(self._last.result(self._seconds_max))
        except KafkaException as error:
            raise SourceError(str(error.args[0])) from error
        except TimeoutError as error:
            raise SourceError(f"Kafka did not answer a commit in {self._seconds_max:g} s") from error

    def commit_in_callback(self, place: TopicPartition) -> None:
        """Commit from the thread that serves a rebalance; SourceError unless Kafka says that it is done.

        Seen: the client answers the commit of any other thread when the callback has returned, and applies it then,
        when the partition is another member's. So this one has no limit but Kafka's answer.
        """
        self._refuse_second()
        try:
            checked(self._send(place))
        except KafkaException as error:
            raise SourceError(str(error.args[0])) from error

    def _refuse_second(self) -> None:
        if not self._last.done():
            # One after the other: a commit that is applied late must not undo a later one.
            raise SourceError("Kafka has not answered an earlier commit yet")

    def settle(self) -> None:
        """Wait until the commit that was given up last is not on its way any more, as long as for any other.

        Kafka takes commits for partitions that a member has given up: one that is applied then would replace the plan
        of the next owner.
        """
        if not wait([self._last], self._seconds_max).done:
            logger().error("Kafka has not answered a commit, and partitions are given up", seconds=self._seconds_max)


def checked(answers: Iterable[TopicPartition] | None) -> None:
    """Raise SourceError when Kafka has refused a commit."""
    for answer in answers or ():
        if answer.error:
            raise SourceError(str(answer.error))
