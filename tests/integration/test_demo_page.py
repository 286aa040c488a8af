"""The demonstration page in a real browser, with the real system: the events that its player sends become rows."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from db.clickhouse.client import ClickHouse
from local.processes.program import running
from tests.support.clients.browser import WAIT_MS_MAX, browsing, needs_chromium
from tests.support.processes.system import Deployment, await_equal, everything, get

ONCE = ["leave", "like", "pause", "play"]


@pytest.fixture
def system(tmp_path: Path, kafka: str, topic: str, database: str) -> Iterator[Deployment]:
    """Run ingest, gateway and etl, with the demonstration."""
    with everything(Deployment(tmp_path, kafka, topic, database, settings={"UGC_GATEWAY_DEMO": "true"})) as deployment:
        yield deployment


def kinds(tables: ClickHouse, viewer: str) -> list[str]:
    """Return the kinds of a viewer's events, each as often as it is stored."""
    rows = tables.rows(f"SELECT event FROM events WHERE user_id = '{viewer}' ORDER BY event")
    return [str(kind) for (kind,) in rows]


@needs_chromium
async def test_events_of_the_player_become_rows(system: Deployment, tables: ClickHouse) -> None:
    """Events sent by fetch, and the beacons of the page while it closes, are rows; each is stored once."""
    viewer = str(uuid.uuid4())
    async with browsing() as browser:
        page = await browser.new_page()
        await page.goto(f"{system.gateway_url}/api/demo?user={viewer}")
        for button, shown in (("Play", "play: 201"), ("Like", "like: 201"), ("Pause", "pause: 201")):
            await page.get_by_role("button", name=button).click()
            await page.get_by_text(shown).wait_for(timeout=WAIT_MS_MAX)
        # As when a user closes a tab: the page sends its last beacons while it unloads.
        await page.close(run_before_unload=True)
        await_equal(lambda: sorted(set(kinds(tables, viewer))), sorted({*ONCE, "watch-progress"}))

    assert [kind for kind in kinds(tables, viewer) if kind in ONCE] == ONCE


def test_the_demonstration_is_off_by_default(tmp_path: Path) -> None:
    """Without UGC_GATEWAY_DEMO=true there is no such page."""
    deployment = Deployment(tmp_path, kafka="", topic="", database="")
    gateway = deployment.program("gateway", "gateway", lambda: get(f"{deployment.gateway_url}/healthz")[0] == 200)
    with running(gateway):
        assert get(f"{deployment.gateway_url}/api/demo")[0] == 404
