"""Headless Chromium for tests, where the machine has one."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
# Without these it requests updates from its vendor; root cannot use the sandbox.
ARGUMENTS = ("--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync")
# Generous: a slow machine is not a failure.
WAIT_MS_MAX = 60_000


@contextlib.asynccontextmanager
async def browsing() -> AsyncIterator[Any]:
    """Start Chromium; yield Playwright's browser."""
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            await browser.close()
