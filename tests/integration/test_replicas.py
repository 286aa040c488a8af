"""Real replicas of ingest behind the gateway, under load: killed, frozen, stopped, and a further one started."""

from __future__ import annotations

import contextlib
import signal
from collections import Counter
from pathlib import Path

from gateway.call_errors import CONNECTION_LOST
from tests.integration.test_workers_load import stored
from tests.support.processes.replicas import CALL_SECONDS_MAX, CLIENTS, Replicas
from tests.support.processes.system import Deployment

SHARES_RATIO_MAX = 1.1
LOST = 503
SETTINGS = {
    # A frozen replica is left soon, and no call reaches its limit of time before.
    "UGC_GATEWAY_PING_SECONDS": "1",
    "UGC_GATEWAY_PING_SECONDS_MAX": "1",
    "UGC_GATEWAY_TIMEOUT_SECONDS": "60",
    "UGC_GATEWAY_READY_SECONDS_MAX": "5",
}


def are_equal(shares: list[float]) -> bool:
    """Whether shares are within 10 % of each other."""
    return max(shares) <= SHARES_RATIO_MAX * min(shares)


def assert_only_lost(errors: Counter[tuple[int, str]]) -> None:
    """Hold errors to those of calls that a replica may have received: at most one of each client."""
    assert set(errors) <= {(LOST, CONNECTION_LOST)}
    assert errors.total() <= CLIENTS


def test_replicas_under_load(tmp_path: Path, kafka: str, topic: str) -> None:
    """Shares are equal; a stop costs no error, a death or a freeze costs only calls that were sent; nothing is lost."""
    replicas = Replicas(Deployment(tmp_path, kafka, topic, "clickhouse://none/none", SETTINGS), 3)
    with contextlib.ExitStack() as stack:
        first, second = (stack.enter_context(replicas.ingest(number)) for number in range(2))
        stack.enter_context(replicas.gateway())
        replicas.await_available(2)
        stack.enter_context(replicas.loaded())
        assert are_equal(shares := replicas.shares(0, 1)), shares

        third = stack.enter_context(replicas.ingest(2))
        replicas.await_available(3)
        assert are_equal(shares := replicas.shares(0, 1, 2)), shares

        first.process.terminate()
        assert first.process.wait(CALL_SECONDS_MAX) == 0
        replicas.go_on()
        assert replicas.load.errors() == Counter()

        second.process.send_signal(signal.SIGSTOP)
        replicas.await_available(1)
        replicas.go_on()
        second.process.send_signal(signal.SIGCONT)
        replicas.await_available(2)
        assert_only_lost(frozen := replicas.load.errors())
        assert are_equal(shares := replicas.shares(1, 2)), shares

        third.process.kill()
        replicas.go_on()
        assert_only_lost(replicas.load.errors() - frozen)

    assert replicas.load.acknowledged - stored(replicas.deployment) == set()
