"""What can go wrong with the stores, in the caller's words; foreign errors are translated at the boundary.

StoreError
  UnavailableError    the server does not answer; try again
  ConflictError       what is there differs from what is wanted; a person must decide
"""

from __future__ import annotations


class StoreError(Exception):
    """Base of the errors of Kafka's and ClickHouse's administration."""


class UnavailableError(StoreError):
    """The server does not answer, or not in time."""


class ConflictError(StoreError):
    """The topic or a migration is there, but not as wanted."""
