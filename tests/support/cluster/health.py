"""Whether the cluster is whole: every member runs and is in its place, and nothing waits to be stored."""

from __future__ import annotations

from collections.abc import Iterator

from confluent_kafka import KafkaException

from db.kafka.connection import admin
from local.processes.direct import answers_http
from tests.support.cluster.cluster import TOPIC, Cluster
from tests.support.cluster.layout import CLICKHOUSE, ETL, GATEWAY, INGEST, KAFKA, KEEPER
from tests.support.cluster.queries import QueryError, rows
from tests.support.cluster.watch import PARTITIONS
from tests.support.processes.management import scrape, value
from tests.support.processes.system import await_equal

HEALTHY_SECONDS_MAX = 180.0
METADATA_SECONDS_MAX = 5.0
PROBE_SECONDS_MAX = 2.0
REPLICAS = """
SELECT table, is_readonly, is_session_expired, active_replicas, total_replicas, queue_size FROM system.replicas
WHERE database = 'ugc' AND table IN ('events', 'rejected_events', 'replayed_events')
"""
HEALTHY_TABLES = 3
TWO_REPLICAS = "2"


def await_healthy(cluster: Cluster, *, under_load: bool = False) -> None:
    """Wait until the cluster is whole; the assertion shows what is not. Under a load, some rows are always waiting."""

    def remaining() -> list[str]:
        cluster.restart_ended()
        return list(problems(cluster, under_load=under_load))

    await_equal(remaining, [], HEALTHY_SECONDS_MAX)


def problems(cluster: Cluster, *, under_load: bool = False) -> Iterator[str]:
    """Yield what is wrong."""
    for check in (of_processes, of_keepers, of_kafka):
        yield from check(cluster)
    yield from of_replicas(cluster, under_load=under_load)
    yield from of_loading(cluster, under_load=under_load)


def of_processes(cluster: Cluster) -> Iterator[str]:
    """Yield the members that do not run, and those beyond the compose file."""
    yield from (f"{name} does not run" for name in cluster.layout.members if is_down(cluster, name))
    yield from (f"{name} still runs" for name in cluster.layout.extra if name in cluster.servers)
    for member in cluster.layout.of(INGEST, GATEWAY):
        if not answers_http(f"http://{member.address('management')}/readyz", PROBE_SECONDS_MAX):
            yield f"{member.name} is not ready"


def is_down(cluster: Cluster, name: str) -> bool:
    """Whether a member that should run does not; the migrate service has ended."""
    return cluster.member(name).ports != {} and not cluster.is_running(name)


def of_keepers(cluster: Cluster) -> Iterator[str]:
    """Yield what is wrong with the ensemble."""
    modes = sorted(str(cluster.keeper_mode(name)) for name in cluster.layout.names(KEEPER))
    if modes != ["follower", "follower", "leader"]:
        yield f"the keepers are {modes}"


def of_kafka(cluster: Cluster) -> Iterator[str]:
    """Yield the partitions without a leader, or of which a replica is not in sync."""
    brokers = len(cluster.layout.names(KAFKA))
    try:
        found = admin(cluster.layout.bootstrap).list_topics(timeout=METADATA_SECONDS_MAX)
    except KafkaException as error:
        yield f"Kafka: {error}"
        return
    if len(found.brokers) != brokers:
        yield f"{len(found.brokers)} brokers"
    for name, topic in found.topics.items():
        behind = [number for number, each in topic.partitions.items() if len(each.isrs) != brokers or each.leader < 0]
        if behind:
            yield f"partitions {behind} of {name} are not in sync"
    if TOPIC not in found.topics:
        yield f"{TOPIC} does not exist"


def of_replicas(cluster: Cluster, *, under_load: bool = False) -> Iterator[str]:
    """Yield the tables that are not replicated as they should be."""
    for member in cluster.layout.of(CLICKHOUSE):
        try:
            found = rows(member, REPLICAS, PROBE_SECONDS_MAX)
        except QueryError as error:
            yield str(error)
            continue
        if len(found) != HEALTHY_TABLES:
            yield f"{member.name} has {len(found)} of {HEALTHY_TABLES} tables"
        for table, *state in found:
            if under_load:
                state[-1] = "0"
            if state != ["0", "0", TWO_REPLICAS, TWO_REPLICAS, "0"]:
                yield f"{table} on {member.name}: read-only, expired, active, total, queue: {state}"


def of_loading(cluster: Cluster, *, under_load: bool = False) -> Iterator[str]:
    """Yield why some partition is not loaded: every one has exactly one owner, and nothing lags."""
    owned = 0.0
    for member in cluster.layout.of(ETL):
        try:
            samples = scrape(member.address("management"))
        except OSError as error:
            yield f"{member.name}: {error}"
            continue
        owned += value(samples, "ugc_etl_partitions_owned")
        lags = {name[1]: lag for name, lag in samples.items() if name[0] == "ugc_etl_lag_messages" and lag}
        if lags and not under_load:
            yield f"{member.name} lags: {lags}"
    if owned != len(PARTITIONS):
        yield f"{owned:g} of {len(PARTITIONS)} partitions have an owner"
