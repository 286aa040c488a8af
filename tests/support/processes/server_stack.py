"""Kafka and ClickHouse for fault tests: one of each for all runs, to be killed, started again, frozen and thawed."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common.settings import Address
from local.clickhouse.server import clickhouse_program
from local.kafka.server import kafka_program
from local.processes.program import Child, Program, free_port, running
from tests.support.processes.system import Place

# A member that does not answer is out of the group after this long; the group's own default is 45 s.
GROUP_SESSION_SECONDS = 3.0


class Server:
    """A server that survives what is done to it: its port and its data stay."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._child = Child(program)

    def await_ready(self) -> None:
        """Wait until it answers."""
        self._child.await_ready()

    def kill(self) -> None:
        """End it as kill -9 does."""
        self._child.kill()

    def start(self) -> None:
        """Start it again and wait until it answers."""
        self._child = Child(self._program)
        self._child.await_ready()

    def freeze(self) -> None:
        """Stop its process group; its connections stay open and silent."""
        os.killpg(self._child.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.killpg(self._child.process.pid, signal.SIGCONT)

    def heal(self) -> None:
        """Bring it back, whatever a failed run has left."""
        if self._child.process.poll() is not None:
            self.start()
        self.thaw()

    def end(self) -> None:
        """End it for good."""
        self._child.stop()


@dataclass
class Stage:
    """The servers, and the doors' ports, which stay the same for all runs so that the gateway can stay up too."""

    kafka: Server
    clickhouse: Server
    bootstrap: str
    clickhouse_address: Address
    doors: Place

    def url(self, database: str, address: Address | None = None) -> str:
        """Return the address of a database, on the server itself or on a proxy before it."""
        return f"clickhouse://default@{address or self.clickhouse_address}/{database}"

    def heal(self) -> None:
        """Make everything work again before the next run."""
        self.kafka.heal()
        self.clickhouse.heal()


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[Stage]:
    """Start the servers and the gateway; end them on the way out."""
    kafka_port, native_port = free_port(), free_port()
    kafka_server = kafka_program(
        folder / "kafka",
        kafka_port,
        free_port(),
        group_session_milliseconds=int(GROUP_SESSION_SECONDS * 1000),
    )
    bootstrap = f"127.0.0.1:{kafka_port}"
    doors = Place(folder, bootstrap, topic="none", database="clickhouse://none/none")
    with contextlib.ExitStack() as stack:
        kafka = Server(kafka_server)
        stack.callback(kafka.end)
        clickhouse = Server(clickhouse_program(folder / "clickhouse", native_port, free_port()))
        stack.callback(clickhouse.end)
        kafka.await_ready()
        clickhouse.await_ready()
        # It is ready when ingest is, which each run starts for itself.
        stack.enter_context(running(doors.program("gateway", "gateway")))
        yield Stage(kafka, clickhouse, bootstrap, Address("127.0.0.1", native_port), doors)
