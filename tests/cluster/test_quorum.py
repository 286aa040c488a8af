"""Rows whose insert never reached its quorum, and that appear on the other replica later: none is stored twice (F1).

A replica that is up but does not fetch (SYSTEM STOP FETCHES) is in place of a slow or blocked link between replicas.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from tests.cluster.conftest import Scenarios
from tests.support.cluster.cluster import Cluster
from tests.support.cluster.late_fetch import FETCHED, TABLES
from tests.support.cluster.layout import ETL
from tests.support.cluster.queries import rows
from tests.support.processes.management import scrape
from tests.support.processes.server_stack import Server
from tests.support.processes.system import await_equal

FIRST, LATE = "clickhouse-1-1", "clickhouse-1-2"
HELD = """
SELECT kafka_partition, kafka_offset FROM events UNION ALL SELECT kafka_partition, kafka_offset FROM rejected_events
"""
STATE = "ugc_etl_partition_state"


@contextmanager
def not_fetching(cluster: Cluster, name: str) -> Iterator[None]:
    """Keep a replica from fetching until the context ends."""
    member = cluster.member(name)
    for table in TABLES:
        rows(member, f"SYSTEM STOP FETCHES {table}")
    try:
        yield
    finally:
        for table in TABLES:
            rows(member, f"SYSTEM START FETCHES {table}")


def only_on_first(cluster: Cluster) -> int:
    """Return how many rows the first replica holds and the late one does not."""
    first, late = ({tuple(row) for row in rows(cluster.member(name), HELD)} for name in (FIRST, LATE))
    return len(first - late)


def is_failing(cluster: Cluster, etl: str) -> bool:
    """Whether an etl has failed to store a partition's events, and tries again."""
    found = scrape(cluster.member(etl).address("management"))
    return any(name == STATE and ("state", "failing") in labels and on for (name, labels), on in found.items())


def test_taken_over_by_another_etl(cluster: Cluster, scenarios: Scenarios) -> None:
    """Rows on one replica without a quorum, whose partition another etl takes over, are stored once."""
    with scenarios.run("a replica that fetches late, its etl killed, another etl takes over") as scenario:
        victim, heir = cluster.layout.names(ETL)
        logged = len(cluster.log(heir))
        with not_fetching(cluster, LATE):
            await_equal(lambda: only_on_first(cluster) > 0, wanted=True)
            cluster.kill(victim)
            await_equal(lambda: '"partitions assigned"' in cluster.log(heir)[logged:], wanted=True)
            # A recovery has read what is stored, and could not end.
            await_equal(lambda: is_failing(cluster, heir), wanted=True)
            assert only_on_first(cluster) > 0
        scenario.watch.await_flow()
        cluster.start(victim)


def test_fetched_within_a_recovery(cluster: Cluster, scenarios: Scenarios) -> None:
    """Rows on one replica without a quorum, fetched by the other between read-back and insert, are stored once."""
    with scenarios.run("a replica that fetches between the read-back and the insert of a recovery") as scenario:
        victim, others = cluster.layout.names(ETL)
        cluster.stop(others)
        with not_fetching(cluster, LATE):
            await_equal(lambda: only_on_first(cluster) > 0, wanted=True)
            cluster.kill(victim, FIRST)
            cluster.start(FIRST)
            assert only_on_first(cluster) > 0
            logged = len(cluster.log(victim))
            program = cluster.program(victim)
            urls = (f"http://{cluster.member(name).address('http')}" for name in (FIRST, LATE))
            argv = (program.argv[0], "-m", "tests.support.cluster.late_fetch", *urls)
            cluster.servers[victim] = Server(replace(program, argv=argv))
            await_equal(lambda: FETCHED in cluster.log(victim)[logged:], wanted=True)
        cluster.start(others)
        scenario.watch.await_flow()
        cluster.restart(victim)
