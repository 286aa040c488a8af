"""The live page of `ugc-up` in a real browser, with the real system: figures under load, and an outage of Kafka."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local.up.example import DOCUMENTED_EVENT
from tests.support.clients.browser import WAIT_MS_MAX, browsing, needs_chromium
from tests.support.processes.system import post
from tests.support.processes.up import Up, await_output, part

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="children are found through /proc"),
    needs_chromium,
]
# Ingest answers that an event is not accepted after this time; the default is 5.
DELIVERY_SECONDS = "2"
PAUSE_SECONDS = 0.05
Process = subprocess.Popen[bytes]


@contextlib.asynccontextmanager
async def load(gateway: str) -> AsyncIterator[None]:
    """Send valid and invalid events, and one event again and again, until the block ends."""
    stopped = asyncio.Event()
    repeated = event(event_id=str(uuid.uuid4()))
    bodies: list[Callable[[], bytes]] = [event, lambda: event(event_id="not a UUID"), lambda: repeated]

    async def send() -> None:
        while not stopped.is_set():
            for body in bodies:
                await asyncio.to_thread(post, f"http://{gateway}/api/v1/produce", body())
            await asyncio.sleep(PAUSE_SECONDS)

    task = asyncio.create_task(send())
    try:
        yield
    finally:
        stopped.set()
        await task


def event(**changes: str) -> bytes:
    """Return the documented event with changes."""
    return json.dumps(json.loads(DOCUMENTED_EVENT) | changes).encode()


@pytest.fixture
def up(tmp_path: Path) -> Iterator[tuple[Up, Process]]:
    """Run `ugc-up` with a Kafka of its own; return it and its process."""
    running = Up(tmp_path, {"UGC_INGEST_DELIVERY_SECONDS_MAX": DELIVERY_SECONDS})
    with running.started() as process:
        await_output(running, "Stop with Ctrl-C.")
        yield running, process


async def legend(page: Any, card: str, label: str) -> float:
    """Return the number beside a label of a legend, 0 while there is none."""
    text = await page.locator(f"#{card} .legend li", has_text=label).locator("b").inner_text()
    found = re.match(r"[\d.,]+", text)
    return float(found[0].replace(",", "")) if found else 0


async def until(page: Any, card: str, label: str) -> None:
    """Wait until the number beside a label of a legend is above 0."""
    async with asyncio.timeout(WAIT_MS_MAX / 1_000):
        while await legend(page, card, label) <= 0:  # noqa: ASYNC110 -- a page has no event for it
            await asyncio.sleep(0.1)


async def state(page: Any, process: str, text: str) -> None:
    """Wait until a process has a state."""
    await page.locator(f"#process-{process}", has_text=text).wait_for(timeout=WAIT_MS_MAX)


async def test_figures_and_an_outage_of_kafka(up: tuple[Up, Process]) -> None:
    """Under load the figures move; while Kafka is stopped ingest is not ready and events are unavailable.

    The browser asks no other host, and the page breaks no rule of its policy.
    """
    running, process = up
    kafka = part(process, "kafka")
    (address,) = re.findall(r"live status +(\S+)", running.output)
    asked: set[str] = set()
    problems: list[str] = []
    async with browsing() as browser, load(running.gateway):
        page = await browser.new_page()
        page.on("request", lambda request: asked.add(request.url.partition("/api/")[0]))
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        await page.goto(address)
        for name in ("gateway", "ingest", "etl"):
            await state(page, name, "\u2713 ready")
        for label in ("accepted", "invalid", "rows stored"):
            await until(page, "events", label)
        for listed in ("#invalid li >> text=event_id", "#rows li >> text=duplicate"):
            await page.locator(listed).wait_for(timeout=WAIT_MS_MAX)
        assert re.fullmatch(r"\d.* old", await page.locator("#age .figure").inner_text())
        assert re.fullmatch(r"\d.* messages?", await page.locator("#lag .figure").inner_text())

        os.kill(kafka, signal.SIGSTOP)
        try:
            await state(page, "ingest", "not ready")
            await state(page, "gateway", "not ready")
            await until(page, "events", "unavailable")
            assert "ingest" in await page.title()
        finally:
            os.kill(kafka, signal.SIGCONT)
        await state(page, "ingest", "\u2713 ready")
        await until(page, "events", "accepted")

    assert asked == {address.partition("/api/")[0]}
    assert problems == []


async def test_the_page_names_what_does_not_answer(up: tuple[Up, Process]) -> None:
    """The page names a process that is stopped, and shows that it has no answer of `ugc-up`; both end."""
    running, process = up
    etl = part(process, "etl")
    (address,) = re.findall(r"live status +(\S+)", running.output)
    async with browsing() as browser:
        page = await browser.new_page()
        await page.goto(address)
        await state(page, "etl", "\u2713 ready")
        os.kill(etl, signal.SIGSTOP)
        await state(page, "etl", "does not answer")
        os.kill(etl, signal.SIGCONT)
        await state(page, "etl", "\u2713 ready")
        await page.locator("#lag .chart").focus()
        await page.keyboard.press("ArrowLeft")
        assert re.fullmatch(r"at \d\d:\d\d:\d\d", await page.locator("#lag .moment").inner_text())
        await page.keyboard.press("Escape")
        assert await page.locator("#lag .moment").inner_text() == ""
        await page.route("**/api/status/latest.json", lambda route: route.abort())
        await page.get_by_text("ugc-up has not answered this page since").wait_for(timeout=WAIT_MS_MAX)
        await page.unroute("**/api/status/latest.json")
        await page.get_by_text("Updated every second").wait_for(timeout=WAIT_MS_MAX)
