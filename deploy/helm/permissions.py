"""What each process may do in Kafka: the ACLs of the users that the chart makes with Strimzi."""

from __future__ import annotations

# By user: operations on the topic of the events, on the group of the etl, and on the cluster.
PERMISSIONS: dict[str, dict[str, list[str]]] = {
    "ingest": {"topic": ["Write", "Describe", "DescribeConfigs"]},
    "etl": {"topic": ["Read", "Describe"], "group": ["Read"]},
    "migrate": {"topic": ["Create", "Describe", "DescribeConfigs"]},
}
