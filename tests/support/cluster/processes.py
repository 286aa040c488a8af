"""Ingest, gateway and etl of the cluster, and the product's commands, with the variables of docker-compose.yml."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from common.settings import Address
from local.processes.direct import answers_http
from local.processes.program import Program, always_ready, child_environment
from local.settings import ROOT
from tests.support.cluster.layout import ETL, GATEWAY, HOST, INGEST, Member

MODULES = {INGEST: "services.ingest", GATEWAY: "gateway", ETL: "etl"}
READY_SECONDS_MAX = 90.0
PROBE_SECONDS_MAX = 2.0
COMMAND_SECONDS_MAX = 240.0


def process_program(member: Member, folder: Path) -> Program:
    """Return a process; it is ready when its management listener reports so, an etl when it runs."""
    management = member.address("management")
    is_etl = member.kind == ETL
    return Program(
        name=member.name,
        argv=(sys.executable, "-m", MODULES[member.kind]),
        log=folder / f"{member.name}.log",
        environment=member.environment,
        directory=ROOT,
        listens={purpose: Address(HOST, port) for purpose, port in member.ports.items()},
        # An etl whose stores are away is not ready, and must run all the same.
        ready=always_ready if is_etl else lambda: answers_http(f"http://{management}/readyz", PROBE_SECONDS_MAX),
        ready_seconds_max=READY_SECONDS_MAX,
        stop_seconds_max=60.0 if is_etl else 30.0,
    )


def run_command(
    command: str, environment: Mapping[str, str], seconds_max: float = COMMAND_SECONDS_MAX
) -> subprocess.CompletedProcess[str]:
    """Run one of the product's commands, such as `ugc-audit --json`, through a pipe, and return its result."""
    name, *arguments = command.split()
    return subprocess.run(
        [str(Path(sys.executable).parent / name), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=child_environment(os.environ, environment),
        timeout=seconds_max,
    )
