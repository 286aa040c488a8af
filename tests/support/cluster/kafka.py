"""A broker of the cluster, with the properties that docker-compose.yml sets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from common.settings import Address
from db.kafka.topics import answers
from local.kafka.files import DATA, LOG4J2, LOGGING, QUICK, SERVER_PROPERTIES, broker
from local.kafka.server import format_storage
from local.processes.program import Program
from tests.support.cluster.compose import kafka_properties
from tests.support.cluster.layout import HOST, KAFKA, Layout, Member

READY_SECONDS_MAX = 120.0
# For the memory of one machine: the defaults reserve 128 MB for compaction and a gigabyte of heap.
SMALL = {"log.cleaner.dedupe.buffer.size": "2000000"}
HEAP = "-Xmx320m"
CLUSTER_ID = "CLUSTER_ID"
QUORUM_STATE = f"{DATA}/__cluster_metadata-0/quorum-state"


def kafka_program(member: Member, folder: Path) -> Program:
    """Return the broker; its data and its log are in the folder."""
    properties = broker_properties(member)

    def prepare() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SERVER_PROPERTIES).write_text(
            "".join(f"{name}={value}\n" for name, value in properties.items()), encoding="utf-8"
        )
        (folder / LOG4J2).write_text(LOGGING, encoding="utf-8")
        format_storage(folder, node=int(properties["node.id"]), cluster=member.environment[CLUSTER_ID])

    return Program(
        name=member.name,
        argv=broker([QUICK, HEAP]),
        log=folder / "kafka.log",
        directory=folder,
        listens={purpose: Address(HOST, port) for purpose, port in member.ports.items()},
        prepare=prepare,
        ready=lambda: answers(member.address("client")),
        ready_seconds_max=READY_SECONDS_MAX,
    )


def broker_properties(member: Member) -> Mapping[str, str]:
    """Return the broker's properties: those of the compose file with the ports and the folder of this machine."""
    client = member.address("client")
    return {
        **kafka_properties(member.environment),
        "listeners": f"PLAINTEXT://{client},CONTROLLER://{member.address('controller')}",
        "advertised.listeners": f"PLAINTEXT://{client}",
        "log.dirs": DATA,
        **SMALL,
    }


def broker_name(node: int) -> str:
    """Return the name of the broker with a node id."""
    return f"{KAFKA}-{node}"


def active_controller(layout: Layout, folder: Path) -> str:
    """Return the broker that is the active controller, from the newest of the quorum's own files.

    Clients cannot see it: as controller, metadata names any broker.
    """
    states = [
        json.loads(path.read_text(encoding="utf-8"))
        for name in layout.names(KAFKA)
        if (path := folder / name / QUORUM_STATE).exists()
    ]
    newest = max(states, key=lambda state: (state["leaderEpoch"], state["leaderId"]))
    return broker_name(newest["leaderId"])
