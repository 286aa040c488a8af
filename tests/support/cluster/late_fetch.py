"""The etl, with a moment in its recovery at which a replica fetches what it lacked.

`python -m tests.support.cluster.late_fetch FIRST LATE`, each the URL of a ClickHouse server for HTTP. When a recovery
has read what is stored of a batch and is about to insert the rest, and only FIRST holds rows of the batch, then LATE
fetches them before the insert. The product's own code is unchanged; only the moment of the fetch is chosen.
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
HELD = """
SELECT (SELECT count() FROM events WHERE {where}) + (SELECT count() FROM rejected_events WHERE {where})
"""


def fetching(first: str, late: str) -> type[Delivery]:
    """Return the class for two servers."""

    class FetchingDelivery(Delivery):
        """Delivers as its class does; `late` fetches between the read-back and the insert of a recovery."""

        def _renew(self, batch: Batch) -> None:
            if sys._getframe(1).f_code.co_name == "_recover" and (wanted := held(first, batch)) > held(late, batch):
                for table in TABLES:
                    ask(late, f"SYSTEM START FETCHES {table}")
                deadline = time.monotonic() + FETCH_SECONDS_MAX
                while held(late, batch) < wanted and time.monotonic() < deadline:
                    time.sleep(POLL_SECONDS)
                if held(late, batch) == wanted:
                    sys.stderr.write(f"{FETCHED} {wanted} rows of the batch {batch.plan}\n")
            super()._renew(batch)

    return FetchingDelivery


def held(server: str, batch: Batch) -> int:
    """Return how many rows of a batch a server holds."""
    partition, plan = batch.at.partition, batch.plan
    where = f"kafka_partition = {partition} AND kafka_offset BETWEEN {plan.first} AND {plan.end}"
    return int(ask(server, HELD.format(where=where)))


def ask(server: str, query: str) -> str:
    """Run a query on a server."""
    request = urllib.request.Request(f"{server}/?database=ugc", data=query.encode())
    with DIRECT.open(request, timeout=ANSWER_SECONDS_MAX) as answer:
        text: str = answer.read().decode()
    return text


def main() -> None:
    """Run the etl."""
    late, first = sys.argv.pop(), sys.argv.pop()
    # The process composes its parts itself, so the class is replaced in its module.
    vars(process)["Delivery"] = fetching(first, late)
    process.main()


if __name__ == "__main__":
    main()
