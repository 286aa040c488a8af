"""The search for refused rows: which it finds, when it blames the table, and how many probes it needs."""

from __future__ import annotations

import contextlib
import math
import random
from collections import deque
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.errors import DataRefusedError, RefusalsError, SinkError, TooLargeError
from etl.events.rows import Rows
from etl.plan import Block, Coordinates
from etl.refusals import Refusals
from etl.search import TOO_LARGE_CONFIRMATIONS, UNPROVEN_MAX, Search
from tests.support.fakes.delivering import AT
from tests.support.fakes.sinks import ProbingFake, offsets_of

CONSTRAINT, JSON, UNKNOWN_CODE = 469, 117, 4_711


class Table(ProbingFake):
    """A table that refuses the rows of some offsets with a code, some of them only in a thorough probe."""

    def __init__(self, bad: Iterable[int], code: int = UNKNOWN_CODE, hidden: Iterable[int] = ()) -> None:
        self.bad, self.hidden, self.code = set(bad), set(hidden), code
        self.good_rows_accepted = False
        self.rows_max = math.inf
        self.probed: list[int] = []
        self.ended = 0
        self.names_row = False
        self.text = "a value"
        self.passes_after = math.inf

    def end_probes(self, at: Coordinates) -> None:
        del at
        self.ended += 1

    def probe(self, block: Block, *, thorough: bool) -> None:
        offsets = offsets_of(block)
        self.probed.append(len(offsets))
        if len(offsets) > self.rows_max:
            raise TooLargeError("no memory")
        bad = [at for at, offset in enumerate(offsets) if offset in self.bad or (thorough and offset in self.hidden)]
        if bad and len(self.probed) < self.passes_after:
            raise DataRefusedError(self.code, f"violated at row {bad[0] + 1}" if self.names_row else self.text)

    def accepts_good_rows(self, at: Coordinates, before: int, *, thorough: bool) -> bool:
        del at, before, thorough
        return self.good_rows_accepted


def block(rows: Rows) -> Block:
    return Block(AT, "events", rows.columns, "", 0)


def rows(count: int) -> Rows:
    identities = [number.to_bytes(32) for number in range(count)]
    return Rows([identities, list(range(count))], [], identities)


def search(table: Table, count: int, refusals: Refusals | None = None) -> Search:
    """Run a search to its end."""
    made = Search(table, AT, refusals or Refusals(1.0, 1_000_000), block)
    deque(made.run(rows(count), DataRefusedError(table.code, "a value")), maxlen=0)
    return made


@given(
    bad=st.sets(st.integers(0, 999), min_size=1, max_size=40),
    hidden=st.booleans(),
    names_row=st.booleans(),
    rows_max=st.sampled_from([math.inf, 300]),
)
def test_every_bad_row_and_no_other(bad: set[int], hidden: bool, names_row: bool, rows_max: float) -> None:
    """Exactly the bad rows are found, with their errors, whatever their code is."""
    table = Table(() if hidden else bad, hidden=bad if hidden else ())
    table.names_row, table.rows_max = names_row, rows_max

    found = search(table, 1_000).found

    assert set(found) == bad
    assert {error.code for error in found.values()} == {UNKNOWN_CODE}
    assert table.ended == 1


@pytest.mark.parametrize(("code", "names_row", "probes"), [(CONSTRAINT, True, 2_000), (JSON, False, 6_500)])
def test_few_probes(code: int, names_row: bool, probes: int) -> None:
    """447 bad rows of 50,000 take some thousand probes, most of them of few rows."""
    table = Table(range(17, 50_000, 111), code)
    table.names_row = names_row

    assert len(search(table, 50_000).found) == len(table.bad) == 451
    assert len(table.probed) < probes
    assert sum(table.probed) < 50_000 * 20


def test_a_quoted_value_does_not_mislead() -> None:
    """The row is read only from an error of a constraint; any other may quote a client's value with such a text."""
    table = Table(range(0, 50_000, 500), JSON)
    table.text = "Cannot parse JSON object here: violated at row 1"

    assert len(search(table, 50_000).found) == 100
    assert len(table.probed) < 2_500


def test_one_row_alone() -> None:
    """A single row is refused if known good rows are accepted, or if its code means a bad value."""
    table = Table([0])
    with pytest.raises(SinkError, match="accepts no row, not even a good one"):
        search(table, 1)

    table.good_rows_accepted = True
    assert set(search(table, 1).found) == {0}
    assert set(search(Table([0], CONSTRAINT), 1).found) == {0}


