"""Errors of the administration of Kafka and ClickHouse; those of the client libraries are translated to them.

StoreError
  UnavailableError    the server does not answer; retry
  DeniedError         the process lacks a permission; the text names it
  ConflictError       what exists differs from what is expected; a person must decide
"""

from __future__ import annotations


class StoreError(Exception):
    """Base of the errors of Kafka's and ClickHouse's administration."""


class UnavailableError(StoreError):
    """The server does not answer, or not in time."""


class DeniedError(StoreError):
    """The store denies an operation; the text names the operation and the resource."""


class ConflictError(StoreError):
    """The topic or a migration exists, but not as expected."""
