"""The running cluster: its servers and processes by name, which a scenario kills, freezes and starts again."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from common.running_system import locked
from common.settings import Address
from local.processes.errors import ProgramError
from local.processes.ports import free_port, refuse_busy_ports
from local.processes.program import Program
from local.settings import ROOT
from tests.support.cluster.clickhouse import replica_program
from tests.support.cluster.kafka import kafka_program
from tests.support.cluster.keeper import keeper_program, mode
from tests.support.cluster.layout import (
    CLICKHOUSE,
    COMPOSE_PORTS,
    ETL,
    GATEWAY,
    HOST,
    INGEST,
    KAFKA,
    KEEPER,
    MIGRATE,
    Layout,
    Member,
    make_layout,
)
from tests.support.cluster.processes import process_program, run_command
from tests.support.processes.server_stack import Server

FOLDER = ROOT / ".local" / "cluster"
TOPIC, GROUP, DATABASE = "ugc.events", "ugc-etl", "ugc"
SERVERS, PROCESSES = (KEEPER, KAFKA, CLICKHOUSE), (INGEST, GATEWAY, ETL)


class Cluster:
    """Every member by name; one that was never started, or was stopped, is not in `servers`."""

    def __init__(self, layout: Layout, folder: Path) -> None:
        self.layout = layout
        self.folder = folder
        self.servers: dict[str, Server] = {}

    def start(self, *names: str) -> None:
        """Start members together, and wait until all are ready."""
        programs = {name: self.program(name) for name in names}
        refuse_busy_ports([each for program in programs.values() for each in program.listeners])
        for name, program in programs.items():
            self.servers[name] = Server(program)
        for name in names:
            self.servers[name].await_ready()

    def stop(self, *names: str) -> None:
        """Stop members with SIGTERM, one after the other, and with SIGKILL what has not ended in time."""
        for name in names:
            self.servers.pop(name).end()

    def kill(self, *names: str) -> None:
        """Kill members with SIGKILL."""
        for name in list(names):
            self.servers.pop(name).kill()

    def freeze(self, *names: str) -> None:
        """Stop members with SIGSTOP; their connections stay open."""
        for name in names:
            self.servers[name].freeze()

    def thaw(self, *names: str) -> None:
        """Let members continue."""
        for name in names:
            self.servers[name].thaw()

    def wipe(self, name: str) -> None:
        """Delete everything that a dead member has on its disk."""
        assert name not in self.servers
        shutil.rmtree(self.folder / name)

    def restart(self, name: str) -> None:
        """Stop a member in an orderly way, and start it again."""
        self.stop(name)
        self.start(name)

    def heal(self) -> None:
        """Let every member run, in the order in which they start; end what only a scenario starts."""
        for name in [each for each in self.layout.extra if each in self.servers]:
            self.stop(name)
        for name, server in list(self.servers.items()):
            if server.is_running:
                server.thaw()
            else:
                self.kill(name)
        for kind in (*SERVERS, *PROCESSES):
            self.start(*(name for name in self.layout.names(kind) if name not in self.servers))

    def restart_ended(self) -> None:
        """Start what has ended by itself again, as Docker does: an ingest that was frozen ends when it continues."""
        for name in [name for name, server in self.servers.items() if not server.is_running]:
            self.kill(name)
            self.start(name)

    def end(self) -> None:
        """Kill everything: nothing of it is used again."""
        self.kill(*self.servers)

    def member(self, name: str) -> Member:
        """Return a member by name."""
        return self.layout.extra[name] if name in self.layout.extra else self.layout.members[name]

    def program(self, name: str) -> Program:
        """Return what to run for a member."""
        member, folder = self.member(name), self.folder / name
        if member.kind == KAFKA:
            return kafka_program(member, folder)
        if member.kind == KEEPER:
            return keeper_program(member, self.layout.of(KEEPER), folder)
        if member.kind == CLICKHOUSE:
            return replica_program(member, folder, self.endpoints())
        return process_program(member, folder)

    def endpoints(self) -> dict[str, str]:
        """Return the addresses of the servers and keepers that the product's server.xml names."""
        return {
            f"{each.name}:{COMPOSE_PORTS[each.kind, purpose]}": each.address(purpose)
            for kind, purpose in ((CLICKHOUSE, "native"), (KEEPER, "client"))
            for each in self.layout.of(kind)
        }

    def run(self, command: str, variables: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run one of the product's commands with the variables of the migrate service, and some others."""
        (migrate,) = self.layout.of(MIGRATE)
        return run_command(command, {**migrate.environment, **(variables or {})})

    def migrate(self) -> None:
        """Run `ugc-migrate`; ProgramError when it fails."""
        done = self.run("ugc-migrate")
        if done.returncode:
            raise ProgramError(f"ugc-migrate ended with status {done.returncode}:\n{done.stdout}{done.stderr}")

    def url(self, name: str, database: str = DATABASE) -> str:
        """Return the URL of a database on a replica."""
        return f"clickhouse://default@{self.member(name).address('native')}/{database}"

    @property
    def gateway(self) -> str:
        """The URL of the gateway."""
        (gateway,) = self.layout.of(GATEWAY)
        return f"http://{gateway.address('serve')}"

    def log(self, name: str) -> str:
        """Return everything that a member has logged."""
        path = self.program(name).log
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def keeper_mode(self, name: str) -> str | None:
        """Return whether a keeper is the leader or a follower; None if it does not serve."""
        return mode(Address(HOST, self.member(name).ports["client"]))

    def is_running(self, name: str) -> bool:
        """Whether a member was started, and its process has not ended."""
        return name in self.servers and self.servers[name].is_running


@contextlib.contextmanager
def running_cluster(folder: Path = FOLDER) -> Iterator[Cluster]:
    """Start the cluster in a new folder and migrate; stop everything at the end and delete its data, not its logs."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        if not locked(lock, fcntl.LOCK_EX):
            raise ProgramError(f"another cluster runs in {folder}")
        shutil.rmtree(folder)
        cluster = Cluster(make_layout(free_port), folder)
        try:
            cluster.start(*cluster.layout.names(KEEPER, KAFKA))
            cluster.start(*cluster.layout.names(CLICKHOUSE))
            cluster.migrate()
            for kind in PROCESSES:
                cluster.start(*cluster.layout.names(kind))
            yield cluster
        finally:
            cluster.end()
            delete_data(folder)


def delete_data(folder: Path) -> None:
    """Delete everything below a folder but logs."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            with contextlib.suppress(OSError):
                path.rmdir()
        elif path.suffix != ".log" or "data" in path.relative_to(folder).parts:
            path.unlink()
