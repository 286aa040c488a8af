"""The profile `cluster` of the compose file and the configuration of its servers agree with each other."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from common.clickhouse_settings import server_urls
from etl.servers import host_of
from etl.settings import EtlSettings
from services.ingest.settings import IngestSettings
from tests.repository.test_compose import PROFILES, ROOT, SERVICES


def test_cluster_topology() -> None:
    """The servers and keepers in the configuration are the services, and each is configured with its own name."""
    server, keeper = (ET.parse(ROOT / "db" / "cluster" / f"{each}.xml") for each in ("server", "keeper"))  # noqa: S314 -- files of this repository
    shards = [[host.text for host in shard.iter("host")] for shard in server.iterfind("remote_servers/ugc/shard")]

    assert shards == [[f"clickhouse-{shard}-{replica}" for replica in (1, 2)] for shard in (1, 2)]
    for shard, hosts in enumerate(shards, 1):
        for host in hosts:
            environment = SERVICES[str(host)]["environment"]
            assert (environment["CLICKHOUSE_SHARD"], environment["CLICKHOUSE_REPLICA"]) == (shard, host)
    assert [host.text for host in server.iterfind("zookeeper/node/host")] == ["keeper-1", "keeper-2", "keeper-3"]
    for each in keeper.iterfind("keeper_server/raft_configuration/server"):
        assert str(SERVICES[str(each.findtext("hostname"))]["environment"]["KEEPER_ID"]) == each.findtext("id")


def test_cluster_etl() -> None:
    """Each etl is configured with every replica of each shard, in the order of the shards."""
    server = ET.parse(ROOT / "db" / "cluster" / "server.xml")  # noqa: S314 -- a file of this repository
    shards = [[str(host.text) for host in shard.iter("host")] for shard in server.iterfind("remote_servers/ugc/shard")]
    environments = [SERVICES[name]["environment"] for name in sorted(PROFILES["cluster"]) if name.startswith("etl-")]

    assert len(environments) > 1
    for environment in environments:
        settings = EtlSettings(
            etl_shard_urls=environment["UGC_ETL_SHARD_URLS"].replace("${CLICKHOUSE_PASSWORD}", "secret"),
            clickhouse_cluster=environment["UGC_CLICKHOUSE_CLUSTER"],
        )
        named = [[host_of(server).partition(":")[0] for server in server_urls(url)] for url in settings.shard_urls]
        assert named == shards
        assert environment["UGC_CLICKHOUSE_CLUSTER"] == "ugc"
        assert float(environment["UGC_ETL_CLOCK_SKEW_SECONDS"]) > 0


def test_cluster_brokers_are_given_up_in_time() -> None:
    """A killed broker loses its partitions before ingest stops waiting, but only after several missed heartbeats."""
    for broker in sorted(name for name in PROFILES["cluster"] if name.startswith("kafka-")):
        environment = SERVICES[broker]["environment"]
        session = int(environment["KAFKA_BROKER_SESSION_TIMEOUT_MS"])
        group = int(environment["KAFKA_GROUP_CONSUMER_SESSION_TIMEOUT_MS"])

        assert session < IngestSettings.model_fields["ingest_delivery_seconds_max"].default * 1_000, broker
        assert int(environment["KAFKA_BROKER_HEARTBEAT_INTERVAL_MS"]) * 4 <= session, broker
        assert int(environment["KAFKA_GROUP_CONSUMER_MIN_SESSION_TIMEOUT_MS"]) <= group, broker
        assert int(environment["KAFKA_GROUP_CONSUMER_HEARTBEAT_INTERVAL_MS"]) * 4 <= group, broker
