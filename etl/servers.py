"""Whether the URLs of the shards, each with its replicas, are those of one cluster. Pure."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

from common.clickhouse_settings import OTHERS, server_urls

# What the etl sets itself, because the guarantee depends on it.
OWN_SETTINGS = ("insert_quorum", "insert_quorum_parallel", "insert_quorum_timeout", "select_sequential_consistency")
URLS_MAX = 1_000
URL = re.compile(r"\w+://(?:[^/]*@)?[^@/?#\s]+/[^/?]*(?:\?.*)?")


def host_of(url: str) -> str:
    """Return the host and the port of the server that a URL names."""
    return urlsplit(url).netloc.rpartition("@")[2]


def database_of(url: str) -> str:
    """Return the database that a URL names."""
    return urlsplit(url).path


def require_shards(urls: list[str], cluster: str) -> None:
    """Raise ValueError unless the URLs, one for each shard, are those of one cluster."""
    if len(urls) > URLS_MAX:
        raise ValueError(f"names {len(urls)} shards; at most {URLS_MAX} are supported")
    for url in urls:
        for host in server_urls(url):
            if not URL.fullmatch(host):
                raise ValueError(
                    f"has a host in {OTHERS} that is not valid; hosts are separated by commas, URLs by spaces"
                )
    hosts = [host_of(server) for url in urls for server in server_urls(url)]
    if repeated := sorted({host for host in hosts if hosts.count(host) > 1}):
        raise ValueError(f"names a server twice: {', '.join(repeated)}")
    if len({database_of(url) for url in urls}) > 1:
        raise ValueError("names several databases; all shards have the same")
    if len(hosts) > 1 and not cluster:
        raise ValueError(
            "names several servers, so UGC_CLICKHOUSE_CLUSTER must be set to the name of their cluster in ClickHouse's "
            "configuration"
        )
    given = {name for url in urls for name in parse_qs(urlsplit(url).query)}
    if own := sorted(given.intersection(OWN_SETTINGS)):
        raise ValueError(f"sets {', '.join(own)}, which follows from UGC_ETL_INSERT_QUORUM: remove it from the URL")
