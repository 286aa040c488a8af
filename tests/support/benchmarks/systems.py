"""The processes that benchmarks measure: trees of this project, and the peers that they are compared with."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common.settings import Address
from db.kafka.layout import TopicLayout
from db.kafka.topics import provision
from local.kafka.server import kafka_program
from local.processes.ports import free_port, port_answers
from local.processes.program import Program, running
from local.settings import ROOT
from local.setup.python_packages import BENCHMARKS
from tests.support.processes.management import NO_MANAGEMENT
from tests.support.processes.system import get, serving

PEERS = ROOT / "tests" / "benchmarks" / "peers"
LAYOUT = TopicLayout(partitions=3, replication_factor=1, min_insync_replicas=1, retention_hours=1)
READY_SECONDS_MAX = 90.0


@dataclass(frozen=True)
class System:
    """Running processes: their pids by name, and the addresses that serve HTTP and gRPC."""

    name: str
    http: str = ""
    grpc: str = ""
    pids: Mapping[str, int] = field(default_factory=dict)
    is_peer: bool = False


@dataclass(frozen=True)
class Clone:
    """A clone of this project, set up, and the settings of its processes."""

    root: Path
    settings: Mapping[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def kafka(folder: Path) -> Iterator[tuple[str, int]]:
    """Run a broker; yield its address and its pid."""
    port = free_port()
    with running(kafka_program(folder / "kafka", port, free_port())) as broker:
        yield f"127.0.0.1:{port}", broker.process.pid


# Closed loops offer as much as is taken. Kafka can then take longer than the default, and ingest would refuse events.
UNHURRIED = {"UGC_INGEST_ACK_SECONDS": "60"}


@contextlib.contextmanager
def tree(
    name: str, clone: Clone, folder: Path, bootstrap: str, settings: Mapping[str, str] | None = None
) -> Iterator[System]:
    """Run ingest and the gateway of a clone of this project, with the clone's own environment and settings."""
    ingest, gateway = (f"127.0.0.1:{free_port()}" for _ in range(2))
    label = label_of(name)
    topic = topic_of(name)
    provision(bootstrap, topic, LAYOUT)
    environment = {
        "UGC_KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "UGC_KAFKA_TOPIC": topic,
        "UGC_INGEST_LISTEN": ingest,
        "UGC_INGEST_TARGET": ingest,
        "UGC_INGEST_DRAIN_SECONDS": "0.1",
        "UGC_GATEWAY_LISTEN": gateway,
        **NO_MANAGEMENT,
        **(settings or {}),
        **clone.settings,
    }
    python = str(clone.root / ".venv" / "bin" / "python")

    def program(process: str, module: str) -> Program:
        return Program(
            name=f"{process} of {name}",
            argv=(python, "-m", module),
            log=folder / f"{label}-{process}.log",
            environment=environment,
            directory=clone.root,
            ready=(lambda: serving(ingest))
            if process == "ingest"
            else (lambda: get(f"http://{gateway}/readyz")[0] == 200),
            ready_seconds_max=READY_SECONDS_MAX,
        )

    with running(program("ingest", "services.ingest")) as one, running(program("gateway", "gateway")) as other:
        yield System(name, gateway, ingest, {"ingest": one.process.pid, "gateway": other.process.pid})


def label_of(name: str) -> str:
    """Return a name as files and topics may have it."""
    return re.sub(r"[^\w.-]", "-", name)


def topic_of(name: str) -> str:
    """Return the topic of a clone."""
    return f"events-{label_of(name)}"


@contextlib.contextmanager
def peer(name: str, folder: Path, arguments: Sequence[str] = ()) -> Iterator[System]:
    """Run a program of tests/benchmarks/peers on a free port."""
    address = Address("127.0.0.1", free_port())
    program = Program(
        name=name,
        argv=(str(BENCHMARKS / "bin" / "python"), str(PEERS / f"{name}.py"), str(address.port), *arguments),
        log=folder / f"{name}.log",
        ready=lambda: port_answers(address),
        ready_seconds_max=READY_SECONDS_MAX,
    )
    with running(program) as child:
        yield System(name, str(address), str(address), {name: child.process.pid}, is_peer=True)


@contextlib.contextmanager
def peers(folder: Path, bootstrap: str) -> Iterator[list[System]]:
    """Run all peers."""
    provision(bootstrap, "naive", LAYOUT)
    with (
        peer("naive", folder, (bootstrap, "naive")) as naive,
        peer("empty_http", folder) as http,
        peer("empty_grpc", folder) as grpc,
    ):
        yield [naive, http, grpc]
