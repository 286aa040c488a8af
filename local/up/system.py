"""The programs of the system in the order in which they start, and what is done with them: prove, supervise, stop."""

from __future__ import annotations

import shlex
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from common.settings import Address
from local.processes.direct import answers_http
from local.processes.program import Child, Program, ProgramError, StoppedError, always_ready
from local.processes.supervisor import Supervisor
from local.servers import local_programs
from local.settings import UpSettings, reachable
from local.up.alive import gateway_answers, ingest_answers
from local.up.authorization import authorization, lacks_token
from local.up.documented import DOCUMENTED_EVENT
from local.up.samples import await_row, printed, send_by_grpc, send_by_rest
from local.up.status import Status

TEND_SECONDS = 0.2
# How often the status is printed where there is no terminal to show a live line.
PLAIN_STATUS_SECONDS = 10.0
READY_SECONDS_MAX = 90.0
PROBE_SECONDS_MAX = 2.0
NOT_SIGNED = (
    "ingest wants tokens, and only their issuer can sign one; with UGC_INGEST_AUTH_SECRET this program signs its own"
)


class System:
    """Everything that `make up` runs."""

    def __init__(self, settings: UpSettings, console: Console, stop: threading.Event) -> None:
        self._settings = settings
        self._console = console
        self._stop = stop
        self._gateway = reachable(settings.gateway_listen)
        self._ingest = reachable(settings.ingest_listen)
        self._kafka = (
            f"127.0.0.1:{settings.local_kafka_port}" if settings.starts_kafka else settings.kafka_bootstrap_servers
        )
        local = f"clickhouse://default@127.0.0.1:{settings.local_clickhouse_port}/ugc"
        self._clickhouse = local if settings.starts_clickhouse else settings.clickhouse_url
        self._authorization = authorization(settings)

    def run(self, *, check: bool) -> bool:
        """Start, prove, and unless only checking supervise until stopped; no process is left when it returns.

        False when it was stopped before both rows were there.
        """
        if check and lacks_token(self._settings):
            raise ProgramError(f"--check cannot send its two events: {NOT_SIGNED}")
        try:
            with Supervisor(self._say, self._stop) as supervisor:
                self._start(supervisor)
                self._prove(supervisor)
                if not check:
                    self._show_addresses()
                    self._supervise(supervisor)
                self._say("stopping")
        except StoppedError:
            self._say("stopped before everything was up")
            return False
        return True

    def _start(self, supervisor: Supervisor) -> None:
        """Start the stores, make topic and tables, start the processes; each is awaited."""
        settings = self._settings
        stores = local_programs(settings, kafka=settings.starts_kafka, clickhouse=settings.starts_clickhouse)
        self._announce(supervisor, stores)
        self._say("starting migrate")
        migration = Child(self._program("migrate", "db.migrate"))
        try:
            migration.await_success(self._stop)
        finally:
            migration.stop()
        self._announce(supervisor, self._processes())

    def _announce(self, supervisor: Supervisor, programs: list[Program]) -> None:
        for program in programs:
            self._say(f"starting {program.name}, log in {program.log}")
        supervisor.start(programs)

    def _processes(self) -> list[Program]:
        """Return our processes; stopped in reverse, so that ingest outlives the gateway and etl outlives both."""
        settings = self._settings
        return [
            self._program("etl", "etl"),
            replace(
                self._program("ingest", "services.ingest", {"UGC_INGEST_LISTEN": settings.ingest_listen}),
                alive=lambda: ingest_answers(self._ingest),
            ),
            replace(
                self._program("gateway", "gateway", {"UGC_GATEWAY_LISTEN": settings.gateway_listen}),
                alive=lambda: gateway_answers(self._gateway),
            ),
        ]

    def _program(self, name: str, module: str, listens: dict[str, Address] | None = None) -> Program:
        return Program(
            name=name,
            argv=(sys.executable, "-m", module),
            log=self._settings.local_directory / "logs" / f"{name}.log",
            environment={
                "UGC_KAFKA_BOOTSTRAP_SERVERS": self._kafka,
                "UGC_CLICKHOUSE_URL": self._clickhouse,
                "UGC_INGEST_TARGET": str(self._ingest),
            },
            listens=listens or {},
            # The gateway is ready when ingest serves, and ingest serves when Kafka is reachable.
            ready=self._doors_open if name == "gateway" else always_ready,
            ready_seconds_max=READY_SECONDS_MAX,
        )

    def _doors_open(self) -> bool:
        return answers_http(f"http://{self._gateway}/readyz", PROBE_SECONDS_MAX)

    def _prove(self, supervisor: Supervisor) -> None:
        """Send the documented event through both doors and print its rows."""
        if lacks_token(self._settings):
            self._say(f"no event is sent: {NOT_SIGNED}")
            return
        for door, identity in (
            ("REST", send_by_rest(self._gateway, self._authorization)),
            ("gRPC", send_by_grpc(self._ingest, self._authorization)),
        ):
            row = await_row(self._clickhouse, identity, lambda: self._tend(supervisor))
            self._say(f"sent by {door}, stored in ClickHouse:\n{printed(row)}")

    def _tend(self, supervisor: Supervisor) -> None:
        if self._stop.is_set():
            raise StoppedError
        supervisor.tend()

    def _show_addresses(self) -> None:
        """Print commands that work when pasted; the event that they send is in a file, and so is a token."""
        event, header = self._written("event.json", DOCUMENTED_EVENT), self._header_option()
        call, prior = "ugc.v1.IngestService/Produce", "--protocol grpc --http2-prior-knowledge"
        lines = [
            f"REST           curl {header}-d @{event} http://{self._gateway}/api/v1/produce",
            f"OpenAPI page   http://{self._gateway}/api/openapi",
            f"gRPC           grpcurl -plaintext {header}-d @ {self._ingest} {call} < {event}",
            f"               buf curl {prior} {header}-d @{event} http://{self._ingest}/{call}",
        ]
        if self._settings.starts_clickhouse:
            http = self._settings.local_clickhouse_http_port
            lines.append(f"ClickHouse     http://127.0.0.1:{http}/play   (database ugc, user default, no password)")
        lines.append("Stop with Ctrl-C.")
        self._say("everything is up\n" + "\n".join(f"    {line}" for line in lines))

    def _header_option(self) -> str:
        """Return what makes a command carry a token, and a space; empty when ingest asks for none."""
        if self._authorization is not None:
            return f'-H "$(cat {self._written("authorization", f"authorization: {self._authorization}")})" '
        return '-H "authorization: Bearer $TOKEN" ' if lacks_token(self._settings) else ""

    def _written(self, name: str, text: str) -> str:
        """Write a file for the user's eyes alone; return where it is, as seen from here and as a shell reads it."""
        path = self._settings.local_directory / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        return shlex.quote(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))

    def _supervise(self, supervisor: Supervisor) -> None:
        """Start again what dies and show the status, until asked to stop."""
        settings = self._settings
        status = Status(self._kafka, settings.kafka_topic, settings.etl_group, self._clickhouse)
        with status.refreshing():
            if self._console.is_terminal:
                with self._console.status("") as line:
                    while not self._stop.wait(TEND_SECONDS):
                        supervisor.tend()
                        line.update(status.line)
            else:
                self._supervise_plainly(supervisor, status)

    def _supervise_plainly(self, supervisor: Supervisor, status: Status) -> None:
        shown = time.monotonic()
        while not self._stop.wait(TEND_SECONDS):
            supervisor.tend()
            if time.monotonic() - shown >= PLAIN_STATUS_SECONDS:
                self._say(status.line)
                shown = time.monotonic()

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False)
