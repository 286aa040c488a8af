"""A broker of Apache Kafka on this machine, one node in KRaft mode, whose data survive kill -9."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path

from common.settings import Address
from db.kafka.topics import answers
from local.kafka.files import CHECKPOINT, FORMATTED, HOST, META_PROPERTIES, broker, formatter, write_files
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
    advertised_port: int | None = None,
) -> Program:
    """Return the broker; its data and log are in `directory`. Clients are sent to `advertised_port` if it is given."""
    bootstrap = f"{HOST}:{port}"

    def prepare() -> None:
        write_files(directory, port, controller_port, group_session_milliseconds, advertised_port)
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


def format_storage(directory: Path, node: int = 1, cluster: str | None = None) -> None:
    """Format a new data directory of a node, of a new cluster if none is given; one that is formatted stays."""
    # What is written last: a directory that was not finished is formatted again.
    if (directory / META_PROPERTIES).exists():
        return
    if FORMATTED.exists():
        copy_format(directory, node, cluster or new_identity())
    else:
        run_java(directory, formatter(cluster or new_identity()))


def copy_format(directory: Path, node: int, cluster: str) -> None:
    """Write what Kafka's tool would write into a new data directory."""
    checkpoint, properties = directory / CHECKPOINT, directory / META_PROPERTIES
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    # The tool makes it read-only, and may not have finished.
    checkpoint.unlink(missing_ok=True)
    shutil.copyfile(FORMATTED, checkpoint)
    unfinished = properties.with_suffix(".new")
    unfinished.write_text(f"version=1\nnode.id={node}\ncluster.id={cluster}\ndirectory.id={new_identity()}\n")
    unfinished.replace(properties)


def new_identity() -> str:
    """Return a new id in Kafka's notation, which is a UUID in base64."""
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
