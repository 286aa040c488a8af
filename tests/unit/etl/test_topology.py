"""The servers of UGC_ETL_SHARD_URLS must be those of the cluster's configuration in ClickHouse."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from common.clickhouse_settings import server_urls
from etl.clickhouse.server import ClusterReplica
from etl.clickhouse.topology import problem
from etl.settings import EtlSettings


def seen_by(server: str, shards: tuple[int, ...], local: int | None) -> list[ClusterReplica]:
    """Return the replicas in a server's configuration; `local` is the index of that server among them."""
    return [ClusterReplica(shard, index == local, server) for index, shard in enumerate(shards)]


TWO_BY_TWO = (1, 1, 2, 2)
GOOD = [seen_by("a", TWO_BY_TWO, 2), seen_by("b", TWO_BY_TWO, 3)]


def test_the_configured_servers() -> None:
    """Settings that name each replica of the shard are correct, also if no server recognizes itself."""
    assert problem("ugc", 1, 2, GOOD) == ""
    assert problem("ugc", 1, 2, [seen_by("a", TWO_BY_TWO, None), seen_by("b", TWO_BY_TWO, None)]) == ""


@pytest.mark.parametrize(
    ("shards", "answers", "text"),
    [
        (3, GOOD, "names 3 shards, but the cluster ugc has 2"),
        (2, [seen_by("a", TWO_BY_TWO, 0), GOOD[1]], "URL 2 names a server of shard 1"),
        (2, GOOD[:1], "URL 2 names 1 servers, but shard 2 of the cluster ugc has 2 replicas"),
        (2, [GOOD[0], seen_by("a", TWO_BY_TWO, 2)], "URL 2 names the same server twice"),
        (2, [[], []], "no cluster ugc"),
    ],
)
def test_other_servers(shards: int, answers: list[list[ClusterReplica]], text: str) -> None:
    """Anything else is refused: rows would be missed, or be where `events_all` does not expect them."""
    assert text in problem("ugc", 1, shards, answers)


def test_urls_of_the_servers() -> None:
    """A URL names its host and those of alt_hosts; the rest of the URL is that of each server."""
    assert server_urls("clickhouses://u:p@a:9440/ugc?alt_hosts=b:9441,c&ca_certs=%2Fca.pem") == [
        "clickhouses://u:p@a:9440/ugc?ca_certs=%2Fca.pem",
        "clickhouses://u:p@b:9441/ugc?ca_certs=%2Fca.pem",
        "clickhouses://u:p@c/ugc?ca_certs=%2Fca.pem",
    ]
    assert server_urls("clickhouse://default@a/ugc") == ["clickhouse://default@a/ugc"]


A, B = "clickhouse://default@a/ugc?alt_hosts=b", "clickhouse://default@c/ugc?alt_hosts=d"


def test_shards() -> None:
    """The shards are those of the list, or the one of UGC_CLICKHOUSE_URL."""
    settings = EtlSettings(etl_shard_urls=f"{A}  {B}\n", clickhouse_cluster="ugc")

    assert settings.shard_urls == [A, B]
    assert EtlSettings(clickhouse_url=A, clickhouse_cluster="ugc").shard_urls == [A]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"etl_shard_urls": f"{A} {B}"}, "etl_shard_urls.*UGC_CLICKHOUSE_CLUSTER must be set"),
        ({"clickhouse_url": A}, "etl_shard_urls.*UGC_CLICKHOUSE_CLUSTER must be set"),
        ({"etl_shard_urls": f"{A} {A}", "clickhouse_cluster": "ugc"}, "etl_shard_urls.*names a server twice: a, b"),
        ({"etl_shard_urls": f"{A} clickhouse://c/other", "clickhouse_cluster": "ugc"}, "several databases"),
        ({"etl_shard_urls": f"{A},{B}", "clickhouse_cluster": "ugc"}, "etl_shard_urls.*URLs by spaces"),
        ({"etl_shard_urls": "http://a/ugc", "clickhouse_cluster": "ugc"}, "etl_shard_urls"),
        ({"clickhouse_url": f"{A}&insert_quorum=2", "clickhouse_cluster": "ugc"}, "insert_quorum.*remove it"),
        ({"clickhouse_url": f"{A}&select_sequential_consistency=1", "clickhouse_cluster": "ugc"}, "remove it"),
        (
            {"etl_shard_urls": "clickhouse://a/ugc?alt_hosts=b,", "clickhouse_cluster": "ugc"},
            "host in alt_hosts that is not valid",
        ),
        ({"etl_insert_quorum": 2}, "etl_insert_quorum.*names 1 replicas"),
        ({"etl_shard_urls": f"{A} {B}", "clickhouse_cluster": "ugc", "etl_insert_quorum": 3}, "names 2 replicas"),
    ],
)
def test_settings_that_cannot_work(values: dict[str, object], text: str) -> None:
    """The process does not start with servers that are not one cluster, or a quorum that no shard can reach."""
    with pytest.raises(ValidationError, match=re.compile(text, re.DOTALL)):
        EtlSettings.model_validate(values)
