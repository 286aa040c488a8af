"""A broker of Apache Kafka on this machine, one node in KRaft mode, whose data survive kill -9."""

from __future__ import annotations

import base64
import os
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path

from common.settings import Address
from db.kafka.topics import answers
from local.kafka.files import DATA, HOST, broker, formatter, write_files
from local.processes.errors import ProgramError
from local.processes.program import Program, child_environment

FORMAT_SECONDS_MAX = 60


def kafka_program(
    directory: Path,
    port: int,
    controller_port: int,
    *,
    group_session_milliseconds: int = 10_000,
    java_options: Sequence[str] = (),
) -> Program:
    """Return the broker; its data and log are in `directory`."""
    bootstrap = f"{HOST}:{port}"

    def prepare() -> None:
        write_files(directory, port, controller_port, group_session_milliseconds)
        format_storage(directory)

    return Program(
        name="kafka",
        argv=broker(java_options),
        log=directory / "kafka.log",
        directory=directory,
        listens={
            "UGC_LOCAL_KAFKA_PORT": Address(HOST, port),
            "UGC_LOCAL_KAFKA_CONTROLLER_PORT": Address(HOST, controller_port),
        },
        prepare=prepare,
        ready=lambda: answers(bootstrap),
    )


def format_storage(directory: Path) -> None:
    """Format a new data directory; one that is formatted stays as it is."""
    # Kafka's tool writes meta.properties last: a directory that it did not finish is formatted again.
    if not (directory / DATA / "meta.properties").exists():
        run_java(directory, formatter(cluster_identity()))


def cluster_identity() -> str:
    """Return a new cluster id in Kafka's notation, which is a UUID in base64."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def run_java(directory: Path, command: Sequence[str]) -> None:
    """Run one of Kafka's tools in a directory; ProgramError when it fails."""
    what = f"Kafka's {' '.join(command[-5:-3])}"
    try:
        subprocess.run(
            command,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=FORMAT_SECONDS_MAX,
            check=True,
            cwd=directory,
            env=child_environment(os.environ, {}),
            # Ctrl-C in the terminal reaches only this process, which stops everything once the tool has ended.
            start_new_session=True,
        )
    except subprocess.CalledProcessError as error:
        raise ProgramError(f"{what} failed:\n{error.stdout}{error.stderr}") from error
    except subprocess.TimeoutExpired as error:
        raise ProgramError(f"{what} had not ended after {FORMAT_SECONDS_MAX} s") from error
    except OSError as error:
        raise ProgramError(f"{what} cannot be run: {error}") from error
