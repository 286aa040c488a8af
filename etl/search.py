"""Finds the rows of a refused insert that ClickHouse does not take: by halving, with probes that store nothing.

A list of error codes that mean a bad value could never be complete. What decides is whether a row fails alone while
its neighbours do not, on a server that answers.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from common.logs import log_limited
from etl.block import Block, Coordinates
from etl.clickhouse.codes import DATA_ERRORS, SIZE_ERRORS, VIOLATED_CONSTRAINT
from etl.errors import (
    DataRefusedError,
    ProbeUnavailableError,
    QuorumTimeoutError,
    RefusalsError,
    SinkError,
    TooLargeError,
)
from etl.events.rows import Rows
from etl.refusals import Refusals

# Where ClickHouse says which row of the block breaks a constraint, so few rows are cut there and not in the middle.
VIOLATED_ROW = re.compile(r"violated at row (\d+)")
CUT_ROWS_MAX = 512
# When so many rows have failed and none has passed, rows that are known to be good are tried.
UNPROVEN_MAX = 10
# Not a number of ClickHouse: the block was too large to be judged, so its halves are.
UNKNOWN = 0
TOO_LARGE = {UNKNOWN, *SIZE_ERRORS}
# A row that is too large alone fails so often again, others being taken after each time: by chance it hardly does.
TOO_LARGE_CONFIRMATIONS = 5


class Prober(Protocol):
    """Who converts rows as an insert would, and keeps nothing."""

    def begin_probes(self) -> None:
        """Have the next probe see the table as it is now."""

    def probe(self, block: Block, *, thorough: bool) -> None:
        """Convert a block; DataRefusedError when a value of it may be at fault, SinkError else."""

    def takes_any(self, at: Coordinates, before: int, *, thorough: bool) -> bool:
        """Whether any of the rows is taken that are good: stored before an offset, or synthetic ones."""

    def end_probes(self) -> None:
        """Let go of what probes have needed."""


@dataclass
class Part:
    """Adjacent rows; with an error they are known to fail together. `left` of two halves knows the other."""

    rows: Rows
    error: DataRefusedError | None = None
    right: Part | None = None
    whole: Part | None = None


@dataclass
class Search:
    """One search in the rows of one insert. `run` yields after each probe, so that others can have their turn."""

    prober: Prober
    at: Coordinates
    refusals: Refusals
    block: Callable[[Rows], Block]
    found: dict[int, DataRefusedError] = field(default_factory=dict)
    # Copies of one event are one event that is refused, however often it is sent; searches of one batch share these.
    counted: set[bytes] = field(default_factory=set)
    _alone: dict[int, Rows] = field(default_factory=dict)
    _thorough: bool = False
    _probes: int = 0
    # Other rows were taken, so it is not the table that takes nothing.
    _others_pass: bool = False
    # Of those of the batch that were taken together the most.
    _taken: Rows | None = None

    def run(self, rows: Rows, error: DataRefusedError) -> Iterator[None]:
        """Fill `found` for a refused insert; SinkError when no single row is at fault, RefusalsError for too many.

        Nothing is found where rows are too large together and none of them alone: parts of them may be inserted.
        """
        self.refusals.expected(rows.events)
        yield from self._seek(rows, error, self._reproduce(rows, error))
        if not self.found and (rows.events == 1 or error.code not in TOO_LARGE):
            raise SinkError(f"no row fails alone, so it is not a value: {error}")

    def try_all(self, rows: Rows, out_of: int) -> Iterator[None]:
        """Fill `found` with those of some rows that an insert would be refused for; none of them was tried yet.

        The ratio of those refused is that `out_of` so many rows, of which these are chosen.
        """
        self._thorough = True
        self.prober.begin_probes()
        try:
            error = self._probe(rows)
        except ProbeUnavailableError as unavailable:
            # The insert decides. A copy of an event that it refuses is a repeat then, also where their values differ.
            self._log("events are stored without having been tried", error=str(unavailable))
            return
        finally:
            self.prober.end_probes()
        yield
        if error is not None:
            self.refusals.expected(out_of)
            yield from self._seek(rows, error, ())

    def _seek(self, rows: Rows, error: DataRefusedError, before: Iterable[None]) -> Iterator[None]:
        began = time.monotonic()
        self._log("looking for rows that ClickHouse refuses", rows=rows.events, error=str(error))
        self.prober.begin_probes()
        try:
            yield from before
            yield from self._halve(rows, error)
            self._prove(error)
            yield from self._confirm()
        finally:
            self.prober.end_probes()
            seconds = round(time.monotonic() - began, 3)
            self._log("looked for them", found=len(self.found), probes=self._probes, seconds=seconds)

    def _reproduce(self, rows: Rows, error: DataRefusedError) -> Iterator[None]:
        """Choose the lighter kind of probe that fails as the insert did."""
        for self._thorough in (False, True):
            refused = self._probe(rows)
            yield
            # What is too large to be judged as a whole is judged in parts, and then by all that can be at fault.
            if refused and (refused.code not in TOO_LARGE or self._thorough):
                return
        raise SinkError(f"the same rows pass where nothing is stored, so it is not a value: {error}")

    def _halve(self, rows: Rows, error: DataRefusedError) -> Iterator[None]:
        stack = [Part(rows, error)]
        while stack:
            part = stack.pop()
            # Where one half passes the other is at fault; but a row is refused for its own failure only.
            if part.error is None or part.rows.events == 1:
                part.error = self._probe(part.rows)
                yield
            if part.error is None:
                self._others_pass = True
                self.refusals.passed()
                if self._taken is None or part.rows.events > self._taken.events:
                    self._taken = part.rows
                if part.right and part.whole:
                    part.right.error = part.whole.error
            elif part.rows.events == 1:
                if part.error.code not in SIZE_ERRORS or (yield from self._is_too_large(part.rows, part.error)):
                    self._refuse(part.rows, part.error)
            elif row := violated_row(part.error, part.rows.events):
                stack += [Part(each) for each in reversed(part.rows.cut(row - 1, row)) if each.events]
            else:
                first, second = part.rows.halves()
                right = Part(second)
                stack += [right, Part(first, right=right, whole=part)]

    def _is_too_large(self, row: Rows, error: DataRefusedError) -> Generator[None, None, bool]:
        """Whether a row is too large each time, and others are taken right after; SinkError when these are not."""
        for _ in range(TOO_LARGE_CONFIRMATIONS):
            self._require_others(row, error)
            yield
            again = self._probe(row)
            yield
            if again is None or again.code not in SIZE_ERRORS:
                return False
        self._require_others(row, error)
        return True

    def _require_others(self, row: Rows, error: DataRefusedError) -> None:
        """Raise SinkError when rows that were taken are not any more: the server is short of memory or time."""
        if self._taken is not None:
            is_taken = self._probe(self._taken) is None
        else:
            is_taken = self.prober.takes_any(self.at, row.offsets[0], thorough=self._thorough)
        if not is_taken:
            raise TooLargeError(f"other rows are not taken either, so it is not a value: {error}")
        self._others_pass = True

    def _refuse(self, row: Rows, error: DataRefusedError) -> None:
        (offset,) = row.offsets
        if row.identities[0] not in self.counted:
            self.counted.add(row.identities[0])
            try:
                self.refusals.refused(error)
            except RefusalsError as too_many:
                too_many.others_pass = self._others_pass or self.prober.takes_any(
                    self.at, offset, thorough=self._thorough
                )
                raise
        self.found[offset], self._alone[offset] = error, row
        if len(self.found) == UNPROVEN_MAX:
            self._prove(error)

    def _prove(self, error: DataRefusedError) -> None:
        """Raise SinkError when neither other rows of the batch are taken nor those that are known to be good."""
        if self._others_pass or all(each.code in DATA_ERRORS for each in self.found.values()):
            return
        first = min(self.found)
        self._others_pass = self.prober.takes_any(self.at, first, thorough=self._thorough)
        if not self._others_pass:
            raise SinkError(f"the table takes no row, not even a good one, so it is not a value: {error}")

    def _confirm(self) -> Iterator[None]:
        """Give those another chance whose error may have been the server's for a moment."""
        for offset, error in list(self.found.items()):
            if error.code not in DATA_ERRORS:
                if self._probe(self._alone[offset]) is None:
                    del self.found[offset]
                yield

    def _probe(self, rows: Rows) -> DataRefusedError | None:
        self._probes += 1
        try:
            self.prober.probe(self.block(rows), thorough=self._thorough)
        except DataRefusedError as error:
            return error
        except (TooLargeError, QuorumTimeoutError) as error:
            code = error.code if isinstance(error, TooLargeError) else UNKNOWN
            if rows.events == 1 and code == UNKNOWN:
                raise
            return DataRefusedError(code, str(error))
        return None

    def _log(self, what: str, **values: object) -> None:
        log_limited(logging.WARNING, f"partition {self.at.partition}: {what}", **values)


def violated_row(error: DataRefusedError, rows: int) -> int:
    """Return which of so many rows ClickHouse names, the first being 1; 0 where it is better to halve."""
    if error.code != VIOLATED_CONSTRAINT or rows > CUT_ROWS_MAX:
        # The text of any other error may quote a client's value, which may say whatever it likes.
        return 0
    named = VIOLATED_ROW.search(str(error))
    return int(named[1]) if named and int(named[1]) <= rows else 0
