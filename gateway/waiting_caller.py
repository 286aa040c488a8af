"""A caller of the service whose task waits for the verdict."""

from __future__ import annotations

import asyncio

from gateway.errors import Metadata
from gateway.relay.frames import metadata_fields
from gateway.reply import Reply


class WaitingCaller:
    """A caller whose task waits for the verdict."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata
        self.verdict: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    def metadata(self) -> Metadata:
        """Return the metadata of the call."""
        return self._metadata

    def metadata_fields(self, names: frozenset[str]) -> bytes:
        """Return the metadata of these names as fields of a relayed call."""
        return metadata_fields(pair for pair in self._metadata if pair[0] in names)

    def answered(self, reply: Reply) -> None:
        """Take the response of the service."""
        if not self.verdict.done():
            self.verdict.set_result(reply)

    def failed(self, error: Exception) -> None:
        """Take the error of the call."""
        if not self.verdict.done():
            # Without its frames, which refer to the caller.
            self.verdict.set_exception(error.with_traceback(None))