def test_a_table_that_accepts_nothing_is_detected_soon() -> None:
    """If all rows fail, and known good ones too, no row is refused, and few are probed."""
    table = Table(range(50_000))

    with pytest.raises(SinkError, match="accepts no row"):
        search(table, 50_000)

    assert len(table.probed) < 2 + 2 * UNPROVEN_MAX + 20


def test_all_rows_bad() -> None:
    """All rows of a batch are refused if the table accepts known good ones."""
    table = Table(range(50))
    table.good_rows_accepted = True

    assert len(search(table, 50).found) == 50


def test_an_error_that_does_not_recur() -> None:
    """If both kinds of probe accept all rows, the insert failed for another reason."""
    table = Table([])

    with pytest.raises(SinkError, match="no value is at fault"):
        search(table, 100)

    assert table.probed == [100, 100]


def test_a_temporary_error() -> None:
    """Rows that failed only because of a temporary error of the server are not refused."""
    table = Table([5])
    table.passes_after = 10

    with pytest.raises(SinkError, match="no row fails alone"):
        search(table, 100)


@pytest.mark.parametrize("limits", [Refusals(1.0, 20), Refusals(0.01, 1_000_000)])
def test_too_many(limits: Refusals) -> None:
    """The search ends if more rows are refused than the limits allow."""
    table = Table(range(50_000), CONSTRAINT)

    with pytest.raises(RefusalsError):
        search(table, 50_000, limits)

    assert len(table.probed) < 2_000


def test_bad_rows_in_front() -> None:
    """The ratio is that of all rows of the insert, wherever the bad ones are."""
    assert len(search(Table(range(400), CONSTRAINT), 50_000, Refusals(0.01, 1_000)).found) == 400


def test_yields_after_each_probe() -> None:
    """The search yields after each probe."""
    table = Table([3, 70])
    run = Search(table, AT, Refusals(1.0, 1_000), block).run(rows(100), DataRefusedError(JSON, ""))
    steps = [len(table.probed) for _ in run]

    assert steps == list(range(1, len(table.probed) + 1))


class Limited(Table):
    """A table with a limit per query on the weight of its rows, which may change at some probe."""

    def __init__(self, weights: dict[int, int], most: Callable[[int], int], code: int = 241) -> None:
        super().__init__([], code)
        self.weights, self.most = weights, most
        self.good_rows_accepted = True

    def probe(self, block: Block, *, thorough: bool) -> None:
        super().probe(block, thorough=thorough)
        if sum(self.weights.get(offset, 1) for offset in offsets_of(block)) > self.most(len(self.probed)):
            raise TooLargeError("no memory", self.code)


@pytest.mark.parametrize("code", [158, 159, 241, 307])
@pytest.mark.parametrize("large", [{0}, {17}, {39}, {3, 4, 31}, set(range(40))], ids=str)
def test_a_row_too_large_alone(large: set[int], code: int) -> None:
    """Rows that exceed a limit alone are found if other rows of the batch, or known good ones, are accepted."""
    table = Limited(dict.fromkeys(large, 1_000), lambda _: 100, code)
    found = search(table, 40).found

    assert set(found) == large
    assert {error.code for error in found.values()} == {code}


def test_rows_too_large_together() -> None:
    """If parts of the rows fit, no row is refused."""
    assert search(Limited({}, lambda _: 15), 40).found == {}


def test_a_server_without_memory() -> None:
    """If neither other rows nor known good ones fit, no row is refused, and few are probed."""
    table = Limited({}, lambda _: 0)
    table.good_rows_accepted = False
    with pytest.raises(TooLargeError):
        search(table, 900)

    assert len(table.probed) < 15


@pytest.mark.parametrize("last", range(1, 40))
def test_memory_that_runs_out(last: int) -> None:
    """No row is refused by a server that runs out of memory during the search."""
    table = Limited({17: 50}, lambda probe: 40 if probe <= last else 0)
    table.good_rows_accepted = False
    with contextlib.suppress(SinkError):
        assert not set(search(table, 40).found) - {17}


@given(chance=st.randoms(use_true_random=False), weights=st.dictionaries(st.integers(0, 39), st.integers(1, 30)))
def test_memory_that_comes_and_goes(chance: random.Random, weights: dict[int, int]) -> None:
    """Rows that fit are not refused because of a temporary lack of memory."""
    turns = [chance.random() < 0.5 for _ in range(TOO_LARGE_CONFIRMATIONS * 100)]
    table = Limited(weights, lambda probe: 10_000 if turns[probe % len(turns)] or probe % 3 == 0 else 0)
    table.good_rows_accepted = False
    with contextlib.suppress(SinkError):
        assert search(table, 40).found == {}
