"""Finds the rows of a refused insert that ClickHouse does not accept: by halving, with probes that store nothing.

A list of error codes that mean a bad value could never be complete. A row is refused if it fails alone while other rows
are accepted by the same server.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from common.logs import log_limited
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
from etl.plan import Block, Coordinates
from etl.refusals import Refusals

# ClickHouse's text for the row that violates a constraint. A block with at most CUT_ROWS_MAX rows is split there.
VIOLATED_ROW = re.compile(r"violated at row (\d+)")
CUT_ROWS_MAX = 512
# After so many refused rows without an accepted one, rows that are known to be good are probed.
UNPROVEN_MAX = 10
# Not a code of ClickHouse: the block was too large for a probe, so its halves are probed.
UNKNOWN = 0
TOO_LARGE = {UNKNOWN, *SIZE_ERRORS}
# A single row is refused as too large only if it fails so often again, with other rows accepted after each failure.
TOO_LARGE_CONFIRMATIONS = 5


class Prober(Protocol):
    """Converts rows as an insert would, and stores nothing."""

    def begin_probes(self, at: Coordinates) -> None:
        """Let the next probe use the table as it is now."""

    def probe(self, block: Block, *, thorough: bool) -> None:
        """Convert a block; DataRefusedError if a value may be at fault, else SinkError."""

    def accepts_good_rows(self, at: Coordinates, before: int, *, thorough: bool) -> bool:
        """Whether any good row is accepted: one stored before an offset, or a synthetic one."""

    def end_probes(self, at: Coordinates) -> None:
        """Release the resources of the probes."""


@dataclass
class Part:
    """Adjacent rows, with the error of probing them together, if any.

    The left one of two halves refers to the right one and to the whole, whose error is the right one's if it passes.
    """

    rows: Rows
    error: DataRefusedError | None = None
    right: Part | None = None
    whole: Part | None = None


@dataclass
class Search:
    """One search among the rows of one insert. It yields after each probe, so that other partitions get a turn."""

    prober: Prober
    at: Coordinates
    refusals: Refusals
    block: Callable[[Rows], Block]
    found: dict[int, DataRefusedError] = field(default_factory=dict)
    # Identities that were counted as refused: copies of an event count once. Searches of one batch share the set.
    counted: set[bytes] = field(default_factory=set)
    _alone: dict[int, Rows] = field(default_factory=dict)
    _thorough: bool = False
    _probes: int = 0
    # Whether other rows were accepted, so that the table is not at fault.
    _others_accepted: bool = False
    # The largest group of rows that was accepted in one probe.
    _accepted: Rows | None = None

    def run(self, rows: Rows, error: DataRefusedError) -> Iterator[None]:
        """Fill `found` for a refused insert; SinkError if no single row is at fault, RefusalsError if too many are.

        `found` stays empty if the rows are too large together, but none of them alone: parts of them may be inserted.
        """
        self.refusals.expected(rows.events)
        yield from self._seek(rows, error, self._reproduce(rows, error))
        if not self.found and (rows.events == 1 or error.code not in TOO_LARGE):
            raise SinkError(f"no row fails alone, so no value is at fault: {error}")

    def try_all(self, rows: Rows, out_of: int) -> Iterator[None]:
        """Fill `found` with the rows that an insert would refuse; `out_of` is added to the rows of their ratio."""
        self._thorough = True
        self.prober.begin_probes(self.at)
        try:
            error = self._probe(rows)
        except ProbeUnavailableError as unavailable:
            # The insert decides. Copies of an event that it refuses are then duplicates, even if their values differ.
            self._log("events are stored without a probe", error=str(unavailable))
            return
        finally:
            self.prober.end_probes(self.at)
        yield
        if error is not None:
            self.refusals.expected(out_of)
            yield from self._seek(rows, error, ())

    def _seek(self, rows: Rows, error: DataRefusedError, before: Iterable[None]) -> Iterator[None]:
        began = time.monotonic()
        self._log("searching for rows that ClickHouse refuses", rows=rows.events, error=str(error))
        self.prober.begin_probes(self.at)
        try:
            yield from before
            yield from self._halve(rows, error)
            self._prove(error)
            yield from self._confirm()
        finally:
            self.prober.end_probes(self.at)
            seconds = round(time.monotonic() - began, 3)
            self._log("search for refused rows ended", found=len(self.found), probes=self._probes, seconds=seconds)

    def _reproduce(self, rows: Rows, error: DataRefusedError) -> Iterator[None]:
        """Choose the lighter kind of probe that fails like the insert."""
        for self._thorough in (False, True):
            refused = self._probe(rows)
            yield
            # A block that is too large to be probed as a whole is probed in parts, with the thorough kind.
            if refused and (refused.code not in TOO_LARGE or self._thorough):
                return
        raise SinkError(f"a probe accepts the same rows, so no value is at fault: {error}")

    def _halve(self, rows: Rows, error: DataRefusedError) -> Iterator[None]:
        stack = [Part(rows, error)]
        while stack:
            part = stack.pop()
            # If one half is accepted, the other is at fault; but a single row is refused only after its own probe.
            if part.error is None or part.rows.events == 1:
                part.error = self._probe(part.rows)
                yield
            if part.error is None:
                self._others_accepted = True
                self.refusals.passed()
                if self._accepted is None or part.rows.events > self._accepted.events:
                    self._accepted = part.rows
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
        """Whether a row is too large each time while others are accepted; SinkError if others are refused too."""
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
        """Raise SinkError if accepted rows are not accepted any more: the server lacks memory or time."""
        if self._accepted is not None:
            is_accepted = self._probe(self._accepted) is None
        else:
            is_accepted = self.prober.accepts_good_rows(self.at, row.offsets[0], thorough=self._thorough)
        if not is_accepted:
            raise TooLargeError(f"other rows are not accepted either, so no value is at fault: {error}")
        self._others_accepted = True

    def _refuse(self, row: Rows, error: DataRefusedError) -> None:
        (offset,) = row.offsets
        if row.identities[0] not in self.counted:
            self.counted.add(row.identities[0])
            try:
                self.refusals.refused(error)
            except RefusalsError as too_many:
                too_many.accepts_good_rows = self._others_accepted or self.prober.accepts_good_rows(
                    self.at, offset, thorough=self._thorough
                )
                raise
        self.found[offset], self._alone[offset] = error, row
        if len(self.found) == UNPROVEN_MAX:
            self._prove(error)

    def _prove(self, error: DataRefusedError) -> None:
        """Raise SinkError if neither other rows of the batch nor known good ones are accepted."""
        if self._others_accepted or all(each.code in DATA_ERRORS for each in self.found.values()):
            return
        first = min(self.found)
        self._others_accepted = self.prober.accepts_good_rows(self.at, first, thorough=self._thorough)
        if not self._others_accepted:
            raise SinkError(f"the table accepts no row, not even a good one, so no value is at fault: {error}")

    def _confirm(self) -> Iterator[None]:
        """Probe rows again whose error may have been a temporary one of the server."""
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
        log_limited(logging.WARNING, what, kind=self.at.partition, partition=self.at.partition, **values)


def violated_row(error: DataRefusedError, rows: int) -> int:
    """Return which of so many rows ClickHouse names, from 1; 0 if the rows should be halved."""
    if error.code != VIOLATED_CONSTRAINT or rows > CUT_ROWS_MAX:
        # The text of any other error may quote a client's value, which may contain such a text.
        return 0
    named = VIOLATED_ROW.search(str(error))
    return int(named[1]) if named and int(named[1]) <= rows else 0
