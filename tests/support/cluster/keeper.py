"""A keeper of the cluster: Apache ZooKeeper, whose protocol ClickHouse Keeper shares."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from pathlib import Path

from common.settings import Address
from local.kafka.files import QUICK
from local.processes.errors import ProgramError
from local.processes.program import Program
from local.setup.packages import ZOOKEEPER_LIBRARIES
from tests.support.cluster.layout import HOST, Member

# Relative to the working directory, as for Kafka.
DATA, CONFIGURATION, LOGGING = "data", "zoo.cfg", "logback.xml"
READY_SECONDS_MAX = 60.0
ANSWER_SECONDS_MAX = 1.0
ANSWER_BYTES = 4_096
MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
# The session of 30 s is the servers' choice (db/cluster/keeper.xml has the same).
PROPERTIES = """\
tickTime=2000
initLimit=10
syncLimit=5
dataDir={data}
clientPort={port}
clientPortAddress={host}
{servers}
maxClientCnxns=0
maxSessionTimeout=60000
admin.enableServer=false
4lw.commands.whitelist=srvr
preAllocSize=4096
forceSync=no
"""
LOGBACK = """\
<configuration>
    <appender name="out" class="ch.qos.logback.core.ConsoleAppender">
        <encoder><pattern>%d %-5level %logger{0} %msg%n</pattern></encoder>
    </appender>
    <root level="WARN"><appender-ref ref="out"/></root>
</configuration>
"""


def keeper_program(member: Member, ensemble: Sequence[Member], folder: Path) -> Program:
    """Return one keeper of an ensemble; its data and its log are in the folder."""
    if not any(ZOOKEEPER_LIBRARIES.glob("zookeeper-*.jar")):
        raise ProgramError("ZooKeeper's jars are not installed: run `make test-cluster`, which installs them")
    servers = [
        f"server.{number_of(each.name)}={HOST}:{each.ports['peer']}:{each.ports['election']}" for each in ensemble
    ]

    def prepare() -> None:
        (folder / DATA).mkdir(parents=True, exist_ok=True)
        (folder / DATA / "myid").write_text(f"{number_of(member.name)}\n", encoding="utf-8")
        (folder / LOGGING).write_text(LOGBACK, encoding="utf-8")
        (folder / CONFIGURATION).write_text(
            PROPERTIES.format(data=DATA, port=member.ports["client"], host=HOST, servers="\n".join(servers)),
            encoding="utf-8",
        )

    options = ("-Xmx192m", "-XX:+UseSerialGC", "-XX:-UsePerfData", QUICK, "-Djava.net.preferIPv4Stack=true")
    return Program(
        name=member.name,
        argv=(
            "java",
            *options,
            f"-Dlogback.configurationFile={LOGGING}",
            "-Dzookeeper.extendedTypesEnabled=true",
            "-Dzookeeper.jmx.log4j.disable=true",
            "-cp",
            f"{ZOOKEEPER_LIBRARIES}/*",
            MAIN,
            CONFIGURATION,
        ),
        log=folder / "keeper.log",
        directory=folder,
        listens={purpose: Address(HOST, port) for purpose, port in member.ports.items()},
        prepare=prepare,
        ready=lambda: mode(Address(HOST, member.ports["client"])) is not None,
        ready_seconds_max=READY_SECONDS_MAX,
    )


def number_of(name: str) -> int:
    """Return the number at the end of a name."""
    return int(name.rpartition("-")[2])


def mode(address: Address) -> str | None:
    """Return whether a keeper is the `leader` or a `follower`; None if it does not serve."""
    answer = b""
    with contextlib.suppress(OSError), socket.create_connection(address, ANSWER_SECONDS_MAX) as connection:
        connection.settimeout(ANSWER_SECONDS_MAX)
        connection.sendall(b"srvr")
        while part := connection.recv(ANSWER_BYTES):
            answer += part
    _, found, rest = answer.decode(errors="replace").partition("Mode: ")
    return rest.split()[0] if found else None
