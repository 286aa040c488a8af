"""The connection between the etl and ClickHouse is cut or held during inserts, frozen, or slow."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from tests.support.faults.proxy import Break, Moment, Proxy
from tests.support.faults.run import faulty
from tests.support.processes.server_stack import ServerStack

MOMENTS: tuple[Moment, ...] = get_args(Moment)
BREAKS = 3
INSERTS_MAX = 4
# The etl's timeout for an answer; a held insert arrives after it, and after the plan's deadline.
ANSWER_SECONDS_MAX = 1.5
HELD_SECONDS = 4.0
FROZEN_SECONDS = 5.0
DELAY_SECONDS = 0.05


@pytest.fixture
def proxy(stack: ServerStack) -> Iterator[Proxy]:
    """Serve a proxy between the etl and ClickHouse."""
    with Proxy(stack.clickhouse_address).serving() as proxy:
        yield proxy


@pytest.mark.parametrize("moment", [*MOMENTS[:3], pytest.param(MOMENTS[3], marks=pytest.mark.thorough)])
def test_cut(stack: ServerStack, tmp_path: Path, proxy: Proxy, moment: Moment, seed: int) -> None:
    """The connection is cut inside the data, before its end, after it, or after ClickHouse's answer; several times."""
    with faulty(stack, tmp_path, f"connection cut {moment}", seed, clickhouse=proxy.address) as run:
        run.etl()
        run.load()
        for _ in range(BREAKS):
            proxy.break_insert(Break(moment, run.chance.randint(1, INSERTS_MAX), run.chance.random()))
            run.await_broken(proxy)


@pytest.mark.parametrize(
    "moment",
    ["before end", *(pytest.param(moment, marks=pytest.mark.thorough) for moment in ("inside data", "after end"))],
)
def test_held(stack: ServerStack, tmp_path: Path, proxy: Proxy, moment: Moment, seed: int) -> None:
    """An insert is held until the etl has timed out, and arrives long after its rows were inserted again."""
    short_timeout = {"UGC_ETL_ANSWER_SECONDS_MAX": str(ANSWER_SECONDS_MAX)}
    with faulty(stack, tmp_path, f"insert held {moment}", seed, short_timeout, proxy.address) as run:
        run.etl()
        run.load()
        what = Break(moment, run.chance.randint(1, INSERTS_MAX), run.chance.random(), HELD_SECONDS)
        proxy.break_insert(what)
        run.await_broken(proxy)
        time.sleep(HELD_SECONDS)


@pytest.mark.thorough
def test_frozen(stack: ServerStack, tmp_path: Path, proxy: Proxy, seed: int) -> None:
    """Nothing passes for a while, and then everything that was held."""
    short_timeout = {"UGC_ETL_ANSWER_SECONDS_MAX": str(ANSWER_SECONDS_MAX)} if seed % 2 else {}
    with faulty(stack, tmp_path, "network frozen", seed, short_timeout, proxy.address) as run:
        run.etl()
        run.etl()
        run.load()
        run.await_progress()
        proxy.freeze()
        time.sleep(FROZEN_SECONDS)
        proxy.thaw()


@pytest.mark.thorough
def test_slow(stack: ServerStack, tmp_path: Path, proxy: Proxy, seed: int) -> None:
    """Every packet is delayed, and a member is killed meanwhile."""
    with faulty(stack, tmp_path, "network slow", seed, clickhouse=proxy.address) as run:
        proxy.delay_seconds = DELAY_SECONDS
        victim = run.etl()
        run.etl()
        run.load()
        run.await_progress()
        time.sleep(run.chance.uniform(0, 1))
        run.kill(victim)
        run.etl()
