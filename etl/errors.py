"""What can go wrong in the ETL; foreign errors are translated at the boundary.

EtlError
  SinkError            ClickHouse did not acknowledge; whether it stored anything is unknown: the partition starts over
    DataRefusedError   ClickHouse refused a block for its data: the bad rows are sought, if nothing of it is stored
    ProbeUnavailableError  rows cannot be tried without storing them: the user lacks grants
    TooLargeError      ClickHouse had not the memory or the time for a block of this size: parts of it may fit
    QuorumError        replicas have not confirmed a block: it is on some of them, or on none, and may still appear
      QuorumTimeoutError  an insert's time ran out while it waited for the replicas, or because of the block's size
  SourceError          Kafka did not answer or acknowledge; whether it applied a commit is unknown: starts over
  LoaderStoppedError   a person must decide; the process ends with status 1
    LogChangedError    the log is no longer what was planned or committed
    RefusalsError      ClickHouse refuses too many rows: the table is wrong, not the events
    ConsumerLostError  Kafka's client can never work again: the process must be replaced
"""

from __future__ import annotations


class EtlError(Exception):
    """Base of the errors of this process."""


class SinkError(EtlError):
    """ClickHouse did not acknowledge; whether it applied the insert is unknown."""


class DataRefusedError(SinkError):
    """ClickHouse refused a block because of a value in it; `code` is ClickHouse's number for the error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class TooLargeError(SinkError):
    """ClickHouse had not the memory or the time for a block of this size; smaller ones may fit.

    `code` is ClickHouse's number where the limit is that of each query by itself, else 0: the server has none left.
    """

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class QuorumError(SinkError):
    """Replicas have not confirmed a block: ordinary reads do not return it, yet it may become visible, or vanish."""


class QuorumTimeoutError(QuorumError):
    """The time of an insert on a cluster ran out: waiting for replicas, or because its block was too large."""


class ProbeUnavailableError(SinkError):
    """ClickHouse does not let rows be tried without storing them, as when its user lacks the grants for that."""


class SourceError(EtlError):
    """Kafka did not answer or acknowledge; whether a commit was applied is unknown."""


class LoaderStoppedError(EtlError):
    """Going on could lose or double events, or fill a table with refusals: a person must decide."""


class LogChangedError(LoaderStoppedError):
    """The topic no longer holds what a plan or a commit says; the message names the partition and the offsets."""


class RefusalsError(LoaderStoppedError):
    """ClickHouse refuses more rows than single bad events explain; `others_pass` where it takes good rows meanwhile."""

    others_pass = False


class ConsumerLostError(LoaderStoppedError):
    """Kafka's client says that it can never work again, as when the group refuses it; whoever restarts us may help."""
