"""`ugc-servers`: local Kafka and ClickHouse in the foreground, until Ctrl-C."""

from __future__ import annotations

import sys

from common.lifecycle import stop_flag
from common.running_system import AlreadyRunningError, published
from common.settings import load
from local.clickhouse.server import clickhouse_program
from local.kafka.server import kafka_program
from local.processes.errors import ProgramError, StoppedError
from local.processes.program import Program
from local.processes.supervisor import Supervisor
from local.settings import LocalSettings

CHECK_SECONDS = 0.2


def main() -> None:
    """Run both servers; exits with status 1 and a message when one cannot run."""
    settings = load(LocalSettings)
    try:
        with (
            stop_flag() as stop,
            published(settings.local_directory, addresses(settings)),
            Supervisor(print_line, stop) as supervisor,
        ):
            supervisor.start(local_programs(settings))
            print_line(f"Kafka       {settings.local_kafka}")
            print_line(f"ClickHouse  {settings.local_clickhouse}")
            print_line(f"            http://{settings.local_clickhouse_http}/play")
            while not stop.wait(CHECK_SECONDS):
                supervisor.check()
    except StoppedError:
        print_line("stopped before everything was up")
    except (ProgramError, AlreadyRunningError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)


def addresses(settings: LocalSettings) -> dict[str, str]:
    """Return the settings with which a process uses the local servers."""
    return {
        "UGC_KAFKA_BOOTSTRAP_SERVERS": str(settings.local_kafka),
        "UGC_CLICKHOUSE_URL": settings.local_clickhouse,
    }


def local_programs(settings: LocalSettings, *, kafka: bool = True, clickhouse: bool = True) -> list[Program]:
    """Return the local servers, or only one of them; their data are in the local directory."""
    programs = []
    if kafka:
        programs.append(
            kafka_program(
                settings.local_directory / "kafka",
                settings.local_kafka_port,
                settings.local_kafka_controller_port,
                java_options=settings.local_kafka_java_options.split(),
            )
        )
    if clickhouse:
        programs.append(
            clickhouse_program(
                settings.local_directory / "clickhouse",
                settings.local_clickhouse_port,
                settings.local_clickhouse_http_port,
            )
        )
    return programs


def print_line(text: str) -> None:
    """Print a line for the user."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    from local.commands import servers

    servers()
