"""The etl without one of its precautions, to prove that the fault tests detect it.

`python -m tests.support.faults.without_precaution NAME`
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from etl import process
from etl.delivery import Delivery
from etl.partition import Partition
from etl.prepared import Prepared

# An insert may then begin whenever it arrives.
NO_FENCE_SECONDS = "60"


class WithoutReadBack(Delivery):
    """Inserts a planned batch again without reading what is stored of it."""

    def recover(self, partition: Partition, prepared: Prepared) -> Iterator[None]:
        partition.inherited = None
        yield from self.deliver(partition, prepared)


class WithoutFence(Delivery):
    """Recovers at once, while the insert that it recovers may still be in flight; see NO_FENCE_SECONDS."""

    def no_insert_in_flight(self, partition: Partition) -> bool:
        return partition.is_restored


VARIANTS = {"read-back": WithoutReadBack, "fence": WithoutFence}


def main() -> None:
    """Run the etl with the Delivery that lacks the named precaution."""
    # The process composes its parts itself, so the class is replaced in its module.
    vars(process)["Delivery"] = VARIANTS[sys.argv.pop()]
    process.main()


if __name__ == "__main__":
    main()
