"""The etl without one of its precautions, to prove that fault tests notice.

`python -m tests.support.faults.careless NAME`
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from etl import process
from etl.delivery import Delivery
from etl.kafka.message import Message
from etl.partition import Partition

# An insert may then begin whenever it arrives.
NO_FENCE_SECONDS = "60"


class WithoutReadBack(Delivery):
    """Inserts a planned batch again without asking what is stored of it."""

    def recovering(self, partition: Partition, messages: Sequence[Message]) -> Iterator[None]:
        partition.inherited = None
        yield from self.delivering(partition, messages)


class WithoutFence(Delivery):
    """Recovers at once, while the insert that it recovers may still be on its way; see NO_FENCE_SECONDS."""

    def is_quiet(self, partition: Partition) -> bool:
        return partition.is_open


CARELESS = {"without-read-back": WithoutReadBack, "without-fence": WithoutFence}


def main() -> None:
    """Run the etl with the Delivery that is named."""
    # The process builds its parts itself; this one is put in the place of its own.
    vars(process)["Delivery"] = CARELESS[sys.argv.pop()]
    process.main()


if __name__ == "__main__":
    main()
