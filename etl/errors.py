"""What can go wrong outside the ETL; foreign errors are translated at the boundary.

EtlError
  SinkError      ClickHouse did not take a batch: down, refusing, or not answering; the batch is tried again
  SourceError    Kafka did not take a commit; the batch may be delivered once more
"""

from __future__ import annotations


class EtlError(Exception):
    """Base of the errors that the loader handles."""


class SinkError(EtlError):
    """ClickHouse did not acknowledge an insert; whether it was applied is unknown."""


class SourceError(EtlError):
    """Kafka did not acknowledge a commit; whether it was applied is unknown."""
