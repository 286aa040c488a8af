"""Kafka brokers that are killed: nothing acknowledged is lost, and one broker of three stops nothing for good."""

from __future__ import annotations

import time
from collections import Counter

from confluent_kafka.admin._metadata import ClusterMetadata

from db.kafka.connection import admin
from etl.kafka.connection import connected
from etl.kafka.membership import Membership
from etl.metrics import EtlMetrics
from etl.settings import EtlSettings
from tests.cluster.conftest import Scenarios
from tests.support.cluster.cluster import TOPIC, Cluster
from tests.support.cluster.health import await_healthy
from tests.support.cluster.kafka import active_controller, broker_name
from tests.support.cluster.layout import ETL, KAFKA
from tests.support.processes.system import await_equal

METADATA_SECONDS_MAX = 10.0


def metadata(cluster: Cluster) -> ClusterMetadata:
    """Return what the brokers report of themselves and of the topic."""
    return admin(cluster.layout.bootstrap).list_topics(TOPIC, timeout=METADATA_SECONDS_MAX)


def leader(cluster: Cluster) -> str:
    """Return the broker that leads the most partitions and is not the active controller."""
    controller = active_controller(cluster.layout, cluster.folder)
    leaders = Counter(broker_name(each.leader) for each in metadata(cluster).topics[TOPIC].partitions.values())
    return next(name for name, _ in leaders.most_common() if name != controller)


def test_leader(cluster: Cluster, scenarios: Scenarios) -> None:
    """While a broker is dead that led partitions, events of all partitions are acknowledged and stored."""
    with scenarios.run("kill -9 a broker that leads partitions") as scenario:
        victim = leader(cluster)
        cluster.kill(victim)
        scenario.await_acknowledged()
        scenario.watch.await_flow()
        scenario.heal(victim)


def test_leader_and_etl(cluster: Cluster, scenarios: Scenarios) -> None:
    """An etl that is killed together with a broker, and starts again without it, loads its partitions."""
    with scenarios.run("kill -9 a broker and an etl, the etl back at once") as scenario:
        victim, etl = leader(cluster), cluster.layout.names(ETL)[0]
        cluster.kill(victim, etl)
        cluster.start(etl)
        scenario.watch.await_flow()
        scenario.heal(victim)


def test_active_controller(cluster: Cluster, scenarios: Scenarios) -> None:
    """While the broker is dead that was the active controller, events are acknowledged and stored."""
    with scenarios.run("kill -9 the active controller") as scenario:
        victim = active_controller(cluster.layout, cluster.folder)
        cluster.kill(victim)
        scenario.await_acknowledged()
        scenario.watch.await_flow()
        scenario.heal(victim)


def test_two_brokers(cluster: Cluster, scenarios: Scenarios) -> None:
    """While two brokers of three are dead, nothing that is sent is acknowledged; afterwards all of it is."""
    with scenarios.run("kill -9 two brokers of three") as scenario:
        victims = cluster.layout.names(KAFKA)[:2]
        cluster.kill(*victims)
        dead = time.time()
        await_equal(lambda: any(began > dead for began, _ in scenario.ledger.errors), wanted=True)
        ledger = scenario.ledger

        assert [each for each in ledger.acknowledged if ledger.sent[each] > dead] == []
        scenario.heal(*victims)


def test_client_of_a_dead_broker(cluster: Cluster) -> None:
    """An etl's client whose metadata names a broker that has died describes the topic while it is dead (F2)."""
    await_healthy(cluster)
    settings = EtlSettings(kafka_bootstrap_servers=cluster.layout.bootstrap, etl_group="cluster-test")
    with connected(settings, EtlMetrics().kafka, Membership()) as kafka:
        before = kafka.source.topic()
        victim = broker_name(kafka.source._admin.list_topics(timeout=METADATA_SECONDS_MAX).controller_id)
        cluster.kill(victim)
        try:
            await_equal(lambda: len(metadata(cluster).brokers), len(cluster.layout.names(KAFKA)) - 1)
            assert kafka.source.topic() == before
        finally:
            cluster.start(victim)
