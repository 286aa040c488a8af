"""Commits to Kafka, one after the other, each with a limit; where it matters, the end of the last one is awaited."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

from confluent_kafka import KafkaException, TopicPartition

from etl.aside import in_thread
from etl.errors import SourceError
from services.runtime.logs import logger


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
        if not self._last.done():
            # One after the other: a commit that is applied late must not undo a later one.
            raise SourceError("Kafka has not answered an earlier commit yet")
        self._last = in_thread(lambda: self._send(place))
        try:
            answers = self._last.result(self._seconds_max)
        except KafkaException as error:
            raise SourceError(str(error.args[0])) from error
        except TimeoutError as error:
            raise SourceError(f"Kafka did not answer a commit in {self._seconds_max:g} s") from error
        for answer in answers or ():
            if answer.error:
                raise SourceError(str(answer.error))

    def settle(self, seconds_max: float) -> None:
        """Wait until no commit is on its way any more.

        Kafka takes commits for partitions that a member has given up: one that is applied then would replace the plan
        of the next owner.
        """
        if wait([self._last], min(seconds_max, self._seconds_max)).done:
            return
        logger().warning("partitions are not given up before Kafka has answered a commit", seconds_max=seconds_max)
        if not wait([self._last], max(0.0, seconds_max - self._seconds_max)).done:
            logger().error("Kafka has not answered a commit, and partitions are given up", seconds_max=seconds_max)
