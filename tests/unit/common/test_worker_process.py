"""The parent loses nothing of what a worker reports."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from common.workers.process import receive
from common.workers.worker import BEAT, READY

SHORT_SECONDS = 0.01


@pytest.mark.parametrize("data", [READY, BEAT + READY])
def test_data_at_the_end_of_the_wait(data: bytes) -> None:
    """What arrives at the very moment at which the time of a wait runs out is received by that wait or by the next."""

    async def main() -> None:
        theirs, channel = socket.socketpair()
        with theirs, channel:
            channel.settimeout(0)
            for _ in range(10):

                def arrive_late() -> None:
                    theirs.send(data)
                    # The event loop then finds both the data and the end of the time.
                    time.sleep(2 * SHORT_SECONDS)

                asyncio.get_running_loop().call_later(SHORT_SECONDS / 2, arrive_late)
                received = b""
                for _wait in range(10):
                    received += await receive(channel, SHORT_SECONDS) or b""
                    if received == data:
                        break
                assert received == data

    asyncio.run(main())


def test_silence_and_end() -> None:
    """A wait in which nothing arrives differs from the end of the channel."""

    async def main() -> None:
        theirs, channel = socket.socketpair()
        with channel:
            channel.settimeout(0)
            assert await receive(channel, SHORT_SECONDS) is None
            theirs.send(BEAT)
            assert await receive(channel, SHORT_SECONDS) == BEAT
            theirs.close()
            assert await receive(channel, SHORT_SECONDS) == b""

    asyncio.run(main())
