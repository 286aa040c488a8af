"""The files and the command line of a local broker. The set-up uses them too: only Python's own library is imported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from local.processes.errors import ProgramError

FOLDER = Path(__file__).resolve().parents[2] / ".local" / "kafka"
LIBRARIES = FOLDER / "libs"
# Kafka's classes as the JVM has them in memory, which halves the CPU of a start. It is empty where this Java cannot
# make one, and the JVM ignores one that another Java has made.
ARCHIVE = FOLDER / "classes.jsa"
# What Kafka's tool writes into a new data directory, the same for each. A copy saves the start of a JVM. It is absent
# where the archive could not be made.
FORMATTED = FOLDER / "formatted.checkpoint"
HOST = "127.0.0.1"
HEARTBEATS_A_SESSION = 6
# Compiles quickly and optimizes little: for a program that runs for seconds.
QUICK = "-XX:TieredStopAtLevel=1"
# Relative to the working directory, because the path of the user's folder would have to be escaped in three ways: Java
# reads a properties file as Latin-1, a comma separates data directories, and log4j2 reads its path as a URI.
DATA, SERVER_PROPERTIES, LOG4J2 = "data", "server.properties", "log4j2.yaml"
CHECKPOINT = f"{DATA}/__cluster_metadata-0/00000000000000000000-0000000000.checkpoint"
# Kafka reads it first: a data directory without it is not formatted.
META_PROPERTIES = f"{DATA}/meta.properties"
PROPERTIES = """\
# Written by local/kafka/files.py at every start.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{advertised_port}
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
# Without the records that the controller writes twice a second by default, an idle broker uses a third less CPU.
metadata.max.idle.interval.ms=0
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


def write_files(
    directory: Path,
    port: int,
    controller_port: int,
    group_session_milliseconds: int,
    advertised_port: int | None = None,
) -> None:
    """Write the broker's configuration; clients are sent to `advertised_port`, that of a proxy, if it is given."""
    properties = PROPERTIES.format(
        host=HOST,
        port=port,
        advertised_port=advertised_port or port,
        controller_port=controller_port,
        data=DATA,
        group_session_milliseconds=group_session_milliseconds,
        heartbeat_milliseconds=group_session_milliseconds // HEARTBEATS_A_SESSION,
    )
    directory.mkdir(parents=True, exist_ok=True)
    (directory / SERVER_PROPERTIES).write_text(properties)
    (directory / LOG4J2).write_text(LOGGING)


def broker(options: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the command line of the broker, with options of the JVM."""
    return java("kafka.Kafka", SERVER_PROPERTIES, options=options)


def formatter(cluster: str) -> tuple[str, ...]:
    """Return the command line that formats the data directory of a cluster's only broker."""
    return java(
        "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", SERVER_PROPERTIES, options=[QUICK]
    )


def java(*arguments: str, options: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the command line of a Java program with Kafka's jars, to be run in the broker's directory."""
    if not any(LIBRARIES.glob("kafka_*.jar")):
        raise ProgramError("Kafka's jars are not installed: run `make up`, which installs them")
    # UsePerfData writes counters for tools such as jstat 20 times a second.
    given = ["-Xmx384m", "-XX:+UseSerialGC", "-XX:-UsePerfData", f"-Dlog4j2.configurationFile={LOG4J2}"]
    return ("java", *given, *archive(), *options, "-cp", f"{LIBRARIES}/*", *arguments)


def archive() -> list[str]:
    """Return the option with which Java uses the archive; none where there is no archive."""
    return [f"-XX:SharedArchiveFile={ARCHIVE}"] if ARCHIVE.exists() and ARCHIVE.stat().st_size else []
