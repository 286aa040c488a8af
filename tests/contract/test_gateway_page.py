"""The documentation: its document is valid OpenAPI, its page renders in a browser that reaches no other host."""

from __future__ import annotations

import shutil
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from gateway.page import missing_bundle
from services.runtime.program import Program, free_port, running
from services.runtime.settings import Address
from tests.contract.conftest import LOCALHOST, ROOT, is_alive

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
RENDERED_MS_MAX = 30_000
# Time for whatever the page would still ask for; "networkidle" never comes, though all its requests have ended.
SETTLED_MS = 1_500


@pytest.fixture(scope="module")
def product_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """Start a gateway as users do; nothing is behind it."""
    address = Address(LOCALHOST, free_port())
    program = Program(
        name="gateway",
        argv=(sys.executable, "-m", "gateway"),
        log=tmp_path_factory.mktemp("logs") / "gateway.log",
        environment={"UGC_GATEWAY_LISTEN": str(address), "UGC_GATEWAY_DRAIN_SECONDS": "0"},
        directory=ROOT,
        listens={"UGC_GATEWAY_LISTEN": address},
        ready=lambda: is_alive(address),
    )
    with running(program):
        yield address


@pytest.mark.skipif(missing_bundle() is not None, reason="Scalar's bundle was not fetched: run the set-up")
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_page_renders_without_another_host(product_gateway: Address, tmp_path: Path) -> None:
    """The page shows every operation, asks no other host for anything, and has nothing to complain about."""
    from playwright.sync_api import sync_playwright

    asked: list[str] = []
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1600})
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: note_error(message, complaints))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"http://{product_gateway}/api/openapi")
        page.get_by_text("Produce takes one event.").first.wait_for(timeout=RENDERED_MS_MAX)
        page.get_by_text("/api/v1/batch_produce").first.wait_for(timeout=RENDERED_MS_MAX)
        page.wait_for_timeout(SETTLED_MS)
        page.screenshot(path=str(tmp_path / "page.png"))
        browser.close()
    hosts = {urlsplit(url).netloc for url in asked if urlsplit(url).scheme not in ("data", "blob")}
    assert hosts == {str(product_gateway)}
    assert complaints == []


def note_error(message: Any, complaints: list[str]) -> None:
    """Keep a browser console's errors."""
    if message.type == "error":
        complaints.append(message.text)


def test_the_document_is_served_as_the_page_asks_for_it(product_gateway: Address) -> None:
    """GET /api/openapi.json is JSON, and the same each time."""
    first, second = (read(product_gateway) for _time in range(2))
    assert first == second
    assert first[0] == "application/json"


def read(gateway: Address) -> tuple[str, bytes]:
    """Fetch the document."""
    with urllib.request.urlopen(f"http://{gateway}/api/openapi.json", timeout=5) as answer:
        return answer.headers.get_content_type(), answer.read()
