"""The local system: starts the servers and the processes in order, sends two events, supervises, stops."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

from rich.console import Console

from common.running_system import AlreadyRunningError, published
from common.settings import Address
from local.live.status import SETTING, LiveStatus
from local.processes.errors import ProgramError, StoppedError
from local.processes.ports import Listener, refuse_busy_ports
from local.processes.program import Child, Program, always_ready, child_environment
from local.processes.supervisor import Supervisor
from local.servers import local_programs
from local.settings import UpSettings, reachable
from local.up.example import authorization, lacks_token
from local.up.probes import gateway_answers, gateway_is_ready, ingest_answers
from local.up.samples import await_row, send_by_grpc, send_by_rest
from local.up.status import Status
from local.up.summary import addresses, aligned, table

CHECK_SECONDS = 0.2
# How often the status is printed where there is no terminal for a live line.
PLAIN_STATUS_SECONDS = 10.0
READY_SECONDS_MAX = 90.0
# The settings that the administration commands have in common with the processes.
PUBLISHED_PREFIXES = ("UGC_KAFKA_", "UGC_CLICKHOUSE_", "UGC_ETL_")
NOT_SIGNED = (
    "ingest requires tokens that only their issuer can sign; with UGC_INGEST_AUTH_SECRET this program signs its own"
)


class LocalSystem:
    """Everything that `make up` runs; `began` is when the command was started, on the monotonic clock."""

    def __init__(self, settings: UpSettings, console: Console, stop: threading.Event, began: float) -> None:
        self._settings = settings
        self._console = console
        self._stop = stop
        self._began = began
        self._gateway = reachable(settings.gateway_listen)
        self._ingest = reachable(settings.ingest_listen)
        self._kafka = str(settings.local_kafka) if settings.starts_kafka else settings.kafka_bootstrap_servers
        self._clickhouse = settings.local_clickhouse if settings.starts_clickhouse else settings.clickhouse_url
        self._authorization = authorization(settings)

    def run(self, *, check: bool) -> bool:
        """Start everything, send two events, and unless only checking supervise until stopped.

        No process is left when it returns. False when it was stopped before both events were rows.
        """
        if check and lacks_token(self._settings):
            raise ProgramError(f"--check cannot send its two events: {NOT_SIGNED}")
        try:
            with self._published(), Supervisor(self._print, self._stop) as supervisor:
                self._start(supervisor)
                self._send_events(supervisor)
                if not check:
                    with self._live().serving(self._settings.local_status_listen):
                        self._print_addresses()
                        self._supervise(supervisor)
                self._print("stopping")
        except StoppedError:
            self._print("stopped before everything was up")
            return False
        return True

    @contextlib.contextmanager
    def _published(self) -> Iterator[None]:
        """Let the administration commands in other shells find this system."""
        variables = child_environment(os.environ, self._servers())
        settings = {name: value for name, value in variables.items() if name.startswith(PUBLISHED_PREFIXES)}
        try:
            with published(self._settings.local_directory, settings):
                yield
        except AlreadyRunningError as error:
            raise ProgramError(f"{error}; stop it, or choose another directory with UGC_LOCAL_DIRECTORY") from error

    def _servers(self) -> dict[str, str]:
        return {"UGC_KAFKA_BOOTSTRAP_SERVERS": self._kafka, "UGC_CLICKHOUSE_URL": self._clickhouse}

    def _start(self, supervisor: Supervisor) -> None:
        """Start the local servers, create topic and tables, start the processes; wait until all are ready."""
        settings = self._settings
        stores = local_programs(settings, kafka=settings.starts_kafka, clickhouse=settings.starts_clickhouse)
        processes = self._processes()
        own = settings.local_status_listen
        listeners = [Listener("ugc-up", SETTING, own)] if own is not None else []
        refuse_busy_ports([*(each for program in [*stores, *processes] for each in program.listeners), *listeners])
        self._start_programs(supervisor, stores)
        self._print("starting migrate")
        migration = Child(self._program("migrate", "db.migrate"))
        try:
            migration.await_success(self._stop)
        finally:
            migration.stop()
        self._start_programs(supervisor, processes)

    def _start_programs(self, supervisor: Supervisor, programs: list[Program]) -> None:
        for program in programs:
            self._print(f"starting {program.name}")
        supervisor.start(programs)

    def _processes(self) -> list[Program]:
        """Return the processes in an order whose reverse is safe: ingest outlives the gateway, the etl both."""
        settings = self._settings
        return [
            self._program("etl", "etl", {"UGC_ETL_MANAGEMENT_LISTEN": settings.etl_management_listen}),
            replace(
                self._program(
                    "ingest",
                    "services.ingest",
                    {
                        "UGC_INGEST_LISTEN": settings.ingest_listen,
                        "UGC_INGEST_MANAGEMENT_LISTEN": settings.ingest_management_listen,
                    },
                ),
                alive=lambda: ingest_answers(self._ingest),
            ),
            replace(
                self._program(
                    "gateway",
                    "gateway",
                    {
                        "UGC_GATEWAY_LISTEN": settings.gateway_listen,
                        "UGC_GATEWAY_MANAGEMENT_LISTEN": settings.gateway_management_listen,
                    },
                ),
                ready=lambda: gateway_is_ready(self._gateway),
                alive=lambda: gateway_answers(self._gateway),
            ),
        ]

    def _program(self, name: str, module: str, listens: dict[str, Address | None] | None = None) -> Program:
        return Program(
            name=name,
            argv=(sys.executable, "-m", module),
            log=self._settings.local_directory / "logs" / f"{name}.log",
            environment={**self._servers(), "UGC_INGEST_TARGET": str(self._ingest)},
            listens={setting: listen for setting, listen in (listens or {}).items() if listen is not None},
            ready=always_ready,
            ready_seconds_max=READY_SECONDS_MAX,
        )

    def _send_events(self, supervisor: Supervisor) -> None:
        """Send the documented event over HTTP and over gRPC, wait until both are rows, and print one of them."""
        if lacks_token(self._settings):
            self._print(f"everything is up after {self._seconds}; no event is sent: {NOT_SIGNED}")
            return
        identities = [
            send_by_rest(self._gateway, self._authorization),
            send_by_grpc(self._ingest, self._authorization),
        ]
        rows = [await_row(self._clickhouse, each, lambda: self._check(supervisor)) for each in identities]
        self._print(
            f"everything is up after {self._seconds}\n"
            "two events were sent, one over HTTP and one over gRPC; both are rows of ClickHouse, the first:\n\n"
            f"{table(rows[0])}\n"
        )

    @property
    def _seconds(self) -> str:
        return f"{time.monotonic() - self._began:.1f} s"

    def _check(self, supervisor: Supervisor) -> None:
        if self._stop.is_set():
            raise StoppedError
        supervisor.check()

    def _live(self) -> LiveStatus:
        """Return the live page of the processes that run."""
        settings = self._settings
        listens = {
            "gateway": settings.gateway_management_listen,
            "ingest": settings.ingest_management_listen,
            "etl": settings.etl_management_listen,
        }
        return LiveStatus({name: reachable(listen) if listen else None for name, listen in listens.items()})

    def _print_addresses(self) -> None:
        lines = addresses(self._settings, self._gateway, self._ingest, self._authorization)
        self._print(f"{aligned(lines)}\n\nStop with Ctrl-C.")

    def _supervise(self, supervisor: Supervisor) -> None:
        """Restart what dies and show the status, until a stop signal arrives."""
        settings = self._settings
        status = Status(
            self._kafka if settings.starts_kafka else settings,
            settings.kafka_topic,
            settings.etl_group,
            self._clickhouse,
        )
        with status.refreshing():
            if self._console.is_terminal:
                with self._console.status("") as line:
                    while not self._stop.wait(CHECK_SECONDS):
                        supervisor.check()
                        line.update(status.line)
            else:
                self._supervise_plainly(supervisor, status)

    def _supervise_plainly(self, supervisor: Supervisor, status: Status) -> None:
        shown = time.monotonic()
        while not self._stop.wait(CHECK_SECONDS):
            supervisor.check()
            if time.monotonic() - shown >= PLAIN_STATUS_SECONDS:
                self._print(status.line)
                shown = time.monotonic()

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False)
