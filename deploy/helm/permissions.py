"""What each process may do in Kafka, as docs/operating/permissions.md: the ACLs of the users that Strimzi makes."""

from __future__ import annotations

# By user: operations on the topic of the events, and on the group of the etl.
PERMISSIONS: dict[str, dict[str, list[str]]] = {
    "ingest": {"topic": ["Write", "DescribeConfigs"]},
    "etl": {"topic": ["Read"], "group": ["Read"]},
    "migrate": {"topic": ["Create", "Describe", "DescribeConfigs"]},
    "audit": {"topic": ["Read"], "group": ["Describe"]},
    "replay": {"topic": ["Write"]},
    "rewind": {"topic": ["Read"], "group": ["Read"]},
}
