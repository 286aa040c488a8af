"""The search for refused rows: which it finds, what it takes for the table's fault, and how many probes it needs."""

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

CONSTRAINT, JSON, UNHEARD_OF = 469, 117, 4_711


class Table(ProbingFake):
    """Refuses the rows of some offsets with a code, some of them only where a thorough probe looks."""

    def __init__(self, bad: Iterable[int], code: int = UNHEARD_OF, hidden: Iterable[int] = ()) -> None:
        self.bad, self.hidden, self.code = set(bad), set(hidden), code
        self.takes_good = False
        self.rows_max = math.inf
        self.probed: list[int] = []
        self.ended = 0
        self.says_row = False
        self.says = "a value"
        self.passes_after = math.inf

    def end_probes(self) -> None:
        self.ended += 1

    def probe(self, block: Block, *, thorough: bool) -> None:
        offsets = offsets_of(block)
        self.probed.append(len(offsets))
        if len(offsets) > self.rows_max:
            raise TooLargeError("no memory")
        bad = [at for at, offset in enumerate(offsets) if offset in self.bad or (thorough and offset in self.hidden)]
        if bad and len(self.probed) < self.passes_after:
            raise DataRefusedError(self.code, f"violated at row {bad[0] + 1}" if self.says_row else self.says)

    def accepts_good_rows(self, at: Coordinates, before: int, *, thorough: bool) -> bool:
        del at, before, thorough
        return self.takes_good


def block(rows: Rows) -> Block:
    return Block(AT, "events", rows.columns, "", 0)


def rows(count: int) -> Rows:
    identities = [number.to_bytes(32) for number in range(count)]
    return Rows([identities, list(range(count))], [], identities)


def search(table: Table, count: int, refusals: Refusals | None = None) -> Search:
    """Search to the end."""
    made = Search(table, AT, refusals or Refusals(1.0, 1_000_000), block)
    deque(made.run(rows(count), DataRefusedError(table.code, "a value")), maxlen=0)
    return made


@given(
    bad=st.sets(st.integers(0, 999), min_size=1, max_size=40),
    hidden=st.booleans(),
    says_row=st.booleans(),
    rows_max=st.sampled_from([math.inf, 300]),
)
def test_every_bad_row_and_no_other(bad: set[int], hidden: bool, says_row: bool, rows_max: float) -> None:
    """Whichever rows are bad, exactly they are found, with their error, whatever its code."""
    table = Table(() if hidden else bad, hidden=bad if hidden else ())
    table.says_row, table.rows_max = says_row, rows_max

    found = search(table, 1_000).found

    assert set(found) == bad
    assert {error.code for error in found.values()} == {UNHEARD_OF}
    assert table.ended == 1


@pytest.mark.parametrize(("code", "says_row", "probes"), [(CONSTRAINT, True, 2_000), (JSON, False, 6_500)])
def test_few_probes(code: int, says_row: bool, probes: int) -> None:
    """447 bad rows of 50,000 take some thousand probes, most of them of few rows."""
    table = Table(range(17, 50_000, 111), code)
    table.says_row = says_row

    assert len(search(table, 50_000).found) == len(table.bad) == 451
    assert len(table.probed) < probes
    assert sum(table.probed) < 50_000 * 20


def test_a_value_that_is_quoted_leads_nowhere() -> None:
    """A client's value may say that the first row violates a constraint; only ClickHouse's own error is believed."""
    table = Table(range(0, 50_000, 500), JSON)
    table.says = "Cannot parse JSON object here: violated at row 1"

    assert len(search(table, 50_000).found) == 100
    assert len(table.probed) < 2_500


def test_one_row_alone() -> None:
    """Without neighbours, rows that are known to be good decide; a code of bad values needs none."""
    table = Table([0])
    with pytest.raises(SinkError, match="accepts no row, not even a good one"):
        search(table, 1)

    table.takes_good = True
    assert set(search(table, 1).found) == {0}
    assert set(search(Table([0], CONSTRAINT), 1).found) == {0}


def test_a_table_that_takes_nothing_is_noticed_soon() -> None:
    """Where all rows fail and good ones too, it is the table: no row is set aside, and few are tried."""
    table = Table(range(50_000))

    with pytest.raises(SinkError, match="accepts no row"):
        search(table, 50_000)

    assert len(table.probed) < 2 + 2 * UNPROVEN_MAX + 20


