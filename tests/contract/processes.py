"""The gateway as a process of its own, with the event loop of production."""

from __future__ import annotations

import sys
from pathlib import Path

from common.settings import Address
from local.processes.ports import free_port
from local.processes.program import Program
from tests.contract.conftest import LOCALHOST, ROOT, is_alive


def gateway_program(log: Path, port: int, **environment: str) -> Program:
    """Describe a gateway in front of a port, with default settings except those of the test."""
    address = Address(LOCALHOST, free_port())
    return Program(
        name="gateway",
        argv=(sys.executable, "-m", "gateway"),
        log=log,
        environment={
            "UGC_GATEWAY_LISTEN": str(address),
            "UGC_INGEST_TARGET": f"127.0.0.1:{port}",
            "UGC_GATEWAY_DRAIN_SECONDS": "0",
            **environment,
        },
        directory=ROOT,
        listens={"UGC_GATEWAY_LISTEN": address},
        ready=lambda: is_alive(address),
    )
