"""A broker of Apache Kafka on this machine, one node in KRaft mode, whose data survive kill -9."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from common.settings import Address
from db.kafka.topics import answers
from local.processes.errors import ProgramError
from local.processes.program import Program, child_environment
from local.settings import ROOT

LIBRARIES = ROOT / ".local" / "kafka" / "libs"
FORMAT_SECONDS_MAX = 60
HOST = "127.0.0.1"
HEARTBEATS_A_SESSION = 6
# Relative to the working directory, because the path of the user's folder would have to be escaped in three ways: Java
# reads a properties file as Latin-1, a comma separates data directories, and log4j2 reads its path as a URI.
DATA, SERVER_PROPERTIES, LOG4J2 = "data", "server.properties", "log4j2.yaml"
PROPERTIES = """\
# Written by local/kafka/server.py at every start.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
num.partitions=1
offsets.topic.num.partitions=3
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=3
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
min.insync.replicas=1
group.initial.rebalance.delay.ms=0
# A killed etl's partitions are taken over after this; the default is 45 s.
group.consumer.min.session.timeout.ms={group_session_milliseconds}
group.consumer.session.timeout.ms={group_session_milliseconds}
group.consumer.min.heartbeat.interval.ms={heartbeat_milliseconds}
group.consumer.heartbeat.interval.ms={heartbeat_milliseconds}
# After kill -9 the old registration must expire before the broker can register again; the default is 9 s.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
# The default reserves 128 MB for compaction.
log.cleaner.dedupe.buffer.size=2000000
"""
LOGGING = """\
Configuration:
  status: warn
  Appenders:
    Console:
      name: out
      target: SYSTEM_OUT
      PatternLayout:
        pattern: "%d{ISO8601} %p %c{1} %m%n"
  Loggers:
    Root:
      level: warn
      AppenderRef:
        ref: out
"""


def kafka_program(
    directory: Path, port: int, controller_port: int, *, group_session_milliseconds: int = 10_000
) -> Program:
    """Return the broker; its data and log are in `directory`."""
    properties = PROPERTIES.format(
        host=HOST,
        port=port,
        controller_port=controller_port,
        data=DATA,
        group_session_milliseconds=group_session_milliseconds,
        heartbeat_milliseconds=group_session_milliseconds // HEARTBEATS_A_SESSION,
    )
    bootstrap = f"{HOST}:{port}"
    return Program(
        name="kafka",
        argv=java("kafka.Kafka", SERVER_PROPERTIES),
        log=directory / "kafka.log",
        directory=directory,
        listens={
            "UGC_LOCAL_KAFKA_PORT": Address(HOST, port),
            "UGC_LOCAL_KAFKA_CONTROLLER_PORT": Address(HOST, controller_port),
        },
        prepare=lambda: prepare(directory, properties),
        ready=lambda: answers(bootstrap),
    )


def prepare(directory: Path, properties: str) -> None:
    """Write the broker's configuration, and format its storage if that is new."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / SERVER_PROPERTIES).write_text(properties)
    (directory / LOG4J2).write_text(LOGGING)
    format_storage(directory)


def format_storage(directory: Path) -> None:
    """Format a new data directory; one that is formatted stays as it is."""
    if (directory / DATA / "meta.properties").exists():
        return
    identity = run_java(directory, "kafka.tools.StorageTool", "random-uuid").split()[-1]
    # The tool writes meta.properties last: a directory that it did not finish is formatted again.
    run_java(directory, "kafka.tools.StorageTool", "format", "-t", identity, "-c", SERVER_PROPERTIES)


def run_java(directory: Path, *arguments: str) -> str:
    """Run one of Kafka's tools in a directory; return its output, ProgramError when it fails."""
    what = f"Kafka's {' '.join(arguments[:2])}"
    try:
        done = subprocess.run(
            java(*arguments),
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
    return done.stdout


def java(*arguments: str) -> tuple[str, ...]:
    """Return the command line of a Java program with Kafka's jars, to be run in the broker's directory."""
    if not any(LIBRARIES.glob("kafka_*.jar")):
        raise ProgramError("Kafka's jars are not installed: run `make up`, which installs them")
    options = "-Xmx384m", "-XX:+UseSerialGC", f"-Dlog4j2.configurationFile={LOG4J2}"
    return ("java", *options, "-cp", f"{LIBRARIES}/*", *arguments)
