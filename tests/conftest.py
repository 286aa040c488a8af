"""Fixtures: real servers, started when first needed on free ports and stopped when pytest ends."""

from __future__ import annotations

import contextlib
import gc
import os
import time
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import structlog

from common import logs
from common.logs import logger
from db.clickhouse.client import ClickHouse, connected
from db.clickhouse.schema import migrate
from db.kafka.layout import TopicLayout
from db.kafka.topics import provision
from local.clickhouse.server import clickhouse_program
from local.kafka.files import QUICK
from local.kafka.server import kafka_program
from local.processes.ports import free_port
from local.processes.program import running
from tests.support import parallel
from tests.support.certificates import Certificates
from tests.support.processes.management import NO_MANAGEMENT
from tests.support.processes.shards import two_databases, two_servers
from tests.support.processes.shared import shared

# gRPC reads this when it is first imported, which no module above does. Tests start processes while gRPC calls are
# running, and gRPC's preparation for a fork would wait for those calls indefinitely. The children exec at once.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

# The clients of tests, such as curl, connect to this machine without a proxy; downloads may need the user's proxy. The
# product does not need this: tests/integration/test_up_environment.py.
HERE = "localhost,127.0.0.1,::1"
for variable in ("no_proxy", "NO_PROXY"):
    os.environ[variable] = f"{os.environ[variable]},{HERE}" if os.environ.get(variable) else HERE

# A broker of `ugc-up` lives for seconds, as the brokers of the fixtures do.
os.environ.setdefault("UGC_LOCAL_KAFKA_JAVA_OPTIONS", QUICK)

# Processes that tests start in parallel would have the same default ports; a test of the listeners chooses others.
os.environ.update(NO_MANAGEMENT)

# A slow example on a busy machine is not a failure.
hypothesis.settings.register_profile("without-deadline", deadline=None)
hypothesis.settings.load_profile("without-deadline")

PARTITIONS = 3
LAYOUT = TopicLayout(partitions=PARTITIONS, replication_factor=1, min_insync_replicas=1, retention_hours=1)


BEGAN = time.monotonic()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Choose the number of workers of `make test`."""
    return parallel.workers()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Divide the tests among the workers."""
    return parallel.scheduling(config, log)


def pytest_configure() -> None:
    """Prepare a worker of `make test`."""
    parallel.divide_ports()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what lasts longest, in a worker of `make test`."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items[:] = parallel.in_order(items)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Import the tests without collecting garbage, of which there is none, and exempt them from later collections."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what the run has cost."""
    terminalreporter.write_line(parallel.cost(time.monotonic() - BEGAN))


@pytest.fixture(scope="session", autouse=True)
def local_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep commands from using the developer's own `make up`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UGC_LOCAL_DIRECTORY", str(tmp_path_factory.mktemp("local")))
        yield


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a Kafka broker, one for all workers of `make test`; yield its bootstrap server."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared-kafka"
    with shared(folder, lambda: broker(folder)) as bootstrap:
        yield bootstrap


@contextlib.contextmanager
def broker(folder: Path) -> Iterator[str]:
    """Run a broker; yield its bootstrap server."""
    port, controller_port = free_port(), free_port()
    with running(kafka_program(folder, port, controller_port, group_session_milliseconds=4_000, java_options=[QUICK])):
        yield f"127.0.0.1:{port}"


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a ClickHouse server; yield its URL without a database."""
    port = free_port()
    with running(clickhouse_program(tmp_path_factory.mktemp("clickhouse"), port, free_port())):
        yield f"clickhouse://default@127.0.0.1:{port}"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Start two ClickHouse servers as two shards; yield their URLs without a database."""
    with two_servers(tmp_path_factory.mktemp) as started:
        yield started


@pytest.fixture
def shards(servers: list[str]) -> Iterator[list[ClickHouse]]:
    """Create the cluster's tables on both servers; yield a connection to each."""
    with two_databases(servers) as connections:
        yield connections


@pytest.fixture(autouse=True)
def own_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no logger and no rate limit of an earlier test decide about the lines of this one."""
    structlog.reset_defaults()
    logger.cache_clear()
    monkeypatch.setattr(logs, "CLIENT_LINES", logs.RateLimiter())


@pytest.fixture
def topic(kafka: str) -> str:
    """Create a topic with 3 partitions; return its name."""
    name = f"test-{uuid.uuid4().hex}"
    assert provision(kafka, name, LAYOUT)
    return name


@pytest.fixture
def database(clickhouse: str) -> Iterator[str]:
    """Create a database with all tables; yield its URL. It is dropped, because idle tables use CPU too."""
    name = f"test_{uuid.uuid4().hex}"
    assert migrate(f"{clickhouse}/{name}")
    yield f"{clickhouse}/{name}"
    with connected(f"{clickhouse}/default") as connection:
        # A test may have created dictionaries on its tables.
        connection.rows("SET check_table_dependencies = 0")
        connection.rows(f"DROP DATABASE IF EXISTS {name}")


@pytest.fixture
def tables(database: str) -> Iterator[ClickHouse]:
    """Yield a connection to the test's database."""
    with connected(database) as connection:
        yield connection


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    """Return certificates whose files a test may replace."""
    return Certificates(tmp_path / "certificates")


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """Return a folder for logs of processes."""
    return tmp_path