def test_all_bad_in_a_table_that_takes_others() -> None:
    """A batch of bad rows alone is set aside when the table takes good ones."""
    table = Table(range(50))
    table.takes_good = True

    assert len(search(table, 50).found) == 50


def test_an_error_that_does_not_come_again() -> None:
    """When a probe of all rows passes, thorough or not, the insert failed for another reason."""
    table = Table([])

    with pytest.raises(SinkError, match="no value is at fault"):
        search(table, 100)

    assert table.probed == [100, 100]


def test_an_error_that_passes_by() -> None:
    """Rows that failed only while the server was in trouble are not set aside."""
    table = Table([5])
    table.passes_after = 10

    with pytest.raises(SinkError, match="no row fails alone"):
        search(table, 100)


@pytest.mark.parametrize("limits", [Refusals(1.0, 20), Refusals(0.01, 1_000_000)])
def test_too_many(limits: Refusals) -> None:
    """The search ends when more rows are refused than the limits allow."""
    table = Table(range(50_000), CONSTRAINT)

    with pytest.raises(RefusalsError):
        search(table, 50_000, limits)

    assert len(table.probed) < 2_000


def test_bad_rows_in_front() -> None:
    """The ratio is that of all rows of the insert, wherever the bad ones stand."""
    assert len(search(Table(range(400), CONSTRAINT), 50_000, Refusals(0.01, 1_000)).found) == 400


def test_others_have_their_turn() -> None:
    """The search can be left after each probe."""
    table = Table([3, 70])
    run = Search(table, AT, Refusals(1.0, 1_000), block).run(rows(100), DataRefusedError(JSON, ""))
    steps = [len(table.probed) for _ in run]

    assert steps == list(range(1, len(table.probed) + 1))


class Limited(Table):
    """Has a limit for each query: of what its rows weigh together, and from some probe on another."""

    def __init__(self, weights: dict[int, int], most: Callable[[int], int], code: int = 241) -> None:
        super().__init__([], code)
        self.weights, self.most = weights, most
        self.takes_good = True

    def probe(self, block: Block, *, thorough: bool) -> None:
        super().probe(block, thorough=thorough)
        if sum(self.weights.get(offset, 1) for offset in offsets_of(block)) > self.most(len(self.probed)):
            raise TooLargeError("no memory", self.code)


@pytest.mark.parametrize("code", [158, 159, 241, 307])
@pytest.mark.parametrize("large", [{0}, {17}, {39}, {3, 4, 31}, set(range(40))], ids=str)
def test_a_row_too_large_alone(large: set[int], code: int) -> None:
    """Rows that exceed a limit alone are found, while others are taken: their neighbours, or good ones."""
    table = Limited(dict.fromkeys(large, 1_000), lambda _: 100, code)
    found = search(table, 40).found

    assert set(found) == large
    assert {error.code for error in found.values()} == {code}


def test_rows_too_large_together() -> None:
    """Where parts fit, no row is at fault."""
    assert search(Limited({}, lambda _: 15), 40).found == {}


def test_a_server_without_memory_for_anybody() -> None:
    """Where neither neighbours nor good rows fit, nothing is refused, and few rows are tried."""
    table = Limited({}, lambda _: 0)
    table.takes_good = False
    with pytest.raises(TooLargeError):
        search(table, 900)

    assert len(table.probed) < 15


@pytest.mark.parametrize("last", range(1, 40))
def test_memory_that_runs_out(last: int) -> None:
    """A server that has enough for a while and then for nobody never makes an event a refused one."""
    table = Limited({17: 50}, lambda probe: 40 if probe <= last else 0)
    table.takes_good = False
    with contextlib.suppress(SinkError):
        assert not set(search(table, 40).found) - {17}


@given(chance=st.randoms(use_true_random=False), weights=st.dictionaries(st.integers(0, 39), st.integers(1, 30)))
def test_memory_that_comes_and_goes(chance: random.Random, weights: dict[int, int]) -> None:
    """Rows that fit while there is enough for their neighbours together are not refused for a moment's shortage."""
    turns = [chance.random() < 0.5 for _ in range(TOO_LARGE_CONFIRMATIONS * 100)]
    table = Limited(weights, lambda probe: 10_000 if turns[probe % len(turns)] or probe % 3 == 0 else 0)
    table.takes_good = False
    with contextlib.suppress(SinkError):
        assert search(table, 40).found == {}
