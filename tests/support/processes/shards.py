"""Two ClickHouse servers as a cluster of two shards without replication, to run the cluster's SQL without Keeper."""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from db.clickhouse.client import ClickHouse, connected
from db.clickhouse.schema import MIGRATIONS, migrations
from etl.plan import Coordinates, Topic
from local.clickhouse.server import clickhouse_program
from local.processes.ports import free_port
from local.processes.program import running

# In the cluster HALF the second server does not answer.
CLUSTER, HALF = "ugc", "half"
FILES = migrations(MIGRATIONS / "cluster")
CONFIGURATION = """
<clickhouse>
    <macros><shard>{shard}</shard><replica>clickhouse-{shard}-1</replica></macros>
    <remote_servers><ugc>{shards}</ugc><half>{half}</half></remote_servers>
</clickhouse>
"""
SHARD = "<shard><replica><host>127.0.0.1</host><port>{port}</port></replica></shard>"
TOPIC_ID = uuid.UUID("0d6be9f0-7c1f-4f5e-9f0f-3d2a6c1b8e55")
AT = Coordinates(Topic("ugc.events", str(TOPIC_ID), "cluster"), 3)


@contextlib.contextmanager
def two_servers(make_folder: Callable[[str], Path]) -> Iterator[list[str]]:
    """Start two servers as a cluster; yield their URLs without a database."""
    ports = [free_port() for _ in range(2)]
    shards, half = ("".join(SHARD.format(port=port) for port in each) for each in (ports, (ports[0], free_port())))
    with contextlib.ExitStack() as stack:
        for shard, port in enumerate(ports, 1):
            folder = make_folder(f"clickhouse-{shard}")
            (folder / "conf.d").mkdir()
            (folder / "conf.d" / "cluster.xml").write_text(CONFIGURATION.format(shard=shard, shards=shards, half=half))
            stack.enter_context(running(clickhouse_program(folder, port, free_port())))
        yield [f"clickhouse://default@127.0.0.1:{port}" for port in ports]


@contextlib.contextmanager
def two_databases(servers: list[str]) -> Iterator[list[ClickHouse]]:
    """Create the cluster's tables in a new database on both servers; yield a connection to each."""
    name = f"test_{uuid.uuid4().hex}"
    with contextlib.ExitStack() as stack:
        for each in servers:
            with connected(f"{each}/default") as server:
                server.rows(f"CREATE DATABASE {name}")
        connections = [stack.enter_context(connected(f"{each}/{name}")) for each in servers]
        for connection in connections:
            for statement in (statement for each in FILES for statement in each.statements()):
                connection.rows(unreplicated(statement))
        yield connections


def unreplicated(statement: str) -> str:
    """Return a statement for a cluster as a statement for a single server, because no Keeper runs."""
    statement = statement.replace("{cluster_name}", CLUSTER).replace(f" ON CLUSTER '{CLUSTER}'", "")
    statement = re.sub(r"\breplicated_dedup", "non_replicated_dedup", statement)
    # The claims of a test need not survive a power failure.
    statement = statement.replace("SETTINGS fsync_after_insert = 1, fsync_part_directory = 1", "")
    return re.sub(r"ENGINE = Replicated(\w+)\('[^']*', '[^']*'\)", r"ENGINE = \1", statement)


def name_of(connection: ClickHouse) -> str:
    ((name,),) = connection.rows("SELECT currentDatabase()")
    return str(name)


def store(connection: ClickHouse, first: int, last: int, *, users: int = 10) -> None:
    """Store events at a range of offsets, of a number of users in turn."""
    connection.rows(
        "INSERT INTO events (event_id, user_id, event, kafka_topic_id, kafka_partition, kafka_offset)"
        f" SELECT generateUUIDv4(), toUUID(concat('00000000-0000-0000-0000-', leftPad(toString(number % {users}), 12,"
        f" '0'))), 'like', '{TOPIC_ID}', 3, number FROM numbers({first}, {last - first + 1})"
    )
