"""The exceptions of the ETL; errors of the client libraries are translated at the boundary.

EtlError
  SinkError            ClickHouse did not acknowledge; it may have stored the rows: the partition starts over
    FencedError        ClickHouse rejected an insert, because its plan's deadline has passed: nothing of it is stored
    DataRefusedError   ClickHouse refused a block for its data: the refused rows are searched, if nothing was stored
    ProbeUnavailableError  rows cannot be probed without storing them: the user lacks grants
    TooLargeError      ClickHouse lacked the memory or the time for a block of this size: parts of it may fit
    QuorumError        replicas have not confirmed a block: some of them may hold it, and it may still become visible
      QuorumTimeoutError  an insert timed out while it waited for the replicas, or because of the block's size
  SourceError          Kafka did not answer or acknowledge; it may have applied a commit: the partition starts over
  LoaderStoppedError   a person must decide
    LogChangedError    the log does not match what was planned or committed: the partition is halted
    RefusalsError      ClickHouse refuses too many rows: the partition is halted, or the process ends with status 1
    ConsumerLostError  Kafka's client has failed for good: the process ends with status 1, and must be replaced
"""

from __future__ import annotations


class EtlError(Exception):
    """The base of the errors of this process."""


class SinkError(EtlError):
    """ClickHouse did not acknowledge; it may have applied the insert."""


class FencedError(SinkError):
    """ClickHouse rejected an insert that began after its plan's deadline."""


class DataRefusedError(SinkError):
    """ClickHouse refused a block because of a value in it; `code` is ClickHouse's error code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class TooLargeError(SinkError):
    """ClickHouse lacked the memory or the time for a block of this size; smaller ones may fit.

    `code` is ClickHouse's error code if the limit is that of a single query, and 0 if the server has run out.
    """

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class QuorumError(SinkError):
    """Replicas have not confirmed a block: ordinary reads do not return it, yet it may become visible, or vanish."""


class QuorumTimeoutError(QuorumError):
    """An insert on a cluster timed out: it waited for replicas, or its block was too large."""


class ProbeUnavailableError(SinkError):
    """ClickHouse does not allow rows to be probed, for example because its user lacks the grants."""


class SourceError(EtlError):
    """Kafka did not answer or acknowledge; it may have applied a commit."""


class LoaderStoppedError(EtlError):
    """Continuing could lose or duplicate events, or fill a table with refused ones: a person must decide."""


class LogChangedError(LoaderStoppedError):
    """The topic does not hold what a plan or a commit names; the message has the partition and the offsets."""


class RefusalsError(LoaderStoppedError):
    """ClickHouse refuses more rows than a few bad events explain.

    `accepts_good_rows` is set if it accepts good rows at the same time.
    """

    accepts_good_rows = False


class ConsumerLostError(LoaderStoppedError):
    """Kafka's client has failed for good, as when the group rejects it; a restart of the process may help."""
