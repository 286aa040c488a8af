"""A broker of Apache Kafka on this machine: one node in KRaft mode; it keeps its data, also through kill -9."""

from __future__ import annotations

import subprocess
from pathlib import Path

from db.kafka.topics import answers
from db.settings import ROOT
from services.runtime.program import Program, ProgramError
from services.runtime.settings import Address

LIBRARIES = ROOT / ".local" / "kafka" / "libs"
FORMAT_SECONDS_MAX = 60
HOST = "127.0.0.1"
HEARTBEATS_A_SESSION = 6
PROPERTIES = """\
# Written by db/kafka/local_server.py at every start.
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
# After kill -9 the old registration must expire before the new one is taken: seconds instead of a quarter minute.
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
    """Return the broker, its storage formatted; data and log stand in `directory`."""
    data = directory / "data"
    properties, logging = directory / "server.properties", directory / "log4j2.yaml"
    directory.mkdir(parents=True, exist_ok=True)
    properties.write_text(
        PROPERTIES.format(
            host=HOST,
            port=port,
            controller_port=controller_port,
            data=data,
            group_session_milliseconds=group_session_milliseconds,
            heartbeat_milliseconds=group_session_milliseconds // HEARTBEATS_A_SESSION,
        )
    )
    logging.write_text(LOGGING)
    format_storage(data, properties, logging)
    bootstrap = f"{HOST}:{port}"
    return Program(
        name="kafka",
        argv=java(logging, "kafka.Kafka", str(properties)),
        log=directory / "kafka.log",
        environment={"LC_ALL": "C"},
        listens={
            "UGC_LOCAL_KAFKA_PORT": Address(HOST, port),
            "UGC_LOCAL_KAFKA_CONTROLLER_PORT": Address(HOST, controller_port),
        },
        ready=lambda: answers(bootstrap),
    )


def format_storage(data: Path, properties: Path, logging: Path) -> None:
    """Give a new data directory its identity; one that has it is left as it is."""
    if (data / "meta.properties").exists():
        return
    identity = run_java(logging, "kafka.tools.StorageTool", "random-uuid").split()[-1]
    # The tool writes meta.properties last, so what a kill cut short is formatted again.
    run_java(logging, "kafka.tools.StorageTool", "format", "-t", identity, "-c", str(properties))


def run_java(logging: Path, *arguments: str) -> str:
    """Run one of Kafka's tools; return what it prints, ProgramError when it fails."""
    try:
        done = subprocess.run(
            java(logging, *arguments), capture_output=True, text=True, timeout=FORMAT_SECONDS_MAX, check=True
        )
    except subprocess.CalledProcessError as error:
        raise ProgramError(f"Kafka's {' '.join(arguments[:2])} failed:\n{error.stdout}{error.stderr}") from error
    return done.stdout


def java(logging: Path, *arguments: str) -> tuple[str, ...]:
    """Return the command line of a Java program with Kafka's jars."""
    if not any(LIBRARIES.glob("kafka_*.jar")):
        raise ProgramError("Kafka's jars are not there: run `make up`, which fetches them")
    options = "-Xmx384m", "-XX:+UseSerialGC", f"-Dlog4j2.configurationFile={logging}"
    return ("java", *options, "-cp", f"{LIBRARIES}/*", *arguments)
