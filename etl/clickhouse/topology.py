"""Checks the servers of UGC_ETL_SHARD_URLS against the cluster's configuration in ClickHouse. Pure.

A recovery asks the servers that the settings name. A replica that they do not name could hold rows that the recovery
would regard as missing, and a server of another shard would get rows where `events_all` does not expect them.
"""

from __future__ import annotations

from collections.abc import Sequence

from etl.clickhouse.server import ClusterReplica

SETTING = "UGC_ETL_SHARD_URLS"


def problem(cluster: str, shard: int, shards: int, answers: Sequence[Sequence[ClusterReplica]]) -> str:
    """Return what is wrong with the servers of a shard, whose index is `shard`; empty if nothing is.

    `answers` has the cluster's replicas in the configuration of each server that the settings name for the shard.
    """
    number = shard + 1
    for replicas in answers:
        if not replicas:
            return f"UGC_CLICKHOUSE_CLUSTER: the configuration of a server of shard {number} has no cluster {cluster}"
        found = max(each.shard_number for each in replicas)
        if found != shards:
            return f"{SETTING} names {shards} shards, but the cluster {cluster} has {found}: stop every etl, correct it"
        local = {each.shard_number for each in replicas if each.is_local}
        if local - {number}:
            return f"{SETTING}: URL {number} names a server of shard {min(local)} of the cluster {cluster}"
        count = sum(each.shard_number == number for each in replicas)
        if count != len(answers):
            return (
                f"{SETTING}: URL {number} names {len(answers)} servers, but shard {number} of the cluster {cluster} "
                f"has {count} replicas: name each of them, the others in alt_hosts"
            )
    if len({replicas[0].server for replicas in answers}) != len(answers):
        return f"{SETTING}: URL {number} names the same server twice"
    return ""
