"""What the tests of the cluster take from docker-compose.yml, for processes on this machine's loopback."""

from __future__ import annotations

import itertools
import re

import pytest

from tests.support.cluster.compose import COMPOSE_FILE, defaults, kafka_properties, on_loopback, services
from tests.support.cluster.kafka import broker_properties
from tests.support.cluster.layout import (
    CLICKHOUSE,
    ETL,
    GATEWAY,
    INGEST,
    KAFKA,
    KEEPER,
    MIGRATE,
    Layout,
    make_layout,
)

FIRST_PORT = 20_000


@pytest.fixture
def layout() -> Layout:
    """Return the layout of the product's compose file."""
    ports = itertools.count(FIRST_PORT)
    return make_layout(lambda: next(ports))


def test_members(layout: Layout) -> None:
    """The cluster has three brokers, three keepers, 2 shards of 2 replicas, two ingest, a gateway and two etl."""
    counts = {kind: len(layout.names(kind)) for kind in (KAFKA, KEEPER, CLICKHOUSE, INGEST, GATEWAY, ETL, MIGRATE)}

    assert counts == {KAFKA: 3, KEEPER: 3, CLICKHOUSE: 4, INGEST: 2, GATEWAY: 1, ETL: 2, MIGRATE: 1}
    assert layout.shards == [1, 2]


def test_ports_are_different(layout: Layout) -> None:
    """No two members listen on the same port."""
    ports = [port for each in (*layout.members.values(), *layout.extra.values()) for port in each.ports.values()]

    assert len(ports) == len(set(ports))


def test_no_name_of_a_container_is_left(layout: Layout) -> None:
    """Every address of the variables that a process or broker reads is of the loopback."""
    names = [re.escape(name) for name in services(COMPOSE_FILE.read_text(encoding="utf-8"), defaults())]
    place = re.compile(rf"(?:{'|'.join(names)}):\d+")
    texts = {each.name: each.environment for each in layout.members.values() if each.kind not in (KAFKA, CLICKHOUSE)}
    texts |= {each.name: broker_properties(each) for each in layout.of(KAFKA)}

    assert {name: found for name, each in texts.items() if (found := place.findall(" ".join(each.values())))} == {}


def test_brokers_find_one_another(layout: Layout) -> None:
    """Each broker votes with the ports on which the controllers listen."""
    voters = ",".join(f"{number}@{each.address('controller')}" for number, each in enumerate(layout.of(KAFKA), 1))

    assert {broker_properties(each)["controller.quorum.voters"] for each in layout.of(KAFKA)} == {voters}


def test_a_second_etl(layout: Layout) -> None:
    """A second etl has the variables of the first, and a management port of its own."""
    for first, second in zip(layout.of(ETL), layout.extra.values(), strict=True):
        different = {name for name, value in first.environment.items() if second.environment[name] != value}

        assert different == {"UGC_ETL_MANAGEMENT_LISTEN"}


def test_replicas_of_a_service() -> None:
    """A service of several replicas is several members, whose addresses are in one target with those of the others."""
    text = COMPOSE_FILE.read_text(encoding="utf-8") + "\n"
    scaled = text.replace("  cluster-ingest:\n", "  cluster-ingest:\n    deploy: {replicas: 3}\n", 1)
    ports = itertools.count(FIRST_PORT)
    layout = make_layout(lambda: next(ports), scaled)
    target = layout.of(GATEWAY)[0].environment["UGC_INGEST_TARGET"]

    assert len(layout.names(INGEST)) == 4
    assert target == ",".join(each.address("serve") for each in layout.of(INGEST))


def test_kafka_properties() -> None:
    """The image's variables become properties; what configures the JVM does not."""
    found = kafka_properties(
        {"KAFKA_NODE_ID": "1", "KAFKA_A__B___C_D": "2", "KAFKA_HEAP_OPTS": "-Xmx1g", "CLUSTER_ID": "x"}
    )

    assert found == {"node.id": "1", "a_b-c.d": "2"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("kafka-1:9092,kafka-11:9092", "127.0.0.1:1,kafka-11:9092"),
        ("clickhouse://u@kafka-1:9092/x?alt_hosts=kafka-1:9092", "clickhouse://u@127.0.0.1:1/x?alt_hosts=127.0.0.1:1"),
        ("my-kafka-1:9092 kafka-1:90921", "my-kafka-1:9092 kafka-1:90921"),
        ("dns:///ingest:50051", "127.0.0.1:2,127.0.0.1:3"),
        ("ingest:50051", "127.0.0.1:2,127.0.0.1:3"),
    ],
)
def test_on_loopback(text: str, wanted: str) -> None:
    """Whole names with their port are replaced, and nothing else."""
    assert on_loopback(text, {"kafka-1:9092": "127.0.0.1:1", "ingest:50051": "127.0.0.1:2,127.0.0.1:3"}) == wanted
