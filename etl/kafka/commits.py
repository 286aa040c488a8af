"""Synchronous commits to Kafka, one at a time, with a timeout except in the callbacks of a rebalance."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from typing import TypeAlias

from confluent_kafka import KafkaException, TopicPartition

from common.logs import log_limited
from common.threads import in_thread
from etl.errors import LogChangedError, SourceError
from etl.plan import Topic, read_position

# Sends one commit and returns Kafka's answers.
Send: TypeAlias = "Callable[[TopicPartition], Sequence[TopicPartition] | None]"
# How long a poll waits for the end of a commit that has timed out.
CHECK_SECONDS = 0.1


class Committer:
    """Sends synchronous commits from a thread, because Kafka's client waits for their answers without a timeout.

    The client retries a commit that is not answered, so a commit may be applied long after its caller has timed out.
    """

    def __init__(self, send: Send, seconds_max: float) -> None:
        self._send = send
        self._seconds_max = seconds_max
        self._last: Future[Sequence[TopicPartition] | None] = Future()
        self._last.set_result(None)

    def commit(self, offset: TopicPartition) -> None:
        """Commit and wait for the answer; SourceError unless Kafka acknowledges it."""
        self.require_none_in_flight()
        self._last = in_thread(lambda: self._send(offset))
        try:
            raise_for_errors(self._last.result(self._seconds_max))
        except KafkaException as error:
            raise SourceError(str(error.args[0])) from error
        except TimeoutError as error:
            raise SourceError(f"Kafka did not answer a commit in {self._seconds_max:g} s") from error

    def commit_in_callback(self, offset: TopicPartition) -> None:
        """Commit from the thread that serves a rebalance, without a timeout; SourceError unless Kafka acknowledges it.

        Observed: the client applies and answers the commit of any other thread after the callback has returned, when
        another member may own the partition. This thread must therefore wait for Kafka's answer.
        """
        self.require_none_in_flight()
        try:
            raise_for_errors(self._send(offset))
        except KafkaException as error:
            raise SourceError(str(error.args[0])) from error

    def is_idle(self, seconds: float = 0.0) -> bool:
        """Whether the last commit has ended, or does so within `seconds`."""
        return self._last.done() or bool(wait([self._last], seconds).done)

    def require_none_in_flight(self) -> None:
        """Raise SourceError while Kafka has not answered the last commit.

        A commit that is applied late must not replace a later one. And Kafka's client runs one call at a time: until
        the commit has ended, every other call of the consumer blocks its thread.
        """
        if not self._last.done():
            raise SourceError("Kafka has not answered an earlier commit yet")

    def await_last_commit(self) -> None:
        """Wait until the last commit, which may have timed out, is answered, for at most `seconds_max`.

        Kafka accepts commits for partitions that a member no longer owns: one that is applied then would replace the
        plan of the next owner.
        """
        if not wait([self._last], self._seconds_max).done:
            log_limited(
                logging.ERROR, "Kafka has not answered a commit, and partitions are revoked", seconds=self._seconds_max
            )


def raise_for_errors(answers: Sequence[TopicPartition] | None) -> None:
    """Raise SourceError if Kafka has rejected a commit."""
    for answer in answers or ():
        if answer.error:
            raise SourceError(str(answer.error))


def committed_for(topic: Topic, found: TopicPartition) -> int:
    """Return a committed offset; 0 if it is one of an earlier topic of the same name, or cannot be read."""
    try:
        return read_position(topic.identity, max(found.offset, 0), found.metadata or "").offset or 0
    except LogChangedError:
        return 0
