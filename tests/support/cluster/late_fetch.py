"""The etl, with a moment in its recovery at which a replica fetches what it lacked.

`python -m tests.support.cluster.late_fetch URL` asks the ClickHouse server at URL, over HTTP, to fetch again. This
happens once, after a recovery has read what is stored and before it inserts the rest, and only if the server then gets
rows. The product's own code is unchanged; only the moment of the fetch is chosen.
"""

from __future__ import annotations

import sys
import time
import urllib.request

from etl import process
from etl.batch import Batch
from etl.delivery import Delivery
from local.processes.direct import DIRECT

# Less than the deadline of an insert (UGC_ETL_FENCE_SECONDS).
FETCH_SECONDS_MAX = 3.5
POLL_SECONDS = 0.05
ANSWER_SECONDS_MAX = 10.0
TABLES = ("events", "rejected_events")
FETCHED = "late fetch: the replica has fetched"
URL = sys.argv[-1]


class FetchingDelivery(Delivery):
    """Delivers as its class does; before the first insert of its first recovery, the replica fetches."""

    has_fetched = False

    def _renew(self, batch: Batch) -> None:
        if not self.has_fetched and sys._getframe(1).f_code.co_name == "_recover":
            before = held()
            for table in TABLES:
                ask(f"SYSTEM START FETCHES {table}")
            deadline = time.monotonic() + FETCH_SECONDS_MAX
            while held() == before and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
            if (after := held()) != before:
                self.has_fetched = True
                sys.stderr.write(f"{FETCHED} {after - before} rows\n")
        super()._renew(batch)


def held() -> int:
    """Return the number of rows that the replica holds."""
    return int(ask("SELECT (SELECT count() FROM events) + (SELECT count() FROM rejected_events)"))


def ask(query: str) -> str:
    """Run a query on the replica."""
    request = urllib.request.Request(f"{URL}/?database=ugc", data=query.encode())
    with DIRECT.open(request, timeout=ANSWER_SECONDS_MAX) as answer:
        text: str = answer.read().decode()
    return text


def main() -> None:
    """Run the etl."""
    sys.argv.pop()
    # The process composes its parts itself, so the class is replaced in its module.
    vars(process)["Delivery"] = FetchingDelivery
    process.main()


if __name__ == "__main__":
    main()
