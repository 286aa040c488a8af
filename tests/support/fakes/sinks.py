"""What the fakes of ClickHouse share: probes without preparation, and the typed columns of a block."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import cast

from etl.plan import EVENTS, Block, Coordinates, Topic


class ProbingFake:
    """The base of a fake sink: probes need no preparation, and good rows are accepted."""

    def begin_probes(self, at: Coordinates) -> None:
        pass

    def end_probes(self, at: Coordinates) -> None:
        pass

    def accepts_good_rows(self, at: Coordinates, before: int, *, thorough: bool) -> bool:
        del at, before, thorough
        return True


def offsets_of(block: Block) -> list[int]:
    """Return the offsets of a block's rows: the last column of events, and the first of rejected messages."""
    return list(cast("list[int]", block.columns[-1 if block.table == EVENTS else 0]))


def identities_of(block: Block) -> list[bytes]:
    """Return the first column of a block of simulated events, which is their identity."""
    return list(cast("list[bytes]", block.columns[0]))


class Unchanged:
    """A topic to which no partitions were added."""

    def committed_offsets(self, topic: Topic, partitions: Collection[int]) -> Mapping[int, int]:
        raise AssertionError((topic, partitions))

    def moved_identities(
        self, at: Coordinates, first: int, last: int, to: int, partitions: int
    ) -> tuple[Sequence[int], Sequence[bytes]]:
        raise AssertionError((at, first, last, to, partitions))

    def partition_changes(self, _at: Coordinates, _first: int, _last: int) -> Sequence[tuple[int, bytes]]:
        return ()
