"""Kafka and ClickHouse for fault tests: one server of each for all runs, which a test kills, restarts or freezes."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common.settings import Address
from local.clickhouse.server import clickhouse_program
from local.kafka.files import QUICK
from local.kafka.server import kafka_program
from local.processes.ports import free_port
from local.processes.program import Child, Program, running
from tests.support.processes.system import Deployment

# Kafka removes a member that does not answer after this time; the default is 45 s.
GROUP_SESSION_SECONDS = 3.0


class Server:
    """A server that a test kills, restarts or freezes; it keeps its port and its data."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._child = Child(program)

    def await_ready(self) -> None:
        """Wait until the server answers."""
        self._child.await_ready()

    @property
    def is_running(self) -> bool:
        """Whether its process has not ended."""
        return self._child.process.poll() is None

    def kill(self) -> None:
        """Kill the server with SIGKILL."""
        self._child.kill()

    def start(self) -> None:
        """Start the server again and wait until it answers."""
        self._child = Child(self._program)
        self._child.await_ready()

    def restart(self) -> None:
        """Stop the server in an orderly way, and start it again."""
        self._child.stop()
        self.start()

    def freeze(self) -> None:
        """Send SIGSTOP to the process group; its connections stay open and do not answer."""
        os.killpg(self._child.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Send SIGCONT to the process group."""
        os.killpg(self._child.process.pid, signal.SIGCONT)

    def heal(self) -> None:
        """Restart or thaw the server after a run that failed."""
        if self._child.process.poll() is not None:
            self.start()
        self.thaw()

    def end(self) -> None:
        """Stop the server."""
        self._child.stop()


@dataclass
class ServerStack:
    """Kafka, ClickHouse and the gateway, which run for all tests, and the ports, which are the same in each test."""

    kafka: Server
    clickhouse: Server
    bootstrap: str
    clickhouse_address: Address
    endpoints: Deployment

    def url(self, database: str, address: Address | None = None) -> str:
        """Return the URL of a database, on the server itself or through a proxy."""
        return f"clickhouse://default@{address or self.clickhouse_address}/{database}"

    def heal(self) -> None:
        """Restart or thaw both servers before the next run."""
        self.kafka.heal()
        self.clickhouse.heal()


@contextlib.contextmanager
def running_stack(folder: Path) -> Iterator[ServerStack]:
    """Start the servers and the gateway, and stop them when the context ends."""
    kafka_port, native_port = free_port(), free_port()
    kafka_server = kafka_program(
        folder / "kafka",
        kafka_port,
        free_port(),
        group_session_milliseconds=int(GROUP_SESSION_SECONDS * 1000),
        java_options=[QUICK],
    )
    bootstrap = f"127.0.0.1:{kafka_port}"
    endpoints = Deployment(folder, bootstrap, topic="none", database="clickhouse://none/none")
    with contextlib.ExitStack() as cleanup:
        kafka = Server(kafka_server)
        cleanup.callback(kafka.end)
        clickhouse = Server(clickhouse_program(folder / "clickhouse", native_port, free_port()))
        cleanup.callback(clickhouse.end)
        kafka.await_ready()
        clickhouse.await_ready()
        # Not awaited: the gateway is ready when ingest is, and each run starts an ingest of its own.
        cleanup.enter_context(running(endpoints.program("gateway", "gateway")))
        yield ServerStack(kafka, clickhouse, bootstrap, Address("127.0.0.1", native_port), endpoints)
