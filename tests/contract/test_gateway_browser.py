"""CORS in a real browser: scripts of listed origins may call the gateway, others may not."""

from __future__ import annotations

from typing import Any

from local.processes.ports import free_port
from local.up.example import DOCUMENTED_EVENT
from tests.contract.endpoints import gateway, ingest
from tests.support.clients.browser import browsing, needs_chromium

# With headers that need a preflight; the result shows which response headers a script may read.
CALL = """async ([url, body]) => {
  const headers = { 'Content-Type': 'application/json', 'X-Strict': 'true', 'X-Request-Id': 'from-a-browser' }
  try {
    const answer = await fetch(`${url}/api/v1/produce`, { method: 'POST', headers, body, credentials: 'include' })
    return [answer.status, answer.headers.get('X-Request-Id')]
  } catch (error) {
    return error.name
  }
}"""


async def call_from(origin: str, target: str) -> Any:
    """Call a gateway from a page of an origin."""
    async with browsing() as browser:
        page = await browser.new_page()
        await page.goto(f"{origin}/healthz")
        return await page.evaluate(CALL, [target, DOCUMENTED_EVENT])


@needs_chromium
async def test_scripts_of_other_origins() -> None:
    """The browser lets the listed origin send and read, and hides the response from another one."""
    port, gateway_port = free_port(), free_port()
    async with ingest(port), gateway(port) as listed, gateway(port) as stranger:
        listen = f"127.0.0.1:{gateway_port}"
        async with gateway(port, gateway_listen=listen, gateway_cors_origins=listed) as gateway_url:
            assert await call_from(listed, gateway_url) == [201, "from-a-browser"]
            assert await call_from(stranger, gateway_url) == "TypeError"
