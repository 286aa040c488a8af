"""The documentation: its page renders in a browser that reaches no other host, and sends the example."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from gateway.openapi.page import missing_bundle
from tests.support.clients.browser import WAIT_MS_MAX, browsing, needs_chromium

# Time for further requests of the page; "networkidle" is never reached, although all requests have ended.
SETTLED_SECONDS = 1.5
needs_bundle = pytest.mark.skipif(
    missing_bundle() is not None, reason="Scalar's bundle was not fetched: run the set-up"
)


class Watched:
    """A page in a browser: its requests, its console errors, and its responses."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.answers: list[Any] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("response", self.note)

    def note(self, answer: Any) -> None:
        """Record a response; Playwright accepts no built-in function as a handler."""
        self.answers.append(answer)

    def hosts(self) -> set[str]:
        """Return the hosts of all requests."""
        return {urlsplit(url).netloc for url in self.asked if urlsplit(url).scheme not in ("data", "blob")}


@needs_bundle
@needs_chromium
async def test_page_sends_its_example(gateway_url: str, tmp_path: Path) -> None:
    """The page shows every operation, sends its example by its button, and sends no request to another host."""
    async with browsing() as browser:
        watched = Watched(await browser.new_page(viewport={"width": 1280, "height": 1600}))
        page = watched.page
        await page.goto(f"{gateway_url}/api/openapi")
        await page.get_by_text("Produce stores one event.").first.wait_for(timeout=WAIT_MS_MAX)
        await page.get_by_text("/api/v1/batch_produce").first.wait_for(timeout=WAIT_MS_MAX)
        await asyncio.sleep(SETTLED_SECONDS)
        await page.screenshot(path=str(tmp_path / "page.png"))
        await page.get_by_role("button", name="Test Request (post /api/v1/produce)").click(timeout=WAIT_MS_MAX)
        await page.get_by_role("dialog").get_by_text('"some_event_data"').first.wait_for(timeout=WAIT_MS_MAX)
        send = page.get_by_role("dialog").get_by_role("button", name="Send", exact=False).first
        async with page.expect_response(f"{gateway_url}/api/v1/produce", timeout=WAIT_MS_MAX):
            await send.click(timeout=WAIT_MS_MAX)
        await page.screenshot(path=str(tmp_path / "sent.png"))
    sent = [answer for answer in watched.answers if answer.url == f"{gateway_url}/api/v1/produce"]

    assert [answer.status for answer in sent] == [201]
    assert watched.hosts() == {urlsplit(gateway_url).netloc}
    assert watched.complaints == []


async def test_document(gateway_url: str) -> None:
    """GET /api/openapi.json is the committed document, byte for byte."""
    async with aiohttp.ClientSession() as session, session.get(f"{gateway_url}/api/openapi.json") as answer:
        assert answer.content_type == "application/json"
        committed = Path(__file__).parents[2] / "proto" / "gen" / "ugc" / "v1" / "openapi.json"
        assert await answer.read() == committed.read_bytes()
