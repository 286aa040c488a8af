"""The fault tests can fail: an etl without one of its precautions stores events twice, and the oracle finds them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.faults.proxy import Break, Proxy
from tests.support.faults.run import faulty
from tests.support.faults.without_precaution import NO_FENCE_SECONDS
from tests.support.processes.server_stack import ServerStack

# Less than the time after which ClickHouse ends an insert.
HELD_SECONDS_MAX = 18.0
SHORT_TIMEOUT = {"UGC_ETL_ANSWER_SECONDS_MAX": "1.5", "UGC_ETL_FENCE_SECONDS": NO_FENCE_SECONDS}


def test_without_read_back(stack: ServerStack, tmp_path: Path) -> None:
    """Without the read-back, a batch that was stored before its owner was killed is inserted again."""
    with pytest.raises(AssertionError, match="stored twice"):
        kill_without_read_back(stack, tmp_path)


def test_without_fence(stack: ServerStack, tmp_path: Path) -> None:
    """Without the fence, an insert that timed out arrives after its rows were inserted again."""
    with pytest.raises(AssertionError, match="stored twice"), Proxy(stack.clickhouse_address).serving() as proxy:
        hold_without_fence(stack, tmp_path, proxy)


def kill_without_read_back(stack: ServerStack, folder: Path) -> None:
    """Run test_failpoints.test_killed without the read-back."""
    with faulty(stack, folder, "control: killed after-acknowledgement, without read-back", seed=0) as run:
        victim = run.etl("after-acknowledgement:kill@3", without="read-back")
        run.load()
        run.await_killed(victim)
        run.etl(without="read-back")


def hold_without_fence(stack: ServerStack, folder: Path, proxy: Proxy) -> None:
    """Run test_network.test_held without the fence."""
    with faulty(stack, folder, "control: insert held, without fence", 0, SHORT_TIMEOUT, proxy.address) as run:
        run.etl(without="fence")
        run.load()
        proxy.break_insert(Break("before end", insert=2, hold_seconds=HELD_SECONDS_MAX))
        run.await_broken(proxy)
        run.await_committed()
        proxy.release()
