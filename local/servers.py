"""`ugc-servers`: local Kafka and ClickHouse in the foreground, until Ctrl-C."""

from __future__ import annotations

import sys

from common.lifecycle import stop_flag
from common.settings import load
from local.clickhouse.server import clickhouse_program
from local.kafka.server import kafka_program
from local.processes.program import Program, ProgramError, StoppedError
from local.processes.supervisor import Supervisor
from local.settings import LocalSettings

TEND_SECONDS = 0.2


def main() -> None:
    """Run both servers; status 1 with one clear message when one cannot run."""
    settings = load(LocalSettings)
    try:
        with stop_flag() as stop, Supervisor(say, stop) as supervisor:
            supervisor.start(local_programs(settings))
            say(f"Kafka       127.0.0.1:{settings.local_kafka_port}")
            say(f"ClickHouse  clickhouse://default@127.0.0.1:{settings.local_clickhouse_port}/ugc")
            say(f"            http://127.0.0.1:{settings.local_clickhouse_http_port}/play")
            while not stop.wait(TEND_SECONDS):
                supervisor.tend()
    except StoppedError:
        say("stopped before everything was up")
    except ProgramError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)


def local_programs(settings: LocalSettings, *, kafka: bool = True, clickhouse: bool = True) -> list[Program]:
    """Return the local servers, or only one of them; their data stand below the local directory."""
    programs = []
    if kafka:
        programs.append(
            kafka_program(
                settings.local_directory / "kafka", settings.local_kafka_port, settings.local_kafka_controller_port
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


def say(text: str) -> None:
    """Print a line for the user."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    from local.commands import servers

    servers()
