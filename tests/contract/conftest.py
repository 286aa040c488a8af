"""Servers of the contract tests: events.v1 and gateways in front of it, as processes on free ports."""

from __future__ import annotations

import importlib.resources
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from grpc_tools import protoc  # type: ignore[import-untyped]  # the library carries no types

from common.settings import Address
from local.processes.ports import free_port, port_answers
from local.processes.program import Program, running
from tests.contract.endpoints import gateway, ingest

ROOT = Path(__file__).parents[2]
SOURCES = Path(__file__).parent / "grpc_gateway"
EVENTS = "events/v1/events.proto"
# The clients of the recorded gateway were on its own host, as those of the tests are.
LOCALHOST = "127.0.0.1"


class Generated(NamedTuple):
    """What protoc generates from events.proto."""

    directory: Path
    descriptors: Path


@pytest.fixture(scope="session")
def events(tmp_path_factory: pytest.TempPathFactory) -> Generated:
    directory = tmp_path_factory.mktemp("events")
    descriptors = directory / "events.binpb"
    bundled = importlib.resources.files("grpc_tools") / "_proto"
    status = protoc.main(
        [
            "protoc",
            f"-I{SOURCES}",
            f"-I{ROOT / 'proto' / 'vendor'}",
            f"-I{bundled}",
            f"--python_out={directory}",
            f"--grpc_python_out={directory}",
            f"--descriptor_set_out={descriptors}",
            "--include_imports",
            "--include_source_info",
            EVENTS,
        ]
    )
    assert status == 0
    return Generated(directory, descriptors)


@pytest.fixture(scope="session")
def events_service(events: Generated, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    address = Address(LOCALHOST, free_port())
    service = Program(
        name="events.v1",
        argv=(sys.executable, str(SOURCES / "server.py"), str(events.directory), str(address)),
        log=tmp_path_factory.mktemp("logs") / "service.log",
        ready=lambda: port_answers(address),
    )
    with running(service):
        yield address


@pytest.fixture(scope="session")
def events_gateway(
    events: Generated, events_service: Address, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Address]:
    with running(gateway_program(events, events_service, tmp_path_factory.mktemp("logs"))) as child:
        yield child.program.listens["UGC_GATEWAY_LISTEN"]


@pytest.fixture(scope="session")
def events_gateways(
    events: Generated, events_service: Address, events_gateway: Address, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[bool, Address]]:
    """Gateways by whether they have the fast lane."""
    program = gateway_program(events, events_service, tmp_path_factory.mktemp("logs"), UGC_GATEWAY_LANE="false")
    with running(program) as child:
        yield {True: events_gateway, False: child.program.listens["UGC_GATEWAY_LISTEN"]}


@pytest.fixture(scope="session")
def down_gateway(events: Generated, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    nobody = Address(LOCALHOST, free_port())
    with running(gateway_program(events, nobody, tmp_path_factory.mktemp("logs"))) as child:
        yield child.program.listens["UGC_GATEWAY_LISTEN"]


@pytest.fixture
async def gateway_url() -> AsyncIterator[str]:
    port = free_port()
    async with ingest(port), gateway(port) as url:
        yield url


def gateway_program(events: Generated, target: Address, logs: Path, **environment: str) -> Program:
    """Describe a gateway of events.v1 with default settings except those of the test."""
    address = Address(LOCALHOST, free_port())
    return Program(
        name="gateway",
        argv=(sys.executable, "-m", "gateway"),
        log=logs / "gateway.log",
        environment={
            "UGC_GATEWAY_LISTEN": str(address),
            "UGC_GATEWAY_DESCRIPTORS": str(events.descriptors),
            "UGC_INGEST_TARGET": str(target),
            "UGC_GATEWAY_DRAIN_SECONDS": "0",
            **environment,
        },
        directory=ROOT,
        listens={"UGC_GATEWAY_LISTEN": address},
        ready=lambda: is_alive(address),
    )


def is_alive(address: Address) -> bool:
    """Whether a gateway answers."""
    try:
        with urllib.request.urlopen(f"http://{address}/healthz", timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
