"""Inserts in the background: one at a time, each with its own result."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator

import pytest

from etl.errors import DataRefusedError, FencedError, QuorumError, QuorumTimeoutError, SinkError, TooLargeError
from etl.inserting import Inline, Inserts, Threaded
from etl.metrics import EtlMetrics
from etl.plan import EVENTS, Block
from tests.support.fakes.delivering import AT

BLOCK = Block(AT, EVENTS, [], "name", 0)
WAIT_SECONDS_MAX = 30.0


class Gate:
    """An insert that waits until it is released."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.error: SinkError | None = None

    def insert(self, _block: Block) -> None:
        assert self.released.wait(WAIT_SECONDS_MAX)
        if self.error:
            raise self.error


def begun(inserts: Inserts) -> Iterator[None]:
    """Begin an insert."""
    running = inserts.insert(BLOCK)
    next(running)
    return running


@pytest.mark.parametrize("error", [None, SinkError("no answer")])
def test_threaded(error: SinkError | None) -> None:
    """An insert runs beside the caller; then its exception is raised, or nothing."""
    gate = Gate()
    gate.error = error
    inserts = Inserts(gate.insert, Threaded)
    running = begun(inserts)

    states = [inserts.is_running]
    gate.released.set()
    inserts.wait(WAIT_SECONDS_MAX)

    assert [*states, inserts.is_running] == [True, False]
    if error:
        with pytest.raises(SinkError):
            next(running)
    else:
        assert list(running) == []


def test_one_at_a_time() -> None:
    """A second insert must not begin while the connection is in use, even if the first was given up."""
    gate = Gate()
    inserts = Inserts(gate.insert, Threaded)
    begun(inserts).close()  # type: ignore[attr-defined]  # a generator

    assert inserts.is_running
    with pytest.raises(AssertionError):
        begun(inserts)
    gate.released.set()
    inserts.wait(WAIT_SECONDS_MAX)
    deque(inserts.insert(BLOCK), maxlen=0)


def test_each_has_its_own_result() -> None:
    """An insert that was not asked for its result before the next one began still has it."""
    errors = iter([SinkError("first"), None])

    def insert(_block: Block) -> None:
        if error := next(errors):
            raise error

    inserts = Inserts(insert, Waiting)
    first = begun(inserts)
    inserts.wait(0.0)
    second = begun(inserts)
    inserts.wait(0.0)

    assert list(second) == []
    with pytest.raises(SinkError, match="first"):
        next(first)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "stored"),
        (DataRefusedError(6, "Cannot parse"), "refused"),
        (FencedError("FENCED"), "fenced"),
        (SinkError("no answer"), "failed"),
        (QuorumError("a replica is behind"), "failed"),
        (TooLargeError("memory limit", 241), "split"),
        (QuorumTimeoutError("timeout"), "split"),
    ],
)
def test_outcomes_are_counted(error: SinkError | None, outcome: str) -> None:
    """Each insert has one outcome and one duration, also if its partition was given up meanwhile."""
    gate, metrics = Gate(), EtlMetrics()
    gate.error = error
    inserts = Inserts(gate.insert, Threaded, metrics)
    begun(inserts).close()  # type: ignore[attr-defined]  # a generator
    gate.released.set()
    inserts.wait(WAIT_SECONDS_MAX)

    assert {name: value.value for name, value in metrics.inserts.items() if value.value} == {outcome: 1}
    assert durations(metrics, "insert") == 1


def durations(metrics: EtlMetrics, stage: str) -> int:
    """Return how many durations of a stage were measured."""
    return sum(metrics.stages.child(stage).counts)


class Waiting(Inline):
    """A call that runs when it is awaited."""

    def __init__(self, call: Callable[[], None]) -> None:
        super().__init__(lambda: None)
        self._call: Callable[[], None] | None = call

    def has_ended(self) -> bool:
        return self._call is None

    def wait(self, seconds: float) -> None:
        del seconds
        if self._call is not None:
            call = self._call
            Inline.__init__(self, call)
            self._call = None


def test_inline() -> None:
    """Without a thread an insert has ended when it has begun."""
    gate = Gate()
    gate.released.set()
    inserts = Inserts(gate.insert, Inline)

    assert list(inserts.insert(BLOCK)) == []
    assert not inserts.is_running
