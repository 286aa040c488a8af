"""Heartbeat: an event loop that turns is alive, one that is blocked is not."""

from __future__ import annotations

import asyncio

from common.heartbeat import SILENCE_SECONDS_MAX, Heartbeat


async def test_heartbeat() -> None:
    """A loop that has not turned for longer than the limit is reported, until it turns again."""
    now = 100.0
    heartbeat = Heartbeat(lambda: now)
    now += SILENCE_SECONDS_MAX
    assert heartbeat.problem() == ""
    now += 1
    assert heartbeat.problem() == "the event loop has not turned for 11 s"

    async with heartbeat.beating():
        await asyncio.sleep(0)
        assert heartbeat.problem() == ""
        # No turn of the loop follows.
        now += SILENCE_SECONDS_MAX + 2
        assert heartbeat.problem() == "the event loop has not turned for 12 s"
