"""What a call to the service ends with, and who takes it."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from gateway.errors import Metadata


class Reply(NamedTuple):
    """A successful response of the service: the bytes of its message, and the metadata before and after it."""

    message: bytes
    initial: Metadata
    trailing: Metadata


class Caller(Protocol):
    """Who makes a call without a task of its own; it gets exactly one verdict, unless it abandons the call."""

    def metadata(self) -> Metadata:
        """Return the metadata of the call; GatewayError when there is too much of it."""

    def metadata_fields(self, names: frozenset[str]) -> bytes:
        """Return the metadata of these names as fields of a relayed call; GatewayError as above."""

    def answered(self, reply: Reply) -> None:
        """Take the response of the service."""

    def failed(self, error: Exception) -> None:
        """Take the error of the call."""


class Begun(Protocol):
    """A call that has begun."""

    def abandon(self) -> None:
        """Cancel the call, whose verdict nobody waits for any more."""
